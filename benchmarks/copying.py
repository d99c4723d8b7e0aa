"""When does a network begin to copy? Creatures, 20 to 20,000 of them, and training time.

    python benchmarks/copying.py                             # 20, 200, 2,000 and 20,000 images
    python benchmarks/copying.py --images 200 --steps 1000   # one of them, shorter
    python benchmarks/copying.py --config creatures --width 96 --out copying32.json   # on a GPU
    python benchmarks/copying.py --smoke                     # a minute, nothing kept

The same network (that of --config, without labels and at a constant rate) learns the first N images
of the training set. At steps that double, the averaged weights are looked at: the loss on images
that were learned and on others of the same law that were not; and samples of DDIM. A sample whose
nearest image of the N is less than a third as far as the next is a copy (Favero et al. 2025).
`creatures.read` says which of 1,036,800 drawings a sample is nearest to, and whether that is a
combination that was learned ("old"). Before the first step stands the row of the exact minimiser
over the N images, which needs no training. Rows that --out has are not made again.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import torch
from creatures import number
from judge import device_option
from record import Record, provenance
from torch import Tensor, nn

import minidiff as md
from minidiff.data import creatures, from_uint8, to_uint8
from minidiff.data.sets import Images
from minidiff.engine.config import TrainConfig, read_config
from minidiff.engine.distributed import World, usable
from minidiff.engine.trainer import Trainer
from minidiff.timesteps import StratifiedTimes

LOOKED = 1024  # images at most in each of the two losses
FRESH = 20_000  # images of the training set from here on are learned by nobody


class Minimiser(nn.Module):
    """E[x_0 | x_t] if x_0 is one of these images (N, C, H, W), each as likely as the others."""

    def __init__(self, images: Tensor, schedule: md.Schedule) -> None:
        super().__init__()
        self.images, self.schedule = images, schedule

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        means = self.images.flatten(1).double()
        a = self.schedule.at(t + 1, x.double()).reshape(-1, 1)
        fit = a.sqrt() * (x.flatten(1).double() @ means.T) - a * means.square().sum(1) / 2
        return ((fit / (1 - a)).softmax(1) @ means).view_as(x).to(x)


def settings(args: argparse.Namespace) -> TrainConfig:
    """The recipe: one for all N, so that they differ in the data alone."""
    file = read_config(args.config)
    options = {k: v for k, v in file.network_options.items() if k != "label_dropout"}
    return replace(
        file,
        network_options=options | {"width": args.width},
        conditional=False,
        decay_lr=False,
        ema=(0.995,),
        ema_warmup=True,
        batch=args.batch,
        steps=args.steps,
        seed=args.seed,
        lr=args.lr,
        compile="auto",
    )


def part(data: Images, first: int, n: int, device: torch.device) -> Images:
    """n images."""
    images, labels = (of[first : first + n].to(device) for of in (data.images, data.labels))
    return Images(images, labels, data.classes, "creatures")


@torch.no_grad()
def loss_on(model: md.Denoiser, data: Images, seed: int) -> tuple[float, float]:
    """The loss of v, |x_0 - x_0 hat|^2 / (1 - alpha_bar_t), on at most LOOKED images, each at the
    same t and noise whenever it is asked; and the standard error of this mean over images."""
    n = min(LOOKED, len(data))
    generator = torch.Generator(data.images.device).manual_seed(seed)
    losses = []
    for _ in range(LOOKED // n):  # few images at many t
        x0, _ = data.batch(range(n))
        t, _ = StratifiedTimes(model.schedule.T).sample(n, device=x0.device, generator=generator)
        eps = torch.randn(x0.shape, generator=generator, device=x0.device)
        xt = md.diffuse(model.schedule, x0, t, eps)
        error = (x0 - model(xt, t, clip=False).x0).square().flatten(1).mean(1)
        losses.append(error / (1 - model.schedule.at(t, error)))
    of_images = torch.stack(losses).double().mean(0)
    return float(of_images.mean()), float(of_images.std() / n**0.5)


def nearest(samples: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """The distances (root mean square of a pixel) to the nearest and the second nearest image."""
    distances = torch.cdist(samples.flatten(1), images.flatten(1)) / samples[0].numel() ** 0.5
    first, second = distances.topk(2, dim=1, largest=False).values.T
    return first, second


def apart(known: Images, others: Images) -> float:
    """How far the others are from the nearest of the known, in grey levels: the median."""
    first, _ = nearest(from_uint8(others.images), from_uint8(known.images))
    return 127.5 * float(first.median())


def look(model: md.Denoiser, known: Images, others: Images, n: int, S: int) -> dict[str, Any]:
    """What a model has learned, and what it draws; distances are in grey levels."""
    (loss, error), (of_others, its) = (loss_on(model, data, 0) for data in (known, others))
    device = known.images.device
    generator = torch.Generator(device).manual_seed(1)
    x_T = torch.randn(n, *known.shape, generator=generator, device=device)
    *_, last = md.ddim(model, x_T, md.tau(model.schedule, S=S))
    x = from_uint8(to_uint8(last.x))
    first, second = nearest(x, from_uint8(known.images))
    factors, distance = creatures.read(x.cpu())
    old = torch.isin(number(factors), number(known.labels.cpu()))
    return {
        "loss": loss,
        "loss_error": error,
        "loss_on_others": of_others,
        "loss_on_others_error": its,
        "copies": float((first < second / 3).double().mean()),
        "old": float(old.double().mean()),
        "different": len(number(factors).unique()) / n,
        "distance_to_nearest": 127.5 * float(first.median()),
        "distance_to_a_drawing": float(distance.median()),
    }


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--images", type=int, nargs="+", default=[20, 200, 2000, FRESH], help="N")
    p.add_argument("--config", default="creatures16")
    p.add_argument("--width", type=int, default=16, help="of the network")
    p.add_argument("--steps", type=int, default=4096)
    p.add_argument("--looks", type=int, default=7, help="how many, at steps that double")
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--n", type=int, default=128, help="samples at each look")
    p.add_argument("--S", type=int, default=20, help="steps of DDIM")
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
        args.width = 8
    if max(args.images) > FRESH:
        raise SystemExit(f"--images must be at most {FRESH}: later images are the ones not learned")
    device, c = usable(args.device), settings(args)
    torch.backends.cudnn.benchmark = True
    data = md.data.load("creatures", "train", size=c.size)
    head = provenance(device) | {"config": args.config, "size": data.shape[-1], "processes": 1}
    record = Record(None if args.smoke else args.out, head, same=("config", "size"))
    looks = sorted({args.steps >> k for k in range(args.looks)} - {0})
    others = part(data, FRESH, LOOKED, device)
    same = {"width": args.width, "batch": c.batch, "lr": c.lr, "seed": c.seed}
    for n in args.images:
        known = part(data, 0, n, device)
        drawn = {"images": n, "samples": args.n, "S": args.S}

        schedule = c.make_schedule()
        exact = md.Denoiser(Minimiser(from_uint8(known.images), schedule), schedule, predict="x0")
        record.measure(
            drawn | {"step": "exact"},
            lambda exact=exact, known=known: (
                look(exact, known, others, args.n, args.S)
                | {"distance_of_others": apart(known, others)}
            ),
        )
        if all(record.has(drawn | same | {"step": step}) for step in looks):
            continue
        trainer = Trainer(c, World(0, 1, device), known)
        batches = trainer.batches()
        seconds = 0.0  # of training alone
        for step in looks:
            start = time.perf_counter()
            while trainer.steps_done < step:
                trainer.step(batches)
            seconds += time.perf_counter() - start
            with trainer.averaged() as model:
                record.measure(
                    drawn | same | {"step": step},
                    lambda model=model, known=known, seconds=seconds: (
                        look(model, known, others, args.n, args.S) | {"seconds": round(seconds, 1)}
                    ),
                )


if __name__ == "__main__":
    main()
