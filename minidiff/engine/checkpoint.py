"""Chapter 7: trained networks and training states, each in one file with all that rebuilds it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minidiff.checks_networks import check_dtype, check_model, check_weights
from minidiff.data.images import Classes, count_classes, read_classes
from minidiff.denoiser import Denoiser
from minidiff.engine.distributed import shell, usable
from minidiff.engine.int8 import pack, unpack
from minidiff.engine.match import check_architecture as check_architecture
from minidiff.engine.match import check_function, tell_schedule, with_variance
from minidiff.engine.match import check_moments as check_moments
from minidiff.engine.match import check_tensor as check_tensor
from minidiff.engine.match import part as part
from minidiff.engine.tensorfile import CheckpointError as CheckpointError
from minidiff.engine.tensorfile import Info as Info
from minidiff.engine.tensorfile import NewerFormat
from minidiff.engine.tensorfile import read as read
from minidiff.engine.tensorfile import write as write
from minidiff.kinds import path_of, short
from minidiff.schedule import Schedule
from minidiff.unet import compat
from minidiff.unet.architectures import CONFIGS, Config, blank, build_network, read_config, skeleton
from minidiff.unet.folder import is_folder
from minidiff.unet.names import unwrapped

SHIPPED = Path(__file__).parent.parent / "weights"
STEP_FILE = "step-{:09d}.safetensors"  # training states in a run folder; weights + optimizer + EMA
AT_FIRST: Info = {"sigma_data": 1.0, "architecture": "UNet"}  # what version 1 did not write down
STEP_NAME = re.compile(r"step-([0-9]{9})\.safetensors")


def save_weights(
    path: str | Path,
    model: Denoiser,
    *,
    quantize: str | None = None,
    half: Sequence[str] = (),
    card: Mapping[str, Any] | None = None,
    classes: Classes = (),
) -> None:
    """Save the network of `model` and all that `load_pretrained` needs to build it again.

    `quantize="int8"` is a quarter of the size, for shipping (`minidiff.engine.int8.pack`, also for
    `half`). `card` is the model card: a dictionary that says what the weights were trained on, by
    which command, and how good they are. `classes` are their names, as `Images` has them, if the
    network takes labels: `python -m minidiff sample --labels` then takes names, too.

    >>> import tempfile
    >>> model = load_pretrained("digits")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/mine.safetensors", model, card={"data": "digits"})
    ...     read_info(f"{folder}/mine.safetensors")["card"]
    {'data': 'digits'}
    """
    if quantize not in (None, "int8"):
        raise ValueError(f'quantize must be None or "int8", got {short(quantize)}')
    if half and not quantize:
        raise ValueError('half names the exceptions to quantize="int8": give both or neither')
    net = check_weights(model, "a file")
    if classes and (n := count_classes(read_classes(classes))) != model.num_classes:
        raise ValueError(f"classes are {n} names, but the network has {model.num_classes} classes")
    tensors = unwrapped(net.state_dict(), ("_orig_mod",))
    tensors = pack(tensors, half) if quantize else tensors
    info = {**describe(model), "quantize": quantize, "card": dict(card or {})}
    write(path, tensors, {**info, "classes": classes})


def load_weights(name_or_path: str | Path, model: Denoiser) -> Info:
    """Load weights into an existing model with the same network; returns the file's info.

    Networks are the same if all is that decides their answers, not only the shapes: a file of other
    `groups` or `heads` is refused. Another schedule is told in a warning.

    A model that learns its variance may take those of one that does not: the output channels of the
    variance then begin at 0, halfway in log between beta_tilde and beta if it is "learned".

    >>> import tempfile
    >>> model = load_pretrained("digits")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/mine.safetensors", model)
    ...     load_weights(f"{folder}/mine.safetensors", model)["predict"]
    'eps'
    """
    net: Any = check_weights(model, "load_weights")
    path = _find(name_or_path) or Path(name_or_path)
    if path.is_dir():
        other = compat.load_folder(path)
        tensors, info = dict(other.net.state_dict()), describe(other)
    else:
        tensors, info = read(path)
    for name in ("predict", "sigma_data"):
        if (theirs := {**AT_FIRST, **info}.get(name)) != (ours := getattr(model, name)):
            raise CheckpointError(f"{path} was trained with {name} = {theirs!r}, not {ours!r}")
    tensors = unpack(network_tensors(tensors, info))
    widened = model.learns_variance and info.get("variance") in ("small", "large")
    if widened:
        tensors = with_variance(tensors, net)
    check_architecture(net, tensors, path)
    if info.get("network") and hasattr(net, "config"):
        check_function(_config(info, path), net.config, path, widened)
    tell_schedule(info.get("schedule"), model.schedule.state(), path)
    _load_into(net, tensors)
    return info


def load_pretrained(
    name_or_path: str | Path,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Denoiser:
    """A trained model, ready to sample: shipped weights, a file, a folder, or a hub name.

    A folder is that of a run, or one that diffusers saved (`compat.load_folder`). Names without a
    slash are looked up among the shipped weights (`available()`), then on the disk; "owner/name"
    that is not a path is fetched from the Hugging Face hub.

    >>> model = load_pretrained("digits")
    >>> model.schedule.T, model.training
    (1000, False)
    """
    check_dtype(dtype)
    on = None if device is None else usable(device)
    path = _find(name_or_path)
    if path is None:
        model: Denoiser = compat.load_from_hub(str(name_or_path))
    elif path.is_dir():
        model = compat.load_folder(path)
    else:
        tensors, info = read(path)
        tensors = unpack(network_tensors(tensors, info))
        model = build(info, tensors, path)
        _load_into(model.net, tensors)
    return model.to(device=on, dtype=dtype).eval()


def read_info(name_or_path: str | Path) -> Info:
    """The description in a file of weights: network, schedule, model card; {} for diffusers'."""
    path = _find(name_or_path)
    return {} if path is None or path.is_dir() else read(path)[1]


def available() -> list[str]:
    """Names of the weights that ship with minidiff; `read_info(name)["card"]` describes each.

    >>> available()
    ['cifar10', 'cifar10_small', 'cifar10_small_hybrid', 'creatures', 'creatures16', 'digits',
     'digits_labels', 'fashion']
    """
    names = (path.stem for path in SHIPPED.glob("*.safetensors"))
    return sorted(name for name in names if not name.startswith("classifier_"))


def describe(model: Denoiser) -> Info:
    """What is needed, beside the weights, to build `model` again."""
    check_model(model)
    if not isinstance(model.clip, bool):
        raise CheckpointError(
            "an x0 hook is a function and cannot be stored: set model.clip to True or False, "
            "and give the hook to the sampler"
        )
    config: Any = getattr(model.network, "config", None)
    name = next((name for name, kind in CONFIGS.items() if type(config) is kind), None)
    return {
        "network": asdict(config) if name else None,
        "architecture": name,
        "schedule": model.schedule.state(),
        **model.conventions,
    }


def build(info: Info, tensors: Mapping[str, Tensor], path: str | Path) -> Denoiser:
    """The model that `describe` described, not filled yet, if its network is that of the tensors.

    Nothing in the description is believed: it is built on `meta` and compared first.
    """
    if not info.get("network"):
        raise CheckpointError(
            "these weights belong to a network that is not minidiff's: "
            "build that network yourself and call load_weights(path, model)"
        )
    config = _config(info, path)
    try:
        small = skeleton(config, len(tensors))
        check_architecture(small, tensors, path)
        settings = {**AT_FIRST, **info}
        facts = {name: settings[name] for name in ("predict", "variance", "clip", "sigma_data")}
        if not isinstance(facts["clip"], bool):
            raise ValueError(f"clip must be True or False, got {facts['clip']!r:.60}")
        model = Denoiser(small, Schedule.from_state(info["schedule"]), **facts)  # may refuse
    except CheckpointError:
        raise
    except _MALFORMED as error:
        raise _malformed(path, error) from error
    with blank():
        model.net = build_network(config)
    return model


def check_start(name_or_path: str | Path) -> None:
    """Refuse what training cannot begin with: neither shipped weights nor anything on the disk."""
    if str(name_or_path) not in available() and not Path(name_or_path).exists():
        raise CheckpointError(
            f"init must be a shipped name ({', '.join(available())}), a file, or a run folder; "
            f"got {str(name_or_path)!r}"
        )


def states(folder: str | Path) -> dict[int, Path]:
    """The training states of a run folder by their steps, the oldest first.

    A state's name is exactly that of STEP_FILE. Copies under other names (step-best) are the
    user's: nothing here reads, counts or deletes them.
    """
    named = ((STEP_NAME.fullmatch(path.name), path) for path in Path(folder).glob("step-*"))
    return dict(sorted((int(name[1]), path) for name, path in named if name))


def latest(folder: str | Path) -> Path:
    """The newest intact training state of a run folder (a damaged newer one is passed over).

    One that a later version of minidiff wrote is not damaged: NewerFormat.
    """
    found = states(folder)
    for step, path in reversed(found.items()):
        try:
            if (inside := read(path)[1].get("step", step)) != step:
                raise CheckpointError(f"{path} is a copy of something else (its step is {inside})")
            return path
        except NewerFormat:
            raise
        except CheckpointError as error:
            warnings.warn(f"{error}: passed over", stacklevel=2)
    raise CheckpointError(
        f"{folder} holds {len(found)} checkpoints, and all are damaged"
        if found
        else f"{folder} holds no checkpoint ({STEP_FILE.format(100)} and so on); train one with "
        f"python -m minidiff train CONFIG --out {shell([str(folder)])}, or load a model that "
        "diffusers saved with minidiff.compat.load_folder"
    )


def network_tensors(tensors: dict[str, Tensor], info: Info) -> dict[str, Tensor]:
    """The network's weights: the file itself, or the first average of a training state."""
    if "step" not in info:
        return tensors
    try:
        return part(tensors, "net/") | part(tensors, f"ema/{info['config']['ema'][0]}/")
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError("the state does not say what it averaged (config, ema)") from error


_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError)


def _malformed(path: str | Path, error: Exception) -> CheckpointError:
    what = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
    return CheckpointError(f"{path} describes no model that can be built: {what}")


def _config(info: Info, path: str | Path) -> Config:
    try:
        return read_config({**AT_FIRST, **info}["architecture"], info["network"])
    except _MALFORMED as error:
        raise _malformed(path, error) from error


def _load_into(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    net.load_state_dict({k: tensors[k.replace("_orig_mod.", "")] for k in net.state_dict()})


def _find(name_or_path: str | Path) -> Path | None:
    """The file that is meant; None for a model of the hub."""
    name, path = str(name_or_path), path_of(name_or_path)
    if not name:
        raise CheckpointError("the name of the weights is empty: give . for the folder you are in")
    if name in available():
        return SHIPPED / f"{name}.safetensors"
    if path.is_dir():  # a run's folder has a config.json, too
        run = any(path.glob("step-*.safetensors")) or not is_folder(path)
        return latest(path) if run else path
    if path.is_file():
        return path
    looks_local = name.endswith(".safetensors") or name.startswith((".", "/", "~", "runs/"))
    if name.count("/") != 1 or looks_local:
        raise CheckpointError(
            f"no weights called {name!r}: shipped are {', '.join(available()) or 'none'}; "
            f"or give a .safetensors file, a run folder, or a hub name such as owner/model"
        )
    return None
