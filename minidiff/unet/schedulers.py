"""Chapter 7: the scheduler of a diffusers folder as schedule, prediction, variance and clipping.

Their scheduler is a model's process of noise and a way to walk it back, in one class. The first is
read here, as each class reads it itself; of the second nothing is taken, since a sampler is chosen
here when it is called. What is not a variance-preserving process of T steps is refused by name.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor

from minidiff.checks_schedule import MOST_STEPS
from minidiff.kinds import short
from minidiff.schedule import EXACT, Schedule
from minidiff.settings import Range, check_fields

if TYPE_CHECKING:
    from minidiff.denoiser import Denoiser

Beta = Annotated[float, Range(0, 1)]
PREDICT = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
VARIANCE = {
    "fixed_small": "small",
    "fixed_small_log": "small",
    "fixed_large": "large",
    "fixed_large_log": "large",
    "learned_range": "learned",
}


class Reads(NamedTuple):
    """What one of their classes makes of its settings, and the defaults that are its own."""

    clip: bool | None = None  # default of clip_sample; None: it never clips
    variance: str | None = None  # default of variance_type; None: no such setting, or no default
    heeds: tuple[str, ...] = ()  # of thresholding, variance_type, zero (terminal SNR)
    ends: tuple[float, float] = (1e-4, 0.02)
    betas: str = "linear"


_MULTISTEP = ("thresholding", "variance_type")
_K = Reads(ends=(0.00085, 0.012))
_DDPM = Reads(True, "fixed_small", ("thresholding", "variance_type", "zero"))
_DDIM = Reads(True, None, ("thresholding", "zero"))
CLASSES = {
    "DDPMScheduler": _DDPM,
    "DDPMParallelScheduler": _DDPM,
    "DDIMScheduler": _DDIM,
    "DDIMParallelScheduler": _DDIM,
    "DDIMInverseScheduler": Reads(True, None, ("zero",)),
    "RePaintScheduler": Reads(True),
    "UnCLIPScheduler": Reads(
        True, "fixed_small_log", ("variance_type",), betas="squaredcos_cap_v2"
    ),
    "PNDMScheduler": Reads(),
    "DPMSolverMultistepScheduler": Reads(heeds=(*_MULTISTEP, "zero")),
    "DPMSolverMultistepInverseScheduler": Reads(heeds=_MULTISTEP),
    "DPMSolverSinglestepScheduler": Reads(heeds=_MULTISTEP),
    "SASolverScheduler": Reads(heeds=_MULTISTEP),
    "UniPCMultistepScheduler": Reads(heeds=("thresholding", "zero")),
    "DEISMultistepScheduler": Reads(heeds=("thresholding",)),
    "EulerDiscreteScheduler": Reads(heeds=("zero",)),
    "EulerAncestralDiscreteScheduler": Reads(heeds=("zero",)),
    "LMSDiscreteScheduler": Reads(),
    "HeunDiscreteScheduler": _K._replace(clip=False),
    "KDPM2DiscreteScheduler": _K,
    "KDPM2AncestralDiscreteScheduler": _K,
    "DPMSolverSDEScheduler": _K,
}
# Parts of the names of the others, and what they are.
OTHERS = {
    "Flow": "flow matching, whose x_t is a straight line between data and noise",
    "EDM": "an EDM model, whose network is scaled by sigma_data",
    "CosineDPM": "an EDM model, whose network is scaled by sigma_data",
    "Ve": "a variance-exploding process, x_t = x_0 + sigma eps",
    "CMStochastic": "a consistency model, which jumps to x_0",
    "Consistency": "a consistency model, which jumps to x_0",
    "LCM": "a consistency model, which jumps to x_0",
    "TCD": "a consistency model, which jumps to x_0",
    "SCM": "a consistency model, which jumps to x_0",
    "VQ": "a process on discrete tokens",
    "Amused": "a process on discrete tokens",
    "IPNDM": "a process in continuous time",
    "Vp": "a process in continuous time",
    "Wuerstchen": "a process in continuous time, of latents",
    "CogVideo": "a process of video latents, whose SNR is shifted",
}
# Of the walk back, not of the model; or heeded only beside a setting that is refused.
WALK = """
    timestep_spacing steps_offset set_alpha_to_one skip_prk_steps solver_order solver_type solver_p
    algorithm_type lower_order_final euler_at_final predict_x0 disable_corrector predictor_order
    corrector_order tau_func use_karras_sigmas use_exponential_sigmas use_beta_sigmas use_lu_lambdas
    final_sigmas_type lambda_min_clipped interpolation_type sigma_min sigma_max eta s_noise
    noise_sampler_seed flow_shift time_shift_type dynamic_thresholding_ratio sample_max_value
    tensor_format timestep_values
""".split()  # noqa: SIM905
# Settings with which the network or its process would be another than ours.
ONLY = {
    "use_flow_sigmas": False,
    "use_dynamic_shifting": False,
    "shift_terminal": None,
    "timestep_type": "discrete",
    "predict_epsilon": True,
}


@dataclass(frozen=True)
class Settings:
    """The settings that say what the model is, each of its type."""

    beta_start: Beta
    beta_end: Beta
    beta_schedule: Literal[
        "linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "exp", "laplace"
    ]
    variance_type: (
        Literal["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned_range"]
        | None
    )
    clip_sample: bool
    clip_sample_range: float = 1.0
    num_train_timesteps: Annotated[int, Range(2, MOST_STEPS)] = 1000
    trained_betas: tuple[Beta, ...] | None = None
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    rescale_betas_zero_snr: bool = False
    thresholding: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


def denoiser_options(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler_config.json as the arguments of our Denoiser.

    The class, `_class_name`, decides which settings count: one that never clips does not clip
    here, whatever clip_sample says. Their tables are float32, ours are the same in float64.
    ValueError: another kind of process, or a setting that minidiff cannot express, by its name.
    """
    name = scheduler.get("_class_name")
    if name is None:
        warnings.warn(
            "the scheduler's settings name no class; they are read as DDPMScheduler reads them",
            stacklevel=2,
        )
        name = "DDPMScheduler"
    reads = CLASSES.get(name) if isinstance(name, str) else None
    if reads is None:
        what = next((text for part, text in OTHERS.items() if part in str(name)), "not known here")
        raise ValueError(
            f"the scheduler is a {name}: {what}; minidiff reads variance-preserving ones only: "
            f"{', '.join(CLASSES)}"
        )
    s = _settings(scheduler, reads, name)
    # What the class does not read does not count.
    clip = s.clip_sample and reads.clip is not None
    if clip and s.clip_sample_range != 1:
        raise _lacks("clip_sample_range", s.clip_sample_range, "1.0")
    if s.thresholding and "thresholding" in reads.heeds:
        raise _lacks("thresholding", True, "False")
    if s.rescale_betas_zero_snr and "zero" in reads.heeds:
        # alpha_bar_T = 0, where eps is not seen; some classes put 2^-24, which is more than before
        raise _lacks("rescale_betas_zero_snr", True, "False: alpha_bar must fall and stay above 0")
    variance = s.variance_type if "variance_type" in reads.heeds else None
    return {
        "schedule": _schedule(s),
        "predict": PREDICT[s.prediction_type],
        "variance": VARIANCE[variance or "fixed_small"],
        "clip": clip,
    }


def _settings(scheduler: Mapping[str, Any], reads: Reads, name: str) -> Settings:
    given = {k: v for k, v in scheduler.items() if not k.startswith("_")}
    for key, only in ONLY.items():
        if (value := given.pop(key, only)) not in (only, None):
            raise _lacks(key, value, repr(only))
    known = [f.name for f in fields(Settings)]
    if unknown := [k for k in given if k not in (*known, *WALK)]:
        raise ValueError(
            f"the scheduler has settings that minidiff does not know: "
            f"{', '.join(f'{k}={short(given[k])}' for k in unknown[:5])}"
        )
    if "variance_type" not in reads.heeds:
        given["variance_type"] = None
    elif given.get("variance_type") == "learned":
        raise _lacks("variance_type", "learned", "'learned_range' or a fixed one")
    defaults = {
        "beta_start": reads.ends[0],
        "beta_end": reads.ends[1],
        "beta_schedule": reads.betas,
        "variance_type": reads.variance,
        "clip_sample": bool(reads.clip),
    }
    told = {
        k: v for k, v in given.items() if k in known and (v is not None or k == "variance_type")
    }
    try:
        return Settings(**{**defaults, **told})
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _schedule(s: Settings) -> Schedule:
    T, (first, last) = s.num_train_timesteps, (s.beta_start, s.beta_end)
    if s.trained_betas is not None:
        if len(s.trained_betas) != T:
            raise ValueError(
                f"trained_betas has {len(s.trained_betas)} numbers, num_train_timesteps is {T}"
            )
        return Schedule.from_betas(s.trained_betas)
    if s.beta_schedule == "linear":  # they take the ends as they are, ours are for T = 1000
        return Schedule.linear(T, first * T / 1000, last * T / 1000)
    if s.beta_schedule == "squaredcos_cap_v2":
        return Schedule.cosine(T)
    return Schedule.from_betas(betas_of(s.beta_schedule, T, first, last))


def betas_of(kind: str, T: int, first: float, last: float) -> Tensor:
    """beta_1..beta_T of a schedule that they have and `Schedule` has no method for, float64."""
    if kind == "scaled_linear":
        return torch.linspace(first**0.5, last**0.5, T, **EXACT) ** 2
    if kind == "sigmoid":
        return torch.linspace(-6, 6, T, **EXACT).sigmoid() * (last - first) + first
    u = torch.arange(T + 1, **EXACT) / T
    if kind == "exp":
        ab = (-12 * u).exp()
    else:  # laplace
        half = 0.5 - u
        sign = torch.where(half < 0, -1.0, 1.0)
        ab = (-0.5 * sign * (1 - 2 * half.abs() + 1e-6).log()).sigmoid().sqrt()
    return (1 - ab[1:] / ab[:-1]).clamp(max=0.999)


def scheduler_settings(model: Denoiser) -> dict[str, Any]:
    """The scheduler_config.json of a DDPMScheduler that walks as `ancestral` does with `model`."""
    predict = {ours: theirs for theirs, ours in PREDICT.items()}
    variance = {"small": "fixed_small", "large": "fixed_large", "learned": "learned_range"}
    for name, table in (("predict", predict), ("variance", variance)):
        if getattr(model, name) not in table:
            raise ValueError(
                f"diffusers has no {name}={getattr(model, name)!r}, only {', '.join(table)}"
            )
    if model.sigma_data != 1:
        raise ValueError(f"diffusers' DDPMScheduler has no sigma_data, here {model.sigma_data}")
    schedule, T = model.schedule, model.schedule.T
    betas: dict[str, Any] = {"trained_betas": schedule.beta[1:].tolist()}
    if schedule.kind == "linear":
        ends = (schedule.options[name] * 1000 / T for name in ("beta_1", "beta_T"))
        betas = dict(zip(("beta_start", "beta_end"), ends, strict=True), beta_schedule="linear")
    elif schedule.state() == Schedule.cosine(T).state():
        betas = {"beta_schedule": "squaredcos_cap_v2"}
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": T,
        **betas,
        "prediction_type": predict[model.predict],
        "variance_type": variance[model.variance],
        "clip_sample": model.clip,
        "clip_sample_range": 1.0,
        "timestep_spacing": "leading",
        "steps_offset": 0,
        "thresholding": False,
        "rescale_betas_zero_snr": False,
    }


def _lacks(name: str, value: object, only: str) -> ValueError:
    return ValueError(f"minidiff's Denoiser lacks {name}={short(value)}; it must be {only}")
