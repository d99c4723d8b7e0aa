"""Chapter 6: the settings of diffusers' `UNet2DModel` as a `UNetConfig`, expressed or refused."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from minidiff.settings import Amount, Count, Natural, Share, checked
from minidiff.unet.config import UNetConfig

# Settings of UNet2DModel that minidiff's network has in one way only.
FIXED = {
    "_class_name": ("UNet2DModel",),
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_padding": (1, 0),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "act_fn": ("silu", "swish"),
    "add_attention": (True,),
    "class_embed_type": (None,),
    "resnet_time_scale_shift": ("default", "scale_shift"),
}
# Those that vary, with their types and the class's defaults; ... has none here.
VARIED: dict[str, tuple[Any, Any]] = {
    "block_out_channels": (tuple[Count, ...], ...),
    "sample_size": (Count | tuple[Count, Count] | None, None),
    "in_channels": (Count, 3),
    "out_channels": (Count, 3),
    "time_embedding_dim": (Count | None, None),
    "freq_shift": (float, 0),
    "flip_sin_to_cos": (bool, True),
    "down_block_types": (tuple[str, ...], ...),
    "up_block_types": (tuple[str, ...], ...),
    "layers_per_block": (Count, 2),
    "dropout": (Share, 0.0),
    "attention_head_dim": (Count | None, 8),
    "norm_num_groups": (Count, 32),
    "attn_norm_num_groups": (Count | None, None),
    "norm_eps": (Amount, 1e-5),
    "num_class_embeds": (Natural | None, None),
}
# Of training: how long the weights' table of times is where they are learned; EMAModel's own.
UNUSED = """
    num_train_timesteps decay min_decay optimization_step update_after_step use_ema_warmup
    inv_gamma power
""".split()  # noqa: SIM905
NULL = "_minidiff_null_class"  # ours, in a config.json: the last class means none


def from_diffusers(config: Mapping[str, Any], null_class: bool | None) -> UNetConfig:
    """`UNet2DModel`'s configuration as ours; missing entries have the class's defaults."""
    needed = [name for name, (_, default) in VARIED.items() if default is ...]
    if absent := [name for name in needed if name not in config]:
        raise ValueError(
            f"the config lacks {', '.join(absent)}: it must be the config.json of a UNet2DModel"
        )
    wrong = [
        f"{name}={config[name]!r} (only {allowed[0]!r})"
        for name, allowed in FIXED.items()
        if config.get(name, allowed[0]) not in allowed
    ]
    known = {*VARIED, *FIXED, *UNUSED}
    wrong += [f"{k}={config[k]!r} (unknown)" for k in config if k not in known and k[:1] != "_"]
    c = {k: checked(k, config.get(k, default), kind) for k, (kind, default) in VARIED.items()}
    channels, down = c["block_out_channels"], list(c["down_block_types"])
    groups, attn_groups = c["norm_num_groups"], c["attn_norm_num_groups"]
    scale_shift = config.get("resnet_time_scale_shift", "default") == "scale_shift"
    if attn_groups != groups and (scale_shift or attn_groups is not None):
        wrong.append(f"attn_norm_num_groups={attn_groups} (only {groups})")
    if not channels or any(n % channels[0] for n in channels) or len(channels) != len(down):
        wrong.append(
            f"block_out_channels={list(channels)} (only multiples of the first, one for each level)"
        )
    elif c["time_embedding_dim"] not in (None, 4 * channels[0]):
        wrong.append(f"time_embedding_dim={c['time_embedding_dim']} (only {4 * channels[0]})")
    if {*down} - {"DownBlock2D", "AttnDownBlock2D"}:
        wrong.append(f"down_block_types={down} (only DownBlock2D and AttnDownBlock2D)")
    if list(c["up_block_types"]) != [kind.replace("Down", "Up") for kind in reversed(down)]:
        mirror = "only the mirror image of the way down"
        wrong.append(f"up_block_types={list(c['up_block_types'])} ({mirror})")
    angles = (c["flip_sin_to_cos"], c["freq_shift"])
    if angles not in ((False, 1), (True, 0)):
        wrong.append(f"flip_sin_to_cos, freq_shift = {angles} (only (False, 1) or (True, 0))")
    if wrong:
        raise ValueError(f"minidiff's U-Net does not have these settings: {_some(wrong)}")
    vectors = c["num_class_embeds"] or 0
    null = bool(config.get(NULL, False)) if null_class is None else null_class
    if vectors == 1 and null:
        raise ValueError("num_class_embeds=1 leaves no class beside the null class")
    size = _size(c["sample_size"], len(channels))
    return UNetConfig(
        size=size,
        in_channels=c["in_channels"],
        out_channels=c["out_channels"],
        width=channels[0],
        mults=tuple(n // channels[0] for n in channels),
        blocks=c["layers_per_block"],
        attention=tuple(size // 2**i for i, kind in enumerate(down) if kind[:4] == "Attn"),
        head_dim=c["attention_head_dim"],
        dropout=c["dropout"],
        groups=groups,
        eps=c["norm_eps"],
        scale_shift=scale_shift,
        symmetric=bool(config.get("downsample_padding", 1)),
        time="iddpm" if angles[0] else "sinusoidal",
        num_classes=vectors - 1 if null and vectors else vectors,
        null_class=null or not vectors,
    )


def _size(given: int | tuple[int, int] | None, levels: int) -> int:
    """The size that names the levels: the network itself takes any that its strides divide."""
    stride = 1 << (levels - 1)
    if given is None:
        return 8 * stride
    side = given if isinstance(given, int) else given[0]
    size = -(-side // stride) * stride
    if given not in (size, (size, size)):
        warnings.warn(
            f"sample_size={given} is taken as {size}: minidiff's U-Net is made for squares whose "
            f"side is a multiple of {stride}, and draws others when it is asked for them",
            stacklevel=2,
        )
    return size


def to_diffusers(c: UNetConfig) -> dict[str, Any]:
    """The config.json of the same network as a `UNet2DModel`."""
    time = "iddpm" if c.time == "iddpm" else "sinusoidal"
    mults = (1, *c.mults[1:])
    require(c, linear_attention=(), time=time, clock=1.0, self_cond=False, mults=mults)
    if isinstance(c.num_classes, tuple):
        raise ValueError("their U-Net takes one label an image; this one has several")
    widths = {c.head_width(channels) for channels in c.attended}
    if c.heads > 1 and len(widths) > 1:
        raise ValueError(
            f"their U-Net has heads of one width, heads={c.heads} makes some of {sorted(widths)}"
        )
    plain, attn = ("DownBlock2D", "UpBlock2D"), ("AttnDownBlock2D", "AttnUpBlock2D")
    kinds = [attn if size in c.attention else plain for size in c.sizes]
    return {
        "_class_name": "UNet2DModel",
        "sample_size": c.size,
        "in_channels": c.in_channels,
        "out_channels": c.out_channels,
        "flip_sin_to_cos": c.time == "iddpm",
        "freq_shift": 0 if c.time == "iddpm" else 1,
        "down_block_types": [down for down, _ in kinds],
        "up_block_types": [up for _, up in reversed(kinds)],
        "block_out_channels": [c.width * mult for mult in c.mults],
        "layers_per_block": c.blocks,
        "downsample_padding": 1 if c.symmetric else 0,
        "dropout": c.dropout,
        "attention_head_dim": widths.pop() if c.heads > 1 else c.head_dim,
        "norm_num_groups": c.groups,
        "attn_norm_num_groups": c.groups if c.scale_shift else None,
        "norm_eps": c.eps,
        "resnet_time_scale_shift": "scale_shift" if c.scale_shift else "default",
        "num_class_embeds": c.labels or None,
        **({NULL: c.null_class} if c.num_classes else {}),
    }


def require(config: UNetConfig, **allowed: Any) -> None:
    """Refuse a network of ours that has what theirs has not."""
    wrong = [
        f"{name}={getattr(config, name)!r} (only {value!r})"
        for name, value in allowed.items()
        if getattr(config, name) != value
    ]
    if wrong:
        raise ValueError(f"their U-Net does not have these settings: {_some(wrong)}")


def _some(wrong: list[str], most: int = 8) -> str:
    shown = [text if len(text) <= 160 else f"{text[:160]}…" for text in wrong[:most]]
    return "; ".join(shown) + (f"; and {len(wrong) - most} more" if len(wrong) > most else "")


def plain(config: Any) -> dict[str, Any]:
    """A mapping, or an object with attributes such as argparse's Namespace, as dictionaries."""
    if isinstance(config, Mapping):
        items = dict(config)
    elif hasattr(config, "__dict__") and not isinstance(config, type):
        items = dict(vars(config))
    else:
        raise ValueError(
            f"the config must be a dictionary or a Namespace of settings, got {config!r:.60}"
        )
    sections = ("model", "data", "diffusion")
    return {k: plain(v) if k in sections else v for k, v in items.items()}
