"""What `evaluate` measures with and against: ready before the first image is drawn."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minidiff.cli.dataset import data_set
from minidiff.cli.outputs import check_target
from minidiff.data.images import Images
from minidiff.data.sets import Folder
from minidiff.engine.distributed import World
from minidiff.measure.cache import extract, reference_features
from minidiff.measure.features import Classifier, Extractor, Inception768, InceptionFID
from minidiff.measure.frechet import FrechetStats
from minidiff.measure.metrics import compare

NEAREST = 3  # the k of precision and recall: of fewer images there is nothing to tell


class Judge:
    """Takes samples batch by batch, keeps their features, and measures what it has."""

    def __init__(
        self,
        extractor: str,
        data: str,
        real: Images | FrechetStats,
        batch: int,
        world: World,
        shape: tuple[int, int, int],
        notes: dict[str, Any],
    ) -> None:
        self.real, self.batch, self.notes = real, batch, notes
        self.features: list[Tensor] = []
        self.probs: list[Tensor] = []
        if isinstance(real, Images) and len(real) <= NEAREST:
            raise ValueError(f"{data} has {len(real)} images, of which there must be more")
        self.extractor = _extractor(extractor, data, real).to(world.device)
        black = torch.zeros(1, *shape, dtype=torch.uint8)
        features, _ = extract(black, self.extractor)  # refuses images that it cannot take
        if isinstance(real, FrechetStats) and len(real.mean) != features.shape[1]:
            raise ValueError(
                f"{data} is of {len(real.mean)} features, {self.extractor.name} makes "
                f"{features.shape[1]}: choose the --extractor that it was made with"
            )

    @property
    def n(self) -> int:
        """How many samples it has."""
        return sum(map(len, self.features))

    def take(self, images: Tensor) -> None:
        """Some more samples, uint8."""
        features, probs = extract(images, self.extractor, batch=self.batch)
        if probs is not None:
            self.probs.append(probs)
        self.features.append(features)  # last, for an interruption may come at any moment

    def verdict(self, seed: int) -> dict[str, Any]:
        """All that can be said of them."""
        from tqdm import tqdm  # type: ignore[import-untyped]

        real: Tensor | FrechetStats
        n: int | None
        if isinstance(self.real, Images):
            n = len(self.real)
            with tqdm(total=n, desc="features of the data", unit="image") as bar:
                real = reference_features(
                    self.real, self.extractor, batch=self.batch, progress=bar.update
                )
        else:
            real, n = self.real, self.real.n  # None: a file need not say it
        found = compare(
            torch.cat(self.features),
            torch.cat(self.probs) if self.probs else None,
            real,
            self.extractor,
            k=NEAREST,
            generator=torch.Generator().manual_seed(seed % 2**63),
        )
        size = {"n_samples": self.n, "n_reference": n}
        return {**found, "extractor": self.extractor.name, **size}


def judge_for(args: Namespace, shape: tuple[int, int, int], world: World) -> Judge:
    """Who measures the samples (C, H, W), and against what, as `evaluate` was told."""
    if args.json:
        check_target(args.json)
    if args.n <= NEAREST:
        raise ValueError(f"--n must be above {NEAREST}, the neighbours of an image; got {args.n}")
    real: Images | FrechetStats
    notes: dict[str, Any] = {}
    if Path(args.data).suffix == ".npz":
        if args.split:
            raise ValueError(f"{args.data} holds statistics, not images: leave out --split")
        real = FrechetStats.load(args.data)
    else:
        data, notes = data_set(args, shape, world)
        real = data.read() if isinstance(data, Folder) else data
    return Judge(args.extractor, args.data, real, args.batch, world, shape, notes)


def _extractor(name: str, data: str, real: Images | FrechetStats) -> Extractor:
    """The one that was asked for; "auto" takes the one that fits the data."""
    known: dict[str, Callable[[], Extractor]] = {
        "inception2048": InceptionFID.load,
        "inception768": Inception768.load,
        "classifier": lambda: Classifier.load(data),
    }
    if name == "auto":
        name = "classifier" if data in Classifier.known() else "inception2048"
        if isinstance(real, FrechetStats) and len(real.mean) == 768:
            name = "inception768"
    if name not in known:
        raise ValueError(f"--extractor must be one of {', '.join(known)}, got {name!r}")
    return known[name]()
