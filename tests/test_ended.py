"""What `sample`, `evaluate` and `nll` keep when a signal or a failure ends them before their end."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.cli import commands, judge
from minidiff.cli.parser import main
from minidiff.data import files
from minidiff.engine import generate
from minidiff.engine.distributed import World
from minidiff.engine.lock import locked
from minidiff.engine.signals import Stopped, noted, stopped

ROOT = Path(__file__).resolve().parent.parent
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
ONE = World(0, 1, torch.device("cpu"))
FEW = ["--batch", "4", "--steps", "2"]
DATA = ["--data", "digits"]
# A job in the background of a script ignores SIGINT, one under nohup SIGHUP.
HEARS = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from minidiff.cli.parser import main
sys.exit(main())
"""


class Command:
    """A command that would take hours, in a session of its own, when something of it is done."""

    def __init__(self, folder: Path, *words: str, ranks: int = 1, shows: str) -> None:
        self.said, self.ranks, script = folder / "said", ranks, folder / "hears.py"
        script.write_text(HEARS)
        with open(self.said, "w") as said:
            self.run = subprocess.Popen(
                [sys.executable, *(TORCHRUN if ranks > 1 else []), str(script), *words],
                stdout=said,
                stderr=said,
                cwd=folder,
                env=ENV,
                start_new_session=True,
            )
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
    tmp_path: Path, name: str, out: str, ranks: int
) -> None:
    """All of them twice, as `timeout` and torchrun send them."""
    n, signum = 4000, getattr(signal, name)
    command = Command(
        tmp_path, "sample", "digits", "-n", str(n), *FEW, "--out", out, ranks=ranks, shows=DRAWN
    )
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
def test_a_signal_during_an_evaluation(tmp_path: Path, name: str, ranks: int) -> None:
    n = 4000
    words = ["evaluate", "digits", *DATA, "-n", str(n), *FEW, "--json", "q.json"]
    command = Command(tmp_path, *words, ranks=ranks, shows=DRAWN)
    sentence = command.end(getattr(signal, name))
    found = json.loads((tmp_path / "q.json").read_text())
    kept = found["n_samples"]
    assert 0 < kept < n
    assert found["interrupted"] == f"after {kept} of {n} samples"
    what = f"; measured after {kept} of {n} samples, and kept in q.json; to measure all: "
    assert what in sentence
    assert sentence.endswith(f"-m minidiff {shlex.join(words)}")


@POSIX
@pytest.mark.parametrize(("method", "ranks"), [("vlb", 1), ("ode", 2)])
def test_a_signal_while_bits_are_counted(tmp_path: Path, method: str, ranks: int) -> None:
    words = ["nll", "digits", *DATA, "--batch", "1", "--json", "q.json", "--method", method]
    command = Command(tmp_path, *words, ranks=ranks, shows=DRAWN)
    sentence = command.end(signal.SIGTERM)
    one = json.loads((tmp_path / "q.json").read_text())
    kept = one["images"]
    assert 0 < kept < 297
    assert f"; measured after {kept} of 297 images, and kept in q.json; to measure the" in sentence
    if method == "ode":  # the other pass would take long
        return
    others = go_on(sentence.replace("--batch 1", "--batch 250"), tmp_path)[-1]
    assert others == f"q-{kept}.json"
    two = json.loads((tmp_path / others).read_text())
    assert two["images"] == 297 - kept
    what = "bits/dim (bound)"
    with _chdir(tmp_path):
        assert main(["nll", "digits", *DATA, "--json", "whole.json"]) == 0
    whole = json.loads((tmp_path / "whole.json").read_text())
    mean = (kept * one[what] + (297 - kept) * two[what]) / 297
    assert whole[what] == pytest.approx(mean, rel=1e-6)
