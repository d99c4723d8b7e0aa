"""The creatures as a data set, with seven labels an image: 50,000 to train and 10,000 to test.

Nine pairs of ears and muzzle, one for each muzzle, are withheld from training: whether a network
that knows rabbits' ears and trunks can draw both in one is then a question with an answer. Every
other test image is of such a pair; those between are new too, but only as whole combinations.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minidiff.data.creatures import COUNTS, FACTORS, VARIATIONS, draw
from minidiff.data.images import to_uint8

WITHHELD = (
    ("pointed", "snout"),
    ("leaf", "whiskers"),
    ("ram", "pig"),
    ("feelers", "beak"),
    ("antlers", "bill"),
    ("long", "trunk"),
    ("round", "fangs"),
    ("huge", "laugh"),
    ("floppy", "teeth"),
)
SIZES = {"train": 50_000, "test": 10_000}


def withheld(factors: Tensor) -> Tensor:
    """Which creatures (N, 7) have a pair of ears and muzzle that no training image has, (N,) bool.

    >>> ears, muzzle = FACTORS["ears"].index("long"), FACTORS["muzzle"].index("trunk")
    >>> withheld(torch.tensor([[ears, muzzle, 0, 0, 0, 0, 0], [ears, 0, 0, 0, 0, 0, 0]]))
    tensor([ True, False])
    """
    ears, muzzles = FACTORS["ears"], FACTORS["muzzle"]
    table = torch.zeros(len(ears), len(muzzles), dtype=torch.bool)
    for ear, muzzle in WITHHELD:
        table[ears.index(ear), muzzles.index(muzzle)] = True
    return table.to(factors.device)[factors[:, 0], factors[:, 1]]


def drawn(split: str, size: int, varied: bool = False) -> tuple[Tensor, Tensor]:
    """Images (N, 3, size, size) uint8 and their factors (N, 7), always the same.

    varied: each in its own hue, tilt, size, place and light, which have no labels.
    """
    import numpy as np

    factors = chosen(split)
    how = np.random.RandomState(1).uniform(-1, 1, (sum(SIZES.values()), len(VARIATIONS)))
    mine = how[: SIZES["train"]] if split == "train" else how[SIZES["train"] :]
    variation = torch.from_numpy(mine)
    parts = []
    for i in range(0, len(factors), 1000):  # as floats all of them would need four times the memory
        v = variation[i : i + 1000] if varied else None
        parts.append(to_uint8(draw(factors[i : i + 1000], size, v)))
    return torch.cat(parts), factors


def chosen(split: str) -> Tensor:
    """The factors of a split's creatures, (N, 7): no combination occurs twice, here or there.

    >>> chosen("test").shape
    torch.Size([10000, 7])
    """
    import numpy as np

    # every combination has a number; this stream is frozen for good
    order = np.random.RandomState(0).permutation(math.prod(COUNTS))
    factors = torch.stack(torch.unravel_index(torch.from_numpy(order), COUNTS), dim=1)
    new = withheld(factors)
    seen, pairs = factors[~new], factors[new]
    n, half = SIZES["train"], SIZES["test"] // 2
    if split == "train":
        return seen[:n].clone()
    return torch.stack([seen[n : n + half], pairs[:half]], dim=1).flatten(0, 1)
