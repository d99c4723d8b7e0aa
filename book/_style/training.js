// A data set that the reader draws, a network trained on it in the page, and what it draws then.
(() => {
  "use strict";
  const { ink, blue, orange, title, range, button, frame, pad, figures } = Frame;
  const { linear, uniforms, normals, points, tau, back } = Toy;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const T = 200, AB = linear(T), CLARITY = AB.map((a) => Math.log(a / (1 - a)) / 4);  // all as in chapter 0
  const SIDE = 3.2, BATCH = 128, RATE = 1e-2, COUNT = 400, S = 40, EVERY = 150, OWN = "your own drawing";
  const GRID = tau(S, "linear", T), SIZE = new Mlp(1).size.toLocaleString("en");

  const bent = (n, seed, curve, spread) => {  // points along a curve of u in 0..1
    const u = uniforms(seed);
    return points(n, seed + 1).map(([p, q]) => { const [x, y] = curve(u(), u()); return [2 * (x + spread * p), 2 * (y + spread * q)]; });
  };
  const SETS = {
    "two moons": () => bent(1000, 1, (u, side) => {
      const [c, s] = [Math.cos(Math.PI * u), Math.sin(Math.PI * u)];
      return (side < 0.5 ? [c - 0.5, s - 0.25] : [0.5 - c, 0.25 - s]).map((v) => v / 1.1);
    }, 0.06),
    ring: () => bent(1000, 2, (u) => [1.2 * Math.cos(2 * Math.PI * u), 1.2 * Math.sin(2 * Math.PI * u)], 0.06),
    spiral: () => bent(1000, 3, (u) => { const a = 3 * Math.PI * u ** 0.5; return [a * Math.cos(a) / 7, a * Math.sin(a) / 7]; }, 0.05),
    "three spots": () => bent(1000, 4, (u) => [[-1, -0.7], [1, -0.7], [0, 1]][Math.floor(3 * u)], 0.12),
    [OWN]: () => [],
  };

  // What `steps` calls of learn need: a generator, so that the page can breathe between them.
  function* train(net, data, steps, seed) {
    const u = uniforms(seed), x = new Float32Array(3 * BATCH);
    for (let step = 0; step < steps; step++) {
      const eps = Float32Array.from(normals(2 * BATCH, 1000 * seed + step));
      for (let r = 0; r < BATCH; r++) {
        const [v, w] = data[Math.floor(u() * data.length)], t = 1 + Math.floor(u() * T);
        const [kept, added] = [Math.sqrt(AB[t]), Math.sqrt(1 - AB[t])];
        x.set([kept * v + added * eps[2 * r], kept * w + added * eps[2 * r + 1], CLARITY[t]], 3 * r);
      }
      yield net.learn(x, eps, RATE * (1 - step / steps));
    }
  }
  const sample = (net, start, grid = GRID) => {  // DDIM; all states on the way
    const film = [start];
    for (let i = 0; i + 1 < grid.length; i++) {
      const [t, s] = [grid[i], grid[i + 1]], [a, b] = [AB[t], AB[s]], x = film[i];
      const asked = Float32Array.from({ length: x.length / 2 * 3 }, (_, k) => (k % 3 < 2 ? x[(k - k % 3) / 3 * 2 + k % 3] : CLARITY[t]));
      const eps = net.forward(asked), x0 = x.map((v, k) => (v - Math.sqrt(1 - a) * eps[k]) / Math.sqrt(a));
      film.push(back(x, x0, eps, a, b));
    }
    return film;
  };
  // How far apart two clouds are, in the mean: of every point to the nearest of the others, both ways.
  const apart = (a, b) => {
    const to = (p, q) => p.reduce((sum, [u, v]) => sum + Math.min(...q.map(([x, y]) => Math.hypot(u - x, v - y))), 0) / p.length;
    return (to(a, b) + to(b, a)) / 2;
  };
  const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);

  const training = (figure) => {
    let data = SETS["two moons"](), net = null, film = null, losses = [], seed = 1, running = null, jitter = 0;
    const start = () => Float32Array.from(normals(2 * COUNT, 77));
    const forget = () => { running = null; net = null; film = null; losses = []; };
    const brush = pad("The data", 44, 44, ([column, row]) => {
      if (inputs.set.value !== OWN) { inputs.set.value = OWN; data = []; }
      forget();
      const at = [column / 22 - 1, 1 - row / 22].map((v) => v * SIDE);
      data.push(...points(12, 500 + jitter++).map((z) => z.map((v, i) => at[i] + 0.08 * v)));
      settle();
    });
    const beside = (width) => width >= 480, size = (width) => (beside(width) ? (width - 24) / 2 : width);
    const cloud = ({ c }, all, left, top, side, colour) => {
      c.strokeStyle = ink(); c.lineWidth = 1; c.strokeRect(left + 0.5, top + 0.5, side - 1, side - 1);
      c.save(); c.beginPath(); c.rect(left, top, side, side); c.clip();
      c.fillStyle = colour;
      for (const [u, v] of all) {
        c.fillRect(left + (u / SIDE + 1) * side / 2 - 1.2, top + (1 - v / SIDE) * side / 2 - 1.2, 2.4, 2.4);
      }
      c.restore();
    };
    const room = { least: 260, most: 640, height: (width) => (beside(width) ? size(width) + 24 : 2 * size(width) + 48) };
    const { form, inputs, values, redraw, said } = frame(figure, room, [
      ["set", "data", Object.keys(SETS)],
      ["steps", "training steps", range(200, 3000, 1500, 100, { marks: [1000, 2000, 3000] })],
      ["i", "film, t =", range(0, S, S, 1, { disabled: true, say: (i) => GRID[i] })],
    ], (surface, { steps, i }) => {
      const side = size(surface.width), [left, top] = beside(surface.width) ? [side + 24, 24] : [0, side + 48];
      title(surface, "Data: draw here", 0, 15);
      cloud(surface, data, 0, 24, side, blue());
      brush.place(surface, 0, 24, side, side);
      title(surface, film ? "Drawn by the network" : "Noise", left, top - 9);
      const seen = pairs(film ? film[i] : start());
      cloud(surface, seen, left, top, side, orange());
      if (!data.length) return "Nothing drawn yet: paint a shape into the left field.";
      if (!losses.length) return `${data.length} points. “Train” lets a network of ${SIZE} parameters learn them in ${steps} steps.`;
      const last = losses.slice(-100), loss = last.reduce((a, b) => a + b) / last.length;
      const so = `${losses.length} of ${steps} steps, squared error of the noise ${loss.toFixed(3)} (mean of the last ${last.length}).`;
      if (running || !film) return so;
      return `${so} At t = ${GRID[i]} the ${COUNT} points are ${apart(seen, data.slice(0, 600)).toFixed(3)} from the data, in the mean.`;
    });
    const bar = Object.assign(document.createElement("progress"), { max: 1, hidden: true });
    bar.setAttribute("aria-label", "Share of the training that is done");
    form.after(bar);
    const settle = () => {
      go.textContent = running ? "Stop" : "Train";
      go.disabled = !data.length;
      bar.hidden = !running;
      said.toggleAttribute("aria-busy", Boolean(running));
      inputs.i.disabled = !film || Boolean(running);
      redraw();
    };
    const breath = (ms = 0) => new Promise((done) => setTimeout(done, ms));
    const run = async () => {
      if (running) { running = null; return settle(); }
      forget();
      const mine = running = {}, { steps } = values();
      net = new Mlp(seed);
      Object.assign(inputs.i, { value: S });
      inputs.i.dispatchEvent(new Event("input"));
      settle();
      let time = performance.now(), seen = time;
      for (const loss of train(net, data, steps, seed)) {
        losses.push(loss);
        if (losses.length % EVERY === 0 && !still.matches) film = sample(net, start());
        if (performance.now() - time < 50) continue;
        bar.value = losses.length / steps;
        if (performance.now() - seen > 300) { redraw(); seen = performance.now(); }  // to draw takes time as well
        await breath();
        if (running !== mine) break;
        time = performance.now();
      }
      if (net) film = sample(net, start());
      if (running === mine) running = null;
      else if (running) return;
      settle();
      if (still.matches || !film) return;
      for (let i = 0; i <= S && film && !running; i++) {  // the film of the points once, from noise to data
        inputs.i.value = i;
        inputs.i.dispatchEvent(new Event("input", { bubbles: true }));
        await breath(40);
      }
    };
    const go = button(form, "Train", run, form.firstChild);
    go.classList.add("first");
    button(form, "Other start", () => { seed++; forget(); settle(); }, inputs.i.parentElement);
    inputs.i.parentElement.classList.add("long");
    inputs.set.addEventListener("input", () => { data = SETS[inputs.set.value](); forget(); settle(); });
    settle();
  };
  window.Training = { train, sample, SETS, apart };  // for the tests

  figures({
    training: ["Paint a shape into the left field, or choose one, and train: in about ten seconds the noise on the " +
      "right learns to become your drawing. Pull t back to watch the points go there. With 200 steps the shape is a " +
      "blur; a thin or torn drawing needs more.", training],
  });
})();
