"""Chapter 17: torch.compile, and CUDA graphs where the host would be slower than the GPU.

A training step of the CIFAR-10 network is more than a thousand kernels. To start them one by one
takes the host longer than the GPU needs for 256 images (`results/modes_gpu.json`), so that smaller
batches wait for the host. CUDA graphs record the kernels once and start them all together. With
them a run learns the same weights, goes on bit for bit and never waits for the GPU: the tests in
`tests/test_compiled.py` show it on a GPU (an H200, PyTorch 2.11) and are skipped without one.
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

    On one GPU CUDA graphs; on several, where graphs were not tried, the kernels one by one; on a
    CPU nothing.

    >>> compile_mode(TrainConfig(compile="auto"), World(0, 1, torch.device("cpu")))
    ''
    """
    if config.compile != "auto":
        return config.compile
    if world.device.type != "cuda":
        return ""
    return GRAPHS if world.size == 1 else "default"


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
