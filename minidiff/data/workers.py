"""Chapter 7: the processes that decode pictures leave Ctrl-C and its kin to the main process.

A terminal, a batch system or a cloud sends its signal to all processes of a run. The main one ends
its step, saves and dismisses the workers; without them it could do neither.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType

_SENT_TO_ALL = {getattr(signal, s) for s in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, s)}
_CAN_BLOCK = hasattr(signal, "pthread_sigmask")  # all but Windows


@contextlib.contextmanager
def signals_kept_back() -> Iterator[None]:
    """Processes started within the block, however that is done, get no signal while they begin.

    They inherit a mask, which `leave_signals_to_main` takes off. What comes meanwhile, this process
    gets afterwards. Python's own helper for processes that are not forked keeps the mask, so that
    the closing of a terminal doesn't end it either.
    """
    if not _CAN_BLOCK:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SENT_TO_ALL)
    try:
        resource_tracker.ensure_running()  # where it has to start, it takes half the mask off
        signal.pthread_sigmask(signal.SIG_BLOCK, _SENT_TO_ALL)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_signals_to_main(_: int) -> None:
    """For `DataLoader(worker_init_fn=)`: a worker ends when the main process wants it or dies."""
    for s in _SENT_TO_ALL - {signal.SIGTERM}:
        signal.signal(s, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _not_yet)
    if _CAN_BLOCK:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SENT_TO_ALL)


def _not_yet(signum: int, _: FrameType | None) -> None:
    """The first SIGTERM was for all; another is the main process's, tired of waiting."""
    signal.signal(signum, signal.SIG_DFL)
