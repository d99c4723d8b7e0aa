"""Chapter 6: what determines a U-Net, the networks of the papers, and what a U-Net accepts."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from minidiff.kinds import kind
from minidiff.settings import Amount, Count, Natural, Range, Share, check_fields
from minidiff.unet.blocks import TimeKind


def check_clock(time: str, clock: float | tuple[float, ...]) -> None:
    """Refuse a clock that is no table of times, or too fast for Fourier features."""
    if isinstance(clock, tuple) and len(clock) < 2:
        raise ValueError(
            "clock must be a number, or a tuple with one number for each t, such as "
            f"tuple(schedule.log_snr[1:].tolist()); got {clock}"
        )
    if time in ("learned", "random") and clock == 1.0:
        raise ValueError(
            f"time={time!r} needs an input of order one: clock=1/T feeds t/T, "
            f"clock=tuple(schedule.log_snr[1:].tolist()) the log-SNR; clock=1.0 feeds 0..T-1"
        )


@dataclass(frozen=True)
class UNetConfig:
    """What determines the network; the defaults are DDPM's for CIFAR-10. JSON: `asdict(config)`.

    attention, linear_attention: the levels that have it, named by their image size; the middle,
        between down and up, always has attention.
    heads: how many heads each attention has, whatever its channels; or
    head_dim: how many channels each head has, whatever their number. One of the two.
    scale_shift: time scales and shifts the second norm (IDDPM) instead of being added before it.
    symmetric: pad one on every side where the image is halved (IDDPM), not only right and below.
    time: "sinusoidal" (DDPM), "iddpm", or Fourier features with "learned" or "random" frequencies.
    clock: what the time features see: a factor on t, or a table of one number per t (log-SNR).
    num_classes: how many labels there are; 0 is unconditional. A tuple is for images with several
        labels: how many classes each has.
    null_class: label `num_classes` means none, and training puts it in place of a label with
        probability `label_dropout` (classifier-free guidance); False: there is no such label. Of
        several each has its own, and training drops all, some or none of an image's labels.
    self_cond: the network also sees its last guess of x_0, given as `x_self` (zeros if not).
    start: a fresh network's weights: "ddpm" as in Ho et al.'s code, or "torch", each layer's own.

    >>> UNetConfig(size=32, mults=(1, 2, 2, 2)).sizes
    (32, 16, 8, 4)
    """

    size: Count = 32
    in_channels: Count = 3
    out_channels: Count = 3
    width: Annotated[int, Range(4)] = 128
    mults: tuple[Count, ...] = (1, 2, 2, 2)
    blocks: Count = 2
    attention: tuple[Count, ...] = (16,)
    linear_attention: tuple[Count, ...] = ()
    heads: Count = 1
    head_dim: Count | None = None
    dropout: Share = 0.1
    groups: Count = 32
    eps: Amount = 1e-6
    scale_shift: bool = False
    symmetric: bool = False
    time: TimeKind = "sinusoidal"
    clock: float | tuple[float, ...] = 1.0
    num_classes: Natural | tuple[Count, ...] = 0
    null_class: bool = True
    label_dropout: Share = 0.1
    self_cond: bool = False
    start: Literal["ddpm", "torch"] = "ddpm"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.num_classes == ():
            raise ValueError("num_classes must have one number for each label, got none")
        if not self.mults:
            raise ValueError("mults must have one number for each level, got none")
        if self.width % 2:
            raise ValueError(
                f"width must be even (time is told by width/2 sines and width/2 cosines), "
                f"got {self.width}"
            )
        if self.size % self.stride:
            raise ValueError(
                f"size must be a multiple of {self.stride} ({len(self.mults)} levels halve it "
                f"{len(self.mults) - 1} times), got {self.size}"
            )
        for place in (*self.attention, *self.linear_attention):
            if place not in self.sizes:
                raise ValueError(
                    f"attention at size {place}, but the levels have sizes {self.sizes}"
                )
        if both := set(self.attention) & set(self.linear_attention):
            raise ValueError(f"sizes {both} are in attention and in linear_attention: choose one")
        for channels in (self.width * mult for mult in self.mults):
            if channels % self.groups:
                raise ValueError(
                    f"a level has {channels} channels, not a multiple of groups={self.groups}"
                )
        if self.head_dim and self.heads > 1:
            raise ValueError(f"give heads={self.heads} or head_dim={self.head_dim}, not both")
        what, parts = ("head_dim", self.head_dim) if self.head_dim else ("heads", self.heads)
        for channels in sorted(self.attended):
            if channels % parts:
                raise ValueError(
                    f"an attention has {channels} channels, not a multiple of {what}={parts}"
                )
        check_clock(self.time, self.clock)

    @property
    def stride(self) -> int:
        """The number that divides every image size the network takes."""
        return 1 << (len(self.mults) - 1)

    @property
    def stride_why(self) -> str:
        """The reason for `stride`, for a message."""
        return f"the network halves it {len(self.mults) - 1} times"

    @property
    def stages(self) -> int:
        """How many residual blocks there are on the way down."""
        return len(self.mults) * self.blocks

    @property
    def sizes(self) -> tuple[int, ...]:
        """The image size of each level, from the top."""
        return tuple(self.size // 2**i for i in range(len(self.mults)))

    @property
    def attended(self) -> set[int]:
        """The numbers of channels that an attention sees, that of the middle among them."""
        places = {*self.attention, *self.linear_attention, self.sizes[-1]}
        both = zip(self.sizes, self.mults, strict=True)
        return {self.width * mult for size, mult in both if size in places}

    @property
    def labels(self) -> int:
        """How many labels have a vector: the classes, and the null class if there is one."""
        return sum(self.vectors)

    @property
    def vectors(self) -> tuple[int, ...]:
        """The same, label by label, if an image has several.

        >>> UNetConfig(num_classes=10).vectors, UNetConfig(num_classes=(3, 2)).vectors
        ((11,), (4, 3))
        """
        counts = self.num_classes if isinstance(self.num_classes, tuple) else (self.num_classes,)
        return tuple(count + self.null_class for count in counts if count)

    def head_width(self, channels: int) -> int:
        """How many channels each head has where an attention sees so many.

        >>> UNetConfig(heads=4).head_width(256), UNetConfig(head_dim=64).head_width(256)
        (64, 64)
        """
        return self.head_dim or channels // self.heads

    def function(self) -> dict[str, Any]:
        """All that decides what given weights compute: two networks with equal answers are equal.

        Levels are counted from the top, since `size` only names them. Dropout, `start` and the
        drawing of labels in training are left out.
        """
        same = ("size", "attention", "linear_attention", "heads", "head_dim", "dropout")
        facts = {k: v for k, v in asdict(self).items() if k not in same}
        del facts["label_dropout"], facts["start"]
        if not self.num_classes:
            del facts["null_class"]
        for name in ("attention", "linear_attention"):
            facts[name] = tuple(sorted(self.sizes.index(size) for size in getattr(self, name)))
        facts["head_width"] = {n: self.head_width(n) for n in sorted(self.attended)}
        return facts


Preset = Literal["cifar10", "iddpm_cifar10", "digits", "fashion", "celeba64", "lsun256"]
PRESETS: dict[Preset, UNetConfig] = {  # built by the methods of UNet that are called alike
    "cifar10": UNetConfig(),
    "iddpm_cifar10": UNetConfig(
        out_channels=6,
        blocks=3,
        attention=(16, 8),
        head_dim=64,
        dropout=0.3,
        eps=1e-5,
        scale_shift=True,
        symmetric=True,
        time="iddpm",
        clock=1000 / 4000,
    ),
    "digits": UNetConfig(
        size=8,
        in_channels=1,
        out_channels=1,
        width=32,
        mults=(1, 1),
        blocks=1,
        attention=(4,),
        groups=8,
    ),
    "fashion": UNetConfig(
        size=28,
        in_channels=1,
        out_channels=1,
        width=32,
        mults=(1, 2, 2),
        attention=(7,),
        groups=8,
    ),
    "celeba64": UNetConfig(size=64, mults=(1, 2, 2, 2, 4)),
    "lsun256": UNetConfig(size=256, mults=(1, 1, 2, 2, 4, 4), dropout=0.0),
}


def check_inputs(
    c: Any, x: Tensor, t: Tensor, labels: Tensor | None, x_self: Tensor | None
) -> None:
    """Refuse what a network of this configuration (a U-Net's, a transformer's) cannot take, saying
    which number is wrong and what would fit.
    """
    if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] != c.in_channels:
        raise ValueError(
            f"x must be (B, {c.in_channels}, H, W): this network takes {c.in_channels} channels, "
            f"got {kind(x)}"
        )
    if not x.is_floating_point():
        raise ValueError(
            f"x must hold floats in about -1..1, got {x.dtype} (minidiff.data.from_uint8 "
            f"turns stored images into that)"
        )
    for side in x.shape[2:]:
        if side % c.stride or not side:
            low = side - side % c.stride
            fits = f"{low} or {low + c.stride}" if low else f"{c.stride}"
            raise ValueError(
                f"the image is {x.shape[2]}×{x.shape[3]}, but {side} is not a multiple of "
                f"{c.stride} ({c.stride_why}); {fits} would fit"
            )
    if not isinstance(t, Tensor) or t.shape != x.shape[:1]:
        raise ValueError(
            f"t must have one entry per image, a tensor of shape ({len(x)},), got {kind(t)}; "
            f"the same t for all: torch.full(({len(x)},), t)"
        )
    if labels is not None and not c.num_classes:
        raise ValueError(
            "labels were given to an unconditional network (num_classes=0): leave them out, "
            "or build it with num_classes=…"
        )
    if c.num_classes:
        _check_labels(c, x, labels)
    if x_self is not None and (not c.self_cond or x_self.shape != x.shape):
        raise ValueError(
            f"x_self needs self_cond=True and the shape of x {tuple(x.shape)}; "
            f"self_cond is {c.self_cond}, got shape {tuple(x_self.shape)}"
        )


def _check_labels(c: Any, x: Tensor, labels: Tensor | None) -> None:
    n = x.shape[0]  # a symbol where torch.export traces, which len is not
    shape = (n, len(c.num_classes)) if isinstance(c.num_classes, tuple) else (n,)
    good = isinstance(labels, Tensor) and labels.shape == shape and not labels.is_floating_point()
    if not good or labels.dtype == torch.bool:  # type: ignore[union-attr]
        raise ValueError(
            f"this network is conditional: labels must have shape {shape} with {_entries(c)}; "
            f"got {kind(labels)}"
        )
    assert labels is not None
    if labels.device != x.device:
        raise ValueError(f"labels are on {labels.device}, x on {x.device}; use .to({x.device})")
    # On a GPU a look at the values would wait for it; a compiled graph and vmap have none to see.
    if labels.device.type != "cpu" or torch.compiler.is_compiling() or not n:
        return
    with contextlib.suppress(RuntimeError):
        for count, column in zip(c.vectors, labels.view(n, -1).unbind(1), strict=True):
            low, high = (int(label) for label in column.aminmax())
            if low < 0 or high >= count:
                raise ValueError(f"labels must have {_entries(c)}; got {low}..{high}")


def _entries(c: Any) -> str:
    ends = (
        f"0..{k - 2}, or {k - 1} for no class" if c.null_class else f"0..{k - 1}" for k in c.vectors
    )
    return f"whole entries {', '.join(ends)}"
