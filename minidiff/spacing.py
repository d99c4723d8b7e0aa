"""Chapter 12: which t a sampler visits, the subsequence tau of Song, Meng & Ermon (2021)."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from minidiff.checks import check_steps, one_of
from minidiff.schedule import Schedule

Spacing = Literal["linear", "quadratic", "leading", "trailing", "logsnr"]
SPACINGS: tuple[str, ...] = get_args(Spacing)


def tau(T: int | Schedule, S: int | None = None, spacing: str = "linear") -> list[int]:
    """A subsequence of S steps, strictly decreasing from its first t to 0.

    Song, Meng & Ermon 2021, section 4.2 and appendix D.2 (linear, quadratic).

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
    one_of("spacing", spacing, SPACINGS)
    n, S = check_steps(T, S, spacing)
    if spacing == "linear":
        return [n * i // S for i in range(S, -1, -1)]
    if spacing == "quadratic":
        return [max(n * i * i // S**2, i) for i in range(S, -1, -1)]
    if spacing == "leading":
        return [n // S * k + 1 for k in range(S - 1, -1, -1)] + [0]
    if spacing == "trailing":
        return [round(n - i * n / S) for i in range(S)] + [0]
    assert isinstance(T, Schedule)  # spacing == "logsnr"
    log_sigma = T.sigma[1:].log()
    even = torch.linspace(float(log_sigma[-1]), float(log_sigma[0]), S, dtype=torch.float64)
    steps = T.t_at_sigma(even.exp()).round().long().tolist()
    for i in range(S):  # at most one step closer than the next to each end
        steps[i] = min(steps[i], steps[i - 1] - 1) if i else n
    return [max(t, S - i) for i, t in enumerate(steps)] + [0]
