"""The ground truth itself, against torch.distributions, quadrature, autograd and bisection."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from truth import noise, seeded

import minidiff as md
from minidiff import Denoiser, Schedule
from minidiff.toy import MLP, GaussianMixture, moons, silhouette, spirals, swiss_roll

S1000 = Schedule.linear(1000)
TWO = GaussianMixture(
    torch.tensor([[-1.0], [0.6]]), torch.tensor([0.5, 0.3]), torch.tensor([1.0, 3.0])
)
GRID = torch.linspace(-12, 12, 24001, dtype=torch.float64)[:, None]


def integral(values: Tensor) -> float:
    return float(torch.trapezoid(values.flatten(), GRID.flatten()))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 2)])
def test_log_prob_and_score(shape: tuple[int, ...]) -> None:
    means, std, weights = noise(3, *shape), torch.tensor([0.3, 1.0, 2.0]), torch.tensor([1.0, 2, 5])
    mixture = GaussianMixture(means, std, weights)
    parts = Normal(means, std.double().reshape(3, *(1,) * len(shape)).expand_as(means))
    theirs = MixtureSameFamily(Categorical(weights.double()), Independent(parts, len(shape)))
    x = noise(5, *shape, seed=9).requires_grad_()
    torch.testing.assert_close(mixture.log_prob(x), theirs.log_prob(x), rtol=1e-7, atol=1e-7)
    (score,) = torch.autograd.grad(mixture.log_prob(x).sum(), x)
    torch.testing.assert_close(mixture.score(x.detach()), score)
    assert mixture.score(x.detach().float()).dtype == torch.float32


def test_samples_follow_the_density() -> None:
    n = 20_000
    x = TWO.sample(n, seeded(), dtype=torch.float64)
    below = (TWO.log_prob(GRID).exp() * (GRID < 0.2).flatten()).reshape(-1, 1)
    share = integral(below)
    assert abs(float((x < 0.2).double().mean()) - share) < 4 * math.sqrt(share * (1 - share) / n)
    mean = -0.25 + 0.75 * 0.6
    var = 0.25 * (1 + 0.25) + 0.75 * (0.36 + 0.09) - mean**2
    assert abs(float(x.mean()) - mean) < 4 * math.sqrt(var / n)
    assert TWO.sample(2, seeded()).dtype == torch.float32
    assert torch.equal(TWO.sample(3, seeded()), TWO.sample(3, seeded()))


@pytest.mark.parametrize("t", [1, 300, 1000])
def test_the_noised_mixture_is_the_convolution(t: int) -> None:
    q, p = TWO.noised(S1000, t), TWO.log_prob(GRID).exp()
    for x in (-1.0, 0.0, 0.7):
        xt = torch.full_like(GRID, x)
        kernel = torch.exp(-((xt - S1000.alpha_bar[t].sqrt() * GRID) ** 2)
                           / (2 * (1 - S1000.alpha_bar[t])))  # fmt: skip
        density = integral(p[:, None] * kernel) / math.sqrt(
            2 * math.pi * (1 - float(S1000.alpha_bar[t]))
        )
        point = torch.tensor([[x]], dtype=torch.float64)
        assert float(q.log_prob(point)) == pytest.approx(math.log(density), abs=1e-6)
        mean = integral(GRID * p[:, None] * kernel) / integral(p[:, None] * kernel)
        assert float(TWO.posterior_mean(S1000, point, t)) == pytest.approx(mean, abs=1e-6)
        # eps = -sqrt(1 - alpha_bar_t) score of q(x_t)  (Tweedie)
        eps = -math.sqrt(1 - float(S1000.alpha_bar[t])) * q.score(point)
        torch.testing.assert_close(TWO.eps(S1000, point, t), eps, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("shape", [(3,), (1, 2, 4)])
def test_the_exact_network_is_tweedies_formula(shape: tuple[int, ...]) -> None:
    mixture = GaussianMixture(noise(4, *shape), 0.3)
    x, t = noise(3, *shape, seed=5), torch.tensor([1, 250, 1000])
    model = Denoiser(mixture.net(S1000), S1000, clip=False)
    eps = model(x, t).eps
    for i, ti in enumerate(t.tolist()):
        one = x[i : i + 1]
        score = mixture.noised(S1000, ti).score(one)
        expected = -math.sqrt(1 - float(S1000.alpha_bar[ti])) * score
        torch.testing.assert_close(eps[i : i + 1], expected, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(
            model(one, ti).x0, mixture.posterior_mean(S1000, one, ti), rtol=1e-6, atol=1e-8
        )


def test_the_exact_network_has_the_least_loss() -> None:
    n = 20_000
    x0 = TWO.sample(n, seeded(), dtype=torch.float64)
    t = torch.full((n,), 400)
    net = TWO.net(S1000)
    best = md.loss_simple(Denoiser(net, S1000), x0, t, generator=seeded(1)).mean()
    for scale, shift in [(0.98, 0.0), (1.02, 0.0), (1.0, 0.02), (1.0, -0.02)]:
        other = Denoiser(lambda x, t, a=scale, b=shift: a * net(x, t) + b, S1000)
        assert float(md.loss_simple(other, x0, t, generator=seeded(1)).mean()) > float(best)


@pytest.mark.parametrize(("t", "s"), [(500, 499), (500, 100), (1000, 0), (2, 1)])
def test_the_true_reverse_is_bayes_rule(t: int, s: int) -> None:
    xt = torch.tensor([[0.3]], dtype=torch.float64)
    reverse = TWO.reverse(S1000, xt, t, s)
    xs = noise(20, 1)
    qs = TWO.noised(S1000, s) if s else TWO
    forward = md.transition(S1000, xs, s, t).log_prob(xt.expand(20, 1))
    expected = qs.log_prob(xs) + forward - TWO.noised(S1000, t).log_prob(xt)
    torch.testing.assert_close(reverse.log_prob(xs), expected, rtol=1e-8, atol=1e-8)


def test_the_reverse_of_images_is_bayes_rule() -> None:
    mixture = GaussianMixture(noise(2, 1, 2, 3), 0.5)
    xt, xs = noise(1, 1, 2, 3, seed=4), noise(5, 1, 2, 3, seed=5)
    forward = md.transition(S1000, xs, 300, 400).log_prob(xt.expand_as(xs))
    expected = mixture.noised(S1000, 300).log_prob(xs) + forward
    expected = expected - mixture.noised(S1000, 400).log_prob(xt)
    reverse = mixture.reverse(S1000, xt, 400, 300).log_prob(xs)
    torch.testing.assert_close(reverse, expected, rtol=1e-8, atol=1e-8)


def test_the_flow_of_a_gaussian_scales() -> None:
    g = GaussianMixture(torch.full((1, 1), 2.0), 0.5)
    x = noise(9, 1) * 3
    for t, s in [(1000, 0), (700, 300), (0, 1000)]:
        ab = [float(S1000.alpha_bar[i]) for i in (t, s)]
        sd = [math.sqrt(a * 0.25 + 1 - a) for a in ab]
        expected = math.sqrt(ab[1]) * 2 + sd[1] / sd[0] * (x - math.sqrt(ab[0]) * 2)
        torch.testing.assert_close(g.flow(S1000, x, t, s), expected, rtol=1e-9, atol=1e-9)


def test_the_flow_solves_the_ode() -> None:
    """Small RK4 steps in (x_bar, sigma) with the score of the noised mixture, from 1000 to 200."""
    x = torch.tensor([[-2.0], [-0.3], [0.1], [1.5]], dtype=torch.float64)

    def slope(u: Tensor, sigma: float) -> Tensor:  # eps at x_bar, from the density alone
        var = TWO.var + sigma**2
        q = GaussianMixture(TWO.means, var.sqrt(), TWO.weights)
        return -sigma * q.score(u)

    a, end = (float(S1000.sigma[t]) for t in (1000, 200))
    u, n = x * math.sqrt(1 + a * a), 2000
    ratio = (end / a) ** (1 / n)
    for _ in range(n):
        b = a * ratio
        h = b - a
        k1 = slope(u, a)
        k2 = slope(u + h / 2 * k1, a + h / 2)
        k3 = slope(u + h / 2 * k2, a + h / 2)
        u, a = u + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(u + h * k3, b)), b
    expected = u / math.sqrt(1 + end * end)
    torch.testing.assert_close(TWO.flow(S1000, x, 1000, 200), expected, rtol=0, atol=1e-7)


def test_the_flow_has_an_inverse() -> None:
    x = TWO.sample(50, seeded(), dtype=torch.float64)
    back = TWO.flow(S1000, TWO.flow(S1000, x, 0, 1000), 1000, 0)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "make", [moons, swiss_roll, spirals, lambda n, g: silhouette(n, torch.eye(9), g)]
)
def test_sets_are_points_of_the_square(make) -> None:  # type: ignore[no-untyped-def]
    x = make(2000, seeded())
    assert x.shape == (2000, 2)
    assert x.dtype == torch.float32
    assert torch.equal(x, make(2000, seeded()))
    assert not torch.equal(x, make(2000, seeded(1)))
    assert float(x.abs().max()) < 1.2
    assert float(x.std(0).min()) > 0.2
    assert float(x.mean(0).abs().max()) < 0.3


def test_a_silhouette_is_where_the_picture_is_bright() -> None:
    picture = torch.zeros(4, 8)
    picture[0, 6] = 1  # top row, right
    x = silhouette(100, picture, seeded())
    assert bool(((x[:, 0] >= 0.5) & (x[:, 0] <= 0.75) & (x[:, 1] >= 0.5)).all())
    with pytest.raises(ValueError, match="bright"):
        silhouette(3, torch.zeros(4, 4))


def test_a_small_network_learns_two_moons() -> None:
    torch.manual_seed(0)
    schedule = Schedule.cosine(50)
    model = Denoiser(MLP(2, T=50, width=48, depth=2), schedule, clip=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    times, g = md.UniformTimes(50), seeded()
    losses = []
    for _ in range(300):
        x0 = moons(128, g)
        t, w = times.sample(128, generator=g)
        loss = (w * md.loss_simple(model, x0, t, generator=g)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-50:]) / 50 < 0.65 * sum(losses[:10]) / 10


def test_mlp_takes_fractional_t_and_widens_its_output() -> None:
    net = MLP(3, T=10, width=8, depth=1, out_dim=6).double()
    assert net(noise(2, 3), torch.tensor([0.5, 9.0])).shape == (2, 6)
    assert net(noise(2, 3), torch.tensor([0, 9])).dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GaussianMixture(torch.zeros(3)), r"means must be \(K, D\)"),
        (lambda: GaussianMixture(torch.zeros(2, 1), 0.0), "must be positive"),
        (lambda: GaussianMixture(torch.zeros(2, 1), torch.ones(3)), "one for each of 2"),
        (lambda: GaussianMixture(torch.zeros(2, 1), 1.0, torch.tensor([1.0, -1.0])), "positive"),
        (lambda: GaussianMixture(torch.zeros(2, 1), 1.0, torch.ones(3)), "one for each of 2"),
        (lambda: TWO.reverse(S1000, torch.zeros(2, 1), 5, 4), r"one x_t of shape \(1, …\)"),
        (lambda: TWO.reverse(S1000, torch.zeros(1, 1), 5, 5), "s must be below t"),
        (
            lambda: GaussianMixture(torch.zeros(1, 2)).flow(S1000, torch.zeros(1, 2), 5, 4),
            "one dimension only",
        ),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()
