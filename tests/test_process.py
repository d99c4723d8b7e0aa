"""The forward process: Gaussian algebra against recursion, Bayes and torch.distributions."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence
from truth import few, noise, schedules, seeded, some, states

import minidiff as md
from minidiff import Gaussian, Schedule

S1000 = Schedule.linear(1000)
ONE, ZERO = torch.ones(1, 1).double(), torch.zeros(1, 1).double()


def affine(kernel) -> tuple[float, float, float]:  # type: ignore[no-untyped-def]
    """(a, b, var) of a kernel with mean a x + b x_0, found by asking it at three points."""
    g = kernel(torch.eye(3, 1).double(), torch.eye(3, 1).double().roll(1, 0))
    a, b, none = g.mean.flatten().tolist()
    assert none == 0
    return a, b, float(g.var)


SIGMAS = ["0", "half of ddpm", "ddpm", "more than ddpm", "all"]


def sigma_of(schedule: Schedule, t: int, s: int, kind: str) -> float:
    ddpm = md.ddim_sigma(schedule, t, s, eta=1.0)
    most = math.sqrt(1 - float(schedule.alpha_bar[s]))
    return {
        "0": 0.0,
        "half of ddpm": ddpm / 2,
        "ddpm": ddpm,
        "more than ddpm": (ddpm + most) / 2,
        "all": most,
    }[kind]


@pytest.mark.parametrize("kind", SIGMAS)
@pytest.mark.parametrize("steps", [None, 7])
@pytest.mark.parametrize("schedule", [Schedule.linear(250), Schedule.cosine(100)])
def test_every_sigma_has_the_same_marginals(
    kind: str, steps: int | None, schedule: Schedule
) -> None:
    """Song, Meng & Ermon 2021, Lemma 1, by recursion on mean and variance from t = T to 0."""
    tau = md.tau(schedule.T, steps)
    ab = schedule.alpha_bar
    m, v = math.sqrt(float(ab[-1])), 1 - float(ab[-1])
    for t, s in pairwise(tau):
        sigma = sigma_of(schedule, t, s, kind)
        a, b, var = affine(
            lambda x, x0, t=t, s=s, sig=sigma: md.ddim_posterior(schedule, x0, x, t, s, sig)
        )
        m, v = a * m + b, a * a * v + var
        assert m == pytest.approx(math.sqrt(float(ab[s])), abs=1e-12)
        assert v == pytest.approx(1 - float(ab[s]), abs=1e-12)


@pytest.mark.parametrize("kind", SIGMAS)
def test_the_forward_kernel_has_the_same_marginals(kind: str) -> None:
    schedule = Schedule.linear(250)
    ab = schedule.alpha_bar
    m, v = math.sqrt(float(ab[1])), 1 - float(ab[1])
    for s in range(1, schedule.T):
        sigma = sigma_of(schedule, s + 1, s, kind)
        a, b, var = affine(
            lambda x, x0, s=s, sig=sigma: md.ddim_forward(schedule, x0, x, s + 1, s, sig)
        )
        m, v = a * m + b, a * a * v + var
        assert m == pytest.approx(math.sqrt(float(ab[s + 1])), abs=1e-12)
        assert v == pytest.approx(1 - float(ab[s + 1]), abs=1e-12)


@some
@given(schedules(), st.data())
def test_posterior_is_bayes_rule(schedule: Schedule, data: st.DataObject) -> None:
    t = data.draw(st.integers(2, schedule.T))
    s = data.draw(st.integers(1, t - 1))
    x0, xs, xt = noise(3, 4, 5, seed=t)
    forward = md.transition(schedule, xs, s, t).log_prob(xt)
    log_q = md.marginal(schedule, x0, s).log_prob(xs) - md.marginal(schedule, x0, t).log_prob(xt)
    posterior = md.posterior(schedule, x0, xt, t, s).log_prob(xs)
    torch.testing.assert_close(posterior, forward + log_q, rtol=1e-8, atol=1e-8)


@some
@given(schedules(), st.data(), st.sampled_from(SIGMAS[1:-1]))
def test_the_ddim_family_obeys_bayes_rule(
    schedule: Schedule, data: st.DataObject, kind: str
) -> None:
    t = data.draw(st.integers(2, schedule.T))
    s = data.draw(st.integers(1, t - 1))
    sigma = sigma_of(schedule, t, s, kind)
    x0, xs, xt = noise(3, 4, 5, seed=t)
    forward = md.ddim_forward(schedule, x0, xs, t, s, sigma).log_prob(xt)
    log_q = md.marginal(schedule, x0, s).log_prob(xs) - md.marginal(schedule, x0, t).log_prob(xt)
    backward = md.ddim_posterior(schedule, x0, xt, t, s, sigma).log_prob(xs)
    torch.testing.assert_close(backward, forward + log_q, rtol=1e-7, atol=1e-7)


@some
@given(schedules(), st.data())
def test_ddim_with_eta_1_is_the_posterior(schedule: Schedule, data: st.DataObject) -> None:
    t = data.draw(st.integers(1, schedule.T))
    s = data.draw(st.integers(0, t - 1))
    x0, xt = noise(2, 3, 4)
    g = md.ddim_posterior(schedule, x0, xt, t, s, md.ddim_sigma(schedule, t, s, eta=1.0))
    q = md.posterior(schedule, x0, xt, t, s)
    torch.testing.assert_close(g.mean, q.mean, rtol=0, atol=1e-7 if s == 0 else 1e-10)
    torch.testing.assert_close(g.var, q.var, rtol=0, atol=1e-12)


@some
@given(schedules(), st.data())
def test_two_transitions_are_one(schedule: Schedule, data: st.DataObject) -> None:
    r, s, t = sorted(data.draw(st.sets(st.integers(0, schedule.T), min_size=3, max_size=3)))
    first = md.transition(schedule, ONE, r, s)
    second = md.transition(schedule, first.mean, s, t)
    once = md.transition(schedule, ONE, r, t)
    torch.testing.assert_close(second.mean, once.mean, rtol=1e-12, atol=0)
    ratio = (schedule.alpha_bar[t] / schedule.alpha_bar[s]).reshape(1, 1)
    torch.testing.assert_close(ratio * first.var + second.var, once.var, rtol=1e-10, atol=1e-15)


def test_the_chain_step_is_eq_2_and_the_marginal_eq_4() -> None:
    q = md.transition(S1000, ONE, 499, 500)
    assert float(q.var) == pytest.approx(float(S1000.beta[500]), rel=1e-12)
    assert float(q.mean) == pytest.approx(math.sqrt(1 - float(S1000.beta[500])), rel=1e-12)
    m = md.marginal(S1000, ONE, 500)
    assert (float(m.mean), float(m.var)) == pytest.approx(
        (float(S1000.alpha_bar[500].sqrt()), 1 - float(S1000.alpha_bar[500])), rel=1e-14
    )
    p = md.posterior(S1000, ZERO, ONE, 500, 499)
    assert float(p.var) == pytest.approx(float(S1000.beta_tilde[500]), rel=1e-12)


@pytest.mark.parametrize("shape", [(4, 5), (4, 2, 3, 5)])
def test_gaussian_is_that_of_torch_distributions(shape: tuple[int, ...]) -> None:
    mean, other = noise(2, *shape)
    ones = (1,) * (len(shape) - 1)
    var = noise(4, *ones).exp()
    g, h = Gaussian(mean, var), Gaussian(other, var.flip(0))

    def theirs(x: Gaussian) -> Independent:
        return Independent(Normal(x.mean, x.std.expand_as(x.mean)), len(shape) - 1)

    torch.testing.assert_close(g.kl(h), kl_divergence(theirs(g), theirs(h)), rtol=0, atol=1e-10)
    torch.testing.assert_close(g.log_prob(other), theirs(g).log_prob(other), rtol=0, atol=1e-10)
    assert g.kl(g).abs().max() < 1e-12


def test_samples_have_the_mean_and_the_variance() -> None:
    n = 40_000
    g = Gaussian(torch.full((n, 2), 3.0), torch.full((1, 1), 0.25))
    x = g.sample(seeded())
    assert x.dtype == torch.float32
    assert torch.equal(x, g.sample(seeded()))
    assert float((x.mean() - 3).abs()) < 3 * 0.5 / math.sqrt(2 * n)
    assert float((x.var() - 0.25).abs()) < 3 * 0.25 * math.sqrt(2 / (2 * n))


@few
@given(schedules(), states(), st.data())
def test_any_batch_keeps_shape_and_dtype(
    schedule: Schedule, x: Tensor, data: st.DataObject
) -> None:
    pairs = st.sets(st.integers(0, schedule.T), min_size=2, max_size=2).map(sorted)
    drawn = [data.draw(pairs) for _ in range(len(x))]
    s = torch.tensor([p[0] for p in drawn], dtype=torch.long)
    t = torch.tensor([p[1] for p in drawn], dtype=torch.long)
    y = x.flip(0)
    xt = md.diffuse(schedule, x, t, y)
    assert xt.shape == x.shape
    assert xt.dtype == x.dtype
    sigma = torch.tensor([md.ddim_sigma(schedule, *p[::-1], eta=0.5) for p in drawn]).double()
    batched = [
        md.marginal(schedule, x, t),
        md.transition(schedule, x, s, t),
        md.posterior(schedule, x, y, t, s),
        md.ddim_posterior(schedule, x, y, t, s, sigma),
    ]
    for g in batched:
        assert g.mean.shape == g.sample(seeded()).shape == x.shape
        assert g.kl(g).shape == g.log_prob(x).shape == (len(x),)
    for i, (si, ti) in enumerate(drawn):  # the same, one by one, with plain numbers
        xi, yi = x[i : i + 1], y[i : i + 1]
        one = [
            md.marginal(schedule, xi, ti),
            md.transition(schedule, xi, si, ti),
            md.posterior(schedule, xi, yi, ti, si),
            md.ddim_posterior(schedule, xi, yi, ti, si, float(sigma[i])),
        ]
        assert torch.equal(md.diffuse(schedule, xi, ti, yi), xt[i : i + 1])
        for g, h in zip(batched, one, strict=True):
            torch.testing.assert_close(g.mean[i : i + 1], h.mean, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(g.var[i : i + 1], h.var, rtol=1e-12, atol=1e-12)


def test_x_0_is_the_data() -> None:
    x, eps = noise(2, 3, 4)
    assert torch.equal(md.diffuse(S1000, x, 0, eps), x)
    q = md.posterior(S1000, x, eps, 700, 0)
    torch.testing.assert_close(q.mean, x, rtol=0, atol=1e-15)
    assert float(q.var) == 0


def test_randn_follows_its_generator() -> None:
    like = torch.empty(2, 3, dtype=torch.float64)
    assert torch.equal(md.randn(like, seeded(1)), noise(2, 3, seed=1))
    assert md.randn(like, seeded(1)).dtype == torch.float64
    assert md.randn(torch.empty(2, device="meta"), seeded(1)).device.type == "meta"


X = torch.zeros(2, 3)
FAR = torch.zeros(2, 3, device="meta")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: md.diffuse(S1000, X, 1001, X), r"t must be in 0\.\.1000, got 1001"),
        (lambda: md.diffuse(S1000, X, torch.tensor([5, -1]), X), "got -1"),
        (lambda: md.diffuse(S1000, X, torch.tensor([1, 2, 3]), X), "one number or 2"),
        (lambda: md.diffuse(S1000, X, "5", X), "t must be a number or a tensor"),  # type: ignore[arg-type]
        (lambda: md.diffuse(S1000, X, 0.5, X), "no noise level between the data, 0, and t = 1"),
        (lambda: md.diffuse(S1000, X, torch.tensor([5, 0.5]), X), "got 0.5 .*no noise level"),
        (lambda: md.diffuse(S1000, X, math.nan, X), "got nan"),
        (lambda: md.ddim_sigma(S1000, 5, 0.5, eta=0.1), "s must be 0 or in .*no noise level"),
        (lambda: md.diffuse(S1000, X, 5, X[:1]), r"eps has shape \(1, 3\), expected \(2, 3\)"),
        (lambda: md.diffuse(S1000, X, 5, FAR), "eps is on meta, the rest on cpu"),
        (lambda: md.diffuse(S1000, X.byte(), 5, X), r"images.float\(\) / 127.5 - 1"),
        (lambda: md.marginal(S1000, X[0], 5), r"add a batch dimension"),
        (lambda: md.transition(S1000, X, 5, 5), "s must be below t"),
        (lambda: md.transition(S1000, X.long(), 4, 5), "floating tensor"),
        (lambda: md.posterior(S1000, X, X, 5, 6), "s must be below t"),
        (lambda: md.posterior(S1000, X, X, torch.tensor([5, 5]), torch.tensor([4, 5])), "s must"),
        (lambda: md.posterior(S1000, X, FAR, 5, 4), r"use \.to\(cpu\)"),
        (lambda: md.ddim_sigma(S1000, 5, 4, eta=-0.1), "eta must be >= 0"),
        (lambda: md.ddim_sigma(S1000, 5, 4, eta=math.nan), "eta must be >= 0"),
        (lambda: md.ddim_sigma(S1000, 5, 5, eta=0.1), "s must be below t"),
        (lambda: md.ddim_posterior(S1000, X, X, 5, 4, 0.9), "sigma is too large: .* = 0.81"),
        (lambda: md.ddim_posterior(S1000, X, X, 5, 4, math.nan), "sigma is too large"),
        (lambda: md.ddim_posterior(S1000, X, X, 5, 4, torch.tensor([0.0, 0.9])), "= 0.81 but"),
        (lambda: md.ddim_forward(S1000, X, X, 5, 0, 0.0), r"marginal\(x0, t\)"),
        (lambda: md.ddim_forward(S1000, X, X, 5, 4, 0.9), "sigma is too large"),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()
