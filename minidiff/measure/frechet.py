"""Chapter 9: two clouds of features as two Gaussians, and how far apart they are. In float64."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minidiff.data.files import write_whole
from minidiff.kinds import kind


class FrechetStats:
    """Mean and covariance of features that come batch by batch, or from somebody's file.

    Batches are merged by the exact update of Chan, Golub & LeVeque (1979), so nothing cancels and
    nothing but D + D^2 numbers is kept. n is None where a file does not say how many there were.

    >>> stats = FrechetStats().update(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    >>> stats = stats.update(torch.tensor([[1.0, 3.0]]))
    >>> stats.n, stats.mean.tolist(), stats.cov.tolist()
    (3, [1.0, 1.0], [[1.0, 0.0], [0.0, 3.0]])
    """

    def __init__(self) -> None:
        self.n: int | None = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self._scatter = torch.zeros(0, 0, dtype=torch.float64)  # sum of (f - mean)(f - mean)^T

    def update(self, features: Tensor) -> FrechetStats:
        """Take in a batch (B, D); returns itself."""
        check_features(features)
        f = features.double()
        if self.n is None:
            raise ValueError("statistics of a file that does not say its n take in nothing more")
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
        if self.n is None:
            return self._scatter  # a file's sigma, as it was there
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 images, got {self.n}")
        return self._scatter / (self.n - 1)

    def save(self, path: str | Path) -> None:
        """Write `mu` and `sigma` as .npz, which pytorch-fid, clean-fid and EDM read; and `n`."""
        import numpy as np

        arrays: dict[str, Any] = {"mu": self.mean.cpu().numpy(), "sigma": self.cov.cpu().numpy()}
        if self.n is not None:
            arrays["n"] = np.array(self.n)
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        write_whole(path, file.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> FrechetStats:
        """From the .npz with `mu` (D,) and `sigma` (D, D) of those programs or of OpenAI's.

        No pickle is read. Such a file does not say which network made the features: D tells
        768 from 2048, and nothing tells two ways of resizing apart.
        """
        import numpy as np

        with open(path, "rb") as handle:
            try:
                with np.load(handle, allow_pickle=False) as file:
                    found = {k: np.asarray(file[k]) for k in ("mu", "sigma", "n") if k in file}
            except Exception as error:  # zipfile raises many kinds on damaged files
                raise ValueError(f"{path} is no .npz of plain numbers: {error}") from error
        if missing := {"mu", "sigma"} - set(found):
            raise ValueError(
                f"{path} has no {' and no '.join(sorted(missing))}: the mean and the covariance of "
                "features, as pytorch-fid and clean-fid write them"
            )
        n = found.pop("n", None)
        if any(x.dtype.kind not in "fiu" for x in found.values()):
            raise ValueError(f"mu and sigma in {path} must be real numbers")
        mean, cov = (torch.from_numpy(found[k].astype(np.float64)) for k in ("mu", "sigma"))
        if mean.ndim != 1 or cov.shape != (len(mean), len(mean)):
            raise ValueError(
                f"{path} must have mu (D,) and sigma (D, D), got {tuple(mean.shape)} and "
                f"{tuple(cov.shape)}"
            )
        finite = mean.isfinite().all() and cov.isfinite().all()
        if not finite or not torch.allclose(cov, cov.T, 1e-4, 1e-6):
            raise ValueError(f"{path} must have finite numbers and a symmetric sigma")
        if (cov.diagonal() < 0).any():
            raise ValueError(f"sigma in {path} has variances below 0: it is no covariance")
        stats = cls()
        if n is not None and (n.ndim or n.dtype.kind not in "iu" or n < 2):
            raise ValueError(f"n in {path} must be a whole number of at least 2, got {n}")
        stats.n = None if n is None else int(n)
        stats.mean, stats._scatter = mean, cov if stats.n is None else cov * (stats.n - 1)
        return stats


def frechet_distance(a: FrechetStats, b: FrechetStats) -> float:
    """Heusel et al. 2017, eq. (6): |mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)).

    Tr (S_a S_b)^(1/2) is the sum of the singular values of S_a^(1/2) S_b^(1/2), both symmetric: no
    root of a non-symmetric matrix, no complex numbers, nothing added to a singular diagonal.
    """
    check_features(a.cov + a.mean, b.cov + b.mean)
    mean, cov = b.mean.to(a.mean), b.cov.to(a.mean)  # a file's lie on the CPU
    overlap = torch.linalg.svdvals(_root(a.cov) @ _root(cov)).sum()
    distance = (a.mean - mean).square().sum() + a.cov.trace() + cov.trace() - 2 * overlap
    return float(distance.clamp(min=0))  # equal clouds: zero up to rounding; a NaN stays one


def check_features(*sides: Tensor) -> None:
    """Features are (N, D), of one D on both sides of a comparison, and every one is a number."""
    for x in sides:
        if not isinstance(x, Tensor) or x.ndim != 2 or not x.numel() or x.is_complex():
            raise ValueError(
                "features must be a tensor (N, D) of finite numbers, which an extractor of "
                f"minidiff.features makes of images (N, C, H, W), got {kind(x)}"
            )
        if not x.double().isfinite().all():  # a NaN must not read as some distance
            raise ValueError("features and what is made of them must be finite, got NaN or Inf")
    if len({x.shape[1] for x in sides}) > 1:
        found = " and ".join(str(x.shape[1]) for x in sides)
        raise ValueError(f"both sides need one extractor: D = {found}")


def _root(cov: Tensor) -> Tensor:
    w, v = torch.linalg.eigh(cov)
    w = torch.where(w > w.max() * len(w) * torch.finfo(w.dtype).eps, w, 0)  # rounding has no root
    root: Tensor = (v * w.sqrt()) @ v.T
    return root
