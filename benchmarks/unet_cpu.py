"""Forward pass of 16 images through the CIFAR-10 network on a CPU: ours beside diffusers'.

    python benchmarks/unet_cpu.py

The two take turns, so that a busy machine slows both. Needs `pip install diffusers`.
"""

from __future__ import annotations

import argparse
import statistics
import time

import diffusers
import torch
from record import provenance, save

from minidiff.compat import unet_from_diffusers, unet_to_diffusers
from minidiff.unet import UNet


def main() -> None:
    """Time both networks with the same weights, on the same images, in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--out", default="unet_cpu.json")
    args = parser.parse_args()
    torch.manual_seed(0)
    config, _ = unet_to_diffusers(UNet.cifar10())
    theirs = diffusers.UNet2DModel.from_config(config).eval()
    ours = unet_from_diffusers(config, theirs.state_dict()).eval()
    x = torch.randn(args.batch, 3, 32, 32)
    t = torch.randint(0, 1000, (args.batch,))
    calls = {"ours": lambda: ours(x, t), "diffusers": lambda: theirs(x, t).sample}
    times: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        difference = float((ours(x, t) - theirs(x, t).sample).abs().max())  # also the warm-up
        for turn in range(args.turns):
            for name in sorted(calls, reverse=bool(turn % 2)):
                start = time.perf_counter()
                calls[name]()
                times[name].append(time.perf_counter() - start)
            print({name: round(values[-1], 3) for name, values in times.items()}, flush=True)
    ratios = [a / b for a, b in zip(times["ours"], times["diffusers"], strict=True)]
    result = provenance("cpu")
    result["versions"]["diffusers"] = diffusers.__version__
    result |= {
        "batch": args.batch,
        "largest_difference": difference,
        "fastest_s": {name: min(values) for name, values in times.items()},
        "median_s": {name: statistics.median(values) for name, values in times.items()},
        "median_ratio": statistics.median(ratios),
        "seconds": times,
    }
    save(args.out, result)
    print({key: result[key] for key in ("fastest_s", "median_s", "median_ratio")})


if __name__ == "__main__":
    main()
