"""Chapter 6: the data as training sees them, `Images` on the device or a `Folder` on the disk."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import SupportsIndex

import torch
from torch import Tensor

from minidiff.data.layout import Layout
from minidiff.data.pictures import Header, decode, header

Device = torch.device | str | None
Which = SupportsIndex | Sequence[int] | Tensor  # so many at random, or those of these numbers


def from_uint8(images: Tensor) -> Tensor:
    """Ho et al. 2020, section 3.3: {0, ..., 255} scaled linearly to [-1, 1].

    >>> from_uint8(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"from_uint8 takes bytes (torch.uint8, 0..255), got {images.dtype}")
    return images.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """The inverse of `from_uint8`: clipped and rounded (cutting off would darken by half a level).

    >>> to_uint8(torch.tensor([-1.2, 0.0, 0.999, 1.0]))
    tensor([  0, 128, 255, 255], dtype=torch.uint8)
    """
    if not x.is_floating_point():
        raise ValueError(f"to_uint8 takes floats in [-1, 1], got {x.dtype}; from_uint8 makes them")
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


@dataclass(frozen=True)
class Images:
    """A data set on one device: images (N, C, H, W) uint8, labels (N,) long, names of classes."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str = "images"

    def __post_init__(self) -> None:
        x, y = self.images, self.labels
        if not isinstance(x, Tensor) or x.dtype != torch.uint8 or x.ndim != 4 or not x.numel():
            raise ValueError(
                "images must be a uint8 tensor of shape (N, C, H, W) with N, C, H, W of at least "
                f"1, got {_told(x)} (to_uint8 turns floats in -1..1 into that)"
            )
        if not isinstance(y, Tensor) or y.dtype != torch.long or y.shape != (len(x),):
            raise ValueError(
                f"labels must be a tensor of whole numbers (torch.long), one for each of the "
                f"{len(x)} images, got {_told(y)}"
            )
        named = isinstance(self.classes, (tuple, list))
        if not named or not all(isinstance(c, str) for c in self.classes):
            raise ValueError(f"classes must be a tuple of names, got {self.classes!r}")
        object.__setattr__(self, "classes", tuple(self.classes))
        if y.device.type == "cpu":  # a look at the values would wait for a GPU
            low, high = y.aminmax()
            if low < 0 or high >= len(self.classes):
                raise ValueError(
                    f"labels must be in 0..{len(self.classes) - 1}, one number for each of the "
                    f"{len(self.classes)} classes, got {int(low)}..{int(high)}"
                )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        c, h, w = self.images.shape[1:]
        return c, h, w

    def to(self, device: Device) -> Images:
        """The same set on another device."""
        return Images(self.images.to(device), self.labels.to(device), self.classes, self.name)

    def batch(
        self,
        which: Which,
        *,
        generator: torch.Generator | None = None,
        flip: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """x0 (B, C, H, W) in [-1, 1] and labels (B,): the images at `which`, or so many at random.

        `flip` mirrors each image left to right with probability 1/2.

        >>> black = torch.zeros(10, 3, 32, 32, dtype=torch.uint8)
        >>> x0, labels = Images(black, torch.arange(10) % 2, ("a", "b")).batch(4)
        >>> x0.shape, x0.max().item(), labels.shape
        (torch.Size([4, 3, 32, 32]), -1.0, torch.Size([4]))
        """
        where = generator.device if generator is not None else self.images.device
        index = _index(which, len(self), generator, where).to(self.images.device)
        x0 = from_uint8(self.images[index])
        if flip:
            coin = torch.rand(len(x0), generator=generator, device=where).to(x0.device) < 0.5
            x0 = torch.where(coin[:, None, None, None], x0.flip(-1), x0)
        return x0, self.labels[index]

    def stream(
        self,
        batches: Iterable[Sequence[int]],
        *,
        generator: torch.Generator | None = None,
        flip: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """`batch` for each list of indices in turn."""
        return (self.batch(b, generator=generator, flip=flip) for b in batches)


class Folder(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """A folder of pictures, one class per subfolder, decoded when asked for, by DataLoader workers.

    All must have one size; with `size`, each is cropped to its central square and resized. They are
    RGB if a single one is in colour, of its split or of the training split, else grey. `Layout`
    says which subfolders are splits; the classes are those of the training split.
    """

    def __init__(
        self, path: str | Path, split: str = "train", size: int | None = None, device: Device = None
    ) -> None:
        self.name = str(path)
        layout = Layout(Path(path))
        self.files, parents = layout.of(split)
        other = split != "train" and "train" in layout.splits
        training, known = layout.of("train") if other else ([], parents)
        number = {name: i for i, name in enumerate(sorted(set(known)))}
        self.classes = tuple(number)
        if strange := sorted(set(parents) - set(number)):
            raise ValueError(
                f"{path} has test images of the class {strange[0]!r}, which the training images "
                "don't have"
            )
        layout.tell(split)
        self.targets = [number[parent] for parent in parents]
        self.size, self.device = size, device
        self.told: set[str] = set()  # what was said of the pictures, each once
        heads: Iterable[Header] = map(header, self.files)
        if size is None:  # a picture of another size is told of now, not in the middle of a run
            first, *_ = heads = list(heads)
            for file, head in zip(self.files, heads, strict=True):
                if {*head[:2]} != {*first[:2]}:
                    raise _other_size(file, head[:2], first[:2])
        colours = (head.colour for head in chain(heads, map(header, training)))
        self.mode = "RGB" if any(colours) else "L"
        self.shape: tuple[int, ...] = ()
        self.shape = tuple(self._pixels(0)[0].shape)  # (C, H, W)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        pixels, notes = self._pixels(i)
        for note in sorted(notes - self.told):
            warnings.warn(f"{self.files[i]} has {note} (as may others)", stacklevel=2)
        self.told |= notes
        return pixels, self.targets[i]

    def _pixels(self, i: int) -> tuple[Tensor, set[str]]:
        """uint8 (C, H, W), and what has to be told of the picture."""
        import numpy as np
        from PIL import Image

        picture, notes = decode(self.files[i])
        picture = picture.convert(self.mode)
        if self.size is not None:
            side = min(picture.size)
            left, top = (picture.width - side) // 2, (picture.height - side) // 2
            box = (left, top, left + side, top + side)
            picture = picture.resize((self.size, self.size), Image.Resampling.LANCZOS, box)
        pixels = torch.from_numpy(np.array(picture)).view(*picture.size[::-1], -1).permute(2, 0, 1)
        if self.shape and tuple(pixels.shape) != self.shape:
            raise _other_size(self.files[i], picture.size, self.shape[:0:-1])
        return pixels, notes

    def read(self) -> Images:
        """All of it at once, on the device."""
        images = torch.empty(len(self), *self.shape, dtype=torch.uint8)
        noted: dict[str, list[int]] = {}
        for i in range(len(self)):
            images[i], notes = self._pixels(i)
            for note in notes:
                noted.setdefault(note, []).append(i)
        for note, which in sorted(noted.items()):
            first, n = self.files[which[0]], len(which)
            more = f" and {n - 1:,} more of {len(self):,} have" if n > 1 else " has"
            warnings.warn(f"{first}{more} {note}", stacklevel=3)
        return Images(images, torch.tensor(self.targets), self.classes, self.name).to(self.device)

    def batch(
        self,
        which: Which,
        *,
        generator: torch.Generator | None = None,
        flip: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """As `Images.batch`, reading the files now."""
        where = generator.device if generator is not None else torch.device("cpu")
        index = _index(which, len(self), generator, where).tolist()
        pixels, labels = zip(*(self[i] for i in index), strict=True)
        some = Images(torch.stack(pixels), torch.tensor(labels), self.classes).to(self.device)
        return some.batch(range(len(some)), generator=generator, flip=flip)

    def stream(
        self,
        batches: Iterable[Sequence[int]],
        *,
        generator: torch.Generator | None = None,
        flip: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Images.stream`, with workers decoding ahead."""
        on_gpu = self.device is not None and torch.device(self.device).type == "cuda"
        loader = torch.utils.data.DataLoader(
            self,
            batch_sampler=batches,  # type: ignore[arg-type]
            num_workers=min(8, os.cpu_count() or 1),
            pin_memory=on_gpu,
            generator=torch.Generator(),  # else it would draw from the run's own randomness
        )
        for pixels, labels in loader:
            some = Images(pixels, labels, self.classes).to(self.device)
            yield some.batch(range(len(some)), generator=generator, flip=flip)


def _other_size(file: Path, size: Sequence[int], first: Sequence[int]) -> ValueError:
    (w, h), (w1, h1) = size, first
    return ValueError(
        f"{file} is {w}x{h}, the first is {w1}x{h1}: give a size to crop and resize all to"
    )


def _told(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return f"something of type {type(value).__name__}"


def _index(which: Which, n: int, generator: torch.Generator | None, where: torch.device) -> Tensor:
    """The numbers of the images meant; so many at random if `which` is a number."""
    if not isinstance(which, Tensor) or not which.ndim:
        try:  # NumPy's whole numbers too
            count = operator.index(which)  # type: ignore[arg-type]
        except TypeError:
            pass
        else:
            if count < 1 or isinstance(which, bool):
                raise ValueError(f"a batch is of at least 1 image, got {which!r}")
            return torch.randint(n, (count,), generator=generator, device=where)
    try:
        index = torch.as_tensor(which)
    except (TypeError, ValueError, RuntimeError):
        index = torch.zeros(())
    if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
        raise ValueError(
            "the images of a batch are a whole number, so many at random, or a list of their "
            f"numbers; got {' '.join(repr(which).split())[:80]}"
        )
    if index.device.type == "cpu" and len(index) and not -n <= index.min() <= index.max() < n:
        low, high = int(index.min()), int(index.max())
        raise ValueError(f"the {n} images have the numbers 0..{n - 1}, got {low}..{high}")
    return index.long()
