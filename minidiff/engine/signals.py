"""Chapter 7: the first signal lets work be kept, whatever it is; a second one acts at once."""

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


class Stopped(KeyboardInterrupt):
    """A signal ended some work before its end; the sentence says what of it is kept."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class _Handler:
    """Notes the first ending signal, and raises it where that is wanted."""

    def __init__(self, at_once: bool) -> None:
        self.at_once, self.seen, self.first = at_once, list[int](), 0.0
        handlers = {s: signal.getsignal(s) for s in ENDING}
        self.before = {s: h for s, h in handlers.items() if h != signal.SIG_IGN}

    def __call__(self, signum: int, _: FrameType | None) -> None:
        if not self.seen:
            self.first = time.monotonic()
            self.seen.append(signum)
            if self.at_once:
                raise stopped(signum)
        elif time.monotonic() - self.first >= ECHO:
            self.give_back()
            signal.raise_signal(signum)

    def give_back(self) -> None:
        for s, handler in self.before.items():
            signal.signal(s, signal.SIG_DFL if handler is None else handler)


_in_force: _Handler | None = None


@contextlib.contextmanager
def noted(wanted: bool = True, *, at_once: bool = False) -> Iterator[list[int]]:
    """Within the block the first ending signal goes into the list, and the second does its worst.

    at_once: the first is raised, too, as `Stopped`. What comes within a second of the first is no
    second one (see ECHO). Within another such block it is the same list, and only `at_once` is
    another. What was ignored stays so, as under `nohup`, or behind `&` in a script. Only a main
    thread gets signals: elsewhere the list stays empty.
    """
    global _in_force
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield []
        return
    if outer := _in_force:
        before, outer.at_once = outer.at_once, at_once
        try:
            yield outer.seen
        finally:
            outer.at_once = before
        return
    handler = _in_force = _Handler(at_once)
    for s in handler.before:
        signal.signal(s, handler)
    try:
        yield handler.seen
    finally:
        _in_force = None
        handler.give_back()


def stopped(signum: int) -> Stopped:
    """The exception for a signal, which has nothing to say yet but its name."""
    return Stopped(signal.Signals(signum).name, signum)
