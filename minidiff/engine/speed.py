"""How fast a training step is, and how fast it could be on this hardware."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def training_flops(net: nn.Module, x: Tensor, *cond: Tensor) -> float:
    """Floating-point operations to train on one image: 3 x those of the forward pass.

    (The backward pass computes two products, by the input and by the weights, for each product of
    the forward pass.) Only convolutions and matrix products are counted, as is usual for MFU.

    >>> training_flops(nn.Linear(10, 5), torch.zeros(4, 10))
    300.0
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        net(x, *cond)
    return 3 * counter.get_total_flops() / len(x)


def peak_flops(device: torch.device, n: int = 8192, repeats: int = 20) -> float:
    """FLOP/s of an (n, n) bf16 matrix product here and now: what MFU is a share of."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        a @ b
    torch.cuda.synchronize(device)
    return repeats * 2 * n**3 / (time.perf_counter() - start)
