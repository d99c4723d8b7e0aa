// The frame of every figure that answers: what to try, controls, a canvas sharp on any screen, a sentence with
// numbers. Plain canvas, no library, no network. The other files draw inside it.
const Frame = (() => {
  "use strict";

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
  const faint = () => colour("--pst-color-border") || "#ccc";
  const dark = () => document.documentElement.dataset.theme === "dark";
  const blue = () => (dark() ? "#56b4e9" : "#0072b2"), orange = () => (dark() ? "#e69f00" : "#b84e00");
  const font = (size) => `${size}px ${colour("--pst-font-family-base") || "sans-serif"}`;

  class Plot {  // axes in data coordinates, on the whole surface or from `left` to `right` only
    constructor(surface, x, y, labels, { left = 0, right = surface.width, top = 0, bottom = surface.height } = {}) {
      Object.assign(this, { surface, c: surface.c, x, y, labels });
      this.box = [left + 50, top + 10, right - 18, bottom - 36];
    }
    px(u) { const [l, , r] = this.box; return l + (u - this.x[0]) / (this.x[1] - this.x[0]) * (r - l); }
    py(v) { const [, t, , b] = this.box; return b - (v - this.y[0]) / (this.y[1] - this.y[0]) * (b - t); }
    at(px, py) {  // the point of the data at a point of the canvas
      const [l, t, r, b] = this.box, [[x0, x1], [y0, y1]] = [this.x, this.y];
      return [x0 + (px - l) / (r - l) * (x1 - x0), y0 + (b - py) / (b - t) * (y1 - y0)];
    }
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
      c.save(); c.translate(l - 38, (t + b) / 2); c.rotate(-Math.PI / 2); c.textAlign = "center";
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

  const title = ({ c }, words, left, top) => {
    c.font = font(14); c.fillStyle = ink(); c.textAlign = "left";
    c.fillText(words, left, top);
  };

  // An image of side × side numbers between low and high, each a square of the canvas; or of three times as many,
  // its red, its green and its blue.
  const pixels = ({ c }, values, left, top, width, [low, high] = [-1, 1]) => {
    const planes = Number.isInteger(Math.sqrt(values.length)) ? [0, 0, 0] : [0, 1, 2];
    const side = Math.sqrt(values.length / (planes[2] + 1)), data = new ImageData(side, side);
    const small = Object.assign(document.createElement("canvas"), { width: side, height: side });
    for (let i = 0; i < side ** 2; i++) {
      const level = planes.map((plane) => values[plane * side ** 2 + i]);
      data.data.set([...level.map((v) => (Math.min(Math.max(v, low), high) - low) / (high - low) * 255), 255], 4 * i);
    }
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

  const button = (form, words, act, before = null) => {
    const made = Object.assign(document.createElement("button"), { type: "button", textContent: words });
    made.addEventListener("click", act);
    form.insertBefore(made, before);
    return made;
  };

  // The canvas is as wide as there is room, from `least` to `most`; its height may be a function of the width.
  // `draw` fills it and returns the sentence below it. A figure goes on with what is returned.
  const frame = (figure, { least = 0, most, height }, controls, draw) => {
    const canvas = document.createElement("canvas"), form = document.createElement("form");
    const said = document.createElement("output"), stage = document.createElement("div"), inputs = {};
    stage.className = "stage";
    stage.append(canvas);
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
      const words = draw({ c, width, height: high, stage, canvas, redraw }, values());
      if (said.textContent !== words) said.textContent = words;
      canvas.setAttribute("aria-label", words);
    };
    form.addEventListener("input", redraw);
    figure.prepend(form, stage, said);
    figure.classList.add("alive");
    new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    window.addEventListener("resize", redraw);  // the ratio changes with the zoom, which is a resize too
    redraw();
    return { form, inputs, values, redraw, said, stage };
  };

  // ---------------------------------------------------------------- to touch the picture itself
  // Where an event is, in the measures of the surface, whatever the size on the screen.
  const spot = ({ canvas, width }, event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * width / box.width, (event.clientY - box.top) * width / box.width];
  };
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  // A point of a plot that is dragged, or moved with the arrow keys; `draw` puts it in its place. `change` gets
  // the point that is asked for and returns the one that it becomes.
  const grip = (name, at, { step = 0.1, kind = "", change = (point) => point } = {}) => {
    const element = Object.assign(document.createElement("button"), { type: "button", className: `grip ${kind}` });
    const made = { at };
    let plot;
    const move = (point) => {
      made.at = change(point.map((v, i) => {
        const [low, high] = i ? plot.y : plot.x;
        return Math.min(Math.max(v, low), high);
      }));
      plot.surface.redraw();
    };
    element.addEventListener("pointerdown", (event) => element.setPointerCapture(event.pointerId));
    element.addEventListener("pointermove", (event) => {
      if (element.hasPointerCapture(event.pointerId)) move(plot.at(...spot(plot.surface, event)));
    });
    element.addEventListener("keydown", (event) => {
      const way = ARROWS[event.key];
      if (!way) return;
      event.preventDefault();
      move(made.at.map((v, i) => v + way[i] * step * (event.shiftKey ? 0.2 : 1)));
    });
    made.place = (on, colour) => {
      plot = on;
      const { surface } = plot, [u, v] = made.at;
      if (!element.isConnected) surface.stage.append(element);
      element.style.left = `${100 * plot.px(u) / surface.width}%`;
      element.style.top = `${100 * plot.py(v) / surface.height}%`;
      element.style.setProperty("--grip", colour);
      element.setAttribute("aria-label", `${name} (${minus(u.toFixed(2))}, ${minus(v.toFixed(2))}), arrow keys move it`);
    };
    return made;
  };

  // A part of the picture that is painted on, or gone over with the arrow keys and the space bar: `act` gets the
  // column and the row, as fractions of the size of the grid, and whether a stroke begins.
  const pad = (name, columns, rows, act) => {
    const element = Object.assign(document.createElement("div"), { className: "pad", tabIndex: 0 });
    const cursor = Object.assign(document.createElement("i"), { ariaHidden: "true" });
    element.setAttribute("role", "application");
    element.setAttribute("aria-label", `${name}: paint with a finger or a mouse, or go with the arrow keys and press space`);
    element.append(cursor);
    let here = [columns >> 1, rows >> 1];
    const show = () => Object.assign(cursor.style, {
      left: `${100 * here[0] / columns}%`, top: `${100 * here[1] / rows}%`,
      width: `${100 / columns}%`, height: `${100 / rows}%`,
    });
    const inside = (v, most) => Math.min(Math.max(v, 0), most - 1e-6);
    const touch = (event, first) => {
      const box = element.getBoundingClientRect();
      const point = [inside((event.clientX - box.left) / box.width * columns, columns),
        inside((event.clientY - box.top) / box.height * rows, rows)];
      here = point.map(Math.floor);
      show();
      act(point, first);
    };
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      touch(event, true);
    });
    element.addEventListener("pointermove", (event) => {
      if (element.hasPointerCapture(event.pointerId)) touch(event, false);
    });
    element.addEventListener("keydown", (event) => {
      const way = ARROWS[event.key], paints = event.key === " ";
      if (!way && !paints) return;
      event.preventDefault();
      if (way) here = here.map((v, i) => Math.floor(inside(v + (i ? -way[1] : way[0]), i ? rows : columns)));
      show();
      if (paints) act(here.map((v) => v + 0.5), true);
    });
    show();
    return {
      place({ stage, width, height }, left, top, wide, high) {
        if (!element.isConnected) stage.append(element);
        Object.assign(element.style, {
          left: `${100 * left / width}%`, top: `${100 * top / height}%`,
          width: `${100 * wide / width}%`, height: `${100 * high / height}%`,
        });
      },
    };
  };

  // ---------------------------------------------------------------- the figures of a file
  // NAME: [what to try and what one should see, what builds it in a figure of the class live-NAME].
  const figures = (table) => {
    const build = () => {
      for (const [name, [words, make]] of Object.entries(table))
        for (const figure of document.querySelectorAll(`figure.live-${name}`)) {
          make(figure);
          const advice = Object.assign(document.createElement("p"), { className: "try" });
          advice.textContent = words.replaceAll(" = ", "\u00a0=\u00a0");  // no line ends inside a formula
          figure.prepend(advice);
        }
    };
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", build);
    else build();
  };

  return { minus, ink, faint, blue, orange, font, Plot, title, pixels, range, button, frame, grip, pad, figures };
})();
