"""All chapters: what the formulas accept. Each admits its arguments in one line; no mathematics.

Only numbers that lie on the CPU anyway are looked at: a check must never wait for a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from itertools import pairwise
from typing import SupportsIndex

import torch
from torch import Tensor, nn

from minidiff.schedule import Schedule, beta_tilde_of

Index = int | Tensor
_CPU = torch.device("cpu")
_WHY_NOT_0 = {
    "t": " (x_0 is the data; there is nothing to denoise)",
    "s": " (given x_0, the kernel from s = 0 is marginal(x0, t))",
}


def level(schedule: Schedule, t: Index, *, low: int = 0, **states: Tensor) -> Tensor:
    """alpha_bar_t, float64, shaped to multiply the states; all of it admitted first.

    >>> float(level(Schedule.from_betas([0.1, 0.5]), 2, x0=torch.zeros(3, 4)))
    0.45
    """
    return schedule.at(t, admit({"t": t}, low, schedule.T, **states))


def levels(
    schedule: Schedule, t: Index, s: Index, *, low: int = 0, **states: Tensor
) -> tuple[Tensor, Tensor]:
    """(alpha_bar_t, alpha_bar_s) for s < t, as `level` does."""
    x = admit({"t": t, "s": s}, low, schedule.T, **states)
    return schedule.at(t, x), schedule.at(s, x)


def admit(
    times: Mapping[str, Index] | None = None, low: int = 0, high: int = 0, /, **states: Tensor
) -> Tensor:
    """The first state, when all are floating (B, …) tensors of one shape on one device, every time
    is in low..high and one number or one for each sample, and s < t if both are given.
    """
    first = next(iter(states.values()))
    for name, x in states.items():
        if not isinstance(x, Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(x).__name__}: torch.as_tensor")
        if not x.is_floating_point():
            raise ValueError(
                f"{name} must be a floating tensor, got {x.dtype}; scale uint8 images to [-1, 1] "
                "first: images.float() / 127.5 - 1"
            )
        if x.ndim < 2:
            raise ValueError(
                f"{name} must be (B, D) or (B, C, H, W), got shape {tuple(x.shape)}; "
                "add a batch dimension: x[None]"
            )
        if x.shape != first.shape:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, expected {tuple(first.shape)}")
        if x.device != first.device:
            raise ValueError(
                f"{name} is on {x.device}, the rest on {first.device}; use .to({first.device})"
            )
    for name, t in (times or {}).items():
        outside: float | None = None
        t = t.long() if isinstance(t, Tensor) and not t.is_floating_point() else t
        if isinstance(t, SupportsIndex) and not isinstance(t, Sized):  # NumPy's numbers too
            outside = None if low <= t <= high else t
        elif not isinstance(t, Tensor):
            raise ValueError(
                f"{name} must be a whole number or a tensor with one for each sample, got {t!r}"
            )
        elif t.ndim > 1 or (t.ndim == 1 and len(t) not in (1, len(first))):
            raise ValueError(
                f"{name} must be one number or {len(first)} (one for each sample), "
                f"got shape {tuple(t.shape)}"
            )
        elif t.device.type == "cpu" and bool((bad := ~((t >= low) & (t <= high))).any()):
            outside = t[bad].flatten()[0].item()
        if outside is not None:
            why = _WHY_NOT_0[name] if outside == 0 else ""
            raise ValueError(f"{name} must be in {low}..{high}, got {outside}{why}")
    if times and "s" in times:
        t, s = times["t"], times["s"]
        on_cpu = getattr(t, "device", _CPU) == getattr(s, "device", _CPU) == _CPU
        if on_cpu and not torch.as_tensor(s < t).all():
            raise _not_below(s, t)
    return first


def check_step(schedule: Schedule, t: int, s: int, eta: float = 0.0) -> None:
    """Whole numbers 0 <= s < t <= T, and a share of the noise eta >= 0."""
    if not eta >= 0:
        raise ValueError(f"eta must be >= 0 (0 is DDIM, 1 is DDPM), got {eta}")
    if not 0 <= s < t:
        raise _not_below(s, t)
    if t > schedule.T:
        raise ValueError(f"t must be in 1..{schedule.T}, got {t}")


def _not_below(s: Index, t: Index) -> ValueError:
    return ValueError(f"s must be below t (x_s is less noisy than x_t), got s = {s}, t = {t}")


def sigma_squared(schedule: Schedule, sigma: float | Tensor, s: Index, rest: Tensor) -> Tensor:
    """sigma^2 shaped like rest = 1 - alpha_bar_s, refused where it is larger than that."""
    if isinstance(s, int) and not isinstance(sigma, Tensor):  # in every step of a sampler
        most = 1 - float(schedule.alpha_bar[s])
        if not sigma**2 <= most + 1e-12:
            raise _too_large(sigma**2, most)
        return torch.full_like(rest, min(sigma**2, most))
    var = torch.as_tensor(sigma, dtype=torch.float64) ** 2
    limit = 1 - schedule.alpha_bar[s] if isinstance(s, int) else rest.flatten()
    if var.device == limit.device == _CPU:
        _check_room(var, limit)
    return var.to(rest.device).reshape(-1, *(1,) * (rest.ndim - 1)).minimum(rest)


def check_eta(schedule: Schedule, eta: float | str, steps: Sequence[int]) -> None:
    """eta >= 0 or "hat", and at no step more noise than alpha_bar_s leaves room for."""
    if eta == "hat":
        return
    if isinstance(eta, str) or not eta >= 0:
        raise ValueError(f'eta must be a number >= 0 (0 is DDIM, 1 is DDPM) or "hat", got {eta!r}')
    at, as_ = schedule.alpha_bar[list(steps[:-1])], schedule.alpha_bar[list(steps[1:])]
    _check_room(eta**2 * beta_tilde_of(at, as_), 1 - as_)


def _check_room(var: Tensor, limit: Tensor) -> None:
    bad = (var > limit + 1e-12) | var.isnan()
    if bool(bad.any()):
        raise _too_large(*(float(x.expand_as(bad)[bad][0]) for x in (var, limit)))


def _too_large(var: float, most: float) -> ValueError:
    return ValueError(
        f"sigma is too large: sigma^2 = {var:.4g} but it may be at most "
        f"1 - alpha_bar_s = {most:.4g}; take a smaller eta"
    )


def bound_variances(schedule: Schedule, sigma: Tensor) -> Tensor:
    """sigma_t^2 for t = 1..T, float64: positive, and at most 1 - alpha_bar_{t-1} for t >= 2."""
    if sigma.shape != schedule.alpha_bar.shape:
        raise ValueError(
            f"sigma must hold T + 1 = {schedule.T + 1} numbers, indexed by t, "
            f"got shape {tuple(sigma.shape)}"
        )
    var = sigma.double().cpu()[1:] ** 2
    if not bool((var > 0).all()):
        raise ValueError("gamma needs sigma_t > 0 for t in 1..T: it divides by sigma_t^2")
    if bool((var[1:] > 1 - schedule.alpha_bar[1:-1] + 1e-12).any()):
        raise ValueError("sigma_t^2 must be at most 1 - alpha_bar_{t-1} for t >= 2")
    return var


def check_tau(steps: Iterable[int] | int, T: int) -> list[int]:
    """The steps, refused unless they fall strictly to 0 and stay within T."""
    if not isinstance(steps, Iterable):  # their number: what tau(T, S) would give
        S = check_steps(T, steps, "linear")[1]
        steps = [T * i // S for i in range(S, -1, -1)]
    steps = list(map(int, given := list(steps)))
    if steps != given:
        raise ValueError(f"tau must hold whole numbers, got {given}; round them")
    falls = all(a > b for a, b in pairwise(steps))
    if len(steps) < 2 or not falls or steps[-1] != 0 or steps[0] > T:
        shown = str(steps) if len(steps) < 12 else f"[{steps[0]}, {steps[1]}, …, {steps[-1]}]"
        raise ValueError(
            f"tau must fall strictly from at most {T} to 0 (the data), got {shown}; "
            f"use tau({T}, S=<number of steps>)"
        )
    return steps


def check_steps(T: int | Schedule, S: int | None, spacing: str) -> tuple[int, int]:
    """(T, S) as whole numbers, 1 <= S <= T; S None is T. Spacing by log-SNR needs the Schedule."""
    n = T.T if isinstance(T, Schedule) else T
    if not isinstance(n, SupportsIndex) or n < 2:
        raise ValueError(f"T must be a whole number of at least 2 steps, or a Schedule; got {T!r}")
    S = n if S is None else S
    if not isinstance(S, SupportsIndex) or not 1 <= S <= n:
        raise ValueError(f"S must be a whole number of steps in 1..{n}, got {S!r}")
    if spacing == "logsnr" and not isinstance(T, Schedule):
        raise ValueError("spacing='logsnr' needs the schedule: tau(schedule, S=…)")
    return int(n), int(S)


def one_of(name: str, value: str, choices: Sequence[str]) -> str:
    """The choice, refused if it is not on the list."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    return value


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


def check_learned(variance: str, learns: bool) -> None:
    """loss_hybrid is for a model whose variance is learned."""
    if not learns:
        raise ValueError(
            f"loss_hybrid trains a learned variance, but this model's is {variance!r}; use "
            "loss_simple, or variance='learned' and a network with twice the output channels"
        )


def check_null(null: int) -> int:
    """The label that means none; a network without labels (0) has none."""
    if not null:
        raise ValueError(
            "guide needs a network that was trained with labels (num_classes is not set); "
            "give null=<the label that means none> for a network of your own"
        )
    return null


def check_labels(labels: Tensor, xt: Tensor) -> None:
    """One label for each sample, a whole number."""
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be whole numbers (torch.long), got {labels.dtype}")
    if labels.shape != xt.shape[:1]:
        raise ValueError(f"labels has shape {tuple(labels.shape)}, expected ({len(xt)},)")


def check_probes(probes: int | None, noise: str) -> None:
    """Hutchinson's probes: their number, None for the exact trace, and their distribution."""
    if noise not in ("rademacher", "gaussian"):
        raise ValueError(f'noise must be "rademacher" or "gaussian", got {noise!r}')
    if probes is not None and probes < 1:
        raise ValueError(f"probes must be at least 1, or None for the exact trace; got {probes}")


def per_sample(weight: float | Tensor, x: Tensor) -> Tensor:
    """A weight, one number or one for each sample, float64 and shaped to multiply x."""
    w = torch.as_tensor(weight, dtype=torch.float64, device=x.device)
    if w.ndim and w.shape != (len(x),):
        raise ValueError(f"weight must be a number or ({len(x)},), got {tuple(w.shape)}")
    return w.reshape(-1, *(1,) * (x.ndim - 1))


def check_single(x0: Tensor) -> None:
    """A batch of one image."""
    if len(x0) != 1:
        raise ValueError(f"interpolate takes one image, x0[None], got shape {tuple(x0.shape)}")


def check_uint8(images: Tensor) -> None:
    """Stored images are bytes."""
    if images.dtype != torch.uint8:
        raise ValueError(f"dequantize takes uint8 images (0..255), got {images.dtype}")


def check_finite(x: Tensor) -> None:
    """Refuse the end of a walk that is NaN or infinite; waits for a GPU, so once, at the end."""
    if not bool(torch.isfinite(x).all()):
        raise ValueError(
            "the walk ended in NaN or Inf: the network is broken (untrained in half precision? "
            "diverged?) or the state it started from is not finite"
        )
