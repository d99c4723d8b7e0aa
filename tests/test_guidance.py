"""Guidance by a classifier, exact on mixtures; and the x0 hook, beside diffusers'."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from truth import IMAGES, VECTORS, few, noise, seeded, smooth, states, twice, zeros

import minidiff as md
from minidiff import Denoiser, Schedule
from minidiff.parameterize import KINDS, shown
from minidiff.toy import GaussianMixture

S1000 = Schedule.linear(1000)
MEANS = torch.tensor([[-0.8, 0.1], [0.5, 0.5], [0.4, -0.9]], dtype=torch.float64)
STD = torch.tensor([0.3, 0.2, 0.4], dtype=torch.float64)
SHARE = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
MIXTURE = GaussianMixture(MEANS, STD, SHARE)


def classifier(x: Tensor, index: Tensor) -> Tensor:
    """log w_k N(x_t; sqrt(ab) m_k, ab v_k + 1 - ab), written out: exact, from t - 1."""
    a = S1000.at(index + 1, x)
    var = a * STD**2 + 1 - a  # (B, K)
    gap = ((x[:, None] - a.sqrt()[..., None] * MEANS) ** 2).sum(-1)
    return SHARE.log() - gap / (2 * var) - var.log()


def as_kind(kind: str, mixture: GaussianMixture) -> Denoiser:
    """The exact denoiser, whose network says it as `kind`."""

    def net(x: Tensor, index: Tensor) -> Tensor:
        if kind == "u":  # which is shown a point of the straight line
            x = x / shown("u", torch.ones_like(x), S1000.at(index + 1, x))
        x0 = mixture.posterior_mean(S1000, x, index + 1)
        return md.from_x0(S1000, kind, x0, x, index + 1)

    return Denoiser(net, S1000, kind, clip=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [2, 50, 400.5, 900, torch.tensor([3, 500, 1000])])
def test_a_right_classifier_makes_the_conditional_denoiser(kind: str, t: float | Tensor) -> None:
    """Score of p(x_t) p(y | x_t) = score of p(x_t | y), one Gaussian of the mixture."""
    labels, xt = torch.tensor([0, 1, 2]), noise(3, 2)
    guided = md.guide_by_classifier(as_kind(kind, MIXTURE), classifier, labels)
    p = guided(xt, t)
    for y in labels.tolist():
        only = GaussianMixture(MEANS[y : y + 1], float(STD[y]))
        each = t[y : y + 1] if isinstance(t, Tensor) else t
        x0 = only.posterior_mean(S1000, xt[y : y + 1], each)
        torch.testing.assert_close(p.x0[y : y + 1], x0, rtol=1e-8, atol=1e-8)
    a = S1000.at(t, xt)
    torch.testing.assert_close(a.sqrt() * p.x0 + (1 - a).sqrt() * p.eps, xt)


def test_eps_moves_by_the_gradient() -> None:
    """Dhariwal & Nichol 2021, eq. (14), the gradient by finite differences."""
    model, labels, xt, h = Denoiser(smooth, S1000, clip=False), torch.tensor([2]), noise(1, 2), 1e-5
    eps = md.guide_by_classifier(model, classifier, labels, w=3.0)(xt, 300).eps.detach()
    for i in range(2):
        step = h * torch.eye(2).double()[i : i + 1]
        up, down = (
            classifier(x, torch.tensor([299])).log_softmax(1)[0, 2] for x in (xt + step, xt - step)
        )
        expected = model(xt, 300).eps[0, i]
        expected -= 3 * math.sqrt(1 - float(S1000.alpha_bar[300])) * (up - down) / (2 * h)
        assert float(eps[0, i]) == pytest.approx(float(expected), abs=1e-7)


@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "solve"])
def test_samplers_reach_the_class(sampler: str) -> None:
    n = 1000
    labels = torch.full((n,), 1)
    guided = md.guide_by_classifier(as_kind("eps", MIXTURE), classifier, labels)
    tau = md.tau(S1000, 200 if sampler == "ancestral" else 60, "logsnr")
    *_, step = getattr(md, sampler)(guided, noise(n, 2), tau)
    assert not step.x.requires_grad
    assert float((step.x.mean(0) - MEANS[1]).abs().max()) < 0.04
    assert float((step.x.std(0) - STD[1]).abs().max()) < 0.03


def test_likelihood_and_latents_of_a_guided_model() -> None:
    """The log-likelihood differentiates the gradient once more: it is that of the class."""
    pytest.importorskip("torchdiffeq")
    x0, labels = 0.2 * noise(2, 2) + MEANS[1], torch.tensor([1, 1])
    guided = md.guide_by_classifier(as_kind("eps", MIXTURE), classifier, labels)
    only = GaussianMixture(MEANS[1:2], float(STD[1]))
    nats = md.log_likelihood(guided, x0, probes=None, rtol=1e-6, atol=1e-6).nats
    plain = Denoiser(only.net(S1000), S1000, clip=False)
    torch.testing.assert_close(
        nats, md.log_likelihood(plain, x0, probes=None, rtol=1e-6, atol=1e-6).nats,
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip
    latents = [md.encode(model, x0, 20) for model in (guided, plain)]
    torch.testing.assert_close(*latents, rtol=1e-7, atol=1e-7)


def test_guidance_of_guidance_and_of_a_learned_variance() -> None:
    model = Denoiser(twice, S1000, variance="learned")
    x, labels = noise(3, 2), torch.tensor([0, 1, 2])
    guided = md.guide_by_classifier(model, classifier, labels)
    torch.testing.assert_close(guided(x, 5).values, model(x, 5).values)
    assert torch.equal(
        md.guide_by_classifier(model, classifier, labels, 0.0)(x, 5).raw, model(x, 5).raw
    )
    both = md.guide_by_classifier(
        md.guide_by_classifier(model, classifier, labels), classifier, labels
    )
    strong = md.guide_by_classifier(model, classifier, labels, 2.0)
    torch.testing.assert_close(both(x, 500).raw, strong(x, 500).raw)


def test_the_classifier_goes_where_the_model_goes() -> None:
    net = nn.Linear(2, 3)
    guided = md.guide_by_classifier(Denoiser(zeros, S1000), lambda x, t: net(x), torch.tensor([0]))
    module = md.guide_by_classifier(Denoiser(zeros, S1000).eval(), net, torch.tensor([0]))
    assert net in set(module.modules())
    assert not module.training
    assert not net.training
    assert guided(torch.zeros(1, 2), 5).x0.dtype == torch.float32


@pytest.mark.parametrize(
    ("classify", "labels", "message"),
    [
        (lambda x, t: x[:, 0], [0, 1], r"must return logits \(2, K\), got \(2,\)"),
        (lambda x, t: x[:1], [0, 1], r"must return logits \(2, K\), got \(1, 3\)"),
        (lambda x, t: torch.zeros(2, 3), [0, 1], "logits have no gradient"),
        (lambda x, t: x, [0, 3], r"labels must be in 0\.\.2, got \[0, 3\]"),
        (lambda x, t: x, [0, -1], r"labels must be in 0\.\.2"),
        (lambda x, t: x, [0], r"labels has shape \(1,\), expected \(2,\)"),
    ],
)
def test_bad_classifiers_are_told_what_to_do(classify, labels: list[int], message: str) -> None:  # type: ignore[no-untyped-def]
    guided = md.guide_by_classifier(Denoiser(zeros, S1000), classify, torch.tensor(labels))
    with pytest.raises(ValueError, match=message):
        guided(torch.zeros(2, 3), 5)


# ------------------------------------------------------------------ the x0 hook


@few
@given(states(min_batch=1), st.floats(0.01, 1))
def test_dynamic_threshold_is_clamp_and_divide_by_the_quantile(x: Tensor, share: float) -> None:
    x = 3 * x
    out = md.dynamic_threshold(share)(x, 500)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    for one, image in zip(out, x, strict=True):
        s = max(1.0, float(image.double().abs().quantile(share)))
        torch.testing.assert_close(one, image.clamp(-s, s) / s, rtol=1e-5, atol=1e-6)
    assert float(out.abs().max()) <= 1


def test_dynamic_threshold_is_that_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler(
        thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=1e9, clip_sample=False
    )
    x = 2 * noise(4, 3, 5, 6, dtype=torch.float32)
    torch.testing.assert_close(md.dynamic_threshold(0.9)(x, 1), theirs._threshold_sample(x))


def test_images_of_any_size_and_half_precision() -> None:
    x = 4 * noise(3, 1, 40, 50).half()
    assert md.dynamic_threshold()(x, 1).dtype == torch.float16
    assert md.dynamic_threshold()(torch.zeros(0, 4), 1).shape == (0, 4)


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize(
    "walk",
    [
        lambda m, x, clip: md.ddim(m, x, [900, 500.5, 0], clip=clip),
        lambda m, x, clip: md.ddim(m, x, [900, 500.5, 0], eta=0.7, clip=clip, generator=seeded()),
        lambda m, x, clip: md.ancestral(m, x, [900, 500.5, 0], clip=clip, generator=seeded()),
        lambda m, x, clip: md.solve(m, x, [900, 500.5, 0], "euler", clip=clip),
        lambda m, x, clip: md.solve(m, x, [900, 500.5, 0], "dpm++", clip=clip),
    ],
)
def test_every_sampler_takes_the_hook(walk, shape: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    """It sees x0 and t; each walk is that of a network which says the hook's x0 itself."""
    asked: list[float] = []

    def hook(x0: Tensor, t: float) -> Tensor:
        asked.append(t)
        return torch.tanh(x0) + 0.01 * t

    plain = Denoiser(smooth, S1000, clip=False)

    def hooked(x: Tensor, index: Tensor) -> Tensor:
        t = float(index[0]) + 1
        return torch.tanh(plain(x, t).x0) + 0.01 * t

    x = noise(*shape)
    steps = list(walk(plain, x, hook))
    said = list(walk(Denoiser(hooked, S1000, "x0", clip=False), x, False))
    assert asked == pytest.approx([900, 500.5])
    for a, b in zip(steps, said, strict=True):
        torch.testing.assert_close(a.x, b.x)
        torch.testing.assert_close(a.x0, b.x0)
    asked.clear()
    own = Denoiser(smooth, S1000, clip=hook)
    p = own(x, 700)
    a = S1000.at(700, x)
    torch.testing.assert_close(a.sqrt() * p.x0 + (1 - a).sqrt() * p.eps, x)
    assert asked == [700]
    assert torch.equal(own(x, 700, clip=True).x0, plain(x, 700).x0.clamp(-1, 1))


def test_strong_guidance_is_kept_in_range() -> None:
    """What it is for: with w = 8 the guided x0 leaves [-1, 1], and the hook follows guiding."""
    model = Denoiser(lambda x, t, labels: x * labels[:, None], S1000, "x0", clip=False)
    x = noise(2, 50)
    guided = md.guide(model, torch.tensor([1, 1]), w=8.0, null=0)
    assert float(guided(x, 500).x0.abs().max()) > 5
    kept = guided(x, 500, clip=md.dynamic_threshold(0.9)).x0
    assert float(kept.abs().max()) == pytest.approx(1)
    clamped = guided(x, 500, clip=True).x0
    assert int((kept.abs() == 1).sum()) < int((clamped.abs() == 1).sum()) / 3


@pytest.mark.parametrize("share", [0, -0.1, 1.5, math.nan])
def test_a_quantile_beyond_the_data_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        md.dynamic_threshold(share)
