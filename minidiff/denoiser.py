"""One Denoiser between the mathematics and the network.

It knows what the network predicts and what its variance is, so that losses and samplers
never ask. `model(xt, t)` answers with a consistent pair (x0, eps); `model.reverse(xt, t, s)`
with the Gaussian p_theta(x_s | x_t).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from minidiff.parameterize import check_kind, from_x0, to_x0_eps
from minidiff.process import Gaussian, cast, check_index, check_state, posterior
from minidiff.schedule import Schedule

Variance = Literal["small", "large", "learned", "diagonal"]
VARIANCES: tuple[str, ...] = get_args(Variance)


class Prediction(NamedTuple):
    """What the network says about x_t: always x_t = sqrt(a) x0 + sqrt(1 - a) eps."""

    x0: Tensor
    eps: Tensor
    raw: Tensor  # the network's own prediction (eps, x0, v, mu or score), before clipping
    values: Tensor | None = None  # the learned-variance channels, None for a fixed variance


class Denoiser(nn.Module):
    """A network with its schedule and its conventions.

    net: called as net(x, t - 1, **cond) with a (B,) tensor of t - 1 in 0..T-1; returns the shape
        of x, or twice its channels (dimension 1) for a learned variance.
    predict: what the network outputs: "eps", "x0", "v", "mu" or "score".
    variance: of p_theta(x_s | x_t):
        "small"    beta_tilde, right if the data were one point (Ho et al. 2020, section 3.2);
        "large"    beta, right if the data were N(0, I);
        "learned"  between the two in log space (Nichol & Dhariwal 2021, eq. (15));
        "diagonal" a free log-variance for each dimension (Ho et al. 2020, table 2).
    clip: clamp x0 to [-1, 1] and derive eps again from it, so that the pair stays consistent.

    The first step of generation (t = 1, s = 0) uses beta_tilde_2 for "small" and "large", because
    beta_tilde_1 is 0: "to get a better decoder log likelihood" (Ho et al.'s code).

    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000), clip=False)
    >>> model(torch.ones(1, 2), 1).x0.tolist()[0][0] > 1
    True
    """

    def __init__(
        self,
        net: Any,
        schedule: Schedule,
        predict: str = "eps",
        variance: str = "small",
        clip: bool = True,
    ) -> None:
        super().__init__()
        check_kind(predict)
        if variance not in VARIANCES:
            raise ValueError(f"variance must be one of {', '.join(VARIANCES)}; got {variance!r}")
        clock = getattr(getattr(net, "config", None), "clock", None)
        if isinstance(clock, tuple) and len(clock) != schedule.T:
            raise ValueError(
                f"the network's clock has {len(clock)} entries, one for each t; the schedule has "
                f"T = {schedule.T}: make the clock from this schedule"
            )
        self.net = net
        self.schedule = schedule
        self.predict = predict
        self.variance = variance
        self.clip = clip

    def forward(
        self, xt: Tensor, t: int | Tensor, *, clip: bool | None = None, **cond: Any
    ) -> Prediction:
        """The network's estimate of x_0 and eps at x_t. t: int or (B,), in 1..T."""
        check_state(xt, "xt")
        check_index(t, xt, 1, self.schedule.T)
        prediction, values = self._ask(xt, t, cond)
        x0, eps = to_x0_eps(self.schedule, self.predict, prediction, xt, t)
        if self.clip if clip is None else clip:
            clipped = x0.clamp(-1, 1)
            a = self.schedule.at(t, xt)
            # eps + sqrt(a)/sqrt(1-a) (x0 - clipped): exactly the raw eps where nothing was clipped
            eps = cast(eps + (a / (1 - a)).sqrt() * (x0 - clipped), xt)
            x0 = clipped
        return Prediction(x0, eps, prediction, values)

    def reverse(
        self, xt: Tensor, t: int | Tensor, s: int | Tensor, prediction: Prediction | None = None
    ) -> Gaussian:
        """p_theta(x_s | x_t) = N(mean of q(x_s | x_t, x0_theta), variance of the given kind).

        Ho et al. 2020, section 3.2, for any s < t. At s = 0 the variance is that of the decoder
        (never 0); samplers add no noise there.
        """
        p = self(xt, t) if prediction is None else prediction
        mean = posterior(self.schedule, p.x0, xt, t, s).mean
        return Gaussian(mean, self._variance(xt, t, s, p.values))

    def target(self, x0: Tensor, xt: Tensor, t: int | Tensor) -> Tensor:
        """What the network should have predicted at x_t, had it known x_0."""
        return from_x0(self.schedule, self.predict, x0, xt, t)

    __call__: Callable[..., Prediction]  # nn.Module types the call as Any

    @property
    def learns_variance(self) -> bool:
        """Whether the network outputs twice the channels."""
        return self.variance in ("learned", "diagonal")

    @property
    def self_conditioned(self) -> bool:
        """Whether the network takes its previous estimate of x_0 as `x_self` (Chen et al. 2022)."""
        net = getattr(self.net, "module", self.net)  # looks through DistributedDataParallel
        return bool(getattr(getattr(net, "config", None), "self_cond", False))

    # ------------------------------------------------------------------ inside

    def _ask(
        self, xt: Tensor, t: int | Tensor, cond: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        weight = next(self.parameters(), None)
        if weight is not None and weight.device != xt.device:
            raise ValueError(
                f"xt is on {xt.device}, the network on {weight.device}; "
                f"use xt.to({str(weight.device)!r}) or model.to({str(xt.device)!r})"
            )
        if isinstance(t, int):
            index = torch.full((len(xt),), t - 1, device=xt.device)  # no copy from the host
        else:
            index = (t - 1).to(xt.device).expand(len(xt))  # the one line where 0..T-1 appears
        out = self.net(xt, index, **cond)
        values = None
        if self.learns_variance:
            if out.shape[1] != 2 * xt.shape[1]:
                raise ValueError(
                    f"variance={self.variance!r} needs a network with {2 * xt.shape[1]} output "
                    f"channels (prediction and variance), got {out.shape[1]}"
                )
            out, values = out.chunk(2, dim=1)
            values = values.to(xt.dtype)
        if out.shape != xt.shape:
            raise ValueError(
                f"the network returned shape {tuple(out.shape)} for x_t of shape "
                f"{tuple(xt.shape)}; with variance={self.variance!r} they must be equal"
            )
        return out.to(xt.dtype), values

    def _variance(
        self, xt: Tensor, t: int | Tensor, s: int | Tensor, values: Tensor | None
    ) -> Tensor:
        if self.variance == "diagonal":
            assert values is not None
            return values.double().exp()
        # At s = 0 the true posterior variance is 0; beta_tilde_2's stands in for it.
        at, as_ = self.schedule.at(t, xt), self.schedule.at(s, xt)
        at2, as1 = self.schedule.at(_at_least(t, 2), xt), self.schedule.at(_at_least(s, 1), xt)
        small = (1 - as1) * (1 - at2 / as1) / (1 - at2)
        if self.variance == "small":
            return small
        large = 1 - at / as_
        if self.variance == "large":
            return torch.where(as_ == 1, small, large)
        assert values is not None
        fraction = (values.double() + 1) / 2
        return (fraction * large.log() + (1 - fraction) * small.log()).exp()


def _at_least(t: int | Tensor, low: int) -> int | Tensor:
    return t.clamp(min=low) if isinstance(t, Tensor) else max(t, low)
