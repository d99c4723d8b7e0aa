"""Labels as a person types them: a class by its number, or by its name in the file of weights."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Sequence

from minidiff.data.images import Classes, count_classes, read_classes
from minidiff.denoiser import Denoiser
from minidiff.engine.checkpoint import Info
from minidiff.engine.distributed import command, shell
from minidiff.engine.generate import per_image

_SHOWN = 40  # names in a sentence


def names_in(about: Info, model: Denoiser) -> Classes:
    """The names of the network's classes as its file says, () if it says none that fit."""
    data = about.get("data")  # a training state says all about its images
    found = about.get("classes", data.get("classes") if isinstance(data, dict) else None)
    try:
        classes = read_classes(found)
    except ValueError:
        return ()
    return classes if count_classes(classes) == model.num_classes else ()


def numbers(words: Sequence[str], source: str, about: Info, model: Denoiser) -> tuple[int, ...]:
    """The classes' numbers; of several labels an image, the place of a word says which it is."""
    k = per_image(words, model.num_classes)
    classes = names_in(about, model)
    names = [c for c in classes if isinstance(c, tuple)] or [tuple(map(str, classes))]
    return tuple(_number(word, i % k, names, source) for i, word in enumerate(words))


def _number(word: str, place: int, names: list[tuple[str, ...]], source: str) -> int:
    """That of the class called `word`, else the number that it is."""
    mine = names[place] if place < len(names) else ()
    called = [i for i, name in enumerate(mine) if name == word]
    number = int(word) if re.fullmatch("-?[0-9]{1,18}", word) else None
    if len(called) == 1:
        if number in range(len(mine) + 1) and number != called[0]:
            warnings.warn(
                f"label {word} is taken as the class of that name, whose number is {called[0]}",
                stacklevel=2,
            )
        return called[0]
    if number is not None:
        return number
    if called:
        raise ValueError(f"{len(called)} classes are called {word!r}: give one of {called}")
    if not mine:
        raise ValueError(
            f"{source} does not say what its classes are called: labels must be their numbers, "
            f"from 0; got {word!r}"
        )
    raise ValueError(_unknown(word, place, names, source))


def _unknown(word: str, place: int, names: list[tuple[str, ...]], source: str) -> str:
    """What there is instead, in one sentence."""
    mine = names[place]
    of = f"label {place + 1} of an image" if len(names) > 1 else "a label"
    others = [str(i) for i, column in enumerate(names, 1) if word in column]
    small = {name.lower(): name for name in mine}
    close = difflib.get_close_matches(word.lower(), small, n=1)
    if others:
        hint = f" (a name of label {' and of label '.join(others)})"
    else:
        hint = f" (did you mean {small[close[0]]!r}?)" if close else ""
    listed = ", ".join(shell([name]) for name in mine[:_SHOWN])
    if len(mine) > _SHOWN:
        listed += f" and {len(mine) - _SHOWN} more, which {shell([*command(), 'info', source])} has"
    return f"{of} must be a name or a number of its classes, got {word!r}{hint}; they are {listed}"
