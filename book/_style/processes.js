// Figures of the forward process and its reverse: nothing but formulas.
(() => {
  "use strict";
  const { minus, ink, blue, orange, font, Plot, title, pixels, range, frame, figures } = Frame;
  const { T, AB, normals, linear, cosine, gauss, Mixture } = Toy;
  const digits = window.PLAY.digits.map((digit) => digit.map((p) => p / 127.5 - 1)), eps = normals(64, 7);
  const noised = (x0, a) => x0.map((v, i) => Math.sqrt(a) * v + Math.sqrt(1 - a) * eps[i]);
  const DIGITS = [...digits.keys()].map(String);
  const power = (number) => {  // 4.04 · 10⁻⁵
    const [digits, exponent] = number.toExponential(2).split("e");
    if (Math.abs(exponent) < 3) return number.toPrecision(3);
    return `${digits} · 10${[...minus(+exponent)].map((c) => (c === "−" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("")}`;
  };

  // Two schedules as curves, and the same digit under both, right below the t that it belongs to.
  const schedule = (figure) => {
    const COLUMNS = 9, BELOW = 46;
    const cell = (width) => (width - 68) / (COLUMNS - 1) - 6;
    const room = { least: 300, most: 640, height: (width) => 280 + 2 * (cell(width) + BELOW / 2) };
    frame(figure, room, [
      ["digit", "digit", DIGITS],
      ["n", "T", range(30, T, T, 10, { marks: [250, 500, 750, 1000] })],
      ["rescale", "scale β by 1000/T", { type: "checkbox", checked: true }],
    ], (surface, { digit, n, rescale }) => {
      const both = [["linear (solid)", linear(n, rescale), blue(), []], ["cosine (dashed)", cosine(n), orange(), [6, 4]]];
      const plot = new Plot(surface, [0, 1], [0, 1], ["t / T", "ᾱ, what is left of the data"], { bottom: 280 });
      const size = cell(surface.width);
      plot.clear();
      both.forEach(([name, ab, colour, dash], row) => {
        const top = 280 + row * (size + BELOW / 2);
        plot.line(ab.map((a, t) => [t / n, a]), colour, dash);
        title(surface, name, plot.px(0) - size / 2, top + 13);
        for (let i = 0; i < COLUMNS; i++) {
          const t = Math.round(n * i / (COLUMNS - 1));
          const left = Math.min(Math.max(plot.px(t / n) - size / 2, 0), surface.width - size);
          pixels(surface, noised(digits[digit], ab[t]), left, top + 18, size);
        }
      });
      const [[, line], [, arc]] = both, [last, other] = [line[n], arc[n]];
      const bits = 0.5 * (last * 0.25 - last - Math.log(1 - last)) / Math.LN2;
      return `At t = T = ${n} the linear schedule leaves ᾱ = ${power(last)}, the cosine one ${power(other)}; halfway ` +
        `${power(line[n >> 1])} and ${power(arc[n >> 1])}. The prior term of the linear one is ${power(bits)} bits/dim for ` +
        `data with E[x²] = 1/4. ${last > 0.01 ? "This is not noise yet: sampling from N(0, I) starts in the wrong place." : ""}`;
    });
  };

  const noising = (figure) => {
    frame(figure, { least: 280, most: 640, height: (width) => width * 0.35 }, [
      ["digit", "digit", DIGITS],
      ["t", "t", range(0, T, 150, 1, { marks: [0, 250, 500, 750, 1000] })],
    ], (surface, { digit, t }) => {
      const a = AB[t], { c, width } = surface, unit = width / 560, x0 = digits[digit];
      c.fillStyle = ink(); c.textAlign = "center";
      const parts = [
        ["√ᾱ x₀", x0.map((v) => Math.sqrt(a) * v)],
        ["√(1−ᾱ) ε", eps.map((e) => Math.sqrt(1 - a) * e)],
        ["xₜ", noised(x0, a)],
      ];
      parts.forEach(([name, values], k) => {
        const left = (k * 190 + 10) * unit;
        pixels(surface, values, left, 0, 160 * unit, [-2, 2]);
        c.font = font(Math.max(13, 16 * unit)); c.fillText(name, left + 80 * unit, 184 * unit);
        c.font = font(24 * unit); if (k < 2) c.fillText(k ? "=" : "+", left + 175 * unit, 88 * unit);
      });
      return `t = ${t}: xₜ = ${Math.sqrt(a).toFixed(3)} x₀ + ${Math.sqrt(1 - a).toFixed(3)} ε. Of the variance of a ` +
        `pixel with E[x²] = 1, ${(100 * a).toFixed(1)} % is still the digit.`;
    });
  };

  // The mixture of chapter 2, a step before: what one x_t says about x_{t-1}, and a Gaussian beside it.
  const before = new Mixture([[-0.8], [0.8]], [0.04, 0.04]);
  const posterior = (figure) => {
    frame(figure, { least: 300, most: 640, height: 300 }, [
      ["b", "β", range(-3, -0.05, -2, 0.05, { marks: [-3, -2, -1], say: (b) => (10 ** b).toFixed(3) })],
      ["x", "xₜ", range(-2, 2, 0.1, 0.1, { marks: [-2, -1, 0, 1, 2] })],
    ], (surface, { b, x }) => {
      const beta = 10 ** b, truth = before.given([x], 1 - beta), [mean] = truth.mean(), variance = truth.variance();
      const wide = Math.max(4 * Math.sqrt(variance), 0.05), step = wide / 400;
      const grid = Array.from({ length: 801 }, (_, i) => mean - wide + i * step);
      const p = grid.map((u) => truth.density([u])), q = grid.map((u) => gauss(u, mean, variance));
      const apart = p.reduce((sum, v, i) => sum + Math.abs(v - q[i]), 0) * step / 2;
      const top = 1.35 * Math.max(...p, ...q);
      const plot = new Plot(surface, [mean - wide, mean + wide], [0, top], ["xₜ₋₁", "density"]);
      plot.clear();
      plot.line(grid.map((u, i) => [u, p[i]]), blue());
      plot.line(grid.map((u, i) => [u, q[i]]), orange(), [6, 4]);
      plot.text(mean - 0.95 * wide, 0.92 * top, "true q(xₜ₋₁ | xₜ) (solid)", blue());
      plot.text(mean - 0.95 * wide, 0.84 * top, "Gaussian, same mean and variance", orange());
      return `β = ${beta.toFixed(3)}, xₜ = ${minus(x.toFixed(1))}: mean ${minus(mean.toFixed(3))}, standard deviation ` +
        `${Math.sqrt(variance).toFixed(3)}; the two differ by ${(100 * apart).toFixed(1)} % of their mass (total variation).`;
    });
  };

  figures({
    schedule: ["Take T = 50 and switch the scaling of β off, as several published tutorials do: in the upper row the " +
      "digit can still be read at the right end, where only noise should be. With T = 1000 compare the middle " +
      "columns: the cosine schedule keeps the digit longer.", schedule],
    noising: ["Move t slowly up. From which t on can you no longer tell the digit? The noise is the same at every t, " +
      "so what you lose is the picture's share alone; look how small its factor is by then.", noising],
    posterior: ["Leave xₜ between the two modes and let β grow: first the two curves are one, then the solid one gets " +
      "a second hump, and no Gaussian has two. With xₜ = 2 they stay close: there all belongs to one mode.", posterior],
  });
})();
