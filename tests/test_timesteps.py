"""Which t: subsequences for any S <= T, and samplers of t that stay unbiased."""

import math
from collections import deque
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from truth import noise, schedules, seeded, some

import minidiff as md
from minidiff import BoundTimes, LossAwareTimes, Schedule, StratifiedTimes, UniformTimes
from minidiff.checks_times import check_tau
from minidiff.spacing import SPACINGS

OF_LEVELS = ("logsnr", "karras")
LINEAR = Schedule.linear(1000)


@some
@given(st.data(), st.sampled_from(SPACINGS))
def test_any_subsequence_falls_strictly_to_0(data: st.DataObject, spacing: str) -> None:
    T = data.draw(st.integers(2, 400))
    S = data.draw(st.integers(1, T))
    steps = md.tau(Schedule.cosine(T) if spacing in OF_LEVELS else T, S, spacing)
    assert len(steps) == S + 1
    assert all(a > b for a, b in pairwise(steps))
    assert steps[-1] == 0
    assert steps[0] == (T // S * (S - 1) + 1 if spacing == "leading" else T)
    assert check_tau(steps, T) == steps
    if spacing != "karras":
        assert all(isinstance(t, int) for t in steps)
        assert S < T or steps == list(range(T, -1, -1))


@some
@given(schedules(), st.data(), st.sampled_from(SPACINGS))
def test_any_part_of_the_chain_has_its_grid(
    schedule: Schedule, data: st.DataObject, spacing: str
) -> None:
    end = data.draw(st.integers(0, schedule.T - 1))
    start = data.draw(st.integers(end + 1, schedule.T))
    S = data.draw(st.integers(1, start - end))
    whole = {} if spacing == "leading" else {"start": start}
    steps = md.tau(schedule, 1 if spacing == "leading" else S, spacing, **whole, end=end)
    assert check_tau(steps, schedule.T, end) == steps
    if whole:
        assert (len(steps), steps[0], steps[-1]) == (S + 1, start, end)
        assert end or start < schedule.T or steps == md.tau(schedule, S, spacing)


def test_karras_spacing_is_eq_5_of_the_paper() -> None:
    """From (a^(1/7) + i/(n-1) (b^(1/7) - a^(1/7)))^7, and the t between whose level it is."""
    schedule, n = Schedule.linear(1000), 12
    grid = md.tau(schedule, n, "karras")
    ends = [float(schedule.sigma[t]) ** (1 / 7) for t in (1000, 1)]
    for i, t in enumerate(grid[:-1]):
        sigma = (ends[0] + i / (n - 1) * (ends[1] - ends[0])) ** 7
        assert schedule.sigma_at(t) == pytest.approx(sigma, rel=1e-9)
    assert md.tau(schedule, 3000, "karras")[-2:] == [1, 0]  # more levels than steps
    part = md.tau(schedule, 4, "karras", start=700.5, end=20.25)
    roots = torch.tensor([schedule.sigma_at(t) for t in part], dtype=torch.float64) ** (1 / 7)
    torch.testing.assert_close(roots.diff(), roots.diff()[:1].expand(4), rtol=1e-9, atol=0)


@some
@given(schedules(), st.data())
def test_any_noise_levels_are_a_grid(schedule: Schedule, data: st.DataObject) -> None:
    low, high = schedule.log_snr[1:].flip(0)[[0, -1]].tolist()
    inside = st.lists(st.floats(low, high), min_size=2, max_size=6, unique=True)
    wanted = sorted(data.draw(inside))
    if min(b - a for a, b in pairwise(wanted)) < 1e-6:
        return  # levels too close to tell apart
    grid = md.tau_at(schedule, log_snr=[*wanted, math.inf])
    assert grid[-1] == 0
    found = [schedule.alpha_bar_at(t) for t in grid[:-1]]
    assert [math.log(a / (1 - a)) for a in found] == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    sigma = (-torch.tensor(wanted).double() / 2).exp()
    assert md.tau_at(schedule, sigma=sigma) == pytest.approx(grid[:-1])
    assert len(check_tau(grid, schedule.T)) == len(grid)


def test_levels_of_float32_and_of_the_table_are_the_steps() -> None:
    schedule = Schedule.cosine(1000)
    steps = [1000, 999, 600, 2, 1, 0]
    assert md.tau_at(schedule, sigma=schedule.sigma[steps]) == pytest.approx(steps, abs=1e-9)
    assert md.tau_at(schedule, sigma=schedule.sigma[steps].float()) == pytest.approx(
        steps, abs=1e-3
    )
    assert md.tau_at(schedule, log_snr=schedule.log_snr[steps]) == pytest.approx(steps, abs=1e-9)


@some
@given(schedules(), st.data())
def test_log_snr_spacing_of_any_schedule(schedule: Schedule, data: st.DataObject) -> None:
    S = data.draw(st.integers(1, schedule.T))
    assert len(check_tau(md.tau(schedule, S, "logsnr"), schedule.T)) == S + 1


def test_the_spacings_are_what_their_names_say() -> None:
    assert md.tau(1000, 50)[:3] == [1000, 980, 960]
    assert md.tau(1000, 50, "leading")[::49] == [981, 1]  # 980 and 0, counted from 0
    assert md.tau(1000, 50, "trailing")[:2] == [1000, 980]
    assert md.tau(1000, 30, "trailing")[:4] == [1000, 967, 933, 900]
    assert md.tau(1000, 10, "quadratic") == [1000, 810, 640, 490, 360, 250, 160, 90, 40, 10, 0]
    assert md.tau(5) == [5, 4, 3, 2, 1, 0]
    schedule = Schedule.linear(1000)
    steps = md.tau(schedule, 10, "logsnr")
    gaps = schedule.log_snr[steps[:-1]].diff()
    assert float(gaps.std() / gaps.mean()) < 0.25  # t is whole, so they are even up to rounding
    assert steps[-2] == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: md.tau(10, 11), r"in 1\.\.10, got 11"),
        (lambda: md.tau(10, 0), "got 0"),
        (lambda: md.tau(10, 2.5), "whole number"),  # type: ignore[arg-type]
        (lambda: md.tau(1), "at least 2 steps"),
        (lambda: md.tau("10"), "or a Schedule; got '10'"),  # type: ignore[arg-type]
        (lambda: md.tau(10, 2, "cubic"), "spacing must be one of linear, quadratic"),
        (lambda: md.tau(10, 2, "logsnr"), "needs the schedule"),
        (lambda: check_tau([10, 5, 5, 0], 10), r"fall strictly .* got \[10, 5, 5, 0\]"),
        (lambda: check_tau([10, 5], 10), "to 0"),
        (lambda: check_tau([11, 0], 10), "at most 10"),
        (lambda: check_tau([], 10), "use tau"),
        (lambda: check_tau([0], 10), "use tau"),
        (lambda: check_tau([0, 5, 10], 10), "fall strictly"),
        (lambda: check_tau([5, 0.5, 0], 10), "without a t between 0 and 1"),
        (lambda: check_tau([5, 2, 0, -1], 10), "to 0 "),
        (lambda: check_tau([5, 2, -1], 10, end=-1), "fall strictly"),
        (lambda: check_tau([5, 2], 10), "or end=2 to stop there"),
        (lambda: check_tau([5, 2, 0], 10, end=2), r"to 2, .* got \[5, 2, 0\]"),
        (lambda: check_tau([5, math.nan, 0], 10), "fall strictly"),
        (lambda: md.tau(LINEAR, 5, start=300, end=300), "fall strictly"),
        (lambda: md.tau(LINEAR, 5, start=1001), "at most 1000"),
        (lambda: md.tau(LINEAR, 5, end=0.5), "between 0 and 1"),
        (lambda: md.tau(LINEAR, 5, start=300.5), "spacing='karras' takes any"),
        (lambda: md.tau(LINEAR, 5, "leading", start=300), "starts below start"),
        (lambda: md.tau(LINEAR, 5, start=304, end=300), r"in 1\.\.4, got 5"),
        (lambda: md.tau(LINEAR, 5, "karras", start=1), r"in 1\.\.1, got 5"),
        (lambda: md.tau(10, 2, "karras"), "needs the schedule"),
        (lambda: md.tau_at(LINEAR), r"sigma=\[…\] or log_snr"),
        (lambda: md.tau_at(LINEAR, sigma=[80, 0], log_snr=[1]), "takes one grid"),
        (lambda: md.tau_at(LINEAR, sigma=[200, 1, 0]), r"sigma = 0.01 .* to 157.* got 200"),
        (lambda: md.tau_at(LINEAR, sigma=[80, 0.002, 0]), "got 0.002"),
        (lambda: md.tau_at(LINEAR, sigma=[80, math.nan, 0]), "got nan"),
        (lambda: md.tau_at(LINEAR, sigma=[80, -1, 0]), "got -1"),
        (lambda: md.tau_at(LINEAR, log_snr=[3, -3]), "from noise to data"),
        (lambda: md.tau_at(LINEAR, sigma=[3]), "two levels or more"),
        (lambda: md.tau_at(LINEAR, sigma=[]), "two levels or more"),
        (lambda: check_tau(list(range(50)), 99), r"\[0, 1, …, 49\]"),
    ],
)
def test_bad_subsequences_are_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------- samplers of t

EVERY = [UniformTimes, StratifiedTimes, LossAwareTimes]


@some
@given(st.sampled_from(EVERY), st.integers(2, 50), st.integers(0, 40))
def test_t_is_in_1_to_T(kind: type[UniformTimes], T: int, n: int) -> None:
    times = kind(T)
    t, w = times.sample(n, generator=seeded(n))
    assert t.shape == w.shape == (n,)
    assert t.dtype == torch.int64
    assert w.dtype == torch.float32
    assert all(1 <= i <= T for i in t.tolist())
    again, _ = times.sample(n, generator=seeded(n))
    assert torch.equal(t, again)
    assert torch.allclose(w, torch.ones(n))


@pytest.mark.parametrize("kind", EVERY)
def test_every_t_is_as_likely_as_another(kind: type[UniformTimes]) -> None:
    n, T = 60_000, 6
    times, g = kind(T), seeded()
    t = torch.cat([times.sample(60, generator=g)[0] for _ in range(n // 60)])
    counts = torch.bincount(t, minlength=T + 1)[1:].double()
    deviation = math.sqrt(n / T * (1 - 1 / T))
    assert float((counts - n / T).abs().max()) < 4 * deviation


@some
@given(st.integers(2, 1000), st.integers(1, 64), st.integers(0, 99))
def test_strata_hold_one_t_each(T: int, n: int, seed: int) -> None:
    t, _ = StratifiedTimes(T).sample(n, generator=seeded(seed))
    for i, value in enumerate(sorted(t.tolist())):
        assert math.floor(i * T / n) <= value - 1 <= math.ceil((i + 1) * T / n)


def test_strata_come_in_random_order() -> None:
    t, _ = StratifiedTimes(1000).sample(100, generator=seeded())
    assert t.tolist() != sorted(t.tolist())


BETA = torch.tensor([0.0, 0.1, 0.2, 0.4, 0.5], dtype=torch.float64)


def by_hand(share: float) -> torch.Tensor:
    """p of `BoundTimes` for BETA, from the standard deviations of the posterior."""
    alpha_bar = [1.0, 0.9, 0.72, 0.432, 0.216]
    gamma = []
    for t in range(1, 5):
        s = max(t, 2)  # at t = 1 the decoder has the variance of t = 2
        variance = (1 - alpha_bar[s - 1]) / (1 - alpha_bar[s]) * float(BETA[s])
        scale = float(BETA[t]) ** 2 / (1 - float(BETA[t])) / (1 - alpha_bar[t])
        gamma.append(scale / (2 * variance))
    return torch.tensor([(1 - share) / 4 + share * g / sum(gamma) for g in gamma])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_t_follows_the_weights_of_the_bound(share: float) -> None:
    """Each t as often as p says, to less than two in a batch: the strata leave no more."""
    times, n = BoundTimes(Schedule.from_betas(BETA[1:]), share), 1000
    t, w = times.sample(n, generator=seeded())
    counts = torch.bincount(t, minlength=5)[1:]
    assert float((counts - n * by_hand(share)).abs().max()) < 2
    assert torch.equal(w, torch.ones(n))
    assert t.tolist() != sorted(t.tolist())


def test_a_batch_of_one_follows_them_too() -> None:
    times, g, n = BoundTimes(Schedule.from_betas(BETA[1:]), 0.5), seeded(), 6000
    t = torch.cat([times.sample(1, generator=g)[0] for _ in range(n)])
    p = by_hand(0.5)
    counts = torch.bincount(t, minlength=5)[1:]
    assert bool(((counts - n * p).abs() < 4 * (n * p * (1 - p)).sqrt()).all())


def test_a_share_beyond_the_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="share"):
        BoundTimes(Schedule.linear(100), 1.5)


def filled(T: int = 5, history: int = 3) -> LossAwareTimes:
    times = LossAwareTimes(T, history=history)
    t = torch.arange(1, T + 1).repeat(history)
    times.update(t, noise(T * history, seed=3).abs() * t)
    return times


def test_importance_weights_are_unbiased_exactly() -> None:
    """sum_t p_t w_t f_t = mean of f, for any f; and `sample` gives those w."""
    times, f = filled(), noise(5, seed=4)
    p = times.probabilities()
    assert float(p.sum()) == pytest.approx(1, abs=1e-15)
    assert float(p.max() / p.min()) > 1.5
    t, w = times.sample(400, generator=seeded())
    weight = torch.zeros(5, dtype=torch.float64).scatter(0, t - 1, w.double())
    assert bool((weight > 0).all())
    torch.testing.assert_close(weight, 1 / (5 * p), rtol=1e-7, atol=0)
    torch.testing.assert_close((p * f / (5 * p)).sum(), f.mean(), rtol=1e-14, atol=0)
    torch.testing.assert_close((p * weight * f).sum(), f.mean(), rtol=1e-6, atol=1e-7)


def test_t_follows_the_second_moment_of_the_loss() -> None:
    times, n = filled(), 50_000
    p = times.probabilities()
    t, _ = times.sample(n, generator=seeded(1))
    share = torch.bincount(t, minlength=6)[1:].double() / n
    assert float(((share - p) / (p * (1 - p) / n).sqrt()).abs().max()) < 4


@some
@given(st.data(), st.integers(1, 4))
def test_history_is_that_of_a_queue(data: st.DataObject, history: int) -> None:
    """Against a plain queue for each t, over batches with repeats and NaN."""
    T = 4
    times = LossAwareTimes(T, history=history, mix=0.01)
    queues = [deque[float]([], maxlen=history) for _ in range(T)]
    loss = st.floats(0, 10) | st.just(math.nan) | st.just(math.inf)
    for _ in range(data.draw(st.integers(0, 4))):
        batch = data.draw(st.lists(st.tuples(st.integers(1, T), loss), max_size=12))
        t = torch.tensor([b[0] for b in batch], dtype=torch.long)
        times.update(t, torch.tensor([b[1] for b in batch], dtype=torch.float64))
        for i, value in batch:
            if math.isfinite(value):
                queues[i - 1].append(value)
    expected = torch.full((T,), 1 / T, dtype=torch.float64)
    if all(len(q) == history for q in queues):
        moment = [math.sqrt(sum(v * v for v in q) / history) for q in queues]
        if sum(moment) > 0:
            expected = torch.tensor([0.99 * m / sum(moment) + 0.01 / T for m in moment]).double()
    torch.testing.assert_close(times.probabilities(), expected, rtol=1e-6, atol=1e-7)


def test_the_papers_defaults() -> None:
    times = LossAwareTimes(3)
    assert (times.history, times.mix) == (10, 1e-3)
    for _ in range(9):
        times.update(torch.tensor([1, 2, 3]), torch.tensor([1.0, 2.0, 5.0]))
        assert times.probabilities().tolist() == pytest.approx([1 / 3] * 3)
    times.update(torch.tensor([1, 2, 3]), torch.tensor([1.0, 2.0, 5.0]))
    expected = [0.999 * p + 0.001 / 3 for p in (1 / 8, 2 / 8, 5 / 8)]
    assert times.probabilities().tolist() == pytest.approx(expected)


def test_processes_that_update_alike_stay_alike() -> None:
    a, b = filled(), filled()
    for _ in range(3):
        t, _ = a.sample(8, generator=seeded(5))
        a.update(t, noise(8).abs())
        b.update(t, noise(8).abs())
    assert torch.equal(a.probabilities(), b.probabilities())


def test_state_is_kept() -> None:
    times, other = filled(), LossAwareTimes(5, history=3)
    state = times.state_dict()
    times.update(torch.tensor([1]), torch.tensor([100.0]))
    other.load_state_dict(state)
    assert torch.equal(other.probabilities(), filled().probabilities())
    assert not torch.equal(other.probabilities(), times.probabilities())
    with pytest.raises(ValueError, match="this state is for"):
        LossAwareTimes(6, history=3).load_state_dict(state)
