// What the figures with a network in them share: one walk at a time, with a bar and an end, and walks with noise,
// guidance and a mask. unet.js computes; the steps of a walk are minidiff/samplers.py, guidance.py and editing.py.
const Network = (() => {
  "use strict";
  const { faint, pixels } = Frame;
  const { normals, back } = Toy;
  const NETWORKS = {  // how many numbers an image has, and what is loaded at the first “Draw”, compressed
    digits_labels: { one: 64, loads: "loads the network, 0.3 MB" },
    creatures16: { one: 768, loads: "loads the network, 1.1 MB" },
  };
  const SIDE = NETWORKS.digits_labels.one, LOADS = NETWORKS.digits_labels.loads, ANY = "any";
  const DIGITS = [ANY, ...Array(10).keys()].map(String), STEPS = [1, 2, 5, 10, 20, 50, 100, 200];
  const ROOM = { least: 280, most: 640 };
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const noise = (count, seed, one = SIDE) => Float32Array.from(normals(count * one, seed));
  const image = (x, i, one = SIDE) => x.subarray(i * one, (i + 1) * one);
  const distance = (x, y) => Math.sqrt(x.reduce((sum, v, i) => sum + (v - y[i]) ** 2, 0) / x.length);
  const spread = (x, one = SIDE) => {  // how far the images are from their mean
    const mean = new Float32Array(one);
    x.forEach((v, k) => { mean[k % one] += v * one / x.length; });
    return distance(x, x.map((_, k) => mean[k % one]));
  };
  const labels = (digit, count) => (digit === ANY ? undefined : Array(count).fill(+digit));

  // Images in rows of `across`, what a function draws there, or as many empty squares.
  const sheet = (surface, x, count, across, left, top, width, gap = 4) => {
    const cell = (width - (across - 1) * gap) / across;
    for (let i = 0; i < count; i++) {
      const [u, v] = [left + (i % across) * (cell + gap), top + Math.floor(i / across) * (cell + gap)];
      surface.c.strokeStyle = faint();
      if (typeof x === "function") x(i, surface, u, v, cell);
      else if (x) pixels(surface, image(x, i, x.length / count), u, v, cell);
      else surface.c.strokeRect(u + 0.5, v + 0.5, cell - 1, cell - 1);
    }
  };

  // x: images at grid[0]. One or two calls a step: x0 = (1 + w) x0(x, y) - w x0(x, no label), which at one x says
  // the same of eps and v. `fresh(i)` is the noise of step i. With `known`, what `mask` marks is put in anew at
  // every level: there is noise in it too, and the last state holds it itself.
  async function* walk(model, { x, y, grid, eta = 0, w = 0, fresh = () => null, known, mask, ...how }) {
    const { in_channels, size, num_classes } = model.info.network, one = in_channels * size ** 2;
    const count = x.length / one, none = Array(count).fill(num_classes), fill = (x, a, z) =>
      x.map((v, k) => (mask[k % one] ? Math.sqrt(a) * known[k % one] + (a < 1 ? Math.sqrt(1 - a) * z[k] : 0) : v));
    if (known) x = fill(x, model.ab[grid[0]], x);
    for (let i = 0; i + 1 < grid.length; i++) {
      const [t, s] = [grid[i], grid[i + 1]], [a, b] = [model.ab[t], model.ab[s]], twice = w && y;
      const asked = twice ? { x: Float32Array.of(...x, ...x), labels: [...y, ...none] } : { x, labels: y };
      const progress = (share) => how.progress?.((i + share) / (grid.length - 1));
      let said;
      for await (const step of model.ddim({ ...asked, tau: [t, s], progress, signal: how.signal })) said = step.guess;
      if (!said) return;
      const x0 = said.slice(0, x.length), z = fresh(i);
      if (twice) for (let k = 0; k < x.length; k++) x0[k] = (1 + w) * said[k] - w * said[x.length + k];
      if (model.info.clip) for (let k = 0; k < x.length; k++) x0[k] = Math.min(Math.max(x0[k], -1), 1);
      const eps = x.map((v, k) => (v - Math.sqrt(a) * x0[k]) / Math.sqrt(1 - a));  // of the pair with that x0
      x = back(x, x0, eps, a, b, eta, z);
      if (known) x = fill(x, b, z);
      yield { t: s, x, x0 };
    }
  }

  const progress = (figure) => {
    const bar = Object.assign(document.createElement("progress"), { max: 1, hidden: true });
    bar.setAttribute("aria-label", "Share of the network calls that are done");
    figure.querySelector("form").after(bar);
    return bar;
  };

  // One job at a time: a new one ends the one before it, and so does stop(). `job` gets the network, what to tell
  // of its progress, and a signal that says that nobody waits for it any more.
  const runner = (figure, report, name = "digits_labels") => {
    const bar = progress(figure);
    let current = null;
    return {
      get running() { return current !== null; },
      stop() { current?.abort(); },
      async run(job) {
        current?.abort();
        const mine = current = new AbortController();
        report.setAttribute("aria-busy", "true");  // nothing is read aloud until it is done
        bar.hidden = false;
        bar.removeAttribute("value");
        delete figure.dataset.trouble;
        try {
          const model = await minidiff.load(name);
          await job(model, { signal: mine.signal, progress: (share) => { if (current === mine) bar.value = share; } });
        } catch (error) {
          figure.dataset.trouble = `The network does not run in this browser (${error.message}).`;
        }
        if (current !== mine) return;
        current = null;
        bar.hidden = true;
        report.removeAttribute("aria-busy");
      },
    };
  };
  // The steps of a walk, each shown as it comes; by who asked for less motion, the last one only.
  const shown = async (steps, signal, see) => {
    let last = null;
    for await (const step of steps) {
      if (signal.aborted) return;
      last = step;
      if (!still.matches) await see(step);
    }
    if (last && still.matches) await see(last);
  };

  return {
    NETWORKS, SIDE, LOADS, ANY, DIGITS, STEPS, ROOM,
    still, noise, image, distance, spread, labels, sheet, walk, runner, shown,
  };
})();
