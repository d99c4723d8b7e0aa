"""eps, x0, v, mu and the score say the same thing: against definitions and round trips."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from truth import IMAGES, VECTORS, few, noise, schedules, states

import minidiff as md
from minidiff import Schedule
from minidiff.parameterize import KINDS

S1000 = Schedule.linear(1000)


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize("t", [1, 500, 1000])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", [S1000, Schedule.cosine(1000)])
def test_every_kind_round_trips(
    schedule: Schedule, kind: str, t: int, shape: tuple[int, ...]
) -> None:
    x0, eps = noise(2, *shape)
    xt = md.diffuse(schedule, x0, t, eps)
    y = md.from_x0(schedule, kind, x0, xt, t)
    for other in KINDS:
        there = md.convert(schedule, y, xt, t, kind=kind, to=other)
        back = md.convert(schedule, there, xt, t, kind=other, to=kind)
        torch.testing.assert_close(back, y, rtol=1e-10, atol=1e-10)
    pair = md.to_x0_eps(schedule, kind, y, xt, t)
    # x_0 carries sqrt(1 - a)/sqrt(a) times the rounding of the others: 2e4 for cosine at T.
    loss = float(schedule.sigma[t])
    torch.testing.assert_close(pair[0], x0, rtol=0, atol=1e-12 * max(1, loss))
    torch.testing.assert_close(pair[1], eps, rtol=0, atol=1e-12 * max(1, 1 / loss))


@pytest.mark.parametrize("t", [1, 500, 1000])
def test_targets_are_their_definitions(t: int) -> None:
    x0, eps = noise(2, 4, 3)
    xt = md.diffuse(S1000, x0, t, eps).requires_grad_()
    (score,) = torch.autograd.grad(md.marginal(S1000, x0, t).log_prob(xt).sum(), xt)
    xt = xt.detach()
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(md.from_x0(S1000, "score", x0, xt, t), score, **close)
    mu = md.posterior(S1000, x0, xt, t, t - 1).mean
    torch.testing.assert_close(md.from_x0(S1000, "mu", x0, xt, t), mu, **close)
    # v = d x / d phi with x = cos(phi) x_0 + sin(phi) eps (Salimans & Ho 2022, appendix D).
    phi = torch.tensor(math.acos(float(S1000.alpha_bar[t].sqrt())), dtype=torch.float64)
    v = torch.autograd.functional.jacobian(lambda p: p.cos() * x0 + p.sin() * eps, phi)
    torch.testing.assert_close(md.from_x0(S1000, "v", x0, xt, t), v, **close)
    torch.testing.assert_close(md.from_x0(S1000, "eps", x0, xt, t), eps, **close)
    assert torch.equal(md.from_x0(S1000, "x0", x0, xt, t), x0)


def test_eps_is_handed_through_untouched() -> None:
    xt, eps = noise(2, 3, 4, dtype=torch.float32)
    assert md.to_x0_eps(S1000, "eps", eps, xt, 1)[1] is eps


@few
@given(schedules(), states(), st.sampled_from(KINDS), st.sampled_from(KINDS), st.data())
def test_any_batch(schedule: Schedule, x: Tensor, kind: str, to: str, data: st.DataObject) -> None:
    ts = data.draw(st.lists(st.integers(1, schedule.T), min_size=len(x), max_size=len(x)))
    y = x.flip(0)
    many = md.convert(schedule, y, x, torch.tensor(ts, dtype=torch.long), kind, to)
    assert many.shape == x.shape
    assert many.dtype == x.dtype
    for i, t in enumerate(ts):
        one = md.convert(schedule, y[i : i + 1], x[i : i + 1], t, kind, to)
        torch.testing.assert_close(many[i : i + 1], one)


X = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: md.to_x0_eps(S1000, "noise", X, X, 5),
            "one of eps, x0, v, u, mu, score; got 'noise'",
        ),
        (lambda: md.convert(S1000, X, X, 5, "eps", "flow"), "got 'flow'"),
        (lambda: md.from_x0(S1000, "eps", X, X, 0), "got 0 .x_0 is the data; there is nothing"),
        (lambda: md.to_x0_eps(S1000, "v", X, X, torch.tensor([1, 1001])), r"1\.\.1000, got 1001"),
        (lambda: md.to_x0_eps(S1000, "v", X[:1], X, 1), r"prediction has shape \(1, 3\)"),
        (lambda: md.from_x0(S1000, "v", X.to("meta"), X, 1), "x0 is on meta"),
        (lambda: md.from_x0(S1000, "v", X, X.int(), 1), "xt must be a floating tensor"),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()
