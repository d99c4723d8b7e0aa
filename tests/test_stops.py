"""What ends a run before its last step, and what is left: signals, failures, second starts."""

import contextlib
import errno
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from forks import ENV, Fork, Forks
from PIL import Image

from minidiff.cli.parser import main
from minidiff.data import files, sets
from minidiff.data.sets import Folder, Images, load
from minidiff.denoiser import Denoiser
from minidiff.engine import lock, signals, tensorfile
from minidiff.engine.checkpoint import CheckpointError, latest, load_pretrained, read, states
from minidiff.engine.config import TrainConfig
from minidiff.engine.distributed import command, processes
from minidiff.engine.failures import Failed, notes
from minidiff.engine.lock import locked
from minidiff.engine.loop import train
from minidiff.engine.resume import Changed
from minidiff.engine.runlog import RunLog
from minidiff.engine.signals import ENDING, Stopped, noted
from minidiff.schedule import Schedule
from minidiff.unet.network import UNet

ROOT = Path(__file__).resolve().parent.parent
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
NETWORK = {"width": 8, "mults": (1,), "attention": (), "blocks": 1, "dropout": 0.1}
TINY = TrainConfig(
    network_options=NETWORK, batch=8, steps=6, log_every=2, sample_every=0, validate_every=0
)
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and forks of POSIX")


def _same(a: Path, b: Path) -> bool:
    (x, info_x), (y, info_y) = read(a), read(b)
    return info_x == info_y and x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def _pictures(folder: Path, n: int = 40) -> Path:
    folder.mkdir()
    for i in range(n):
        grey = np.full((8, 8), 5 * i, np.uint8)
        Image.fromarray(grey).save(folder / f"{i:03d}.png")
    return folder


# ---- signals ----


@pytest.fixture(autouse=True)
def _no_nohup() -> Iterator[None]:
    """Under nohup these tests would wait for what their processes ignore."""
    usual = {
        s: signal.default_int_handler if s == signal.SIGINT else signal.SIG_DFL for s in ENDING
    }
    before = {s: signal.signal(s, handler) for s, handler in usual.items()}
    yield
    for s, handler in before.items():
        signal.signal(s, handler)


def _arguments(folder: Path, *more: str) -> list[str]:
    config = folder / "tiny.py"
    config.write_text(
        f"network_options = {NETWORK}\nbatch = 8\nsteps = 100_000\nlog_every = 5\n"
        "sample_every = 0\nvalidate_every = 0\nschedule = 'cosine'\n"
    )
    return ["train", str(config), *more]


def _start(forks: Forks, folder: Path, out: Path, method: str, *, ranks: int = 1) -> Fork:
    """A run that would last for hours, in a session of its own, when it has made its first steps.

    What it says is in folder/said.
    """
    more = ["--data", str(_pictures(folder / "pictures"))] if method != "memory" else []
    arguments = _arguments(folder, *more, "--T", "10", "--out", str(out))
    script = [str(ROOT / "tests/interrupted_run.py"), method, *arguments]
    with open(folder / "said", "w") as said:
        words = [*(TORCHRUN if ranks > 1 else []), *script]
        run = forks.start(*words, cwd=folder, streams={1: said, 2: said})
    while not (out / "log.jsonl").exists():
        assert run.poll() is None, (folder / "said").read_text()
        time.sleep(0.05)
    return run


STOPS = [
    ("memory", "SIGINT", 1),
    ("fork", "SIGTERM", 1),
    ("spawn", "SIGINT", 1),
    ("forkserver", "SIGTERM", 1),
    ("forkserver", "SIGHUP", 1),
    ("fork", "SIGTERM", 2),
]


@POSIX
@pytest.mark.parametrize(("method", "name", "ranks"), STOPS)
def test_a_signal_to_all_processes_saves_and_says_how_to_go_on(
    tmp_path: Path,
    method: str,
    name: str,
    ranks: int,
    forks: Forks,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "my runs" / "it's"
    run = _start(forks, tmp_path, out, method, ranks=ranks)
    signum = getattr(signal, name)
    os.killpg(run.pid, signum)
    run.wait(120)
    said = (tmp_path / "said").read_text().replace("\r", "\n").splitlines()
    if ranks == 1:  # torchrun adds its own words
        assert run.returncode == 128 + signum
        assert "Traceback" not in "\n".join(said)
        assert not [line for line in said if "Error" in line]
    (line,) = [line for line in said if "to go on" in line]
    (step,) = states(out)
    assert line.startswith(f"minidiff: {name}: stopped at step {step} of 100000 and saved in")
    again = shlex.split(line.partition("to go on: ")[2])
    launcher = ["python"] if ranks == 1 else ["torchrun", "--nproc_per_node=2"]
    assert again[: len(launcher) + 2] == [*launcher, "-m", "minidiff"]
    if method == "memory" and ranks == 1:
        monkeypatch.chdir(tmp_path)
        assert main([*again[3:], "--max_seconds=0"]) == 0
        assert f"{step + 1} of 100000 steps are done" in capsys.readouterr().out


STUCK = """
import time
from minidiff.data.sets import Images, load
from minidiff.engine.loop import train
from test_stops import TINY

class Stuck(Images):
    def stream(self, batches, **how):
        print("stuck", flush=True)
        while True:
            time.sleep(0.01)
            yield from ()

digits = load("digits")
train(TINY, {out!r}, data=Stuck(digits.images, digits.labels, digits.classes), bar=False)
"""


@POSIX
def test_a_second_signal_ends_a_run_that_is_stuck(tmp_path: Path, forks: Forks) -> None:
    code = STUCK.format(out=str(tmp_path / "run"))
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as out:
        run = forks.start("-c", code, cwd=ROOT / "tests", streams={1: out, 2: out})
    with os.fdopen(reading) as said:
        assert "stuck\n" in said
        while run.poll() is None:  # the first one alone would never end it
            os.kill(run.pid, signal.SIGTERM)
            time.sleep(0.2)
    assert run.returncode == -signal.SIGTERM


@POSIX
def test_what_comes_with_a_signal_is_not_a_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd sends SIGHUP right behind SIGTERM; `timeout` and torchrun send all signals twice."""
    before = {s: signal.getsignal(s) for s in ENDING}
    now = 7.0  # on a busy machine a second may pass between two lines
    monkeypatch.setattr(signals.time, "monotonic", lambda: now)
    with noted(True) as seen:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        assert seen == [signal.SIGTERM]
    with noted(True) as seen:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        assert seen == [signal.SIGINT]
        now += signals.ECHO
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert seen == [signal.SIGINT]
    with noted(at_once=True) as seen:
        with noted():  # within it, the first is only noted
            os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    with noted(at_once=True):
        with pytest.raises(Stopped, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
        with noted():
            os.kill(os.getpid(), signal.SIGINT)  # the echo
            now += signals.ECHO
            with pytest.raises(KeyboardInterrupt) as last:
                os.kill(os.getpid(), signal.SIGINT)
            assert type(last.value) is KeyboardInterrupt
    assert {s: signal.getsignal(s) for s in ENDING} == before


@POSIX
@pytest.mark.parametrize("signum", ENDING)
def test_what_is_ignored_stays_so(signum: int) -> None:
    """As under nohup, or in the background of a script."""
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        with noted(at_once=True) as seen:
            os.kill(os.getpid(), signum)
            assert seen == []
    finally:
        signal.signal(signum, before)


class SignalAt(Images):
    """Data that send a signal to their own process before batch `at`."""

    at, signum = 0, int(signal.SIGINT)

    def stream(self, batches: Any, **how: Any) -> Any:
        for k, batch in enumerate(super().stream(batches, **how)):
            if k == self.at:
                os.kill(os.getpid(), self.signum)
            yield batch


def test_a_signal_on_the_last_step_comes_too_late(tmp_path: Path) -> None:
    digits = load("digits")
    data = SignalAt(digits.images, digits.labels, digits.classes)
    SignalAt.at, SignalAt.signum = TINY.steps - 1, signal.SIGINT
    assert not train(TINY, tmp_path / "late", data=data, bar=False).training
    SignalAt.at = TINY.steps - 2
    with pytest.raises(Stopped, match="SIGINT: stopped at step 5 of 6 and saved in"):
        train(TINY, tmp_path / "early", data=data, bar=False)
    last = (tmp_path / "early" / "log.jsonl").read_text().splitlines()[-1]
    assert json.loads(last) == {"step": 5, "stopped": "SIGINT"}


@pytest.mark.parametrize("signum", ENDING)
def test_signals_save_and_handlers_come_back(tmp_path: Path, signum: int) -> None:
    digits, before = load("digits"), signal.getsignal(signum)
    data = SignalAt(digits.images, digits.labels, digits.classes)
    SignalAt.at, SignalAt.signum = 2, signum
    with pytest.raises(Stopped) as stop:
        train(replace(TINY, steps=10**6), tmp_path, data=data, bar=False)
    assert stop.value.signum == signum
    assert signal.getsignal(signum) is before
    assert list(states(tmp_path)) == [3]


@pytest.mark.parametrize("signum", ENDING)
def test_a_signal_while_a_state_is_written_leaves_it_whole(
    tmp_path: Path, signum: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = [signum, signum]  # all while the first is written: a late one would be a second

    def interrupted(path: Path, content: bytes) -> None:
        with files.whole(path) as file:
            file.write(content[:999])
            while signals:  # twice, as a key that bounces, or `timeout`, sends it
                os.kill(os.getpid(), signals.pop())
            file.write(content[999:])

    monkeypatch.setattr(tensorfile, "write_whole", interrupted)
    with pytest.raises(Stopped, match="stopped at step 4 of 100 and saved in"):
        train(replace(TINY, steps=100, save_every=3), tmp_path, bar=False)
    assert [read(path)[1]["step"] for path in states(tmp_path).values()] == [3, 4]


def test_the_command_is_that_of_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert command() == ["torchrun", "--nproc_per_node=2", "-m", "minidiff"]
    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setenv("MASTER_ADDR", "first")
    assert command()[1:4] == ["--nnodes=3", "--rdzv_backend=c10d", "--rdzv_endpoint=first:29500"]


def test_half_a_launcher_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the variables that torchrun sets, batch systems and containers set a few."""
    for value, message in (
        ("2", "no RANK and no LOCAL_RANK and .*: start them with torchrun, or unset WORLD_SIZE"),
        ("two", "WORLD_SIZE must be a number of processes, got 'two'"),
        ("0", "WORLD_SIZE must be a number of processes, got '0'"),
    ):
        monkeypatch.setenv("WORLD_SIZE", value)
        with pytest.raises(ValueError, match=message), processes("cpu"):
            pass
    monkeypatch.setenv("WORLD_SIZE", "")
    with processes("cpu") as world:
        assert world.size == 1


# ---- the folder: states, left-overs, one run at a time ----


def test_only_nine_digits_name_a_state(tmp_path: Path) -> None:
    """Copies under other names are the user's: never read, counted or deleted, keep = 1 or not."""
    train(replace(TINY, steps=2, keep=1), tmp_path, bar=False)
    first = tmp_path / "step-000000002.safetensors"
    names = ("best", "final", "12", "0000000003", "00000000a", "000000003.safetensors", "٠" * 9)
    copies = [tmp_path / f"step-{name}.safetensors" for name in names]
    for copy in copies:
        shutil.copy(first, copy)
    with pytest.warns(Changed):
        train(replace(TINY, keep=1), tmp_path, resume=True, bar=False)
    assert states(tmp_path) == {6: tmp_path / "step-000000006.safetensors"}
    assert latest(tmp_path).name == "step-000000006.safetensors"
    assert all(copy.exists() for copy in copies)
    (tmp_path / "copies").mkdir()
    shutil.copy(
        first.with_name("step-000000006.safetensors"), tmp_path / "copies/step-best.safetensors"
    )
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_pretrained(tmp_path / "copies")
    with pytest.raises(CheckpointError, match=r"there is no run in .*copies to go on with"):
        train(TINY, tmp_path / "copies", resume=True, bar=False)


def test_an_old_state_under_a_newer_name_is_not_taken_for_it(tmp_path: Path) -> None:
    train(replace(TINY, steps=4, save_every=2), tmp_path, bar=False)
    shutil.copy(tmp_path / "step-000000002.safetensors", tmp_path / "step-000000009.safetensors")
    with pytest.warns(UserWarning, match=r"is a copy of something else \(its step is 2\)"):
        assert latest(tmp_path).name == "step-000000004.safetensors"


def test_only_our_own_left_overs_are_swept_up(tmp_path: Path) -> None:
    train(replace(TINY, steps=2), tmp_path, bar=False)
    ours = [".step-000000004.safetensors.77.tmp", ".config.json.77.tmp", ".log.jsonl.8_x.tmp"]
    theirs = [".notes.tmp", ".thesis.odt.12.tmp", ".step-best.safetensors.9.tmp", "a.tmp", ".tmp"]
    for name in ours + theirs:
        (tmp_path / name).write_text("half")
    with pytest.warns(Changed):
        train(TINY, tmp_path, resume=True, bar=False)
    assert [name for name in ours + theirs if (tmp_path / name).exists()] == theirs


@POSIX
def test_a_second_start_is_refused_while_the_first_one_lives(
    tmp_path: Path, forks: Forks, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also right after SIGKILL, when workers of the dead process are still there."""
    out = tmp_path / "run"
    run = _start(forks, tmp_path, out, "fork")
    for resume in (False, True):
        with pytest.raises(ValueError, match=rf"is in use by process {run.pid} on .*: wait"):
            train(TINY, out, resume=resume, bar=False)
    arguments = _arguments(tmp_path, "--out", str(out), "--resume")
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "is in use by process" in line
    half = out / ".step-000000001.safetensors.1.tmp"  # what the first one may be writing
    half.touch()
    with pytest.raises(ValueError, match="in use"):
        train(TINY, out, bar=False)
    assert half.exists()
    os.kill(run.pid, signal.SIGKILL)  # not the group
    run.wait()
    train(TINY, out, bar=False)
    assert list(states(out)) == [6]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)  # the workers, if they have not noticed yet


def test_a_thread_and_a_nested_run_are_refused_as_well(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(ValueError, match="in use by this process"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        assert (tmp_path / lock.NAME).read_text().startswith(f"{os.getpid()} ")
    assert (tmp_path / lock.NAME).read_text() == ""


@POSIX
def test_without_locks_of_the_system_the_holders_name_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", none)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = os.uname().nodename
    for holder, free in [
        ("", True),
        (f"{dead.pid} {host}", True),
        (f"{os.getppid()} {host}", False),
        ("1 elsewhere", False),
    ]:
        (tmp_path / lock.NAME).write_text(f"{holder}\n" if holder else "")
        if free:
            with locked(tmp_path):
                assert (tmp_path / lock.NAME).read_text() == f"{os.getpid()} {host}\n"
        else:
            told = f"process {holder.replace(' ', ' on ')}"
            with pytest.raises(ValueError, match=told), locked(tmp_path):
                pass
            assert (tmp_path / lock.NAME).read_text() == f"{holder}\n"


def test_two_threads_cannot_disturb_each_others_dropout() -> None:
    errors: list[BaseException] = []

    def second() -> None:
        try:
            train(TINY, bar=False)
        except RuntimeError as error:
            errors.append(error)

    class Busy(Images):
        def stream(self, batches: Any, **how: Any) -> Any:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()
            return super().stream(batches, **how)

    digits = load("digits")
    train(TINY, data=Busy(digits.images, digits.labels, digits.classes), bar=False)
    (error,) = errors
    assert "another thread of this process is training" in str(error)
    train(TINY, bar=False)  # and then it is free again


# ---- going on with other settings ----


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("begun") / "run"
    train(replace(TINY, steps=2), out, bar=False)
    return out


def test_a_misspelt_folder_is_refused(begun: Path, tmp_path: Path) -> None:
    wrong = begun.with_name("rum")
    with pytest.raises(ValueError, match=r"no run in .*rum to go on with \(did you mean .*run\?\)"):
        train(TINY, wrong, resume=True, bar=False)
    assert not wrong.exists()
    (tmp_path / "config.json").write_text("{}")  # of a run that ended before its first state
    with pytest.warns(UserWarning, match="no state had been saved .*: beginning at step 0"):
        train(TINY, tmp_path, resume=True, bar=False)
    assert list(states(tmp_path)) == [6]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lr": 5e-4}, "lr = 0.0005 (was 0.001)"),
        ({"seed": 3, "batch": 4}, "batch = 4 (was 8), seed = 3 (was 0)"),
        ({"times": "loss-aware", "flip": True}, "flip = true (was false), times = loss-aware"),
        ({"betas": (0.9, 0.9)}, "betas = [0.9, 0.9] (was [0.9, 0.999])"),
    ],
)
def test_other_settings_are_told_in_a_line(
    begun: Path, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    out = shutil.copytree(begun, tmp_path / "run")
    with pytest.warns(Changed) as said:
        train(replace(TINY, steps=3, log_every=1, keep=7, **change), out, resume=True, bar=False)
    (message,) = [str(w.message) for w in said if w.category is Changed]
    assert told in message
    assert "log_every" not in message
    assert "keep" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"T": 50}, "T = 1000 (now 50), which cannot be changed"),
        ({"schedule": "cosine"}, "schedule = linear (now cosine)"),
        ({"predict": "v"}, "predict = eps (now v)"),
        ({"variance": "small"}, "variance = large (now small)"),
        (
            {"network_options": {**NETWORK, "groups": 2}},
            "network_options: groups = left out (now 2)",
        ),
        (
            {"network_options": {**NETWORK, "dropout": 0.0}},
            "network_options: dropout = 0.1 (now 0.0)",
        ),
        ({"network_options": {**NETWORK, "width": 16}}, "network_options: width = 8 (now 16)"),
        ({"ema": (0.9,)}, "ema = [0.999] (now [0.9])"),
        (
            {"network": "fashion", "T": 50},
            "network = digits (now fashion), T = 1000 (now 50), which",
        ),
        ({"lr": 1.0, "predict": "v"}, "was begun with predict = eps (now v), which"),
        ({"predict": "v"}, "repeat the line that began it with --resume added"),
        (
            {
                "network": "transformer",
                "network_options": {},
                "predict": "v",
                "T": 50,
                "ema": (0.9,),
            },
            "and 4 more, which",
        ),
    ],
)
def test_another_network_or_process_is_refused(
    begun: Path, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    out = shutil.copytree(begun, tmp_path / "run")
    with pytest.raises(ValueError, match=re.escape(told)) as said:
        train(replace(TINY, **change), out, resume=True, bar=False)
    assert "\n" not in str(said.value)
    kept = json.loads((out / "config.json").read_text())
    assert kept == json.loads((begun / "config.json").read_text())


def test_other_images_are_told_and_other_sizes_refused(begun: Path, tmp_path: Path) -> None:
    digits = load("digits")
    fewer = Images(digits.images[:-3], digits.labels[:-3], digits.classes)
    others = Images(255 - digits.images, digits.labels, digits.classes)
    for data, told in [(fewer, r"1497 images \(were 1500\)"), (others, "other images or classes")]:
        out = shutil.copytree(begun, tmp_path / told[:4])
        with pytest.warns(Changed, match=told):
            train(TINY, out, resume=True, data=data, bar=False)
    large = Images(digits.images.repeat(1, 1, 2, 2), digits.labels, digits.classes)
    net = UNet.digits(size=8, in_channels=1, **NETWORK)
    model = Denoiser(net, Schedule.linear(1000), variance="large")
    with pytest.raises(CheckpointError, match=r"data.shape = \[1, 8, 8\] \(now \[1, 16, 16"):
        train(TINY, out, resume=True, data=large, model=model, bar=False)


def test_labels_of_a_conditional_run_keep_their_meaning(tmp_path: Path) -> None:
    digits, config = load("digits"), replace(TINY, conditional=True)
    train(replace(config, steps=2), tmp_path, data=digits, bar=False)
    renamed = Images(digits.images, digits.labels, digits.classes[::-1])
    with pytest.raises(CheckpointError, match=r"data\.classes"):
        train(config, tmp_path, resume=True, data=renamed, bar=False)


def test_a_lone_decay_makes_a_run_that_can_be_read(tmp_path: Path) -> None:
    train(replace(TINY, steps=1, ema=0.9), tmp_path, bar=False)
    assert not load_pretrained(tmp_path).training


def test_pictures_that_are_not_square_are_refused() -> None:
    wide = Images(torch.zeros(4, 1, 8, 16, dtype=torch.uint8), torch.zeros(4).long(), ("a",))
    with pytest.raises(ValueError, match="square images, and these are 8 high and 16 wide: give a"):
        train(TINY, data=wide, bar=False)


# ---- failures ----


class FailAt(Images):
    """Data that fail before batch `at`."""

    at, error = 3, Exception()

    def stream(self, batches: Any, **how: Any) -> Any:
        for k, batch in enumerate(super().stream(batches, **how)):
            if k == self.at:
                raise self.error
            yield batch


def test_settings_edited_in_the_record_are_told(begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path / "run")
    record = tmp_path / "run" / "config.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "lr": 5.0}))
    with pytest.warns(UserWarning, match=r"lr = 5\.0, but nothing is read from there.*--lr"):
        train(TINY, tmp_path / "run", resume=True, bar=False)
    assert json.loads(record.read_text())["lr"] == TINY.lr


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (KeyError("a slip"), KeyError, "a slip"),
        (OSError(errno.ENOSPC, "No space left"), OSError, "No space left"),
        (MemoryError(), Failed, "out of memory with batch = 8 in 1 parts: lower batch"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), Failed, "raise accumulate"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Failed, "out of memory"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."), Failed, "shm"),
        (RuntimeError("shapes do not match"), RuntimeError, "shapes do not match"),
    ],
)
def test_a_failing_step_loses_nothing(
    tmp_path: Path, error: Exception, kind: type[Exception], sentence: str
) -> None:
    digits = load("digits")
    data = FailAt(digits.images, digits.labels, digits.classes)
    FailAt.error = error
    with pytest.raises(kind, match=sentence) as failed:
        train(TINY, tmp_path / "parts", data=data, bar=False)
    assert type(failed.value) is kind
    assert notes(failed.value) == [f"step 3 of 6 is saved in {tmp_path / 'parts'}"]
    assert "\n" not in str(failed.value)
    train(TINY, tmp_path / "parts", resume=True, data=digits, bar=False)
    train(TINY, tmp_path / "whole", bar=False, data=digits)
    assert _same(latest(tmp_path / "whole"), latest(tmp_path / "parts"))


def test_a_log_that_cannot_be_written_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RunLog, step: int, values: dict[str, Any]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunLog, "write", full)
    with pytest.raises(OSError, match="No space left"):
        train(TINY, tmp_path, bar=False)
    assert list(states(tmp_path)) == [2]


@pytest.mark.parametrize("cure", ["mended", "removed"])
def test_a_damaged_picture_costs_no_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cure: str,
) -> None:
    """Streamed: the run ends at the picture, saved; with the picture mended it is the same run."""
    monkeypatch.setattr(sets, "_IN_MEMORY", 0)
    pictures = _pictures(tmp_path / "pictures")
    damaged, arguments = pictures / "031.png", _arguments(tmp_path, "--data", str(pictures))
    arguments += ["--steps=7", "--batch=4"]
    intact = damaged.read_bytes()
    assert main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    damaged.write_bytes(intact[:50])
    capsys.readouterr()
    run = ["--out", str(tmp_path / "run")]
    assert (
        main([*arguments, "--seed=1", *run]) == 1
    )  # in which it comes later than in the first step
    said = capsys.readouterr().err.replace("\r", "\n").splitlines()
    (line,) = [line for line in said if line.startswith("minidiff: ")]
    step = max(states(tmp_path / "run"))
    assert 0 < step < 7
    assert str(damaged) in line
    assert f"; step {step} of 7 is saved in {tmp_path / 'run'}; to go on: python -m mini" in line
    assert "Traceback" not in "\n".join(said)
    again = shlex.split(line.partition("to go on: ")[2])[3:]
    assert main(again) == 1  # as long as nothing has changed
    assert max(states(tmp_path / "run")) == step
    if cure == "removed":
        damaged.unlink()
        capsys.readouterr()
        assert main(again) == 0
        assert "39 images (were 40)" in capsys.readouterr().err
        return
    damaged.write_bytes(intact)
    assert main(again) == 0
    assert main([*arguments, "--seed=1", "--out", str(tmp_path / "quiet")]) == 0
    assert _same(latest(tmp_path / "quiet"), latest(tmp_path / "run"))


class Deadly(Folder):
    """A folder whose pictures kill the worker that reads them."""

    def __getitem__(self, i: int) -> Any:
        if torch.utils.data.get_worker_info():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


@POSIX
def test_the_death_of_a_worker_is_a_sentence(tmp_path: Path) -> None:
    data = Deadly(_pictures(tmp_path / "pictures", 8))
    with pytest.raises(Failed, match=r"a process that reads the pictures has died \(was it killed"):
        train(TINY, tmp_path / "run", data=data, bar=False)


@pytest.mark.parametrize("where", ["import", "start", "write", "close"])
def test_tensorboard_cannot_end_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """It fails in whatever way when protobuf does not fit it, or the disk is full."""

    class Writer:
        def __init__(self, *_: object, **__: object) -> None:
            self.fail("start")

        def fail(self, here: str) -> None:
            if here == where:
                raise TypeError("Descriptors cannot be created directly.\nDowngrade protobuf")

        def add_scalar(self, *_: object) -> None:
            self.fail("write")

        def close(self) -> None:
            self.fail("close")

    fake = ModuleType("torch.utils.tensorboard")
    if where == "import":

        def fail(name: str) -> None:
            raise TypeError("Descriptors cannot be created directly.\nDowngrade protobuf")

        fake.__getattr__ = fail  # type: ignore[method-assign]
    else:
        fake.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    with pytest.warns(UserWarning, match=r"TensorBoard .*\(TypeError: Descriptors .*directly\.\)"):
        train(TINY, tmp_path, bar=False)
    assert list(states(tmp_path)) == [6]


def test_a_missing_compiler_is_a_sentence(tmp_path: Path, forks: Forks) -> None:
    arguments = _arguments(tmp_path, "--steps=1", "--compile=default", "--out", str(tmp_path / "r"))
    nowhere = {"PATH": "/nowhere", "CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = forks.run("-m", "minidiff", *arguments, env={**ENV, **nowhere})
    assert done.returncode == 1
    assert "compiling the network: the first step takes a minute" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("minidiff: torch.compile cannot compile the network here (No working")
    assert "install a C++ compiler" in last
    assert "Traceback" not in done.stderr


def test_a_coarse_clock_divides_nothing_by_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    train(replace(TINY, log_every=1), tmp_path, bar=False)
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert line["images_per_second"] is None


def test_the_seed_reaches_every_draw(tmp_path: Path) -> None:
    """Whatever other random states there are: weights, order, noise, dropout, pictures."""
    config = replace(TINY, flip=True, conditional=True, times="loss-aware", T=50)
    config = replace(config, sample_every=6, validate_every=3)

    def run(name: str, seed: int, state: int) -> tuple[Path, bytes, list[Any]]:
        torch.manual_seed(state)
        np.random.seed(state)  # noqa: NPY002
        random.seed(state)
        out = tmp_path / name
        train(replace(config, seed=seed), out, bar=False)
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        for line in lines:
            line.pop("seconds", None)
            line.pop("images_per_second", None)
        return latest(out), (out / "samples-000000006.png").read_bytes(), lines

    one, two, three = run("a", 0, 1), run("b", 0, 2), run("c", 5, 1)
    assert _same(one[0], two[0])
    assert one[1:] == two[1:]
    assert one[1] != three[1]
    assert all(a != b for a, b in zip(one[2], three[2], strict=True))


def test_long_work_shows_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "my runs" / "a"
    assert main(_arguments(tmp_path, "--steps=1", "--T", "10", "--out", str(out))) == 0
    shown = capsys.readouterr()
    last = shown.out.splitlines()[-1]
    begins = f"training for 1 steps; everything is kept in {out}\n"
    assert shown.err.startswith(begins)
    assert shlex.split(last)[:6] == ["python", "-m", "minidiff", "sample", str(out), "--steps"]
    assert main([*shlex.split(last)[3:-1], str(tmp_path / "x.png"), "--n=1"]) == 0


@pytest.mark.parametrize(
    "wrong",
    [["--resume"], ["--data", "nowhere"], ["--size", "7"], ["--out", "full/a"], ["--init", "no"]],
)
def test_what_is_refused_promises_nothing(
    wrong: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("full").touch()
    assert main(_arguments(tmp_path, "--out", "a", *wrong)) == 1
    shown = capsys.readouterr()
    assert not shown.out
    assert "kept in" not in shown.err
    assert len(shown.err.splitlines()) == 1


def test_a_disk_that_is_really_full_or_read_only(tmp_path: Path, forks: Forks) -> None:
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("only root may mount, in a space of its own")
    (tmp_path / "full").mkdir()
    _arguments(tmp_path)
    done = forks.run(str(ROOT / "tests/full_disk.py"), cwd=tmp_path)
    if done.returncode == 77:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()[-80:]}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for words in ("cannot write into full/run: No space left", "full/x.png: No space left"):
        assert words in done.stderr
    assert "cannot write into full/run: Read-only file system" in done.stderr
    assert "step-000000010.safetensors" in done.stderr
    assert "x.png\n" not in done.stderr.partition("full:")[2]
