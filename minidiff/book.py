"""All chapters: what notebooks need and programs do not, showing source and checking exercises."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Source:
    """Code that a notebook shows highlighted, by whatever means the viewer has."""

    def __init__(self, code: str, file: str):
        self.code, self.file = code, file

    def __repr__(self) -> str:
        return f"# {self.file}\n{self.code}"

    def _repr_markdown_(self) -> str:
        return f"`{self.file}`:\n\n```python\n{self.code}\n```"


def source(thing: Any, name: str | None = None) -> Source:
    """The installed source of a function, method or class, or of `name` in the same file.

    >>> from minidiff import tau
    >>> source(tau).code.splitlines()[0].startswith("def tau(")
    True
    """
    path = Path(inspect.getsourcefile(inspect.unwrap(thing)) or "")
    if name is None:
        code = inspect.getsource(thing)
    else:
        code = _named(path.read_text(encoding="utf-8"), name)
    root = Path(__file__).parent.parent
    file = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    return Source(textwrap.dedent(code).rstrip(), file)


def _named(text: str, name: str) -> str:
    """The definition of `name` at the top of a file."""
    for node in ast.parse(text).body:
        targets = getattr(node, "targets", [getattr(node, "target", node)])
        if name in [getattr(t, "id", getattr(t, "name", None)) for t in targets]:
            return ast.get_source_segment(text, node) or ""
    raise ValueError(f"there is no {name} at the top of this file")


def check(number: str, tests: Callable[[Any], None], answer: Any) -> None:
    """Say whether an answer is right, or what is wrong with it. It never stops a notebook.

    >>> def tests(double):
    ...     assert double(3) == 6, "Twice 3 is 6."
    >>> check("0.1", tests, lambda x: x + x)
    Exercise 0.1: correct
    >>> check("0.1", tests, lambda x: x * x)
    Exercise 0.1: not yet right. Twice 3 is 6.
    """
    exercise = f"Exercise {number}:"
    try:
        tests(answer)
    except NotImplementedError:
        print(exercise, "not solved yet")
    except AssertionError as error:
        print(exercise, "not yet right.", error or "Look at the check that failed.")
    except Exception as error:
        print(exercise, f"stopped with {type(error).__name__}: {error}{_line(error, answer)}")
    else:
        print(exercise, "correct")


def _line(error: Exception, answer: Any) -> str:
    """Where in the reader's answer an error arose."""
    own = getattr(getattr(answer, "__code__", None), "co_filename", None)
    frames = [f for f in traceback.extract_tb(sys.exc_info()[2]) if f.filename == own]
    return f"\n  in line {frames[-1].lineno} of your cell: {frames[-1].line}" if frames else ""
