"""Chapter 17: classifier-free guidance, a Denoiser with its labels bound."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from minidiff.checks import Index, check_labels, check_null
from minidiff.denoiser import Denoiser


def guide(model: Denoiser, labels: Tensor, w: float = 0.0, null: int | None = None) -> Guided:
    """Classifier-free guidance: eps = (1 + w) eps(x_t, y) - w eps(x_t, no label).

    Ho & Salimans 2022, eq. (6). A Denoiser with its labels bound: any sampler takes it. Both
    predictions come from one batch of twice the size. w = 0 is the conditional model itself.

    model: a Denoiser whose network takes `labels`; labels: (B,) long, 0..num_classes-1;
    null: the label that stands for "none" (default: the network's num_classes).

    >>> from minidiff.schedule import Schedule
    >>> net = lambda x, t, labels: labels.float().reshape(-1, 1).expand_as(x)
    >>> model = Denoiser(net, Schedule.linear(1000), clip=False)
    >>> guided = guide(model, torch.tensor([3]), w=1.0, null=10)
    >>> guided(torch.zeros(1, 2), 500).eps.tolist()  # 2 * 3 - 10
    [[-4.0, -4.0]]
    """
    return Guided(model, labels, w, null)


class Guided(Denoiser):
    """What `guide` returns: a Denoiser that asks its network twice and extrapolates."""

    def __init__(
        self, model: Denoiser, labels: Tensor, w: float = 0.0, null: int | None = None
    ) -> None:
        super().__init__(model.net, model.schedule, model.predict, model.variance, model.clip)
        self.labels = torch.as_tensor(labels)  # a list does, too
        self.w = w
        self.null = check_null(model.num_classes) if null is None else null
        self.train(model.training)

    def ask(self, xt: Tensor, t: Index, **cond: Any) -> tuple[Tensor, Tensor | None]:
        """The guided prediction; the variance is that of the labels alone."""
        check_labels(self.labels, xt)
        labels = self.labels.to(xt.device)
        if self.w == 0:
            return super().ask(xt, t, **cond, labels=labels)
        both = torch.cat([labels, torch.full_like(labels, self.null)])
        t2 = t if not isinstance(t, Tensor) or t.numel() == 1 else torch.cat([t, t])
        cond2 = {k: torch.cat([v, v]) if isinstance(v, Tensor) else v for k, v in cond.items()}
        out, values = super().ask(torch.cat([xt, xt]), t2, **cond2, labels=both)
        with_label, without = out.chunk(2)
        # Affine in the prediction at fixed x_t, so guiding eps, x0 or v is the same thing.
        guided = (1 + self.w) * with_label - self.w * without
        return guided, None if values is None else values.chunk(2)[0]
