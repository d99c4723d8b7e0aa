// Creatures that are asked for by name: ears, muzzle, fur and the rest, with a strength.
(() => {
  "use strict";
  const { minus, button, title, range, frame, figures } = Frame;
  const { T, tau, uniforms } = Toy;
  const { NETWORKS, ROOM, still, noise, spread, sheet, walk, runner, shown } = Network;
  const NAME = "creatures16", { one: ONE, loads: LOADS } = NETWORKS[NAME], S = 20;
  const { factors: FACTORS } = window.CREATURES, NAMES = Object.keys(FACTORS);
  const MIXED = "mixed", ANY = "any";
  const strength = range(-1, 4, 1, 0.5, { marks: [-1, 0, 1, 2, 3, 4], say: minus });
  const pickers = (names, first) => names.map((name) => [name, name, [...first, ...FACTORS[name]]]);

  // The labels of `count` creatures: what is chosen; left to the network; or mixed, each its own.
  const wishes = (chosen, count, seed) => {
    const chance = uniforms(seed);
    return Array.from({ length: count }, () => NAMES.map((name) => {
      const kinds = FACTORS[name], own = Math.floor(chance() * kinds.length), asked = chosen[name] ?? MIXED;
      return asked === MIXED ? own : asked === ANY ? kinds.length : kinds.indexOf(asked);
    }));
  };
  const said = (chosen, names) => names.filter((name) => ![MIXED, ANY].includes(chosen[name]))
    .map((name) => `${name}: ${chosen[name]}`).join(", ");

  // Twelve at once, and the film of them.
  const creatures = (figure) => {
    const COUNT = 12, PICKED = ["ears", "muzzle", "fur", "ground"];
    // Before it draws, twelve of the picture in its place: six a row, each of 32 pixels with one around it.
    const picture = figure.querySelector("img");
    const before = (i, { c }, left, top, width) => {
      const unit = picture.naturalWidth / (6 * 33 + 1), [u, v] = [i % 6, Math.floor(i / 6)].map((k) => (1 + 33 * k) * unit);
      c.imageSmoothingEnabled = false;
      c.drawImage(picture, u, v, 32 * unit, 32 * unit, left, top, width, width);
    };
    const across = (width) => (width < 480 ? 4 : 6);
    const room = { ...ROOM, height: (width) => Math.round((width + 4) * COUNT / across(width) ** 2 - 4) };
    let seed = 1, film = [{ t: 0 }], asked = null;
    const { form, inputs, values, redraw, said: report } = frame(figure, room, [
      ...pickers(PICKED, [MIXED, ANY]),
      ["w", "strength w", strength],
      ["calls", "film, t =", range(0, 0, 0, 1, { disabled: true, say: (calls) => film[calls].t })],
    ], (surface, { w, calls }) => {
      const now = asked ? film[calls].x : picture?.naturalWidth && before;
      sheet(surface, now, COUNT, across(surface.width), 0, 0, surface.width);
      if (figure.dataset.trouble) return figure.dataset.trouble;
      const how = `“Draw” ${LOADS}, and makes`, end = `in ${S} steps, w = ${minus(w)}.`;
      if (!asked && !picture) return `Empty so far. ${how} twelve ${end}`;
      if (!asked) return `Twelve that a larger network drew before. ${how} others ${end}`;
      const who = said(asked, PICKED);
      return `t = ${film[calls].t}, ${calls} of ${S} steps done: twelve creatures${who && `, ${who}`}; w = ${minus(asked.w)}.`;
    });
    const work = runner(figure, report, NAME);
    const show = (calls) => {
      Object.assign(inputs.calls, { max: film.length - 1, value: calls, disabled: film.length < 2 });
      inputs.calls.dispatchEvent(new Event("input"));
      redraw();
    };
    const draw = async () => {
      if (work.running) return work.stop();
      const chosen = values();
      go.textContent = "Stop";
      await work.run(async (model, how) => {
        asked = chosen;
        film = [{ t: T, x: noise(COUNT, seed, ONE) }];
        show(0);
        const wanted = { x: film[0].x, y: wishes(chosen, COUNT, seed), w: chosen.w, grid: tau(S), ...how };
        for await (const { t, x } of walk(model, wanted)) {
          if (how.signal.aborted) break;
          film.push({ t, x });
          if (!still.matches) show(film.length - 1);
        }
      });
      go.textContent = "Draw";
      show(film.length - 1);
    };
    const holder = inputs.calls.parentElement, go = button(form, "Draw", draw, form.firstChild);
    holder.classList.add("long");
    go.classList.add("first");
    button(form, "Others", () => { work.stop(); seed++; draw(); }, inputs.ears.parentElement);
    picture?.addEventListener("load", redraw);
    redraw();
  };

  // The same six noises with w = 0 and with another strength.
  const strengths = (figure) => {
    const COUNT = 6, film = {};
    let seed = 1;
    const key = (chosen) => JSON.stringify({ ...chosen, seed });
    const cell = (width) => (width - 4 * (COUNT - 1)) / COUNT, room = { ...ROOM, height: (width) => 2 * (cell(width) + 30) };
    const { form, inputs, values, redraw, said: report } = frame(figure, room, [
      ...pickers(NAMES, [ANY]), ["w", "strength w", strength],
    ], (surface, chosen) => {
      const rows = [0, chosen.w].map((w) => film[key({ ...chosen, w })]);
      rows.forEach((x, k) => {
        const top = k * (cell(surface.width) + 30);
        title(surface, k ? `w = ${minus(chosen.w)}` : "w = 0, the labels alone", 0, top + 15);
        sheet(surface, x, COUNT, COUNT, 0, top + 22, surface.width);
      });
      if (figure.dataset.trouble) return figure.dataset.trouble;
      const so = `${said(chosen, NAMES) || "Nothing is asked for"}; w = ${minus(chosen.w)}, DDIM in ${S} steps. `;
      if (!rows.every(Boolean)) return `${so}“Draw” ${LOADS}.`;
      const [plain, strong] = rows.map((x) => spread(x, ONE).toFixed(2));
      return `${so}Distance of the six to their mean (root mean square): ${plain} with w = 0, ${strong} with this w.`;
    });
    const work = runner(figure, report, NAME);
    const draw = async () => {
      const chosen = values(), todo = [{ ...chosen, w: 0 }, chosen].filter((one) => !film[key(one)]);
      await work.run(async (model, how) => {
        for (const one of todo) {
          const mine = key(one), wanted = { x: noise(COUNT, seed, ONE), y: wishes(one, COUNT, seed), w: one.w, grid: tau(S), ...how };
          await shown(walk(model, wanted), how.signal, (step) => { film[mine] = step.x; redraw(); });
          if (how.signal.aborted) { delete film[mine]; return; }
        }
      });
      redraw();
    };
    button(form, "Draw", draw, form.firstChild).classList.add("first");
    button(form, "Other noise", () => { seed++; redraw(); draw(); }, inputs.ears.parentElement);
    for (const [name, kind] of Object.entries({ ears: "horns", muzzle: "beak", ground: "dusk" })) inputs[name].value = kind;
    redraw();
    form.addEventListener("change", () => { if (Object.keys(film).length) draw(); });
  };

  figures({
    creatures: ["Draw: noise becomes twelve creatures, each asked for by names drawn by lot. Then choose horns and a " +
      "beak, and draw again: the noise and all other names are the same, so the rest stays. Pull the film back: at which t can you " +
      "still tell the ears?", creatures],
    wishes: ["Draw: with w = 0 some of the six have only half a beak, with w = 1 all have a whole one. At w = 4 the colours glare and " +
      "the six are almost one: their distance to the mean falls. With w = −1 the names are forgotten, and other ears appear. Where " +
      "“any” is chosen the network decides.", strengths],
  });
})();
