"""Forward pass of 16 images through the CIFAR-10 network on a CPU: ours beside diffusers'.

    python benchmarks/unet_cpu.py

The two take turns, so that a busy machine slows both; besides the time on the clock, the processor
time is kept, which other programs disturb less. Needs `pip install diffusers`.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from record import provenance, save

from minidiff.unet.compat import unet_from_diffusers, unet_to_diffusers
from minidiff.unet.network import UNet


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--batch", type=int, default=16)
    result.add_argument("--turns", type=int, default=10)
    result.add_argument("--out", default="unet_cpu.json")
    return result


def main() -> None:
    """Time both networks with the same weights, on the same images, in turns."""
    import diffusers

    args = parser().parse_args()
    torch.manual_seed(0)
    config, _ = unet_to_diffusers(UNet.cifar10())
    theirs = diffusers.UNet2DModel.from_config(config).eval()
    ours = unet_from_diffusers(config, theirs.state_dict()).eval()
    x = torch.randn(args.batch, 3, 32, 32)
    t = torch.randint(0, 1000, (args.batch,))
    calls = {"ours": lambda: ours(x, t), "diffusers": lambda: theirs(x, t).sample}
    clocks = {"wall": time.perf_counter, "processor": time.process_time}
    times: dict[str, dict[str, list[float]]] = {
        clock: {name: [] for name in calls} for clock in clocks
    }
    with torch.inference_mode():
        difference = float((ours(x, t) - theirs(x, t).sample).abs().max())  # also the warm-up
        for turn in range(args.turns):
            for name in sorted(calls, reverse=bool(turn % 2)):
                start = {clock: now() for clock, now in clocks.items()}
                calls[name]()
                for clock, now in clocks.items():
                    times[clock][name].append(now() - start[clock])
            print({c: {n: round(v[-1], 3) for n, v in ns.items()} for c, ns in times.items()})
    result = provenance("cpu", "diffusers")
    result |= {"seed": 0, "batch": args.batch, "largest_difference": difference}
    for clock, names in times.items():
        ratios = [a / b for a, b in zip(names["ours"], names["diffusers"], strict=True)]
        result[clock] = {
            "fastest_s": {name: min(values) for name, values in names.items()},
            "median_s": {name: statistics.median(values) for name, values in names.items()},
            "median_ratio": statistics.median(ratios),
            "seconds": names,
        }
    save(args.out, result)
    print({clock: round(result[clock]["median_ratio"], 3) for clock in clocks})


if __name__ == "__main__":
    main()
