"""Chapter 6: the folder of a run, with its settings, its states, its log and its pictures."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from minidiff.data.files import write_whole
from minidiff.engine import checkpoint
from minidiff.engine.trainer import Trainer


def open_folder(folder: Path, trainer: Trainer, resume: bool) -> None:
    """Make the folder of a new run, or take up the newest intact state of an old one."""
    # Never two runs in one folder.
    states = list(folder.glob("step-*.safetensors")) if folder.is_dir() else []
    if states and not resume:
        raise ValueError(
            f"{folder} already holds a run; add --resume to go on with it, or choose another folder"
        )

    # Every process reads the same state.
    newest = checkpoint.latest(folder) if states else None
    if newest:
        trainer.load(newest)
    found = trainer.world.gather(torch.tensor([trainer.steps_done], device=trainer.world.device))
    if len(set(found.tolist())) > 1:
        raise checkpoint.CheckpointError(
            f"the processes found different states in {folder}, of the steps {found.tolist()}: "
            "all computers must see the same folder"
        )

    # One of them tidies up and writes the settings down.
    if not trainer.world.main:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob(".*.tmp"):  # of a run that was killed while writing
            left_over.unlink()
        for state in states:  # what was passed over is damaged
            if newest and state.name > newest.name:
                state.rename(state.with_suffix(".damaged"))
        text = json.dumps(trainer.config.state(), indent=1) + "\n"
        write_whole(folder / "config.json", text.encode())
    except OSError as error:
        raise checkpoint.CheckpointError(
            f"cannot write into {folder}: {error.strerror}; choose another --out folder"
        ) from error


def save(trainer: Trainer, folder: Path) -> None:
    """Write the state of a run (all processes call this) and delete the oldest ones."""
    tensors, info = trainer.state()
    if not trainer.world.main:
        return
    written = folder / checkpoint.STEP_FILE.format(info["step"])
    checkpoint.write(written, tensors, info)
    # Only older states make room. A newer one belongs to a damaged or another future.
    older = sorted(p for p in folder.glob("step-*.safetensors") if p.name < written.name)
    for state in older[: max(0, len(older) - (trainer.config.keep - 1))]:
        state.unlink(missing_ok=True)


def save_picture(trainer: Trainer, folder: Path) -> None:
    """Draw 64 images by the averaged weights, always from the same noise."""
    x = trainer.sample()
    if trainer.world.main:
        from minidiff.plots import save_image

        save_image(x, folder / f"samples-{trainer.steps_done:09d}.png", scale=2)
