"""Digits and creatures from nothing on a laptop's processor: seconds, pictures; CIFAR-10; import.

OMP_NUM_THREADS=2 python benchmarks/digits_cpu.py

Trains configs/digits.py and configs/creatures16.py, each in a process of its own, draws 36 samples
of either's average in 50 DDIM steps into book/images/digits_minute.png and creatures_minutes.png,
and 16 images of the CIFAR-10 network in 12 calls. Nothing else should run meanwhile; with one
thread the processor's seconds hold on a busy machine, too.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time

from record import CONFIGS, RESULTS, provenance, save

PICTURES = RESULTS.parent / "book" / "images"
QUIET = ["--sample_every", "0", "--validate_every", "0"]


def seconds(*arguments: str) -> dict[str, float]:
    """Of one process from its start to its end: on the clock, and of all processors."""
    wall, processor = time.perf_counter(), used()
    subprocess.run([sys.executable, *arguments], check=True, stderr=subprocess.DEVNULL)
    wall, processor = time.perf_counter() - wall, used() - processor
    return {"wall": round(wall, 2), "processor": round(processor, 2)}


def used() -> float:
    """Processor time of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def main() -> None:
    """Measure, and draw."""
    parser().parse_args()
    result = provenance("cpu")
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in (("digits", "digits_minute"), ("creatures16", "creatures_minutes")):
            run = f"{folder}/{name}"
            config = str(CONFIGS / f"{name}.py")
            result[f"{name}_training_seconds"] = seconds(
                "-m", "minidiff", "train", config, "--out", run, *QUIET
            )
            most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # KiB, of all so far
            result[f"{name}_peak_memory_mib"] = round(most / 1024, 1)
            result[f"{name}_sampling_seconds"] = seconds(
                *("-m", "minidiff", "sample", run, "--n", "36", "--steps", "50"),
                *("--scale", "4", "--out", str(PICTURES / f"{picture}.png")),
            )
        for precision in ("fp32", "bf16"):
            result[f"cifar10_{precision}_seconds"] = seconds(
                *("-m", "minidiff", "sample", "cifar10", "--n", "16", "--precision", precision),
                *("--sampler", "dpm++", "--spacing", "logsnr", "--steps", "12"),
                *("--out", f"{folder}/cifar10.png"),
            )
    alone = min(seconds("-c", "import torch")["processor"] for _ in range(5))
    both = min(seconds("-c", "import minidiff")["processor"] for _ in range(5))
    result |= {"import_torch_seconds": alone, "import_minidiff_seconds": both}
    print(save("digits_cpu.json", result), result)


if __name__ == "__main__":
    main()
