"""Chapter 7: the moving average of the weights, what the papers sample from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from minidiff.checks_networks import check_module
from minidiff.engine.distributed import fill
from minidiff.kinds import short
from minidiff.settings import Decay, checked


class EMA:
    """Exponential moving average `m <- d m + (1 - d) w` of a network's weights w.

    Ho et al. 2020, appendix B (d = 0.9999). The average lives in float32 whatever the
    precision of the weights: in bfloat16, adding 1e-4 of a weight would change nothing.
    Several decays can be followed at once. With `warmup` the n-th update uses
    min(d, (1 + n) / (10 + n)), so that a run of a few thousand steps forgets its random start;
    after 10 / (1 - d) updates the two agree. Buffers (a BatchNorm's, fixed frequencies) are not
    averaged: `copy_to` gives the latest.

    >>> net = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(net.weight)
    >>> ema = EMA(net, decay=0.9)
    >>> _ = nn.init.ones_(net.weight)
    >>> ema.update(net)
    >>> with ema.averaged(net):
    ...     print(round(net.weight.item(), 4))
    0.1
    >>> net.weight.item()
    1.0
    """

    def __init__(
        self, model: nn.Module, decay: float | Sequence[float] = 0.9999, warmup: bool = False
    ) -> None:
        self.decays: tuple[float, ...] = checked("decay", decay, tuple[Decay, ...])
        if not 0 < len(set(self.decays)) == len(self.decays):
            raise ValueError(f"decay must be one or more different numbers, got {self.decays}")
        check_module(model, "EMA")
        self.warmup = warmup
        self.updates = 0
        self.names = [name for name, _ in model.named_parameters()]
        self.shadows = [
            [p.detach().to(torch.float32, copy=True) for p in model.parameters()]
            for _ in self.decays
        ]
        kept = model.state_dict()
        self.buffers = {k: b.detach().clone() for k, b in model.named_buffers() if k in kept}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """One step of the average: m <- m + (1 - d)(w - m), for every decay."""
        weights = [p.float() for p in self._weights(model)]  # themselves, if float32 already
        for d, shadow in zip(self.decays, self.shadows, strict=True):
            if self.warmup:
                d = min(d, (1 + self.updates) / (10 + self.updates))
            torch._foreach_lerp_(shadow, weights, 1 - d)  # no copy, a few kernels in all
        _fill(self.buffers, dict(model.named_buffers()))
        self.updates += 1

    @torch.no_grad()
    def copy_to(self, model: nn.Module, decay: float | None = None) -> None:
        """Overwrite the weights of `model` by the average (of the first decay, or of `decay`)."""
        for p, m in zip(self._weights(model), self.shadows[self._index(decay)], strict=True):
            p.copy_(m)
        _fill(dict(model.named_buffers()), self.buffers)

    @contextmanager
    def averaged(self, model: nn.Module, decay: float | None = None) -> Iterator[nn.Module]:
        """Within the `with` block `model` holds the averaged weights; afterwards its own again."""
        own = [p.detach().clone() for p in self._weights(model)]
        buffers = {k: b.detach().clone() for k, b in model.named_buffers()}
        self.copy_to(model, decay)
        try:
            yield model
        finally:
            with torch.no_grad():
                for p, w in zip(self._weights(model), own, strict=True):
                    p.copy_(w)
                _fill(dict(model.named_buffers()), buffers)

    def state_dict(self) -> dict[str, Tensor]:
        """Flat {"updates": n, "<decay>/<parameter>": tensor, …}, ready for a safetensors file."""
        state = {"updates": torch.tensor(self.updates)}
        state |= {f"buffers/{name}": b for name, b in self.buffers.items()}
        for d, shadow in zip(self.decays, self.shadows, strict=True):
            state |= {f"{d}/{name}": m for name, m in zip(self.names, shadow, strict=True)}
        return state

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up a state saved by `state_dict`; the decays must be the same."""
        expected = (f"{d}/{name}" for d in self.decays for name in self.names)
        missing = [key for key in ("updates", *expected) if key not in state]
        if missing:
            raise ValueError(
                f"the saved average lacks {missing[0]!r} (and {len(missing) - 1} more): it was "
                f"made with other decays than {self.decays} or for another network"
            )
        for d, shadow in zip(self.decays, self.shadows, strict=True):
            for name, m in zip(self.names, shadow, strict=True):
                if (shape := state[f"{d}/{name}"].shape) != m.shape:
                    raise ValueError(
                        f"the saved average of {name} is of shape {tuple(shape)}, not "
                        f"{tuple(m.shape)}: it was made for another network"
                    )
        if state["updates"].ndim:
            raise ValueError("the saved average does not say how many updates it has had")
        self.updates = int(state["updates"])
        for d, shadow in zip(self.decays, self.shadows, strict=True):
            for name, m in zip(self.names, shadow, strict=True):
                fill(m, state[f"{d}/{name}"])
        _fill({f"buffers/{name}": b for name, b in self.buffers.items()}, state)

    def _weights(self, model: nn.Module) -> list[nn.Parameter]:
        """The model's weights, as many as are averaged."""
        weights = [*check_module(model, "EMA").parameters()]
        if len(weights) != len(self.names):
            raise ValueError(
                f"this EMA follows a network with {len(self.names)} tensors of weights, got one "
                f"with {len(weights)}: give it the network that it was made for"
            )
        return weights

    def _index(self, decay: float | None) -> int:
        if decay is not None and not (isinstance(decay, float) and decay in self.decays):
            raise ValueError(
                f"no average with decay {short(decay)}; this EMA follows {self.decays}"
            )
        return 0 if decay is None else self.decays.index(decay)


def _fill(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name in targets.keys() & values.keys():
        targets[name].copy_(values[name])
