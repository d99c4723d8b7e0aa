"""The papers' tables from our own weights, one command each; every row is kept as it is measured.

python benchmarks/tables.py floor     --weights cifar10     real images against real images
python benchmarks/tables.py ddim      --weights cifar10     DDIM table 1: S x eta (and tau)
python benchmarks/tables.py solvers   --weights cifar10     quality against network calls
python benchmarks/tables.py nll       --weights cifar10     DDPM table 1, figure 5, table 4
python benchmarks/tables.py likelihood --weights cifar10    ODE likelihood beside the bound
python benchmarks/tables.py reconstruct --weights cifar10   DDIM table 2
python benchmarks/tables.py int8      --weights runs/cifar10  what shipping in 8 bits costs

Needs the data, and for FID-768 inception768/, under $MINIDIFF_DATA. A run that is stopped goes on
where it was: rows already in the file (same weights, n and seed) are not measured again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from record import located, provenance, save
from torch import Tensor

import minidiff as md
from minidiff.data.images import from_uint8, to_uint8
from minidiff.engine import checkpoint
from minidiff.engine.int8 import pack, unpack
from minidiff.measure.metrics import evaluate

ETAS: list[float | str] = [0.0, 0.2, 0.5, 1.0, "hat"]
LATE = 50


class Table:
    """Rows of one file in results/, each saved at once."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.path = located(args.out or f"{args.data}_{args.table}.json")
        self.head = provenance(args.device) | {"seed": args.seed}
        if args.weights:
            self.head |= {
                "weights": str(args.weights),
                "weights_sha256": weights_digest(args.weights),
            }
        self.rows: list[dict[str, Any]] = []
        if self.path.exists():
            old = json.loads(self.path.read_text())
            if all(old.get(k) == self.head.get(k) for k in ("weights_sha256", "seed")):
                self.rows = old["rows"]  # they were made by other commands
                self.head["command"] = f"{old['command']}; {self.head['command']}"

    def measure(self, key: dict[str, Any], how: Callable[[], dict[str, Any]]) -> None:
        """Measure one row, unless it is there."""
        if any(all(row.get(k) == v for k, v in key.items()) for row in self.rows):
            return
        start = time.perf_counter()
        row = key | {"hardware": self.head["hardware"]} | how()
        row["seconds_in_all"] = round(time.perf_counter() - start, 2)
        self.rows.append(row)
        save(self.path, self.head | {"rows": self.rows})
        print({k: v for k, v in row.items() if not isinstance(v, list | dict)}, flush=True)


def weights_digest(weights: str) -> str:
    """sha256 of the tensors that `load_pretrained` would read, whatever their model card says."""
    path = Path(weights)
    if path.is_dir():
        path = checkpoint.latest(path)
    elif not path.exists():
        path = checkpoint.SHIPPED / f"{weights}.safetensors"
    digest = hashlib.sha256()
    for name, tensor in sorted(checkpoint.read(path)[0].items()):
        digest.update(name.encode() + tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--weights", default="cifar10")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--n-nll", type=int, default=1000, help="int8: images of the bound")
    parser.add_argument("--half", nargs="+", default=[], help="int8: layers kept in 16 bits")
    parser.add_argument("--n-late", type=int, help=f"nll: images of the terms t > {LATE}")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--steps", type=int, nargs="+")
    parser.add_argument("--etas", nargs="+")
    parser.add_argument("--spacing", nargs="+", default=["linear"])
    parser.add_argument("--splits", nargs="+", default=["test", "train"])
    parser.add_argument("--extractor", choices=["inception768", "fid"], default="inception768")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--no-clip", action="store_true")
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out")
    args = parser.parse_args()
    args.batch = min(args.batch, args.n)
    if args.n % args.batch:
        parser.error(f"--n {args.n} must be a multiple of --batch {args.batch}")
    if args.n_late and args.n_late % args.batch:
        parser.error(f"--n-late {args.n_late} must be a multiple of --batch {args.batch}")
    model = md.load_pretrained(args.weights, device=args.device)
    model.clip = not args.no_clip
    if args.device != "cpu":
        model.net.to(memory_format=torch.channels_last)
    if args.compile:
        model.net = torch.compile(model.net)
    with torch.no_grad():
        TABLES[args.table](args, model, Table(args))


def autocast(args: argparse.Namespace) -> Any:
    if args.precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(args.device).type, dtype=torch.bfloat16)


def noise(args: argparse.Namespace, shape: tuple[int, ...]) -> Iterator[tuple[Tensor, Any]]:
    """x_T and a generator, batch after batch: the same for every row of a table."""
    for k in range(args.n // args.batch):
        g = torch.Generator(args.device).manual_seed(args.seed * 1_000_003 + k)
        yield torch.randn(args.batch, *shape, generator=g, device=args.device), g


def samples(
    args: argparse.Namespace, shape: tuple[int, ...], walk: Callable[[Tensor, Any], Tensor]
) -> tuple[Tensor, float]:
    """n uint8 samples and the seconds that they took, without the first batch's compilation."""
    out, seconds = [], []
    with autocast(args):
        for x_T, g in noise(args, shape):
            _sync(args)
            start = time.perf_counter()
            out.append(to_uint8(walk(x_T, g)))
            _sync(args)
            seconds.append(time.perf_counter() - start)
    later = seconds[1:] or seconds
    return torch.cat(out), sum(later) / len(later) * len(seconds)


def _sync(args: argparse.Namespace) -> None:
    if args.device.startswith("cuda"):
        torch.cuda.synchronize()


def quality(args: argparse.Namespace) -> Callable[[Tensor], dict[str, Any]]:
    """Fréchet distance, KID and precision/recall against the training images."""
    features = md.features
    extractor = (
        features.Inception768.load()
        if args.extractor == "inception768"
        else (features.InceptionFID.load())
    )
    extractor = extractor.to(args.device).eval()
    reference = md.data.load(args.data, "train", device=args.device)

    def measure(images: Tensor) -> dict[str, Any]:
        return evaluate(images, reference, extractor, batch=500)

    return measure


# ------------------------------------------------------------------------------ the tables


def floor(args: argparse.Namespace, model: md.Denoiser, table: Table) -> None:
    """The test images against the training images: the best a sampler of the data could do."""
    real = md.data.load(args.data, "test", device=args.device)
    n = min(args.n, len(real))
    table.measure({"n": n}, lambda: quality(args)(real.images[:n]))


def ddim(args: argparse.Namespace, model: md.Denoiser, table: Table) -> None:
    """DDIM table 1 and figure 4: S x eta x tau, with the seconds of sampling."""
    measure, shape = quality(args), _shape(args)
    etas = [e if e == "hat" else float(e) for e in args.etas or ETAS]
    for S in args.steps or [10, 20, 50, 100]:
        for spacing in args.spacing:
            for eta in etas:
                steps = md.tau(model.schedule, S=S, spacing=spacing)

                def walk(x_T: Tensor, g: Any, steps: Any = steps, eta: Any = eta) -> Tensor:
                    *_, last = md.ddim(model, x_T, steps, eta, generator=g)
                    return last.x

                def row(walk: Any = walk) -> dict[str, Any]:
                    images, seconds = samples(args, shape, walk)
                    x = images.float()
                    return measure(images) | {
                        "seconds_sampling": seconds,
                        "pixel_mean": float(x.mean()),
                        "pixel_std": float(x.std()),
                    }

                key = {"S": S, "eta": eta, "tau": spacing, "n": args.n, "clip": model.clip}
                table.measure(key | {"arithmetic": args.precision}, row)


def solvers(args: argparse.Namespace, model: md.Denoiser, table: Table) -> None:
    """Quality against network calls for the solvers of chapter 14."""
    measure, shape = quality(args), _shape(args)
    cost = {"euler": 1, "heun": 2, "dpm++": 1}
    for calls in args.steps or [5, 10, 15, 20, 50]:
        for method in args.methods or cost:
            each = cost[method]
            for spacing in args.spacing:
                S = (calls + each - 1) // each  # Heun's last step asks once
                steps = md.tau(model.schedule, S=S, spacing=spacing)

                def walk(x_T: Tensor, g: Any, steps: Any = steps, method: str = method) -> Tensor:
                    *_, last = md.solve(model, x_T, steps, method, clip=model.clip)
                    return last.x

                def row(walk: Any = walk) -> dict[str, Any]:
                    images, seconds = samples(args, shape, walk)
                    return measure(images) | {"seconds_sampling": seconds}

                key = {"method": method, "NFE": each * S - (each - 1), "S": S, "tau": spacing}
                table.measure(key | {"n": args.n, "clip": model.clip}, row)


def bound(
    args: argparse.Namespace, model: md.Denoiser, x: Tensor, n_late: int | None = None
) -> dict[str, Any]:
    """The bound of images x for each variance, in bits/dim, and the errors of x0 and eps by t.

    A fixed variance is chosen after training, so "small" and "large" are both measured, on the
    same x_t. The terms of t > LATE may be measured on the first n_late images alone: they are a
    fifteenth of the bound, and images differ little in them.
    """
    T = model.schedule.T
    n_late = min(n_late or len(x), len(x))
    bits = 1 / (x[0].numel() * math.log(2))
    variances = [model.variance] if model.learns_variance else ["small", "large"]
    terms = {v: torch.zeros(T + 1, len(x), dtype=torch.float64, device=x.device) for v in variances}
    square = torch.zeros(2, T + 1, dtype=torch.float64, device=x.device)  # of x0 and of eps
    n = torch.full((T + 1,), len(x), device=x.device)
    n[LATE + 1 :] = n_late
    g = torch.Generator(args.device).manual_seed(args.seed)
    for k in range(0, len(x), args.batch):
        x0 = x[k : k + args.batch]
        for v in variances:
            terms[v][0, k : k + args.batch] = md.prior_kl(model.schedule, x0)
        for t in range(1, T + 1 if k < n_late else LATE + 1):
            eps = md.randn(x0, g)
            xt = md.diffuse(model.schedule, x0, t, eps)
            with autocast(args):
                p = model(xt, t)
            for v in variances:
                term = md.vlb_term(model, x0, xt, t, p, variance=v)
                terms[v][t, k : k + args.batch] = term
            square[0, t] += (p.x0 - x0).square().double().mean((1, 2, 3)).sum()
            square[1, t] += (p.eps - eps).square().double().mean((1, 2, 3)).sum()
    result: dict[str, Any] = {}
    for v in variances:
        mean, error = mean_terms(terms[v] * bits, n_late)
        result[v] = {
            "bits_per_dim": float(mean.sum()),
            "standard_error": float(error),
            "rate": float(mean.sum() - mean[1]),
            "distortion": float(mean[1]),
            "L_T": float(mean[0]),
            "terms": mean.tolist(),
        }
    result["rmse_255"] = ((square[0] / n).sqrt() * 127.5).tolist()
    result["eps_mse"] = (square[1] / n).tolist()
    return result


def mean_terms(terms: Tensor, n_late: int) -> tuple[Tensor, Tensor]:
    """The mean over the images of each term (T+1, n), and the standard error of their sum.

    Terms of t > LATE are there for the first n_late images. With A an image's sum over t <= LATE
    and B that over the rest, Var = Var(A)/n + Var(B)/n_late + 2 Cov(A, B)/n: the two means share
    n_late images, so that their covariance is n_late Cov(A, B)/(n n_late).
    """
    n = terms.shape[1]
    early, late = terms[: LATE + 1], terms[LATE + 1 :, :n_late]
    a, b = early.sum(0), late.sum(0)
    cov = torch.cov(torch.stack([a[:n_late], b]))[0, 1]
    variance = a.var() / n + b.var() / n_late + 2 * cov / n
    return torch.cat([early.mean(1), late.mean(1)]), variance.sqrt()


def nll(args: argparse.Namespace, model: md.Denoiser, table: Table) -> None:
    """The bound term by term, its rate and distortion, and the error of x0 at each t.

    DDPM table 1 (NLL), figure 5 and table 4. x0 is clipped, as in Ho et al.'s evaluation.
    """
    for split in args.splits:
        x = from_uint8(_images(args, split))
        key = {"split": split, "n": len(x), "clip": model.clip, "arithmetic": args.precision}
        key["n_late"] = min(args.n_late or len(x), len(x))  # for t > LATE
        table.measure(key, lambda x=x, m=key["n_late"]: bound(args, model, x, m))


def likelihood(args: argparse.Namespace, model: md.Denoiser, table: Table) -> None:
    """ODE likelihood of dequantized images, one Rademacher probe, in bits/dim."""
    for split in args.splits:
        images = _images(args, split)

        def row(images: Tensor = images) -> dict[str, Any]:
            g = torch.Generator(args.device).manual_seed(args.seed)
            bits, calls = [], []
            for part in images.split(args.batch):
                x = md.dequantize(part, g)
                found = md.log_likelihood(model, x, generator=g, rtol=1e-4, atol=1e-4)
                bits.append(found.bits_per_dim)
                calls.append(found.calls)
            every = torch.cat(bits)
            return {
                "bits_per_dim": float(every.mean()),
                "standard_error": float(every.std() / len(every) ** 0.5),
                "NFE": sum(calls) / len(calls),
            }

        table.measure({"split": split, "n": len(images), "rtol": 1e-4}, row)


def reconstruct(args: argparse.Namespace, model: md.Denoiser, table: Table) -> None:
    """DDIM table 2: encode and decode in S steps; mean squared error per dimension in [0, 1]."""
    x0 = from_uint8(_images(args, "test"))
    for S in args.steps or [10, 20, 50, 100, 200, 500, 1000]:
        for method in args.methods or ("euler", "heun"):

            def row(S: int = S, method: str = method) -> dict[str, Any]:
                errors = []
                with autocast(args):
                    for x in x0.split(args.batch):
                        x_T = md.encode(model, x, S, method=method)
                        back = md.decode(model, x_T, S, method=method)
                        errors.append(((back - x) / 2).square().flatten(1).mean(1))
                every = torch.cat(errors)
                return {
                    "mse": float(every.mean()),
                    "standard_error": float(every.std() / len(every) ** 0.5),
                }

            if not (method == "heun" and S > 200):
                key = {"S": S, "method": method, "n": len(x0), "arithmetic": args.precision}
                table.measure(key, row)


def int8(args: argparse.Namespace, model: md.Denoiser, table: Table) -> None:
    """The bound and FID of a run's float32 average, and of the same weights in 8 bits."""
    measure, shape = quality(args), _shape(args)
    x = from_uint8(md.data.load(args.data, "test", device=args.device).images[: args.n_nll])
    net = model.network  # inside torch.compile, under its own names
    exact = {k: v.clone() for k, v in net.state_dict().items()}
    for weights, tensors in (("float32", exact), ("int8", unpack(pack(exact, args.half)))):
        net.load_state_dict(tensors)
        key = {"weights": weights, "arithmetic": args.precision, "clip": model.clip}
        if weights == "int8":
            key["half"] = args.half

        def bits() -> dict[str, Any]:
            found = bound(args, model, x)
            fixed = {} if model.learns_variance else {"variance": "large"}
            terms = found[fixed.get("variance", model.variance)]
            return fixed | {k: terms[k] for k in ("bits_per_dim", "standard_error")}

        table.measure(key | {"n": len(x), "measured": "bound"}, bits)
        for S in args.steps or [10, 100]:

            def walk(x_T: Tensor, g: Any, S: int = S) -> Tensor:
                *_, last = md.ddim(model, x_T, md.tau(model.schedule, S=S), 0.0, generator=g)
                return last.x

            def row(walk: Any = walk) -> dict[str, Any]:
                return measure(samples(args, shape, walk)[0])

            table.measure(key | {"n": args.n, "measured": "ddim", "S": S, "eta": 0.0}, row)


def _shape(args: argparse.Namespace) -> tuple[int, ...]:
    return tuple(md.data.load(args.data, "test").shape)


def _images(args: argparse.Namespace, split: str) -> Tensor:
    return md.data.load(args.data, split, device=args.device).images[: args.n]


TABLES = {f.__name__: f for f in (floor, ddim, solvers, nll, likelihood, reconstruct, int8)}

if __name__ == "__main__":
    main()
