"""Which layers does it hurt to keep in 8 bits? The change of eps when one of them is rounded.

python benchmarks/int8_layers.py        # some minutes on a processor, needs CIFAR-10's test images

The shipped weights are rounded already, so a second rounding error of the same size is added to one
part of the network at a time: uniform, of width one step of that part's grid. That includes what
`export` keeps in 16 or 32 bits; the row "stored in 8 bits" is the rest, all at once. Rows hold the
mean squared change of eps at some t, beside the error that the network makes there anyway.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import torch
from record import RESULTS, provenance, save
from tables import weights_digest
from torch import Tensor

import minidiff as md
import minidiff.checkpoint
from minidiff.images import from_uint8

TIMES = (1000, 950, 900, 700, 400, 50)


def main() -> None:
    """One row for each part of the network, the first one for all together."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="cifar10", help="a shipped name")
    parser.add_argument("--n", type=int, default=8, help="test images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(RESULTS / "cifar10_int8_layers.json"))
    args = parser.parse_args()
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
    stored, _ = md.checkpoint.read(md.checkpoint.SHIPPED / f"{args.weights}.safetensors")
    parts: dict[str, list[str]] = defaultdict(list)
    for name in weights:
        parts["all"].append(name)
        if name not in ("conv_in.weight", "conv_out.weight"):
            parts["all but the two ends"].append(name)
        if stored[name].dtype == torch.int8:
            parts["stored in 8 bits"].append(name)
        first, second, *_ = name.split(".")
        parts[f"{first}.{second}" if first in ("down", "mid", "up") else first].append(name)
    result = provenance("cpu") | {"weights": args.weights, "n": args.n, "seed": args.seed}
    result["weights_sha256"] = weights_digest(args.weights)
    with torch.no_grad():
        exact, own = eps(), {name: w.clone() for name, w in weights.items()}
        result |= {"eps_mse": mse(exact, noise), "rows": []}
        for part, names in parts.items():
            for name in names:
                w = weights[name]
                w += (torch.rand(w.shape, generator=g) - 0.5) * steps[name]
            size = sum(weights[name].numel() for name in names)
            result["rows"].append({"part": part, "weights": size, "change": mse(eps(), exact)})
            print(result["rows"][-1], flush=True)
            for name in names:
                weights[name].copy_(own[name])
    save(args.out, result)


if __name__ == "__main__":
    main()
