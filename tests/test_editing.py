"""Inpainting, RePaint and SDEdit on mixtures, whose conditional law is known exactly."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from truth import noise, seeded, smooth, zeros

import minidiff as md
from minidiff import Denoiser, Schedule
from minidiff.editing import _path
from minidiff.toy import GaussianMixture

S1000 = Schedule.linear(1000)
KNOWN = torch.tensor([[0.2, math.nan]], dtype=torch.float64)
MASK = torch.tensor([True, False])
TWO = GaussianMixture(torch.tensor([[-0.7, -0.7], [0.7, 0.7]]), 0.25)


def last(walk) -> Tensor:  # type: ignore[no-untyped-def]
    *_, step = walk
    return step.x


def exact(mixture: GaussianMixture, schedule: Schedule = S1000, **kind: str) -> Denoiser:
    return Denoiser(mixture.net(schedule), schedule, clip=False, **kind)


def filled(n: int, steps: int, **how: int) -> Tensor:
    """The free coordinate of n samples of TWO, given that the first is 0.2."""
    tau = md.tau(S1000, steps)
    walk = md.inpaint(exact(TWO), noise(n, 2), KNOWN, MASK, tau, generator=seeded(1), **how)
    x = last(walk)
    assert bool((x[:, 0] == 0.2).all())
    return x[:, 1]


def test_what_is_known_changes_only_the_weights() -> None:
    """`given` against Bayes' rule on a grid of the other coordinate."""
    mixture = GaussianMixture(
        torch.tensor([[-0.7, -0.5], [0.7, 0.1], [0.2, 0.9]]),
        torch.tensor([0.3, 0.5, 0.2]),
        torch.tensor([1.0, 2.0, 3.0]),
    )
    y = torch.linspace(-4, 4, 8001, dtype=torch.float64)[:, None]
    joint = mixture.log_prob(torch.cat([torch.full_like(y, 0.2), y], 1)).exp()
    bayes = joint / (joint.sum() * 1e-3)
    rest = mixture.given(torch.tensor([[0.2, 9.0]]), MASK)
    torch.testing.assert_close(rest.log_prob(y).exp(), bayes, rtol=1e-6, atol=1e-9)
    images = GaussianMixture(noise(3, 1, 2, 2), 0.5)
    mask = torch.tensor([[True, False], [False, True]])
    assert images.given(noise(1, 1, 2, 2, seed=1), mask).means.shape == (3, 2)


def test_replacement_is_biased_and_repaint_is_nearer() -> None:
    """Given 0.2, the other coordinate is near 0.7 in 99 of 100. Replacement lets a third be wrong
    however fine the grid; walking each step again brings them over.
    """
    truth = TWO.given(torch.tensor([[0.2, 0.0]]), MASK)
    right = float(truth.weights[1])
    assert right > 0.98
    n = 1000
    share = {
        how: float((filled(n, *how[:1], resample=how[1]) > 0).double().mean())
        for how in [(50, 1), (200, 1), (50, 5), (50, 20)]
    }
    far = 5 * math.sqrt(0.25 / n)  # five standard deviations of any share
    assert share[50, 1] < right - 0.2
    assert share[200, 1] < right - 0.2
    assert share[50, 1] + far < share[50, 5] < right
    assert share[50, 5] + far < share[50, 20] < right


def test_repaint_finds_the_mean_and_the_width_of_a_ridge() -> None:
    """A diagonal ridge: the rest must be close to what is known, and narrow."""
    k = torch.linspace(-1, 1, 41)
    ridge = GaussianMixture(torch.stack([k, k], 1), 0.1)
    known = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
    truth = ridge.given(known, MASK)
    mean = float((truth.weights @ truth.means).squeeze())
    spread = float((truth.weights @ (truth.means[:, 0] - mean) ** 2 + 0.01).sqrt())

    def found(**how: int) -> Tensor:
        grid = md.tau(S1000, 50)
        walk = md.inpaint(
            exact(ridge), noise(1000, 2), known, MASK, grid, generator=seeded(), **how
        )
        return last(walk)[:, 1]

    once, often = found(), found(resample=5)
    assert float(once.mean()) < mean - 0.05
    assert float(once.std()) > 1.3 * spread
    assert abs(float(often.mean()) - mean) < 0.02
    assert abs(float(often.std()) / spread - 1) < 0.15


def test_parts_that_are_independent_are_drawn_as_without_it() -> None:
    """One Gaussian: nothing is to be learnt from what is known, and the rest is ancestral."""
    one, tau, g = GaussianMixture(torch.tensor([[0.3, -0.4]]), 0.5), md.tau(S1000, 50), seeded(2)
    x = noise(20, 2)
    md.randn(x, g)  # what is drawn for the known part at the start
    plain = last(md.ancestral(exact(one), x, tau, generator=g))
    walk = md.inpaint(exact(one), x, KNOWN, MASK, tau, generator=seeded(2))
    torch.testing.assert_close(last(walk)[:, 1], plain[:, 1])


def test_nothing_known_is_ancestral_and_all_known_is_the_image() -> None:
    model, x, tau = Denoiser(smooth, S1000), noise(3, 2, 4, 5), [900, 400, 20, 0]
    none = torch.zeros(1, 4, 5, dtype=torch.bool)
    g = seeded(3)
    md.randn(x, g)  # what is drawn for the known part at the start
    plain = list(md.ancestral(model, x, tau, generator=g))
    walk = list(md.inpaint(model, x, 0 * x, none, tau, generator=seeded(3)))
    for a, b in zip(plain, walk, strict=True):
        assert a.t == b.t
        torch.testing.assert_close(a.x, b.x)
        torch.testing.assert_close(a.x0, b.x0)
    image = noise(1, 2, 4, 5, seed=9)
    *above, end = md.inpaint(model, x, image, ~none, tau, resample=2)
    assert torch.equal(end.x, image.expand_as(x))
    assert [step.t for step in above] == [400, 400, 20, 20]


def test_the_known_part_has_the_noise_of_its_level() -> None:
    model, n = Denoiser(zeros, S1000), 4000
    mask = torch.tensor([True, True, False])
    walk = md.inpaint(
        model, noise(n, 3), torch.full((1, 3), 0.8, dtype=torch.float64), mask,
        [800, 300, 100, 0], jump=2, resample=2, generator=seeded(4),
    )  # fmt: skip
    for step in walk:
        a = float(S1000.alpha_bar[step.t])
        known = step.x[:, :2]
        assert (
            abs(float(known.mean()) - math.sqrt(a) * 0.8) < 5 * math.sqrt((1 - a) / 2 / n) + 1e-12
        )
        assert abs(float(known.var()) - (1 - a)) < 0.06 * (1 - a) + 1e-12


@pytest.mark.parametrize(
    ("resample", "jump", "path"),
    [
        (1, 1, [5, 4, 3, 2, 1, 0]),
        (1, 3, [5, 4, 3, 2, 1, 0]),
        (2, 1, [5, 4, 5, 4, 3, 4, 3, 2, 3, 2, 1, 2, 1, 0]),
        (2, 3, [5, 4, 3, 2, 5, 4, 3, 2, 1, 2, 1, 0]),
        (3, 9, [5, 4, 3, 2, 1, 5, 4, 3, 2, 1, 5, 4, 3, 2, 1, 0]),
    ],
)
def test_the_path_of_repaint(resample: int, jump: int, path: list[int]) -> None:
    assert _path([5, 4, 3, 2, 1, 0], resample, jump) == path
    calls = sum(b < a for a, b in pairwise(path))
    assert calls == 4 * resample + 1


# ----------------------------------------------------------------------- SDEdit


@pytest.mark.parametrize("t", [150, 400, 700])
def test_sdedit_keeps_as_much_as_the_noise_leaves(t: int) -> None:
    """From one sketch, halfway: each x_t has its exact posterior, a mixture; theirs is the mean."""
    mixture = GaussianMixture(torch.tensor([[-0.7], [0.7]]), 0.1, torch.tensor([0.4, 0.6]))
    n, sketch = 4000, torch.tensor([[-0.25]]).double()
    u = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    eps = math.sqrt(2) * torch.erfinv(2 * u - 1)[:, None]  # quantiles instead of draws
    xt = md.diffuse(S1000, sketch.expand_as(eps), t, eps)
    mean = float(mixture.posterior_mean(S1000, xt, t).mean())
    grid = md.tau(t, min(t, 200))
    x = last(md.sdedit(exact(mixture), sketch.expand(n, 1), grid, generator=seeded(5)))
    assert abs(float(x.mean()) - mean) < 5 * 0.7 / math.sqrt(n)
    assert float((x.abs() - 0.7).abs().mean()) < 0.12  # and every sample is data


def test_sdedit_is_diffuse_and_ancestral() -> None:
    model, x, tau = Denoiser(smooth, S1000), noise(2, 3), [300.5, 100, 20]
    g = seeded(6)
    xt = md.diffuse(S1000, x, 300.5, md.randn(x, g))
    how = {"end": 20, "variance": "large"}
    a = last(md.ancestral(model, xt, tau, generator=g, **how))
    assert torch.equal(a, last(md.sdedit(model, x, tau, generator=seeded(6), **how)))


# ------------------------------------------------------------------------ input

X = torch.zeros(2, 3)
MODEL = Denoiser(zeros, S1000)
PART = torch.tensor([True, False, False])


def test_conditions_and_the_x0_hook_reach_the_network() -> None:
    def net(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return x * labels[:, None]

    seen = []

    def hook(x0: Tensor, t: float) -> Tensor:
        seen.append(t)
        return 0 * x0 + 0.25

    walk = md.inpaint(
        Denoiser(net, S1000), noise(2, 3), X.double(), PART, [900, 500.5, 0],
        labels=torch.tensor([0, 1]), clip=hook,
    )  # fmt: skip
    assert last(walk)[:, 1:].flatten().tolist() == pytest.approx([0.25] * 4)
    assert seen == [900, 500.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: md.inpaint(MODEL, X, X, PART.float(), [9, 0]), "mask must be bool, True where"),
        (lambda: md.inpaint(MODEL, X, X[:, :2], PART, [9, 0]), r"x0 \(2, 2\) and mask \(3,\) must"),
        (lambda: md.inpaint(MODEL, X, X, PART[:2], [9, 0]), r"must fit x_T \(2, 3\)"),
        (lambda: md.inpaint(MODEL, X, X, PART, [9, 0], resample=0), "resample must be a whole"),
        (lambda: md.inpaint(MODEL, X, X, PART, [9, 0], jump=1.5), "jump must be a whole number"),
        (lambda: md.inpaint(MODEL, X, X, PART, [9, 5]), "tau must fall"),
        (lambda: md.inpaint(MODEL, X.long(), X, PART, [9, 0]), "floating tensor"),
        (lambda: md.inpaint(MODEL, X, X, PART, [9, 0], variance="learned"), "variance must be"),
        (lambda: list(md.inpaint(MODEL, X / 0, X, PART, [9, 0])), "NaN or Inf"),
        (lambda: md.sdedit(MODEL, X, [5, 9, 0]), "tau must fall"),
        (lambda: md.sdedit(MODEL, X.byte(), [9, 0]), "scale uint8"),
        (lambda: TWO.given(torch.zeros(2, 2), MASK), "given takes one x0"),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()
