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
import contextlib
import gc
import importlib.metadata
import json
import time
from pathlib import Path
from typing import Any

import torch
from peers import RECIPES, Recipe, parse
from record import RESULTS, provenance, save

from minidiff.data.sets import Images
from minidiff.engine.distributed import World, processes
from minidiff.engine.speed import peak_flops

PACKAGES = ("diffusers", "denoising-diffusion-pytorch", "ema-pytorch", "smalldiffusion")
JOBS = (
    "ours:plain:512 ours:fused:512 ours:bf16:512 ours:compiled:512 ours:compiled:128 "
    "ours:compiled:1024 ours:graphs:128 diffusers:default:16 diffusers:default:128 "
    "diffusers:tuned:512 lucidrains:default:32 lucidrains:default:128 lucidrains:tuned:512 "
    "smalldiffusion:default:256 smalldiffusion:tuned:512"
)


def head(world: World) -> dict[str, Any]:
    """How a file of results was made, with the versions of the peers that are installed."""
    made = provenance(world.device) | {"processes": world.size}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            made["versions"][package] = importlib.metadata.version(package)
    return made


def resumed(path: str | Path, rows: str, made: dict[str, Any]) -> dict[str, Any]:
    """`made` with the rows, notes and commands that the file has already; failed rows are left out.

    A file of other hardware or another torch is not written over: that is an error.
    """
    if not Path(path).exists():
        return made | {rows: []}
    old = json.loads(Path(path).read_text())
    for what, there, here in (
        ("hardware", old["hardware"], made["hardware"]),
        ("processes", old["processes"], made["processes"]),
        ("torch", old["versions"]["torch"], made["versions"]["torch"]),
    ):
        if there != here:
            raise SystemExit(
                f"{path} was measured with {what} {there}, here {here}: name another --out"
            )
    good = [row for row in old[rows] if "error" not in row]
    both = {"command": f"{old['command']}; {made['command']}", rows: good}
    return old | made | both | {"versions": old["versions"] | made["versions"]}


def measure(recipe: Recipe, world: World, seconds: float) -> dict[str, Any]:
    """Time per step: after a warm-up, steps are queued for `seconds` and waited for at the end."""
    cuda = world.device.type == "cuda"

    def wait() -> None:
        if cuda:
            torch.cuda.synchronize(world.device)

    begun = time.perf_counter()
    for _ in range(8 if cuda else 1):
        recipe.step()
    wait()
    warmup = time.perf_counter() - begun
    start = time.perf_counter()
    recipe.step()
    wait()
    steps = max(2, int(seconds / (time.perf_counter() - start)))
    steps = int(world.mean(torch.tensor(float(steps), device=world.device)).item())
    times = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(max(1, steps // 3)):
            recipe.step()
        wait()
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


def main() -> None:
    """Measure all jobs and write them to a JSON file as they come."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--jobs", nargs="+", default=JOBS.split(), help="library:rung:batch")
    p.add_argument("--seconds", type=float, default=6.0, help="of timing for each")
    p.add_argument("--out", default=str(RESULTS / "train_gpu.json"))
    p.add_argument("--smoke", action="store_true", help="tiny networks, nothing compiled or kept")
    args = p.parse_args()
    jobs = [parse(job) for job in args.jobs]
    if args.smoke:
        args.seconds = 0.3
        jobs = sorted({(library, rung, 8) for library, rung, _ in jobs})
        torch.compiler.set_stance("force_eager")
    with processes() as world:
        if world.size > 1 and any(library != "ours" for library, *_ in jobs):
            p.error("only ours run on several GPUs")
        cuda = world.device.type == "cuda"
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(0)
        n = 50_000 if not args.smoke else 512
        pixels = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, device=world.device)
        labels = torch.zeros(n, dtype=torch.long, device=world.device)
        data = Images(pixels, labels, ("noise",), "uniform noise, the size of CIFAR-10")
        peak = peak_flops(world.device) if cuda else None
        made = head(world)
        result = made | {"runs": []} if args.smoke else resumed(args.out, "runs", made)
        for library, rung, batch in jobs:
            run: dict[str, Any] = {"library": library, "rung": rung, "batch": batch}
            if any(run.items() <= row.items() for row in result["runs"]):
                continue
            recipe = None
            try:
                make = RECIPES[library]
                recipe = make(rung, batch, data, world, args.smoke, lambda: 0.0)
                run |= recipe.size()
                run |= measure(recipe, world, args.seconds)
                if peak:
                    work = 3 * run["forward_flops_per_image"] * run["images_per_s"]
                    run["mfu"] = round(work / (peak * world.size), 4)
                    run["bf16_peak_TFLOPs"] = round(peak / 1e12, 1)
            except (ImportError, RuntimeError) as error:  # the next job may still run
                run["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            del recipe
            torch.compiler.reset()
            gc.collect()
            if cuda:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            result["runs"].append(run)
            if world.main:
                print(json.dumps(run), flush=True)
                if not args.smoke:
                    save(args.out, result)


if __name__ == "__main__":
    main()
