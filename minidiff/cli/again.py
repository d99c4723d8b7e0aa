"""How a command that was ended early ends: with what is kept, and the command that goes on."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from minidiff.engine.distributed import command, shell
from minidiff.engine.failures import add_note
from minidiff.engine.signals import Stopped


def again(args: argparse.Namespace) -> str:
    """The command of these arguments, as it was given.

    >>> again(argparse.Namespace(words=["sample", "my runs/a", "--n", "9"]))
    "python -m minidiff sample 'my runs/a' --n 9"
    """
    return shell([*command(), *args.words])


def others(args: argparse.Namespace, done: int, n: int, option: str) -> str:
    """The command for the images behind the first `done` of n.

    What it writes goes beside the file that `option` names, or into the same folder.

    >>> words = ["sample", "digits", "--n=9", "--out", "a.npz", "--seed", "3"]
    >>> args = argparse.Namespace(words=words, first=0, out=Path("a.npz"))
    >>> others(args, 4, 9, "--out")
    'python -m minidiff sample -n 5 --first 4 --out a-4.npz digits --seed 3'
    """
    replaced = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for names in (("-n", "--n"), ("--first",), (option,)):
        replaced.add_argument(*names)
    name, *rest = replaced.parse_known_args(args.words)[1]
    first, path = args.first + done, getattr(args, option[2:])
    where = [option, str(_beside(path, args.first, first))] if path else []
    return shell([*command(), name, "-n", str(n - done), "--first", str(first), *where, *rest])


def kept(error: BaseException, what: str, go_on: str) -> None:
    """Note at an error or a signal what is kept, and which command goes on."""
    add_note(error, what)
    add_note(error, go_on)


def in_vain(error: BaseException, args: argparse.Namespace) -> None:
    """The same where nothing is; an error has words enough."""
    if isinstance(error, Stopped):
        kept(error, "nothing is done yet that could be kept", f"to begin anew: {again(args)}")


@contextlib.contextmanager
def failing_less_than(error: BaseException) -> Iterator[None]:
    """What fails while something is kept is a note at the error, or the signal, that came first."""
    try:
        yield
    except Exception as second:
        add_note(error, f"what was done cannot be kept ({second})")


def _beside(path: Path, before: int, first: int) -> Path:
    """Another name for the rest, but that of a folder, which takes both."""
    if path.is_dir():
        return path
    stem = path.stem.removesuffix(f"-{before}") if before else path.stem
    return path.with_name(f"{stem}-{first}{path.suffix}")
