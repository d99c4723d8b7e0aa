"""Chapter 16: exact likelihood of the ODE's model by the instantaneous change of variables."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from minidiff.adaptive import dopri5
from minidiff.checks import admit, check_probes, check_uint8
from minidiff.checks_networks import check_model
from minidiff.denoiser import Denoiser
from minidiff.kinds import check_scale, drawn_on
from minidiff.ode import predict_at
from minidiff.process import Gaussian, PerSample, randn


class Likelihood(NamedTuple):
    """What `log_likelihood` returns.

    nats: log p(x) of each sample, (B,). bits_per_dim: -log2 p per dimension of dequantized 8-bit
    images, (B,). x_T: the latent, (B, …). calls: how often the network was asked.
    """

    nats: Tensor
    bits_per_dim: Tensor
    x_T: Tensor
    calls: int


def dequantize(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """x = 2 (k + u)/256 - 1 with u ~ Uniform[0, 1): real numbers from 8-bit images.

    Theis et al. 2016. Not the scale k/127.5 - 1 of training: 128 levels fill a unit here, which is
    why `log_likelihood` adds log2 128 = 7 bits to a dimension. images: uint8, (B, …).

    >>> x = dequantize(torch.tensor([[0, 255]], dtype=torch.uint8))
    >>> bool((x >= -1).all() and (x < 1).all())
    True
    """
    check_uint8(images)
    if isinstance(generator, PerSample):
        u = generator.fill(torch.empty(images.shape), Tensor.uniform_)
    else:
        where = drawn_on(generator, images.device)
        u = torch.rand(images.shape, generator=generator, device=where)
    return 2 * (images + u.to(images.device)) / 256 - 1


def log_likelihood(
    model: Denoiser,
    x0: Tensor,
    *,
    probes: int | None = 1,
    noise: str = "rademacher",
    rtol: float = 1e-5,
    atol: float = 1e-5,
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Likelihood:
    """log p(x_0) of the ODE's model, by the instantaneous change of variables.

    Chen et al. 2018; Song et al. 2021, section 4.3. With x_1 = x_0 (sigma_1 is the data's level):
    log p(x_1) = log N(x_T; 0, I) + D/2 (log alpha_bar_T - log alpha_bar_1)
                 + integral of div eps_theta d sigma from sigma_1 to sigma_T.
    probes: Hutchinson probes for the divergence, fixed along the path (unbiased); None takes the
    exact trace, D backward passes. noise: "rademacher" or "gaussian" probes.

    >>> from minidiff.schedule import Schedule
    >>> schedule = Schedule.linear(1000)
    >>> model = Denoiser(lambda x, t: x * 0, schedule)
    >>> log_likelihood(model, torch.zeros(1, 2)).nats.shape
    torch.Size([1])
    """
    check_model(model)
    check_probes(probes, noise)
    admit(x0=x0)
    check_scale(model.sigma_data, x0=x0)
    schedule, dims = model.schedule, x0.shape[1:].numel()
    start, end = float(schedule.sigma[1]), float(schedule.sigma[-1])
    vectors = [randn(x0, generator) for _ in range(probes or 0)]
    if noise == "rademacher":
        vectors = [torch.where(v > 0, 1.0, -1.0).to(v) for v in vectors]
    calls = 0

    def f(u: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        sigma = math.exp(float(u))
        with torch.enable_grad():
            x = state[0].detach().requires_grad_()
            eps = predict_at(model, x, sigma, **cond).eps
            trace = _divergence(eps, x, vectors)
        return sigma * eps.detach(), sigma * trace

    with torch.no_grad():
        x = x0 / float(schedule.alpha_bar[1]) ** 0.5
        zero = torch.zeros(len(x0), dtype=x0.dtype, device=x0.device)
        x, integral = dopri5(f, (x, zero), math.log(start), math.log(end), rtol, atol)
        x_T = x * float(schedule.alpha_bar[-1]) ** 0.5
        prior = Gaussian(torch.zeros_like(x_T).double(), torch.ones_like(x_T).double())
        jump = dims / 2 * float((schedule.alpha_bar[-1] / schedule.alpha_bar[1]).log())
        nats = prior.log_prob(x_T) + jump + integral.double()
    return Likelihood(nats, 7 - nats / (dims * math.log(2)), x_T, calls)


def _divergence(eps: Tensor, x: Tensor, vectors: list[Tensor]) -> Tensor:
    """sum_i d eps_i / d x_i of each sample: exactly, or v^T J v averaged over probes."""
    if not eps.requires_grad:  # a network that does not depend on x
        return torch.zeros(len(x), dtype=x.dtype, device=x.device)
    if not vectors:
        flat = eps.flatten(1)
        trace = torch.zeros_like(flat[:, 0])
        for i in range(flat.shape[1]):
            (g,) = torch.autograd.grad(flat[:, i].sum(), x, retain_graph=True)
            trace = trace + g.flatten(1)[:, i]
        return trace.detach()
    trace = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for v in vectors:
        (g,) = torch.autograd.grad((eps * v).sum(), x, retain_graph=True)
        trace = trace + (g * v).flatten(1).sum(1)
    return trace.detach() / len(vectors)
