"""Run every notebook in the GPU profile, several at once, and leave the files as they are.

    python benchmarks/notebooks_gpu.py                                 # all, 4 on each GPU
    python benchmarks/notebooks_gpu.py 15_scale --profile cpu --out /tmp/notebooks.json

Each runs from an empty folder under a time limit; the GPUs are dealt out in turn. What it took,
the last lines of an error and the most GPU memory that PyTorch held go to results/ at the end of
each notebook. Needs nbclient and ipykernel.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import nbformat
import torch
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell
from record import provenance, save

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
MEMORY = "import torch; print(torch.cuda.max_memory_allocated() / 2**20)"


def execute(path: Path, limit: float, environment: dict[str, str]) -> dict[str, Any]:
    """Seconds, peak memory, and whether it ran to its end, or which cell failed and how."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(new_code_cell(MEMORY))
    start = time.perf_counter()
    row: dict[str, Any] = {"notebook": path.stem}
    with tempfile.TemporaryDirectory() as empty:
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            resources={"metadata": {"path": empty}},
            timeout_func=lambda cell: max(1, round(start + limit - time.perf_counter())),
        )
        try:
            client.execute(env=os.environ | environment)
            row["ok"] = True
            row["peak_gpu_memory_mib"] = round(float(notebook.cells[-1].outputs[-1].text), 1)
        except Exception as error:
            plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
            row |= {"ok": False, "error": plain.splitlines()[-20:]}
    row["seconds"] = round(time.perf_counter() - start, 1)
    return row


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("names", nargs="*")
    result.add_argument("--profile", choices=["cpu", "gpu"], default="gpu")
    at_once = max(1, 4 * torch.cuda.device_count())
    result.add_argument("-j", "--jobs", type=int, default=at_once)
    result.add_argument("--limit", type=float, default=300, help="seconds for one notebook")
    result.add_argument("--out", default="notebooks_gpu.json")
    return result


def main() -> int:
    args = parser().parse_args()
    gpus = torch.cuda.device_count()
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    result = provenance("cuda" if args.profile == "gpu" else "cpu")
    result |= {"gpus": gpus, "profile": args.profile, "jobs": args.jobs, "limit": args.limit}
    result |= {"threads_per_notebook": threads, "notebooks": []}
    paths = [NOTEBOOKS / f"{name}.ipynb" for name in args.names] or sorted(
        NOTEBOOKS.glob("*.ipynb")
    )
    common = {"MINIDIFF_PROFILE": args.profile, "OMP_NUM_THREADS": str(threads)}
    with ThreadPoolExecutor(args.jobs) as pool:
        work = []
        for path, gpu in zip(paths, itertools.cycle(range(max(1, gpus)))):
            environment = common | ({"CUDA_VISIBLE_DEVICES": str(gpu)} if gpus else {})
            work.append(pool.submit(execute, path, args.limit, environment))
        for future in as_completed(work):
            row = future.result()
            result["notebooks"].append(row)
            result["notebooks"].sort(key=lambda row: row["notebook"])
            save(args.out, result)
            print(row["notebook"], "ok" if row["ok"] else "\n".join(row["error"]), row["seconds"])
    return int(not all(row["ok"] for row in result["notebooks"]))


if __name__ == "__main__":
    raise SystemExit(main())
