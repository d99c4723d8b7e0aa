// The interactive figures of play.md: plain canvas, no library, no network.
// Each figure is a <figure data-play="name"> that holds its static text; controls are added here.
(() => {
  "use strict";
  const T = 1000;

  // ---------------------------------------------------------------- mathematics
  const linear = (n, rescale) => {
    const ab = [1];
    for (let t = 1; t <= n; t++) {
      const beta = (1e-4 + (0.02 - 1e-4) * (t - 1) / (n - 1)) * (rescale ? 1000 / n : 1);
      ab.push(ab[t - 1] * (1 - Math.min(beta, 0.999)));
    }
    return ab;
  };
  const cosine = (n) => {
    const f = (u) => Math.cos(Math.PI / 2 * (u + 0.008) / 1.008) ** 2, ab = [1];
    for (let t = 1; t <= n; t++) ab.push(ab[t - 1] * (1 - Math.min(1 - f(t / n) / f((t - 1) / n), 0.999)));
    return ab;
  };
  const AB = linear(T, true);
  const normals = (n, seed) => {  // the same noise at every visit
    let s = seed;
    const u = () => {  // mulberry32
      s = (s + 0x6d2b79f5) | 0;
      let z = Math.imul(s ^ (s >>> 15), 1 | s);
      z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
      return (((z ^ (z >>> 14)) >>> 0) + 0.5) / 4294967296;
    };
    return Array.from({ length: n }, () => Math.sqrt(-2 * Math.log(u())) * Math.cos(2 * Math.PI * u()));
  };
  const minus = (number) => `${number}`.replace("-", "−");
  const power = (number) => {  // 4.04 · 10⁻⁵
    const [digits, exponent] = number.toExponential(2).split("e");
    if (Math.abs(exponent) < 3) return number.toPrecision(3);
    return `${digits} · 10${[...minus(+exponent)].map((c) => (c === "−" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("")}`;
  };
  const gauss = (x, m, v) => Math.exp(-((x - m) ** 2) / (2 * v)) / Math.sqrt(2 * Math.PI * v);

  // ---------------------------------------------------------------- drawing
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const ink = () => colour("--pst-color-text-base") || "#222";
  const dark = () => document.documentElement.dataset.theme === "dark";
  const blue = () => (dark() ? "#56b4e9" : "#0072b2"), orange = () => (dark() ? "#e69f00" : "#b84e00");

  class Plot {  // a canvas with axes in data coordinates
    constructor(canvas, x, y, labels) {
      Object.assign(this, { canvas, c: canvas.getContext("2d"), x, y, labels });
      this.box = [50, 10, canvas.width - 18, canvas.height - 36];
    }
    px(u) { const [l, , r] = this.box; return l + (u - this.x[0]) / (this.x[1] - this.x[0]) * (r - l); }
    py(v) { const [, t, , b] = this.box; return b - (v - this.y[0]) / (this.y[1] - this.y[0]) * (b - t); }
    clear() {
      const { c, canvas } = this, [l, t, r, b] = this.box;
      c.clearRect(0, 0, canvas.width, canvas.height);
      c.strokeStyle = c.fillStyle = ink();
      c.lineWidth = 1; c.setLineDash([]); c.font = "13px sans-serif";
      c.strokeRect(l, t, r - l, b - t);
      c.textAlign = "center";
      for (const u of [0, 0.5, 1].map((f) => this.x[0] + f * (this.x[1] - this.x[0])))
        c.fillText(minus(+u.toFixed(2)), this.px(u), b + 15);
      c.fillText(this.labels[0], (l + r) / 2, b + 31);
      c.textAlign = "right";
      for (const v of [0, 0.5, 1].map((f) => this.y[0] + f * (this.y[1] - this.y[0])))
        c.fillText(minus(+v.toFixed(2)), l - 4, this.py(v) + 4);
      c.save(); c.translate(12, (t + b) / 2); c.rotate(-Math.PI / 2); c.textAlign = "center";
      c.fillText(this.labels[1], 0, 0); c.restore();
    }
    line(points, stroke, dash = [], width = 2) {
      const { c } = this, [l, t, r, b] = this.box;
      c.save(); c.beginPath(); c.rect(l, t, r - l, b - t); c.clip();
      c.beginPath(); c.strokeStyle = stroke; c.lineWidth = width; c.setLineDash(dash);
      points.forEach(([u, v], i) => c[i ? "lineTo" : "moveTo"](this.px(u), this.py(v)));
      c.stroke(); c.restore();
    }
    dots(points, fill, size = 3, square = false) {
      const { c } = this;
      c.fillStyle = fill;
      for (const [u, v] of points) {
        c.beginPath();
        if (square) c.rect(this.px(u) - size, this.py(v) - size, 2 * size, 2 * size);
        else c.arc(this.px(u), this.py(v), size, 0, 7);
        c.fill();
      }
    }
    text(u, v, words, fill) {
      this.c.fillStyle = fill; this.c.textAlign = "left"; this.c.fillText(words, this.px(u), this.py(v));
    }
  }

  // ---------------------------------------------------------------- a figure's frame
  // On a phone a canvas of axes is made narrower, so that its words are shrunk less.
  const fitted = (figure, width) => Math.max(400, Math.min(width, figure.clientWidth || width));

  const frame = (figure, width, height, controls, draw) => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.setAttribute("role", "img");
    const form = document.createElement("form"), said = document.createElement("output");
    said.setAttribute("aria-live", "polite");
    form.addEventListener("submit", (e) => e.preventDefault());
    const inputs = {};
    for (const [name, label, spec] of controls) {
      const holder = document.createElement("label");
      holder.append(label + " ");
      const input = document.createElement(Array.isArray(spec) ? "select" : "input");
      if (Array.isArray(spec)) for (const s of spec) input.append(new Option(s, s));
      else Object.assign(input, spec);
      inputs[name] = input;
      holder.append(input);
      form.append(holder);
    }
    const redraw = () => {
      const values = {};
      for (const [name, input] of Object.entries(inputs))
        values[name] = input.type === "checkbox" ? input.checked : input.type === "range" ? +input.value : input.value;
      const words = draw(canvas, values);
      said.textContent = words;
      canvas.setAttribute("aria-label", words);
    };
    form.addEventListener("input", redraw);
    figure.prepend(form, canvas, said);
    new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    redraw();
  };
  const range = (min, max, value, step = 1) => ({ type: "range", min, max, step, value });

  const FIGURES = {
    schedule(figure) {
      frame(figure, fitted(figure, 560), 300, [
        ["kind", "schedule", ["linear", "cosine"]],
        ["n", "T", range(10, 1000, 1000, 10)],
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
      frame(figure, 560, 200, [["t", "t", range(0, T, 150)]], (canvas, { t }) => {
        const a = AB[t], c = canvas.getContext("2d"), cell = 20;
        c.clearRect(0, 0, canvas.width, canvas.height);
        c.fillStyle = ink(); c.textAlign = "center";
        const parts = [
          ["√ᾱ x₀", x0.map((v) => Math.sqrt(a) * v)],
          ["√(1−ᾱ) ε", eps.map((e) => Math.sqrt(1 - a) * e)],
          ["xₜ", x0.map((v, i) => Math.sqrt(a) * v + Math.sqrt(1 - a) * eps[i])],
        ];
        parts.forEach(([name, values], k) => {
          const left = k * 190 + 10;
          values.forEach((v, i) => {
            const g = Math.round((Math.min(Math.max(v, -2), 2) + 2) / 4 * 255);
            c.fillStyle = `rgb(${g},${g},${g})`;
            c.fillRect(left + (i % 8) * cell, Math.floor(i / 8) * cell, cell, cell);
          });
          c.fillStyle = ink();
          c.font = "16px sans-serif"; c.fillText(name, left + 80, 184);
          c.font = "24px sans-serif"; if (k < 2) c.fillText(k ? "=" : "+", left + 175, 88);
        });
        return `t = ${t}: xₜ = ${Math.sqrt(a).toFixed(3)} x₀ + ${Math.sqrt(1 - a).toFixed(3)} ε.`;
      });
    },

    posterior(figure) {
      frame(figure, fitted(figure, 560), 300, [
        ["b", "β (logarithmic)", range(-3, -0.05, -2, 0.05)],
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
      image.addEventListener("load", () => frame(figure, 526, 128, [
        ["S", "steps S", range(0, steps.length - 1, 1)],
        ["e", "η", range(0, etas.length - 1, 0)],
      ], (canvas, { S, e }) => {
        const c = canvas.getContext("2d");
        c.imageSmoothingEnabled = false;
        c.clearRect(0, 0, canvas.width, canvas.height);
        for (let i = 0; i < 16; i++) {
          const [u, v] = [i % 8, Math.floor(i / 8)];
          c.drawImage(image, S * 64 + 8 * u, e * 16 + 8 * v, 8, 8, 66 * u, 66 * v, 62, 62);
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
      frame(figure, fitted(figure, 480), 420, [
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

  const start = () => {
    for (const figure of document.querySelectorAll("figure[data-play]")) FIGURES[figure.dataset.play](figure);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
