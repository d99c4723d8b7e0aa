"""Long work shows itself, by its network calls, and says which batch is too large."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import torch

from minidiff.denoiser import Denoiser
from minidiff.engine.distributed import World
from minidiff.engine.failures import MEMORY, instead
from minidiff.engine.signals import noted, stopped


@contextlib.contextmanager
def counted(
    model: Denoiser, n: int, world: World, what: str, calls: int | None = None
) -> Iterator[Callable[[int], None]]:
    """A bar of network calls, `calls` in all if that is known; tell what it yields of images.

    An ending signal is raised at once; of several processes only between two network calls, lest
    one leaves the others in the midst of what they do together.
    """
    from tqdm import tqdm  # type: ignore[import-untyped]

    done = 0
    bar = tqdm(total=calls, desc=what, unit="call", disable=not world.main)

    def called(*_: object) -> None:  # a hook that returned something would change the network
        bar.update()
        if signals:
            raise stopped(signals[0])

    def images(more: int) -> None:
        nonlocal done
        done += more
        bar.set_postfix_str(f"{done}/{n} images")

    hook = model.net.register_forward_hook(called)
    with bar, noted(at_once=world.size == 1) as signals:
        images(0)
        try:
            yield images
        finally:
            hook.remove()


@contextlib.contextmanager
def enough_memory(batch: int, option: str = "--batch") -> Iterator[None]:
    """Say which option to lower when a batch does not fit."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not known and not re.search(MEMORY, str(error)):
            raise
        less = f"{option} {batch // 2}" if batch > 1 else "a smaller network or another machine"
        words = f"out of memory with {option} {batch}: take {less}"
        raise instead(error, ValueError(words)) from error
