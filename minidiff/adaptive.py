"""Chapters 15 and 16: the same ODE by a solver that chooses its own steps, of torchdiffeq."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from minidiff.checks import admit
from minidiff.checks_networks import check_model
from minidiff.denoiser import Denoiser
from minidiff.kinds import check_number
from minidiff.ode import predict_at
from minidiff.process import cast


@torch.no_grad()
def solve_adaptive(
    model: Denoiser, x_T: Tensor, *, rtol: float = 1e-5, atol: float = 1e-5, **cond: Any
) -> tuple[Tensor, int]:
    """The ODE from T to the data by Dormand-Prince 5(4) (torchdiffeq): (x_0, network calls).

    Integrates in log sigma down to sigma_1, then one Euler step.

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> x0, nfe = solve_adaptive(model, torch.ones(1, 1))
    >>> x0.shape, nfe > 6
    (torch.Size([1, 1]), True)
    """
    check_model(model)
    admit(x_T=x_T)
    first, last = float(model.schedule.sigma[-1]), float(model.schedule.sigma[1])
    calls = 0

    def f(u: Tensor, x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        sigma = math.exp(float(u))
        return sigma * predict_at(model, x, sigma, **cond).eps

    x = x_T * math.sqrt(1 + first**2)
    x = dopri5(f, x, math.log(first), math.log(last), rtol, atol)
    p = predict_at(model, x, last, **cond)
    return cast(x - last * p.eps, x_T), calls + 1


def dopri5(f: Any, y: Any, start: float, end: float, rtol: float, atol: float) -> Any:
    """The state at `end` by torchdiffeq's Dormand-Prince 5(4): better tested than ours could be."""
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        raise ImportError("adaptive solving needs torchdiffeq: pip install torchdiffeq") from error
    check_number(rtol=rtol, atol=atol)
    if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
        raise ValueError(f"rtol and atol must be at least 0, not both 0; got {rtol} and {atol}")
    first = y[0] if isinstance(y, tuple) else y
    if not first.numel():  # torchdiffeq finds no step for an empty batch
        return y
    grid = torch.tensor([start, end], dtype=torch.float64, device=first.device)
    # A first step of our own: torchdiffeq's guess shoots far past the end where eps is near 0.
    options = {"first_step": abs(end - start) / 100}
    try:
        out = odeint(f, y, grid, method="dopri5", rtol=rtol, atol=atol, options=options)
    except AssertionError as error:  # its way to say that no step is small enough
        raise ValueError(
            "the adaptive solver's step shrank to nothing: the network returned NaN or Inf, or "
            f"is too rough for rtol = {rtol}, atol = {atol}"
        ) from error
    return tuple(o[-1] for o in out) if isinstance(y, tuple) else out[-1]
