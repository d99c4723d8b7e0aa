"""Networks that turn an image into a feature vector, for the measures of `minidiff.metrics`.

Three of them, each with the name its results must carry, since numbers of one say nothing beside
another's: `InceptionFID` (2048 numbers, the convention of the papers, needs a download),
`Inception768` (the same network, stopped earlier), and `Classifier` (small, part of minidiff).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.data.download import DownloadError, check, fetch
from minidiff.data.images import from_uint8
from minidiff.data.sets import cache as data_cache


class Extractor(nn.Module):
    """uint8 images (B, C, H, W) -> features (B, D) and class probabilities (B, K) or None."""

    name: str  # goes into file names and results
    frechet_name: ClassVar[str]  # what a Frechet distance of these features is called
    score_name: ClassVar[str] = ""  # what exp E KL(p(y|x) || p(y)) of these probabilities is called
    digest: str  # sha256 of the weights

    @property
    def device(self) -> torch.device:
        """Where the weights are, and so where images must be."""
        weight: Tensor = next(iter(self.state_dict().values()))
        return weight.device

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and probabilities of uint8 images on `device`."""
        raise NotImplementedError


def _digest(weights: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for key in sorted(weights):
        found.update(key.encode() + weights[key].cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _rgb(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1)


class Inception768(Extractor):
    """The 2015 Inception-v3 up to Mixed_6e, averaged over places: 768 features, "FID-768".

    The layer that pytorch-fid offers as `--dims 768`, with its resizing. The numbers are much
    smaller than 2048-d FIDs and not to be compared with published ones. The weights (batch norm
    folded into 70 convolutions) are inception768/inception768.safetensors under $MINIDIFF_DATA.
    """

    frechet_name = "FID-768"
    SHA256 = "708a74f9690fce6e8e405277a5946276731d44fda95795a0e871ecbad7b579e7"

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.name, self.digest = "inception768", _digest(weights)
        for key, value in weights.items():
            self.register_buffer(key.replace(".", "/"), value.float())
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, path: str | Path | None = None) -> Inception768:
        """The network with the weights at `path`, checked by their sha256."""
        from safetensors.torch import load_file

        path = Path(path or data_cache() / "inception768" / "inception768.safetensors")
        if not path.exists():
            raise DownloadError(
                f"the weights of FID-768 are not at {path}: set MINIDIFF_DATA to the folder that "
                "has inception768/, or use InceptionFID.load(), which downloads its own"
            )
        check(path, cls.SHA256)
        return cls(load_file(path))

    def _conv(self, name: str, x: Tensor, *, stride: int = 1, same: bool = True) -> Tensor:
        weight, bias = self._buffers[f"{name}/weight"], self._buffers[f"{name}/bias"]
        assert weight is not None
        padding = tuple(k // 2 for k in weight.shape[2:]) if same else 0
        return F.relu(F.conv2d(x, weight, bias, stride, padding))

    def _chain(self, x: Tensor, block: str, branch: str, parts: Iterable[object]) -> Tensor:
        for part in parts:
            x = self._conv(f"{block}/{branch}_{part}", x)
        return x

    def _a(self, block: str, x: Tensor) -> Tensor:  # 35 x 35
        return torch.cat(
            [
                self._conv(f"{block}/branch1x1", x),
                self._chain(x, block, "branch5x5", (1, 2)),
                self._chain(x, block, "branch3x3dbl", (1, 2, 3)),
                self._chain(_mean3(x), block, "branch", ("pool",)),
            ],
            1,
        )

    def _b(self, block: str, x: Tensor) -> Tensor:  # 35 x 35 -> 17 x 17
        double = self._chain(x, block, "branch3x3dbl", (1, 2))
        return torch.cat(
            [
                self._conv(f"{block}/branch3x3", x, stride=2, same=False),
                self._conv(f"{block}/branch3x3dbl_3", double, stride=2, same=False),
                F.max_pool2d(x, 3, 2),
            ],
            1,
        )

    def _c(self, block: str, x: Tensor) -> Tensor:  # 17 x 17
        return torch.cat(
            [
                self._conv(f"{block}/branch1x1", x),
                self._chain(x, block, "branch7x7", (1, 2, 3)),
                self._chain(x, block, "branch7x7dbl", (1, 2, 3, 4, 5)),
                self._chain(_mean3(x), block, "branch", ("pool",)),
            ],
            1,
        )

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """(B, 768) and no probabilities; grey images are taken as RGB."""
        x = F.interpolate(
            _rgb(images).float() / 255, size=(299, 299), mode="bilinear", align_corners=False
        )
        x = (2 * x - 1).contiguous(memory_format=torch.channels_last)
        x = self._conv("Conv2d_1a_3x3", x, stride=2, same=False)
        x = self._conv("Conv2d_2b_3x3", self._conv("Conv2d_2a_3x3", x, same=False))
        x = self._conv("Conv2d_3b_1x1", F.max_pool2d(x, 3, 2))
        x = F.max_pool2d(self._conv("Conv2d_4a_3x3", x, same=False), 3, 2)
        for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self._a(block, x)
        x = self._b("Mixed_6a", x)
        for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = self._c(block, x)
        return x.mean((2, 3)), None


def _mean3(x: Tensor) -> Tensor:
    """3 x 3 means that leave the padding out, as in the 2015 network."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class InceptionFID(Extractor):
    """The 2015 Inception-v3 to its pool_3 layer: 2048 features, "FID" and "IS" as published.

    The network, with TensorFlow's resizing, is torch-fidelity's (`pip install torch-fidelity`); its
    weights are downloaded (91 MB), checked, and read without executing any pickle.
    """

    frechet_name = "FID"
    score_name = "IS"
    URL = (
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth"
    )
    SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        try:
            from torch_fidelity import feature_extractor_inceptionv3 as fidelity
        except ImportError as error:
            raise ImportError(
                "FID needs torch-fidelity: pip install torch-fidelity (or use Inception768)"
            ) from error
        self.name, self.digest = "inception2048", _digest(weights)
        file: Any = io.BytesIO()  # the library unpickles what it is given, so give it our own bytes
        torch.save(dict(weights), file)
        file.seek(0)
        self.net = fidelity.FeatureExtractorInceptionV3(
            self.name, ["2048", "logits_unbiased"], feature_extractor_weights_path=file
        )

    @classmethod
    def load(cls) -> InceptionFID:
        """The network with the published weights, downloaded the first time."""
        name = cls.URL.rpartition("/")[2]
        path = fetch(cls.URL, data_cache() / "inception2048" / name, cls.SHA256)
        return cls(torch.load(path, map_location="cpu", weights_only=True))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2048) and (B, 1008); grey images are taken as RGB."""
        features, logits = self.net(_rgb(images))
        return features, logits.softmax(1)


class Classifier(Extractor):
    """A small convolutional network, made by `tools/train_classifier.py` from one grey data set.

    64 features and 10 class probabilities. For teaching: compare its numbers with its own only.

    >>> net = Classifier.load("digits")
    >>> features, probs = net(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))
    >>> features.shape, probs.shape
    (torch.Size([5, 64]), torch.Size([5, 10]))
    """

    frechet_name = "Fréchet distance (classifier features)"
    score_name = "classifier score"

    def __init__(self, data: str, size: int) -> None:
        super().__init__()
        self.name, self.digest, self.size = f"classifier_{data}", "", size
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(48, 64, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(256, 64),
            nn.SiLU(),
        )
        self.head = nn.Linear(64, 10)

    @classmethod
    def load(cls, data: str) -> Classifier:
        """The classifier of "digits", "mnist" or "fashion"."""
        from safetensors.torch import load_file

        folder = Path(__file__).parent.parent / "weights"
        path = folder / f"classifier_{data}.safetensors"
        if not path.exists():
            have = sorted(p.stem.removeprefix("classifier_") for p in folder.glob("classifier_*"))
            raise ValueError(f"there are classifiers for {', '.join(have)}; got {data!r}")
        weights = {k: v.float() for k, v in load_file(path).items()}
        net = cls(data, size=8 if data == "digits" else 28)
        net.load_state_dict(weights)
        net.digest = _digest(weights)
        return net.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 64) and (B, 10); padded images (28 -> 32) lose their padding."""
        if images.shape[1] != 1:
            raise ValueError(
                f"{self.name} takes grey images (B, 1, H, W), got {tuple(images.shape)}"
            )
        margin = (self.size - images.shape[-1]) // 2
        features = self.body(F.pad(from_uint8(images), (margin,) * 4, value=-1.0))
        return features, self.head(features).softmax(1)
