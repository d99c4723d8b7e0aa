"""The faces of the creatures: nine muzzles and six pairs of eyes, drawn over everything else."""

from __future__ import annotations

from torch import Tensor

from minidiff.data.creature_colours import BEAK, GLOW, INK, LIGHT, LIP, MARK, PINK, ROSE, WHITE
from minidiff.data.creature_parts import FACE, Paper, Part, Strokes
from minidiff.data.shapes import bow, curve, disc, join, line, meet, oval

# ---------------------------------------------------------------------------------- muzzles


def _w(p: Paper, y: float, r: float) -> Tensor:
    return bow(p.side, p.y, r, y, r, 0.028, up=False)


def _snout(p: Paper) -> Strokes:
    yield FACE, LIGHT, oval(p.x, p.y, 0, 0.38, 0.26, 0.19)
    yield FACE, INK, _w(p, 0.42, 0.06)
    yield FACE, INK, oval(p.x, p.y, 0, 0.30, 0.11, 0.08)
    yield FACE, WHITE, oval(p.x, p.y, -0.03, 0.275, 0.03, 0.018)


def _whiskers(p: Paper) -> Strokes:
    yield FACE, ROSE, oval(p.x, p.y, 0, 0.30, 0.085, 0.06)
    yield FACE, INK, _w(p, 0.38, 0.07)
    upper = line(p.side, p.y, (0.27, 0.34), (0.48, 0.30), 0.018)
    yield FACE, INK, join(upper, line(p.side, p.y, (0.26, 0.415), (0.41, 0.425), 0.018))


def _pig(p: Paper) -> Strokes:
    yield FACE, ROSE, oval(p.x, p.y, 0, 0.35, 0.235, 0.17, power=2.5)
    yield FACE, PINK, oval(p.x, p.y, -0.01, 0.335, 0.21, 0.14, power=2.5)
    yield FACE, INK, oval(p.side, p.y, 0.085, 0.34, 0.042, 0.062)


def _beak(p: Paper) -> Strokes:
    yield FACE, LIP, line(p.x, p.y, (0, 0.36), (0, 0.50), 0.11, 0.03)
    yield FACE, BEAK, line(p.x, p.y, (0, 0.31), (0, 0.45), 0.15, 0.02)


def _bill(p: Paper) -> Strokes:
    yield FACE, LIP, oval(p.x, p.y, 0, 0.42, 0.25, 0.125)
    yield FACE, BEAK, join(oval(p.x, p.y, 0, 0.36, 0.33, 0.10), oval(p.x, p.y, 0, 0.31, 0.16, 0.10))
    yield FACE, INK, disc(p.side, p.y, 0.07, 0.31, 0.026)


def _trunk(p: Paper) -> Strokes:
    hose = [(0.0, 0.30), (0.0, 0.46), (0.01, 0.60), (0.05, 0.70), (0.12, 0.75), (0.19, 0.72)]
    yield FACE, MARK, curve(p.x, p.y, hose, 0.17, 0.11)
    yield FACE, GLOW, curve(p.x, p.y, hose, 0.12, 0.062)
    folds = [line(p.x, p.y, (-0.06, y), (0.06, y), 0.022) for y in (0.42, 0.53)]
    yield FACE, MARK, join(*folds)


def _fangs(p: Paper) -> Strokes:
    yield FACE, INK, oval(p.x, p.y, 0, 0.40, 0.24, 0.10, power=3)
    yield FACE, WHITE, line(p.side, p.y, (0.12, 0.34), (0.12, 0.50), 0.065, 0.015)


def _laugh(p: Paper) -> Strokes:
    mouth = meet(disc(p.x, p.y, 0, 0.31, 0.20), 0.32 - p.y)
    yield FACE, INK, mouth
    yield FACE, ROSE, meet(mouth + 0.03, disc(p.x, p.y, 0, 0.53, 0.13))


def _teeth(p: Paper) -> Strokes:
    yield FACE, ROSE, oval(p.x, p.y, 0, 0.29, 0.08, 0.055)
    yield FACE, INK, join(oval(p.x, p.y, 0, 0.47, 0.125, 0.105, power=4), _w(p, 0.37, 0.10))
    yield FACE, WHITE, oval(p.side, p.y, 0.048, 0.47, 0.04, 0.075, power=4)


MUZZLES: dict[str, Part] = {
    "snout": _snout,
    "whiskers": _whiskers,
    "pig": _pig,
    "beak": _beak,
    "bill": _bill,
    "trunk": _trunk,
    "fangs": _fangs,
    "laugh": _laugh,
    "teeth": _teeth,
}


# ------------------------------------------------------------------------------------- eyes

EYE = 0.27, 0.10  # where the right one is


def _pupil(p: Paper, x: float, y: float, r: float) -> Strokes:
    yield FACE, INK, oval(p.x, p.y, x, y, 0.95 * r, 1.12 * r)
    yield FACE, WHITE, disc(p.x - 13 * r * p.lit_x, p.y - 10.5 * r * p.lit_y, x, y, 0.40 * r)


def _dots(p: Paper) -> Strokes:
    yield from _pupil(p, -EYE[0], EYE[1], 0.10)
    yield from _pupil(p, EYE[0], EYE[1], 0.10)


def _big(p: Paper) -> Strokes:
    yield FACE, WHITE, disc(p.side, p.y, 0.25, 0.09, 0.17)
    yield from _pupil(p, -0.22, 0.10, 0.105)
    yield from _pupil(p, 0.22, 0.10, 0.105)


def _happy(p: Paper) -> Strokes:
    yield FACE, INK, bow(p.side, p.y, EYE[0], 0.15, 0.105, 0.038, up=True)


def _asleep(p: Paper) -> Strokes:
    yield FACE, INK, bow(p.side, p.y, EYE[0], 0.09, 0.105, 0.036, up=False)


def _wink(p: Paper) -> Strokes:
    yield from _pupil(p, -EYE[0], EYE[1], 0.10)
    lids = (line(p.x, p.y, (0.36, y), (0.19, EYE[1]), 0.036) for y in (0.02, 0.18))
    yield FACE, INK, join(*lids)


def _one(p: Paper) -> Strokes:
    yield FACE, WHITE, disc(p.x, p.y, 0, 0.06, 0.215)
    yield from _pupil(p, 0.0, 0.07, 0.13)


EYES: dict[str, Part] = {
    "dots": _dots,
    "big": _big,
    "happy": _happy,
    "asleep": _asleep,
    "wink": _wink,
    "one": _one,
}
