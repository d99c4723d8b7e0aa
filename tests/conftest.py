import gc
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

gc.disable()  # until all is imported, none of which is garbage to be looked for

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import pdf  # noqa: E402
from forks import Forks  # noqa: E402


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """One process that has imported PyTorch, to start programs as its forks."""
    starts = Forks()
    yield starts
    starts.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One headless Chromium for all that is looked at: a process can start no second Playwright."""
    command = next(filter(None, map(shutil.which, pdf.CHROMIUM)), "")
    if not command:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api").sync_playwright().start()
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    chromium = playwright.chromium.launch(executable_path=command, args=arguments)
    yield chromium
    chromium.close()
    playwright.stop()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `pip install` puts there: the contents of the wheel."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if name.startswith(("minidiff", "results", "README", "LICENSE", "pyproject")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "."]
    subprocess.run([*command, "-w", "out"], cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "out").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(out)
    return out
