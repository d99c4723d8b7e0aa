"""Chapter 6: trained networks and training states, each in one file with all that rebuilds it."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minidiff.denoiser import Denoiser
from minidiff.engine.int8 import pack, unpack
from minidiff.engine.tensorfile import CheckpointError as CheckpointError
from minidiff.engine.tensorfile import Info as Info
from minidiff.engine.tensorfile import read as read
from minidiff.engine.tensorfile import write as write
from minidiff.schedule import Schedule
from minidiff.unet.config import UNetConfig
from minidiff.unet.network import UNet

SHIPPED = Path(__file__).parent.parent / "weights"
STEP_FILE = "step-{:09d}.safetensors"  # training states in a run folder; weights + optimizer + EMA
STEP_NAME = re.compile(r"step-([0-9]{9})\.safetensors")


def save_weights(
    path: str | Path,
    model: Denoiser,
    *,
    quantize: str | None = None,
    half: Sequence[str] = (),
    card: Mapping[str, Any] | None = None,
) -> None:
    """Save the network of `model` and all that `load_pretrained` needs to build it again.

    `quantize="int8"` is a quarter of the size, for shipping (see `minidiff.int8.pack`, also for
    `half`). `card` is the model card: a dictionary that says what the weights were trained on, by
    which command, and how good they are.

    >>> import tempfile
    >>> model = load_pretrained("digits")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/mine.safetensors", model, card={"data": "digits"})
    ...     read_info(f"{folder}/mine.safetensors")["card"]
    {'data': 'digits'}
    """
    if quantize not in (None, "int8"):
        raise ValueError(f'quantize must be None or "int8", got {quantize!r}')
    if half and not quantize:
        raise ValueError('half names the exceptions to quantize="int8": give both or neither')
    tensors = dict(model.net.state_dict())
    tensors = pack(tensors, half) if quantize else tensors
    write(path, tensors, {**describe(model), "quantize": quantize, "card": dict(card or {})})


def load_weights(name_or_path: str | Path, model: Denoiser) -> Info:
    """Load weights into an existing model of the same architecture; returns the file's info.

    A model that learns its variance may take those of one that does not: the output channels of the
    variance then begin at 0, halfway in log between beta_tilde and beta if it is "learned".

    >>> import tempfile
    >>> model = load_pretrained("digits")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/mine.safetensors", model)
    ...     load_weights(f"{folder}/mine.safetensors", model)["predict"]
    'eps'
    """
    tensors, info = read(path := _find(name_or_path) or Path(name_or_path))
    if info["predict"] != model.predict:
        raise CheckpointError(f"{path} predicts {info['predict']!r}, not {model.predict!r}")
    tensors = unpack(network_tensors(tensors, info))
    if model.learns_variance and info["variance"] in ("small", "large"):
        tensors = _with_variance(tensors, model.net)
    _load_into(model.net, tensors, path)
    return info


def load_pretrained(
    name_or_path: str | Path,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Denoiser:
    """A trained model, ready to sample: shipped weights, a file, a run folder, or a hub name.

    Names without a slash are looked up among the shipped weights (`available()`), then on the
    disk; "owner/name" that is not a path is fetched from the Hugging Face hub.

    >>> model = load_pretrained("digits")
    >>> model.schedule.T, model.training
    (1000, False)
    """
    path = _find(name_or_path)
    if path is None:
        from minidiff.unet.compat import load_from_hub

        model: Denoiser = load_from_hub(str(name_or_path))
    else:
        tensors, info = read(path)
        model = build(info)
        _load_into(model.net, unpack(network_tensors(tensors, info)), path)
    return model.to(device=device, dtype=dtype).eval()


def read_info(name_or_path: str | Path) -> Info:
    """The description in a file of weights: network, schedule, model card; {} for hub models."""
    path = _find(name_or_path)
    return {} if path is None else read(path)[1]


def available() -> list[str]:
    """Names of the weights that ship with minidiff; `read_info(name)["card"]` describes each.

    >>> available()
    ['cifar10', 'cifar10_small', 'cifar10_small_hybrid', 'digits', 'digits_labels', 'fashion']
    """
    names = (path.stem for path in SHIPPED.glob("*.safetensors"))
    return sorted(name for name in names if not name.startswith("classifier_"))


def describe(model: Denoiser) -> Info:
    """What is needed, beside the weights, to build `model` again."""
    return {
        "network": asdict(model.net.config) if isinstance(model.net, UNet) else None,
        "schedule": model.schedule.state(),
        "predict": model.predict,
        "variance": model.variance,
        "clip": model.clip,
    }


def build(info: Info) -> Denoiser:
    """The untrained model that `describe` described."""
    if not info.get("network"):
        raise CheckpointError(
            "these weights belong to a network that is not minidiff's UNet: "
            "build that network yourself and call load_weights(path, model)"
        )
    return Denoiser(
        UNet(UNetConfig(**info["network"])),
        Schedule.from_state(info["schedule"]),
        predict=info["predict"],
        variance=info["variance"],
        clip=info["clip"],
    )


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
    """The newest intact training state of a run folder (a damaged newer one is passed over)."""
    found = states(folder)
    for step, path in reversed(found.items()):
        try:
            if (inside := read(path)[1].get("step", step)) != step:
                raise CheckpointError(f"{path} is a copy of something else (its step is {inside})")
            return path
        except CheckpointError as error:
            warnings.warn(f"{error}: passed over", stacklevel=2)
    raise CheckpointError(
        f"{folder} holds {len(found)} checkpoints, and all are damaged"
        if found
        else f"{folder} holds no checkpoint ({STEP_FILE.format(100)} and so on); train one with "
        f"python -m minidiff train CONFIG --out {shlex.quote(str(folder))}, or load a model that "
        "diffusers saved with minidiff.compat.load_folder"
    )


def network_tensors(tensors: dict[str, Tensor], info: Info) -> dict[str, Tensor]:
    """The network's weights: the file itself, or the first average of a training state."""
    if "step" not in info:
        return tensors
    return part(tensors, "net/") | part(tensors, f"ema/{info['config']['ema'][0]}/")


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def check_architecture(net: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise CheckpointError, naming the differences, unless the tensors are those of `net`."""
    own = net.state_dict()
    wrong = [f"lacks {k}" for k in own if k not in tensors]
    wrong += [f"has an unknown {k}" for k in tensors if k not in own]
    wrong += [
        f"{k} is {tuple(tensors[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in tensors and tensors[k].shape != own[k].shape
    ]
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(
            f"{path} was made for another architecture: {'; '.join(wrong[:5])}{more}"
        )


def _load_into(net: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    check_architecture(net, tensors, path)
    net.load_state_dict(dict(tensors))


def _with_variance(tensors: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Zeros for the second half of the output channels, wherever `net` has twice as many."""
    own = net.state_dict()
    double = [k for k, w in tensors.items() if k in own and len(own[k]) == 2 * len(w)]
    return {
        k: torch.cat([w, torch.zeros_like(w)]) if k in double else w for k, w in tensors.items()
    }


def _find(name_or_path: str | Path) -> Path | None:
    """The file that is meant; None for a model of the hub."""
    name, path = str(name_or_path), Path(name_or_path)
    if name in available():
        return SHIPPED / f"{name}.safetensors"
    if path.is_dir():
        return latest(path)
    if path.is_file():
        return path
    looks_local = name.endswith(".safetensors") or name.startswith((".", "/", "~", "runs/"))
    if name.count("/") != 1 or looks_local:
        raise CheckpointError(
            f"no weights called {name!r}: shipped are {', '.join(available()) or 'none'}; "
            f"or give a .safetensors file, a run folder, or a hub name such as owner/model"
        )
    return None
