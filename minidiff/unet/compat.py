"""Chapter 5: the same network in the files of diffusers and of the PyTorch port behind DDIM.

`*_from_*` build and fill a UNet from (config, state dict), `*_to_*` go back bit for bit. What does
not fit is refused whole, with the list of what is wrong. The names are in `names.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from minidiff.unet.names import DIFFUSERS, OLD, PORT, State, fill, rename, translate
from minidiff.unet.network import UNet, UNetConfig

if TYPE_CHECKING:
    from minidiff.denoiser import Denoiser

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
# What the port can vary, ours: the port's.
PORT_SETTINGS = {
    "size": "resolution",
    "in_channels": "in_channels",
    "out_channels": "out_ch",
    "width": "ch",
    "mults": "ch_mult",
    "blocks": "num_res_blocks",
    "attention": "attn_resolutions",
    "dropout": "dropout",
}


def unet_from_diffusers(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> UNet:
    """diffusers' `UNet2DModel` (its config.json and state dict, old or new names) as a UNet.

    In a class-conditional network the last class is taken as the null class. ValueError: a setting
    that minidiff's network lacks, or the list of missing, unknown and wrongly shaped tensors.

    >>> config, state = unet_to_diffusers(UNet.digits())
    >>> unet_from_diffusers(config, state).config == UNet.digits().config
    True
    """
    new = {old: name for name, old in OLD.items()}
    return fill(UNet(_config_from_diffusers(config)), rename(state, new), DIFFUSERS)


def unet_to_diffusers(net: UNet, old_names: bool = False) -> tuple[dict[str, Any], State]:
    """The (config, state dict) of the same network as diffusers' `UNet2DModel`; exact, both ways.

    There: `UNet2DModel.from_config(config).load_state_dict(state)`.
    """
    c = net.config
    time = "iddpm" if c.time == "iddpm" else "sinusoidal"
    mults = (1, *c.mults[1:])
    _require(c, linear_attention=(), time=time, clock=1.0, self_cond=False, mults=mults)
    plain, attn = ("DownBlock2D", "UpBlock2D"), ("AttnDownBlock2D", "AttnUpBlock2D")
    kinds = [attn if size in c.attention else plain for size in c.sizes]
    config = {
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
        "attention_head_dim": c.head_dim,
        "norm_num_groups": c.groups,
        "attn_norm_num_groups": c.groups if c.scale_shift else None,
        "norm_eps": c.eps,
        "resnet_time_scale_shift": "scale_shift" if c.scale_shift else "default",
        "num_class_embeds": c.num_classes + 1 if c.num_classes else None,
    }
    state = translate(net.state_dict(), c, DIFFUSERS)
    return config, rename(state, OLD) if old_names else state


def unet_from_port(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> UNet:
    """The `Model` of ermongroup/ddim (config: its YAML) or of pesser (its keyword arguments)."""
    c = {"resamp_with_conv": True, "dropout": 0.0, **config.get("model", config)}
    if "data" in config:
        c["resolution"] = config["data"]["image_size"]
    if not c["resamp_with_conv"]:
        raise ValueError("the config has resamp_with_conv=False, minidiff's U-Net has only True")
    if absent := [name for name in PORT_SETTINGS.values() if name not in c]:
        raise ValueError(f"the config of the port lacks {', '.join(absent)}")
    net = UNet(UNetConfig(**{ours: c[theirs] for ours, theirs in PORT_SETTINGS.items()}))
    if state and all(name.startswith("module.") for name in state):  # saved from DataParallel
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return fill(net, state, PORT)


def unet_to_port(net: UNet) -> tuple[dict[str, Any], State]:
    """The (keyword arguments, state dict) of the same network as the port's `Model`."""
    c = net.config
    settings = {name: getattr(c, name) for name in PORT_SETTINGS}
    _require(c, **vars(UNetConfig(**settings)))  # everything else is DDPM's
    config = {theirs: settings[ours] for ours, theirs in PORT_SETTINGS.items()}
    return config, translate(net.state_dict(), c, PORT)


def load_from_hub(name: str) -> Denoiser:
    """Fetch `owner/model` from the Hugging Face hub (or its cache) and build the Denoiser.

    google/ddpm-cifar10-32 is reported to hold the raw weights, not the averaged ones. Raises
    ConnectionError without network or cached copy, ImportError without `huggingface_hub`.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError("models of the hub need: pip install huggingface_hub") from error
    files = ["config.json", "diffusion_pytorch_model.safetensors"]
    wanted = [*files, *(f"unet/{f}" for f in files), "*scheduler_config.json"]
    try:
        folder = snapshot_download(name, allow_patterns=wanted)
    except Exception as error:  # its own, requests' or httpx', depending on the version
        raise ConnectionError(
            f"could not fetch {name!r} from the Hugging Face hub ({type(error).__name__}). "
            f"Offline? Copy the model's config.json and .safetensors file into a folder and call "
            f"minidiff.compat.load_folder(folder), or load weights that ship with minidiff"
        ) from error
    return load_folder(folder)


def load_folder(folder: str | Path) -> Denoiser:
    """A diffusers model on disk (config.json, one .safetensors, scheduler_config.json), eval mode.

    Without a scheduler_config.json the settings are DDPM's: linear, T = 1000, fixed large variance.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from minidiff.denoiser import Denoiser

    folder = Path(folder)
    places = [p for p in (folder, folder / "unet") if (p / "config.json").exists()]
    files = [f.name for f in sorted(places[0].glob("*.safetensors"))] if places else []
    if len(files) != 1:
        found = f"{len(files)} such files" if places else "no config.json"
        raise ValueError(
            f"{folder} must hold config.json and one .safetensors file, there or in unet/; found "
            f"{found} (a .bin file is a pickle, which can run any code when loaded)"
        )
    config, weights = _read_json(places[0] / "config.json"), places[0] / files[0]
    try:
        state = load_file(weights)
    except SafetensorError as error:
        raise ValueError(f"{weights} is damaged or cut short ({error}); fetch it again") from error
    net = unet_from_diffusers(config, state)
    settings: dict[str, Any] = {"variance_type": "fixed_large"}
    for path in [folder / "scheduler_config.json", folder / "scheduler/scheduler_config.json"]:
        if path.exists():
            settings = _read_json(path)
    return Denoiser(net, **_denoiser_options(settings)).eval()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a JSON object ({error}); fetch it again") from error


def _denoiser_options(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """Their scheduler's configuration as the arguments of our Denoiser."""
    from minidiff.schedule import Schedule

    s = {  # the defaults of their DDPMScheduler
        "num_train_timesteps": 1000,
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "prediction_type": "epsilon",
        "variance_type": "fixed_small",
        "clip_sample": True,
        **scheduler,
    }
    T = s["num_train_timesteps"]
    known: dict[str, dict[str, Any]] = {
        "beta_schedule": {
            # they take the two ends as they are, Schedule.linear scales them by 1000/T
            "linear": lambda: Schedule.linear(
                T, s["beta_start"] * T / 1000, s["beta_end"] * T / 1000
            ),
            "squaredcos_cap_v2": lambda: Schedule.cosine(T),
        },
        "prediction_type": {"epsilon": "eps", "sample": "x0", "v_prediction": "v"},
        "variance_type": {
            "fixed_small": "small",
            "fixed_small_log": "small",
            "fixed_large": "large",
            "fixed_large_log": "large",
            "learned_range": "learned",
        },
    }
    lacking = {"trained_betas": None, "rescale_betas_zero_snr": False, "thresholding": False}
    for name, only in {**lacking, "clip_sample_range": 1.0}.items():
        if s.get(name, only) != only:
            raise ValueError(f"{name} must be {only}: minidiff's Denoiser lacks {name}={s[name]!r}")
    for name, table in known.items():
        if s[name] not in table:
            raise ValueError(f"{name} must be one of {', '.join(table)}, got {s[name]!r}")
    return {
        "schedule": known["beta_schedule"][s["beta_schedule"]](),
        "predict": known["prediction_type"][s["prediction_type"]],
        "variance": known["variance_type"][s["variance_type"]],
        "clip": s["clip_sample"],
    }


def _config_from_diffusers(config: Mapping[str, Any]) -> UNetConfig:
    """`UNet2DModel`'s configuration as ours; other missing entries have the class's defaults."""
    needed = ("block_out_channels", "down_block_types", "up_block_types")
    if absent := [name for name in needed if name not in config]:
        raise ValueError(
            f"the config lacks {', '.join(absent)}: it must be the config.json of a UNet2DModel"
        )
    channels, down, up = (list(config[name]) for name in needed)
    wrong = [
        f"{name}={config[name]!r} (only {allowed[0]!r})"
        for name, allowed in FIXED.items()
        if config.get(name, allowed[0]) not in allowed
    ]
    groups = config.get("norm_num_groups", 32)
    scale_shift = config.get("resnet_time_scale_shift", "default") == "scale_shift"
    attn_groups = config.get("attn_norm_num_groups")
    if attn_groups != groups and (scale_shift or attn_groups is not None):
        wrong.append(f"attn_norm_num_groups={attn_groups} (only {groups})")
    if any(n % channels[0] for n in channels):
        wrong.append(f"block_out_channels={channels} (only multiples of the first)")
    if config.get("time_embedding_dim") not in (None, 4 * channels[0]):
        wrong.append(f"time_embedding_dim={config['time_embedding_dim']} (only {4 * channels[0]})")
    if set(down) - {"DownBlock2D", "AttnDownBlock2D"}:
        wrong.append(f"down_block_types={down} (only DownBlock2D and AttnDownBlock2D)")
    if up != [kind.replace("Down", "Up") for kind in reversed(down)]:
        wrong.append(f"up_block_types={up} (only the mirror image of the way down)")
    angles = (config.get("flip_sin_to_cos", True), config.get("freq_shift", 0))
    if angles not in ((False, 1), (True, 0)):
        wrong.append(f"flip_sin_to_cos, freq_shift = {angles} (only (False, 1) or (True, 0))")
    if wrong:
        raise ValueError(f"minidiff's U-Net does not have these settings: {'; '.join(wrong)}")
    size = config.get("sample_size") or 2 ** (len(channels) + 2)  # only names the levels
    size = size if isinstance(size, int) else size[0]
    return UNetConfig(
        size=size,
        in_channels=config.get("in_channels", 3),
        out_channels=config.get("out_channels", 3),
        width=channels[0],
        mults=tuple(n // channels[0] for n in channels),
        blocks=config.get("layers_per_block", 2),
        attention=tuple(size // 2**i for i, kind in enumerate(down) if kind[:4] == "Attn"),
        head_dim=config.get("attention_head_dim", 8),
        dropout=config.get("dropout", 0.0),
        groups=groups,
        eps=config.get("norm_eps", 1e-5),
        scale_shift=scale_shift,
        symmetric=bool(config.get("downsample_padding", 1)),
        time="iddpm" if angles[0] else "sinusoidal",
        num_classes=max(0, (config.get("num_class_embeds") or 0) - 1),
    )


def _require(config: UNetConfig, **allowed: Any) -> None:
    wrong = [
        f"{name}={getattr(config, name)!r} (only {value!r})"
        for name, value in allowed.items()
        if getattr(config, name) != value
    ]
    if wrong:
        raise ValueError(f"their U-Net does not have these settings: {'; '.join(wrong)}")
