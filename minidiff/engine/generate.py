"""Chapters 8 and 15: many images from one model, shared out over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from minidiff.denoiser import Denoiser
from minidiff.engine.distributed import World
from minidiff.guidance import guide
from minidiff.ode import Solver, solve
from minidiff.samplers import Step, ancestral, ddim
from minidiff.settings import Amount, Count, Natural, check_fields
from minidiff.spacing import Spacing, tau

Sampler = Literal["ddim", "ancestral", Solver]
SAMPLERS: tuple[str, ...] = get_args(Sampler)


@dataclass(frozen=True)
class Sampling:
    """How to draw samples. `labels` are repeated as often as it takes; `guidance` is w of CFG."""

    steps: Count = 50
    spacing: Spacing = "linear"
    sampler: Sampler = "ddim"
    eta: Amount = 0.0
    labels: tuple[Natural, ...] | None = None
    guidance: float = 0.0
    seed: Natural = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def walk(
        self, model: Denoiser, x_T: Tensor, generator: torch.Generator, first: int = 0
    ) -> Iterator[Step]:
        """The sampler's steps from x_T; its images are number `first` and following."""
        times = tau(model.schedule, S=self.steps, spacing=self.spacing)
        if classes := model.num_classes:
            known = self.labels or range(classes)
            last = classes - 1 if model.null_label is None else classes
            if not all(0 <= y <= last for y in known):
                none = f", or {classes} for none" if last == classes else ""
                raise ValueError(f"labels must be in 0..{classes - 1}{none}; got {list(known)}")
            labels = [known[(first + i) % len(known)] for i in range(len(x_T))]
            model = guide(model, torch.tensor(labels, device=x_T.device), self.guidance)
        elif self.labels is not None or self.guidance:
            raise ValueError("this model knows no classes: leave labels and guidance out")
        if self.sampler == "ddim":
            return ddim(model, x_T, times, self.eta, generator=generator)
        if self.sampler == "ancestral":
            return ancestral(model, x_T, times, generator=generator)
        return solve(model, x_T, times, self.sampler, clip=model.clip)


def generate(
    model: Denoiser,
    shape: Sequence[int],
    n: int,
    sampling: Sampling,
    world: World,
    batch: int = 256,
    progress: Callable[[int], Any] | None = None,
) -> Tensor:
    """n images of `shape` (C, H, W) in [-1, 1], on every process.

    Each batch has its own seed and the processes take the batches in turn, so the images do not
    depend on how many processes there are.

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> one = World(0, 1, torch.device("cpu"))
    >>> generate(model, (1, 8, 8), 5, Sampling(steps=2), one, batch=3).shape
    torch.Size([5, 1, 8, 8])
    """
    batch = min(batch, n)
    rounds = []
    for k in range(0, -(-n // batch), world.size):
        first = (k + world.rank) * batch
        generator = torch.Generator(world.device)
        generator.manual_seed(sampling.seed * 1_000_003 + k + world.rank)
        x_T = torch.randn(batch, *shape, generator=generator, device=world.device)
        *_, last = sampling.walk(model, x_T, generator, first)
        rounds.append(world.gather(last.x))  # batches k, k + 1, … of the processes in order
        if progress:
            progress(min(batch * world.size, n - k * batch))
    return torch.cat(rounds)[:n]
