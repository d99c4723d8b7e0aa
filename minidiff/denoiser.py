"""Chapters 2, 7 and 10: one Denoiser between the mathematics and the network.

It knows what the network predicts and what its variance is, so that losses and samplers
never ask. `model(xt, t)` answers with a consistent pair (x0, eps); `model.reverse(xt, t, s)`
with the Gaussian p_theta(x_s | x_t).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from minidiff.checks import admit, levels, one_of
from minidiff.checks_networks import (
    check_answer,
    check_clip,
    check_clock,
    check_device,
    check_parts,
    check_prediction,
    check_sigma_data,
)
from minidiff.parameterize import KINDS, alpha_bars, pair, shown, target
from minidiff.process import Gaussian, cast, mu_tilde
from minidiff.schedule import Index, Schedule
from minidiff.variances import beta_of, beta_tilde_of

Variance = Literal["small", "large", "learned", "diagonal"]
VARIANCES: tuple[str, ...] = get_args(Variance)
Classes = int | tuple[int, ...]  # a number for the label, or one for each of several
Clip = bool | Callable[[Tensor, Index], Tensor]  # the latter an x0 hook


class Prediction(NamedTuple):
    """What the network says about x_t: always x_t = sqrt(a) x0 + sqrt(1 - a) eps."""

    x0: Tensor
    eps: Tensor
    raw: Tensor  # the network's own prediction (eps, x0, v, u, mu or score), before clipping
    values: Tensor | None = None  # the learned-variance channels, None for a fixed variance


class Denoiser(nn.Module):
    """A network with its schedule and its conventions.

    net: called as net(x, t - 1, **cond) with a (B,) tensor of t - 1 in 0..T-1; returns the shape
        of x, or twice its channels (dimension 1) for a learned variance.
    predict: what the network outputs: "eps", "x0", "v", "mu", "score", or "u", the velocity of
        flow matching, for which it is shown the straight line's x_t/(sqrt(a) + sqrt(1-a)).
    variance: of p_theta(x_s | x_t):
        "small"    beta_tilde, right if the data were one point (Ho et al. 2020, section 3.2);
        "large"    beta, right if the data were N(0, I);
        "learned"  between the two in log space (Nichol & Dhariwal 2021, eq. (15));
        "diagonal" a free log-variance for each dimension (Ho et al. 2020, table 2).
    clip: what is done to x0, and eps derived again from it, so that the pair stays consistent. True
        clamps to [-1, 1], False does nothing, and a function (x0, t) -> x0 is an x0 hook, such as
        `dynamic_threshold`. Samplers and calls may have their own.
    sigma_data: the data's standard deviation, which is the unit of the network: it is shown
        x_t/sqrt(sigma_data^2 a + 1-a), of variance 1, and predicts what is meant of x_0/sigma_data.
        With predict="v" that is EDM's preconditioning: x_0 = c_skip x_bar - c_out v, with the
        c_in, c_skip and c_out of Karras et al. 2022, table 1, whose F is -v.

    The first step of generation (t = 1, s = 0) uses beta_tilde_2 for "small" and "large", because
    beta_tilde_1 is 0: "to get a better decoder log likelihood" (Ho et al.'s code).

    A network in training mode drops units and labels at random. Where no gradient is wanted, as in
    every sampler, that is a slip: it is told in a warning, and `model.eval()` ends it.

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
        clip: Clip = True,
        sigma_data: float = 1.0,
    ) -> None:
        super().__init__()
        check_parts(net, schedule)
        one_of("predict", predict, KINDS)
        one_of("variance", variance, VARIANCES)
        self.net = net
        self.schedule = schedule
        self.predict = predict
        self.variance = variance
        self.clip = clip
        self.sigma_data = sigma_data
        check_clip(clip)
        check_sigma_data(sigma_data)
        check_clock(self.clock, schedule)

    def forward(self, xt: Tensor, t: Index, *, clip: Clip | None = None, **cond: Any) -> Prediction:
        """The network's estimate of x_0 and eps at x_t. t: int or (B,), in 1..T."""
        prediction, values = self.ask(xt, t, **cond)
        x, a, a_prev = self.in_units(xt, t)
        x0, eps = pair(self.predict, prediction, x, a, a_prev)
        x0 = self.sigma_data * x0
        clip = self.clip if clip is None else clip
        check_clip(clip)
        if clip is not False:
            clipped = clip(x0, t) if callable(clip) else x0.clamp(-1, 1)
            admit(x0=x0, clip=clipped)
            # eps + sqrt(a)/sqrt(1-a) (x0 - clipped): exactly the raw eps where nothing was clipped
            eps = cast(eps + (a / (1 - a)).sqrt() * (x0 - clipped) / self.sigma_data, xt)
            x0 = cast(clipped, xt)
        return Prediction(x0, eps, prediction, values)

    def ask(self, xt: Tensor, t: Index, **cond: Any) -> tuple[Tensor, Tensor | None]:
        """The network's own words at x_t: its prediction, and the channels of a learned variance.

        For who needs no x_0, such as `loss_simple`; the call of the model itself goes on from here.
        """
        admit({"t": t}, 1, self.schedule, xt=xt)
        check_device(self, xt)
        self._warn_of_dropout(guessing=cond.get("x_self", xt) is None)
        seen = xt
        if self.predict == "u" or self.sigma_data != 1:
            x, a, _ = self.in_units(xt, t)
            seen = shown(self.predict, x, a)
        out = self.net(seen, from_zero(t, xt), **cond)
        check_answer(out, xt, self.variance, parts=2 if self.learns_variance else 1)
        if not self.learns_variance:
            return out.to(xt.dtype), None
        prediction, values = out.to(xt.dtype).chunk(2, dim=1)
        return prediction, values

    def reverse(
        self,
        xt: Tensor,
        t: Index,
        s: Index,
        prediction: Prediction | None = None,
        *,
        variance: str | None = None,
    ) -> Gaussian:
        """p_theta(x_s | x_t) = N(mean of q(x_s | x_t, x0_theta), variance of the given kind).

        One factor of Ho et al. 2020, eq. (1), or Song, Meng & Ermon 2021, eq. (1), for any s < t.
        variance: "small" or "large" for this once instead of the model's own. At s = 0 it is that
        of the decoder (never 0); samplers add no noise there.
        """
        kind = self.check_variance(variance)
        p = self(xt, t) if prediction is None else prediction
        check_prediction(p)
        at, as_ = levels(self.schedule, t, s, x0=p.x0, xt=xt)
        mean = mu_tilde(p.x0, xt, at, as_)  # the estimate stands in for x_0
        if kind == "diagonal":
            assert p.values is not None
            return Gaussian(mean, p.values.double().exp())
        small, large = beta_tilde_of(at, as_), beta_of(at, as_)
        if isinstance(s, Tensor) or s == 0:  # where beta_tilde is 0, beta_tilde_2 stands in
            after = t.clamp(min=2) if isinstance(t, Tensor) else max(t, 2)
            first = beta_tilde_of(self.schedule.at(after, xt), self.schedule.at(1, xt))
            small = torch.where(as_ == 1, first, small)
        if kind == "small":
            return Gaussian(mean, small)
        if kind == "large":
            return Gaussian(mean, torch.where(as_ == 1, small, large))
        assert p.values is not None
        fraction = (p.values.double() + 1) / 2
        return Gaussian(mean, (fraction * large.log() + (1 - fraction) * small.log()).exp())

    def check_variance(self, variance: str | None) -> str:
        """The kind of variance that is meant, None the model's own; another's must be fixed."""
        known = dict.fromkeys(("small", "large", self.variance))
        return one_of("variance", self.variance if variance is None else variance, tuple(known))

    def target(self, x0: Tensor, xt: Tensor, t: Index) -> Tensor:
        """What the network should have predicted at x_t, had it known x_0."""
        admit({"t": t}, 1, self.schedule, x0=x0, xt=xt)
        return target(self.predict, x0 / self.sigma_data, *self.in_units(xt, t))

    def in_units(self, xt: Tensor, t: Index) -> tuple[Tensor, Tensor, Tensor]:
        """(x_t, alpha_bar_t, alpha_bar_{t-1}) of x_0/sigma_data, with the same eps."""
        a, a_prev = alpha_bars(self.schedule, xt, t, self.predict)
        if self.sigma_data == 1:
            return xt, a, a_prev
        d = self.sigma_data**2  # x_t = r (sqrt(d a)/r x_0' + sqrt(1-a)/r eps) with r^2 as here:
        total, total_prev = d * a + 1 - a, d * a_prev + 1 - a_prev
        return cast(xt / total.sqrt(), xt), d * a / total, d * a_prev / total_prev

    __call__: Callable[..., Prediction]  # nn.Module types the call as Any

    # ------------------------------------------------------------------ facts about the network

    @property
    def conventions(self) -> dict[str, Any]:
        """All that a Denoiser is told beside its network and its schedule, by name."""
        names = ("predict", "variance", "clip", "sigma_data")
        return {name: getattr(self, name) for name in names}

    @property
    def network(self) -> Any:
        """The network itself, seen through DistributedDataParallel and torch.compile."""
        return _unwrapped(self.net)

    @property
    def learns_variance(self) -> bool:
        """Whether the network outputs twice the channels."""
        return self.variance in ("learned", "diagonal")

    @property
    def self_conditioned(self) -> bool:
        """Whether the network takes its previous estimate of x_0 as `x_self` (Chen et al. 2022)."""
        return bool(self._fact("self_cond", False))

    @property
    def num_classes(self) -> Classes:
        """How many labels the network knows, 0 if none; for each of several labels an image."""
        classes: Classes = self._fact("num_classes", 0)
        return classes

    @property
    def null_label(self) -> Classes | None:
        """The label that means none, `num_classes`; None if the network was trained without one."""
        return self.num_classes if self.num_classes and self._fact("null_class", True) else None

    @property
    def clock(self) -> float | tuple[float, ...]:
        """What the network sees of t: a factor on it, or a table with one number for each t."""
        clock: float | tuple[float, ...] = self._fact("clock", 1.0)
        return clock

    def _warn_of_dropout(self, guessing: bool) -> None:
        """Say that each call draws what it leaves out, but for training and its guess of x_self."""
        training = getattr(self.net, "training", False) and not torch.compiler.is_compiling()
        if not training or guessing or torch.is_grad_enabled():
            return
        labels = self.null_label is not None and self._fact("label_dropout", 0) > 0
        if labels or any(map(_is_random, self.net.modules())):
            warnings.warn(
                "the network is in training mode: it drops units or labels at random, and answers "
                "otherwise at each call; call model.eval() before you sample or measure",
                stacklevel=2,
            )

    def _fact(self, name: str, default: Any) -> Any:
        """What the network's own `config` says; a plain function has none."""
        return getattr(getattr(self.network, "config", None), name, default)


def from_zero(t: Index, xt: Tensor) -> Tensor:
    """t - 1, (B,): networks count from 0. Whole numbers, or float64 between the steps.

    >>> from_zero(500, torch.zeros(2, 3)), from_zero(1.5, torch.zeros(1, 3))
    (tensor([499, 499]), tensor([0.5000], dtype=torch.float64))
    """
    if isinstance(t, Tensor):
        t = t if t.is_floating_point() else t.long()  # bytes would wrap below 0
        return (t - 1).to(xt.device).expand(len(xt))
    kind = torch.int64 if t == int(t) else torch.float64
    return torch.full((len(xt),), t - 1, dtype=kind, device=xt.device)  # no copy from the host


def _is_random(m: nn.Module) -> bool:
    drops = isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0
    return m.training and (drops or isinstance(m, nn.modules.batchnorm._BatchNorm))


def _unwrapped(net: Any) -> Any:
    if hasattr(net, "_orig_mod"):  # torch.compile's
        return _unwrapped(net._orig_mod)
    around = isinstance(net, nn.Module) and [*net._modules] == ["module"] and not net._parameters
    return _unwrapped(net.module) if around else net  # DataParallel's, DDP's, AveragedModel's
