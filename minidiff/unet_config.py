"""What determines a U-Net, and what a U-Net accepts: the configuration and its checks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from minidiff.blocks import TIME_FEATURES


@dataclass(frozen=True)
class UNetConfig:
    """What determines the network; the defaults are DDPM's for CIFAR-10. JSON: `asdict(config)`.

    attention, linear_attention: the levels that have it, named by their image size.
    head_dim: channels of one attention head; None is a single head.
    scale_shift: time scales and shifts the second norm (IDDPM) instead of being added before it.
    symmetric: pad one on every side where the image is halved (IDDPM), not only right and below.
    time: "sinusoidal" (DDPM), "iddpm", or Fourier features with "learned" or "random" frequencies.
    clock: what the time features see: a factor on t, or a table of one number per t (log-SNR).
    num_classes: 0 is unconditional; otherwise label `num_classes` is the null class, and training
        puts it in place of a label with probability `label_dropout` (classifier-free guidance).
    self_cond: the network also sees its last guess of x_0, given as `x_self` (zeros if not).

    >>> UNetConfig(size=32, mults=(1, 2, 2, 2)).sizes
    (32, 16, 8, 4)
    """

    size: int = 32
    in_channels: int = 3
    out_channels: int = 3
    width: int = 128
    mults: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (16,)
    linear_attention: tuple[int, ...] = ()
    head_dim: int | None = None
    dropout: float = 0.1
    groups: int = 32
    eps: float = 1e-6
    scale_shift: bool = False
    symmetric: bool = False
    time: str = "sinusoidal"
    clock: float | tuple[float, ...] = 1.0
    num_classes: int = 0
    label_dropout: float = 0.1
    self_cond: bool = False

    def __post_init__(self) -> None:
        for name in ("mults", "attention", "linear_attention", "clock"):  # JSON has lists
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
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
        for channels in (self.width * mult for mult in self.mults):
            if channels % self.groups:
                raise ValueError(
                    f"a level has {channels} channels, not a multiple of groups={self.groups}"
                )
            if self.head_dim and channels % self.head_dim:
                raise ValueError(
                    f"a level has {channels} channels, not a multiple of head_dim={self.head_dim}"
                )
        if self.time not in TIME_FEATURES:
            raise ValueError(f"time must be one of {TIME_FEATURES}, got {self.time!r}")
        if self.time in ("learned", "random") and self.clock == 1.0:
            raise ValueError(
                f"time={self.time!r} needs an input of order one: clock=1/T feeds t/T, "
                f"clock=tuple(schedule.log_snr[1:].tolist()) the log-SNR; clock=1.0 feeds 0..T-1"
            )

    @property
    def stride(self) -> int:
        """The number that divides every image size the network takes."""
        return 1 << (len(self.mults) - 1)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The image size of each level, from the top."""
        return tuple(self.size // 2**i for i in range(len(self.mults)))


def check_inputs(
    c: UNetConfig, x: Tensor, t: Tensor, labels: Tensor | None, x_self: Tensor | None
) -> None:
    """Refuse what the network cannot take, saying which number is wrong and what would fit."""
    if x.ndim != 4 or x.shape[1] != c.in_channels:
        raise ValueError(
            f"x must be (B, {c.in_channels}, H, W): this network takes {c.in_channels} channels, "
            f"got shape {tuple(x.shape)}"
        )
    for side in x.shape[2:]:
        if side % c.stride:
            low = side - side % c.stride
            fits = f"{low} or {low + c.stride}" if low else f"{c.stride}"
            raise ValueError(
                f"the image is {x.shape[2]}×{x.shape[3]}, but {side} is not a multiple of "
                f"{c.stride} (the network halves it {len(c.mults) - 1} times); {fits} would fit"
            )
    if t.shape != x.shape[:1]:
        raise ValueError(
            f"t must have one entry per image, shape ({len(x)},), got shape {tuple(t.shape)}"
        )
    if labels is not None and not c.num_classes:
        raise ValueError(
            "labels were given to an unconditional network (num_classes=0): leave them out, "
            "or build it with num_classes=…"
        )
    if c.num_classes and (labels is None or labels.shape != t.shape):
        got = "none" if labels is None else f"shape {tuple(labels.shape)}"
        raise ValueError(
            f"this network is conditional: labels must have shape ({len(x)},) with entries "
            f"0..{c.num_classes - 1}, or {c.num_classes} for no class; got {got}"
        )
    if x_self is not None and (not c.self_cond or x_self.shape != x.shape):
        raise ValueError(
            f"x_self needs self_cond=True and the shape of x {tuple(x.shape)}; "
            f"self_cond is {c.self_cond}, got shape {tuple(x_self.shape)}"
        )
