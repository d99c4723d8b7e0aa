"""The data set that a command measures against, its images as large as the model's."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minidiff.cli.console import put
from minidiff.data.sets import DRAWN, NAMES, Folder, Images, check_source, load
from minidiff.engine.distributed import World


def data_set(
    args: Namespace, shape: Sequence[int], world: World
) -> tuple[Images | Folder, dict[str, Any]]:
    """The one that was asked for, of images (C, H, W), and what that took."""
    data: Images | Folder
    note = ""
    args.split = args.split or {"evaluate": "train", "nll": "test"}[args.command]
    if args.data not in NAMES:
        check_source(args.data)
        data = Folder(Path(args.data).expanduser(), args.split, shape[1], world.device)
        note = _resized(data)
    elif args.data in DRAWN:
        data = load(args.data, args.split, world.device, size=shape[1])
    elif (data := load(args.data, args.split, world.device)).shape[1] < shape[1]:
        # it was trained on images with a margin
        before = "x".join(map(str, data.shape[1:]))
        data = load(args.data, args.split, world.device, size=shape[1])
        note = f"all {len(data)} images were padded from {before} to {shape[1]}x{shape[2]}"
    if tuple(data.shape) != tuple(shape):
        raise ValueError(
            f"{args.source} makes images of {'x'.join(map(str, shape))} (channels, height, width), "
            f"those of {args.data} are {'x'.join(map(str, data.shape))}"
        )
    if note and world.main:
        put(f"{args.data}: {note}", sys.stderr)
    return data, {"fitted": note} if note else {}


def _resized(folder: Folder) -> str:
    """How many of a folder's pictures had another size than it gives them, "" if none."""
    from PIL import Image

    want = (folder.shape[2], folder.shape[1])
    sizes = []
    for file in folder.files:
        with Image.open(file) as picture:
            sizes.append(picture.size)
    other = [size for size in sizes if size != want]
    if not other:
        return ""
    other.sort(key=lambda s: s[0] * s[1])
    low, high = ("x".join(map(str, size)) for size in (other[0], other[-1]))
    return (
        f"{len(other)} of {len(sizes)} images, {low} to {high}, were cropped to their central "
        f"squares and resized to {want[0]}x{want[1]}"
    )
