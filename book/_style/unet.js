// The networks of minidiff/unet in the browser: the shipped weights, the numbers of PyTorch.
//
//     const model = await minidiff.load("digits_labels");
//     for await (const step of model.ddim({ x, labels, tau: minidiff.tau(1000, 20) })) show(step.x, step.x0);
//
// An image is a matrix, a row for each pixel and a column for each channel. Then a convolution is one
// product of matrices (the nine neighbours of a pixel laid beside each other), and so is all else that
// takes time. WebAssembly multiplies, four numbers at once; the rest is plain JavaScript. The network
// runs in a worker, so that the page stays awake.
window.minidiff = (() => {
  "use strict";

  // The worker is started from the text of this function: from file:// no other file could be one.
  function runtime() {
    // ------------------------------------------------------------------ memory
    // One heap of 32-bit floats. A tensor is where it begins and its shape; the channels of a pixel are
    // filled up with zeros to `step`, a multiple of four, because one instruction reads four numbers.
    const memory = new WebAssembly.Memory({ initial: 16 });
    let heap = new Float32Array(memory.buffer), top = 0;
    const tensor = (height, width, channels) => {
      const step = Math.ceil(channels / 4) * 4, at = top, pixels = height * width;
      top += pixels * step;
      if (top > heap.length) {
        memory.grow(Math.ceil((top - heap.length) / 16384) + 64);  // pages of 64 KiB
        heap = new Float32Array(memory.buffer);
      }
      heap.fill(0, at, top);
      return { at, height, width, channels, step, pixels };
    };
    const released = (work) => {  // what `work` took is free again when it is done
      const before = top, result = work();
      top = before;
      return result;
    };

    // ------------------------------------------------------------------ out = a bᵀ + bias
    // A tile of 4 × 2 results stays in registers while k runs along the rows of a and b. At an edge a tile
    // computes the last row or column once more instead of stepping outside. Below, an assembler of few
    // words: https://webassembly.github.io/spec/core/binary/ has the bytes.
    const BYTES = {
      "i32.const": [0x41], "i32.add": [0x6a], "i32.sub": [0x6b], "i32.mul": [0x6c], "i32.lt_u": [0x49],
      "local.get": [0x20], "local.set": [0x21], "local.tee": [0x22], select: [0x1b],
      loop: [0x03, 0x40], br_if: [0x0d], end: [0x0b],
      "f32.load": [0x2a, 2, 0], "f32.store": [0x38, 2, 0], "f32.add": [0x92], "v128.load": [0xfd, 0, 4, 0],
      "v128.zero": [0xfd, 12, ...Array(16).fill(0)], "f32x4.extract_lane": [0xfd, 31],
      "f32x4.add": [0xfd, 0xe4, 1], "f32x4.mul": [0xfd, 0xe6, 1],
    };
    const multiplication = () => {
      const each = (n, words) => Array.from({ length: n }, (_, i) => words(i)).join(" ");
      const loop = (index, step, end, body) => `i32.const 0 local.set ${index} loop ${body}
        local.get ${index} i32.const ${step} i32.add local.tee ${index} local.get ${end} i32.lt_u br_if 0 end`;
      const place = (base, index, i, end, size) => `local.get ${base}
        local.get ${index} i32.const ${i} i32.add local.tee $i local.get ${end} i32.const 1 i32.sub local.tee $last
        local.get $i local.get $last i32.lt_u select ${size} i32.mul i32.add`;  // base + min(index + i, end - 1) size
      const words = loop("$row", 4, "$rows", `
        ${each(4, (r) => `${place("$a", "$row", r, "$rows", "local.get $depth")} local.set $a${r}
                          ${place("$out", "$row", r, "$rows", "local.get $stride")} local.set $out${r}`)}
        ${loop("$column", 2, "$columns", `
          ${each(2, (c) => `${place("$b", "$column", c, "$columns", "local.get $depth")} local.set $b${c}`)}
          ${each(8, (i) => `v128.zero local.set $sum${i}`)}
          ${loop("$k", 16, "$depth", `
            ${each(2, (c) => `local.get $b${c} local.get $k i32.add v128.load local.set $vb${c}`)}
            ${each(4, (r) => `local.get $a${r} local.get $k i32.add v128.load local.set $va
              ${each(2, (c) => `local.get $va local.get $vb${c} f32x4.mul
                local.get $sum${2 * r + c} f32x4.add local.set $sum${2 * r + c}`)}`)}`)}
          ${each(8, (i) => `${place(`$out${i >> 1}`, "$column", i % 2, "$columns", "i32.const 4")}
            ${place("$bias", "$column", i % 2, "$columns", "i32.const 4")} f32.load
            ${each(4, (lane) => `local.get $sum${i} f32x4.extract_lane ${lane} f32.add`)} f32.store`)}`)}`)
        .split(/\s+/).filter(Boolean);
      const given = ["$out", "$a", "$b", "$bias", "$rows", "$columns", "$depth", "$stride"];
      const own = [...new Set(words.filter((word) => word[0] === "$" && !given.includes(word)))];
      const vectors = own.filter((word) => /^\$(sum|v)/.test(word));
      const numbers = own.filter((word) => !vectors.includes(word));
      const locals = [...given, ...numbers, ...vectors];
      const int = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...int(n >> 7)]);
      const sized = (bytes) => [...int(bytes.length), ...bytes];
      const text = (word) => sized([...word].map((letter) => letter.charCodeAt(0)));
      const body = [2, ...int(numbers.length), 0x7f, ...int(vectors.length), 0x7b,  // so many i32, so many v128
        ...words.flatMap((word) => BYTES[word] ?? int(word[0] === "$" ? locals.indexOf(word) : +word)), 0x0b];
      return new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,  // WebAssembly, version 1
        1, ...sized([1, 0x60, ...sized(given.map(() => 0x7f)), 0]),  // a function of eight i32 to nothing
        2, ...sized([1, ...text("heap"), ...text("memory"), 2, 0, 1]),  // works in the heap
        3, ...sized([1, 0]), 7, ...sized([1, ...text("multiply"), 0, 0]), 10, ...sized([1, ...sized(body)])]);
    };
    const assembled = new WebAssembly.Instance(new WebAssembly.Module(multiplication()), { heap: { memory } });
    const multiply = (out, a, b, bias, rows, columns, depth) =>  // depth: numbers in a row of a and of b
      assembled.exports.multiply(4 * out.at, 4 * a.at, 4 * b.at, 4 * bias.at, rows, columns, 4 * depth, 4 * out.step);

    // ------------------------------------------------------------------ files of weights
    const half = (h) => {  // a 16-bit float
      const e = (h >> 10) & 31, m = (h & 1023) / 1024;
      return (h >> 15 ? -1 : 1) * (e ? 2 ** (e - 15) * (1 + m) : 2 ** -14 * m);
    };
    const READ = { I8: [1, "getInt8"], F16: [2, "getUint16"], F32: [4, "getFloat32"], F64: [8, "getFloat64"] };
    // A safetensors file of minidiff/engine/checkpoint.py: its description, and its tensors on the heap.
    const read = (buffer) => {
      const view = new DataView(buffer), length = Number(view.getBigUint64(0, true));
      const { __metadata__: about, ...stored } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
      const numbers = ({ dtype, data_offsets: [from, to] }) => {
        if (!READ[dtype]) throw Error(`these weights hold numbers of type ${dtype}, which unet.js does not read`);
        const [size, get] = READ[dtype], first = 8 + length + from;
        const values = Float32Array.from({ length: (to - from) / size }, (_, i) => view[get](first + i * size, true));
        return dtype === "F16" ? values.map(half) : values;
      };
      const weights = {};
      for (const [name, entry] of Object.entries(stored)) {
        if (name.endsWith(":scale")) continue;
        const [rows, inside, ky = 1, kx = 1] = entry.shape.length > 1 ? entry.shape : [1, ...entry.shape];
        const values = numbers(entry), scale = stored[`${name}:scale`] && numbers(stored[`${name}:scale`]);
        // (out, in, ky, kx) is stored; a row of the matrix has ky kx pixels of `in` channels.
        const t = weights[name] = tensor(rows, ky * kx, inside);
        for (let row = 0, i = 0; row < rows; row++)
          for (let channel = 0; channel < inside; channel++)
            for (let tap = 0; tap < ky * kx; tap++, i++)
              heap[t.at + (row * ky * kx + tap) * t.step + channel] = scale ? values[i] * scale[row] : values[i];
      }
      return { info: JSON.parse(about.minidiff), weights };
    };

    // How many classes each label of an image has. The number itself stands for none, in most networks.
    const classes = ({ num_classes: count }) => (Array.isArray(count) ? count : count ? [count] : []);

    // ------------------------------------------------------------------ the layers of minidiff/unet/blocks.py
    const network = (c, weights) => {
      const silu = (x) => {
        const h = heap;
        for (let i = x.at, end = x.at + x.pixels * x.step; i < end; i++) h[i] /= 1 + Math.exp(-h[i]);
        return x;
      };

      const add = (x, y) => {
        const h = heap;
        for (let i = 0; i < x.pixels * x.step; i++) h[x.at + i] += h[y.at + i];
        return x;
      };

      const norm = (x, name) => {
        const out = tensor(x.height, x.width, x.channels), h = heap, each = x.channels / c.groups;
        const weight = weights[`${name}.weight`].at, bias = weights[`${name}.bias`].at;
        const end = x.at + x.pixels * x.step;
        for (let first = 0; first < x.channels; first += each) {  // the channels of a group
          let mean = 0, square = 0;
          for (let p = x.at + first; p < end; p += x.step)
            for (let i = p; i < p + each; i++) mean += h[i];
          mean /= each * x.pixels;
          for (let p = x.at + first; p < end; p += x.step)
            for (let i = p; i < p + each; i++) square += (h[i] - mean) * (h[i] - mean);
          const scale = 1 / Math.sqrt(square / (each * x.pixels) + c.eps);
          for (let k = first; k < first + each; k++) {
            const a = scale * h[weight + k], b = h[bias + k] - mean * a;
            for (let i = x.at + k, to = out.at + k; i < end; i += x.step, to += x.step) h[to] = a * h[i] + b;
          }
        }
        return out;
      };

      // A convolution, or a linear map: x with `before` pixels of zeros above and left of it.
      const conv = (x, name, stride = 1, before = 1) => {
        const weight = weights[`${name}.weight`], bias = weights[`${name}.bias`], taps = weight.width;
        const out = tensor(x.height / stride, x.width / stride, weight.height);
        released(() => {
          const rows = taps === 1 ? x : neighbours(x, stride, before);
          multiply(out, rows, weight, bias, out.pixels, out.channels, taps * x.step);
        });
        return out;
      };

      // The 3×3 pixels around each, in one row: three runs of memory, once x has a margin of zeros.
      const neighbours = (x, stride, before) => {
        const wide = tensor(x.height + 2, x.width + 2, x.channels), run = 3 * x.step;
        for (let y = 0; y < x.height; y++) {
          const from = x.at + y * x.width * x.step;
          heap.copyWithin(wide.at + ((y + before) * wide.width + before) * x.step, from, from + x.width * x.step);
        }
        const out = tensor(x.height / stride, x.width / stride, 3 * run);
        for (let y = 0, to = out.at; y < x.height; y += stride)
          for (let u = 0; u < x.width; u += stride)
            for (let ky = 0; ky < 3; ky++, to += run) {
              const from = wide.at + ((y + ky) * wide.width + u) * x.step;
              heap.copyWithin(to, from, from + run);
            }
        return out;
      };

      const double = (x) => {  // every pixel twice in both directions
        const out = tensor(2 * x.height, 2 * x.width, x.channels);
        for (let p = 0; p < out.pixels; p++) {
          const from = x.at + ((p / out.width >> 1) * x.width + (p % out.width >> 1)) * x.step;
          heap.copyWithin(out.at + p * x.step, from, from + x.step);
        }
        return out;
      };

      const channels = (x, first, count, out = tensor(x.height, x.width, count), to = 0) => {  // some of x's channels
        for (let p = 0; p < x.pixels; p++)
          for (let i = 0; i < count; i++) heap[out.at + p * out.step + to + i] = heap[x.at + p * x.step + first + i];
        return out;
      };

      const join = (x, y) => {
        const out = tensor(x.height, x.width, x.channels + y.channels);
        channels(x, 0, x.channels, out);
        return channels(y, 0, y.channels, out, x.channels);
      };

      const transposed = (x) => {  // (pixels, channels) to (channels, pixels)
        const out = tensor(x.channels, 1, x.pixels);
        for (let p = 0; p < x.pixels; p++)
          for (let i = 0; i < x.channels; i++) heap[out.at + i * out.step + p] = heap[x.at + p * x.step + i];
        return out;
      };

      const product = (a, b) => {  // a bᵀ
        const out = tensor(a.pixels, 1, b.pixels);
        multiply(out, a, b, tensor(1, 1, b.pixels), a.pixels, b.pixels, a.step);
        return out;
      };

      const softmax = (x, factor) => {  // of every row, which is multiplied by `factor` first
        for (let p = 0; p < x.pixels; p++) {
          const row = heap.subarray(x.at + p * x.step, x.at + p * x.step + x.channels);
          const most = row.reduce((a, b) => Math.max(a, factor * b), -Infinity);
          let sum = 0;
          for (let i = 0; i < row.length; i++) sum += row[i] = Math.exp(factor * row[i] - most);
          for (let i = 0; i < row.length; i++) row[i] /= sum;
        }
        return x;
      };

      const attention = (x, name, linear) => {
        const all = x.channels, d = c.head_dim ?? all / (c.heads ?? 1), h = tensor(x.height, x.width, all);
        released(() => {
          const qkv = conv(norm(x, `${name}.norm`), `${name}.qkv`);
          for (let first = 0; first < all; first += d) {
            const [q, k, v] = [0, 1, 2].map((i) => channels(qkv, i * all + first, d));
            const attended = linear
              ? product(softmax(q, 1), product(transposed(v), softmax(transposed(k), 1)))
              : product(softmax(product(q, k), d ** -0.5), transposed(v));
            if (linear) for (let i = 0; i < attended.pixels * attended.step; i++) heap[attended.at + i] *= d ** -0.5;
            channels(attended, 0, d, { ...h }, first);
          }
        });
        return add(conv(h, `${name}.proj`), x);
      };

      const residual = (x, name, emb) => {
        let h = conv(silu(norm(x, `${name}.norm1`)), `${name}.conv1`);
        const e = conv(emb, `${name}.emb`), out = h.channels;
        const onEach = (change) => {
          for (let p = 0, i = h.at; p < h.pixels; p++)
            for (let k = 0; k < h.step; k++, i++) heap[i] = change(heap[i], k);
        };
        if (c.scale_shift) {
          h = norm(h, `${name}.norm2`);
          onEach((v, k) => (k < out ? v * (1 + heap[e.at + k]) + heap[e.at + out + k] : 0));
        } else {
          onEach((v, k) => v + heap[e.at + k]);
          h = norm(h, `${name}.norm2`);
        }
        return add(conv(silu(h), `${name}.conv2`), weights[`${name}.skip.weight`] ? conv(x, `${name}.skip`) : x);
      };

      // -------------------------------------------------------------- the U-Net of minidiff/unet/network.py
      const float = Math.fround, half = c.width / 2;  // PyTorch computes the angles in 32 bits
      const features = (t) => {
        if (Array.isArray(c.clock)) {
          const low = Math.min(Math.max(Math.floor(t), 0), c.clock.length - 2), [a, b] = c.clock.slice(low, low + 2);
          t = float(float(a) + (t - low) * float(float(b) - float(a)));
        } else t = float(t * float(c.clock));
        const out = tensor(1, 1, c.width), fixed = { sinusoidal: half - 1, iddpm: half }[c.time];
        for (let i = 0; i < half; i++) {
          const angle = fixed
            ? float(t * float(Math.exp(float(float(float(-Math.log(10000)) * i) / fixed))))
            : float(float(2 * Math.PI * t) * heap[weights["features.frequency"].at + i]);
          heap[out.at + i + (c.time === "iddpm" ? half : 0)] = Math.sin(angle);
          heap[out.at + i + (c.time === "iddpm" ? 0 : half)] = Math.cos(angle);
        }
        return out;
      };

      const embed = (t, labels) => {  // a number for each label that an image has
        const emb = conv(silu(conv(features(t), "time.0")), "time.2"), table = weights["labels.weight"];
        let first = 0;  // the row of the table where the label begins
        classes(c).forEach((count, k) => {
          add(emb, { at: table.at + (first + labels[k]) * table.step });
          first += count + (c.null_class ?? true);
        });
        return silu(emb);
      };

      // As UNet.__init__ lists them: of each stage, whether its attention is linear, or that the size changes.
      const sizes = c.mults.map((_, level) => c.size >> level);
      const stages = (levels, count) => levels.flatMap((size, i) =>
        [...Array(count).fill({ linear: c.linear_attention.includes(size) }), ...(levels[i + 1] ? ["resize"] : [])]);
      const down = stages(sizes, c.blocks), up = stages(sizes.reverse(), c.blocks + 1);
      const stage = (x, name, emb, linear) => {
        const h = residual(x, `${name}.res`, emb);
        return weights[`${name}.attn.qkv.weight`] ? attention(h, `${name}.attn`, linear) : h;
      };

      // One image of shape (C, H, W), t in 0..T-1 → (out_channels, H, W).
      return (image, t, labels) => released(() => {
        const x = tensor(c.size, c.size, image.length / c.size ** 2);
        for (let p = 0; p < x.pixels; p++)
          for (let i = 0; i < x.channels; i++) heap[x.at + p * x.step + i] = image[i * x.pixels + p];
        const emb = embed(t, labels);
        let h = conv(x, "conv_in");
        const skips = [h];
        down.forEach((kind, i) => {
          if (kind === "resize") h = conv(h, `down.${i}.conv`, 2, c.symmetric ? 1 : 0);
          else h = stage(h, `down.${i}`, emb, kind.linear);
          skips.push(h);
        });
        h = stage(stage(h, "mid.0", emb), "mid.1", emb);
        up.forEach((kind, i) => {
          if (kind === "resize") h = conv(double(h), `up.${i}.conv`);
          else h = stage(join(h, skips.pop()), `up.${i}`, emb, kind.linear);
        });
        h = conv(silu(norm(h, "norm_out")), "conv_out");
        const out = new Float32Array(c.out_channels * x.pixels);
        for (let p = 0; p < x.pixels; p++)
          for (let i = 0; i < c.out_channels; i++) out[i * x.pixels + p] = heap[h.at + p * h.step + i];
        return out;
      });
    };

    // ------------------------------------------------------------------ minidiff/schedule.py, denoiser.py, samplers.py
    const alphaBar = ({ kind, T, beta_1, beta_T, s, max_beta, betas, alpha_bar }) => {
      if (kind === "table") return alpha_bar;
      const f = (t) => Math.cos(Math.PI / 2 * (t / T + s) / (1 + s)) ** 2;
      const beta = {
        linear: (t) => (beta_1 + (beta_T - beta_1) * (t - 1) / (T - 1)) * 1000 / T,
        cosine: (t) => Math.min(1 - f(t) / f(t - 1), max_beta),
        betas: (t) => betas[t - 1],
      }[kind];
      const table = [1];
      for (let t = 1; t <= (T ?? betas.length); t++) table.push(table[t - 1] * (1 - beta(t)));
      return table;
    };

    // The labels of every image, a list for each: what is asked for, or none of all that the network knows.
    const wanted = (network, labels, count) => {
      const counts = classes(network), none = network.null_class ?? true;
      if (labels && !counts.length) throw Error("this network knows no labels: leave them out");
      if (!labels && !none) throw Error("this network has no label for none: give labels");
      const rows = (labels ?? Array(count).fill(counts)).map((row) => (Array.isArray(row) ? row : [row]));
      const known = (label, k) => Number.isInteger(label) && label >= 0 && label < counts[k] + none;
      const each = counts.map((most) => `from 0 to ${most - 1 + none}`).join(", ");
      if (rows.length !== count || !rows.every((row) => row.length === counts.length && row.every(known)))
        throw Error(counts.length === 1
          ? `labels must be ${count} whole numbers ${each}, got ${labels}`
          : `labels must be ${count} lists of ${counts.length} whole numbers, ${each}; got ${JSON.stringify(labels)}`);
      return rows;
    };

    // DDIM without noise (eta = 0). After every image the share of the work that is done, after every step
    // {t, x, x0, raw, guess}: where we are, and what the network said to get here; guess is x0 before clipping.
    function* ddim({ info, ab, net }, { x, labels, tau }) {
      const { in_channels, size, self_cond } = info.network;
      const one = in_channels * size ** 2, count = x.length / one;
      if (!Number.isInteger(count)) throw Error(`x must be images of ${one} numbers, got ${x.length} numbers`);
      const y = wanted(info.network, labels, count);
      if (!tau.every((t, i) => Number.isInteger(t) && t >= 0 && t < (tau[i - 1] ?? ab.length)))
        throw Error(`tau must be whole numbers that fall from at most ${ab.length - 1}, got ${tau}`);
      const toX0 = {
        eps: (v, y, a) => (v - Math.sqrt(1 - a) * y) / Math.sqrt(a),
        x0: (v, y) => y,
        v: (v, y, a) => Math.sqrt(a) * v - Math.sqrt(1 - a) * y,
      }[info.predict];
      if (!toX0) throw Error(`unet.js cannot use a network that predicts ${info.predict}`);
      const [x0, raw, guess] = Array.from({ length: 3 }, () => new Float32Array(x.length));
      for (let step = 0; step + 1 < tau.length; step++) {
        const [t, s] = [tau[step], tau[step + 1]], [a, b] = [ab[t], ab[s]];
        x = x.slice();
        for (let i = 0; i < count; i++) {
          const [from, to] = [i * one, (i + 1) * one], own = self_cond ? x0.subarray(from, to) : [];
          const seen = Float32Array.of(...x.subarray(from, to), ...own);
          raw.set(net(seen, t - 1, y[i]).subarray(0, one), from);  // beyond it: a learned variance
          for (let k = from; k < to; k++) {
            const free = toX0(x[k], raw[k], a), clipped = info.clip ? Math.min(Math.max(free, -1), 1) : free;
            const eps = info.predict === "eps" ? raw[k] : (x[k] - Math.sqrt(a) * free) / Math.sqrt(1 - a);
            const kept = eps + Math.sqrt(a / (1 - a)) * (free - clipped);  // of the pair with the clipped x0
            x[k] = Math.sqrt(b) * clipped + Math.sqrt(1 - b) * kept;
            x0[k] = clipped;
            guess[k] = free;
          }
          yield { share: (step + (i + 1) / count) / (tau.length - 1) };
        }
        yield { step: { t: s, x, x0: x0.slice(), raw: raw.slice(), guess: guess.slice() } };
      }
    }

    // ------------------------------------------------------------------ messages
    const stopped = new Set();
    let model;
    onmessage = async ({ data: { id, file, stop, ...asked } }) => {
      try {
        if (stop) return stopped.add(id);
        if (file) {
          const { info, weights } = read(file);
          model = { info, ab: alphaBar(info.schedule), net: network(info.network, weights) };
          postMessage({ id, info, ab: model.ab });
        } else {
          let breath = performance.now();
          for (const news of ddim(model, asked)) {
            postMessage({ id, ...news });
            if (performance.now() - breath < 30) continue;
            await new Promise((go) => setTimeout(go));  // the word to stop may have arrived
            breath = performance.now();
            if (stopped.has(id)) break;
          }
          postMessage({ id, done: true });
        }
      } catch (error) {
        postMessage({ id, error: error.message });
      }
    };
  }

  // -------------------------------------------------------------------- the page
  const home = document.currentScript.src, models = {}, waiting = {};

  // The file NAME.safetensors, deflated, as text: weights/NAME.js beside this script calls minidiff.deliver.
  const inflated = (text) => new Response(new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))])
    .stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  const fetched = (name) => new Promise((resolve, reject) => {
    waiting[name] = (text) => resolve(inflated(text));
    const script = Object.assign(document.createElement("script"), { src: new URL(`weights/${name}.js`, home).href });
    script.onerror = () => reject(Error(`the weights ${name} could not be loaded`));
    document.head.append(script);
  });

  async function open(name) {
    const worker = new Worker(URL.createObjectURL(new Blob([`(${runtime})()`], { type: "text/javascript" })));
    const hear = {};
    let last = 0;
    worker.onmessage = ({ data: { id, ...news } }) => hear[id]?.(news);
    worker.onerror = (error) => Object.values(hear).forEach((tell) => tell({ error: error.message }));

    async function* ask(question) {  // what the worker answers to a question
      const id = last++, news = [];
      let wake;
      hear[id] = (item) => { news.push(item); wake?.(); };
      worker.postMessage({ id, ...question });
      try {
        for (;;) {
          while (!news.length) await new Promise((go) => { wake = go; });
          const item = news.shift();
          if (item.error) throw Error(item.error);
          if (item.done) return;
          yield item;
        }
      } finally {
        delete hear[id];
        worker.postMessage({ id, stop: true });
      }
    }

    const { info, ab } = (await ask({ file: await fetched(name) }).next()).value;
    return {
      info, ab,
      // x: Float32Array of images (B, C, H, W) at tau[0]; labels: B numbers, or B lists if an image has several,
      // none for no label; `progress` is told the share that is done; an abort of `signal` ends it early.
      // Yields {t, x, x0, raw, guess}.
      async *ddim({ x, labels, tau, progress, signal }) {
        for await (const { share, step } of ask({ x, labels, tau })) {
          if (signal?.aborted) return;
          if (step) yield step;
          else progress?.(share);
        }
      },
    };
  }

  return {
    load(name) {
      models[name] ??= open(name).catch((error) => { delete models[name]; throw error; });
      return models[name];
    },
    deliver: (name, text) => waiting[name](text),
    tau: (from, steps) => Array.from({ length: steps + 1 }, (_, i) => Math.floor(from * (steps - i) / steps)),
  };
})();
