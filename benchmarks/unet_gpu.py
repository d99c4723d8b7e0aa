"""How fast is the U-Net on a GPU, beside diffusers' and lucidrains' of equal size?

    python benchmarks/unet_gpu.py                                  # all, batch 128, 512, 1024
    python benchmarks/unet_gpu.py --nets ours --batch 512 --profile
    python benchmarks/unet_gpu.py --device cpu --batch 4 --steps 1  # does the script run?

Forward pass and training step (loss, backward, AdamW) on 32×32 images. "eager" is each library as
it comes; "bf16" adds autocast; "compiled" adds channels-last memory and torch.compile. Networks
that are not installed are left out. Results are printed and written to --out as they come.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.metadata
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from record import provenance, save
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minidiff.unet.blocks import GroupNorm
from minidiff.unet.compat import unet_to_diffusers
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


def measure(row: dict[str, Any], steps: int, device: str, profile: bool) -> None:
    """Images per second of forward pass and training step of the row's network in its mode."""
    name, mode, batch = row["net"], row["mode"], row["batch"]
    torch.manual_seed(0)
    torch._dynamo.reset()
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

    row["parameters"] = sum(p.numel() for p in net.parameters())
    row["forward_flops_per_image"] = counter.get_total_flops()
    for key, work, cost in (("forward", forward, 1), ("train", train, 3)):
        net.train(key == "train")
        row[f"{key}_images_per_s"] = rate = batch / seconds(work, steps, device)
        row[f"{key}_tflops"] = rate * cost * counter.get_total_flops() / 1e12
    if device == "cuda":
        row["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    if profile:
        with torch.profiler.profile() as trace:
            for _ in range(3):
                train()
            torch.cuda.synchronize() if device == "cuda" else None
        by = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
        print(trace.key_averages().table(sort_by=by, row_limit=40, max_name_column_width=90))


def matmul_tflops(device: str, steps: int) -> float:
    """What the card reaches in one large bfloat16 matrix product: the yardstick for utilisation."""
    n, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    a = torch.randn(n, n, device=device, dtype=dtype)
    return 2 * n**3 / seconds(lambda: a @ a, max(steps, 10), device) / 1e12


def main() -> None:
    """Measure everything asked for, writing after each measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 512, 1024])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--profile", action="store_true", help="also print the costliest kernels")
    parser.add_argument("--out", default="unet_gpu.json")
    args = parser.parse_args()
    cuda = args.device == "cuda"
    torch.backends.cudnn.benchmark = True
    result = provenance(args.device)
    for package in ("diffusers", "denoising-diffusion-pytorch"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            result["versions"][package] = importlib.metadata.version(package)
    yardstick = matmul_tflops(args.device, args.steps)
    result |= {"steps": args.steps, "matmul_tflops": yardstick, "rows": []}
    print(f"{result['hardware']}, {result['versions']}, matmul {yardstick:.1f} TFLOP/s", flush=True)
    for batch in args.batch:
        for mode in args.modes:
            for name in args.nets:
                row: dict[str, Any] = {"net": name, "mode": mode, "batch": batch}
                try:
                    measure(row, args.steps, args.device, args.profile)
                except ImportError as error:
                    print(f"{name:<20} left out: {error}", flush=True)
                    continue
                except RuntimeError as error:  # the next row may still run
                    row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
                finally:
                    gc.collect()
                    if cuda:
                        torch.cuda.empty_cache()
                        torch.cuda.reset_peak_memory_stats()
                result["rows"].append(row)
                save(args.out, result)
                rates = [
                    f"{row.get(f'{key}_images_per_s', 0):>9,.1f}" for key in ("forward", "train")
                ]
                share = row.get("train_tflops", 0) / yardstick
                print(
                    f"{name:<20} {mode:<9} batch {batch:>5}  forward {rates[0]} img/s  "
                    f"train {rates[1]} img/s  {share:.0%} of matmul  "
                    f"{row.get('error', '')}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
