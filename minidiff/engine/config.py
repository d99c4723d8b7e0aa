"""Chapter 7: a training run on one page, `TrainConfig`, read from lines of `name = value`."""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from minidiff.checks_networks import check_weights
from minidiff.data.sets import Folder, Images, check_source
from minidiff.denoiser import Denoiser, Variance
from minidiff.engine.checkpoint import check_start
from minidiff.kinds import kind
from minidiff.parameterize import Kind
from minidiff.schedule import Schedule
from minidiff.settings import Amount, Count, Decay, Natural, Range, check_fields, checked, kinds
from minidiff.unet.architectures import NETWORKS, Named, build_network
from minidiff.unet.config import UNetConfig

SHIPPED = Path(__file__).parent.parent / "configs"
MADE = {  # fields of a network that follow from the data and from the settings named
    "size": "the data and size",
    "in_channels": "the data",
    "out_channels": "the data and variance",
    "num_classes": "the data and conditional",
}

Loss = Literal["simple", "gamma", "min-snr", "vlb", "hybrid"]
Times = Literal["uniform", "stratified", "loss-aware", "bound", "log-normal", "logit-normal"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Compile = Literal[
    "", "auto", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run; the defaults train the digits in about a minute.

    >>> TrainConfig(steps=10).batch
    128
    """

    # what is learned
    data: str = "digits"  # a name of minidiff.data, or a folder of images
    size: Count | None = None  # pad named sets, crop and resize folders, to size x size
    flip: bool = False  # mirror images at random
    network: Named = "digits"  # a preset of UNet, or "transformer"
    network_options: dict[str, Any] = field(default_factory=dict)  # other fields of its config
    conditional: bool = False  # give the class labels to the network
    init: str = ""  # weights to begin with: a shipped name, a file, a run folder; "": random ones

    # the diffusion
    schedule: Literal["linear", "cosine", "geometric", "flow"] = "linear"
    T: Annotated[int, Range(2)] = 1000  # steps of the forward process
    predict: Kind = "eps"  # or "x0", "v", "mu", "score"; "u", flow matching's velocity
    sigma_data: Annotated[float, Range(1e-3)] = 1.0  # unit of the network; 0.5 and "v" are EDM's
    variance: Variance = "large"  # of the reverse steps; or "small", "learned", "diagonal"
    loss: Loss = "simple"  # or "gamma", "min-snr", "vlb"; "hybrid" trains the variance too
    times: Times = "stratified"  # how t is drawn; or "uniform", "loss-aware", "bound", by levels:
    # "log-normal" as in EDM, "logit-normal" as in flow matching

    # the optimisation
    steps: Annotated[int, Range(1, 999_999_999)] = 3000
    max_seconds: Amount | None = None  # stop, with everything saved, after so long
    batch: Count = 128  # images in one step, over all processes and accumulated parts
    accumulate: Count = 1  # parts into which a process cuts its share of the batch to save memory
    lr: Amount = 1e-3
    warmup: Natural = 100  # steps in which lr rises linearly from 0
    decay_lr: bool = False  # lr falls along a half cosine to 0 at the last step
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    weight_decay: Amount = 0.0  # decoupled (AdamW)
    clip_grad: Amount = 1.0  # longest gradient that is not shortened; 0: none is
    ema: tuple[Decay, ...] = (0.999,)  # decays; the first is what samples are drawn from
    ema_warmup: bool = True  # shorter averages in the beginning
    seed: Annotated[int, Range(0, 2**63, below=True)] = 0

    # the machine
    precision: Precision = "auto"  # bf16 on Ampere and newer, fp16 on older GPUs, fp32 on a CPU
    compile: Compile = ""  # a mode of torch.compile, or "auto": what is fastest; "": not compiled
    fsdp: bool = False  # cut the network itself over the processes (FSDP2) instead of copying it

    # what is kept and told
    log_every: Count = 50  # steps from one line of log.jsonl to the next
    save_every: Count = 5000  # steps from one training state to the next
    save_seconds: Amount = 600.0  # also save when so much time has passed
    keep: Count = 2  # training states on the disk
    sample_every: Natural = 1000  # 0: no pictures
    validate_every: Natural = 1000  # 0: no look at the test images

    def __post_init__(self) -> None:
        check_fields(self)
        check_source(self.data)
        if self.init:
            check_start(self.init)
        self.make_schedule()
        self._check_network_options()
        if self.loss == "hybrid" and self.variance not in ("learned", "diagonal"):
            raise ValueError('loss = "hybrid" trains the variance: it needs variance = "learned"')
        if self.loss in ("min-snr", "vlb", "hybrid") and self.times in (
            "log-normal",
            "logit-normal",
        ):
            raise ValueError(
                f'loss = "{self.loss}" has one term for each step, and times = "{self.times}" lie '
                'between the steps: take loss = "simple" or times = "stratified"'
            )
        if self.batch % self.accumulate:
            raise ValueError(
                f"batch must be a multiple of accumulate = {self.accumulate}, got {self.batch}"
            )
        if not 0 < len(set(self.ema)) == len(self.ema):
            raise ValueError(f"ema must hold one or more different decays, got {self.ema}")

    def _check_network_options(self) -> None:
        """Refuse what the network would, whatever the size of the images turns out to be."""
        preset = NETWORKS[self.network]
        described: Any = type(preset)
        known = {k: kind for k, kind in kinds(described).items() if k not in MADE}
        options = {}
        for name, value in self.network_options.items():
            if name in MADE:
                raise ValueError(f"network_options: {name} follows from {MADE[name]}; leave it out")
            if name not in known:
                raise ValueError(f"network_options: {_unknown(name, list(known))}")
            options[name] = checked(f"network_options: {name}", value, known[name])
        object.__setattr__(self, "network_options", options)
        size = options.get("patch", 1) * 2**16  # the data will say, and then where attention is
        levels = {"attention": (), "linear_attention": ()} if isinstance(preset, UNetConfig) else {}
        try:
            replace(preset, **options | levels, size=size)
        except ValueError as error:
            raise ValueError(f"network_options: {error}") from None

    def make_schedule(self) -> Schedule:
        """The noise schedule, of its T steps."""
        schedule: Schedule = getattr(Schedule, self.schedule)(self.T)
        return schedule

    def state(self) -> dict[str, Any]:
        """A JSON-able dictionary; `make_config` reads it back."""
        return asdict(self)


def make_config(values: Mapping[str, Any], base: TrainConfig | None = None) -> TrainConfig:
    """Set fields by name; a misspelt one is answered.

    >>> make_config({"steps": 5, "ema": 0.99}).ema
    (0.99,)
    """
    known = [f.name for f in fields(TrainConfig)]
    for name in values:
        if name not in known:
            raise ValueError(_unknown(name, known))
    return replace(base or TrainConfig(), **values)


def _unknown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return f"there is no setting {name!r}; {hint}"


def shipped_configs() -> list[str]:
    """Names of the configs that come with minidiff.

    >>> "digits" in shipped_configs()
    True
    """
    return sorted(path.stem for path in SHIPPED.glob("*.py"))


def find_config(name_or_path: str | Path) -> Path:
    """The file meant: a shipped config by its name, or any other by its path."""
    name, path = str(name_or_path), Path(name_or_path)
    if name in shipped_configs():
        if path.exists():
            warnings.warn(
                f"{name} is taken as the config that comes with minidiff; for the file of that "
                f"name write ./{name}",
                stacklevel=2,
            )
        return SHIPPED / f"{name}.py"
    if path.is_file():
        return path
    hint = f" (try {path.stem})" if path.stem in shipped_configs() else ""
    raise ValueError(
        f"no such config: {name}{hint}; give the path of a file, or one of those that come with "
        f"minidiff: {', '.join(shipped_configs())}"
    )


def read_config(name_or_path: str | Path) -> TrainConfig:
    """Read a config: Python syntax, but only `name = literal` lines; nothing is executed.

    >>> read_config("digits").steps
    1000
    """
    path = find_config(name_or_path)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8-sig"))  # with or without Windows' mark
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8: save it as that") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}:" if line else f"{path}:"
        raise ValueError(f"{where} not a `name = value` line") from None
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
        if (name := node.targets[0].id) in values:
            raise ValueError(f"{path}, line {node.lineno}: {name} was set before; keep one of them")
        try:
            values[name] = ast.literal_eval(node.value)
        except (ValueError, TypeError, RecursionError, MemoryError):
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
        name = name[2:].replace("-", "_")
        try:
            value = ast.literal_eval(text)
        except (ValueError, TypeError, SyntaxError):
            value = text  # a bare word is a string
        values[name] = text if kinds(TrainConfig).get(name) is str else value
    return values


def check_run(config: object, data: object, model: object) -> TrainConfig:
    """The settings; ValueError where one of the three is of another kind."""
    if not isinstance(config, TrainConfig):
        raise ValueError(f"config must be a TrainConfig, got {kind(config)}")
    if not isinstance(data, Images | Folder | None):
        raise ValueError(
            "data must be Images(pixels, labels, classes) or what data.load returns, got "
            f"{kind(data)}"
        )
    if model is not None:
        check_weights(model, "training")
    return config


def make_model(
    config: TrainConfig, shape: Sequence[int], classes: int | tuple[int, ...]
) -> Denoiser:
    """The untrained model for images of shape (C, H, W), with so many classes if conditional."""
    channels, size, width = shape
    if size != width:
        raise ValueError(
            f"the U-Net is made for square images, and these are {size} high and {width} wide: "
            "give a size, to which folders are cropped and resized"
        )
    out = 2 * channels if config.variance in ("learned", "diagonal") else channels
    made: dict[str, Any] = {"size": size, "in_channels": channels, "out_channels": out}
    made["num_classes"] = classes if config.conditional else 0
    net = build_network(replace(NETWORKS[config.network], **config.network_options, **made))
    schedule = config.make_schedule()
    return Denoiser(net, schedule, config.predict, config.variance, sigma_data=config.sigma_data)
