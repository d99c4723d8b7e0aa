"""The training loop: steps, and between them reports, pictures, and states on the disk."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from minidiff.data.files import write_whole
from minidiff.data.sets import NAMES, Folder, Images, load
from minidiff.denoiser import Denoiser
from minidiff.engine import checkpoint
from minidiff.engine.config import TrainConfig
from minidiff.engine.distributed import processes
from minidiff.engine.runlog import RunLog
from minidiff.engine.speed import peak_flops, training_flops
from minidiff.engine.trainer import Trainer

BAD_STEPS = 20  # so many skipped steps in a row end a run


class Diverged(RuntimeError):
    """Loss or gradient were NaN or infinite for many steps in a row."""


class Stopped(KeyboardInterrupt):
    """A signal ended the run, after its state was saved."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


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

    >>> model = train(TrainConfig(steps=2, batch=4), bar=False)
    >>> model.training
    False
    """
    c = config or TrainConfig()
    folder = Path(out) if out is not None else None
    with processes(device) as world, _own_randomness(world.device):
        images = data if data is not None else load(c.data, "train", world.device, size=c.size)
        trainer = Trainer(c, world, images, model)
        if folder:
            _open_folder(folder, trainer, resume)
        everyone = world.main or c.fsdp  # with FSDP2 the network needs every process
        held_out = _held_out(c, world.device) if data is None and everyone else None
        log = RunLog(folder, c.steps, trainer.steps_done, bar, world.main)
        clock = Clock(trainer)
        batches = trainer.batches()
        with contextlib.closing(log), _signals(folder) as signals:
            while trainer.steps_done < c.steps:
                trainer.step(batches)
                n = trainer.steps_done
                log.bar.update()
                if n % c.log_every == 0 or n == c.steps:
                    report = trainer.meter.report(world) | clock.speed(n)
                    report["lr"] = c.lr * trainer.rate(n - 1)
                    log.write(n, report)
                    log.bar.set_postfix_str(clock.summary(report))
                    _stop_if_diverged(report, n, folder)
                with clock.aside():
                    if held_out and n % c.validate_every == 0:
                        log.write(n, trainer.validate(held_out))
                    if folder and everyone and c.sample_every and n % c.sample_every == 0:
                        _picture(trainer, folder)
                late, signalled, due = False, False, False
                if world.size == 1 or n % c.log_every == 0:  # the processes decide together
                    late, signalled, due = world.any(
                        clock.late(c.max_seconds), bool(signals), clock.save_due(c.save_seconds)
                    )
                over = late or signalled or n == c.steps
                if folder and (over or due or n % c.save_every == 0):
                    with clock.aside():
                        save(trainer, folder)
                    clock.last_save = time.monotonic()
                if signalled:
                    raise Stopped(_how_to_resume(n, folder), signals[0] if signals else 15)
                if over:
                    break
        trainer.ema.copy_to(trainer.net)
        return trainer.model.eval()


def save(trainer: Trainer, folder: Path) -> None:
    """Write the state of a run (all processes call this) and delete the oldest ones."""
    tensors, info = trainer.state()
    if not trainer.world.main:
        return
    checkpoint.write(folder / checkpoint.STEP_FILE.format(info["step"]), tensors, info)
    states = sorted(folder.glob("step-*.safetensors"))
    for old in states[: -trainer.config.keep]:
        old.unlink(missing_ok=True)


class Clock:
    """How long the run has taken, and how fast it is."""

    def __init__(self, trainer: Trainer) -> None:
        self.start = self.last_report = self.last_save = time.monotonic()
        self.reported = trainer.steps_done
        self.batch = trainer.config.batch
        self.flops, self.peak = 0.0, 0.0
        if trainer.world.device.type == "cuda" and trainer.world.main and not trainer.config.fsdp:
            x0, labels = trainer.data.batch(range(2))
            t = torch.zeros(len(x0), device=x0.device)
            cond = [labels] if trainer.labelled else []
            self.flops = training_flops(trainer.net, x0, t, *cond)
            self.peak = peak_flops(trainer.world.device) * trainer.world.size

    def speed(self, n: int) -> dict[str, float]:
        """Since the last report; MFU is the share of the bf16 peak measured at the start."""
        now = time.monotonic()
        rate = (n - self.reported) * self.batch / (now - self.last_report)
        self.last_report, self.reported = now, n
        mfu = {"mfu": rate * self.flops / self.peak} if self.peak else {}
        return {"images_per_second": rate, "seconds": now - self.start, **mfu}

    def summary(self, report: dict[str, Any]) -> str:
        """What the bar says."""
        text = f"loss {report['loss']:.4f}, {report['images_per_second']:.0f} img/s"
        text += f", MFU {report['mfu']:.0%}" if "mfu" in report else ""
        return text + (f", {report['skipped']} steps skipped" if report["skipped"] else "")

    def late(self, max_seconds: float | None) -> bool:
        """Whether the time is up."""
        return max_seconds is not None and time.monotonic() - self.start >= max_seconds

    def save_due(self, every: float) -> bool:
        """Whether the last state on the disk is this old."""
        return time.monotonic() - self.last_save >= every

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """What happens within the block is not counted against the speed of training."""
        start = time.monotonic()
        yield
        self.last_report += time.monotonic() - start


def _open_folder(folder: Path, trainer: Trainer, resume: bool) -> None:
    c = trainer.config
    states = list(folder.glob("step-*.safetensors")) if folder.is_dir() else []
    if states and not resume:
        raise ValueError(
            f"{folder} already holds a run; add --resume to go on with it, or choose another folder"
        )
    newest = checkpoint.latest(folder) if states else None
    if newest:
        trainer.load(newest)
    found = trainer.world.gather(torch.tensor([trainer.steps_done], device=trainer.world.device))
    if len(set(found.tolist())) > 1:
        raise checkpoint.CheckpointError(
            f"the processes found different states in {folder}, of the steps {found.tolist()}: "
            "all computers must see the same folder"
        )
    if trainer.world.main:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left_over in folder.glob(".*.tmp"):  # of a run that was killed while writing
                left_over.unlink()
            for state in states:  # a damaged one must not count among those to keep
                if newest and state.name > newest.name:
                    state.rename(state.with_suffix(".damaged"))
            text = json.dumps(c.state(), indent=1) + "\n"
            write_whole(folder / "config.json", text.encode())
        except OSError as error:
            raise checkpoint.CheckpointError(
                f"cannot write into {folder}: {error.strerror}; choose another --out folder"
            ) from error


def _held_out(c: TrainConfig, device: torch.device) -> Images | Folder | None:
    if not c.validate_every:
        return None
    if c.data not in NAMES and not (Path(c.data).expanduser() / "test").is_dir():
        return None
    return load(c.data, "test", device, size=c.size)


def _picture(trainer: Trainer, folder: Path) -> None:
    x = trainer.sample()
    if trainer.world.main:
        from minidiff.plots import save_image

        save_image(x, folder / f"samples-{trainer.steps_done:09d}.png", scale=2)


def _stop_if_diverged(report: dict[str, Any], n: int, folder: Path | None) -> None:
    if report["skipped_in_a_row"] >= BAD_STEPS:
        saved = folder and any(folder.glob("step-*.safetensors"))
        kept = f"; the last good state is in {folder}" if saved else ""
        raise Diverged(
            f"the loss or its gradient was NaN or infinite in the last "
            f"{report['skipped_in_a_row']} steps before step {n}, and the run was stopped{kept} "
            f"(try a lower lr, a longer warmup, or precision = 'fp32')"
        )


def _how_to_resume(n: int, folder: Path | None) -> str:
    return f"stopped and saved at step {n}; repeat the command with --resume to go on (in {folder})"


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
