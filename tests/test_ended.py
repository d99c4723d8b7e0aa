"""What `sample`, `evaluate` and `nll` keep when a signal or a failure ends them early."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forks import Forks
from PIL import Image

from minidiff.cli import commands
from minidiff.cli.parser import main
from minidiff.data import files
from minidiff.engine import generate
from minidiff.engine.config import TrainConfig
from minidiff.engine.distributed import World
from minidiff.engine.lock import locked
from minidiff.engine.loop import train
from minidiff.engine.signals import Stopped, stopped

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
FEW = ["--batch", "4", "--steps", "2"]
DATA = ["--data", "digits"]


class Command:
    """A command that would take hours, in a session of its own, when something of it is done."""

    def __init__(self, forks: Forks, folder: Path, *words: str, ranks: int = 1, shows: str) -> None:
        self.said, self.ranks = folder / "said", ranks
        words = (*(TORCHRUN if ranks > 1 else []), "-m", "minidiff", *words)
        with open(self.said, "w") as said:
            self.run = forks.start(*words, cwd=folder, streams={1: said, 2: said})
        while not re.search(shows, self.said.read_text()):
            assert self.run.poll() is None, self.said.read_text()
            time.sleep(0.02)

    def end(self, *signals: int) -> str:
        """Send the signals, to all of several processes; the sentence that it ends with."""
        for signum in signals:
            (os.killpg if self.ranks > 1 else os.kill)(self.run.pid, signum)
        self.run.wait(120)
        text = self.said.read_text().replace("\r", "\n")
        (sentence,) = [line for line in text.splitlines() if line.startswith("minidiff: ")]
        if self.ranks == 1:  # torchrun adds its own words
            assert self.run.returncode == 128 + signals[0]
            assert "Traceback" not in text
        return sentence


def go_on(sentence: str, folder: Path) -> list[str]:
    """Do as the sentence says, as if on the spot; the words of the command."""
    words = shlex.split(re.split(r"to (?:go on|draw|measure)[^:]*: ", sentence)[-1])
    where = words.index("minidiff") + 1
    assert words[:3] == ["python", "-m", "minidiff"] or words[0] == "torchrun"
    with _chdir(folder):
        assert main(words[where:]) == 0
    return words


@contextlib.contextmanager
def _chdir(folder: Path) -> Iterator[None]:
    """`contextlib.chdir`, which Python 3.10 does not have."""
    before = Path.cwd()
    os.chdir(folder)
    yield
    os.chdir(before)


DRAWN = r" [1-9]\d*/\d+ images"


@POSIX
@pytest.mark.parametrize(
    ("name", "out", "ranks"),
    [
        ("SIGTERM", "x.npz", 1),
        ("SIGHUP", "my singles", 1),
        ("SIGINT", "x.npz", 2),
    ],
)
def test_a_signal_while_samples_are_drawn(
    tmp_path: Path, forks: Forks, name: str, out: str, ranks: int
) -> None:
    """All of them twice, as `timeout` and torchrun send them."""
    n, signum = 4000, getattr(signal, name)
    words = ["sample", "digits", "-n", str(n), *FEW, "--out", out]
    command = Command(forks, tmp_path, *words, ranks=ranks, shows=DRAWN)
    sentence = command.end(signum, signum)
    found = re.fullmatch(
        rf"minidiff: (SIG[A-Z]+); (\d+) of {n} images are kept in {out}; to draw the others: (.*)",
        sentence,
    )
    assert found, sentence
    assert found[1] in (name, "SIGTERM")  # torchrun makes it that
    kept = int(found[2])
    assert 0 < kept < n
    assert kept % (4 * ranks) == 0
    if out == "x.npz":
        assert np.load(tmp_path / out)["arr_0"].shape == (kept, 8, 8, 1)
    else:
        assert sorted(os.listdir(tmp_path / out)) == [f"{i:06d}.png" for i in range(kept)]
    few = sentence.replace(f"-n {n - kept} ", "-n 3 ")
    assert few != sentence
    words = go_on(few, tmp_path)
    assert words[words.index("--first") + 1] == str(kept)
    three = Path(words[words.index("--out") + 1])
    true = tmp_path / "true.npz"
    assert main(["sample", "digits", "-n", str(kept + 3), *FEW, "--out", str(true)]) == 0
    images = np.load(true)["arr_0"].astype(int)
    if out == "x.npz":
        both = [np.load(tmp_path / p)["arr_0"].astype(int) for p in (out, three)]
        assert abs(np.concatenate(both) - images).max() <= 1
    elif out == "my singles":
        assert three == Path(out)
        last = np.asarray(Image.open(tmp_path / out / f"{kept + 2:06d}.png")).astype(int)
        assert abs(last - images[-1, ..., 0]).max() <= 1


@POSIX
@pytest.mark.parametrize(("name", "ranks"), [("SIGTERM", 2), ("SIGHUP", 1)])
def test_a_signal_during_an_evaluation(tmp_path: Path, forks: Forks, name: str, ranks: int) -> None:
    n = 4000
    words = ["evaluate", "digits", *DATA, "-n", str(n), *FEW, "--json", "q.json"]
    command = Command(forks, tmp_path, *words, ranks=ranks, shows=DRAWN)
    sentence = command.end(getattr(signal, name))
    found = json.loads((tmp_path / "q.json").read_text())
    kept = found["n_samples"]
    assert 0 < kept < n
    assert found["interrupted"] == f"after {kept} of {n} samples"
    what = f"; measured after {kept} of {n} samples, and kept in q.json; to measure all: "
    assert what in sentence
    assert sentence.endswith(f"-m minidiff {shlex.join(words)}")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network that is asked in no time."""
    out = tmp_path_factory.mktemp("tiny") / "run"
    network = {"width": 8, "mults": (1,), "attention": (), "blocks": 1}
    train(TrainConfig(network_options=network, T=50, steps=1, batch=4), out, bar=False)
    return out


@POSIX
@pytest.mark.parametrize(("method", "ranks"), [("vlb", 1), ("ode", 2)])
def test_a_signal_while_bits_are_counted(
    tmp_path: Path, tiny: Path, forks: Forks, method: str, ranks: int
) -> None:
    words = ["nll", str(tiny), *DATA, "--batch", "1", "--json", "q.json", "--method", method]
    command = Command(forks, tmp_path, *words, ranks=ranks, shows=DRAWN)
    sentence = command.end(signal.SIGTERM)
    one = json.loads((tmp_path / "q.json").read_text())
    kept = one["images"]
    assert 0 < kept < 297
    assert f"; measured after {kept} of 297 images, and kept in q.json; to measure the" in sentence
    if method == "ode":  # of the others it takes minutes
        return
    words_again = go_on(sentence.replace("--batch 1", "--batch 250"), tmp_path)
    others = words_again[words_again.index("--json") + 1]
    assert others == f"q-{kept}.json"
    two = json.loads((tmp_path / others).read_text())
    assert two["images"] == 297 - kept
    (what,) = [name for name in one if name.startswith("bits/dim")]
    with _chdir(tmp_path):
        assert main([*words[:4], *words[8:], "--json", "whole.json"]) == 0
    whole = json.loads((tmp_path / "whole.json").read_text())
    mean = (kept * one[what] + (297 - kept) * two[what]) / 297
    assert whole[what] == pytest.approx(mean, rel=1e-6)
    assert main(["nll", str(tiny), *DATA, "--first", "297"]) == 1


def _after(monkeypatch: pytest.MonkeyPatch, name: str, calls: int, then: BaseException) -> None:
    """What the commands call by this name fails in the call behind so many."""
    true, count = getattr(commands, name), iter(range(10**6))

    def failing(*args: Any, **how: Any) -> Any:
        if next(count) >= calls:
            raise then
        return true(*args, **how)

    monkeypatch.setattr(commands, name, failing)


LOST = RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer")
FAILURES = [
    (LOST, "another process of this run has ended, and with it the run; "),
    (RuntimeError("CUDA out of memory."), "out of memory with --batch 4: take --batch 2; "),
    (OSError(5, "Input/output error"), "cannot read or write: Input/output error; "),
    (stopped(signal.SIGINT), "SIGINT; "),
]


@pytest.mark.parametrize(("error", "begins"), FAILURES)
@pytest.mark.parametrize("name", ["sample", "evaluate", "nll"])
def test_a_failure_keeps_what_is_done(
    name: str,
    error: BaseException,
    begins: str,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of several processes, too, when one of them dies."""
    true = commands.load_pretrained

    def failing(source: str, device: torch.device) -> Any:
        model = true(source, device)
        net, count = model.net, iter(range(10**6))

        def forward(*_: object) -> None:
            if next(count) >= calls:
                raise error

        net.register_forward_pre_hook(forward)
        return model

    calls = 100 if name == "nll" else 4  # two rounds
    monkeypatch.setattr(commands, "load_pretrained", failing)
    world = World(0, 2 if error is LOST else 1, torch.device("cpu"))
    monkeypatch.setattr(commands, "processes", lambda _: contextlib.nullcontext(world))
    monkeypatch.setattr(World, "largest", lambda self, number: number)
    monkeypatch.setattr(World, "gather", lambda self, x: x.repeat(self.size, 1, 1, 1)[: len(x) * 2])
    if name == "nll":
        monkeypatch.setattr(World, "gather", lambda self, x: x.repeat(self.size))
    monkeypatch.chdir(tmp_path)
    words = [name, str(tiny), "--n", "40", "--batch", "4"]
    words += [] if name == "nll" else ["--steps", "2"]
    words += ["--out", "x.npz"] if name == "sample" else [*DATA, "--json", "q.json"]
    assert main(words) == (130 if isinstance(error, Stopped) else 1)
    said = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1]
    assert said.startswith(f"minidiff: {begins}")
    kept = 8 * world.size
    if name == "sample":
        assert f"; {kept} of 40 images are kept in x.npz; to draw the others: " in said
        assert len(np.load("x.npz")["arr_0"]) == kept
    else:
        found = json.loads(Path("q.json").read_text())
        thing = "samples" if name == "evaluate" else "images"
        assert found["interrupted"] == f"after {kept} of 40 {thing}"
        assert f"; measured after {kept} of 40 {thing}, and kept in q.json; to measure " in said
        assert found.get("n_samples", found.get("images")) == kept


def test_a_full_disk_behind_a_signal_is_told(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    _after(monkeypatch, "bits_per_dim", 2, stopped(signal.SIGTERM))
    monkeypatch.setattr(commands, "report", full)
    assert main(["nll", str(tiny), *DATA, "--batch", "4"]) == 143
    said = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1]
    assert (
        said
        == "minidiff: SIGTERM; what was done cannot be kept ([Errno 28] No space left on device)"
    )


@pytest.mark.parametrize(
    "words",
    [["sample"], ["sample", "--out", "x.gif"], ["evaluate", *DATA], ["nll", *DATA]],
)
def test_a_signal_before_anything_is_done(
    words: list[str],
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("draw", "_frames", "bits_per_dim"):
        _after(monkeypatch, name, 0, stopped(signal.SIGTERM))
    assert main([words[0], str(tiny), *words[1:]]) == 143
    said = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1]
    assert said.startswith("minidiff: SIGTERM; nothing is done yet that could be kept; to begin")
    assert said.endswith(shlex.join([words[0], str(tiny), *words[1:]]))
    assert os.listdir(tmp_path) == []


@POSIX
@pytest.mark.parametrize("out", ["x.npz", "x.webp"])
def test_a_signal_while_the_result_is_written_comes_too_late(
    out: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signum, true = signal.SIGTERM, files.whole
    before = signal.signal(signum, signal.SIG_DFL)

    def interrupted(*args: Any, **how: Any) -> Any:
        os.kill(os.getpid(), signum)
        return true(*args, **how)

    monkeypatch.setattr(files, "whole", interrupted)
    try:
        words = ["--n", "3", "--steps", "2", "--out", str(tmp_path / out)]
        assert main(["sample", str(tiny), *words]) == 0
    finally:
        signal.signal(signum, before)
    assert os.listdir(tmp_path) == [out]


@pytest.mark.parametrize("another", [False, True])
def test_a_folder_that_goes_is_no_folder_of_the_rest(
    another: bool,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rest alone would look like all."""
    out = tmp_path / "out"

    def removed(*args: Any) -> Iterator[torch.Tensor]:
        for i, x in enumerate(generate.draw(*args)):
            if i == 2:
                shutil.rmtree(out)
                if another:
                    out.mkdir()
            yield x

    monkeypatch.setattr(commands, "draw", removed)
    assert main(["sample", str(tiny), *FEW, "--n", "20", "--out", str(out)]) == 1
    assert (
        f"minidiff: the folder {out} is gone, and what was drawn with it\n"
        in capsys.readouterr().err
    )
    assert not out.exists() or os.listdir(out) == []


def test_two_do_not_draw_into_one_folder(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["sample", str(tiny), *FEW, "--n", "5", "--out", str(out)]
    out.mkdir()
    with locked(out):
        assert main(words) == 1
    assert f"{out} is in use by this process" in capsys.readouterr().err
    assert main(words) == 0
    assert sorted(os.listdir(out)) == [f"{i:06d}.png" for i in range(5)]


def test_of_several_processes_all_end_behind_the_same_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two = World(0, 2, torch.device("cpu"))
    asked: list[int] = []

    def largest(self: World, number: int) -> int:
        asked.append(number)
        return signal.SIGTERM if len(asked) == 2 else number  # the other one has got it

    monkeypatch.setattr(World, "largest", largest)
    monkeypatch.setattr(World, "gather", lambda self, x: torch.cat([x, x]))
    rounds = generate.in_rounds(torch.tensor, 10, two, 2)
    assert next(rounds).tolist() == [0, 1, 0, 1]
    with pytest.raises(Stopped) as stop:
        next(rounds)
    assert (stop.value.signum, asked) == (signal.SIGTERM, [0, 0])
