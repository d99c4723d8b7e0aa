"""All chapters: what kind of thing an argument is, before anybody looks at its numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def kind(thing: object) -> str:
    """What was given instead, in words: a list, None, the class UNet."""
    if thing is None:
        return "None"
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    name = type(thing).__name__
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def check_tensor(**values: object) -> None:
    """Tensors, and nothing that could become one: a list, an array of NumPy's, a number."""
    for name, x in values.items():
        if not isinstance(x, Tensor):
            alike = hasattr(x, "__array__") or isinstance(x, list | tuple | int | float)
            how = ": torch.as_tensor makes one" if alike else ""
            raise ValueError(f"{name} must be a tensor, got {kind(x)}{how}")


def drawn_on(generator: torch.Generator | None, device: torch.device | str) -> torch.device | str:
    """Where random numbers are drawn: a generator knows one device only."""
    if generator is None:
        return device
    if not isinstance(generator, torch.Generator):
        raise ValueError(
            "generator must be a torch.Generator, as of torch.Generator().manual_seed(0); got "
            f"{generator!r}"
        )
    return generator.device
