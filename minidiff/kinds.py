"""All chapters: what kind of thing an argument is, before anybody looks at its numbers.

Imports nothing of the library, so that every room may ask.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from pathlib import Path
from typing import SupportsFloat, TypeGuard, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
PLAIN = (int, float)  # numbers of Python itself, at which nobody need look twice


def kind(thing: object) -> str:
    """What was given instead, in words: a list, None, the class UNet."""
    if thing is None:
        return "None"
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    if isinstance(thing, Tensor):
        return f"a tensor of shape {tuple(thing.shape)}, {thing.dtype}"
    name = type(thing).__name__
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def short(value: object) -> str:
    """A value as a sentence can carry it, on one line and not for long."""
    words = " ".join(repr(value).split())
    return words if len(words) <= 80 else f"{words[:80]}…"


def is_whole(n: object) -> TypeGuard[int]:
    """A whole number, of Python, of NumPy or in a tensor of one."""
    try:
        operator.index(n)  # type: ignore[arg-type]
    except (TypeError, RuntimeError):
        return False
    return not isinstance(n, bool)


def check_size(n: object) -> None:
    """How many are drawn: a whole number, 0 too."""
    if not is_whole(n) or n < 0:
        raise ValueError(f"n must be a whole number, how many to draw; got {short(n)}")


def check_counts(**counts: int) -> None:
    """How often something is done: whole numbers from 1."""
    for name, n in counts.items():
        if not is_whole(n) or n < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {short(n)}")


def check_tensor(**values: object) -> None:
    """Tensors, and nothing that could become one: a list, an array of NumPy's, a number."""
    for name, x in values.items():
        if not isinstance(x, Tensor):
            alike = hasattr(x, "__array__") or isinstance(x, list | tuple | int | float)
            how = ": torch.as_tensor makes one" if alike else ""
            raise ValueError(f"{name} must be a tensor, got {kind(x)}{how}")


def check_scale(unit: float = 1.0, /, **pictures: Tensor) -> None:
    """Pictures, grey or in colour, whose numbers are still those of bytes, 0..255.

    Refused only where it is certain, and no GPU need be asked: in [-1, 1], of mean 0, or noisy, no
    picture is nowhere below 0 and somewhere above 2. unit: a sigma_data above 1 is another scale.
    """
    for name, x in pictures.items():
        pixels = x.ndim > 2 and x.shape[-3] in (1, 3) and x.numel() and x.device.type == "cpu"
        if not pixels or unit > 1:
            continue
        low, high = x.detach().aminmax()
        if low >= 0 and high > 2:
            raise ValueError(
                f"{name} must be scaled to [-1, 1], got {low:g}..{high:g}: from_uint8 of "
                "minidiff.data does it for bytes, x / 127.5 - 1 for floats in 0..255"
            )


def check_plane(image: Tensor) -> tuple[int, int]:
    """Height and width of one grey image."""
    check_tensor(image=image)
    if image.ndim != 2:
        raise ValueError(f"image must be (H, W), as image[0] is of (1, H, W); got {kind(image)}")
    height, width = image.shape
    return height, width


def as_points(x: Tensor, ndim: int) -> Tensor:
    """Points of the plane, (N, 2), or paths of them, (steps, N, 2), on the CPU."""
    check_tensor(points=x)
    if x.ndim != ndim or x.shape[-1] != 2:
        wanted = "(N, 2)" if ndim == 2 else "(steps, N, 2)"
        raise ValueError(f"points of the plane must be {wanted}, got {kind(x)}")
    return x.detach().cpu()


def as_frames(frames: Iterable[T]) -> Iterable[T]:
    """A film's pictures, each of them a tensor or a figure."""
    frames = frames if isinstance(frames, Iterable) else [frames]
    for frame in frames:
        if not isinstance(frame, Tensor) and not hasattr(frame, "savefig"):
            raise ValueError(f"frames must be tensors (B, C, H, W) or figures, got {kind(frame)}")
        yield frame


def check_number(**values: object) -> None:
    """Numbers, of Python, of NumPy or in a tensor; one each."""
    for name, x in values.items():
        if isinstance(x, PLAIN):
            continue
        count = x.numel() if isinstance(x, Tensor) else getattr(x, "size", 1)
        if count != 1 or not isinstance(x, SupportsFloat):
            raise ValueError(f"{name} must be one number, got {kind(x)}")


def path_of(place: object, name: str = "path") -> Path:
    """A file, a folder or a name."""
    if not isinstance(place, str | Path):
        raise ValueError(f"{name} must be a name or a path, got {kind(place)}")
    return Path(place)


def check_generator(generator: object) -> None:
    """A source of random numbers with a state of its own, not a seed."""
    if not isinstance(generator, torch.Generator | None):
        raise ValueError(
            "generator must be a torch.Generator, as of torch.Generator().manual_seed(0); got "
            f"{short(generator)}"
        )


def drawn_on(generator: torch.Generator | None, device: torch.device | str) -> torch.device:
    """Where random numbers are drawn: a generator knows one device only."""
    check_generator(generator)
    return torch.device(device) if generator is None else generator.device
