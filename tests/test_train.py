"""The training engine: the same run however often it is interrupted, and no harm from a NaN."""

import json
import os
import re
import signal
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from forks import Forks
from torch import Tensor, nn

from minidiff.data.sets import Images, load
from minidiff.denoiser import Denoiser
from minidiff.engine.checkpoint import CheckpointError, latest, load_pretrained, read, write
from minidiff.engine.config import (
    Loss,
    Times,
    TrainConfig,
    make_config,
    read_config,
    read_overrides,
)
from minidiff.engine.distributed import World
from minidiff.engine.folder import save, take_up
from minidiff.engine.loop import Council, Diverged, TimeUp, Verdict, _held_out, train
from minidiff.engine.order import data_order
from minidiff.engine.resume import Changed
from minidiff.engine.runlog import Meter, RunLog
from minidiff.engine.speed import Clock
from minidiff.engine.trainer import LOSSES, TIMES, Trainer, best_precision
from minidiff.process import diffuse, randn
from minidiff.schedule import Schedule
from minidiff.settings import kinds
from minidiff.unet.architectures import NETWORKS, Named
from minidiff.unet.config import PRESETS, Preset
from minidiff.unet.network import UNet

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
    with pytest.warns(Changed, match=r"goes on with steps = 3 \(was 2\)$"):
        train(replace(config, steps=3), tmp_path / "parts", resume=True, bar=False)
    with pytest.warns(Changed, match=r"goes on with steps = 6 \(was 3\)$"):
        model = train(config, tmp_path / "parts", resume=True, bar=False)
    assert _same(latest(tmp_path / "whole"), latest(tmp_path / "parts"))
    again = load_pretrained(tmp_path / "parts")
    for a, b in zip(model.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(a, b)  # the averaged weights


def test_killed_at_random_moments(tmp_path: Path, forks: Forks) -> None:
    """Five times here; `python tests/kill_runs.py FOLDER 20` does it more thoroughly."""
    script = Path(__file__).with_name("kill_runs.py")
    done = forks.run(str(script), str(tmp_path), "5")
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


class Loud(nn.Module):
    """Two weights whose gradients are finite, but not the length of both together."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u, self.loud = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1)), False

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x * (self.w + self.u) * (1e16 if self.loud else 1.0)


OPTIMIZERS = {
    "fused AdamW": lambda p: torch.optim.AdamW(p, fused=True, weight_decay=0.1),
    "plain AdamW": lambda p: torch.optim.AdamW(p, foreach=False, weight_decay=0.1),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("first", [0, 2])
def test_a_bad_step_changes_nothing(optimizer: str, precision: str, first: int) -> None:
    """Neither weights nor moments, whatever the optimizer and the precision."""
    model = Denoiser(Loud(), Schedule.linear(100))
    trainer = Trainer(replace(TINY, precision=precision), ONE, load("digits"), model)
    trainer.optimizer = OPTIMIZERS[optimizer](trainer.weights)
    batches = trainer.batches()

    def state() -> list[Tensor]:
        moments = [v for p in trainer.weights for v in trainer.optimizer.state[p].values()]
        held = [t for t in moments if isinstance(t, Tensor) and bool((t != 0).any())]
        return [t.clone() for t in (*trainer.weights, *held)]

    for _ in range(first):
        trainer.step(batches)
    before = state()
    model.net.loud = True
    for _ in range(2):
        trainer.step(batches)
        after = state()
        assert len(before) == len(after)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    model.net.loud = False
    trainer.step(batches)
    assert not torch.equal(state()[0], before[0])
    assert trainer.meter.report(ONE)["skipped"] == 2


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


def test_min_snr_weighs_the_losses_by_its_paper() -> None:
    c = TrainConfig(loss="min-snr", predict="v", schedule="cosine", T=100, batch=4)
    trainer = Trainer(c, World(0, 1, torch.device("cpu")), load("digits"))
    x0, t = torch.rand(3, 1, 8, 8), torch.tensor([5, 50, 99])
    fixed = torch.Generator().manual_seed(7)
    mine = trainer.loss(trainer.model, x0, t, generator=fixed)
    eps = randn(x0, torch.Generator().manual_seed(7))
    xt = diffuse(trainer.model.schedule, x0, t, eps)
    a = trainer.model.schedule.alpha_bar[t].view(-1, 1, 1, 1)
    target = a.sqrt() * eps - (1 - a).sqrt() * x0
    raw, _ = trainer.model.ask(xt, t)
    snr = trainer.model.schedule.snr[t]
    # Hang et al. 2023, section 3.4: min(SNR, 5)/(SNR + 1) for a network that predicts v
    theirs = snr.clamp(max=5) / (snr + 1) * (raw - target).square().mean((1, 2, 3))
    torch.testing.assert_close(mine.double(), theirs.double(), rtol=1e-4, atol=1e-6)


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


@pytest.mark.parametrize("keep", [1, 2])
def test_a_state_makes_room_among_older_ones_only(tmp_path: Path, keep: int) -> None:
    """A damaged newer file in the folder, which nobody has cleaned, must not push it out."""
    trainer = Trainer(replace(TINY, keep=keep), ONE, load("digits"))
    for trainer.steps_done in (1, 2, 3):
        save(trainer, tmp_path)
    (tmp_path / "step-000000009.safetensors").write_bytes(b"broken")
    trainer.steps_done = 4
    save(trainer, tmp_path)
    kept = [int(p.stem[5:]) for p in sorted(tmp_path.glob("step-*"))]
    assert kept == [*range(5 - keep, 5), 9]


def test_computers_that_see_different_folders_are_told(tmp_path: Path) -> None:
    class Elsewhere(World):
        def gather(self, x: Tensor) -> Tensor:
            return torch.cat([x, x + 500])  # another process found a later state

    trainer = Trainer(TINY, Elsewhere(0, 1, ONE.device), load("digits"))
    with pytest.raises(CheckpointError, match=r"different states .*\[0, 500\].*same folder"):
        take_up(trainer, tmp_path, resume=False)


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


@pytest.mark.parametrize("order", ["sorted", "in turn"])
def test_validation_sees_every_class_in_whatever_order(order: str) -> None:
    """A folder is sorted by class, a named set may take its classes in turn."""
    labels = torch.arange(1000) % 10
    labels = labels.sort().values if order == "sorted" else labels
    seen: list[int] = []

    class Watched(Images):
        def batch(self, which: Any, **how: Any) -> tuple[Tensor, Tensor]:
            seen.extend(which)
            return super().batch(which, **how)

    images = torch.zeros(1000, 1, 8, 8, dtype=torch.uint8)
    held_out = Watched(images, labels, tuple("0123456789"))
    trainer = Trainer(TINY, ONE, load("digits"))
    trainer.validate(held_out, 100)
    assert len(set(seen)) == 100
    assert labels[seen].bincount(minlength=10).min() > 3
    first = list(seen)
    seen.clear()
    trainer.validate(held_out, 100)
    assert seen == first


def test_a_full_disk_stops_the_run_but_not_the_older_state(tmp_path: Path, forks: Forks) -> None:
    train(replace(TINY, steps=2), tmp_path, bar=False)
    code = f"""
import resource, sys
sys.dont_write_bytecode = True  # it would be cut short, and kept
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
from test_train import TINY, train
train(TINY, {str(tmp_path)!r}, resume=True, bar=False)
"""
    done = forks.run("-c", code, cwd=Path(__file__).parent)
    assert "could not write" in done.stderr
    assert read(latest(tmp_path))[1]["step"] == 2


def test_folders_that_hold_a_run_or_cannot_be_written(tmp_path: Path) -> None:
    train(replace(TINY, steps=1), tmp_path / "run", bar=False)
    with pytest.raises(ValueError, match="already holds a run"):
        train(TINY, tmp_path / "run", bar=False)
    other = replace(TINY, network_options={**TINY.network_options, "width": 16})
    with pytest.raises(CheckpointError, match=r"width = 8 \(now 16\)"):
        train(other, tmp_path / "run", resume=True, bar=False)
    with pytest.raises(CheckpointError, match=r"predict = eps \(now v\), which cannot"):
        train(replace(TINY, predict="v"), tmp_path / "run", resume=True, bar=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write into"):
        train(TINY, tmp_path / "file" / "run", bar=False)


def test_time_limit(tmp_path: Path) -> None:
    """A run that the clock ends does not look like one that is finished."""
    endless = replace(TINY, steps=10**6, max_seconds=0.5)
    with pytest.warns(TimeUp, match=r"time is up: stopped at step \d+ of 1000000 and saved in"):
        train(endless, tmp_path, bar=False)
    assert 0 < read(latest(tmp_path))[1]["step"] < 10**6
    last = (tmp_path / "log.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["stopped"] == "the time is up"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(replace(TINY, max_seconds=0.0, steps=1), bar=False)  # finished, if only just


def test_processes_agree_on_one_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own clock and signals; the hardest wish holds, and is asked for seldom."""
    asked, now = [], 0.0

    class Two(World):
        def largest(self, number: int) -> int:
            asked.append(number)
            return max(number, others)

    monkeypatch.setattr("time.monotonic", lambda: now)
    config = replace(TINY, save_every=3, steps=100, log_every=50, save_seconds=10.0)
    trainer = Trainer(config, ONE, load("digits"))
    trainer.world, signals = Two(0, 2, ONE.device), []
    council = Council(trainer, Clock(trainer), signals)
    others = -(10**6)

    def verdict(step: int, seconds: float) -> Verdict:
        nonlocal now
        trainer.steps_done, now = step, seconds
        return council.verdict()

    assert verdict(1, 0.2) == Verdict.GO_ON
    assert asked == [Verdict.GO_ON, -5]  # five steps of 0.2 seconds are one second
    signals.append(signal.SIGTERM)
    assert verdict(2, 0.4) == Verdict.GO_ON  # not a step at which they ask
    assert verdict(3, 0.6) == Verdict.SAVE
    assert verdict(5, 1.0) == Verdict.GO_ON
    assert len(asked) == 2
    assert verdict(6, 1.2) == Verdict.STOP
    signals.clear()
    for others in Verdict:  # the next question is soon: another one is slow
        assert verdict(council.next, now + 0.1) == others
        assert council.next == trainer.steps_done + 1
    others = -(10**6)
    assert verdict(council.next, 11.5) == Verdict.SAVE
    assert verdict(100, now) == Verdict.STOP


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
        ("batch = 'many'", "batch must be a whole number of at least 1, got 'many'"),
        ("steps = 1e999", r"steps must be a whole number in \[1, 999999999\], got inf"),
        ("ema = ('a',)", "ema must be a tuple, each a finite number in"),
        ("betas = 0.9", "betas must be a tuple of 2 entries"),
        ("validate_every = -1", "validate_every must be a whole number of at least 0"),
        ("import os", "line 1: a config holds only"),
        ("steps = open('x')", "nothing is computed"),
        ("steps = = 3", "line 1"),
        ("x.y = 3", "only"),
        ("times = 'late'", "must be one of uniform"),
        ("network = 'none'", "must be one of cifar10"),
        ("batch = 0", "at least 1"),
        ("clip_grad = -1.0", "clip_grad must be a finite number of at least 0"),
        ("compile = 'fast'", "compile must be one of '', auto, default"),
        ("loss = 'hybrid'", "learned"),
    ],
)
def test_config_errors_say_what_and_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_config(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"# \xe9\nlr = 1", "is no text in UTF-8"),
        ("lr = 1".encode("utf-16"), "is no text in UTF-8"),
        (b"\0", "not a `name = value` line"),
        (b"lr = " + b"(" * 300 + b")" * 300, "not a `name = value` line"),
        (b"lr = " + b"-" * 50_000 + b"1", "not a `name = value` line"),
        (b"lr = 1\nlr = 2", "line 2: lr was set before"),
    ],
)
def test_a_config_that_is_none_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "c.py").write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path / 'c.py'))}.*{words}"):
        read_config(tmp_path / "c.py")


def test_the_mark_of_windows_editors_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text("steps = 7\n", encoding="utf-8-sig")
    assert read_config(tmp_path / "c.py").steps == 7


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
        Trainer(TINY, World(0, 3, ONE.device), load("digits"))


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
    with pytest.raises(ValueError, match="trained with predict = 'eps', not 'v'"):
        Trainer(replace(TINY, init="digits", predict="v"), ONE, load("digits"))
    with pytest.raises(ValueError, match=r"init must be a shipped name .* got 'digit'"):
        replace(TINY, init="digit")


EDM = {"schedule": "geometric", "predict": "v", "sigma_data": 0.5, "times": "log-normal"}
FLOW = {"schedule": "flow", "predict": "u", "times": "logit-normal"}


@pytest.mark.parametrize("options", [EDM, FLOW], ids=["EDM", "flow"])
def test_edm_and_flow_matching_are_settings(tmp_path: Path, options: dict[str, Any]) -> None:
    config = make_config({**options, "sample_every": 6, "validate_every": 6, "T": 50}, TINY)
    train(config, tmp_path / "whole", bar=False)
    train(replace(config, steps=3), tmp_path / "parts", bar=False)
    with pytest.warns(Changed, match="steps"):
        train(config, tmp_path / "parts", resume=True, bar=False)
    assert _same(latest(tmp_path / "whole"), latest(tmp_path / "parts"))
    (report,) = (
        line
        for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
        if "val_loss" in line
    )
    assert 0.5 < json.loads(report)["val_loss"] < 4
    model, trained = load_pretrained(tmp_path / "whole"), config
    assert (model.predict, model.sigma_data) == (trained.predict, trained.sigma_data)
    assert model.schedule.state() == trained.make_schedule().state()


def test_another_unit_is_another_model(tmp_path: Path) -> None:
    """A file of the first versions, which names none, is of unit 1."""
    train(replace(TINY, steps=2), tmp_path / "run", bar=False)
    path = latest(tmp_path / "run")
    tensors, info = read(path)
    del info["sigma_data"]
    write(path, tensors, info)
    assert load_pretrained(path).sigma_data == 1
    train(replace(TINY, steps=2), tmp_path / "run", resume=True, bar=False)
    with pytest.raises(CheckpointError, match=r"begun with sigma_data = 1.0 \(now 0.5\)"):
        train(replace(TINY, sigma_data=0.5), tmp_path / "run", resume=True, bar=False)
    with pytest.raises(CheckpointError, match="trained with sigma_data = 1"):
        Trainer(replace(TINY, init=str(path), sigma_data=0.5), ONE, load("digits"))


def test_precision_follows_the_device() -> None:
    assert best_precision("auto", ONE.device) == "fp32"
    assert best_precision("bf16", ONE.device) == "bf16"


# ---- settings: every wrong value is refused where it is written, in one sentence ----

NAN, INF = float("nan"), float("inf")
NO_NUMBER = ["3", None, True, NAN, INF, -INF, [], {}, 1j, torch.ones(2)]
NO_INT = [*NO_NUMBER, 2.5, -1, np.float32(0.5), np.int64(-1), -(10**400)]
NO_AMOUNT = [*NO_NUMBER, -0.1, np.float64(-1)]
NO_BOOL = [0, 1, "True", None, 1.0, [True]]
NO_TEXT = [3, None, True, b"digits", ["digits"], ""]
WRONG: dict[str, list[Any]] = {
    "data": [*NO_TEXT, "imagenet", "./nowhere"],
    "size": [*(v for v in NO_INT if v is not None), 0],
    "flip": NO_BOOL,
    "network": [*NO_TEXT, "digit", "UNet"],
    "network_options": [
        *([], None, "width", 3, {3: 4}),
        *({"wdith": 8}, {"size": 8}, {"num_classes": 10}, {"out_channels": 2}),
        *({"width": "8"}, {"width": 33}, {"dropout": 2}, {"dropout": NAN}, {"mults": ()}),
        *({"attention": "8"}, {"attention": (0,)}, {"blocks": True}, {"time": "fourier"}),
        *({"start": "zero"}, {"head_dim": 5}, {"clock": (1.0,)}, {"self_cond": 1}),
    ],
    "conditional": NO_BOOL,
    "init": [3, None, True, "digit", "./nowhere.safetensors", "owner/model"],
    "schedule": [*NO_TEXT, "cosin", "Linear"],
    "T": [*NO_INT, 0, 1, 5],
    "predict": [*NO_TEXT, "epsilon"],
    "sigma_data": [*NO_AMOUNT, 0],
    "variance": [*NO_TEXT, "beta", 0.1],
    "loss": [*NO_TEXT, "simpel", "hybrid"],
    "times": [*NO_TEXT, "late"],
    "steps": [*NO_INT, 0, 10**9],
    "max_seconds": [v for v in NO_AMOUNT if v is not None],
    "batch": [*NO_INT, 0],
    "accumulate": [*NO_INT, 0, 3],
    "lr": NO_AMOUNT,
    "warmup": NO_INT,
    "decay_lr": NO_BOOL,
    "betas": [*NO_NUMBER, 0.9, (0.9,), (0.9, 0.99, 0.999), (0.9, 1.0), (-0.1, 0.9), ("a", "b")],
    "weight_decay": NO_AMOUNT,
    "clip_grad": NO_AMOUNT,
    "ema": [*NO_NUMBER, (), 1.0, -0.1, "0.9", (0.9, 0.9), (0.9, NAN), ((0.9,),)],
    "ema_warmup": NO_BOOL,
    "seed": [*NO_INT, 2**63],
    "precision": [*NO_TEXT, "fp8"],
    "compile": [*NO_TEXT[:-1], "fast"],
    "fsdp": NO_BOOL,
    "log_every": [*NO_INT, 0],
    "save_every": [*NO_INT, 0],
    "save_seconds": NO_AMOUNT,
    "keep": [*NO_INT, 0],
    "sample_every": NO_INT,
    "validate_every": NO_INT,
}
RIGHT: list[tuple[str, Any, Any]] = [
    ("ema", 0.9, (0.9,)),
    ("ema", [0, np.float64(0.5)], (0.0, 0.5)),
    ("betas", [0.5, 0], (0.5, 0.0)),
    ("steps", np.int64(7), 7),
    ("steps", 8e5, 800_000),
    ("T", np.int32(50), 50),
    ("lr", 1, 1.0),
    ("lr", np.float32(0.5), 0.5),
    ("max_seconds", 0, 0.0),
    ("max_seconds", None, None),
    ("flip", np.bool_(True), True),
    ("data", Path(__file__).parent, str(Path(__file__).parent)),
    ("init", "digits", "digits"),
    ("network_options", {"width": np.int64(16), "mults": [2]}, {"width": 16, "mults": (2,)}),
    ("seed", 0, 0),
]


@pytest.mark.parametrize("name", [f.name for f in fields(TrainConfig)])
def test_every_wrong_value_is_refused_where_it_is_written(name: str) -> None:
    base = TrainConfig()
    for wrong in WRONG[name]:
        for build in (TrainConfig, lambda **given: replace(base, **given)):
            with pytest.raises(ValueError, match=rf"\b{name}\b") as error:
                build(**{name: wrong})
            assert "\n" not in str(error.value), repr(wrong)
            assert len(str(error.value)) < 300


@pytest.mark.parametrize(("name", "given", "kept"), RIGHT)
def test_right_values_are_taken_in_one_form(name: str, given: Any, kept: Any) -> None:
    config = TrainConfig(**{name: given})
    assert (getattr(config, name), type(getattr(config, name))) == (kept, type(kept))
    assert make_config(json.loads(json.dumps(config.state()))) == config


def test_every_choice_can_be_taken_and_is_known_to_the_trainer() -> None:
    for name, kind in kinds(TrainConfig).items():
        for choice in get_args(kind) if get_origin(kind) is Literal else ():
            given = {"variance": "learned", name: choice}  # which the hybrid loss needs
            assert getattr(TrainConfig(**given), name) == choice
    assert (tuple(PRESETS), tuple(NETWORKS)) == (get_args(Preset), get_args(Named))
    assert all(callable(getattr(UNet, preset)) for preset in PRESETS)
    assert (tuple(LOSSES), tuple(TIMES)) == (get_args(Loss), get_args(Times))


def test_a_misspelt_choice_is_answered() -> None:
    with pytest.raises(ValueError, match=r"one of linear, .*; got 'cosin' \(did you mean 'cosine"):
        TrainConfig(schedule="cosin")
    with pytest.raises(ValueError, match="no setting 'wdith'; did you mean 'width'"):
        TrainConfig(network_options={"wdith": 8})


def test_configs_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = read_config("digits")
    assert shipped.ema == (0.995,)
    (tmp_path / "digits").write_text("steps = 7")
    with pytest.warns(UserWarning, match=r"comes with minidiff; for the file .* write \./digits"):
        assert read_config("digits") == shipped
    assert read_config("./digits").steps == 7
    with pytest.raises(ValueError, match=r"no such config: configs/digits\.py \(try digits\)"):
        read_config("configs/digits.py")
