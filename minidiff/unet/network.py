"""Chapter 6: the U-Net of DDPM and of its successors, from one configuration.

Ho et al. 2020, appendix B. Down: each level has `blocks` stages and halves the image. Up:
`blocks + 1` stages, each joined with the output that the way down left at the same place. Equal
weight for weight to the public implementations (`compat.py` maps the names).
"""

from __future__ import annotations

import contextlib
import itertools
import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minidiff.unet.blocks import (
    Attention,
    Downsample,
    LinearAttention,
    ResBlock,
    Stage,
    TimeFeatures,
    Upsample,
    kernels,
)
from minidiff.unet.config import PRESETS, UNetConfig, check_inputs
from minidiff.unet.describe import Row, rows, table
from minidiff.unet.layers import GroupNorm, transformed

__all__ = ["UNet", "UNetConfig"]


class UNet(nn.Module):
    """ε_θ(x_t, t), or whatever it is trained to predict: (B, C, H, W) → (B, out_channels, H, W).

    t is (B,), integer or float, in the networks' 0..T-1 (`Denoiser` subtracts the one). labels is
    (B,), where `num_classes` is the null class, or (B, K), each label with its own, if that is a
    tuple of K; x_self the last guess of x_0. x is taken in the weights' precision, and the output
    has it, also under autocast. `net.checkpointing = True` trades time for memory in training.

    `torch.func`, `torch.export` and second derivatives pass through it. Only where, in training
    mode, weights are differentiated twice, say so: `with sdpa_kernel(SDPBackend.MATH)`, since the
    fused attention that training uses has first derivatives only.

    >>> net = UNet.digits()
    >>> net(torch.zeros(2, 1, 8, 8), torch.tensor([0, 999])).shape
    torch.Size([2, 1, 8, 8])
    """

    first: Tensor  # the row of the table where each label begins
    nulls: Tensor  # of each label the row for none

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = c = config
        self.checkpointing = False
        emb = 4 * c.width

        self.features = TimeFeatures(c.time, c.width, c.clock)
        self.time = nn.Sequential(nn.Linear(c.width, emb), nn.SiLU(), nn.Linear(emb, emb))
        if c.num_classes:  # one table; each label's last row means none, if there is a null class
            ends = [*itertools.accumulate(c.vectors)]
            self.register_buffer("first", torch.tensor([0, *ends[:-1]]), persistent=False)
            self.register_buffer("nulls", torch.tensor([end - 1 for end in ends]), persistent=False)
            self.labels = nn.Embedding(c.labels, emb)
            self.labels.weight.data /= math.sqrt(len(c.vectors))  # the sum of K is like one

        def stage(channels: int, out: int, kind: type[Attention] | None) -> Stage:
            res = ResBlock(channels, out, emb, c.groups, c.eps, c.dropout, c.scale_shift)
            return Stage(res, kind(out, c.head_width(out), c.groups, c.eps) if kind else None)

        kinds: dict[int, type[Attention]] = dict.fromkeys(c.linear_attention, LinearAttention)
        kinds |= dict.fromkeys(c.attention, Attention)

        self.conv_in = nn.Conv2d(c.in_channels * (2 if c.self_cond else 1), c.width, 3, padding=1)
        channels, skips = c.width, [c.width]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for size, mult in zip(c.sizes, c.mults, strict=True):
            for _ in range(c.blocks):
                self.down.append(stage(channels, c.width * mult, kinds.get(size)))
                channels = c.width * mult
                skips.append(channels)
            if size != c.sizes[-1]:
                self.down.append(Downsample(channels, c.symmetric))
                skips.append(channels)
        self.mid = nn.ModuleList(
            [stage(channels, channels, Attention), stage(channels, channels, None)]
        )
        for size, mult in zip(reversed(c.sizes), reversed(c.mults), strict=True):
            for _ in range(c.blocks + 1):
                self.up.append(stage(channels + skips.pop(), c.width * mult, kinds.get(size)))
                channels = c.width * mult
            if size != c.sizes[0]:
                self.up.append(Upsample(channels))
        self.norm_out = GroupNorm(c.groups, channels, c.eps)
        self.conv_out = nn.Conv2d(channels, c.out_channels, 3, padding=1)
        if c.start == "ddpm":
            self._initialise()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _initialise(self) -> None:
        """Xavier-uniform, biases 0; 1e-5 times it in each block's last layer (Ho et al.'s code)."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Attention):  # q, k, v are three maps, not one three times as wide
                for weight in module.qkv.weight.data.chunk(3):
                    nn.init.xavier_uniform_(weight)
            for name in ("conv2", "proj", "conv_out"):
                if isinstance(last := getattr(module, name, None), (nn.Conv2d, nn.Linear)):
                    nn.init.xavier_uniform_(last.weight, gain=1e-5)

    def forward(
        self, x: Tensor, t: Tensor, labels: Tensor | None = None, x_self: Tensor | None = None
    ) -> Tensor:
        """The prediction for noisy images x at times t."""
        check_inputs(self.config, x, t, labels, x_self)
        if self.config.self_cond:
            x = torch.cat([x, torch.zeros_like(x) if x_self is None else x_self], dim=1)
        emb = self.embed(t, labels)
        h = self._enter(x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2))  # channels last
        twice = self._twice(x, h, emb)
        skips = [h]
        for stage in self.down:
            h = self._run(stage, h, emb, twice)
            skips.append(h)
        for stage in self.mid:
            h = self._run(stage, h, emb, twice)
        for stage in self.up:
            if isinstance(stage, Stage):
                h = torch.cat([h, skips.pop()], dim=1)
            h = self._run(stage, h, emb, twice)
        with _full_precision(x):  # near t = T, bfloat16's rounding of ε would be the largest error
            h = F.silu(self.norm_out(h.to(self.conv_out.weight.dtype)))
            return self.conv_out(h)  # type: ignore[no-any-return]

    def _enter(self, x: Tensor) -> Tensor:
        """conv_in. Under autocast its result is rounded to 16 bits, x_t and its weights are not.

        Near t = T the network hands x_t almost unchanged to its output, so that rounding x_t would
        be most of what 16 bits cost (`test_sixteen_bits_do_not_round_the_input` measures it).
        """
        x = x.to(self.conv_in.weight.dtype)  # float32 noise for float64 weights, or for half ones
        if x.is_meta or not torch.is_autocast_enabled(x.device.type):
            return self.conv_in(x)  # type: ignore[no-any-return]
        with _full_precision(x):
            h = self.conv_in(x)
        return h.to(torch.get_autocast_dtype(x.device.type))  # type: ignore[no-any-return]

    def embed(self, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """silu(MLP(features(t)) + class vector), shape (B, 4 width): what every stage is told."""
        with _full_precision(t):
            emb = self.time(self.features(t).to(self.time[0].weight.dtype))
            if labels is not None:
                rows = (labels if labels.ndim == 2 else labels[:, None]) + self.first  # (B, K)
                if self.training and self.config.null_class and self.config.label_dropout:
                    rows = self._drop(rows, self.config.label_dropout)
                emb = emb + self.labels(rows).sum(1)
            return F.silu(emb)

    def _drop(self, rows: Tensor, p: float) -> Tensor:
        """Each label, a row of the table (B, K), is the null one with probability p.

        Of several, each image drops its own at a rate u^((1-p)/p), whose mean is p: one coin for
        each label would hardly ever drop all of them, or leave only one or two.
        """
        rate: float | Tensor = p
        if rows.shape[1] > 1:
            rate = torch.rand(rows.shape[0], 1, device=rows.device) ** ((1 - p) / p)
        return torch.where(torch.rand(rows.shape, device=rows.device) < rate, self.nulls, rows)

    def rows(self) -> list[Row]:
        """Each stage's output shape, parameters and FLOPs for one image of the configured size.

        >>> sum(row.parameters for row in UNet.cifar10().rows())
        35746307
        """
        return rows(self)

    def describe(self) -> str:
        """The network as the paper would print it: `print(net.describe())`."""
        return table(rows(self))

    def _twice(self, x: Tensor, h: Tensor, emb: Tensor) -> bool:
        """Whether somebody may want more of attention than the gradient that training needs."""
        if torch.compiler.is_compiling():  # its graph has first derivatives only
            return False
        recorded = torch.is_grad_enabled() and (x.requires_grad or not self.training)
        return recorded or transformed(h) or transformed(emb)

    def _run(self, stage: nn.Module, h: Tensor, emb: Tensor, twice: bool) -> Tensor:
        if self.checkpointing and self.training:
            return checkpoint(_call, stage, h, emb, twice, use_reentrant=False)  # type: ignore[no-any-return]
        return _call(stage, h, emb, twice)

    @classmethod
    def cifar10(cls, **changes: Any) -> UNet:
        """DDPM's CIFAR-10 network: 35,746,307 parameters, attention at 16×16 and in the middle."""
        return cls(replace(PRESETS["cifar10"], **changes))

    @classmethod
    def iddpm_cifar10(cls, **changes: Any) -> UNet:
        """IDDPM's (T = 4000; learned Σ, so twice the output channels): 52,546,438 parameters."""
        return cls(replace(PRESETS["iddpm_cifar10"], **changes))

    @classmethod
    def digits(cls, **changes: Any) -> UNet:
        """8×8 grey digits, small enough to train on a processor in minutes: 284,513 parameters."""
        return cls(replace(PRESETS["digits"], **changes))

    @classmethod
    def fashion(cls, **changes: Any) -> UNet:
        """28×28 (or 32×32) grey images: MNIST, Fashion-MNIST, KMNIST."""
        return cls(replace(PRESETS["fashion"], **changes))

    @classmethod
    def celeba64(cls, **changes: Any) -> UNet:
        """DDIM's network for 64×64 CelebA."""
        return cls(replace(PRESETS["celeba64"], **changes))

    @classmethod
    def lsun256(cls, **changes: Any) -> UNet:
        """DDPM's network for 256×256 LSUN and CelebA-HQ."""
        return cls(replace(PRESETS["lsun256"], **changes))


def _call(stage: nn.Module, h: Tensor, emb: Tensor, twice: bool) -> Tensor:
    with kernels(twice):
        return stage(h, emb)  # type: ignore[no-any-return]


def _full_precision(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    if x.is_meta:  # shapes only: there is nothing to cast
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, enabled=False)
