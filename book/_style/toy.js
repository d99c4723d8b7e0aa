// The mathematics of the figures: minidiff/schedule.py, spacing.py, toy.py, samplers.py and measure/frechet.py in
// plain numbers. A point is an array of coordinates. tests/test_figures.py compares each with its original.
const Toy = (() => {
  "use strict";
  const T = 1000;

  // ---------------------------------------------------------------- the same chance at every visit
  const uniforms = (seed) => () => {  // mulberry32
    seed = (seed + 0x6d2b79f5) | 0;
    let z = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return (((z ^ (z >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  const normals = (n, seed) => {
    const u = uniforms(seed);
    return Array.from({ length: n }, () => Math.sqrt(-2 * Math.log(u())) * Math.cos(2 * Math.PI * u()));
  };
  const points = (n, seed) => {  // normal ones, of the plane
    const z = normals(2 * n, seed);
    return Array.from({ length: n }, (_, i) => [z[2 * i], z[2 * i + 1]]);
  };

  // ---------------------------------------------------------------- alpha_bar for t = 0..T
  const linear = (n, rescale = true) => {
    const ab = [1];
    for (let t = 1; t <= n; t++) {
      const beta = (1e-4 + (0.02 - 1e-4) * (t - 1) / (n - 1)) * (rescale ? 1000 / n : 1);
      ab.push(ab[t - 1] * (1 - beta));
    }
    return ab;
  };
  const cosine = (n) => {
    const f = (u) => Math.cos(Math.PI / 2 * (u + 0.008) / 1.008) ** 2, ab = [1];
    for (let t = 1; t <= n; t++) ab.push(ab[t - 1] * (1 - Math.min(1 - f(t / n) / f((t - 1) / n), 0.999)));
    return ab;
  };
  const AB = linear(T);

  const tau = (S, spacing = "linear", from = T) => Array.from({ length: S + 1 }, (_, k) => S - k).map((i) =>
    (spacing === "quadratic" ? Math.max(Math.floor(from * i * i / S ** 2), i) : Math.floor(from * i / S)));

  // ---------------------------------------------------------------- sum_k w_k N(m_k, v_k I)
  const gauss = (x, m, v) => Math.exp(-((x - m) ** 2) / (2 * v)) / Math.sqrt(2 * Math.PI * v);

  class Mixture {
    constructor(means, vars, weights = means.map(() => 1)) {
      const all = weights.reduce((a, b) => a + b);
      Object.assign(this, { means, vars, weights: weights.map((w) => w / all) });
    }
    noised(a) {
      return new Mixture(this.means.map((m) => m.map((v) => Math.sqrt(a) * v)), this.vars.map((v) => a * v + 1 - a), this.weights);
    }
    density(x) {
      return this.weights.reduce((sum, w, k) => sum + w * x.reduce((p, v, i) => p * gauss(v, this.means[k][i], this.vars[k]), 1), 0);
    }
    belongs(x) {  // p(k | x)
      const far = (k) => x.reduce((sum, v, i) => sum + (v - this.means[k][i]) ** 2, 0);
      const logs = this.weights.map((w, k) => Math.log(w) - (far(k) / this.vars[k] + x.length * Math.log(this.vars[k])) / 2);
      const top = Math.max(...logs), r = logs.map((l) => Math.exp(l - top)), all = r.reduce((p, q) => p + q);
      return r.map((v) => v / all);
    }
    // What one x_t says about x, if x_t = sqrt(a) x + sqrt(1-a) eps: a mixture again.
    given(xt, a) {
      const gain = this.vars.map((v) => Math.sqrt(a) * v / (a * v + 1 - a));
      return new Mixture(
        this.means.map((m, k) => m.map((v, i) => v + gain[k] * (xt[i] - Math.sqrt(a) * v))),
        this.vars.map((v) => v * (1 - a) / (a * v + 1 - a)), this.noised(a).belongs(xt));
    }
    mean() { return this.means[0].map((_, i) => this.weights.reduce((sum, w, k) => sum + w * this.means[k][i], 0)); }
    variance() {  // of one coordinate, in one dimension
      const [mean] = this.mean();
      return this.weights.reduce((sum, w, k) => sum + w * (this.vars[k] + (this.means[k][0] - mean) ** 2), 0);
    }
    eps(x, a) {
      const x0 = this.given(x, a).mean();
      return x.map((v, i) => (v - Math.sqrt(a) * x0[i]) / Math.sqrt(1 - a));
    }
    sample(n, seed) {
      const u = uniforms(seed), z = normals(n * this.means[0].length, seed + 1), dims = this.means[0].length;
      return Array.from({ length: n }, (_, i) => {
        let k = 0;
        for (let left = u(); k < this.weights.length - 1 && left > this.weights[k]; k++) left -= this.weights[k];
        return this.means[k].map((m, j) => m + Math.sqrt(this.vars[k]) * z[i * dims + j]);
      });
    }
  }

  // ---------------------------------------------------------------- from t to s < t
  // The standard deviation of the noise that is added, and the one whose room it takes: ddim_sigma, or sigma-hat.
  const noiseOf = (a, b, eta) => {
    const small = Math.sqrt((1 - b) / (1 - a) * (1 - a / b));
    return b === 1 ? [0, 0] : eta === "hat" ? [Math.sqrt(1 - a / b), small] : [eta * small, eta * small];
  };
  const back = (x, x0, eps, a, b, eta = 0, z = null) => {
    const [sigma, room] = noiseOf(a, b, eta), along = Math.sqrt(Math.max(1 - b - room ** 2, 0));
    return x.map((_, i) => Math.sqrt(b) * x0[i] + along * eps[i] + (sigma ? sigma * z[i] : 0));
  };
  // The path of a point with eps(x, alpha_bar, t), `noise(step)` one normal number a coordinate.
  const path = (x, eps, grid, { eta = 0, noise = null, ab = AB } = {}) => {
    const all = [x];
    for (let i = 0; i + 1 < grid.length; i++) {
      const [a, b] = [ab[grid[i]], ab[grid[i + 1]]], e = eps(x, a, grid[i]);
      const x0 = x.map((v, j) => (v - Math.sqrt(1 - a) * e[j]) / Math.sqrt(a));
      x = back(x, x0, e, a, b, eta, noise?.(i));
      all.push(x);
    }
    return all;
  };

  const lerp = (a, b, w) => a.map((v, i) => (1 - w) * v + w * b[i]);
  const slerp = (a, b, w) => {
    const dot = (u, v) => u.reduce((sum, x, i) => sum + x * v[i], 0);
    const angle = Math.acos(dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))), sin = Math.sin(angle);
    return a.map((v, i) => (Math.sin((1 - w) * angle) * v + Math.sin(w * angle) * b[i]) / sin);
  };

  // ---------------------------------------------------------------- the Fréchet distance in the plane
  const stats = (cloud) => {
    const n = cloud.length, mean = [0, 1].map((i) => cloud.reduce((sum, x) => sum + x[i], 0) / n);
    const cov = (i, j) => cloud.reduce((sum, x) => sum + (x[i] - mean[i]) * (x[j] - mean[j]), 0) / (n - 1);
    return { mean, cov: [cov(0, 0), cov(0, 1), cov(1, 1)] };
  };
  // In two dimensions Tr (A B)^(1/2) = sqrt(Tr(A B) + 2 sqrt(det A det B)).
  const frechet = ({ mean: m, cov: [a, b, c] }, { mean: n, cov: [p, q, r] }) => {
    const places = (m[0] - n[0]) ** 2 + (m[1] - n[1]) ** 2;
    const trace = a * p + 2 * b * q + c * r, dets = Math.max((a * c - b * b) * (p * r - q * q), 0);
    const shapes = Math.max(a + c + p + r - 2 * Math.sqrt(Math.max(trace + 2 * Math.sqrt(dets), 0)), 0);
    return { places, shapes, distance: places + shapes };
  };

  return { T, AB, uniforms, normals, points, linear, cosine, tau, gauss, Mixture, back, path, lerp, slerp, stats, frechet };
})();
