"""Likelihood of the ODE against densities that are known."""

import math

import pytest
import torch
from truth import IMAGES, noise, seeded, smooth, zeros

import minidiff as md
from minidiff import Denoiser, Schedule
from minidiff.toy import GaussianMixture

S1000 = Schedule.linear(1000)
TIGHT = {"rtol": 1e-6, "atol": 1e-6}


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_the_exact_denoiser_has_the_exact_likelihood(kind: str, dims: int) -> None:
    schedule = Schedule.linear(1000) if kind == "linear" else Schedule.cosine(1000)
    means = torch.tensor([[-1.0] * dims, [0.8] * dims])
    mixture = GaussianMixture(means, torch.tensor([0.7, 0.6]), torch.tensor([0.3, 0.7]))
    model = Denoiser(mixture.net(schedule), schedule, clip=False)
    x0 = mixture.sample(64, seeded(), dtype=torch.float64)
    result = md.log_likelihood(model, x0, probes=None, **TIGHT)
    # With the true q(x_T) for a prior, the change of variables is exact for x_1.
    prior = -0.5 * (result.x_T**2 + math.log(2 * math.pi)).sum(1)
    jump = mixture.noised(schedule, 1000).log_prob(result.x_T) - prior
    true = mixture.noised(schedule, 1).log_prob(x0)
    torch.testing.assert_close(result.nats + jump, true, rtol=0, atol=1e-4)
    if kind == "cosine":  # alpha_bar_T is small enough for N(0, I): every sample within 1e-3 nats
        torch.testing.assert_close(result.nats, mixture.log_prob(x0), rtol=0, atol=1e-3)
    else:  # alpha_bar_T = 4e-5 shifts each, but not their mean
        assert abs(float((result.nats - mixture.log_prob(x0)).mean())) < 1e-3


def test_images_and_their_latents() -> None:
    mixture, schedule = GaussianMixture(noise(2, 1, 2, 3, seed=1), 0.7), Schedule.cosine(1000)
    model = Denoiser(mixture.net(schedule), schedule, clip=False)
    x0 = mixture.sample(4, seeded(), dtype=torch.float64)
    result = md.log_likelihood(model, x0, probes=None, **TIGHT)
    assert result.x_T.shape == x0.shape
    torch.testing.assert_close(result.nats, mixture.log_prob(x0), rtol=0, atol=1e-3)
    torch.testing.assert_close(
        result.bits_per_dim, 7 - result.nats / (6 * math.log(2)), rtol=1e-12, atol=0
    )
    flat = GaussianMixture(mixture.means, 0.7)
    same = md.log_likelihood(
        Denoiser(flat.net(schedule), schedule, clip=False), x0.flatten(1), probes=None, **TIGHT
    )
    torch.testing.assert_close(same.nats, result.nats)


def test_the_latent_is_the_exact_one() -> None:
    mixture = GaussianMixture(torch.tensor([[-1.0], [0.8]]), 0.5)
    model = Denoiser(mixture.net(S1000), S1000, clip=False)
    x0 = mixture.sample(16, seeded(), dtype=torch.float64)
    result = md.log_likelihood(model, x0, probes=None, **TIGHT)
    exact = mixture.flow(S1000, x0, 1, 1000)  # x_0 is taken as x_1
    torch.testing.assert_close(result.x_T, exact, rtol=0, atol=1e-4)
    assert result.calls > 10


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased(kind: str) -> None:
    mixture = GaussianMixture(noise(2, 3, seed=1), 0.7)
    model = Denoiser(mixture.net(S1000), S1000, clip=False)
    x0 = mixture.sample(1, seeded(), dtype=torch.float64).repeat(400, 1)
    loose = {"rtol": 1e-4, "atol": 1e-4}
    exact = md.log_likelihood(model, x0[:1], probes=None, **loose).nats
    guess = md.log_likelihood(model, x0, noise=kind, generator=seeded(1), **loose).nats
    error = float(guess.std()) / 20
    assert error > 0
    assert abs(float(guess.mean() - exact)) < 3 * error
    more = md.log_likelihood(model, x0, probes=4, noise=kind, generator=seeded(1), **loose).nats
    assert float(more.std()) == pytest.approx(float(guess.std()) / 2, rel=0.25)


def test_one_rademacher_probe_is_exact_in_one_dimension() -> None:
    mixture = GaussianMixture(torch.tensor([[-1.0], [0.8]]), 0.5)
    model = Denoiser(mixture.net(S1000), S1000, clip=False)
    x0 = mixture.sample(8, seeded(), dtype=torch.float64)
    a = md.log_likelihood(model, x0, probes=1, generator=seeded())
    torch.testing.assert_close(a.nats, md.log_likelihood(model, x0, probes=None).nats)


def test_bits_per_dim_is_that_of_a_known_discrete_model() -> None:
    """Uniform noise over the 256 levels is worth 8 bits: a wide Gaussian's price comes close."""
    g = GaussianMixture(torch.zeros(1, 1), 0.5)
    images = torch.arange(256, dtype=torch.uint8)[:, None]
    x0 = md.dequantize(images, seeded()).double()
    model = Denoiser(g.net(S1000), S1000, clip=False)
    bits = md.log_likelihood(model, x0, probes=None, **TIGHT).bits_per_dim
    edges = torch.special.ndtr((2 * torch.arange(257).double() / 256 - 1) / 0.5)
    far = bits.mean() + edges.diff().log2().mean()
    assert abs(float(far)) < 2e-3


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4, 6), (0, 3)])
def test_dequantize_fills_the_bins_and_floor_takes_it_back(shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded())
    x = md.dequantize(images, seeded(1))
    assert torch.equal(((x + 1) * 128).floor().to(torch.uint8), images)
    assert torch.equal(x, md.dequantize(images, seeded(1)))
    u = (x + 1) * 128 - images
    assert x.shape == shape
    if x.numel() > 100:
        assert abs(float(u.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / x.numel())


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), IMAGES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_batch(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    model = Denoiser(lambda x, t: 0.5 * smooth(x, t), Schedule.cosine(20))
    result = md.log_likelihood(model, noise(*shape, dtype=dtype), rtol=1e-2, atol=1e-2)
    assert result.nats.shape == result.bits_per_dim.shape == (shape[0],)
    assert result.x_T.dtype == dtype


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: md.log_likelihood(m, x.byte()), "scale uint8"),
        (lambda m, x: md.log_likelihood(m, x[0]), "batch dimension"),
        (lambda m, x: md.log_likelihood(m, x, noise="uniform"), "got 'uniform'"),
        (lambda m, x: md.log_likelihood(m, x, probes=0), "probes must be"),
        (lambda m, x: md.log_likelihood(m, x * math.nan), "NaN or Inf"),
        (lambda m, x: md.dequantize(x), r"uint8 images \(0\.\.255\), got torch.float32"),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call(Denoiser(zeros, S1000), torch.zeros(2, 3))
