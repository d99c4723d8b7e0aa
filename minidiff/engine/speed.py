"""Chapter 17: how fast a training step is, and how fast it could be on this hardware."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from minidiff.engine.trainer import Trainer


def training_flops(net: nn.Module, x: Tensor, *cond: Tensor) -> float:
    """Floating-point operations to train on one image: 3 x those of the forward pass.

    (The backward pass computes two products, by the input and by the weights, for each product of
    the forward pass.) Only convolutions and matrix products are counted, as is usual for MFU.

    >>> training_flops(nn.Linear(10, 5), torch.zeros(4, 10))
    300.0
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        net(x, *cond)
    return 3 * counter.get_total_flops() / len(x)


def peak_flops(device: torch.device, n: int = 8192, repeats: int = 20) -> float:
    """FLOP/s of an (n, n) bf16 matrix product here and now: what MFU is a share of."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        a @ b
    torch.cuda.synchronize(device)
    return repeats * 2 * n**3 / (time.perf_counter() - start)


class Clock:
    """How long the run has taken, and how fast it is."""

    def __init__(self, trainer: Trainer) -> None:
        self.start = self.last_report = self.last_save = time.monotonic()
        self.reported = trainer.steps_done
        self.batch = trainer.config.batch
        self.flops, self.peak = 0.0, 0.0
        if trainer.world.device.type == "cuda" and trainer.world.main and not trainer.config.fsdp:
            x0, labels = trainer.data.batch([0])
            t = torch.zeros(len(x0), device=x0.device)
            cond = [labels] if trainer.labelled else []
            self.flops = training_flops(trainer.net, x0, t, *cond)
            self.peak = peak_flops(trainer.world.device) * trainer.world.size

    def speed(self, n: int) -> dict[str, float]:
        """Since the last report; MFU is the share of the bf16 peak measured at the start."""
        now = time.monotonic()
        passed = now - self.last_report  # nothing, if a step is shorter than the clock's tick
        rate = (n - self.reported) * self.batch / passed if passed > 0 else math.nan
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
