"""What the command line says, on any console: of any encoding, closed, full, or no longer read."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec

UNREAD = 141  # 128 + SIGPIPE, which Windows does not have
P = ParamSpec("P")


def on_any_console(main: Callable[P, int]) -> Callable[P, int]:
    """A command line that ends without a traceback whatever its output goes into.

    A letter that the console's encoding lacks is written as an escape. If nobody reads the output
    any more, as behind `| head`, the status is 128 + SIGPIPE, as of other programs.
    """

    @functools.wraps(main)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        with _streams(), _notes():
            try:
                try:
                    code = main(*args, **kwargs)
                finally:  # after --help, too; here, where an error can still be told
                    sys.stdout.flush()
            except OSError as error:
                gone = isinstance(error, BrokenPipeError)
                code = UNREAD if gone else say(f"cannot write: {error.strerror}")
                with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), sys.stdout.fileno())  # Python flushes once more
            return code

    return wrapped


def main_process() -> bool:
    """Whether this is the one that speaks: under torchrun one says it for all."""
    return os.environ.get("RANK", "0") == "0"


def show(message: Warning | str, *_: object) -> None:
    """A warning, in place of Python's own form with file and line."""
    if main_process():
        print(f"warning: {message}", file=sys.stderr)


def tell(result: dict[str, Any]) -> None:
    """A result as JSON, which stays JSON where the console lacks a letter."""
    text = json.dumps(result, indent=1, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(result, indent=1)
    print(text)


def say(sentence: str, code: int = 1) -> int:
    """Why the command ends; returns its status."""
    with contextlib.suppress(OSError):
        print(f"minidiff: {sentence}", file=sys.stderr)
    return code


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:  # closed by who started us
                stack.callback(setattr, sys, name, None)
                setattr(sys, name, stack.enter_context(open(os.devnull, "w")))
            elif isinstance(stream, io.TextIOWrapper):
                with contextlib.suppress(OSError):
                    stack.callback(stream.reconfigure, errors=stream.errors)
                    stream.reconfigure(errors="backslashreplace")
        yield


@contextlib.contextmanager
def _notes() -> Iterator[None]:
    """What the library logs, such as what a folder was taken for."""
    logger, handler = logging.getLogger("minidiff"), logging.StreamHandler(sys.stderr)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if main_process() else logging.ERROR)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
