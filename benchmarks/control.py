"""Is it the drawing of t? Two runs from the shipped weights that differ in nothing else.

    python benchmarks/control.py --out runs/control.json        # half an hour on a GPU

One draws a quarter of its t by the weights of the bound, the other all of them evenly. Each is
judged by its float32 average, and by the same average as `export --quantize int8` with these layers
in 16 bits stores it: what tables.py nll and int8 measure. The runs stay in runs/ and are gone on
with.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import torch
from judge import Setup, quality
from record import CONFIGS, RESULTS, Record, provenance, save, weights_digest
from tables import int8, nll

import minidiff as md
from minidiff.engine.config import make_config, read_config

RUNS = RESULTS.parent / "runs"
ARMS = ("bound", "stratified")
SAME = {"init": "cifar10", "batch": 512, "lr": 3e-4, "warmup": 200, "steps": 3000, "seed": 2}
QUIET = {"max_seconds": 320, "sample_every": 0, "validate_every": 0, "save_seconds": 10_000}
HALF = ["up.13.", "up.14."]


def arm(times: str, setup: Setup) -> dict[str, Any]:
    """One run, and what is measured of it."""
    run = RUNS / times
    c = make_config(SAME | QUIET | {"times": times}, read_config(CONFIGS / "cifar10_h200.py"))
    md.train(c, run, device=setup.device, bar=False, resume=run.exists())
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = md.checkpoint.read_info(run)["step"]
    found = {"times": times, "steps": steps, "images": steps * c.batch}
    found |= {"seconds": log[-1]["seconds"], "weights_sha256": weights_digest(run)}
    model = md.load_pretrained(run, device=setup.device)
    model.net = torch.compile(model.net.to(memory_format=torch.channels_last))
    head = provenance(setup.device)
    bounds, tables = Record(None, head, same=()), Record(None, head, same=())
    with torch.no_grad():
        nll(bounds, model, replace(setup, n=1000), ["test"], None)
        int8(tables, model, setup, quality(setup.device), [10, 50], 1000, HALF)
    return found | {"nll": bounds.rows[0], "int8": tables.rows}


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    Setup.options(result, n=10_000, batch=1000, precision="bf16")
    result.add_argument("--out", default="cifar10_control.json")
    return result


def main() -> None:
    """One arm after the other."""
    args = parser().parse_args()
    setup = Setup.of(args)
    result = provenance(setup.device) | {"seed": setup.seed}
    result["about"] = __doc__.split("\n\n")[0]
    result |= {"began_with": weights_digest("cifar10"), "arms": []}
    for times in ARMS:
        result["arms"].append(arm(times, setup))
        save(args.out, result)


if __name__ == "__main__":
    main()
