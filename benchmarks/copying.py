"""When does a network begin to copy? Creatures, 20 to 20,000 of them, and training time.

    python benchmarks/copying.py                             # 20, 200, 2,000 and 20,000 images
    python benchmarks/copying.py --images 200 --steps 1000   # one of them, shorter
    python benchmarks/copying.py --smoke                     # a minute, nothing kept

The same network (configs/creatures.py, without labels and at a constant rate) learns the first N
images of the training set. At steps that double, the averaged weights are looked at: the loss on
images that were learned and on others, from the same noise; and samples of DDIM. `creatures.read`
says which of them are whole (within 4 times the distance that noise of one grey level makes), and
which of these are combinations that were learned ("old") or not ("new"). A sample whose nearest
image of the N is less than a third as far as the next one counts as a copy (Yoon et al. 2023).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import torch
from creatures import limit, number
from judge import device_option
from record import Record, provenance
from torch import Tensor

import minidiff as md
from minidiff.data import creatures, from_uint8, to_uint8
from minidiff.data.sets import Images
from minidiff.engine.config import TrainConfig, read_config
from minidiff.engine.distributed import World, usable
from minidiff.engine.trainer import Trainer
from minidiff.losses import loss_simple
from minidiff.timesteps import StratifiedTimes

LOOKED = 1024  # images at most in each of the two losses


def settings(args: argparse.Namespace) -> TrainConfig:
    """The recipe: one for all N, so that they differ in the data alone."""
    file = read_config("creatures16" if args.smoke else "creatures")
    few = {"width": 8} if args.smoke else {}
    options = {k: v for k, v in file.network_options.items() if k != "label_dropout"}
    return replace(
        file,
        network_options=options | few,
        conditional=False,
        decay_lr=False,
        ema=(0.995,),
        batch=args.batch,
        steps=args.steps,
        seed=args.seed,
        lr=args.lr,
        compile="auto",
    )


def part(data: Images, n: int, device: torch.device) -> Images:
    """The first n images."""
    return Images(data.images[:n].to(device), data.labels[:n].to(device), data.classes, "creatures")


@torch.no_grad()
def loss_on(model: md.Denoiser, data: Images, seed: int) -> float:
    """L_simple on at most LOOKED images, each at the same t and noise whenever it is asked."""
    n = min(LOOKED, len(data))
    generator = torch.Generator(data.images.device).manual_seed(seed)
    total, draws = 0.0, max(1, LOOKED // n)
    for _ in range(draws):  # few images at many t
        x0, _ = data.batch(range(n))
        t, _ = StratifiedTimes(model.schedule.T).sample(n, device=x0.device, generator=generator)
        total += loss_simple(model, x0, t, generator=generator).mean().item()
    return total / draws


def nearest(samples: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """The distances (root mean square of a pixel) to the nearest and the second nearest image."""
    distances = torch.cdist(samples.flatten(1), images.flatten(1)) / samples[0].numel() ** 0.5
    first, second = distances.topk(2, dim=1, largest=False).values.T
    return first, second


def look(trainer: Trainer, known: Images, others: Images, most: float, n: int) -> dict[str, Any]:
    """What the averaged weights have learned, and what they draw."""
    with trainer.averaged() as model:
        losses = {"loss": loss_on(model, known, 0), "loss_on_others": loss_on(model, others, 0)}
        generator = torch.Generator(trainer.world.device).manual_seed(1)
        x_T = torch.randn(n, *trainer.data.shape, generator=generator, device=trainer.world.device)
        *_, last = md.ddim(model, x_T, md.tau(model.schedule, S=50))
    x = from_uint8(to_uint8(last.x))
    first, second = nearest(x, from_uint8(known.images))
    factors, distance = creatures.read(x.cpu())
    whole = distance <= 4 * most
    old = torch.isin(number(factors), number(known.labels.cpu()))
    share = {
        "whole": whole,
        "whole_and_old": whole & old,
        "whole_and_new": whole & ~old,
        "copies": (first < second / 3).cpu(),
    }
    return (
        losses
        | {name: float(which.double().mean()) for name, which in share.items()}
        | {
            "distance_to_nearest": float(first.median()),
            "different": len(number(factors).unique()) / n,
        }
    )


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--images", type=int, nargs="+", default=[20, 200, 2000, 20_000], help="N")
    p.add_argument("--steps", type=int, default=8000)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--lr", type=float, default=5e-4)
    p.add_argument("--n", type=int, default=256, help="samples at each look")
    p.add_argument("--seed", type=int, default=0)
    device_option(p)
    p.add_argument("--out", default="copying.json")
    p.add_argument("--smoke", action="store_true", help="a tiny network, nothing kept")
    return p


def main() -> None:
    """One training for each N, looked at as it goes."""
    args = parser().parse_args()
    if args.smoke:
        args.images, args.steps, args.batch, args.n, args.device = [20], 2, 4, 4, "cpu"
    device, c = usable(args.device), settings(args)
    torch.backends.cudnn.benchmark = True
    most = limit(c.size or 32)
    data, test = (md.data.load("creatures", split, size=c.size) for split in ("train", "test"))
    head = provenance(device) | {"whole_up_to_distance": 4 * most, "processes": 1}
    record = Record(None if args.smoke else args.out, head, same=("whole_up_to_distance",))
    looks = sorted({args.steps >> k for k in range(6)} - {0})

    for n in args.images:
        known, others = part(data, n, device), part(test, LOOKED, device)
        trainer = Trainer(c, World(0, 1, device), known)
        batches = trainer.batches()
        start = time.perf_counter()
        for step in looks:
            key = {"images": n, "step": step, "batch": c.batch, "seed": c.seed, "samples": args.n}
            while trainer.steps_done < step:
                trainer.step(batches)
            seconds = time.perf_counter() - start
            record.measure(
                key,
                lambda trainer=trainer, known=known, others=others, seconds=seconds: (
                    look(trainer, known, others, most, args.n) | {"seconds": round(seconds, 1)}
                ),
            )


if __name__ == "__main__":
    main()
