"""Chapter 7: an optimizer's step that a NaN turns into no step at all, without asking the GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def step_unless(bad: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """`optimizer.step()` where `bad` is 0; where it is 1, weights and moments stay as they are.

    In place of `GradScaler.step`, which looks at one process's gradients and in float16 only, while
    `bad` comes from the norm that all processes share. It is a float on the weights' device and
    stays there: an `if` would wait for the GPU. Fused optimizers look at it in their kernel (as
    `found_inf`); for others, such as one of yours in `trainer.optimizer`, old values are put back.
    (A count of steps that such an optimizer keeps on the host goes on: the host does not know.)

    >>> w = torch.ones(1, requires_grad=True)
    >>> w.grad = torch.tensor([float("nan")])
    >>> step_unless(torch.tensor(1.0), torch.optim.SGD([w], lr=0.1))
    >>> w.item()
    1.0
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = bad  # type: ignore[attr-defined]
        optimizer.step()
        return
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    before = [(p, p.clone()) for p in weights]
    held = {(p, name): t.clone() for p, name, t in _moments(weights, optimizer)}
    optimizer.step()
    before += [
        (t, held.get((p, name), torch.zeros_like(t))) for p, name, t in _moments(weights, optimizer)
    ]
    for now, old in before:
        if now.device == bad.device:
            now.copy_(torch.where(bad > 0, old, now))


def _moments(
    weights: list[Tensor], optimizer: torch.optim.Optimizer
) -> list[tuple[Tensor, str, Any]]:
    """Everything the optimizer remembers of each weight; it begins with zeros."""
    return [
        (p, name, value)
        for p in weights
        for name, value in optimizer.state.get(p, {}).items()
        if isinstance(value, Tensor)
    ]
