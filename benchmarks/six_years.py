"""Six years in six minutes: one network, one data set, one card, the same time; what has changed?

    python benchmarks/six_years.py                        # all recipes, three seeds, on all GPUs
    python benchmarks/six_years.py --recipes edm flow --seeds 0
    python benchmarks/six_years.py --only train           # then again without it: only measures
    python benchmarks/six_years.py --smoke                # does the script run?

Each recipe is a few settings of `minidiff train` on top of configs/cifar10_minutes.py, which fixes
the optimizer, its rate, the batch and the average for all, and a sampler, its authors'. Every
network is drawn from with that sampler and with one that is the same for all (DPM-Solver++ of order
2, even in log-SNR), at the same numbers of network calls, from the same noise. Time counts once
all is compiled; the rate falls to 0 when it is up. A job, one recipe and one seed, has a process
and a GPU of its own, of those in CUDA_VISIBLE_DEVICES. Weights stay in --keep: a job whose weights
are there is not trained again, and rows already in --out are not measured again. A folder of the
name of --out gets a picture of each job: the first two images at each number of calls, the own
sampler's above.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from judge import Setup, bound, last, quality, samples, wait
from PIL import Image
from record import CONFIGS, SPEED, Record, located, provenance
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import minidiff as md
from minidiff.data.images import from_uint8
from minidiff.data.sets import Images
from minidiff.engine.compiled import GRAPHS, compiled
from minidiff.engine.config import TrainConfig, make_config, read_config
from minidiff.engine.distributed import World, usable
from minidiff.engine.speed import training_flops
from minidiff.engine.trainer import Trainer

Sampler = Callable[[md.Denoiser, Tensor, int, torch.Generator], Any]
CALLS = (2, 5, 10, 20, 50, 100)
COMPILING = 3  # steps after which everything is compiled
TINY: dict[str, Any] = {"width": 8, "mults": (1, 2), "attention": (), "blocks": 1, "groups": 8}


def all_noise(model: md.Denoiser, x: Tensor, calls: int, g: torch.Generator) -> Any:
    """Ho et al. 2020's reverse process on a subsequence, with the network's own variance."""
    return md.ancestral(model, x, md.tau(model.schedule.T, S=calls), generator=g)


def no_noise(model: md.Denoiser, x: Tensor, calls: int, g: torch.Generator) -> Any:
    """DDIM; on the schedule `flow`, whose steps are even in the flow's time, its Euler method."""
    return md.ddim(model, x, md.tau(model.schedule.T, S=calls))


def heun(model: md.Denoiser, x: Tensor, calls: int, g: torch.Generator) -> Any:
    """Karras et al. 2022, algorithm 1: two calls a step, one in the last."""
    grid = md.tau(model.schedule, S=(calls + 1) // 2, spacing="karras")
    return md.solve(model, x, grid, "heun")


def common(model: md.Denoiser, x: Tensor, calls: int, g: torch.Generator) -> Any:
    """The sampler that is the same for all."""
    return md.solve(model, x, md.tau(model.schedule, S=calls, spacing="logsnr"), "dpm++")


class Year(NamedTuple):
    """What a recipe changes, and how its authors sample."""

    year: int
    source: str
    settings: dict[str, Any]
    sampler: Sampler


FLOW = {"schedule": "flow", "predict": "u"}
PATCHES = {"network": "transformer", "network_options": {"patch": 2}}
YEARS = {
    "ddpm": Year(2020, "Ho et al. 2020", {"times": "uniform"}, all_noise),
    "iddpm": Year(
        2021,
        "Nichol & Dhariwal 2021",
        {"schedule": "cosine", "variance": "learned", "loss": "hybrid", "times": "uniform"},
        all_noise,
    ),
    "edm": Year(
        2022,
        "Karras et al. 2022",
        {"schedule": "geometric", "predict": "v", "sigma_data": 0.5, "times": "log-normal"},
        heun,
    ),
    "v": Year(
        2023,
        "Salimans & Ho 2022, Hang et al. 2023",
        {"schedule": "cosine", "predict": "v", "loss": "min-snr"},
        no_noise,
    ),
    "flow": Year(2023, "Lipman et al. 2023", FLOW | {"times": "uniform"}, no_noise),
    "transformer": Year(
        2023, "Peebles & Xie 2023", PATCHES | FLOW | {"times": "logit-normal"}, no_noise
    ),
    "flow-logit": Year(2024, "Esser et al. 2024", FLOW | {"times": "logit-normal"}, no_noise),
}


def config(recipe: str, seed: int, smoke: bool) -> TrainConfig:
    """The recipe's settings in place of the file's; network_options add to those of its U-Net."""
    file = read_config(CONFIGS / "cifar10_minutes.py")
    settings = YEARS[recipe].settings | {"seed": seed}
    small = {"width": 16, "depth": 1, "heads": 2} if settings.get("network") else TINY
    options = settings.get("network_options", file.network_options) | (small if smoke else {})
    settings |= {"network_options": options}
    if smoke:
        settings |= {"batch": 4, "T": 100, "compile": ""}
    return make_config(settings, file)


def train(c: TrainConfig, data: Images, seconds: float, path: Path) -> dict[str, Any]:
    """Steps until the time is up; the averaged weights go to path, what it took beside it."""
    device = data.images.device
    trainer = Trainer(c, World(0, 1, device), data)
    share = 0.0
    trainer.rate = lambda n: (  # type: ignore[method-assign]
        min(1.0, (n + 1) / c.warmup) * 0.5 * (1 + math.cos(math.pi * share))
    )
    batches = trainer.batches()
    begun = time.perf_counter()
    for _ in range(COMPILING):
        trainer.step(batches)
    wait(device)
    start = time.perf_counter()
    while share < 1:
        trainer.step(batches)
        if trainer.steps_done % 10 == 0:
            wait(device)
        share = min(1.0, (time.perf_counter() - start) / seconds)
    trainer.ema.copy_to(trainer.net)
    x, t = torch.zeros(1, *data.shape, device=device), torch.zeros(1, device=device)
    with sdpa_kernel(SDPBackend.MATH):  # the counter knows attention only as matrix products
        flops = training_flops(trainer.net.eval(), x, t) / 3
    facts = {
        "steps": trainer.steps_done,
        "images": trainer.steps_done * c.batch,
        "seconds_compiling": round(start - begun, 1),
        "parameters": sum(p.numel() for p in trainer.weights),
        "forward_flops": int(flops),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    md.save_weights(path, trainer.model)
    path.with_suffix(".json").write_text(json.dumps(facts))
    return facts


def measure(
    recipe: str, path: Path, picture: Path, setup: Setup, n_nll: int, smoke: bool
) -> dict[str, Any]:
    """The bound of test images, and the quality of samples at each number of calls."""
    model = md.load_pretrained(path, device=setup.device)
    test = data_of("test", setup.device, smoke)
    if setup.device != "cpu":
        model.net = compiled(model.net.to(memory_format=torch.channels_last), GRAPHS)
    judge = (
        (lambda images: {"mean": float(images.float().mean())}) if smoke else quality(setup.device)
    )
    found: dict[str, Any] = {"quality": []}
    firsts = []
    with torch.no_grad():
        for name, sampler in (("own", YEARS[recipe].sampler), ("common", common)):
            for calls in (2, 5) if smoke else CALLS:

                def walk(x: Tensor, g: torch.Generator, s: Any = sampler, n: int = calls) -> Tensor:
                    return last(s(model, x, n, g))

                images, seconds = samples(setup, test.shape, walk)
                firsts.append(images[:2])
                row = {"sampler": name, "calls": calls} | judge(images)
                found["quality"].append(row | {"seconds_sampling": round(seconds, 1)})
        terms = bound(setup, model, from_uint8(test.images[:n_nll]))
    strip = md.plots.mosaic(from_uint8(torch.cat(firsts)), len(firsts), pad=0)
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(strip.numpy()).save(picture)
    keep = ("bits_per_dim", "standard_error", "rate", "distortion", "L_T")
    found["bound"] = {
        v: {k: terms[v][k] for k in keep} for v in terms if isinstance(terms[v], dict)
    }
    return found


def data_of(split: str, device: str, smoke: bool) -> Images:
    if not smoke:
        return md.data.load("cifar10", split, device=device)
    pixels = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    return Images(pixels, torch.zeros(64).long(), ("noise",), "noise")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--recipes", nargs="+", default=list(YEARS), choices=list(YEARS))
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of training")
    p.add_argument("--seconds", type=float, default=360.0, help="of training, once compiled")
    p.add_argument("--n-nll", type=int, default=500, help="test images whose bound is taken")
    p.add_argument("--keep", type=Path, default=Path("runs/six_years"), help="folder of weights")
    p.add_argument("--only", choices=["train"], help="stop before measuring")
    p.add_argument("--out", default="six_years.json")
    Setup.options(p, n=10_000, batch=1000, precision="bf16")
    p.add_argument("--smoke", action="store_true", help="tiny networks, nothing is kept")
    p.add_argument("--child", help=argparse.SUPPRESS)
    return p


def main() -> None:
    """Give each job to the next GPU that is free, and write down what it found."""
    args = parser().parse_args()
    if args.child:
        return child(args)
    device = usable(None)
    head = provenance(device) | {"processes": 1}
    record = Record(None if args.smoke else args.out, head, same=SPEED)
    gpus: queue.Queue[str] = queue.Queue()
    every = ",".join(map(str, range(max(1, torch.cuda.device_count()))))
    for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", every).split(","):
        gpus.put(gpu)

    def run(job: str) -> str:
        gpu = gpus.get()
        try:
            command = [sys.executable, *sys.argv, "--child", job]
            environment = os.environ | {"CUDA_VISIBLE_DEVICES": gpu}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
            lines = done.stdout.splitlines()
            return lines[-1] if lines else '{"error": "the process died"}'
        finally:
            gpus.put(gpu)

    def key(recipe: str, seed: int) -> dict[str, Any]:
        about = {"recipe": recipe, "year": YEARS[recipe].year, "source": YEARS[recipe].source}
        about |= {"train_seed": seed, "seconds": args.seconds, "n": args.n, "seed": args.seed}
        return about

    jobs = [(r, s) for s in args.seeds for r in args.recipes]  # a whole seed first
    jobs = [job for job in jobs if not any(key(*job).items() <= row.items() for row in record.rows)]
    with ThreadPoolExecutor(gpus.qsize()) as pool:
        answers = [(job, pool.submit(run, "{}:{}".format(*job))) for job in jobs]
        for job, answer in answers:
            found = json.loads(answer.result())
            if args.only == "train":
                print(*job, json.dumps(found), flush=True)
            else:
                record.measure(key(*job), lambda found=found: found)


def child(args: argparse.Namespace) -> None:
    """One job, on the one GPU that this process sees."""
    recipe, seed = args.child.rsplit(":", 1)
    if args.smoke:
        args.seconds, args.n, args.batch, args.n_nll = 0.1, 2, 2, 2
        args.device, args.precision, args.keep = "cpu", "fp32", args.keep / "smoke"
    setup = Setup.of(args)
    torch.backends.cudnn.benchmark = True
    path = args.keep / f"{recipe}_{seed}_{args.seconds:g}.safetensors"
    if not path.exists():
        c = config(recipe, int(seed), args.smoke)
        train(c, data_of("train", setup.device, args.smoke), args.seconds, path)
    found = {"settings": YEARS[recipe].settings} | json.loads(path.with_suffix(".json").read_text())
    if args.only != "train":
        folder = args.keep if args.smoke else located(args.out).with_suffix("")
        picture = folder / f"{recipe}_{seed}.png"
        found |= measure(recipe, path, picture, setup, args.n_nll, args.smoke)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
