"""The checks: few of them in a step, all of them in time, and one formula for each tilde."""

import json
import math
import sys
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from truth import noise, smooth, twice

import minidiff as md
from minidiff import Denoiser, Schedule, checks

S1000 = Schedule.linear(1000)
MODEL = Denoiser(smooth, S1000)
X = torch.zeros(2, 3)


# ------------------------------------------------------------------------- how many a step asks


def calls_in(act: Callable[[], object], file: str) -> list[str]:
    """The functions of a file that are called meanwhile, those inside one another too."""
    names: list[str] = []

    def see(frame, event: str, arg: object) -> None:  # type: ignore[no-untyped-def]
        code = frame.f_code
        if event == "call" and code.co_filename == file and not code.co_name.startswith("<"):
            names.append(code.co_name)

    sys.setprofile(see)
    try:
        act()
    finally:
        sys.setprofile(None)
    return names


@pytest.mark.parametrize("eta", [0.0, 1.0, "hat"])
def test_a_step_of_ddim_asks_at_most_eight_checks(
    eta: float | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    at = Schedule.at
    monkeypatch.setattr(Schedule, "at", lambda *a: looked_up.append(a[1]) or at(*a))
    walk = md.ddim(Denoiser(smooth, S1000), X, [900, 800, 700, 0], eta)
    next(walk)
    looked_up.clear()
    names = calls_in(lambda: next(walk), checks.__file__)
    assert "admit" in names
    assert len(names) <= 8, names
    assert looked_up == [800, 800, 700]  # for the network's answer; for the step


@pytest.mark.parametrize("loss", [md.loss_simple, md.loss_gamma, md.loss_score])
def test_where_eps_is_enough_no_x_0_is_computed(
    loss: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    from minidiff import parameterize

    def forbidden(*args: Tensor) -> Tensor:
        raise AssertionError("x_0 was computed")

    monkeypatch.setitem(parameterize._TO_X0, "eps", forbidden)
    t = torch.tensor([1, 1000])
    assert loss(MODEL, X, t).shape == (2,)
    assert torch.equal(md.convert(S1000, X, X, t, "eps", "eps"), X)


# --------------------------------------------------------------------------------- in time


LAZY = {
    "ddim, tau": (lambda: md.ddim(MODEL, X, [1000, 5]), "tau must fall"),
    "ddim, state": (lambda: md.ddim(MODEL, X.byte(), [1000, 0]), "scale uint8"),
    "ddim, eta": (lambda: md.ddim(MODEL, X, [1000, 500, 0], eta=9.0), "take a smaller eta"),
    "ancestral, tau": (lambda: md.ancestral(MODEL, X, [1001, 0]), "at most 1000"),
    "ancestral, state": (lambda: md.ancestral(MODEL, X[0]), "add a batch dimension"),
    "ancestral, variance": (lambda: md.ancestral(MODEL, X, variance="huge"), "one of small"),
    "solve, method": (lambda: md.solve(MODEL, X, [9, 0], "midpoint"), "one of euler"),
    "solve, tau": (lambda: md.solve(MODEL, X, [9, 5]), "tau must fall"),
    "solve, state": (lambda: md.solve(MODEL, X.long(), [9, 0]), "floating tensor"),
    "interpolate, t": (lambda: md.interpolate(MODEL, X[:1], X[:1], torch.ones(3), 0), "tau must"),
}


@pytest.mark.parametrize("name", LAZY)
def test_a_walk_refuses_when_it_is_called_and_not_at_its_first_step(name: str) -> None:
    call, message = LAZY[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("walk", [md.ddim, md.ancestral, md.solve])
def test_a_walk_keeps_gradients_off_within_a_step_and_not_outside(
    walk: Callable[..., object],
) -> None:
    x = X.clone().requires_grad_()
    for step in walk(MODEL, x, [9, 5, 0]):  # type: ignore[attr-defined]
        assert not step.x.requires_grad
        assert torch.is_grad_enabled()


# ----------------------------------------------------------------------- one formula each


EXTREMES = {
    "linear": Schedule.linear(1000),
    "many small steps": Schedule.linear(100_000),
    "cosine": Schedule.cosine(4000),
    "nothing left": Schedule.from_alpha_bar([1.0, 0.5, 1e-12, 1e-300]),
    "nothing lost": Schedule.from_alpha_bar([1.0, 1 - 2**-53, 1 - 2**-52, 1 - 2**-51]),
    "one great step": Schedule.from_betas([1e-9, 1 - 1e-9, 1e-9]),
}


def truth(schedule: Schedule, t: int, s: int) -> tuple[Fraction, Fraction]:
    """(beta, beta_tilde) from t to s in rational numbers, exactly those of the table."""
    at, as_ = (Fraction(float(schedule.alpha_bar[i])) for i in (t, s))
    beta = 1 - at / as_
    return beta, (1 - as_) / (1 - at) * beta


@pytest.mark.parametrize("name", EXTREMES)
def test_beta_tilde_is_one_formula_and_true_to_the_last_digits(name: str) -> None:
    schedule = EXTREMES[name]
    last, x = schedule.T, torch.ones(1, 1).double()
    for t, s in [(2, 1), (3, 2), (last, last - 1), (last, 1), (1, 0), (last, 0)]:
        beta, tilde = (float(v) for v in truth(schedule, t, s))
        stay = s > 0  # at s = 0 the Denoiser's variance is the decoder's
        found = {
            "posterior": md.posterior(schedule, x, x, t, s).var,
            "ddim_sigma": md.ddim_sigma(schedule, t, s, eta=1.0) ** 2,
            "small": Denoiser(smooth, schedule).reverse(x, t, s).var if stay else tilde,
            "learned": learned(schedule, x, t, s, low=True) if stay else tilde,
        }
        if s == t - 1:
            found["table"] = schedule.beta_tilde[t]
        for user, value in found.items():
            assert float(value) == pytest.approx(tilde, rel=1e-12, abs=0), (user, t, s)
        found = {
            "transition": md.transition(schedule, x, s, t).var,
            "large": Denoiser(smooth, schedule).reverse(x, t, s, variance="large").var
            if stay
            else beta,
            "learned": learned(schedule, x, t, s, low=False),
        }
        if s == t - 1:
            found["table"] = schedule.beta[t]
        for user, value in found.items():
            assert float(value) == pytest.approx(beta, rel=1e-12, abs=0), (user, t, s)


def learned(schedule: Schedule, x: Tensor, t: int, s: int, low: bool) -> Tensor:
    def net(x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([x, torch.full_like(x, -1.0 if low else 1.0)], 1)

    return Denoiser(net, schedule, variance="learned").reverse(x, t, s).var


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("whole", [True, False])
def test_mu_tilde_is_one_formula(name: str, whole: bool) -> None:
    schedule = EXTREMES[name]
    x0, xt = torch.full((1, 1), 3.0).double(), torch.full((1, 1), 2.0).double()
    for t, s in [(1, 0), (2, 1), (3, 2), (schedule.T, schedule.T - 1)]:
        at, as_ = (Fraction(float(schedule.alpha_bar[i])) for i in (t, s))
        w0 = math.sqrt(as_) * float((1 - at / as_) / (1 - at))
        wt = math.sqrt(float(at / as_)) * float((1 - as_) / (1 - at))
        now = (t, s) if whole else (torch.tensor([t]), torch.tensor([s]))
        exact = Denoiser(lambda x, t: torch.full_like(x, 3.0), schedule, "x0", clip=False)
        found = {
            "posterior": md.posterior(schedule, x0, xt, *now).mean,
            "target": md.from_x0(schedule, "mu", x0, xt, now[0]),
            "reverse": exact.reverse(xt, *now).mean,
        }
        for user, value in found.items():
            assert float(value) == pytest.approx(3 * w0 + 2 * wt, rel=1e-12), (user, t, s)


# --------------------------------------------------- the variance of a step, without a trace


def test_reverse_takes_its_variance_and_the_model_keeps_its_own() -> None:
    x = noise(3, 4)
    for own, net in (("large", smooth), ("learned", twice)):
        model = Denoiser(net, S1000, variance=own)
        for kind in ("small", "large"):
            other = Denoiser(lambda x, t, model=model: model.ask(x, t + 1)[0], S1000, variance=kind)
            for t, s in ((500, 400), (1, 0), (torch.tensor([1, 5, 9]), torch.tensor([0, 4, 0]))):
                mine = model.reverse(x, t, s, variance=kind)
                torch.testing.assert_close(mine, other.reverse(x, t, s))
            for t in (1, 500, torch.tensor([1, 5, 9])):
                term = md.vlb_term(model, x, x, t, variance=kind)
                torch.testing.assert_close(term, md.vlb_term(other, x, x, t))
            a, b = (
                list(md.ancestral(m, x, [9, 5, 0], generator=torch.manual_seed(1), **how))
                for m, how in ((model, {"variance": kind}), (other, {}))
            )
            torch.testing.assert_close(a[0].x, b[0].x)
        assert model.variance == own
        assert torch.equal(model.reverse(x, 5, 4, variance=own).var, model.reverse(x, 5, 4).var)


def test_a_variance_that_was_not_learned_is_refused() -> None:
    for own, net, asked in (("small", smooth, "learned"), ("learned", twice, "diagonal")):
        with pytest.raises(ValueError, match=f"variance must be one of small, .*'{asked}'"):
            Denoiser(net, S1000, variance=own).reverse(X, 5, 4, variance=asked)


# ----------------------------------------------------------- facts about the network, one way


class Wrapper(nn.Module):
    """What DistributedDataParallel and torch.compile do to a network's attributes."""

    def __init__(self, net: nn.Module, name: str) -> None:
        super().__init__()
        setattr(self, name, net)


@pytest.mark.parametrize("names", [[], ["module"], ["_orig_mod"], ["_orig_mod", "module"]])
def test_facts_are_seen_through_wrappers(names: list[str]) -> None:
    clock = tuple(torch.linspace(0, 1, 10).tolist())
    unet = md.UNet.digits(num_classes=10, self_cond=True, clock=clock)
    net: nn.Module = unet
    for name in names:
        net = Wrapper(net, name)
    model = Denoiser(net, Schedule.cosine(10))
    assert model.network is unet
    assert (model.num_classes, model.self_conditioned, model.clock) == (10, True, clock)
    assert md.guide(model, torch.tensor([1]), 1.0).null == 10
    with pytest.raises(ValueError, match="clock has 10 entries"):
        Denoiser(net, S1000)


def test_the_compilers_own_wrapper_is_one_of_them() -> None:
    unet = md.UNet.digits(num_classes=10)
    model = Denoiser(torch.compile(unet), S1000)
    assert model.network is unet
    assert model.num_classes == 10


def test_a_function_has_no_facts() -> None:
    model = Denoiser(smooth, S1000)
    assert model.network is smooth
    assert (model.num_classes, model.self_conditioned, model.clock) == (0, False, 1.0)
    assert not model.learns_variance


# ------------------------------------------------------------------------- what else is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: md.ddim_sigma(S1000, 1001, 5, eta=1.0), r"t must be in 1\.\.1000, got 1001"),
        (lambda: md.transition(S1000, X, -1, 5), r"s must be in 0\.\.1000, got -1"),
        (lambda: md.posterior(S1000, X, X, 5, None), "s must be a number or a tensor"),  # type: ignore[arg-type]
        (lambda: md.posterior(S1000, X, X, 5, 5.5), "s must be below t"),
        (lambda: md.vlb_term(MODEL, X, X, 4.5), "one term for each step; got 4.5"),
        (lambda: md.vlb_term(MODEL, X, X, torch.tensor([4.5, 4])), "one term for each step"),
        (lambda: md.j_term(MODEL, X, X, 4.5, 0.01), "one term for each step; got 4.5"),  # type: ignore[arg-type]
        (
            lambda: md.ddim_forward(S1000, X, X, torch.tensor([5, 5]), torch.tensor([4, 0]), 0.0),
            r"got 0 .*marginal\(x0, t\)",
        ),
        (lambda: md.diffuse(S1000, X, 5, X.long()), "eps must be a floating tensor"),
        (lambda: md.loss_simple(MODEL, X, torch.tensor([0, 5])), "there is nothing to denoise"),
        (lambda: Denoiser(lambda x, t: x.sum(), S1000)(X, 5), r"returned shape \(\)"),
        (
            lambda: Denoiser(lambda x, t: x.sum(1), S1000, variance="learned")(X, 5),
            r"returned shape \(2,\)",
        ),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


def test_whole_numbers_of_numpy_and_small_tensors_are_whole_numbers() -> None:
    """What comes out of np.arange, or out of a table of bytes."""
    model, schedule = md.load_pretrained("digits"), md.Schedule.linear(1000)
    x = torch.zeros(2, 1, 8, 8)
    seven = model(x, 7).x0
    for kind in (np.int8, np.uint8, np.int64):
        assert torch.equal(model(x, kind(7)).x0, seven)
        assert torch.equal(md.marginal(schedule, x, kind(7)).mean, md.marginal(schedule, x, 7).mean)
        some = torch.as_tensor(np.array([7, 7], kind))
        assert torch.equal(model(x, some).x0, seven)
        assert torch.equal(md.marginal(schedule, x, some).mean, md.marginal(schedule, x, 7).mean)
        assert torch.equal(model.reverse(x, kind(7), kind(6)).mean, model.reverse(x, 7, 6).mean)
        assert torch.equal(md.vlb_term(model, x, x, kind(7)), md.vlb_term(model, x, x, 7))
    assert (
        md.tau(schedule, np.int64(10)) == md.tau(1000, S=10) == md.tau(np.int64(1000), np.int8(10))
    )
    for make in (md.Schedule.linear, md.Schedule.cosine):
        assert make(np.int64(100)).state() == make(100).state()
        json.dumps(make(np.int64(100)).state())
    walk = list(md.ddim(model, x, np.array([1000, 500, 0])))
    assert torch.equal(walk[-1].x, [*md.ddim(model, x, [1000, 500, 0])][-1].x)


def test_common_slips_are_taken_or_answered_in_a_sentence() -> None:
    labelled, x = md.load_pretrained("digits_labels"), torch.zeros(1, 1, 8, 8)
    of_list, of_tensor = md.guide(labelled, [3], 1.0), md.guide(labelled, torch.tensor([3]), 1.0)
    assert torch.equal(of_list(x, 500).x0, of_tensor(x, 500).x0)
    model, schedule = md.load_pretrained("digits"), md.Schedule.linear(1000)
    for walk in (md.ddim, md.solve):
        few, same = ([*walk(model, x, grid)][-1].x for grid in (5, md.tau(1000, S=5)))
        assert torch.equal(few, same)
    for slip, words in (
        (lambda: md.ddim(model, x, 0), r"S must be a whole number of steps in 1\.\.1000, got 0"),
        (lambda: model(x, np.array([7])), r"t must be a number or a tensor .* got array"),
        (lambda: md.guide(labelled, [3.0], 1.0)(x, 500), "labels must be whole numbers"),
        (lambda: md.guide(labelled, 3, 1.0)(x, 500), r"labels has shape \(\), expected \(1,\)"),
        (lambda: md.ddim(model, x.numpy()), "x_T must be a tensor, got a ndarray: torch.as_tensor"),
        (lambda: md.marginal(schedule, x.tolist(), 7), "x0 must be a tensor, got a list"),
        (lambda: model(x, "7"), "t must be a number or a tensor"),
        (lambda: md.tau(schedule, 10.5), "S must be a whole number of steps in 1"),
        (lambda: md.ddim(model.net, x), r"Denoiser\(net, schedule\) or load_pretrained.*a UNet"),
        (lambda: md.ancestral(md.UNet, x), "model must be a Denoiser.* got the class UNet"),
        (lambda: md.ddim("digits", x), r"load_pretrained\(name\); got a str"),
        (lambda: md.ddim(model, x, eta=None), "eta must be a number >= 0"),
        (lambda: [*md.ddim(model, x, 2, eta=1, generator=0)], r"manual_seed\(0\); got 0"),
        (lambda: md.randn(x, np.random.default_rng(0)), "generator must be a torch.Generator"),
        (lambda: md.ddim(model, x, torch.tensor([[9, 0]])), "tau must be a list of numbers"),
        (lambda: md.solve(model, x, [None, 0]), r"tau must be a list .* got \[None, 0\]"),
        (lambda: Denoiser(schedule, model.net), r"and a Schedule, .* got a Schedule and a UNet"),
        (lambda: Denoiser(model.net, None), r"got a UNet and None"),
        (lambda: Denoiser("unet", schedule), r"got a str and a Schedule"),
        (lambda: md.inpaint(model, x, x.byte(), x > 0, 5), "x0 must be a floating tensor"),
        (lambda: md.inpaint(model, x, x.numpy(), x > 0, 5), "x0 must be a tensor, got a ndarray"),
        (lambda: md.inpaint(model, x, x, None, 5), "mask must be bool.* got NoneType"),
        (lambda: md.inpaint(model, x, x, (x > 0).numpy(), 5), "mask must be bool.* got ndarray"),
        (lambda: md.train({"steps": 1}), "config must be a TrainConfig, got a dict"),
        (lambda: md.train(data=x), r"data must be Images\(pixels.* got a tensor"),
        (lambda: md.train(model=model.net), "model must be a Denoiser.* got a UNet"),
        (lambda: md.load_pretrained("digits", dtype="float16"), "dtype must be torch.float32"),
        (lambda: md.load_pretrained("digits", dtype=torch.int8), "got torch.int8"),
        (lambda: md.load_pretrained("digits", "gpu"), "device must be cpu, cuda"),
    ):
        with pytest.raises(ValueError, match=words):
            slip()
