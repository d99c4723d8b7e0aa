"""Chapters 9 and 17: many images from one model, shared out over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from minidiff.checks_networks import check_model
from minidiff.denoiser import Classes, Denoiser
from minidiff.engine.distributed import World
from minidiff.engine.signals import Stopped, stopped
from minidiff.guidance import guide
from minidiff.kinds import check_counts, check_size
from minidiff.ode import Solver, solve
from minidiff.process import PerSample, randn
from minidiff.samplers import Step, ancestral, ddim
from minidiff.settings import Amount, Count, Natural, check_fields
from minidiff.spacing import Spacing, tau

Sampler = Literal["ddim", "ancestral", Solver]
SAMPLERS: tuple[str, ...] = get_args(Sampler)
_NO_CLASSES = "this model knows no classes: leave labels and guidance out"
_CALLS = {"heun": 2, "rk4": 4}  # of the network in one step; of the others one


@dataclass(frozen=True)
class Sampling:
    """How to draw samples. `labels` are repeated as often as it takes; `guidance` is w of CFG.

    Of a network that takes K labels an image, `labels` are K for the first, K for the second, …
    """

    steps: Count = 50
    spacing: Spacing = "linear"
    sampler: Sampler = "ddim"
    eta: Amount = 0.0
    labels: tuple[Natural, ...] | None = None
    guidance: float = 0.0
    seed: Natural = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.eta and self.sampler != "ddim":
            raise ValueError(
                f"eta must be left out with sampler={self.sampler!r}, got {self.eta}: it is the "
                'noise of "ddim"'
            )

    def calls(self, model: Denoiser) -> int:
        """How often one walk asks the network."""
        check_model(model)
        steps = len(tau(model.schedule, S=self.steps, spacing=self.spacing)) - 1
        return _CALLS.get(self.sampler, 1) * (steps - 1) + 1  # the last step is Euler's

    def start(
        self, shape: Sequence[int], which: Sequence[int], device: torch.device
    ) -> tuple[Tensor, PerSample]:
        """x_T of the images number `which`, and the generators of whatever noise follows."""
        noise = PerSample(self.seed, which)
        return randn(torch.empty(len(which), *shape, device=device), noise), noise

    def walk(
        self, model: Denoiser, x_T: Tensor, which: Sequence[int], noise: PerSample
    ) -> Iterator[Step]:
        """The sampler's steps from there."""
        check_model(model)
        times = tau(model.schedule, S=self.steps, spacing=self.spacing)
        if classes := model.num_classes:
            labels = in_turn(which, classes, self.labels, model.null_label is not None)
            model = guide(model, labels.to(x_T.device), self.guidance)
        elif self.labels is not None or self.guidance:
            raise ValueError(_NO_CLASSES)
        if self.sampler == "ddim":
            return ddim(model, x_T, times, self.eta, generator=noise)
        if self.sampler == "ancestral":
            return ancestral(model, x_T, times, generator=noise)
        return solve(model, x_T, times, self.sampler, clip=model.clip)


def in_turn(
    which: Sequence[int], classes: Classes, wanted: Sequence[int] | None = None, null: bool = True
) -> Tensor:
    """Labels of the images number `which`, (n,) or (n, K): those wanted in turn, else all classes.

    Of a network with K labels `wanted` holds rows of K numbers, one after the other. null: whether
    the number of classes itself is a label, for none.

    >>> in_turn(range(5), 3), in_turn(range(3), (2, 3), wanted=[1, 0, 2, 2]).tolist()
    (tensor([0, 1, 2, 0, 1]), [[1, 0], [2, 2], [1, 0]])
    """
    counts = torch.tensor(classes)  # () or (K,)
    number = torch.tensor(which).view(-1, *(1,) * counts.ndim)
    if not wanted:
        return number % counts
    per_image(wanted, classes)
    rows = torch.tensor(wanted).view(-1, *counts.shape)
    if bool(((rows < 0) | (rows >= counts + null)).any()):
        none = ", or {} for none" if null else ""
        fits = ", ".join(f"0..{k - 1}{none.format(k)}" for k in counts.view(-1).tolist())
        raise ValueError(f"labels must be in {fits}; got {list(wanted)}")
    return rows[number.flatten() % len(rows)]


def per_image(wanted: Sequence[object], classes: Classes) -> int:
    """How many labels an image has; ValueError unless those wanted are of whole images.

    >>> per_image([1, 0, 2, 2], (2, 3))
    2
    """
    if not classes:
        raise ValueError(_NO_CLASSES)
    k = len(classes) if isinstance(classes, tuple) else 1
    if len(wanted) % k:
        raise ValueError(
            f"this network has {k} labels for each image: labels must be as many, or twice as "
            f"many for two images in turn, …; got {len(wanted)}"
        )
    return k


def in_rounds(
    work: Callable[[range], Tensor], n: int, world: World, batch: int, first: int = 0
) -> Iterator[Tensor]:
    """What `work` makes of the numbers first, …, first + n - 1, in order, on every process.

    The processes share each round of at most `batch` numbers apiece (and of the last round some may
    get a few beyond the end, whose results are dropped). Where `Stopped` ends the work of one, it
    ends that of all behind the same round: nobody waits for what another one has left.

    >>> one = World(0, 1, torch.device("cpu"))
    >>> [x.tolist() for x in in_rounds(lambda which: torch.tensor(which) ** 2, 5, one, batch=2)]
    [[0, 1], [4, 9], [16]]
    """
    check_size(n)
    check_counts(batch=batch)
    end = first + n
    for start in range(first, end, batch * world.size):
        share = min(batch, -(-(end - start) // world.size))
        signum = 0
        try:
            x = work(range(start + world.rank * share, start + (world.rank + 1) * share))
        except Stopped as stop:
            signum = stop.signum
        if signum := world.largest(signum):
            raise stopped(signum)
        yield world.gather(x)[: end - start]


def draw(
    model: Denoiser,
    shape: Sequence[int],
    n: int,
    sampling: Sampling,
    world: World,
    batch: int = 256,
    first: int = 0,
) -> Iterator[Tensor]:
    """n images of `shape` (C, H, W) in [-1, 1], in order, some at a time, on every process.

    Image i depends on the seed and on i alone, whatever n, `batch`, and the number of processes
    are. `first` is the number of the first.
    """

    def walk(which: range) -> Tensor:
        x, noise = sampling.start(shape, which, world.device)
        for step in sampling.walk(model, x, which, noise):
            x = step.x  # of all the steps only the last is kept
        return x

    return in_rounds(walk, n, world, batch, first)


def generate(
    model: Denoiser,
    shape: Sequence[int],
    n: int,
    sampling: Sampling,
    world: World,
    batch: int = 256,
) -> Tensor:
    """The images of `draw`, all at once.

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> one = World(0, 1, torch.device("cpu"))
    >>> generate(model, (1, 8, 8), 5, Sampling(steps=2), one, batch=3).shape
    torch.Size([5, 1, 8, 8])
    """
    check_size(n)
    images = torch.empty(n, *shape, device=world.device)  # joined, they would lie there twice
    first = 0
    for x in draw(model, shape, n, sampling, world, batch):
        images[first : first + len(x)] = x
        first += len(x)
    return images
