"""Chapter 7: the data sets, digits, the MNIST family, CIFAR-10, creatures, any folder of pictures.

A small set lives on the device as one uint8 tensor: no workers, no copies, flips on the GPU. A
folder too big for that is read while training by PyTorch's DataLoader. Both have the same methods.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import operator
import os
import tarfile
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.data.creature_set import drawn
from minidiff.data.creatures import FACTORS
from minidiff.data.download import DownloadError, fetch
from minidiff.data.folder import Folder
from minidiff.data.images import Device, Images, from_uint8, to_uint8
from minidiff.data.layout import Layout
from minidiff.data.pictures import LARGEST

__all__ = ["NAMES", "Folder", "Images", "from_uint8", "load", "to_uint8"]

_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
# folder under the root, address, classes, digests of the four files as the owners publish them
_IDX = {
    "mnist": (
        "mnist",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        tuple("0123456789"),
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    "fashion": (
        "fashion_mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "T-shirt/top",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ),
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    "kmnist": (
        "kmnist",
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
    ),
}
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_CIFAR_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
_CIFAR_CLASSES = tuple(
    "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905
)
# sha256 of all labels, then all images (N, 3, 32, 32), in the official order
_CIFAR_SHA256 = {
    "train": "72271e0eaae021dd9568260927404c4fff87e7e0bfa04c843b94150b01b9bc26",
    "test": "ecc0a6ddb5cb58330ce4f06c1825ec8c68baeade5baaacbb3cbdf8f385599213",
}
_IN_MEMORY = 2 << 30  # a folder whose uint8 pixels need more bytes than this is streamed


Name = Literal["digits", "mnist", "fashion", "kmnist", "cifar10", "creatures", "creatures_varied"]
NAMES: tuple[str, ...] = get_args(Name)
DRAWN = ("creatures", "creatures_varied")  # at any size
Split = Literal["train", "test"]
SPLITS: tuple[str, ...] = get_args(Split)


@overload
def load(
    name: Name,
    split: str = "train",
    device: Device = None,
    root: str | Path | None = None,
    size: int | None = None,
) -> Images: ...
@overload
def load(
    name: str | Path,
    split: str = "train",
    device: Device = None,
    root: str | Path | None = None,
    size: int | None = None,
) -> Images | Folder: ...
def load(
    name: str | Path,
    split: str = "train",
    device: Device = None,
    root: str | Path | None = None,
    size: int | None = None,
) -> Images | Folder:
    """The data set "digits", "mnist", "fashion", "kmnist" or "cifar10", or a folder of images.

    "creatures" and "creatures_varied" are drawn here, at 32 x 32 or the `size` given, each with a
    label for its ears, muzzle, eyes, hair, pattern, fur and ground (`minidiff.data.creatures`).

    `root` is where the files are, or are downloaded to: by default `cache()`. `size` pads a named
    set with black to size x size (28 -> 32), and crops and resizes the images of a folder. `split`
    is "train" or "test": in a folder, the subfolders that `Layout` takes for them.

    >>> digits = load("digits")
    >>> len(digits), digits.shape, digits.classes[7]
    (1500, (1, 8, 8), '7')
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    size = _size(size)
    name = check_source(name)
    if name == "digits":
        images, labels = _digits(split)
        classes = tuple("0123456789")
    elif name in _IDX:
        images, labels, classes = _idx(name, split, Path(root or cache()))
    elif name == "cifar10":
        images, labels = _cifar10(split, Path(root or cache()) / "cifar10")
        classes = _CIFAR_CLASSES
    elif name in DRAWN:
        images, labels = drawn(split, size or 32, varied=name == DRAWN[1])
        return Images(images, labels, tuple(FACTORS.values()), name).to(device)
    else:
        folder = Folder(Path(name), split, size, device)
        return (
            folder if len(folder) * torch.Size(folder.shape).numel() > _IN_MEMORY else folder.read()
        )
    if size is not None:
        margin, odd = divmod(size - images.shape[-1], 2)
        if margin < 0 or odd:
            raise ValueError(f"size must be {images.shape[-1]} plus an even number, got {size}")
        images = F.pad(images, (margin,) * 4)
    return Images(images.to(device), labels.to(device), classes, name)


def cache() -> Path:
    """Where what is downloaded, or computed once, is kept: $MINIDIFF_DATA, else ~/.cache/minidiff.

    DownloadError where there is neither, as for a user without a home.
    """
    if given := os.environ.get("MINIDIFF_DATA"):
        return Path(given)
    try:
        return Path.home() / ".cache" / "minidiff"
    except RuntimeError as error:
        raise DownloadError(
            "there is no home folder to keep downloads in: set MINIDIFF_DATA to a folder"
        ) from error


def check_source(name: str | Path) -> str:
    """The name of a data set, or of a folder that exists; ValueError for what is neither."""
    text = os.fspath(name) if isinstance(name, (str, os.PathLike)) else None
    if text in NAMES:
        return text
    if not text or not os.path.isdir(folder := os.path.expanduser(text)):
        raise ValueError(f"data must be one of {', '.join(NAMES)}, or a folder; got {name!r:.300}")
    return folder


def splits(folder: str | Path) -> tuple[str, ...]:
    """Which of the splits a folder of pictures has, as `load` takes it."""
    return tuple(Layout(Path(folder).expanduser()).splits)


def _size(size: int | None) -> int | None:
    try:
        number = None if size is None else operator.index(size)  # NumPy's whole numbers too
    except TypeError:
        number = 0
    if number is not None and (number < 1 or isinstance(size, bool)):
        raise ValueError(f"size must be a whole number of at least 1, got {size!r}")
    if number is not None and number**2 > LARGEST:
        raise ValueError(f"size must be at most {math.isqrt(LARGEST)}, got {size!r}")
    return number


def _digits(split: str) -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 handwritten digits: 1,500 to train, 297 to test, by a fixed shuffle."""
    import numpy as np

    found = find_spec("sklearn")  # whose import takes a second, and its file a moment
    if found is None or found.origin is None:
        raise ImportError("the digits come with scikit-learn: pip install scikit-learn")
    file = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",")  # 64 pixels, 0..16, and what they show
    order = np.random.RandomState(0).permutation(len(table))  # this stream is frozen for good
    pick = order[:1500] if split == "train" else order[1500:]
    some = torch.from_numpy(table[pick])
    pixels = some[:, :64].reshape(-1, 1, 8, 8)
    return (pixels * 255 / 16).round().to(torch.uint8), some[:, 64].long()


def _idx(name: str, split: str, root: Path) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    folder, url, classes, digests = _IDX[name]
    arrays = []
    for i in (0, 1) if split == "train" else (2, 3):
        path = fetch(url + _IDX_FILES[i], root / folder / _IDX_FILES[i], digests[i])
        raw = bytearray(gzip.decompress(path.read_bytes()))
        # idx: two zero bytes, 8 = unsigned byte, number of dimensions, then each size, big-endian
        shape = [int.from_bytes(raw[4 + 4 * d : 8 + 4 * d], "big") for d in range(raw[3])]
        arrays.append(torch.frombuffer(raw, dtype=torch.uint8, offset=4 + 4 * raw[3]).view(shape))
    return arrays[0][:, None], arrays[1].long(), classes


def _cifar10(split: str, folder: Path) -> tuple[Tensor, Tensor]:
    """The official binary archive, or lossless mosaics of it; both checked to the last pixel."""
    mosaics = sorted(folder.glob(f"{split}_*.webp"))
    images, labels = _mosaics(mosaics, split) if mosaics else _cifar_archive(folder, split)
    found = hashlib.sha256(labels.numpy().tobytes())
    found.update(images.numpy().tobytes())
    if found.hexdigest() != _CIFAR_SHA256[split]:
        raise DownloadError(
            f"the {split} images in {folder} are not CIFAR-10's: their sha256 is "
            f"{found.hexdigest()}, it should be {_CIFAR_SHA256[split]}. "
            "Delete the folder to download them anew."
        )
    return images, labels.long()


def _cifar_archive(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Records of 3,073 bytes: a label, then 1,024 red, green and blue pixels each. No pickle."""
    path = fetch(_CIFAR_URL, folder / Path(_CIFAR_URL).name, _CIFAR_MD5)
    names = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    raw = bytearray()
    with tarfile.open(path) as tar:  # read in place: nothing is unpacked onto the disk
        for name in names:
            member = tar.extractfile(f"cifar-10-batches-bin/{name}.bin")
            assert member is not None
            raw += member.read()
    records = torch.frombuffer(raw, dtype=torch.uint8).view(-1, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].clone()


def _mosaics(paths: list[Path], split: str) -> tuple[Tensor, Tensor]:
    """train_01.webp, ...: 5,000 images each as 100 rows of 50; train_labels.npy beside them."""
    import numpy as np
    from PIL import Image

    images = []
    for path in paths:
        try:
            pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB")))  # (3200, 1600, 3)
            tiles = pixels.view(100, 32, 50, 32, 3).permute(0, 2, 4, 1, 3)
        except (OSError, RuntimeError) as error:
            raise DownloadError(
                f"{path} is damaged ({error}): copy it anew or delete it"
            ) from error
        images.append(tiles.reshape(5000, 3, 32, 32))
    labels = np.load(paths[0].with_name(f"{split}_labels.npy"), allow_pickle=False)
    return torch.cat(images), torch.from_numpy(labels)
