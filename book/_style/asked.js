// Digits that are asked for: with a label and a strength, or with a part that must stay.
(() => {
  "use strict";
  const { blue, button, title, pixels, range, frame, pad, figures } = Frame;
  const { tau } = Toy;
  const { SIDE, LOADS, DIGITS, ROOM, noise, image, distance, spread, sheet, walk, runner, shown, labels } = Network;

  // A row for each strength, all from the same noises.
  const guidance = (figure) => {
    const COUNT = 10, S = 20;
    let seed = 1;
    const film = {}, key = (v) => JSON.stringify({ ...v, seed });
    const cell = (width) => (width - 4 * (COUNT - 1)) / COUNT, room = { ...ROOM, height: (width) => 2 * (cell(width) + 30) };
    const { form, inputs, values, redraw, said } = frame(figure, room, [
      ["digit", "label", [...DIGITS.slice(1), "each once"]],
      ["w", "strength w", range(-1, 6, 2, 0.5, { marks: [-1, 0, 2, 4, 6], say: (w) => `${w}`.replace("-", "−") })],
    ], (surface, chosen) => {
      const rows = [["w = 0, the label alone", film[key({ ...chosen, w: 0 })]], [`w = ${chosen.w}`.replace("-", "−"), film[key(chosen)]]];
      rows.forEach(([words, x], k) => {
        const top = k * (cell(surface.width) + 30);
        title(surface, words, 0, top + 15);
        sheet(surface, x, COUNT, COUNT, 0, top + 22, surface.width);
      });
      if (figure.dataset.trouble) return figure.dataset.trouble;
      const so = `Label ${chosen.digit}, w = ${`${chosen.w}`.replace("-", "−")}, DDIM in ${S} steps. `;
      const [plain, strong] = rows.map(([, x]) => x);
      if (!plain || !strong) return `${so}“Draw” ${LOADS}.`;
      return `${so}Distance of the ten to their mean (root mean square per pixel): ${spread(plain).toFixed(2)} with w = 0, ` +
        `${spread(strong).toFixed(2)} with this w.`;
    });
    const work = runner(figure, said);
    const draw = async () => {
      const chosen = values(), todo = [{ ...chosen, w: 0 }, chosen].filter((one) => !film[key(one)]);
      const y = Array.from({ length: COUNT }, (_, i) => (chosen.digit === "each once" ? i : +chosen.digit));
      await work.run(async (model, how) => {
        for (const one of todo) {
          const mine = key(one), asked = { x: noise(COUNT, seed), y, w: one.w, grid: tau(S), ...how };
          await shown(walk(model, asked), how.signal, (step) => { film[mine] = step.x0; redraw(); });
          if (how.signal.aborted) { delete film[mine]; return; }
        }
      });
      redraw();
    };
    button(form, "Draw", draw, form.firstChild).classList.add("first");
    button(form, "Other noise", () => { seed++; redraw(); draw(); });
    inputs.digit.value = "4";
    redraw();
    form.addEventListener("change", () => { if (Object.keys(film).length) draw(); });
  };

  // A digit of which a part is known, and eight ways to fill the rest.
  const inpainting = (figure) => {
    const COUNT = 8, S = 50, OWN = "your own", cells = Array.from({ length: SIDE }, (_, i) => [i % 8, i >> 3]);
    const MASKS = {
      "upper half": ([, y]) => y < 4, "lower half": ([, y]) => y >= 4, "left half": ([x]) => x < 4,
      "frame": ([x, y]) => x < 2 || x > 5 || y < 1 || y > 6, "nothing": () => false,
    };
    const digits = window.PLAY.digits.map((digit) => Float32Array.from(digit, (p) => p / 127.5 - 1));
    let mask = cells.map(MASKS["upper half"]), seed = 1, film = null, value = true;
    const forget = () => { work.stop(); film = null; redraw(); };
    const brush = pad("The known part", 8, 8, ([x, y], first) => {
      const i = 8 * Math.floor(y) + Math.floor(x);
      if (first) value = !mask[i];  // a stroke that begins on a known pixel hides
      if (mask[i] === value) return;
      mask = mask.map((known, k) => (k === i ? value : known));
      inputs.part.value = OWN;
      forget();
    });
    const tile = (width) => (width < 480 ? width / 2 - 20 : 200), under = (width) => (width - 28) / COUNT;
    const room = { ...ROOM, height: (width) => tile(width) + under(width) + 60 };
    const { form, inputs, values, redraw, said } = frame(figure, room, [
      ["digit", "digit", DIGITS.slice(1)],
      ["part", "known", [...Object.keys(MASKS), OWN]],
      ["as", "fill in as", DIGITS],
    ], (surface, { digit, as }) => {
      const { c, width } = surface, side = tile(width), x0 = digits[digit], gap = width - 2 * side, unit = side / 8;
      title(surface, "Known: paint", 0, 15);
      pixels(surface, x0.map((v, i) => (mask[i] ? v : -1)), 0, 24, side);
      c.fillStyle = blue();
      cells.forEach(([x, y], i) => {  // a dot where nothing is known
        if (mask[i]) return;
        c.beginPath(); c.arc((x + 0.5) * unit, 24 + (y + 0.5) * unit, unit / 8, 0, 7); c.fill();
      });
      brush.place(surface, 0, 24, side, side);
      title(surface, "The whole digit", Math.min(side + 24, side + gap), 15);
      pixels(surface, x0, Math.min(side + 24, side + gap), 24, side);
      title(surface, `Filled in, in ${S} steps`, 0, side + 46);
      sheet(surface, film, COUNT, COUNT, 0, side + 54, width);
      if (figure.dataset.trouble) return figure.dataset.trouble;
      const known = mask.filter(Boolean).length, so = `${known} of 64 pixels of the ${digit} are known, filled in as ${as}. `;
      if (!film) return `${so}“Fill in” ${LOADS}.`;
      const hidden = [...mask.keys()].filter((i) => !mask[i]);
      const part = (x) => Float32Array.from(hidden, (i) => x[i]);
      const far = Array.from({ length: COUNT }, (_, i) => distance(part(image(film, i)), part(x0)));
      return hidden.length ? `${so}Distance of the filled part to what was there (root mean square per pixel): ` +
        `${Math.min(...far).toFixed(2)} to ${Math.max(...far).toFixed(2)}.` : so;
    });
    const work = runner(figure, said);
    const fill = async () => {
      const { digit, as } = values();
      await work.run(async (model, how) => {
        const asked = {
          x: noise(COUNT, seed), y: labels(as, COUNT), grid: tau(S), eta: "hat", known: digits[digit], mask,
          fresh: (i) => noise(COUNT, 1000 * seed + i), ...how,
        };
        await shown(walk(model, asked), how.signal, (step) => { film = step.x; redraw(); });
      });
      redraw();
    };
    button(form, "Fill in", fill, form.firstChild).classList.add("first");
    button(form, "Other noise", () => { seed++; forget(); fill(); });
    inputs.part.addEventListener("input", () => {
      if (MASKS[inputs.part.value]) mask = cells.map(MASKS[inputs.part.value]);
      forget();
    });
    for (const name of ["digit", "as"]) inputs[name].addEventListener("input", forget);
    inputs.digit.value = "9";
    redraw();
  };

  figures({
    guidance: ["Draw: with w = 2 the ten are clearer than with w = 0, and more alike: their distance to the mean falls. With w = −1 " +
      "the label is forgotten, and any digit may come. How much is left to differ at w = 6?", guidance],
    inpainting: ["Fill in with the upper half of the 9 known: the lower half differs from noise to noise, and every one fits. Ask for a " +
      "4 or an 8 in its place, then hide more by painting on the left tile: the less is known, the more the label decides.", inpainting],
  });
})();
