"""Digits from nothing on a laptop's processor: seconds, memory, a picture; and the time of import.

OMP_NUM_THREADS=2 python benchmarks/digits_cpu.py

Trains configs/digits.py in a process of its own, then draws 36 samples of its average in 50 DDIM
steps into book/images/digits_minute.png. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time

from record import CONFIGS, RESULTS, provenance, save

PICTURE = RESULTS.parent / "book" / "images" / "digits_minute.png"
QUIET = ["--sample_every", "0", "--validate_every", "0"]


def seconds(*arguments: str) -> float:
    """Of one process from its start to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stderr=subprocess.DEVNULL)
    return round(time.perf_counter() - start, 2)


def parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def main() -> None:
    """Measure, and draw."""
    parser().parse_args()
    result = provenance("cpu")
    with tempfile.TemporaryDirectory() as run:
        config = str(CONFIGS / "digits.py")
        result["training_seconds"] = seconds(
            "-m", "minidiff", "train", config, "--out", run, *QUIET
        )
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # KiB on Linux
        result["training_peak_memory_mib"] = round(most / 1024, 1)
        result["sampling_seconds"] = seconds(
            *("-m", "minidiff", "sample", run, "--n", "36", "--steps", "50"),
            *("--scale", "4", "--out", str(PICTURE)),
        )
    alone = min(seconds("-c", "import torch") for _ in range(5))
    both = min(seconds("-c", "import minidiff") for _ in range(5))
    result |= {"import_torch_seconds": alone, "import_minidiff_seconds": both}
    print(save("digits_cpu.json", result), result)


if __name__ == "__main__":
    main()
