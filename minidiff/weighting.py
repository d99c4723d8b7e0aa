"""Chapters 4 and 10: weights of the loss at each t, from the bound's to min-SNR."""

from __future__ import annotations

from torch import Tensor

from minidiff.checks import one_of
from minidiff.checks_networks import check_schedule
from minidiff.kinds import check_number
from minidiff.schedule import Schedule


def weights_vlb(schedule: Schedule, variance: str = "small") -> Tensor:
    """gamma_t that turns L_gamma into L_{t-1} in nats per dimension (Ho et al. 2020, eq. (12)).

    beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha_bar_t)); sigma_t^2 is beta_tilde_t ("small") or
    beta_t ("large"), and beta_tilde_2 at t = 1, as in `Denoiser`.

    >>> w = weights_vlb(Schedule.linear(1000))
    >>> bool(w[1] > w[1000])
    True
    """
    check_schedule(schedule)
    one_of("variance", variance, ("small", "large"))
    var = (schedule.beta_tilde if variance == "small" else schedule.beta).clone()
    var[:2] = schedule.beta_tilde[2]
    return schedule.beta**2 / (2 * var * schedule.alpha * (1 - schedule.alpha_bar)).clamp(1e-300)


def weights_p2(schedule: Schedule, k: float = 1.0, power: float = 1.0) -> Tensor:
    """1 / (k + SNR_t)^power (Choi et al. 2022, P2 weighting, for the eps loss).

    >>> float(weights_p2(Schedule.linear(1000))[1000].round(decimals=3))
    1.0
    """
    check_schedule(schedule)
    check_number(k=k, power=power)
    if not k >= 0:
        raise ValueError(f"k must be at least 0, it is added to the SNR; got {k}")
    return (k + schedule.snr) ** -power


def weights_min_snr(schedule: Schedule, limit: float = 5.0) -> Tensor:
    """min(SNR_t, limit) / SNR_t (Hang et al. 2023, min-SNR-gamma, for the eps loss).

    >>> float(weights_min_snr(Schedule.linear(1000))[1000])
    1.0
    """
    check_schedule(schedule)
    check_number(limit=limit)
    if not limit > 0:
        raise ValueError(f"limit must be above 0, the largest SNR that counts in full; got {limit}")
    return limit / schedule.snr.clamp(min=limit)
