"""Chapter 6: files of weights that other libraries wrote, read without running anything in them.

A `.safetensors` file is numbers only. `.bin`, `.pt`, `.ckpt` and `.pth` are pickles, which can run
any code: PyTorch's reader of tensors (`weights_only=True`) takes the tensors, and refuses a file
that asks for more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minidiff.unet.names import State, unwrapped


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))  # an editor of Windows adds a mark
        if isinstance(found, dict):
            return found
        raise TypeError(f"it holds a {type(found).__name__}")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON object ({error}); fetch it again") from error


def read_state(*paths: Path) -> State:
    """A state dict, a tensor for each name, from one file of any format or from several parts."""
    state: State = {}
    for path in paths:
        part = _read_part(path)
        if twice := sorted(part.keys() & state.keys()):
            raise ValueError(f"{path} holds {twice[0]} once more, which another part has, too")
        state |= part
    return state


def _read_part(path: Path) -> State:
    if path.suffix != ".safetensors":
        return as_state(read_pickle(path), path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return as_state(load_file(path), path)
    except SafetensorError as error:
        why = no_weights(path) or f"is damaged or cut short ({error}); fetch it again"
        raise ValueError(f"{path} {why}") from error


def no_weights(path: str | Path) -> str:
    """What a file is that cannot be weights, with what to do; "" if it does not look like that."""
    with open(path, "rb") as file:
        begins = file.read(256)
    if b"\0" in begins:  # a header of weights may begin with any letter, and numbers follow it
        return ""
    if begins.startswith(b"version https://git-lfs"):
        return (
            "is Git LFS's pointer to the weights, not the weights: run `git lfs pull` in the clone"
        )
    first = begins.removeprefix(b"\xef\xbb\xbf").lstrip()
    if first[:1] == b"<":
        return "is a page of the web, not weights: fetch the file itself"
    if first[:1] in (b"{", b"["):
        return "is a text in JSON, not weights: give its folder, or the file of weights beside it"
    return "" if begins else "is empty; fetch it again"


def read_pickle(path: str | Path) -> Any:
    """What `torch.save` wrote, if it holds tensors, numbers, strings and containers only."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # its kinds differ with what is wrong, and with the version
        text = str(error)
        if asks := re.search(r"GLOBAL (\S+)", text):  # by whichever reason it is not allowed
            raise ValueError(
                f"{path} is a pickle that asks for {asks[1]}, and to read on could run any code; "
                "ask its author for the bare state dict, or for a .safetensors file"
            ) from None
        why = " ".join(text.split("\n")[0].split())[:160]
        damaged = f"is damaged, cut short, or no file of torch.save ({why}); fetch it again"
        raise ValueError(f"{path} {no_weights(path) or damaged}") from None


def as_state(found: Any, path: Path) -> State:
    """The state dict that a file held; refused if it is something else, saying what."""
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} holds a {type(found).__name__}, not the state dict of a network")
    if strange := [k for k, v in found.items() if not _is_plain(v)]:
        raise ValueError(
            f"{path} holds more than a state dict, or other tensors than plain ones: "
            f"{', '.join(str(k)[:80] for k in strange[:5])}"
        )
    return unwrapped(found)


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    )
