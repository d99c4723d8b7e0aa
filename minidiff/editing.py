"""Chapter 25: inpainting and editing with a network as it is. Only the walk is another.

RePaint (Lugmayr et al. 2022) and SDEdit (Meng et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from minidiff.checks import admit, check_finite, known_part
from minidiff.checks_networks import check_model
from minidiff.checks_times import check_tau
from minidiff.denoiser import Clip, Denoiser
from minidiff.kinds import check_counts, check_scale
from minidiff.process import Gaussian, cast, diffuse, marginal, randn, transition
from minidiff.samplers import Step, ancestral


def inpaint(
    model: Denoiser,
    x_T: Tensor,
    x0: Tensor,
    mask: Tensor,
    tau: Sequence[float],
    *,
    resample: int = 1,
    jump: int = 1,
    clip: Clip | None = None,
    variance: str | None = None,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Iterator[Step]:
    """x_s ~ q(x_s | x_0) where mask is True, x_s ~ p_theta(x_s | x_t) elsewhere.

    Replacement (Song et al. 2021, appendix I.2): ancestral sampling, the known part put in anew at
    every level. The rest sees it only through x_t, too late where its own course is set already:
    the samples are not those of p(rest | known), however many steps there are. With resample > 1
    it is RePaint (Lugmayr et al. 2022, algorithm 1, their U): every `jump` steps are noised again
    by `transition` and walked anew, resample times in all, so that the parts come to agree. Nearer,
    still no exact sampler. (S - 1) resample + 1 network calls in S steps.

    x_T: (B, …), the state at tau[0]. x0: the known image, (B, …) or (1, …) for all; what it holds
    where mask is False is not looked at. mask: bool, broadcastable to x_T. clip, variance: as in
    `ancestral`. Yields the steps downwards; the last x holds x0 itself where mask is True.

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> x0, mask = torch.tensor([[0.5, torch.nan]]), torch.tensor([True, False])
    >>> steps = inpaint(model, torch.randn(3, 2), x0, mask, [1000, 600, 200, 0], resample=2)
    >>> *_, last = steps
    >>> last.x[:, 0].tolist(), bool(last.x.isfinite().all())
    ([0.5, 0.5, 0.5], True)
    """
    check_model(model)
    admit(x_T=x_T)
    grid = check_tau(tau, model.schedule.T)
    check_counts(resample=resample, jump=jump)
    model.check_variance(variance)
    x0, mask = known_part(x0, mask, x_T)
    check_scale(model.sigma_data, x0=torch.where(mask, x0, 0))
    schedule = model.schedule

    def draw(g: Gaussian) -> Tensor:
        return cast(g.mean + g.std * randn(x_T, generator), x_T)

    @torch.no_grad()
    def walk(cond: dict[str, Any]) -> Iterator[Step]:
        x = torch.where(mask, draw(marginal(schedule, x0, grid[0])), x_T)
        for t, s in pairwise(_path(grid, resample, jump)):
            if s > t:
                x = draw(transition(schedule, x, t, s))
                continue
            p = model(x, t, clip=clip, **cond)
            new, known = model.reverse(x, t, s, p, variance=variance), marginal(schedule, x0, s)
            mean = torch.where(mask, known.mean, new.mean)
            var = torch.where(mask, known.var, new.var)
            x = draw(Gaussian(mean, var)) if s else cast(mean, x_T)
            if model.self_conditioned:
                cond = {**cond, "x_self": p.x0}
            yield Step(s, x, p.x0)
        check_finite(x)

    return walk(cond)


def _path(grid: list[float], resample: int, jump: int) -> list[float]:
    """The grid with every `jump` steps walked `resample` times; the step to the data once.

    >>> _path([4, 3, 2, 1, 0], resample=2, jump=2)
    [4, 3, 2, 4, 3, 2, 1, 2, 1, 0]
    """
    path, above = grid[:1], grid[:-1]
    for i in range(0, len(above) - 1, jump):
        block = above[i : i + jump + 1]
        path = path + block[1:] + block * (resample - 1)
    return path + grid[-1:]


def sdedit(
    model: Denoiser,
    x0: Tensor,
    tau: Sequence[float],
    *,
    generator: torch.Generator | None = None,
    **how: Any,
) -> Iterator[Step]:
    """x_t ~ q(x_t | x_0) at t = tau[0], then ancestral sampling down tau: an image like x0.

    SDEdit (Meng et al. 2022, algorithm 1, here for this process), for a sketch or an image with
    changes pasted in. What survives is what the noise of tau[0] leaves: small t keeps x0, large t
    draws a new image. tau(T, S, start=t) gives the grid; how: as in `ancestral`. To change one
    part only, start `inpaint` from `diffuse` of x0 at tau[0].

    >>> from minidiff.schedule import Schedule
    >>> model = Denoiser(lambda x, t: torch.zeros_like(x), Schedule.linear(1000))
    >>> *_, last = sdedit(model, torch.zeros(2, 3), [300, 150, 0])
    >>> last.x.shape
    torch.Size([2, 3])
    """
    check_model(model)
    admit(x0=x0)
    check_scale(model.sigma_data, x0=x0)
    t, *_ = check_tau(tau, model.schedule.T, how.get("end", 0))
    xt = diffuse(model.schedule, x0, t, randn(x0, generator))
    return ancestral(model, xt, tau, generator=generator, **how)
