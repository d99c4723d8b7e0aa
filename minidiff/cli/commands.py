"""What the commands of `python -m minidiff` do; `parser.py` reads their arguments."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minidiff.bound import bits_per_dim
from minidiff.cli.console import main_process, put
from minidiff.cli.judge import NEAREST, Judge, resized
from minidiff.cli.outputs import ANIMATIONS, Output, check_target, kind_of, report
from minidiff.cli.progress import counted, enough_memory
from minidiff.data.download import DownloadError
from minidiff.data.sets import DRAWN, NAMES, Folder, Images, check_source, load, to_uint8
from minidiff.denoiser import Denoiser
from minidiff.engine.checkpoint import (
    available,
    load_pretrained,
    read_info,
    save_weights,
    states,
)
from minidiff.engine.config import make_config, read_config, read_overrides
from minidiff.engine.distributed import World, command, processes, shell
from minidiff.engine.failures import GONE, Failed, add_note, notes, others_are_gone
from minidiff.engine.generate import Sampling, draw
from minidiff.engine.loop import Diverged, Stopped
from minidiff.engine.loop import train as run_training
from minidiff.likelihood import dequantize, log_likelihood
from minidiff.measure.frechet import FrechetStats
from minidiff.plots import save_animation
from minidiff.process import PerSample

EXPECTED = (
    Diverged,
    DownloadError,
    Failed,
    torch.OutOfMemoryError,
)  # errors that one sentence explains


def train(args: Namespace) -> None:
    """Train the model of a config file, with the settings given after it."""
    config = make_config(read_overrides(args.settings), read_config(args.config))
    out = args.out or Path("runs") / Path(args.config).stem
    device = ["--device", args.device] if args.device else []
    words = ["train", args.config, "--out", str(out), *device, *args.settings, "--resume"]
    again = f"to go on: {shell([*command(), *words])}"
    try:
        run_training(config, out, resume=args.resume, device=args.device)
    except Stopped as stop:
        raise Stopped(f"{stop}; {again}", stop.signum) from None
    except Exception as error:
        if notes(error):  # on what is saved
            add_note(error, again)
        raise
    if main_process():
        step = max(states(out))
        put(f"{step} of {config.steps} steps are done; to draw with the result:")
        few = ["--steps", str(config.T)] if config.T < 50 else []
        words = ["sample", str(out), *few, "--out", "samples.png"]
        put(shell(["python", "-m", "minidiff", *words]))
        if step < config.steps:
            put(again)


def sample(args: Namespace) -> None:
    """Draw images; the name of `--out` decides in which form."""
    kind = kind_of(args.out)
    if args.scale and kind != ".png":
        raise ValueError(f"--scale enlarges a picture of all, a .png: leave it out for {args.out}")
    at_once = (args.n, "--n") if kind in ANIMATIONS else (args.batch, "--batch")
    with _model(args) as (model, world), enough_memory(*at_once):
        if kind in ANIMATIONS:
            if world.main:
                check_target(args.out)
                save_animation(_frames(args, model, world), args.out)
                put(f"{args.n} images in {args.out}")
            return
        out = Output(args.out, args.n, _shape(model), args.scale) if world.main else None
        with out or contextlib.nullcontext():
            for x in _drawn(args, model, world):
                if out:
                    out.add(to_uint8(x))


def evaluate(args: Namespace) -> None:
    """Measure samples against a data set, or against the mean and covariance in a .npz."""
    with _model(args) as (model, world), enough_memory(args.batch):
        judge = _judge(args, model, world) if world.main else None  # refuses before any is drawn
        interrupted = None
        try:
            for x in _drawn(args, model, world):
                if judge:
                    judge.take(to_uint8(x))
        except KeyboardInterrupt as signal:
            if not judge or judge.n <= NEAREST:
                raise
            interrupted = signal
            judge.notes["interrupted"] = f"after {judge.n} of {args.n} samples"
            put(f"interrupted {judge.notes['interrupted']}, now measured", sys.stderr)
        if judge:
            how = {k: getattr(args, k) for k in ("sampler", "steps", "spacing", "eta", "seed")}
            _report(args, {**judge.verdict(args.seed), **how, **judge.notes})
        if interrupted:
            raise interrupted


def nll(args: Namespace) -> None:
    """Bits per dimension of held-out images, by the bound or by the ODE."""
    with _model(args) as (model, world), enough_memory(args.batch):
        if args.json and world.main:
            check_target(args.json)
        held_out, notes = _data(args, model, world)
        # Not the first n: a folder comes class by class, and MNIST's first half is the easier one.
        order = torch.randperm(
            len(held_out), generator=torch.Generator().manual_seed(args.seed % 2**63)
        )
        mine = order[: args.n].tolist()[world.rank :: world.size]
        batches = [mine[i : i + args.batch] for i in range(0, len(mine), args.batch)]
        sums = torch.zeros(3, dtype=torch.float64, device=world.device)
        calls = len(batches) * model.schedule.T if args.method == "vlb" else None
        interrupted = None
        try:
            with counted(model, len(mine), world, "bits per dimension", calls) as done:
                for which in batches:
                    bits = _bits(args, model, held_out, which)
                    sums += torch.stack([bits.sum(), (bits**2).sum(), torch.ones_like(bits).sum()])
                    done(len(which))
        except KeyboardInterrupt as signal:
            if world.size > 1 or not sums[2]:
                raise
            interrupted = signal
            notes["interrupted"] = f"after {int(sums[2])} of {len(mine)} images"
        s, s2, n = (world.mean(sums) * world.size).tolist()
        if world.main:
            what = {"vlb": "bits/dim (bound)", "ode": "bits/dim (exact, ODE)"}[args.method]
            found = {what: s / n, "standard error": _error(s, s2, n), "images": int(n)}
            _report(args, {**found, "seed": args.seed, **notes})
        if interrupted:
            raise interrupted


def _bits(args: Namespace, model: Denoiser, held_out: Images | Folder, which: list[int]) -> Tensor:
    """Bits per dimension of the images of these numbers, (B,)."""
    noise = PerSample(args.seed, which)
    x0, labels = held_out.batch(which)
    cond: dict[str, Any] = {"labels": labels} if model.num_classes else {}
    if args.method == "ode":
        x = dequantize(to_uint8(x0), noise)
        return log_likelihood(model, x, generator=noise, **cond).bits_per_dim.detach()
    return bits_per_dim(model, x0, generator=noise, **cond)


def _error(s: float, s2: float, n: float) -> float:
    """The standard error of a mean, from the sums of n numbers and of their squares."""
    return math.sqrt(max(s2 / n - (s / n) ** 2, 0.0) / n)  # in this order a NaN stays a NaN


def info(args: Namespace) -> None:
    """What a model is made of and was trained on; or what this machine has."""
    if args.source is None:
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
        print(f"python {sys.version.split()[0]}, torch {torch.__version__}, GPU: {gpu}")
        print(f"shipped weights: {', '.join(available()) or 'none'}")
        return
    about = read_info(args.source)
    count = sum(p.numel() for p in load_pretrained(args.source).net.parameters())
    print(f"parameters: {count:,}")
    for name in "predict variance clip sigma_data schedule network step config card".split():  # noqa: SIM905
        if name in about:
            put(f"{name}: {json.dumps(about[name], ensure_ascii=False)}")


def export(args: Namespace) -> None:
    """The averaged weights of a run, as one file with its model card."""
    if args.out.suffix != ".safetensors":
        raise ValueError(f"--out must end in .safetensors, the format of the file: {args.out}")
    if wrong := [pair for pair in args.card if "=" not in pair]:
        raise ValueError(f"--card must be of the form NAME=TEXT, got {wrong[0]!r}")
    about = read_info(args.source)
    given = dict(pair.partition("=")[::2] for pair in args.card)
    run = {"step": about["step"], "config": about["config"]} if "step" in about else {}
    card = {**about.get("card", {}), **run, **given}
    model = load_pretrained(args.source)
    save_weights(args.out, model, quantize=args.quantize, half=args.half, card=card)
    put(f"{args.out.stat().st_size / 2**20:.2f} MiB in {args.out}")


def _shape(model: Denoiser) -> tuple[int, int, int]:
    c: Any = model.network.config
    return c.in_channels, c.size, c.size


@contextlib.contextmanager
def _model(args: Namespace) -> Iterator[tuple[Denoiser, World]]:
    with processes(args.device) as world:
        try:
            yield load_pretrained(args.source, world.device), world
        except RuntimeError as error:
            if others_are_gone(error, world.size):
                raise Failed(GONE) from error
            raise


def _data(args: Namespace, model: Denoiser, world: World) -> tuple[Images | Folder, dict[str, Any]]:
    """The data set that was asked for, its images as large as the model's, and what that took."""
    shape = _shape(model)
    data: Images | Folder
    note = ""
    args.split = args.split or {"evaluate": "train", "nll": "test"}[args.command]
    if args.data not in NAMES:
        check_source(args.data)
        data = Folder(Path(args.data).expanduser(), args.split, shape[1], world.device)
        note = resized(data)
    elif args.data in DRAWN:
        data = load(args.data, args.split, world.device, size=shape[1])
    elif (data := load(args.data, args.split, world.device)).shape[1] < shape[1]:
        # it was trained on images with a margin
        before = "x".join(map(str, data.shape[1:]))
        data = load(args.data, args.split, world.device, size=shape[1])
        note = f"all {len(data)} images were padded from {before} to {shape[1]}x{shape[2]}"
    if tuple(data.shape) != shape:
        raise ValueError(
            f"{args.source} makes images of {'x'.join(map(str, shape))} (channels, height, width), "
            f"those of {args.data} are {'x'.join(map(str, data.shape))}"
        )
    if note and world.main:
        put(f"{args.data}: {note}", sys.stderr)
    return data, {"fitted": note} if note else {}


def _judge(args: Namespace, model: Denoiser, world: World) -> Judge:
    """Who measures the samples, and against what."""
    if args.json:
        check_target(args.json)
    if args.n <= NEAREST:
        raise ValueError(f"--n must be above {NEAREST}, the neighbours of an image; got {args.n}")
    real: Images | FrechetStats
    notes: dict[str, Any] = {}
    if Path(args.data).suffix == ".npz":
        if args.split:
            raise ValueError(f"{args.data} holds statistics, not images: leave out --split")
        real = FrechetStats.load(args.data)
    else:
        data, notes = _data(args, model, world)
        real = data.read() if isinstance(data, Folder) else data
    return Judge(args.extractor, args.data, real, args.batch, world, _shape(model), notes)


def _how(args: Namespace) -> Sampling:
    names = ("steps", "spacing", "sampler", "eta", "labels", "guidance", "seed")
    return Sampling(**{name: getattr(args, name) for name in names})


def _autocast(args: Namespace, world: World) -> torch.autocast:
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[args.precision]
    return torch.autocast(world.device.type, dtype, enabled=dtype is not None)


def _drawn(args: Namespace, model: Denoiser, world: World) -> Iterator[Tensor]:
    """The images, some at a time, as they are ready."""
    how = _how(args)
    rounds = math.ceil(args.n / (args.batch * world.size))
    images = draw(model, _shape(model), args.n, how, world, args.batch)
    with counted(model, args.n, world, "drawing", rounds * how.calls(model)) as done:
        while True:
            with _autocast(args, world):  # not around the `yield`: who measures takes float32
                x = next(images, None)
            if x is None:
                return
            done(len(x))
            yield x


def _frames(args: Namespace, model: Denoiser, world: World) -> Iterator[Tensor]:
    """About sixty of the sampler's states, the noise and the last one among them."""
    how, which = _how(args), range(args.n)
    x_T, noise = how.start(_shape(model), which, world.device)
    yield x_T
    every = max(1, args.steps // 60)
    walk = enumerate(how.walk(model, x_T, which, noise), 1)
    with counted(model, args.n, world, "drawing", how.calls(model)), _autocast(args, world):
        for i, step in walk:
            if i % every == 0 or step.t == 0:
                yield step.x


def _report(args: Namespace, result: dict[str, Any]) -> None:
    of = {"split": args.split} if args.split else {}  # statistics in a .npz are of none
    report({"source": args.source, "data": args.data, **of, **result}, args.json)
