"""All chapters: what a noise schedule must be; no mathematics."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minidiff.kinds import check_number, is_whole, kind, short

MOST_STEPS = 1_000_000  # T is a number of steps, not of images: a table of 8 MB


def check_table(ab: Tensor) -> None:
    """alpha_bar: a vector that begins at 1, falls strictly and stays above 0."""
    if ab.ndim != 1 or len(ab) < 3:
        raise ValueError(
            f"alpha_bar must be a vector of T + 1 >= 3 numbers, got shape {tuple(ab.shape)}; "
            "its entry 0 is 1 (the data), so T = 2 is the shortest chain"
        )
    if ab[0] != 1:
        raise ValueError(
            f"alpha_bar[0] must be 1 (x_0 is the data, without noise), got {float(ab[0])}; "
            "put a 1 in front of your T numbers"
        )
    bad = (~((ab[1:] > 0) & (ab[1:] < ab[:-1]))).nonzero()
    if len(bad):
        t = int(bad[0]) + 1
        raise ValueError(
            f"alpha_bar must fall strictly and stay above 0, but alpha_bar[{t}] = "
            f"{float(ab[t])} after alpha_bar[{t - 1}] = {float(ab[t - 1])}"
        )


def check_ends(sigma_min: float, sigma_max: float) -> None:
    """The lowest and the highest noise level."""
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(
            f"noise levels must rise, from above 0, got sigma_min = {sigma_min} and "
            f"sigma_max = {sigma_max}"
        )


def check_t(t: float, T: int) -> None:
    """One number in 0..T."""
    check_number(t=t)
    if not 0 <= t <= T:
        raise ValueError(f"t must be in 0..{T}, got {t}")


def as_numbers(**values: object) -> Tensor:
    """A list of numbers, or a tensor of them, in float64 on the CPU."""
    ((name, found),) = values.items()
    try:
        return torch.as_tensor(found, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{name} must be a list or a tensor of numbers, got {kind(found)}"
        ) from None


def check_T(T: int, **options: float) -> int:
    """The number of steps, as an int; the other options are numbers."""
    check_number(**options)
    if not is_whole(T) or not 2 <= T <= MOST_STEPS:
        raise ValueError(f"T must be a whole number of 2 to {MOST_STEPS:,} steps, got {short(T)}")
    return int(T)
