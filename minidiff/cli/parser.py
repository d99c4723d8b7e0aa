"""What the command line takes: train, sample, evaluate, nll, info, export, and their options."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args, get_origin

from minidiff.cli.console import main_process, on_any_console, say, show
from minidiff.data.files import check_writable
from minidiff.data.sets import NAMES, SPLITS
from minidiff.engine.config import TrainConfig, shipped_configs
from minidiff.engine.generate import SAMPLERS
from minidiff.settings import kinds
from minidiff.spacing import SPACINGS

_FOLDER = "a subfolder for each class, all in `train` and `test` if there is a test split"
EXAMPLES = """examples:
  python -m minidiff train digits --out runs/digits
  python -m minidiff train digits --out runs/digits --steps 2000 --resume
  python -m minidiff train cifar10 --out runs/cifar --max_seconds 3600 --batch 256
  python -m minidiff train cifar10 --init cifar10 --lr 1e-4 --out runs/longer
  torchrun --nproc_per_node=2 -m minidiff train cifar10 --out runs/cifar
  torchrun --nproc_per_node=2 -m minidiff sample runs/digits -n 1000 --out many.npz
  python -m minidiff sample digits --n 64 --steps 20 --out digits.png
  python -m minidiff sample digits --n 16 --sampler ancestral --steps 1000 --out film.webp
  python -m minidiff sample runs/digits --n 1000 --out samples.npz
  python -m minidiff evaluate runs/digits --data digits --n 1000
  python -m minidiff evaluate cifar10 --data cifar10 --n 10000
  python -m minidiff nll runs/digits --data digits --n 100
  python -m minidiff info runs/digits
  python -m minidiff export runs/digits --out mine.safetensors --quantize int8
"""


@on_any_console
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0, or 1 after an error (one sentence), 2 for bad usage, 128 + a signal."""
    args, rest = _parser().parse_known_args(argv)
    args.settings = rest
    args.words = list(sys.argv[1:] if argv is None else argv)
    if rest and args.command != "train":
        return say(f"unknown argument {rest[0]} (see --help)", 2)
    try:
        from minidiff.cli import commands  # noqa: F401
        from minidiff.engine.signals import noted
    except ModuleNotFoundError as error:
        return say(f"the package {error.name!r} is missing: pip install -r requirements.txt")
    with noted(at_once=True), warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        return _done(args)


def _done(args: argparse.Namespace) -> int:
    """Do it, and put what went wrong into one sentence."""
    from minidiff.cli import commands
    from minidiff.engine.failures import notes
    from minidiff.engine.signals import Stopped

    try:
        if getattr(args, "json", None):  # now, and not after hours of drawing
            check_writable(args.json)
        getattr(commands, args.command)(args)
    except Stopped as stop:
        code = 128 + stop.signum
        return say("; ".join([str(stop), *notes(stop)]), code) if main_process() else code
    except KeyboardInterrupt:
        return say("interrupted", 130)
    except ModuleNotFoundError as error:
        return say(f"the package {error.name!r} is missing: pip install -r requirements.txt")
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.strerror is None:  # not the system's own words, but a library's
            return say("; ".join([str(error), *notes(error)]))
        where = f" {error.filename}" if error.filename else ""
        said = f"cannot read or write{where}: {error.strerror}"
        return say("; ".join([said, *notes(error)]))
    except (ValueError, ImportError, *commands.EXPECTED) as error:
        return say("; ".join([str(error), *notes(error)]))
    return 0


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m minidiff",
        description="Diffusion models: train, sample, measure.",
        epilog=EXAMPLES,
        formatter_class=plain,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, note: str = "") -> argparse.ArgumentParser:
        lines = [e for e in EXAMPLES.splitlines()[1:] if f"-m minidiff {name} " in e]
        epilog = "\n".join([*([note, ""] if note else []), "examples:", *lines])
        return commands.add_parser(
            name, help=text, description=text, epilog=epilog, formatter_class=plain,
            allow_abbrev=False,
        )  # fmt: skip

    p = command(
        "train",
        "train a model",
        "settings, in the config file or as --name value (e.g. --steps 500 --lr 3e-4):\n"
        + "\n".join(_settings()),
    )
    p.add_argument(
        "config",
        help=f"{', '.join(shipped_configs())}; or a file of name = value lines",
    )
    p.add_argument("--out", type=_path, help="the run's folder (default: runs/<name of config>)")
    p.add_argument("--resume", action="store_true", help="go on with the run in --out")
    _device(p)

    p = command("sample", "draw images from a model")
    _source(p)
    _sampling(p, n=64)
    p.add_argument(
        "--out",
        type=_path,
        default=Path("samples.png"),
        help=".png: one picture of all; .npz: uint8 arrays; .gif or .webp: an animation of the "
        "sampler's steps; anything else: a folder of single PNGs",
    )
    p.add_argument(
        "--scale", type=_scale, help="enlargement of the picture, for a .png (default: 2)"
    )

    p = command(
        "evaluate",
        "Fréchet distance, KID, precision, recall of samples",
        "--data may also be an .npz of mu and sigma, as pytorch-fid and clean-fid write them.",
    )
    _source(p)
    _sampling(p, n=10_000)
    _data(p, split="train")
    p.add_argument(
        "--extractor",
        default="auto",
        help="inception2048 (FID), inception768 (FID-768), or classifier",
    )

    p = command("nll", "bits per dimension of held-out images")
    _source(p)
    _data(p, split="test")
    _number(p, 1000)
    p.add_argument(
        "--method", choices=("vlb", "ode"), default="vlb", help="the bound, or the exact ODE"
    )
    p.add_argument("--batch", type=_count, default=250, help="images at once (default: 250)")
    p.add_argument("--seed", type=_seed, default=0, help="of the noise")
    _first(p)
    _device(p)

    p = command("info", "what a model is; without a model, what this machine has")
    p.add_argument("source", nargs="?", help="a shipped name, a run folder, or a file")

    p = command("export", "write a run's averaged weights as one small file")
    _source(p)
    p.add_argument("--out", type=_path, required=True, help="a .safetensors file")
    p.add_argument("--quantize", choices=("int8",), help="a quarter of the size")
    p.add_argument("--half", nargs="+", default=(), metavar="NAME", help="layers kept in 16 bits")
    p.add_argument(
        "--card", action="append", default=[], metavar="NAME=TEXT", help="add to the model card"
    )
    return parser


def _settings() -> Iterator[str]:
    """The fields of TrainConfig with their defaults, comments (from its source) and choices."""
    for line in inspect.getsource(TrainConfig).splitlines():
        if field := re.match(r"    (\w+): .+? = (.+?)(?:  # (.*))?$", line):
            name, default, comment = field.groups(default="")
            default = "{}" if default.startswith("field") else default
            kind = kinds(TrainConfig)[name]
            choices = get_args(kind) if get_origin(kind) is Literal else ()
            words = "; ".join(filter(None, [comment, ", ".join(filter(None, choices))]))
            yield f"  {name} = {default}".ljust(26) + (f"  {words}" if words else "")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, got {text!r}")
    return int(text)


def _path(text: str) -> Path:
    if not text:  # an unset variable of the shell, which would mean the folder one is in
        raise argparse.ArgumentTypeError("is empty: give a name, or . for the folder you are in")
    return Path(text)


def _scale(text: str) -> int:
    if (scale := _count(text)) > 64:
        raise argparse.ArgumentTypeError(f"must be at most 64, got {text!r}")
    return scale


def _number(p: argparse.ArgumentParser, n: int) -> None:
    text = f"number of images (default: {n}); under torchrun -n, for it takes --n for its own"
    p.add_argument("-n", "--n", type=_count, default=n, metavar="N", help=text)


def _first(p: argparse.ArgumentParser) -> None:
    text = "number of the first image, to go on where an earlier command has ended (default: 0)"
    p.add_argument("--first", type=_seed, default=0, metavar="N", help=text)


def _source(p: argparse.ArgumentParser) -> None:
    p.add_argument("source", help="a shipped name, a run folder, a file, or owner/model of the hub")


def _device(p: argparse.ArgumentParser) -> None:
    p.add_argument("--device", help="cpu, cuda, … (default: a GPU if there is one)")


def _data(p: argparse.ArgumentParser, split: str) -> None:
    p.add_argument("--data", required=True, help=f"{', '.join(NAMES)}, or a folder: {_FOLDER}")
    p.add_argument("--split", choices=SPLITS, help=f"of the data (default: {split})")
    p.add_argument("--json", type=_path, help="write the result to this file too")


def _sampling(p: argparse.ArgumentParser, n: int) -> None:
    _number(p, n)
    p.add_argument(
        "--steps",
        type=_count,
        default=50,
        help="of the sampler (default: 50), one network call each; two with heun, four with rk4",
    )
    p.add_argument("--spacing", choices=SPACINGS, default="linear", help="of the steps in 1..T")
    p.add_argument(
        "--sampler", choices=SAMPLERS, default="ddim", help="ddim, ancestral, or a solver"
    )
    p.add_argument(
        "--eta", type=float, default=0.0, help="0, the default: deterministic DDIM; 1: DDPM"
    )
    p.add_argument(
        "--labels",
        nargs="+",
        metavar="CLASS",
        help="names or numbers of the classes to draw, in turn, for conditional models (`info` "
        "lists them; the number behind the last means none); of several labels an image, all for "
        "the first image, then all for the second, …",
    )
    p.add_argument("--guidance", type=float, default=0.0, help="w of classifier-free guidance")
    p.add_argument("--seed", type=_seed, default=0, help="another one draws other images")
    _first(p)
    p.add_argument("--batch", type=_count, default=256, help="images at once (default: 256)")
    p.add_argument(
        "--precision",
        default="fp32",
        choices=("fp32", "bf16", "fp16"),
        help="of the network; bf16 is faster on GPUs, and on processors that have it",
    )
    _device(p)
