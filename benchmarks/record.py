"""Results with their provenance: every file in results/ says how it was made."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from minidiff.data.files import write_whole

RESULTS = Path(__file__).resolve().parent.parent / "results"


def provenance(device: torch.device | str) -> dict[str, Any]:
    """Command, hardware and versions of this process."""
    device = torch.device(device)
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    if device.type == "cuda":
        versions |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    script = os.path.relpath(sys.argv[0], RESULTS.parent)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    launcher = f"torchrun --nproc_per_node={processes}" if processes > 1 else "python"
    return {
        "command": f"{launcher} {shlex.join([script, *sys.argv[1:]])}",
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware,
        "versions": versions,
    }


def located(path: str | Path) -> Path:
    """A bare name lies in results/."""
    path = Path(path)
    return path if path.parent != Path() else RESULTS / path


def save(path: str | Path, result: dict[str, Any]) -> Path:
    """Write a result as JSON, whole or not at all; a bare name goes to results/."""
    path = located(path)
    write_whole(path, (json.dumps(result, indent=1) + "\n").encode())
    return path
