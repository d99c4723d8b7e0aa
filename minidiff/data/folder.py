"""Chapter 7: a folder of pictures that is too big for the memory, read while training."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from minidiff.data.images import Device, Images, Which, picked
from minidiff.data.layout import Layout
from minidiff.data.pictures import Header, decode, header
from minidiff.data.workers import leave_signals_to_main, signals_kept_back
from minidiff.kinds import drawn_on


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
        where = drawn_on(generator, torch.device("cpu"))
        index = picked(which, len(self), generator, where).tolist()
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


def _other_size(file: Path, size: Sequence[int], first: Sequence[int]) -> ValueError:
    (w, h), (w1, h1) = size, first
    return ValueError(
        f"{file} is {w}x{h}, the first is {w1}x{h1}: give a size to crop and resize all to"
    )
