"""Samplers: identities between them, exact Gaussian data, and bad input."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from truth import IMAGES, VECTORS, few, noise, schedules, seeded, smooth, some, states, twice, zeros

import minidiff as md
from minidiff import Denoiser, Schedule
from minidiff.parameterize import KINDS
from minidiff.spacing import SPACINGS
from minidiff.toy import GaussianMixture

S1000 = Schedule.linear(1000)


def last(walk) -> Tensor:  # type: ignore[no-untyped-def]
    *_, step = walk
    return step.x


@some
@given(schedules(), st.sampled_from(SPACINGS), st.sampled_from(KINDS), st.booleans(), st.data())
def test_ddim_with_eta_1_is_ancestral_with_the_small_variance(
    schedule: Schedule, spacing: str, kind: str, clip: bool, data: st.DataObject
) -> None:
    tau = md.tau(schedule, data.draw(st.integers(1, schedule.T)), spacing)
    model = Denoiser(smooth, schedule, kind, variance="small", clip=clip)
    x_T = noise(2, 3)
    a = list(md.ancestral(model, x_T, tau, generator=seeded(7)))
    b = list(md.ddim(model, x_T, tau, eta=1.0, generator=seeded(7)))
    for one, two in zip(a, b, strict=True):
        scale = max(1.0, float(one.x.abs().max()), float(one.x0.abs().max()))
        assert float((one.x - two.x).abs().max()) < 1e-10 * scale
        assert one.t == two.t


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("S", [3, 30, None])
def test_the_same_on_the_papers_schedule(
    S: int | None, spacing: str, shape: tuple[int, ...]
) -> None:
    tau = md.tau(S1000, S or 200, spacing)
    model = Denoiser(smooth, S1000, variance="small")
    a = last(md.ancestral(model, noise(*shape), tau, generator=seeded(7)))
    b = last(md.ddim(model, noise(*shape), tau, eta=1.0, generator=seeded(7)))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_sigma_hat_is_the_mean_of_eta_1_with_more_noise() -> None:
    model, x = Denoiser(smooth, S1000), noise(*VECTORS)
    steps = list(md.ddim(model, x, [900, 500, 0], eta="hat", generator=seeded(3)))
    q = md.posterior(S1000, model(x, 900).x0, x, 900, 500)
    var = 1 - S1000.alpha_bar[900] / S1000.alpha_bar[500]
    torch.testing.assert_close(steps[0].x, q.mean + var.sqrt() * noise(*VECTORS, seed=3))
    torch.testing.assert_close(steps[1].x, model(steps[0].x, 500).x0)
    torch.testing.assert_close(  # the noise of the "large" variance
        Denoiser(smooth, S1000, variance="large").reverse(x, 900, 500).var,
        var.reshape(1, 1),
    )


def test_deterministic_where_there_is_no_noise() -> None:
    model, x = Denoiser(smooth, S1000), noise(*VECTORS)
    g = seeded(1)
    before = g.get_state()
    a = last(md.ddim(model, x, md.tau(1000, 20), generator=g))
    assert torch.equal(g.get_state(), before)
    assert torch.equal(a, last(md.ddim(model, x, md.tau(1000, 20))))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, "hat"])
def test_the_last_step_is_the_estimate_without_noise(eta: float | str) -> None:
    model = Denoiser(smooth, S1000)
    for walk in (
        md.ddim(model, noise(*VECTORS), [1000, 300, 20, 0], eta),
        md.ancestral(model, noise(*VECTORS), [1000, 300, 20, 0]),
    ):
        *_, step = walk
        torch.testing.assert_close(step.x, step.x0, rtol=0, atol=1e-14)
        assert float(step.x.abs().max()) <= 1 + 1e-14


def test_every_step_of_the_chain_by_default() -> None:
    schedule = Schedule.cosine(12)
    steps = list(md.ancestral(Denoiser(smooth, schedule), noise(*VECTORS), generator=seeded()))
    assert [s.t for s in steps] == list(range(11, -1, -1))
    assert len(list(md.ddim(Denoiser(smooth, schedule), noise(*VECTORS)))) == 12


def test_ancestral_draws_from_the_models_gaussian() -> None:
    model, x = Denoiser(twice, S1000, variance="learned"), noise(*IMAGES)
    g = model.reverse(x, 800, 400)
    step = next(md.ancestral(model, x, [800, 400, 0], generator=seeded(2)))
    expected = g.mean + g.var.sqrt() * noise(*IMAGES, seed=2)
    torch.testing.assert_close(step.x, expected)
    assert torch.equal(step.x0, model(x, 800).x0)


@pytest.mark.parametrize("spacing", ["linear", "quadratic", "logsnr", "karras"])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, "ancestral"])
def test_exact_gaussian_data_come_out_with_the_variance_of_the_recursion(
    eta: float | str, spacing: str
) -> None:
    """Data N(1, 0.25): each step is affine, so mean and variance follow by recursion."""
    data = GaussianMixture(torch.ones(1, 1), 0.5)
    model = Denoiser(data.net(S1000), S1000, clip=False)
    tau = md.tau(S1000, 40, spacing)
    n = 20_000
    walk = (
        md.ancestral(model, noise(n, 1), tau, generator=seeded(1))
        if isinstance(eta, str)
        else md.ddim(model, noise(n, 1), tau, eta, generator=seeded(1))
    )
    x = last(walk)
    v, mean, var = 0.25, 0.0, 1.0
    for t, s in pairwise(tau):
        at, as_ = S1000.alpha_bar_at(t), S1000.alpha_bar_at(s)
        total = at * v + 1 - at
        gain = math.sqrt(at) * v / total  # E[x_0 | x_t] = 1 + gain (x_t - sqrt(at))
        sigma = md.ddim_sigma(S1000, t, s, 1.0 if isinstance(eta, str) else eta)
        k = math.sqrt(1 - as_ - sigma**2) / math.sqrt(1 - at)
        slope = math.sqrt(as_) * gain + k * (1 - math.sqrt(at) * gain)
        x0 = 1 + gain * (mean - math.sqrt(at))
        mean = math.sqrt(as_) * x0 + k * (mean - math.sqrt(at) * x0)
        var = slope**2 * var + sigma**2
    assert abs(float(x.mean()) - mean) < 4 * math.sqrt(var / n)
    assert abs(float(x.var()) / var - 1) < 4 * math.sqrt(2 / n)


def test_ancestral_sampling_reaches_the_data() -> None:
    """Two narrow peaks, full chain: the share, the place and the width of each."""
    data = GaussianMixture(torch.tensor([[-0.7], [0.5]]), 0.1, torch.tensor([0.25, 0.75]))
    schedule = Schedule.cosine(200)
    model = Denoiser(data.net(schedule), schedule, variance="small")
    n = 10_000
    x = last(md.ancestral(model, noise(n, 1), generator=seeded(1)))
    right = x[x > 0]
    assert abs(len(right) / n - 0.75) < 4 * math.sqrt(0.25 * 0.75 / n)
    assert abs(float(right.mean()) - 0.5) < 0.01
    assert abs(float(right.std()) - 0.1) < 0.01


@pytest.mark.parametrize("name", ["ddim", "eta", "hat", "ancestral", "solve", "rk4"])
@pytest.mark.parametrize("middle", [300, 123.4])
def test_a_walk_goes_from_any_t_to_any_t(name: str, middle: float) -> None:
    """Down to the middle, and on from there, is the whole walk; DPM-Solver++ alone remembers."""
    model, x, g = Denoiser(smooth, S1000), noise(*IMAGES), seeded(8)
    kind, how = {
        "ddim": (md.ddim, {}),
        "eta": (md.ddim, {"eta": 0.7, "generator": g}),
        "hat": (md.ddim, {"eta": "hat", "generator": g}),
        "ancestral": (md.ancestral, {"generator": g}),
        "solve": (md.solve, {"method": "euler"}),
        "rk4": (md.solve, {"method": "rk4"}),
    }[name]
    whole = list(kind(model, x, [812.5, 500, middle, 20, 0], **how))
    g.manual_seed(8)
    above = list(kind(model, x, [812.5, 500, middle], end=middle, **how))
    below = list(kind(model, above[-1].x, [middle, 20, 0], **how))
    for a, b in zip(whole, above + below, strict=True):
        assert a.t == b.t
        torch.testing.assert_close(a.x, b.x, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(a.x0, b.x0, rtol=1e-12, atol=1e-12)


def test_every_step_down_to_the_end() -> None:
    model, x = Denoiser(smooth, Schedule.cosine(12)), noise(*VECTORS)
    assert [s.t for s in md.ancestral(model, x, end=9)] == [11, 10, 9]
    assert [s.t for s in md.ddim(model, x, end=9.5)] == [11, 10, 9.5]
    assert [s.t for s in md.ddim(model, x)] == list(range(11, -1, -1))


def test_there_is_noise_in_a_last_step_above_the_data() -> None:
    model, x = Denoiser(smooth, S1000), noise(1, 3).expand(400, 3)
    for walk in (
        md.ancestral(model, x, [900, 500], end=500),
        md.ddim(model, x, [900, 500], 1.0, end=500),
    ):
        assert float(last(walk).std(0).min()) > 0.1


def test_the_network_is_asked_at_the_levels_of_the_grid() -> None:
    """Any grid of sigma or log-SNR: whole t as whole numbers, the others as fractions."""
    asked: list[Tensor] = []

    def net(x: Tensor, index: Tensor) -> Tensor:
        asked.append(index)
        return torch.zeros_like(x)

    between = float(S1000.sigma[500] ** 0.75 * S1000.sigma[501] ** 0.25)  # a quarter of a step
    sigma = [float(S1000.sigma[800]), between, 0]
    grid = md.tau_at(S1000, sigma=sigma)
    for walk in (md.ddim, md.ancestral, md.solve):
        list(walk(Denoiser(net, S1000), noise(2, 3), grid))
        assert [a.tolist() for a in asked] == [pytest.approx([v, v]) for v in (799, 499.25)]
        asked.clear()
    list(md.ddim(Denoiser(net, S1000), noise(2, 3), [round(t) for t in grid]))
    assert [a.tolist() for a in asked] == [[799, 799], [499, 499]]
    assert all(a.dtype == torch.int64 for a in asked)


def test_samples_that_share_a_latent() -> None:
    """Ho et al. 2020, figure 7: walk to t once, go on from copies of x_t."""
    model, generator = Denoiser(smooth, S1000), seeded(4)
    tau = md.tau(1000, 20)
    for step in md.ancestral(model, noise(1, 3), tau, generator=generator):
        if step.t == 500:
            break
    copies = step.x.repeat(4, 1)
    x = last(md.ancestral(model, copies, tau[tau.index(500) :], generator=generator))
    assert x.shape == (4, 3)
    assert not torch.equal(x[0], x[1])
    again = list(md.ddim(model, step.x, [500, 250, 0]))
    assert torch.equal(last(md.ddim(model, copies, [500, 250, 0]))[2:3], again[-1].x)


# --------------------------------------------------------------- interpolation


@few
@given(states(min_batch=1), st.floats(0, 1))
def test_slerp_goes_along_the_sphere(x: Tensor, w: float) -> None:
    a, b = x, noise(*x.shape, seed=123, dtype=x.dtype)
    u, v = a.double().flatten(1), b.double().flatten(1)
    unit = [(n / n.norm(dim=1, keepdim=True)).reshape(x.shape) for n in (u, v)]
    y = md.slerp(unit[0], unit[1], w)
    cos = (unit[0] * unit[1]).flatten(1).sum(1).clamp(-1, 1)
    theta = cos.acos()
    if bool((theta.sin() > 1e-3).all()):
        norm = y.flatten(1).norm(dim=1)
        torch.testing.assert_close(norm, torch.ones_like(norm), rtol=0, atol=1e-9)
        angle = (unit[0] * y).flatten(1).sum(1).clamp(-1, 1)
        torch.testing.assert_close(angle, (w * theta).cos(), rtol=0, atol=1e-9)
    out = md.slerp(a, b, torch.full((len(a),), w))
    assert out.shape == a.shape
    assert out.dtype == a.dtype


@pytest.mark.parametrize("mix", [md.lerp, md.slerp])
@pytest.mark.parametrize("shape", [VECTORS, IMAGES, (0, 4)])
def test_interpolation_ends_at_its_ends(mix, shape: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    a, b = noise(2, *shape)
    torch.testing.assert_close(mix(a, b, 0.0), a)
    torch.testing.assert_close(mix(a, b, 1.0), b)
    torch.testing.assert_close(mix(a, a, 0.3), a)
    torch.testing.assert_close(mix(0 * a, 0 * a, 0.3), 0 * a)
    if len(a):
        weights = torch.tensor([0.0, 0.5, 1.0])
        each = torch.cat([mix(a[i : i + 1], b[i : i + 1], float(w)) for i, w in enumerate(weights)])
        torch.testing.assert_close(mix(a, b, weights), each)


def test_slerp_keeps_the_norm_that_lerp_loses() -> None:
    a, b = noise(2, 1, 4000)
    assert float(md.slerp(a, b, 0.5).norm() / a.norm()) == pytest.approx(1, abs=0.03)
    assert float(md.lerp(a, b, 0.5).norm() / a.norm()) == pytest.approx(0.707, abs=0.03)


@pytest.mark.parametrize("shape", [(1, 5), (1, 2, 4, 3)])
def test_stochastic_interpolation_is_diffuse_mix_denoise(shape: tuple[int, ...]) -> None:
    model, t = Denoiser(smooth, S1000), 9
    x0, y0 = noise(2, *shape).clamp(-1, 1)
    weights = torch.tensor([0.0, 0.25, 1.0])
    steps = list(md.interpolate(model, x0, y0, weights, t, generator=seeded(6)))
    assert [s.t for s in steps] == list(range(8, -1, -1))
    g = seeded(6)
    xt = md.diffuse(S1000, x0, t, md.randn(x0, g))
    yt = md.diffuse(S1000, y0, t, md.randn(y0, g))
    mixed = torch.cat([(1 - w) * xt + w * yt for w in weights.double()])
    expected = last(md.ancestral(model, mixed, range(t, -1, -1), generator=g))
    torch.testing.assert_close(steps[-1].x, expected)


# ------------------------------------------------------------------------ input


@few
@given(schedules(max_T=10), states(), st.sampled_from([0.0, 0.5, 1.0, "hat", "ancestral"]))
def test_any_batch(schedule: Schedule, x: Tensor, eta: float | str) -> None:
    model = Denoiser(smooth, schedule)
    walk = (
        md.ancestral(model, x, generator=seeded())
        if eta == "ancestral"
        else md.ddim(model, x, eta=eta, generator=seeded())
    )
    for step in walk:
        assert step.x.shape == step.x0.shape == x.shape
        assert step.x.dtype == step.x0.dtype == x.dtype
        assert not step.x.requires_grad


X = torch.zeros(2, 3)
MODEL = Denoiser(zeros, S1000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: md.ddim(MODEL, X, [1000, 0], eta=-0.5), "eta must be a number >= 0"),
        (lambda: md.ddim(MODEL, X, [1000, 0], eta=math.nan), "eta must be"),
        (lambda: md.ddim(MODEL, X, [1000, 0], eta="large"), "or \"hat\", got 'large'"),
        (lambda: list(md.ddim(MODEL, X, [1000, 500, 0], eta=9.0)), "take a smaller eta"),
        (lambda: list(md.ddim(MODEL, X, [1000, 500, 500, 0])), "tau must fall strictly"),
        (lambda: list(md.ancestral(MODEL, X, [500, 1])), r"use tau\(1000, S=.*or end=1 to stop"),
        (lambda: md.ddim(MODEL, X, [500, 0], end=1), r"to 1, .* got \[500, 0\]"),
        (lambda: md.ddim(MODEL, X, [500, 0.5], end=0.5), "without a t between 0 and 1"),
        (lambda: md.ddim(MODEL, X, end=1000), "tau must fall strictly"),
        (lambda: md.ancestral(MODEL, X, [500.5, 0.5, 0]), "without a t between 0 and 1"),
        (lambda: list(md.ddim(MODEL, X, [9, 0], clip="dynamic")), "clip must be True, False or a"),
        (lambda: list(md.ancestral(MODEL, X, [1001, 0])), "at most 1000"),
        (lambda: list(md.ancestral(MODEL, X[0])), "add a batch dimension"),
        (lambda: list(md.ancestral(MODEL, X.long())), "floating tensor"),
        (lambda: list(md.ddim(Denoiser(lambda x, t: x * math.nan, S1000), X, [9, 0])), "NaN"),
        (lambda: list(md.ancestral(MODEL, X / 0, [9, 5, 0])), "is not finite"),
        (lambda: md.lerp(X, X[:1], 0.5), "b has shape"),
        (lambda: md.slerp(X, X.to("meta"), 0.5), "b is on meta"),
        (lambda: md.slerp(X.int(), X.int(), 0.5), "floating tensor"),
        (lambda: md.lerp(X.int(), X.int(), 0.5), "floating tensor"),
        (lambda: md.lerp(X, X, torch.zeros(3)), r"a number or \(2,\), got \(3,\)"),
        (lambda: md.interpolate(MODEL, X, X, torch.zeros(3), 5), "takes one image"),
        (lambda: md.interpolate(MODEL, X[:1].byte(), X[:1].byte(), torch.zeros(3), 5), "uint8"),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------- nothing waits for the device


STEPS = {
    "ddim": lambda m, x: md.ddim(m, x, [900, 500, 20, 0]),
    "eta": lambda m, x: md.ddim(m, x, [900, 500, 20, 0], eta=0.7),
    "hat": lambda m, x: md.ddim(m, x, [900, 500, 20, 0], eta="hat"),
    "ancestral": lambda m, x: md.ancestral(m, x, [900, 500, 20, 0]),
    "between": lambda m, x: md.ancestral(m, x, [900.5, 500, 20, 0], clip=md.dynamic_threshold()),
    "inpaint": lambda m, x: md.inpaint(
        m, x, x[:1], torch.ones(5, dtype=torch.bool, device=x.device), [900, 500, 20, 0]
    ),
    "solve": lambda m, x: md.solve(m, x, [900, 500, 20, 0]),
    "rk4": lambda m, x: md.solve(m, x, [900, 500, 20, 0], "rk4"),
}
LOSSES = [md.loss_simple, md.loss_gamma, md.loss_score, md.loss_vlb, md.loss_hybrid]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("variance", ["small", "large", "learned"])
def test_no_step_reads_from_the_device(name: str, variance: str) -> None:
    """Tensors without data refuse to tell a number: whoever asks would have waited for a GPU."""
    model = Denoiser(twice if variance == "learned" else smooth, S1000, variance=variance)
    walk = STEPS[name](model, torch.empty(2, 3, 4, 5, device="meta"))
    assert [next(walk).t for _ in range(3)] == [500, 20, 0]
    with pytest.raises(RuntimeError, match="meta"):  # the one check, after the last step
        next(walk)


@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_reads_from_the_device(loss) -> None:  # type: ignore[no-untyped-def]
    model = Denoiser(twice, S1000, variance="learned")
    x = torch.empty(4, 3, 5, 4, device="meta")
    t = torch.empty(4, dtype=torch.long, device="meta")
    assert loss(model, x, t).shape == (4,)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_host_sync_on_a_gpu() -> None:
    device = torch.device("cuda")
    net = torch.nn.Conv2d(3, 6, 3, padding=1, device=device)
    model = Denoiser(lambda x, t: net(x), S1000, variance="learned")
    fixed = Denoiser(lambda x, t: net(x)[:, :3], S1000)
    x = torch.randn(8, 3, 8, 6, device=device)
    g = torch.Generator(device).manual_seed(0)
    times = [kind(1000) for kind in (md.UniformTimes, md.StratifiedTimes, md.LossAwareTimes)]
    times.append(md.BoundTimes(S1000))

    def train() -> None:
        for sampler in times:
            for loss in LOSSES:
                t, w = sampler.sample(8, device=device, generator=g)
                losses = loss(model, x, t, generator=g)
                (w * losses).mean().backward()
                if isinstance(sampler, md.LossAwareTimes):
                    sampler.update(t, losses)

    def walks() -> list:  # type: ignore[type-arg]
        made = [make(m, x) for make in STEPS.values() for m in (model, fixed)]
        made.append(md.ancestral(fixed, x, [900, 500, 20, 0], generator=g))
        return made

    train()  # the tables move to the device once
    first = walks()
    for walk in first:
        list(walk)
    try:
        torch.cuda.set_sync_debug_mode("error")
        train()
        for walk in walks():
            for _ in range(3):
                next(walk)
    finally:
        torch.cuda.set_sync_debug_mode("default")
