"""Chapter 3: the variational bound L_T + sum_t L_{t-1} + L_0, and its relatives.

Nats are summed over the dimensions of a sample; bits/dim are nats / (D ln 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minidiff.checks import admit, check_levels
from minidiff.checks_networks import check_model, check_schedule
from minidiff.checks_times import check_whole
from minidiff.denoiser import Denoiser, Prediction
from minidiff.kinds import check_scale
from minidiff.process import Gaussian, diffuse, marginal, posterior, randn
from minidiff.schedule import Index, Schedule

LEVELS = 256


def decoder_nll(g: Gaussian, x0: Tensor, levels: int | None = LEVELS) -> Tensor:
    """-log of the mass that g = p(x_0 | x_1) puts on the bin of x_0: (B,) in nats.

    Ho et al. 2020, eq. (13): bins of width 2/(levels - 1) around k/127.5 - 1, the first and last
    open to infinity, by the exact normal CDF in float64 (log_ndtr, stable in both tails).
    levels=None: the density instead of a mass, for data that are real numbers.

    >>> g = Gaussian(torch.zeros(1, 1).double(), torch.full((1, 1), 0.3).double())
    >>> grid = (torch.arange(256).double() / 127.5 - 1).reshape(-1, 1)
    >>> mass = decoder_nll(Gaussian(g.mean.expand(256, 1), g.var), grid).neg().exp().sum()
    >>> round(float(mass), 12)
    1.0
    """
    admit(mean=g.mean, x0=x0)
    check_levels(levels)
    if levels is None:
        return -g.log_prob(x0)
    half = 1 / (levels - 1)
    centred, std = (x0 - g.mean).double(), g.std.double()
    upper, lower = (centred + half) / std, (centred - half) / std
    first, last = x0 < -1 + half, x0 > 1 - half
    # By symmetry the interval is moved to the left of 0, where log_ndtr has no cancellation. Open
    # edges get harmless numbers inside `where`, so that no gradient is NaN.
    flip = centred > 0
    left, right = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
    open_left = torch.where(flip, last, first)
    open_right = torch.where(flip, first, last)
    log_right = torch.special.log_ndtr(right)
    log_left = torch.special.log_ndtr(left)
    gap = (log_left - log_right).clamp(max=-1e-300)
    log_bin = log_right + torch.log(-torch.expm1(gap))
    log_tail_left = log_right
    log_tail_right = torch.special.log_ndtr(-left)
    log_mass = torch.where(open_left, log_tail_left, log_bin)
    log_mass = torch.where(open_right, log_tail_right, log_mass)
    return -log_mass.flatten(1).sum(1)


def vlb_term(
    model: Denoiser,
    x0: Tensor,
    xt: Tensor,
    t: Index,
    prediction: Prediction | None = None,
    levels: int | None = LEVELS,
    *,
    variance: str | None = None,
) -> Tensor:
    """Term t of the bound in nats, (B,): L_0 = -log p(x_0|x_1) at t = 1, and for t >= 2
    L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t)) of Ho et al. 2020, eq. (5).

    Under a fixed variance sigma^2 the latter is |mu_tilde - mu_theta|^2/(2 sigma^2) + constant:
    Ho et al. 2020, eq. (8). variance: as in `Denoiser.reverse`.

    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> vlb_term(model, torch.zeros(2, 3), torch.zeros(2, 3), 5).tolist()
    [0.0, 0.0]
    """
    check_model(model)
    admit({"t": t}, 1, model.schedule, xt=xt, x0=x0)
    check_scale(model.sigma_data, x0=x0)
    check_whole(t)
    p = model(xt, t) if prediction is None else prediction
    if not isinstance(t, Tensor):
        g = model.reverse(xt, t, t - 1, p, variance=variance)
        if t == 1:
            return decoder_nll(g, x0, levels)
        return posterior(model.schedule, x0, xt, t, t - 1).kl(g)
    t = t.to(xt.device).reshape(-1)
    first = t == 1
    g = model.reverse(xt, t, t - 1, p, variance=variance)
    later = t.clamp(min=2)  # keeps the unused branch of the `where` finite
    q = posterior(model.schedule, x0, xt, later, later - 1)
    return torch.where(first, decoder_nll(g, x0, levels), q.kl(g))


def prior_kl(schedule: Schedule, x0: Tensor) -> Tensor:
    """L_T = KL(q(x_T | x_0) || N(0, I)) in nats, (B,): a constant of the schedule, not zero.

    >>> round(float(prior_kl(Schedule.linear(1000), torch.ones(1, 1))), 6)
    2e-05
    """
    check_schedule(schedule)
    admit(x0=x0)
    q = marginal(schedule, x0.double(), schedule.T)
    return q.kl(Gaussian(torch.zeros_like(q.mean), torch.ones_like(q.var)))


@dataclass(frozen=True)
class Elbo:
    """The bound of a batch, term by term, in nats.

    terms: (T + 1, B); terms[t] is term t of the sum (terms[1] is L_0), terms[0] is the prior L_T.
    dims: dimensions of one sample, for bits/dim.
    """

    terms: Tensor
    dims: int

    @property
    def total(self) -> Tensor:
        """The bound in nats, (B,): an upper bound of -log p(x_0)."""
        return self.terms.sum(0)

    @property
    def bits_per_dim(self) -> Tensor:
        """The bound in bits/dim, (B,)."""
        return self.total / (self.dims * math.log(2))

    @property
    def rate(self) -> Tensor:
        """L_1 + … + L_T in bits/dim, (B,): what it costs to send x_1 (Ho et al. 2020, 4.3)."""
        return (self.total - self.terms[1]) / (self.dims * math.log(2))

    @property
    def distortion(self) -> Tensor:
        """L_0 in bits/dim, (B,): what it then costs to send x_0."""
        return self.terms[1] / (self.dims * math.log(2))


@torch.no_grad()
def elbo(
    model: Denoiser,
    x0: Tensor,
    *,
    levels: int | None = LEVELS,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Elbo:
    """Every term of the bound, each with one fresh x_t ~ q(x_t | x_0) (unbiased).

    -log p(x_0) is at most E[-log p_theta(x_{0:T}) / q(x_{1:T} | x_0)], which the terms add up to.
    The bound: Ho et al. 2020, eq. (3); with the sign turned, Song, Meng & Ermon 2021, eq. (2).
    The terms: Ho et al. 2020, eq. (5).

    T network calls. levels=None takes a density for the decoder (data that are real numbers).

    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(50))
    >>> elbo(model, torch.zeros(2, 3)).terms.shape
    torch.Size([51, 2])
    """
    check_model(model)
    admit(x0=x0)
    schedule = model.schedule
    terms = torch.empty(schedule.T + 1, len(x0), dtype=torch.float64, device=x0.device)
    terms[0] = prior_kl(schedule, x0)
    for t in range(1, schedule.T + 1):
        xt = diffuse(schedule, x0, t, randn(x0, generator))
        terms[t] = vlb_term(model, x0, xt, t, model(xt, t, **cond), levels)
    return Elbo(terms, x0.shape[1:].numel())


def bits_per_dim(
    model: Denoiser, x0: Tensor, *, generator: torch.Generator | None = None, **cond: Any
) -> Tensor:
    """The bound on -log2 p(x_0) in bits/dim, (B,), for images on the grid k/127.5 - 1.

    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(50))
    >>> bits_per_dim(model, torch.zeros(2, 3)).shape
    torch.Size([2])
    """
    return elbo(model, x0, generator=generator, **cond).bits_per_dim
