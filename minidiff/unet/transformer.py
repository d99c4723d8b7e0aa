"""Chapter 23: a transformer of image patches in the place of the U-Net (DiT)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.settings import Count, Natural, Range, Share, check_fields
from minidiff.unet.blocks import TimeFeatures, TimeKind
from minidiff.unet.config import check_clock, check_inputs

FEATURES = 256  # of time, before the two linear maps


@dataclass(frozen=True)
class TransformerConfig:
    """What determines the network; the defaults are those of DiT-S/2 (Peebles & Xie 2023, table 1).

    patch: the side of a patch in pixels; the image's is a multiple. width: numbers that describe a
    patch, split over the heads. The rest as in `UNetConfig`, with at most one label an image.

    >>> TransformerConfig(size=32, patch=4).patches
    64
    """

    size: Count = 32
    in_channels: Count = 3
    out_channels: Count = 3
    patch: Count = 2
    width: Annotated[int, Range(4)] = 384
    depth: Count = 12
    heads: Count = 6
    mlp_ratio: Count = 4
    time: TimeKind = "iddpm"
    clock: float | tuple[float, ...] = 1.0
    num_classes: Natural = 0
    null_class: bool = True
    label_dropout: Share = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        check_clock(self.time, self.clock)
        if self.width % 4 or self.width % self.heads:
            raise ValueError(
                f"width must be a multiple of 4 (sines and cosines of a row and a column) and of "
                f"heads = {self.heads}, got {self.width}"
            )
        if self.size % self.patch:
            raise ValueError(f"size must be a multiple of patch = {self.patch}, got {self.size}")

    @property
    def patches(self) -> int:
        """How many patches an image of the configured size has."""
        return (self.size // self.patch) ** 2

    @property
    def stages(self) -> int:
        """How many blocks there are."""
        return self.depth

    @property
    def stride(self) -> int:
        """The number that divides every image size the network takes."""
        return self.patch

    @property
    def stride_why(self) -> str:
        """The reason for `stride`, for a message."""
        return f"it is cut into patches of {self.patch}×{self.patch}"

    @property
    def self_cond(self) -> bool:
        """No transformer sees its last guess."""
        return False

    @property
    def vectors(self) -> tuple[int, ...]:
        """How many vectors the label has: the classes, and the null class if there is one."""
        return (self.num_classes + self.null_class,) if self.num_classes else ()

    def function(self) -> dict[str, Any]:
        """All that decides what given weights compute, as in `UNetConfig.function`."""
        facts = {k: v for k, v in asdict(self).items() if k not in ("size", "label_dropout")}
        if not self.num_classes:
            del facts["null_class"]
        return facts


class Transformer(nn.Module):
    """ε_θ(x_t, t), or whatever it is trained to predict: called as `UNet` is, in a `Denoiser`, too.

    Peebles & Xie 2023. The image is cut into patches, each a vector (a linear map of its pixels and
    the sines of its place), `depth` blocks let them look at each other, and a linear map makes
    pixels again. Time and label reach every block through adaptive layer norm only. A fresh network
    answers 0: its last map and all gates are 0 ("zero"), so each block begins as the identity.

    >>> net = Transformer(TransformerConfig(size=8, in_channels=1, out_channels=1, depth=2))
    >>> net(torch.zeros(2, 1, 8, 8), torch.tensor([0, 999])).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = c = config
        self.features = TimeFeatures(c.time, FEATURES, c.clock)
        self.time = nn.Sequential(
            nn.Linear(FEATURES, c.width), nn.SiLU(), nn.Linear(c.width, c.width)
        )
        if c.num_classes:
            self.labels = nn.Embedding(c.num_classes + c.null_class, c.width)
        self.patch_in = nn.Linear(c.in_channels * c.patch**2, c.width)
        self.blocks = nn.ModuleList(Block(c.width, c.heads, c.mlp_ratio) for _ in range(c.depth))
        self.adapt = nn.Linear(c.width, 2 * c.width)
        self.patch_out = nn.Linear(c.width, c.out_channels * c.patch**2)
        self._initialise()

    def _initialise(self) -> None:
        """Xavier-uniform, biases 0; 0.02 for what is told; 0 for gates and output (their code)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        told = [m.weight for m in self.time if isinstance(m, nn.Linear)]
        for weight in (*told, *([self.labels.weight] if self.config.num_classes else [])):
            nn.init.normal_(weight, std=0.02)
        gates = [m.adapt for m in self.modules() if isinstance(m, (Block, Transformer))]
        for last in (*gates, self.patch_out):
            nn.init.zeros_(last.weight)

    def forward(
        self, x: Tensor, t: Tensor, labels: Tensor | None = None, x_self: Tensor | None = None
    ) -> Tensor:
        """The prediction for noisy images x (B, C, H, W) at times t (B,), counted from 0."""
        c = self.config
        check_inputs(c, x, t, labels, x_self)
        h, w = (side // c.patch for side in x.shape[2:])
        with torch.autocast(x.device.type, enabled=False):  # as in UNet: x_t is not rounded
            x = x.to(self.patch_in.weight.dtype)
            x = x.reshape(len(x), c.in_channels, h, c.patch, w, c.patch)
            pixels = x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, h w, C p p)
            tokens = self.patch_in(pixels)  # (B, h w, width)
            tokens = tokens + places(h, w, c.width, x.device).to(tokens.dtype)
            told = self.embed(t, labels)
        for block in self.blocks:
            tokens = block(tokens, told)
        with torch.autocast(x.device.type, enabled=False):
            shift, scale = self.adapt(told)[:, None].chunk(2, dim=2)
            out = self.patch_out(modulated(tokens.to(told.dtype), shift, scale))
            out = out.reshape(len(x), h, w, c.out_channels, c.patch, c.patch)
            image: Tensor = out.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
        return image  # (B, C, h p, w p)

    def embed(self, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """silu(MLP(features(t)) + class vector), shape (B, width): what every block is told."""
        c = self.config
        told = self.time(self.features(t).to(self.time[0].weight.dtype))
        if labels is not None:
            if self.training and c.null_class and c.label_dropout:
                drop = torch.rand(len(labels), device=labels.device) < c.label_dropout
                labels = torch.where(drop, c.num_classes, labels)
            told = told + self.labels(labels)
        return F.silu(told)


class Block(nn.Module):
    """x + g1 attention(a1 norm(x) + b1), then x + g2 mlp(a2 norm(x) + b2): adaLN-Zero.

    Peebles & Xie 2023, section 3.2: scales a - 1, shifts b and gates g are a linear map of what the
    block is told, (B, width), which begins at 0.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.adapt = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width),
            nn.GELU(approximate="tanh"),
            nn.Linear(mlp_ratio * width, width),
        )

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """x (B, N, width), told (B, width) → (B, N, width)."""
        b1, a1, g1, b2, a2, g2 = self.adapt(told)[:, None].chunk(6, dim=2)
        x = x + g1 * self.attend(modulated(x, b1, a1))
        return x + g2 * self.mlp(modulated(x, b2, a2))  # type: ignore[no-any-return]

    def attend(self, x: Tensor) -> Tensor:
        """softmax(q kᵀ/√d) v over all patches, head by head."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v)  # (B, heads, N, d)
        return self.proj(h.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """(1 + scale) norm(x) + shift, the norm over the numbers of each patch."""
    return F.layer_norm(x, x.shape[2:], eps=1e-6) * (1 + scale) + shift


def places(h: int, w: int, width: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines of each patch's column, then of its row, (h w, width), row by row.

    >>> places(2, 3, 4).tolist()[0]  # the first row and column have the angle 0
    [0.0, 1.0, 0.0, 1.0]
    """
    n = width // 4
    frequency = torch.exp(-math.log(10000.0) * torch.arange(n, device=device) / n)
    column = torch.arange(w, device=device).repeat(h)[:, None] * frequency
    row = torch.arange(h, device=device).repeat_interleave(w)[:, None] * frequency
    return torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], dim=1)
