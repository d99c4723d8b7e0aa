"""Chapters 7, 10 and 20: which t to train on, even, where the loss is large, or at any level."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minidiff.checks_networks import check_schedule
from minidiff.checks_schedule import check_T
from minidiff.kinds import check_counts, check_number, check_size, check_tensor, drawn_on, kind
from minidiff.schedule import Schedule
from minidiff.weighting import weights_vlb


class UniformTimes:
    """t ~ Uniform{1..T}, weight 1 (Ho et al. 2020, algorithm 1).

    >>> t, w = UniformTimes(1000).sample(4)
    >>> t.shape, w.tolist()
    (torch.Size([4]), [1.0, 1.0, 1.0, 1.0])
    """

    def __init__(self, T: int) -> None:
        self.T = check_T(T)

    def sample(
        self,
        n: int,
        *,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(t, w): n steps in 1..T and the weights that keep the mean of w * loss unbiased."""
        check_size(n)
        where = drawn_on(generator, device)
        t = torch.randint(1, self.T + 1, (n,), device=where, generator=generator)
        return t.to(device), torch.ones(n, device=device)


class StratifiedTimes(UniformTimes):
    """One t from each of n equal stretches of 1..T: uniform, with less variance over a batch.

    Kingma et al. 2021, appendix I.1 (low-discrepancy sampler): u_i = (u + i)/n mod 1 with one
    common u, so each t is uniform on its own. Weight 1.

    >>> t, _ = StratifiedTimes(1000).sample(10)
    >>> sorted((t - 1).div(100, rounding_mode="floor").tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def sample(
        self,
        n: int,
        *,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(t, w) as in `UniformTimes.sample`, the t spread evenly and in random order."""
        u = _strata(n, device, generator)
        t = 1 + (u * self.T).long().clamp(max=self.T - 1)
        return t.to(device), torch.ones(n, device=device)


class BoundTimes:
    """Even in t for most of a batch; for a share of it, by the weights of the variational bound.

    p_t = (1 - share)/T + share gamma_t / sum gamma, with gamma_t of `weights_vlb`. Weight 1, so
    that the mean of L_simple's losses becomes a mixture of L_simple and of L_gamma with the bound's
    weights, divided by their sum: small t, which carry most of the bits, are seen more often.
    Spread over a batch as in `StratifiedTimes`.

    >>> p = BoundTimes(Schedule.linear(1000)).p
    >>> [round(1000 * float(p[t - 1]), 2) for t in (1, 500, 1000)]  # 1 of 1000 if uniform
    [21.43, 0.87, 0.98]
    """

    def __init__(self, schedule: Schedule, share: float = 0.25) -> None:
        check_number(share=share)
        if not 0 <= share <= 1:
            raise ValueError(f"share must be a part between 0 and 1, got {share}")
        gamma = weights_vlb(schedule)[1:]
        self.T = schedule.T
        self.p = (1 - share) / self.T + share * gamma / gamma.sum()  # p_1..p_T

    def sample(
        self,
        n: int,
        *,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(t, w): n steps drawn from p in random order, and w = 1."""
        u = _strata(n, device, generator)
        self.p = self.p.to(u.device)
        i = torch.searchsorted(self.p.cumsum(0), u, right=True)
        return (i.clamp(max=self.T - 1) + 1).to(device), torch.ones(n, device=device)


class LogNormalTimes:
    """log sigma ~ N(mean, std^2): noise levels in place of steps, so that t lies between them.

    EDM's (Karras et al. 2022, table 1: mean -1.2, std 1.2, for images in -1..1). Flow matching's
    clock is s = sigma/(1 + sigma), so that log sigma = log s/(1 - s): with mean 0 and std 1 these
    are the logit-normal times of Esser et al. 2024, section 3.1.
    Spread over a batch as in `StratifiedTimes`; a level beyond the schedule's becomes its last.
    Weight 1.

    >>> schedule = Schedule.geometric()
    >>> t, _ = LogNormalTimes(schedule).sample(1)
    >>> t.dtype, bool(0.001 < schedule.sigma_at(float(t)) < 100)
    (torch.float64, True)
    """

    def __init__(self, schedule: Schedule, mean: float = -1.2, std: float = 1.2) -> None:
        check_schedule(schedule)
        check_number(mean=mean, std=std)
        if not 0 <= std < math.inf:
            raise ValueError(f"std must be a spread of at least 0, got {std}")
        self.schedule, self.mean, self.std = schedule, mean, std

    def sample(
        self,
        n: int,
        *,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(t, w): n times in 1..T, float64, in random order, and w = 1."""
        normal = torch.special.ndtri(_strata(n, device, generator).clamp(1e-12, 1 - 1e-12))
        t = self.schedule.t_at_sigma((self.mean + self.std * normal).exp())
        return t.to(device), torch.ones(n, device=device)


class LossAwareTimes:
    """p_t ~ sqrt(mean of the last 10 squared losses at t), mixed with a little uniform.

    Nichol & Dhariwal 2021, section 3.3. Uniform until every t has `history` losses. The weight
    1/(T p_t) keeps the mean unbiased. With several processes, `update` the same gathered (t, loss)
    on each: they then stay equal.

    >>> times = LossAwareTimes(2, history=1)
    >>> times.update(torch.tensor([1, 2]), torch.tensor([3.0, 1.0]))
    >>> [round(p, 3) for p in times.probabilities().tolist()]
    [0.75, 0.25]
    """

    def __init__(self, T: int, history: int = 10, mix: float = 1e-3) -> None:
        check_counts(history=history)
        check_number(mix=mix)
        self.T = check_T(T)
        self.history = history
        self.mix = mix
        # Rows are indexed by t. Row 0, the data's, takes what is not to be remembered.
        self.losses = torch.zeros(T + 1, history, dtype=torch.float64)
        self.counts = torch.zeros(T + 1, dtype=torch.long)

    def probabilities(self) -> Tensor:
        """p_1..p_T, float64, on the device of the losses."""
        p = (self.losses[1:] ** 2).mean(1).sqrt()
        ready = (self.counts[1:] >= self.history).all() & (p.sum() > 0)
        even = torch.full_like(p, 1 / self.T)
        mixed = (1 - self.mix) * p / p.sum() + self.mix * even
        return torch.where(ready, mixed, even)

    def sample(
        self,
        n: int,
        *,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(t, w): n steps drawn from p, and w = 1/(T p_t)."""
        check_size(n)
        where = drawn_on(generator, device)
        u = torch.rand(n, device=where, generator=generator, dtype=torch.float64)
        p = self.probabilities().to(where)
        i = torch.searchsorted(p.cumsum(0), u, right=True).clamp(max=self.T - 1)
        return (i + 1).to(device), (1 / (self.T * p[i])).float().to(device)

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Remember unweighted losses, the newest `history` of each t, on the device they are on.

        Losses that are not finite are left out. Nothing waits for a GPU.
        """
        check_tensor(t=t, losses=losses)
        if t.is_floating_point() or t.numel() != losses.numel():
            raise ValueError(
                f"t must be whole numbers, one for each loss, got {kind(t)} for {kind(losses)}"
            )
        if t.device.type == "cpu" and t.numel() and not 1 <= t.min() <= t.max() <= self.T:
            raise ValueError(f"t must be in 1..{self.T}, got {int(t.min())}..{int(t.max())}")
        t, losses = t.reshape(-1), losses.detach().double().reshape(-1)
        self.losses, self.counts = self.losses.to(losses.device), self.counts.to(losses.device)
        t = torch.where(losses.isfinite(), t.to(losses.device), 0)
        same = t[:, None] == t[None, :]
        earlier = same.tril(-1).sum(1)  # how many of this batch came before, at the same t
        slot = (self.counts[t] + earlier) % self.history
        overwritten = same.sum(1) - earlier > self.history
        self.losses[torch.where(overwritten, 0, t), slot] = losses.nan_to_num()
        self.counts.index_add_(0, t, torch.ones_like(t))

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint must keep."""
        return {"losses": self.losses.clone(), "counts": self.counts.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the state of `state_dict` back."""
        if state["losses"].shape != self.losses.shape:
            raise ValueError(
                f"this state is for T x history = {tuple(state['losses'].shape)}, "
                f"not {tuple(self.losses.shape)}"
            )
        self.losses, self.counts = state["losses"].clone(), state["counts"].clone()


def _strata(n: int, device: torch.device | str, generator: torch.Generator | None) -> Tensor:
    """One point in each stretch [i/n, (i+1)/n) of [0, 1), all shifted alike, in random order."""
    check_size(n)
    where = drawn_on(generator, device)
    u = torch.rand(1, device=where, generator=generator, dtype=torch.float64)
    places = torch.randperm(n, device=where, generator=generator)
    return (u + places) / max(n, 1)
