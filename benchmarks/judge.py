"""What is measured of a model: the quality of its samples, and its bound on the likelihood."""

from __future__ import annotations

import argparse
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

import minidiff as md
from minidiff.data.images import to_uint8
from minidiff.measure.metrics import evaluate

LATE = 50
Walk = Callable[[Tensor, torch.Generator], Tensor]  # x_T and a generator -> images in [-1, 1]
Quality = Callable[[Tensor], dict[str, Any]]


@dataclass
class Setup:
    """How many images, in which batches and arithmetic, from which seed, on which device."""

    n: int
    batch: int
    seed: int
    device: str
    precision: str

    def __post_init__(self) -> None:
        self.batch = min(self.batch, self.n)
        if self.n % self.batch:
            raise SystemExit(f"--n {self.n} must be a multiple of --batch {self.batch}")

    @staticmethod
    def options(
        parser: argparse.ArgumentParser, *, n: int, batch: int, precision: str = "fp32"
    ) -> None:
        """The options that say all this, with what holds where they are not given."""
        parser.add_argument("--n", type=int, default=n, help="images, real or drawn")
        parser.add_argument("--batch", type=int, default=batch, help="of sampling and of the bound")
        parser.add_argument("--precision", choices=["fp32", "bf16"], default=precision)
        parser.add_argument("--seed", type=int, default=0)
        device_option(parser)

    @classmethod
    def of(cls, args: argparse.Namespace) -> Setup:
        """From the options of a command line."""
        return cls(**{field.name: getattr(args, field.name) for field in fields(cls)})

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)

    def generator(self, k: int = 0) -> torch.Generator:
        """Of batch k: the same for every row of a table."""
        return torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + k)


def device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def wait(device: str | torch.device) -> None:
    """Until a GPU has done what it was asked."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def last(steps: Any) -> Tensor:
    """The image at the end of a sampler's walk."""
    *_, end = steps
    return end.x


def samples(setup: Setup, shape: tuple[int, ...], walk: Walk) -> tuple[Tensor, float]:
    """n uint8 samples and the seconds that they took, without the first batch's compilation."""
    out, seconds = [], []
    with setup.autocast():
        for k in range(setup.n // setup.batch):
            g = setup.generator(k)
            x_T = torch.randn(setup.batch, *shape, generator=g, device=setup.device)
            wait(setup.device)
            start = time.perf_counter()
            out.append(to_uint8(walk(x_T, g)))
            wait(setup.device)
            seconds.append(time.perf_counter() - start)
    later = seconds[1:] or seconds
    return torch.cat(out), sum(later) / len(later) * len(seconds)


def quality(device: str, data: str = "cifar10", extractor: str = "inception768") -> Quality:
    """Fréchet distance, KID and precision/recall against the training images."""
    load = {
        "inception768": md.features.Inception768.load,
        "fid": md.features.InceptionFID.load,
        "classifier": lambda: md.features.Classifier.load(data),
    }
    features = load[extractor]().to(device).eval()
    reference = md.data.load(data, "train", device=device)

    def measure(images: Tensor) -> dict[str, Any]:
        subsets = torch.Generator().manual_seed(0)  # KID's, and those of precision and recall
        return evaluate(images, reference, features, batch=500, generator=subsets)

    return measure


def bound(setup: Setup, model: md.Denoiser, x: Tensor, n_late: int | None = None) -> dict[str, Any]:
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
    g = setup.generator()
    for k in range(0, len(x), setup.batch):
        x0 = x[k : k + setup.batch]
        for v in variances:
            terms[v][0, k : k + setup.batch] = md.prior_kl(model.schedule, x0)
        for t in range(1, T + 1 if k < n_late else LATE + 1):
            eps = md.randn(x0, g)
            xt = md.diffuse(model.schedule, x0, t, eps)
            with setup.autocast():
                p = model(xt, t)
            for v in variances:
                term = md.vlb_term(model, x0, xt, t, p, variance=v)
                terms[v][t, k : k + setup.batch] = term
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
