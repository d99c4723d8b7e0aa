"""A training run on one page: `TrainConfig`, read from a file of `name = value` lines."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from minidiff.denoiser import Denoiser
from minidiff.schedule import Schedule
from minidiff.unet.config import UNetConfig
from minidiff.unet.network import UNet

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
COMPILE = ("", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
LOSSES = ("simple", "gamma", "vlb", "hybrid")
TIMES = ("uniform", "stratified", "loss-aware", "bound")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run; the defaults train the digits in about a minute.

    >>> TrainConfig(steps=10).batch
    128
    """

    # what is learned
    data: str = "digits"  # a name of minidiff.data, or a folder of images
    size: int | None = None  # pad named sets, crop and resize folders, to size x size
    flip: bool = False  # mirror images at random
    network: str = "digits"  # UNet.<preset>()
    network_options: dict[str, Any] = field(default_factory=dict)  # other fields of UNetConfig
    conditional: bool = False  # give the class labels to the network
    init: str = ""  # weights to begin with: a shipped name, a file, a run folder; "": random ones

    # the diffusion
    schedule: str = "linear"  # or "cosine"
    T: int = 1000  # steps of the forward process
    predict: str = "eps"  # or "x0", "v", "mu", "score"
    variance: str = "large"  # of the reverse steps; or "small", "learned", "diagonal"
    loss: str = "simple"  # or "gamma", "vlb"; "hybrid" trains the variance too
    times: str = "stratified"  # how t is drawn; or "uniform", "loss-aware", "bound"

    # the optimisation
    steps: int = 3000
    max_seconds: float | None = None  # stop, with everything saved, after so long
    batch: int = 128  # images in one step, over all processes and accumulated parts
    accumulate: int = 1  # parts into which a process cuts its share of the batch to save memory
    lr: float = 1e-3
    warmup: int = 100  # steps in which lr rises linearly from 0
    decay_lr: bool = False  # lr falls along a half cosine to 0 at the last step
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0  # decoupled (AdamW)
    clip_grad: float = 1.0  # longest gradient that is not shortened; 0: none is
    ema: tuple[float, ...] = (0.999,)  # decays; the first is what samples are drawn from
    ema_warmup: bool = True  # shorter averages in the beginning
    seed: int = 0

    # the machine
    precision: str = "auto"  # bf16 on Ampere and newer, fp16 on older GPUs, fp32 on a CPU
    compile: str = ""  # a mode of torch.compile, e.g. "default"; '': not compiled
    fsdp: bool = False  # cut the network itself over the processes (FSDP2) instead of copying it

    # what is kept and told
    log_every: int = 50  # steps from one line of log.jsonl to the next
    save_every: int = 5000  # steps from one training state to the next
    save_seconds: float = 600.0  # also save when so much time has passed
    keep: int = 2  # training states on the disk
    sample_every: int = 1000  # 0: no pictures
    validate_every: int = 1000  # 0: no look at the test images

    def __post_init__(self) -> None:
        choices = {"precision": PRECISIONS, "compile": COMPILE, "loss": LOSSES, "times": TIMES}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                known = ", ".join(a or "''" for a in allowed)
                raise ValueError(f"{name} must be one of {known}; got {getattr(self, name)!r}")
        for name in ("steps", "batch", "accumulate", "log_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "clip_grad", "weight_decay", "warmup", "sample_every", "validate_every"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.loss == "hybrid" and self.variance not in ("learned", "diagonal"):
            raise ValueError('loss = "hybrid" trains the variance: it needs variance = "learned"')
        presets = [n for n, f in vars(UNet).items() if isinstance(f, classmethod)]
        if self.network not in presets:
            raise ValueError(f"network must be one of {', '.join(presets)}, got {self.network!r}")

    def state(self) -> dict[str, Any]:
        """A JSON-able dictionary; `make_config` reads it back."""
        return asdict(self)


def make_config(values: Mapping[str, Any], base: TrainConfig | None = None) -> TrainConfig:
    """Set fields by name, with the types checked and misspellings answered.

    >>> make_config({"steps": 5, "ema": 0.99}).ema
    (0.99,)
    """
    base = base or TrainConfig()
    known = {f.name: f for f in fields(TrainConfig)}
    checked = {}
    for name, value in values.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
            raise ValueError(f"there is no setting {name!r}{hint}")
        checked[name] = _as_type(name, value, getattr(base, name), str(known[name].type))
    return replace(base, **checked)


def read_config(path: str | Path) -> TrainConfig:
    """Read a config file: Python syntax, but only `name = literal` lines; nothing is executed."""
    path = Path(path)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no such config file: {path}") from None
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: not a `name = value` line") from None
    values: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        if not (
            isinstance(node, ast.Assign)
            and len(node.targets) == 1
            and isinstance(node.targets[0], ast.Name)
        ):
            raise ValueError(
                f"{path}, line {node.lineno}: a config holds only `name = value` lines"
            )
        try:
            values[node.targets[0].id] = ast.literal_eval(node.value)
        except ValueError:
            raise ValueError(
                f"{path}, line {node.lineno}: the value must be a number, a string, True, False, "
                f"None, a tuple or a dict, written out (nothing is computed)"
            ) from None
    try:
        return make_config(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Turn ["--lr", "3e-4", "--ema", "0.99"] into {"lr": 3e-4, "ema": 0.99}.

    >>> read_overrides(["--data", "cifar10", "--flip=True"])
    {'data': 'cifar10', 'flip': True}
    """
    arguments = [part for a in arguments for part in (a.split("=", 1) if a[:2] == "--" else [a])]
    if len(arguments) % 2 or any(not name.startswith("--") for name in arguments[::2]):
        raise ValueError(f"settings come in pairs --name value, got {' '.join(arguments)!r}")
    values: dict[str, Any] = {}
    for name, text in zip(arguments[::2], arguments[1::2], strict=True):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text  # a bare word is a string
        values[name[2:].replace("-", "_")] = value
    return values


def make_model(config: TrainConfig, shape: Sequence[int], classes: int) -> Denoiser:
    """The untrained model for images of shape (C, H, W), with so many classes if conditional."""
    schedules = {"linear": Schedule.linear, "cosine": Schedule.cosine}
    if config.schedule not in schedules:
        raise ValueError(f"schedule must be linear or cosine, got {config.schedule!r}")
    options = dict(config.network_options)
    for name in options:
        if name not in (known := [f.name for f in fields(UNetConfig)]):
            raise ValueError(f"network_options: there is no {name!r}; known are {', '.join(known)}")
    channels, size, _ = shape
    two = 2 if config.variance in ("learned", "diagonal") else 1
    options |= {"size": size, "in_channels": channels, "out_channels": two * channels}
    options["num_classes"] = classes if config.conditional else 0
    try:
        net = getattr(UNet, config.network)(**options)
    except TypeError as error:
        raise ValueError(f"network_options = {config.network_options}: {error}") from None
    return Denoiser(
        net,
        schedules[config.schedule](config.T),
        predict=config.predict,
        variance=config.variance,
    )


def _as_type(name: str, value: Any, default: Any, kind: str) -> Any:
    def number(v: Any) -> bool:
        return isinstance(v, (int, float)) and not isinstance(v, bool)

    base = kind.removesuffix(" | None").split("[")[0]
    if value is None and kind.endswith("None"):
        return None
    if base == "tuple":
        many = value if isinstance(value, (tuple, list)) else (value,)
        if all(map(number, many)) and ("..." in kind or len(many) == 2):
            return tuple(map(float, many))
    elif base == "float" and number(value):
        return float(value)
    elif base == "int" and number(value) and math.isfinite(value) and value == int(value):
        return int(value)  # 8e5 steps
    elif base == "str" and (number(value) or isinstance(value, str)):
        return str(value)
    elif (base == "bool" and isinstance(value, bool)) or (base == "dict" and type(value) is dict):
        return value
    raise ValueError(f"{name} must be of type {kind}, e.g. {default!r}, got {value!r}")
