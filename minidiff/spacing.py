"""Chapter 13: which t a sampler visits, the subsequence tau of Song, Meng & Ermon (2021).

A grid is a list of t that falls to 0. A noise level between the steps has a t between them too
(log-SNR is interpolated, `Schedule.at`), and the network is asked at it: time features take any
number. `[round(t) for t in grid]` asks only at steps it was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from minidiff.checks import one_of
from minidiff.checks_networks import check_schedule
from minidiff.checks_times import grid_ends
from minidiff.schedule import Schedule

Spacing = Literal["linear", "quadratic", "leading", "trailing", "logsnr", "karras"]
SPACINGS: tuple[str, ...] = get_args(Spacing)


def tau(
    T: int | Schedule,
    S: int | None = None,
    spacing: str = "linear",
    *,
    start: float | None = None,
    end: float = 0,
) -> list[float]:
    """A subsequence of S steps, strictly decreasing from `start` (None: T) to `end`.

    Song, Meng & Ermon 2021, section 4.2 and appendix D.2 (linear, quadratic). For the whole chain:

    linear      T = tau_S > … : floor(T i / S), i = S..0; starts at T.
    quadratic   floor(T i^2 / S^2), made strictly decreasing; dense near the data.
    leading     (T // S) k + 1: what the official DDIM code and diffusers' default use; starts
                below T, at 981 for S = 50 of 1000.
    trailing    round(T - i T / S): diffusers' "trailing".
    logsnr      even in log-SNR between t = T and t = 1, then 0; needs a Schedule.
    karras      even in sigma^(1/7) between the same ends, then 0 (Karras et al. 2022, eq. (5)): t
                is not rounded, and S has no limit; needs a Schedule.

    Between other ends the first four count t from `end` ("leading" has no start of its own), the
    last two take the levels of `start` and `end`. S None is every step. Returns S + 1 numbers.

    >>> tau(1000, S=4)
    [1000, 750, 500, 250, 0]
    >>> tau(1000, S=4, spacing="quadratic")
    [1000, 562, 250, 62, 0]
    >>> tau(1000, S=4, spacing="leading")
    [751, 501, 251, 1, 0]
    >>> [round(t, 1) for t in tau(Schedule.linear(1000), S=4, spacing="karras", start=600)]
    [600, 308.2, 49.6, 1, 0]
    """
    one_of("spacing", spacing, SPACINGS)
    S, start, end = grid_ends(T, S, spacing, start, end)
    n = start - end
    if spacing == "linear":
        return [end + n * i // S for i in range(S, -1, -1)]
    if spacing == "quadratic":
        return [end + max(n * i * i // S**2, i) for i in range(S, -1, -1)]
    if spacing == "leading":
        return [end + n // S * k + 1 for k in range(S - 1, -1, -1)] + [end]
    if spacing == "trailing":
        return [end + round(n - i * n / S) for i in range(S)] + [end]
    assert isinstance(T, Schedule)
    return _even_levels(T, S, spacing, start, end)


def _even_levels(T: Schedule, S: int, spacing: str, start: float, end: float) -> list[float]:
    """The spacings that are even in a function of the noise level, which the data do not have."""
    low, data = (end, []) if end else (1, [0])
    levels = S + 1 - len(data)
    first, last = T.sigma_at(start), T.sigma_at(low)
    if spacing == "karras":
        even = torch.linspace(first ** (1 / 7), last ** (1 / 7), levels, dtype=torch.float64)
        times = T.t_at_sigma(even**7).tolist()
        return [start, *times[1:-1], *[low][: levels - 1], *data]
    even = torch.linspace(math.log(first), math.log(last), levels, dtype=torch.float64)
    steps = T.t_at_sigma(even.exp()).round().long().tolist()
    for i in range(levels):  # at most one step closer than the next to each end
        steps[i] = min(steps[i], steps[i - 1] - 1) if i else start
    return [max(t, low + levels - 1 - i) for i, t in enumerate(steps)] + data


def tau_at(
    schedule: Schedule,
    *,
    sigma: Tensor | Sequence[float] | None = None,
    log_snr: Tensor | Sequence[float] | None = None,
) -> list[float]:
    """The grid of any noise levels: t with sigma_t = sigma, or with log-SNR_t = -2 log sigma_t.

    Give one of the two: sigma falling, with sigma = 0 for the data, or log_snr rising, with
    infinity for them. Levels between the steps give t between them; there are none between the data
    and sigma_1, nor above sigma_T. A grid that stops before the data needs `end` in a sampler.

    >>> schedule = Schedule.linear(1000)
    >>> [round(t, 1) for t in tau_at(schedule, sigma=[100, 10, 1, 0.1, 0])]
    [954.1, 674.7, 259.1, 27.4, 0.0]
    >>> [round(t, 1) for t in tau_at(schedule, log_snr=[-9, -3, 3])]
    [943.1, 547.7, 65.5]
    """
    check_schedule(schedule)
    if (sigma is None) == (log_snr is None):
        raise ValueError("tau_at takes one grid: sigma=[…] or log_snr=[…]")
    given = torch.as_tensor(log_snr if sigma is None else sigma, dtype=torch.float64).cpu()
    level = (-given / 2).exp() if sigma is None else given
    least, most = float(schedule.sigma[1]), float(schedule.sigma[-1])
    known = (level > least * (1 - 1e-6)) & (level < most * (1 + 1e-6))  # as float32 may say it
    if not bool(((level == 0) | known).all()):
        wrong = float(level[(level != 0) & ~known][0])
        raise ValueError(
            f"noise levels of this schedule are sigma = {least:.4g} (t = 1) to {most:.4g} "
            f"(t = {schedule.T}), and 0 for the data; got {wrong:.4g}"
        )
    if level.ndim != 1 or len(level) < 2 or not bool((level.diff() < 0).all()):
        raise ValueError("a grid is two levels or more, from noise to data: falling sigma")
    return [float(t) for t in torch.where(level == 0, 0, schedule.t_at_sigma(level))]
