"""Chapters 4, 5 and 10: training objectives, one number for each sample, to weight and average.

All draw eps ~ N(0, I) once (from `generator`), form x_t, and take the network's prediction there
without clipping. t: (B,) in 1..T, or one for all, from `minidiff.timesteps`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from minidiff.bound import vlb_term
from minidiff.checks import admit, check_indexed
from minidiff.checks_networks import check_learned, check_model
from minidiff.checks_times import check_whole
from minidiff.denoiser import Denoiser, Prediction
from minidiff.kinds import check_scale
from minidiff.parameterize import pair
from minidiff.process import cast, diffuse, randn
from minidiff.schedule import Index


def loss_simple(
    model: Denoiser,
    x0: Tensor,
    t: Index,
    *,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Tensor:
    """L_simple = || eps - eps_theta(x_t, t) ||^2, averaged over dimensions.

    Ho et al. 2020, eq. (14), algorithm 1. For another parameterization the same in its own target
    (x_0, v, u, mu or score): with u it is flow matching's loss (Lipman et al. 2023), with v and
    sigma_data that of EDM's F (Karras et al. 2022, eq. (8)). With a learned variance this trains
    the mean alone.

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> loss = loss_simple(model, torch.zeros(4096, 2), torch.full((4096,), 7))
    >>> loss.shape, round(float(loss.mean()), 0)
    (torch.Size([4096]), 1.0)
    """
    xt, eps = _noised(model, x0, t, generator)
    raw, _ = model.ask(xt, t, **_with_x_self(model, xt, t, cond))
    return _simple(model, raw, x0, xt, t, eps)


def loss_gamma(
    model: Denoiser,
    x0: Tensor,
    t: Index,
    weights: Tensor | None = None,
    *,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Tensor:
    """L_gamma = gamma_t || eps - eps_theta(x_t, t) ||^2, mean over dimensions, any weights gamma_t.

    Song, Meng & Ermon 2021, eq. (5). weights: T + 1 numbers indexed by t (such as `weights_vlb`),
    best on the device of x0 (else every call copies them there); None is all ones. The error is
    measured in eps whatever the network predicts.

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> loss_gamma(model, torch.zeros(2, 3), torch.tensor([1, 2]), torch.zeros(1001)).tolist()
    [0.0, 0.0]
    """
    xt, eps = _noised(model, x0, t, generator)
    if weights is not None:
        check_whole(t)
        check_indexed(model.schedule, weights=weights)
    error = (eps - _eps(model, xt, t, cond)) ** 2
    loss = error.flatten(1).mean(1)
    if weights is None:
        return loss
    return loss * weights.to(loss)[torch.as_tensor(t, device=loss.device).long()]


def loss_vlb(
    model: Denoiser,
    x0: Tensor,
    t: Index,
    *,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Tensor:
    """T * (term t of the variational bound) in bits/dim: over uniform t its mean is the bound
    without the constant L_T (Ho et al. 2020, eq. (5); Nichol & Dhariwal 2021, eq. (4)).

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> loss_vlb(model, torch.zeros(2, 3), torch.tensor([1, 1000])).shape
    torch.Size([2])
    """
    xt, _ = _noised(model, x0, t, generator)
    p = model(xt, t, clip=False, **_with_x_self(model, xt, t, cond))
    return _vlb(model, p, x0, xt, t)


def loss_hybrid(
    model: Denoiser,
    x0: Tensor,
    t: Index,
    *,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Tensor:
    """L_hybrid = L_simple + 0.001 L_vlb, the mean held fixed in L_vlb.

    Nichol & Dhariwal 2021, eq. (16), with L_vlb in bits/dim and multiplied by T/1000 as in their
    code: 0.001 * T * term_t. Only the variance channels receive the gradient of L_vlb.

    >>> from minidiff.schedule import Schedule
    >>> net = lambda x, t: torch.zeros(len(x), 2 * x.shape[1])
    >>> model = Denoiser(net, Schedule.cosine(1000), variance="learned")
    >>> loss_hybrid(model, torch.zeros(2, 3), torch.tensor([1, 1000])).shape
    torch.Size([2])
    """
    xt, eps = _noised(model, x0, t, generator)
    check_learned(model.variance, model.learns_variance)
    p = model(xt, t, clip=False, **_with_x_self(model, xt, t, cond))
    frozen = Prediction(p.x0.detach(), p.eps.detach(), p.raw.detach(), p.values)
    return _simple(model, p.raw, x0, xt, t, eps) + 0.001 * _vlb(model, frozen, x0, xt, t)


def loss_score(
    model: Denoiser,
    x0: Tensor,
    t: Index,
    *,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Tensor:
    """Denoising score matching: (1 - alpha_bar_t) || s_theta - grad log q(x_t | x_0) ||^2, mean.

    Vincent 2011; Song & Ermon 2019. With s_theta = -eps_theta / sqrt(1 - alpha_bar_t) it equals
    L_simple, which the book shows and the tests check.

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> loss_score(model, torch.zeros(2, 3), torch.tensor([1, 2])).shape
    torch.Size([2])
    """
    xt, eps = _noised(model, x0, t, generator)
    rest = 1 - model.schedule.at(t, xt)
    score = -_eps(model, xt, t, cond) / rest.sqrt()
    error = rest * (score + eps / rest.sqrt()) ** 2
    return cast(error, x0).flatten(1).mean(1)


# ---------------------------------------------------------------------------------- inside


def _noised(
    model: Denoiser, x0: Tensor, t: Index, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    check_model(model)
    admit({"t": t}, 1, model.schedule, x0=x0)
    check_scale(model.sigma_data, x0=x0)
    eps = randn(x0, generator)
    return diffuse(model.schedule, x0, t, eps), eps


def _eps(model: Denoiser, xt: Tensor, t: Index, cond: dict[str, Any]) -> Tensor:
    raw, _ = model.ask(xt, t, **_with_x_self(model, xt, t, cond))
    return raw if model.predict == "eps" else pair(model.predict, raw, *model.in_units(xt, t))[1]


def _with_x_self(model: Denoiser, xt: Tensor, t: Index, cond: dict[str, Any]) -> dict[str, Any]:
    """A self-conditioned network gets its own estimate of x_0, without gradient, for the first half
    of the batch, and none for the rest (Chen et al. 2022, who toss a coin for the whole batch: the
    same share, but a GPU would have to report the coin).
    """
    if model.self_conditioned and "x_self" not in cond:
        half = (len(xt) + 1) // 2
        first = {k: v[:half] if isinstance(v, Tensor) else v for k, v in cond.items()}
        first_t = t[:half] if isinstance(t, Tensor) and t.numel() > 1 else t
        with torch.no_grad():
            guess = model(xt[:half], first_t, **first, x_self=None).x0
        return {**cond, "x_self": torch.cat([guess, torch.zeros_like(xt[half:])])}
    return cond


def _simple(model: Denoiser, raw: Tensor, x0: Tensor, xt: Tensor, t: Index, eps: Tensor) -> Tensor:
    target = eps if model.predict == "eps" else model.target(x0, xt, t)
    return ((target - raw) ** 2).flatten(1).mean(1)


def _vlb(model: Denoiser, p: Prediction, x0: Tensor, xt: Tensor, t: Index) -> Tensor:
    nats = vlb_term(model, x0, xt, t, p)
    return cast(nats * (model.schedule.T / (math.log(2) * x0.shape[1:].numel())), x0)
