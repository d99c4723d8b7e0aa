"""All chapters: what the formulas accept. Each admits its arguments in one line; no mathematics.

Only numbers that lie on the CPU anyway are looked at: a check must never wait for a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from typing import SupportsFloat, SupportsIndex

import torch
from torch import Tensor

from minidiff.checks_networks import check_schedule
from minidiff.kinds import check_number, check_tensor, is_whole, kind, short
from minidiff.schedule import Index, Schedule
from minidiff.variances import beta_tilde_of

_CPU = torch.device("cpu")
_WHY_NOT_0 = {
    "t": " (x_0 is the data; there is nothing to denoise)",
    "s": " (given x_0, the kernel from s = 0 is marginal(x0, t))",
}
_NO_TIME = " (the schedule has no noise level between the data, 0, and t = 1)"


def level(schedule: Schedule, t: Index, *, low: int = 0, **states: Tensor) -> Tensor:
    """alpha_bar_t, float64, shaped to multiply the states; all of it admitted first.

    >>> float(level(Schedule.from_betas([0.1, 0.5]), 2, x0=torch.zeros(3, 4)))
    0.45
    """
    x = admit({"t": t}, low, schedule, **states)
    return schedule.at(t, x)


def levels(
    schedule: Schedule, t: Index, s: Index, *, low: int = 0, **states: Tensor
) -> tuple[Tensor, Tensor]:
    """(alpha_bar_t, alpha_bar_s) for s < t, as `level` does."""
    x = admit({"t": t, "s": s}, low, schedule, **states)
    return schedule.at(t, x), schedule.at(s, x)


def admit(
    times: Mapping[str, Index] | None = None,
    low: int = 0,
    schedule: Schedule | None = None,
    /,
    **states: Tensor,
) -> Tensor:
    """The first state, when all are floating (B, …) tensors of one shape on one device, every time
    is in low..T of the schedule and one number or one for each sample, and s < t if both are given.
    Between the data, t = 0, and the first noise level, t = 1, there is no time.
    """
    high = check_schedule(schedule).T if times else 0
    first = next(iter(states.values()))
    for name, x in states.items():
        if not isinstance(x, Tensor):
            check_tensor(**{name: x})
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
        if isinstance(t, float | SupportsIndex) and not isinstance(t, Sized):  # NumPy's, too
            outside = None if low <= t <= high and not 0 < t < 1 else t
        elif not isinstance(t, Tensor):
            raise ValueError(
                f"{name} must be a number or a tensor with one for each sample, got {short(t)}"
            )
        elif t.ndim > 1 or (t.ndim == 1 and len(t) not in (1, len(first))):
            raise ValueError(
                f"{name} must be one number or {len(first)} (one for each sample), "
                f"got shape {tuple(t.shape)}"
            )
        elif t.device.type == "cpu":
            bad = ~((t >= low) & (t <= high)) | ((t > 0) & (t < 1))
            outside = t[bad].flatten()[0].item() if bool(bad.any()) else None
        if outside is not None:
            why = _WHY_NOT_0[name] if outside == 0 else _NO_TIME if 0 < outside < 1 else ""
            raise ValueError(f"{name} must be in {low}..{high}, got {outside}{why}")
    if times and "s" in times:
        t, s = times["t"], times["s"]
        on_cpu = getattr(t, "device", _CPU) == getattr(s, "device", _CPU) == _CPU
        if on_cpu and not torch.as_tensor(s < t).all():
            raise _not_below(s, t)
    return first


# --------------------------------------------------------------------------- times and noise


def check_step(schedule: Schedule, t: float, s: float, eta: float = 0.0) -> None:
    """0 <= s < t <= T, and a share of the noise eta >= 0."""
    check_schedule(schedule)
    check_number(t=t, s=s, eta=eta)
    if not eta >= 0:
        raise ValueError(f"eta must be >= 0 (0 is DDIM, 1 is DDPM), got {eta}")
    if not 0 <= s < t:
        raise _not_below(s, t)
    if not 1 <= t <= schedule.T:
        raise ValueError(f"t must be in 1..{schedule.T}, got {t}")
    if 0 < s < 1:
        raise ValueError(f"s must be 0 or in 1..{schedule.T}, got {s}{_NO_TIME}")


def _not_below(s: Index, t: Index) -> ValueError:
    return ValueError(f"s must be below t (x_s is less noisy than x_t), got s = {s}, t = {t}")


def sigma_squared(schedule: Schedule, sigma: float | Tensor, s: Index, rest: Tensor) -> Tensor:
    """sigma^2 shaped like rest = 1 - alpha_bar_s, refused where it is larger than that."""
    if not isinstance(sigma, Tensor | float):
        check_number(sigma=sigma)
    if not isinstance(s, Tensor) and not isinstance(sigma, Tensor):  # in every step of a sampler
        most = 1 - schedule.alpha_bar_at(s)
        if not sigma**2 <= most + 1e-12:
            raise _too_large(sigma**2, most)
        return torch.full_like(rest, min(sigma**2, most))
    var = torch.as_tensor(sigma, dtype=torch.float64) ** 2
    limit = rest.flatten()
    if not isinstance(s, Tensor):
        limit = torch.tensor(1 - schedule.alpha_bar_at(s), dtype=torch.float64)
    if var.device == limit.device == _CPU:
        _check_room(var, limit)
    return var.to(rest.device).reshape(-1, *(1,) * (rest.ndim - 1)).minimum(rest)


def check_eta(schedule: Schedule, eta: float | str, steps: Sequence[float]) -> None:
    """eta >= 0 or "hat", and at no step more noise than alpha_bar_s leaves room for."""
    if eta == "hat":
        return
    if not isinstance(eta, SupportsFloat) or not eta >= 0:
        raise ValueError(
            f'eta must be a number >= 0 (0 is DDIM, 1 is DDPM) or "hat", got {short(eta)}'
        )
    a = torch.tensor([schedule.alpha_bar_at(t) for t in steps], dtype=torch.float64)
    _check_room(eta**2 * beta_tilde_of(a[:-1], a[1:]), 1 - a[1:])


def _check_room(var: Tensor, limit: Tensor) -> None:
    bad = (var > limit + 1e-12) | var.isnan()
    if bool(bad.any()):
        raise _too_large(*(float(x.expand_as(bad)[bad][0]) for x in (var, limit)))


def _too_large(var: float, most: float) -> ValueError:
    return ValueError(
        f"sigma is too large: sigma^2 = {var:.4g} but it may be at most "
        f"1 - alpha_bar_s = {most:.4g}; take a smaller eta"
    )


def check_indexed(schedule: Schedule, **table: Tensor) -> None:
    """A table like those of the schedule itself: entry t belongs to t, and entry 0 to the data."""
    check_schedule(schedule)
    check_tensor(**table)
    for name, x in table.items():
        if x.shape != schedule.alpha_bar.shape:
            raise ValueError(
                f"{name} must hold T + 1 = {schedule.T + 1} numbers, indexed by t, "
                f"got shape {tuple(x.shape)}"
            )


def bound_variances(schedule: Schedule, sigma: Tensor) -> Tensor:
    """sigma_t^2 for t = 1..T, float64: positive, and at most 1 - alpha_bar_{t-1} for t >= 2."""
    check_indexed(schedule, sigma=sigma)
    var = sigma.double().cpu()[1:] ** 2
    if not bool((var > 0).all()):
        raise ValueError("gamma needs sigma_t > 0 for t in 1..T: it divides by sigma_t^2")
    if bool((var[1:] > 1 - schedule.alpha_bar[1:-1] + 1e-12).any()):
        raise ValueError("sigma_t^2 must be at most 1 - alpha_bar_{t-1} for t >= 2")
    return var


# ------------------------------------------------------------------------ choices and numbers


def one_of(name: str, value: str, choices: Sequence[str]) -> str:
    """The choice, refused if it is not on the list."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {short(value)}")
    return value


def check_levels(levels: int | None) -> None:
    """Values that a number of the data may have, or None if it is any real number."""
    if levels is not None and (not is_whole(levels) or levels < 2):
        raise ValueError(
            f"levels must be a whole number from 2 (256 for bytes), or None; got {short(levels)}"
        )


def check_share(share: float) -> None:
    """A share of the whole, and not nothing."""
    check_number(share=share)
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1 (0.995 is 99.5%), got {share}")


def check_probes(probes: int | None, noise: str) -> None:
    """Hutchinson's probes: their number, None for the exact trace, and their distribution."""
    if noise not in ("rademacher", "gaussian"):
        raise ValueError(f'noise must be "rademacher" or "gaussian", got {short(noise)}')
    if probes is not None and (not is_whole(probes) or probes < 1):
        raise ValueError(
            f"probes must be at least 1, or None for the exact trace; got {short(probes)}"
        )


def per_sample(weight: float | Tensor, x: Tensor) -> Tensor:
    """A weight, one number or one for each sample, float64 and shaped to multiply x."""
    try:
        w = torch.as_tensor(weight, dtype=torch.float64, device=x.device)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"weight must be a number or ({len(x)},), got {kind(weight)}") from None
    if w.ndim and w.shape != (len(x),):
        raise ValueError(f"weight must be a number or ({len(x)},), got {tuple(w.shape)}")
    return w.reshape(-1, *(1,) * (x.ndim - 1))


def known_part(x0: Tensor, mask: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
    """The image that is known in part, and where it is (True), in the shape of the state x_t."""
    kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
    if kind != torch.bool:
        raise ValueError(f"mask must be bool, True where x0 is known (mask > 0.5); got {kind}")
    admit(x0=x0)
    try:
        return x0.to(xt).expand_as(xt), mask.to(xt.device).expand_as(xt)
    except RuntimeError:
        raise ValueError(
            f"x0 {tuple(x0.shape)} and mask {tuple(mask.shape)} must fit x_T {tuple(xt.shape)}"
        ) from None


def check_means(means: Tensor) -> None:
    """Where the parts of a mixture lie."""
    check_tensor(means=means)
    if means.ndim < 2:
        raise ValueError(f"means must be (K, D) or (K, C, H, W), got {tuple(means.shape)}")


def check_space(x: Tensor, shape: tuple[int, ...]) -> None:
    """Points of a mixture's own space, whole or flattened."""
    if admit(x=x).shape[1:].numel() != math.prod(shape):
        raise ValueError(f"points must be {('B', *shape)}, got {tuple(x.shape)}")


def check_single(x0: Tensor) -> None:
    """A batch of one image."""
    if len(x0) != 1:
        raise ValueError(f"interpolate takes one image, x0[None], got shape {tuple(x0.shape)}")


def check_uint8(images: Tensor) -> None:
    """Stored images are bytes."""
    check_tensor(images=images)
    if images.dtype != torch.uint8:
        raise ValueError(f"dequantize takes uint8 images (0..255), got {images.dtype}")


def check_finite(x: Tensor) -> None:
    """Refuse the end of a walk that is NaN or infinite; waits for a GPU, so once, at the end."""
    if not bool(torch.isfinite(x).all()):
        raise ValueError(
            "the walk ended in NaN or Inf: the network is broken (untrained in half precision? "
            "diverged?) or the state it started from is not finite"
        )
