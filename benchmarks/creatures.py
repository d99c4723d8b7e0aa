"""Creatures of a network, counted: are they whole, balanced, new, and what was asked for?

    python benchmarks/creatures.py                                  # 10,000 samples a row
    python benchmarks/creatures.py --weights runs/creatures --n 64 --out /tmp/some.json
    python benchmarks/creatures.py --given fur ground --guidance 0 --out creatures_open.json
    python benchmarks/creatures.py --eta 1 --guidance --out creatures_open.json     # free ones only
    python benchmarks/creatures.py --smoke                          # a minute, nothing kept

The data set is a program, so that nothing need be estimated by other networks: `creatures.read`
finds the drawing nearest to a sample, and how far it is. Each row draws n samples in S steps of
DDIM, image i from noise number i:

- free: no label is given. How many are whole creatures, how often each ear, muzzle, ... occurs
  beside its share in the data, and how many combinations no training image has.
- seen, withheld: the labels of test images are asked for, with guidance w. Of the seen every pair
  of ears and muzzle was in training, of the withheld none was; how many samples have all seven
  labels, how many have the two?
- with --given, one row in the place of these: of the seen only those factors are asked for.

A sample is whole if it is no farther from a drawing than drawings are to which noise of one grey
level was added. Rows that --out has (same weights, n, S, w, seed, precision) are not drawn again.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import torch
from judge import device_option
from record import Record, provenance, weights_digest
from torch import Tensor

import minidiff as md
from minidiff.data import creatures, from_uint8, to_uint8
from minidiff.data.creature_set import WITHHELD, chosen, withheld
from minidiff.engine.config import make_model, read_config
from minidiff.engine.distributed import World
from minidiff.engine.generate import Sampling, generate

LEVEL = 1 / 127.5  # a grey level of images in -1..1


def limit(size: int, n: int = 1000) -> float:
    """The largest distance at which n drawings are read to which noise of one level was added."""
    g = torch.Generator().manual_seed(0)
    x = creatures.draw(creatures.random(n, g), size)
    noisy = from_uint8(to_uint8(x + LEVEL * torch.randn(x.shape, generator=g)))
    return float(creatures.read(noisy)[1].max())


def truth() -> list[Tensor]:
    """How often each kind of each factor occurs in the data: all are alike but for the withheld."""
    shares = [torch.full((count,), 1 / count, dtype=torch.float64) for count in creatures.COUNTS]
    pairs = torch.cartesian_prod(*(torch.arange(count) for count in creatures.COUNTS[:2]))
    seen = pairs[~withheld(pairs)]
    for column in (creatures.EARS_, creatures.MUZZLE):
        counts = seen[:, column].bincount(minlength=creatures.COUNTS[column])
        shares[column] = counts.double() / len(seen)
    return shares


def marginals(factors: Tensor) -> dict[str, Any]:
    """For each factor the share of each kind, and its deviation from the truth in standard errors.

    The standard error is that of a share p among n independent samples, sqrt(p (1 - p) / n).
    """
    n, found = len(factors), {}
    for (name, kinds), column, p in zip(creatures.FACTORS.items(), factors.T, truth(), strict=True):
        share = column.bincount(minlength=len(kinds)).double() / n
        errors = (share - p) / (p * (1 - p) / n).sqrt()
        found[name] = {
            kind: {"share": round(float(s), 5), "errors": round(float(e), 2)}
            for kind, s, e in zip(kinds, share, errors, strict=True)
        }
    return found


def number(factors: Tensor) -> Tensor:
    """Each combination of factors (N, 7) as one whole number, (N,)."""
    numbers = torch.zeros(len(factors), dtype=torch.long)
    for column, count in zip(factors.T, creatures.COUNTS, strict=True):
        numbers = numbers * count + column
    return numbers


def read(images: Tensor, most: float) -> tuple[Tensor, dict[str, Any]]:
    """The nearest drawings' factors, and how near they are."""
    factors, distance = creatures.read(images)
    at = (0.5, 0.9, 0.98, 0.99)
    return factors, {
        "whole": float((distance <= most).double().mean()),
        "whole_to_2_levels": float((distance <= 2 * most).double().mean()),
        "whole_to_4_levels": float((distance <= 4 * most).double().mean()),
        "distance_quantiles": {str(q): float(distance.quantile(q)) for q in at},
    }


def free(factors: Tensor, known: Tensor) -> dict[str, Any]:
    """Of samples without labels: balance and novelty."""
    balance, numbers = marginals(factors), number(factors)
    errors = [abs(kind["errors"]) for kinds in balance.values() for kind in kinds.values()]
    return {
        "new": float((~torch.isin(numbers, known)).double().mean()),
        "new_if_drawn_from_the_data": 1 - len(known) / (creatures_in_all() - withheld_in_all()),
        "different": len(numbers.unique()) / len(numbers),
        "withheld_pairs": float(withheld(factors).double().mean()),
        "most_errors": max(errors),
        "kinds": len(errors),
        "kinds_within_3_errors": sum(e <= 3 for e in errors),
        "marginals": balance,
    }


def creatures_in_all() -> int:
    return int(torch.tensor(creatures.COUNTS).prod())


def withheld_in_all() -> int:
    return len(WITHHELD) * int(torch.tensor(creatures.COUNTS[2:]).prod())


def obeyed(factors: Tensor, asked: Tensor) -> dict[str, Any]:
    """Of samples that were asked for; a factor that was left open is as asked, whatever it is."""
    same = (factors == asked) | (asked == torch.tensor(creatures.COUNTS))
    names = creatures.FACTORS
    return {
        "all_as_asked": float(same.all(1).double().mean()),
        "ears_and_muzzle_as_asked": float(same[:, :2].all(1).double().mean()),
        "each_as_asked": dict(zip(names, same.double().mean(0).tolist(), strict=True)),
    }


def tiny() -> md.Denoiser:
    """An untrained network of the right kind."""
    config = read_config("creatures16")
    few = {**config.network_options, "width": 8}
    return make_model(replace(config, network_options=few), (3, 16, 16), creatures.COUNTS).eval()


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--weights", default="creatures", help="a shipped name, a file or a run folder")
    p.add_argument("--n", type=int, default=10_000, help="samples of each row")
    p.add_argument("--steps", type=int, nargs="+", default=[50], help="of DDIM")
    p.add_argument("--spacing", default="linear", help="of the steps")
    p.add_argument("--eta", type=float, default=0.0, help="DDIM's noise on the way")
    p.add_argument("--guidance", type=float, nargs="*", default=[0.0, 1.0, 2.0], help="w")
    p.add_argument("--given", nargs="+", choices=creatures.FACTORS, help="ask for these alone")
    p.add_argument("--batch", type=int, default=1000)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    device_option(p)
    p.add_argument("--out", default="creatures.json")
    p.add_argument("--smoke", action="store_true", help="an untrained network, nothing kept")
    return p


def main() -> None:
    args = parser().parse_args()
    if args.smoke:
        args.n, args.steps, args.guidance, args.device = 4, [2], [1.0], "cpu"
    world = World(0, 1, torch.device(args.device))
    model = tiny() if args.smoke else md.load_pretrained(args.weights, args.device)
    size = model.network.config.size
    known, new = chosen("train"), chosen("test")
    asked = {"seen": new[~withheld(new)], "withheld": new[withheld(new)]}
    if args.given:
        left = torch.tensor([name not in args.given for name in creatures.FACTORS])
        asked = {"given": torch.where(left, torch.tensor(creatures.COUNTS), asked["seen"])}
    most = limit(size)
    head = provenance(args.device) | {"size": size, "whole_up_to_distance": most}
    record = Record(None if args.smoke else args.out, head, same=("size",))
    weights = {} if args.smoke else {"sha256": weights_digest(args.weights)}

    def row(what: str, steps: int, w: float) -> dict[str, Any]:
        """Draw, read, count."""
        labels = torch.tensor([creatures.COUNTS])  # none of each
        if what != "free":
            labels = asked[what][torch.arange(args.n) % len(asked[what])]
        how = Sampling(
            steps=steps,
            spacing=args.spacing,
            eta=args.eta,
            labels=tuple(labels.flatten().tolist()),
            guidance=w,
            seed=args.seed,
        )
        start = time.perf_counter()
        with torch.autocast(world.device.type, torch.bfloat16, enabled=args.precision == "bf16"):
            x = generate(model, (3, size, size), args.n, how, world, args.batch)
        images = from_uint8(to_uint8(x)).cpu()  # as they would be stored
        seconds = time.perf_counter() - start
        factors, found = read(images, most)
        more = free(factors, number(known)) if what == "free" else obeyed(factors, labels)
        return found | more | {"seconds_sampling": round(seconds, 2)}

    for steps in args.steps:
        jobs = [(what, w) for w in args.guidance for what in asked]
        jobs = jobs if args.given else [("free", 0.0), *jobs]
        for what, w in jobs:
            key = {"what": what, "w": w, "S": steps, "spacing": args.spacing}
            key |= {"eta": args.eta, "n": args.n}
            key |= {"seed": args.seed, "precision": args.precision, "weights": args.weights}
            key |= {"given": args.given} if args.given else {}
            record.measure(key | weights, lambda what=what, steps=steps, w=w: row(what, steps, w))


if __name__ == "__main__":
    main()
