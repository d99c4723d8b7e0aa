"""Chapter 7: is a state of this run? The network and the process decide, the rest is told."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

from minidiff.data.images import to_uint8
from minidiff.data.sets import Folder, Images
from minidiff.denoiser import Denoiser
from minidiff.engine.checkpoint import AT_FIRST, CheckpointError, Info, describe
from minidiff.engine.config import TrainConfig

# settings that decide when a run stops, on what it runs and what it tells, but not what it computes
FREE = (
    *("max_seconds", "compile", "fsdp", "log_every", "save_every", "save_seconds", "keep"),
    *("sample_every", "validate_every"),
)
# those that decide what is learned: the network, the process, the images
DECIDING = (
    *("data", "size", "network", "network_options", "conditional", "schedule", "T", "predict"),
    *("sigma_data", "variance", "ema"),
)
_TOLD = 5  # of the settings that differ


class Changed(UserWarning):
    """A run goes on with other settings, or other images, than it had."""


def describe_run(model: Denoiser, config: TrainConfig, data: Images | Folder) -> Info:
    """What makes a run this run, as JSON: the network, the process, every setting, the images."""
    few = data.batch([i * len(data) // 16 for i in range(16)])[0]
    about = {
        **describe(model),
        "config": config.state(),
        "data": {
            "shape": tuple(data.shape),
            "classes": data.classes,
            "number": len(data),
            "sixteen": hashlib.sha256(to_uint8(few).cpu().numpy().tobytes()).hexdigest(),
        },
    }
    found: Info = json.loads(json.dumps(about))  # tuples become lists, as in a file
    return found


def check_same_run(saved: Info, mine: Info, path: Path) -> None:
    """Refuse the state of another network, process or kind of image; warn of other settings."""
    config, data = mine["config"], mine["data"]
    saved = {**AT_FIRST, **saved}
    fixed = {k: v for k, v in mine.items() if k not in ("config", "data")}
    old_data: Any = saved.get("data", data)  # which the first versions did not write down
    odd = [name for name in fixed if name not in saved]
    kinds = {"config": dict, "scaler": dict, "step": int}
    odd += [name for name, kind in kinds.items() if not isinstance(saved.get(name), kind)]
    odd += [] if isinstance(old_data, dict) and old_data.keys() == data.keys() else ["data"]
    if odd:
        raise CheckpointError(f"{path} is no state of a run: its {odd[0]} is missing or damaged")
    kind = {"shape": data["shape"]}
    if config["conditional"]:
        kind["classes"] = data["classes"]
    different = _differences(saved, fixed)
    different += _differences(saved["config"], {"ema": config["ema"]})
    different += _differences(old_data, kind, "data")
    if different:
        theirs, ours = _deciding(config | saved["config"]), _deciding(config)
        absent = dict.fromkeys(theirs | ours, "left out")
        typed = _differences(absent | theirs, absent | ours)  # none if other files lie in a folder
        told = [f"{name} = {old} (now {new})" for name, old, new in typed or different]
        more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
        raise CheckpointError(
            f"the run in {path.parent} was begun with {', '.join(told[:_TOLD])}{more}, which "
            "cannot be changed in the middle of it: repeat the line that began it with --resume "
            f"added ({path.with_name('config.json')} has its settings), or start anew in another "
            "folder"
        )
    changed = _differences(saved["config"], {k: v for k, v in config.items() if k not in FREE})
    told = [f"{name} = {new} (was {old})" for name, old, new in changed]
    if old_data["number"] != data["number"]:
        told.append(f"{data['number']} images (were {old_data['number']})")
    elif old_data != data:
        told.append("other images or classes")
    if told:
        warnings.warn(f"the run in {path.parent} goes on with {', '.join(told)}", Changed, 5)


def _deciding(config: Info) -> Info:
    """The settings that decide, those of `network_options` one by one."""
    found = {name: config[name] for name in DECIDING}
    options = found.pop("network_options")
    each = options.items() if isinstance(options, dict) else ()
    return found | {f"network_options: {name}": value for name, value in each}


def _differences(old: Any, new: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """The entries of `new` that are others in `old`: their names, the old value, the new one."""
    if isinstance(old, dict) and isinstance(new, dict):
        dot = f"{name}." if name else ""
        pairs = [(f"{dot}{key}", old[key], value) for key, value in new.items() if key in old]
        return [found for key, a, b in pairs for found in _differences(a, b, key)]
    return [] if old == new else [(name, _short(old), _short(new))]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
