"""What the CIFAR-10 weights scored after earlier stretches of training, out of git's history.

    python benchmarks/earlier.py        # needs a clone with its history, no GPU

Tables of weights that no longer ship are copied, in part, from the commits that held them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from typing import Any

from record import RESULTS, save

STATES = {  # the commit that held a state's tables: how it was trained
    "ce8f8b5": "dropout 0.1, 2 x H200",
    "0687a70": "from the average before, without dropout, 2 x H100",
    "83d038f": "then without dropout, from its average, 2 x H100",
}
ABOUT = (
    "What the CIFAR-10 weights scored after earlier stretches of training, in the order of "
    "training: copied from cifar10_ddim.json (eta = 0, linear tau; of the third state all eta at "
    "S = 50), cifar10_nll.json (without the lists of terms, except in the last state, whose errors "
    "by t are kept) and cifar10_reconstruct.json of commits ce8f8b5, 0687a70 and 83d038f. The "
    "images of cifar10_nll.json were the first 1,000 in the first two, all 10,000 in the third."
)


def at(commit: str, name: str) -> dict[str, Any]:
    """A result as it was."""
    command = ["git", "show", f"{commit}:results/cifar10_{name}.json"]
    run = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"this clone has no commit {commit}: git fetch --unshallow, then again")
    return json.loads(run.stdout)


def ddim(rows: list[dict[str, Any]], last: bool) -> list[dict[str, Any]]:
    """Those that the chapters compare."""
    linear = [row for row in rows if row["tau"] == "linear"]
    return [row for row in linear if row["eta"] == 0 or (last and row["S"] == 50)]


def nll(rows: list[dict[str, Any]], last: bool) -> list[dict[str, Any]]:
    """Without the lists of terms, but for those of the last state's test images with beta-tilde."""
    found = []
    for row in rows:
        whole = last and row["split"] == "test"
        short = {k: v for k, v in row.items() if k not in ("rmse_255", "eps_mse")}
        for variance in ("small", "large"):
            short[variance] = dict(row[variance])
            if not (whole and variance == "small"):
                del short[variance]["terms"]
        short |= {f"eps_mse_{t}": row["eps_mse"][t] for t in (900, 1000)}
        found.append(short | ({"eps_mse": row["eps_mse"]} if whole else {}))
    return found


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--out", default="cifar10_earlier.json")
    return result


def main() -> None:
    """One state after the other, and in front what made the tables."""
    args = parser().parse_args()
    states, commands = [], []
    for commit, training in STATES.items():
        last = commit == list(STATES)[-1]
        tables = {name: at(commit, name) for name in ("ddim", "nll", "reconstruct")}
        state = {"images": at(commit, "training")["images"], "training": training}
        state["weights_sha256"] = tables["ddim"]["weights_sha256"]
        for name, table in tables.items():
            commands += table["command"].split("; ")
            keep = {"ddim": ddim, "nll": nll}.get(name)
            rows = keep(table["rows"], last) if keep else table["rows"]
            head = ("command", "date", "hardware", "versions", "seed")
            state[name] = {k: table[k] for k in head} | {"rows": rows}
        states.append(state)
    result = {
        "about": ABOUT,
        "command": "; ".join(dict.fromkeys(commands)),
        "date": max(table["date"] for table in tables.values()),
        "hardware": "NVIDIA H200, then NVIDIA H100 80GB HBM3",
        "versions": tables["ddim"]["versions"],
        "seed": tables["ddim"]["seed"],
        "script": "benchmarks/earlier.py",
        "weights": states,
    }
    print(save(args.out, result))


if __name__ == "__main__":
    main()
