"""Chapters 7, 13 and 14: samplers, generators that walk from noise to data, yielding every step.

`*_, last = ddim(model, x_T, tau(1000, S=50))` gives the sample last.x; the film is
`[step.x0 for step in …]`. Noise is drawn once per step where there is any, never at s = 0.

A walk begins at the first t of its grid, whose state it is given, and goes down to `end`: x_T may
be any x_t, and a grid may hold any noise levels (`tau_at`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from minidiff.checks import admit, check_eta, check_finite, check_single, per_sample
from minidiff.checks_networks import check_model
from minidiff.checks_times import check_tau, check_whole
from minidiff.denoiser import Clip, Denoiser, Prediction
from minidiff.kinds import check_number, check_scale, check_tensor
from minidiff.process import Gaussian, cast, ddim_posterior, ddim_sigma, diffuse, randn


class Step(NamedTuple):
    """One step of a sampler: now at time t, with state x and the estimate x0 it was made from."""

    t: float
    x: Tensor
    x0: Tensor


def ancestral(
    model: Denoiser,
    x_T: Tensor,
    tau: Sequence[float] | int | None = None,
    *,
    end: float = 0,
    clip: Clip | None = None,
    variance: str | None = None,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Iterator[Step]:
    """x_s = mean + std eps, (mean, std) of p_theta(x_s | x_t) (Ho et al. 2020, algorithm 2).

    x_T: (B, …), the state at tau[0]. tau: strictly decreasing t to `end` (None: every step from T;
    S: the S of `tau`); end: 0, the data, or any t to stop at. clip, an x0 hook, and variance: as in
    `Denoiser` and `Denoiser.reverse`, by default the model's; no noise at s = 0. Starting below T
    continues from a given x_t: repeat one x_t to draw samples that share it (Ho et al. 2020,
    figure 7).

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> *_, last = ancestral(model, torch.zeros(2, 3), [1000, 500, 0])
    >>> last.t, last.x.shape
    (0, torch.Size([2, 3]))
    """
    steps = _admit(model, x_T, tau, end)
    model.check_variance(variance)

    def reverse(x: Tensor, t: float, s: float, p: Prediction) -> Gaussian:
        return model.reverse(x, t, s, p, variance=variance)

    return _walk(model, x_T, steps, reverse, True, generator, clip, cond)


def ddim(
    model: Denoiser,
    x_T: Tensor,
    tau: Sequence[float] | int | None = None,
    eta: float | str = 0.0,
    *,
    end: float = 0,
    clip: Clip | None = None,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Iterator[Step]:
    """x_s = sqrt(ab_s) x0 + sqrt(1 - ab_s - sigma^2) eps_theta + sigma eps, ab = alpha_bar.

    A draw from q_sigma(x_s | x_t, x0_theta): Song, Meng & Ermon 2021, eq. (10), eq. (12), with
    sigma from eta by `ddim_sigma`. eta = 0 is deterministic DDIM, Euler's step of an ODE (`solve`);
    eta = 1 is DDPM with the small variance; eta = "hat" is their sigma-hat (appendix D.3), the mean
    of eta = 1 with the larger noise sqrt(1 - ab_t/ab_s). x_T, tau, end and clip as in `ancestral`.

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000), clip=False)
    >>> [step.t for step in ddim(model, torch.zeros(2, 3), [1000, 500, 0])]
    [500, 0]
    """
    steps = _admit(model, x_T, tau, end)
    check_eta(model.schedule, eta, steps)

    def step(x: Tensor, t: float, s: float, p: Prediction) -> Gaussian:
        if isinstance(eta, str):
            return model.reverse(x, t, s, p, variance="large")
        sigma = ddim_sigma(model.schedule, t, s, eta)
        # The eps of the pair, not (x_t - sqrt(ab) x0)/sqrt(1 - ab): no cancellation near t = 1.
        return ddim_posterior(model.schedule, p.x0, x, t, s, sigma, eps=p.eps)

    return _walk(model, x_T, steps, step, eta != 0, generator, clip, cond)


def _admit(
    model: Denoiser, x_T: Tensor, tau: Sequence[float] | int | None, end: float
) -> list[float]:
    """The steps of a walk, checked now and not at its first `next`."""
    check_model(model)
    admit(x_T=x_T)
    check_number(end=end)
    T = model.schedule.T
    return check_tau([*range(T, math.floor(end), -1), end] if tau is None else tau, T, end)


@torch.no_grad()
def _walk(
    model: Denoiser,
    x_T: Tensor,
    steps: list[float],
    rule: Callable[[Tensor, float, float, Prediction], Gaussian],
    noisy: bool,
    generator: torch.Generator | None,
    clip: Clip | None,
    cond: dict[str, Any],
) -> Iterator[Step]:
    """The loop of every sampler; `rule` gives p(x_s | x_t)."""
    x = x_T
    for t, s in pairwise(steps):
        p = model(x, t, clip=clip, **cond)
        g = rule(x, t, s, p)
        # The Gaussian is float64; the noise and the next state have the dtype of x_T.
        x = cast(g.mean if s == 0 or not noisy else g.mean + g.std * randn(x, generator), x_T)
        if model.self_conditioned:
            cond = {**cond, "x_self": p.x0}
        yield Step(s, x, p.x0)
    check_finite(x)


def lerp(a: Tensor, b: Tensor, weight: float | Tensor) -> Tensor:
    """(1 - weight) a + weight b; weight a number or (B,). Shrinks the norm of Gaussian latents.

    >>> lerp(torch.zeros(1, 2), torch.ones(1, 2), 0.25).tolist()
    [[0.25, 0.25]]
    """
    admit(a=a, b=b)
    w = per_sample(weight, a)
    return cast((1 - w) * a + w * b, a)


def slerp(a: Tensor, b: Tensor, weight: float | Tensor) -> Tensor:
    """sin((1-w) theta)/sin(theta) a + sin(w theta)/sin(theta) b, theta the angle between a and b.

    Song, Meng & Ermon 2021, appendix D.5 (Shoemake 1985). Each sample of (B, …) is one vector;
    weight a number or (B,). Keeps the norm of Gaussian latents; `lerp` where the angle is 0.

    >>> x = slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
    >>> round(float(x.norm()), 6)
    1.0
    """
    admit(a=a, b=b)
    w = per_sample(weight, a)
    u, v = a.double().flatten(1), b.double().flatten(1)
    cos = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1)).clamp(min=1e-300)
    theta = cos.clamp(-1, 1).acos().reshape(-1, *(1,) * (a.ndim - 1))
    sin = theta.sin()
    small = sin.abs() < 1e-9
    safe = torch.where(small, torch.ones_like(sin), sin)
    wa = torch.where(small, 1 - w, ((1 - w) * theta).sin() / safe)
    wb = torch.where(small, w, (w * theta).sin() / safe)
    return cast(wa * a + wb * b, a)


def interpolate(
    model: Denoiser,
    x0: Tensor,
    y0: Tensor,
    weight: Tensor,
    t: int,
    *,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Iterator[Step]:
    """DDPM's stochastic interpolation: noise both images to t, mix linearly, denoise from t.

    Ho et al. 2020, section 4.4, figures 8 and 9. x0, y0: (1, …), one image each; weight: (L,).
    The two noises are drawn once, so every weight mixes the same pair. Yields steps of (L, …).

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> x = torch.ones(1, 3)
    >>> *_, last = interpolate(model, x, -x, torch.linspace(0, 1, 5), t=2)
    >>> last.x.shape
    torch.Size([5, 3])
    """
    check_model(model)
    check_single(admit(x0=x0, y0=y0))
    check_whole(t)
    check_scale(model.sigma_data, x0=x0, y0=y0)
    xt = diffuse(model.schedule, x0, t, randn(x0, generator))
    yt = diffuse(model.schedule, y0, t, randn(y0, generator))
    check_tensor(weight=weight)
    n = weight.numel()
    mixed = lerp(xt.expand(n, *xt.shape[1:]), yt.expand(n, *yt.shape[1:]), weight)
    return ancestral(model, mixed, range(t, -1, -1), generator=generator, **cond)
