"""The colours of the creatures: twelve furs, eight grounds, and the paints mixed from them."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

PAINTS = 16
(SKY, HILL, FUR, SHADE, GLOW, LIGHT, HAIR, MARK, BLUSH, INK, WHITE, PINK, ROSE, HORN, BEAK, LIP) = (
    range(PAINTS)
)

# the fur, and the deep tone of its hair and shadows
FURS = {
    "snow": ("f7f2ea", "a394b4"),
    "ginger": ("f0a061", "a5502f"),
    "cocoa": ("b98562", "6b4335"),
    "rose": ("f095ad", "ad4676"),
    "coral": ("ee7f72", "a03a50"),
    "honey": ("f4c858", "b06e2a"),
    "leaf": ("93c16b", "487a40"),
    "mint": ("66c6ab", "2d7b78"),
    "sky": ("72b3e5", "3867a6"),
    "iris": ("8d8be2", "4b459e"),
    "plum": ("c781c6", "7c3f8a"),
    "stone": ("989aa9", "545670"),
}
# the sky, and the hill in front of it
GROUNDS = {
    "meadow": ("cdebc8", "addaa4"),
    "sea": ("bfe6ee", "98d3df"),
    "sand": ("ecdfc3", "dcc9a0"),
    "dusk": ("d2caf0", "b9aee4"),
    "blossom": ("f9cfda", "f3bccb"),
    "peach": ("fdcfb2", "f8bd9b"),
    "mist": ("d5d9e8", "c0c7da"),
    "lemon": ("fbf0a6", "f1e18a"),
}
_FIXED = {INK: "3b3044", WHITE: "ffffff", PINK: "f8a9b6", ROSE: "ee7590", HORN: "7d5c4d"}
_FIXED |= {BEAK: "ffbf33", LIP: "e8862b"}
_INSTEAD = {  # what would not be seen on its fur
    "snow": {LIGHT: "d9d2e0"},
    "rose": {PINK: "ffd3d3"},
    "coral": {PINK: "ffd3d3"},
    "honey": {BEAK: "f99a3a", LIP: "cf6a2a"},
}


def _rgb(colour: str) -> Tensor:
    levels = [int(colour[i : i + 2], 16) for i in (0, 2, 4)]
    return torch.tensor(levels, dtype=torch.float32) / 127.5 - 1


def _colours(pairs: dict[str, tuple[str, str]]) -> Tensor:
    return torch.stack([torch.stack([_rgb(c) for c in pair]) for pair in pairs.values()])


@cache
def palette() -> Tensor:
    """The colour of each paint for each fur and ground, (12, 8, PAINTS, 3) in [-1, 1]."""
    fur, deep = _colours(FURS)[:, :, None].unbind(1)  # (12, 1, 3)
    mixed = fur.new_zeros(len(FURS), len(GROUNDS), PAINTS, 3)
    mixed[:, :, (SKY, HILL)] = _colours(GROUNDS)
    mixed[:, :, FUR], mixed[:, :, HAIR] = fur, deep
    mixed[:, :, SHADE] = torch.lerp(fur, deep, 0.25)
    mixed[:, :, MARK] = torch.lerp(fur, deep, 0.54)
    mixed[:, :, GLOW] = torch.lerp(fur, _rgb("fffaf0"), 0.14)
    mixed[:, :, LIGHT] = torch.lerp(fur, _rgb("fffaf0"), 0.65)
    mixed[:, :, BLUSH] = torch.lerp(fur, _rgb("ff6a86"), 0.45)
    for paint, colour in _FIXED.items():
        mixed[:, :, paint] = _rgb(colour)
    for name, paints in _INSTEAD.items():
        for paint, colour in paints.items():
            mixed[list(FURS).index(name), :, paint] = _rgb(colour)
    return mixed


def turned(colours: Tensor, angle: Tensor) -> Tensor:
    """Colours (N, PAINTS, 3), those of the fur turned about the axis of greys by angles (N,)."""
    ones, cross = torch.ones(3, 3) / 3, torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
    rotation = c * torch.eye(3) + (1 - c) * ones + s * cross / math.sqrt(3)  # Rodrigues
    fur = (colours[:, FUR:INK] @ rotation.to(colours.dtype).mT).clamp(-1, 1)
    return torch.cat([colours[:, :FUR], fur, colours[:, INK:]], dim=1)
