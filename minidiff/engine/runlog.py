"""Chapter 7: what a training run tells, by sums on the device, a bar, a JSONL file, TensorBoard."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from minidiff.data.files import write_whole
from minidiff.engine.distributed import World
from minidiff.schedule import Schedule

EDGES = (-8.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0)  # of the bins of log-SNR


class Meter:
    """Sums over the steps since the last report. Nothing here waits for the device.

    The loss is also kept by the log-SNR of x_t: for each stretch between two numbers of EDGES
    (and the two open ends) the mean unweighted loss, from the noise end to the image end.
    """

    def __init__(self, schedule: Schedule, device: torch.device) -> None:
        edges = torch.tensor(EDGES, dtype=torch.float64, device="cpu")
        self.bin = torch.bucketize(schedule.log_snr, edges).to(device)  # (T + 1,)
        single: dict[str, Any] = {"dtype": torch.float32, "device": device}
        self.by_bin = torch.zeros(2, len(EDGES) + 1, **single)  # sums, counts
        self.sums = torch.zeros(4, **single)  # loss, images, gradient norm, good steps
        self.skipped = torch.zeros(2, **single)  # steps skipped in all, and lately in a row

    @torch.no_grad()
    def add_losses(self, t: Tensor, weighted: Tensor, losses: Tensor) -> None:
        """Take note of a batch: t, w * loss and the loss itself, each (B,)."""
        good, t = losses.isfinite(), t.long()  # a level between two steps counts for the first
        self.by_bin[0].index_add_(0, self.bin[t], losses.float().where(good, 0))
        self.by_bin[1].index_add_(0, self.bin[t], good.float())
        self.sums[0] += weighted.float().where(good, 0).sum()
        self.sums[1] += good.sum()

    @torch.no_grad()
    def add_step(self, norm: Tensor, bad: Tensor) -> None:
        """Take note of a step: its gradient norm, and 1 if it was skipped."""
        self.sums[2] += torch.where(bad > 0, torch.zeros_like(norm), norm)
        self.sums[3] += 1 - bad
        self.skipped[0] += bad
        self.skipped[1] = (self.skipped[1] + 1) * bad

    def report(self, world: World) -> dict[str, Any]:
        """The means since the last report, over all processes. Waits for the device."""
        loss, images, norm, steps = world.mean(self.sums.clone()).tolist()
        by_bin = world.mean(self.by_bin.clone()).tolist()
        self.sums.zero_()
        self.by_bin.zero_()
        total, row = (int(n) for n in self.skipped.tolist())
        return {
            "loss": loss / images if images else math.nan,
            "grad_norm": norm / steps if steps else math.nan,
            "skipped": total,
            "skipped_in_a_row": row,
            "loss_by_log_snr": [s / n if n else None for s, n in zip(*by_bin, strict=True)],
        }


class RunLog:
    """The bar on the terminal; and, given a folder, `log.jsonl` and TensorBoard's events there."""

    def __init__(
        self, out: Path | None, steps: int, start: int, bar: bool, main: bool = True
    ) -> None:
        wait = 0.5 if sys.stderr.isatty() else 20.0
        self.bar = tqdm(
            total=steps,
            initial=start,
            desc="training",
            unit="step",
            file=sys.stderr,
            mininterval=wait,
            dynamic_ncols=True,
            disable=not (bar and main),
        )
        self.path = out / "log.jsonl" if out and main else None
        self.board: Any = None
        if self.path:
            self._forget_after(start)
            with self._board_may_fail():
                from torch.utils.tensorboard import SummaryWriter

                self.board = SummaryWriter(str(self.path.parent), purge_step=start)

    def say(self, sentence: str) -> None:
        """A line above the bar; nothing where there is no bar."""
        if not self.bar.disable:
            self.bar.write(sentence, file=sys.stderr)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Add a line {"step": …, …}."""
        if self.path:
            clean = {k: _json(v) for k, v in values.items()}
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **clean}) + "\n")
        if self.board:
            with self._board_may_fail():
                for name, value in values.items():
                    if isinstance(value, (int, float)):
                        self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """End the bar and TensorBoard's file."""
        self.bar.close()
        if self.board:
            with self._board_may_fail():
                self.board.close()

    @contextlib.contextmanager
    def _board_may_fail(self) -> Iterator[None]:
        """TensorBoard is a pleasure, not a need: the run goes on without it, in whatever way it
        fails (not installed, at odds with its protobuf, on a full disk)."""
        try:
            yield
        except Exception as error:
            self.board = None
            if not isinstance(error, ModuleNotFoundError):
                first = str(error).strip().partition("\n")[0]
                warnings.warn(
                    f"TensorBoard is of no use here ({type(error).__name__}: {first}); the run "
                    "goes on without it",
                    stacklevel=5,
                )

    def _forget_after(self, step: int) -> None:
        """Drop the lines of steps that a resumed run will do again."""
        assert self.path is not None
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        steps = [_step_of(line) for line in lines]
        if odd := sum(n is None for n in steps[:-1]):  # the last was cut when the run was killed
            warnings.warn(f"{odd} lines of {self.path} are damaged and left out", stacklevel=5)
        kept = [
            f"{line}\n" for line, n in zip(lines, steps, strict=True) if n is not None and n <= step
        ]
        write_whole(self.path, "".join(kept).encode())


def _step_of(line: str) -> int | None:
    """The step of a line of the log; None if it is no such line."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
    return step if isinstance(step, int) else None


def _json(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return [_json(v) for v in value] if isinstance(value, list) else value
