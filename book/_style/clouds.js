// The Fréchet distance of two clouds of the plane, each moved, turned and stretched by hand.
(() => {
  "use strict";
  const { minus, blue, orange, Plot, range, frame, grip, figures } = Frame;
  const { points, stats, frechet } = Toy;

  // A cloud is white points, put along two axes: at its centre, one grip; at the end of its long axis, another.
  const cloud = (name, centre, end) => {
    const tip = grip(`${name}, the end of its long axis`, end, { kind: "tip" });
    const middle = grip(`${name}, its centre`, centre, {
      change: (to) => {
        tip.at = tip.at.map((v, i) => v + to[i] - middle.at[i]);
        return to;
      },
    });
    const axis = () => tip.at.map((v, i) => v - middle.at[i]);
    return {
      middle, tip, axis,
      // `narrow`: the short axis, as a share of the long one.
      at: (white, narrow) => white.map(([p, q]) => {
        const [u, v] = axis();
        return [middle.at[0] + p * u - narrow * q * v, middle.at[1] + p * v + narrow * q * u];
      }),
    };
  };

  const clouds = (figure) => {
    const white = [points(400, 5), points(400, 9)];
    const both = [cloud("Blue cloud", [-1.2, 0], [-0.2, 0.5]), cloud("Orange cloud", [1.4, 0.3], [2.2, -0.3])];
    frame(figure, { least: 300, most: 560, height: (width) => width * 0.75 }, [
      ["n", "points in each", range(3, 400, 100, 1, { marks: [100, 200, 300, 400] })],
      ["narrow", "width of both", range(0.1, 1, 0.4, 0.1, { marks: [0.5, 1], say: (share) => share.toFixed(1) })],
    ], (surface, { n, narrow }) => {
      const plot = new Plot(surface, [-4, 4], [-3, 3], ["first feature", "second feature"]), colours = [blue(), orange()];
      plot.clear();
      const found = both.map((one, k) => one.at(white[k].slice(0, n), narrow));
      found.forEach((all, k) => plot.dots(all.filter(([u, v]) => Math.abs(u) < 4 && Math.abs(v) < 3), `${colours[k]}99`, 2, k === 1));
      const known = found.map(stats);
      known.forEach(({ mean: [u, v], cov: [a, b, c] }, k) => {  // the Gaussian that stands for the cloud
        const l = Math.sqrt(a), [m, w] = [b / l, Math.sqrt(Math.max(c - (b / l) ** 2, 0))];
        const turn = Array.from({ length: 65 }, (_, i) => [Math.cos(i * Math.PI / 32), Math.sin(i * Math.PI / 32)]);
        plot.line(turn.map(([p, q]) => [u + 2 * l * p, v + 2 * (m * p + w * q)]), colours[k], k ? [6, 4] : []);
      });
      both.forEach((one, k) => { one.middle.place(plot, colours[k]); one.tip.place(plot, colours[k]); });
      const { places, shapes, distance } = frechet(...known);
      const [p, q] = both.map((one) => one.middle.at.map((v) => minus(v.toFixed(1))).join(", "));
      return `Fréchet distance ${distance.toFixed(3)} = ${places.toFixed(3)} from the means + ${shapes.toFixed(3)} from the ` +
        `covariances, of ${n} points each, around (${p}) and (${q}).`;
    });
    figure.clouds = (n, narrow) => both.map((one, k) => one.at(white[k].slice(0, n), narrow));  // for the tests
  };

  figures({
    clouds: ["Drag a centre: the distance grows with its square. Drag the end of an axis: turned or stretched clouds " +
      "are apart even around one centre. Then lay one cloud upon the other as well as you can and take fewer " +
      "points: the distance of equal clouds is not 0, and the fewer the points the larger it is.", clouds],
  });
})();
