"""Chapter 7: settings that check themselves. A type says what a field may be, a sentence what not.

`Literal["a", "b"]` lists the choices, `Annotated[int, Range(1)]` bounds a number, `tuple[float,
float]` counts entries. A dataclass calls `check_fields(self)` in its `__post_init__`.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from minidiff.kinds import short


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; `below`: without `high` itself."""

    low: float
    high: float = math.inf
    below: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value < self.high or (value == self.high and not self.below)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"of at least {self.low}"
        return f"in [{self.low}, {self.high}{')' if self.below else ']'}"


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Amount = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
Decay = Annotated[float, Range(0, 1, below=True)]


def check_fields(settings: Any) -> None:
    """Refuse a dataclass with a field that is not of its type; see `checked`."""
    cls: Any = type(settings)
    for name, kind in kinds(cls).items():
        object.__setattr__(settings, name, checked(name, getattr(settings, name), kind))


@cache
def kinds(cls: Any) -> dict[str, Any]:
    """The type of each field of a dataclass."""
    return get_type_hints(cls, include_extras=True)


def checked(name: str, value: Any, kind: Any) -> Any:
    """The value in its type's own form, or a ValueError of one sentence that names the setting.

    NumPy's numbers become Python's, whole floats (8e5) ints, and a list or a lone entry a tuple.

    >>> checked("ema", 0.9, tuple[Decay, ...])
    (0.9,)
    >>> checked("steps", True, Count)
    Traceback (most recent call last):
    ValueError: steps must be a whole number of at least 1, got True
    >>> checked("loss", "simpel", Literal["simple", "vlb"])
    Traceback (most recent call last):
    ValueError: loss must be one of simple, vlb; got 'simpel' (did you mean 'simple'?)
    """
    try:
        return _fit(value, kind)
    except (ValueError, OverflowError):
        close = difflib.get_close_matches(value, _choices(kind), 1) if type(value) is str else []
        raise ValueError(
            f"{name} must be {_words(kind)}{';' if _choices(kind) else ','} got {short(value)}"
            + (f" (did you mean {close[0]!r}?)" if close else "")
        ) from None


def _fit(value: Any, kind: Any) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        if (value := _fit(value, parts[0])) in parts[1]:
            return value
    elif origin is Literal:
        if isinstance(value, str) and value in parts:
            return str(value)
    elif origin in (Union, UnionType):
        for part in parts:
            try:
                return _fit(value, part)
            except (ValueError, OverflowError):
                continue
    elif origin is tuple:
        entries = value if isinstance(value, (tuple, list, range)) else (value,)
        parts = parts[:1] * len(entries) if parts[-1] is ... else parts
        return tuple(_fit(entry, part) for entry, part in zip(entries, parts, strict=True))
    elif origin is dict:
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return dict(value)
    elif kind is str:
        if isinstance(value, (str, os.PathLike)):
            return str(value)
    elif kind in (int, float):
        number = isinstance(value, Real) and not isinstance(value, bool)
        if number and math.isfinite(value) and kind(value) == value:
            return kind(value)
    elif kind is bool:
        if type(value).__name__ in ("bool", "bool_"):  # Python's and NumPy's
            return bool(value)
    elif kind is NoneType and value is None:
        return None
    raise ValueError


def _words(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return f"{_words(parts[0])} {parts[1]}"
    if origin is Literal:
        return f"one of {', '.join(choice or repr(choice) for choice in parts)}"
    if origin in (Union, UnionType):
        return " or ".join(_words(part) for part in parts)
    if origin is tuple:
        length = "" if parts[-1] is ... else f" of {len(parts)} entries"
        return f"a tuple{length}, each {_words(parts[0])}"
    if origin is dict:
        return "a dictionary, its keys strings"
    names = {int: "a whole number", float: "a finite number", str: "a string"}
    return {**names, bool: "True or False", NoneType: "None"}[kind]


def _choices(kind: Any) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()
