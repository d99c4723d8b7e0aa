"""Chapter 7: a signal lets the step end and the state be saved; a second one acts at once."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

# Ctrl-C; kill, scancel, systemd and the clouds; a terminal or an ssh that is closed
ENDING = [getattr(signal, s) for s in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, s)]
# Seconds in which one stop may come twice: systemd sends SIGHUP right behind SIGTERM, `timeout` a
# signal to its child and to the group, torchrun what the terminal has sent to all; keys bounce.
ECHO = 1.0


@contextlib.contextmanager
def noted(wanted: bool) -> Iterator[list[int]]:
    """Within the block the first ending signal goes into the list, and the second does its worst.

    What comes within a second of the first is no second one (see ECHO). What `nohup` has switched
    off stays off. Only a main thread gets signals: elsewhere the list stays empty.
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
        if time.monotonic() - first < ECHO:
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


@contextlib.contextmanager
def interrupted_once() -> Iterator[None]:
    """Within the block Ctrl-C is KeyboardInterrupt as ever, but its echo is not one more.

    What the first has let a command begin, to write what it has, the second must not cut off.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    last = -ECHO

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before >= ECHO:
            signal.default_int_handler(signum, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
