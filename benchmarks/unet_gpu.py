"""How fast is the U-Net on a GPU, beside diffusers' and lucidrains' of equal size?

    python benchmarks/unet_gpu.py                                  # all, batch 128, 512, 1024
    python benchmarks/unet_gpu.py --nets ours --batch 512 --profile
    python benchmarks/unet_gpu.py --device cpu --batch 4 --steps 1  # does the script run?

Forward pass and training step (loss, backward, AdamW) on 32×32 images. "eager" is each library as
it comes; "bf16" adds autocast; "compiled" adds channels-last memory and torch.compile. Networks
that are not installed are left out. Rows already in --out are not measured again.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from judge import device_option
from record import Record, attempt, provenance
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minidiff.unet.compat import unet_to_diffusers
from minidiff.unet.layers import GroupNorm
from minidiff.unet.network import UNet

MODES = ("eager", "bf16", "compiled")


class Diffusers(nn.Module):
    """UNet2DModel in the configuration of google/ddpm-cifar10-32, called as ours is."""

    def __init__(self) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        config, _ = unet_to_diffusers(UNet.cifar10())
        self.net = UNet2DModel.from_config(config)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x, t, return_dict=False)[0]


def lucidrains() -> nn.Module:
    """denoising-diffusion-pytorch's Unet at the size its README uses, 35.7 million parameters.

    Without flash_attn=True, which admits a single kernel that float32 does not have. Full attention
    is at 4×4 places only, where the kernel makes no difference.
    """
    from denoising_diffusion_pytorch import Unet

    return Unet(dim=64, dim_mults=(1, 2, 4, 8))


def builtin_norm() -> nn.Module:
    """Ours, but with the compiler's own decomposition of group norm: what our formula is worth."""
    net = UNet.cifar10()
    for module in net.modules():
        if isinstance(module, GroupNorm):
            module.__class__ = nn.GroupNorm
    return net


NETS: dict[str, Callable[[], nn.Module]] = {
    "ours": UNet.cifar10,
    "diffusers": Diffusers,
    "lucidrains": lucidrains,
    "ours, built-in norm": builtin_norm,
}
OTHERS = {"diffusers": "diffusers", "lucidrains": "denoising_diffusion_pytorch"}


def seconds(work: Callable[[], Any], steps: int, device: str) -> float:
    """Mean time of one call after three warm-up calls (the first of which compiles)."""
    for _ in range(3 if device == "cuda" else 1):
        work()
    if device == "cpu":
        start = time.perf_counter()
        for _ in range(steps):
            work()
        return (time.perf_counter() - start) / steps
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(steps):
        work()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000 / steps


def measure(
    name: str, mode: str, batch: int, steps: int, device: str, profile: bool
) -> dict[str, Any]:
    """Images per second of forward pass and training step of a network in its mode."""
    torch.manual_seed(0)
    net = NETS[name]().to(device)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        net(torch.zeros(1, 3, 32, 32, device=device), torch.zeros(1, device=device))
    run: Callable[[Tensor, Tensor], Tensor] = net
    x = torch.randn(batch, 3, 32, 32, device=device)
    eps = torch.randn_like(x)
    t = torch.randint(0, 1000, (batch,), device=device)
    if mode == "compiled":
        net.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
        run = torch.compile(net, dynamic=False, backend="inductor" if device == "cuda" else "eager")
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5, fused=True)

    def autocast() -> contextlib.AbstractContextManager[Any]:
        if mode == "eager" or device == "cpu":  # bfloat16 is slower than float32 on most CPUs
            return contextlib.nullcontext()
        return torch.autocast(device, dtype=torch.bfloat16)

    def forward() -> None:
        with torch.no_grad(), autocast():
            run(x, t)

    def train() -> None:
        with autocast():
            loss = F.mse_loss(run(x, t).float(), eps)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    flops = counter.get_total_flops()
    row: dict[str, Any] = {"parameters": sum(p.numel() for p in net.parameters())}
    row["forward_flops_per_image"] = flops
    for key, work, cost in (("forward", forward, 1), ("train", train, 3)):
        net.train(key == "train")
        row[f"{key}_images_per_s"] = rate = batch / seconds(work, steps, device)
        row[f"{key}_tflops"] = rate * cost * flops / 1e12
    if device == "cuda":
        row["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    if profile:
        with torch.profiler.profile() as trace:
            for _ in range(3):
                train()
            torch.cuda.synchronize() if device == "cuda" else None
        by = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
        print(trace.key_averages().table(sort_by=by, row_limit=40, max_name_column_width=90))
    return row


def matmul_tflops(device: str, steps: int) -> float:
    """What the card reaches in one large bfloat16 matrix product: the yardstick for utilisation."""
    n, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    a = torch.randn(n, n, device=device, dtype=dtype)
    return 2 * n**3 / seconds(lambda: a @ a, max(steps, 10), device) / 1e12


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    device_option(result)
    result.add_argument("--batch", type=int, nargs="+", default=[128, 512, 1024])
    result.add_argument("--steps", type=int, default=20)
    result.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    result.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    result.add_argument("--profile", action="store_true", help="also print the costliest kernels")
    result.add_argument("--out", default="unet_gpu.json")
    return result


def main() -> None:
    """Measure everything asked for, writing after each measurement."""
    args = parser().parse_args()
    nets = [name for name in args.nets if name not in OTHERS or find_spec(OTHERS[name])]
    torch.backends.cudnn.benchmark = True
    head = provenance(args.device, "diffusers", "denoising-diffusion-pytorch")
    yardstick = matmul_tflops(args.device, args.steps)
    head |= {"seed": 0, "steps": args.steps, "matmul_tflops": yardstick}
    record = Record(args.out, head, same=("hardware", "torch", "steps"))
    for batch in args.batch:
        for mode in args.modes:
            for name in nets:
                job = (name, mode, batch, args.steps, args.device, args.profile)
                record.measure(
                    {"net": name, "mode": mode, "batch": batch},
                    lambda job=job: attempt(lambda: measure(*job)),
                )


if __name__ == "__main__":
    main()
