"""Chapter 7: a signal lets the step end and the state be saved; a second one acts at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

# Ctrl-C; kill, scancel, systemd and the clouds; a terminal or an ssh that is closed
ENDING = [getattr(signal, s) for s in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, s)]
ECHO = 1.0  # seconds


@contextlib.contextmanager
def noted(wanted: bool) -> Iterator[list[int]]:
    """Within the block the first ending signal goes into the list, and the second does its worst.

    One stop may come twice: systemd sends SIGHUP right behind SIGTERM, and torchrun hands on what
    the terminal has sent to all. Within a second such an echo is not a second signal. What `nohup`
    has switched off stays off. Only a main thread gets signals: elsewhere the list stays empty.
    """
    seen: list[int] = []
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = {s: signal.getsignal(s) for s in ENDING}
    if before.get(getattr(signal, "SIGHUP", None)) == signal.SIG_IGN:
        del before[signal.SIGHUP]
    first = 0.0

    def note(signum: int, _: FrameType | None) -> None:
        nonlocal first
        if not seen:
            first = time.monotonic()
            seen.append(signum)
            return
        other = signum != seen[0] or "TORCHELASTIC_RUN_ID" in os.environ
        if other and time.monotonic() - first < ECHO:
            return
        for s, handler in before.items():
            unheard = handler in (None, signal.SIG_IGN)
            signal.signal(s, signal.SIG_DFL if unheard else handler)
        signal.raise_signal(signum)

    for s in before:
        signal.signal(s, note)
    try:
        yield seen
    finally:
        for s, handler in before.items():
            signal.signal(s, signal.SIG_DFL if handler is None else handler)
