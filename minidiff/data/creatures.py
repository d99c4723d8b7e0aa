"""Creatures, a data set without end: seven factors, each with a name, and every combination.

`draw` turns factors into images and `read` images into factors: the truth that photographs don't
have. What a network has drawn can be counted: which ears, whether those asked for, and how far the
image is from the nearest creature that there is.

>>> factors = random(3, torch.Generator().manual_seed(0))
>>> images = draw(factors, size=32)
>>> images.shape, bool((read(images)[0] == factors).all())
(torch.Size([3, 3, 32, 32]), True)
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.data.creature_colours import FURS, GROUNDS, HILL, PAINTS, SKY, palette, turned
from minidiff.data.creature_faces import EYES, MUZZLES
from minidiff.data.creature_parts import EARS, HAIRS, PATTERNS, Paper, frame
from minidiff.data.shapes import coverage
from minidiff.kinds import check_generator, check_tensor

PARTS = {"ears": EARS, "muzzle": MUZZLES, "eyes": EYES, "hair": HAIRS, "pattern": PATTERNS}
FACTORS = {name: tuple(kinds) for name, kinds in PARTS.items()}
FACTORS |= {"fur": tuple(FURS), "ground": tuple(GROUNDS)}
COUNTS = tuple(len(names) for names in FACTORS.values())
EARS_, MUZZLE, EYES_, HAIR, PATTERN, FUR, GROUND = range(len(COUNTS))  # the columns of factors
VARIATIONS = ("hue", "tilt", "size", "x", "y", "light")
PIXELS_AT_ONCE = 2**19  # what fits into a processor's cache


def random(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Factors of n creatures, (n, 7): in each column a number of a name in `FACTORS`, uniform."""
    check_generator(generator)
    columns = [torch.randint(count, (n,), generator=generator) for count in COUNTS]
    return torch.stack(columns, dim=1)


def vary(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Variations of n creatures, (n, 6): numbers uniform in -1..1, as named in `VARIATIONS`."""
    check_generator(generator)
    return 2 * torch.rand(n, len(VARIATIONS), generator=generator) - 1


# ---------------------------------------------------------------------------------- drawing


def draw(factors: Tensor, size: int = 32, variation: Tensor | None = None) -> Tensor:
    """Images (N, 3, size, size) in [-1, 1] of the creatures with these factors (N, 7).

    `variation` (N, 6), numbers in -1..1, is what has no name: hue (to 23 degrees either way), tilt
    (17 degrees), size (12 %), place, and where the light is. 0 is the creature that `read` knows.
    """
    _check(factors, size, variation)
    canvas = [torch.zeros(0, 3, size * size, dtype=torch.float32)]
    at_once = PIXELS_AT_ONCE // size**2
    for first in range(0, len(factors), at_once):
        f = factors[first : first + at_once].cpu()
        colours, paper = palette()[f[:, FUR], f[:, GROUND]], _paper(size)
        if variation is not None:
            v = variation[first : first + at_once].float().cpu()
            colours, paper = turned(colours, 0.4 * v[:, 0]), _moved(paper, v)
        canvas.append(_paint(f, colours, paper))
    return torch.cat(canvas).view(-1, 3, size, size).to(factors.device)


def _check(factors: Tensor, size: int, variation: Tensor | None) -> None:
    _check_size(size)
    check_tensor(factors=factors, **({} if variation is None else {"variation": variation}))
    if factors.is_floating_point() or factors.ndim != 2 or factors.shape[1] != len(COUNTS):
        raise ValueError(
            f"factors must be whole numbers of shape (N, {len(COUNTS)}), a column for each of "
            f"{', '.join(FACTORS)}; got {factors.dtype} of shape {tuple(factors.shape)}"
        )
    for (name, names), column in zip(FACTORS.items(), factors.T, strict=True):
        if bool((bad := (column < 0) | (column >= len(names))).any()):
            raise ValueError(
                f"{name} must be in 0..{len(names) - 1} ({', '.join(names)}), "
                f"got {int(column[bad][0])}"
            )
    shape = len(factors), len(VARIATIONS)
    if variation is not None and variation.shape != shape:
        raise ValueError(
            f"variation must have shape {shape}, a column for each of {', '.join(VARIATIONS)}; "
            f"got {tuple(variation.shape)}"
        )
    if variation is not None and not bool((variation.abs() <= 1).all()):
        raise ValueError("variation must hold numbers in -1..1")


def _check_size(size: int) -> None:
    if not isinstance(size, int) or not 16 <= size <= 128:
        raise ValueError(f"a creature is drawn at a size in 16..128, got {size!r}")


def _paper(size: int) -> Paper:
    """The middles of the pixels, from -1 to 1 in both directions, and light from above."""
    i = (torch.arange(size, dtype=torch.float32) + 0.5) * 2 / size - 1
    y, x = (v.reshape(1, -1) for v in torch.meshgrid(i, i, indexing="ij"))
    lit_x, lit_y, pixel = x.new_tensor([-0.025, -0.04, 2 / size]).view(3, 1, 1)
    return Paper(x, y, lit_x, lit_y, pixel, x, y)


def _moved(paper: Paper, variation: Tensor) -> Paper:
    """The paper as each creature sees it, itself upright, in the middle and of full size."""
    _, tilt, size, x, y, light = variation.T[:, :, None]
    scale = 1 + 0.12 * size
    dx, dy = _turn(paper.x - 0.1 * x, paper.y - 0.05 * y - 0.35, -0.3 * tilt)  # about its chin
    lit_x, lit_y = _turn(paper.lit_x, paper.lit_y, 0.9 * light)
    pixel = paper.pixel / scale
    return Paper(dx / scale, dy / scale + 0.35, lit_x, lit_y, pixel, paper.x, paper.y)


def _turn(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    c, s = angle.cos(), angle.sin()
    return c * x - s * y, s * x + c * y


def _paint(factors: Tensor, colours: Tensor, paper: Paper) -> Tensor:
    """Creatures (N, C, P) at the P points of the paper, in colours (N, PAINTS, C).

    With the identity for colours it says how much of each paint lies on each pixel.
    """
    everyone = torch.arange(len(factors))
    strokes = [(everyone, *stroke) for stroke in frame(paper)]
    # the order of factors matters within a layer: ears lie over hair, and eyes over the muzzle
    for column in (HAIR, PATTERN, EARS_, MUZZLE, EYES_):
        for k, part in enumerate(list(PARTS.values())[column].values()):
            if len(rows := everyone[factors[:, column] == k]):
                strokes += [(rows, *stroke) for stroke in part(paper.of(rows))]
    canvas = colours[:, SKY, :, None].repeat(1, 1, paper.x.shape[1])
    for rows, _, paint, distance in sorted(strokes, key=lambda stroke: stroke[1]):
        share = coverage(distance, paper.of(rows).pixel)[:, None]
        canvas[rows] = torch.lerp(canvas[rows], colours[rows, paint, :, None], share)
    return canvas


# ---------------------------------------------------------------------------------- reading


@torch.no_grad()
def read(images: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest creatures: their factors (N, 7), and how far they are, (N,), in grey levels.

    images: (N, 3, size, size), floats in [-1, 1]. The distance is the root mean square over pixels
    and colours; 255 is from black to white. It is the smallest over all 1,036,800 drawings: no
    pixel depends both on the ears and on the face, so that, given hair, pattern, fur and ground,
    the squared distance is a sum, and the smallest sum is that of the smallest terms.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images must be (N, 3, size, size), got {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"images must be floats in -1..1 (from_uint8), got {images.dtype}")
    if not bool(images.isfinite().all()):
        raise ValueError("images must be finite: NaN and infinity are near to nothing")
    _check_size(size := images.shape[2])
    found, apart = [torch.zeros(0, len(COUNTS), dtype=torch.long)], [torch.zeros(0)]
    for some in torch.split(images, 64):
        x = some.flatten(2).float().cpu()  # (n, 3, P)
        factors = _nearest(x, size)
        found.append(factors)
        error = draw(factors, size).flatten(2) - x
        apart.append(127.5 * error.square().mean((1, 2)).sqrt())
    return torch.cat(found).to(images.device), torch.cat(apart).float().to(images.device)


def _nearest(x: Tensor, size: int) -> Tensor:
    """The factors of the drawings nearest to x (n, 3, P)."""
    # each (n, ears, muzzle, eyes, hair, pattern, fur, ground), or 1 where it makes no difference
    tables = {columns: _distances(x, region) for columns, region in _regions(size).items()}
    ears, face = tables[EARS_,], tables[MUZZLE,] + tables[EYES_,] + tables[MUZZLE, EYES_]
    total = ears.amin(1, keepdim=True) + face.amin((2, 3), keepdim=True) + tables[()]
    shape = total.shape[4:]
    hair, pattern, fur, ground = torch.unravel_index(total.flatten(1).argmin(1), shape)
    n = torch.arange(len(x))
    ears = ears[n, :, 0, 0, hair, pattern, fur, ground].argmin(1)
    face = face.expand(*face.shape[:-1], shape[-1])[n, 0, :, :, hair, pattern, fur, ground]
    muzzle, eyes = torch.unravel_index(face.flatten(1).argmin(1), face.shape[1:])
    return torch.stack([ears, muzzle, eyes, hair, pattern, fur, ground], dim=1)


class _Region(NamedTuple):
    """Some pixels, and how they look for every combination of the factors that they depend on."""

    pixels: Tensor  # (P,), their numbers
    shares: Tensor  # (combinations, PAINTS, P): how much of each paint
    counts: tuple[int, ...]  # of ears, muzzles, eyes, hairs and patterns, or 1 as above
    colours: Tensor  # (furs, grounds or 1, PAINTS, 3)
    squares: Tensor  # (combinations, furs x grounds): the squared norm of each look


def _distances(x: Tensor, region: _Region) -> Tensor:
    """|x - look|^2 - |x|^2 within a region, for each look."""
    products = torch.einsum("nhp,ckp->nckh", x[:, :, region.pixels], region.shares)
    inner = products.flatten(2) @ region.colours.flatten(2).flatten(0, 1).T
    return (region.squares - 2 * inner).view(-1, *region.counts, *region.colours.shape[:2])


@lru_cache(maxsize=2)
def _regions(size: int) -> dict[tuple[int, ...], _Region]:
    """The pixels that depend on the ears; on muzzle, eyes, or both; on nothing of these."""
    paper = _paper(size)

    def looks(columns: Collection[int], paper: Paper) -> Tensor:
        numbers = [torch.arange(k if c in columns else 1) for c, k in enumerate(COUNTS)]
        f = torch.cartesian_prod(*numbers)
        return _paint(f, torch.eye(PAINTS, dtype=torch.float32).expand(len(f), -1, -1), paper)

    def region(columns: Collection[int], pixels: Tensor) -> _Region:
        shares = looks(columns, paper.at(pixels))
        colours = palette()
        if not shares[:, (SKY, HILL)].any():
            colours = colours[:, :1]
        counts = tuple(k if c in columns else 1 for c, k in enumerate(COUNTS[:FUR]))
        flat = colours.flatten(0, 1)
        squares = torch.einsum("ckl,fkh,flh->cf", shares @ shares.mT, flat, flat)
        return _Region(pixels, shares, counts, colours, squares)

    changes = {c: looks({c}, paper) for c in (EARS_, MUZZLE, EYES_)}
    depends = {c: (some != some[:1]).flatten(0, 1).any(0) for c, some in changes.items()}
    found: dict[tuple[int, ...], _Region] = {}
    for columns in ((EARS_,), (MUZZLE,), (EYES_,), (MUZZLE, EYES_), ()):
        here = torch.stack([depends[c] == (c in columns) for c in depends]).all(0)
        found[columns] = region({*columns, HAIR, PATTERN}, here.nonzero()[:, 0])
    return found
