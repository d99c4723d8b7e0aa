"""Chapter 6: the layers that choose their kernel by where they run: norms and 3×3 convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from minidiff.unet.winograd import TILE, winograd

WIDE, TILES = 128, 64  # from how many channels, and tiles of all images, that way is faster


class Conv3x3(nn.Conv2d):
    """A 3×3 convolution that keeps the size of the image.

    Without a gradient, in float32 on a processor, a wide one goes `winograd`'s way: a direct
    convolution runs there at the speed of the arithmetic units, and only fewer products are faster.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, channels, H, W) → (B, out, H, W)."""
        if self._few_products(x):
            return winograd(x, self.weight, self.bias)
        return super().forward(x)

    def _few_products(self, x: Tensor) -> bool:
        if _watched() or torch.is_grad_enabled() or not x.is_cpu:
            return False
        B, _, H, W = x.shape
        fits = H % TILE == W % TILE == 0 and B * H * W >= TILES * TILE**2
        single = x.dtype == self.weight.dtype == torch.float32
        wide = min(self.in_channels, self.out_channels) >= WIDE
        plain = not (torch.is_autocast_enabled("cpu") or transformed(x))
        return fits and single and wide and plain


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu & He 2018) that keeps channels-last memory when compiled for a GPU.

    The framework's own decomposition reshapes to (B, groups, everything else), which in
    channels-last memory copies the whole tensor, forwards and backwards. On a GPU the compiler is
    given `channels_last_group_norm` instead, and so is forward-mode differentiation, whose rule for
    the built-in kernel wants another layout; anywhere else that kernel is the fastest.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over each group of channels and all positions, then scale and shift."""
        if (torch.compiler.is_compiling() and x.is_cuda) or transformed(x):
            return channels_last_group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def channels_last_group_norm(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """Group norm as y = a x + b with one a and b per image and channel; sums in float32 or wider.

    One read for Σx and Σx² per channel (neighbours in memory), a few numbers per group, one read
    and write to apply them. x (B, C, H, W) in any layout → the same shape, type and layout.
    """
    B, C, H, W = x.shape
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    count = H * W * (C // groups)
    mean = wide.sum((2, 3)).reshape(B, groups, -1).sum(2, keepdim=True) / count  # (B, G, 1)
    square = wide.square().sum((2, 3)).reshape(B, groups, -1).sum(2, keepdim=True) / count
    a = (square - mean.square()).clamp_min(0).add(eps).rsqrt() * weight.reshape(1, groups, -1)
    b = bias.reshape(1, groups, -1) - mean * a  # (B, G, C/G)
    return (wide * a.reshape(B, C, 1, 1) + b.reshape(B, C, 1, 1)).to(x.dtype)


def _watched() -> bool:
    """Whether each operation is looked at, by a compiler or by a mode such as FlopCounterMode."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def transformed(x: Tensor) -> bool:
    """Whether x is differentiated forwards, or is seen through one of `torch.func`'s transforms."""
    if torch.compiler.is_compiling():
        return False
    inside = torch._C._functorch.peek_interpreter_stack() is not None
    return inside or forward_ad.unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]
