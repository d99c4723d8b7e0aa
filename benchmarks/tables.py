"""The papers' tables from our own weights, one command each; every row is kept as it is measured.

python benchmarks/tables.py floor     --weights cifar10     real images against real images
python benchmarks/tables.py ddim      --weights cifar10     DDIM table 1: S x eta (and tau)
python benchmarks/tables.py solvers   --weights cifar10     quality against network calls
python benchmarks/tables.py nll       --weights cifar10     DDPM table 1, figure 5, table 4
python benchmarks/tables.py likelihood --weights cifar10    ODE likelihood beside the bound
python benchmarks/tables.py reconstruct --weights cifar10   DDIM table 2
python benchmarks/tables.py int8      --weights runs/cifar10  what shipping in 8 bits costs

Needs CIFAR-10 and, for FID-768, FID's Inception: downloaded, or under $MINIDIFF_DATA. A run that is
stopped goes on where it was: rows already in the file (same weights, n and seed) are not measured
again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from judge import LATE, Quality, Setup, bound, last, quality, samples
from record import Record, provenance, weights_digest
from torch import Tensor

import minidiff as md
from minidiff.data.images import from_uint8
from minidiff.engine.int8 import pack, unpack

SHAPE = (3, 32, 32)


def images(setup: Setup, split: str) -> Tensor:
    """The first n, uint8: CIFAR-10's files are in random order, so these are n at random."""
    return md.data.load("cifar10", split, device=setup.device).images[: setup.n]


def mean(values: list[Tensor], name: str) -> dict[str, float]:
    """Of one number an image, with its standard error."""
    every = torch.cat(values)
    return {name: float(every.mean()), "standard_error": float(every.std() / len(every) ** 0.5)}


def floor(table: Record, model: md.Denoiser, setup: Setup, judge: Quality) -> None:
    """The test images against the training images: the best a sampler of the data could do."""
    real = images(setup, "test")
    table.measure({"n": len(real)}, lambda: judge(real))


def ddim(
    table: Record,
    model: md.Denoiser,
    setup: Setup,
    judge: Quality,
    steps: list[int],
    etas: list[str],
    spacing: list[str],
) -> None:
    """DDIM table 1 and figure 4: S x eta x tau, with the seconds of sampling."""

    def row(t: Any, eta: float | str) -> dict[str, Any]:
        drawn, seconds = samples(
            setup, SHAPE, lambda x_T, g: last(md.ddim(model, x_T, t, eta, generator=g))
        )
        x = drawn.float()
        return judge(drawn) | {
            "seconds_sampling": seconds,
            "pixel_mean": float(x.mean()),
            "pixel_std": float(x.std()),
        }

    for S in steps or [10, 20, 50, 100]:
        for kind in spacing:
            for name in etas:
                eta = name if name == "hat" else float(name)
                key = {"S": S, "eta": eta, "tau": kind, "n": setup.n, "clip": model.clip}
                t = md.tau(model.schedule, S=S, spacing=kind)
                table.measure(
                    key | {"arithmetic": setup.precision}, lambda t=t, eta=eta: row(t, eta)
                )


def solvers(
    table: Record,
    model: md.Denoiser,
    setup: Setup,
    judge: Quality,
    steps: list[int],
    methods: list[str],
    spacing: list[str],
) -> None:
    """Quality against network calls for the solvers of chapter 15."""
    cost = {"euler": 1, "heun": 2, "dpm++": 1}

    def row(t: Any, method: str) -> dict[str, Any]:
        drawn, seconds = samples(
            setup, SHAPE, lambda x_T, g: last(md.solve(model, x_T, t, method, clip=model.clip))
        )
        return judge(drawn) | {"seconds_sampling": seconds}

    for calls in steps or [5, 10, 15, 20, 50]:
        for method in methods or cost:
            each = cost[method]
            for kind in spacing:
                S = (calls + each - 1) // each  # Heun's last step asks once
                t = md.tau(model.schedule, S=S, spacing=kind)
                key = {"method": method, "NFE": each * S - (each - 1), "S": S, "tau": kind}
                table.measure(
                    key | {"n": setup.n, "clip": model.clip},
                    lambda t=t, method=method: row(t, method),
                )


def nll(
    table: Record, model: md.Denoiser, setup: Setup, splits: list[str], n_late: int | None
) -> None:
    """The bound term by term, its rate and distortion, and the error of x0 at each t.

    DDPM table 1 (NLL), figure 5 and table 4. x0 is clipped, as in Ho et al.'s evaluation.
    """
    if n_late and n_late % setup.batch:
        raise SystemExit(f"--n-late {n_late} must be a multiple of --batch {setup.batch}")
    for split in splits:
        x = from_uint8(images(setup, split))
        key = {"split": split, "n": len(x), "clip": model.clip, "arithmetic": setup.precision}
        key["n_late"] = min(n_late or len(x), len(x))  # for t > LATE
        table.measure(key, lambda x=x, m=key["n_late"]: bound(setup, model, x, m))


def likelihood(table: Record, model: md.Denoiser, setup: Setup, splits: list[str]) -> None:
    """ODE likelihood of dequantized images, one Rademacher probe, in bits/dim."""

    def row(real: Tensor) -> dict[str, Any]:
        g = setup.generator()
        bits, calls = [], []
        for part in real.split(setup.batch):
            x = md.dequantize(part, g)
            found = md.log_likelihood(model, x, generator=g, rtol=1e-4, atol=1e-4)
            bits.append(found.bits_per_dim)
            calls.append(found.calls)
        return mean(bits, "bits_per_dim") | {"NFE": sum(calls) / len(calls)}

    for split in splits:
        real = images(setup, split)
        key = {"split": split, "n": len(real), "rtol": 1e-4}
        table.measure(key, lambda real=real: row(real))


def reconstruct(
    table: Record, model: md.Denoiser, setup: Setup, steps: list[int], methods: list[str]
) -> None:
    """DDIM table 2: encode and decode in S steps; mean squared error per dimension in [0, 1]."""
    x0 = from_uint8(images(setup, "test"))

    def row(S: int, method: str) -> dict[str, Any]:
        errors = []
        with setup.autocast():
            for x in x0.split(setup.batch):
                x_T = md.encode(model, x, S, method=method)
                back = md.decode(model, x_T, S, method=method)
                errors.append(((back - x) / 2).square().flatten(1).mean(1))
        return mean(errors, "mse")

    for S in steps or [10, 20, 50, 100, 200, 500, 1000]:
        for method in methods or ("euler", "heun"):
            if not (method == "heun" and S > 200):
                key = {"S": S, "method": method, "n": len(x0), "arithmetic": setup.precision}
                table.measure(key, lambda S=S, method=method: row(S, method))


def int8(
    table: Record,
    model: md.Denoiser,
    setup: Setup,
    judge: Quality,
    steps: list[int],
    n_nll: int,
    half: list[str],
) -> None:
    """The bound and FID of a run's float32 average, and of the same weights in 8 bits."""
    x = from_uint8(images(setup, "test")[:n_nll])
    net = model.network  # inside torch.compile, under its own names
    exact = {k: v.clone() for k, v in net.state_dict().items()}

    def bits() -> dict[str, Any]:
        found = bound(setup, model, x)
        fixed = {} if model.learns_variance else {"variance": "large"}
        terms = found[fixed.get("variance", model.variance)]
        return fixed | {k: terms[k] for k in ("bits_per_dim", "standard_error")}

    def drawn(S: int) -> dict[str, Any]:
        t = md.tau(model.schedule, S=S)
        return judge(samples(setup, SHAPE, lambda x_T, g: last(md.ddim(model, x_T, t)))[0])

    for weights, tensors in (("float32", exact), ("int8", unpack(pack(exact, half)))):
        net.load_state_dict(tensors)
        key = {"weights": weights, "arithmetic": setup.precision, "clip": model.clip}
        if weights == "int8":
            key["half"] = half
        table.measure(key | {"n": len(x), "measured": "bound"}, bits)
        for S in steps or [10, 100]:
            more = {"n": setup.n, "measured": "ddim", "S": S, "eta": 0.0}
            table.measure(key | more, lambda S=S: drawn(S))


OPTIONS: dict[str, dict[str, Any]] = {
    "judge": {"choices": ["inception768", "fid"], "default": "inception768"},
    "steps": {"type": int, "nargs": "+", "help": "numbers of steps, or of network calls"},
    "etas": {"nargs": "+", "default": ["0", "0.2", "0.5", "1", "hat"]},
    "spacing": {"nargs": "+", "default": ["linear"], "help": "of the steps: md.tau's"},
    "methods": {"nargs": "+", "help": "of solving the differential equation"},
    "splits": {"nargs": "+", "default": ["test", "train"]},
    "n_late": {"type": int, "help": f"images of the terms t > {LATE}"},
    "n_nll": {"type": int, "default": 1000, "help": "images of the bound"},
    "half": {"nargs": "+", "default": [], "help": "layers kept in 16 bits"},
}
TABLES: dict[Callable[..., None], tuple[str, ...]] = {  # each with its own options
    floor: ("judge",),
    ddim: ("judge", "steps", "etas", "spacing"),
    solvers: ("judge", "steps", "methods", "spacing"),
    nll: ("splits", "n_late"),
    likelihood: ("splits",),
    reconstruct: ("steps", "methods"),
    int8: ("judge", "steps", "n_nll", "half"),
}


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = result.add_subparsers(required=True, metavar="table")
    for table, names in TABLES.items():
        p = commands.add_parser(table.__name__, help=table.__doc__.splitlines()[0])
        p.add_argument("--weights", default="cifar10", help="a shipped name, a file or a run")
        Setup.options(p, n=10_000, batch=1000)
        p.add_argument("--compile", action="store_true")
        p.add_argument("--out", default=f"cifar10_{table.__name__}.json")
        for name in names:
            flag = "--extractor" if name == "judge" else f"--{name.replace('_', '-')}"
            p.add_argument(flag, dest=name, **OPTIONS[name])
        p.set_defaults(table=table)
    return result


def main() -> None:
    args = parser().parse_args()
    setup = Setup.of(args)
    options = {name: getattr(args, name) for name in TABLES[args.table]}
    if "judge" in options:
        options["judge"] = quality(setup.device, extractor=args.judge)
    head = provenance(setup.device) | {"seed": setup.seed, "weights": args.weights}
    head["weights_sha256"] = weights_digest(args.weights)
    table = Record(args.out, head, same=("seed", "weights_sha256"))
    model = md.load_pretrained(args.weights, device=setup.device)
    model.clip = True  # as in Ho et al.'s evaluation
    if setup.device != "cpu":
        model.net.to(memory_format=torch.channels_last)
    if args.compile:
        model.net = torch.compile(model.net)
    with torch.no_grad():
        args.table(table, model, setup, **options)


if __name__ == "__main__":
    main()
