"""What a creature is made of, as formulas: head and body, ears, hair, and the pattern of the fur.

A part is a function of the paper, the coordinates of the pixels, and yields its strokes from the
lowest to the uppermost: the layer in which it lies, its paint, and the signed distance from its
edge. A paint is the number of a colour in `creature_colours.palette`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.data.creature_colours import (
    BLUSH,
    FUR,
    GLOW,
    HAIR,
    HILL,
    HORN,
    LIGHT,
    MARK,
    PINK,
    ROSE,
    SHADE,
)
from minidiff.data.shapes import curve, disc, join, line, meet, oval, spiral

BEHIND, BODY, SKIN, ABOVE, FACE = range(5)  # layers, from the lowest to the uppermost


class Paper(NamedTuple):
    """Coordinates of P points, (1, P), or (N, P) if each creature has its own; then (1 or N, 1)."""

    x: Tensor
    y: Tensor
    lit_x: Tensor  # what is lit lies so far to the right and below
    lit_y: Tensor
    pixel: Tensor  # the width of a pixel
    ground_x: Tensor  # the ground does not move with the creature
    ground_y: Tensor

    @property
    def side(self) -> Tensor:
        """|x|, for what is the same on the left and on the right."""
        return self.x.abs()

    def of(self, rows: Tensor) -> Paper:
        """The paper of some of the creatures."""
        return Paper(*(v if len(v) == 1 else v[rows] for v in self))

    def at(self, points: Tensor) -> Paper:
        """Some points of it."""
        return Paper(*(v if v.shape[1] == 1 else v[:, points] for v in self))


Strokes = Iterator[tuple[int, int, Tensor]]
Part = Callable[[Paper], Strokes]


# ------------------------------------------------------------------------------ what all have


def head(p: Paper) -> Tensor:
    """Wider than high, and a bit of a box."""
    return _skull(p.x, p.y)


def _skull(x: Tensor, y: Tensor) -> Tensor:
    return oval(x, y, 0, 0.14, 0.64, 0.48, power=2.3)


def body(p: Paper) -> Tensor:
    """An egg whose lower half is outside the picture."""
    return oval(p.x, p.y, 0, 1.0, 0.50, 0.55)


def frame(p: Paper) -> Strokes:
    """A hill, and before it head and body, lit from above, with red cheeks."""
    yield BEHIND, HILL, oval(p.ground_x, p.ground_y, 0.25, 1.9, 2.2, 1.25)
    yield BODY, FUR, body(p)
    yield BODY, LIGHT, oval(p.x, p.y, 0, 1.12, 0.28, 0.40)
    yield SKIN, SHADE, meet(body(p), oval(p.x, p.y, 0, 0.20, 0.56, 0.48))  # the head's shadow
    yield SKIN, SHADE, head(p)
    yield SKIN, FUR, meet(head(p), _skull(p.x - p.lit_x, p.y - p.lit_y))
    yield SKIN, GLOW, oval(p.x - 5 * p.lit_x, p.y - 3 * p.lit_y, 0, 0.06, 0.42, 0.26, power=2.3)
    yield FACE, BLUSH, oval(p.side, p.y, 0.47, 0.31, 0.095, 0.07)


# ------------------------------------------------------------------------------------- ears


def _round(p: Paper) -> Strokes:
    yield BEHIND, FUR, disc(p.side, p.y, 0.47, -0.32, 0.25)
    yield BEHIND, PINK, disc(p.side, p.y, 0.47, -0.32, 0.14)


def _pointed(p: Paper) -> Strokes:
    yield BEHIND, FUR, line(p.side, p.y, (0.38, -0.10), (0.53, -0.70), 0.28, 0.035)
    yield BEHIND, PINK, line(p.side, p.y, (0.40, -0.15), (0.51, -0.56), 0.16, 0.02)


def _floppy(p: Paper) -> Strokes:
    ear = oval(p.side, p.y, 0.725, 0.12, 0.18, 0.37, -0.22)
    yield ABOVE, MARK, join(ear, oval(p.side, p.y, 0.55, -0.18, 0.19, 0.13, 0.55))


def _long(p: Paper) -> Strokes:
    yield BEHIND, FUR, oval(p.side, p.y, 0.27, -0.56, 0.165, 0.41, 0.13)
    yield BEHIND, PINK, oval(p.side, p.y, 0.275, -0.54, 0.08, 0.31, 0.13)


def _huge(p: Paper) -> Strokes:
    yield BEHIND, FUR, oval(p.side, p.y, 0.68, -0.10, 0.29, 0.38, -0.15)
    yield BEHIND, PINK, oval(p.side, p.y, 0.71, -0.09, 0.19, 0.27, -0.15)


def _leaf(p: Paper) -> Strokes:
    yield BEHIND, FUR, oval(p.side, p.y, 0.68, -0.10, 0.28, 0.14, -0.35)
    yield BEHIND, PINK, oval(p.side, p.y, 0.72, -0.115, 0.18, 0.07, -0.35)


def _horns(p: Paper) -> Strokes:
    yield from _leaf(p)
    bent = spiral(0.22, -0.66, (1.2, 0.36), (-0.75, 0.40), n=8)
    yield BEHIND, HORN, curve(p.side, p.y, bent, 0.12, 0.03)


def _ram(p: Paper) -> Strokes:
    rolled = spiral(0.68, -0.08, (-2.5, 0.28), (3.0, 0.09), n=14)
    yield ABOVE, HORN, curve(p.side, p.y, rolled, 0.125, 0.055)


def _antlers(p: Paper) -> Strokes:
    yield from _leaf(p)
    stem = [(0.24, -0.28), (0.30, -0.48), (0.42, -0.66), (0.62, -0.86)]
    yield (
        BEHIND,
        HORN,
        join(
            curve(p.side, p.y, stem, 0.065, 0.048),
            line(p.side, p.y, (0.32, -0.53), (0.64, -0.55), 0.052, 0.042),
            line(p.side, p.y, (0.36, -0.58), (0.29, -0.90), 0.052, 0.042),
        ),
    )


def _feelers(p: Paper) -> Strokes:
    stem = [(0.18, -0.30), (0.21, -0.46), (0.27, -0.60), (0.37, -0.72)]
    yield BEHIND, MARK, curve(p.side, p.y, stem, 0.045)
    yield BEHIND, ROSE, disc(p.side, p.y, 0.39, -0.76, 0.14)


EARS: dict[str, Part] = {
    "round": _round,
    "pointed": _pointed,
    "floppy": _floppy,
    "long": _long,
    "huge": _huge,
    "leaf": _leaf,
    "horns": _horns,
    "ram": _ram,
    "antlers": _antlers,
    "feelers": _feelers,
}


# ------------------------------------------------------------------------ hair and patterns


def _none(p: Paper) -> Strokes:
    return iter(())


def _tuft(p: Paper) -> Strokes:
    middle = line(p.x, p.y, (0, -0.26), (0.02, -0.62), 0.10, 0.02)
    yield ABOVE, HAIR, join(middle, line(p.side, p.y, (0.05, -0.26), (0.18, -0.52), 0.09, 0.02))


def _curls(p: Paper) -> Strokes:
    pairs = (disc(p.side, p.y, 0.17, -0.30, 0.12), disc(p.side, p.y, 0.32, -0.22, 0.09))
    yield ABOVE, HAIR, join(disc(p.x, p.y, 0, -0.38, 0.15), *pairs)


def _fringe(p: Paper) -> Strokes:
    locks = join(disc(p.x, p.y, -0.34, -0.52, 0.50), disc(p.x, p.y, 0.42, -0.56, 0.50))
    yield ABOVE, HAIR, meet(head(p), locks)


def _mane(p: Paper) -> Strokes:
    angle, r = torch.atan2(p.y - 0.12, p.x), torch.hypot(p.x / 1.14, p.y - 0.12)
    yield BEHIND, HAIR, r - 0.67 - 0.045 * torch.cos(13 * angle - 13 * torch.pi / 2)


HAIRS: dict[str, Part] = {
    "bare": _none,
    "tuft": _tuft,
    "curls": _curls,
    "fringe": _fringe,
    "mane": _mane,
}


def _spots(p: Paper) -> Strokes:
    low = ((-0.36, 0.86, 0.085), (0.35, 0.80, 0.07), (0.42, 0.98, 0.065))
    high = ((-0.37, -0.19, 0.11), (0.50, 0.03, 0.095), (0.25, -0.20, 0.07), (-0.53, 0.14, 0.07))
    yield BODY, MARK, meet(body(p), join(*(disc(p.x, p.y, *spot) for spot in low)))
    yield SKIN, MARK, meet(head(p), join(*(disc(p.x, p.y, *spot) for spot in high)))


def _stripes(p: Paper) -> Strokes:
    low = (((0.60, 0.74), (0.26, 0.79)), ((0.60, 0.93), (0.32, 0.96)))
    high = (
        ((0.19, -0.40), (0.16, -0.16)),
        ((0.72, 0.10), (0.50, 0.13)),
        ((0.72, 0.30), (0.48, 0.28)),
    )
    yield BODY, MARK, meet(body(p), join(*(line(p.side, p.y, a, b, 0.05, 0.02) for a, b in low)))
    middle = line(p.x, p.y, (0, -0.40), (0, -0.12), 0.055, 0.03)
    sides = (line(p.side, p.y, a, b, 0.052, 0.024) for a, b in high)
    yield SKIN, MARK, meet(head(p), join(middle, *sides))


def _mask(p: Paper) -> Strokes:
    cheeks = oval(p.x, p.y, 0, 0.36, 0.42, 0.22)
    yield SKIN, LIGHT, meet(head(p), join(oval(p.side, p.y, 0.24, 0.12, 0.28, 0.25), cheeks))


PATTERNS: dict[str, Part] = {"plain": _none, "spots": _spots, "stripes": _stripes, "mask": _mask}
