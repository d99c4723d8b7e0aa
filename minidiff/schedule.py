"""Chapter 1: noise schedules, how fast the forward process destroys the data (cosine: chapter 10).

A schedule is a table of T + 1 numbers, alpha_bar[0..T], with alpha_bar[0] = 1 (the data) and
alpha_bar[T] close to 0 (noise). Everything else (beta, SNR, sigma) follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from minidiff.checks_schedule import as_numbers, check_ends, check_T, check_t, check_table
from minidiff.kinds import PLAIN
from minidiff.variances import beta_of, beta_tilde_of

Index = int | float | Tensor  # of a table: whole, or between its entries
# Tables are made so whatever torch.set_default_dtype and torch.set_default_device say.
EXACT: Any = {"dtype": torch.float64, "device": "cpu"}


@dataclass(frozen=True, eq=False)
class Schedule:
    """The table alpha_bar_t = prod_{i<=t} (1 - beta_i), t = 0..T (Ho et al. 2020, section 2).

    `alpha_bar` and all tables derived from it are float64 tensors of T + 1 entries that are
    indexed by t itself: entry 0 belongs to the data. `kind` and `options` remember how the table
    was made, so that a checkpoint can store the schedule in one line.

    >>> schedule = Schedule.linear(T=1000)
    >>> schedule.T, float(schedule.alpha_bar[0])
    (1000, 1.0)
    >>> f"{float(schedule.alpha_bar[1000]):.2e}"
    '4.04e-05'
    """

    alpha_bar: Tensor
    kind: str = "table"
    options: dict[str, Any] = field(default_factory=dict)
    _on_device: dict[torch.device, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        ab = torch.as_tensor(self.alpha_bar, **EXACT).detach().clone()
        check_table(ab)
        object.__setattr__(self, "alpha_bar", ab)

    # ------------------------------------------------------------------ ways to make one

    @classmethod
    def linear(cls, T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
        """beta_t runs evenly from beta_1 to beta_T, both given for T = 1000 and scaled by 1000/T.

        Ho et al. 2020, section 4; the scaling (Nichol & Dhariwal 2021) keeps log alpha_bar_T, the
        sum of log(1 - beta_t), nearly the same while all betas are small: alpha_bar_T is 4.0e-5 at
        T = 1000 and 4.3e-5 for large T, but 2.0e-5 at T = 100 and 2.4e-7 at T = 25. Raises
        ValueError where the scaled beta_T reaches 1 (T <= 20).

        >>> round(float(Schedule.linear(T=1000).beta[1000]), 6)
        0.02
        """
        T = check_T(T, beta_1=beta_1, beta_T=beta_T)
        betas = torch.linspace(beta_1, beta_T, T, **EXACT) * (1000 / T)
        if betas.max() >= 1:
            raise ValueError(
                f"a linear schedule with T = {T} needs beta_T = {beta_T} * 1000/{T} = "
                f"{beta_T * 1000 / T:.3g} < 1; take T > {math.floor(1000 * max(beta_1, beta_T))} "
                "or Schedule.cosine"
            )
        ab = _alpha_bar_of(betas)
        return cls(ab, "linear", {"T": T, "beta_1": beta_1, "beta_T": beta_T})

    @classmethod
    def cosine(cls, T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> Schedule:
        """alpha_bar_t = f(t/T)/f(0), f(u) = cos^2(pi/2 (u + s)/(1 + s)), beta_t <= max_beta.

        Nichol & Dhariwal 2021, eq. (17).

        >>> round(float(Schedule.cosine(T=1000).alpha_bar[500]), 3)
        0.494
        """
        T = check_T(T, s=s, max_beta=max_beta)
        u = torch.arange(T + 1, **EXACT) / T
        f = torch.cos(math.pi / 2 * (u + s) / (1 + s)) ** 2
        betas = (1 - f[1:] / f[:-1]).clamp(max=max_beta)
        return cls(_alpha_bar_of(betas), "cosine", {"T": T, "s": s, "max_beta": max_beta})

    @classmethod
    def geometric(
        cls, T: int = 1000, sigma_min: float = 0.002, sigma_max: float = 80.0
    ) -> Schedule:
        """sigma_t even in its logarithm, from sigma_min at t = 1 to sigma_max at t = T.

        The noise levels of EDM (Karras et al. 2022, table 1). Log-SNR is linear between the steps,
        so t itself is, but for a factor and a shift, their c_noise = log(sigma)/4 at every level.

        >>> s = Schedule.geometric()
        >>> [round(s.sigma_at(t), 3) for t in (1, 500.5, 1000)]
        [0.002, 0.4, 80.0]
        """
        T = check_T(T, sigma_min=sigma_min, sigma_max=sigma_max)
        check_ends(sigma_min, sigma_max)
        u = torch.linspace(math.log(sigma_min), math.log(sigma_max), T, **EXACT)
        options = {"T": T, "sigma_min": sigma_min, "sigma_max": sigma_max}
        return cls(_alpha_bar_at(u.exp()), "geometric", options)

    @classmethod
    def flow(cls, T: int = 1000, last: float = 0.999) -> Schedule:
        """sigma_t = u/(1 - u) with u = last t/T: the line (1 - u) x_0 + u eps of flow matching.

        Lipman et al. 2023; Liu et al. 2023. x_t is that point times 1/sqrt((1 - u)^2 + u^2), which
        makes its variance 1. At u = 1 nothing of x_0 is left, and no network can be asked for it as
        a share of x_t: the schedule ends just before.

        >>> round(float(Schedule.flow(T=1000).snr[500]), 3)
        1.004
        """
        T = check_T(T, last=last)
        if not 0 < last < 1:
            raise ValueError(f"last must be between 0 (data) and 1 (noise), both out, got {last}")
        u = last * torch.arange(1, T + 1, **EXACT) / T
        return cls(_alpha_bar_at(u / (1 - u)), "flow", {"T": T, "last": last})

    @classmethod
    def from_betas(cls, betas: Tensor | Sequence[float]) -> Schedule:
        """alpha_bar from any beta_1..beta_T, each in (0, 1).

        >>> Schedule.from_betas([0.1, 0.5]).alpha_bar.tolist()
        [1.0, 0.9, 0.45]
        """
        b = as_numbers(betas=betas).detach()
        bad = (~((b > 0) & (b < 1))).nonzero()
        if b.ndim != 1 or len(bad):
            what = f"beta_{int(bad[0]) + 1} = {float(b[bad[0]])}" if b.ndim == 1 else "a matrix"
            raise ValueError(f"betas must be a vector of numbers in (0, 1), got {what}")
        return cls(_alpha_bar_of(b), "betas", {"betas": b.tolist()})

    @classmethod
    def from_alpha_bar(
        cls, alpha_bar: Tensor | Sequence[float] | Callable[[Tensor], Tensor], T: int | None = None
    ) -> Schedule:
        """A schedule from T + 1 numbers, or from a function of u = t/T in [0, 1] together with T.

        >>> Schedule.from_alpha_bar(lambda u: (1 - u) ** 2 * 0.999 + 0.001, T=4).T
        4
        """
        if callable(alpha_bar):
            if T is None:
                raise ValueError("from_alpha_bar(function) needs T, the number of steps")
            T = check_T(T)
            alpha_bar = alpha_bar(torch.arange(T + 1, **EXACT) / T)
        ab = as_numbers(alpha_bar=alpha_bar)
        return cls(ab, "table", {"alpha_bar": ab.tolist()})

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Schedule:
        """The schedule that `state()` described.

        >>> Schedule.from_state(Schedule.cosine(T=10).state()).kind
        'cosine'
        """
        options = dict(state)
        kind = options.pop("kind")
        makers: dict[str, Callable[..., Schedule]] = {
            "linear": cls.linear,
            "cosine": cls.cosine,
            "geometric": cls.geometric,
            "flow": cls.flow,
            "betas": cls.from_betas,
            "table": cls.from_alpha_bar,
        }
        if kind not in makers:
            raise ValueError(f"unknown schedule {kind!r}; known are {', '.join(makers)}")
        return makers[kind](**options)

    def state(self) -> dict[str, Any]:
        """A small dictionary (JSON) that makes this schedule again."""
        return {"kind": self.kind, **(self.options or {"alpha_bar": self.alpha_bar.tolist()})}

    # ------------------------------------------------------------------ tables, indexed by t

    @cached_property
    def T(self) -> int:
        """Number of noising steps; t runs 1..T."""
        return len(self.alpha_bar) - 1

    @cached_property
    def alpha(self) -> Tensor:
        """alpha_t = alpha_bar_t / alpha_bar_{t-1} = 1 - beta_t; alpha[0] = 1."""
        return torch.cat([torch.ones(1, **EXACT), self.alpha_bar[1:] / self.alpha_bar[:-1]])

    @cached_property
    def beta(self) -> Tensor:
        """beta_t, the variance added by step t; beta[0] = 0."""
        ab = self.alpha_bar
        return torch.cat([torch.zeros(1, **EXACT), beta_of(ab[1:], ab[:-1])])

    @cached_property
    def beta_tilde(self) -> Tensor:
        """beta_tilde_t, the variance of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. (7))."""
        ab = self.alpha_bar
        return torch.cat([torch.zeros(1, **EXACT), beta_tilde_of(ab[1:], ab[:-1])])

    @cached_property
    def sigma(self) -> Tensor:
        """sigma_t = sqrt(1/alpha_bar_t - 1), noise level of x_t / sqrt(alpha_bar_t); sigma[0]=0."""
        return ((1 - self.alpha_bar) / self.alpha_bar).sqrt()

    @cached_property
    def snr(self) -> Tensor:
        """alpha_bar_t / (1 - alpha_bar_t), infinite at t = 0 (Kingma et al. 2021)."""
        return self.alpha_bar / (1 - self.alpha_bar)

    @cached_property
    def log_snr(self) -> Tensor:
        """log of `snr`."""
        return self.snr.log()

    # ------------------------------------------------------------------ look-up

    def at(self, t: Index, x: Tensor) -> Tensor:
        """alpha_bar_t as float64, shaped to multiply x: (1, 1, …) or (B, 1, …), on x's device.

        t is an int, a float, or a tensor of one number for each sample, in 0..T. Between the
        integers log-SNR is interpolated linearly (t < 1 has no such line: SNR is infinite at 0).
        A tensor t is not checked here (that would stop the GPU); the callers do.

        >>> Schedule.from_betas([0.1, 0.5]).at(torch.tensor([1, 2]), torch.zeros(2, 3)).shape
        torch.Size([2, 1])
        """
        ones = (1,) * (x.ndim - 1)
        if not isinstance(t, Tensor):  # no look-up on the device: no host sync
            value = self.alpha_bar_at(t)
            return torch.full((1, *ones), value, dtype=torch.float64, device=x.device)
        t = t.to(x.device)
        whole = not t.is_floating_point()  # bytes would be taken for a mask
        value_t = self._table(t.device)[t.long()] if whole else self._between(t, x.device)
        return value_t.reshape(-1, *ones)

    def alpha_bar_at(self, t: float) -> float:
        """alpha_bar_t of one t, whole or between, as a plain number: what `at` is made of.

        >>> Schedule.from_betas([0.1, 0.5]).alpha_bar_at(2)
        0.45
        """
        if not isinstance(t, PLAIN) or not 0 <= t <= self.T:
            check_t(t, self.T)
        if t == int(t):
            return float(self.alpha_bar[int(t)])
        return float(self._between(torch.tensor(t, **EXACT), "cpu"))

    def sigma_at(self, t: float) -> float:
        """sigma_t of one t, whole or between; `t_at_sigma` is the way back."""
        a = self.alpha_bar_at(t)
        return math.sqrt((1 - a) / a)

    def t_at_sigma(self, sigma: Tensor) -> Tensor:
        """The (fractional) t in 1..T whose noise level is sigma; outside, the nearest end.

        Inverse of the interpolation in `at`, so that a network trained on 1..T can be asked
        at any noise level. sigma: float64, any shape.

        >>> s = Schedule.linear(T=1000)
        >>> round(float(s.t_at_sigma(s.sigma[500])), 6)
        500.0
        """
        x = sigma.detach().double().clamp(min=1e-300).log()
        a = self._table(x.device)[1:]
        knots = ((1 - a) / a).sqrt().log()
        x = x.clamp(knots[0], knots[-1])
        i = torch.searchsorted(knots, x.contiguous()).clamp(1, self.T - 1)
        return i + (x - knots[i - 1]) / (knots[i] - knots[i - 1])

    def _table(self, device: torch.device | str) -> Tensor:
        """alpha_bar on a device, copied there once."""
        device = torch.device(device)
        if device not in self._on_device:
            self._on_device[device] = self.alpha_bar.to(device)
        return self._on_device[device]

    def _between(self, t: Tensor, device: torch.device | str) -> Tensor:
        """alpha_bar at fractional t in [1, T] (and exactly 1 at t = 0)."""
        table = self._table(device)
        t = t.double()
        low = t.floor().clamp(1, self.T - 1).long()
        log_snr = (table / (1 - table)).log()
        value = torch.lerp(log_snr[low], log_snr[low + 1], t - low).sigmoid()
        return torch.where(t == 0, torch.ones_like(value), value)


def _alpha_bar_of(betas: Tensor) -> Tensor:
    return torch.cat([torch.ones(1, **EXACT), torch.cumprod(1 - betas, dim=0)])


def _alpha_bar_at(sigma: Tensor) -> Tensor:
    return torch.cat([torch.ones(1, **EXACT), 1 / (1 + sigma**2)])
