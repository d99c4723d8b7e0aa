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
import tempfile
import time
from typing import Any

import torch
from record import RESULTS
from tables import Table, bound, samples

import minidiff as md
from minidiff.data.images import from_uint8
from minidiff.engine.config import TrainConfig, make_config, read_config
from minidiff.measure.metrics import evaluate

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


def config(args: argparse.Namespace, changes: dict[str, Any]) -> TrainConfig:
    """What all rows share, and what tells them apart."""
    same = {"T": args.T, "steps": args.steps, "batch": args.train_batch, "seed": args.seed}
    same |= {"sample_every": 0, "validate_every": 0} | (CIFAR10 if args.data == "cifar10" else {})
    if args.smoke:
        same["network_options"] = {
            "width": 8,
            "mults": (1,),
            "attention": (),
            "blocks": 1,
            "groups": 8,
        }
    digits = RESULTS.parent / "minidiff" / "configs" / "digits.py"
    return make_config(same | changes, read_config(digits))


def row(args: argparse.Namespace, c: TrainConfig) -> dict[str, Any]:
    """Train, then the bound of test images and the quality of samples."""
    start = time.perf_counter()
    model = md.train(c, device=args.device, bar=False)
    found: dict[str, Any] = {"seconds_training": round(time.perf_counter() - start, 1)}
    found["parameters"] = sum(p.numel() for p in model.net.parameters())
    if args.device != "cpu":
        model.net = torch.compile(model.net.to(memory_format=torch.channels_last))
    test = md.data.load(args.data, "test", device=args.device)
    train = md.data.load(args.data, "train", device=args.device)
    if args.data == "cifar10":
        extractor: Any = md.features.Inception768.load().to(args.device)
    else:
        extractor = md.features.Classifier.load(args.data).to(args.device)

    def walk(x_T: torch.Tensor, g: torch.Generator) -> torch.Tensor:
        *_, last = md.ancestral(model, x_T, generator=g)
        return last.x

    with torch.no_grad():
        terms = bound(args, model, from_uint8(test.images[: args.n_nll]))[c.variance]
        images, _ = samples(args, test.shape, walk)
        found["samples"] = evaluate(images, train, extractor)
    keep = ("bits_per_dim", "standard_error", "rate", "distortion")
    return found | {k: terms[k] for k in keep}


def main() -> None:
    """One row after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=("digits", "cifar10"), default="digits")
    parser.add_argument("--rows", type=int, nargs="+", default=range(len(ROWS)), help="which of 8")
    parser.add_argument("--T", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--train-batch", type=int, default=64)
    parser.add_argument("--n", type=int, default=500, help="samples of each row")
    parser.add_argument("--n-nll", type=int, default=100, help="test images for the bound")
    parser.add_argument("--batch", type=int, default=500, help="in sampling and for the bound")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="tiny, nothing is kept")
    parser.add_argument("--out")
    args = parser.parse_args()
    args.table, args.weights = "table2", None
    with tempfile.TemporaryDirectory() as folder:
        if args.smoke:
            args.T, args.steps, args.n, args.batch, args.n_nll = 50, 2, 100, 100, 4
            args.out = f"{folder}/table2.json"
        table = Table(args)
        for predict, loss, variance in (ROWS[i] for i in args.rows):
            changes = {"predict": predict, "loss": loss, "variance": variance}
            key = changes | {"T": args.T, "steps": args.steps, "train_batch": args.train_batch}
            c = config(args, changes)
            table.measure(key | {"n": args.n, "n_nll": args.n_nll}, lambda c=c: row(args, c))


if __name__ == "__main__":
    main()
