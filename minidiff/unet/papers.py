"""Chapter 6: the settings of two papers' own programs: DDIM's (the port) and improved-diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor

from minidiff.checks_schedule import MOST_STEPS
from minidiff.schedule import Schedule
from minidiff.settings import Count, Range, Share, checked
from minidiff.unet.config import UNetConfig
from minidiff.unet.foreign import plain, require
from minidiff.unet.schedulers import Beta, betas_of

# What the port can vary, ours: the port's, and its type.
PORT_SETTINGS: dict[str, tuple[str, Any]] = {
    "size": ("resolution", Count),
    "in_channels": ("in_channels", Count),
    "out_channels": ("out_ch", Count),
    "width": ("ch", Count),
    "mults": ("ch_mult", tuple[Count, ...]),
    "blocks": ("num_res_blocks", Count),
    "attention": ("attn_resolutions", tuple[Count, ...]),
    "dropout": ("dropout", Share),
}
# The options of improved-diffusion's programs, with their types and defaults there.
FLAGS: dict[str, tuple[Any, Any]] = {
    "image_size": (Count, 64),
    "num_channels": (Count, 128),
    "num_res_blocks": (Count, 2),
    "num_heads": (Count, 4),
    "num_heads_upsample": (int, -1),
    "attention_resolutions": (str, "16,8"),
    "dropout": (Share, 0.0),
    "learn_sigma": (bool, False),
    "sigma_small": (bool, False),
    "class_cond": (bool, False),
    "diffusion_steps": (Count, 1000),
    "noise_schedule": (str, "linear"),
    "timestep_respacing": (str, ""),
    "use_kl": (bool, False),
    "predict_xstart": (bool, False),
    "rescale_timesteps": (bool, True),
    "rescale_learned_sigmas": (bool, True),
    "use_checkpoint": (bool, False),
    "use_scale_shift_norm": (bool, True),
    "clip_denoised": (bool, True),
}
MULTS = {256: (1, 1, 2, 2, 4, 4), 64: (1, 2, 3, 4), 32: (1, 2, 2, 2)}  # by image_size, there


def from_port(config: Any) -> UNetConfig:
    """The port's settings, its YAML (sections model and data) or `Model`'s own arguments."""
    given = plain(config)
    c = {"resamp_with_conv": True, "dropout": 0.0, **given.get("model", given)}
    if "data" in given:
        c["resolution"] = given["data"].get("image_size")
    if not c["resamp_with_conv"]:
        raise ValueError("the config has resamp_with_conv=False, minidiff's U-Net has only True")
    if absent := [theirs for theirs, _ in PORT_SETTINGS.values() if theirs not in c]:
        raise ValueError(f"the config of the port lacks {', '.join(absent)}")
    settings = {k: checked(name, c[name], kind) for k, (name, kind) in PORT_SETTINGS.items()}
    sizes = [settings["size"] // 2**i for i in range(len(settings["mults"]))]
    settings["attention"] = tuple(a for a in settings["attention"] if a in sizes)  # as it does
    return UNetConfig(**settings)


def to_port(c: UNetConfig) -> dict[str, Any]:
    """The arguments of the port's `Model`."""
    settings = {name: getattr(c, name) for name in PORT_SETTINGS}
    require(c, **vars(UNetConfig(**settings)))  # everything else is DDPM's
    return {theirs: settings[ours] for ours, (theirs, _) in PORT_SETTINGS.items()}


def improved_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """improved-diffusion's options, complete and each of its type."""
    if unknown := [name for name in flags if name not in FLAGS]:
        raise ValueError(
            f"improved-diffusion has no option {unknown[0]!r}; known are {', '.join(FLAGS)}"
        )
    f = {k: checked(k, flags.get(k, default), kind) for k, (kind, default) in FLAGS.items()}
    if f["timestep_respacing"]:
        raise ValueError("leave timestep_respacing out: which t are visited, tau says to a sampler")
    return f


def from_improved(f: Mapping[str, Any], state: Mapping[str, Tensor]) -> UNetConfig:
    """Its options (all of them: `improved_flags`) as ours; the file says how many classes."""
    if f["image_size"] not in MULTS:
        raise ValueError(f"image_size must be one of {', '.join(map(str, MULTS))} there")
    if f["num_heads_upsample"] not in (-1, f["num_heads"]):
        raise ValueError("num_heads_upsample must be num_heads: minidiff's U-Net has one number")
    places = f["attention_resolutions"].split(",")
    if not all(place.strip().isdecimal() and int(place) for place in places):
        raise ValueError(
            f"attention_resolutions must be of the form '16,8', got {f['attention_resolutions']!r}"
        )
    size, mults = f["image_size"], MULTS[f["image_size"]]
    rates = {size // int(place) for place in places}
    table = state.get("label_emb.weight")
    classes = len(table) if f["class_cond"] and table is not None and table.ndim else 0
    if f["class_cond"] and not classes:
        raise ValueError("class_cond=True, but the state dict has no label_emb.weight")
    return UNetConfig(
        size=size,
        out_channels=6 if f["learn_sigma"] else 3,
        width=f["num_channels"],
        mults=mults,
        blocks=f["num_res_blocks"],
        attention=tuple(size // 2**i for i in range(len(mults)) if 2**i in rates),
        heads=f["num_heads"],
        dropout=f["dropout"],
        eps=1e-5,
        scale_shift=f["use_scale_shift_norm"],
        symmetric=True,
        time="iddpm",
        clock=1000 / f["diffusion_steps"] if f["rescale_timesteps"] else 1.0,
        num_classes=classes,
        null_class=not classes,
    )


def port_schedule(c: Mapping[str, Any]) -> Schedule:
    """The schedule of ermongroup/ddim's YAML, section diffusion."""
    names = ("beta_schedule", "beta_start", "beta_end", "num_diffusion_timesteps")
    if absent := [name for name in names if name not in c]:
        raise ValueError(f"the config's section diffusion lacks {', '.join(absent)}")
    kind, first, last, T = (c[name] for name in names)
    first, last = (checked("beta_start and beta_end", b, Beta) for b in (first, last))
    T = checked("num_diffusion_timesteps", T, Annotated[int, Range(2, MOST_STEPS)])
    known = {"quad": "scaled_linear", "sigmoid": "sigmoid"}
    if kind == "linear":
        return Schedule.linear(T, first * T / 1000, last * T / 1000)
    if kind not in known:
        raise ValueError(f"beta_schedule must be linear, {', '.join(known)}; got {kind!r}")
    return Schedule.from_betas(betas_of(known[kind], T, first, last))
