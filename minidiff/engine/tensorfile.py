"""Chapter 7: one file of tensors, written whole or not at all, and checked when it is read.

A file holds the tensors and, in its header, a JSON object ("info") with everything else, and the
SHA-256 of both. It is written under a temporary name, flushed to the disk and renamed, so that a
crash at any moment leaves the older file. Pickles are never read: loading one can run any code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minidiff.data.files import write_whole
from minidiff.unet.names import not_finite
from minidiff.unet.read import no_weights

FORMAT = 1  # raised when an older reader could misread a newer file

Info = dict[str, Any]


class CheckpointError(ValueError):
    """A file of weights is missing, damaged, or made for something else."""


class NewerFormat(CheckpointError):
    """A file of a later version of minidiff; nothing is wrong with it."""


def write(path: str | Path, tensors: Mapping[str, Tensor], info: Info) -> None:
    """Write one file atomically; on any error the older file of that name is untouched."""
    from safetensors.torch import save

    # What is written: the tensors, the description, and a digest of both.
    path = Path(path)
    on_cpu = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    text = json.dumps({"format": FORMAT, **info}, sort_keys=True)
    blob = save(on_cpu, metadata={"minidiff": text, "sha256": _digest(on_cpu, text)})

    # Under its name only when all of it is on the disk.
    try:
        write_whole(path, blob)
    except OSError as error:
        raise CheckpointError(
            f"could not write {path}: {error.strerror or error} "
            f"(nothing was changed; free some space or choose another folder)"
        ) from error


def read(path: str | Path) -> tuple[dict[str, Tensor], Info]:
    """Read a file made by `write`, refusing whatever is not exactly what was written."""
    from safetensors import SafetensorError, safe_open

    # Is it a safetensors file?
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no such file: {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, UnicodeDecodeError, OSError) as error:
        raise CheckpointError(_why_unreadable(path, error)) from error

    # Is it one of ours?
    if "minidiff" not in metadata or "sha256" not in metadata:
        raise CheckpointError(
            f"{path} holds tensors but no description of the model: minidiff did not write it "
            f"(for weights of other libraries see minidiff.compat)"
        )

    # Is it as it was written?
    if metadata["sha256"] != _digest(tensors, metadata["minidiff"]):
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one written; {_ADVICE}")

    # Are they numbers? One NaN makes NaN of every image.
    if names := not_finite(tensors):
        raise CheckpointError(
            f"{path} holds NaN or infinity (in {len(names)} of its {len(tensors)} tensors, "
            f"{names[0]} is one): the run that made it had diverged; use an older checkpoint"
        )

    # Do we understand it?
    try:
        info: Info = json.loads(metadata["minidiff"])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its description is no JSON ({error}); {_ADVICE}") from error
    if not isinstance(info, dict) or not isinstance(info.get("format"), int):
        raise CheckpointError(f"{path}: its description has no format; {_ADVICE}")
    if info["format"] > FORMAT:
        raise NewerFormat(
            f"{path} has format {info['format']}, this minidiff reads up to {FORMAT}: update it"
        )
    return tensors, info


_ADVICE = "fetch it again or use an older checkpoint"


def _why_unreadable(path: Path, error: Exception) -> str:
    """A sentence about a file that is not in the format of safetensors."""
    with open(path, "rb") as file:
        begins = file.read(2)
    if begins == b"PK" or begins in (bytes([0x80, protocol]) for protocol in range(2, 6)):
        return (
            f"{path} is a pickle, and loading one can run any code it contains; "
            f"minidiff reads safetensors only (ask the author for a .safetensors file; "
            f"minidiff.compat reads the tensors of other libraries' checkpoints)"
        )
    return f"{path} {no_weights(path) or f'is damaged or cut short ({error}); {_ADVICE}'}"


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        t = tensors[name]
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
