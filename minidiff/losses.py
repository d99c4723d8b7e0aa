"""Training objectives. Each returns one number for each sample, (B,), to weight and average.

All draw eps ~ N(0, I) once (from `generator`), form x_t, and take the network's prediction there
without clipping. t: (B,) in 1..T, from `minidiff.timesteps`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from minidiff.bound import vlb_term
from minidiff.denoiser import Denoiser, Prediction
from minidiff.process import cast, check_state, diffuse, randn
from minidiff.schedule import Schedule


def loss_simple(
    model: Denoiser,
    x0: Tensor,
    t: Tensor,
    *,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Tensor:
    """L_simple = || eps - eps_theta(x_t, t) ||^2, averaged over dimensions (Ho et al., eq. (14)).

    For another parameterization the same in its own target (x_0, v, mu or score). With a learned
    variance this trains the mean alone.

    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> loss = loss_simple(model, torch.zeros(4096, 2), torch.full((4096,), 7))
    >>> loss.shape, round(float(loss.mean()), 0)
    (torch.Size([4096]), 1.0)
    """
    xt, eps = _noised(model.schedule, x0, t, generator)
    return _simple(model, _ask(model, xt, t, cond), x0, xt, t, eps)


def loss_gamma(
    model: Denoiser,
    x0: Tensor,
    t: Tensor,
    weights: Tensor | None = None,
    *,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Tensor:
    """L_gamma = gamma_t || eps - eps_theta(x_t, t) ||^2, mean over dimensions, any weights gamma_t.

    Song, Meng & Ermon 2021, eq. (5). weights: T + 1 numbers indexed by t (see `weights_*` below),
    best on the device of x0 (else every call copies them there); None is all ones. The error is
    measured in eps whatever the network predicts.

    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> loss_gamma(model, torch.zeros(2, 3), torch.tensor([1, 2]), torch.zeros(1001)).tolist()
    [0.0, 0.0]
    """
    xt, eps = _noised(model.schedule, x0, t, generator)
    error = (eps - _ask(model, xt, t, cond).eps) ** 2
    loss = error.flatten(1).mean(1)
    return loss if weights is None else loss * weights.to(loss)[t.to(loss.device)]


def loss_vlb(
    model: Denoiser,
    x0: Tensor,
    t: Tensor,
    *,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Tensor:
    """T * (term t of the variational bound) in bits/dim: over uniform t its mean is the bound
    without the constant L_T (Ho et al. 2020, eq. (5); Nichol & Dhariwal 2021, eq. (4)).

    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> loss_vlb(model, torch.zeros(2, 3), torch.tensor([1, 1000])).shape
    torch.Size([2])
    """
    xt, _ = _noised(model.schedule, x0, t, generator)
    return _vlb(model, _ask(model, xt, t, cond), x0, xt, t)


def loss_hybrid(
    model: Denoiser,
    x0: Tensor,
    t: Tensor,
    *,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Tensor:
    """L_hybrid = L_simple + 0.001 L_vlb, the mean held fixed in L_vlb.

    Nichol & Dhariwal 2021, eq. (16), with L_vlb in bits/dim and multiplied by T/1000 as in their
    code: 0.001 * T * term_t. Only the variance channels receive the gradient of L_vlb.

    >>> net = lambda x, t: torch.zeros(len(x), 2 * x.shape[1])
    >>> model = Denoiser(net, Schedule.cosine(1000), variance="learned")
    >>> loss_hybrid(model, torch.zeros(2, 3), torch.tensor([1, 1000])).shape
    torch.Size([2])
    """
    if not model.learns_variance:
        raise ValueError(
            "loss_hybrid trains a learned variance, but this model's is "
            f"{model.variance!r}; use loss_simple, or variance='learned' and a network with "
            "twice the output channels"
        )
    xt, eps = _noised(model.schedule, x0, t, generator)
    p = _ask(model, xt, t, cond)
    frozen = Prediction(p.x0.detach(), p.eps.detach(), p.raw.detach(), p.values)
    return _simple(model, p, x0, xt, t, eps) + 0.001 * _vlb(model, frozen, x0, xt, t)


def loss_score(
    model: Denoiser,
    x0: Tensor,
    t: Tensor,
    *,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Tensor:
    """Denoising score matching: (1 - alpha_bar_t) || s_theta - grad log q(x_t | x_0) ||^2, mean.

    Vincent 2011; Song & Ermon 2019. With s_theta = -eps_theta / sqrt(1 - alpha_bar_t) it equals
    L_simple, which the book shows and the tests check.

    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> loss_score(model, torch.zeros(2, 3), torch.tensor([1, 2])).shape
    torch.Size([2])
    """
    xt, eps = _noised(model.schedule, x0, t, generator)
    rest = 1 - model.schedule.at(t, xt)
    score = -_ask(model, xt, t, cond).eps / rest.sqrt()
    error = rest * (score + eps / rest.sqrt()) ** 2
    return cast(error, x0).flatten(1).mean(1)


# ------------------------------------------------------- weights gamma_t of L_gamma, indexed by t


# ---------------------------------------------------------------------------------- inside


def _noised(
    schedule: Schedule, x0: Tensor, t: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    check_state(x0, "x0")
    eps = randn(x0, generator)
    return diffuse(schedule, x0, t, eps), eps


def _ask(model: Denoiser, xt: Tensor, t: Tensor, cond: dict[str, Any]) -> Prediction:
    """The prediction to train, unclipped. A self-conditioned network gets its own estimate of x_0,
    without gradient, for the first half of the batch, and none for the rest (Chen et al. 2022, who
    toss a coin for the whole batch: the same share, but a GPU would have to report the coin).
    """
    if model.self_conditioned and "x_self" not in cond:
        half = (len(xt) + 1) // 2
        first = {k: v[:half] if isinstance(v, Tensor) else v for k, v in cond.items()}
        with torch.no_grad():
            guess = model(xt[:half], t[:half], **first).x0
        cond = {**cond, "x_self": torch.cat([guess, torch.zeros_like(xt[half:])])}
    return model(xt, t, clip=False, **cond)


def _simple(
    model: Denoiser, p: Prediction, x0: Tensor, xt: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    target = eps if model.predict == "eps" else model.target(x0, xt, t)
    return ((target - p.raw) ** 2).flatten(1).mean(1)


def _vlb(model: Denoiser, p: Prediction, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
    nats = vlb_term(model, x0, xt, t, p)
    return cast(nats * (model.schedule.T / (math.log(2) * x0.shape[1:].numel())), x0)
