"""Chapter 6: the data as training sees them, `Images` on the device or a `Folder` on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from minidiff.data.workers import leave_signals_to_main, signals_kept_back

if TYPE_CHECKING:
    import PIL.Image

Device = torch.device | str | None
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def from_uint8(images: Tensor) -> Tensor:
    """Ho et al. 2020, section 3.3: {0, ..., 255} scaled linearly to [-1, 1].

    >>> from_uint8(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return images.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """The inverse of `from_uint8`: clipped and rounded (cutting off would darken by half a level).

    >>> to_uint8(torch.tensor([-1.2, 0.0, 0.999, 1.0]))
    tensor([  0, 128, 255, 255], dtype=torch.uint8)
    """
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
        which: int | Sequence[int] | Tensor,
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
        if isinstance(which, int):
            index = torch.randint(len(self), (which,), generator=generator, device=where)
        else:
            index = torch.as_tensor(which, dtype=torch.long)
        index = index.to(self.images.device)
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

    The first picture decides whether all are grey or RGB, and which size all must have; with
    `size`, each is cropped to its central square and resized. What is transparent becomes white.
    Subfolders `train` and `test` are the two splits; the classes are those of `train`.
    """

    def __init__(
        self, path: str | Path, split: str = "train", size: int | None = None, device: Device = None
    ) -> None:
        whole = path = Path(path)
        self.name = str(path)
        if any((path / s).is_dir() for s in ("train", "test")):
            path = path / split
        elif split == "test":
            raise ValueError(f"{path} has no test images: put them into {path / 'test'}")
        self.files, parents = _pictures(path)
        if not self.files:
            raise ValueError(f"no images ({', '.join(sorted(_SUFFIXES))}) in {path}")
        known = _pictures(whole / "train")[1] if split == "test" else parents
        self.classes = tuple(sorted(set(known or parents)))
        if strange := sorted(set(parents) - set(self.classes)):
            raise ValueError(f"{path / strange[0]} is a class that {whole / 'train'} doesn't have")
        self.targets = [self.classes.index(p) for p in parents]
        self.size, self.device = size, device
        self.mode: str | None = None
        self.shape: tuple[int, ...] = ()
        self.shape = tuple(self[0][0].shape)  # (C, H, W)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        import numpy as np
        from PIL import Image

        try:
            picture = _decode(self.files[i])
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"cannot read {self.files[i]}: {error}") from error
        self.mode = self.mode or ("L" if picture.mode == "L" else "RGB")
        picture = picture.convert(self.mode)
        if self.size is not None:
            side = min(picture.size)
            left, top = (picture.width - side) // 2, (picture.height - side) // 2
            box = (left, top, left + side, top + side)
            picture = picture.resize((self.size, self.size), Image.Resampling.LANCZOS, box)
        pixels = torch.from_numpy(np.array(picture)).view(*picture.size[::-1], -1).permute(2, 0, 1)
        if self.shape and tuple(pixels.shape) != self.shape:
            raise ValueError(
                f"{self.files[i]} is {picture.width}x{picture.height}, the first is "
                f"{self.shape[2]}x{self.shape[1]}: give a size to crop and resize all to"
            )
        return pixels, self.targets[i]

    def read(self) -> Images:
        """All of it at once, on the device."""
        images = torch.stack([self[i][0] for i in range(len(self))])
        labels = torch.tensor(self.targets)
        return Images(images, labels, self.classes, self.name).to(self.device)

    def batch(
        self,
        which: int | Sequence[int] | Tensor,
        *,
        generator: torch.Generator | None = None,
        flip: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """As `Images.batch`, reading the files now."""
        if isinstance(which, int):
            where = generator.device if generator is not None else "cpu"
            which = torch.randint(len(self), (which,), generator=generator, device=where)
        pixels, labels = zip(*(self[int(i)] for i in which), strict=True)
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
            _Batches(self),
            batch_size=None,  # what is asked for is a batch already
            sampler=batches,
            num_workers=min(8, os.cpu_count() or 1),
            worker_init_fn=leave_signals_to_main,
            pin_memory=on_gpu,
            generator=torch.Generator(),  # else it would draw from the run's own randomness
        )
        with signals_kept_back():
            loaded = iter(loader)
        for batch in loaded:
            if isinstance(batch, str):
                raise ValueError(batch)
            pixels, labels = batch
            some = Images(pixels, labels, self.classes).to(self.device)
            yield some.batch(range(len(some)), generator=generator, flip=flip)


class _Batches(torch.utils.data.Dataset["list[Tensor] | str"]):
    """What a worker does: a batch of a folder, or the sentence that says why there is none.

    (An exception would come back as the text of its traceback.)
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def __getitem__(self, batch: Sequence[int]) -> list[Tensor] | str:
        try:
            some: list[Tensor] = torch.utils.data.default_collate(
                [self.folder[int(i)] for i in batch]
            )
            return some
        except (ValueError, OSError) as error:
            return str(error)


def _told(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return f"something of type {type(value).__name__}"


def _pictures(path: Path) -> tuple[list[Path], list[str]]:
    """The files of pictures in a folder, without hidden ones, and the subfolder of each."""
    inside = ((p, p.relative_to(path).parts) for p in sorted(path.rglob("*")))
    found = [
        (p, parts[0] if len(parts) > 1 else "")
        for p, parts in inside
        if p.suffix.lower() in _SUFFIXES and not any(part.startswith(".") for part in parts)
    ]
    return [p for p, _ in found], [parent for _, parent in found]


def _decode(file: Path) -> PIL.Image.Image:
    """A picture the right way up, in 8 bits and without transparency."""
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(file) as image:
        picture = ImageOps.exif_transpose(image)  # cameras store a turned picture and a note
    if picture.mode.startswith("I"):  # 16 bits; Pillow would cut off whatever is above 255
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    grey = picture.mode in ("1", "L", "LA")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("L" if grey else "RGB")
