"""What `evaluate` measures with and against: ready before the first image is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minidiff.data.folder import Folder
from minidiff.data.images import Images
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


def resized(folder: Folder) -> str:
    """How many of a folder's pictures had another size than it gives them, "" if none."""
    from PIL import Image

    want = (folder.shape[2], folder.shape[1])
    sizes = []
    for file in folder.files:
        with Image.open(file) as picture:
            sizes.append(picture.size)
    other = [size for size in sizes if size != want]
    if not other:
        return ""
    other.sort(key=lambda s: s[0] * s[1])
    low, high = ("x".join(map(str, size)) for size in (other[0], other[-1]))
    return (
        f"{len(other)} of {len(sizes)} images, {low} to {high}, were cropped to their central "
        f"squares and resized to {want[0]}x{want[1]}"
    )
