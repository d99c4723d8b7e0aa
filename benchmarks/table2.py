"""DDPM's table 2 in miniature: what is predicted x loss x variance, one small network, equal steps.

python benchmarks/table2.py                                         # digits, on a processor
python benchmarks/table2.py --data cifar10 --steps 1500 --train-batch 512 --precision bf16 \
    --n 10000 --n-nll 500 --batch 1000                              # on a GPU; --rows: in parts
python benchmarks/table2.py --smoke                                 # does the script run?

Every row has the same network, schedule, images and order of images; a learned variance only
doubles the output channels. Samples are ancestral in all T steps. Writes <data>_table2.json; rows
already there (same settings and seed) are not measured again.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from judge import Quality, Setup, bound, last, quality, samples
from record import CONFIGS, Record, provenance

import minidiff as md
from minidiff.data.images import from_uint8
from minidiff.engine.config import TrainConfig, make_config, read_config

ROWS = (  # predict, loss, variance: first the paper's six, in its order
    ("mu", "vlb", "diagonal"),
    ("mu", "vlb", "large"),
    ("mu", "simple", "large"),
    ("eps", "vlb", "diagonal"),
    ("eps", "vlb", "large"),
    ("eps", "simple", "large"),
    ("x0", "simple", "large"),
    ("v", "simple", "large"),
)
CIFAR10 = {
    "data": "cifar10",
    "flip": True,
    "network": "cifar10",
    "network_options": {"width": 48, "mults": (1, 2, 2), "blocks": 1, "groups": 16, "dropout": 0.0},
    "lr": 1e-3,
    "ema": (0.999,),
    "compile": "default",
}
TINY = {"width": 8, "mults": (1,), "attention": (), "blocks": 1, "groups": 8}


def row(c: TrainConfig, setup: Setup, n_nll: int, judge: Quality) -> dict[str, Any]:
    """Train, then the bound of test images and the quality of samples."""
    start = time.perf_counter()
    model = md.train(c, device=setup.device, bar=False)
    found: dict[str, Any] = {"seconds_training": round(time.perf_counter() - start, 1)}
    found["parameters"] = sum(p.numel() for p in model.net.parameters())
    if setup.device != "cpu":
        model.net = torch.compile(model.net.to(memory_format=torch.channels_last))
    test = md.data.load(c.data, "test", device=setup.device)
    with torch.no_grad():
        terms = bound(setup, model, from_uint8(test.images[:n_nll]))[c.variance]
        drawn, _ = samples(
            setup, test.shape, lambda x_T, g: last(md.ancestral(model, x_T, generator=g))
        )
    keep = ("bits_per_dim", "standard_error", "rate", "distortion")
    return found | {"samples": judge(drawn)} | {k: terms[k] for k in keep}


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--data", choices=("digits", "cifar10"), default="digits")
    result.add_argument("--rows", type=int, nargs="+", default=range(len(ROWS)), help="which of 8")
    result.add_argument("--T", type=int, default=200)
    result.add_argument("--steps", type=int, default=1000)
    result.add_argument("--train-batch", type=int, default=64)
    Setup.options(result, n=500, batch=500)
    result.add_argument("--n-nll", type=int, default=100, help="test images for the bound")
    result.add_argument("--smoke", action="store_true", help="tiny, nothing is kept")
    result.add_argument("--out", help="default: <data>_table2.json")
    return result


def main() -> None:
    """One row after the other."""
    args = parser().parse_args()
    if args.smoke:
        args.T, args.steps, args.n, args.batch, args.n_nll = 25, 2, 100, 100, 4
    setup = Setup.of(args)
    same = {"T": args.T, "steps": args.steps, "batch": args.train_batch, "seed": setup.seed}
    same |= {"sample_every": 0, "validate_every": 0} | (CIFAR10 if args.data == "cifar10" else {})
    if args.smoke:
        same["network_options"] = TINY
    base = make_config(same, read_config(CONFIGS / "digits.py"))
    judge = quality(
        setup.device, args.data, "inception768" if args.data == "cifar10" else "classifier"
    )
    out = None if args.smoke else args.out or f"{args.data}_table2.json"
    table = Record(out, provenance(setup.device) | {"seed": setup.seed}, same=("seed",))
    for predict, loss, variance in (ROWS[i] for i in args.rows):
        changes = {"predict": predict, "loss": loss, "variance": variance}
        key = changes | {"T": args.T, "steps": args.steps, "train_batch": args.train_batch}
        c = make_config(changes, base)
        table.measure(
            key | {"n": setup.n, "n_nll": args.n_nll},
            lambda c=c: row(c, setup, args.n_nll, judge),
        )


if __name__ == "__main__":
    main()
