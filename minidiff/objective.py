"""Chapter 12: one objective for the whole family q_sigma (Song, Meng & Ermon 2021, theorem 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from minidiff.checks import admit, bound_variances
from minidiff.checks_networks import check_model
from minidiff.checks_times import check_whole
from minidiff.denoiser import Denoiser
from minidiff.kinds import check_scale
from minidiff.process import Gaussian, ddim_posterior
from minidiff.schedule import Schedule


def gamma(schedule: Schedule, sigma: Tensor) -> Tensor:
    """gamma_t with J_sigma = sum_t gamma_t ||eps - eps_theta||^2 + C (sum over dimensions, nats).

    Song, Meng & Ermon 2021, theorem 1. The mean of q_sigma(x_{t-1} | x_t, x_0) moves by c_t per
    unit of eps, c_t = sqrt(alpha_bar_{t-1} (1 - alpha_bar_t) / alpha_bar_t)
    - sqrt(1 - alpha_bar_{t-1} - sigma_t^2) (without the second root at t = 1), and a KL between
    Gaussians of equal variance is half the squared distance of the means over that variance:
    gamma_t = c_t^2 / (2 sigma_t^2). The theorem prints 1/(2 d sigma_t^2 alpha_bar_t), per
    dimension and up to the numerator c_t^2 alpha_bar_t; J_sigma - L_gamma is the same number for
    every network only with the numerator. With sigma_t^2 = beta_tilde_t and t >= 2 it is
    the weight of Ho et al. 2020, eq. (12).

    sigma: (T + 1,), indexed by t; entry 0 is not used and gamma_0 = 0.

    >>> s = Schedule.linear(1000)
    >>> ho = s.beta**2 / (2 * s.beta_tilde * s.alpha * (1 - s.alpha_bar))
    >>> g = gamma(s, s.beta_tilde.sqrt().clamp(min=1e-3))
    >>> bool((g[2:] / ho[2:] - 1).abs().max() < 1e-6)
    True
    """
    var = bound_variances(schedule, sigma)  # sigma_1^2..sigma_T^2
    now, before = schedule.alpha_bar[1:], schedule.alpha_bar[:-1]
    # At t = 1 no noise is kept, whatever sigma_1: p(x_0 | x_1) = N(x0_theta, sigma_1^2).
    c = (before * (1 - now) / now).sqrt() - (1 - before - var).clamp(min=0).sqrt()
    return torch.cat([torch.zeros(1).double(), c**2 / (2 * var)])


def j_term(model: Denoiser, x0: Tensor, xt: Tensor, t: int, sigma: float, **cond: Any) -> Tensor:
    """Term t of J_sigma in nats, (B,): the bound for the chain q_sigma.

    Song, Meng & Ermon 2021, eq. (11), with the reverse chain of Song, Meng & Ermon 2021, eq. (10).
    t = 1: -log N(x_0; x0_theta(x_1), sigma_1^2 I); t >= 2: KL(q_sigma(x_{t-1} | x_t, x_0) ||
    q_sigma(x_{t-1} | x_t, x0_theta(x_t))), Gaussians of equal variance. No clipping.

    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> float(j_term(model, torch.zeros(1, 3), torch.zeros(1, 3), 5, sigma=0.01))
    0.0
    """
    check_model(model)
    check_whole(t)
    admit({"t": t}, 1, model.schedule, x0=x0, xt=xt)
    check_scale(model.sigma_data, x0=x0)
    p = model(xt, t, clip=False, **cond)
    if t == 1:
        return -Gaussian(p.x0.double(), torch.full_like(xt[:1].double(), sigma**2)).log_prob(x0)
    q = ddim_posterior(model.schedule, x0, xt, t, t - 1, sigma)
    return q.kl(ddim_posterior(model.schedule, p.x0, xt, t, t - 1, sigma))
