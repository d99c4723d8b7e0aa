"""The log of a training run as one file in results/.

python benchmarks/training_record.py runs/cifar10 --gpus 2 --hardware "2 x NVIDIA H200" \
    --torch 2.11.0+cu130 --command "torchrun --nproc_per_node=2 -m minidiff train ..."

A run that began with the average of an earlier one (`init`) is added to that one's record with
--before FILE: steps, images and GPU-hours are counted on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from record import save


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("run", type=Path)
    result.add_argument("--gpus", type=int, required=True)
    result.add_argument("--hardware", required=True)
    result.add_argument("--torch", required=True, help="its version")
    result.add_argument("--command", required=True, help="that trained")
    result.add_argument("--before", type=Path, help="the record of an earlier run")
    result.add_argument("--out", default="cifar10_training.json")
    return result


def main() -> None:
    """Keep the configuration, and of each stretch its seconds, speed, losses and validation."""
    args = parser().parse_args()
    made = {"command": args.command, "hardware": args.hardware, "torch": args.torch}
    earlier = json.loads(args.before.read_text()) if args.before else {}
    done = sum(s["steps"] for s in earlier.get("stretches", []))
    config = json.loads((args.run / "config.json").read_text())
    log = [json.loads(line) for line in (args.run / "log.jsonl").read_text().splitlines()]
    train = [row for row in log if "loss" in row]
    starts = [
        i for i, row in enumerate(train) if i == 0 or row["seconds"] < train[i - 1]["seconds"]
    ]
    stretches = []
    for first, end in zip(starts, [*starts[1:], len(train)], strict=True):
        rows = train[first:end]
        before = train[first - 1]["step"] if first else 0
        rates = sorted(row["images_per_second"] for row in rows[1:])
        stretches.append(
            {
                "steps": rows[-1]["step"] - before,
                "images": (rows[-1]["step"] - before) * config["batch"],
                "seconds": rows[-1]["seconds"],
                "gpus": args.gpus,
                "images_per_second_median": rates[len(rates) // 2],
                **made,
            }
        )
    keep = ("step", "loss", "grad_norm", "lr", "images_per_second", "mfu", "loss_by_log_snr")
    stretches = earlier.get("stretches", []) + stretches
    lines = [{k: row[k] for k in keep if k in row} for row in train[3::4]]
    held_out = [row for row in log if "val_loss" in row]
    for row in lines + held_out:
        row["step"] += done
    places = dict.fromkeys(stretch["hardware"] for stretch in stretches)
    ended = time.localtime((args.run / "log.jsonl").stat().st_mtime)
    result = {
        "command": args.command,
        "date": time.strftime("%Y-%m-%d", ended),
        "hardware": ", then ".join(places),
        "versions": {"torch": args.torch},
        "script": "benchmarks/training_record.py",
        "config": config,
        "stretches": stretches,
        "images": sum(s["images"] for s in stretches),
        "gpu_hours": sum(s["seconds"] * s["gpus"] for s in stretches) / 3600,
        "validation": earlier.get("validation", []) + held_out,
        "log": earlier.get("log", []) + lines,
    }
    print(save(args.out, result), stretches)


if __name__ == "__main__":
    main()
