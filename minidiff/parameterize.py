"""What a network may predict: eps, x0, v, mu or the score. All say the same thing about x_t.

One table turns each of them into the pair (x0, eps) with x_t = sqrt(a) x0 + sqrt(1-a) eps,
a = alpha_bar_t, and one turns the pair back. Everything else in the library sees only the pair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from minidiff.process import cast, check_index, check_pair, check_state
from minidiff.schedule import Schedule

Kind = Literal["eps", "x0", "v", "mu", "score"]
KINDS: tuple[str, ...] = get_args(Kind)

# Each entry maps (x_t, prediction, a, a_prev) to x_0 and back from (x_t, x_0); a = alpha_bar_t,
# a_prev = alpha_bar_{t-1}. Sources: eps, mu: Ho et al. 2020, section 3.2; v: Salimans & Ho 2022,
# appendix D; score: Vincent 2011.
_Map = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _mu_weights(a: Tensor, a_prev: Tensor) -> tuple[Tensor, Tensor]:
    """mu_tilde = w0 x_0 + wt x_t (Ho et al. 2020, eq. (7))."""
    step = a / a_prev
    return a_prev.sqrt() * (1 - step) / (1 - a), step.sqrt() * (1 - a_prev) / (1 - a)


def _x0_from_mu(x: Tensor, y: Tensor, a: Tensor, a_prev: Tensor) -> Tensor:
    w0, wt = _mu_weights(a, a_prev)
    return (y - wt * x) / w0


def _mu_from_x0(x: Tensor, x0: Tensor, a: Tensor, a_prev: Tensor) -> Tensor:
    w0, wt = _mu_weights(a, a_prev)
    return w0 * x0 + wt * x


_TO_X0: dict[str, _Map] = {
    "eps": lambda x, y, a, _: (x - (1 - a).sqrt() * y) / a.sqrt(),
    "x0": lambda x, y, a, _: y,
    "v": lambda x, y, a, _: a.sqrt() * x - (1 - a).sqrt() * y,
    "mu": _x0_from_mu,
    "score": lambda x, y, a, _: (x + (1 - a) * y) / a.sqrt(),
}
_FROM_X0: dict[str, _Map] = {
    "eps": lambda x, x0, a, _: (x - a.sqrt() * x0) / (1 - a).sqrt(),
    "x0": lambda x, x0, a, _: x0,
    "v": lambda x, x0, a, _: (a.sqrt() * x - x0) / (1 - a).sqrt(),
    "mu": _mu_from_x0,
    "score": lambda x, x0, a, _: (a.sqrt() * x0 - x) / (1 - a),
}


def to_x0_eps(
    schedule: Schedule, kind: str, prediction: Tensor, xt: Tensor, t: int | Tensor
) -> tuple[Tensor, Tensor]:
    """(x0, eps) from a prediction of the given kind at x_t; t in 1..T.

    A network that predicts eps has its eps returned untouched, not x_0 divided back.

    >>> schedule, xt = Schedule.linear(1000), torch.ones(1, 2)
    >>> x0, eps = to_x0_eps(schedule, "x0", torch.zeros(1, 2), xt, 1000)
    >>> bool((eps - 1).abs().max() < 1e-4)  # at t = T, x_t is almost all noise
    True
    """
    check_kind(kind)
    check_state(xt, "xt")
    check_pair(xt, prediction, "prediction")
    a, a_prev = _alpha_bars(schedule, xt, t)
    x0 = _TO_X0[kind](xt, prediction, a, a_prev)
    eps = prediction if kind == "eps" else _FROM_X0["eps"](xt, x0, a, a_prev)
    return cast(x0, xt), cast(eps, xt)


def from_x0(schedule: Schedule, kind: str, x0: Tensor, xt: Tensor, t: int | Tensor) -> Tensor:
    """The target of a network of the given kind: eps, x0, v, mu or score from (x_0, x_t).

    eps = (x_t - sqrt(a) x_0)/sqrt(1-a); v = sqrt(a) eps - sqrt(1-a) x_0; mu = mu_tilde(x_t, x_0);
    score = -eps/sqrt(1-a).

    >>> schedule, x = Schedule.linear(1000), torch.ones(1, 2)
    >>> from_x0(schedule, "x0", x, 0 * x, 7).tolist()
    [[1.0, 1.0]]
    """
    check_kind(kind)
    check_state(xt, "xt")
    check_pair(xt, x0, "x0")
    return cast(_FROM_X0[kind](xt, x0, *_alpha_bars(schedule, xt, t)), xt)


def convert(
    schedule: Schedule, prediction: Tensor, xt: Tensor, t: int | Tensor, kind: str, to: str
) -> Tensor:
    """A prediction of one kind as another kind, at the same x_t.

    >>> schedule, xt = Schedule.linear(1000), torch.ones(1, 2)
    >>> s = convert(schedule, torch.ones(1, 2), xt, 1000, kind="eps", to="score")
    >>> round(float(s[0, 0]), 3)
    -1.0
    """
    check_kind(to)
    x0, eps = to_x0_eps(schedule, kind, prediction, xt, t)
    return eps if to == "eps" else from_x0(schedule, to, x0, xt, t)


def check_kind(kind: str) -> None:
    """Refuse a parameterization that is not in the table."""
    if kind not in KINDS:
        raise ValueError(f"predict must be one of {', '.join(KINDS)}; got {kind!r}")


def _alpha_bars(schedule: Schedule, xt: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
    check_index(t, xt, 1, schedule.T)
    previous = (t - 1).clamp(min=0) if isinstance(t, torch.Tensor) else max(t - 1, 0)
    return schedule.at(t, xt), schedule.at(previous, xt)
