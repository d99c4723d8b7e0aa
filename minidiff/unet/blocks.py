"""Chapter 6: the blocks of the papers' U-Net, from the features of time to attention.

Every stage of the network is called as `stage(x, emb)` with x (B, C, H, W) and emb (B, E), the
embedding of time (and class) after its activation: the U-Net is then three plain loops.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from minidiff.unet.layers import Conv3x3, GroupNorm

TimeKind = Literal["sinusoidal", "iddpm", "learned", "random"]


def sinusoidal(t: Tensor, width: int) -> Tensor:
    """[sin(t f_i), cos(t f_i)], f_i = 10000^(-i/(half-1)), i < half (Ho et al. 2020's code).

    The angles are float32 whatever the network's precision: at t = 999 one float32 rounding of
    t f_i moves a feature by 3e-5, so networks that share weights must share this arithmetic.

    >>> sinusoidal(torch.tensor([0, 10]), 4).shape
    torch.Size([2, 4])
    """
    half = _half(width, least=4)
    angles = _angles(t, half, half - 1)
    return torch.cat([angles.sin(), angles.cos()], dim=1)  # (B, width)


def iddpm_features(t: Tensor, width: int) -> Tensor:
    """[cos(t f_i), sin(t f_i)], f_i = 10000^(-i/half), i < half (Nichol & Dhariwal 2021's code).

    >>> iddpm_features(torch.tensor([0]), 4)
    tensor([[1., 1., 0., 0.]])
    """
    half = _half(width)
    angles = _angles(t, half, half)
    return torch.cat([angles.cos(), angles.sin()], dim=1)  # (B, width)


def _half(width: int, least: int = 2) -> int:
    """How many sines, and how many cosines, make `width` features."""
    if width % 2 or width < least:
        raise ValueError(f"the width of time features must be even, from {least} up, got {width}")
    return width // 2


def _angles(t: Tensor, half: int, denominator: int) -> Tensor:
    i = torch.arange(half, dtype=torch.float32, device=t.device)
    return t.float()[:, None] * torch.exp(-math.log(10000.0) * i / denominator)


class TimeFeatures(nn.Module):
    """t (B,) → features (B, width): sines and cosines at fixed, random or learned frequencies.

    `clock` says what the features see: a factor (1.0: t itself; 1/T: t/T) or a table with one
    entry for each t, e.g. `tuple(schedule.log_snr[1:].tolist())`. The Fourier kinds ("random",
    "learned"; Tancik et al. 2020) start at about one period per unit, so they need such a small
    input; on raw 0..999 neighbouring t would have unrelated features.
    """

    def __init__(self, kind: str, width: int, clock: float | tuple[float, ...]) -> None:
        super().__init__()
        self.kind, self.width = kind, width
        self.scale = clock if isinstance(clock, (int, float)) else 1.0
        table = torch.tensor(clock) if isinstance(clock, tuple) else None
        self.register_buffer("table", table, persistent=False)
        if kind == "learned":
            self.frequency = nn.Parameter(torch.randn(_half(width)))
        elif kind == "random":
            self.register_buffer("frequency", torch.randn(_half(width)))

    def forward(self, t: Tensor) -> Tensor:
        """Features (B, width) in float32."""
        t = t.float()
        if isinstance(self.table, Tensor):  # between two entries: the straight line
            low = t.floor().long().clamp(0, len(self.table) - 2)
            t = torch.lerp(self.table[low].float(), self.table[low + 1].float(), t - low)
        t = t * self.scale
        if self.kind == "sinusoidal":
            return sinusoidal(t, self.width)
        if self.kind == "iddpm":
            return iddpm_features(t, self.width)
        angles = 2 * math.pi * t[:, None] * self.frequency
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResBlock(nn.Module):
    """x + conv(dropout(silu(norm(conv(silu(norm(x))) + emb)))) (Ho et al. 2020, appendix B).

    With `scale_shift` the embedding gives the second norm's scale and shift instead of being added
    before it (Nichol & Dhariwal 2021). A 1×1 convolution carries x when the channels change.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        emb: int,
        groups: int,
        eps: float,
        dropout: float,
        scale_shift: bool,
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.norm1 = GroupNorm(groups, channels, eps)
        self.conv1 = Conv3x3(channels, out)
        self.emb = nn.Linear(emb, 2 * out if scale_shift else out)
        self.norm2 = GroupNorm(groups, out, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = Conv3x3(out, out)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """x (B, channels, H, W) → (B, out, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        e = self.emb(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = e.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + e)
        h = self.conv2(self.dropout(F.silu(h)))
        return h + self.skip(x)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """x + proj(softmax(q kᵀ/√d) v) over all positions (Vaswani et al. 2017, eq. (1)); d = head_dim.

    A 1×1 convolution is a linear map of the channels, and in channels-last memory (B, C, H, W)
    already *is* (B, H·W, C): no copies.
    """

    def __init__(self, channels: int, head_dim: int | None, groups: int, eps: float) -> None:
        super().__init__()
        self.head_dim = channels if head_dim is None else head_dim  # None: one head, as in DDPM
        if self.head_dim < 1 or channels % self.head_dim:
            raise ValueError(
                f"attention splits its channels into heads: {channels} channels are not a multiple "
                f"of head_dim={head_dim}"
            )
        self.norm = GroupNorm(groups, channels, eps)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) → the same shape."""
        B, C, H, W = x.shape
        h = self.norm(x).permute(0, 2, 3, 1).reshape(B, H * W, C)
        qkv = self.qkv(h).reshape(B, H * W, 3, C // self.head_dim, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, H·W, d)
        h = self.attend(q, k, v).transpose(1, 2).reshape(B, H * W, C)
        h = self.proj(h).reshape(B, H, W, C).permute(0, 3, 1, 2)
        return x + h  # type: ignore[no-any-return]

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """softmax(q kᵀ/√d) v, each (B, heads, H·W, d)."""
        return F.scaled_dot_product_attention(q, k, v)

    def attend_flops(self, positions: int, channels: int) -> int:
        """What `attend` costs for one image."""
        return 4 * positions**2 * channels  # q kᵀ, then weights times v; a multiply-add is two


class LinearAttention(Attention):
    """Attention at a cost linear in the positions: softmax(q)(softmax(k)ᵀ v) (Shen et al. 2018)."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """softmax(q)/√d (softmax(k)ᵀ v): a (d, d) summary of all positions, read by each."""
        q = q.softmax(dim=3) * self.head_dim**-0.5  # over features
        k = k.softmax(dim=2)  # over positions
        return q @ (k.transpose(2, 3) @ v)  # (B, heads, H·W, d)

    def attend_flops(self, positions: int, channels: int) -> int:
        """What `attend` costs for one image."""
        return 4 * positions * channels * self.head_dim


def kernels(twice: bool) -> contextlib.AbstractContextManager[Any]:
    """Attention's kernels: fused ones, or plain products, which have second derivatives, too."""
    return sdpa_kernel(SDPBackend.MATH) if twice else contextlib.nullcontext()


class Stage(nn.Module):
    """A residual block, followed by attention where the level has it."""

    def __init__(self, res: ResBlock, attn: Attention | None) -> None:
        super().__init__()
        self.res = res
        self.attn = attn or nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """x (B, C, H, W) → (B, C', H, W)."""
        return self.attn(self.res(x, emb))  # type: ignore[no-any-return]


class Downsample(nn.Module):
    """3×3 convolution with stride 2: H, W → H/2, W/2.

    DDPM pads one row at the bottom and one column at the right (TensorFlow's "SAME"); `symmetric`
    pads one on every side (IDDPM). With the same weights the two are different networks.
    """

    def __init__(self, channels: int, symmetric: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if symmetric else 0)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """x (B, C, H, W) → (B, C, H/2, W/2)."""
        if self.conv.padding == (0, 0):
            x = F.pad(x, (0, 1, 0, 1))
        return self.conv(x)  # type: ignore[no-any-return]


class Upsample(nn.Module):
    """Every pixel twice in both directions, then a 3×3 convolution: H, W → 2H, 2W."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv3x3(channels, channels)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """x (B, C, H, W) → (B, C, 2H, 2W)."""
        if torch.compiler.is_compiling() and x.is_cuda:
            return self.conv(channels_last_twice(x))  # type: ignore[no-any-return]
        return self.conv(F.interpolate(x, scale_factor=2.0))  # type: ignore[no-any-return]


def channels_last_twice(x: Tensor) -> Tensor:
    """Every pixel twice in both directions, as a view that is copied once into channels-last.

    Its gradient is a sum of four, while the compiler makes that of `F.interpolate` a scatter. Where
    nothing is compiled, F.interpolate has kernels of its own.
    """
    B, C, H, W = x.shape
    view = x.permute(0, 2, 3, 1)[:, :, None, :, None].expand(B, H, 2, W, 2, C)
    return view.reshape(B, 2 * H, 2 * W, C).permute(0, 3, 1, 2)
