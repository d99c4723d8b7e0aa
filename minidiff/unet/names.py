"""Chapter 6: the names of the U-Net's parameters here, and in three other libraries.

One table, read in both directions; `compat.py` is what users call.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor

from minidiff.unet.architectures import blank, skeleton
from minidiff.unet.config import UNetConfig
from minidiff.unet.network import UNet

State = dict[str, Tensor]

DIFFUSERS, PORT, IMPROVED = 0, 1, 2
# ours: (diffusers', the DDIM port's, improved-diffusion's). Level i has stages j. On the way up
# diffusers counts levels from the lowest, as we do; the port counts them from the highest:
# k = levels - 1 - i; improved-diffusion counts all stages: n, where the layer that doubles the
# image is the last part, p, of the stage before it.
PLACES = {
    "conv_in": ("conv_in", "conv_in", "input_blocks.0.0"),
    "conv_out": ("conv_out", "conv_out", "out.2"),
    "norm_out": ("conv_norm_out", "norm_out", "out.0"),
    "time.0": ("time_embedding.linear_1", "temb.dense.0", "time_embed.0"),
    "time.2": ("time_embedding.linear_2", "temb.dense.1", "time_embed.2"),
    "labels": ("class_embedding", "", "label_emb"),  # the port knows no labels
    "down.res": ("down_blocks.{i}.resnets.{j}", "down.{i}.block.{j}", "input_blocks.{n}.0"),
    "down.attn": ("down_blocks.{i}.attentions.{j}", "down.{i}.attn.{j}", "input_blocks.{n}.1"),
    "down.conv": (
        "down_blocks.{i}.downsamplers.0.conv",
        "down.{i}.downsample.conv",
        "input_blocks.{n}.0.op",
    ),
    "mid.0.res": ("mid_block.resnets.0", "mid.block_1", "middle_block.0"),
    "mid.0.attn": ("mid_block.attentions.0", "mid.attn_1", "middle_block.1"),
    "mid.1.res": ("mid_block.resnets.1", "mid.block_2", "middle_block.2"),
    "up.res": ("up_blocks.{i}.resnets.{j}", "up.{k}.block.{j}", "output_blocks.{n}.0"),
    "up.attn": ("up_blocks.{i}.attentions.{j}", "up.{k}.attn.{j}", "output_blocks.{n}.1"),
    "up.conv": (
        "up_blocks.{i}.upsamplers.0.conv",
        "up.{k}.upsample.conv",
        "output_blocks.{n}.{p}.conv",
    ),
}
LEAVES = {
    "norm1": ("norm1", "norm1", "in_layers.0"),
    "conv1": ("conv1", "conv1", "in_layers.2"),
    "emb": ("time_emb_proj", "temb_proj", "emb_layers.1"),
    "norm2": ("norm2", "norm2", "out_layers.0"),
    "conv2": ("conv2", "conv2", "out_layers.3"),
    "skip": ("conv_shortcut", "nin_shortcut", "skip_connection"),
    "norm": ("group_norm", "norm", "norm"),
    "qkv": ("to_q to_k to_v", "q k v", "qkv"),  # one matrix here, three there
    "proj": ("to_out.0", "proj_out", "proj_out"),
}
# diffusers' files from before 2023 (google/ddpm-cifar10-32 is one) call attention's matrices so.
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def their_names(name: str, config: UNetConfig, dialect: int) -> list[str]:
    """What the others call our parameter: one name, or three for attention's q, k and v.

    >>> their_names("up.3.conv.weight", UNetConfig(), PORT)
    ['up.3.upsample.conv.weight']
    >>> their_names("mid.0.attn.qkv.bias", UNetConfig(), DIFFUSERS)[0]
    'mid_block.attentions.0.to_q.bias'
    """
    *path, kind = name.split(".")
    i = j = k = n = p = 0
    if path[0] in ("down", "up"):  # down.n.res.conv1 → down.res, conv1
        n = int(path.pop(1))
        i, j = divmod(n, config.blocks + (1 if path[0] == "down" else 2))
        k = len(config.mults) - 1 - i
        n = n + 1 if path[0] == "down" else n - i - (j > config.blocks)
        p = 2 if config.sizes[k] in config.attention else 1
    leaf = path.pop() if path[-1] in LEAVES else None
    place = PLACES[".".join(path)][dialect].format(i=i, j=j, k=k, n=n, p=p)
    if leaf is None:
        return [f"{place}.{kind}"]
    return [f"{place}.{part}.{kind}" for part in LEAVES[leaf][dialect].split()]


def translate(ours: Mapping[str, Tensor], config: UNetConfig, dialect: int) -> State:
    """Our state dict in their names and shapes: their attention has convolutions for its maps."""
    theirs: State = {}
    for name, tensor in ours.items():
        names = their_names(name, config, dialect)
        if dialect == IMPROVED and ".qkv." in name:
            tensor = _by_heads(tensor, config, back=False)
        for their_name, part in zip(names, tensor.chunk(len(names)), strict=True):
            if dialect != DIFFUSERS and ".attn" in name and part.ndim == 2:
                part = part[:, :, None, None] if dialect == PORT else part[:, :, None]
            theirs[their_name] = part.clone(memory_format=torch.contiguous_format)
    return theirs


def _by_heads(qkv: Tensor, config: UNetConfig, back: bool) -> Tensor:
    """Rows in the order (q, k, v) of (heads) here; (heads) of (q, k, v) in improved-diffusion."""
    width = config.head_width(len(qkv) // 3)
    parts = (-1, 3, width) if back else (3, -1, width)
    return qkv.reshape(*parts, *qkv.shape[1:]).transpose(0, 1).reshape(qkv.shape)


def fill(config: UNetConfig, theirs: Mapping[str, Tensor], dialect: int) -> UNet:
    """The network with their state, after checking that every name and every shape is right."""
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in theirs.items()):
        raise ValueError("a state dict is needed, which has a tensor for each name")
    own = skeleton(config, len(theirs)).state_dict()
    shapes = {k: tuple(v.shape) for k, v in translate(own, config, dialect).items()}
    both = shapes.keys() & theirs.keys()
    wrong = {
        "missing": sorted(shapes.keys() - both),
        "unknown": sorted(theirs.keys() - both),
        "wrong shape": [
            f"{name} {tuple(theirs[name].shape)} instead of {shape}"
            for name, shape in shapes.items()
            if name in both and tuple(theirs[name].shape) != shape
        ],
        "not floating": sorted(name for name in both if not theirs[name].is_floating_point()),
        "NaN or infinite": not_finite(theirs),
    }
    if any(wrong.values()):
        lists = "; ".join(f"{what}: {_some(names)}" for what, names in wrong.items() if names)
        raise ValueError(f"the state dict does not fit this network, nothing was loaded. {lists}")
    parts: State = {}
    for name, place in own.items():
        whole = torch.cat([theirs[n] for n in their_names(name, config, dialect)])
        if dialect == IMPROVED and ".qkv." in name:
            whole = _by_heads(whole, config, back=True)
        parts[name] = whole.reshape(place.shape)
    with blank():
        net = UNet(config)
    net.to(reduce(torch.promote_types, {v.dtype for v in theirs.values()}))
    net.load_state_dict(parts)
    return net


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors with a NaN or an infinity among their numbers."""
    floats = {k: t for k, t in state.items() if t.is_floating_point()}
    # PyTorch has no `isfinite` for numbers of 8 bits
    return sorted(
        k for k, t in floats.items() if not (t if t.itemsize > 1 else t.float()).isfinite().all()
    )


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def unwrapped(
    state: Mapping[str, Tensor], wrappers: tuple[str, ...] = ("module", "_orig_mod")
) -> State:
    """Names without the parts that torch.compile, DataParallel and DDP put into them.

    >>> list(unwrapped({"module._orig_mod.conv_in.bias": torch.zeros(1)}))
    ['conv_in.bias']
    """
    out: State = {}
    for name, tensor in state.items():
        parts = [part for part in str(name).split(".") if part not in wrappers]
        if (plain := ".".join(parts)) in out:
            raise ValueError(f"the state dict has {plain} twice, with and without a wrapper's name")
        out[plain] = tensor
    return out


def rename(state: Mapping[str, Tensor], table: Mapping[str, str]) -> State:
    """Replace attention's matrix names by those of the table; all other names stay."""
    out: State = {}
    for name, tensor in state.items():
        place, _, kind = name.rpartition(".")
        for old, new in table.items():
            if ".attentions." in place and place.endswith(f".{old}"):
                name = f"{place.removesuffix(old)}{new}.{kind}"
        if name in out:
            raise ValueError(f"the state dict has {name} twice, by its old name and by its new one")
        out[name] = tensor
    return out
