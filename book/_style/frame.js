// The frame of every figure that answers: controls, a canvas sharp on any screen, a sentence with numbers.
// Plain canvas, no library, no network. play.js and live.js draw inside it.
const Frame = (() => {
  "use strict";

  // ---------------------------------------------------------------- mathematics
  const linear = (n, rescale = true) => {
    const ab = [1];
    for (let t = 1; t <= n; t++) {
      const beta = (1e-4 + (0.02 - 1e-4) * (t - 1) / (n - 1)) * (rescale ? 1000 / n : 1);
      ab.push(ab[t - 1] * (1 - Math.min(beta, 0.999)));
    }
    return ab;
  };
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
  const round = ([from, to]) => {  // three to six round numbers between two others
    const rough = (to - from) / 5, ten = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((k) => k * ten).find((k) => k >= rough * (1 - 1e-9));
    const first = Math.ceil(from / step - 1e-9), last = Math.floor(to / step + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, i) => +((first + i) * step).toPrecision(12));
  };

  // ---------------------------------------------------------------- drawing
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const ink = () => colour("--pst-color-text-base") || "#222";
  const dark = () => document.documentElement.dataset.theme === "dark";
  const blue = () => (dark() ? "#56b4e9" : "#0072b2"), orange = () => (dark() ? "#e69f00" : "#b84e00");
  const font = (size) => `${size}px ${colour("--pst-font-family-base") || "sans-serif"}`;

  class Plot {  // axes in data coordinates
    constructor({ c, width, height }, x, y, labels) {
      Object.assign(this, { c, x, y, labels });
      this.box = [50, 10, width - 18, height - 36];
    }
    px(u) { const [l, , r] = this.box; return l + (u - this.x[0]) / (this.x[1] - this.x[0]) * (r - l); }
    py(v) { const [, t, , b] = this.box; return b - (v - this.y[0]) / (this.y[1] - this.y[0]) * (b - t); }
    clear() {
      const { c } = this, [l, t, r, b] = this.box;
      c.strokeStyle = c.fillStyle = ink();
      c.lineWidth = 1; c.setLineDash([]); c.font = font(13);
      c.strokeRect(l, t, r - l, b - t);
      c.beginPath();
      c.textAlign = "center";
      for (const u of round(this.x)) {
        c.moveTo(this.px(u), b); c.lineTo(this.px(u), b - 4);
        c.fillText(minus(u), this.px(u), b + 15);
      }
      c.fillText(this.labels[0], (l + r) / 2, b + 31);
      c.textAlign = "right";
      for (const v of round(this.y)) {
        c.moveTo(l, this.py(v)); c.lineTo(l + 4, this.py(v));
        c.fillText(minus(v), l - 5, this.py(v) + 4);
      }
      c.stroke();
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

  // A grey image of side × side numbers between low and high, each a square of the canvas.
  const pixels = ({ c }, values, left, top, width, [low, high] = [-1, 1]) => {
    const side = Math.sqrt(values.length), data = new ImageData(side, side);
    const small = Object.assign(document.createElement("canvas"), { width: side, height: side });
    values.forEach((v, i) => {
      const grey = (Math.min(Math.max(v, low), high) - low) / (high - low) * 255;
      data.data.set([grey, grey, grey, 255], 4 * i);
    });
    small.getContext("2d").putImageData(data, 0, 0);
    c.imageSmoothingEnabled = false;
    c.drawImage(small, left, top, width, width);
  };

  // ---------------------------------------------------------------- a figure's frame
  const range = (min, max, value, step = 1, more = {}) => ({ type: "range", min, max, step, value, ...more });
  let count = 0;

  // A control is [name, label, spec], where spec is a list to choose from, or the properties of an input. A
  // slider has marks at `marks` and its value beside it, in the words of `say`.
  const control = (label, spec) => {
    const { say = minus, marks, ...properties } = Array.isArray(spec) ? {} : spec;
    const input = document.createElement(Array.isArray(spec) ? "select" : "input");
    const holder = document.createElement("label");
    if (Array.isArray(spec)) input.append(...spec.map((s) => new Option(s, s)));
    else Object.assign(input, properties);
    holder.append(`${label} `, input);
    if (input.type === "range") {
      const value = Object.assign(document.createElement("span"), { className: "value", ariaHidden: "true" });
      const tell = () => {
        value.textContent = say(+input.value);
        input.setAttribute("aria-valuetext", value.textContent);
      };
      input.addEventListener("input", tell);
      if (marks) {
        const list = Object.assign(document.createElement("datalist"), { id: `marks-${count++}` });
        list.append(...marks.map((mark) => new Option("", mark)));
        input.setAttribute("list", list.id);
        holder.append(list);
      }
      tell();
      holder.append(value);
    }
    return [holder, input];
  };

  // The canvas is as wide as there is room, from `least` to `most`; its height may be a function of the width.
  // `draw` fills it and returns the sentence below it. live.js goes on with what is returned.
  const frame = (figure, { least = 0, most, height }, controls, draw) => {
    const canvas = document.createElement("canvas"), form = document.createElement("form");
    const said = document.createElement("output"), inputs = {};
    canvas.setAttribute("role", "img");
    said.setAttribute("aria-live", "polite");
    form.addEventListener("submit", (event) => event.preventDefault());
    for (const [name, label, spec] of controls) {
      const [holder, input] = control(label, spec);
      inputs[name] = input;
      form.append(holder);
    }
    const values = () => Object.fromEntries(Object.entries(inputs).map(([name, input]) =>
      [name, input.type === "checkbox" ? input.checked : input.type === "range" ? +input.value : input.value]));
    const redraw = () => {
      const width = Math.max(least, Math.min(most, figure.clientWidth || most));
      const ratio = window.devicePixelRatio || 1, high = typeof height === "function" ? height(width) : height;
      Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(high * ratio) });
      canvas.style.width = `${width}px`;
      const c = canvas.getContext("2d");
      c.scale(ratio, ratio);
      const words = draw({ c, width, height: high }, values());
      if (said.textContent !== words) said.textContent = words;
      canvas.setAttribute("aria-label", words);
    };
    form.addEventListener("input", redraw);
    figure.prepend(form, canvas, said);
    figure.classList.add("alive");
    new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    window.addEventListener("resize", redraw);  // the ratio changes with the zoom, which is a resize too
    redraw();
    return { form, inputs, values, redraw, said };
  };

  const start = (selector, build) => {
    const all = () => document.querySelectorAll(selector).forEach(build);
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", all);
    else all();
  };

  return { linear, normals, minus, ink, blue, orange, font, Plot, pixels, range, frame, start };
})();
