"""Objectives: per sample, against their definitions; and where gradients go."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from truth import IMAGES, VECTORS, few, noise, schedules, seeded, smooth, states, twice

import minidiff as md
from minidiff import Denoiser, Schedule
from minidiff.parameterize import KINDS, shown

S1000 = Schedule.linear(1000)
T3 = torch.tensor([1, 400, 1000])


def mean(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize("kind", KINDS)
def test_simple_is_the_mean_squared_error_of_its_target(kind: str, shape: tuple[int, ...]) -> None:
    x0, eps = noise(*shape, seed=1), noise(*shape, seed=2)
    xt = md.diffuse(S1000, x0, T3, eps)
    target = md.from_x0(S1000, kind, x0, xt, T3)
    loss = md.loss_simple(Denoiser(smooth, S1000, kind), x0, T3, generator=seeded(2))
    seen = shown(kind, xt, S1000.at(T3, xt))
    torch.testing.assert_close(loss, mean((target - smooth(seen, T3 - 1)) ** 2))
    gamma = md.loss_gamma(Denoiser(smooth, S1000, kind), x0, T3, generator=seeded(2))
    model_eps = Denoiser(smooth, S1000, kind, clip=False)(xt, T3).eps
    torch.testing.assert_close(gamma, mean((eps - model_eps) ** 2))


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize("kind", KINDS)
def test_score_matching_is_l_simple_in_eps(kind: str, shape: tuple[int, ...]) -> None:
    x0, model = noise(*shape), Denoiser(smooth, S1000, kind)
    score = md.loss_score(model, x0, T3, generator=seeded(2))
    torch.testing.assert_close(
        score, md.loss_gamma(model, x0, T3, generator=seeded(2)), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize("variance", ["small", "large"])
def test_weights_vlb_turn_l_gamma_into_the_bound(variance: str, shape: tuple[int, ...]) -> None:
    """Ho et al. 2020, eq. (12): up to what does not depend on the network (0 for "small")."""
    x0, t, dims = noise(*shape), torch.tensor([2, 400, 1000]), math.prod(shape[1:])
    losses = []
    for scale in (1.0, 2.0):
        model = Denoiser(lambda x, t, k=scale: k * smooth(x, t), S1000, variance=variance)
        weighted = md.loss_gamma(model, x0, t, md.weights_vlb(S1000, variance), generator=seeded(2))
        xt = md.diffuse(S1000, x0, t, noise(*shape, seed=2))
        term = md.vlb_term(model, x0, xt, t, model(xt, t, clip=False))
        losses.append(term / dims - weighted)
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-9)
    if variance == "small":
        assert float(losses[0].abs().max()) < 1e-9


def test_weights_are_their_formulas() -> None:
    snr = S1000.snr
    for t in (1, 300, 1000):
        assert float(md.weights_p2(S1000)[t]) == pytest.approx(1 / (1 + float(snr[t])))
        assert float(md.weights_p2(S1000, k=2, power=0.5)[t]) == pytest.approx(
            (2 + float(snr[t])) ** -0.5
        )
        assert float(md.weights_min_snr(S1000, 3)[t]) == pytest.approx(
            min(float(snr[t]), 3) / float(snr[t])
        )
    for weights in (md.weights_vlb(S1000), md.weights_p2(S1000), md.weights_min_snr(S1000)):
        assert weights.shape == (1001,)
        assert bool(weights.isfinite().all())


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
def test_vlb_is_T_times_a_term_in_bits_per_dim(shape: tuple[int, ...]) -> None:
    x0, model = noise(*shape).clamp(-1, 1), Denoiser(twice, S1000, variance="learned")
    loss = md.loss_vlb(model, x0, T3, generator=seeded(2))
    xt = md.diffuse(S1000, x0, T3, noise(*shape, seed=2))
    p = model(xt, T3, clip=False)
    dims = math.prod(shape[1:])
    for i, t in enumerate(T3.tolist()):
        one = type(p)(*(v[i : i + 1] for v in p))
        nats = md.vlb_term(model, x0[i : i + 1], xt[i : i + 1], t, one)
        assert float(loss[i]) == pytest.approx(float(nats) * 1000 / (dims * math.log(2)))


class Learned(nn.Module):
    """A network with parameters of its own for the mean and for the variance."""

    def __init__(self, dims: int = 5) -> None:
        super().__init__()
        self.mean = nn.Linear(dims, dims).double()
        self.values = nn.Linear(dims, dims).double()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([self.mean(x), self.values(x).tanh()], 1)


@pytest.mark.parametrize("T", [100, 1000, 4000])
def test_hybrid_has_the_papers_scale(T: int) -> None:
    model = Denoiser(twice, Schedule.cosine(T), variance="learned")
    x0, t = noise(*VECTORS).clamp(-1, 1), torch.tensor([1, T // 2, T])
    simple, vlb, hybrid = (
        f(model, x0, t, generator=seeded(2)) for f in (md.loss_simple, md.loss_vlb, md.loss_hybrid)
    )
    torch.testing.assert_close(hybrid, simple + 0.001 * vlb)


@pytest.mark.parametrize("variance", ["learned", "diagonal"])
@pytest.mark.parametrize("kind", ["eps", "v"])
def test_the_bound_does_not_move_the_mean_in_hybrid(kind: str, variance: str) -> None:
    torch.manual_seed(0)
    x0 = noise(*VECTORS).clamp(-1, 1)
    net = Learned()
    model = Denoiser(net, Schedule.cosine(1000), kind, variance)

    def gradients(loss) -> tuple[Tensor, Tensor | None]:  # type: ignore[no-untyped-def]
        net.zero_grad(set_to_none=True)
        loss(model, x0, T3, generator=seeded(2)).mean().backward()
        assert net.mean.weight.grad is not None
        return net.mean.weight.grad, net.values.weight.grad

    simple, none = gradients(md.loss_simple)
    hybrid, values = gradients(md.loss_hybrid)
    vlb_mean, vlb_values = gradients(md.loss_vlb)
    assert torch.equal(hybrid, simple)  # exactly: nothing of L_vlb arrives
    assert not torch.equal(vlb_mean, simple)
    assert none is None or float(none.abs().max()) == 0
    assert values is not None
    assert vlb_values is not None
    assert float(values.abs().max()) > 0
    torch.testing.assert_close(values, 0.001 * vlb_values, rtol=1e-10, atol=0)


def test_hybrid_needs_a_learned_variance() -> None:
    with pytest.raises(ValueError, match="use loss_simple"):
        md.loss_hybrid(Denoiser(smooth, S1000), noise(*VECTORS), T3)


LOSSES = [md.loss_simple, md.loss_gamma, md.loss_vlb, md.loss_score, md.loss_hybrid]


@few
@given(schedules(), states(), st.sampled_from(LOSSES), st.data())
def test_any_batch(schedule: Schedule, x: Tensor, loss, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]
    ts = data.draw(st.lists(st.integers(1, schedule.T), min_size=len(x), max_size=len(x)))
    model = Denoiser(twice, schedule, variance="learned")
    out = loss(model, x.clamp(-1, 1), torch.tensor(ts, dtype=torch.long), generator=seeded())
    assert out.shape == (len(x),)
    assert out.dtype == x.dtype
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("loss", LOSSES)
def test_bad_input_is_told_what_to_do(loss) -> None:  # type: ignore[no-untyped-def]
    model, x = Denoiser(twice, S1000, variance="learned"), noise(*VECTORS)
    with pytest.raises(ValueError, match=r"t must be in 1\.\.1000, got 0"):
        loss(model, x, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="scale uint8 images"):
        loss(model, x.byte(), T3)
    with pytest.raises(ValueError, match=r"one number or 3"):
        loss(model, x, torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="variance must be"):
        md.weights_vlb(S1000, "medium")


class SelfConditioned(nn.Module):
    """Records what it was given as its own earlier estimate."""

    class config:
        self_cond = True

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Linear(5, 5)
        self.seen: list[tuple[Tensor | None, Tensor]] = []

    def forward(self, x: Tensor, t: Tensor, labels: Tensor, x_self: Tensor | None = None) -> Tensor:
        self.seen.append((x_self, labels))
        return self.weight(x) + (0 if x_self is None else x_self)  # type: ignore[no-any-return]


def test_half_of_a_batch_is_conditioned_on_its_own_estimate() -> None:
    net = SelfConditioned()
    model = Denoiser(net, S1000)
    x0, labels = noise(4, 5, dtype=torch.float32), torch.tensor([1, 2, 3, 4])
    t = torch.tensor([10, 200, 500, 900])
    loss = md.loss_simple(model, x0, t, generator=seeded(2), labels=labels)
    (first, first_labels), (second, second_labels) = net.seen
    assert first is None
    assert first_labels.tolist() == [1, 2]
    assert second_labels.tolist() == [1, 2, 3, 4]
    xt = md.diffuse(S1000, x0, t, noise(4, 5, seed=2, dtype=torch.float32))
    guess = model(xt[:2], t[:2], labels=labels[:2]).x0
    assert second is not None
    assert not second.requires_grad
    torch.testing.assert_close(second, torch.cat([guess.detach(), torch.zeros(2, 5)]))
    loss.mean().backward()
    assert net.weight.weight.grad is not None


def test_self_conditioning_trains_under_autocast() -> None:
    """The pass without gradient must not leave cast weights without gradient behind."""
    net = SelfConditioned()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x0, t = noise(4, 5, dtype=torch.float32), torch.tensor([10, 200, 500, 900])
        md.loss_simple(Denoiser(net, S1000), x0, t, labels=t).mean().backward()
    assert net.weight.weight.grad is not None
    assert float(net.weight.weight.grad.abs().sum()) > 0


def test_a_walk_hands_on_its_estimate() -> None:
    net = SelfConditioned()
    steps = list(md.ddim(Denoiser(net, S1000), noise(2, 5).float(), [900, 500, 0], labels=T3[:2]))
    assert net.seen[0][0] is None
    assert net.seen[1][0] is steps[0].x0
