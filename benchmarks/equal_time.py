"""The same GPU, the same wall time, from random weights: whose CIFAR-10 images are better?

    python benchmarks/equal_time.py --seconds 300         # all of DEFAULT below, in turn
    python benchmarks/equal_time.py --seconds 300 --recipes ours:compiled:512
    python benchmarks/equal_time.py --seconds 120 --recipes ours:compiled:256 --betas 0.9,0.999
    python benchmarks/equal_time.py --smoke               # a minute on a processor, no FID

A recipe is library:rung:batch as in train_gpu.py; peers.py says what each does. Time counts from
the first step on, compilation included, so that a recipe that compiles trains for less; how much
less depends on the compiler's cache, and seconds_first_steps tells. A learning rate that falls
reaches 0 when the time is up. All are sampled alike, by our DDIM from the same noise, with the last
weights and with the library's average of them: over so short a run an average may lag behind, and
the better of the two counts. Further arguments are settings of ours that take the place of those in
configs/cifar10_minutes.py (network_options add to the file's), to change one thing at a time. Needs
the data and FID's Inception: downloaded, or in $MINIDIFF_DATA. Recipes already in --out (same
seconds, n, seeds, precision and settings) are not trained again; a file of other hardware or
another torch is refused.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from typing import Any

import torch
from judge import Quality, Setup, last, quality, samples, wait
from peers import PACKAGES, RECIPES, Recipe, parse
from record import SPEED, Record, attempt, provenance

import minidiff as md
from minidiff.data.sets import Images
from minidiff.engine.config import make_config, read_overrides
from minidiff.engine.distributed import World

DEFAULT = "ours:compiled:512 diffusers:default:128 diffusers:tuned:512 lucidrains:default:32"
S = 50  # steps of DDIM
FIXED = {  # a setting of these would have no effect, or be another comparison
    *("batch", "ema", "precision", "compile"),  # the recipe's name tells
    *("steps", "max_seconds", "decay_lr"),  # the clock decides
    *("data", "init"),
}
COMPILING = 3  # steps after which everything is compiled


@dataclass
class Clock:
    """Wall time of a run that lasts `seconds`; its first steps, which compile, took `compiled`."""

    seconds: float
    start: float = 0.0
    compiled: float = 0.0

    def now(self) -> float:
        return time.perf_counter() - self.start

    def share(self) -> float:
        """The part that is over of the time that compilation leaves, 0 to 1."""
        if not self.compiled:
            return 0.0
        left = max(self.seconds - self.compiled, 1e-9)
        return min(1.0, (self.now() - self.compiled) / left)


def train(recipe: Recipe, clock: Clock, device: torch.device) -> dict[str, Any]:
    """Step until the time is up."""
    steps = 0
    wait(device)
    clock.start = time.perf_counter()
    while steps < COMPILING or clock.now() < clock.seconds:
        recipe.step()
        steps += 1
        if steps == COMPILING:
            wait(device)
            clock.compiled = clock.now()
    wait(device)
    seconds = clock.now()
    images = steps * recipe.images
    return {
        "steps": steps,
        "images": images,
        "seconds_trained": round(seconds, 2),
        "seconds_first_steps": round(clock.compiled, 2),
        "images_per_s": round(
            (images - COMPILING * recipe.images) / max(seconds - clock.compiled, 1e-9), 1
        ),
        "precision_of_training": recipe.precision,
    }


def judge(recipe: Recipe, setup: Setup, measure: Quality) -> list[dict[str, Any]]:
    """Quality of n samples from the last weights and from the average."""
    recipe.net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rows, steps = [], md.tau(1000, S=S)
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        for weights in ("last", "average"):
            if weights == "average":
                recipe.use_average()
            images, seconds = samples(
                setup, (3, 32, 32), lambda x_T, g: last(md.ddim(recipe.model, x_T, steps))
            )
            row = {"weights": weights, "S": S, "eta": 0.0} | measure(images)
            rows.append(row | {"seconds_sampling": round(seconds, 2)})
    return rows


def check(recipe: Recipe) -> None:
    """Our view of a library's network gives the library's own estimate of x_0."""
    if recipe.x0 is None:
        return
    recipe.net.eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for t in (0, 300, 700):
            mine, theirs = recipe.model(x, t + 1, clip=False).x0, recipe.x0(x, t)
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
    recipe.net.train()


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--recipes", nargs="+", default=DEFAULT.split(), help="library:rung:batch")
    p.add_argument("--seconds", type=float, default=300.0, help="of training for each")
    Setup.options(p, n=10_000, batch=1000, precision="bf16")
    p.add_argument("--train-seed", type=int, default=0, help="of initial weights and training")
    p.add_argument("--out", default="cifar10_equal_time.json")
    p.add_argument("--smoke", action="store_true", help="tiny networks, nothing compiled or kept")
    return p


def main() -> None:
    p = parser()
    args, further = p.parse_known_args()
    jobs = [parse(job) for job in args.recipes]
    try:
        settings = json.loads(json.dumps(read_overrides(further)))  # as --out has them
        if fixed := FIXED & settings.keys():
            raise ValueError(f"{', '.join(sorted(fixed))}: not free in a comparison of equal time")
        if settings and "ours" not in {library for library, _, _ in jobs}:
            raise ValueError(f"{' '.join(further)}: settings of ours, which is not among --recipes")
        make_config(settings)
    except ValueError as error:
        p.error(str(error))
    if args.smoke:
        jobs = [(library, rung, 4) for library, rung, _ in jobs]
        args.seconds, args.n, args.batch, args.device, args.precision = 0.5, 2, 2, "cpu", "fp32"
        torch.compiler.set_stance("force_eager")
    setup = Setup.of(args)
    torch.backends.cudnn.benchmark = True
    world = World(0, 1, torch.device(setup.device))
    if args.smoke:
        pixels = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
        data = Images(pixels, torch.zeros(64).long(), ("noise",))
    else:
        data = md.data.load("cifar10", "train", device=setup.device)
    measure = (
        (lambda images: {"mean": float(images.float().mean())})
        if args.smoke
        else quality(setup.device)
    )
    head = provenance(setup.device, *PACKAGES) | {"processes": 1}
    record = Record(None if args.smoke else args.out, head, same=SPEED)

    def run(library: str, rung: str, batch: int) -> dict[str, Any]:
        clock = Clock(args.seconds)
        torch.manual_seed(args.train_seed)
        more = {"settings": settings} if library == "ours" else {}
        recipe = RECIPES[library](rung, batch, data, world, args.smoke, clock.share, **more)
        if args.smoke:
            check(recipe)
        found = recipe.size() | train(recipe, clock, world.device)
        return found | {"quality": judge(recipe, setup, measure)}

    for job in jobs:
        key = dict(zip(("library", "rung", "batch"), job, strict=True)) | {"seconds": args.seconds}
        key |= {"train_seed": args.train_seed, "settings": settings if job[0] == "ours" else {}}
        key |= {"n": setup.n, "seed": setup.seed, "precision_of_sampling": setup.precision}
        record.measure(key, lambda job=job: attempt(lambda: run(*job)))


if __name__ == "__main__":
    main()
