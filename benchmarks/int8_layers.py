"""Which layers does it hurt to keep in 8 bits? The change of eps when one of them is rounded.

python benchmarks/int8_layers.py        # some minutes on a processor, needs CIFAR-10's test images

The shipped weights are rounded already, so a second rounding error of the same size is added to one
part of the network at a time: uniform, of width one step of that part's grid. That includes what
`export` keeps in 16 or 32 bits. A block's small layers, which `pack` never rounds, are a part of
their own. Rows that join parts: all; "not small", what `pack` rounds if `half` names nothing; and
"stored in 8 bits", what it did round. Each holds the mean squared change of eps at some t; in the
rows that join parts it is averaged over --draws of the rounding error, which are kept beside it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import torch
from record import provenance, save, weights_digest
from torch import Tensor

import minidiff as md
from minidiff.data.images import from_uint8
from minidiff.engine import checkpoint
from minidiff.engine.int8 import pack

TIMES = (1000, 950, 900, 700, 400, 50)
JOINED = ("all", "not small", "stored in 8 bits")


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--weights", default="cifar10", help="a shipped name")
    result.add_argument("--n", type=int, default=4, help="test images")
    result.add_argument("--draws", type=int, default=4, help="of the rounding error")
    result.add_argument("--seed", type=int, default=0)
    result.add_argument("--out", default="cifar10_int8_layers.json")
    return result


def main() -> None:
    """One row for each part of the network, the first one for all together."""
    args = parser().parse_args()
    model = md.load_pretrained(args.weights)
    x0 = from_uint8(md.data.load("cifar10", "test").images[: args.n])
    g = torch.Generator().manual_seed(args.seed)
    noise = {t: torch.randn(x0.shape, generator=g) for t in TIMES}

    def eps() -> dict[int, Tensor]:
        return {t: model(md.diffuse(model.schedule, x0, t, noise[t]), t).eps for t in TIMES}

    def mse(a: dict[int, Tensor], b: dict[int, Tensor]) -> dict[int, float]:
        return {t: float((a[t] - b[t]).square().mean()) for t in TIMES}

    weights = {k: w for k, w in model.net.named_parameters() if w.ndim >= 2}
    steps = {  # a rounded weight's largest number is 127 steps, so this is its own grid again
        name: w.detach().flatten(1).abs().amax(1).view(-1, *[1] * (w.ndim - 1)) / 127
        for name, w in weights.items()
    }
    stored, _ = checkpoint.read(checkpoint.SHIPPED / f"{args.weights}.safetensors")
    rounded = pack(model.net.state_dict())
    parts: dict[str, list[str]] = defaultdict(list)
    for name in weights:
        parts["all"].append(name)
        small = rounded[name].dtype != torch.int8
        if not small:
            parts["not small"].append(name)
        if stored[name].dtype == torch.int8:
            parts["stored in 8 bits"].append(name)
        first, second, *_ = name.split(".")
        block = f"{first}.{second}" if first in ("down", "mid", "up") else first
        parts[f"{block}, small" if small and block != first else block].append(name)
    result = provenance("cpu") | {"weights": args.weights, "n": args.n, "seed": args.seed}
    result |= {"draws": args.draws, "weights_sha256": weights_digest(args.weights)}
    with torch.no_grad():
        exact, own = eps(), {name: w.clone() for name, w in weights.items()}
        result |= {"eps_mse": mse(exact, noise), "rows": []}
        for part, names in parts.items():
            changes = []
            for _ in range(args.draws if part in JOINED else 1):
                for name in names:
                    w = weights[name]
                    w += (torch.rand(w.shape, generator=g) - 0.5) * steps[name]
                changes.append(mse(eps(), exact))
                for name in names:
                    weights[name].copy_(own[name])
            size = sum(weights[name].numel() for name in names)
            change = {t: sum(c[t] for c in changes) / len(changes) for t in TIMES}
            row = {"part": part, "weights": size, "change": change}
            if part in JOINED:
                row["draws"] = changes
            result["rows"].append(row)
            print(row, flush=True)
    save(args.out, result)


if __name__ == "__main__":
    main()
