"""Chapter 8: how good are the samples? Distances between two clouds of features, in float64.

Every measure compares features (N, D) of generated images with features of real ones. What they
mean depends on who computed the features (`minidiff.features`): compare them only with numbers from
the same extractor, the same reference set and the same N.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from minidiff.data.files import write_whole

if TYPE_CHECKING:
    from minidiff.data.images import Images
    from minidiff.measure.features import Extractor


class FrechetStats:
    """Mean and covariance of features that come batch by batch.

    Batches are merged by the exact update of Chan, Golub & LeVeque (1979), so nothing cancels and
    nothing but D + D^2 numbers is kept.

    >>> stats = FrechetStats().update(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    >>> stats = stats.update(torch.tensor([[1.0, 3.0]]))
    >>> stats.n, stats.mean.tolist(), stats.cov.tolist()
    (3, [1.0, 1.0], [[1.0, 0.0], [0.0, 3.0]])
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self._scatter = torch.zeros(0, 0, dtype=torch.float64)  # sum of (f - mean)(f - mean)^T

    def update(self, features: Tensor) -> FrechetStats:
        """Take in a batch (B, D); returns itself."""
        f = features.double()
        if f.ndim != 2 or not len(f) or not f.isfinite().all():
            raise ValueError(f"features must be finite and (B, D), got {tuple(features.shape)}")
        if self.n and f.shape[1] != len(self.mean):
            raise ValueError(f"the batches before had D = {len(self.mean)}, got D = {f.shape[1]}")
        if self.n == 0:
            self.mean = f.new_zeros(f.shape[1])
            self._scatter = f.new_zeros(f.shape[1], f.shape[1])
        b = len(f)
        mean = f.mean(0)
        shift = mean - self.mean
        n = self.n + b
        self._scatter += (f - mean).T @ (f - mean) + shift.outer(shift) * (self.n * b / n)
        self.mean = self.mean + shift * (b / n)
        self.n = n
        return self

    @property
    def cov(self) -> Tensor:
        """The unbiased covariance (D, D)."""
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 images, got {self.n}")
        return self._scatter / (self.n - 1)


def frechet_distance(a: FrechetStats, b: FrechetStats) -> float:
    """Heusel et al. 2017, eq. (6): |mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)).

    Tr (S_a S_b)^(1/2) is the sum of the singular values of S_a^(1/2) S_b^(1/2), both symmetric: no
    root of a non-symmetric matrix, no complex numbers, nothing added to a singular diagonal.
    """
    _check_features(a.cov + a.mean, b.cov + b.mean)
    roots = _root(a.cov) @ _root(b.cov)
    overlap = torch.linalg.svdvals(roots).sum()
    distance = (a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace() - 2 * overlap
    return float(distance.clamp(min=0))  # equal clouds: zero up to rounding; a NaN stays one


def _check_features(a: Tensor, b: Tensor) -> None:
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"both sides need one extractor: D = {a.shape[-1]} and {b.shape[-1]}")
    if not (a.isfinite().all() and b.isfinite().all()):  # a NaN must not read as some distance
        raise ValueError("features and what is made of them must be finite, got NaN or Inf")


def _root(cov: Tensor) -> Tensor:
    w, v = torch.linalg.eigh(cov)
    w = torch.where(w > w.max() * len(w) * torch.finfo(w.dtype).eps, w, 0)  # rounding has no root
    root: Tensor = (v * w.sqrt()) @ v.T
    return root


class Estimate(NamedTuple):
    """A mean over subsets, and the standard deviation between them."""

    mean: float
    std: float


def kid(
    real: Tensor,
    fake: Tensor,
    *,
    subsets: int = 100,
    size: int = 1000,
    generator: torch.Generator | None = None,
) -> Estimate:
    """Kernel Inception distance (Binkowski et al. 2018): unbiased MMD^2, kernel (x.y / D + 1)^3.

    The mean over random subsets of `size` images each (all of them if there are fewer). Unlike the
    Frechet distance it has no bias from a small number of images, and may come out below zero.
    """
    _check_features(real, fake)
    real, fake = real.double(), fake.double()
    m = min(size, len(real), len(fake))
    if m < 2:
        raise ValueError(f"KID needs at least 2 images a side, got {len(real)} and {len(fake)}")
    values = []
    for _ in range(subsets):
        x = real[_some(len(real), m, generator, real.device)]
        y = fake[_some(len(fake), m, generator, fake.device)]
        kxx, kyy, kxy = (_kernel(p, q) for p, q in ((x, x), (y, y), (x, y)))
        within = (kxx.sum() - kxx.trace() + kyy.sum() - kyy.trace()) / (m * (m - 1))
        values.append(within - 2 * kxy.mean())
    v = torch.stack(values)
    return Estimate(v.mean().item(), v.std(correction=0).item())


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _some(n: int, m: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    where = generator.device if generator is not None else "cpu"
    return torch.randperm(n, generator=generator, device=where)[:m].to(device)


def inception_score(probs: Tensor, splits: int = 10) -> Estimate:
    """Salimans et al. 2016: exp of the mean KL(p(y|x) || p(y)), over `splits` parts of the samples.

    `probs` (N, K) are class probabilities. 1 is the worst, K the best.

    >>> inception_score(torch.eye(4).repeat(5, 1), splits=1).mean
    4.0
    """
    if not 1 <= splits <= len(probs):
        raise ValueError(f"splits must be in 1..{len(probs)} (the number of images), got {splits}")
    if probs.ndim != 2 or not ((probs >= 0).all() and (probs.sum(1) - 1).abs().max() <= 1e-3):
        raise ValueError("probs must be (N, K), each row of sum 1 (of logits take softmax(1))")
    scores = []
    for p in probs.double().tensor_split(splits):
        kl = torch.xlogy(p, p).sum(1) - torch.xlogy(p, p.mean(0)).sum(1)
        scores.append(kl.mean().exp())
    s = torch.stack(scores)
    return Estimate(s.mean().item(), s.std(correction=0).item())


class Neighbours(NamedTuple):
    """Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020)."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(
    real: Tensor, fake: Tensor, k: int = 3, *, block: int = 1024
) -> Neighbours:
    """Fidelity and variety, from balls around each image that reach to its k-th nearest neighbour.

    Precision: the share of fakes inside some real ball; recall: of reals inside some fake ball;
    density: how many real balls hold a fake, over k; coverage: the share of real balls that hold
    any fake. Distances are computed `block` rows at a time.
    """
    _check_features(real, fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(
            f"k must be at least 1 and below the number of images, got k={k} with "
            f"{len(real)} real and {len(fake)} fake"
        )
    centre = real.double().mean(0)  # no distance changes, but near 0 there is less rounding,
    real, fake = real.double() - centre, fake.double() - centre
    # and what is left of it, about `tie`, must not push a copy off the rim of a ball.
    tie = 1e-13 * max(float(x.square().sum(1).max()) for x in (real, fake))
    real_radius, fake_radius = _radii(real, k, block) + tie, _radii(fake, k, block) + tie
    inside = real.new_zeros(len(fake))  # in how many real balls each fake lies
    recalled, nearest = [], []
    for i, rows in enumerate(torch.split(real, block)):
        d = _squares(rows, fake)  # (block, number of fakes)
        inside += (d <= real_radius[i * block : i * block + len(rows), None]).sum(0)
        recalled.append((d <= fake_radius).any(1))
        nearest.append(d.amin(1))
    return Neighbours(
        precision=(inside > 0).double().mean().item(),
        recall=torch.cat(recalled).double().mean().item(),
        density=inside.mean().item() / k,
        coverage=(torch.cat(nearest) <= real_radius).double().mean().item(),
    )


def _radii(x: Tensor, k: int, block: int) -> Tensor:
    """Squared distance of each point to its k-th nearest other point."""
    radii = []
    for i, rows in enumerate(torch.split(x, block)):
        d = _squares(rows, x)
        d[torch.arange(len(rows)), torch.arange(len(rows)) + i * block] = torch.inf  # not itself
        radii.append(d.topk(k, largest=False).values[:, -1])
    return torch.cat(radii)


def _squares(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2 by one matrix product."""
    return x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * x @ y.T


@torch.inference_mode()
def extract(
    images: Tensor,
    extractor: Extractor,
    *,
    batch: int = 250,
    progress: Callable[[int], object] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Features (N, D), and class probabilities (N, K) or None, of uint8 images."""
    features, probs = [], []
    for x in torch.split(images, batch):
        f, p = extractor(x.to(extractor.device, non_blocking=True))
        features.append(f)
        probs += [] if p is None else [p]
        if progress:
            progress(len(x))
    return torch.cat(features), torch.cat(probs) if probs else None


def reference_features(
    reference: Images, extractor: Extractor, *, batch: int = 250, cache: str | Path | None = None
) -> Tensor:
    """Features of the real images, kept in a file named after the data and the extractor.

    The name holds the sha256 of every pixel and of the extractor's weights, so it can't go stale;
    a damaged file is computed anew. `cache` is a folder; by default ~/.cache/minidiff/features.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save

    digest = hashlib.sha256(str(tuple(reference.images.shape)).encode())
    digest.update(reference.images.cpu().contiguous().numpy().tobytes())
    digest.update(extractor.digest.encode())
    folder = Path(cache or Path.home() / ".cache" / "minidiff" / "features")
    path = folder / f"{extractor.name}_{digest.hexdigest()[:32]}.safetensors"
    if path.exists():
        with contextlib.suppress(SafetensorError, KeyError):
            return load_file(path, device=str(extractor.device))["features"]
    features, _ = extract(reference.images, extractor, batch=batch)
    write_whole(path, save({"features": features.cpu().contiguous()}))
    return features


def evaluate(
    samples: Tensor,
    reference: Images,
    extractor: Extractor,
    *,
    batch: int = 250,
    k: int = 3,
    neighbours: int = 10_000,
    cache: str | Path | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, float | int | str]:
    """All measures of uint8 samples (N, C, H, W) against real images, each under its full name.

    Precision, recall, density and coverage use at most `neighbours` images of each side.
    """
    if samples.dtype != torch.uint8:
        raise ValueError(f"samples must be uint8 (use minidiff.data.to_uint8), got {samples.dtype}")
    real = reference_features(reference, extractor, batch=batch, cache=cache)
    fake, probs = extract(samples, extractor, batch=batch)
    distance = frechet_distance(FrechetStats().update(real), FrechetStats().update(fake))
    mmd = kid(real, fake, generator=generator)
    near = precision_recall_density_coverage(real[:neighbours], fake[:neighbours], k)
    result: dict[str, float | int | str] = {
        extractor.frechet_name: distance,
        f"KID ({extractor.name})": mmd.mean,
        f"KID ({extractor.name}) std": mmd.std,
        **near._asdict(),
        "k": k,
        "extractor": extractor.name,
        "reference": reference.name,
        "n_samples": len(samples),
        "n_reference": len(reference),
    }
    if probs is not None:
        score = inception_score(probs)
        result |= {extractor.score_name: score.mean, f"{extractor.score_name} std": score.std}
    return result
