"""Chapter 7: the folder of a run, with its settings, its states, its log and its pictures."""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from minidiff.data.files import write_whole
from minidiff.engine import checkpoint
from minidiff.engine.checkpoint import Info
from minidiff.engine.distributed import World
from minidiff.engine.lock import locked
from minidiff.engine.trainer import Trainer

CONFIG = "config.json"
# what `write_whole` leaves of one of a run's files if it is killed meanwhile
LEFT_OVER = re.compile(r"\.(config\.json|log\.jsonl|step-\d{9}\.safetensors)\.\w+\.tmp")


@contextlib.contextmanager
def held(folder: Path | None, world: World, resume: bool) -> Iterator[None]:
    """Within the block the folder belongs to this run, whose main process holds it for all.

    It is made if need be. ValueError if another run holds it, if it is not empty of states and
    nobody said `resume`, or if somebody did and there is no run.
    """
    with contextlib.ExitStack() as stack:
        if folder is not None:
            world.main_does(lambda: stack.enter_context(_held(folder, resume)))
        yield


@contextlib.contextmanager
def _held(folder: Path, resume: bool) -> Iterator[None]:
    if resume and not _holds_a_run(folder):
        raise checkpoint.CheckpointError(
            f"there is no run in {folder} to go on with{_meant(folder)}; to begin one, leave out "
            "--resume"
        )
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder))
            if checkpoint.states(folder) and not resume:
                raise ValueError(
                    f"{folder} already holds a run; add --resume to go on with it, or choose "
                    "another folder"
                )
            for path in folder.glob(".*.tmp"):
                if LEFT_OVER.fullmatch(path.name):
                    path.unlink()
        except OSError as error:
            raise _unwritable(folder, error) from error
        yield


def take_up(trainer: Trainer, folder: Path, resume: bool) -> None:
    """Give `trainer` the newest intact state in the folder, if there is any."""
    # Every process reads the same state.
    states = checkpoint.states(folder)
    newest = checkpoint.latest(folder) if states else None
    was = trainer.load(newest)["config"] if newest else {}
    if not newest and resume and trainer.world.main:
        warnings.warn(f"no state had been saved in {folder}: beginning at step 0", stacklevel=3)
    found = trainer.world.gather(torch.tensor([trainer.steps_done], device=trainer.world.device))
    if len(set(found.tolist())) > 1:
        raise checkpoint.CheckpointError(
            f"the processes found different states in {folder}, of the steps {found.tolist()}: "
            "all computers must see the same folder"
        )

    # One of them tidies up and writes the settings down.
    def write() -> None:
        _tell_edited(folder / CONFIG, trainer.config.state(), was)
        try:
            for step, state in states.items():  # what was passed over is damaged
                if step > trainer.steps_done:
                    state.rename(state.with_suffix(".damaged"))
            text = json.dumps(trainer.config.state(), indent=1) + "\n"
            write_whole(folder / CONFIG, text.encode())
        except OSError as error:
            raise _unwritable(folder, error) from error

    trainer.world.main_does(write)


def save(trainer: Trainer, folder: Path, writes: bool | None = None) -> None:
    """Write the state of a run (all processes call this) and delete the oldest ones.

    `writes` says whether this process is the one to do it, by default the main one.
    """
    tensors, info = trainer.state()
    if not (trainer.world.main if writes is None else writes):
        return
    checkpoint.write(folder / checkpoint.STEP_FILE.format(info["step"]), tensors, info)
    # Only older states make room. A newer one belongs to a damaged or another future.
    older = [path for step, path in checkpoint.states(folder).items() if step < info["step"]]
    for state in older[: max(0, len(older) - (trainer.config.keep - 1))]:
        state.unlink(missing_ok=True)


def save_picture(trainer: Trainer, folder: Path) -> None:
    """Draw 64 images by the averaged weights, always from the same noise."""
    x = trainer.sample()
    if trainer.world.main:
        from minidiff.plots import save_image

        save_image(x, folder / f"samples-{trainer.steps_done:09d}.png", scale=2)


def _tell_edited(path: Path, settings: Info, was: Info) -> None:
    """Say that the settings written down are a record, to somebody who has changed them there."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        there = {k: found[k] for k in settings if k in found}
    except (OSError, ValueError, TypeError, RecursionError):  # no record, and a new one is written
        return
    now, was = (json.loads(json.dumps(x)) for x in (settings, was))  # tuples become lists
    for name in [k for k, v in there.items() if v not in (now[k], was.get(k, v))]:
        warnings.warn(
            f"{path} has {name} = {there[name]!r:.60}, but nothing is read from there: the run "
            f"goes on with {now[name]!r:.60}; give --{name} to change it",
            stacklevel=4,
        )


def _holds_a_run(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or bool(checkpoint.states(folder))


def _meant(folder: Path) -> str:
    """The run beside the folder whose name looks like its own."""
    beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
    runs = [path.name for path in beside if path.is_dir() and _holds_a_run(path)]
    close = difflib.get_close_matches(folder.name, runs, n=1)
    return f" (did you mean {folder.with_name(close[0])}?)" if close else ""


def _unwritable(folder: Path, error: OSError) -> checkpoint.CheckpointError:
    return checkpoint.CheckpointError(
        f"cannot write into {folder}: {error.strerror}; choose another --out folder"
    )
