// The network of chapter 0's thirty lines, with its gradient and Adam, in 32-bit numbers: three inputs, a point and
// how clear it is; hidden layers with ReLU; two outputs. A batch is one long array, row after row.
// tests/test_figures.py takes the same steps with PyTorch.
const Mlp = (() => {
  "use strict";

  // out = a bᵀ: every row of a with every row of b, both `depth` long. Four rows at a time, for speed; at the end
  // the last row is computed again instead of stepping outside.
  const product = (a, b, rows, columns, depth) => {
    const out = new Float32Array(rows * columns), row = (r) => Math.min(r, rows - 1);
    for (let r = 0; r < rows; r += 4) {
      const r1 = row(r + 1), r2 = row(r + 2), r3 = row(r + 3);
      for (let c = 0; c < columns; c++) {
        let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (let k = 0, j = c * depth; k < depth; k++, j++) {
          const v = b[j];
          s0 += v * a[r * depth + k];
          s1 += v * a[r1 * depth + k];
          s2 += v * a[r2 * depth + k];
          s3 += v * a[r3 * depth + k];
        }
        out[r * columns + c] = s0;
        out[r1 * columns + c] = s1;
        out[r2 * columns + c] = s2;
        out[r3 * columns + c] = s3;
      }
    }
    return out;
  };
  const transposed = (a, rows, columns) => {
    const out = new Float32Array(a.length);
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = a[r * columns + c];
    return out;
  };

  class Mlp {
    constructor(seed, width = 64, depth = 3) {
      const u = Toy.uniforms(seed), sizes = [3, ...Array(depth).fill(width), 2];
      this.layers = sizes.slice(1).map((out, l) => {
        const inside = sizes[l], range = 1 / Math.sqrt(inside);
        const random = (n) => Float32Array.from({ length: n }, () => (2 * u() - 1) * range);
        return { inside, out, parts: [random(out * inside), random(out)] };  // matrix, bias
      });
      for (const layer of this.layers) {
        layer.slopes = layer.parts.map((part) => new Float32Array(part.length));
        layer.means = layer.parts.map((part) => new Float32Array(part.length));
        layer.squares = layer.parts.map((part) => new Float32Array(part.length));
      }
      this.steps = 0;
      this.size = this.layers.reduce((sum, { inside, out }) => sum + (inside + 1) * out, 0);
    }

    // x: 3 numbers a row. Returns 2 numbers a row.
    forward(x) {
      const rows = x.length / 3, last = this.layers.length - 1;
      let h = x;
      this.layers.forEach((layer, l) => {
        const { inside, out, parts: [matrix, bias] } = layer;
        const y = product(h, matrix, rows, out, inside).map((v, i) => v + bias[i % out]);
        layer.x = h;
        h = l < last ? y.map((v) => Math.max(v, 0)) : y;
      });
      return h;
    }

    // The mean squared error of the answer to x, and one step of Adam that makes it smaller.
    learn(x, target, rate) {
      const answer = this.forward(x), rows = x.length / 3;
      let g = answer.map((v, i) => 2 * (v - target[i]) / answer.length);
      for (let l = this.layers.length - 1; l >= 0; l--) {
        const { inside, out, parts: [matrix], slopes, x: h } = this.layers[l];
        slopes[0] = product(transposed(g, rows, out), transposed(h, rows, inside), out, inside, rows);
        slopes[1].fill(0);
        g.forEach((v, i) => { slopes[1][i % out] += v; });
        if (l) g = product(g, transposed(matrix, out, inside), rows, inside, out).map((v, i) => (h[i] > 0 ? v : 0));
      }
      this.adam(rate);
      return answer.reduce((sum, v, i) => sum + (v - target[i]) ** 2, 0) / answer.length;
    }

    adam(rate) {
      this.steps++;
      const [a, b] = [1 - 0.9 ** this.steps, 1 - 0.999 ** this.steps];
      for (const { parts, slopes, means, squares } of this.layers)
        parts.forEach((part, k) => {
          for (let i = 0; i < part.length; i++) {
            const slope = slopes[k][i];
            means[k][i] = 0.9 * means[k][i] + 0.1 * slope;
            squares[k][i] = 0.999 * squares[k][i] + 0.001 * slope * slope;
            part[i] -= rate * means[k][i] / a / (Math.sqrt(squares[k][i] / b) + 1e-8);
          }
        });
    }
  }
  return Mlp;
})();
