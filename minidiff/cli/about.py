"""What a model is, in lines that a person reads: its model card, and what its file says."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import torch

from minidiff.cli.console import put
from minidiff.cli.labels import names_in
from minidiff.engine.checkpoint import SHIPPED, available, load_pretrained, read_info

SAID = ("classes", "predict", "variance", "clip", "sigma_data", "schedule", "network", "step")
TOLD = ("config", "card")  # of a file that is not ours; a shipped one has a card to read


def info(args: Namespace) -> None:
    """What a model is made of and was trained on; or what this machine has."""
    if args.source is None:
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
        put(f"python {sys.version.split()[0]}, torch {torch.__version__}, GPU: {gpu}")
        put(f"shipped weights: {', '.join(available()) or 'none'}")
        return
    about = read_info(args.source)
    model = load_pretrained(args.source)
    count = sum(p.numel() for p in model.net.parameters())
    names = [list(c) if isinstance(c, tuple) else c for c in names_in(about, model)]
    shipped = args.source in available()
    if shipped:
        for line in card(args.source).splitlines():
            put(line)
        put("")
    put(f"parameters: {count:,}")
    said = {**about, "classes": names}
    for name in SAID if shipped else (*SAID, *TOLD):
        if name in said and (names or name != "classes"):
            for line in readable(name, said[name]):
                put(line)


def card(name: str) -> str:
    """The model card of a shipped network, in Markdown, without the comments."""
    text = (SHIPPED / f"{name}.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("<!--")]
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def readable(name: str, value: Any, indent: str = "") -> Iterator[str]:
    """A name with its value; what lies inside of it stands below, further in.

    >>> print(*readable("schedule", {"T": 1000, "kind": "linear", "ema": [0.9, 0.99]}), sep="\\n")
    schedule:
      T: 1000
      kind: linear
      ema: 0.9, 0.99
    """
    if isinstance(value, dict) and value:
        yield f"{indent}{name}:"
        for inner, what in value.items():
            yield from readable(inner, what, indent + "  ")
    elif isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value):
        for i, what in enumerate(value, 1):
            yield from readable(f"{name} {i}", what, indent)
    else:
        listed = ", ".join(map(str, value)) if isinstance(value, list) else value
        said = {True: "yes", False: "no"}[value] if isinstance(value, bool) else listed
        yield f"{indent}{name}: {'none' if said in ('', None, {}) else said}"
