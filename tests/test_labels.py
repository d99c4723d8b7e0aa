"""`--labels` of the command line: classes by their names, which a run's files keep."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minidiff as md
from minidiff.cli import commands
from minidiff.cli.parser import main
from minidiff.data.creatures import FACTORS
from minidiff.engine import generate, tensorfile
from minidiff.engine.checkpoint import latest, load_pretrained, read_info, save_weights

NETWORK = {"width": 8, "mults": (1,), "attention": (), "blocks": 1}
QUICK = [
    "--steps",
    "1",
    "--sample_every",
    "0",
    "--validate_every",
    "0",
    "--batch",
    "4",
    "--T",
    "20",
]
ASKED = ("pointed", "snout", "wink", "mane", "spots", "leaf", "sea")


def trained(folder: Path, classes: tuple[str, ...], *settings: str) -> Path:
    """A run of one step on a folder with these classes."""
    from PIL import Image

    for i, name in enumerate(classes):
        (folder / "photos" / name).mkdir(parents=True)
        for j in range(4):
            Image.new("L", (8, 8), 40 * i + j).save(folder / "photos" / name / f"{j}.png")
    network = ["--network_options", str(NETWORK)]
    data = ["--data", str(folder / "photos"), "--conditional", "True"]
    out = ["--out", str(folder / "run")]
    assert main(["train", "digits", *out, *data, *network, *QUICK, *settings]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("labels"), ("b", "old cat", "y"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, ...]]:
    """The numbers of the classes that a command draws (one image of each is enough here)."""
    taken: list[tuple[int, ...]] = []

    def draw(model: Any, shape: Any, n: int, how: Any, *rest: Any) -> Any:
        taken.append(how.labels)
        return generate.draw(model, shape, n, how, *rest)

    def ask(source: str | Path, *labels: str) -> tuple[int, ...]:
        out = tmp_path / "drawn.npz"
        words = ["sample", str(source), "-n", "1", "--steps", "1", "--out", str(out)]
        assert main([*words, "--labels", *labels]) == 0
        return taken[-1]

    monkeypatch.setattr(commands, "draw", draw)
    return ask


def test_names_of_a_folder_and_their_numbers(
    run: Path, tmp_path: Path, asked: Callable[..., tuple[int, ...]]
) -> None:
    """Of the run and of what is exported, also twice; a number may stand between names."""
    exported = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    assert main(["export", str(run), "--out", str(exported[0]), "--quantize", "int8"]) == 0
    assert main(["export", str(exported[0]), "--out", str(exported[1])]) == 0
    assert read_info(exported[1])["classes"] == ["b", "old cat", "y"]
    for source in (run, *exported):
        assert asked(source, "y", "old cat", "3", "b", "0") == (2, 1, 3, 0, 0)


@pytest.mark.parametrize(
    ("source", "words", "numbers"),
    [
        ("fashion", ["sneaker", "T-shirt/top", "4", "ankle boot"], (7, 0, 4, 9)),
        ("digits_labels", ["3", "10", "7"], (3, 10, 7)),
        (
            "creatures16",
            [*ASKED, "leaf", "9", "6", "5", "4", "leaf", "8"],
            (*map(tuple.index, FACTORS.values(), ASKED), 5, 9, 6, 5, 4, 6, 8),
        ),
    ],
)
def test_shipped_networks_know_their_classes(
    source: str,
    words: list[str],
    numbers: tuple[int, ...],
    asked: Callable[..., tuple[int, ...]],
) -> None:
    """The place of a word decides of which label it is a name: leaf is an ear, and a fur."""
    assert asked(source, *words) == numbers


@pytest.mark.parametrize(
    ("source", "labels", "said"),
    [
        ("RUN", ["cat"], "must be a name or a number of its classes, got 'cat'"),
        ("RUN", ["0", "B"], "got 'B' (did you mean 'b'?); they are b, 'old cat', y\n"),
        ("RUN", ["b,y"], "they are b, 'old cat', y\n"),
        ("RUN", ["1.0"], "got '1.0'"),
        ("RUN", ["9" * 30], "they are b, 'old cat', y\n"),
        ("RUN", ["4"], "labels must be in 0..2, or 3 for none; got [4]"),
        ("RUN", ["-1"], "at least 0"),
        ("fashion", ["Ankle boot"], "did you mean 'ankle boot'?"),
        ("digits", ["b"], "this model knows no classes: leave labels and guidance out"),
        ("digits", ["3"], "this model knows no classes: leave labels and guidance out"),
        ("creatures16", ["pointed"], "7 labels for each image"),
        (
            "creatures16",
            ["pointed", "leaf", "0", "0", "0", "0", "0"],
            "label 2 of an image must be a name or a number of its classes, got 'leaf' (a name of "
            "label 1 and of label 6); they are snout, whiskers, pig, ",
        ),
        (
            "creatures16",
            [*ASKED, "pointed", "Snout", "0", "0", "0", "0", "0"],
            "got 'Snout' (did you mean 'snout'?)",
        ),
    ],
)
def test_a_wrong_label_is_answered_with_what_there_is(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    source: str,
    labels: list[str],
    said: str,
) -> None:
    """In one sentence, and nothing is left behind."""
    name = str(run) if source == "RUN" else source
    words = ["sample", name, "-n", "2", "--steps", "1", "--out", str(tmp_path / "x.npz")]
    assert main([*words, "--labels", *labels]) == 1
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown
    assert not list(tmp_path.iterdir())


def test_evaluate_refuses_a_name_before_it_reads_the_data(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "judge_for", None)
    assert main(["evaluate", str(run), "--data", "digits", "--labels", "cat"]) == 1
    assert (
        "got 'cat' (did you mean 'old cat'?); they are b, 'old cat', y" in capsys.readouterr().err
    )


@pytest.mark.parametrize("command", ["info", "export", "sample"])
@pytest.mark.parametrize("names", [None, "abc", [1, 2, 3], ["b", "y"], [["b", "y"], ["z"]], {}])
def test_a_file_without_names_takes_numbers(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    asked: Callable[..., tuple[int, ...]],
    names: object,
    command: str,
) -> None:
    """As older versions wrote it, or with names that are not this network's."""
    path = tmp_path / "old.safetensors"
    save_weights(path, load_pretrained(run))
    tensors, about = tensorfile.read(path)
    about.pop("classes")
    tensorfile.write(path, tensors, {**about, **({} if names is None else {"classes": names})})
    capsys.readouterr()
    if command == "info":
        assert main(["info", str(path)]) == 0
        assert "\nclasses" not in capsys.readouterr().out
    elif command == "export":
        assert main(["export", str(path), "--out", str(tmp_path / "new.safetensors")]) == 0
        assert read_info(tmp_path / "new.safetensors")["classes"] == []
    else:
        assert asked(path, "2", "3") == (2, 3)
        assert main(["sample", str(path), "--labels", "b"]) == 1
        said = capsys.readouterr().err
        assert f"{path} does not say what its classes are called" in said
        assert "must be their numbers, from 0; got 'b'" in said


def test_a_name_that_looks_like_another_number_is_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    asked: Callable[..., tuple[int, ...]],
) -> None:
    run = trained(tmp_path, ("1", "2", "2020"))
    capsys.readouterr()
    assert asked(run, "2") == (1,)
    told = "label 2 is taken as the class of that name, whose number is 1"
    assert told in capsys.readouterr().err
    assert asked(run, "2020", "0", "3") == (2, 0, 3)  # 2020 cannot be meant as a number
    assert "is taken as" not in capsys.readouterr().err


def test_a_long_list_of_names_ends(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "many.safetensors"
    net = md.UNet(md.UNetConfig(size=8, num_classes=200, groups=4, **NETWORK))
    names = tuple(f"kind {i}" for i in range(199))
    model = md.Denoiser(net, md.Schedule.cosine(20))
    save_weights(path, model, classes=(*names, "kind 0"))
    assert main(["sample", str(path), "--labels", "zebra"]) == 1
    said = capsys.readouterr().err
    assert "'kind 39' and 160 more, which python -m minidiff info" in said
    assert "'kind 40'" not in said
    assert main(["sample", str(path), "--labels", "kind 0"]) == 1
    assert "2 classes are called 'kind 0': give one of [0, 199]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("a", "b"), "classes are 2 names, but the network has 3 classes"),
        ((("a", "b", "c"),), r"classes are \(3,\) names"),
        ("abc", "classes must be a tuple of names"),
    ],
)
def test_names_that_are_not_the_networks_are_not_saved(
    run: Path, tmp_path: Path, classes: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        save_weights(tmp_path / "x.safetensors", load_pretrained(run), classes=classes)
    assert not list(tmp_path.iterdir())


def test_info_tells_the_classes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(source: str | Path) -> str:
        assert main(["info", str(source)]) == 0
        return capsys.readouterr().out

    capsys.readouterr()
    assert "\nclasses: b, old cat, y\n" in shown(run)
    assert "\nclasses: T-shirt/top, trouser, " in shown("fashion")
    creatures = shown("creatures16")
    for i, names in enumerate(FACTORS.values(), 1):
        assert f"\nclasses {i}: {', '.join(names)}\n" in creatures
    assert "\nclasses" not in shown("digits")


def test_an_unconditional_run_has_no_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path, ("b", "y"), "--conditional", "False")
    assert json.loads((run / "config.json").read_text())["conditional"] is False
    assert tensorfile.read(latest(run))[1]["data"]["classes"] == ["b", "y"]
    assert main(["export", str(run), "--out", str(tmp_path / "x.safetensors")]) == 0
    assert read_info(tmp_path / "x.safetensors")["classes"] == []
    capsys.readouterr()
    assert main(["sample", str(run), "--labels", "b"]) == 1
    assert "this model knows no classes" in capsys.readouterr().err
