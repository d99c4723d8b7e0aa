"""Improved DDPM: the same network by several recipes, the same minutes on one GPU for each.

    python benchmarks/iddpm.py train simple --seconds 330 --out runs/iddpm      # and hybrid
    python benchmarks/iddpm.py train simple-cosine --size full --init cifar10 --out runs/full
    python benchmarks/iddpm.py measure cifar10_small runs/full/simple-cosine.safetensors
    python benchmarks/iddpm.py estimate        # cifar10_iddpm_estimate.json, on a processor
    python benchmarks/iddpm.py gradient        # cifar10_iddpm_gradient.json, on a processor

A recipe begins with random weights or with --init. "vlb" is meant for --init with what "hybrid"
made: L_vlb with importance sampling of t (Nichol & Dhariwal 2021, section 3.3). `measure` finds the
bound and FID-768 of few-step samples, each row saved at once and not measured again. `gradient`
asks the small L_simple network for the noise of its gradient with t drawn in different ways.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from judge import Setup, Walk, bound, device_option, last, quality, samples
from record import Record, provenance, save, weights_digest
from torch import Tensor

import minidiff as md
from minidiff.data.images import from_uint8
from minidiff.denoiser import Denoiser
from minidiff.engine.config import TrainConfig, make_config
from minidiff.losses import loss_simple, loss_vlb
from minidiff.timesteps import LossAwareTimes

COMMON = {
    "data": "cifar10",
    "flip": True,
    "network": "cifar10",
    "batch": 512,
    "steps": 1_000_000,  # the seconds end a run
    "save_every": 1_000_000,
    "sample_every": 0,
    "validate_every": 0,
    "log_every": 100,
}
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # options of the network, settings
    "small": (
        {"width": 48, "mults": (1, 2, 2), "blocks": 1, "groups": 16, "dropout": 0.0},
        {"lr": 1e-3, "warmup": 500},
    ),
    "full": ({"dropout": 0.0}, {"lr": 3e-4, "warmup": 200}),  # the 35.7 million of Ho et al.
    "tiny": ({"width": 16, "mults": (1, 2), "blocks": 1, "groups": 8}, {"batch": 8, "steps": 2}),
}
COSINE = {"schedule": "cosine", "T": 4000}
LEARNED = COSINE | {"variance": "learned", "loss": "hybrid"}
RECIPES: dict[str, dict[str, Any]] = {
    "simple": {"schedule": "linear", "T": 1000},
    "simple-cosine": COSINE,
    "hybrid": LEARNED,
    "vlb": LEARNED | {"loss": "vlb", "times": "loss-aware", "lr": 1e-4},
}


def config(recipe: str, size: str, init: str, seconds: float) -> TrainConfig:
    """The same network for all: the clock runs to 1000 whatever T is."""
    options, settings = SIZES[size]
    chosen = RECIPES[recipe]
    options = options | {"clock": 1000 / chosen["T"]}
    extra = {"network_options": options, "max_seconds": seconds, "init": init}
    extra["compile"] = "" if size == "tiny" else "default"
    return make_config(COMMON | settings | chosen | extra)


def train(recipe: str, size: str, init: str, seconds: float, out: Path, device: str) -> None:
    """One recipe; the float32 average is kept."""
    out.mkdir(parents=True, exist_ok=True)
    c, run = config(recipe, size, init, seconds), out / recipe
    begun = time.perf_counter()
    model = md.train(c, run, device=device, bar=False)
    step = md.checkpoint.read_info(run)["step"]
    card = provenance(device) | {
        "recipe": recipe,
        "size": size,
        "init": init,
        "images": step * c.batch,
        "steps": step,
        "seconds": round(time.perf_counter() - begun, 1),
        "config": asdict(c),
    }
    md.save_weights(out / f"{recipe}.safetensors", model, card=card)
    print({k: v for k, v in card.items() if k != "config"})


def measure(files: list[str], setup: Setup, n_nll: int, S: int, out: str) -> None:
    """Every network named, beside those that the file has already."""
    table = Record(out, provenance(setup.device) | {"seed": setup.seed}, same=("seed",))
    judge = quality(setup.device)
    test = md.data.load("cifar10", "test", device=setup.device).images[:n_nll]

    def row(file: str) -> dict[str, Any]:
        model = md.load_pretrained(file, device=setup.device)
        card = md.checkpoint.read_info(file)["card"]
        found = {k: card.get(k) for k in ("recipe", "size", "init", "images", "seconds")}
        found |= {"trained_on": card["hardware"], "T": model.schedule.T}
        found["parameters"] = sum(p.numel() for p in model.net.parameters())
        model.net.to(memory_format=torch.channels_last)
        model.net = torch.compile(model.net)
        with torch.no_grad():
            found["nll"] = {
                v: {k: x for k, x in terms.items() if k != "terms"} | {"terms": thin(terms)}
                for v, terms in bound(setup, model, from_uint8(test)).items()
                if isinstance(terms, dict)
            }
            found["samples"] = {
                name: judge(samples(setup, (3, 32, 32), walk)[0])
                for name, walk in samplers(model, S).items()
            }
        return found

    for file in files:
        key = {"weights": Path(file).stem, "weights_sha256": weights_digest(file)}
        key |= {"n": setup.n, "n_nll": len(test), "S": S}
        table.measure(key, lambda file=file: row(file))


def estimate(draws: int, seed: int, device: str, out: str) -> None:
    """The bound of the shipped pair without summing all T terms: t is drawn by its importance.

    Each draw (x, t) ~ p_t gives L_{t-1}(x) / p_t, whose mean is the bound; p_t is proportional to
    the root mean square of two pilot terms at each t.
    """
    images = from_uint8(md.data.load("cifar10", "test", device=device).images[:1000])
    g = torch.Generator(device).manual_seed(seed)
    result: dict[str, Any] = provenance(device) | {"seed": seed, "rows": []}
    for recipe, name in (("simple", "cifar10_small"), ("hybrid", "cifar10_small_hybrid")):
        model = md.load_pretrained(name, device=device)
        model.net.to(memory_format=torch.channels_last)
        T, bits = model.schedule.T, 1 / (images[0].numel() * math.log(2))
        variances = [model.variance] if model.learns_variance else ["large", "small"]

        def terms(x0: Tensor, t: Tensor, model: Denoiser = model) -> Iterator[Tensor]:
            xt = md.diffuse(model.schedule, x0, t, md.randn(x0, g))
            p = model(xt, t)
            for v in variances:  # noqa: B023
                yield md.vlb_term(model, x0, xt, t, p, variance=v) * bits  # noqa: B023

        times = LossAwareTimes(T, history=2)
        with torch.no_grad():
            for t in torch.arange(1, T + 1, device=device).repeat(2).split(100):
                x0 = images[torch.randint(len(images), (len(t),), generator=g, device=t.device)]
                times.update(t, next(terms(x0, t)))
            found: list[Tensor] = []
            for first in range(0, draws, 100):
                t, w = times.sample(100, device=device, generator=g)
                x0 = images[torch.arange(first, first + 100) % len(images)]
                each = torch.stack(list(terms(x0, t))).double()
                found.append(T * w * each + bits * md.prior_kl(model.schedule, x0))
        every = torch.cat(found, 1)
        row = {"recipe": recipe, "weights": name, "T": T, "draws": draws}
        row["images"] = md.checkpoint.read_info(name)["card"]["images"]
        for v, values in zip(variances, every, strict=True):
            error = float(values.std() / draws**0.5)
            row[v] = {"bits_per_dim": float(values.mean()), "standard_error": error}
        result["rows"].append(row)
        print(row, flush=True)
        save(out, result)


def thin(found: dict[str, Any]) -> list[tuple[int, float]]:
    """(t, L_{t-1}) at about fifty t, evenly spaced in log t."""
    terms = found["terms"]
    ts = sorted({round((len(terms) - 1) ** (k / 50)) for k in range(51)})
    return [(t, terms[t]) for t in ts]


def samplers(model: Denoiser, S: int) -> dict[str, Walk]:
    """DDIM, and ancestral sampling with each variance that the model can have, in few steps."""

    def ancestral(variance: str, x_T: Tensor, g: Any) -> Tensor:
        return last(md.ancestral(model, x_T, few, variance=variance, generator=g))

    few = md.tau(model.schedule, S=S)
    found: dict[str, Walk] = {"ddim": lambda x_T, g: last(md.ddim(model, x_T, few))}
    for v in [model.variance] if model.learns_variance else ["small", "large"]:
        found[f"ancestral, {v}"] = functools.partial(ancestral, v)
    return found


def gradient(repeats: int, seed: int, device: str, out: str) -> None:
    """The noise of one image's gradient at the shipped L_simple network, summed over every t.

    Drawing t would miss the rare ones that hold much of it. With M_t the mean square of the
    gradient of T L_t, the trace of the covariance is sum_t M_t / (T^2 p_t) - |G|^2 for any choice
    p_t, and trace / |G|^2 is the "simple noise scale" of McCandlish et al. 2018: the batch at which
    noise and mean are equally long. Each repetition takes one image at each t. Their scatter gives
    standard errors; products of different ones estimate |G|^2 without bias.
    """
    model = md.load_pretrained("cifar10_small", device=device)
    T, weights = model.schedule.T, list(model.net.parameters())
    data = md.data.load("cifar10", "train", device=device)
    g = torch.Generator(device).manual_seed(seed)
    kinds, n = {"vlb": loss_vlb, "simple": loss_simple}, repeats
    size = sum(w.numel() for w in weights)
    mean = {kind: torch.zeros(n, size, device=device) for kind in kinds}
    square = {kind: torch.zeros(n, T, dtype=torch.float64) for kind in kinds}
    losses = torch.zeros(n, T, dtype=torch.float64)
    for k in range(n):
        chosen = torch.randint(len(data), (T,), generator=g, device=device)
        x0, _ = data.batch(chosen, generator=g, flip=True)
        for i in range(T):
            t = torch.tensor([i + 1], device=device)
            for kind, loss in kinds.items():
                value = loss(model, x0[i : i + 1], t, generator=g).sum()
                flat = torch.cat([p.flatten() for p in torch.autograd.grad(value, weights)])
                mean[kind][k] += flat / T
                square[kind][k, i] = flat.double().square().sum().item()
                if kind == "vlb":
                    losses[k, i] = value.item()
        print(f"repetition {k + 1} of {n}", flush=True)
    choices = {  # how p_t follows from repetitions
        "uniform t": torch.ones_like(losses),
        "t by the loss": losses.square(),  # Nichol & Dhariwal 2021, eq. (18)
        "t by the gradient": square["vlb"],  # no choice has less noise
    }
    result: dict[str, Any] = provenance(device) | {"seed": seed, "rows": []}
    result |= {"weights": "cifar10_small", "T": T, "repeats": n}
    for kind in kinds:
        dots = (mean[kind] @ mean[kind].T).double()
        signal = float(dots.sum() - dots.trace()) / (n * (n - 1))
        for name in choices if kind == "vlb" else ("uniform t",):
            traces = torch.empty(n, dtype=torch.float64)
            for k in range(n):  # p_t comes from the other repetitions: nothing fits itself
                p = choices[name][torch.arange(n) != k].mean(0).sqrt()
                traces[k] = (square[kind][k] / (p / p.sum())).sum() / T**2 - signal
            error = float(traces.std() / n**0.5)
            row = {"loss": kind, "times": name, "trace": float(traces.mean())}
            result["rows"].append(row | {"standard_error": error, "signal": signal})
            print(result["rows"][-1])
    save(out, result)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = result.add_subparsers(required=True, dest="command")
    one = commands.add_parser("train", help="one recipe")
    one.add_argument("recipe", choices=RECIPES)
    one.add_argument("--size", choices=SIZES, default="small", help="tiny: does the script run?")
    one.add_argument("--init", default="", help="weights to begin with: a shipped name or a file")
    one.add_argument("--seconds", type=float, default=330.0)
    one.add_argument("--out", type=Path, required=True, help="folder of runs and weights")
    device_option(one)
    some = commands.add_parser("measure", help="bound and FID-768 of networks")
    some.add_argument("files", nargs="+", help="weights: shipped names or files")
    Setup.options(some, n=10_000, batch=500, precision="bf16")
    some.add_argument("--n-nll", type=int, default=500, help="test images for the bound")
    some.add_argument("--S", type=int, default=50)
    some.add_argument("--out", default="cifar10_iddpm.json")
    quick = commands.add_parser("estimate", help="the bound of the shipped pair, t drawn")
    quick.add_argument("--draws", type=int, default=20_000)
    exact = commands.add_parser("gradient", help="the noise of the gradient")
    exact.add_argument("--repeats", type=int, default=4, help="gradients at each t")
    for name, p in (("estimate", quick), ("gradient", exact)):
        p.add_argument("--seed", type=int, default=0)
        device_option(p)
        p.add_argument("--out", default=f"cifar10_iddpm_{name}.json")
    return result


def main() -> None:
    options = vars(parser().parse_args())
    command = options.pop("command")
    if command == "measure":
        setup = Setup(**{f.name: options.pop(f.name) for f in fields(Setup)})
        measure(setup=setup, **options)
    else:
        {"train": train, "estimate": estimate, "gradient": gradient}[command](**options)


if __name__ == "__main__":
    main()
