"""All chapters: what a grid of times must be, the t at which a walk or a table is asked.

As in `minidiff.checks`, no mathematics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from torch import Tensor

from minidiff.kinds import check_number, is_whole, short
from minidiff.schedule import Index, Schedule


def check_whole(t: Index) -> None:
    """A step of the chain: the bound has a term, and a table a weight, for each whole t alone."""
    if isinstance(t, float) or (isinstance(t, Tensor) and t.is_floating_point()):
        raise ValueError(
            "t must be whole: a table has one weight, the bound one term for each step; got "
            f"{short(t)}"
        )


def check_tau(steps: Iterable[float] | int, T: int, end: float = 0) -> list[float]:
    """The steps, refused unless they fall strictly to `end` and stay within T; whole: int."""
    check_number(end=end)
    if not isinstance(steps, Iterable):  # their number: what tau(T, S) would give
        S, _, end = grid_ends(T, steps, "linear", None, end)
        steps = [int(end) + (T - int(end)) * i // S for i in range(S, -1, -1)]
    try:
        times = [float(t) for t in steps]
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"tau must be a list of numbers, or their number, got {short(steps)}"
        ) from None
    falls = all(a > b for a, b in pairwise(times))
    exist = all(t == 0 or 1 <= t <= T for t in times)
    if len(times) < 2 or not falls or not exist or times[-1] != end:
        few = [f"{t:g}" for t in times]
        shown = ", ".join(few if len(few) < 12 else [*few[:2], "…", few[-1]])
        stop = f", or end={few[-1]} to stop there" if falls and times[-1:] >= [1.0] else ""
        raise ValueError(
            f"tau must fall strictly from at most {T} to {end:g}{'' if end else ' (the data)'}, "
            f"without a t between 0 and 1; got [{shown}]; use tau({T}, S=<number of steps>){stop}"
        )
    return [int(t) if t.is_integer() else t for t in times]


def grid_ends(
    T: int | Schedule, S: int | None, spacing: str, start: float | None, end: float
) -> tuple[int, float, float]:
    """(S, start, end), refused where there is no such grid; whole numbers become int."""
    n = T.T if isinstance(T, Schedule) else T
    if not is_whole(n) or n < 2:
        raise ValueError(
            f"T must be a whole number of at least 2 steps, or a Schedule; got {short(T)}"
        )
    if spacing in ("logsnr", "karras") and not isinstance(T, Schedule):
        raise ValueError(f"spacing={spacing!r} needs the schedule: tau(schedule, S=…)")
    if spacing == "leading" and start is not None:
        raise ValueError("spacing='leading' starts below start, as it does below T; take another")
    if start is not None:
        check_number(start=start)
    start, end = check_tau([n if start is None else start, end], int(n), end)
    if spacing != "karras" and not (isinstance(start, int) and isinstance(end, int)):
        raise ValueError(
            f"spacing={spacing!r} visits whole t, from a whole start to a whole end; got {start} "
            f"and {end}; spacing='karras' takes any"
        )
    S = math.ceil(start - end) if S is None else S
    most = math.inf if spacing == "karras" and start > max(end, 1) else math.floor(start - end)
    if not is_whole(S) or not 1 <= S <= most:
        raise ValueError(f"S must be a whole number of steps in 1..{most}, got {short(S)}")
    return int(S), start, end
