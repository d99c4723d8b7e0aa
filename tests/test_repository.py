"""What holds for the repository as a whole: its arrows, its lists, its addresses, its wheel."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import chapters
import doctor
import pytest
import repo_url

import minidiff as md

ROOT = Path(__file__).resolve().parent.parent
MODULES = {path.stem: path for path in (ROOT / "minidiff").glob("*.py")}
# The mathematics of the book, in the order in which the chapters build it.
MATHEMATICS = {
    *("schedule", "process", "parameterize", "denoiser", "elbo", "losses", "timesteps"),
    *("samplers", "ode", "likelihood", "toy"),
}
ENGINE = {
    *("atomic", "data", "train", "trainer", "ema", "checkpoint", "download", "metrics", "features"),
    *("plots", "compat", "distributed", "speed", "config", "cli", "commands", "generate"),
}
HEAVY = ["matplotlib", "sklearn", "scipy", "torchdiffeq", "huggingface_hub", "PIL", "diffusers"]


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """The modules of minidiff that a file imports, inside its functions too or at its top only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = ("minidiff." if node.level else "") + (node.module or "")
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        parts = [name.rstrip(".").split(".") for name in names]
        found |= {p[1] for p in parts if p[0] == "minidiff" and len(p) > 1 and p[1] in MODULES}
    return found


GRAPH = {name: imports(path) for name, path in MODULES.items()}


def tracked() -> list[Path]:
    return repo_url.files()


# -- the library --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MATHEMATICS & set(MODULES)))
def test_mathematics_never_imports_the_engine(name: str) -> None:
    reached, todo = set(), {name}
    while todo:
        reached |= todo
        todo = set().union(*(GRAPH[module] for module in todo)) - reached
    assert not reached & ENGINE


def test_only_the_command_line_and_training_previews_import_plots() -> None:
    users = {name for name, used in GRAPH.items() if "plots" in used}
    assert users <= {"__init__", "__main__", "cli", "commands", "train"}


def test_imports_have_no_cycle() -> None:
    done: set[str] = set()
    graph = {name: imports(path, everywhere=False) for name, path in MODULES.items()}

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name not in done:
            for used in sorted(graph[name] - {"__init__"}):
                visit(used, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", sorted(MODULES))
def test_rooms_are_small(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 300


def test_importing_the_library_is_light() -> None:
    script = f"import minidiff, sys; print([m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.mark.parametrize("name", sorted(md.__all__))
def test_public_names_are_documented(name: str) -> None:
    thing = getattr(md, name)
    assert (thing.__doc__ or "").strip(), f"minidiff.{name} has no docstring"


@pytest.mark.parametrize(
    "name", sorted(n for n in md.__all__ if callable(getattr(md, n)) and n.islower())
)
def test_public_functions_have_an_example_that_runs(name: str) -> None:
    assert ">>>" in (getattr(md, name).__doc__ or ""), f"minidiff.{name} has no doctest"


# -- lists, links and addresses -----------------------------------------------------------------


def test_lists_of_chapters_are_up_to_date() -> None:
    command = [sys.executable, "tools/chapters.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_every_notebook_is_a_chapter() -> None:
    stems = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert stems == {stem for _, stem, _ in chapters.chapters()}
    assert all(int(stem[:2]) in chapters.QUESTIONS for stem in stems)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_relative_links_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)  # code is no link
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'(?:src|href)="([^"#]+)"', text)
    missing = [t for t in targets if "://" not in t and not (ROOT / t).exists()]
    assert missing == []


def test_the_address_is_written_in_one_way() -> None:
    old, new = repo_url.current(), ("someone", "elsewhere")
    assert old != new
    stragglers = []
    for path in tracked():
        text = repo_url.rewritten(path.read_text(encoding="utf-8"), old, new)
        if re.search(rf"{old[0]}/{old[1]}(?=[\s)/.\"'@]|$)(?!/\w+\.py)", text) or re.search(
            rf"{old[0]}\.github\.io", text
        ):
            stragglers.append(path.relative_to(ROOT).as_posix())
    assert stragglers == []


def test_a_new_address_reaches_every_kind_of_link() -> None:
    text = (
        "https://github.com/a/b https://github.com/a/b.git https://github.com/a/bc "
        "https://colab.research.google.com/github/a/b/blob/main/x https://a.github.io/b/"
    )
    assert repo_url.rewritten(text, ("a", "b"), ("c", "d")) == (
        "https://github.com/c/d https://github.com/c/d.git https://github.com/a/bc "
        "https://colab.research.google.com/github/c/d/blob/main/x https://c.github.io/d/"
    )


def test_no_file_names_a_machine() -> None:
    path = re.compile(r"(?<![\w/.:<>-])/(?:home|root|work|Users)/[\w.-]+")
    named = {
        p.relative_to(ROOT).as_posix(): path.findall(p.read_text(encoding="utf-8"))
        for p in tracked()
        if p.name not in ("test_notebooks.py", "test_repository.py")
    }
    assert {name: found for name, found in named.items() if found} == {}


def test_results_say_where_they_come_from() -> None:
    bad = []
    for path in (ROOT / "results").glob("*.json"):
        stored = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(stored, dict) and "command" in stored):
            bad.append(path.name)
    assert bad == []


# -- installing ---------------------------------------------------------------------------------


def test_the_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.main() is None

    def requires(name: str) -> list[str]:
        if name == "matplotlib":
            raise doctor.PackageNotFoundError(name)
        return ["matplotlib>=3"] if name == "minidiff" else []

    monkeypatch.setattr(doctor, "requires", requires)
    assert "matplotlib" in (doctor.main() or "")


def test_an_unwritable_folder_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "missing", list)
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    (tmp_path / "_build").write_text("a file where a folder should be")
    assert "Cannot write into" in (doctor.main() or "")


def test_an_old_python_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    source = (ROOT / "tools" / "check_python.py").read_text()
    monkeypatch.setattr(sys, "version_info", (3, 8, 1))
    with pytest.raises(SystemExit, match=r"needs Python 3\.10 or newer and this is 3\.8"):
        exec(compile(source, "check_python.py", "exec"), {})


def test_the_wheel_holds_weights_and_results(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if name.startswith(("minidiff", "results", "README", "LICENSE", "pyproject")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name, follow_symlinks=False)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "."]
    subprocess.run([*command, "-w", "out"], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    script = "import sys, zipfile; print(*zipfile.ZipFile(sys.argv[1]).namelist(), sep='\\n')"
    names = subprocess.run(
        [sys.executable, "-c", script, str(wheel)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in listed.stdout.splitlines():
        shipped = name.startswith("minidiff/") and name != "minidiff/results"
        if shipped or re.fullmatch(r"results/[^/]+\.json", name):
            inside = f"minidiff/{name}" if name.startswith("results/") else name
            assert inside in names, f"{inside} is not in the wheel"
