"""Pictures as formulas: signed distances, below 0 inside a shape and above it outside.

x and y are coordinates of pixels, tensors of one shape, from -1 at the left and top to 1 at the
right and bottom. Union and intersection of shapes are minimum and maximum of distances, so a
drawing is a few lines that hold at any size; |x| for x draws both sides of a face at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise

import torch
from torch import Tensor

Point = tuple[float, float]


def coverage(d: Tensor, pixel: float | Tensor) -> Tensor:
    """How much of a pixel of this width lies inside, 0 to 1: a smooth step across the edge.

    >>> coverage(torch.tensor([-1.0, 0.0, 1.0]), 0.1)
    tensor([1.0000, 0.5000, 0.0000])
    """
    a = (0.5 - d / pixel).clamp(0, 1)
    return a * a * (3 - 2 * a)


def disc(x: Tensor, y: Tensor, cx: float, cy: float, r: float) -> Tensor:
    """sqrt((x - cx)^2 + (y - cy)^2) - r.

    >>> disc(torch.tensor([0.0, 3.0]), torch.tensor([0.0, 4.0]), 0, 0, 2)
    tensor([-2.,  3.])
    """
    return torch.hypot(x - cx, y - cy) - r


def oval(
    x: Tensor,
    y: Tensor,
    cx: float,
    cy: float,
    rx: float,
    ry: float,
    turn: float = 0.0,
    power: float = 2.0,
) -> Tensor:
    """About the distance from |x/rx|^power + |y/ry|^power = 1: k - 1 over its own slope.

    `turn` is in radians, clockwise as seen; a power above 2 makes the oval more of a box.
    """
    x, y = x - cx, y - cy
    if turn:
        c, s = math.cos(turn), math.sin(turn)
        x, y = c * x + s * y, c * y - s * x
    u, v = (x / rx).abs(), (y / ry).abs()
    if power == 2:
        k = torch.hypot(u, v)
        return (k - 1) * k / torch.hypot(u / rx, v / ry).clamp_min(1e-4)
    u, v = u.clamp_min(1e-6), v.clamp_min(1e-6)
    up, vp = u.pow(power), v.pow(power)
    total = up + vp
    k = total.pow(1 / power)
    return (k - 1) * total / (k * torch.hypot(up / (u * rx), vp / (v * ry)))


def line(
    x: Tensor, y: Tensor, a: Point, b: Point, start: float, end: float | None = None
) -> Tensor:
    """A line from a to b with round ends, its half width going from `start` to `end`."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    share = (((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy)).clamp(0, 1)
    width = start if end is None else start + share * (end - start)
    return torch.hypot(x - a[0] - share * dx, y - a[1] - share * dy) - width


def curve(
    x: Tensor, y: Tensor, points: Sequence[Point], start: float, end: float | None = None
) -> Tensor:
    """Lines from point to point, their half width going from `start` to `end` over all of them."""
    end = start if end is None else end
    n = len(points) - 1
    widths = [start + (end - start) * i / n for i in range(n + 1)]
    steps = zip(pairwise(points), pairwise(widths), strict=True)
    return join(*(line(x, y, a, b, w0, w1) for (a, b), (w0, w1) in steps))


def bow(x: Tensor, y: Tensor, cx: float, cy: float, r: float, width: float, up: bool) -> Tensor:
    """Half a ring, its round ends at (cx - r, cy) and (cx + r, cy), arched up or down."""
    x, y = (x - cx).abs(), (cy - y) if up else (y - cy)
    return torch.where(y > 0, (torch.hypot(x, y) - r).abs(), torch.hypot(x - r, y)) - width


def join(*shapes: Tensor) -> Tensor:
    """What lies in any of them."""
    return _fold(torch.minimum, shapes)


def meet(*shapes: Tensor) -> Tensor:
    """What lies in all of them."""
    return _fold(torch.maximum, shapes)


def _fold(f: Callable[[Tensor, Tensor], Tensor], shapes: Sequence[Tensor]) -> Tensor:
    return reduce(f, shapes)


def spiral(
    cx: float, cy: float, start: Point, end: Point, flat: float = 1.0, n: int = 12
) -> list[Point]:
    """n + 1 points from (angle, radius) `start` to `end`, the angle in radians from the right."""
    shares = [i / n for i in range(n + 1)]
    turns = [
        (start[0] + s * (end[0] - start[0]), start[1] + s * (end[1] - start[1])) for s in shares
    ]
    return [(cx + r * math.cos(a), cy + flat * r * math.sin(a)) for a, r in turns]
