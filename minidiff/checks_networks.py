"""All chapters: what a network, a classifier and their labels must be; no mathematics.

As in `minidiff.checks`, only what lies on the CPU is looked at.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from minidiff.kinds import check_number, kind, short
from minidiff.schedule import Schedule


def check_model(model: object) -> None:
    """Whoever asks a network needs its schedule with it, and its conventions."""
    if not is_model(model):
        raise ValueError(
            "model must be a Denoiser, a network with its schedule, as of Denoiser(net, schedule) "
            f"or load_pretrained(name); got {kind(model)}"
        )


def is_model(thing: object) -> bool:
    """Whether it is a Denoiser, or one that torch.compile stands before."""
    return hasattr(thing, "ask") and isinstance(getattr(thing, "schedule", None), Schedule)


def check_schedule(schedule: object) -> Schedule:
    """The process of noising by itself, without a network."""
    if not isinstance(schedule, Schedule):
        raise ValueError(
            "schedule must be a Schedule, such as Schedule.linear(1000) or a model's own, "
            f"model.schedule; got {kind(schedule)}"
        )
    return schedule


def check_parts(net: object, schedule: object) -> None:
    """What a Denoiser is made of; without a network it still knows its process."""
    if is_model(net):
        raise ValueError("net is a Denoiser already: take it as it is, or its network, model.net")
    named = isinstance(net, type) or not (net is None or callable(net))
    if named or not isinstance(schedule, Schedule):
        raise ValueError(
            "Denoiser takes a network and a Schedule, such as Denoiser(net, Schedule.linear(1000));"
            f" got {kind(net)} and {kind(schedule)}"
        )


def check_module(net: object, what: str) -> nn.Module:
    """A network whose weights are to be learned, averaged or stored."""
    if not isinstance(net, nn.Module):
        raise ValueError(
            f"{what} needs a network with weights, an nn.Module such as UNet.digits(); "
            f"got {kind(net)}"
        )
    return net


def check_weights(model: Any, what: str) -> nn.Module:
    """A model with a network that has weights, which is returned."""
    check_model(model)
    return check_module(model.network, what)


def check_callable(**functions: object) -> None:
    """What is asked: a network or a classifier, trained or a plain function."""
    for name, f in functions.items():
        if isinstance(f, type) or is_model(f) or not callable(f):
            raise ValueError(
                f"{name} must be a network or a function, called as {name}(x_t, t - 1) and "
                f"returning a tensor; got {kind(f)}"
            )


def check_dtype(dtype: object) -> None:
    """Weights are floating numbers."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(
            f"dtype must be torch.float32, torch.bfloat16 and so on; got {short(dtype)}"
        )


def check_clip(clip: object) -> None:
    """Whether x0 is clamped, or by which function it is replaced."""
    if not isinstance(clip, bool) and not callable(clip):
        raise ValueError(f"clip must be True, False or a function (x0, t) -> x0, got {short(clip)}")


def check_sigma_data(sigma_data: float) -> None:
    """The unit of the data is a number above 0."""
    check_number(sigma_data=sigma_data)
    if not 0 < sigma_data < math.inf:
        raise ValueError(
            f"sigma_data must be above 0, the standard deviation of the data, got {sigma_data}"
        )


def check_clock(clock: object, schedule: Schedule) -> None:
    """A table of times has one entry for each t of the schedule."""
    if isinstance(clock, tuple) and len(clock) != schedule.T:
        raise ValueError(
            f"the network's clock has {len(clock)} entries, one for each t; the schedule has "
            f"T = {schedule.T}: make the clock from this schedule"
        )


def check_device(net: nn.Module, xt: Tensor) -> None:
    """The network's weights lie where x_t does."""
    weight = next(net.parameters(), None)
    if weight is not None and weight.device != xt.device:
        raise ValueError(
            f"xt is on {xt.device}, the network on {weight.device}; "
            f"use xt.to({str(weight.device)!r}) or model.to({str(xt.device)!r})"
        )


def check_answer(out: Tensor, xt: Tensor, variance: str, parts: int) -> None:
    """The network returned the shape of x_t, or `parts` times its channels."""
    if not isinstance(out, Tensor):
        raise ValueError(
            f"the network must return a tensor, got {kind(out)}; wrap it in a function that takes "
            "the tensor out, such as lambda x, t: net(x, t).sample for diffusers'"
        )
    channels = parts * xt.shape[1]
    if parts > 1 and out.ndim > 1 and out.shape[1] != channels:
        raise ValueError(
            f"variance={variance!r} needs a network with {channels} output "
            f"channels (prediction and variance), got {out.shape[1]}"
        )
    if out.shape != (len(xt), channels, *xt.shape[2:]):
        raise ValueError(
            f"the network returned shape {tuple(out.shape)} for x_t of shape "
            f"{tuple(xt.shape)}; with variance={variance!r} they must be equal"
            + (" but for the channels" if parts > 1 else "")
        )


def check_prediction(prediction: object) -> None:
    """What a model answered: x0 and eps together, not one of the two."""
    if not hasattr(prediction, "raw"):
        raise ValueError(
            f"prediction must be a model's answer, model(xt, t); got {kind(prediction)}"
        )


def check_learned(variance: str, learns: bool) -> None:
    """loss_hybrid is for a model whose variance is learned."""
    if not learns:
        raise ValueError(
            f"loss_hybrid trains a learned variance, but this model's is {variance!r}; use "
            "loss_simple, or variance='learned' and a network with twice the output channels"
        )


def check_null(
    null: int | tuple[int, ...] | None, classes: int | tuple[int, ...], w: float
) -> None:
    """Guidance needs a label that means none; the classes alone (w = 0) do not."""
    if null is None and (w != 0 or not classes):
        knows = f"{classes} classes and no null class" if classes else "no labels"
        raise ValueError(
            f"guide needs a network with a label that means none; this one has {knows}"
            "; give null=<the label that means none> for a network of your own"
        )


def as_labels(labels: object) -> Tensor:
    """A tensor of them: a list does, too."""
    try:
        return torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"labels must be whole numbers, one for each image, got {kind(labels)}"
        ) from None


def check_labels(labels: Tensor, xt: Tensor, like: int | tuple[int, ...] = 0) -> None:
    """One label for each sample, a whole number; or a row of as many as `like` has."""
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be whole numbers (torch.long), got {labels.dtype}")
    shape = (len(xt), len(like)) if isinstance(like, tuple) else (len(xt),)
    if labels.shape != shape:
        raise ValueError(f"labels has shape {tuple(labels.shape)}, expected {shape}")


def check_logits(logits: Tensor, labels: Tensor) -> None:
    """A classifier's answer: (B, K), with a gradient, and K above every label."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(labels):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else kind(logits)
        raise ValueError(f"the classifier must return logits ({len(labels)}, K), got {got}")
    if not logits.requires_grad:
        raise ValueError(
            "the classifier's logits have no gradient: let it see x_t, without no_grad"
        )
    if labels.device.type == "cpu" and bool(((labels < 0) | (labels >= logits.shape[1])).any()):
        raise ValueError(f"labels must be in 0..{logits.shape[1] - 1}, got {labels.tolist()}")
