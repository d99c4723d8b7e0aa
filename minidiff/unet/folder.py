"""Chapter 5: what a folder of diffusers says it is: its parts, their settings and its weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from minidiff.unet.read import read_json

PIPELINES = ("DDPMPipeline", "DDIMPipeline", "PNDMPipeline", "RePaintPipeline")
FILES = ("config.json", "diffusion_pytorch_model.safetensors")  # of a network
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
    named = parts.get("scheduler")
    return str(named[1]) if isinstance(named, list) and len(named) == 2 else None


def read_network(folder: Path) -> tuple[dict[str, Any], Path]:
    """The configuration of the network, and its one file of weights."""
    places = [(folder / place).parent for place in _PLACES if (folder / place).is_file()]
    if not places:
        raise ValueError(
            f"{folder} must hold config.json and weights, there or in unet/; found no config.json"
        )
    place = places[0]
    for suffix in (".safetensors", ".bin"):
        found = sorted(place.glob(f"*{suffix}"))
        if named := [path for path in found if path.stem == "diffusion_pytorch_model"]:
            found = named
        if len(found) > 1:
            raise ValueError(
                f"{place} has {len(found)} files of weights ({', '.join(f.name for f in found)}); "
                f"keep one, or call it {FILES[1]}"
            )
        if found:
            return read_json(place / "config.json"), found[0]
    raise ValueError(f"{place} holds config.json, but no .safetensors and no .bin file of weights")


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
