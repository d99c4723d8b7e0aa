"""Chapter 6: the networks of other libraries here, and ours there, equal weight for weight.

`unet_from_*` build a UNet from a configuration and a state dict, `unet_to_*` go back bit for bit;
`load_*` read what was published as a `Denoiser`, ready to sample, and `save_folder` writes a folder
for diffusers. What does not fit is refused whole, with the list of what is wrong; nothing is
guessed, and no code in a file is run. The names are in `names.py`, the settings in `foreign.py`,
`schedulers.py` and `papers.py`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from minidiff.checks_networks import check_model
from minidiff.kinds import kind
from minidiff.unet import foreign, papers
from minidiff.unet.folder import FILES, read_network, read_pipeline, read_scheduler
from minidiff.unet.names import DIFFUSERS, IMPROVED, OLD, PORT, State, fill, rename, unwrapped
from minidiff.unet.names import translate as translate
from minidiff.unet.network import UNet
from minidiff.unet.read import as_state, read_pickle, read_state
from minidiff.unet.schedulers import denoiser_options, scheduler_settings

if TYPE_CHECKING:
    from minidiff.denoiser import Denoiser


def unet_from_diffusers(
    config: Mapping[str, Any], state: Mapping[str, Tensor], null_class: bool | None = None
) -> UNet:
    """diffusers' `UNet2DModel` (its config.json and state dict, old or new names) as a UNet.

    null_class: whether the last class of a class-conditional network means "no class". Their files
    do not say: None is what `unet_to_diffusers` noted, and False for everybody else's. ValueError:
    a setting that minidiff's network lacks, or missing, unknown and wrongly shaped tensors.

    >>> config, state = unet_to_diffusers(UNet.digits())
    >>> unet_from_diffusers(config, state).config == UNet.digits().config
    True
    """
    new = {old: name for name, old in OLD.items()}
    ours = foreign.from_diffusers(foreign.plain(config), null_class)
    return fill(ours, rename(unwrapped(state), new), DIFFUSERS)


def unet_to_diffusers(net: UNet, old_names: bool = False) -> tuple[dict[str, Any], State]:
    """The (config, state dict) of the same network as diffusers' `UNet2DModel`; exact, both ways.

    There: `UNet2DModel.from_config(config).load_state_dict(state)`.
    """
    config = foreign.to_diffusers(_ours(net).config)
    state = translate(net.state_dict(), net.config, DIFFUSERS)
    return config, rename(state, OLD) if old_names else state


def unet_from_port(config: Any, state: Mapping[str, Tensor]) -> UNet:
    """The `Model` of ermongroup/ddim (config: its YAML) or of pesser (its keyword arguments).

    config: a dictionary, or the nested Namespace that the official program makes of its YAML.
    """
    return fill(papers.from_port(config), unwrapped(state), PORT)


def unet_to_port(net: UNet) -> tuple[dict[str, Any], State]:
    """The (keyword arguments, state dict) of the same network as the port's `Model`."""
    return papers.to_port(_ours(net).config), translate(net.state_dict(), net.config, PORT)


def unet_from_improved_diffusion(flags: Mapping[str, Any], state: Mapping[str, Tensor]) -> UNet:
    """OpenAI's `UNetModel` (Nichol & Dhariwal 2021) as a UNet; flags as in its README."""
    state = unwrapped(state)
    ours = papers.from_improved(papers.improved_flags(flags), state)
    return fill(ours, state, IMPROVED)


def load_improved_diffusion(path: str | Path, **flags: Any) -> Denoiser:
    """A checkpoint of openai/improved-diffusion (`.pt`) with its MODEL_FLAGS and DIFFUSION_FLAGS.

    Flags that are left out have the defaults of its programs. The file holds the weights alone, so
    wrong flags that fit the shapes (num_heads, noise_schedule, rescale_timesteps) give a wrong
    model: copy the line that its README has for the file. In float32, eval mode.

    `load_improved_diffusion("cifar10_uncond_50M_500K.pt", image_size=32, num_channels=128,
    num_res_blocks=3, learn_sigma=True, dropout=0.3, diffusion_steps=4000, noise_schedule="cosine")`
    """
    from minidiff.denoiser import Denoiser
    from minidiff.schedule import Schedule

    f = papers.improved_flags(flags)
    makers = {"linear": Schedule.linear, "cosine": Schedule.cosine}
    if f["noise_schedule"] not in makers:
        raise ValueError(f"noise_schedule must be linear or cosine, got {f['noise_schedule']!r}")
    net = unet_from_improved_diffusion(f, read_state(Path(path)))
    variance = "learned" if f["learn_sigma"] else "small" if f["sigma_small"] else "large"
    schedule = makers[f["noise_schedule"]](f["diffusion_steps"])
    predict = "x0" if f["predict_xstart"] else "eps"
    return Denoiser(net.float(), schedule, predict, variance, f["clip_denoised"]).eval()


def load_port(path: str | Path, config: Any) -> Denoiser:
    """A checkpoint of ermongroup/ddim with its YAML file's content (a dictionary or Namespace).

    path: `.ckpt`, a bare state dict, or the `.pth` of its training, a list [weights, optimizer,
    epoch, step, average], of which the average is taken unless the config says `ema: False`. Not
    clipped, as their DDIM is not; `model(x, t, clip=True)` does, as their DDPM. In float32, eval.
    """
    from minidiff.denoiser import Denoiser

    c = foreign.plain(config)
    if missing := [name for name in ("model", "data", "diffusion") if name not in c]:
        raise ValueError(f"the config lacks {', '.join(missing)}: give the whole of its YAML file")
    for name, only in (("rescaled", True), ("logit_transform", False)):
        if c["data"].get(name, only) != only:
            raise ValueError(f"{name} must be {only}: minidiff's images are in [-1, 1]")
    variances = {"fixedsmall": "small", "fixedlarge": "large"}
    kind = c["model"].get("var_type")
    if kind not in variances:
        raise ValueError(f"var_type must be one of {', '.join(variances)}, got {kind!r}")
    found = read_pickle(path)
    if isinstance(found, (list, tuple)):
        averaged = c["model"].get("ema", True)
        if len(found) != (5 if averaged else 4) and not (len(found) == 5 and not averaged):
            raise ValueError(
                f"{path} is a list of {len(found)}: the official program's has the weights, "
                "optimizer, epoch, step and, if the config says `ema: True`, the average"
            )
        found = found[-1 if averaged else 0]
    net = unet_from_port(c, as_state(found, Path(path)))
    schedule = papers.port_schedule(c["diffusion"])
    return Denoiser(net.float(), schedule, "eps", variances[kind], clip=False).eval()


def load_from_hub(name: str) -> Denoiser:
    """Fetch `owner/model` from the Hugging Face hub (or its cache) and build the Denoiser.

    google/ddpm-cifar10-32 is reported to hold the raw weights, not the averaged ones. Raises
    ConnectionError without network or cached copy, ImportError without `huggingface_hub`.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError("models of the hub need: pip install huggingface_hub") from error
    wanted = [*FILES, *(f"unet/{f}" for f in FILES), "*scheduler_config.json", "model_index.json"]
    try:
        folder = snapshot_download(name, allow_patterns=wanted)
    except Exception as error:  # its own, requests' or httpx', depending on the version
        raise ConnectionError(
            f"could not fetch {name!r} from the Hugging Face hub ({type(error).__name__}). "
            f"Offline? Copy the model's config.json and .safetensors file into a folder and call "
            f"minidiff.compat.load_folder(folder), or load weights that ship with minidiff"
        ) from error
    return load_folder(folder)


def load_folder(
    folder: str | Path, null_class: bool | None = None, dtype: torch.dtype = torch.float32
) -> Denoiser:
    """A diffusers model on disk (config.json, its weights, scheduler_config.json), in eval mode.

    The network and its scheduler may lie in the folder itself or in unet/ and scheduler/, as their
    pipelines write them; the weights in one .safetensors or .bin file, or in parts that an index
    names. Half-precision weights become `dtype`. The scheduler's class and settings say what the
    model is (`denoiser_options`); how to walk, the sampler says. Without a scheduler they are
    DDPM's, with a warning: linear, T = 1000, fixed large variance. null_class as in
    `unet_from_diffusers`.

    ValueError: a pipeline with more than these two parts (latents, text), a process that is not
    variance-preserving, a setting that minidiff does not have, a damaged file.
    """
    from minidiff.denoiser import Denoiser

    folder = Path(folder)
    promised = read_pipeline(folder)
    config, weights = read_network(folder)
    options = denoiser_options(read_scheduler(folder, promised))
    net = unet_from_diffusers(config, read_state(*weights), null_class)
    images, out = net.config.in_channels, net.config.out_channels
    if out != images * (2 if options["variance"] == "learned" else 1):
        raise ValueError(
            f"{folder}: the network has {images} channels in and {out} out; with this scheduler "
            f"(variance {options['variance']}) it is no model of images alone"
        )
    return Denoiser(net.to(dtype), **options).eval()


def save_folder(model: Denoiser, folder: str | Path) -> None:
    """A folder with which diffusers' pipelines draw the images that minidiff draws.

    `DDPMPipeline.from_pretrained(folder)` walks as `ancestral(model, x_T, tau(T, S, "leading"))`
    with `num_inference_steps=S`, for S that divides T. `DDIMPipeline.from_pretrained(folder)` walks
    as `ddim` with the same tau and its `eta`; if the model clips, call the pipeline with
    `use_clipped_model_output=True`, or it goes on with the eps of before the clipping. To rounding:
    their tables are float32. Their pipelines give no labels and, in DDIM, know no learned variance.

    ValueError: the folder exists and is not empty, or the model has what theirs have not.
    """
    from safetensors.torch import save_file

    check_model(model)
    folder, net = Path(folder), _ours(model.network)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty; choose a new folder")
    config, state = unet_to_diffusers(net)
    index = {
        "_class_name": "DDPMPipeline",
        "unet": ["diffusers", "UNet2DModel"],
        "scheduler": ["diffusers", "DDPMScheduler"],
    }
    texts = {
        "model_index.json": index,
        "unet/config.json": config,
        "scheduler/scheduler_config.json": scheduler_settings(model),
    }
    half_done = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")  # whole, or not at all
    try:
        for name, text in texts.items():
            (half_done / name).parent.mkdir(parents=True, exist_ok=True)
            (half_done / name).write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")
        on_cpu = {name: tensor.cpu() for name, tensor in state.items()}
        save_file(on_cpu, half_done / "unet" / FILES[1], metadata={"format": "pt"})
        if folder.exists():
            folder.rmdir()
        half_done.rename(folder)
    finally:
        shutil.rmtree(half_done, ignore_errors=True)


def _ours(net: object) -> UNet:
    if not isinstance(net, UNet):
        raise ValueError(
            f"others can rebuild minidiff's UNet (that of a Denoiser is model.net), not {kind(net)}"
        )
    return net
