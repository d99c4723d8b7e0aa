"""Chapter 7: what fails around a run, in our words: memory, compilers, workers, other processes."""

from __future__ import annotations

import re

import torch

from minidiff.engine.config import TrainConfig


class Failed(RuntimeError):
    """Something outside of minidiff ended a run; the sentence says what, and what to do."""


GONE = "another process of this run has ended, and with it the run"
MEMORY = (  # PyTorch's words, and C++'s
    r"can't allocate memory|not enough memory|out of memory|Cannot allocate|ALLOC_FAILED|bad_alloc"
)
SHARED = r"shared memory|unable to write to file </torch|[Bb]us error"
OTHERS = r"[Cc]onnection (was )?(closed|reset|refused|aborted)|[Bb]roken pipe|NCCL|[Gg]loo|TCPStore"


def in_words(error: Exception, config: TrainConfig, processes: int = 1) -> str | None:
    """One sentence for an error of PyTorch whose own words are a page; None for any other."""
    said = [f"{type(e).__module__} {type(e).__name__} {e}" for e in _chain(error)]
    text = "\n".join(said)
    first = str(_chain(error)[-1]).strip().partition("\n")[0]
    torch_s = isinstance(error, (RuntimeError, MemoryError))
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        torch_s and re.search(MEMORY, text)
    ):
        return (
            f"out of memory with batch = {config.batch} in {config.accumulate} parts: lower "
            "batch, or raise accumulate, which cuts it into more parts, or take a smaller network"
        )
    if any(s.startswith(("torch._dynamo", "torch._inductor", "triton")) for s in said):
        return (
            f"torch.compile cannot compile the network here ({first}): install a C++ compiler "
            "such as g++, or leave the network as it is, by compile = ''"
        )
    if torch_s and "DataLoader worker" in text:
        why = (
            "the shared memory is too small: docker run --shm-size=8g gives more"
            if re.search(SHARED, text)
            else "was it killed, for want of memory?"
        )
        return f"a process that reads the pictures has died ({why})"
    if others_are_gone(error, processes):
        return GONE
    return None


def others_are_gone(error: Exception, processes: int) -> bool:
    """Whether this is what is left of several processes when one of them dies."""
    lost = isinstance(error, RuntimeError) and re.search(OTHERS, str(error))
    return processes > 1 and bool(lost)


def _chain(error: BaseException) -> list[BaseException]:
    """An error, and what it came from, the root last."""
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) and cause not in found:
        found.append(cause)
    return found


def add_note(error: BaseException, sentence: str) -> None:
    """`error.add_note`, which Python 3.10 does not have yet."""
    error.__notes__ = [*notes(error), sentence]  # type: ignore[attr-defined]


def instead(error: BaseException, other: Exception) -> Exception:
    """The other one, with the notes of the first."""
    for note in notes(error):
        add_note(other, note)
    return other


def notes(error: BaseException) -> list[str]:
    """What was added to an error on its way."""
    return list(getattr(error, "__notes__", ()))
