"""Trajectories against somebody else's schedulers, step by step, where those are right.

diffusers counts t from 0 and keeps its tables in float32; for the float64 bound it gets ours.
Left out, because it is wrong there: `linspace` spacing (the state and the t the network is asked at
drift apart), `trailing` with S that does not divide T (off by one), and DDPM with `trailing` (it
adds noise at the last step, where t > 0 but s = 0). `use_clipped_model_output=True` makes DDIM
derive eps again from the clipped x0; without it eta = 1 is not DDPM.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from truth import IMAGES, VECTORS, noise, seeded

import minidiff as md
from minidiff import Denoiser, Schedule

diffusers = pytest.importorskip("diffusers", reason="parity needs diffusers")

DOUBLE, SINGLE = torch.float64, torch.float32
BOUND = {DOUBLE: 1e-12, SINGLE: 1e-6}
KINDS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


def tables(scheduler: Any, schedule: Schedule, dtype: torch.dtype) -> Any:
    """The scheduler with our alpha_bar: its own float32 table is 1.7e-4 off in 1 - alpha_bar_1."""
    assert float((scheduler.alphas_cumprod - schedule.alpha_bar[1:]).abs().max()) < 1e-6
    scheduler.alphas_cumprod = schedule.alpha_bar[1:].clone()
    scheduler.alphas, scheduler.betas = schedule.alpha[1:].clone(), schedule.beta[1:].clone()
    scheduler.one = torch.tensor(1.0, dtype=DOUBLE)
    if hasattr(scheduler, "final_alpha_cumprod"):
        scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=DOUBLE)
    return scheduler


def options(kind: str, spacing: str, clip: bool, schedule: Schedule) -> dict[str, Any]:
    return {
        "num_train_timesteps": schedule.T,
        "beta_schedule": "linear" if schedule.kind == "linear" else "squaredcos_cap_v2",
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "clip_sample": clip,
        "prediction_type": KINDS[kind],
        "timestep_spacing": spacing,
        "steps_offset": 0,
    }


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> torch.Generator:
    """Their noise drawn by plain torch.randn, like ours, whatever the version draws with."""
    generator = seeded(11)

    def randn(shape: Any, generator: Any = None, dtype: Any = None, **_: Any) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    for name in ("scheduling_ddim", "scheduling_ddpm"):
        module = __import__(f"diffusers.schedulers.{name}", fromlist=[name])
        monkeypatch.setattr(module, "randn_tensor", randn)
    return generator


def network(schedule: Schedule, kind: str) -> Any:
    """x0 = sqrt(a) x - sqrt(1-a)/8 sin(2x), said as `kind`: bent, clipped in places, and tame.

    (A network whose x0 grows like 1/sqrt(a) would show the rounding of float32, not a difference.)
    """

    def net(x: Tensor, t: Tensor) -> Tensor:
        a = schedule.at(t + 1, x)
        y = x.double()
        x0 = a.sqrt() * y - (1 - a).sqrt() / 8 * torch.sin(2 * y)
        return md.from_x0(schedule, kind, x0, y, t + 1).to(x.dtype)

    return net


def theirs(scheduler: Any, net: Any, x: Tensor, S: int, **step: Any) -> list[tuple[int, Tensor]]:
    scheduler.set_timesteps(S)
    walk = []
    for t in scheduler.timesteps.tolist():
        out = net(x, torch.full((len(x),), t))
        x = scheduler.step(out, t, x, **step).prev_sample.to(x.dtype)
        walk.append((t + 1, x))
    return walk


def compare(ours: list[Any], them: list[tuple[int, Tensor]], tau: list[int]) -> None:
    assert tau[:-1] == [t for t, _ in them]
    for step, (_, x) in zip(ours, them, strict=True):
        assert step.x.dtype == x.dtype
        scale = max(1.0, float(x.abs().max()))
        assert float((step.x - x).abs().max()) < BOUND[x.dtype] * scale


@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE])
@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("kind", "spacing", "S", "clip"),
    [
        ("eps", "leading", 25, True),
        ("eps", "leading", 30, True),
        ("eps", "trailing", 20, True),
        ("x0", "leading", 10, False),
        ("v", "trailing", 10, True),
    ],
)
def test_ddim(
    kind: str,
    spacing: str,
    S: int,
    clip: bool,
    eta: float,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    same_noise: torch.Generator,
) -> None:
    schedule = Schedule.linear(1000)
    scheduler = diffusers.DDIMScheduler(
        **options(kind, spacing, clip, schedule), set_alpha_to_one=True
    )
    x_T, tau = noise(*shape, dtype=dtype), md.tau(1000, S, spacing)
    scheduler = tables(scheduler, schedule, dtype)
    net = network(schedule, kind)
    # Their last step (s = 0) draws noise and multiplies it by 0, so only theirs draws there.
    them = theirs(
        scheduler, net, x_T, S, eta=eta, use_clipped_model_output=True, generator=same_noise
    )
    model = Denoiser(net, schedule, kind, clip=clip)
    compare(list(md.ddim(model, x_T, tau, eta, generator=seeded(11))), them, tau)


@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE])
@pytest.mark.parametrize("shape", [VECTORS, IMAGES])
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
def test_ddpm(
    kind: str,
    variance: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    same_noise: torch.Generator,
) -> None:
    schedule = Schedule.linear(1000)
    for S in (10, 200):
        scheduler = diffusers.DDPMScheduler(
            **options(kind, "leading", True, schedule), variance_type=f"fixed_{variance}"
        )
        x_T, tau = noise(*shape, dtype=dtype), md.tau(1000, S, "leading")
        same_noise.manual_seed(11)
        net = network(schedule, kind)
        them = theirs(tables(scheduler, schedule, dtype), net, x_T, S, generator=same_noise)
        model = Denoiser(net, schedule, kind, variance)
        compare(list(md.ancestral(model, x_T, tau, generator=seeded(11))), them, tau)


def test_forward_process_and_velocity() -> None:
    schedule = Schedule.linear(1000)
    scheduler = tables(diffusers.DDPMScheduler(), schedule, DOUBLE)
    x0, eps = noise(2, *IMAGES)
    t = torch.tensor([1, 500, 1000])
    xt = md.diffuse(schedule, x0, t, eps)
    torch.testing.assert_close(scheduler.add_noise(x0, eps, t - 1), xt, rtol=0, atol=1e-12)
    v = md.from_x0(schedule, "v", x0, xt, t)
    torch.testing.assert_close(scheduler.get_velocity(x0, eps, t - 1), v, rtol=0, atol=1e-9)


@pytest.mark.parametrize("T", [50, 1000])
def test_cosine_table(T: int) -> None:
    them = diffusers.DDPMScheduler(num_train_timesteps=T, beta_schedule="squaredcos_cap_v2")
    ours = Schedule.cosine(T).alpha_bar[1:]
    torch.testing.assert_close(them.alphas_cumprod.double(), ours, rtol=1e-3, atol=1e-6)
