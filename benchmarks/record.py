"""Results with their provenance: every file in results/ says how it was made."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from minidiff.data.files import write_whole
from minidiff.engine import checkpoint

RESULTS = Path(__file__).resolve().parent.parent / "results"
CONFIGS = RESULTS.parent / "minidiff" / "configs"
SPEED = ("hardware", "processes", "torch")  # what times must share to be compared


def provenance(device: torch.device | str, *packages: str) -> dict[str, Any]:
    """Command, date, hardware and versions of this process; of packages, if they are installed."""
    device = torch.device(device)
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    if device.type == "cuda":
        versions |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    script = os.path.relpath(sys.argv[0], RESULTS.parent)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    launcher = f"torchrun --nproc_per_node={processes}" if processes > 1 else "python"
    return {
        "command": f"{launcher} {shlex.join([script, *sys.argv[1:]])}",
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware,
        "versions": versions,
    }


def weights_digest(weights: str | Path) -> str:
    """sha256 of the tensors that `load_pretrained` would read, whatever their model card says."""
    path = Path(weights)
    if path.is_dir():
        path = checkpoint.latest(path)
    elif not path.exists():
        path = checkpoint.SHIPPED / f"{weights}.safetensors"
    digest = hashlib.sha256()
    for name, tensor in sorted(checkpoint.read(path)[0].items()):
        digest.update(name.encode() + tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def located(path: str | Path) -> Path:
    """A bare name lies in results/."""
    path = Path(path)
    return path if path.parent != Path() else RESULTS / path


def save(path: str | Path, result: dict[str, Any]) -> Path:
    """Write a result as JSON, whole or not at all; a bare name goes to results/."""
    path = located(path)
    write_whole(path, (json.dumps(result, indent=1) + "\n").encode())
    return path


class Record:
    """A result made row by row, each saved at once, so that a run that stopped can go on.

    The rule: a file that is there is gone on with. Its rows, notes and commands are kept; a row
    that it has is not measured again, unless it failed. Its head must agree in `same`, without
    which rows can't be compared; otherwise it is left alone and that is an error. Without a path
    nothing is read or kept.
    """

    def __init__(
        self,
        path: str | Path | None,
        head: dict[str, Any],
        same: Sequence[str],
        *,
        rows: str = "rows",
        writes: bool = True,  # one of several processes does
    ) -> None:
        self.path = located(path) if path else None
        self.head, self.name, self.writes = head, rows, writes
        self.hardware = head["hardware"]
        self.rows: list[dict[str, Any]] = []
        if self.path and self.path.exists():
            self._go_on(json.loads(self.path.read_text()), same)

    def _go_on(self, old: dict[str, Any], same: Sequence[str]) -> None:
        for what in same:
            there, here = (head.get(what, head["versions"].get(what)) for head in (old, self.head))
            if there != here:
                raise SystemExit(
                    f"{self.path} was measured with {what} {there}, here {here}: "
                    "name another --out, or move that file away"
                )
        self.rows = [row for row in old.pop(self.name) if "error" not in row]
        old["command"] = _joined(old["command"], "; ", self.head.pop("command"))
        old["hardware"] = _joined(old["hardware"], ", then ", self.head.pop("hardware"))
        self.head = old | self.head | {"versions": old["versions"] | self.head["versions"]}

    def has(self, key: dict[str, Any]) -> bool:
        """Whether a row with this key is there."""
        return any(key.items() <= row.items() for row in self.rows)

    def measure(self, key: dict[str, Any], how: Callable[[], dict[str, Any]]) -> None:
        """Measure one row, unless it is there."""
        if self.has(key):
            return
        start = time.perf_counter()
        row = key | {"hardware": self.hardware} | how()
        row["seconds_in_all"] = round(time.perf_counter() - start, 2)
        self.rows.append(row)
        if not self.writes:
            return
        if self.path:
            save(self.path, self.head | {self.name: self.rows})
        short = {k: v for k, v in row.items() if len(json.dumps(v)) < 1000}  # no list of 1000 terms
        print(json.dumps(short), flush=True)


def _joined(old: str, mark: str, new: str) -> str:
    return old if new in old.split(mark) else old + mark + new


def attempt(how: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `how` finds, or the error that ended it: the next row may still run."""
    try:
        return how()
    except (ImportError, RuntimeError) as error:
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    finally:
        torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
