"""The ODE: DDIM is Euler, every method has its order, encode and decode are inverse."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from truth import IMAGES, VECTORS, few, noise, schedules, slope, smooth, states, zeros

import minidiff as md
from minidiff import Denoiser, Schedule
from minidiff.parameterize import KINDS
from minidiff.spacing import SPACINGS
from minidiff.toy import GaussianMixture

S1000 = Schedule.linear(1000)
MIXTURE = GaussianMixture(torch.tensor([[-1.0], [0.6]]), torch.tensor([0.5, 0.4]))
# sigma_t = 3 t/T: on it every method sees steps of equal size.
EVEN = Schedule.from_alpha_bar(lambda u: 1 / (1 + (3 * u) ** 2), T=1024)
X = noise(8, 1)


def last(walk) -> Tensor:  # type: ignore[no-untyped-def]
    *_, step = walk
    return step.x


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("schedule", [S1000, Schedule.cosine(100)])
def test_ddim_is_euler_in_x_bar_and_sigma(
    schedule: Schedule, clip: bool, spacing: str, shape: tuple[int, ...]
) -> None:
    model = Denoiser(smooth, schedule, clip=clip)
    tau = md.tau(schedule, 25, spacing)
    x_T = noise(*shape)
    steps = list(md.ddim(model, x_T, tau))
    solved = list(md.solve(model, x_T, tau, "euler", clip=clip))
    x_bar = x_T * math.sqrt(1 + schedule.sigma_at(tau[0]) ** 2)
    for step, other, (t, s) in zip(steps, solved, pairwise(tau), strict=True):
        a, b = schedule.sigma_at(t), schedule.sigma_at(s)
        eps = model(x_bar / math.sqrt(1 + a**2), t).eps
        x_bar = x_bar + (b - a) * eps
        for x in (step.x, other.x):
            far = (x - x_bar / math.sqrt(1 + b**2)).abs().max()
            assert float(far) < 1e-12 * max(1.0, float(x.abs().max()))
        assert step.t == other.t == s
        torch.testing.assert_close(step.x0, other.x0, rtol=1e-9, atol=1e-9)


def error_at(method: str, n: int) -> float:
    """Against the exact flow from sigma = 3 to sigma = 0.375, in n steps."""
    model = Denoiser(MIXTURE.net(EVEN), EVEN, clip=False)
    grid = [*range(1024, 127, -(896 // n)), 0]
    walk = md.solve(model, X, grid, method)
    for step in walk:
        if step.t == 128:
            break
    return float((step.x - MIXTURE.flow(EVEN, X, 1024, 128)).abs().max())


@pytest.mark.parametrize(
    ("method", "order", "steps"),
    [
        ("euler", 1, [56, 112, 224, 448]),
        ("heun", 2, [28, 56, 112, 224]),
        ("rk4", 4, [14, 28, 56, 112]),
        ("dpm++", 2, [56, 112, 224, 448]),
    ],
)
def test_order_of_convergence(method: str, order: int, steps: list[int]) -> None:
    errors = [error_at(method, n) for n in steps]
    assert slope(steps, errors) == pytest.approx(order, abs=0.15)


def test_higher_order_is_better_at_equal_cost() -> None:
    assert error_at("dpm++", 28) < error_at("euler", 28) / 3
    assert error_at("rk4", 7) < error_at("euler", 28)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("rk4", 2)])
def test_decode_of_encode_is_the_input(method: str, order: int) -> None:
    """Error like 1/steps^order; the step that touches sigma = 0 is Euler's, so at most 2."""
    model = Denoiser(MIXTURE.net(EVEN), EVEN, clip=False)
    x0 = MIXTURE.sample(16, torch.Generator().manual_seed(0), dtype=torch.float64)
    steps, errors = [16, 32, 64, 128], []
    for n in steps:
        latent = md.encode(model, x0, n, method=method)
        back = md.decode(model, latent, n, method=method)
        errors.append(float((back - x0).abs().max()))
    assert slope(steps, errors) > order - 0.15
    assert errors[-1] < {"euler": 0.05, "heun": 2e-3, "rk4": 2e-3}[method]


@pytest.mark.parametrize("method", ["euler", "heun", "rk4"])
def test_encode_finds_the_exact_latent(method: str) -> None:
    model = Denoiser(MIXTURE.net(EVEN), EVEN, clip=False)
    x0 = MIXTURE.sample(16, torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = MIXTURE.flow(EVEN, x0, 0, 1024)
    errors = [
        float((md.encode(model, x0, n, method=method) - exact).abs().max()) for n in (32, 128)
    ]
    assert errors[1] < errors[0] / 3
    assert errors[1] < 0.05


ONE = GaussianMixture(torch.tensor([[0.4, -0.3]]), 0.5)


def along(schedule: Schedule, x: Tensor, a: float, b: float) -> Tensor:
    """The ODE of N(m, v I) from x_a to x_b, on paper: (x_bar - m)/sqrt(v + sigma^2) stays."""
    sa, sb = schedule.sigma_at(a), schedule.sigma_at(b)
    m, v = torch.tensor([0.4, -0.3]).double(), 0.25
    x_bar = m + (x * math.sqrt(1 + sa**2) - m) * math.sqrt((v + sb**2) / (v + sa**2))
    return x_bar / math.sqrt(1 + sb**2)


@pytest.mark.parametrize("schedule", [S1000, Schedule.cosine(500)])
@pytest.mark.parametrize("spacing", ["linear", "logsnr", "karras"])
@pytest.mark.parametrize(("low", "high"), [(0, 400), (30, 400), (1, 450), (120, None)])
def test_encode_and_decode_go_from_any_t_to_any_t(
    low: int, high: int | None, spacing: str, schedule: Schedule
) -> None:
    model, x = Denoiser(ONE.net(schedule), schedule, clip=False), noise(4, 2)
    top = schedule.T if high is None else high
    how = {"method": "heun", "spacing": spacing}
    latent = md.encode(model, x, 100, start=low, end=high, **how)
    torch.testing.assert_close(latent, along(schedule, x, low, top), rtol=0, atol=0.02)
    image = md.decode(model, x, 100, start=high, end=low, **how)
    torch.testing.assert_close(image, along(schedule, x, top, low), rtol=0, atol=0.02)
    back = md.decode(model, latent, 100, start=high, end=low, **how)
    torch.testing.assert_close(back, x, rtol=0, atol=0.02)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("dpm++", 2), ("rk4", 4)])
def test_any_grid_of_levels_is_solved_with_the_methods_order(method: str, order: int) -> None:
    """Even steps of sigma^0.3, a grid without a name, on a schedule of quite another shape."""
    schedule = Schedule.cosine(1000)
    model, x = Denoiser(ONE.net(schedule), schedule, clip=False), noise(4, 2)
    steps, errors = [12, 24, 48], []
    for n in steps:
        sigma = torch.linspace(20**0.3, 0.05**0.3, n + 1, dtype=torch.float64) ** (1 / 0.3)
        grid = md.tau_at(schedule, sigma=sigma)
        x_end = last(md.solve(model, x, grid, method, end=grid[-1]))
        errors.append(float((x_end - along(schedule, x, grid[0], grid[-1])).abs().max()))
    assert slope(steps, errors) > order - 0.3


def test_karras_grid_is_nearer_than_even_t_with_few_euler_steps() -> None:
    """Why it has a name: a narrow Gaussian, whose curve bends at small sigma."""
    narrow = GaussianMixture(torch.tensor([[0.0]]), 0.05)
    model, x = Denoiser(narrow.net(S1000), S1000, clip=False), noise(8, 1)
    exact = narrow.flow(S1000, x, 1000, 0)
    error = {
        spacing: float((last(md.ddim(model, x, md.tau(S1000, 20, spacing))) - exact).abs().max())
        for spacing in ("linear", "karras")
    }
    assert error["karras"] < error["linear"] / 2


def test_adaptive_follows_the_exact_flow() -> None:
    schedule = Schedule.linear(1000)
    model = Denoiser(MIXTURE.net(schedule), schedule, clip=False)
    x, calls = md.solve_adaptive(model, X, rtol=1e-8, atol=1e-8)
    x_1 = MIXTURE.flow(schedule, X, 1000, 1)  # below sigma_1 it takes one Euler step
    torch.testing.assert_close(x, MIXTURE.posterior_mean(schedule, x_1, 1), rtol=0, atol=1e-6)
    torch.testing.assert_close(x, MIXTURE.flow(schedule, X, 1000, 0), rtol=0, atol=1e-3)
    assert calls < 500
    loose, fewer = md.solve_adaptive(model, X, rtol=1e-3, atol=1e-3)
    assert fewer < calls
    torch.testing.assert_close(loose, x, rtol=0, atol=0.02)


def test_velocity_is_the_slope_of_the_exact_flow() -> None:
    model = Denoiser(MIXTURE.net(S1000), S1000, clip=False)
    for t in (100, 400, 800):
        ends = [MIXTURE.flow(S1000, X, 1000, s) for s in (t, t + 1)]
        v = md.velocity(model, (ends[0] + ends[1]) / 2, t + 0.5)
        torch.testing.assert_close(v, ends[1] - ends[0], rtol=1e-3, atol=1e-8)


@few
@given(schedules(), st.floats(0, 1), st.sampled_from(KINDS))
def test_velocity_is_the_field_of_sigma_in_another_time(
    schedule: Schedule, u: float, kind: str
) -> None:
    """Chain rule: x = sqrt(ab) x_bar, d x_bar = eps d sigma, by central difference in t."""
    t = 1.01 + u * (schedule.T - 1.02)
    t = t if abs(t - round(t)) > 0.01 else round(t) + 0.5 if t < schedule.T - 1 else round(t) - 0.5
    x, h = noise(3, 4), 1e-5
    model = Denoiser(smooth, schedule, kind, clip=False)
    a, low, high = (float(schedule.at(s, x)) for s in (t, t - h, t + h))
    sigma, rise = math.sqrt(1 / a - 1), math.sqrt(1 / high - 1) - math.sqrt(1 / low - 1)
    eps = md.predict_at(model, x / math.sqrt(a), sigma).eps
    slope_of_scale = (math.sqrt(high) - math.sqrt(low)) / (2 * h)
    expected = slope_of_scale * x / math.sqrt(a) + math.sqrt(a) * rise / (2 * h) * eps
    v = md.velocity(model, x, t)
    torch.testing.assert_close(v, expected, rtol=1e-4, atol=1e-6 + 1e-5 * float(v.abs().max()))


def test_predict_at_asks_between_the_steps() -> None:
    asked: list[float] = []

    def net(x: Tensor, t: Tensor) -> Tensor:
        asked.append(float(t[0]))
        return x

    model = Denoiser(net, S1000)
    sigma = S1000.sigma
    between = float((sigma[500] * sigma[501]).sqrt())
    for s in (float(sigma[500]), between, 0.0, 1e9):
        md.predict_at(model, torch.ones(2, 3).double(), s)
    assert asked == pytest.approx([499, 499.5, 0, 999], abs=1e-6)
    x0, eps, *_ = md.predict_at(model, noise(2, 3), between)
    torch.testing.assert_close(x0 + between * eps, noise(2, 3))


@few
@given(schedules(max_T=12), states(), st.sampled_from(["euler", "heun", "rk4", "dpm++"]))
def test_any_batch(schedule: Schedule, x: Tensor, method: str) -> None:
    model = Denoiser(lambda x, t: smooth(x, t), schedule)
    for S in (1, 2, schedule.T):
        steps = list(md.solve(model, x, md.tau(schedule.T, S), method, clip=True))
        assert len(steps) == S
        assert steps[-1].t == 0
        assert steps[-1].x.shape == x.shape
        assert steps[-1].x.dtype == steps[-1].x0.dtype == x.dtype
    if method != "dpm++":
        assert md.encode(model, x, 2, method=method).dtype == x.dtype
    out = md.decode(model, x, 2, method=method)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    v = md.velocity(model, x, 1.5)
    assert v.shape == x.shape
    assert v.dtype == x.dtype


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
def test_conditions_reach_the_network(shape: tuple[int, ...]) -> None:
    def net(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return smooth(x, t) * labels.reshape(-1, *(1,) * (x.ndim - 1))

    model, x, y = Denoiser(net, S1000), noise(*shape), torch.tensor([0, 1, 1])
    for f in (md.encode, md.decode):
        a, b = f(model, x, 5, labels=y), f(model, x, 5, labels=1 - y)
        assert bool(((a - b).abs().flatten(1).max(1).values > 1e-6).all())
    assert md.solve_adaptive(model, x, rtol=1e-2, atol=1e-2, labels=y)[0].shape == x.shape


Z = torch.zeros(2, 3)
BROKEN = Denoiser(lambda x, t: x * math.nan, S1000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: list(md.solve(BROKEN, Z, [1000, 0], "midpoint")), "one of euler, heun"),
        (lambda: list(md.solve(BROKEN, Z, [1000, 5])), "tau must fall strictly"),
        (lambda: list(md.solve(BROKEN, Z.byte(), [1000, 0])), "scale uint8"),
        (lambda: list(md.solve(BROKEN, Z, [1000, 500, 0])), "NaN or Inf: the network is broken"),
        (lambda: md.encode(BROKEN, Z, 5), "NaN or Inf"),
        (lambda: md.decode(BROKEN, Z, 5), "NaN or Inf"),
        (lambda: md.encode(BROKEN, Z, 5, method="dpm++"), "one of euler, heun, rk4"),
        (lambda: md.encode(BROKEN, Z, 5, start=700, end=600), "tau must fall strictly"),
        (lambda: md.encode(BROKEN, Z, 5, end=600.5), "spacing='karras' takes any"),
        (lambda: md.decode(BROKEN, Z, 5, start=1200), "at most 1000"),
        (lambda: md.decode(BROKEN, Z, 5, spacing="leading", start=600), "starts below start"),
        (lambda: md.solve(BROKEN, Z, [1000, 5], end=6), "to 6"),
        (lambda: md.encode(BROKEN, Z, 2000), r"1\.\.1000, got 2000"),
        (lambda: md.encode(BROKEN, Z[0], 5), r"x\[None\]"),
        (lambda: md.solve_adaptive(BROKEN, Z), "returned NaN or Inf"),
        (lambda: md.solve_adaptive(BROKEN, Z.long()), "floating tensor"),
        (lambda: md.velocity(Denoiser(zeros, S1000), Z, 0.5), r"1\.\.1000"),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()
