// Figures with a network in them: unet.js computes, frame.js draws. Each takes the place of a static twin,
// a figure of the class live-NAME, which is what readers see on paper, in a notebook and without JavaScript.
(() => {
  "use strict";
  const { linear, normals, ink, font, pixels, range, frame } = Frame;
  const T = 1000, AB = linear(T), SIDE = 64, NETWORK = "digits_labels", ANY = "any";
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const noise = (count, seed) => Float32Array.from(normals(count * SIDE, seed));
  const image = (x, i) => x.subarray(i * SIDE, (i + 1) * SIDE);
  const distance = (x, y) => Math.sqrt(x.reduce((sum, v, i) => sum + (v - y[i]) ** 2, 0) / x.length);
  const labels = (digit, count) => (digit === ANY ? undefined : Array(count).fill(+digit));
  const ROOM = { least: 280, most: 640 };
  const DIGITS = [ANY, ...Array(10).keys()].map(String);

  const button = (form, words, act, before = null) => {
    const made = Object.assign(document.createElement("button"), { type: "button", textContent: words });
    made.addEventListener("click", act);
    form.insertBefore(made, before);
    return made;
  };

  // One walk at a time: a new one ends the one before it, and so does stop(). `see` is told every step.
  const walker = (figure, bar, report) => {
    let current = null;
    return {
      get walking() { return current !== null; },
      stop() { current?.abort(); },
      async walk(asked, see) {
        current?.abort();
        const mine = current = new AbortController();
        report.setAttribute("aria-busy", "true");  // nothing is read aloud until it is done
        bar.hidden = false;
        bar.removeAttribute("value");
        delete figure.dataset.trouble;
        try {
          const model = await minidiff.load(NETWORK);
          const progress = (share) => { if (current === mine) bar.value = share; };
          for await (const step of model.ddim({ ...asked, progress, signal: mine.signal })) {
            if (mine.signal.aborted) break;
            await see(step);
          }
        } catch (error) {
          figure.dataset.trouble = `The network does not run in this browser (${error.message}).`;
        }
        if (current === mine) {
          current = null;
          bar.hidden = true;
          report.removeAttribute("aria-busy");
        }
      },
    };
  };
  const progress = (figure) => {
    const bar = Object.assign(document.createElement("progress"), { max: 1, hidden: true });
    bar.setAttribute("aria-label", "Share of the network calls that are done");
    figure.querySelector("form").after(bar);
    return bar;
  };
  const title = ({ c }, words, left, top) => {
    c.font = font(14); c.fillStyle = ink(); c.textAlign = "left";
    c.fillText(words, left, top);
  };

  const FIGURES = {
    // x_t beside x̂₀ while sixteen digits are drawn; afterwards t goes back and forth along the film.
    sampling(figure) {
      const COUNT = 16, STEPS = [1, 2, 5, 10, 20, 50, 100, 200], gap = 4;
      let seed = 1, film, used = {};  // a frame: x_t, and the guess that the network makes of it
      const reset = () => { film = [{ t: T, x: noise(COUNT, seed) }]; };
      reset();
      const sheet = (surface, x, left, top, width) => {
        const cell = (width - 3 * gap) / 4;
        for (let i = 0; i < COUNT; i++) {
          const [u, v] = [left + (i % 4) * (cell + gap), top + Math.floor(i / 4) * (cell + gap)];
          if (x) pixels(surface, image(x, i), u, v, cell);
          else surface.c.strokeRect(u + 0.5, v + 0.5, cell - 1, cell - 1);
        }
      };
      const panel = (width) => Math.floor((width - 24) / 2);
      const room = { ...ROOM, height: (width) => panel(width) + 24 };
      const { form, inputs, values, redraw, said } = frame(figure, room, [
        ["digit", "digit", DIGITS],
        ["S", "steps S", range(0, STEPS.length - 1, 4, 1, { marks: [...STEPS.keys()], say: (i) => STEPS[i] })],
        ["calls", "film, t =", range(0, 0, 0, 1, { disabled: true, say: (calls) => film[calls].t })],
      ], (surface, { calls }) => {
        const { t, x, x0 } = film[calls], width = panel(surface.width), end = film.at(-1);
        surface.c.strokeStyle = ink();
        title(surface, "xₜ, the state", 0, 15);
        title(surface, "x̂₀, the guess", width + 24, 15);
        sheet(surface, x, 0, 24, width);
        sheet(surface, x0, width + 24, 24, width);
        if (figure.dataset.trouble) return figure.dataset.trouble;
        if (!x0) return `t = ${T}: sixteen times nothing but noise. The first “Draw” loads the network, 0.4 MB.`;
        const which = used.digit === ANY ? "digits" : `times the digit ${used.digit}`;
        const so = `t = ${t}, ${calls} of ${used.S} steps done: sixteen ${which}. `;
        if (end.t) return so;
        const [far, near] = [x, x0].map((image) => distance(image, end.x).toFixed(2));
        return `${so}Distance to the end (root mean square per pixel): xₜ ${far}, x̂₀ ${near}.`;
      });
      const runner = walker(figure, progress(figure), said);
      const showLast = () => {
        const calls = film.filter((one) => one.x0).length - 1;
        Object.assign(inputs.calls, { max: Math.max(calls, 0), value: Math.max(calls, 0), disabled: calls < 1 });
        inputs.calls.dispatchEvent(new Event("input"));
        redraw();
      };
      const draw = async () => {
        if (runner.walking) return runner.stop();
        const { digit, S } = values();
        used = { digit, S: STEPS[S] };
        reset();
        go.textContent = "Stop";
        const pause = Math.min(100, 2000 / used.S);  // a film of two seconds is slow enough to be seen
        const asked = { x: film[0].x, labels: labels(digit, COUNT), tau: minidiff.tau(T, used.S) };
        await runner.walk(asked, async (step) => {
          film.at(-1).x0 = step.x0;
          film.push({ t: step.t, x: step.x, ...(step.t ? {} : { x0: step.x }) });
          if (still.matches) return;  // who asked for less motion sees the end, and moves t by hand
          showLast();
          await new Promise((done) => setTimeout(done, pause));
        });
        go.textContent = "Draw";
        showLast();
      };
      const holder = inputs.calls.parentElement, go = button(form, "Draw", draw, form.firstChild);
      holder.classList.add("long");
      go.classList.add("first");
      button(form, "Other noise", () => { runner.stop(); seed++; reset(); showLast(); }, holder);
      showLast();
    },

    // A digit, noised to t with eight noises, and what the network makes of each.
    renoise(figure) {
      const COUNT = 8, S = 10;
      let seed = 1, answer = null;
      const question = (chosen) => JSON.stringify({ ...chosen, seed });  // what the answer is an answer to
      const digits = window.PLAY.digits.map((digit) => Float32Array.from(digit, (p) => p / 127.5 - 1));
      const noised = ({ digit, t }) => noise(COUNT, seed)
        .map((e, i) => Math.sqrt(AB[t]) * digits[digit][i % SIDE] + Math.sqrt(1 - AB[t]) * e);
      const ROWS = {
        x: "xₜ: eight noises",
        x0: "x̂₀: the guess of one network call",
        end: `back at t = 0: DDIM in ${S} steps`,
      };
      const size = (width) => (width - 44) / 9, room = { ...ROOM, height: (width) => 3 * (size(width) + 26) };
      const { form, inputs, values, redraw, said } = frame(figure, room, [
        ["digit", "start from", DIGITS.slice(1)],
        ["as", "come back as", DIGITS],
        ["t", "noise to t =", range(0, T, 400, 10, { marks: [0, 250, 500, 750, 1000] })],
      ], (surface, chosen) => {
        const cell = size(surface.width), start = digits[chosen.digit];
        const rows = { x: noised(chosen), ...(answer ?? {}) };
        surface.c.strokeStyle = ink();
        title(surface, "x₀", 0, 15);
        pixels(surface, start, 0, 22, cell);
        Object.entries(ROWS).forEach(([name, words], row) => {
          const top = row * (cell + 26);
          title(surface, words, cell + 16, top + 15);
          for (let i = 0; i < COUNT; i++) {
            const left = cell + 16 + i * (cell + 4);
            if (rows[name]) pixels(surface, image(rows[name], i), left, top + 22, cell);
            else surface.c.strokeRect(left + 0.5, top + 22.5, cell - 1, cell - 1);
          }
        });
        if (figure.dataset.trouble) return figure.dataset.trouble;
        const [kept, added] = [AB[chosen.t], 1 - AB[chosen.t]].map((share) => Math.sqrt(share).toFixed(2));
        const so = `t = ${chosen.t}: xₜ = ${kept} x₀ + ${added} ε. `;
        if (!answer) return `${so}Move t: that loads the network, 0.4 MB, which answers.`;
        if (answer.to !== question(chosen)) return so;
        const eight = Float32Array.from({ length: COUNT * SIDE }, (_, i) => start[i % SIDE]);
        const [guess, back] = [rows.x0, rows.end].map((x) => distance(x, eight).toFixed(2));
        return `${so}Distance to x₀ (root mean square per pixel): x̂₀ ${guess}, back ${back}.`;
      });
      const runner = walker(figure, progress(figure), said);
      const again = async () => {
        const chosen = values(), x = noised(chosen);
        if (chosen.t === 0) {
          runner.stop();
          answer = { to: question(chosen), x0: x, end: x };
          return redraw();
        }
        let first = null;
        const tau = minidiff.tau(chosen.t, Math.min(S, chosen.t));
        await runner.walk({ x, labels: labels(chosen.as, COUNT), tau }, (step) => {
          first ??= step.x0;
          if (still.matches && step.t) return;
          answer = { to: question(chosen), x0: first, end: step.x0 };
          redraw();
        });
        redraw();
      };
      form.addEventListener("input", again);
      inputs.digit.value = "3";  // one that is easily taken for others
      redraw();
      const holder = inputs.t.parentElement;
      holder.classList.add("long");
      button(form, "Other noise", () => { seed++; answer = null; redraw(); again(); }, holder);
    },
  };

  for (const [name, build] of Object.entries(FIGURES)) Frame.start(`figure.live-${name}`, build);
})();
