"""Chapters 14, 15 and 20: DDIM is Euler's method for the ODE d x_bar / d sigma = eps_theta.

With x_bar = x / sqrt(alpha_bar) and sigma = sqrt(1/alpha_bar - 1) the noise level itself is the
time: Song, Meng & Ermon 2021, eq. (14). Better solvers and encoding follow from that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from minidiff.checks import admit, check_finite, one_of
from minidiff.checks_networks import check_model
from minidiff.checks_times import check_tau
from minidiff.denoiser import Clip, Denoiser, Prediction
from minidiff.kinds import check_number, check_scale
from minidiff.process import cast, randn
from minidiff.samplers import Step
from minidiff.spacing import tau

Field = Callable[[Tensor, float], Tensor]
Solver = Literal["euler", "heun", "rk4", "dpm++"]
SOLVERS: tuple[str, ...] = get_args(Solver)


def predict_at(
    model: Denoiser, x_bar: Tensor, sigma: float, *, clip: Clip = False, **cond: Any
) -> Prediction:
    """The model's (x0, eps) at x_bar = x / sqrt(alpha_bar) and noise level sigma.

    Its eps is the right side of the ODE: Song, Meng & Ermon 2021, eq. (14).
    The network is asked at the t of that level, fractional between the steps of the schedule and
    held at 1 below sigma_1 (so sigma = 0, the data, is asked as t = 1).

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: x, Schedule.linear(1000))
    >>> predict_at(model, torch.ones(1, 2), 1.0).eps.shape
    torch.Size([1, 2])
    """
    check_model(model)
    check_number(sigma=sigma)
    admit(x_bar=x_bar)
    t = float(model.schedule.t_at_sigma(torch.tensor(float(sigma), dtype=torch.float64)))
    t = round(t) if abs(t - round(t)) < 1e-9 else t
    return model(x_bar / math.sqrt(1 + sigma**2), t, clip=clip, **cond)


def velocity(model: Denoiser, xt: Tensor, t: float, **cond: Any) -> Tensor:
    """d x_t / d t = (lambda'/2) [(1 - alpha_bar) x_t - sqrt(1 - alpha_bar) eps_theta], in t itself.

    The probability-flow ODE of the VP-SDE (Song et al. 2021, eq. (13)) with beta(t) =
    -(1 - alpha_bar) lambda'(t); lambda is log-SNR, linear between the steps. The same curve as
    d x_bar / d sigma = eps_theta in another time (Song, Meng & Ermon 2021, proposition 1), but
    Euler's steps along it are others: Song, Meng & Ermon 2021, eq. (15) takes them in sigma^2.

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: x, Schedule.linear(1000))
    >>> velocity(model, torch.ones(1, 2), 500.5).shape
    torch.Size([1, 2])
    """
    check_model(model)
    check_number(t=t)
    schedule = model.schedule
    admit({"t": t}, 1, schedule, xt=xt)
    low = min(max(math.floor(t), 1), schedule.T - 1)
    slope = float(schedule.log_snr[low + 1] - schedule.log_snr[low])
    a = schedule.at(t, xt)
    eps = model(xt, t, clip=False, **cond).eps
    return cast(slope / 2 * ((1 - a) * xt - (1 - a).sqrt() * eps), xt)


# ------------------------------------------------------------------------------ solvers


def _euler(f: Field, x: Tensor, a: float, b: float) -> Tensor:
    return x + (b - a) * f(x, a)


def _heun(f: Field, x: Tensor, a: float, b: float) -> Tensor:
    slope = f(x, a)
    return x + (b - a) / 2 * (slope + f(x + (b - a) * slope, b))


def _rk4(f: Field, x: Tensor, a: float, b: float) -> Tensor:
    h, middle = b - a, (a + b) / 2
    k1 = f(x, a)
    k2 = f(x + h / 2 * k1, middle)
    k3 = f(x + h / 2 * k2, middle)
    k4 = f(x + h * k3, b)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


_ONE_STEP = {"euler": _euler, "heun": _heun, "rk4": _rk4}


@dataclass(frozen=True)
class Churn:
    """Before each step of `solve` noise is put in, up to a level a little higher, (1 + g) sigma.

    Karras et al. 2022, algorithm 2, for N steps: g = min(amount/N, sqrt(2) - 1) where
    low <= sigma <= high, else 0; never beyond the schedule's last level. noise: the standard
    deviation of what is put in, a little above 1 where a network takes too much away. In their
    letters S_churn, S_tmin, S_tmax, S_noise.

    >>> Churn(40).raised(1.0, steps=100, most=80.0)
    1.4
    """

    amount: float
    low: float = 0.0
    high: float = math.inf
    noise: float = 1.0

    def __post_init__(self) -> None:
        check_number(amount=self.amount, low=self.low, high=self.high, noise=self.noise)
        if not (self.amount >= 0 and self.noise >= 0 and self.low <= self.high):
            raise ValueError(f"churn needs amount >= 0, noise >= 0 and low <= high, got {self}")

    def raised(self, sigma: float, steps: int, most: float) -> float:
        """The level from which a step is taken in place of sigma."""
        if not self.low <= sigma <= self.high:
            return sigma
        return max(sigma, min(sigma * (1 + min(self.amount / steps, math.sqrt(2) - 1)), most))


def solve(
    model: Denoiser,
    x_T: Tensor,
    tau: Sequence[float] | int,
    method: str = "dpm++",
    *,
    end: float = 0,
    clip: Clip = False,
    churn: Churn | None = None,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Iterator[Step]:
    """Follow the ODE from x_T, the state at tau[0], down the grid tau to `end`, yielding each step.

    The ODE is Song, Meng & Ermon 2021, eq. (14). method: "euler" (order 1, one call a step, their
    DDIM step: Song, Meng & Ermon 2021, eq. (13)), "heun" (2, two calls), "rk4" (4, four calls),
    "dpm++" (DPM-Solver++(2M), Lu et al. 2022: order 2, one call). A last step to sigma = 0 is
    Euler's for all: x0 as the network sees it. clip: as in `Denoiser`, by default False (clamping
    gives better samples in few steps, but it is no longer the same ODE). churn: noise put in before
    each step, "heun" with it is EDM's stochastic sampler; "dpm++" remembers, and has none.

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: x, Schedule.linear(1000))
    >>> [step.t for step in solve(model, torch.ones(1, 2), [1000, 500, 0], "heun")]
    [500, 0]
    """
    check_model(model)
    one_of("method", method, SOLVERS)
    admit(x_T=x_T)
    if churn and method == "dpm++":
        raise ValueError('churn is for methods of one step, such as "heun"; "dpm++" remembers one')
    grid = check_tau(tau, model.schedule.T, end)
    sigmas = [model.schedule.sigma_at(t) for t in grid]
    seen: list[Prediction] = []

    def f(x: Tensor, sigma: float) -> Tensor:
        p = predict_at(model, x, sigma, clip=clip, **cond)
        seen.append(p)
        return p.eps

    @torch.no_grad()
    def walk() -> Iterator[Step]:
        x = x_T * math.sqrt(1 + sigmas[0] ** 2)  # x_bar
        before: tuple[Tensor, float] | None = None  # DPM-Solver++'s last x0, its log(sigma) step
        for (a, b), s in zip(pairwise(sigmas), grid[1:], strict=True):
            seen.clear()
            if churn:
                high = churn.raised(a, len(grid) - 1, float(model.schedule.sigma[-1]))
                if high > a:
                    x = x + churn.noise * math.sqrt(high**2 - a**2) * randn(x, generator)
                a = high
            if method == "dpm++":
                f(x, a)
                x0 = seen[0].x0
                target, h = x0, math.log(a / b) if b > 0 else math.inf
                if before is not None and b > 0:
                    target = x0 + h / (2 * before[1]) * (x0 - before[0])
                x = b / a * x + (1 - b / a) * target
                before = (x0, h)
            else:
                x = (_euler if b == 0 else _ONE_STEP[method])(f, x, a, b)
            yield Step(s, cast(x / math.sqrt(1 + b**2), x_T), seen[0].x0)
        check_finite(x)

    return walk()


@torch.no_grad()
def encode(
    model: Denoiser,
    x0: Tensor,
    steps: int = 100,
    *,
    start: float = 0,
    end: float | None = None,
    method: str = "euler",
    spacing: str = "linear",
    **cond: Any,
) -> Tensor:
    """x_T of an image: the ODE run forward from x_0 (Song, Meng & Ermon 2021, section 5.4).

    Between other ends, x at `end` (None: T) from x0, then the state at `start`. method: "euler"
    (the paper's), "heun" or "rk4"; spacing: as in `tau`. Never clips. Returns (B, …).

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> round(float(encode(model, torch.ones(1, 1), steps=10)), 5)  # only the scaling remains
    0.00635
    """
    check_model(model)
    one_of("method", method, tuple(_ONE_STEP))
    admit(x0=x0)
    check_scale(model.sigma_data, x0=x0)
    grid = tau(model.schedule, steps, spacing, start=end, end=start)[::-1]
    sigmas = [model.schedule.sigma_at(t) for t in grid]

    def f(x: Tensor, sigma: float) -> Tensor:
        return predict_at(model, x, sigma, **cond).eps

    x = x0 * math.sqrt(1 + sigmas[0] ** 2)  # x_bar
    for a, b in pairwise(sigmas):
        x = (_euler if a == 0 else _ONE_STEP[method])(f, x, a, b)
    check_finite(x)
    return cast(x / math.sqrt(1 + sigmas[-1] ** 2), x0)


def decode(
    model: Denoiser,
    x_T: Tensor,
    steps: int = 100,
    *,
    start: float | None = None,
    end: float = 0,
    method: str = "euler",
    spacing: str = "linear",
    **cond: Any,
) -> Tensor:
    """The image of a latent: the ODE run back to x_0; the inverse of `encode` as steps grow.

    Between other ends, x at `end` from x_T, then the state at `start` (None: T).

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> x = torch.tensor([[0.5]])
    >>> round(float(decode(model, encode(model, x, 10), 10)), 5)
    0.5
    """
    check_model(model)
    grid = tau(model.schedule, steps, spacing, start=start, end=end)
    *_, last = solve(model, x_T, grid, method, end=end, **cond)
    return last.x
