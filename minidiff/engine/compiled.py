"""Chapter 17: torch.compile, and CUDA graphs where the host would be slower than the GPU.

A training step of the CIFAR-10 network is some 2,000 kernels. To start them one by one takes the
host about as long as the GPU needs for 500 images, so that smaller batches wait for the host. CUDA
graphs record the kernels once and start them all together (`results/train_h200.json` has both).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from minidiff.engine.config import TrainConfig
from minidiff.engine.distributed import World

GRAPHS = "reduce-overhead"  # what torch.compile calls them


def compile_mode(config: TrainConfig, world: World) -> str:
    """The mode of torch.compile for this run, "" for none; what "auto" means here.

    On a GPU CUDA graphs, except under FSDP2, which gathers weights between the kernels; on a CPU
    nothing, since compiling would last longer than the runs that a CPU is good for.

    >>> compile_mode(TrainConfig(compile="auto"), World(0, 1, torch.device("cpu")))
    ''
    """
    if config.compile != "auto":
        return config.compile
    if world.device.type != "cuda":
        return ""
    return "default" if config.fsdp else GRAPHS


def compiled(net: nn.Module, mode: str) -> Any:
    """The network in a mode of torch.compile, or as it is. The weights are the same."""
    return torch.compile(net, mode=mode) if mode else net


def kept_gradients(weights: list[nn.Parameter], mode: str, parts: int) -> bool:
    """Whether the gradients keep their memory from step to step; then it is made here.

    CUDA graphs write the gradients of every pass to the same place. A gradient that is the first to
    come lies there, and the next part of the batch would overwrite it instead of adding to it.
    """
    keep = parts > 1 and mode in (GRAPHS, "max-autotune")
    if keep:
        for p in weights:
            p.grad = torch.zeros_like(p)
    return keep
