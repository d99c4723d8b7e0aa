"""Images per second of a training step of the CIFAR-10 network, rung by rung, beside diffusers'.

python benchmarks/train_gpu.py --out results/train_gpu.json             # one GPU
torchrun --nproc_per_node=2 benchmarks/train_gpu.py --ours compiled --peers none \
    --out results/train_2gpu.json                                       # scaling
python benchmarks/train_gpu.py --smoke                                  # a minute on a processor

Every recipe does the whole step: batch from a uint8 tensor on the device with random flips, noise,
loss, gradient, clipping, Adam, EMA. MFU: 3 x the FLOPs of a forward pass (torch's counter) x
images/s, as a share of a bf16 matrix product measured in the same run.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from minidiff.config import TrainConfig
from minidiff.data import Images
from minidiff.distributed import World, processes
from minidiff.speed import peak_flops, training_flops
from minidiff.trainer import Trainer, best_precision
from minidiff.unet import UNet

SMALL = {"width": 32, "mults": (1, 2), "blocks": 1, "attention": ()}
Step = Callable[[], Any]


class PlainAdamW(torch.optim.AdamW):
    """Not fused, so without a guard against NaN in its kernel."""

    found_inf = property(lambda self: None, lambda self, value: None)


def ours(rung: str, batch: int, data: Images, world: World, small: bool) -> Step:
    """Our trainer's step: each rung adds one thing to the one before."""
    names = ["plain", "fused", "bf16", "compiled", "autotuned"]
    level = names.index(rung)
    modes = {"compiled": "default", "autotuned": "max-autotune-no-cudagraphs"}
    config = TrainConfig(
        network="cifar10",
        network_options=SMALL if small else {},
        flip=True,
        batch=batch * world.size,
        ema=(0.9999,),
        steps=1_000_000,
        precision="auto" if level >= names.index("bf16") else "fp32",
        compile=modes.get(rung, ""),
    )
    trainer = Trainer(config, world, data)
    if rung == "plain":  # one kernel after the other for each parameter
        trainer.optimizer = PlainAdamW(
            trainer.net.parameters(), lr=2e-4, weight_decay=0.0, foreach=False
        )

        def loop(model: torch.nn.Module) -> None:
            for m, p in zip(trainer.ema.shadows[0], model.parameters(), strict=True):
                m.mul_(0.9999).add_(p.detach(), alpha=1e-4)

        trainer.ema.update = loop  # type: ignore[method-assign]
    batches = trainer.batches()
    return lambda: trainer.step(batches)


def diffusers(rung: str, batch: int, data: Images, world: World, small: bool) -> Step:
    """Its unconditional training example; "tuned": with bf16, channels-last, compile, fused."""
    from diffusers import DDPMScheduler, UNet2DModel
    from diffusers.training_utils import EMAModel

    net = UNet2DModel(
        sample_size=32,
        block_out_channels=(32, 64) if small else (128, 256, 256, 256),
        down_block_types=("DownBlock2D", "DownBlock2D")
        if small
        else ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D")
        if small
        else ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1 if small else 2,
        attention_head_dim=None,
        dropout=0.1,
    ).to(world.device)
    tuned = rung == "tuned"
    if tuned:
        net = net.to(memory_format=torch.channels_last)
    run: Any = torch.compile(net) if tuned else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True if tuned else None)
    ema = EMAModel(net.parameters(), decay=0.9999, foreach=tuned)
    ema.to(world.device)
    noising = DDPMScheduler(num_train_timesteps=1000)
    generator = torch.Generator(world.device).manual_seed(0)
    half = tuned and best_precision("auto", world.device) == "bf16"

    def step() -> None:
        x0, _ = data.batch(batch, generator=generator, flip=True)
        if tuned:
            x0 = x0.contiguous(memory_format=torch.channels_last)
        eps = torch.randn_like(x0)
        t = torch.randint(0, 1000, (batch,), device=x0.device)
        xt = noising.add_noise(x0, eps, t)
        with torch.autocast(world.device.type, torch.bfloat16, enabled=half):
            out = run(xt, t).sample
        F.mse_loss(out.float(), eps).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(net.parameters())

    return step


def measure(step: Step, world: World, seconds: float) -> dict[str, float]:
    """Time per step: after a warm-up, steps are queued for `seconds` and waited for at the end."""
    cuda = world.device.type == "cuda"

    def wait() -> None:
        if cuda:
            torch.cuda.synchronize(world.device)

    begun = time.perf_counter()
    for _ in range(8 if cuda else 1):
        step()
    wait()
    warmup = time.perf_counter() - begun
    start = time.perf_counter()
    step()
    wait()
    steps = max(2, int(seconds / (time.perf_counter() - start)))
    steps = int(world.mean(torch.tensor(float(steps), device=world.device)).item())
    times = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(max(1, steps // 3)):
            step()
        wait()
        times.append((time.perf_counter() - start) / max(1, steps // 3))
    memory = torch.cuda.max_memory_allocated(world.device) / 2**30 if cuda else 0.0
    return {
        "ms_per_step": round(1e3 * min(times), 3),
        "ms_per_step_slowest_third": round(1e3 * max(times), 3),
        "warmup_s": round(warmup, 1),
        "memory_GiB": round(memory, 2),
    }


def main() -> None:
    """Measure all asked for and write them to a JSON file."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--batch", type=int, nargs="+", default=[128, 512, 1024], help="for one GPU")
    p.add_argument("--ours", nargs="+", default=["plain", "fused", "bf16", "compiled"])
    p.add_argument("--peers", nargs="+", default=["default", "tuned"], help="of diffusers, or none")
    p.add_argument("--seconds", type=float, default=6.0, help="of timing for each")
    p.add_argument("--out", type=Path)
    p.add_argument("--smoke", action="store_true", help="tiny networks, for a test of this script")
    args = p.parse_args()
    if args.smoke:
        args.batch, args.seconds, args.ours = [8], 0.3, ["plain", "fused"]
        args.peers = ["default"] if args.peers != ["none"] else ["none"]
    with processes() as world:
        cuda = world.device.type == "cuda"
        torch.manual_seed(0)
        pixels = torch.randint(0, 256, (50_000, 3, 32, 32), dtype=torch.uint8, device=world.device)
        labels = torch.zeros(50_000, dtype=torch.long, device=world.device)
        data = Images(pixels, labels, ("noise",), "uniform noise, the size of CIFAR-10")
        net = UNet.cifar10(**SMALL) if args.smoke else UNet.cifar10()
        flops = training_flops(net, torch.zeros(1, 3, 32, 32), torch.zeros(1))
        peak = peak_flops(world.device) if cuda else None
        result: dict[str, Any] = {
            "command": shlex.join([Path(sys.executable).name, *sys.argv]),
            "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
            "processes": world.size,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "parameters": sum(p.numel() for p in net.parameters()),
            "training_GFLOP_per_image": round(flops / 1e9, 3),
            "bf16_peak_TFLOPs": round(peak / 1e12, 1) if peak else None,
            "runs": [],
        }
        if cuda:
            torch.backends.cudnn.benchmark = True
        jobs: list[tuple[str, str, Any]] = [("minidiff", r, ours) for r in args.ours]
        jobs += [("diffusers", r, diffusers) for r in args.peers if r != "none"]
        for batch in args.batch:
            for library, rung, make in jobs:
                run: dict[str, Any] = {"library": library, "rung": rung, "batch": batch}
                try:
                    step = make(rung, batch, data, world, args.smoke)
                    run |= measure(step, world, args.seconds)
                    rate = batch * world.size / run["ms_per_step"] * 1e3
                    run["images_per_s"] = round(rate, 1)
                    run["mfu"] = round(rate * flops / (peak * world.size), 4) if peak else None
                except (ImportError, torch.OutOfMemoryError) as error:
                    run["error"] = str(error).splitlines()[0]
                step = None  # type: ignore[assignment]
                torch.compiler.reset()
                gc.collect()
                if cuda:
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                if world.main:
                    print(json.dumps(run), flush=True)
                    result["runs"].append(run)
                    if args.out:
                        args.out.parent.mkdir(parents=True, exist_ok=True)
                        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
