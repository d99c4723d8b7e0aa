"""Networks that turn an image into a feature vector, for the measures of `minidiff.metrics`.

Three of them, each with the name its results must carry, since numbers of one say nothing beside
another's: `InceptionFID` (2048 numbers, the convention of the papers, needs a download),
`Inception768` (the same network, stopped earlier), and `Classifier` (small, part of minidiff).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.data.download import DownloadError, check, fetch
from minidiff.data.images import check_images, from_uint8
from minidiff.data.sets import cache as data_cache

_WEIGHTS = Path(__file__).parent.parent / "weights"


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
    check_images(images)
    return images.expand(-1, 3, -1, -1)


# The network of 2015 with which FIDs are measured, as pytorch-fid ported it to PyTorch and as
# torch-fidelity publishes it again, byte for byte. FID takes all of it, FID-768 the first part.
_INCEPTION = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
_INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


def _inception() -> dict[str, Tensor]:
    """The 2015 network's weights, downloaded the first time; no pickle is executed."""
    path = data_cache() / "inception2048" / _INCEPTION.rpartition("/")[2]
    try:
        fetch(_INCEPTION, path, _INCEPTION_SHA256)
    except DownloadError as error:
        raise DownloadError(
            f"{error} It is the file that pytorch-fid calls pt_inception-2015-12-05-6726825d.pth, "
            f"of sha256 {_INCEPTION_SHA256}, and serves FID and FID-768 alike."
        ) from error
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def fold(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions with the batch norm behind each folded in: s w and b - s m, s = g/sqrt(v + eps).

    `x.conv.weight` (w) and `x.bn.weight`, `.bias`, `.running_mean`, `.running_var` (g, b, m, v;
    Ioffe & Szegedy 2015) become `x.weight` and `x.bias`. eps is the 0.001 of this network.

    >>> one = {"x.conv.weight": torch.ones(1, 1, 1, 1), "x.bn.weight": torch.tensor([6.0])}
    >>> one |= {f"x.bn.{k}": torch.ones(1) for k in ("bias", "running_mean")}
    >>> out = fold(one | {"x.bn.running_var": torch.tensor([8.999])})
    >>> {k: round(float(v), 6) for k, v in out.items()}
    {'x.weight': 2.0, 'x.bias': -1.0}
    """
    folded = {}
    for name in (k.removesuffix(".conv.weight") for k in weights if k.endswith(".conv.weight")):
        w, g, b, m, v = (
            weights[f"{name}.{part}"].double()
            for part in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        )
        s = g / (v + 1e-3).sqrt()
        folded[f"{name}.weight"] = (w * s[:, None, None, None]).float()
        folded[f"{name}.bias"] = (b - s * m).float()
    return folded


class Inception768(Extractor):
    """The 2015 Inception-v3 up to Mixed_6e, averaged over places: 768 features, "FID-768".

    The layer that pytorch-fid offers as `--dims 768`, with its resizing. The numbers are much
    smaller than 2048-d FIDs and not to be compared with published ones. weights: of 70 convolutions
    with batch norm folded in.
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
        """The network with the published weights, from the file that FID needs, too.

        The tables in results/ were made with a copy of these 70 layers in half precision: the file
        at `path`, by default inception768/inception768.safetensors under $MINIDIFF_DATA, if it is.
        """
        from safetensors.torch import load_file

        kept = Path(path or data_cache() / "inception768" / "inception768.safetensors")
        if path or kept.exists():
            check(kept, cls.SHA256)
            return cls(load_file(kept))
        folded = fold(_inception())
        return cls({k: v for k, v in folded.items() if not k.startswith("Mixed_7")})

    def _conv(self, name: str, x: Tensor, *, stride: int = 1, same: bool = True) -> Tensor:
        weight, bias = self._buffers[f"{name}/weight"], self._buffers[f"{name}/bias"]
        assert weight is not None
        padding = tuple(k // 2 for k in weight.shape[2:]) if same else 0
        return F.relu(F.conv2d(x, weight, bias, stride, padding))

    def _chain(self, name: str, length: int, x: Tensor) -> Tensor:
        for i in range(1, length + 1):
            x = self._conv(f"{name}_{i}", x)
        return x

    def _mixed(self, block: str, x: Tensor, chains: Mapping[str, int]) -> Tensor:
        """Beside one another: one convolution, chains of so many, and one behind a mean."""
        parts = [self._chain(f"{block}/branch{k}", n, x) for k, n in chains.items()]
        pool = self._conv(f"{block}/branch_pool", _mean3(x))
        return torch.cat([self._conv(f"{block}/branch1x1", x), *parts, pool], 1)

    def _smaller(self, block: str, x: Tensor) -> Tensor:  # 35 x 35 -> 17 x 17
        double = self._chain(f"{block}/branch3x3dbl", 2, x)
        parts = (("branch3x3", x), ("branch3x3dbl_3", double))
        convs = [self._conv(f"{block}/{k}", y, stride=2, same=False) for k, y in parts]
        return torch.cat([*convs, F.max_pool2d(x, 3, 2)], 1)

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
            x = self._mixed(block, x, {"5x5": 2, "3x3dbl": 3})  # 35 x 35
        x = self._smaller("Mixed_6a", x)
        for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = self._mixed(block, x, {"7x7": 3, "7x7dbl": 5})  # 17 x 17
        return x.mean((2, 3)), None


def _mean3(x: Tensor) -> Tensor:
    """3 x 3 means that leave the padding out, as in the 2015 network."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _fidelity() -> Any:
    try:
        from torch_fidelity import feature_extractor_inceptionv3
    except ImportError as error:
        raise ImportError(
            "FID needs torch-fidelity: pip install torch-fidelity, or take inception768"
        ) from error
    return feature_extractor_inceptionv3


class InceptionFID(Extractor):
    """The 2015 Inception-v3 to its pool_3 layer: 2048 features, "FID" and "IS" as published.

    The network, with TensorFlow's resizing, is torch-fidelity's (`pip install torch-fidelity`); its
    weights are downloaded (91 MB) and checked.
    """

    frechet_name = "FID"
    score_name = "IS"

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        fidelity = _fidelity()
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
        _fidelity()  # before a download that would be for nothing
        return cls(_inception())

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

    @staticmethod
    def known() -> list[str]:
        """The data sets for which there is one."""
        return sorted(p.stem.removeprefix("classifier_") for p in _WEIGHTS.glob("classifier_*"))

    @classmethod
    def load(cls, data: str) -> Classifier:
        """The classifier of "digits", "mnist" or "fashion"."""
        from safetensors.torch import load_file

        if data not in cls.known():
            raise ValueError(
                f"there are classifiers for {', '.join(cls.known())}; got {data!r}: take "
                "inception2048 or inception768, which know photographs"
            )
        path = _WEIGHTS / f"classifier_{data}.safetensors"
        weights = {k: v.float() for k, v in load_file(path).items()}
        net = cls(data, size=8 if data == "digits" else 28)
        net.load_state_dict(weights)
        net.digest = _digest(weights)
        return net.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 64) and (B, 10); padded images (28 -> 32) lose their padding."""
        margin, odd = divmod(images.shape[-1] - self.size, 2)
        square = images.shape[-1] == images.shape[-2]
        if images.shape[1] != 1 or not square or odd or not 0 <= margin <= self.size // 4:
            raise ValueError(
                f"{self.name} takes grey images (B, 1, {self.size}, {self.size}), or with an even "
                f"margin, got {tuple(images.shape)}"
            )
        features = self.body(F.pad(from_uint8(images), (-margin,) * 4))
        return features, self.head(features).softmax(1)
