"""The forward process q and its posteriors: all are Gaussians with known mean and variance.

Every function takes t and s as an int or as a (B,) tensor, works on (B, D) and (B, C, H, W),
computes its coefficients in float64 and returns the dtype of its data.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.schedule import Schedule

Index = int | Tensor


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
        logp = -0.5 * ((x - self.mean) ** 2 / self.var + self.var.log() + math.log(2 * math.pi))
        return logp.flatten(1).sum(1)

    def kl(self, other: Gaussian) -> Tensor:
        """KL(self || other) in nats, summed over the dimensions of each sample: (B,)."""
        ratio = self.var / other.var
        kl = 0.5 * (ratio - 1 - ratio.log() + (self.mean - other.mean) ** 2 / other.var)
        return kl.expand_as(self.mean).flatten(1).sum(1)


def randn(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """N(0, I) noise with the shape, dtype and device of `like`; the only source of noise here.

    A CPU generator serves tensors on any device, so that a seed means the same on a GPU.

    >>> randn(torch.empty(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    device = generator.device if generator is not None else like.device
    noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=device)
    return noise.to(like.device)


def diffuse(schedule: Schedule, x0: Tensor, t: Index, eps: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (Ho et al. 2020, eq. (4)).

    x0, eps: (B, …); t in 0..T. Returns the dtype of x0.

    >>> schedule = Schedule.linear(T=1000)
    >>> diffuse(schedule, torch.ones(1, 2), 0, torch.randn(1, 2)).tolist()
    [[1.0, 1.0]]
    """
    check_state(x0, "x0")
    check_pair(x0, eps, "eps")
    q = marginal(schedule, x0, t)
    return cast(q.mean + q.std * eps, x0)


def marginal(schedule: Schedule, x0: Tensor, t: Index) -> Gaussian:
    """q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I) (Ho et al. 2020, eq. (4)).

    >>> float(marginal(Schedule.from_betas([0.1, 0.5]), torch.ones(1, 1), 2).var)
    0.55
    """
    check_state(x0, "x0")
    a = _alpha_bar(schedule, t, x0, "t")
    return Gaussian(a.sqrt() * x0, 1 - a)


def transition(schedule: Schedule, xs: Tensor, s: Index, t: Index) -> Gaussian:
    """q(x_t | x_s) = N(sqrt(a) x_s, (1 - a) I) with a = alpha_bar_t / alpha_bar_s, for s < t.

    With s = t - 1 this is one step of the chain (Ho et al. 2020, eq. (2)): a = 1 - beta_t.

    >>> float(transition(Schedule.from_betas([0.1, 0.5]), torch.ones(1, 1), 1, 2).var)
    0.5
    """
    check_state(xs, "xs")
    check_order(s, t)
    a = _alpha_bar(schedule, t, xs, "t") / _alpha_bar(schedule, s, xs, "s")
    return Gaussian(a.sqrt() * xs, 1 - a)


def posterior(schedule: Schedule, x0: Tensor, xt: Tensor, t: Index, s: Index) -> Gaussian:
    """q(x_s | x_t, x_0) for any s < t; with s = t - 1, Ho et al. 2020, eqs. (6) and (7).

    With a = alpha_bar_t / alpha_bar_s:
    mean = [sqrt(alpha_bar_s) (1 - a) x_0 + sqrt(a) (1 - alpha_bar_s) x_t] / (1 - alpha_bar_t),
    var  = (1 - alpha_bar_s)(1 - a) / (1 - alpha_bar_t). At s = 0 it is the point x_0.

    >>> q = posterior(Schedule.linear(1000), torch.ones(1, 2), torch.zeros(1, 2), t=1, s=0)
    >>> q.mean.tolist(), float(q.var)
    ([[1.0, 1.0]], 0.0)
    """
    _check_xt(x0, xt)
    check_order(s, t)
    at, as_ = _alpha_bar(schedule, t, xt, "t"), _alpha_bar(schedule, s, xt, "s")
    a = at / as_
    mean = (as_.sqrt() * (1 - a) * x0 + a.sqrt() * (1 - as_) * xt) / (1 - at)
    return Gaussian(mean, (1 - as_) * (1 - a) / (1 - at))


def ddim_sigma(schedule: Schedule, t: int, s: int, eta: float) -> float:
    """sigma = eta sqrt((1-alpha_bar_s)/(1-alpha_bar_t)) sqrt(1 - alpha_bar_t/alpha_bar_s).

    Song, Meng & Ermon 2021, eq. (16). eta = 0: DDIM; eta = 1: the standard deviation of DDPM.

    >>> schedule = Schedule.linear(1000)
    >>> ddim_sigma(schedule, 500, 499, eta=1.0) == float(schedule.beta_tilde[500].sqrt())
    True
    """
    if not eta >= 0:
        raise ValueError(f"eta must be >= 0 (0 is DDIM, 1 is DDPM), got {eta}")
    check_order(s, t)
    at, as_ = float(schedule.alpha_bar[t]), float(schedule.alpha_bar[s])
    return eta * math.sqrt((1 - as_) / (1 - at) * (1 - at / as_))


def ddim_posterior(
    schedule: Schedule,
    x0: Tensor,
    xt: Tensor,
    t: Index,
    s: Index,
    sigma: float | Tensor,
    eps: Tensor | None = None,
) -> Gaussian:
    """q_sigma(x_s | x_t, x_0), the family of Song, Meng & Ermon 2021, eq. (7).

    mean = sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) eps, var = sigma^2, where
    eps = (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t), or as given by who knows it
    already (the samplers). Every sigma with sigma^2 <= 1 - alpha_bar_s has the same marginals
    q(x_t | x_0) (their Lemma 1).

    >>> schedule, x = Schedule.linear(1000), torch.ones(1, 1).double()
    >>> a = ddim_posterior(schedule, x, x / 2, 9, 8, ddim_sigma(schedule, 9, 8, eta=1.0))
    >>> bool((a.mean - posterior(schedule, x, x / 2, 9, 8).mean).abs() < 1e-14)
    True
    """
    _check_xt(x0, xt)
    check_order(s, t)
    at, as_ = _alpha_bar(schedule, t, xt, "t"), _alpha_bar(schedule, s, xt, "s")
    var = _sigma_squared(schedule, sigma, s, 1 - as_)
    if eps is None:
        eps = (xt - at.sqrt() * x0) / (1 - at).sqrt()
    return Gaussian(as_.sqrt() * x0 + (1 - as_ - var).sqrt() * eps, var)


def ddim_forward(
    schedule: Schedule, x0: Tensor, xs: Tensor, t: Index, s: Index, sigma: float | Tensor
) -> Gaussian:
    """q_sigma(x_t | x_s, x_0), the forward kernel by Bayes (Song, Meng & Ermon 2021, eq. (8)).

    It depends on x_0: for sigma other than DDPM's the chain is not Markov. With m = x_s -
    sqrt(alpha_bar_s) x_0 and k = sqrt(1 - alpha_bar_s - sigma^2), from the joint Gaussian:
    mean = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) k m / (1 - alpha_bar_s),
    var = (1 - alpha_bar_t) sigma^2 / (1 - alpha_bar_s). Needs s >= 1.

    >>> schedule, x = Schedule.linear(1000), torch.ones(1, 1).double()
    >>> q = ddim_forward(schedule, x, x / 2, 9, 8, ddim_sigma(schedule, 9, 8, eta=1.0))
    >>> bool((q.mean - transition(schedule, x / 2, 8, 9).mean).abs() < 1e-14)
    True
    """
    _check_xt(x0, xs)
    check_order(s, t)
    at, as_ = _alpha_bar(schedule, t, xs, "t"), _alpha_bar(schedule, s, xs, "s")
    if isinstance(s, int) and s == 0:
        raise ValueError("s must be >= 1: given x_0, the kernel from s = 0 is marginal(x0, t)")
    var = _sigma_squared(schedule, sigma, s, 1 - as_)
    k = (1 - as_ - var).sqrt()
    mean = at.sqrt() * x0 + (1 - at).sqrt() * k * (xs - as_.sqrt() * x0) / (1 - as_)
    return Gaussian(mean, (1 - at) * var / (1 - as_))


# ---------------------------------------------------------------------- shared checks


def cast(x: Tensor, like: Tensor) -> Tensor:
    """x in the dtype of `like`: the last line of a formula whose coefficients are float64."""
    return x.to(like.dtype)


def check_state(x: Tensor, name: str) -> None:
    """A state is a floating tensor with a batch dimension."""
    if not x.is_floating_point():
        raise ValueError(
            f"{name} must be a floating tensor, got {x.dtype}; scale uint8 images to [-1, 1] "
            "first: images.float() / 127.5 - 1"
        )
    if x.ndim < 2:
        raise ValueError(
            f"{name} must be (B, D) or (B, C, H, W), got shape {tuple(x.shape)}; "
            "add a batch dimension: x[None]"
        )


def check_pair(x: Tensor, y: Tensor, name: str) -> None:
    """Two tensors of one formula share shape and device."""
    if x.shape != y.shape:
        raise ValueError(f"{name} has shape {tuple(y.shape)}, expected {tuple(x.shape)}")
    if x.device != y.device:
        raise ValueError(f"{name} is on {y.device}, the rest on {x.device}; use .to({x.device})")


def check_finite(x: Tensor) -> None:
    """Refuse the end of a walk that is NaN or infinite; waits for a GPU, so once, at the end."""
    if not bool(torch.isfinite(x).all()):
        raise ValueError(
            "the walk ended in NaN or Inf: the network is broken (untrained in half precision? "
            "diverged?) or the state it started from is not finite"
        )


def check_order(s: Index, t: Index) -> None:
    """s < t, where it can be seen without waiting for a GPU."""
    if isinstance(s, int) and isinstance(t, int):
        bad = not 0 <= s < t
    elif all(isinstance(i, int) or i.device.type == "cpu" for i in (s, t)):
        bad = bool((torch.as_tensor(s) >= torch.as_tensor(t)).any())
    else:
        bad = False
    if bad:
        raise ValueError(f"s must be below t (x_s is less noisy than x_t), got s = {s}, t = {t}")


def check_index(t: Index, x: Tensor, low: int, high: int, name: str = "t") -> None:
    """t in low..high and one number for each sample, where that costs no wait for a GPU."""
    if isinstance(t, int):
        value: int | None = t if not low <= t <= high else None
    elif not isinstance(t, Tensor):
        raise ValueError(
            f"{name} must be a whole number or a tensor with one for each sample, got {t!r}"
        )
    else:
        if t.ndim > 1 or (t.ndim == 1 and len(t) not in (1, len(x))):
            raise ValueError(
                f"{name} must be one number or {len(x)} (one for each sample), "
                f"got shape {tuple(t.shape)}"
            )
        out = (t < low) | (t > high) if t.device.type == "cpu" else None
        value = int(t[out].flatten()[0]) if out is not None and bool(out.any()) else None
    if value is not None:
        why = " (x_0 is the data; there is nothing to denoise)" if value == 0 and low else ""
        raise ValueError(f"{name} must be in {low}..{high}, got {value}{why}")


def _alpha_bar(schedule: Schedule, t: Index, x: Tensor, name: str) -> Tensor:
    check_index(t, x, 0, schedule.T, name)
    return schedule.at(t, x)


def _check_xt(x0: Tensor, xt: Tensor) -> None:
    check_state(x0, "x0")
    check_state(xt, "xt")
    check_pair(x0, xt, "xt")


def _sigma_squared(schedule: Schedule, sigma: float | Tensor, s: Index, rest: Tensor) -> Tensor:
    """sigma^2 shaped like rest = 1 - alpha_bar_s, refused where it is larger than that.

    Looked at in numbers that are on the CPU anyway: a sampler's loop must not wait for its GPU.
    """
    var = torch.as_tensor(sigma, dtype=torch.float64) ** 2
    limit = 1 - schedule.alpha_bar[s] if isinstance(s, int) else rest.flatten()
    if var.device.type == limit.device.type == "cpu":
        bad = (var > limit + 1e-12) | var.isnan()
        if bool(bad.any()):
            v, most = (float(x.expand_as(bad)[bad].flatten()[0]) for x in (var, limit))
            raise ValueError(
                f"sigma is too large: sigma^2 = {v:.4g} but it may be at most "
                f"1 - alpha_bar_s = {most:.4g}; take a smaller eta"
            )
    if not isinstance(sigma, Tensor):
        return torch.full_like(rest, float(sigma) ** 2).minimum(rest)
    return var.to(rest.device).reshape(-1, *(1,) * (rest.ndim - 1)).minimum(rest)
