"""Chapter 7: the data as training sees them, images as bytes on the device."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from torch import Tensor

from minidiff.kinds import check_scale, check_tensor, drawn_on, kind, short

Device = torch.device | str | None
Classes = tuple[str, ...] | tuple[tuple[str, ...], ...]  # names; K tuples of them if K labels each
Which = SupportsIndex | Sequence[int] | Tensor  # so many at random, or those of these numbers


def from_uint8(images: Tensor) -> Tensor:
    """Ho et al. 2020, section 3.3: {0, ..., 255} scaled linearly to [-1, 1].

    >>> from_uint8(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    check_tensor(images=images)
    if images.dtype != torch.uint8:
        raise ValueError(f"from_uint8 takes bytes (torch.uint8, 0..255), got {images.dtype}")
    return images.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """The inverse of `from_uint8`: clipped and rounded (cutting off would darken by half a level).

    >>> to_uint8(torch.tensor([-1.2, 0.0, 0.999, 1.0]))
    tensor([  0, 128, 255, 255], dtype=torch.uint8)
    """
    check_tensor(x=x)
    if not x.is_floating_point():
        raise ValueError(f"to_uint8 takes floats in [-1, 1], got {x.dtype}; from_uint8 makes them")
    check_scale(x=x)
    if x.device.type == "cpu" and bool(x.isnan().any()):
        raise ValueError("x holds NaN, which no byte stands for: look at what made it")
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def as_pictures(x: Tensor) -> Tensor:
    """What can be shown, (B, 1, H, W) or (B, 3, H, W) on the CPU; one (C, H, W) is a batch, too."""
    check_tensor(images=x)
    x = x[None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[1] not in (1, 3) or len(x) == 0:
        raise ValueError(
            f"images must be (B, 1, H, W) or (B, 3, H, W) with B >= 1, got {tuple(x.shape)}"
        )
    return x.detach().cpu()


def check_images(images: Tensor) -> None:
    """Images that are measured are bytes, (N, C, H, W), grey or in colour; else ValueError."""
    is_bytes = isinstance(images, Tensor) and images.dtype == torch.uint8
    if not is_bytes or images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ValueError(
            "images must be a uint8 tensor (N, C, H, W) with 1 or 3 channels, got "
            f"{kind(images)} (to_uint8 makes bytes of floats in -1..1; "
            "x.permute(0, 3, 1, 2) puts the channels of (N, H, W, C) in their place)"
        )


@dataclass(frozen=True)
class Images:
    """A data set on one device: images (N, C, H, W) uint8, labels (N,) long, names of classes.

    An image with several labels, such as its ears and its fur, has a row of them: labels (N, K),
    and `classes` holds K tuples of names.
    """

    images: Tensor
    labels: Tensor
    classes: Classes
    name: str = "images"

    def __post_init__(self) -> None:
        x, y = self.images, self.labels
        if not isinstance(x, Tensor) or x.dtype != torch.uint8 or x.ndim != 4 or not x.numel():
            raise ValueError(
                "images must be a uint8 tensor of shape (N, C, H, W) with N, C, H, W of at least "
                f"1, got {kind(x)} (to_uint8 turns floats in -1..1 into that)"
            )
        if x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
            raise ValueError(
                f"images must be (N, C, H, W), got {tuple(x.shape)}, with the channels last: "
                "x.permute(0, 3, 1, 2) puts them in their place"
            )
        object.__setattr__(self, "classes", read_classes(self.classes))
        found = count_classes(self.classes)
        several = isinstance(found, tuple)
        counts = found if isinstance(found, tuple) else (found,)
        shape = (len(x), len(counts)) if several else (len(x),)
        if not isinstance(y, Tensor) or y.dtype != torch.long or y.shape != shape:
            row = f"a row of {len(counts)}" if several else "one"
            raise ValueError(
                f"labels must be a tensor of whole numbers (torch.long), {row} for each of the "
                f"{len(x)} images, got {kind(y)}"
            )
        if y.device.type == "cpu":  # a look at the values would wait for a GPU
            columns = y.view(len(x), -1).unbind(1)
            for count, column in zip(counts, columns, strict=True):
                low, high = column.aminmax()
                if low < 0 or high >= count:
                    raise ValueError(
                        f"labels must be in 0..{count - 1}, one number for each of the "
                        f"{count} classes, got {int(low)}..{int(high)}"
                    )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        c, h, w = self.images.shape[1:]
        return c, h, w

    def to(self, device: Device) -> Images:
        """The same set on another device."""
        return Images(self.images.to(device), self.labels.to(device), self.classes, self.name)

    def batch(
        self,
        which: Which,
        *,
        generator: torch.Generator | None = None,
        flip: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """x0 (B, C, H, W) in [-1, 1] and labels (B,): the images at `which`, or so many at random.

        Several labels an image are rows of them, (B, K).
        `flip` mirrors each image left to right with probability 1/2.

        >>> black = torch.zeros(10, 3, 32, 32, dtype=torch.uint8)
        >>> x0, labels = Images(black, torch.arange(10) % 2, ("a", "b")).batch(4)
        >>> x0.shape, x0.max().item(), labels.shape
        (torch.Size([4, 3, 32, 32]), -1.0, torch.Size([4]))
        """
        where = drawn_on(generator, self.images.device)
        index = picked(which, len(self), generator, where).to(self.images.device)
        x0 = from_uint8(self.images[index])
        if flip:
            coin = torch.rand(len(x0), generator=generator, device=where).to(x0.device) < 0.5
            x0 = torch.where(coin[:, None, None, None], x0.flip(-1), x0)
        return x0, self.labels[index]

    def stream(
        self,
        batches: Iterable[Sequence[int]],
        *,
        generator: torch.Generator | None = None,
        flip: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """`batch` for each list of indices in turn."""
        return (self.batch(b, generator=generator, flip=flip) for b in batches)


def count_classes(classes: Classes) -> int | tuple[int, ...]:
    """How many names there are; of several labels, how many each has.

    >>> count_classes(("cat", "dog")), count_classes((("cat", "dog"), ("black", "red", "white")))
    (2, (2, 3))
    """
    counts = tuple(len(names) for names in classes if not isinstance(names, str))
    return counts or len(classes)


def read_classes(classes: object) -> Classes:
    """A tuple of names, or of tuples of names, refused if it is neither."""

    def names(value: object) -> bool:
        return isinstance(value, (tuple, list)) and all(isinstance(name, str) for name in value)

    if names(classes):
        return tuple(classes)  # type: ignore[arg-type]
    if isinstance(classes, (tuple, list)) and all(names(c) for c in classes):
        return tuple(tuple(c) for c in classes)
    raise ValueError(
        f"classes must be a tuple of names, got {classes!r} (K tuples if an image has K labels)"
    )


def picked(which: Which, n: int, generator: torch.Generator | None, where: torch.device) -> Tensor:
    """The numbers of the images meant; so many at random if `which` is a number."""
    if not isinstance(which, Tensor) or not which.ndim:
        try:  # NumPy's whole numbers too
            count = operator.index(which)  # type: ignore[arg-type]
        except TypeError:
            pass
        else:
            if count < 1 or isinstance(which, bool):
                raise ValueError(f"a batch is of at least 1 image, got {which!r}")
            return torch.randint(n, (count,), generator=generator, device=where)
    try:
        index = torch.as_tensor(which)
    except (TypeError, ValueError, RuntimeError):
        index = torch.zeros(())
    if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
        raise ValueError(
            "the images of a batch are a whole number, so many at random, or a list of their "
            f"numbers; got {short(which)}"
        )
    if index.device.type == "cpu" and len(index) and not -n <= index.min() <= index.max() < n:
        low, high = int(index.min()), int(index.max())
        raise ValueError(f"the {n} images have the numbers 0..{n - 1}, got {low}..{high}")
    return index.long()
