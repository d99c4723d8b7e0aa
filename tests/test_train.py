"""The training engine: the same run however often it is interrupted, and no harm from a NaN."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minidiff.data.sets import Images, load
from minidiff.denoiser import Denoiser
from minidiff.engine.checkpoint import CheckpointError, latest, load_pretrained, read
from minidiff.engine.config import TrainConfig, make_config, read_config, read_overrides
from minidiff.engine.distributed import World
from minidiff.engine.loop import Diverged, Stopped, _held_out, _open_folder, train
from minidiff.engine.runlog import Meter, RunLog
from minidiff.engine.trainer import Trainer, best_precision, data_order
from minidiff.schedule import Schedule

ONE = World(0, 1, torch.device("cpu"))
TINY = TrainConfig(
    network_options={"width": 8, "mults": (1,), "attention": (), "blocks": 1, "dropout": 0.1},
    batch=8,
    steps=6,
    log_every=2,
    sample_every=0,
    validate_every=0,
)


def _same(a: Path, b: Path) -> bool:
    (x, info_x), (y, info_y) = read(a), read(b)
    return info_x == info_y and x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"times": "loss-aware", "conditional": True, "flip": True, "accumulate": 2},
        {"ema": (0.9, 0.99), "variance": "learned", "loss": "hybrid", "schedule": "cosine"},
    ],
)
def test_a_resumed_run_is_the_same_run(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = replace(TINY, **changes)
    train(config, tmp_path / "whole", bar=False)
    train(replace(config, steps=2), tmp_path / "parts", bar=False)
    torch.randn(3)  # the random state of the caller has no say
    train(replace(config, steps=3), tmp_path / "parts", resume=True, bar=False)
    model = train(config, tmp_path / "parts", resume=True, bar=False)
    assert _same(latest(tmp_path / "whole"), latest(tmp_path / "parts"))
    again = load_pretrained(tmp_path / "parts")
    for a, b in zip(model.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(a, b)  # the averaged weights


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Five times here; `python tests/kill_runs.py FOLDER 20` does it more thoroughly."""
    script = Path(__file__).with_name("kill_runs.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "5"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit-equal" in done.stdout


def test_the_callers_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    train(replace(TINY, steps=1), bar=False)
    assert torch.equal(torch.randn(2), expected)


def test_each_epoch_holds_every_image_once() -> None:
    config = replace(TINY, batch=6)
    order = data_order(config, 20, 0, ONE, torch.device("cpu"))
    drawn = torch.cat([next(order) for _ in range(10)])
    for epoch in drawn.view(3, 20):
        assert sorted(epoch.tolist()) == list(range(20))
    assert not torch.equal(drawn[:20], drawn[20:40])
    later = data_order(config, 20, 7, ONE, torch.device("cpu"))
    assert torch.equal(next(later), drawn[42:48])


def test_processes_share_one_order() -> None:
    config = replace(TINY, batch=8)
    whole = data_order(config, 50, 3, ONE, torch.device("cpu"))
    parts = [data_order(config, 50, 3, World(r, 2, ONE.device), ONE.device) for r in range(2)]
    for _ in range(20):
        assert torch.equal(next(whole), torch.cat([next(part) for part in parts]))


class Fuse(nn.Module):
    """A network that gives NaN in the calls named."""

    def __init__(self, blown: range) -> None:
        super().__init__()
        self.w, self.calls, self.blown = nn.Parameter(torch.ones(1)), 0, blown

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return x * self.w * (float("nan") if self.calls in self.blown else 1.0)


def test_a_step_with_nan_is_skipped_and_counted() -> None:
    model = Denoiser(Fuse(range(3, 5)), Schedule.linear(100))
    trainer = Trainer(TINY, ONE, load("digits"), model)
    batches, weights = trainer.batches(), []
    for _ in range(6):
        trainer.step(batches)
        weights.append(model.net.w.item())
    assert weights[1] == weights[2] == weights[3]  # steps 3 and 4 did nothing
    assert len(set(weights)) == 4
    state = trainer.optimizer.state[model.net.w]
    assert float(state["step"]) == 4
    report = trainer.meter.report(ONE)
    assert (report["skipped"], report["skipped_in_a_row"]) == (2, 0)
    assert report["loss"] > 0


def test_a_run_that_diverges_stops_and_keeps_its_last_good_state(tmp_path: Path) -> None:
    config = replace(TINY, steps=100, save_every=4)
    model = Denoiser(Fuse(range(7, 1000)), Schedule.linear(100))
    with pytest.raises(Diverged, match=r"NaN or infinite in the last \d+ steps.*lower lr"):
        train(config, tmp_path, model=model, bar=False)
    with pytest.raises(Diverged, match=r"was stopped \(try a lower lr"):  # nothing was saved
        train(replace(TINY, steps=100, lr=1e30, clip_grad=0.0), tmp_path / "first", bar=False)
    good = read(tmp_path / "step-000000024.safetensors")[0]["net/w"]
    assert bool(good.isfinite().all())
    assert bool(model.net.w.isfinite())


def test_logs_and_rotation(tmp_path: Path) -> None:
    config = replace(TINY, steps=6, save_every=2, keep=2, sample_every=3, validate_every=6, T=50)
    train(config, tmp_path, bar=False)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert [n for n in names if n.startswith("step")] == [
        "step-000000004.safetensors",
        "step-000000006.safetensors",
    ]
    assert "samples-000000003.png" in names
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 6]
    assert 0 < lines[0]["loss"] < 10
    assert len(lines[0]["loss_by_log_snr"]) == 10
    assert lines[-1]["val_bits_per_dim"] > 0
    assert read(latest(tmp_path))[1]["config"]["batch"] == 8


def test_the_loss_by_log_snr_begins_at_the_noise_end() -> None:
    meter = Meter(Schedule.linear(1000), torch.device("cpu"))
    t, losses = torch.tensor([1000, 1000, 1]), torch.tensor([1.0, 3.0, 5.0])
    meter.add_losses(t, losses, losses)
    bins = meter.report(World(0, 1, torch.device("cpu")))["loss_by_log_snr"]
    assert bins == [2.0, *[None] * 8, 5.0]


def test_a_log_cut_short_is_mended(tmp_path: Path) -> None:
    train(replace(TINY, steps=4), tmp_path, bar=False)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 5, "loss": 1.0}\n{"step": 6, "lo')
    train(TINY, tmp_path, resume=True, bar=False)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]


def test_damaged_states_are_passed_over(tmp_path: Path) -> None:
    train(replace(TINY, steps=4, save_every=2), tmp_path, bar=False)
    (tmp_path / "step-000000004.safetensors").write_bytes(b"broken")
    with pytest.warns(UserWarning, match="4.safetensors is damaged.*passed over"):
        train(TINY, tmp_path, resume=True, bar=False)
    train(TINY, tmp_path / "quiet", bar=False)
    assert _same(latest(tmp_path), latest(tmp_path / "quiet"))


def test_rotation_keeps_good_states_rather_than_damaged_ones(tmp_path: Path) -> None:
    """Those newer than the state that was taken up are damaged, and must not push it out."""
    train(replace(TINY, steps=6, save_every=2, keep=3), tmp_path, bar=False)
    for step in (4, 6):
        (tmp_path / f"step-00000000{step}.safetensors").write_bytes(b"broken")
    with pytest.warns(UserWarning, match="passed over"):
        train(replace(TINY, steps=3, keep=2), tmp_path, resume=True, bar=False)
    assert read(latest(tmp_path))[1]["step"] == 3
    assert sorted(p.name for p in tmp_path.glob("step-*"))[1:] == [
        "step-000000003.safetensors",
        "step-000000004.damaged",
        "step-000000006.damaged",
    ]


def test_computers_that_see_different_folders_are_told(tmp_path: Path) -> None:
    class Elsewhere(World):
        def gather(self, x: Tensor) -> Tensor:
            return torch.cat([x, x + 500])  # another process found a later state

    trainer = Trainer(TINY, Elsewhere(0, 1, ONE.device), load("digits"))
    with pytest.raises(CheckpointError, match=r"different states .*\[0, 500\].*same folder"):
        _open_folder(tmp_path, trainer, resume=True)


def test_a_log_is_replaced_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(replace(TINY, steps=4), tmp_path, bar=False)
    log = (tmp_path / "log.jsonl").read_text()
    settings = (tmp_path / "config.json").read_text()

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        RunLog(tmp_path, 10, 2, bar=False)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path, resume=True, bar=False)
    assert (tmp_path / "log.jsonl").read_text() == log
    assert (tmp_path / "config.json").read_text() == settings
    assert not list(tmp_path.glob(".*.tmp"))


def test_validation_knows_which_data_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that happens to be called digits is not the digits; ~ is the home folder."""
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = replace(TINY, validate_every=1)
    assert _held_out(config, ONE.device) is not None
    assert _held_out(replace(config, data="~/digits"), ONE.device) is None
    assert _held_out(TINY, ONE.device) is None


def test_validation_looks_at_the_whole_set() -> None:
    """A folder is sorted by class: its beginning would be a single class."""
    digits = load("digits", "test")
    seen: list[int] = []

    class Watched(Images):
        def batch(self, which: Any, **how: Any) -> tuple[Tensor, Tensor]:
            seen.extend(which)
            return super().batch(which, **how)

    held_out = Watched(digits.images, digits.labels, digits.classes)
    Trainer(TINY, ONE, digits).validate(held_out, 30)
    assert len(set(seen)) == 30
    assert (seen[0], seen[-1]) == (0, 297 * 29 // 30)


def test_a_full_disk_stops_the_run_but_not_the_older_state(tmp_path: Path) -> None:
    train(replace(TINY, steps=2), tmp_path, bar=False)
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
from tests.test_train import TINY, train
train(TINY, {str(tmp_path)!r}, resume=True, bar=False)
"""
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert "could not write" in done.stderr
    assert read(latest(tmp_path))[1]["step"] == 2


def test_folders_that_hold_a_run_or_cannot_be_written(tmp_path: Path) -> None:
    train(replace(TINY, steps=1), tmp_path / "run", bar=False)
    with pytest.raises(ValueError, match="already holds a run"):
        train(TINY, tmp_path / "run", bar=False)
    other = replace(TINY, network_options={**TINY.network_options, "width": 16})
    with pytest.raises(CheckpointError, match="another architecture"):
        train(other, tmp_path / "run", resume=True, bar=False)
    with pytest.raises(CheckpointError, match=r"predict = eps, this run has v: resume with"):
        train(replace(TINY, predict="v"), tmp_path / "run", resume=True, bar=False)
    train(replace(TINY, times="loss-aware"), tmp_path / "run", resume=True, bar=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write into"):
        train(TINY, tmp_path / "file" / "run", bar=False)


def test_time_limit(tmp_path: Path) -> None:
    train(replace(TINY, steps=10**6, max_seconds=0.5), tmp_path, bar=False)
    assert 0 < read(latest(tmp_path))[1]["step"] < 10**6


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_say_how_to_resume(tmp_path: Path, signum: int) -> None:
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signum))
    before = signal.getsignal(signum)
    timer.start()
    with pytest.raises(Stopped, match="--resume") as stop:
        train(replace(TINY, steps=10**6), tmp_path, bar=False)
    assert stop.value.signum == signum
    assert signal.getsignal(signum) is before
    assert read(latest(tmp_path))[1]["step"] > 0


def test_it_learns() -> None:
    """Loss after 60 steps is well below that of predicting nothing, which is 1."""
    config = replace(TINY, steps=60, batch=32, lr=5e-3, warmup=10, log_every=10)
    trainer = Trainer(config, ONE, load("digits"))
    batches = trainer.batches()
    for _ in range(60):
        trainer.step(batches)
    assert trainer.validate(load("digits", "test"), 100)["val_loss"] < 0.6
    assert trainer.sample(4, S=3).shape == (4, 1, 8, 8)


def test_warmup_and_decay() -> None:
    trainer = Trainer(replace(TINY, warmup=4, decay_lr=True, steps=100), ONE, load("digits"))
    rates = [trainer.rate(n) for n in range(101)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0], rel=0.01)
    assert rates[50] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz = 3", "did you mean 'steps'"),
        ("steps = 'many'", "must be of type int"),
        ("steps = 1e999", "steps must be of type int"),
        ("ema = ('a',)", "ema must be of type tuple"),
        ("betas = 0.9", "betas must be of type tuple"),
        ("validate_every = -1", "validate_every must be at least 0"),
        ("import os", "line 1: a config holds only"),
        ("steps = open('x')", "nothing is computed"),
        ("steps = = 3", "line 1"),
        ("x.y = 3", "only"),
        ("times = 'late'", "must be one of uniform"),
        ("network = 'none'", "must be one of cifar10"),
        ("batch = 0", "at least 1"),
        ("clip_grad = -1.0", "clip_grad must be at least 0"),
        ("compile = 'fast'", "compile must be one of '', default"),
        ("loss = 'hybrid'", "learned"),
    ],
)
def test_config_errors_say_what_and_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_config(path)
    assert str(path) in str(error.value)


def test_configs_of_the_project_can_be_read() -> None:
    for path in Path(__file__).parent.parent.glob("minidiff/configs/*.py"):
        config = read_config(path)
        assert make_config(json.loads(json.dumps(config.state()))) == config


def test_overrides() -> None:
    given = read_overrides(["--lr", "3e-4", "--data", "cifar10", "--ema", "0.9", "--steps", "1e3"])
    config = make_config(given)
    assert (config.lr, config.data, config.ema, config.steps) == (3e-4, "cifar10", (0.9,), 1000)
    assert make_config(read_overrides(["--size", "32", "--flip=True"])).size == 32
    assert make_config(read_overrides(["--size", "None"])).size is None
    for wrong in (["--lr"], ["lr", "3"]):
        with pytest.raises(ValueError, match="pairs"):
            read_overrides(wrong)


def test_batch_must_fit_the_processes() -> None:
    with pytest.raises(ValueError, match="multiple of processes"):
        Trainer(replace(TINY, accumulate=3), ONE, load("digits"))
    with pytest.raises(ValueError, match="network_options: there is no 'wdith'; known are"):
        Trainer(replace(TINY, network_options={"wdith": 8}), ONE, load("digits"))


def test_half_precision_scales_its_loss_and_resumes(tmp_path: Path) -> None:
    """The way of GPUs without bf16, tried on the CPU."""
    config = replace(TINY, precision="fp16")
    train(config, tmp_path / "whole", bar=False)
    train(replace(config, steps=3), tmp_path / "parts", bar=False)
    train(config, tmp_path / "parts", resume=True, bar=False)
    assert read(latest(tmp_path / "parts"))[1]["scaler"]["scale"] > 1
    assert _same(latest(tmp_path / "whole"), latest(tmp_path / "parts"))


def test_training_can_begin_with_weights(tmp_path: Path) -> None:
    """The network and its average start there; one made for something else is refused."""
    trainer = Trainer(replace(TINY, init="digits", network_options={}), ONE, load("digits"))
    shipped = load_pretrained("digits").net.state_dict()
    for weights in (trainer.net.state_dict(), trainer.ema.state_dict()):
        found = {k.split("/")[-1]: v for k, v in weights.items()}
        assert all(torch.equal(found[k], v) for k, v in shipped.items() if k in found)
        assert len(found.keys() & shipped.keys()) == len(shipped)
    with pytest.raises(ValueError, match="another architecture"):
        Trainer(replace(TINY, init="cifar10"), ONE, load("digits"))
    with pytest.raises(ValueError, match="predicts 'eps', not 'v'"):
        Trainer(replace(TINY, init="digits", predict="v"), ONE, load("digits"))
    with pytest.raises(ValueError, match="no weights called 'digit'"):
        Trainer(replace(TINY, init="digit"), ONE, load("digits"))


def test_precision_follows_the_device() -> None:
    assert best_precision("auto", ONE.device) == "fp32"
    assert best_precision("bf16", ONE.device) == "bf16"
