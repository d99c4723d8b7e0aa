"""Chapter 6: the training loop, and between its steps reports, pictures, and states on the disk."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from minidiff.data.sets import NAMES, Folder, Images, load, splits
from minidiff.denoiser import Denoiser
from minidiff.engine.config import TrainConfig
from minidiff.engine.distributed import processes
from minidiff.engine.folder import open_folder, save, save_picture
from minidiff.engine.runlog import RunLog
from minidiff.engine.speed import Clock
from minidiff.engine.trainer import Trainer

BAD_STEPS = 20  # a report that finds so many skipped steps in a row, up to now, ends the run


class Verdict(IntEnum):
    """What happens after a step. Of several processes' verdicts the largest holds for all."""

    GO_ON = 0
    SAVE = 1
    STOP = 2


class Diverged(RuntimeError):
    """Loss or gradient were NaN or infinite for many steps in a row."""


class Stopped(KeyboardInterrupt):
    """A signal ended the run before its last step, after its state was saved."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class TimeUp(UserWarning):
    """`max_seconds` ended the run before its last step, after its state was saved."""


def train(
    config: TrainConfig | None = None,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    data: Images | Folder | None = None,
    model: Denoiser | None = None,
    device: str | torch.device | None = None,
    bar: bool = True,
) -> Denoiser:
    """Train a model and return it with the averaged weights, ready to sample.

    Without `out` nothing is written: the way of the notebooks. With it, the folder gets
    `config.json`, `log.jsonl`, sample grids and training states; `resume=True` goes on from the
    newest intact one, and the run ends as if it had never been interrupted. `data` and `model`
    replace what the config names. Under torchrun all processes call this alike.

    A run that ends before its last step says so: with the warning `TimeUp` after `max_seconds`,
    with the exception `Stopped` after a signal.

    >>> model = train(TrainConfig(steps=2, batch=4), bar=False)
    >>> model.training
    False
    """
    c = config or TrainConfig()
    folder = Path(out) if out is not None else None
    with processes(device) as world, _own_randomness(world.device):
        # The data, the model, and what an earlier run has left.
        images = data if data is not None else load(c.data, "train", world.device, size=c.size)
        trainer = Trainer(c, world, images, model)
        if folder:
            open_folder(folder, trainer, resume)
        looks = world.main or c.fsdp  # with FSDP2 the network needs every process
        held_out = _held_out(c, world.device) if data is None and looks else None

        log = RunLog(folder, c.steps, trainer.steps_done, bar, world.main)
        clock = Clock(trainer)
        batches = trainer.batches()
        with contextlib.closing(log), _signals(folder) as signals:
            while trainer.steps_done < c.steps:
                # Learn: one step of Ho et al. 2020, algorithm 1.
                trainer.step(batches)
                n = trainer.steps_done
                log.bar.update()

                # Report.
                if n % c.log_every == 0 or n == c.steps:
                    report = trainer.meter.report(world) | clock.speed(n)
                    report["lr"] = c.lr * trainer.rate(n - 1)
                    log.write(n, report)
                    log.bar.set_postfix_str(clock.summary(report))
                    _stop_if_diverged(report, n, folder)

                # Look at held-out images, and draw some.
                with clock.aside():
                    if held_out and n % c.validate_every == 0:
                        log.write(n, trainer.validate(held_out))
                    if folder and looks and c.sample_every and n % c.sample_every == 0:
                        save_picture(trainer, folder)

                # Go on, save, or stop: all processes do the same.
                verdict = _verdict(trainer, clock, signals)
                if folder and verdict >= Verdict.SAVE:
                    with clock.aside():
                        save(trainer, folder)
                    clock.last_save = time.monotonic()
                if verdict == Verdict.STOP:
                    break

            if trainer.steps_done < c.steps:
                _say_why(world.largest(signals[0] if signals else 0), trainer, folder, log)
        trainer.ema.copy_to(trainer.net)
        return trainer.model.eval()


def _verdict(trainer: Trainer, clock: Clock, signals: list[int]) -> Verdict:
    """What all processes do now. Their steps are the same; their clocks and signals are not."""
    c, n = trainer.config, trainer.steps_done
    if n == c.steps:
        return Verdict.STOP
    planned = Verdict.SAVE if n % c.save_every == 0 else Verdict.GO_ON
    if trainer.world.size > 1 and n % c.log_every:  # asking the others at every step would cost
        return planned
    if signals or clock.late(c.max_seconds):
        wish = Verdict.STOP
    else:
        wish = Verdict.SAVE if clock.save_due(c.save_seconds) else Verdict.GO_ON
    return max(planned, Verdict(trainer.world.largest(wish)))


def _say_why(signum: int, trainer: Trainer, folder: Path | None, log: RunLog) -> None:
    """Tell the log and the caller that, and why, the run ended before its last step."""
    n, steps = trainer.steps_done, trainer.config.steps
    why = signal.Signals(signum).name if signum else "the time is up"
    log.write(n, {"stopped": why})
    done = f"{why}: stopped at step {n} of {steps}"
    if folder:
        done += f" and saved; repeat the command with --resume to go on (in {folder})"
    if signum:
        raise Stopped(done, signum)
    if trainer.world.main:
        warnings.warn(done, TimeUp, stacklevel=3)


def _held_out(c: TrainConfig, device: torch.device) -> Images | Folder | None:
    if not c.validate_every:
        return None
    if c.data not in NAMES and "test" not in splits(c.data):
        return None
    return load(c.data, "test", device, size=c.size)


def _stop_if_diverged(report: dict[str, Any], n: int, folder: Path | None) -> None:
    if report["skipped_in_a_row"] >= BAD_STEPS:
        saved = folder and any(folder.glob("step-*.safetensors"))
        kept = f"; the last good state is in {folder}" if saved else ""
        raise Diverged(
            f"the loss or its gradient was NaN or infinite in the last "
            f"{report['skipped_in_a_row']} steps before step {n}, and the run was stopped{kept} "
            f"(try a lower lr, a longer warmup, or precision = 'fp32')"
        )


@contextlib.contextmanager
def _signals(folder: Path | None) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM let the step end and the state be saved; a second one acts at once."""
    seen: list[int] = []
    if folder is None or threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def note(signum: int, _: FrameType | None) -> None:
        seen.append(signum)
        signal.signal(signum, before[signal.Signals(signum)])

    for s in before:
        signal.signal(s, note)
    try:
        yield seen
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


@contextlib.contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Leave the caller's random state and settings as they were."""
    cuda = [device] if device.type == "cuda" else []
    benchmark = torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=cuda):
        torch.backends.cudnn.benchmark = True  # the shapes are always the same
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = benchmark
