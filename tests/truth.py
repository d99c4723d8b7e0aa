"""What the tests of the mathematics share: networks whose output is known, and hypothesis."""

from __future__ import annotations

import math

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

import minidiff as md

few = settings(max_examples=20, deadline=None, derandomize=True)
some = settings(max_examples=40, deadline=None, derandomize=True)

VECTORS, IMAGES = (3, 5), (3, 2, 4, 6)  # (B, D) and a non-square (B, C, H, W)


def smooth(x: Tensor, t: Tensor) -> Tensor:
    """A deterministic stand-in for a network: bounded, not linear, depends on x and t."""
    s = t.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1)) / 1000
    return torch.sin(1.3 * x + s) + 0.3 * x


def zeros(x: Tensor, t: Tensor) -> Tensor:
    return torch.zeros_like(x)


def twice(x: Tensor, t: Tensor) -> Tensor:
    """A network with a learned variance: the prediction, and values in (-1, 1)."""
    return torch.cat([smooth(x, t), torch.tanh(x)], 1)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def schedules(draw: st.DrawFn, max_T: int = 30) -> md.Schedule:
    """Any schedule that a reader could write down, T >= 2."""
    T = draw(st.integers(2, max_T))
    if draw(st.booleans()):
        return md.Schedule.cosine(T)
    beta = st.floats(1e-4, 0.6)
    return md.Schedule.from_betas(draw(st.lists(beta, min_size=T, max_size=T)))


@st.composite
def states(draw: st.DrawFn, min_batch: int = 0) -> Tensor:
    """Any batch: vectors or images, square or not, empty or not, float32 or float64."""
    batch = draw(st.integers(min_batch, 3))
    rest = draw(st.sampled_from([(1,), (4,), (1, 3, 5), (2, 4, 2)]))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    return noise(batch, *rest, seed=draw(st.integers(0, 99)), dtype=dtype)


def slope(steps: list[int], errors: list[float]) -> float:
    """Minus the slope of log error over log steps: the order of a method."""
    x = torch.tensor([math.log(n) for n in steps], dtype=torch.float64)
    y = torch.tensor([math.log(e) for e in errors], dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    return -float((x * y).sum() / (x * x).sum())
