"""Flow matching is v-prediction at another clock: the path, the velocity, the steps, the times."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from truth import IMAGES, noise, schedules, seeded, smooth, some

import minidiff as md
from minidiff import Denoiser, Schedule
from minidiff.toy import GaussianMixture

LINE = Schedule.flow(1000)


def clock(schedule: Schedule, t: float) -> tuple[float, float]:
    """(s, k): the flow's clock at t, and z = x_t / k, both from sqrt(alpha_bar)."""
    a = schedule.alpha_bar_at(t)
    k = math.sqrt(a) + math.sqrt(1 - a)
    return math.sqrt(1 - a) / k, k


@some
@given(schedules(), st.data())
def test_the_straight_path_is_the_curved_one_scaled(
    schedule: Schedule, data: st.DataObject
) -> None:
    t = data.draw(st.floats(1, schedule.T))
    x0, eps = noise(2, 3, seed=1), noise(2, 3, seed=2)
    xt, (s, k) = md.diffuse(schedule, x0, t, eps), clock(schedule, t)
    torch.testing.assert_close(xt / k, (1 - s) * x0 + s * eps, rtol=0, atol=1e-12)
    assert math.isclose(s, schedule.sigma_at(t) / (1 + schedule.sigma_at(t)), rel_tol=1e-9)
    # its velocity is eps - x0, and v by a line with known coefficients
    a = schedule.alpha_bar_at(t)
    A, B = math.sqrt(a), math.sqrt(1 - a)
    u, v = (md.from_x0(schedule, kind, x0, xt, t) for kind in ("u", "v"))
    torch.testing.assert_close(u, eps - x0, rtol=0, atol=1e-9 / B)
    torch.testing.assert_close(u, (B - A) * xt + (A + B) * v, rtol=0, atol=1e-9 / B)
    # and dz/ds
    h = 1e-4
    ahead, behind = ((1 - c) * x0 + c * eps for c in (s + h, s - h))
    torch.testing.assert_close((ahead - behind) / (2 * h), eps - x0)


def test_the_schedule_is_the_line_with_even_steps() -> None:
    for t in (1, 250, 500, 999, 1000):
        assert math.isclose(clock(LINE, t)[0], 0.999 * t / 1000, rel_tol=1e-9)
    assert clock(Schedule.flow(10, last=0.5), 10)[0] == pytest.approx(0.5)
    torch.testing.assert_close(Schedule.from_state(LINE.state()).alpha_bar, LINE.alpha_bar)


def test_the_network_sees_the_point_on_the_line() -> None:
    seen: list[Tensor] = []

    def net(z: Tensor, t: Tensor) -> Tensor:
        seen.append(z)
        return smooth(z, t)

    x0, eps = noise(2, *IMAGES)
    for t in (1, 400.5, 1000):
        xt, (s, _) = md.diffuse(LINE, x0, t, eps), clock(LINE, t)
        Denoiser(net, LINE, "u").ask(xt, t)
        torch.testing.assert_close(seen[-1], (1 - s) * x0 + s * eps)


def test_the_loss_is_flow_matchings() -> None:
    """|eps - x_0 - u_theta(z, s)|^2 (Lipman et al. 2023, with the path of Liu et al. 2023)."""
    x0, t = noise(4, 2, 3, seed=1), torch.tensor([1.0, 300.5, 700, 1000])
    losses = md.loss_simple(Denoiser(smooth, LINE, "u"), x0, t, generator=seeded(3))
    eps = md.randn(x0, seeded(3))
    s = torch.tensor([clock(LINE, float(i))[0] for i in t]).double().reshape(-1, 1, 1)
    bare = (eps - x0 - smooth((1 - s) * x0 + s * eps, t - 1)) ** 2
    torch.testing.assert_close(losses, bare.flatten(1).mean(1), rtol=1e-6, atol=1e-6)


def test_a_v_network_becomes_a_flow_network() -> None:
    """One trained network in the other's coordinates draws the same images, step by step."""
    schedule = Schedule.cosine(1000)
    v_model = Denoiser(smooth, schedule, "v", clip=False)

    def net(z: Tensor, t: Tensor) -> Tensor:
        a = schedule.at(t + 1, z)
        A, B = a.sqrt(), (1 - a).sqrt()
        xt = (A + B) * z
        return (B - A) * xt + (A + B) * smooth(xt, t)

    x_T, tau = noise(*IMAGES), md.tau(1000, S=12)
    u_walk = md.ddim(Denoiser(net, schedule, "u", clip=False), x_T, tau)
    for mine, other in zip(u_walk, md.ddim(v_model, x_T, tau), strict=True):
        torch.testing.assert_close(mine.x, other.x, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("spacing", ["linear", "quadratic", "karras", "logsnr"])
def test_ddim_is_eulers_step_along_the_line(spacing: str) -> None:
    """z_next = z + (s_next - s) u(z, s), whatever the grid."""
    model = Denoiser(smooth, LINE, "u", clip=False)
    tau = md.tau(LINE, 15, spacing)
    x_T = noise(*IMAGES)
    s, k = clock(LINE, 1000)
    z = x_T / k
    solved = md.solve(model, x_T, tau, "euler")
    for t, walked, also in zip(tau, md.ddim(model, x_T, tau), solved, strict=False):
        u = smooth(z, torch.full((len(z),), t - 1))
        s_next, k = clock(LINE, walked.t)
        z, s = z + (s_next - s) * u, s_next
        torch.testing.assert_close(walked.x / k, z, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(also.x / k, z, rtol=1e-6, atol=1e-6)


def test_the_exact_velocity_of_a_gaussian() -> None:
    """Data N(m, v): E[eps - x_0 | z] in closed form."""
    mean, var = 0.7, 0.25
    data = GaussianMixture(torch.full((1, 1), mean), std=0.5)
    for t in (1, 500, 1000):
        s, k = clock(LINE, t)
        z = noise(5, 1)
        spread = (1 - s) ** 2 * var + s**2
        u = (s - (1 - s) * var) / spread * (z - (1 - s) * mean) - mean
        mine = md.convert(LINE, data.eps(LINE, k * z, t), k * z, t, "eps", "u")
        torch.testing.assert_close(mine, u, rtol=1e-5, atol=1e-5)


def test_logit_normal_times() -> None:
    """logit s ~ N(0, 1) (Esser et al. 2024): the levels of a log-normal, mean 0 and std 1."""
    n = 1000
    t, _ = md.LogNormalTimes(LINE, mean=0.0, std=1.0).sample(n, generator=seeded())
    s = torch.tensor([clock(LINE, float(i))[0] for i in t], dtype=torch.float64).sort().values
    i = torch.arange(n)
    below = torch.special.ndtr(s.logit())
    assert bool(((below > i / n - 1e-6) & (below < (i + 1) / n + 1e-6)).all())


# -- somebody else's -----------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_diffusers_euler_steps(shift: float) -> None:
    diffusers = pytest.importorskip("diffusers", reason="parity needs diffusers")
    scheduler: Any = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=[0.99 - 0.09 * i for i in range(11)])
    share = scheduler.sigmas.double()  # theirs is called sigma, and is the clock s
    tau = md.tau_at(LINE, sigma=share / (1 - share))
    s, k = clock(LINE, tau[0])
    assert math.isclose(s, float(share[0]), rel_tol=1e-6)
    x_T = noise(*IMAGES, dtype=torch.float32)
    z = x_T / k
    walk = md.ddim(Denoiser(smooth, LINE, "u", clip=False), x_T, tau)
    for at, t, step in zip(scheduler.timesteps, tau, walk, strict=False):
        u = smooth(z, torch.full((len(z),), t - 1))
        z = scheduler.step(u, at, z).prev_sample
        torch.testing.assert_close(step.x / clock(LINE, step.t)[1], z, rtol=1e-4, atol=1e-5)


def test_diffusers_path_and_times() -> None:
    diffusers = pytest.importorskip("diffusers", reason="parity needs diffusers")
    scheduler: Any = diffusers.FlowMatchEulerDiscreteScheduler()
    x0, eps = noise(2, 1, 3, dtype=torch.float32)
    at = scheduler.timesteps[300:301]
    (s,) = scheduler.sigmas[scheduler.timesteps == at].tolist()
    t = float(LINE.t_at_sigma(torch.tensor(s / (1 - s), dtype=torch.float64)))
    theirs = scheduler.scale_noise(x0[None], at, eps[None])
    ours = md.diffuse(LINE, x0[None], t, eps[None]) / clock(LINE, t)[1]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("last", [0.0, 1.0, -0.1, math.nan])
def test_the_line_ends_before_nothing_is_left(last: float) -> None:
    with pytest.raises(ValueError, match="last must be between 0"):
        Schedule.flow(10, last)
