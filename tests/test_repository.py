"""What holds for the repository as a whole: its arrows, its lists, its addresses, its wheel."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import chapters
import doctor
import pytest
import repo_url

import minidiff as md

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "minidiff"
MODULES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): path
    for path in PACKAGE.rglob("*.py")
    if "configs" not in path.parts and path.name != "__init__.py"
}
ROOMS = {"unet", "engine", "measure", "data", "cli"}
# What a room may import, beside itself. The mathematics is what stands on top of the package.
ARROWS = {
    "kinds": set(),
    "mathematics": {"kinds"},
    "data": {"kinds"},
    "unet": {"kinds", "mathematics"},
    "measure": {"kinds", "data"},
    "sharp": set(),
    "plots": {"kinds", "data", "sharp"},
    "engine": {"kinds", "mathematics", "unet", "data", "plots"},
    "__main__": {"cli"},
    "cli": {"kinds", "mathematics", "unet", "data", "measure", "plots", "engine"},
}


# Hides the installed library, as if pip had never seen it.
NOT_INSTALLED = """
import os
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
sys.path[:] = [p for p in sys.path if not os.path.exists(p + "/minidiff/__init__.py")]
"""


def room(module: str) -> str:
    first = module.split(".")[0]
    return first if first in ROOMS | {"kinds", "plots", "sharp", "__main__"} else "mathematics"


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """The modules of minidiff that a file imports, inside its functions too or at its top only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {name.removeprefix("minidiff.") for name in names if name[:9] == "minidiff."}
    found |= {f"{name}.sets" for name in found & {"data"}}  # what the room's door leads to
    return found & set(MODULES)


GRAPH = {name: imports(path, everywhere=False) for name, path in MODULES.items()}


def tracked() -> list[Path]:
    return repo_url.files()


# -- the library --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MODULES))
def test_arrows_go_one_way(name: str) -> None:
    here = room(name)
    used = imports(MODULES[name])
    assert {room(other) for other in used} <= ARROWS[here] | {here}


def test_imports_have_no_cycle() -> None:
    order = graphlib.TopologicalSorter(GRAPH).static_order()
    assert set(order) == set(MODULES)


def test_no_name_is_a_function_and_a_module() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} | ROOMS
    assert not modules & set(md.__all__)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_rooms_are_small(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 300


# -- lists, links and addresses -----------------------------------------------------------------


def test_lists_of_chapters_are_up_to_date(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["chapters.py", "--check"])
    assert chapters.main() == 0, capsys.readouterr().out


def test_every_notebook_is_a_chapter() -> None:
    stems = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert stems == {stem for _, stem, _ in chapters.chapters()}
    assert all(int(stem[:2]) in chapters.QUESTIONS for stem in stems)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_relative_links_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)  # code is no link
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'(?:src|href)="([^"#]+)"', text)
    # ../../ is where GitHub keeps the issues of the repository that shows the page
    missing = [
        t for t in targets if "://" not in t and t[:6] != "../../" and not (ROOT / t).exists()
    ]
    assert missing == []


def test_the_address_is_unset_and_nobody_can_own_it() -> None:
    assert repo_url.current() == repo_url.UNSET
    assert not repo_url.ADDRESS.fullmatch("https://github.com/{}/{}".format(*repo_url.UNSET))
    owned = re.compile(r"github(?:\.com|usercontent\.com|/github)/(?!-unset-/)[\w.-]+/minidiff\b")
    named = {
        p.relative_to(ROOT).as_posix(): owned.findall(p.read_text(encoding="utf-8"))
        for p in tracked()
        if p.name != "test_repository.py"
    }
    assert {name: found for name, found in named.items() if found} == {}


def test_publishing_sets_address_and_version_everywhere(tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", tmp_path], check=True)
    command = [sys.executable, "tools/repo_url.py", "https://github.com/some-one/my.book"]
    command += ["--version", "v9.9", "--branch", "published"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    unset = subprocess.run(
        ["git", "grep", "-l", "--", "github.*/-unset-/\\|-unset-.github"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert set(unset) <= {"tools/repo_url.py", "tests/test_repository.py", "book/_ext/pages.py"}
    for path in (tmp_path / "notebooks").glob("*.ipynb"):
        assert "git+https://github.com/some-one/my.book@v9.9" in path.read_text(encoding="utf-8")
    config = (tmp_path / "_config.yml").read_text(encoding="utf-8")
    assert "  url: https://github.com/some-one/my.book\n" in config
    assert "  branch: published\n" in config
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", readme)
    assert [t for t in targets if not t.startswith(("https://", "#"))] == []


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("nothing", "names no address"),  # unset, outside Colab or not
        ("clone", "pip install ./minidiff"),
    ],
)
def test_the_first_cell_says_in_a_sentence_what_to_do(
    inside: str, message: str, tmp_path: Path
) -> None:
    if inside == "clone":  # a folder called minidiff in the working folder is not the library
        (tmp_path / "minidiff").mkdir()
        (tmp_path / "minidiff" / "pyproject.toml").touch()
    cell = (ROOT / "tools" / "bootstrap_cell.py").read_text(encoding="utf-8")
    script = f"import sys; sys.path[:] = [''] + sys.path[1:]\n{NOT_INSTALLED}\n{cell}"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert message in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("returncode", [0, 1])
def test_on_colab_the_first_cell_installs_a_clone(tmp_path: Path, returncode: int) -> None:
    (tmp_path / "minidiff").mkdir()
    (tmp_path / "minidiff" / "pyproject.toml").touch()
    cell = (ROOT / "tools" / "bootstrap_cell.py").read_text(encoding="utf-8")
    pretend = (
        "import subprocess, types; sys.modules['google.colab'] = types.ModuleType('colab')\n"
        "def run(command, check):\n"
        "    print(command[-2:])\n"
        f"    if {returncode}: raise subprocess.CalledProcessError(1, command)\n"
        "subprocess.run = run\n"
    )
    script = f"import sys; sys.path[:] = [''] + sys.path[1:]\n{NOT_INSTALLED}\n{pretend}{cell}"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert "['./minidiff', 'torchdiffeq']" in result.stdout
    assert result.returncode == returncode
    if returncode:
        assert "is the network on?" in result.stderr.splitlines()[-1]


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


def test_commit_subjects_are_short() -> None:
    command = ["git", "log", "--no-merges", "--format=%h %s", "bbc3b09..HEAD"]
    log = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if log.returncode:
        pytest.skip("the history is not here (a shallow clone)")
    subjects = [line.split(" ", 1) for line in log.stdout.splitlines()]
    assert [f"{commit} {subject}" for commit, subject in subjects if len(subject) > 72] == []


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


def test_the_wheel_holds_weights_and_results(installed: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        shipped = name.startswith("minidiff/") and name != "minidiff/results"
        if shipped or re.fullmatch(r"results/[\w/]+\.(json|png)", name):
            inside = f"minidiff/{name}" if name.startswith("results/") else name
            assert (installed / inside).is_file(), f"{inside} is not in the wheel"


def test_actions_are_pinned_by_commit() -> None:
    """A tag can be moved to other code, which would run with the rights of the workflow."""
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        used = re.findall(r"uses: *(.*)", path.read_text(encoding="utf-8"))
        assert used
        assert [u for u in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", u)] == []
