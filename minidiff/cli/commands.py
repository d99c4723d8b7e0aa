"""What the commands of `python -m minidiff` do; `parser.py` reads their arguments."""

from __future__ import annotations

import contextlib
import math
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minidiff.bound import bits_per_dim
from minidiff.cli.about import info as info  # one of the commands
from minidiff.cli.again import again, failing_less_than, in_vain, kept, others
from minidiff.cli.console import main_process, put
from minidiff.cli.dataset import data_set
from minidiff.cli.judge import NEAREST, Judge, judge_for
from minidiff.cli.labels import names_in, numbers
from minidiff.cli.outputs import ANIMATIONS, Output, check_target, kind_of, report
from minidiff.cli.progress import counted, enough_memory
from minidiff.data.download import DownloadError
from minidiff.data.sets import Folder, Images, to_uint8
from minidiff.denoiser import Denoiser
from minidiff.engine.checkpoint import (
    load_pretrained,
    read_info,
    save_weights,
    states,
)
from minidiff.engine.config import make_config, read_config, read_overrides
from minidiff.engine.distributed import World, command, processes, shell
from minidiff.engine.failures import GONE, Failed, add_note, instead, notes, others_are_gone
from minidiff.engine.generate import Sampling, draw, in_rounds
from minidiff.engine.loop import Diverged
from minidiff.engine.loop import train as run_training
from minidiff.engine.signals import Stopped, noted
from minidiff.likelihood import dequantize, log_likelihood
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
    go_on = f"to go on: {shell([*command(), *words])}"
    try:
        run_training(config, out, resume=args.resume, device=args.device)
    except (Stopped, Exception) as error:
        if notes(error) or isinstance(error, Stopped):  # on what is saved
            add_note(error, go_on)
        raise
    if main_process():
        step = max(states(out))
        put(f"{step} of {config.steps} steps are done; to draw with the result:")
        few = ["--steps", str(config.T)] if config.T < 50 else []
        words = ["sample", str(out), *few, "--out", "samples.png"]
        put(shell(["python", "-m", "minidiff", *words]))
        if step < config.steps:
            put(go_on)


def sample(args: Namespace) -> None:
    """Draw images; the name of `--out` decides in which form."""
    kind = kind_of(args.out)
    if args.scale and kind != ".png":
        raise ValueError(f"--scale enlarges a picture of all, a .png: leave it out for {args.out}")
    at_once = (args.n, "--n") if kind in ANIMATIONS else (args.batch, "--batch")
    with _model(args) as (model, world), enough_memory(*at_once), noted():
        how = _how(args, model)
        if kind in ANIMATIONS:
            if world.main:
                _animate(args, model, how, world)
            return
        out: Output | None = world.together(
            lambda: (
                Output(args.out, args.n, _shape(model), args.scale, args.first)
                if world.main
                else None
            )
        )
        with out or contextlib.nullcontext():
            try:
                for x in _drawn(args, model, how, world):
                    if out:
                        out.add(to_uint8(x))
            except (Stopped, Exception) as error:
                if out and out.done:
                    what = f"{out.done} of {args.n} images are kept in {args.out}"
                    rest = others(args, out.done, args.n, "--out")
                    kept(error, what, f"to draw the others: {rest}")
                else:
                    in_vain(error, args)
                raise


def evaluate(args: Namespace) -> None:
    """Measure samples against a data set, or against the mean and covariance in a .npz."""
    with _model(args) as (model, world), enough_memory(args.batch):
        # They refuse before the first sample is drawn.
        how = _how(args, model)
        judge = world.together(
            lambda: judge_for(args, _shape(model), world) if world.main else None
        )
        with noted():  # what is drawn is measured
            try:
                for x in _drawn(args, model, how, world):
                    if judge:
                        judge.take(to_uint8(x))
            except (Stopped, Exception) as error:
                if not judge or judge.n <= NEAREST:
                    in_vain(error, args)
                    raise
                what = f"after {judge.n} of {args.n} samples"
                put(f"interrupted {what}, now measured", sys.stderr)
                judge.notes["interrupted"] = what
                with failing_less_than(error):
                    _verdict(args, judge)
                    kept(error, f"measured {what}{_where(args)}", f"to measure all: {again(args)}")
                raise
            if judge:
                _verdict(args, judge)


def nll(args: Namespace) -> None:
    """Bits per dimension of held-out images, by the bound or by the ODE."""
    with _model(args) as (model, world), enough_memory(args.batch):
        if args.json:
            world.main_does(lambda: check_target(args.json))
        held_out, notes = data_set(args, _shape(model), world)
        n = min(args.n, len(held_out) - args.first)
        if n < 1:
            raise ValueError(f"--first must be below {len(held_out)}, the images of {args.data}")
        # Not the first n: a folder comes class by class, and MNIST's first half is the easier one.
        order = torch.randperm(
            len(held_out), generator=torch.Generator().manual_seed(args.seed % 2**63)
        ).tolist()
        rounds = math.ceil(n / (args.batch * world.size))
        calls = rounds * model.schedule.T if args.method == "vlb" else None
        found: list[Tensor] = []

        def work(which: range) -> Tensor:  # a round may reach beyond the last image
            return _bits(args, model, held_out, [order[i % len(order)] for i in which])

        def tell() -> None:
            if world.main:
                _report(args, {**_mean(args, torch.cat(found)), "seed": args.seed, **notes})

        with noted():
            try:
                with counted(model, n, world, "bits per dimension", calls) as done:
                    for bits in in_rounds(work, n, world, args.batch, args.first):
                        found.append(bits.cpu())
                        done(len(bits))
            except (Stopped, Exception) as error:
                if not (count := sum(map(len, found))):
                    in_vain(error, args)
                    raise
                notes["interrupted"] = what = f"after {count} of {n} images"
                with failing_less_than(error):
                    tell()
                    rest = others(args, count, n, "--json")
                    kept(error, f"measured {what}{_where(args)}", f"to measure the others: {rest}")
                raise
            tell()


def _bits(args: Namespace, model: Denoiser, held_out: Images | Folder, which: list[int]) -> Tensor:
    """Bits per dimension of the images of these numbers, (B,)."""
    noise = PerSample(args.seed, which)
    x0, labels = held_out.batch(which)
    cond: dict[str, Any] = {"labels": labels} if model.num_classes else {}
    if args.method == "ode":
        x = dequantize(to_uint8(x0), noise)
        return log_likelihood(model, x, generator=noise, **cond).bits_per_dim.detach()
    return bits_per_dim(model, x0, generator=noise, **cond)


def _mean(args: Namespace, bits: Tensor) -> dict[str, Any]:
    """The mean of bits per dimension, (N,), and its standard error."""
    what = {"vlb": "bits/dim (bound)", "ode": "bits/dim (exact, ODE)"}[args.method]
    error = float(bits.std(correction=0)) / math.sqrt(len(bits))
    return {what: float(bits.mean()), "standard error": error, "images": len(bits)}


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
    classes = names_in(about, model)
    save_weights(
        args.out, model, quantize=args.quantize, half=args.half, card=card, classes=classes
    )
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
                raise instead(error, Failed(GONE)) from error
            raise


def _how(args: Namespace, model: Denoiser) -> Sampling:
    names = ("steps", "spacing", "sampler", "eta", "guidance", "seed")
    labels = args.labels and numbers(args.labels, args.source, read_info(args.source), model)
    return Sampling(**{name: getattr(args, name) for name in names}, labels=labels)


def _autocast(args: Namespace, world: World) -> torch.autocast:
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[args.precision]
    return torch.autocast(world.device.type, dtype, enabled=dtype is not None)


def _drawn(args: Namespace, model: Denoiser, how: Sampling, world: World) -> Iterator[Tensor]:
    """The images, some at a time, as they are ready."""
    rounds = math.ceil(args.n / (args.batch * world.size))
    images = draw(model, _shape(model), args.n, how, world, args.batch, args.first)
    with counted(model, args.n, world, "drawing", rounds * how.calls(model)) as done:
        while True:
            with _autocast(args, world):  # not around the `yield`: who measures takes float32
                x = next(images, None)
            if x is None:
                return
            yield x
            done(len(x))  # now it is kept


def _frames(args: Namespace, model: Denoiser, how: Sampling, world: World) -> Iterator[Tensor]:
    """About sixty of the sampler's states, the noise and the last one among them."""
    which = range(args.first, args.first + args.n)
    x_T, noise = how.start(_shape(model), which, world.device)
    yield x_T
    every = max(1, args.steps // 60)
    walk = enumerate(how.walk(model, x_T, which, noise), 1)
    with counted(model, args.n, world, "drawing", how.calls(model)), _autocast(args, world):
        for i, step in walk:
            if i % every == 0 or step.t == 0:
                yield step.x


def _animate(args: Namespace, model: Denoiser, how: Sampling, world: World) -> None:
    check_target(args.out)
    try:
        save_animation(_frames(args, model, how, world), args.out)
    except (Stopped, Exception) as error:
        in_vain(error, args)
        raise
    put(f"{args.n} images in {args.out}")


def _verdict(args: Namespace, judge: Judge) -> None:
    how = {k: getattr(args, k) for k in ("sampler", "steps", "spacing", "eta", "seed")}
    _report(args, {**judge.verdict(args.seed), **how, **judge.notes})


def _where(args: Namespace) -> str:
    return f", and kept in {args.json}" if args.json else ""


def _report(args: Namespace, result: dict[str, Any]) -> None:
    of = {"split": args.split} if args.split else {}  # statistics in a .npz are of none
    report({"source": args.source, "data": args.data, **of, **result}, args.json)
