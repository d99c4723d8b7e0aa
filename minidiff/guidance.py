"""Chapter 19: guidance, a Denoiser with its labels bound, and what keeps its x0 within range."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minidiff.checks import check_share
from minidiff.checks_networks import (
    as_labels,
    check_callable,
    check_labels,
    check_logits,
    check_model,
    check_null,
)
from minidiff.denoiser import Classes, Denoiser, from_zero
from minidiff.kinds import check_number
from minidiff.schedule import Index


def guide(model: Denoiser, labels: Tensor, w: float = 0.0, null: Classes | None = None) -> Guided:
    """Classifier-free guidance: eps = (1 + w) eps(x_t, y) - w eps(x_t, no label).

    Ho & Salimans 2022, eq. (6). A Denoiser with its labels bound: any sampler takes it. Both
    predictions come from one batch of twice the size. w = 0 is the conditional model itself.

    model: a Denoiser whose network takes `labels`; labels: (B,) long, 0..num_classes-1, or
    (B, K) if an image has K labels; those that are "none" are left to the network.
    null: the label, or the K labels, that stand for "none" (default: the model's `null_label`).
    Without them w must be 0.

    >>> from minidiff.schedule import Schedule
    >>> net = lambda x, t, labels: labels.float().reshape(-1, 1).expand_as(x)
    >>> model = Denoiser(net, Schedule.linear(1000), clip=False)
    >>> guided = guide(model, torch.tensor([3]), w=1.0, null=10)
    >>> guided(torch.zeros(1, 2), 500).eps.tolist()  # 2 * 3 - 10
    [[-4.0, -4.0]]
    """
    return Guided(model, labels, w, null)


def guide_by_classifier(
    model: Denoiser, classifier: Callable[..., Tensor], labels: Tensor, w: float = 1.0
) -> ByClassifier:
    """Classifier guidance: eps = eps_theta(x_t) - w sqrt(1 - alpha_bar_t) grad log p(y | x_t).

    Dhariwal & Nichol 2021, eq. (14) (their s is w). Like `guide` a Denoiser that any sampler takes:
    the score of p(x_t) p(y | x_t)^w, so w = 1 is the conditional distribution if network and
    classifier are right. (Their algorithm 1 shifts the mean of ancestral sampling by w Sigma grad
    instead, the same in the limit of many steps.) The model's variance is left as it is.

    classifier: called as classifier(x_t, t - 1), like the network, on noisy images; returns logits
    (B, K). Its gradient is taken with respect to x_t, at the cost of a backward pass a call.
    labels: (B,) long, 0..K-1.

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000), clip=False)
    >>> guided = guide_by_classifier(model, lambda x, t: x, torch.tensor([0, 1]))
    >>> guided(torch.zeros(2, 2), 1000).eps.round(decimals=4).tolist()  # up in y, down in the other
    [[-0.5, 0.5], [0.5, -0.5]]
    """
    return ByClassifier(model, classifier, labels, w)


def dynamic_threshold(share: float = 0.995) -> Callable[[Tensor, Index], Tensor]:
    """An x0 hook: clamp x0 to [-s, s] and divide by s, s the given quantile of |x0|, at least 1.

    Dynamic thresholding of Saharia et al. 2022, section 2.3, for each image by itself. Strong
    guidance pushes x0 beyond [-1, 1]; clamping saturates it, this keeps most of its contrasts.
    Given as `clip` to a sampler or a `Denoiser`. share: in (0, 1]; 1 divides by the largest.

    >>> hook = dynamic_threshold(0.5)
    >>> hook(torch.tensor([[0.5, -2.0, 4.0], [0.1, 0.2, 0.3]]), 500).tolist()
    [[0.25, -1.0, 1.0], [0.10000000149011612, 0.20000000298023224, 0.30000001192092896]]
    """
    check_share(share)

    def hook(x0: Tensor, t: Index) -> Tensor:
        rising = x0.abs().flatten(1).sort(1).values  # torch.quantile has a largest size
        place = share * (rising.shape[1] - 1)
        low, high = rising[:, int(place)], rising[:, math.ceil(place)]
        s = torch.lerp(low, high, place % 1).clamp(min=1).reshape(-1, *(1,) * (x0.ndim - 1))
        return x0.clamp(-s, s) / s

    return hook


class Guided(Denoiser):
    """What `guide` returns: a Denoiser that asks its network twice and extrapolates."""

    def __init__(
        self, model: Denoiser, labels: Tensor, w: float = 0.0, null: Classes | None = None
    ) -> None:
        check_model(model)
        check_number(w=w)
        super().__init__(model.net, model.schedule, **model.conventions)
        self.labels = as_labels(labels)
        self.w = w
        self.null = model.null_label if null is None else null
        check_null(self.null, model.num_classes, w)
        self.train(model.training)

    def ask(self, xt: Tensor, t: Index, **cond: Any) -> tuple[Tensor, Tensor | None]:
        """The guided prediction; the variance is that of the labels alone."""
        check_labels(self.labels, xt, self.num_classes if self.null is None else self.null)
        labels = self.labels.to(xt.device)
        if self.w == 0 or self.null is None:
            return super().ask(xt, t, **cond, labels=labels)
        null = torch.tensor(self.null, dtype=labels.dtype, device=labels.device)
        both = torch.cat([labels, null.expand_as(labels)])
        t2 = torch.cat([t, t]) if isinstance(t, Tensor) and t.numel() > 1 else t
        cond2 = {k: torch.cat([v, v]) if isinstance(v, Tensor) else v for k, v in cond.items()}
        out, values = super().ask(torch.cat([xt, xt]), t2, **cond2, labels=both)
        with_label, without = out.chunk(2)
        # Affine in the prediction at fixed x_t, so guiding eps, x0 or v is the same thing.
        guided = (1 + self.w) * with_label - self.w * without
        return guided, None if values is None else values.chunk(2)[0]


class ByClassifier(Denoiser):
    """What `guide_by_classifier` returns: a Denoiser that goes uphill in log p(y | x_t)."""

    def __init__(
        self, model: Denoiser, classifier: Callable[..., Tensor], labels: Tensor, w: float = 1.0
    ) -> None:
        check_model(model)
        check_number(w=w)
        super().__init__(model.net, model.schedule, **model.conventions)
        check_callable(classifier=classifier)
        self.model = model
        self.classifier = classifier
        self.labels = as_labels(labels)
        self.w = w
        self.train(model.training)

    def ask(self, xt: Tensor, t: Index, **cond: Any) -> tuple[Tensor, Tensor | None]:
        """The model's own words, with x0 moved by w (1 - ab)/sqrt(ab) grad log p(y | x_t)."""
        out, values = self.model.ask(xt, t, **cond)
        a = self.schedule.at(t, xt)
        shift = self.w * (1 - a) / a.sqrt() * self.uphill(xt, t)
        # A prediction is linear in (x_t, x0): the shift alone, at x_t = 0, is what it adds.
        return out + self.target(shift, torch.zeros_like(shift), t), values

    def uphill(self, xt: Tensor, t: Index) -> Tensor:
        """grad log p(y | x_t) with respect to x_t, (B, …)."""
        check_labels(self.labels, xt)
        outer = torch.is_grad_enabled()  # who asks wants to differentiate this again
        with torch.enable_grad():
            x = xt if outer and xt.requires_grad else xt.detach().requires_grad_()
            logits = self.classifier(x, from_zero(t, x))
            check_logits(logits, self.labels)
            log_p = logits.log_softmax(1).gather(1, self.labels.to(xt.device)[:, None])
            (gradient,) = torch.autograd.grad(log_p.sum(), x, create_graph=outer)
        return gradient
