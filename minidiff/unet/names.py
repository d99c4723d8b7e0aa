"""Chapter 5: the names of the U-Net's parameters here, in diffusers, and in DDIM's port.

One table, read in both directions; `compat.py` is what users call.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor

from minidiff.unet.network import UNet, UNetConfig

State = dict[str, Tensor]

DIFFUSERS, PORT = 0, 1
# ours: (diffusers', the port's). Level i has stages j. On the way up diffusers counts levels from
# the lowest, as we do; the port counts them from the highest: k = levels - 1 - i.
PLACES = {
    "conv_in": ("conv_in", "conv_in"),
    "conv_out": ("conv_out", "conv_out"),
    "norm_out": ("conv_norm_out", "norm_out"),
    "time.0": ("time_embedding.linear_1", "temb.dense.0"),
    "time.2": ("time_embedding.linear_2", "temb.dense.1"),
    "labels": ("class_embedding", ""),  # the port knows no labels
    "down.res": ("down_blocks.{i}.resnets.{j}", "down.{i}.block.{j}"),
    "down.attn": ("down_blocks.{i}.attentions.{j}", "down.{i}.attn.{j}"),
    "down.conv": ("down_blocks.{i}.downsamplers.0.conv", "down.{i}.downsample.conv"),
    "mid.0.res": ("mid_block.resnets.0", "mid.block_1"),
    "mid.0.attn": ("mid_block.attentions.0", "mid.attn_1"),
    "mid.1.res": ("mid_block.resnets.1", "mid.block_2"),
    "up.res": ("up_blocks.{i}.resnets.{j}", "up.{k}.block.{j}"),
    "up.attn": ("up_blocks.{i}.attentions.{j}", "up.{k}.attn.{j}"),
    "up.conv": ("up_blocks.{i}.upsamplers.0.conv", "up.{k}.upsample.conv"),
}
LEAVES = {
    "norm1": ("norm1", "norm1"),
    "conv1": ("conv1", "conv1"),
    "emb": ("time_emb_proj", "temb_proj"),
    "norm2": ("norm2", "norm2"),
    "conv2": ("conv2", "conv2"),
    "skip": ("conv_shortcut", "nin_shortcut"),
    "norm": ("group_norm", "norm"),
    "qkv": ("to_q to_k to_v", "q k v"),  # one matrix here, three there
    "proj": ("to_out.0", "proj_out"),
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
    i = j = k = 0
    if path[0] in ("down", "up"):  # down.n.res.conv1 → down.res, conv1
        per_level = config.blocks + (1 if path[0] == "down" else 2)
        i, j = divmod(int(path.pop(1)), per_level)
        k = len(config.mults) - 1 - i
    leaf = path.pop() if path[-1] in LEAVES else None
    place = PLACES[".".join(path)][dialect].format(i=i, j=j, k=k)
    if leaf is None:
        return [f"{place}.{kind}"]
    return [f"{place}.{part}.{kind}" for part in LEAVES[leaf][dialect].split()]


def translate(ours: Mapping[str, Tensor], config: UNetConfig, dialect: int) -> State:
    """Our state dict in their names and shapes (the port has 1×1 convolutions in its attention)."""
    theirs: State = {}
    for name, tensor in ours.items():
        names = their_names(name, config, dialect)
        for their_name, part in zip(names, tensor.chunk(len(names)), strict=True):
            if dialect == PORT and ".attn" in name and part.ndim == 2:
                part = part[:, :, None, None]
            theirs[their_name] = part.clone(memory_format=torch.contiguous_format)
    return theirs


def fill(net: UNet, theirs: Mapping[str, Tensor], dialect: int) -> UNet:
    """Put their state into `net`, after checking that every name and every shape is right."""
    own = net.state_dict()
    shapes = {k: tuple(v.shape) for k, v in translate(own, net.config, dialect).items()}
    missing = sorted(shapes.keys() - theirs.keys())
    unknown = sorted(theirs.keys() - shapes.keys())
    misshaped = [
        f"{name} {tuple(theirs[name].shape)} instead of {shape}"
        for name, shape in shapes.items()
        if name in theirs and tuple(theirs[name].shape) != shape
    ]
    wrong = {"missing": missing, "unknown": unknown, "wrong shape": misshaped}
    if any(wrong.values()):
        lists = "; ".join(f"{what}: {', '.join(names)}" for what, names in wrong.items() if names)
        raise ValueError(f"the state dict does not fit this network, nothing was loaded. {lists}")
    parts = {name: [theirs[n] for n in their_names(name, net.config, dialect)] for name in own}
    net.to(dtype=reduce(torch.promote_types, {tensor.dtype for tensor in theirs.values()}))
    net.load_state_dict({n: torch.cat(p).view(own[n].shape) for n, p in parts.items()})
    return net


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
