"""The Denoiser: a consistent pair, four variances, and guidance."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from truth import IMAGES, VECTORS, few, noise, schedules, smooth, states, twice, zeros

import minidiff as md
from minidiff import Denoiser, Schedule
from minidiff.parameterize import KINDS
from minidiff.unet.network import UNet

S1000 = Schedule.linear(1000)


@few
@given(schedules(), states(), st.sampled_from(KINDS), st.booleans(), st.data())
def test_the_pair_is_consistent(
    schedule: Schedule, x: Tensor, kind: str, clip: bool, data: st.DataObject
) -> None:
    ts = data.draw(st.lists(st.integers(1, schedule.T), min_size=len(x), max_size=len(x)))
    t = torch.tensor(ts, dtype=torch.long)
    p = Denoiser(smooth, schedule, kind, clip=clip)(x, t)
    assert p.x0.shape == p.eps.shape == p.raw.shape == x.shape
    assert p.x0.dtype == p.eps.dtype == x.dtype
    a = schedule.at(t, x)
    again = a.sqrt() * p.x0.double() + (1 - a).sqrt() * p.eps.double()
    scale = max(1.0, float((a.sqrt() * p.x0).abs().max())) if len(x) else 1.0
    assert float((again - x).abs().sum()) <= (1e-4 if x.dtype == torch.float32 else 1e-9) * scale
    if clip and len(x):
        assert float(p.x0.abs().max()) <= 1
    for i in range(len(x)):  # each sample as if it were alone, t a plain number
        one = Denoiser(smooth, schedule, kind, clip=clip)(x[i : i + 1], ts[i])
        torch.testing.assert_close(one.eps, p.eps[i : i + 1])


def test_where_nothing_is_clipped_eps_is_the_networks() -> None:
    x = noise(2, 3, dtype=torch.float32) / 100
    p = Denoiser(zeros, S1000)(x, 1)
    assert torch.equal(p.eps, torch.zeros_like(x))


def test_the_network_is_asked_at_t_minus_1() -> None:
    asked: list[Tensor] = []

    def net(x: Tensor, t: Tensor) -> Tensor:
        asked.append(t)
        return x

    model = Denoiser(net, S1000)
    x = torch.zeros(2, 3)
    for t in (1, 1000, torch.tensor(7), torch.tensor([7]), torch.tensor([1, 1000])):
        model(x, t)
    assert [a.tolist() for a in asked] == [[0, 0], [999, 999], [6, 6], [6, 6], [0, 999]]
    assert {a.dtype for a in asked} == {torch.int64}


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize(("t", "s"), [(1, 0), (2, 1), (500, 499), (1000, 999), (800, 400), (9, 0)])
def test_variances_are_the_papers(t: int, s: int, shape: tuple[int, ...]) -> None:
    x = noise(*shape)
    ab = S1000.alpha_bar
    beta = float(1 - ab[t] / ab[s])
    tilde = float((1 - ab[s]) / (1 - ab[t])) * beta
    if s == 0:  # the decoder: beta_tilde_2, or its like for a longer step, instead of 0
        t2 = max(t, 2)
        tilde = float((1 - ab[1]) / (1 - ab[t2]) * (1 - ab[t2] / ab[1]))

    def var(kind: str, net=smooth) -> Tensor:  # type: ignore[no-untyped-def]
        return Denoiser(net, S1000, variance=kind).reverse(x, t, s).var

    def fixed(value: float):  # type: ignore[no-untyped-def]
        return lambda x, t: torch.cat([x, torch.full_like(x, value)], 1)

    def equal(a: Tensor, b: float) -> None:
        torch.testing.assert_close(a, torch.full_like(a, b), rtol=1e-10, atol=0)

    equal(var("small"), tilde)
    equal(var("large"), tilde if s == 0 else beta)
    equal(var("learned", fixed(1.0)), beta)
    equal(var("learned", fixed(-1.0)), tilde)
    equal(var("learned", fixed(0.0)), math.sqrt(beta * tilde))  # halfway, in log space
    equal(var("diagonal", fixed(-3.0)), math.exp(-3))
    for kind, net in [("small", smooth), ("learned", twice), ("diagonal", twice)]:
        model = Denoiser(net, S1000, variance=kind)
        g = model.reverse(x, t, s)
        assert torch.equal(g.mean, md.posterior(S1000, model(x, t).x0, x, t, s).mean)
        many = model.reverse(x, torch.full((len(x),), t), torch.full((len(x),), s))
        torch.testing.assert_close(g.mean, many.mean)
        torch.testing.assert_close(g.var.expand_as(x), many.var.expand_as(x))


@pytest.mark.parametrize("t", [1000, 600, 50])
def test_the_best_variance_is_one_straight_mixture_for_every_jump(t: int) -> None:
    """Chapter 10, (10.8): small + f (large - small), where f = Var[x_0 | x_t] / (1 - alpha_bar_t).

    The truth is the exact reverse of two separate bumps, which knows no beta.
    """
    data = md.toy.GaussianMixture(torch.tensor([[-1.0], [0.8]]), torch.tensor([0.1, 0.3]))
    x, ab = torch.tensor([[0.2]]), S1000.alpha_bar

    def variance(s: int) -> float:
        q = data.reverse(S1000, x, t, s)
        mean = q.weights @ q.means
        return float(q.weights @ (q.var[:, None] + (q.means - mean) ** 2))

    f = variance(0) / (1 - float(ab[t]))
    for s in (t - 1, t // 2, 10, 1):
        large = 1 - float(ab[t] / ab[s])
        small = float((1 - ab[s]) / (1 - ab[t])) * large
        assert variance(s) == pytest.approx(small + f * (large - small), rel=1e-9)


def test_at_t_1_the_fixed_variances_are_beta_tilde_2() -> None:
    for kind in ("small", "large"):
        var = Denoiser(zeros, S1000, variance=kind).reverse(torch.zeros(1, 2), 1, 0).var
        assert float(var) == pytest.approx(float(S1000.beta_tilde[2]), rel=1e-12)


def labelled(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    return smooth(x, t) + labels.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1)) / 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize("w", [0.0, 0.5, 3.0, -1.0])
def test_guidance_is_affine_in_eps(kind: str, shape: tuple[int, ...], w: float) -> None:
    x, y = noise(*shape), torch.tensor([0, 1, 2])
    model = Denoiser(labelled, S1000, kind, clip=False)
    for t in (300, torch.tensor([1, 500, 1000])):
        eps = model(x, t, labels=y).eps
        null = model(x, t, labels=torch.full_like(y, 7)).eps
        guided = md.guide(model, y, w, null=7)(x, t).eps
        torch.testing.assert_close(guided, (1 + w) * eps - w * null, rtol=1e-8, atol=1e-8)
    if w == 0:
        assert torch.equal(guided, eps)
    if w == -1:
        torch.testing.assert_close(guided, null)


def test_guidance_finds_the_null_class_and_serves_samplers() -> None:
    class Net(nn.Module):
        class config:
            num_classes = 10

        def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
            out = labelled(x, t, labels)
            return torch.cat([out, torch.tanh(out)], 1)

    model = Denoiser(Net(), S1000, variance="learned").eval()
    guided = md.guide(model, torch.tensor([1, 2, 3]), w=2.0)
    assert guided.null == 10
    assert not guided.training
    x = noise(*IMAGES, dtype=torch.float32)
    values = model(x, 5, labels=torch.tensor([1, 2, 3])).values
    torch.testing.assert_close(guided(x, 5).values, values)  # the variance is not guided
    for sampler in (md.ancestral, md.ddim):
        *_, last = sampler(guided, x, [1000, 500, 0])
        assert last.x.shape == x.shape
    with pytest.raises(ValueError, match=r"labels has shape \(3,\), expected \(2,\)"):
        guided(x[:2], 5)


def test_a_network_without_labels_cannot_be_guided() -> None:
    with pytest.raises(ValueError, match="give null="):
        md.guide(Denoiser(smooth, S1000), torch.tensor([1]), 1.0)


def test_everything_is_double_in_double_out() -> None:
    x = noise(*VECTORS)
    p = Denoiser(smooth, S1000)(x, 5)
    assert p.x0.dtype == p.eps.dtype == torch.float64
    low = Denoiser(lambda x, t: smooth(x, t).bfloat16(), S1000)(x.float(), 5)
    assert low.eps.dtype == torch.float32


X = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Denoiser(zeros, S1000, predict="noise"), "predict must be one of"),
        (lambda: Denoiser(zeros, S1000, variance="huge"), "variance must be one of small"),
        (
            lambda: Denoiser(UNet.digits(clock=(0.0, 1.0)), S1000),
            r"clock has 2 entries.*T = 1000",
        ),
        (lambda: Denoiser(zeros, S1000)(X, 0), r"t must be in 1\.\.1000, got 0 \(x_0 is the data"),
        (lambda: Denoiser(zeros, S1000)(X, 1001), "got 1001"),
        (lambda: Denoiser(zeros, S1000)(X, 0.5), "no noise level between the data, 0, and t = 1"),
        (lambda: Denoiser(zeros, S1000)(X, "3"), "must be a number or a tensor"),  # type: ignore[arg-type]
        (lambda: Denoiser(zeros, S1000, clip="yes"), "clip must be True, False or a function"),  # type: ignore[arg-type]
        (lambda: Denoiser(zeros, S1000)(X, 3, clip=lambda x0, t: x0[:1]), "clip has shape"),
        (lambda: Denoiser(zeros, S1000)(X, torch.tensor([1, 2, 3])), "one number or 2"),
        (lambda: Denoiser(zeros, S1000)(X.byte(), 1), "scale uint8 images"),
        (lambda: Denoiser(zeros, S1000)(X[0], 1), r"x\[None\]"),
        (lambda: Denoiser(twice, S1000)(X, 1), r"returned shape \(2, 6\) for x_t of shape"),
        (lambda: Denoiser(zeros, S1000, variance="learned")(X, 1), "6 output channels .* got 3"),
        (
            lambda: Denoiser(nn.Linear(3, 3, device="meta"), S1000)(X, 1),
            r"xt is on cpu, the network on meta; use xt.to\('meta'\)",
        ),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("options", "random"),
    [
        ({"dropout": 0.1}, True),
        ({"dropout": 0.0}, False),
        ({"dropout": 0.0, "num_classes": 3, "label_dropout": 0.2}, True),
        ({"dropout": 0.0, "num_classes": 3, "label_dropout": 0.0}, False),
        ({"dropout": 0.0, "num_classes": 3, "null_class": False}, False),
        ({"dropout": 0.1, "self_cond": True}, True),
    ],
)
def test_sampling_in_training_mode_is_told(options: dict[str, Any], random: bool) -> None:
    model = Denoiser(md.UNet.digits(**options), Schedule.cosine(10))
    labels = {"labels": torch.tensor([0])} if model.num_classes else {}
    x, tau = torch.randn(1, 1, 8, 8), [10, 5, 0]

    def told(run: Callable[[], Any]) -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run()
        return any("training mode" in str(w.message) for w in caught)

    assert told(lambda: list(md.ddim(model, x, tau, **labels))) is random
    assert told(lambda: list(md.solve(model, x, tau, **labels))) is random
    t = torch.tensor([5])
    assert not told(lambda: md.loss_simple(model, x, t, **labels).sum().backward())  # it trains
    model.eval()
    assert not told(lambda: list(md.ddim(model, x, tau, **labels)))


def test_guidance_needs_a_null_class() -> None:
    net = md.UNet.digits(num_classes=3, null_class=False)
    model = Denoiser(net, Schedule.cosine(10)).eval()
    assert (model.num_classes, model.null_label) == (3, None)
    x, labels = torch.randn(2, 1, 8, 8), torch.tensor([0, 2])
    with pytest.raises(ValueError, match="3 classes and no null class"):
        md.guide(model, labels, w=1.5)
    p = md.guide(model, labels)(x, 5)  # the class alone
    assert torch.equal(p.eps, model(x, 5, labels=labels).eps)
    assert Denoiser(md.UNet.digits(num_classes=3), Schedule.cosine(10)).null_label == 3


def test_only_wrappers_are_seen_through() -> None:
    net = torch.nn.Linear(2, 2)
    schedule = Schedule.cosine(10)
    for wrapped in (
        torch.nn.DataParallel(net),
        torch.compile(net),
        torch.compile(torch.nn.DataParallel(net)),
        torch.optim.swa_utils.AveragedModel(net),
    ):
        assert isinstance(Denoiser(wrapped, schedule).network, torch.nn.Linear)

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module, self.head = net, torch.nn.Linear(2, 2)

    assert isinstance(Denoiser(Two(), schedule).network, Two)
