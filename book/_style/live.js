// Digits drawn, and noised and drawn anew, by the network itself.
(() => {
  "use strict";
  const { button, title, pixels, range, frame, figures } = Frame;
  const { T, AB, tau } = Toy;
  const { SIDE, LOADS, ANY, DIGITS, STEPS, ROOM, still, noise, image, distance, labels, sheet, walk, runner } = Network;

  // x_t beside x̂₀ while sixteen digits are drawn; afterwards t goes back and forth along the film.
  const sampling = (figure) => {
    const COUNT = 16;
    let seed = 1, film, used = {};  // a frame: x_t, and the guess that the network makes of it
    const reset = () => { film = [{ t: T, x: noise(COUNT, seed) }]; };
    reset();
    const panel = (width) => Math.floor((width - 24) / 2);
    const room = { ...ROOM, height: (width) => panel(width) + 24 };
    const { form, inputs, values, redraw, said } = frame(figure, room, [
      ["digit", "digit", DIGITS],
      ["S", "steps S", range(0, STEPS.length - 1, 4, 1, { marks: [...STEPS.keys()], say: (i) => STEPS[i] })],
      ["calls", "film, t =", range(0, 0, 0, 1, { disabled: true, say: (calls) => film[calls].t })],
    ], (surface, { S, calls }) => {
      const { t, x, x0 } = film[calls], width = panel(surface.width), end = film.at(-1);
      title(surface, "xₜ, the state", 0, 15);
      title(surface, "x̂₀, the guess", width + 24, 15);
      sheet(surface, x, COUNT, 4, 0, 24, width);
      sheet(surface, x0, COUNT, 4, width + 24, 24, width);
      if (figure.dataset.trouble) return figure.dataset.trouble;
      if (!x0) return `t = ${T}: sixteen times nothing but noise. “Draw” takes ${STEPS[S]} steps; the first ${LOADS}.`;
      const which = used.digit === ANY ? "digits" : `times the digit ${used.digit}`;
      const so = `t = ${t}, ${calls} of ${used.S} steps done: sixteen ${which}. `;
      if (end.t) return so;
      const [far, near] = [x, x0].map((image) => distance(image, end.x).toFixed(2));
      return `${so}Distance to the end (root mean square per pixel): xₜ ${far}, x̂₀ ${near}.`;
    });
    const work = runner(figure, said);
    const showLast = () => {
      const calls = film.filter((one) => one.x0).length - 1;
      Object.assign(inputs.calls, { max: Math.max(calls, 0), value: Math.max(calls, 0), disabled: calls < 1 });
      inputs.calls.dispatchEvent(new Event("input"));
      redraw();
    };
    const draw = async () => {
      if (work.running) return work.stop();
      const { digit, S } = values();
      used = { digit, S: STEPS[S] };
      reset();
      go.textContent = "Stop";
      const pause = Math.min(100, 2000 / used.S);  // a film of two seconds is slow enough to be seen
      await work.run(async (model, how) => {
        const asked = { x: film[0].x, y: labels(digit, COUNT), grid: tau(used.S), ...how };
        for await (const step of walk(model, asked)) {
          if (how.signal.aborted) break;
          film.at(-1).x0 = step.x0;
          film.push({ t: step.t, x: step.x, ...(step.t ? {} : { x0: step.x }) });
          if (still.matches) continue;  // who asked for less motion sees the end, and moves t by hand
          showLast();
          await new Promise((done) => setTimeout(done, pause));
        }
      });
      go.textContent = "Draw";
      showLast();
    };
    const holder = inputs.calls.parentElement, go = button(form, "Draw", draw, form.firstChild);
    holder.classList.add("long");
    go.classList.add("first");
    button(form, "Other noise", () => { work.stop(); seed++; reset(); showLast(); }, holder);
    showLast();
  };

  // A digit, noised to t with eight noises, and what the network makes of each.
  const renoise = (figure) => {
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
      title(surface, "x₀", 0, 15);
      pixels(surface, start, 0, 22, cell);
      Object.entries(ROWS).forEach(([name, words], row) => {
        const top = row * (cell + 26);
        title(surface, words, cell + 16, top + 15);
        sheet(surface, rows[name], COUNT, COUNT, cell + 16, top + 22, surface.width - cell - 16);
      });
      if (figure.dataset.trouble) return figure.dataset.trouble;
      const [kept, added] = [AB[chosen.t], 1 - AB[chosen.t]].map((share) => Math.sqrt(share).toFixed(2));
      const so = `t = ${chosen.t}: xₜ = ${kept} x₀ + ${added} ε. `;
      if (!answer) return `${so}Move t: that ${LOADS}, which answers.`;
      if (answer.to !== question(chosen)) return so;
      const eight = Float32Array.from({ length: COUNT * SIDE }, (_, i) => start[i % SIDE]);
      const [guess, back] = [rows.x0, rows.end].map((x) => distance(x, eight).toFixed(2));
      return `${so}Distance to x₀ (root mean square per pixel): x̂₀ ${guess}, back ${back}.`;
    });
    const work = runner(figure, said);
    const again = async () => {
      const chosen = values(), x = noised(chosen);
      if (chosen.t === 0) {
        work.stop();
        answer = { to: question(chosen), x0: x, end: x };
        return redraw();
      }
      await work.run(async (model, how) => {
        let first = null;
        const asked = { x, y: labels(chosen.as, COUNT), grid: tau(Math.min(S, chosen.t), "linear", chosen.t), ...how };
        for await (const step of walk(model, asked)) {
          if (how.signal.aborted) return;
          first ??= step.x0;
          if (still.matches && step.t) continue;
          answer = { to: question(chosen), x0: first, end: step.x0 };
          redraw();
        }
      });
      redraw();
    };
    form.addEventListener("input", again);
    inputs.digit.value = "3";  // one that is easily taken for others
    redraw();
    const holder = inputs.t.parentElement;
    holder.classList.add("long");
    button(form, "Other noise", () => { seed++; answer = null; redraw(); again(); }, holder);
  };

  figures({
    sampling: ["Draw sixteen digits and pull the film back to t = 250: every digit can be read in x̂₀, and hardly one in xₜ. " +
      "Then draw them from the same noise in five steps, where they are the same digits but softer, and in two, where x̂₀ " +
      "had no time to decide and stays the blur of all that was still possible.", sampling],
    renoise: ["Drag t: from 200 all eight come back as the 3 that they were, from 400 some become another digit, from 800 " +
      "the start is forgotten. Now let it come back as an 8: at t = 700 the label decides, at t = 100 the pixels, " +
      "whatever the label says.", renoise],
  });
})();
