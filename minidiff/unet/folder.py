"""Chapter 6: what a folder of diffusers says it is: its parts, their settings and its weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from minidiff.unet.read import read_json

PIPELINES = ("DDPMPipeline", "DDIMPipeline", "PNDMPipeline", "RePaintPipeline")
_WEIGHTS = "diffusion_pytorch_model"
FILES = ("config.json", f"{_WEIGHTS}.safetensors")  # of a network
_NETWORK = ["diffusers", "UNet2DModel"]
_PLACES = ("unet/config.json", "config.json")


def is_folder(folder: Path) -> bool:
    """Whether it looks like what diffusers writes."""
    return any((folder / name).is_file() for name in ("model_index.json", *_PLACES))


def read_pipeline(folder: Path) -> str | None:
    """The scheduler's class that model_index.json names, after a look at what else it names."""
    path = folder / "model_index.json"
    index = read_json(path) if path.is_file() else {}
    parts = {k: v for k, v in index.items() if k[:1] != "_" and v not in (None, [None, None])}
    if more := sorted(parts.keys() - {"unet", "scheduler"}):
        raise ValueError(
            f"{folder} is a pipeline that also has {', '.join(more)}: its network does not see "
            "images alone, and minidiff has no such parts"
        )
    kind = index.get("_class_name", PIPELINES[0])
    if kind not in PIPELINES:
        raise ValueError(f"{folder} is a {kind}; minidiff reads {', '.join(PIPELINES)}")
    for name, value in parts.items():
        if not isinstance(value, list) or [type(v) for v in value] != [str, str]:
            raise ValueError(f"{path}: {name} must be a library and a class, got {value!r:.80}")
    if (net := parts.get("unet", _NETWORK)[1]) != _NETWORK[1]:
        raise ValueError(f"{folder} is a pipeline with a {net}; minidiff reads a {_NETWORK[1]}")
    return str(parts["scheduler"][1]) if "scheduler" in parts else None


def read_network(folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """The configuration of the network, and its file of weights, or the parts that its index names.

    Of .safetensors and .bin with diffusers' own name the first is taken; any other name, such as
    that of a variant in half precision, only where it is alone.
    """
    places = [(folder / place).parent for place in _PLACES if (folder / place).is_file()]
    if not places:
        raise ValueError(
            f"{folder} must hold config.json and weights, there or in unet/; found no config.json"
        )
    place = places[0]
    config = read_json(place / "config.json")
    for suffix in (".safetensors", ".bin"):
        if (named := place / f"{_WEIGHTS}{suffix}").is_file():
            return config, [named]
        if (index := place / f"{_WEIGHTS}{suffix}.index.json").is_file():
            return config, _parts(index)
    for suffix in (".safetensors", ".bin"):
        found = sorted(place.glob(f"*{suffix}"))
        if len(found) > 1:
            raise ValueError(
                f"{place} has {len(found)} files of weights ({', '.join(f.name for f in found)}); "
                f"keep one, or call it {FILES[1]}"
            )
        if found:
            return config, found
    raise ValueError(f"{place} holds config.json, but no .safetensors and no .bin file of weights")


def _parts(index: Path) -> list[Path]:
    """The files beside an index that together hold the weights, of which none may be missing."""
    names = read_json(index).get("weight_map")
    parts = sorted(set(names.values())) if isinstance(names, dict) and _are_names(names) else []
    if not parts:
        raise ValueError(f"{index} does not say which files hold the weights; fetch it again")
    if missing := [name for name in parts if not (index.parent / name).is_file()]:
        raise ValueError(
            f"{index.parent} lacks {', '.join(missing[:3])}, of the {len(parts)} files that hold "
            "the weights; fetch them all"
        )
    return [index.parent / name for name in parts]


def _are_names(of_tensors: dict[str, Any]) -> bool:
    """Whether all are names of files of weights in the folder itself, and not paths out of it."""
    known = (".safetensors", ".bin")
    return all(
        isinstance(name, str) and Path(name).name == name and Path(name).suffix in known
        for name in of_tensors.values()
    )


def read_scheduler(folder: Path, promised: str | None) -> dict[str, Any]:
    """The scheduler's settings, its class among them."""
    name = "scheduler_config.json"
    found = [p for p in (folder / "scheduler" / name, folder / name) if p.is_file()]
    if not found:
        if promised:
            raise ValueError(f"{folder} promises a {promised}, but holds no {name}; fetch it again")
        warnings.warn(
            f"{folder} holds no {name}: DDPM's process is taken (linear, T = 1000, the network "
            "predicts eps, fixed large variance)",
            stacklevel=3,
        )
        return {"_class_name": "DDPMScheduler", "variance_type": "fixed_large"}
    settings = read_json(found[0])
    written = (
        settings.setdefault("_class_name", promised) if promised else settings.get("_class_name")
    )
    if promised and written != promised:
        raise ValueError(
            f"{found[0]} is a {written}'s, but model_index.json names {promised}: which is right?"
        )
    return settings
