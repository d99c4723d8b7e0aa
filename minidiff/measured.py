"""Chapters 3 to 17: what was measured elsewhere, with the command and the machine that made it."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, overload

STORED = Path(__file__).parent / "results"


@overload
def results() -> list[str]: ...


@overload
def results(name: str) -> dict[str, Any]: ...


def results(name: str | None = None) -> list[str] | dict[str, Any]:
    """A stored result by its name; without one, the names that there are.

    Each says which command made it, when, and on what hardware.

    >>> floor = results("cifar10_floor")
    >>> floor["hardware"], floor["rows"][0]["n"]
    ('NVIDIA H100 80GB HBM3', 10000)
    """
    known = sorted(path.stem for path in STORED.glob("*.json"))
    if name is None:
        return known
    if name not in known:
        close = difflib.get_close_matches(str(name).removesuffix(".json"), known, cutoff=0.75)
        meant = f"did you mean {' or '.join(map(repr, close))}?"
        raise ValueError(
            f"there is no result {name!r}: {meant if close else 'md.results() lists all'}"
        )
    stored: dict[str, Any] = json.loads((STORED / f"{name}.json").read_text(encoding="utf-8"))
    return stored
