"""Chapter 7: one picture from a file, in 8 bits, upright and on white; or one sentence why not."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

# What a name must end in, and the formats that are tried whatever it ends in: none of those that
# start another program (EPS).
SUFFIXES = frozenset(
    ".bmp .gif .jfif .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split()  # noqa: SIM905
)
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
LARGEST = 1 << 26  # pixels: a file of a kilobyte can promise more than the memory holds

_DAMAGED_NOTE = "a damaged note on how to turn it (EXIF): taken as stored"
_ANIMATED = "several frames: only the first is taken"
_TRANSPARENT = "transparent parts: they become white"
_DARK = (
    "16 bits, of which the highest 4 are never used: it is nearly black; scale to 0..65535 first"
)


class Header(NamedTuple):
    """What is known of a picture before it is decoded: its size, not yet turned, and colour."""

    width: int
    height: int
    colour: bool


def header(file: Path) -> Header:
    """A look at the beginning of the file; ValueError if it is no picture."""
    with _opened(file) as image:
        return Header(*image.size, not _grey(image))


def decode(file: Path) -> tuple[Image, set[str]]:
    """The picture, of mode L or RGB, and what has to be told of it: phrases that follow "has".

    What is transparent becomes white; of 16 bits the lower 8 are cut off; of an animation the first
    frame is taken. ValueError for what is no picture, is damaged, or has more than `LARGEST`
    pixels.
    """
    import numpy as np
    from PIL import Image

    notes: set[str] = set()
    with _opened(file) as image:
        if image.format in ("GIF", "PNG", "WEBP", "TIFF") and getattr(image, "is_animated", False):
            notes.add(_ANIMATED)
        deep, grey = ";16" in str(getattr(image, "tile", "")), _grey(image)
        brightest = None  # unknown: of three colours Pillow shows the upper 8 bits only
        image.load()
        turn = _TURNS.get(_orientation(image, notes))
        picture = image if turn is None else image.transpose(Image.Transpose(turn))
        if picture.mode == "F":
            raise ValueError("it holds floats, of an unknown range: save it in 8 or 16 bits")
        if picture.mode.startswith("I"):  # Pillow would cut off whatever is above 255
            pixels, deep = np.asarray(picture).astype(np.int64), True
            darkest, brightest = int(pixels.min()), int(pixels.max())
            if darkest < 0 or brightest > 65535:
                raise ValueError(
                    f"its values are in {darkest}..{brightest}: save it in 8 or 16 bits"
                )
            if isinstance(gone := image.info.get("transparency"), int) and (pixels == gone).any():
                pixels[pixels == gone] = 65535
                notes.add(_TRANSPARENT)
            picture = Image.fromarray((pixels >> 8).astype(np.uint8))
        elif "A" in picture.mode or "a" in picture.mode or "transparency" in image.info:
            picture = picture.convert("RGBA")
            if np.asarray(picture)[..., 3].min() < 255:
                notes.add(_TRANSPARENT)
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        picture = picture.convert("L" if grey else "RGB")
        if deep and np.asarray(picture).max() < 16 and brightest != 0:
            notes.add(_DARK)
        return picture, notes


_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF's numbers; values: Image.Transpose


def _grey(image: Image) -> bool:
    return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")


def _orientation(image: Image, notes: set[str]) -> int:
    """How the camera was held: 1 upright; also where the note that says so is damaged."""
    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            found = image.getexif().get(0x0112)
        if found is not None or not complaints:
            return 1 if found is None else int(found)
    except Exception:  # Pillow fails in a dozen ways, and the picture itself may be sound
        pass
    notes.add(_DAMAGED_NOTE)
    return 1


@contextmanager
def _opened(file: Path) -> Iterator[Image]:
    """The one place where Pillow meets a file: all its errors and warnings end here."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings(), open(file, "rb", opener=_without_waiting) as raw:
            warnings.simplefilter("ignore")
            if not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
                raise ValueError("it is no regular file")
            with Image.open(raw, formats=FORMATS) as image:
                if image.width * image.height > LARGEST:
                    raise ValueError(f"it has {image.width}x{image.height} pixels, {_TOO_LARGE}")
                yield image
    except UnidentifiedImageError:
        raise ValueError(f"cannot read {file}: it is none of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise ValueError(f"cannot read {file}: its pixels are {_TOO_LARGE}") from None
    except Exception as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise ValueError(f"cannot read {file}: {why or type(error).__name__}") from error


_TOO_LARGE = f"more than {LARGEST:,}: make it smaller first"


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # else a FIFO waits for a writer
