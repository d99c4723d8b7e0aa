"""Schedulers of diffusers' folders: every class read as it reads itself, or refused by its name."""

import inspect
import json

import pytest
import torch

import minidiff as md
from minidiff.unet.schedulers import CLASSES, ONLY, WALK, Settings, denoiser_options

DDPM = {"_class_name": "DDPMScheduler"}


def read(settings):
    return denoiser_options(json.loads(json.dumps(settings)))


def theirs(name, **settings):
    """A scheduler of the installed diffusers, and what it writes into scheduler_config.json."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = getattr(diffusers, name)(**settings)
    return scheduler, json.loads(scheduler.to_json_string())


# ---------------------------------------------------------------- against their classes


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize("name", [name for name in CLASSES if "SDE" not in name])
def test_every_class_with_its_own_defaults(name):
    scheduler, written = theirs(name)
    options = read(written)
    table = options["schedule"].alpha_bar[1:]
    if hasattr(scheduler, "alphas_cumprod"):
        torch.testing.assert_close(scheduler.alphas_cumprod.double(), table, rtol=2e-3, atol=1e-6)
    defaults = {k: p.default for k, p in inspect.signature(type(scheduler)).parameters.items()}
    assert options["clip"] == bool(defaults.get("clip_sample", False))
    assert options["predict"] == "eps"
    known = {*Settings.__dataclass_fields__, *WALK, *ONLY}
    assert {k for k in written if k[0] != "_"} <= known


COMMON = ["linear", "scaled_linear", "squaredcos_cap_v2", "trained"]
RARE = {
    "DDPMScheduler": ["sigmoid", "laplace"],
    "RePaintScheduler": ["sigmoid"],
    "HeunDiscreteScheduler": ["exp"],
}
TABLES = [
    (name, kind)
    for name in CLASSES
    for kind in [*COMMON, *RARE.get(name, [])]
    if not (name == "UnCLIPScheduler" or "SDE" in name)  # one table only; needs torchsde
    and (name, kind) != ("RePaintScheduler", "trained")  # its reading of a list fails
]


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize(("name", "kind"), TABLES)
def test_every_table(name, kind):
    settings = {"beta_start": 2e-4, "beta_end": 0.03, "num_train_timesteps": 120}
    if kind == "trained":
        settings["trained_betas"] = torch.linspace(1e-3, 0.1, 120).tolist()
    else:
        settings["beta_schedule"] = kind
    try:
        scheduler, written = theirs(name, **settings)
    except NotImplementedError:
        pytest.skip(f"this version's {name} has no {kind}")
    table = read(written)["schedule"].alpha_bar[1:]
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), table, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, reads in CLASSES.items() if "zero" in reads.heeds])
def test_zero_terminal_snr_is_refused(name):
    with pytest.raises(ValueError, match=r"lacks rescale_betas_zero_snr=True.*stay above 0"):
        read({"_class_name": name, "rescale_betas_zero_snr": True})


@pytest.mark.parametrize("name", [name for name, reads in CLASSES.items() if reads.clip is None])
def test_what_a_class_does_not_read_does_not_count(name):
    """Settings of other classes stay in a file when a scheduler is made from another's config."""
    foreign = {"clip_sample": True, "clip_sample_range": 3.0}
    if "thresholding" not in CLASSES[name].heeds:
        foreign["thresholding"] = True
    if "variance_type" not in CLASSES[name].heeds:
        foreign["variance_type"] = "learned_range"
    if "zero" not in CLASSES[name].heeds:
        foreign["rescale_betas_zero_snr"] = True
    options, bare = read({"_class_name": name, **foreign}), read({"_class_name": name})
    assert (options["clip"], options["variance"]) == (False, "small")
    assert torch.equal(options["schedule"].alpha_bar, bare["schedule"].alpha_bar)


@pytest.mark.parametrize(
    "name", [name for name, reads in CLASSES.items() if reads.clip is not None]
)
def test_clipping_follows_the_class(name):
    for clip in (True, False):
        assert read({"_class_name": name, "clip_sample": clip})["clip"] is clip
    # a range counts only where it is used
    assert not read({"_class_name": name, "clip_sample": False, "clip_sample_range": 2.0})["clip"]
    with pytest.raises(ValueError, match=r"lacks clip_sample_range=2\.0"):
        read({"_class_name": name, "clip_sample": True, "clip_sample_range": 2.0})


def test_prediction_and_variance():
    for theirs_, ours in (("epsilon", "eps"), ("sample", "x0"), ("v_prediction", "v")):
        assert read({**DDPM, "prediction_type": theirs_})["predict"] == ours
    for theirs_, ours in (("fixed_small", "small"), ("fixed_large", "large")):
        assert read({**DDPM, "variance_type": theirs_})["variance"] == ours
    assert read({**DDPM, "variance_type": "learned_range"})["variance"] == "learned"
    solver = {"_class_name": "DPMSolverSinglestepScheduler"}
    assert read({**solver, "variance_type": None})["variance"] == "small"
    assert read({**solver, "variance_type": "learned_range"})["variance"] == "learned"


# ---------------------------------------------------------------- refused by name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("FlowMatchEulerDiscreteScheduler", "flow matching"),
        ("FlowMatchHeunDiscreteScheduler", "flow matching"),
        ("FlowMapEulerDiscreteScheduler", "flow matching"),
        ("EDMEulerScheduler", "EDM"),
        ("EDMDPMSolverMultistepScheduler", "EDM"),
        ("CosineDPMSolverMultistepScheduler", "EDM"),
        ("ScoreSdeVeScheduler", "variance-exploding"),
        ("KarrasVeScheduler", "variance-exploding"),
        ("CMStochasticIterativeScheduler", "consistency"),
        ("LCMScheduler", "consistency"),
        ("TCDScheduler", "consistency"),
        ("SCMScheduler", "consistency"),
        ("VQDiffusionScheduler", "discrete"),
        ("AmusedScheduler", "discrete"),
        ("IPNDMScheduler", "continuous time"),
        ("ScoreSdeVpScheduler", "continuous time"),
        ("DDPMWuerstchenScheduler", "continuous time"),
        ("CogVideoXDDIMScheduler", "video"),
        ("TomorrowsScheduler", "not known here"),
        (["my_module", "MyScheduler"], "not known here"),
        (7, "not known here"),
    ],
)
def test_other_processes_are_named(name, reason):
    with pytest.raises(ValueError, match=reason) as error:
        read({"_class_name": name, "num_train_timesteps": 40, "clip_denoised": True})
    assert str(name) in str(error.value)


def test_no_class_of_diffusers_is_taken_by_surprise():
    """Each scheduler of the installed version is read or refused, and none is in both lists."""
    schedulers = pytest.importorskip("diffusers.schedulers")
    seen = 0
    for name in dir(schedulers):
        if not name.endswith("Scheduler") or name.startswith("Flax"):
            continue
        seen += 1
        if name not in CLASSES:
            with pytest.raises(ValueError, match=name):
                read({"_class_name": name})
    assert seen > 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"thresholding": True}, "lacks thresholding=True"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas has 2 numbers, num_train_timesteps is 1000"),
        ({"trained_betas": [[0.1]] * 1000}, "trained_betas must be"),
        ({"prediction_type": "flow_prediction"}, "prediction_type must be one of epsilon"),
        ({"variance_type": "learned"}, "lacks variance_type='learned'"),
        ({"beta_schedule": "geometric"}, "beta_schedule must be one of linear"),
        ({"num_train_timesteps": 10**9}, "num_train_timesteps must be a whole number in"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps must be a whole number"),
        ({"beta_end": 2.0}, "beta_end must be a finite number in"),
        ({"beta_start": None, "beta_end": {"a": 1}}, "beta_end must be a finite number"),
        ({"clip_sample": "yes"}, "clip_sample must be True or False"),
        ({"snr_shift_scale": 3.0}, r"does not know: snr_shift_scale=3\.0"),
        ({"predict_epsilon": False}, "lacks predict_epsilon=False"),
        ({"use_flow_sigmas": True}, "lacks use_flow_sigmas=True"),
        ({"timestep_type": "continuous"}, "lacks timestep_type='continuous'"),
    ],
)
def test_settings_that_cannot_be_expressed_are_named(settings, message):
    with pytest.raises(ValueError, match=message) as error:
        read({**DDPM, **settings})
    assert len(str(error.value)) < 500


def test_settings_without_a_class_are_told():
    with pytest.warns(UserWarning, match="no class"):
        assert read({"variance_type": "fixed_large"})["variance"] == "large"


def test_the_longest_schedule():
    with pytest.raises(ValueError, match="2 to 1,000,000 steps, got 1000000000"):
        md.Schedule.linear(10**9)
