"""Every chapter's laboratory: data whose truth is known, Gaussian mixtures and 2-D sets.

The exact denoiser of a mixture turns "the sampler seems to work" into a number: samples, ELBO,
likelihood and trajectories can be compared with what is true.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from minidiff.checks import admit, check_means, check_space, check_step, known_part, level
from minidiff.checks_networks import check_schedule
from minidiff.kinds import check_generator, check_plane, check_size
from minidiff.process import cast
from minidiff.schedule import Schedule


class GaussianMixture:
    """p(x) = sum_k w_k N(x; m_k, v_k I) in any dimension; one component is a plain Gaussian.

    means: (K, D) or (K, C, H, W); std: a number or (K,); weights: (K,), default equal.
    All results are float64 inside and cast to the dtype of their input.

    >>> two = GaussianMixture(torch.tensor([[-1.0], [1.0]]), std=0.1)
    >>> two.sample(3).shape, round(float(two.log_prob(torch.ones(1, 1))), 3)
    (torch.Size([3, 1]), 0.69)
    """

    def __init__(
        self, means: Tensor, std: float | Tensor = 1.0, weights: Tensor | None = None
    ) -> None:
        check_means(means)
        self.shape = means.shape[1:]
        self.means = means.double().flatten(1)  # (K, D)
        k = len(means)
        sd = torch.as_tensor(std, dtype=torch.float64)
        w = torch.ones(k) if weights is None else torch.as_tensor(weights)
        fits = w.shape == (k,) and sd.shape in ((), (1,), (k,))
        if not fits or not bool((w > 0).all()) or not bool((sd > 0).all()):
            raise ValueError(f"weights and std must be positive, one for each of {k} components")
        self.var = (sd**2).expand(k).to(means.device)
        self.weights = (w / w.sum()).double().to(means.device)

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """n exact samples, (n, …)."""
        check_size(n)
        check_generator(generator)
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        eps = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64)
        x = self.means[k] + self.var[k, None].sqrt() * eps
        return x.reshape(n, *self.shape).to(dtype or torch.get_default_dtype())

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, (B,)."""
        return cast(torch.logsumexp(self._log_joint(self._away(x)), 1), x)

    def score(self, x: Tensor) -> Tensor:
        """grad_x log p(x), (B, …)."""
        away = self._away(x)
        r = self._log_joint(away).softmax(1)  # (B, K)
        return cast(-_average(r / self.var, away).reshape(x.shape), x)

    def noised(self, schedule: Schedule, t: float) -> GaussianMixture:
        """q(x_t), again a mixture: means sqrt(alpha_bar) m, variances alpha_bar v + 1 - alpha_bar.

        >>> q = GaussianMixture(torch.ones(1, 1), std=2.0).noised(Schedule.linear(1000), 1000)
        >>> round(float(q.var[0]), 3)
        1.0
        """
        a = check_schedule(schedule).alpha_bar_at(t)
        means = (math.sqrt(a) * self.means).reshape(-1, *self.shape)
        return GaussianMixture(means, (a * self.var + 1 - a).sqrt(), self.weights)

    def posterior_mean(self, schedule: Schedule, xt: Tensor, t: int | Tensor) -> Tensor:
        """E[x_0 | x_t], the best x0 a network can predict; (B, …)."""
        a = level(schedule, t, xt=xt).reshape(-1, 1)
        r, gain, away, _ = self._bayes(a, xt)
        return cast((r @ self.means + _average(r * gain, away)).reshape(xt.shape), xt)

    def eps(self, schedule: Schedule, xt: Tensor, t: int | Tensor) -> Tensor:
        """E[eps | x_t] = -sqrt(1 - alpha_bar_t) grad log q(x_t): the minimizer of L_simple."""
        a = level(schedule, t, xt=xt)
        x0 = self.posterior_mean(schedule, xt.double(), t)
        return cast((xt - a.sqrt() * x0) / (1 - a).sqrt(), xt)

    def net(self, schedule: Schedule) -> ExactNet:
        """A network for `Denoiser` (predict="eps") that is exactly right."""
        return ExactNet(self, schedule)

    def reverse(self, schedule: Schedule, xt: Tensor, t: float, s: float) -> GaussianMixture:
        """The true q(x_s | x_t) of one x_t of shape (1, …): a mixture, not a Gaussian.

        Not given x_0, as in Ho et al. 2020, eq. (16), where p_theta is measured against it.

        >>> two = GaussianMixture(torch.tensor([[-1.0], [1.0]]), std=0.1)
        >>> q = two.reverse(Schedule.linear(1000), torch.zeros(1, 1), 1000, 0)
        >>> [round(w, 2) for w in q.weights.tolist()]
        [0.5, 0.5]
        """
        if len(admit(xt=xt)) != 1:
            raise ValueError(f"reverse takes one x_t of shape (1, …), got {tuple(xt.shape)}")
        check_step(schedule, t, s)
        qs = self.noised(schedule, s) if s else self
        # From x_s the noising to x_t is a schedule step of its own, with a = alpha_bar ratio.
        a = (schedule.at(t, xt) / schedule.at(s, xt)).reshape(1, 1)
        r, gain, away, var = qs._bayes(a, xt)
        means = (qs.means + gain[0, :, None] * away[0]).reshape(-1, *self.shape)
        return GaussianMixture(means, var[0].sqrt(), r[0] + 1e-300)

    def given(self, x0: Tensor, mask: Tensor) -> GaussianMixture:
        """p(rest | known) of one x0 (1, …), known where mask is True: a mixture (K, D) of the rest.

        The coordinates of a component are independent, so what is known only changes the weights:
        w_k N(known; m_k, v_k I). The truth for `inpaint`.

        >>> two = GaussianMixture(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), std=0.3)
        >>> rest = two.given(torch.tensor([[0.9, 0.0]]), torch.tensor([True, False]))
        >>> rest.means.tolist(), round(float(rest.weights[1]), 3)
        ([[-1.0], [1.0]], 1.0)
        """
        if len(admit(x0=x0)) != 1:
            raise ValueError(f"given takes one x0 of shape (1, …), got {tuple(x0.shape)}")
        known = known_part(x0, mask, x0)[1].flatten()
        part = GaussianMixture(self.means[:, known], self.var.sqrt(), self.weights)
        weights = part._log_joint(part._away(x0.flatten(1)[:, known])).softmax(1)[0]
        return GaussianMixture(self.means[:, ~known], self.var.sqrt(), weights + 1e-300)

    def flow(self, schedule: Schedule, xt: Tensor, t: float, s: float) -> Tensor:
        """The probability-flow ODE from t to s, exactly, in one dimension: (B, 1) to (B, 1).

        A monotone flow keeps quantiles, so x_s = F_s^-1(F_t(x_t)); by bisection in float64.

        >>> g, schedule = GaussianMixture(torch.zeros(1, 1), std=0.5), Schedule.linear(1000)
        >>> x = g.flow(schedule, torch.ones(1, 1, dtype=torch.float64), 1000, 0)
        >>> round(float(x), 3)  # one standard deviation stays one standard deviation
        0.5
        """
        if self.means.shape[1] != 1:
            raise ValueError("flow is exact in one dimension only: means of shape (K, 1)")
        start, end = self.noised(schedule, t), self.noised(schedule, s)
        x = admit(xt=xt).double()
        target = start._log_odds(x)
        reach = float(end.means.abs().max() + 40 * end.var.max().sqrt())
        low, high = torch.full_like(x, -reach), torch.full_like(x, reach)
        for _ in range(200):
            middle = (low + high) / 2
            below = end._log_odds(middle) < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return cast((low + high) / 2, xt)

    def _away(self, x: Tensor) -> Tensor:
        """x - m_k, (B, K, D): made once and read twice, since nothing else takes time."""
        check_space(x, self.shape)
        return x.double().flatten(1)[:, None] - self.means

    def _log_joint(self, away: Tensor) -> Tensor:
        """log w_k N(x; m_k, v_k I), (B, K)."""
        d = self.means.shape[1]
        return self.weights.log() - 0.5 * (
            _squares(away) / self.var + d * (2 * math.pi * self.var).log()
        )

    def _bayes(self, a: Tensor, xt: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of p(x | x_t), where x_t = sqrt(a) x + sqrt(1 - a) eps: responsibilities r (B, K), means
        m + gain away with gain (B, K), away (B, K, D), variances (B, K); a: (B or 1, 1), 0 too."""
        root, d = a.sqrt(), self.means.shape[1]
        x = xt.double().flatten(1)[:, None]
        away = torch.addcmul(x, self.means, root[..., None], value=-1)  # x - sqrt(a) m
        total = a * self.var + 1 - a  # (B, K)
        r = self.weights.log() - 0.5 * (_squares(away) / total + d * total.log())
        return r.softmax(1), root * self.var / total, away, self.var * (1 - a) / total

    def _log_odds(self, x: Tensor) -> Tensor:
        """log F(x) - log(1 - F(x)) of a 1-D mixture: monotone, exact in both tails; (B, 1)."""
        z = (x - self.means[:, 0]) / self.var.sqrt()
        below = torch.logsumexp(self.weights.log() + torch.special.log_ndtr(z), 1, keepdim=True)
        above = torch.logsumexp(self.weights.log() + torch.special.log_ndtr(-z), 1, keepdim=True)
        return below - above


class ExactNet(nn.Module):
    """The exact eps of a mixture, in the calling convention of a network: net(x, t - 1)."""

    def __init__(self, mixture: GaussianMixture, schedule: Schedule) -> None:
        super().__init__()
        self.mixture = mixture
        self.schedule = check_schedule(schedule)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """E[eps | x_t] for indices t in 0..T-1, whole or fractional."""
        return self.mixture.eps(self.schedule, x, t + 1)


class MLP(nn.Module):
    """A small network for vectors: net(x, t) with x (B, D) and t in 0..T-1.

    Sinusoidal features of t beside x, then `depth` SiLU layers.

    >>> MLP(dim=2, T=100)(torch.zeros(5, 2), torch.arange(5)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, dim: int, T: int, width: int = 128, depth: int = 3, out_dim: int | None = None
    ) -> None:
        super().__init__()
        self.T = T
        self.register_buffer("freqs", math.pi * 2.0 ** torch.arange(6) / 2)
        layers: list[nn.Module] = []
        n = dim + 12
        for _ in range(depth):
            layers += [nn.Linear(n, width), nn.SiLU()]
            n = width
        self.layers = nn.Sequential(*layers, nn.Linear(n, out_dim or dim))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """A prediction of the shape of x (or (B, out_dim))."""
        angle = (t.to(x.dtype) / self.T)[:, None] * self.freqs.to(x)  # type: ignore[operator]
        out: Tensor = self.layers(torch.cat([x, angle.sin(), angle.cos()], 1))
        return out


def moons(n: int, generator: torch.Generator | None = None, noise: float = 0.05) -> Tensor:
    """Two interleaved half circles in [-1, 1]^2, (n, 2).

    >>> moons(5).shape
    torch.Size([5, 2])
    """
    check_generator(generator)
    angle = math.pi * torch.rand(n, generator=generator)
    second = torch.rand(n, generator=generator) < 0.5
    x = torch.where(second, 1 - angle.cos(), angle.cos())
    y = torch.where(second, 0.5 - angle.sin(), angle.sin())
    return _finish(torch.stack([(x - 0.5) / 1.6, (y - 0.25) / 1.6], 1), noise, generator)


def swiss_roll(n: int, generator: torch.Generator | None = None, noise: float = 0.02) -> Tensor:
    """A spiral of one and a half turns, (n, 2).

    >>> swiss_roll(5).shape
    torch.Size([5, 2])
    """
    check_generator(generator)
    angle = 1.5 * math.pi * (1 + 2 * torch.rand(n, generator=generator))
    x = torch.stack([angle * angle.cos(), angle * angle.sin()], 1) / 15
    return _finish(x, noise, generator)


def spirals(
    n: int, generator: torch.Generator | None = None, noise: float = 0.02, arms: int = 2
) -> Tensor:
    """Interleaved spiral arms, (n, 2).

    >>> spirals(5).shape
    torch.Size([5, 2])
    """
    check_generator(generator)
    r = torch.rand(n, generator=generator).sqrt()
    arm = torch.randint(arms, (n,), generator=generator)
    angle = 3 * math.pi * r + 2 * math.pi * arm / arms
    return _finish(torch.stack([r * angle.cos(), r * angle.sin()], 1), noise, generator)


def silhouette(n: int, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Points drawn from the bright pixels of an image (H, W), scaled into [-1, 1]^2, (n, 2).

    >>> silhouette(5, torch.eye(8)).shape
    torch.Size([5, 2])
    """
    check_generator(generator)
    h, w = check_plane(image)
    weight = (image.double() - image.double().min()).flatten()
    if not bool((weight > 0).any()):
        raise ValueError("silhouette needs an image with bright and dark pixels, got one grey")
    i = torch.multinomial(weight, n, replacement=True, generator=generator)
    u = torch.rand(n, 2, generator=generator)
    x = (i % w + u[:, 0]) / w * 2 - 1
    y = 1 - (torch.div(i, w, rounding_mode="floor") + u[:, 1]) / h * 2
    return torch.stack([x, y], 1).float()


def _squares(away: Tensor) -> Tensor:
    return torch.einsum("bkd,bkd->bk", away, away)


def _average(weights: Tensor, away: Tensor) -> Tensor:
    return torch.einsum("bk,bkd->bd", weights, away)


def _finish(x: Tensor, noise: float, generator: Any) -> Tensor:
    return x + noise * torch.randn(x.shape, generator=generator)
