"""Images per second of a training step of the CIFAR-10 network: ours rung by rung, and others'.

    python benchmarks/train_gpu.py                      # one GPU, all of JOBS below
    python benchmarks/train_gpu.py --jobs ours:compiled:512 diffusers:tuned:512
    torchrun --nproc_per_node=2 benchmarks/train_gpu.py --jobs ours:compiled:512 \\
        --out train_2gpu.json                           # scaling
    python benchmarks/train_gpu.py --smoke              # a minute on a processor

A job is library:rung:batch, the batch of one GPU and one forward pass; peers.py says what the rungs
are. Every job does the whole step: batch from a uint8 tensor on the device with random flips,
noise, loss, gradient, clipping where the library clips, optimizer, average. MFU: 3 x the FLOPs of a
forward pass of the job's own network x images/s, as a share of a bf16 matrix product measured in
the same run. Rows already in --out are not measured again, except those that failed; a file of
other hardware or another torch is refused.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from judge import wait
from peers import PACKAGES, RECIPES, Recipe, parse
from record import SPEED, Record, attempt, provenance

from minidiff.data.sets import Images
from minidiff.engine.distributed import World, processes
from minidiff.engine.speed import peak_flops

JOBS = (
    "ours:plain:512 ours:fused:512 ours:bf16:512 ours:compiled:512 ours:compiled:128 "
    "ours:compiled:1024 ours:graphs:128 diffusers:default:16 diffusers:default:128 "
    "diffusers:tuned:512 lucidrains:default:32 lucidrains:default:128 lucidrains:tuned:512 "
    "smalldiffusion:default:256 smalldiffusion:tuned:512"
)


def measure(recipe: Recipe, world: World, seconds: float) -> dict[str, Any]:
    """Time per step: after a warm-up, steps are queued for `seconds` and waited for at the end."""
    cuda = world.device.type == "cuda"
    begun = time.perf_counter()
    for _ in range(8 if cuda else 1):
        recipe.step()
    wait(world.device)
    warmup = time.perf_counter() - begun
    start = time.perf_counter()
    recipe.step()
    wait(world.device)
    steps = max(2, int(seconds / (time.perf_counter() - start)))
    steps = int(world.mean(torch.tensor(float(steps), device=world.device)).item())
    times = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(max(1, steps // 3)):
            recipe.step()
        wait(world.device)
        times.append((time.perf_counter() - start) / max(1, steps // 3))
    memory = torch.cuda.max_memory_allocated(world.device) / 2**30 if cuda else 0.0
    return {
        "precision": recipe.precision,
        "images_per_step": recipe.images * world.size,
        "ms_per_step": round(1e3 * min(times), 3),
        "ms_per_step_slowest_third": round(1e3 * max(times), 3),
        "warmup_s": round(warmup, 1),
        "memory_GiB": round(memory, 2),
        "images_per_s": round(recipe.images * world.size / min(times), 1),
    }


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--jobs", nargs="+", default=JOBS.split(), help="library:rung:batch")
    p.add_argument("--seconds", type=float, default=6.0, help="of timing for each")
    p.add_argument("--out", default="train_gpu.json")
    p.add_argument("--smoke", action="store_true", help="tiny networks, nothing compiled or kept")
    return p


def main() -> None:
    """Measure all jobs and write them to a JSON file as they come."""
    args = parser().parse_args()
    jobs = [parse(job) for job in args.jobs]
    if args.smoke:
        args.seconds = 0.3
        jobs = sorted({(library, rung, 8) for library, rung, _ in jobs})
        torch.compiler.set_stance("force_eager")
    with processes() as world:
        if world.size > 1 and any(library != "ours" for library, *_ in jobs):
            raise SystemExit("only ours run on several GPUs")
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(0)
        n = 50_000 if not args.smoke else 512
        pixels = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, device=world.device)
        labels = torch.zeros(n, dtype=torch.long, device=world.device)
        data = Images(pixels, labels, ("noise",), "uniform noise, the size of CIFAR-10")
        peak = peak_flops(world.device) if world.device.type == "cuda" else None
        head = provenance(world.device, *PACKAGES) | {"processes": world.size}
        out = None if args.smoke else args.out
        record = Record(out, head, same=SPEED, rows="runs", writes=world.main)

        def run(library: str, rung: str, batch: int) -> dict[str, Any]:
            recipe = RECIPES[library](rung, batch, data, world, args.smoke, lambda: 0.0)
            found = recipe.size() | measure(recipe, world, args.seconds)
            if peak:
                work = 3 * found["forward_flops_per_image"] * found["images_per_s"]
                found["mfu"] = round(work / (peak * world.size), 4)
                found["bf16_peak_TFLOPs"] = round(peak / 1e12, 1)
            return found

        for job in jobs:
            key = dict(zip(("library", "rung", "batch"), job, strict=True))
            record.measure(key, lambda job=job: attempt(lambda: run(*job)))


if __name__ == "__main__":
    main()
