"""Chapter 9: the features of many images, and those of a data set kept on the disk."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from minidiff.data.files import write_whole
from minidiff.data.images import Images, check_images
from minidiff.kinds import check_counts, kind

if TYPE_CHECKING:
    from minidiff.measure.features import Extractor


Progress = Callable[[int], object]  # is told how many images more are done


def check_extractor(extractor: object) -> None:
    """What makes features, with its weights."""
    if isinstance(extractor, type) or not hasattr(extractor, "frechet_name"):
        raise ValueError(
            "extractor must be one of minidiff.features, such as Inception768.load() or "
            f'Classifier.load("digits"); got {kind(extractor)}'
        )


@torch.inference_mode()
def extract(
    images: Tensor, extractor: Extractor, *, batch: int = 250, progress: Progress | None = None
) -> tuple[Tensor, Tensor | None]:
    """Features (N, D), and class probabilities (N, K) or None, of uint8 images."""
    check_images(images)
    check_extractor(extractor)
    check_counts(batch=batch)
    features, probs = [], []
    for x in torch.split(images, batch):
        f, p = extractor(x.to(extractor.device, non_blocking=True))
        features.append(f)
        probs += [] if p is None else [p]
        if progress:
            progress(len(x))
    return torch.cat(features), torch.cat(probs) if probs else None


def reference_features(
    reference: Images,
    extractor: Extractor,
    *,
    batch: int = 250,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Features of the real images, kept in a file named after the data and the extractor.

    The name is the sha256 of every pixel and of the extractor's weights, so it can't go stale. The
    file repeats it, with the sha256 of the features: one that is damaged, or of other images, is
    told of and made anew. `cache` is a folder; by default ~/.cache/minidiff/features.
    """
    check_extractor(extractor)
    if not isinstance(reference, Images):
        raise ValueError(f"reference must be Images, as of data.load; got {kind(reference)}")
    found = hashlib.sha256(str(tuple(reference.images.shape)).encode())
    found.update(reference.images.cpu().contiguous().numpy().tobytes())
    found.update(extractor.digest.encode())
    of = found.hexdigest()
    path: Path | None = None
    with contextlib.suppress(RuntimeError):  # a user without a home
        folder = Path(cache) if cache else Path.home() / ".cache" / "minidiff" / "features"
        path = folder / f"{extractor.name}_{of[:32]}.safetensors"
    if path is not None and (kept := _kept(path, of, len(reference))) is not None:
        if progress:
            progress(len(reference))
        return kept.to(extractor.device)
    features, _ = extract(reference.images, extractor, batch=batch, progress=progress)
    if path is not None:
        _keep(path, of, features.cpu().contiguous())
    return features


def _kept(path: Path, of: str, n: int) -> Tensor | None:
    """The features in a file, if they are whole, n, and those `of` these images and weights."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    with contextlib.suppress(SafetensorError, OSError), safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
        if list(file.keys()) == ["features"] and about.get("of") == of:
            features: Tensor = file.get_tensor("features")
            fits = features.ndim == 2 and len(features) == n
            if fits and about.get("sha256") == _digest(features):
                return features
    warnings.warn(f"{path} is damaged or not of these images: made anew", stacklevel=3)
    return None


def _keep(path: Path, of: str, features: Tensor) -> None:
    from safetensors.torch import save

    about = {"of": of, "sha256": _digest(features)}
    try:
        write_whole(path, save({"features": features}, about))
    except OSError as error:  # only a convenience
        warnings.warn(f"cannot keep the features in {path}: {error}", stacklevel=3)


def _digest(features: Tensor) -> str:
    shape = str((features.dtype, tuple(features.shape)))
    return hashlib.sha256(shape.encode() + features.numpy().tobytes()).hexdigest()
