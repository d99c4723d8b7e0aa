"""Masked and uniform diffusion of letters against sums over every path of a tiny alphabet."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from truth import noise, seeded

from minidiff.discrete import Letters, choose

K, T = 3, 4
PROCESSES = [Letters.uniform(K, T), Letters.masked(K, T)]
both = pytest.mark.parametrize("process", PROCESSES, ids=["uniform", "masked"])


def matrix(process: Letters, t: int) -> Tensor:
    """One step of the chain, row x_{t-1} to column x_t, from its definition."""
    n, kept = len(process.noise), (T - t) / (T - t + 1)
    return kept * torch.eye(n).double() + (1 - kept) * process.noise.expand(n, n)


def chain(process: Letters, s: int, t: int) -> Tensor:
    product = torch.eye(len(process.noise)).double()
    for i in range(s + 1, t + 1):
        product = product @ matrix(process, i)
    return product


def net(x: Tensor, t: Tensor) -> Tensor:
    """Logits that depend on the letter and on t."""
    table = noise(T, K + 1, K, seed=3)
    return table[t.reshape(-1, *(1,) * (x.ndim - 1)).expand(x.shape), x]


@both
def test_marginals_and_transitions_are_products_of_steps(process: Letters) -> None:
    letters = torch.arange(len(process.noise))[:, None]
    for s, t in itertools.combinations(range(T + 1), 2):
        step = process.transition(letters, s, t)[:, 0]
        torch.testing.assert_close(step, chain(process, s, t))
    torch.testing.assert_close(
        process.marginal(letters, T)[:, 0], process.noise.expand(len(letters), -1)
    )


@both
def test_the_posterior_is_bayes_rule(process: Letters) -> None:
    n = len(process.noise)
    for s, t in itertools.combinations(range(T + 1), 2):
        to_s, on, whole = chain(process, 0, s), chain(process, s, t), chain(process, 0, t)
        for x0, xt in itertools.product(range(K), range(n)):
            if whole[x0, xt] == 0:
                continue  # a letter that cannot have become this one
            bayes = to_s[x0] * on[:, xt] / whole[x0, xt]
            point = torch.nn.functional.one_hot(torch.tensor([[x0]]), n)
            mine = process.posterior(point, torch.tensor([[xt]]), t, s)[0, 0]
            torch.testing.assert_close(mine, bayes)


@both
def test_a_right_network_makes_the_true_reverse(process: Letters) -> None:
    """Of one letter with known probabilities: q(x_s | x_t), not given x_0."""
    n, data = len(process.noise), torch.tensor([0.5, 0.3, 0.2]).double()
    for s, t in itertools.combinations(range(T + 1), 2):
        whole = chain(process, 0, t)[:K]
        exact = data[:, None] * whole / (data @ whole).clamp(min=1e-300)  # p(x_0 | x_t)
        qs = data @ chain(process, 0, s)[:K]
        joint = qs[:, None] * chain(process, s, t)
        for xt in range(n):
            if joint[:, xt].sum() == 0:
                continue
            right = lambda x, t, p=exact[:, xt]: p.clamp(min=1e-300).log().expand(*x.shape, K)  # noqa: E731
            mine = process.reverse(right, torch.tensor([[xt]]), t, s)[0, 0]
            torch.testing.assert_close(mine, joint[:, xt] / joint[:, xt].sum())


@both
def test_the_bound_is_the_sum_over_all_paths(process: Letters) -> None:
    """E_q[log q(x_1..T | x_0) - log p(x_0..T)], every path written out, and above -log p(x_0)."""
    n = len(process.noise)
    reverse = {
        (t, x): process.reverse(net, torch.tensor([[x]]), t, t - 1)[0, 0].tolist()
        for t in range(1, T + 1)
        for x in range(n)
    }
    for x0 in range(K):
        bound = evidence = 0.0
        for path in itertools.product(range(n), repeat=T):
            q = p = 1.0
            for t, (before, after) in enumerate(itertools.pairwise((x0, *path)), 1):
                q *= float(matrix(process, t)[before, after])
                p *= reverse[t, after][before]
            p *= float(process.noise[path[-1]])
            evidence += p
            bound += q * math.log(q / p) if q else 0.0
        terms = 0.0
        for t in range(1, T + 1):
            xt = torch.arange(n)[:, None]
            weight = process.marginal(torch.tensor([[x0]]), t)[0, 0]
            seen = weight > 0
            each = process.term(net, torch.full_like(xt, x0)[seen], xt[seen], t)
            terms += float((weight[seen] * each).sum())
        assert math.isclose(terms, bound, rel_tol=1e-9)
        assert bound >= -math.log(evidence) - 1e-9


@both
def test_the_estimate_of_the_bound_is_unbiased(process: Letters) -> None:
    x0 = torch.zeros(20_000, 1, dtype=torch.long)
    estimate = process.bound(net, x0, seeded())
    exact = 0.0
    for t in range(1, T + 1):
        weight = process.marginal(x0[:1], t)[0, 0]
        xt = torch.arange(len(weight))[weight > 0][:, None]
        each = process.term(net, torch.zeros_like(xt), xt, t)
        exact += float((weight[weight > 0] * each).sum())
    spread = float(estimate.std()) / math.sqrt(len(x0))
    assert abs(float(estimate.mean()) - exact) < 5 * spread


def test_with_masks_a_term_is_a_cross_entropy() -> None:
    process = PROCESSES[1]
    x0, xt = torch.tensor([[0, 1, 2, 1]]), torch.tensor([[0, K, 2, K]])
    for t in range(1, T + 1):
        logs = net(xt, torch.tensor([t - 1])).log_softmax(-1)[0]
        hidden = -(logs[1, 1] + logs[3, 1]) / t
        torch.testing.assert_close(process.term(net, x0, xt, t), hidden[None])


@both
def test_samples_follow_the_chain(process: Letters) -> None:
    n, p = len(process.noise), process.noise
    for t in range(T, 0, -1):
        step = torch.stack(
            [process.reverse(net, torch.tensor([[x]]), t, t - 1)[0, 0] for x in range(n)]
        )
        p = p @ step
    walk = list(process.sample(net, (20_000, 1), generator=seeded()))
    assert [step.t for step in walk] == [3, 2, 1, 0]
    shares = torch.bincount(walk[-1].x.flatten(), minlength=n) / 20_000
    assert float((shares - p).abs().max()) < 0.02
    assert walk[-1].x.max() < K  # no mask is left
    few = list(process.sample(net, (2, 3, 5), [4, 2, 0], seeded()))
    assert [step.t for step in few] == [2, 0]
    assert few[-1].x.shape == (2, 3, 5)


def test_choices_have_their_probabilities() -> None:
    p = torch.tensor([0.2, 0.0, 0.5, 0.3])
    shares = torch.bincount(choose(p.expand(50_000, 4), seeded()), minlength=4) / 50_000
    assert float((shares - p).abs().max()) < 0.01
    assert shares[1] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PROCESSES[0].marginal(torch.tensor([[3]]), 1), r"letters must be in 0\.\.2"),
        (lambda: PROCESSES[0].marginal(torch.ones(1, 1), 1), "letters are whole numbers"),
        (lambda: PROCESSES[0].marginal(torch.tensor([[0]]), 5), "t <= 4"),
        (lambda: PROCESSES[0].transition(torch.tensor([[0]]), 2, 2), "0 <= s < t"),
        (
            lambda: PROCESSES[1].guess(lambda x, t: torch.zeros(1, 1, 4), torch.tensor([[0]]), 1),
            "must return logits of shape",
        ),
        (lambda: Letters.masked(3, 1), "T must be a whole number"),
        (lambda: next(PROCESSES[0].sample(net, (1, 1), [4, 2])), "tau must fall strictly"),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()
