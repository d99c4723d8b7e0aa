"""Chapter 7: the training loop, and between its steps reports, pictures, and states on the disk."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minidiff.data.sets import NAMES, Folder, Images, load, splits
from minidiff.data.workers import signals_kept_back
from minidiff.denoiser import Denoiser
from minidiff.engine.checkpoint import CheckpointError, states
from minidiff.engine.config import TrainConfig, check_run
from minidiff.engine.distributed import World, processes
from minidiff.engine.failures import Failed, add_note, in_words, instead, others_are_gone
from minidiff.engine.folder import held, save, save_picture, take_up
from minidiff.engine.runlog import RunLog
from minidiff.engine.signals import Stopped, noted
from minidiff.engine.speed import Clock
from minidiff.engine.trainer import Trainer

BAD_STEPS = 20  # a report that finds so many skipped steps in a row, up to now, ends the run
ASK = 1.0  # seconds, about, between two questions of several processes to one another
PATIENCE = 2.0  # seconds that the other processes give the main one to save
_one_at_a_time = threading.Lock()
_log = logging.getLogger("minidiff")


class Verdict(IntEnum):
    """What happens after a step. Of several processes' verdicts the largest holds for all."""

    GO_ON = 0
    SAVE = 1
    STOP = 2


class Diverged(RuntimeError):
    """Loss or gradient were NaN or infinite for many steps in a row."""


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
    with the exception `Stopped` after a signal (SIGINT, SIGTERM, SIGHUP; a second one ends it at
    once), with `Diverged` after many bad steps. Whatever else goes wrong, the state of the last
    whole step is saved first, and a note at the exception says so; `Failed` puts it into words.
    (With FSDP2 a state is put together by all processes. They learn from one another before each
    part of a step that one has no data, and save; what fails or dies within a step loses the steps
    since the last state, which the note counts: see `save_seconds`.)

    >>> model = train(TrainConfig(steps=2, batch=4), bar=False)
    >>> model.training
    False
    """
    c = check_run(config or TrainConfig(), data, model)
    folder = Path(out) if out is not None else None
    with (
        processes(device) as world,
        _own_randomness(world.device),
        _failures_in_words(c, world),
        held(folder, world, resume),
    ):
        # The data, the model, and what an earlier run has left.
        images = data if data is not None else load(c.data, "train", world.device, size=c.size)
        trainer = Trainer(c, world, images, model)
        if folder:
            take_up(trainer, folder, resume)
            if world.main:
                _log.info("training for %d steps; everything is kept in %s", c.steps, folder)
        looks = world.main or c.fsdp  # with FSDP2 the network needs every process
        held_out = _held_out(c, world.device) if data is None and looks else None

        with signals_kept_back():  # the bar may start a helper process
            log = RunLog(folder, c.steps, trainer.steps_done, bar, world.main)
        clock = Clock(trainer)
        batches = _fed(trainer, folder)
        if trainer.mode and trainer.steps_done < c.steps:
            log.say("compiling the network: the first step takes a minute or two")
        with (
            contextlib.closing(log),
            noted(folder is not None) as signals,
            _rescue(trainer, folder),
        ):
            council = Council(trainer, clock, signals)
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
                verdict = council.verdict()
                if folder and verdict >= Verdict.SAVE:
                    with clock.aside():
                        save(trainer, folder)
                    clock.last_save = time.monotonic()
                if verdict == Verdict.STOP:
                    break

            if trainer.steps_done < c.steps:
                _say_why(world.largest(signals[0] if signals else 0), trainer, folder, log)
        return trainer.finished()


class Council:
    """What all processes do after a step. Their steps are the same; their clocks and signals not.

    To ask one another at every step would cost, and never to ask would lose a run whose steps are
    slow to those who wait half a minute from SIGTERM to SIGKILL. So they ask about once a second,
    and agree each time on how many steps that is.
    """

    def __init__(self, trainer: Trainer, clock: Clock, signals: list[int]) -> None:
        self.trainer, self.clock, self.signals = trainer, clock, signals
        self.asked, self.when = trainer.steps_done, time.monotonic()
        self.next = self.asked + 1

    def verdict(self) -> Verdict:
        """Save what was planned; stop, or save, as soon as one of them has a reason to."""
        c, n, world = self.trainer.config, self.trainer.steps_done, self.trainer.world
        if n == c.steps:
            return Verdict.STOP
        planned = Verdict.SAVE if n % c.save_every == 0 else Verdict.GO_ON
        if world.size > 1 and n < self.next:
            return planned
        if self.signals or self.clock.late(c.max_seconds):
            wish = Verdict.STOP
        else:
            wish = Verdict.SAVE if self.clock.save_due(c.save_seconds) else Verdict.GO_ON
        agreed = Verdict(world.largest(wish))
        if world.size > 1:
            now = time.monotonic()
            a_step = (now - self.when) / (n - self.asked)
            steps = min(c.log_every, int(ASK / max(a_step, 1e-6)))
            self.asked, self.when = n, now
            self.next = n + max(1, -world.largest(-steps))  # of the slowest process
        return max(planned, agreed)


def _say_why(signum: int, trainer: Trainer, folder: Path | None, log: RunLog) -> None:
    """Tell the log and the caller that, and why, the run ended before its last step."""
    n, steps = trainer.steps_done, trainer.config.steps
    why = signal.Signals(signum).name if signum else "the time is up"
    log.write(n, {"stopped": why})
    done = f"{why}: stopped at step {n} of {steps}" + (f" and saved in {folder}" if folder else "")
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
        kept = f"; the last good state is in {folder}" if folder and states(folder) else ""
        raise Diverged(
            f"the loss or its gradient was NaN or infinite in the last "
            f"{report['skipped_in_a_row']} steps before step {n}, and the run was stopped{kept} "
            f"(try a lower lr, a longer warmup, or precision = 'fp32')"
        )


def _fed(trainer: Trainer, folder: Path | None) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's data. With FSDP2 no part of a step is begun for which one process has none.

    Within it the others would wait for the one that has failed; here all can still save.
    """
    batches, world = trainer.batches(), trainer.world
    if not trainer.in_parts:
        yield from batches
        return
    while True:
        try:
            batch = world.together(lambda: next(batches))
        except (Exception, SystemExit):
            if folder and trainer.steps_done:
                with contextlib.suppress(Exception):  # the first error is the one to be told
                    save(trainer, folder)
                world.largest(0)  # nobody ends, and so ends the others, before it is written
            raise
        yield batch


@contextlib.contextmanager
def _rescue(trainer: Trainer, folder: Path | None) -> Iterator[None]:
    """Whatever ends the loop, the state of the last whole step is on the disk.

    A step changes weights in its last lines only, so one that fails has changed none. (Losses that
    `loss-aware` has seen in its earlier parts will be seen again.) Of several processes each can
    write the state, should the main one have died. With FSDP2 none of them holds it: to ask for the
    others' parts within a step would be to wait for ever for those elsewhere in it, or dead.
    """
    try:
        yield
    except Exception as error:
        if folder and not isinstance(error, Diverged):
            n, size = trainer.steps_done, trainer.world.size
            # A saving that has failed is not tried again.
            able = n and not trainer.in_parts and not isinstance(error, CheckpointError)
            if others_are_gone(error, size) and not trainer.world.main:
                time.sleep(PATIENCE)
            if able and n not in states(folder):
                with contextlib.suppress(Exception):  # the first error is the one to be told
                    save(trainer, folder, writes=True)
            if saved := max(states(folder), default=0):
                add_note(error, f"step {saved} of {trainer.config.steps} is saved in {folder}")
            if trainer.in_parts and saved < n:
                add_note(
                    error,
                    f"{n - saved} steps are lost, for with fsdp a state needs all processes: "
                    "a lower save_seconds loses less",
                )
        raise


@contextlib.contextmanager
def _failures_in_words(c: TrainConfig, world: World) -> Iterator[None]:
    """The one boundary to what others' code says when it fails."""
    try:
        yield
    except Exception as error:
        if sentence := in_words(error, c, world.size):
            raise instead(error, Failed(sentence)) from error
        raise


@contextlib.contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Leave the caller's random state and settings as they were.

    Dropout draws from the one random state that PyTorch has, so that two runs in one process would
    disturb each other.
    """
    if not _one_at_a_time.acquire(blocking=False):
        raise RuntimeError(
            "another thread of this process is training, and both would draw from PyTorch's one "
            "random state: start a second process instead"
        )
    cuda = [device] if device.type == "cuda" else []
    benchmark = torch.backends.cudnn.benchmark
    try:
        with torch.random.fork_rng(devices=cuda):
            torch.backends.cudnn.benchmark = True  # the shapes are always the same
            yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        _one_at_a_time.release()
