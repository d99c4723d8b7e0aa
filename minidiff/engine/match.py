"""Chapter 7: are these tensors a network's? By names, shapes, and all that decides its answers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from minidiff.engine.tensorfile import CheckpointError
from minidiff.unet.architectures import Config
from minidiff.unet.names import unwrapped


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def check_architecture(net: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise CheckpointError, naming the differences, unless the tensors are those of `net`."""
    own = unwrapped(net.state_dict(), ("_orig_mod",))
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


def tell_schedule(saved: object, mine: object, path: str | Path) -> None:
    """Warn if weights were trained with another schedule; its settings come in any order."""
    if json.dumps(saved, sort_keys=True) != json.dumps(mine, sort_keys=True):
        warnings.warn(
            f"{path} was trained with another noise schedule than the model's", stacklevel=3
        )


def check_function(saved: Config, mine: Config, path: str | Path, widened: bool) -> None:
    """Raise CheckpointError, naming the settings, if the same weights would answer otherwise."""
    if widened:
        saved = replace(saved, out_channels=mine.out_channels)
    old, new = saved.function(), mine.function()
    wrong = [
        f"{name} is {new.get(name)!s:.60} instead of {old.get(name)!s:.60}"
        for name in old | new
        if old.get(name) != new.get(name)
    ]
    if wrong:
        raise CheckpointError(f"{path} was made for another architecture: {'; '.join(wrong)}")


def with_variance(tensors: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Zeros for the second half of the output channels, wherever `net` has twice as many."""
    own = unwrapped(net.state_dict(), ("_orig_mod",))
    double = [k for k, w in tensors.items() if k in own and len(own[k]) == 2 * len(w)]
    return {
        k: torch.cat([w, torch.zeros_like(w)]) if k in double else w for k, w in tensors.items()
    }


def check_tensor(
    tensors: Mapping[str, Tensor], name: str, shape: Sequence[int], path: str | Path
) -> None:
    """Refuse a training state that lacks a tensor of real numbers of this name and shape."""
    found = tensors.get(name)
    if found is None:
        was = "missing"
    elif found.shape != torch.Size(shape):
        was = f"of shape {tuple(found.shape)}"
    elif not found.is_floating_point():
        was = f"of type {found.dtype}"
    else:
        return
    raise CheckpointError(f"{path} is no state of this run: {name} is {was}")


def check_moments(net: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Refuse a training state unless Adam's moments are there for every parameter, or for none."""
    saved = {name for name in tensors if name.startswith("adam/")}
    for name, p in net.named_parameters() if saved else ():
        for kind, shape in (("exp_avg", p.shape), ("exp_avg_sq", p.shape), ("step", ())):
            check_tensor(tensors, f"adam/{name}/{kind}", shape, path)
            saved.remove(f"adam/{name}/{kind}")
    if saved:
        raise CheckpointError(f"{path} is no state of this run: {min(saved)} is unknown")
