"""Where drawn images go: checked before the first is drawn, and kept if drawing ends early."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch import Tensor

from minidiff.cli.console import put, tell
from minidiff.data.files import check_writable, write_whole
from minidiff.data.images import from_uint8
from minidiff.engine.lock import NAME, locked

ANIMATIONS = (".gif", ".webp")
FILES = (".png", ".npz", *ANIMATIONS)
SCALE = 2  # how much the picture of all is enlarged, unless told


def kind_of(path: Path) -> str:
    """The ending of the file that is meant, "" for a folder; a folder's name may have dots."""
    kind = path.suffix.lower()
    if path.is_dir():
        return ""
    if kind not in FILES and kind[1:2].isalpha():
        raise ValueError(
            f"--out must end in .png, .npz, .gif or .webp or be a folder: {path} (a folder whose "
            f"name ends in {path.suffix} has to be there already)"
        )
    return kind if kind in FILES else ""


def check_target(path: Path) -> None:
    """Refuse now what could not be written later: a folder of that name, or no right to write."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"no file can be written into {path.parent}: choose another place")


class Output:
    """n images (C, H, W) in one .png or .npz, written at the end, or in a folder, each at once.

    In a folder each is named by its number, from `first` on, and one process writes at a time.

    A context: what was added is written however the block ends, so an interrupted one keeps it.
    .npz is what OpenAI's evaluator reads: `arr_0`, uint8 (N, H, W, C).
    """

    def __init__(
        self, path: Path, n: int, shape: tuple[int, int, int], scale: int | None, first: int = 0
    ) -> None:
        self.path, self.kind, self.n, self.scale = path, kind_of(path), n, scale or SCALE
        self.done, self.first, self.held = 0, first, contextlib.ExitStack()
        c, h, w = shape
        if self.kind:
            check_target(path)
            try:
                self.images = np.empty((n, h, w, c), np.uint8)
            except (MemoryError, ValueError) as error:  # the latter where no machine has as much
                raise ValueError(
                    f"{n:,} images do not fit into the memory: lower --n, or draw into a folder"
                ) from error
            return
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is no folder: give another name, or one that ends in .png")
        path.mkdir(parents=True, exist_ok=True)
        there = {p.name for p in path.iterdir() if not p.name.startswith(".")}
        others = {name for name in there if not self._is_one(name)}
        if others:
            raise ValueError(
                f"{path} holds {len(others)} other files ({min(others)} is one), among which the "
                f"{n} images would be lost: choose a new folder"
            )
        check_writable(path / self._name(first))

    def _name(self, i: int) -> str:
        return f"{i:06d}.png"

    def _is_one(self, name: str) -> bool:
        digits = name.removesuffix(".png")
        number = int(digits) if digits.isdecimal() else -1
        return number < self.first + self.n and name == self._name(number)

    def add(self, images: Tensor) -> None:
        """The next of them, uint8 (B, C, H, W)."""
        from PIL import Image

        pixels = images.permute(0, 2, 3, 1).cpu().numpy()
        if self.kind:
            self.images[self.done : self.done + len(pixels)] = pixels
            self.done += len(pixels)
            return
        if not (self.path / NAME).exists():  # another folder, or none: `write_whole` makes one
            self.done = 0
            raise ValueError(f"the folder {self.path} is gone, and what was drawn with it")
        for image in pixels:
            file = io.BytesIO()
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, "png")
            write_whole(
                self.path / self._name(self.first + self.done), file.getvalue(), flush=False
            )
            self.done += 1

    def __enter__(self) -> Output:
        if not self.kind:
            self.held.enter_context(_held(self.path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.held:
            self._finish()

    def _finish(self) -> None:
        if not self.done:
            return
        if self.kind == ".png":
            from torch import from_numpy

            from minidiff.plots import save_image

            pixels = from_numpy(self.images[: self.done]).permute(0, 3, 1, 2)
            save_image(from_uint8(pixels), self.path, scale=self.scale)
        elif self.kind:
            file = io.BytesIO()
            np.savez(file, self.images[: self.done])
            write_whole(self.path, file.getvalue())
        of = "" if self.done == self.n else f" of {self.n}"
        put(f"{self.done}{of} images in {self.path}")


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Two that write into one folder would mix their images. No lock stays in it."""
    with locked(folder):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the folder may be gone
                (folder / NAME).unlink()


def report(result: dict[str, Any], path: Path | None) -> None:
    """Numbers as JSON, into a file if one is named, and onto the console."""
    if path:  # first: a console can fail
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        write_whole(path, text.encode(errors="backslashreplace"))  # JSON's escape of a surrogate
    tell(result)
