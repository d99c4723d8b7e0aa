"""Chapter 9: how good are the samples? Distances between two clouds of features, in float64.

Every measure compares features (N, D) of generated images with features of real ones. What they
mean depends on who computed the features (`minidiff.features`): compare them only with numbers from
the same extractor, the same reference set and the same N.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from minidiff.data.images import check_images
from minidiff.kinds import (
    check_counts,
    check_generator,
    check_tensor,
    drawn_on,
    is_whole,
    kind,
    short,
)
from minidiff.measure.cache import check_extractor, extract, reference_features
from minidiff.measure.frechet import FrechetStats, check_features, frechet_distance

if TYPE_CHECKING:
    from minidiff.data.images import Images
    from minidiff.measure.features import Extractor


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
    check_features(real, fake)
    if not (is_whole(subsets) and is_whole(size)) or subsets < 1 or size < 2:
        raise ValueError(
            f"KID needs subsets >= 1 of size >= 2, got {short(subsets)} of {short(size)}"
        )
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
    where = drawn_on(generator, "cpu")
    return torch.randperm(n, generator=generator, device=where)[:m].to(device)


def inception_score(probs: Tensor, splits: int = 10) -> Estimate:
    """Salimans et al. 2016: exp of the mean KL(p(y|x) || p(y)), over `splits` parts of the samples.

    `probs` (N, K) are class probabilities. 1 is the worst, K the best. The parts follow one another
    as in the authors' program, so shuffle samples that come class by class, as `compare` does.

    >>> inception_score(torch.eye(4).repeat(5, 1), splits=1).mean
    4.0
    """
    table = isinstance(probs, Tensor) and probs.ndim == 2 and probs.numel() > 0
    if not table or probs.is_complex():
        raise ValueError(f"probs must be a tensor (N, K) of probabilities, got {kind(probs)}")
    check_counts(splits=splits)
    if splits > len(probs):
        raise ValueError(f"splits must be in 1..{len(probs)} (the number of images), got {splits}")
    if not ((probs >= 0).all() and (probs.sum(1) - 1).abs().max() <= 1e-3):
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
    check_features(real, fake)
    check_counts(k=k, block=block)
    if k >= min(len(real), len(fake)):
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
    if not x.square().sum().isfinite():
        raise ValueError(f"features up to {x.abs().max():.1e} are too large to be squared")
    radii = []
    for i, rows in enumerate(torch.split(x, block)):
        d = _squares(rows, x)
        d[torch.arange(len(rows)), torch.arange(len(rows)) + i * block] = torch.inf  # not itself
        radii.append(d.topk(k, largest=False).values[:, -1])
    return torch.cat(radii)


def _squares(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2 by one matrix product."""
    return x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * x @ y.T


def compare(
    fake: Tensor,
    probs: Tensor | None,
    real: Tensor | FrechetStats,
    extractor: Extractor,
    *,
    k: int = 3,
    neighbours: int = 10_000,
    generator: torch.Generator | None = None,
) -> dict[str, float]:
    """All measures of features (N, D) and probabilities, each under its full name.

    Precision, recall, density and coverage use at most `neighbours` images of each side, drawn at
    random: a folder's come class by class. Against a mean and a covariance alone there is nothing
    but the Fréchet distance.
    """
    check_extractor(extractor)
    check_generator(generator)
    check_counts(neighbours=neighbours)
    if probs is not None:
        check_tensor(probs=probs)
    stats = real if isinstance(real, FrechetStats) else FrechetStats().update(real)
    result = {extractor.frechet_name: frechet_distance(FrechetStats().update(fake), stats)}
    if isinstance(real, Tensor):
        mmd = kid(real, fake, generator=generator)
        one, two = (x[_some(len(x), neighbours, generator, x.device)] for x in (real, fake))
        near = precision_recall_density_coverage(one, two, k)
        result |= {f"KID ({extractor.name})": mmd.mean, f"KID ({extractor.name}) std": mmd.std}
        result |= {**near._asdict(), "k": k}
    if probs is not None:
        shuffled = probs[_some(len(probs), len(probs), generator, probs.device)]
        score = inception_score(shuffled, max(1, min(10, len(probs) // 10)))
        result |= {extractor.score_name: score.mean, f"{extractor.score_name} std": score.std}
    return result


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
    """All measures of uint8 samples (N, C, H, W) against real images; see `compare`."""
    check_images(samples)
    check_generator(generator)
    real = reference_features(reference, extractor, batch=batch, cache=cache)
    fake, probs = extract(samples, extractor, batch=batch)
    return {
        **compare(fake, probs, real, extractor, k=k, neighbours=neighbours, generator=generator),
        "extractor": extractor.name,
        "reference": reference.name,
        "n_samples": len(samples),
        "n_reference": len(reference),
    }
