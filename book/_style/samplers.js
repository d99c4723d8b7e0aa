// Two samplers from one noise, and the way from one noise to another.
(() => {
  "use strict";
  const { button, title, range, frame, figures } = Frame;
  const { lerp, slerp, tau } = Toy;
  const { LOADS, DIGITS, STEPS, ROOM, noise, image, distance, labels, sheet, walk, runner, shown } = Network;
  const norm = (x) => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length);

  // Two rows of settings, one noise: what each sampler makes of it in so many network calls.
  const samplers = (figure) => {
    const COUNT = 8, ETAS = [0, 0.2, 0.5, 1, "hat"], GRIDS = ["linear", "quadratic"];
    const name = (eta) => (eta === "hat" ? "σ̂" : `${eta}`), ends = {};
    let seed = 1;
    const of = (v, k) => ({ S: STEPS[v[`S${k}`]], eta: ETAS[v[`eta${k}`]], grid: v[`grid${k}`] });
    const key = (one) => JSON.stringify({ ...one, seed });
    const controls = (k, S, eta) => [
      [`S${k}`, `${k}: calls S`, range(0, STEPS.length - 1, S, 1, { marks: [...STEPS.keys()], say: (i) => STEPS[i] })],
      [`eta${k}`, `${k}: η`, range(0, ETAS.length - 1, eta, 1, { marks: [...ETAS.keys()], say: (i) => name(ETAS[i]) })],
      [`grid${k}`, `${k}: grid τ`, GRIDS],
    ];
    const cell = (width) => (width - 28) / COUNT, row = (width) => cell(width) + 30;
    const room = { ...ROOM, height: (width) => 3 * row(width) };
    const { form, inputs, values, redraw, said } = frame(figure, room, [...controls("A", 3, 0), ...controls("B", 3, 4)],
      (surface, v) => {
        const both = ["A", "B"].map((k) => of(v, k));
        const words = both.map(({ S, eta, grid }, k) => `${"AB"[k]}: S = ${S}, η = ${name(eta)}, ${grid} τ`);
        title(surface, "x_T, the noise of both", 0, 15);
        sheet(surface, noise(COUNT, seed), COUNT, COUNT, 0, 24, surface.width);
        const drawn = both.map((one) => ends[key(one)]);
        drawn.forEach((x, k) => {
          const top = (k + 1) * row(surface.width);
          title(surface, words[k], 0, top + 15);
          sheet(surface, x, COUNT, COUNT, 0, top + 24, surface.width);
        });
        if (figure.dataset.trouble) return figure.dataset.trouble;
        if (!drawn[0] || !drawn[1]) return `${words.join("; ")}. “Draw” runs both; the first one ${LOADS}.`;
        return `${words.join("; ")}. Between the two rows: ${distance(...drawn).toFixed(2)} (root mean square per pixel).`;
      });
    const work = runner(figure, said);
    const draw = async () => {
      const now = [of(values(), "A"), of(values(), "B")].filter((one) => !ends[key(one)]);
      await work.run(async (model, how) => {
        for (const [k, one] of now.entries()) {
          const asked = {
            x: noise(COUNT, seed), grid: tau(one.S, one.grid), eta: one.eta, signal: how.signal,
            fresh: (i) => noise(COUNT, 1000 * seed + i), progress: (share) => how.progress((k + share) / now.length),
          };
          const mine = key(one);
          await shown(walk(model, asked), how.signal, (step) => { ends[mine] = step.x; redraw(); });
          if (how.signal.aborted) delete ends[mine];
        }
      });
      redraw();
    };
    const go = button(form, "Draw", draw, form.firstChild);
    go.classList.add("first");
    button(form, "Other noise", () => { seed++; redraw(); draw(); }, inputs.SA.parentElement);
    form.addEventListener("change", () => { if (Object.keys(ends).length) draw(); });  // once begun, it follows
  };

  // Nine starting points between two noises, and what DDIM makes of each.
  const interpolate = (figure) => {
    const COUNT = 9, S = 20, weights = Array.from({ length: COUNT }, (_, i) => i / (COUNT - 1));
    let seed = 7;
    const film = {};
    const between = ({ how, turn }) => {
      const [a, b] = [noise(1, seed), noise(1, seed + 100)];
      const far = how === "slerp" ? slerp : lerp, stop = slerp(a, b, turn);
      return Float32Array.of(...weights.flatMap((w) => [...far(a, stop, w)]));
    };
    const cell = (width) => (width - 32) / COUNT, room = { ...ROOM, height: (width) => 2 * (cell(width) + 30) };
    const key = (v) => JSON.stringify({ ...v, seed });
    const { form, values, redraw, said } = frame(figure, room, [
      ["how", "way", ["slerp", "lerp"]],
      ["digit", "digit", DIGITS],
      ["turn", "how far to the second noise", range(0, 1, 1, 0.05, { marks: [0, 0.25, 0.5, 0.75, 1], say: (w) => w.toFixed(2) })],
    ], (surface, chosen) => {
      const x = between(chosen), found = film[key(chosen)], middle = image(x, COUNT >> 1);
      title(surface, `x_T: ${chosen.how} between two noises`, 0, 15);
      sheet(surface, x, COUNT, COUNT, 0, 22, surface.width);
      title(surface, `x₀: DDIM in ${S} steps`, 0, cell(surface.width) + 45);
      sheet(surface, found, COUNT, COUNT, 0, cell(surface.width) + 52, surface.width);
      if (figure.dataset.trouble) return figure.dataset.trouble;
      const so = `Length of x_T, divided by √d: ${norm(image(x, 0)).toFixed(2)} at the left, ${norm(middle).toFixed(2)} in the ` +
        `middle, ${norm(image(x, COUNT - 1)).toFixed(2)} at the right. `;
      if (!found) return `${so}“Draw” ${LOADS}.`;
      const steps = weights.slice(1).map((_, i) => distance(image(found, i), image(found, i + 1)));
      return `${so}Largest step between two neighbours: ${Math.max(...steps).toFixed(2)}, all steps together ` +
        `${steps.reduce((a, b) => a + b).toFixed(2)} (root mean square per pixel).`;
    });
    const work = runner(figure, said);
    const draw = async () => {
      const chosen = values(), mine = key(chosen);
      await work.run(async (model, how) => {
        const asked = { x: between(chosen), y: labels(chosen.digit, COUNT), grid: tau(S), ...how };
        await shown(walk(model, asked), how.signal, (step) => { film[mine] = step.x0; redraw(); });
        if (how.signal.aborted) delete film[mine];
      });
      redraw();
    };
    button(form, "Draw", draw, form.firstChild).classList.add("first");
    button(form, "Other noises", () => { seed++; redraw(); draw(); }, null);
    form.addEventListener("change", () => { if (Object.keys(film).length) draw(); });
  };

  figures({
    samplers: ["Draw, then move S of A, where η = 0: a noise stays the same digit at any number of calls, soft in five, sharp in " +
      "fifty. Move S of B, where η is not 0: noise on the way decides too, and other digits come each time. At equal calls, " +
      "which row would you rather have at 5, and which at 200?", samplers],
    interpolate: ["Draw: one digit turns into another in small steps. Take lerp and read the lengths: in the middle x_T is shorter " +
      "than noise ever is, and what comes of it a little plainer, as the chapter measures. With a digit chosen the whole way is that digit.",
    interpolate],
  });
})();
