"""Chapters 1, 2 and 11: the forward process q and its posteriors, all Gaussians in closed form.

Every function takes t and s as a number or as a (B,) tensor, whole or between the steps (where
log-SNR is interpolated), works on (B, D) and (B, C, H, W), computes its coefficients in float64;
`diffuse` and the samplers return the dtype of their data.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.checks import check_step, level, levels, sigma_squared
from minidiff.kinds import check_tensor, drawn_on
from minidiff.schedule import Index, Schedule
from minidiff.variances import beta_of, beta_tilde_of


class Gaussian(NamedTuple):
    """N(mean, var I): mean (B, …), var broadcastable to it.

    >>> g = Gaussian(torch.zeros(2, 3), torch.ones(1, 1))
    >>> g.kl(Gaussian(torch.ones(2, 3), torch.ones(1, 1))).tolist()
    [1.5, 1.5]
    """

    mean: Tensor
    var: Tensor

    @property
    def std(self) -> Tensor:
        """Standard deviation, the square root of `var`."""
        return self.var.sqrt()

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """mean + std * eps with one draw of eps ~ N(0, I)."""
        return cast(self.mean + self.std * randn(self.mean, generator), self.mean)

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; mean, var I) in nats, summed over the dimensions of each sample: (B,)."""
        check_tensor(x=x)
        logp = -0.5 * ((x - self.mean) ** 2 / self.var + self.var.log() + math.log(2 * math.pi))
        return logp.flatten(1).sum(1)

    def kl(self, other: Gaussian) -> Tensor:
        """KL(self || other) in nats, summed over the dimensions of each sample: (B,)."""
        ratio = self.var / other.var
        kl = 0.5 * (ratio - 1 - ratio.log() + (self.mean - other.mean) ** 2 / other.var)
        return kl.expand_as(self.mean).flatten(1).sum(1)


class PerSample(torch.Generator):
    """A generator for each sample of a batch: its noise does not depend on the others beside it.

    Sample number i of a seed has one stream, in any batch, in any process, on any device. Stands
    for a `torch.Generator` wherever `randn` draws: in the samplers, in `bits_per_dim`, …

    >>> one, many = (randn(torch.empty(n, 2), PerSample(0, range(5, 5 + n))) for n in (1, 3))
    >>> torch.equal(one[0], many[0])
    True
    """

    def __new__(cls, seed: int, which: Iterable[int]) -> PerSample:
        """PyTorch's own takes a device and nothing else."""
        return super().__new__(cls, "cpu")  # type: ignore[call-arg]

    def __init__(self, seed: int, which: Iterable[int]) -> None:
        # PyTorch's CPU generator takes 32 bits of a seed. So the streams of a run are consecutive
        # there, which keeps them apart, from a place that the seed's digest chooses.
        first = int.from_bytes(hashlib.sha256(str(int(seed)).encode()).digest()[:4], "big")
        self.each = [torch.Generator().manual_seed((first + int(i)) % 2**32) for i in which]

    def fill(self, noise: Tensor, how: Callable[..., Tensor]) -> Tensor:
        """`how`, Tensor.normal_ or Tensor.uniform_, on each sample of a new tensor on the CPU."""
        if len(noise) != len(self.each):
            raise ValueError(f"{len(self.each)} samples have a generator, got {len(noise)} samples")
        for one, generator in zip(noise, self.each, strict=True):
            how(one, generator=generator)
        return noise


def randn(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """N(0, I) noise with the shape, dtype and device of `like`; the only source of noise here.

    A CPU generator serves tensors on any device, so that a seed means the same on a GPU.

    >>> randn(torch.empty(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    check_tensor(like=like)
    if not like.is_floating_point():
        raise ValueError(f"like must be a floating tensor, got {like.dtype}: x.float()")
    if isinstance(generator, PerSample):
        noise = generator.fill(torch.empty(like.shape, dtype=like.dtype), Tensor.normal_)
    else:
        where = drawn_on(generator, like.device)
        noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=where)
    return noise.to(like.device)


def diffuse(schedule: Schedule, x0: Tensor, t: Index, eps: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, a draw from `marginal`.

    Ho et al. 2020, eq. (4), drawn as in their section 3.2; Song, Meng & Ermon 2021, eq. (4).
    x0, eps: (B, …); t in 0..T. Returns the dtype of x0.

    >>> schedule = Schedule.linear(T=1000)
    >>> diffuse(schedule, torch.ones(1, 2), 0, torch.randn(1, 2)).tolist()
    [[1.0, 1.0]]
    """
    a = level(schedule, t, x0=x0, eps=eps)
    return cast(a.sqrt() * x0 + (1 - a).sqrt() * eps, x0)


def marginal(schedule: Schedule, x0: Tensor, t: Index) -> Gaussian:
    """q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I) (Ho et al. 2020, eq. (4)).

    >>> float(marginal(Schedule.from_betas([0.1, 0.5]), torch.ones(1, 1), 2).var)
    0.55
    """
    a = level(schedule, t, x0=x0)
    return Gaussian(a.sqrt() * x0, 1 - a)


def transition(schedule: Schedule, xs: Tensor, s: Index, t: Index) -> Gaussian:
    """q(x_t | x_s) = N(sqrt(a) x_s, (1 - a) I) with a = alpha_bar_t / alpha_bar_s, for s < t.

    With s = t - 1 this is one step of the chain, a = 1 - beta_t, and the product of all steps is
    the forward process: Ho et al. 2020, eq. (2); Song, Meng & Ermon 2021, eq. (3).

    >>> float(transition(Schedule.from_betas([0.1, 0.5]), torch.ones(1, 1), 1, 2).var)
    0.5
    """
    at, as_ = levels(schedule, t, s, xs=xs)
    return Gaussian((at / as_).sqrt() * xs, beta_of(at, as_))


def posterior(schedule: Schedule, x0: Tensor, xt: Tensor, t: Index, s: Index) -> Gaussian:
    """q(x_s | x_t, x_0) = N(mu_tilde, beta_tilde I) for any s < t.

    With s = t - 1 this is Ho et al. 2020, eq. (6), eq. (7). With a = alpha_bar_t / alpha_bar_s:
    mean = [sqrt(alpha_bar_s) (1 - a) x_0 + sqrt(a) (1 - alpha_bar_s) x_t] / (1 - alpha_bar_t),
    var  = (1 - alpha_bar_s)(1 - a) / (1 - alpha_bar_t). At s = 0 it is the point x_0.

    >>> q = posterior(Schedule.linear(1000), torch.ones(1, 2), torch.zeros(1, 2), t=1, s=0)
    >>> q.mean.tolist(), float(q.var)
    ([[1.0, 1.0]], 0.0)
    """
    at, as_ = levels(schedule, t, s, x0=x0, xt=xt)
    return Gaussian(mu_tilde(x0, xt, at, as_), beta_tilde_of(at, as_))


def mu_tilde(x0: Tensor, xt: Tensor, at: Tensor, as_: Tensor) -> Tensor:
    """The mean of q(x_s | x_t, x_0), with a = alpha_bar_t / alpha_bar_s (Ho et al. 2020, eq. (7)).

    [sqrt(alpha_bar_s) (1 - a) x_0 + sqrt(a) (1 - alpha_bar_s) x_t] / (1 - alpha_bar_t)

    >>> one, half = torch.ones(1), torch.full((1,), 0.5)
    >>> mu_tilde(one, half, at=half / 2, as_=one).tolist()  # s = 0: x_0 itself
    [1.0]
    """
    a = at / as_
    return (as_.sqrt() * beta_of(at, as_) * x0 + a.sqrt() * (1 - as_) * xt) / (1 - at)


def ddim_sigma(schedule: Schedule, t: float, s: float, eta: float) -> float:
    """sigma = eta sqrt((1-alpha_bar_s)/(1-alpha_bar_t)) sqrt(1 - alpha_bar_t/alpha_bar_s).

    That is eta sqrt(beta_tilde): Song, Meng & Ermon 2021, eq. (16). eta = 0: DDIM; eta = 1: the
    standard deviation of DDPM.

    >>> schedule = Schedule.linear(1000)
    >>> ddim_sigma(schedule, 500, 499, eta=1.0) == float(schedule.beta_tilde[500].sqrt())
    True
    """
    check_step(schedule, t, s, eta)
    at, as_ = schedule.alpha_bar_at(t), schedule.alpha_bar_at(s)
    return eta * math.sqrt(beta_tilde_of(at, as_))


def ddim_posterior(
    schedule: Schedule,
    x0: Tensor,
    xt: Tensor,
    t: Index,
    s: Index,
    sigma: float | Tensor,
    eps: Tensor | None = None,
) -> Gaussian:
    """q_sigma(x_s | x_t, x_0), one member of the family for each sigma.

    Song, Meng & Ermon 2021, eq. (6), eq. (7): the joint of x_1..x_T is the product over the steps.
    mean = sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) eps, var = sigma^2, where
    eps = (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t), or as given by who knows it
    already (the samplers). Every sigma with sigma^2 <= 1 - alpha_bar_s has the same marginals
    q(x_t | x_0) (their lemma 1).

    >>> schedule, x = Schedule.linear(1000), torch.ones(1, 1).double()
    >>> a = ddim_posterior(schedule, x, x / 2, 9, 8, ddim_sigma(schedule, 9, 8, eta=1.0))
    >>> bool((a.mean - posterior(schedule, x, x / 2, 9, 8).mean).abs() < 1e-14)
    True
    """
    at, as_ = levels(schedule, t, s, x0=x0, xt=xt, eps=xt if eps is None else eps)
    var = sigma_squared(schedule, sigma, s, 1 - as_)
    if eps is None:
        eps = (xt - at.sqrt() * x0) / (1 - at).sqrt()
    return Gaussian(as_.sqrt() * x0 + (1 - as_ - var).sqrt() * eps, var)


def ddim_forward(
    schedule: Schedule, x0: Tensor, xs: Tensor, t: Index, s: Index, sigma: float | Tensor
) -> Gaussian:
    """q_sigma(x_t | x_s, x_0), the forward kernel, by Bayes' rule.

    Song, Meng & Ermon 2021, eq. (8). It depends on x_0: for sigma other than DDPM's the chain is
    not Markov. With m = x_s - sqrt(alpha_bar_s) x_0 and k = sqrt(1 - alpha_bar_s - sigma^2):
    mean = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) k m / (1 - alpha_bar_s),
    var = (1 - alpha_bar_t) sigma^2 / (1 - alpha_bar_s). Needs s >= 1.

    >>> schedule, x = Schedule.linear(1000), torch.ones(1, 1).double()
    >>> q = ddim_forward(schedule, x, x / 2, 9, 8, ddim_sigma(schedule, 9, 8, eta=1.0))
    >>> bool((q.mean - transition(schedule, x / 2, 8, 9).mean).abs() < 1e-14)
    True
    """
    at, as_ = levels(schedule, t, s, low=1, x0=x0, xs=xs)
    var = sigma_squared(schedule, sigma, s, 1 - as_)
    k = (1 - as_ - var).sqrt()
    mean = at.sqrt() * x0 + (1 - at).sqrt() * k * (xs - as_.sqrt() * x0) / (1 - as_)
    return Gaussian(mean, (1 - at) * var / (1 - as_))


def cast(x: Tensor, like: Tensor) -> Tensor:
    """x in the dtype of `like`: the last line of a formula whose coefficients are float64."""
    return x.to(like.dtype)
