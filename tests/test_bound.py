"""The bound: closed forms, Monte Carlo, torch.distributions, and a mixture that is known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence
from truth import IMAGES, VECTORS, few, noise, schedules, seeded, slope, smooth, states, twice

import minidiff as md
from minidiff import Denoiser, Gaussian, Schedule
from minidiff.toy import GaussianMixture

S1000 = Schedule.linear(1000)
GRID = torch.arange(256).double() / 127.5 - 1
MIXTURE = GaussianMixture(torch.tensor([[-1.0], [1.5]]), torch.tensor([0.4, 0.6]))


# ------------------------------------------------------------------------ terms


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize("variance", ["small", "large", "learned", "diagonal"])
@pytest.mark.parametrize("t", [2, 500, 1000])
def test_a_term_is_the_kl_of_torch_distributions(
    t: int, variance: str, shape: tuple[int, ...]
) -> None:
    net = twice if variance in ("learned", "diagonal") else smooth
    model = Denoiser(net, S1000, variance=variance)
    x0, eps = noise(2, *shape)
    xt = md.diffuse(S1000, x0, t, eps)
    q, p = md.posterior(S1000, x0, xt, t, t - 1), model.reverse(xt, t, t - 1)

    def theirs(g: Gaussian) -> Independent:
        return Independent(Normal(g.mean, g.std.expand_as(g.mean)), len(shape) - 1)

    expected = kl_divergence(theirs(q), theirs(p))
    torch.testing.assert_close(md.vlb_term(model, x0, xt, t), expected, rtol=1e-10, atol=1e-10)
    many = md.vlb_term(model, x0, xt, torch.full((len(x0),), t))
    torch.testing.assert_close(many, expected, rtol=1e-10, atol=1e-10)


def test_a_term_is_its_monte_carlo_estimate() -> None:
    """E_q[log q(x_s | x_t, x_0) - log p(x_s | x_t)], within three standard errors."""
    n, t = 40_000, 300
    model = Denoiser(smooth, S1000, variance="large")
    x0, xt = noise(2, 1, 4)
    q, p = md.posterior(S1000, x0, xt, t, t - 1), model.reverse(xt, t, t - 1)
    many = Gaussian(q.mean.expand(n, 4), q.var)
    x = many.sample(seeded())
    ratio = many.log_prob(x) - Gaussian(p.mean.expand(n, 4), p.var).log_prob(x)
    error = float(ratio.std()) / math.sqrt(n)
    assert error < 0.1 * float(ratio.mean())
    assert abs(float(ratio.mean() - md.vlb_term(model, x0, xt, t))) < 3 * error


def test_the_decoder_is_its_monte_carlo_estimate() -> None:
    """The mass of a bin is the share of samples of p(x_0 | x_1) that round to it."""
    n = 200_000
    g = Gaussian(torch.full((1, 1), 0.3).double(), torch.full((1, 1), 1e-5).double())
    x = Gaussian(g.mean.expand(n, 1), g.var).sample(seeded())
    level = (x * 127.5 + 127.5).round().clamp(0, 255).long()
    for k in range(163, 169):
        mass = math.exp(-float(md.decoder_nll(g, GRID[k].reshape(1, 1))))
        share = float((level == k).double().mean())
        assert abs(share - mass) < 3 * math.sqrt(mass / n)


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
def test_the_prior_is_in_closed_form(shape: tuple[int, ...]) -> None:
    x0 = noise(*shape)
    a = float(S1000.alpha_bar[-1])
    d = math.prod(shape[1:])
    expected = 0.5 * (a * (x0**2).flatten(1).sum(1) - d * a - d * math.log(1 - a))
    torch.testing.assert_close(md.prior_kl(S1000, x0), expected, rtol=1e-9, atol=1e-15)
    assert md.prior_kl(S1000, x0.float()).dtype == torch.float64


# ---------------------------------------------------------------------- decoder


@few
@given(st.floats(-1.5, 1.5), st.floats(-6, 1))
def test_decoder_probabilities_sum_to_1(mean: float, log10_std: float) -> None:
    var = torch.full((1, 1), 10.0 ** (2 * log10_std)).double()
    g = Gaussian(torch.full((256, 1), mean).double(), var)
    nll = md.decoder_nll(g, GRID[:, None])
    assert abs(float((-nll).exp().sum()) - 1) < 1e-6
    assert bool((nll >= 0).all())


@pytest.mark.parametrize("levels", [2, 3, 16])
def test_other_numbers_of_levels_sum_to_1(levels: int) -> None:
    grid = torch.linspace(-1, 1, levels, dtype=torch.float64)[:, None]
    g = Gaussian(torch.full((levels, 1), 0.2).double(), torch.full((1, 1), 0.5).double())
    assert float((-md.decoder_nll(g, grid, levels)).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_the_decoder_uses_the_exact_normal_cdf() -> None:
    """Against math.erf where that has no cancellation: not the tanh approximation."""

    def cdf(x: float) -> float:
        return 0.5 * (1 + math.erf(x / math.sqrt(2)))

    for k, mean, std in [(100, -0.2, 0.3), (128, 0.0, 0.01), (0, -0.9, 0.2), (255, 0.8, 0.4)]:
        x = float(GRID[k])
        low = 0 if k == 0 else cdf((x - 1 / 255 - mean) / std)
        high = 1 if k == 255 else cdf((x + 1 / 255 - mean) / std)
        g = Gaussian(*torch.tensor([mean, std**2], dtype=torch.float64).reshape(2, 1, 1))
        nll = float(md.decoder_nll(g, torch.full((1, 1), x, dtype=torch.float64)))
        assert nll == pytest.approx(-math.log(high - low), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("std", [1e-6, 1e-3, 0.1, 10.0])
def test_gradients_are_finite_at_the_edges_and_far_away(std: float, dtype: torch.dtype) -> None:
    x0 = torch.tensor([-1, -1, -1, 1, 1, 1, 0, 0.5, -0.999], dtype=dtype)[:, None]
    mean = torch.tensor([-1, 1, -300, 1, -1, 300, 20, 0.5, 1], dtype=dtype)[:, None]
    mean.requires_grad_()
    log_var = torch.full_like(mean, 2 * math.log(std)).detach().requires_grad_()
    nll = md.decoder_nll(Gaussian(mean, log_var.exp()), x0)
    nll.sum().backward()
    assert bool(nll.isfinite().all())
    assert mean.grad is not None
    assert log_var.grad is not None
    assert bool(mean.grad.isfinite().all())
    assert bool(log_var.grad.isfinite().all())
    assert float(mean.grad[1]) > 0  # the data are at -1, the mean at 1: go down


def test_a_bin_too_small_to_see_has_a_finite_price() -> None:
    std = torch.tensor([[1e20]], dtype=torch.float64, requires_grad=True)
    nll = md.decoder_nll(Gaussian(torch.zeros(1, 1).double(), std**2), GRID[100].reshape(1, 1))
    nll.sum().backward()
    assert std.grad is not None
    assert math.isfinite(float(nll.detach()))
    assert math.isfinite(float(std.grad))


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
def test_without_levels_the_decoder_is_a_density(shape: tuple[int, ...]) -> None:
    x, mean = noise(2, *shape)
    g = Gaussian(mean, torch.ones(1).double().reshape(1, *(1,) * (len(shape) - 1)) / 3)
    assert torch.equal(md.decoder_nll(g, x, levels=None), -g.log_prob(x))


# ------------------------------------------------------------- the whole bound


def gauss_hermite(n: int, mixture: GaussianMixture) -> tuple[Tensor, Tensor, Tensor]:
    """(x_0, eps, weight) with sum weight f(x_0, eps) = E f over the mixture and the noise."""
    nodes, weights = (torch.from_numpy(a) for a in hermegauss(n))
    weights = weights / weights.sum()
    xs = (mixture.means + mixture.var.sqrt()[:, None] * nodes).flatten()  # (K n,)
    ws = (mixture.weights[:, None] * weights).flatten()
    x0, eps = torch.meshgrid(xs, nodes, indexing="ij")
    w = ws[:, None] * weights
    return x0.reshape(-1, 1), eps.reshape(-1, 1), w.flatten()


def exact(mixture: GaussianMixture, schedule: Schedule) -> Denoiser:
    """The exact mean, with the variance "large" at every step (right as beta goes to 0)."""
    net = mixture.net(schedule)
    return Denoiser(
        lambda x, t: torch.cat([net(x, t), torch.ones_like(x)], 1),
        schedule,
        variance="learned",
        clip=False,
    )


def test_the_exact_denoisers_bound_falls_to_the_entropy_like_1_over_T() -> None:
    """ELBO >= NLL and ELBO - NLL ~ 1/T, both by quadrature: no sampling error."""
    x0, eps, w = gauss_hermite(48, MIXTURE)
    entropy = -float((w * MIXTURE.log_prob(x0)).sum())
    steps, gaps = [50, 100, 200, 400], []
    for T in steps:
        schedule = Schedule.linear(T)
        model = exact(MIXTURE, schedule)
        total = float((w * md.prior_kl(schedule, x0)).sum())
        for t in range(1, T + 1):
            xt = md.diffuse(schedule, x0, t, eps)
            total += float((w * md.vlb_term(model, x0, xt, t, levels=None)).sum())
        prior = float((w * md.prior_kl(schedule, x0)).sum())
        gaps.append(total - entropy - prior)
        assert total >= entropy
    assert gaps[-1] > 0
    assert slope(steps, gaps) == pytest.approx(1, abs=0.15)
    assert gaps[-1] < 0.02


def test_a_worse_denoiser_has_a_worse_bound() -> None:
    schedule = Schedule.linear(100)
    x0 = MIXTURE.sample(4000, seeded(), dtype=torch.float64)
    right = md.elbo(exact(MIXTURE, schedule), x0, levels=None, generator=seeded(1)).total
    wrong = GaussianMixture(torch.tensor([[-0.5], [1.0]]), 0.5)
    worse = md.elbo(exact(wrong, schedule), x0, levels=None, generator=seeded(1)).total
    assert float((worse - right).mean()) > 0.05
    gap = right + MIXTURE.log_prob(x0)
    error = 3 * float(gap.std()) / math.sqrt(len(x0))
    assert -error < float(gap.mean()) < 0.1 + error


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
def test_elbo_is_the_sum_of_its_terms(shape: tuple[int, ...]) -> None:
    schedule = Schedule.cosine(9)
    model = Denoiser(smooth, schedule)
    x0 = GRID[torch.arange(math.prod(shape)) % 256].reshape(shape)
    bound = md.elbo(model, x0, generator=seeded(3))
    g = seeded(3)
    terms = [md.prior_kl(schedule, x0)]
    for t in range(1, 10):
        xt = md.diffuse(schedule, x0, t, md.randn(x0, g))
        terms.append(md.vlb_term(model, x0, xt, t))
    torch.testing.assert_close(bound.terms, torch.stack(terms))
    d = math.prod(shape[1:])
    assert bound.dims == d
    bits = bound.total / (d * math.log(2))
    torch.testing.assert_close(bound.bits_per_dim, bits)
    torch.testing.assert_close(bound.rate + bound.distortion, bits)
    torch.testing.assert_close(bound.distortion, terms[1] / (d * math.log(2)))
    torch.testing.assert_close(md.bits_per_dim(model, x0, generator=seeded(3)), bits)


def test_the_bound_of_a_gaussian_is_known_in_closed_form() -> None:
    """Data N(0, 1), the exact denoiser and the "large" variance: every KL is a number."""
    one = GaussianMixture(torch.zeros(1, 1), 1.0)
    schedule = Schedule.linear(100)
    x0, eps, w = gauss_hermite(20, one)
    model = Denoiser(one.net(schedule), schedule, variance="large", clip=False)
    for t in (2, 50, 100):
        a, b = float(schedule.alpha_bar[t - 1]), float(schedule.beta[t])
        # q(x_s | x_t, x_0): variance b~; its mean is sqrt(a) b/(1-a_t) (x_0 - E[x_0 | x_t]) away.
        tilde = float(schedule.beta_tilde[t])
        rest = 1 - float(schedule.alpha_bar[t])
        far = a * (b / rest) ** 2 * rest  # Var[x_0 | x_t] = 1 - alpha_bar_t
        expected = 0.5 * (tilde / b - 1 - math.log(tilde / b) + far / b)
        xt = md.diffuse(schedule, x0, t, eps)
        term = float((w * md.vlb_term(model, x0, xt, t)).sum())
        assert term == pytest.approx(expected, rel=1e-9)


# --------------------------------------------------------------------- J_sigma


@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize("share", [0.3, 1.0, 1.2])
def test_j_minus_l_gamma_is_the_same_for_every_network(
    share: float, shape: tuple[int, ...]
) -> None:
    """Song, Meng & Ermon 2021, theorem 1."""
    schedule = Schedule.linear(60)
    most = 0.99 * (1 - schedule.alpha_bar[:-1]).sqrt()
    sigma = share * schedule.beta_tilde.sqrt()
    sigma[1:] = sigma[1:].minimum(most)
    sigma[1] = 0.05
    gamma = md.gamma(schedule, sigma)
    assert float(gamma[0]) == 0
    x0, eps = noise(2, *shape)
    constants, sizes = [], []
    nets = [smooth, lambda x, t: 2 * x - 1, lambda x, t: -(smooth(x, t) ** 2)]
    for net in nets:
        model = Denoiser(net, schedule)
        j = l_gamma = torch.zeros(len(x0)).double()
        for t in range(1, 61):
            xt = md.diffuse(schedule, x0, t, eps)
            j = j + md.j_term(model, x0, xt, t, float(sigma[t]))
            error = ((eps - model(xt, t, clip=False).eps) ** 2).flatten(1).sum(1)
            l_gamma = l_gamma + gamma[t] * error
        constants.append(j - l_gamma)
        sizes.append(float(j.abs().max()))
    d = math.prod(shape[1:])
    known = torch.full_like(constants[0], d / 2 * math.log(2 * math.pi * 0.05**2))
    for c in constants:
        torch.testing.assert_close(c, constants[0], rtol=0, atol=1e-8 * min(sizes))
        torch.testing.assert_close(c, known, rtol=0, atol=1e-8 * max(sizes))


def test_gamma_is_that_of_ho_with_ddpms_sigma() -> None:
    g = md.gamma(S1000, S1000.beta_tilde.sqrt().clamp(min=1e-3))
    torch.testing.assert_close(g[2:], md.weights_vlb(S1000)[2:], rtol=1e-6, atol=0)


# ----------------------------------------------------------------------- input


@few
@given(schedules(max_T=8), states())
def test_any_batch(schedule: Schedule, x: Tensor) -> None:
    model = Denoiser(twice, schedule, variance="learned")
    bound = md.elbo(model, x.clamp(-1, 1), generator=seeded())
    assert bound.terms.shape == (schedule.T + 1, len(x))
    assert bound.bits_per_dim.shape == (len(x),)
    assert bool(bound.terms.isfinite().all())
    j = md.j_term(Denoiser(smooth, schedule), x, x, 2, 0.01)
    assert j.shape == (len(x),)


X = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: md.elbo(Denoiser(smooth, S1000), X.byte()), "scale uint8 images"),
        (lambda: md.prior_kl(S1000, X.byte()), "scale uint8 images"),
        (lambda: md.vlb_term(Denoiser(smooth, S1000), X, X, 0), r"1\.\.1000, got 0"),
        (lambda: md.vlb_term(Denoiser(smooth, S1000), X[:1], X, 5), "x0 has shape"),
        (lambda: md.vlb_term(Denoiser(smooth, S1000), X.to("meta"), X, 1), "x0 is on meta"),
        (lambda: md.gamma(S1000, S1000.beta_tilde.sqrt()), "sigma_t > 0"),
        (lambda: md.gamma(S1000, torch.full((1001,), 0.5)), "at most 1 - alpha_bar"),
        (lambda: md.gamma(S1000, torch.ones(1000)), r"T \+ 1 = 1001 numbers"),
        (lambda: md.j_term(Denoiser(smooth, S1000), X, X, 5, 0.9), "sigma is too large"),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()
