// The figures of play.md that need no network: each is a <figure data-play="name"> that holds its static
// text; frame.js adds the controls.
(() => {
  "use strict";
  const { linear, normals, minus, ink, blue, orange, font, Plot, pixels, range, frame } = Frame;
  const T = 1000;
  const cosine = (n) => {
    const f = (u) => Math.cos(Math.PI / 2 * (u + 0.008) / 1.008) ** 2, ab = [1];
    for (let t = 1; t <= n; t++) ab.push(ab[t - 1] * (1 - Math.min(1 - f(t / n) / f((t - 1) / n), 0.999)));
    return ab;
  };
  const AB = linear(T);
  const power = (number) => {  // 4.04 · 10⁻⁵
    const [digits, exponent] = number.toExponential(2).split("e");
    if (Math.abs(exponent) < 3) return number.toPrecision(3);
    return `${digits} · 10${[...minus(+exponent)].map((c) => (c === "−" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("")}`;
  };
  const gauss = (x, m, v) => Math.exp(-((x - m) ** 2) / (2 * v)) / Math.sqrt(2 * Math.PI * v);

  const TIMES = { marks: [0, 250, 500, 750, 1000] };
  const FIGURES = {
    schedule(figure) {
      frame(figure, { least: 400, most: 560, height: 300 }, [
        ["kind", "schedule", ["linear", "cosine"]],
        ["n", "T", range(10, T, T, 10)],
        ["rescale", "scale β by 1000/T", { type: "checkbox", checked: true }],
      ], (canvas, { kind, n, rescale }) => {
        const ab = kind === "linear" ? linear(n, rescale) : cosine(n);
        const plot = new Plot(canvas, [0, 1], [0, 1.2], ["t / T", "share of the variance"]);
        plot.clear();
        plot.line(ab.map((a, t) => [t / n, a]), blue());
        plot.line(ab.map((a, t) => [t / n, 1 - a]), orange(), [6, 4]);
        plot.text(0.04, 1.1, "signal ᾱ (solid)", blue());
        plot.text(0.5, 1.1, "noise 1 − ᾱ (dashed)", orange());
        const last = ab[n], bits = 0.5 * (last * 0.25 + 1 - last - 1 - Math.log(1 - last)) / Math.LN2;
        return `At the end, t = T = ${n}: ᾱ = ${power(last)}, log-SNR = ${minus(Math.log(last / (1 - last)).toFixed(1))}, ` +
          `and the prior term of the bound is ${power(bits)} bits/dim for data with E[x²] = 1/4. ` +
          (last > 0.01 ? "This is not noise yet: sampling from N(0, I) starts in the wrong place." : "Only noise is left.") +
          (kind === "cosine" ? " Made for any T, this schedule needs no scaling: the switch does nothing here." : "");
      });
    },

    noising(figure) {
      const eps = normals(64, 7), x0 = window.PLAY.digit.map((p) => p / 127.5 - 1);
      frame(figure, { least: 400, most: 560, height: (width) => width * 0.35 }, [["t", "t", range(0, T, 150, 1, TIMES)]], (canvas, { t }) => {
        const a = AB[t], { c, width } = canvas, unit = width / 560;
        c.fillStyle = ink(); c.textAlign = "center";
        const parts = [
          ["√ᾱ x₀", x0.map((v) => Math.sqrt(a) * v)],
          ["√(1−ᾱ) ε", eps.map((e) => Math.sqrt(1 - a) * e)],
          ["xₜ", x0.map((v, i) => Math.sqrt(a) * v + Math.sqrt(1 - a) * eps[i])],
        ];
        parts.forEach(([name, values], k) => {
          const left = (k * 190 + 10) * unit;
          pixels(canvas, values, left, 0, 160 * unit, [-2, 2]);
          c.font = font(16); c.fillText(name, left + 80 * unit, 184 * unit);
          c.font = font(24); if (k < 2) c.fillText(k ? "=" : "+", left + 175 * unit, 88 * unit);
        });
        return `t = ${t}: xₜ = ${Math.sqrt(a).toFixed(3)} x₀ + ${Math.sqrt(1 - a).toFixed(3)} ε.`;
      });
    },

    posterior(figure) {
      frame(figure, { least: 400, most: 560, height: 300 }, [
        ["b", "β (logarithmic)", range(-3, -0.05, -2, 0.05, { marks: [-3, -2, -1], say: (b) => (10 ** b).toFixed(3) })],
        ["x", "xₜ", range(-2, 2, 0.1, 0.1)],
      ], (canvas, { b, x }) => {
        const beta = 10 ** b, N = 1201, grid = Array.from({ length: N }, (_, i) => -3 + i / 200);
        const before = (u) => 0.5 * gauss(u, -0.8, 0.04) + 0.5 * gauss(u, 0.8, 0.04);
        let p = grid.map((u) => before(u) * gauss(x, Math.sqrt(1 - beta) * u, beta));
        const z = p.reduce((s, v) => s + v, 0) / 200;
        p = p.map((v) => v / z);
        const mean = p.reduce((s, v, i) => s + v * grid[i], 0) / 200;
        const variance = p.reduce((s, v, i) => s + v * (grid[i] - mean) ** 2, 0) / 200;
        const q = grid.map((u) => gauss(u, mean, variance));
        const tv = p.reduce((s, v, i) => s + Math.abs(v - q[i]), 0) / 400;
        const wide = Math.max(4 * Math.sqrt(variance), 0.05), top = 1.35 * Math.max(...p, ...q);
        const plot = new Plot(canvas, [mean - wide, mean + wide], [0, top], ["xₜ₋₁", "density"]);
        plot.clear();
        plot.line(grid.map((u, i) => [u, p[i]]), blue());
        plot.line(grid.map((u, i) => [u, q[i]]), orange(), [6, 4]);
        plot.text(mean - 0.95 * wide, 0.93 * top, "true q(xₜ₋₁ | xₜ) (solid)", blue());
        plot.text(mean - 0.95 * wide, 0.85 * top, "Gaussian of the same mean and variance (dashed)", orange());
        return `β = ${beta.toFixed(3)}, xₜ = ${minus(x.toFixed(1))}: the two differ by ${(100 * tv).toFixed(1)} % of their mass (total variation).`;
      });
    },

    samples(figure) {
      const { steps, etas, sheet } = window.PLAY, image = new Image();
      const every = (list) => ({ marks: list.map((_, i) => i), say: (i) => (list[i] === "hat" ? "σ̂" : `${list[i]}`) });
      image.addEventListener("load", () => frame(figure, { least: 263, most: 526, height: (width) => width / 4 - 3 }, [
        ["S", "steps S", range(0, steps.length - 1, 1, 1, every(steps))],
        ["e", "η", range(0, etas.length - 1, 0, 1, every(etas))],
      ], ({ c, width }, { S, e }) => {
        const step = (width + 4) / 8;
        c.imageSmoothingEnabled = false;
        for (let i = 0; i < 16; i++) {
          const [u, v] = [i % 8, Math.floor(i / 8)];
          c.drawImage(image, S * 64 + 8 * u, e * 16 + 8 * v, 8, 8, step * u, step * v, step - 4, step - 4);
        }
        const eta = etas[e] === "hat" ? "σ̂" : etas[e];
        return `S = ${steps[S]}, η = ${eta}: sixteen digits from the same sixteen latents` +
          (e === 0 ? "; without noise the digit stays the same as S changes." : "; noise is added at every step.");
      }));
      image.src = sheet;
    },

    solver(figure) {
      const centres = [[-1, -0.6], [1, -0.5], [0, 0.9]], spread = 0.02, sigmas = AB.map((a) => Math.sqrt(1 / a - 1));
      const eps = (x, s) => {  // exact: of a mixture of three Gaussians, noised by s
        const v = spread + s * s, w = centres.map((m) => -((x[0] - m[0]) ** 2 + (x[1] - m[1]) ** 2) / (2 * v));
        const top = Math.max(...w), r = w.map((l) => Math.exp(l - top)), z = r.reduce((a, b) => a + b);
        return [0, 1].map((i) => s * r.reduce((sum, k, j) => sum + k * (x[i] - centres[j][i]), 0) / z / v);
      };
      const grid = (n) => Array.from({ length: n + 1 }, (_, i) =>
        i === n ? 0 : Math.exp(Math.log(sigmas[T]) + (Math.log(sigmas[1]) - Math.log(sigmas[T])) * i / Math.max(n - 1, 1)));
      const step = (x, d, h) => [x[0] + h * d[0], x[1] + h * d[1]];
      const walk = (x, n, method) => {
        const s = grid(n), path = [x];
        let old = null;
        for (let i = 0; i < n; i++) {
          const [a, b] = [s[i], s[i + 1]], d = eps(x, a);
          if (method === "Heun" && b > 0) {
            const e = eps(step(x, d, b - a), b);
            x = step(x, [(d[0] + e[0]) / 2, (d[1] + e[1]) / 2], b - a);
          } else if (method === "DPM-Solver++(2M)") {
            const x0 = step(x, d, -a), h = Math.log(a / b);
            const k = old && b > 0 ? h / (2 * old.h) : 0;
            const target = x0.map((v, j) => v + k * (v - (old ? old.x0[j] : v)));
            x = [0, 1].map((j) => b / a * x[j] + (1 - b / a) * target[j]);
            old = { x0, h };
          } else x = step(x, d, b - a);
          path.push(x);
        }
        return path;
      };
      const starts = normals(24, 11).reduce((all, v, i) => (i % 2 ? all[all.length - 1].push(v) : all.push([v]), all), [])
        .map((p) => p.map((v) => v * Math.hypot(sigmas[T], 1)));
      const truth = starts.map((x) => walk(x, 800, "Heun"));
      const shown = (path, n) => path.map((p, i) => p.map((v) => v / Math.hypot(grid(n)[i], 1)));
      frame(figure, { least: 400, most: 480, height: 420 }, [
        ["method", "solver", ["Euler (DDIM)", "Heun", "DPM-Solver++(2M)"]],
        ["n", "steps", range(2, 40, 6)],
      ], (canvas, { method, n }) => {
        const plot = new Plot(canvas, [-2.6, 2.6], [-2.6, 2.6], ["first coordinate of x", "second coordinate"]);
        plot.clear();
        let error = 0;
        starts.forEach((x, i) => {
          const path = walk(x, n, method), points = shown(path, n), exact = shown(truth[i], 800);
          plot.line(exact, "#999", [], 1.5);
          plot.line(points, blue(), [], 1.5);
          plot.dots(points, blue(), 2.5);
          plot.dots([exact[800]], orange(), 4, true);
          error += Math.hypot(path[n][0] - truth[i][800][0], path[n][1] - truth[i][800][1]) / starts.length;
        });
        const calls = method === "Heun" ? 2 * n - 1 : n;
        return `${method}, ${n} steps, ${calls} network calls: mean distance to the exact end ${error.toFixed(3)}. ` +
          "Grey: the exact curves; squares: where they end; dots: the solver's steps.";
      });
    },
  };

  Frame.start("figure[data-play]", (figure) => FIGURES[figure.dataset.play](figure));
})();
