"""The command line, from training on the digits to an exported model."""

import argparse
import contextlib
import json
import logging
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import ENV, Forks

from minidiff.cli import commands
from minidiff.cli.parser import EXAMPLES, _parser, main
from minidiff.data.sets import splits
from minidiff.engine.checkpoint import available
from minidiff.engine.config import TrainConfig, shipped_configs
from minidiff.engine.distributed import World

ROOT = Path(__file__).resolve().parent.parent
FORKS = [sys.executable, str(ROOT / "tests/forks.py"), "statuses"]
QUICK = ["--log_every", "2", "--sample_every", "0", "--validate_every", "0", "--batch", "8"]
CONFIG = '''"""A tiny run."""
network_options = {"width": 8, "mults": (1,), "attention": (), "blocks": 1}
T = 50
steps = 4
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.py").write_text(CONFIG)
    out = folder / "run"
    assert main(["train", str(folder / "tiny.py"), "--out", str(out), *QUICK]) == 0
    return out


def test_train_and_resume(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(run.parent / "tiny.py")
    assert main(["train", config, "--out", str(run), *QUICK]) == 1
    assert "--resume" in capsys.readouterr().err
    assert main(["train", config, "--out", str(run), "--resume", "--steps", "6", *QUICK]) == 0
    assert (run / "step-000000006.safetensors").exists()
    capsys.readouterr()
    assert main(["train", config, "--out", str(run), "--resume", "--steps", "6", *QUICK]) == 0
    assert "6 of 6 steps are done" in capsys.readouterr().out
    limited = ["--steps", "900", "--max_seconds=0", *QUICK]
    assert main(["train", config, "--out", str(run), "--resume", *limited]) == 0
    shown = capsys.readouterr()
    assert "7 of 900 steps are done" in shown.out
    assert "warning: the time is up: stopped at step 7 of 900 and saved in" in shown.err
    assert "warning: the run in" in shown.err
    assert "goes on with steps = 900 (was 6)" in shown.err
    (again,) = [line for line in shown.out.splitlines() if line.startswith("to go on: ")]
    words = shlex.split(again.removeprefix("to go on: "))
    assert words[:4] == ["python", "-m", "minidiff", "train"]
    assert main(words[3:]) == 0


@pytest.mark.parametrize("name", ["x.png", "x.npz", "x.gif", "x.webp", "singles"])
def test_sample(run: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "new" / name
    assert main(["sample", str(run), "--n", "5", "--steps", "3", "--out", str(out)]) == 0
    assert out.exists()
    if name == "singles":
        assert len(list(out.glob("*.png"))) == 5
    if name == "x.npz":
        import numpy as np

        with np.load(out, allow_pickle=False) as file:  # as OpenAI's evaluator reads it
            assert file.files == ["arr_0"]
            assert file["arr_0"].shape == (5, 8, 8, 1)
            assert file["arr_0"].dtype == np.uint8


def test_samples_of_another_number_are_the_same(tmp_path: Path) -> None:
    """Of 3 and of 4, in one picture or in single ones; noise in every step and none."""
    import numpy as np
    from PIL import Image

    for more in (["--eta", "1"], ["--sampler", "ancestral"], []):
        for n, out in (("3", "3.npz"), ("4", "4.npz"), ("2", f"f{len(more)}{more[-1:]}")):
            command = ["sample", "digits", "-n", n, "--steps", "3", "--out", str(tmp_path / out)]
            assert main([*command, *more]) == 0
        three, four = (np.load(tmp_path / f"{n}.npz")["arr_0"].astype(int) for n in (3, 4))
        assert abs(three - four[:3]).max() <= 1
        second = np.asarray(Image.open(tmp_path / f"f{len(more)}{more[-1:]}" / "000001.png"))
        assert abs(second.astype(int) - four[1, :, :, 0]).max() <= 1


def test_a_folder_with_other_pictures_is_refused_before_any_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sample", "digits", "--steps", "1", "--out", str(tmp_path / "samples_cfg7.5")]
    assert main([*command, "--n", "3"]) == 0
    assert main([*command, "--n", "3"]) == 0
    capsys.readouterr()
    assert main([*command, "--n", "2"]) == 1
    shown = capsys.readouterr().err
    assert "holds 1 other files (000002.png is one)" in shown
    assert "call/s" not in shown


@pytest.mark.parametrize(
    ("arguments", "calls", "images"),
    [
        (["sample", "--n", "5", "--batch", "2", "--steps", "4", "--out", "x.npz"], 12, 5),
        (["sample", "--n", "5", "--steps", "4", "--sampler", "heun", "--out", "x.png"], 7, 5),
        (["sample", "--n", "5", "--steps", "4", "--out", "x.gif"], 4, 5),
        (["evaluate", "--n", "5", "--data", "digits", "--steps", "3", "--batch", "3"], 6, 5),
        (["nll", "--n", "3", "--data", "digits", "--batch", "2"], 100, 3),
    ],
)
def test_long_work_shows_its_network_calls(
    arguments: list[str],
    calls: int,
    images: int,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([arguments[0], str(run), *arguments[1:]]) == 0
    shown = capsys.readouterr().err.replace("\r", "\n")
    assert f" 0/{calls} [" in shown
    assert f"100%|██████████| {calls}/{calls} [" in shown
    if "x.gif" not in arguments:
        assert f"{images}/{images} images]" in shown


@pytest.mark.parametrize(
    "words",
    [
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "std::bad_alloc",
    ],
)
@pytest.mark.parametrize("command", ["sample", "evaluate", "nll"])
def test_out_of_memory_says_which_batch_to_lower(
    words: str,
    command: str,
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError(words)

    for name in ("draw", "bits_per_dim"):
        monkeypatch.setattr(commands, name, full)
    data = [] if command == "sample" else ["--data", "digits"]
    assert main([command, str(run), *data, "--batch", "64"]) == 1
    assert "minidiff: out of memory with --batch 64: take --batch 32\n" in capsys.readouterr().err
    assert main([command, str(run), *data, "--batch", "1"]) == 1
    assert "take a smaller network or another machine" in capsys.readouterr().err


def test_an_animation_is_drawn_at_once_and_says_so(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(commands, "_frames", full)
    assert main(["sample", str(run), "--n", "16", "--out", str(run.parent / "x.gif")]) == 1
    assert "minidiff: out of memory with --n 16: take --n 8\n" in capsys.readouterr().err


TORCHRUN = ["-m", "torch.distributed.run", "--nproc_per_node=2"]


TOGETHER = """
import sys
from minidiff.cli.parser import main
from minidiff.engine.distributed import processes

with processes("cpu"):
    for line in sys.argv[1:]:
        assert main(line.split()) == 0, line
"""


@pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this PyTorch was built without torch.distributed's gloo",
)
def test_two_processes_do_what_one_does(
    run: Path, tmp_path: Path, forks: Forks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same images and numbers, written once; and -n, since torchrun takes --n for its own."""
    import numpy as np

    few = f"{run} -n 5 --batch 2"
    commands = [
        f"sample {few} --steps 2 --eta 1 --out x.npz",
        f"sample {few} --steps 2 --out singles",
        f"evaluate {few} --data digits --steps 2 --json q.json",
        f"nll {few} --data digits --json nll.json",
    ]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    for line in commands:
        assert main(line.split()) == 0
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    how = {"cwd": tmp_path / "two", "env": ENV}
    words = [*TORCHRUN, "-m", "minidiff", *commands[0].split()]  # the true one
    alone = subprocess.run([sys.executable, *words], capture_output=True, text=True, **how)
    assert alone.returncode == 0, alone.stderr
    together = forks.run(*TORCHRUN, "--standalone", str(script), *commands[1:], **how)
    assert together.returncode == 0, together.stderr
    said = alone.stdout + together.stdout
    assert said.count("5 images in") == 2
    assert said.count('"source"') == 2
    one, two = (np.load(tmp_path / k / "x.npz")["arr_0"].astype(int) for k in ("one", "two"))
    assert one.shape == two.shape == (5, 8, 8, 1)
    assert abs(one - two).max() <= 1
    assert len(list((tmp_path / "two" / "singles").iterdir())) == 5
    for name in ("q.json", "nll.json"):
        a, b = (json.loads((tmp_path / k / name).read_text()) for k in ("one", "two"))
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert b[key] == (value if isinstance(value, str) else pytest.approx(value, 1e-3)), key


@pytest.mark.parametrize("command", ["sample", "evaluate", "nll"])
def test_a_process_that_dies_while_others_draw_is_a_sentence(
    command: str, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer")

    for name in ("draw", "bits_per_dim"):
        monkeypatch.setattr(commands, name, lost)
    data = [] if command == "sample" else ["--data", "digits"]
    monkeypatch.setattr(World, "largest", lambda _, number: number)  # so far they agree
    two = contextlib.nullcontext(World(0, 2, torch.device("cpu")))
    monkeypatch.setattr(commands, "processes", lambda _: two)
    out = ["--out", str(run.parent / "lost.npz")] if command == "sample" else []
    assert main([command, str(run), *data, *out]) == 1
    said = capsys.readouterr().err
    assert "minidiff: another process of this run has ended, and with it the run\n" in said


def pictures(folder: Path, n: int, size: tuple[int, int], mode: str = "L") -> Path:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        name = folder / f"{size[0]}x{size[1]}_{i}.png"
        Image.new(mode, size, (i * 5,) * (3 if mode == "RGB" else 1)).save(name)
    return folder


def test_evaluate_says_how_it_fitted_a_folder_of_other_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from minidiff.cli import judge
    from minidiff.measure.features import Classifier

    net = Classifier.load("digits")
    monkeypatch.setattr(judge, "_extractor", lambda *_: net)
    photos = pictures(tmp_path / "photos", 8, (8, 8))
    pictures(photos, 3, (12, 10))
    pictures(photos, 1, (30, 20))
    out = tmp_path / "q.json"
    command = ["evaluate", "digits", "--n", "5", "--steps", "1", "--json", str(out), "--data"]
    assert main([*command, str(photos)]) == 0
    said = "4 of 12 images, 12x10 to 30x20, were cropped to their central squares and "
    said += "resized to 8x8"
    assert said in capsys.readouterr().err
    assert json.loads(out.read_text())["fitted"] == said
    assert main([*command, str(pictures(tmp_path / "fit", 8, (8, 8)))]) == 0
    assert "fitted" not in json.loads(out.read_text())
    capsys.readouterr()
    assert main([*command, str(pictures(tmp_path / "colour", 8, (8, 8), "RGB"))]) == 1
    assert "those of" in (shown := capsys.readouterr().err)
    assert "call/s" not in shown


def test_evaluate_against_published_statistics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The distance of a mean and covariance from a file is that of the images they are of."""
    from minidiff.cli import judge
    from minidiff.data.sets import load
    from minidiff.measure.features import Classifier
    from minidiff.measure.frechet import FrechetStats

    features, _ = Classifier.load("digits")(load("digits").images)
    FrechetStats().update(features).save(tmp_path / "digits.npz")
    out = tmp_path / "q.json"
    command = ["evaluate", "digits", "--n", "30", "--steps", "2", "--json", str(out), "--data"]
    assert main([*command, "digits"]) == 0
    by_images = json.loads(out.read_text())
    monkeypatch.setattr(judge, "_extractor", lambda *_: Classifier.load("digits"))
    assert main([*command, str(tmp_path / "digits.npz")]) == 0
    FrechetStats().update(features[:, :5]).save(tmp_path / "five.npz")
    capsys.readouterr()
    assert main([*command, str(tmp_path / "five.npz")]) == 1
    shown = capsys.readouterr().err
    assert "is of 5 features, classifier_digits makes 64" in shown
    assert "call/s" not in shown
    found = json.loads(out.read_text())
    name = "Fréchet distance (classifier features)"
    assert found[name] == pytest.approx(by_images[name], rel=1e-6)
    assert found["n_reference"] == 1500
    assert "precision" not in found
    assert "split" not in found
    assert by_images["split"] == "train"
    assert main([*command, str(tmp_path / "digits.npz"), "--split", "test"]) == 1
    shown = capsys.readouterr().err
    assert "holds statistics, not images: leave out --split" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "digits", "--extractor", "inception"], "--extractor must be one of"),
        (["--data", "digits", "--n", "3"], "--n must be above 3"),
        (["--data", "digits", "--json", "{folder}"], "Is a directory"),
        (["--data", "{folder}/nothing.npz"], "nothing.npz: No such file"),
        (["--data", "{folder}/text.npz"], "no .npz of plain numbers"),
        (["--data", "{folder}/photos"], "it is none of BMP"),
        (["--data", "{folder}/three", "--extractor", "classifier"], "3 images, of which there"),
    ],
)
def test_evaluate_finds_what_is_wrong_before_it_draws(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.npz").write_text("mu")
    pictures(tmp_path / "three", 3, (8, 8))
    bad = pictures(tmp_path / "photos", 8, (8, 8)) / "8x8_7.png"
    bad.write_bytes(bad.read_bytes()[:10])
    arguments = [a.format(folder=tmp_path) for a in arguments]
    assert main(["evaluate", "digits", "--steps", "2", "--n", "8", *arguments]) == 1
    shown = capsys.readouterr().err
    assert words in shown
    assert "call/s" not in shown


def test_seed_reaches_every_draw_of_an_evaluation(tmp_path: Path) -> None:
    def found(seed: str) -> dict[str, object]:
        out = tmp_path / "q.json"
        how = ["--data", "digits", "--n", "30", "--steps", "2", "--json", str(out)]
        torch.randn(3)  # whatever state the global generator has
        assert main(["evaluate", "digits", "--seed", seed, *how]) == 0
        return json.loads(out.read_text())

    first = found("3")
    assert found("3") == first
    assert found(str(2**70)) != first


def test_nll_takes_images_at_random_where_it_does_not_take_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder comes class by class: its first ten images are of one class."""
    taken: list[int] = []

    def bits(args: object, model: object, data: object, which: list[int]) -> torch.Tensor:
        taken.extend(which)
        return torch.ones(len(which)).double()

    monkeypatch.setattr(commands, "_bits", bits)
    for name in "ab":
        pictures(tmp_path / "photos" / name, 20, (8, 8))
    command = ["nll", "digits", "--data", str(tmp_path / "photos"), "--split", "train"]
    for seed in ("0", "1", "0"):
        assert main([*command, "--n", "16", "--seed", seed]) == 0
    first, other, again = taken[:16], taken[16:32], taken[32:]
    assert first == again != other
    assert len(set(first)) == 16
    assert 3 <= sum(i < 20 for i in first) <= 13
    taken.clear()
    assert main(command) == 0
    assert sorted(taken) == list(range(40))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("steps", [0, 2.5, True, "9", None]),
        ("spacing", ["linaer", None, 1]),
        ("sampler", ["ddmi", "", None]),
        ("eta", [-1, float("nan"), "0", True]),
        ("labels", [-1, (0.5,), ("3",), "3"]),
        ("guidance", [float("inf"), "1", None]),
        ("seed", [-1, 0.5, None]),
    ],
)
def test_wrong_ways_to_sample_are_refused(name: str, wrong: list[object]) -> None:
    from minidiff.engine.generate import Sampling

    for value in wrong:
        with pytest.raises(ValueError, match=rf"^{name} must be [^\n]*got [^\n]*$"):
            Sampling(**{name: value})
    assert Sampling(labels=[3]).labels == (3,)


def test_nll_info_export(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "nll.json"
    command = ["nll", str(run), "--data", "digits", "--n", "6", "--json", str(result)]
    assert main(command) == 0
    assert json.loads(result.read_text())["bits/dim (bound)"] > 0
    small = tmp_path / "small.safetensors"
    card = ["--card", "data=eight by eight"]
    assert main(["export", str(run), "--out", str(small), "--quantize", "int8", *card]) == 0
    capsys.readouterr()
    assert main(["info", str(small)]) == 0
    shown = capsys.readouterr().out
    assert "  data: eight by eight\n" in shown
    assert "\nschedule:\n  T: 50\n" in shown
    assert "{" not in shown
    assert "parameters" in shown
    assert main(["info"]) == 0
    assert "torch" in capsys.readouterr().out


@pytest.mark.parametrize("name", available())
def test_info_of_a_shipped_network_is_its_model_card(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", name]) == 0
    shown = capsys.readouterr().out
    parts = ["What it is", "Use", "Data", "Training", "Measured", "Known failures", "Licence"]
    assert re.findall(r"^\*\*([\w ]+)\.\*\*", shown, flags=re.M) == parts
    measured = shown.partition("**Measured.**")[2].partition("**Known failures.**")[0]
    assert re.search(r"^- .*\d", measured, flags=re.M)
    assert "<!--" not in shown


def test_evaluate(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "quality.json"
    how = ["--data", "digits", "--n", "40", "--steps", "2", "--json", str(out)]
    assert main(["evaluate", str(run), *how]) == 0
    result = json.loads(out.read_text())
    assert result["n_samples"] == 40
    assert result["Fréchet distance (classifier features)"] > 0


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["sample", "nothing"], 1, "no weights called 'nothing'"),
        (["train", "no.py"], 1, "no such config"),
        (["train", "configs/digits.py"], 1, "configs/digits.py (try digits)"),
        (["train", "digits", "--lr", "fast"], 1, "lr must be a finite number of at least 0"),
        (["train", "digits", "--schedule", "cosin"], 1, "did you mean 'cosine'?"),
        (["sample", "digits", "--sampler", "ddmi"], 2, "invalid choice: 'ddmi'"),
        (["sample", "digits", "--eta", "nan"], 1, "eta must be a finite number"),
        (["sample", "digits", "--eta", "1", "--sampler", "heun"], 1, "eta must be left out"),
        (["sample", "digits", "--eta", "1", "--sampler", "ancestral"], 1, "eta must be left out"),
        (["sample", "digits", "--seed", "-1"], 2, "--seed: must be a whole number of at least 0"),
        (["nll", "digits", "--data", "digits", "--seed", "-1"], 2, "--seed: must be a whole"),
        (["sample", "digits", "--seed", "None"], 2, "--seed: must be a whole number"),
        (["sample", "digits", "--out", ""], 2, "--out: is empty"),
        (["train", "digits", "--out", ""], 2, "--out: is empty"),
        (["sample", ""], 1, "the name of the weights is empty"),
        (["sample", "digits", "--out", os.devnull], 1, "is no folder: give another name"),
        (["sample", "nothing", "--labels"], 2, "expected at least one"),
        (
            ["sample", "nothing", "--n", "0"],
            2,
            "--n: must be a whole number of at least 1, got '0'",
        ),
        (["sample", "nothing", "--steps", "few"], 2, "--steps: must be a whole number"),
        (["sample", "digits", "--device", "gpu"], 1, "device must be cpu, cuda"),
        (["sample", "digits", "--device", "mps"], 1, "no float64"),
        (["sample", "digits", "--device", "meta"], 1, "device must be cpu, cuda"),
        (["sample", "digits", "--scale", "100000"], 2, "--scale: must be at most 64"),
        (["sample", "digits", "--n", "9" * 30, "--out", "x.npz"], 1, "do not fit into the memory"),
        (
            ["sample", "digits", "--n", "9" * 30, "--out", "."],
            1,
            "holds 1 other files (file is one)",
        ),
        (["sample", "digits", "--scale", "3", "--out", "x.npz"], 1, "--scale enlarges a picture"),
        (["sample", "digits", "--scale", "1", "--out", "x.gif"], 1, "leave it out for x.gif"),
        (["sample", "digits", "--scale", "4", "--out", "new"], 1, "leave it out for new"),
        (["nll", "digits", "--data", "digits", "--n", "-1"], 2, "must be a whole number"),
        (["dance"], 2, "invalid choice"),
        (["export", "digits", "--out", "x.pt"], 1, "must end in .safetensors"),
        (["export", "digits", "--out", "x.safetensors", "--card", "x"], 1, "NAME=TEXT, got 'x'"),
        (["nll", "cifar10", "--data", "digits"], 1, "images of 3x32x32 (channels"),
        (["sample", "owner/nothing"], 1, "minidiff: could not fetch 'owner/nothing'"),
        (["nll", "digits", "--data", "mnist"], 1, "cannot write to"),
        (["sample", "nothing", "--colour", "red"], 2, "unknown argument"),
        (["sample", "nothing", "--out", "x.bmp"], 1, ".png, .npz"),
        ([], 2, "COMMAND"),
    ],
)
def test_errors_are_one_sentence(
    command: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "file"))  # no place for a download
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    try:
        got = main(command)
    except SystemExit as stop:  # argparse
        got = int(stop.code or 0)
    assert got == code
    assert words in capsys.readouterr().err


def test_an_unwritable_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = run.parent / "tiny.py" / "x.png"
    assert main(["sample", str(run), "--n", "1", "--steps", "2", "--out", str(blocked)]) == 1
    assert "cannot read or write" in capsys.readouterr().err


TEXT = {"capture_output": True, "text": True, "errors": "replace"}


def statuses(folder: Path) -> list[int]:
    """Those of the commands that FORKS have run in a folder."""
    return json.loads((folder / "statuses").read_text())


SETPRIV = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner"]


def test_a_closed_folder_is_refused_before_any_image_is_drawn(run: Path, tmp_path: Path) -> None:
    if not shutil.which("setpriv") and not os.geteuid():
        pytest.skip("root may write everywhere, and there is no setpriv to take that away")
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0o555)
    less = [] if os.geteuid() else [*SETPRIV, "--inh-caps", "-all", "--"]
    outs = ("closed", "closed/new", "closed/x.png", "closed/x.npz", "closed/x.gif")
    words = [f"sample {run} -n 1 --out {out}" for out in outs]
    done = subprocess.run([*less, *FORKS, *words], cwd=tmp_path, env=ENV, **TEXT)
    assert statuses(tmp_path) == [1] * len(outs), done.stderr
    said = done.stderr.splitlines()
    assert len(said) == len(outs), done.stderr
    assert all(line.startswith("minidiff: ") and "closed" in line for line in said), said


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    assert "torchrun" in shown
    assert "--max_seconds" in shown
    assert "clip_grad = 1.0           longest gradient that is not shortened" in shown
    for f in fields(TrainConfig):
        assert f"\n  {f.name} = " in shown


# ---- consoles of any kind ----


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "cp1251"])
def test_a_console_that_lacks_a_letter_loses_nothing(tmp_path: Path, encoding: str) -> None:
    """`Fréchet` has one that consoles of Russia or Japan do not."""
    env = {**ENV, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    words = ["--help", "evaluate digits --data digits --n 10 --steps 1 --json r.json"]
    done = subprocess.run([*FORKS, *words], cwd=tmp_path, env=env, **TEXT)
    assert statuses(tmp_path) == [0, 0], done.stderr
    told, written = done.stdout.partition("\n{")[2], (tmp_path / "r.json").read_text("utf-8")
    assert json.loads("{" + told) == (found := json.loads(written))
    assert found["n_samples"] == 10
    assert "Fréchet distance (classifier features)" in found


def test_output_that_nobody_reads_is_no_traceback(run: Path, tmp_path: Path, forks: Forks) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody, open(tmp_path / "said", "w") as said:
        for words in ("info", f"nll {run} --data digits --n 2 --json r.json"):
            command = ["-m", "minidiff", *words.split()]
            done = forks.start(*command, cwd=tmp_path, streams={1: nobody, 2: said})
            assert done.wait() == 141
    assert "Error" not in (tmp_path / "said").read_text()
    assert (tmp_path / "r.json").exists()


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">/dev/full"])
def test_closed_and_full_streams(run: Path, tmp_path: Path, closed: str) -> None:
    words = f"nll {run} --data digits --n 2 --json r.json"
    command = f"exec {sys.executable} -m minidiff {words} {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == (1 if "full" in closed else 0)
    assert "Traceback" not in done.stderr
    assert ("No space left" in done.stderr) == ("full" in closed)
    assert json.loads((tmp_path / "r.json").read_text())["images"] == 2


LOST = ["2>/dev/full", "2>&1 >/dev/null | head -c 1", "2>&1 | head -c 1", "2>&-"]


@pytest.mark.parametrize("lost", LOST)
def test_no_work_is_lost_with_a_console_that_fails(
    run: Path, tmp_path: Path, forks: Forks, lost: str
) -> None:
    """The bars go to a full disk, or to a reader who has seen enough."""
    nothing, head = subprocess.DEVNULL, ["head", "-c", "1"]
    reader = subprocess.Popen(head, stdin=subprocess.PIPE, stdout=nothing)
    with open(os.devnull, "w") as null, open("/dev/full", "w") as full, reader:
        streams = {
            "2>/dev/full": {1: null, 2: full},
            "2>&1 >/dev/null | head -c 1": {1: null, 2: reader.stdin},
            "2>&1 | head -c 1": {1: reader.stdin, 2: reader.stdin},
            "2>&-": {1: null},
        }[lost]
        for words, out in (
            (
                f"train {run.parent}/tiny.py --out run {' '.join(QUICK)}",
                "run/step-000000004.safetensors",
            ),
            (f"evaluate {run} --data digits --n 8 --steps 4 --batch 2 --json q.json", "q.json"),
            (f"sample {run} --n 8 --steps 4 --batch 2 --out x.npz", "x.npz"),
        ):
            done = forks.start("-m", "minidiff", *words.split(), cwd=tmp_path, streams=streams)
            assert done.wait() == (141 if lost == "2>&1 | head -c 1" else 0)
            assert (tmp_path / out).exists()


def test_results_go_into_a_device_and_not_in_its_place(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["nll", str(run), "--data", "digits", "--n", "2", "--json"]
    assert main([*command, "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()
    capsys.readouterr()
    assert main([*command, str(run)]) == 1
    assert "Is a directory" in capsys.readouterr().err
    early = ["nll", "no such model", "--data", "digits", "--json", str(run)]
    assert main(early) == 1
    assert "Is a directory" in capsys.readouterr().err


def test_what_a_folder_was_taken_for_is_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 7).save(tmp_path / "data" / name / "1.png")
    config = str(run.parent / "tiny.py")
    (tmp_path / "data" / "test").mkdir()  # an empty one is no split, to look at meanwhile
    assert splits(tmp_path / "data") == ("train",)
    (tmp_path / "data" / "test").rmdir()
    for more, said in (("", ""), ("a.txt", "warning: ")):
        (tmp_path / "data" / more).touch()
        words = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / f"run{more}")]
        assert main(["train", config, *words, *QUICK]) == 0
        shown = capsys.readouterr().err
        assert f"{said}{tmp_path / 'data'}: 2 pictures in 2 classes (cat 1, dog 1)" in shown


def test_no_option_begins_like_several_of_torchrun(run: Path) -> None:
    """torchrun reads abbreviations of its own options even behind `-m minidiff sample`."""
    from torch.distributed.run import get_args_parser

    whole = _parser()
    (commands,) = (a.choices for a in whole._actions if isinstance(a.choices, dict))
    names = {o for p in (whole, *commands.values()) for a in p._actions for o in a.option_strings}
    names |= {f"--{f.name}" for f in fields(TrainConfig)}
    taken = {"--n"}  # which has another name, -n
    assert "-n" in names
    for name in sorted(names - taken):
        words = ["--nproc_per_node=2", "-m", "minidiff", "sample", "digits", name, "5"]
        assert get_args_parser().parse_args(words).training_script_args[-2:] == [name, "5"], name
    documented = re.findall(r"torchrun .*", EXAMPLES)
    assert any("sample" in line for line in documented)
    for line in documented:
        assert get_args_parser().parse_args(line.split()[1:]).training_script == "minidiff"


def test_a_command_works_without_a_home(tmp_path: Path) -> None:
    """The user of a container that was started under a bare number."""
    code = "import os, sys; os.getuid = lambda: 54321; os.environ.pop('HOME', None)\n"
    code += "from minidiff.cli.parser import main\n"
    code += "print([main(line.split()) for line in sys.argv[1:]])"
    words = [
        "train digits --steps 1 --batch 8 --sample_every 0 --out r",
        "nll cifar10 --data cifar10",
    ]
    environment = {k: v for k, v in ENV.items() if k not in ("HOME", "MINIDIFF_DATA")}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, **TEXT
    )
    assert done.stdout.endswith("[0, 1]\n"), done.stderr
    assert "no home folder to keep downloads in: set MINIDIFF_DATA" in done.stderr


TINY = {  # added to an example, so that it takes seconds
    "train": ["--steps", "2", "--T", "50", *QUICK],
    "sample": ["--n", "3", "--steps", "2"],
    "evaluate": ["--n", "40", "--steps", "2"],
    "nll": ["--n", "2"],
}
RUN = """
import sys
from minidiff.cli.parser import main
import minidiff
print(minidiff.__file__)
for line in sys.stdin.read().splitlines():
    print(">", line, file=sys.stderr)
    assert main(line.split()) == 0, line
"""


def commands_of(text: str) -> list[str]:
    """What follows `minidiff` in every line of a text that is a command of it."""
    names = "train|sample|evaluate|nll|info|export"
    return re.findall(rf"^\s*(?:python -m )?minidiff ((?:{names}) .*)$", text, re.M)


def test_every_documented_command_works_in_an_empty_folder(
    installed: Path, root: Path, tmp_path: Path
) -> None:
    """As a reader has it after `pip install`: no configs/, no runs/, and nothing downloaded."""
    readme = "\n".join(re.findall(r"```sh\n(.*?)```", (root / "README.md").read_text(), re.S))
    given = commands_of(EXAMPLES) + commands_of(readme)
    assert len(commands_of(EXAMPLES)) == EXAMPLES.count("\n  python -m")
    assert len(commands_of(readme)) >= 2
    # CIFAR-10 would have to be downloaded; its configs can be read, which is tested elsewhere
    here = [c for c in given if not re.search("(train|--data) cifar10", c)]
    assert len(here) >= 8
    lines = [" ".join([c, *TINY.get(c.split()[0], [])]) for c in dict.fromkeys(here)]
    again = [k for k, line in enumerate(lines) if "--out runs/digits" in line][1:]
    lines = [f"{line} --resume" if k in again else line for k, line in enumerate(lines)]
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input="\n".join(lines),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stdout.splitlines()[0]
    made = {path.name for path in tmp_path.iterdir()}
    assert {"runs", "digits.png", "film.webp", "samples.npz", "mine.safetensors"} <= made


def test_the_configs_that_commands_name_are_shipped(root: Path) -> None:
    texts = [EXAMPLES, (root / "README.md").read_text()]
    texts += [path.read_text() for path in (root / "notebooks").glob("*.ipynb")]
    texts += [path.read_text() for path in (root / "minidiff").rglob("*.py")]
    named = [n for text in texts for n in re.findall(r"minidiff train ([\w./]+)", text)]
    assert set(named) - {"CONFIG"} <= set(shipped_configs())
    assert len(named) > 8


def test_a_nan_has_no_standard_error_of_0() -> None:
    x = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    args = argparse.Namespace(method="ode")
    found = commands._mean(args, x)
    assert found["standard error"] == pytest.approx(float(x.std(correction=0)) / 50**0.5)
    assert commands._mean(args, torch.ones(7).double())["standard error"] == 0
    x[3] = math.nan
    assert math.isnan(commands._mean(args, x)["standard error"])


# ---- names of files are not to be trusted ----

NASTY = "a\nminidiff: all is well\x1b[2J\r\u2028\x85\u202eb"


def lines_of(shown: Any) -> list[str]:
    """What a command said, line by line; a name must not have made one, nor move the cursor."""
    text = shown.out + re.sub(r"\r[^\r\n]*\|[^\r\n]*(?=[\r\n])", "", shown.err)  # but the bars
    lines = text.replace("\r\n", "\n").split("\n")
    assert not [
        line for line in lines if re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", line)
    ]
    assert not [line for line in lines if line.startswith("minidiff: all is well")]
    return lines


def test_no_name_writes_a_line_of_its_own(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{NASTY}.py").write_text(CONFIG)
    pictures(tmp_path / NASTY / "data" / "train" / NASTY, 8, (8, 8))
    pictures(tmp_path / NASTY / "other", 8, (12, 10))
    train = ["train", f"{NASTY}.py", "--out", f"{NASTY}.run", *QUICK]
    sample = ["sample", f"{NASTY}.run", "--n", "1", "--steps", "1", "--out"]
    evaluate = ["evaluate", "digits", "--n", "5", "--steps", "1", "--extractor", "classifier"]
    (tmp_path / "full").touch()
    for command, code in (
        (["sample", NASTY], 1),
        ([*train, "--resume"], 1),
        ([*train, "--max_seconds=0"], 0),
        (train, 1),
        ([*train, "--resume", "--steps", "5"], 0),
        (["train", f"{NASTY}.cfg"], 1),
        (["train", f"{NASTY}.py", "--data", NASTY], 1),
        (["train", f"{NASTY}.py", f"--{NASTY}", "1"], 1),
        ([*sample, f"{NASTY}.png"], 0),
        ([*sample, f"{NASTY}.gif"], 0),
        ([*sample, f"{NASTY}.singles"], 1),
        ([*sample, f"full/{NASTY}.png"], 1),
        (["info", f"{NASTY}.run"], 0),
        (["export", f"{NASTY}.run", "--out", f"{NASTY}.safetensors"], 0),
        (["sample", "digits", NASTY], 2),
        ([*evaluate, "--data", f"{NASTY}/other"], 1),
        (["nll", "digits", "-n", "1", "--data", f"{NASTY}/other", "--split", "train"], 0),
        ([*evaluate, "--data", f"{NASTY}.npz", "--json", f"{NASTY}.json"], 1),
    ):
        assert main(command) == code, (command, capsys.readouterr())
        shown = capsys.readouterr()
        assert len([line for line in lines_of(shown) if line.startswith("minidiff: ")]) == (
            code > 0
        ), (command, shown)


def test_the_command_to_go_on_with_reaches_any_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As bash reads it; also of a name that is no text."""
    if not shutil.which("bash"):
        pytest.skip("no bash here")
    monkeypatch.chdir(tmp_path)
    # pytest keeps what is logged, and xdist cannot hand on a name that is no text
    monkeypatch.setattr(logging.getLogger("minidiff"), "propagate", False)
    name = f"it's \\ $HOME {NASTY}{os.fsdecode(bytes([0xFF]))}é"
    Path("tiny.py").write_text(CONFIG)
    assert main(["train", "tiny.py", "--out", name, "--max_seconds=0", *QUICK]) == 0
    (line,) = [x for x in lines_of(capsys.readouterr()) if x.startswith("to go on: ")]
    words = line.removeprefix("to go on: python -m minidiff ")
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, env={"LC_ALL": "C.UTF-8"}
    )
    found = [os.fsdecode(word) for word in done.stdout.split(b"\0")]
    assert found[found.index("--out") + 1] == name
