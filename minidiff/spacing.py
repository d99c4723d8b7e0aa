"""Chapter 12: which t a sampler visits, the subsequence tau of Song, Meng & Ermon (2021)."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, get_args

import torch

from minidiff.schedule import Schedule

Spacing = Literal["linear", "quadratic", "leading", "trailing", "logsnr"]
SPACINGS: tuple[str, ...] = get_args(Spacing)


def tau(T: int | Schedule, S: int | None = None, spacing: str = "linear") -> list[int]:
    """A subsequence of S steps, strictly decreasing from its first t to 0 (Song et al., app. D.2).

    linear      T = tau_S > … : floor(T i / S), i = S..0; starts at T.
    quadratic   floor(T i^2 / S^2), made strictly decreasing; dense near the data.
    leading     (T // S) k + 1: what the official DDIM code and diffusers' default use; starts
                below T, at 981 for S = 50 of 1000.
    trailing    round(T - i T / S): diffusers' "trailing".
    logsnr      even in log-SNR between t = T and t = 1, then 0; needs a Schedule.

    S None is every step. Returns S + 1 numbers, the last is 0.

    >>> tau(1000, S=4)
    [1000, 750, 500, 250, 0]
    >>> tau(1000, S=4, spacing="quadratic")
    [1000, 562, 250, 62, 0]
    >>> tau(1000, S=4, spacing="leading")
    [751, 501, 251, 1, 0]
    """
    schedule = T if isinstance(T, Schedule) else None
    n = schedule.T if schedule is not None else T
    if not isinstance(n, int) or n < 2:
        raise ValueError(f"T must be a whole number of at least 2 steps, or a Schedule; got {T!r}")
    S = n if S is None else S
    if not isinstance(S, int) or not 1 <= S <= n:
        raise ValueError(f"S must be a whole number of steps in 1..{n}, got {S!r}")
    if spacing == "linear":
        return [n * i // S for i in range(S, -1, -1)]
    if spacing == "quadratic":
        return [max(n * i * i // S**2, i) for i in range(S, -1, -1)]
    if spacing == "leading":
        return [n // S * k + 1 for k in range(S - 1, -1, -1)] + [0]
    if spacing == "trailing":
        return [round(n - i * n / S) for i in range(S)] + [0]
    if spacing == "logsnr":
        if schedule is None:
            raise ValueError("spacing='logsnr' needs the schedule: tau(schedule, S=…)")
        sigma = schedule.sigma[1:].log()
        levels = torch.linspace(float(sigma[-1]), float(sigma[0]), S, dtype=torch.float64)
        steps = schedule.t_at_sigma(levels.exp()).round().long().tolist()
        for i in range(S):  # at most one step closer than the next to each end
            steps[i] = min(steps[i], steps[i - 1] - 1) if i else n
        return [max(t, S - i) for i, t in enumerate(steps)] + [0]
    raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}; got {spacing!r}")


def check_tau(steps: list[int], T: int) -> list[int]:
    """The steps, refused unless they fall strictly to 0 and stay within T."""
    steps, given = [int(t) for t in steps], steps
    if steps != given:
        raise ValueError(f"tau must hold whole numbers, got {given}; round them")
    falls = all(a > b for a, b in pairwise(steps))
    if len(steps) < 2 or not falls or steps[-1] != 0 or steps[0] > T:
        shown = str(steps) if len(steps) < 12 else f"[{steps[0]}, {steps[1]}, …, {steps[-1]}]"
        raise ValueError(
            f"tau must fall strictly from at most {T} to 0 (the data), got {shown}; "
            f"use tau({T}, S=<number of steps>)"
        )
    return steps
