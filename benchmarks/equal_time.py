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
the data and inception768/ in $MINIDIFF_DATA. Recipes already in --out (same seconds, n,
seeds, precision and settings) are not trained again; a file of other hardware or another torch is
refused.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peers import RECIPES, Recipe, parse
from record import RESULTS, save
from tables import quality, samples
from torch import Tensor
from train_gpu import head, resumed

import minidiff as md
from minidiff.data.sets import Images
from minidiff.engine.config import make_config, read_overrides
from minidiff.engine.distributed import World

DEFAULT = "ours:compiled:512 diffusers:default:128 diffusers:tuned:512 lucidrains:default:32"
SAMPLERS = ((50, 0.0),)  # S and eta
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

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    steps = 0
    wait()
    clock.start = time.perf_counter()
    while steps < COMPILING or clock.now() < clock.seconds:
        recipe.step()
        steps += 1
        if steps == COMPILING:
            wait()
            clock.compiled = clock.now()
    wait()
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


def judge(
    args: argparse.Namespace, recipe: Recipe, measure: Callable[[Tensor], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Quality of n samples for each sampler, from the last weights and from the average."""
    recipe.net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rows = []
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        for weights in ("last", "average"):
            if weights == "average":
                recipe.use_average()
            for S, eta in SAMPLERS:

                def walk(x_T: Tensor, g: Any, S: int = S, eta: float = eta) -> Tensor:
                    *_, last = md.ddim(recipe.model, x_T, md.tau(1000, S=S), eta, generator=g)
                    return last.x

                images, seconds = samples(args, (3, 32, 32), walk)
                row = {"weights": weights, "S": S, "eta": eta} | measure(images)
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


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--recipes", nargs="+", default=DEFAULT.split(), help="library:rung:batch")
    p.add_argument("--seconds", type=float, default=300.0, help="of training for each")
    p.add_argument("--n", type=int, default=10_000, help="samples to judge")
    p.add_argument("--batch", type=int, default=1000, help="of sampling")
    p.add_argument("--precision", choices=["fp32", "bf16"], default="bf16", help="of sampling")
    p.add_argument("--seed", type=int, default=0, help="of sampling")
    p.add_argument("--train-seed", type=int, default=0, help="of initial weights and training")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--out", default=str(RESULTS / "cifar10_equal_time.json"))
    p.add_argument("--smoke", action="store_true", help="tiny networks, nothing compiled or kept")
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
    if args.n % args.batch:
        p.error(f"--n {args.n} must be a multiple of --batch {args.batch}")
    args.data, args.extractor = "cifar10", "inception768"
    torch.backends.cudnn.benchmark = True
    world = World(0, 1, torch.device(args.device))
    if args.smoke:
        pixels = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
        data = Images(pixels, torch.zeros(64).long(), ("noise",))
    else:
        data = md.data.load("cifar10", "train", device=args.device)
    measure = (
        (lambda images: {"mean": float(images.float().mean())}) if args.smoke else quality(args)
    )
    made = head(world)
    result = made | {"rows": []} if args.smoke else resumed(args.out, "rows", made)
    for library, rung, batch in jobs:
        key = {"library": library, "rung": rung, "batch": batch, "seconds": args.seconds}
        key |= {"train_seed": args.train_seed, "settings": settings if library == "ours" else {}}
        key |= {"n": args.n, "seed": args.seed, "precision_of_sampling": args.precision}
        if any(key.items() <= row.items() for row in result["rows"]):
            continue
        row: dict[str, Any] = dict(key)
        clock = Clock(args.seconds)
        torch.manual_seed(args.train_seed)
        recipe = None
        try:
            more = {"settings": settings} if library == "ours" else {}
            recipe = RECIPES[library](rung, batch, data, world, args.smoke, clock.share, **more)
            if args.smoke:
                check(recipe)
            row |= recipe.size() | train(recipe, clock, world.device)
            row["quality"] = judge(args, recipe, measure)
        except (ImportError, RuntimeError) as error:  # the next recipe may still run
            row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
        del recipe
        torch.compiler.reset()
        gc.collect()
        if world.device.type == "cuda":
            torch.cuda.empty_cache()
        print(json.dumps(row), flush=True)
        result["rows"].append(row)
        if not args.smoke:
            save(args.out, result)


if __name__ == "__main__":
    main()
