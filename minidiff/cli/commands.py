"""What the commands of `python -m minidiff` do; `parser.py` reads their arguments."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minidiff.bound import bits_per_dim
from minidiff.cli.console import tell
from minidiff.data.download import DownloadError
from minidiff.data.files import write_whole
from minidiff.data.sets import NAMES, Folder, Images, load, to_uint8
from minidiff.denoiser import Denoiser
from minidiff.engine.checkpoint import (
    available,
    load_pretrained,
    read_info,
    save_weights,
    states,
)
from minidiff.engine.config import make_config, read_config, read_overrides
from minidiff.engine.distributed import World, command, processes
from minidiff.engine.failures import Failed, add_note, notes
from minidiff.engine.generate import Sampling, generate
from minidiff.engine.loop import Diverged, Stopped
from minidiff.engine.loop import train as run_training

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
    if os.environ.get("RANK", "0") == "0":
        print(f"training for {config.steps} steps; everything is kept in {out}", flush=True)
    again = f"to go on: {shlex.join([*command(), *words])}"
    try:
        run_training(config, out, resume=args.resume, device=args.device)
    except Stopped as stop:
        raise Stopped(f"{stop}; {again}", stop.signum) from None
    except Exception as error:
        if notes(error):  # on what is saved
            add_note(error, again)
        raise
    if os.environ.get("RANK", "0") == "0":
        step = max(states(out))
        print(f"{step} of {config.steps} steps are done; to draw with the result:")
        few = ["--steps", str(config.T)] if config.T < 50 else []
        words = ["sample", str(out), *few, "--out", "samples.png"]
        print(shlex.join(["python", "-m", "minidiff", *words]))
        if step < config.steps:
            print(again)


def sample(args: Namespace) -> None:
    """Draw images; the name of `--out` decides in which form."""
    kind = args.out.suffix.lower()
    if kind not in (".png", ".npz", ".gif", ".webp", ""):
        raise ValueError(f"--out must end in .png, .npz, .gif or .webp or be a folder: {args.out}")
    from minidiff.plots import save_animation, save_image

    args.out.parent.mkdir(parents=True, exist_ok=True)
    if kind in (".gif", ".webp"):
        with _model(args) as (model, world):
            if world.main:
                save_animation(_frames(args, model, world), args.out)
                print(f"{args.n} images in {args.out}")
        return
    with _model(args) as (model, world):
        x = _generate(args, model, world)
    if not world.main:
        return
    if kind == ".png":
        save_image(x, args.out, scale=args.scale)
    elif kind == ".npz":
        import numpy as np

        np.savez(args.out, images=to_uint8(x).permute(0, 2, 3, 1).cpu().numpy())
    else:
        from PIL import Image

        args.out.mkdir(exist_ok=True)
        for i, image in enumerate(to_uint8(x).permute(0, 2, 3, 1).cpu().numpy()):
            Image.fromarray(image.squeeze()).save(args.out / f"{i:06d}.png")
    print(f"{len(x)} images in {args.out}")


def evaluate(args: Namespace) -> None:
    """Measure samples against a data set."""
    from minidiff.measure.features import Classifier, Inception768, InceptionFID
    from minidiff.measure.metrics import evaluate

    extractors: dict[str, Any] = {
        "inception2048": InceptionFID.load,
        "inception768": Inception768.load,
        "classifier": lambda: Classifier.load(args.data),
    }
    chosen = args.extractor
    if chosen == "auto":
        chosen = "inception2048" if args.data == "cifar10" else "classifier"
    if chosen not in extractors:
        raise ValueError(f"--extractor must be one of {', '.join(extractors)}, got {chosen!r}")
    with _model(args) as (model, world):
        reference = _data(args, model, world)
        x = _generate(args, model, world)
        if world.main:
            extractor = extractors[chosen]().to(world.device)
            real = reference.read() if isinstance(reference, Folder) else reference
            measured = evaluate(to_uint8(x), real, extractor)
            how = {k: getattr(args, k) for k in ("sampler", "steps", "spacing", "eta", "seed")}
            _report(args, {**measured, **how})


def nll(args: Namespace) -> None:
    """Bits per dimension of held-out images, by the bound or by the ODE."""
    from minidiff.likelihood import dequantize, log_likelihood

    with _model(args) as (model, world):
        held_out = _data(args, model, world)
        n = min(args.n, len(held_out))
        # the first n of a named set, as published; a folder is sorted by class
        chosen = range(n) if args.data in NAMES else [i * len(held_out) // n for i in range(n)]
        mine = chosen[world.rank :: world.size]
        sums = torch.zeros(3, dtype=torch.float64, device=world.device)
        for i in range(0, len(mine), args.batch):
            generator = torch.Generator(world.device)
            generator.manual_seed(args.seed * 1_000_003 + mine[i])
            x0, labels = held_out.batch(mine[i : i + args.batch])
            cond: dict[str, Any] = {"labels": labels} if model.num_classes else {}
            if args.method == "ode":
                x = dequantize(to_uint8(x0), generator)
                bits = log_likelihood(model, x, generator=generator, **cond).bits_per_dim
            else:
                with torch.no_grad():
                    bits = bits_per_dim(model, x0, generator=generator, **cond)
            bits = bits.detach().double()
            sums += torch.stack([bits.sum(), (bits**2).sum(), torch.ones_like(bits).sum()])
        s, s2, n = (world.mean(sums) * world.size).tolist()
        if world.main:
            what = {"vlb": "bits/dim (bound)", "ode": "bits/dim (exact, ODE)"}[args.method]
            _report(args, {what: s / n, "standard error": _error(s, s2, n), "images": int(n)})


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
    for name in ("predict", "variance", "clip", "schedule", "network", "step", "config", "card"):
        if name in about:
            print(f"{name}: {json.dumps(about[name], ensure_ascii=False)}")


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
    print(f"{args.out.stat().st_size / 2**20:.2f} MiB in {args.out}")


def _shape(model: Denoiser) -> tuple[int, int, int]:
    c: Any = model.network.config
    return c.in_channels, c.size, c.size


@contextlib.contextmanager
def _model(args: Namespace) -> Iterator[tuple[Denoiser, World]]:
    with processes(args.device) as world:
        yield load_pretrained(args.source, world.device), world


def _data(args: Namespace, model: Denoiser, world: World) -> Images | Folder:
    """The data set that was asked for, its images as large as the model's."""
    shape = _shape(model)
    named = args.data in NAMES
    size = None if named else shape[1]
    data: Images | Folder = load(args.data, args.split, world.device, size=size)
    if named and data.shape[1] < shape[1]:  # it was trained on images with a margin
        data = load(args.data, args.split, world.device, size=shape[1])
    if tuple(data.shape) != shape:
        raise ValueError(
            f"{args.source} makes images of {'x'.join(map(str, shape))} (channels, height, width), "
            f"those of {args.data} are {'x'.join(map(str, data.shape))}"
        )
    return data


def _how(args: Namespace) -> Sampling:
    names = ("steps", "spacing", "sampler", "eta", "labels", "guidance", "seed")
    return Sampling(**{name: getattr(args, name) for name in names})


def _autocast(args: Namespace, world: World) -> torch.autocast:
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[args.precision]
    return torch.autocast(world.device.type, dtype, enabled=dtype is not None)


def _generate(args: Namespace, model: Denoiser, world: World) -> Tensor:
    from tqdm import tqdm  # type: ignore[import-untyped]

    bar = tqdm(total=args.n, unit="image", disable=not world.main)
    with bar, _autocast(args, world):
        how = _how(args)
        return generate(model, _shape(model), args.n, how, world, args.batch, bar.update)


def _frames(args: Namespace, model: Denoiser, world: World) -> Iterator[Tensor]:
    """About sixty of the sampler's states, the noise and the last one among them."""
    generator = torch.Generator(world.device).manual_seed(args.seed)
    x_T = torch.randn(args.n, *_shape(model), generator=generator, device=world.device)
    yield x_T
    every = max(1, args.steps // 60)
    with _autocast(args, world):
        for i, step in enumerate(_how(args).walk(model, x_T, generator), 1):
            if i % every == 0 or step.t == 0:
                yield step.x


def _report(args: Namespace, result: dict[str, Any]) -> None:
    result = {"source": args.source, "data": args.data, "split": args.split, **result}
    if args.json:  # first: a console can fail
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        write_whole(
            args.json, text.encode(errors="backslashreplace")
        )  # JSON's escape of a surrogate
    tell(result)
