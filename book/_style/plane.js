// Figures of the plane: a mixture of Gaussians, whose exact denoiser needs no network, and its paths from noise.
(() => {
  "use strict";
  const { minus, blue, orange, Plot, range, button, frame, grip, figures } = Frame;
  const { T, AB, points, tau, Mixture, path } = Toy;
  const grey = () => (document.documentElement.dataset.theme === "dark" ? "#9aa0a6" : "#8a8f98");
  const CENTRES = [[-1, -0.6], [1, -0.5], [0, 0.9]], data = new Mixture(CENTRES, [0.02, 0.02, 0.02]);
  const exact = (x, a) => data.eps(x, a);
  const AXES = [[-2.6, 2.6], [-2.6, 2.6], ["first coordinate of x", "second coordinate"]];
  const ROOM = { least: 300, most: 480, height: (width) => width * 0.9 };
  const nearest = (x) => data.belongs(x).reduce((best, p, k, all) => (p > all[best] ? k : best), 0);

  // ---------------------------------------------------------------- one start, its ODE and its SDE
  const plane = (figure) => {
    const COUNT = 60, PATHS = 4, shown = data.sample(150, 3), start = grip("The start x_T", [0.6, -1.7]);
    let seed = 1;
    const { form, redraw } = frame(figure, ROOM, [
      ["S", "steps S", range(2, 200, 50, 1, { marks: [50, 100, 150, 200] })],
      ["eta", "η of the orange paths", range(0, 1, 1, 0.1, { marks: [0, 0.5, 1], say: (eta) => eta.toFixed(1) })],
    ], (surface, { S, eta }) => {
      const plot = new Plot(surface, ...AXES), grid = tau(S), ends = [0, 0, 0];
      plot.clear();
      plot.dots(shown, grey(), 1.5);
      for (let k = 0; k < COUNT; k++) {
        const z = points(S, 100 * seed + k), way = path(start.at, exact, grid, { eta, noise: (i) => z[i] });
        if (k < PATHS) plot.line(way, `${orange()}99`, [], 0.8);
        plot.dots([way[S]], orange(), 2.5, true);
        ends[nearest(way[S])]++;
      }
      const way = path(start.at, exact, grid), [u, v] = way[S];
      plot.line(way, blue(), [], 2.5);
      plot.dots([way[S]], blue(), 5);
      start.place(plot, blue());
      return `x_T = (${start.at.map((w) => minus(w.toFixed(2))).join(", ")}), S = ${S}. Blue, the ODE: it always ends in ` +
        `(${minus(u.toFixed(3))}, ${minus(v.toFixed(3))}). Orange, ${COUNT} ends (and ${PATHS} paths) with η = ${eta.toFixed(1)}: ` +
        `${ends.join(", ")} in the left, the right and the upper mode.`;
    });
    button(form, "Other noise", () => { seed++; redraw(); });
  };

  // ---------------------------------------------------------------- twelve starts, three solvers
  const sigmas = AB.map((a) => Math.sqrt(1 / a - 1));
  const slope = (x, s) => exact(x.map((v) => v / Math.hypot(s, 1)), 1 / (1 + s * s));  // d x̄ / d σ
  const levels = (n) => Array.from({ length: n + 1 }, (_, i) =>
    (i === n ? 0 : Math.exp(Math.log(sigmas[T]) + (Math.log(sigmas[1]) - Math.log(sigmas[T])) * i / Math.max(n - 1, 1))));
  const step = (x, d, h) => [x[0] + h * d[0], x[1] + h * d[1]];
  const walk = (x, n, method) => {
    const s = levels(n), way = [x];
    let old = null;
    for (let i = 0; i < n; i++) {
      const [a, b] = [s[i], s[i + 1]], d = slope(x, a);
      if (method === "Heun" && b > 0) {
        const e = slope(step(x, d, b - a), b);
        x = step(x, [(d[0] + e[0]) / 2, (d[1] + e[1]) / 2], b - a);
      } else if (method === "DPM-Solver++(2M)") {
        const x0 = step(x, d, -a), h = Math.log(a / b), k = old && b > 0 ? h / (2 * old.h) : 0;
        const target = x0.map((v, j) => v + k * (v - (old ? old.x0[j] : v)));
        x = [0, 1].map((j) => b / a * x[j] + (1 - b / a) * target[j]);
        old = { x0, h };
      } else x = step(x, d, b - a);
      way.push(x);
    }
    return way;
  };
  const solver = (figure) => {
    const EXACT = 400, starts = points(12, 11).map((x) => x.map((v) => v * Math.hypot(sigmas[T], 1)));
    const truth = starts.map((x) => walk(x, EXACT, "Heun"));
    const shown = (way, n) => way.map((x, i) => x.map((v) => v / Math.hypot(levels(n)[i], 1)));
    const curves = truth.map((way) => { const s = levels(EXACT); return way.map((x, i) => x.map((v) => v / Math.hypot(s[i], 1))); });
    frame(figure, ROOM, [
      ["method", "solver", ["Euler (DDIM)", "Heun", "DPM-Solver++(2M)"]],
      ["n", "steps", range(2, 40, 6, 1, { marks: [10, 20, 30, 40] })],
    ], (surface, { method, n }) => {
      const plot = new Plot(surface, ...AXES);
      plot.clear();
      let error = 0;
      starts.forEach((x, i) => {
        const way = walk(x, n, method), dots = shown(way, n), [u, v] = truth[i][EXACT];
        plot.line(curves[i], grey(), [], 1.5);
        plot.line(dots, blue(), [], 1.5);
        plot.dots(dots, blue(), 2.5);
        plot.dots([[u, v]], orange(), 4, true);
        error += Math.hypot(way[n][0] - u, way[n][1] - v) / starts.length;
      });
      const calls = method === "Heun" ? 2 * n - 1 : n;
      return `${method}, ${n} steps, ${calls} network calls: mean distance to the exact end ${error.toFixed(3)}. ` +
        "Grey: the exact curves; squares: where they end; dots: the solver's steps.";
    });
  };
  window.Plane = { walk, levels };  // for the tests

  figures({
    plane: ["Drag the start, the blue ring. The blue path and its end move with it, smoothly, until the start crosses a " +
      "border between two modes and the end jumps. The orange paths begin in the same place and end anywhere: " +
      "noise on the way decides. Lower η to 0 and they become the blue one.", plane],
    solver: ["Compare the solvers at equal network calls, not at equal steps: Heun with 6 steps makes 11. Which is " +
      "the first to end on the squares, and how far is Euler with so many calls?", solver],
  });
})();
