"""Run every notebook in the GPU profile, several at once, and leave the files as they are.

    python benchmarks/notebooks_gpu.py                                 # all, 4 on each GPU
    python benchmarks/notebooks_gpu.py 17_scale --profile cpu --out /tmp/notebooks.json
    python benchmarks/notebooks_gpu.py --remote book.git               # a rehearsal of Colab

Each runs from an empty folder under a time limit; the GPUs are dealt out in turn. What it took,
the last lines of an error and the most GPU memory that PyTorch held go to results/ at the end of
each notebook. Needs nbclient and ipykernel.

With --remote the notebooks come from a bare git repository, and each is met as on Colab: minidiff
is not installed, and the notebook's first cell installs it from that repository with pip, beside
the PyTorch that is there. (`git clone --bare` makes one, with uploadpack.allowFilter and
uploadpack.allowAnySHA1InWant switched on in its configuration, as they are on GitHub.) --t4 lets
training choose its precision as on a T4, float16.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
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
COLAB = 'import sys, types\nsys.modules["google.colab"] = types.ModuleType("google.colab")'
T4 = "import torch\ntorch.cuda.get_device_capability = lambda *_: (7, 5)"


def as_on_colab(notebook: nbformat.NotebookNode, remote: Path, home: Path) -> dict[str, str]:
    """Set the address in the first cell; the environment of a Python that has no minidiff."""
    git = ["git", "-C", str(remote), "rev-parse", "HEAD"]
    commit = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    address = f"git+file://{remote.resolve()}@{commit}"
    for cell in notebook.cells:
        cell.source = re.sub(r"git\+https://[\w./-]+@[\w.-]+", address, cell.source)
    notebook.cells.insert(0, new_code_cell(COLAB))
    command = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", home]
    subprocess.run(command, check=True)
    kernel = home / "share" / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    argv = [str(home / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Colab"}))
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {
        "JUPYTER_PATH": str(home / "share" / "jupyter"),
        "PYTHONPATH": os.pathsep.join(p for p in known if p and not Path(p, "minidiff").exists()),
    }


def execute(
    path: Path, limit: float, environment: dict[str, str], remote: Path | None, t4: bool
) -> dict[str, Any]:
    """Seconds, peak memory, and whether it ran to its end, or which cell failed and how."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(new_code_cell(MEMORY))
    row: dict[str, Any] = {"notebook": path.stem}
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as home:
        if t4:
            notebook.cells.insert(0, new_code_cell(T4))
        if remote:
            environment = environment | as_on_colab(notebook, remote, Path(home))
        start = time.perf_counter()
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            resources={"metadata": {"path": empty}},
            timeout_func=lambda cell: max(1, round(start + limit - time.perf_counter())),
        )
        if remote:  # the kernel of this notebook alone
            client.create_kernel_manager()
            specs = client.km.kernel_spec_manager
            specs.kernel_dirs = [f"{environment['JUPYTER_PATH']}/kernels"]
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
    result.add_argument("-j", "--jobs", type=int, help="at once; default: 4 on each GPU")
    result.add_argument("--limit", type=float, default=300, help="seconds for one notebook")
    result.add_argument("--remote", type=Path, help="a bare repository that holds the book")
    result.add_argument("--t4", action="store_true", help="train in float16, as a T4 does")
    result.add_argument("--out", default="notebooks_gpu.json")
    return result


def main() -> int:
    args = parser().parse_args()
    gpus = torch.cuda.device_count()
    args.jobs = args.jobs or max(1, 4 * gpus)
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    result = provenance("cuda" if args.profile == "gpu" else "cpu")
    result |= {"gpus": gpus, "profile": args.profile, "jobs": args.jobs, "limit": args.limit}
    result |= {"threads_per_notebook": threads, "notebooks": []}
    result |= {"as_on_colab": args.remote is not None, "float16": args.t4}
    folder = NOTEBOOKS
    if args.remote:
        book = Path(tempfile.mkdtemp())
        subprocess.run(["git", "clone", "-q", args.remote.resolve(), book], check=True)
        folder = book / "notebooks"
    paths = [folder / f"{name}.ipynb" for name in args.names] or sorted(folder.glob("*.ipynb"))
    common = {"MINIDIFF_PROFILE": args.profile, "OMP_NUM_THREADS": str(threads)}
    with ThreadPoolExecutor(args.jobs) as pool:
        work = []
        for path, gpu in zip(paths, itertools.cycle(range(max(1, gpus)))):
            environment = common | ({"CUDA_VISIBLE_DEVICES": str(gpu)} if gpus else {})
            work.append(pool.submit(execute, path, args.limit, environment, args.remote, args.t4))
        for future in as_completed(work):
            row = future.result()
            result["notebooks"].append(row)
            result["notebooks"].sort(key=lambda row: row["notebook"])
            save(args.out, result)
            print(row["notebook"], "ok" if row["ok"] else "\n".join(row["error"]), row["seconds"])
    return int(not all(row["ok"] for row in result["notebooks"]))


if __name__ == "__main__":
    raise SystemExit(main())
