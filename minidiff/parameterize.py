"""Chapters 4 and 21: what a network may predict. eps, x0, v, u, mu and the score say the same.

One table turns each of them into x0, one turns x0 back, at x_t = sqrt(a) x0 + sqrt(1-a) eps,
a = alpha_bar_t. Everything else in the library sees only the pair (x0, eps).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from minidiff.checks import admit, one_of
from minidiff.process import cast, mu_tilde
from minidiff.schedule import Index, Schedule

Kind = Literal["eps", "x0", "v", "u", "mu", "score"]
KINDS: tuple[str, ...] = get_args(Kind)

# Each entry maps (x_t, prediction, a, a_prev) to x_0 and back from (x_t, x_0); a = alpha_bar_t,
# a_prev = alpha_bar_{t-1}. Sources: eps, mu: Ho et al. 2020, section 3.2; v: Salimans & Ho 2022,
# appendix D; u, flow matching's velocity eps - x_0: Lipman et al. 2023; score: Vincent 2011.
_Map = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _x0_from_mu(x: Tensor, y: Tensor, a: Tensor, a_prev: Tensor) -> Tensor:
    one, none = torch.ones_like(a), torch.zeros_like(a)  # mu_tilde is linear in x_0 and x_t
    return (y - mu_tilde(none, x, a, a_prev)) / mu_tilde(one, none, a, a_prev)


_TO_X0: dict[str, _Map] = {
    "eps": lambda x, y, a, _: (x - (1 - a).sqrt() * y) / a.sqrt(),
    "x0": lambda x, y, a, _: y,
    "v": lambda x, y, a, _: a.sqrt() * x - (1 - a).sqrt() * y,
    "u": lambda x, y, a, _: (x - (1 - a).sqrt() * y) / (a.sqrt() + (1 - a).sqrt()),
    "mu": _x0_from_mu,
    "score": lambda x, y, a, _: (x + (1 - a) * y) / a.sqrt(),
}
_FROM_X0: dict[str, _Map] = {
    "eps": lambda x, x0, a, _: (x - a.sqrt() * x0) / (1 - a).sqrt(),
    "x0": lambda x, x0, a, _: x0,
    "v": lambda x, x0, a, _: (a.sqrt() * x - x0) / (1 - a).sqrt(),
    "u": lambda x, x0, a, _: (x - a.sqrt() * x0) / (1 - a).sqrt() - x0,
    "mu": lambda x, x0, a, a_prev: mu_tilde(x0, x, a, a_prev),
    "score": lambda x, x0, a, _: (a.sqrt() * x0 - x) / (1 - a),
}


def to_x0_eps(
    schedule: Schedule, kind: str, prediction: Tensor, xt: Tensor, t: Index
) -> tuple[Tensor, Tensor]:
    """(x0, eps) from a prediction of the given kind at x_t; t in 1..T.

    From eps, x0 = (x_t - sqrt(1 - a) eps)/sqrt(a), with a = alpha_bar_t:
    Ho et al. 2020, eq. (15); Song, Meng & Ermon 2021, eq. (9).
    A network that predicts eps has its eps returned untouched, not x_0 divided back.

    >>> schedule, xt = Schedule.linear(1000), torch.ones(1, 2)
    >>> x0, eps = to_x0_eps(schedule, "x0", torch.zeros(1, 2), xt, 1000)
    >>> bool((eps - 1).abs().max() < 1e-4)  # at t = T, x_t is almost all noise
    True
    """
    one_of("predict", kind, KINDS)
    admit({"t": t}, 1, schedule, xt=xt, prediction=prediction)
    return pair(kind, prediction, xt, *alpha_bars(schedule, xt, t, kind))


def from_x0(schedule: Schedule, kind: str, x0: Tensor, xt: Tensor, t: Index) -> Tensor:
    """The target of a network of the given kind: eps, x0, v, u, mu or score from (x_0, x_t).

    eps = (x_t - sqrt(a) x_0)/sqrt(1-a); v = sqrt(a) eps - sqrt(1-a) x_0; score = -eps/sqrt(1-a);
    u = eps - x_0, which is (sqrt(1-a) - sqrt(a)) x_t + (sqrt(a) + sqrt(1-a)) v;
    mu = mu_tilde(x_t, x_0), which is (x_t - beta_t/sqrt(1-a) eps)/sqrt(alpha_t): what mu_theta
    must predict, Ho et al. 2020, eq. (9), eq. (10).

    >>> schedule, x = Schedule.linear(1000), torch.ones(1, 2)
    >>> from_x0(schedule, "x0", x, 0 * x, 7).tolist()
    [[1.0, 1.0]]
    """
    one_of("predict", kind, KINDS)
    admit({"t": t}, 1, schedule, xt=xt, x0=x0)
    return target(kind, x0, xt, *alpha_bars(schedule, xt, t, kind))


def convert(
    schedule: Schedule, prediction: Tensor, xt: Tensor, t: Index, kind: str, to: str
) -> Tensor:
    """A prediction of one kind as another kind, at the same x_t.

    From eps to mu it is mu_theta of Ho et al. 2020, eq. (11).

    >>> schedule, xt = Schedule.linear(1000), torch.ones(1, 2)
    >>> s = convert(schedule, torch.ones(1, 2), xt, 1000, kind="eps", to="score")
    >>> round(float(s[0, 0]), 3)
    -1.0
    """
    one_of("predict", kind, KINDS)
    one_of("predict", to, KINDS)
    admit({"t": t}, 1, schedule, xt=xt, prediction=prediction)
    if kind == to:
        return cast(prediction, xt)
    a, a_prev = alpha_bars(schedule, xt, t, kind, to)
    return cast(_FROM_X0[to](xt, _TO_X0[kind](xt, prediction, a, a_prev), a, a_prev), xt)


def pair(kind: str, y: Tensor, xt: Tensor, a: Tensor, a_prev: Tensor) -> tuple[Tensor, Tensor]:
    """(x0, eps) from a prediction y: the formula of `to_x0_eps`, its arguments admitted already."""
    x0 = _TO_X0[kind](xt, y, a, a_prev)
    eps = y if kind == "eps" else _FROM_X0["eps"](xt, x0, a, a_prev)
    return cast(x0, xt), cast(eps, xt)


def target(kind: str, x0: Tensor, xt: Tensor, a: Tensor, a_prev: Tensor) -> Tensor:
    """The way back, the formula of `from_x0`."""
    return cast(_FROM_X0[kind](xt, x0, a, a_prev), xt)


def shown(kind: str, xt: Tensor, a: Tensor) -> Tensor:
    """What a network of this kind is given: x_t, but for u the point whose velocity u is.

    That point is z = (1 - s) x_0 + s eps = x_t / (sqrt(a) + sqrt(1-a)), at the clock
    s = sqrt(1-a) / (sqrt(a) + sqrt(1-a)), for which dz/ds = u: a straight line.
    """
    return cast(xt / (a.sqrt() + (1 - a).sqrt()), xt) if kind == "u" else xt


def alpha_bars(schedule: Schedule, xt: Tensor, t: Index, *kinds: str) -> tuple[Tensor, Tensor]:
    """(alpha_bar_t, alpha_bar_{t-1}); where no kind is mu, nobody reads the second, and it is a."""
    a = schedule.at(t, xt)
    return (a, schedule.at(t - 1, xt)) if "mu" in kinds else (a, a)
