"""The scripts of benchmarks/ run, and what they compare is the same thing on both sides.

Tiny networks on the processor, each script run from its first line to its last. Speeds are not
looked at.
"""

import importlib
import json
import math
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cards
import chapters
import measured
import pytest
import torch
from forks import Forks
from torch import Tensor

import minidiff as md
from minidiff.data.sets import Images
from minidiff.engine.checkpoint import available
from minidiff.engine.config import make_config, read_config, read_overrides
from minidiff.engine.distributed import World
from minidiff.engine.guard import step_unless
from minidiff.engine.trainer import Trainer
from minidiff.unet.network import UNet

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import judge  # noqa: E402
import record  # noqa: E402

SHARED = {"judge", "peers", "record"}  # what the scripts import
SCRIPTS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in SHARED
)


# -- what is stored -----------------------------------------------------------------------------


def test_results_have_names() -> None:
    assert "cifar10_ddim" in md.results()
    assert md.results("cifar10_ddim")["rows"]
    with pytest.raises(ValueError, match="no result 'cifar10_dim': did you mean 'cifar10_ddim'"):
        md.results("cifar10_dim")
    with pytest.raises(ValueError, match="lists all"):
        md.results("imagenet")


def test_results_that_are_named_are_there() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    ours = [p for p in listed.stdout.split("\0") if p.endswith((".py", ".md", ".ipynb", ".yml"))]
    named = {
        (stem, path)
        for path in ours
        for stem in re.findall(r"\bresults/(\w+)\.json", (ROOT / path).read_text("utf-8"))
    }
    assert named
    assert {(stem, path) for stem, path in named if stem not in md.results()} == set()


@pytest.mark.parametrize("name", md.results())
def test_every_result_says_how_it_is_made_and_can_be_made_so(name: str) -> None:
    stored = md.results(name)
    assert {"command", "date", "hardware", "versions"} <= set(stored)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", stored["date"])
    assert "torch" in stored["versions"]
    if "script" in stored:  # what gathers the tables of several commands
        assert Path(stored["script"]).stem in SCRIPTS
        assert importlib.import_module(Path(stored["script"]).stem).parser()
    for command in measured.commands(stored):
        launcher, *words = shlex.split(command)
        if launcher == "make":
            assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), flags=re.M)
            continue
        words = [word for word in words if not word.startswith("--nproc")]
        if words[:3] == ["-m", "minidiff", "train"]:  # the files of settings moved once
            words[3] = words[3].replace("configs/", "minidiff/configs/")
            settings = dict(zip(words[4::2], words[5::2], strict=True))
            read_overrides([w for k, v in settings.items() if k != "--out" for w in (k, v)])
            assert (ROOT / words[3]).exists()
            continue
        script = importlib.import_module(Path(words[0]).stem)
        _, further = script.parser().parse_known_args(words[1:])
        assert not further or script.__name__ == "equal_time"  # whose others are settings


def test_the_page_of_results_is_up_to_date(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["measured.py", "--check"])
    assert measured.main() == 0, capsys.readouterr().out
    known = set(md.results())
    for _, stem, _ in chapters.chapters():
        assert set(re.findall(r"""md\.results\(["'](\w+)""", measured.code(stem))) <= known


def test_model_cards_say_what_was_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["cards.py", "--check"])
    assert cards.main() == 0, capsys.readouterr().out
    page = (ROOT / "book" / "networks.md").read_text(encoding="utf-8")
    for name in available():
        assert f"weights/{name}.md" in page


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = importlib.import_module(name)
    with pytest.raises(SystemExit, match="0"):
        script.parser().parse_args(["--help"])
    assert script.__doc__.split("\n")[0] in capsys.readouterr().out
    assert f"benchmarks/{name}.py" in script.__doc__


# -- the scripts --------------------------------------------------------------------------------


@pytest.fixture
def printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., str]]:
    """What a script prints in smoke mode, run as one, but here, where all is imported."""

    def run(script: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [script, "--smoke", *arguments])
        capsys.readouterr()
        runpy.run_path(str(ROOT / "benchmarks" / script), run_name="__main__")
        return capsys.readouterr().out

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # which they set
    yield run
    torch.compiler.set_stance("default")


@pytest.fixture
def rows(printed: Callable[..., str]) -> Callable[..., list[dict[str, Any]]]:
    """What a script prints as JSON, line by line."""
    pytest.importorskip("diffusers")
    return lambda *words: [
        json.loads(line) for line in printed(*words).splitlines() if line.startswith("{")
    ]


def test_small_networks(rows: Callable[..., list[dict[str, Any]]]) -> None:
    bound, drawn, real = rows("small_networks.py", "--weights", "digits_labels")
    assert 3 < bound["bits_per_dim"] < 6
    assert drawn["as_asked"] > 0.5
    assert real["n"] == drawn["n"]


def test_six_years(tmp_path: Path, rows: Callable[..., list[dict[str, Any]]]) -> None:
    job = ("six_years.py", "--recipes", "transformer", "--seeds", "3", "--keep")
    found = rows(*job, str(tmp_path))
    assert [row["recipe"] for row in found] == ["transformer"]
    assert all(len(row["quality"]) == 4 and row["bound"] for row in found)  # type: ignore[arg-type]
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(kept) == 1
    assert [path.name for path in tmp_path.rglob("*.png")] == ["transformer_3.png"]
    again = rows(*job, str(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # not trained again
    assert [row["quality"][0]["mean"] for row in again] == [  # type: ignore[index]
        row["quality"][0]["mean"]  # type: ignore[index]
        for row in found
    ]


def test_training_speed(rows: Callable[..., list[dict[str, Any]]]) -> None:
    found = rows("train_gpu.py", "--jobs", "ours:plain:8", "ours:fused:8", "diffusers:default:8")
    assert len(found) == 3
    assert not [row["error"] for row in found if "error" in row]
    assert len({row["parameters"] for row in found}) == 1  # one network, three programs
    assert len({row["forward_flops_per_image"] for row in found}) == 1


def test_modes_of_compiling(rows: Callable[..., list[dict[str, Any]]]) -> None:
    train, call = rows("modes_gpu.py")
    assert (train["what"], train["batch"], train["mode"]) == ("train", 4, "auto")
    assert (call["what"], call["batch"], call["mode"]) == ("call", 1, "eager")
    assert train["parameters"] == call["parameters"]
    assert train["flops"] == 3 * call["flops"]


def test_copying_is_looked_at_as_training_goes_on(
    rows: Callable[..., list[dict[str, Any]]],
) -> None:
    exact, *found = rows("copying.py")
    assert [row["step"] for row in found] == [1, 2]
    assert exact["copies"] == exact["old"] == 1
    assert exact["distance_to_nearest"] < 1
    for row in found:  # two steps: it knows nothing of either
        assert row["copies"] == row["old"] == 0
        assert abs(row["loss"] - row["loss_on_others"]) < 4 * row["loss_error"]
        assert exact["loss"] < row["loss"] < exact["loss_on_others"]


def test_the_minimiser_over_some_images_is_the_mixture_of_them() -> None:
    import copying

    schedule, g = md.Schedule.cosine(1000), torch.Generator().manual_seed(0)
    images, xt = torch.randn(5, 3, 4, 4, generator=g), torch.randn(7, 3, 4, 4, generator=g)
    t = torch.tensor([1, 50, 300, 500, 700, 900, 1000])
    mine = copying.Minimiser(images, schedule)(xt, t - 1)
    truth = md.toy.GaussianMixture(images, std=1e-7).posterior_mean(schedule, xt, t)
    torch.testing.assert_close(mine, truth, rtol=1e-4, atol=1e-4)


def test_copies_and_losses_are_told_from_others() -> None:
    import copying

    images = torch.randn(6, 3, 4, 4)
    first, second = copying.nearest(images[:3] + 1e-3, images)
    assert (first < second / 3).all()
    first, second = copying.nearest((images[:3] + images[3:]) / 2, images)
    assert not (first < second / 3).any()


def test_results_go_on_where_they_were(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    made = {"command": "b", "hardware": "a card", "processes": 1, "versions": {"torch": "2"}}
    versions = {"torch": "2", "diffusers": "1"}
    rows = [{"batch": 1}, {"batch": 2, "error": "out of memory"}]
    old = made | {"command": "a", "note": "hot", "versions": versions, "runs": rows}
    path.write_text(json.dumps(old))

    def opened(**changes: Any) -> record.Record:
        return record.Record(path, made | changes, record.SPEED, rows="runs")

    with pytest.raises(SystemExit, match="hardware a card, here a processor: name another --out"):
        opened(hardware="a processor")
    with pytest.raises(SystemExit, match="torch 2, here 3"):
        opened(versions={"torch": "3"})
    asked = []
    for _ in range(2):  # the row that failed is measured again, and once
        found = opened()
        for batch in (1, 2):
            found.measure({"batch": batch}, lambda batch=batch: {"asked": asked.append(batch)})
    assert asked == [2]
    new = json.loads(path.read_text())
    assert [row["batch"] for row in new.pop("runs")] == [1, 2]
    assert new == made | {"command": "a; b", "note": "hot", "versions": versions}


def test_a_row_that_fails_lets_the_next_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError("out of memory\nand a page more")

    kept = record.Record(None, {"hardware": "a card", "versions": {}}, same=())
    kept.measure({"batch": 2}, lambda: record.attempt(fail))
    kept.measure({"batch": 1}, lambda: record.attempt(lambda: {"terms": [0.0] * 1000}))
    assert [row.get("error") for row in kept.rows] == ["RuntimeError: out of memory", None]
    assert len(capsys.readouterr().out) < 400  # long lists are for the file


def test_a_peer_is_sampled_by_its_own_prediction(rows: Callable[..., list[dict[str, Any]]]) -> None:
    """In smoke mode equal_time.py compares our view of a network with the library's own x_0."""
    jobs = ("diffusers:default:128", "ours:compiled:512")
    found = rows("equal_time.py", "--recipes", *jobs, "--betas", "0.9,0.99")
    assert [row["library"] for row in found if "quality" in row] == ["diffusers", "ours"]
    assert [row["settings"] for row in found] == [{}, {"betas": [0.9, 0.99]}]


def test_settings_change_our_recipe_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    import peers

    data = Images(torch.zeros(8, 3, 32, 32, dtype=torch.uint8), torch.zeros(8).long(), ("black",))
    world = World(0, 1, torch.device("cpu"))
    made = []

    class Kept(Trainer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(peers, "Trainer", Kept)

    def ours(settings: dict[str, object], seed: int = 0, rung: str = "plain") -> tuple[UNet, Any]:
        torch.manual_seed(seed)
        recipe = peers.ours(rung, 4, data, world, True, lambda: 0.0, settings)
        assert isinstance(recipe.net, UNet)
        return recipe.net, made[-1].optimizer.param_groups[0]

    plain, group = ours({})
    other, _ = ours({"network_options": {"start": "ddpm"}})
    assert other.config == replace(plain.config, start="ddpm")  # the file's options are kept
    assert other.conv_out.weight.abs().max() < 1e-3 * plain.conv_out.weight.abs().max()
    assert torch.equal(ours({})[0].conv_in.weight, plain.conv_in.weight)
    assert not torch.equal(ours({}, seed=1)[0].conv_in.weight, plain.conv_in.weight)
    changed = {"betas": (0.5, 0.6), "weight_decay": 0.1}
    assert all(group[name] != value for name, value in changed.items())
    for rung in ("plain", "fused"):
        _, group = ours(changed, rung=rung)
        assert {name: group[name] for name in changed} == changed
        assert group["fused"] is (True if rung == "fused" else None)
        assert group["foreach"] is None  # PyTorch chooses


def test_the_plain_rung_takes_pytorchs_own_step_without_our_guard() -> None:
    """A guard made of copies would make the first rung slower than PyTorch is."""
    import peers

    def after(optimizer: type[torch.optim.Optimizer], bad: Tensor | None) -> Tensor:
        w = torch.ones(3, requires_grad=True)
        step = optimizer([w], lr=0.1)  # type: ignore[call-arg]
        for _ in range(2):
            w.grad = torch.tensor([1.0, -2.0, math.nan])
            step.step() if bad is None else step_unless(bad, step)
        return w.detach()

    own = after(peers._AsItComes, torch.tensor(1.0))
    assert own[2].isnan()
    assert own[:2].ne(1).all()
    assert own.allclose(after(torch.optim.AdamW, None), rtol=0, atol=0, equal_nan=True)


def test_what_is_said_of_two_cores_is_what_was_measured() -> None:
    """Digits in less than a minute, creatures16 in less than eight, sixteen of CIFAR-10 in 15 s."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, claim, most in (
        ("digits", "from nothing in less than a minute on two cores", 60),
        ("creatures16", "`creatures16` in the place of `digits`, in less than eight minutes", 480),
    ):
        assert claim in readme
        assert md.results("digits_cpu")[f"{name}_training_seconds"]["wall"] < most
    front = " ".join((ROOT / "book" / "index.md").read_text(encoding="utf-8").split())
    assert "twelve network calls, less than a quarter of a minute on two processor cores" in front
    assert md.results("digits_cpu")["cifar10_fp32_seconds"]["wall"] < 15
    assert md.results("digits_cpu")["hardware"].endswith("2 thread(s)")


def test_the_recipe_that_was_measured_is_still_the_one_in_its_file() -> None:
    """cifar10_equal_time.json names rows by what differs from the file, chapter 17 by the rest."""
    import peers

    file = make_config({}, read_config(peers.CONFIG))
    assert file.network_options == {"dropout": 0.0, "start": "torch"}
    assert (file.betas, file.lr, file.warmup, file.ema) == ((0.95, 0.999), 6e-4, 300, (0.999,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--init", "cifar10"], "init: not free"),
        (["--steps", "5"], "steps: not free"),
        (["--betaz", "1"], "did you mean 'betas'"),
        (["--recipes", "lucidrains:default:32", "--lr", "1"], "settings of ours, which is not"),
    ],
)
def test_settings_without_effect_are_refused(
    settings: list[str],
    message: str,
    printed: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        printed("equal_time.py", *settings)
    assert message in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="the attacks are watched through /proc")
def test_damaged_and_hostile_files_are_refused_or_harmless(forks: Forks) -> None:
    run = forks.run("benchmarks/attacks.py", "--n", "8", "--seed", "30")
    assert run.returncode == 0, run.stdout
    assert run.stdout.count("refused") == 6  # of seven kinds; a damaged log costs its lines alone


def test_the_attacks_that_the_book_tells_of_are_those_counted() -> None:
    counts = md.results("attacks")["counts"].values()
    refused, harmless = (sum(c.get(k, 0) for c in counts) for k in ("refused", "harmless"))
    text = " ".join((ROOT / "book" / "how_built.md").read_text(encoding="utf-8").split())
    assert not md.results("attacks")["faults"]
    said = f"{refused + harmless} times; {refused} were refused in a sentence, {harmless} harmless"
    assert said in text


def test_sampling_of_the_same_weights_gives_the_same_images(printed: Callable[..., str]) -> None:
    assert '"same": true' in printed("sampling_gpu.py")


def test_creatures_are_counted(printed: Callable[..., str]) -> None:
    """What is drawn by the program itself is whole, balanced, and as asked; what isn't, is not."""
    import creatures as counted

    from minidiff.data import creatures

    g = torch.Generator().manual_seed(0)
    most = counted.limit(16, n=64)
    assert 0.9 < most < 1.2  # noise of one level, rounded: the root of 1 + 1/12
    asked = creatures.random(64, g)
    x = creatures.draw(asked, 16)
    factors, found = counted.read(x, most)
    assert found["whole"] == 1
    assert counted.obeyed(factors, asked)["all_as_asked"] == 1
    assert counted.obeyed(factors, asked.flip(0))["all_as_asked"] < 0.1
    left = torch.tensor(creatures.COUNTS).expand(64, -1)  # nothing was asked
    assert counted.obeyed(factors, left)["all_as_asked"] == 1
    assert (
        counted.read(x + 3 * counted.LEVEL * torch.randn(x.shape, generator=g), most)[1]["whole"]
        == 0
    )

    data = creatures.random(20_000, g)
    data = data[~counted.withheld(data)]
    known = counted.number(data[:10_000])
    assert len(known.unique()) == len(data[:10_000].unique(dim=0))
    assert counted.free(data, known)["most_errors"] < 4.5  # of 54 kinds
    assert counted.free(data[:10_000], known)["new"] == 0
    skewed = counted.free(data[data[:, creatures.FUR] > 0], known)
    assert skewed["most_errors"] > 20
    assert skewed["withheld_pairs"] == 0
    assert printed("creatures.py").count('"whole"') == 3
    (row,) = printed("creatures.py", "--given", "fur", "ground").splitlines()
    assert '"what": "given"' in row
    assert '"given": ["fur", "ground"]' in row


def test_every_row_of_table2_can_be_trained_and_measured(printed: Callable[..., str]) -> None:
    assert printed("table2.py").count("bits_per_dim") == 8


def test_table2_can_be_made_in_parts(printed: Callable[..., str]) -> None:
    found = printed("table2.py", "--rows", "5", "1").splitlines()
    assert len(found) == 2
    assert '"predict": "eps", "loss": "simple", "variance": "large"' in found[0]
    assert '"predict": "mu", "loss": "vlb", "variance": "large"' in found[1]


def test_recipes_of_improved_ddpm_can_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All four, two steps each on noise, the last one from the weights of another."""
    import iddpm

    noise = Images(
        torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8),
        torch.zeros(16).long(),
        ("noise",),
    )
    monkeypatch.setattr(sys.modules["minidiff.engine.loop"], "load", lambda *_args, **_more: noise)
    kept, marked = {}, tmp_path / "marked.safetensors"
    for recipe in iddpm.RECIPES:
        init = str(marked) if recipe == "vlb" else ""
        iddpm.train(recipe, "tiny", init, seconds=60.0, out=tmp_path, device="cpu")
        kept[recipe] = model = md.load_pretrained(tmp_path / f"{recipe}.safetensors")
        card = md.checkpoint.read_info(tmp_path / f"{recipe}.safetensors")["card"]
        assert (card["recipe"], card["init"], card["steps"]) == (recipe, init, 2)
        if recipe == "hybrid":
            torch.nn.init.ones_(model.net.conv_in.bias)
            md.save_weights(marked, model)
    learned = [model.variance for model in kept.values()]
    assert learned == ["large", "large", "learned", "learned"]
    for model in kept.values():  # one network for all: its clock runs to 1000 whatever T is
        assert model.net.config.clock * model.schedule.T == 1000
    assert (kept["vlb"].net.conv_in.bias - 1).abs().max() < 1e-3  # it began with what it was given


def test_a_bound_from_fewer_images_at_late_t_has_the_right_error() -> None:
    """The standard error against the spread of a thousand repetitions, and the plain case."""
    g = torch.Generator().manual_seed(0)
    n, n_late, late = 60, 20, judge.LATE + 1
    level = torch.linspace(2, 0, late + 9, dtype=torch.float64)[:, None]

    def draw() -> torch.Tensor:  # an image that is dear at small t is dear at large t, too
        dear = torch.randn(n, generator=g, dtype=torch.float64)
        return level + 0.1 * dear + 0.1 * torch.randn(late + 9, n, generator=g, dtype=torch.float64)

    sums, errors = [], []
    for _ in range(1000):
        terms = draw()
        terms[late:, n_late:] = math.nan  # not measured, so not to be looked at
        mean, error = judge.mean_terms(terms, n_late)
        sums.append(mean.sum())
        errors.append(error)
    found, told = torch.stack(sums), torch.stack(errors)
    assert float(found.mean()) == pytest.approx(float(level.sum()), abs=0.1)
    assert float(told.square().mean().sqrt()) == pytest.approx(float(found.std()), rel=0.08)

    terms = draw()  # with all images everywhere, it is the standard error of their totals
    mean, error = judge.mean_terms(terms, n)
    torch.testing.assert_close(mean, terms.mean(1))
    torch.testing.assert_close(error, terms.sum(0).std() / n**0.5)


def test_a_control_run_is_trained_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import control
    import tables

    noise = Images(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4).long(), ("black",))
    tiny = {"width": 8, "mults": (1,), "blocks": 1, "attention": (), "groups": 8}
    same = {"network_options": tiny, "T": 50, "batch": 4, "steps": 2, "compile": ""}
    monkeypatch.setattr(control, "RUNS", tmp_path)
    monkeypatch.setattr(control, "SAME", same)
    monkeypatch.setattr(control, "HALF", ["up."])
    monkeypatch.setattr(control, "quality", lambda device: lambda images: {"n": len(images)})
    monkeypatch.setattr(torch, "compile", lambda net: net)
    terms = {"bits_per_dim": 4.0, "standard_error": 0.1}
    monkeypatch.setattr(tables, "bound", lambda *_: {"small": terms, "large": terms})
    for place in ("minidiff.engine.loop.load", "minidiff.data.load"):
        monkeypatch.setattr(place, lambda *_args, **_more: noise)
    found = control.arm("bound", judge.Setup(2, 2, 0, "cpu", "fp32"))
    assert (found["times"], found["steps"], found["images"]) == ("bound", 2, 8)
    assert set(found) == set(md.results("cifar10_control")["arms"][0])
    kinds = [(row["weights"], row["measured"], row.get("S")) for row in found["int8"]]
    stored = md.results("cifar10_control")["arms"][0]["int8"]
    assert kinds == [(row["weights"], row["measured"], row.get("S")) for row in stored]
