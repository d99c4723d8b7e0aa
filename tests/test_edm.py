"""EDM (Karras et al. 2022): the unit of the data, levels to train on, the sampler that churns."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from truth import IMAGES, noise, schedules, seeded, smooth, some

import minidiff as md
from minidiff import Churn, Denoiser, Schedule
from minidiff.parameterize import KINDS
from minidiff.toy import GaussianMixture

LEVELS = Schedule.geometric()


def table_1(sigma: float, sigma_data: float) -> tuple[float, float, float]:
    """c_skip, c_out and c_in of Karras et al. 2022, table 1."""
    total = sigma**2 + sigma_data**2
    skip, out = sigma_data**2 / total, sigma * sigma_data / math.sqrt(total)
    return skip, out, 1 / math.sqrt(total)


# -- preconditioning -----------------------------------------------------------------------------


@some
@given(st.floats(0.002, 80), st.floats(0.1, 5))
def test_v_in_the_unit_of_the_data_is_edms_preconditioning(sigma: float, sigma_data: float) -> None:
    skip, out, in_ = table_1(sigma, sigma_data)
    x_bar, seen = sigma * noise(*IMAGES), []

    def minus_F(x: Tensor, t: Tensor) -> Tensor:
        seen.append(x)
        return smooth(x, t)

    model = Denoiser(minus_F, LEVELS, "v", clip=False, sigma_data=sigma_data)
    p = md.predict_at(model, x_bar, sigma)
    torch.testing.assert_close(seen[0], in_ * x_bar, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(p.x0, skip * x_bar - out * p.raw, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(p.eps, (x_bar - p.x0) / sigma, rtol=1e-6, atol=1e-6)


def test_input_and_target_have_variance_1_at_every_level() -> None:
    x0, eps, sigma_data = 0.5 * noise(100_000, 2, seed=1), noise(100_000, 2, seed=2), 0.5
    seen: list[Tensor] = []

    def net(x: Tensor, t: Tensor) -> Tensor:
        seen.append(x)
        return x

    model = Denoiser(net, LEVELS, "v", sigma_data=sigma_data)
    for t in (1, 300, 500.5, 800, 1000):
        xt = md.diffuse(LEVELS, x0, t, eps)
        model.ask(xt, t)
        assert abs(float(seen[-1].std()) - 1) < 0.01
        target = model.target(x0, xt, t)
        assert abs(float(target.std()) - 1) < 0.01
        assert abs(float((target * seen[-1]).mean())) < 0.01  # c_skip leaves nothing to a line


def test_the_loss_is_that_of_F() -> None:
    """lambda(sigma) |D - x_0|^2 with lambda = 1/c_out^2 (Karras et al. 2022, eq. (8))."""
    model = Denoiser(smooth, LEVELS, "v", clip=False, sigma_data=0.5)
    x0, t = noise(6, 2, 3, seed=1), torch.tensor([1.0, 200.25, 400, 600.5, 800, 1000])
    losses = md.loss_simple(model, x0, t, generator=seeded(3))
    xt = md.diffuse(LEVELS, x0, t, md.randn(x0, seeded(3)))
    sigma = torch.tensor([LEVELS.sigma_at(float(s)) for s in t])
    out = sigma * 0.5 / (sigma**2 + 0.25).sqrt()
    error = ((model(xt, t).x0 - x0) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(losses, error / out**2, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.002, 0.1, 1.0, 80.0])
def test_for_gaussian_data_F_is_nothing(sigma: float) -> None:
    """N(0, sigma_data^2): c_skip x is the exact denoiser already."""
    data = GaussianMixture(torch.zeros(1, 3), std=0.5)
    model = Denoiser(lambda x, t: torch.zeros_like(x), LEVELS, "v", clip=False, sigma_data=0.5)
    t = float(LEVELS.t_at_sigma(torch.tensor(sigma, dtype=torch.float64)))
    xt = noise(4, 3)
    torch.testing.assert_close(model(xt, t).x0, data.posterior_mean(LEVELS, xt, t))


@some
@given(schedules(), st.sampled_from(KINDS), st.floats(0.2, 3), st.data())
def test_every_kind_has_a_unit(
    schedule: Schedule, kind: str, sigma_data: float, data: st.DataObject
) -> None:
    """A network that says what it should, in its unit, is read as (x_0, eps)."""
    t = data.draw(st.integers(1, schedule.T))
    x0, eps = noise(3, 4, seed=1), noise(3, 4, seed=2)
    xt = md.diffuse(schedule, x0, t, eps)
    model = Denoiser(smooth, schedule, kind, clip=False, sigma_data=sigma_data)
    model.net = lambda x, t: answer
    answer = model.target(x0, xt, t)
    p = model(xt, t)
    scale = 1 + 1e3 / float(schedule.alpha_bar[t])
    torch.testing.assert_close(p.x0, x0, rtol=0, atol=1e-10 * scale)
    torch.testing.assert_close(p.eps, eps, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_clipping_and_guidance_keep_the_unit(kind: str) -> None:
    net = lambda x, t, labels: smooth(x, t) * (1 + labels[:, None])  # noqa: E731
    schedule = Schedule.linear(100)
    model = Denoiser(net, schedule, kind, sigma_data=0.5)
    xt, y = 3 * noise(4, 5), torch.tensor([0, 1, 2, 0])
    guided = md.guide(model, y, 1.5, null=3)
    p, a = guided(xt, 40), schedule.at(40, xt)
    torch.testing.assert_close(a.sqrt() * p.x0 + (1 - a).sqrt() * p.eps, xt)
    assert float(p.x0.abs().max()) <= 1
    with_label, without = (model(xt, 40, clip=False, labels=k) for k in (y, torch.full_like(y, 3)))
    bare = guided(xt, 40, clip=False)
    torch.testing.assert_close(bare.eps, 2.5 * with_label.eps - 1.5 * without.eps)
    by = md.guide_by_classifier(
        Denoiser(smooth, schedule, kind, sigma_data=0.5), lambda x, t: x, y, w=2.0
    )
    uphill = torch.nn.functional.one_hot(y, 5) - xt.softmax(1)
    plain = Denoiser(smooth, schedule, kind, sigma_data=0.5)(xt, 40, clip=False).eps
    moved = by(xt, 40, clip=False).eps
    torch.testing.assert_close(moved, plain - 2 * (1 - a).sqrt() * uphill)


# -- where to train, where to step ---------------------------------------------------------------


def test_geometric_levels_are_even_in_log_sigma() -> None:
    s = Schedule.geometric(T=11, sigma_min=0.01, sigma_max=100.0)
    torch.testing.assert_close(s.sigma[1:].log10(), torch.linspace(-2, 2, 11, dtype=torch.float64))
    assert math.isclose(s.sigma_at(2.25), 10**-1.5, rel_tol=1e-9)  # between the steps, too
    torch.testing.assert_close(Schedule.from_state(s.state()).alpha_bar, s.alpha_bar)


def test_levels_of_a_batch_are_quantiles_of_a_log_normal() -> None:
    n = 1000
    t, w = md.LogNormalTimes(LEVELS).sample(n, generator=seeded())
    log_sigma = torch.tensor([LEVELS.sigma_at(float(s)) for s in t]).log().sort().values
    below = torch.special.ndtr((log_sigma.double() + 1.2) / 1.2)  # even, if they are
    i = torch.arange(n)
    assert bool(((below > i / n - 1e-6) & (below < (i + 1) / n + 1e-6)).all())
    assert w.tolist() == [1.0] * n
    assert bool((t[1:] < t[:-1]).any())  # in random order
    narrow = Schedule.geometric(10, 0.3, 0.4)  # levels beyond the ends become the ends
    assert sorted({1.0, 10.0} & set(md.LogNormalTimes(narrow).sample(n)[0].tolist())) == [1, 10]


# -- the sampler ---------------------------------------------------------------------------------


def denoise(x: Tensor, sigma: float) -> Tensor:
    """A bent stand-in for a trained EDM denoiser D(x; sigma)."""
    skip, out, in_ = table_1(sigma, 0.5)
    return skip * x + out * torch.sin(2 * in_ * x + math.log(sigma) / 4)


def edm_network(x: Tensor, t: Tensor) -> Tensor:
    """Its -F, as it stands behind a Denoiser: shown c_in x, at t - 1."""
    c_noise = [math.log(LEVELS.sigma_at(float(s) + 1)) / 4 for s in t]
    return -torch.sin(2 * x + torch.tensor(c_noise).to(x).reshape(-1, *(1,) * (x.ndim - 1)))


EDM = Denoiser(edm_network, LEVELS, "v", clip=False, sigma_data=0.5)


def algorithm_2(x: Tensor, sigmas: list[float], churn: Churn, generator: Any) -> list[Tensor]:
    """Karras et al. 2022, algorithm 2, line by line."""
    walk, N = [], len(sigmas) - 1
    for t, t_next in pairwise(sigmas):
        inside = churn.low <= t <= churn.high
        gamma = min(churn.amount / N, math.sqrt(2) - 1) if inside else 0.0
        t_hat = t + gamma * t
        if gamma:
            eps = churn.noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = x + math.sqrt(t_hat**2 - t**2) * eps
        d = (x - denoise(x, t_hat)) / t_hat
        after = x + (t_next - t_hat) * d
        if t_next:
            d_after = (after - denoise(after, t_next)) / t_next
            after = x + (t_next - t_hat) * (d / 2 + d_after / 2)
        x = after
        walk.append(x)
    return walk


@pytest.mark.parametrize(
    "churn", [None, Churn(4), Churn(40, 0.05, 50, 1.003), Churn(1e9, 0.01, 1), Churn(0)]
)
def test_heun_with_churn_is_algorithm_2(churn: Churn | None) -> None:
    tau = md.tau(LEVELS, S=18, spacing="karras", start=950)  # leaves room above
    sigmas = [LEVELS.sigma_at(t) for t in tau]
    x_bar = sigmas[0] * noise(*IMAGES)
    x_T = x_bar / math.sqrt(1 + sigmas[0] ** 2)
    ours = list(md.solve(EDM, x_T, tau, "heun", churn=churn, generator=seeded(5)))
    theirs = algorithm_2(x_bar, sigmas, churn or Churn(0), seeded(5))
    for step, x, sigma in zip(ours, theirs, sigmas[1:], strict=True):
        torch.testing.assert_close(step.x * math.sqrt(1 + sigma**2), x, rtol=1e-7, atol=1e-7)


def test_noise_is_not_put_in_beyond_the_schedule() -> None:
    churn = Churn(1e9)
    assert churn.raised(80.0, 10, most=80.0) == 80.0
    assert churn.raised(70.0, 10, most=80.0) == 80.0
    assert math.isclose(churn.raised(1.0, 10, most=80.0), math.sqrt(2))


@pytest.mark.parametrize("method", ["heun", "rk4"])
def test_churn_draws_from_the_data(method: str) -> None:
    """For one Gaussian and a perfect network the variance stays that of the data."""
    data = GaussianMixture(torch.zeros(1, 1), std=0.5)
    model = Denoiser(data.net(LEVELS), LEVELS, clip=False)
    x_T = noise(40_000, 1)
    tau = md.tau(LEVELS, S=160, spacing="karras")
    *_, last = md.solve(model, x_T, tau, method, churn=Churn(40), generator=seeded(1))
    assert abs(float(last.x.std()) - 0.5) < 0.01
    assert abs(float((last.x * x_T).mean() / last.x.std())) < 0.2  # x_T is forgotten


# -- somebody else's -----------------------------------------------------------------------------


def theirs(**options: Any) -> Any:
    diffusers = pytest.importorskip("diffusers", reason="parity needs diffusers")
    return diffusers.EDMEulerScheduler(prediction_type="v_prediction", **options)


def test_diffusers_has_the_same_levels_and_preconditioning() -> None:
    scheduler = theirs()
    scheduler.set_timesteps(20)
    tau = md.tau(LEVELS, S=20, spacing="karras")
    sigmas = torch.tensor([LEVELS.sigma_at(t) for t in tau])
    torch.testing.assert_close(scheduler.sigmas, sigmas, rtol=1e-5, atol=0)
    c_noise = torch.tensor(tau[:-1]) - 1  # t is c_noise but for a factor and a shift
    line = math.log(0.002) / 4 + c_noise / 999 * math.log(80 / 0.002) / 4
    torch.testing.assert_close(scheduler.timesteps, line, rtol=0, atol=1e-5)
    for sigma in (0.002, 0.5, 80.0):
        x_bar = sigma * noise(2, 3)
        p = md.predict_at(EDM, x_bar, sigma)
        x0 = scheduler.precondition_outputs(x_bar, p.raw, sigma)
        torch.testing.assert_close(p.x0, x0, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("amount", [0.0, 5.0, 40.0])
def test_diffusers_euler_steps(amount: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = theirs()
    module = __import__(type(scheduler).__module__, fromlist=["randn_tensor"])
    put_in: list[Tensor] = []  # theirs is told the network's answer before it draws the noise
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: put_in[-1])
    S, churn, generator = 12, Churn(amount, 0.05, 50, 1.003), seeded(7)
    scheduler.set_timesteps(S)
    sigmas = scheduler.sigmas.double().tolist()
    x = sigmas[0] * noise(*IMAGES, dtype=torch.float32)
    x_T = x / math.sqrt(1 + sigmas[0] ** 2)
    scheduler.is_scale_input_called = True
    tau = md.tau(LEVELS, S, "karras")
    walk = md.solve(EDM, x_T, tau, "euler", churn=churn, generator=seeded(7))
    for t, sigma, step, after in zip(scheduler.timesteps, sigmas, walk, sigmas[1:], strict=False):
        high, at = churn.raised(sigma, S, 1e9), x
        if high > sigma:
            put_in.append(md.randn(x, generator))
            at = x + put_in[-1] * churn.noise * math.sqrt(high**2 - sigma**2)
        raw = md.predict_at(EDM, at, high).raw
        options = {"s_churn": amount, "s_tmin": 0.05, "s_tmax": 50, "s_noise": 1.003}
        x = scheduler.step(raw, t, x, **options).prev_sample
        mine = step.x * math.sqrt(1 + after**2)
        torch.testing.assert_close(mine, x, rtol=1e-4, atol=1e-4)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Denoiser(smooth, LEVELS, sigma_data=0.0), "sigma_data must be above 0"),
        (lambda: Denoiser(smooth, LEVELS, sigma_data=math.nan), "sigma_data must be above 0"),
        (lambda: Schedule.geometric(10, 1.0, 0.1), "noise levels must rise"),
        (lambda: Schedule.geometric(10, 0.0), "noise levels must rise"),
        (lambda: Schedule.geometric(1), "T must be a whole number of 2"),
        (lambda: Churn(-1.0), "churn needs amount >= 0"),
        (lambda: Churn(1.0, low=2.0, high=1.0), "churn needs amount >= 0"),
        (
            lambda: md.solve(EDM, noise(1, 2), [1000, 1, 0], "dpm++", churn=Churn(1)),
            "churn is for methods of one step",
        ),
        (lambda: md.LogNormalTimes(LEVELS, std=-1.0), "std must be a spread"),
        (
            lambda: md.loss_gamma(EDM, noise(1, 2), torch.tensor([1.5]), torch.ones(1001)),
            "t must be whole",
        ),
        (lambda: md.TrainConfig(times="log-normal", loss="vlb"), "lie between the steps"),
        (lambda: md.TrainConfig(sigma_data=0.0), "sigma_data must be"),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()
