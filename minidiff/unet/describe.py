"""Chapter 6: the U-Net as a table, each stage with its output, its parameters and its cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from minidiff.unet.blocks import Attention, LinearAttention, Stage

if TYPE_CHECKING:
    from minidiff.unet.network import UNet


class Row(NamedTuple):
    """One line of the table; FLOPs are those of one image, a multiply-add counted as two."""

    name: str
    kind: str
    shape: tuple[int, ...]  # of the output, without the batch
    parameters: int
    flops: int


def rows(net: UNet) -> list[Row]:
    """One row per stage, in the order of the forward pass.

    Matrix products are counted (convolutions, linear maps, attention), as the literature does:
    norms, activations and additions cost time but next to no arithmetic.
    """
    c = net.config
    with torch.device("meta"):  # shapes without numbers: nothing is computed
        twin = type(net)(c).eval()
        x, t = torch.zeros(1, c.in_channels, c.size, c.size), torch.zeros(1)
        shape = (1, len(c.num_classes)) if isinstance(c.num_classes, tuple) else (1,)
        labels = torch.zeros(shape, dtype=torch.long) if c.num_classes else None
    out: list[Row] = []
    flops = 0

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal flops
        if isinstance(module, nn.Conv2d):
            flops += 2 * output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            flops += 2 * output.numel() * module.in_features
        elif isinstance(module, Attention):
            flops += module.attend_flops(output[0, 0].numel(), output.shape[1])

    def finish(name: str, module: nn.Module, output: Tensor) -> None:
        nonlocal flops
        size = sum(p.numel() for p in module.parameters())
        out.append(Row(name, _kind(module), tuple(output.shape[1:]), size, flops))
        flops = 0

    for module in twin.modules():
        module.register_forward_hook(count)
    for name, module in twin.named_children():
        stages = module.named_children() if isinstance(module, nn.ModuleList) else [("", module)]
        for index, stage in stages:
            label = f"{name}.{index}".rstrip(".")
            stage.register_forward_hook(lambda m, _, output, label=label: finish(label, m, output))
    twin(x, t, labels)
    return out


def table(lines: list[Row]) -> str:
    """The rows as text, with their total."""
    total = Row("total", "", (), sum(r.parameters for r in lines), sum(r.flops for r in lines))
    text = [f"{'stage':<10} {'what':<30} {'output':<14} {'parameters':>12} {'MFLOPs':>10}"]
    text += [
        f"{r.name:<10} {r.kind:<30} {'×'.join(map(str, r.shape)):<14} "
        f"{r.parameters:>12,} {r.flops / 1e6:>10,.1f}"
        for r in [*lines, total]
    ]
    return "\n".join(text)


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Sequential):  # the two linear maps that the time goes through
        return "MLP"
    if not isinstance(module, Stage):
        return type(module).__name__
    if isinstance(module.attn, LinearAttention):
        return "ResBlock + LinearAttention"
    return "ResBlock + Attention" if isinstance(module.attn, Attention) else "ResBlock"
