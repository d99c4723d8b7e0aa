"""Chapters 1 and 2: the two variances of a step from level s to level t, which may be any two."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

_Real = TypeVar("_Real", float, Tensor)


def beta_of(at: _Real, as_: _Real) -> _Real:
    """The variance that the way from s to t adds: 1 - alpha_bar_t/alpha_bar_s, beta_t if s = t - 1.

    Written as a difference of neighbours, which floating-point numbers hold exactly.

    >>> beta_of(0.45, 0.9)
    0.5
    """
    return (as_ - at) / as_


def beta_tilde_of(at: _Real, as_: _Real) -> _Real:
    """What remains of it when x_0 is known: (1 - alpha_bar_s) / (1 - alpha_bar_t) * beta_of.

    The variance of q(x_s | x_t, x_0); with s = t - 1, beta_tilde_t of Ho et al. 2020, eq. (7).

    >>> beta_tilde_of(0.45, 1.0)  # s = 0: x_0 is known
    0.0
    """
    return (1 - as_) / (1 - at) * beta_of(at, as_)
