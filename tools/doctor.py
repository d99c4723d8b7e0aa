"""Say in one sentence what is missing from the environment, before anything fails at length."""

from __future__ import annotations

import re
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPAIR = "run `rm .venv/.installed` and then the same command again"


def named(requirement: str) -> str:
    """The bare name of a requirement such as "numpy>=1.26; python_version > '3'"."""
    match = re.match(r"[A-Za-z0-9_.-]+", requirement)
    return match[0] if match else ""


def missing() -> list[str]:
    """Distributions that requirements.txt asks for, with all they need, and that are not there."""
    from packaging.requirements import Requirement

    lines = (ROOT / "requirements.txt").read_text().splitlines()
    todo = ["minidiff", *(named(line) for line in lines if re.match(r"\w", line))]
    seen: set[str] = set()
    absent = []
    while todo:
        name = todo.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            needed = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            absent.append(name)
            continue
        todo += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return sorted(absent)


def main() -> str | None:
    """The first problem found, or None."""
    try:
        absent = missing()
    except ImportError as error:
        absent = [str(error.name)]
    if absent:
        return f"Not installed in {sys.prefix}: {', '.join(absent)}. To repair, {REPAIR}."
    target = ROOT / "_build"
    try:
        target.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=target):
            pass
    except OSError as error:
        return f"Cannot write into {target} ({error.strerror}): the book is built there."
    if not (ROOT / "book" / "_toc.yml").read_text().startswith("#"):
        return (
            "book/_toc.yml is not a symbolic link here. On Windows: git config core.symlinks true, "
            "then git checkout book minidiff/results; or use WSL."
        )
    return None


if __name__ == "__main__":
    sys.exit(main())
