"""Chapter 7: which image comes when, from the seed alone, whoever asks and however often."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from minidiff.engine.config import TrainConfig
from minidiff.engine.distributed import World


def data_order(
    config: TrainConfig, n: int, start: int, world: World, device: torch.device
) -> Iterator[Tensor]:
    """Indices of the images of this process, batch after batch, from step `start` on.

    The data in a new random order each epoch, every image once. The order depends on the seed
    alone: the processes take their parts of one common batch, however many they are.
    """
    epoch, order = -1, torch.empty(0)
    share = config.batch // (world.size * config.accumulate)
    place = start * config.batch + world.rank * share
    while True:
        parts: list[Tensor] = []
        first, left = place, share
        while left:  # a batch may reach over the end of an epoch
            if first // n != epoch:
                epoch = first // n
                shuffle = torch.Generator().manual_seed(mix(config.seed, epoch, -1))
                order = torch.randperm(n, generator=shuffle).to(device)
            parts.append(order[first % n : first % n + left])
            first, left = first + len(parts[-1]), left - len(parts[-1])
        yield torch.cat(parts)
        place += share * world.size


def mix(*numbers: int) -> int:
    """A seed that has nothing in common with that of neighbouring numbers."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
