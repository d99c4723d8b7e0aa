"""What `compile` is worth: a training step, and one call of the network, in each of its modes.

    python benchmarks/modes_gpu.py                                  # one GPU, all of JOBS below
    python benchmarks/modes_gpu.py --jobs train:fashion:256:auto call:fashion:1:default
    python benchmarks/modes_gpu.py --smoke                          # does the script run?

A job is train or call, a config, a batch, a mode ("eager" for none). "train" is the trainer's whole
step on uniform noise; "call" the network alone, without gradients, in bf16. Each job has a process
of its own. They compile side by side, with an empty cache, which is why `first_step_s` is longer
here than alone; then each is timed while all others wait. Rows already in --out are not measured
again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from judge import wait
from record import SPEED, Record, provenance

from minidiff.data.sets import Images
from minidiff.denoiser import Denoiser
from minidiff.engine.compiled import compiled
from minidiff.engine.config import make_config, read_config
from minidiff.engine.distributed import World, usable
from minidiff.engine.speed import peak_flops, training_flops
from minidiff.engine.trainer import Trainer
from minidiff.unet.config import PRESETS

JOBS = " ".join(
    [
        f"train:cifar10_minutes:{n}:{mode}"
        for n in (128, 256, 512, 1024)
        for mode in ("default", "auto")
    ]
    + [f"train:fashion:256:{mode}" for mode in ("default", "auto")]
    + [
        f"call:cifar10_minutes:{n}:{mode}"
        for n in (1, 1000)
        for mode in ("eager", "reduce-overhead")
    ]
)
SMOKE = "train:digits:4:auto call:digits:1:eager"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--jobs", nargs="+", default=JOBS.split(), help="what:config:batch:mode")
    p.add_argument("--seconds", type=float, default=4.0, help="of timing for each")
    p.add_argument("--out", default="modes_gpu.json")
    p.add_argument("--smoke", action="store_true", help="a small network, nothing is kept")
    p.add_argument("--child", help=argparse.SUPPRESS)
    return p


def main() -> None:
    """Start a process for each job, let all compile, then time one after the other."""
    args = parser().parse_args()
    if args.child:
        return child(args.child, args.seconds)
    jobs, seconds = (SMOKE.split(), 0.1) if args.smoke else (args.jobs, args.seconds)
    device = usable(None)
    head = provenance(device) | {"processes": 1}
    if device.type == "cuda":
        head["bf16_peak_TFLOPs"] = round(peak_flops(device) / 1e12, 1)
    record = Record(None if args.smoke else args.out, head, same=SPEED)
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
        command = [sys.executable, __file__, "--seconds", str(seconds), "--child"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        children = [subprocess.Popen([*command, j], env=environment, **pipes) for j in jobs]
        ready = [json.loads(c.stdout.readline() or "{}") for c in children]  # all are, from here on
        for job, process, found in zip(jobs, children, ready, strict=True):
            key = dict(zip(("what", "config", "batch", "mode"), job.split(":"), strict=True))
            key["batch"] = int(key["batch"])
            answer = process.communicate("now\n")[0] or '{"error": "the process died"}'
            record.measure(key, lambda answer=answer, found=found: found | json.loads(answer))


def child(job: str, seconds: float) -> None:
    """One job: compile, say so, wait for the word, and time."""
    what, name, batch, mode = job.split(":")
    work, facts = {"train": step_of, "call": call_of}[what](name, int(batch), mode)
    device = usable(None)
    begun = time.perf_counter()
    work()
    wait(device)
    first = time.perf_counter() - begun
    for _ in range(4):
        work()
    wait(device)
    print(json.dumps({"first_step_s": round(first, 1)} | facts), flush=True)
    sys.stdin.readline()
    times = []
    for _ in range(3):
        start, n = time.perf_counter(), 0
        while n < 2 or time.perf_counter() - start < seconds / 3:
            work()
            n += 1
            if n % 10 == 0:
                wait(device)
        wait(device)
        times.append((time.perf_counter() - start) / n)
    rate = int(batch) / min(times)
    found = {"ms": round(1e3 * min(times), 3), "ms_slowest_third": round(1e3 * max(times), 3)}
    found |= {"images_per_s": round(rate, 1), "TFLOPs": round(rate * facts["flops"] / 1e12, 2)}
    if device.type == "cuda":
        found["memory_GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    print(json.dumps(found), flush=True)


def trainer_of(name: str, batch: int, mode: str) -> Trainer:
    """The trainer of a config, with this batch and mode, on uniform noise of its size."""
    device = usable(None)
    c = read_config(name)
    c = make_config({"batch": batch, "compile": "" if mode == "eager" else mode, "seed": 1}, c)
    shape = PRESETS[c.network].in_channels, PRESETS[c.network].size, PRESETS[c.network].size
    n = 4096 if device.type == "cuda" else 64
    pixels = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, device=device)
    labels = torch.zeros(n, dtype=torch.long, device=device)
    torch.backends.cudnn.benchmark = True  # as `train` does
    return Trainer(c, World(0, 1, device), Images(pixels, labels, ("noise",) * 10, "noise"))


def step_of(name: str, batch: int, mode: str) -> tuple[Callable[[], Any], dict[str, Any]]:
    """A training step, and what it computes for one image."""
    trainer = trainer_of(name, batch, mode)
    batches = trainer.batches()
    x, labels = trainer.data.batch([0])
    t = torch.zeros(1, device=x.device)
    flops = training_flops(trainer.net, x, t, *([labels] if trainer.labelled else []))
    facts = {"parameters": sum(p.numel() for p in trainer.weights), "flops": flops}
    return lambda: trainer.step(batches), facts | {"precision": trainer.precision}


def call_of(name: str, batch: int, mode: str) -> tuple[Callable[[], Any], dict[str, Any]]:
    """A call of the network as a sampler makes it, and what it computes for one image."""
    trainer = trainer_of(name, batch, "eager")
    net = compiled(trainer.net.eval(), "" if mode == "eager" else mode)
    device = trainer.world.device
    model = Denoiser(net, trainer.model.schedule)
    x = torch.randn(batch, *trainer.data.shape, device=device)
    flops = training_flops(trainer.net, x[:1], torch.zeros(1, device=device)) / 3

    def call() -> None:
        with torch.no_grad(), trainer.autocast():
            model(x, 500)

    facts = {"parameters": sum(p.numel() for p in trainer.weights), "flops": flops}
    return call, facts | {"precision": trainer.precision}


if __name__ == "__main__":
    main()
