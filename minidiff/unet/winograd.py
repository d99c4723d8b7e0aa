"""Chapter 6: a 3×3 convolution with a quarter of the multiplications.

Winograd's minimal filtering F(4×4, 3×3) (Lavin & Gray 2016, arXiv:1509.09308): a 4×4 tile of the
output is Aᵀ[(G w Gᵀ) ⊙ (Bᵀ x B)]A, with x the 6×6 pixels below it. Summed over channels, ⊙ is 36
matrix products: 36 multiplications for 16 outputs, where the direct sum takes 144.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 4  # pixels of the output along one side
AT_ONCE = 64  # tiles, so that what is between the transforms stays near the processor

B_T = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]]
B_T += [[0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
G_24 = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]  # 24 G
A_T = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


@functools.cache
def transforms(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Bᵀ, G and Aᵀ, each for both directions at once: (36, 36), (36, 9), (16, 36)."""
    with torch.inference_mode(False):
        b, g, a = (torch.tensor(m, dtype=torch.float64) for m in (B_T, G_24, A_T))
        both = (torch.kron(m, m).to(dtype) for m in (b, g / 24, a))
        return next(both), next(both), next(both)


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=1)` for H and W that are multiples of 4.

    x (B, C, H, W), weight (O, C, 3, 3) → (B, O, H, W) in channels-last memory. In float32 a single
    layer is some five times less exact than the direct sum; the whole network, with its norms, is
    as exact (`test_winograd_costs_the_network_no_digit`).
    """
    B, C, H, W = x.shape
    O, h, w = weight.shape[0], H // TILE, W // TILE  # noqa: E741 - channels of the output
    b, g, a = transforms(x.dtype)
    kernels = (g @ weight.permute(2, 3, 0, 1).reshape(9, O * C)).view(36, O, C).transpose(1, 2)
    shift = x.new_zeros(O) if bias is None else bias
    out = x.new_empty(B, H, W, O)
    at_once = max(1, AT_ONCE // (h * w))
    for some, result in zip(torch.split(x, at_once), torch.split(out, at_once), strict=True):
        padded = F.pad(some.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (n, H+2, W+2, C)
        tiles = padded.unfold(1, 6, TILE).unfold(2, 6, TILE)  # (n, h, w, C, 6, 6), a view
        seen = b @ tiles.permute(4, 5, 0, 1, 2, 3).reshape(36, -1)
        sums = torch.bmm(seen.view(36, -1, C), kernels)  # (36, n h w, O)
        made = (a @ sums.view(36, -1)).view(TILE, TILE, -1, h, w, O).permute(2, 3, 0, 4, 1, 5)
        torch.add(made, shift, out=result.view(-1, h, TILE, w, TILE, O))
    return out.permute(0, 3, 1, 2)
