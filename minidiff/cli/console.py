"""What the command line says, on any console: of any encoding, closed, full, or no longer read."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TextIO, cast

UNREAD = 141  # 128 + SIGPIPE, which Windows does not have
# line breaks, what a terminal obeys, and what turns the direction of writing
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
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
                _nowhere(sys.stdout)
            return code

    return wrapped


def main_process() -> bool:
    """Whether this is the one that speaks: under torchrun one says it for all."""
    return os.environ.get("RANK", "0") == "0"


def show(message: Warning | str, *_: object) -> None:
    """A warning, in place of Python's own form with file and line."""
    if main_process():
        put(f"warning: {message}", sys.stderr)


def one_line(text: str) -> str:
    """The text with escapes for control characters, of which the name of a file may have any.

    >>> one_line("runs/a" + chr(10) + "minidiff: all is well")
    'runs/a\\\\nminidiff: all is well'
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def put(sentence: str, file: TextIO | None = None) -> None:
    """Print a sentence, in one line whatever names are in it."""
    print(one_line(sentence), file=file)


def tell(result: dict[str, Any]) -> None:
    """A result as JSON, which stays JSON where the console lacks a letter."""
    text = json.dumps(result, indent=1, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
        plain = not _CONTROL.search(text.replace("\n", ""))
    except UnicodeEncodeError:
        plain = False
    print(text if plain else json.dumps(result, indent=1))


def say(sentence: str, code: int = 1) -> int:
    """Why the command ends; returns its status."""
    put(f"minidiff: {sentence}", sys.stderr)
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
                if name == "stderr":
                    stack.callback(setattr, sys, name, stream)
                    sys.stderr = cast(TextIO, _Dispensable(stream))
        yield


class _Dispensable:
    """A stream of bars and remarks: once it fails, full or unread, the work goes on without."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with self._or_nowhere():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._or_nowhere():
            self.stream.flush()

    @contextlib.contextmanager
    def _or_nowhere(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            _nowhere(self.stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _nowhere(stream: TextIO) -> None:
    """What goes into it is dropped from now on; Python flushes once more at its end."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


@contextlib.contextmanager
def _notes() -> Iterator[None]:
    """What the library logs, such as what a folder was taken for."""
    logger, handler = logging.getLogger("minidiff"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if main_process() else logging.ERROR)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
