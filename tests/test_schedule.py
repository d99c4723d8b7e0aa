"""Schedules: tables against their definitions, and what a wrong table is told."""

import copy
import dataclasses
import json
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from truth import schedules, some

import minidiff as md
from minidiff import Schedule


@pytest.mark.parametrize("T", [21, 250, 1000])
def test_linear_is_the_product_of_its_betas(T: int) -> None:
    schedule = Schedule.linear(T)
    product = 1.0
    for t in range(1, T + 1):
        beta = (1e-4 + (0.02 - 1e-4) * (t - 1) / (T - 1)) * 1000 / T
        product *= 1 - beta
        assert float(schedule.alpha_bar[t]) == pytest.approx(product, rel=1e-12)
        assert float(schedule.beta[t]) == pytest.approx(beta, rel=1e-9)


def test_linear_ends_at_the_same_noise_for_every_T() -> None:
    ends = [float(Schedule.linear(T).alpha_bar[-1]) for T in (250, 1000, 4000)]
    assert ends == pytest.approx([4.04e-5] * 3, rel=0.3)
    assert ends[1] == pytest.approx(4.0358e-5, rel=1e-4)


def test_the_docstring_says_where_a_short_linear_chain_ends() -> None:
    """And the claim of its numbers: T = 1000, large, 100 and 25."""
    for T, end in ((1000, "4.0e-5"), (100_000, "4.3e-5"), (100, "2.0e-5"), (25, "2.4e-7")):
        mantissa, power = f"{float(Schedule.linear(T).alpha_bar[-1]):.1e}".split("e")
        assert f"{mantissa}e{int(power)}" == end
        assert end in (Schedule.linear.__doc__ or "")
    assert "for every T" not in (Schedule.linear.__doc__ or "")


@pytest.mark.parametrize(("T", "end"), [(1000, 2.4e-9), (4000, 1.5e-10)])
def test_cosine_is_eq_17_and_clips_the_last_beta_alone(T: int, end: float) -> None:
    schedule = Schedule.cosine(T)

    def f(t: int) -> float:
        return math.cos(math.pi / 2 * (t / T + 0.008) / 1.008) ** 2

    for t in (1, T // 3, T // 2, T - 1):
        assert float(schedule.alpha_bar[t]) == pytest.approx(f(t) / f(0), rel=1e-10)
    assert float(schedule.beta[T]) == pytest.approx(0.999, abs=1e-12)
    assert float(schedule.beta[:T].max()) < 0.999 - 1e-6
    assert float(schedule.alpha_bar[T]) == pytest.approx(end, rel=0.05)


@some
@given(schedules())
def test_tables_agree_with_each_other(schedule: Schedule) -> None:
    ab = schedule.alpha_bar
    assert ab.dtype == torch.float64
    assert len(ab) == schedule.T + 1
    assert ab[0] == 1
    assert bool((ab[1:] < ab[:-1]).all())
    tables = (schedule.alpha, schedule.beta, schedule.beta_tilde, schedule.sigma, schedule.snr)
    assert all(x.shape == ab.shape and x.dtype == torch.float64 for x in tables)
    torch.testing.assert_close(torch.cumprod(schedule.alpha, 0), ab, rtol=1e-12, atol=0)
    torch.testing.assert_close(schedule.alpha + schedule.beta, torch.ones_like(ab))
    torch.testing.assert_close(1 / (1 + schedule.sigma**2), ab, rtol=1e-12, atol=0)
    torch.testing.assert_close(schedule.log_snr[1:], -2 * schedule.sigma[1:].log())
    # Precisions add: 1/beta_tilde_t = alpha_t/beta_t + 1/(1 - alpha_bar_{t-1})  (Bayes' rule).
    precision = schedule.alpha[2:] / schedule.beta[2:] + 1 / (1 - ab[1:-1])
    torch.testing.assert_close(schedule.beta_tilde[2:], 1 / precision, rtol=1e-9, atol=0)
    assert schedule.beta[0] == schedule.beta_tilde[1] == schedule.sigma[0] == 0
    assert math.isinf(float(schedule.snr[0]))


@some
@given(schedules())
def test_state_goes_through_json(schedule: Schedule) -> None:
    again = Schedule.from_state(json.loads(json.dumps(schedule.state())))
    assert again.kind == schedule.kind
    assert torch.equal(again.alpha_bar, schedule.alpha_bar)


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule.linear(40, 1e-3, 0.01),
        Schedule.cosine(9, s=0.1, max_beta=0.9),
        Schedule.from_alpha_bar([1, 0.5, 0.25]),
        Schedule.from_alpha_bar(lambda u: torch.exp(-3 * u), T=7),
        Schedule(torch.tensor([1, 0.7, 0.1])),
    ],
)
def test_copies_are_equal(schedule: Schedule) -> None:
    schedule.at(torch.tensor([1]), torch.zeros(1, 1))  # fills the cache of devices
    for again in (
        copy.deepcopy(schedule),
        pickle.loads(pickle.dumps(schedule)),
        Schedule.from_state(schedule.state()),
    ):
        assert torch.equal(again.alpha_bar, schedule.alpha_bar)


def test_from_betas_takes_lists_and_tensors_of_any_precision() -> None:
    betas = [0.25, 0.5, 0.75]
    for given_betas in (betas, torch.tensor(betas), torch.tensor(betas).double()):
        assert Schedule.from_betas(given_betas).alpha_bar.tolist() == [1, 0.75, 0.375, 0.09375]


@some
@given(schedules(), st.data())
def test_at_looks_up_one_or_many(schedule: Schedule, data: st.DataObject) -> None:
    ts = data.draw(st.lists(st.integers(0, schedule.T), max_size=4))
    for x in (torch.zeros(len(ts), 2), torch.zeros(len(ts), 1, 3, 2)):
        many = schedule.at(torch.tensor(ts, dtype=torch.long), x)
        assert many.shape == (len(ts), *(1,) * (x.ndim - 1))
        assert many.dtype == torch.float64
        for i, t in enumerate(ts):
            assert schedule.at(t, x).flatten().tolist() == many[i].flatten().tolist()
            assert schedule.at(float(t), x).item() == float(schedule.alpha_bar[t])


def test_at_answers_on_the_device_of_x() -> None:
    schedule = Schedule.cosine(5)
    x = torch.zeros(2, 3, device="meta")
    assert schedule.at(3, x).device.type == "meta"
    assert schedule.at(torch.tensor([1, 2]), x).device.type == "meta"


@some
@given(schedules(), st.floats(0, 1))
def test_noise_level_and_fractional_t_are_inverse(schedule: Schedule, u: float) -> None:
    t = 1 + u * (schedule.T - 1)
    ab = schedule.at(t, torch.zeros(1, 1))
    inside = schedule.at(torch.tensor([t], dtype=torch.float64), torch.zeros(1, 1))
    torch.testing.assert_close(ab, inside)
    sigma = (1 / ab - 1).sqrt()
    back = float(schedule.t_at_sigma(sigma))
    assert back == pytest.approx(t, abs=1e-6)
    low, high = schedule.t_at_sigma(torch.tensor([0.0, 1e9], dtype=torch.float64)).tolist()
    assert (low, high) == (1, schedule.T)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule.linear(20), "take T > 20"),
        (lambda: Schedule.linear(1), "of 2 to 1,000,000 steps, got 1"),
        (lambda: Schedule.cosine(10.0), "whole number"),  # type: ignore[arg-type]
        (lambda: Schedule.from_betas([0.1, 1.0]), "beta_2 = 1.0"),
        (lambda: Schedule.from_betas([0.0, 0.1]), "beta_1 = 0.0"),
        (lambda: Schedule.from_betas([0.1, math.nan]), "beta_2 = nan"),
        (lambda: Schedule.from_betas(torch.full((2, 2), 0.1)), "a matrix"),
        (lambda: Schedule.from_betas([0.1]), "T = 2 is the shortest"),
        (lambda: Schedule.from_alpha_bar([0.9, 0.5, 0.1]), r"alpha_bar\[0\] must be 1"),
        (lambda: Schedule.from_alpha_bar([1, 0.5, 0.5]), r"alpha_bar\[2\] = 0.5 after"),
        (lambda: Schedule.from_alpha_bar([1, 0.5, 0.0]), "stay above 0"),
        (lambda: Schedule.from_alpha_bar([1, 1.5, 0.1]), r"alpha_bar\[1\] = 1.5"),
        (lambda: Schedule.from_alpha_bar([1, math.nan, 0.1]), "nan"),
        (lambda: Schedule.from_alpha_bar(lambda u: 1 - u), "needs T"),
        (lambda: Schedule.from_state({"kind": "sine"}), "known are linear, cosine"),
        (lambda: Schedule.linear(50).at(51, torch.zeros(1, 1)), r"0\.\.50, got 51"),
    ],
)
def test_a_wrong_table_is_told_what_is_wrong(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


def test_a_schedule_cannot_be_changed() -> None:
    table = torch.tensor([1, 0.5, 0.2])
    schedule = md.Schedule(table)
    table[1] = 0.9
    assert float(schedule.alpha_bar[1]) == 0.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.kind = "mine"  # type: ignore[misc]


def test_default_dtype_and_device_change_nothing() -> None:
    makers = [
        lambda: Schedule.linear(100),
        lambda: Schedule.cosine(100),
        lambda: Schedule.from_betas([0.1, 0.5]),
        lambda: Schedule.from_alpha_bar([1.0, 0.9, 0.4]),
        lambda: Schedule.from_alpha_bar(lambda u: (1 - u) ** 2 * 0.99 + 0.01, T=5),
    ]
    tables = ("alpha_bar", "alpha", "beta", "beta_tilde", "sigma", "snr", "log_snr")
    for make in makers:
        before = make()
        x = torch.zeros(1, 2)
        with torch.device("meta"):  # stands for a default device other than the CPU
            after = make()
            for name in tables:
                assert torch.equal(getattr(after, name), getattr(before, name)), name
            assert torch.equal(after.at(1.5, x), before.at(1.5, x))
            assert Schedule.from_state(after.state()).T == before.T
