"""Every notebook as a reader meets it: opened in JupyterLab without extensions, and as HTML.

Needs Chromium; `make site-test` runs it. The first screen of each, and its first exercise, are left
as pictures in _build/screens/, to be looked at.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pdf
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SCREENS = ROOT / "_build" / "screens"
# What a viewer shows as text when it has not understood it.
RAW = re.compile(
    r"\$\$|(?<![\w\"'])\$[^$\n]{1,80}\$|\\(?:frac|bar|mathbb|sqrt|tag)\b|\{[a-z:]+\}`|^:\w+:|^```"
    r"|\((?:eq|sec|fig)-|</?(?:a|details|summary)\b",
    flags=re.M,
)
# Of each rendered text: what it says outside code and formulas, and the formulas that failed.
LOOK = """selector => [...document.querySelectorAll(selector)].map(e => {
    const copy = e.cloneNode(true);
    copy.querySelectorAll('code, pre, mjx-container, script, style').forEach(x => x.remove());
    return [copy.textContent, [...e.querySelectorAll('mjx-merror')].map(x => x.textContent),
            e.querySelectorAll('mjx-container').length];
})"""
PICTURES = """selector => [...document.querySelectorAll(selector + ' img')]
    .filter(e => !e.complete || !e.naturalWidth).map(e => e.alt || e.src.slice(0, 60))"""

pytestmark = pytest.mark.site
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="session")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab as it is installed, that shows a copy of the notebooks."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", home / "notebooks")
    settings = home / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    # all cells at once, not only those on the screen
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [
        f"--port={port}",
        "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",
    ]
    command += [f"--ServerApp.root_dir={home / 'notebooks'}", "--LabApp.news_url=None"]
    environment = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
    }
    log = (home / "log").open("w")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home)
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api", timeout=1)
                break
            assert server.poll() is None, (home / "log").read_text()
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def faults(page: Any, selector: str) -> list[str]:
    """What a reader would see that is not finished."""
    looks = page.evaluate(LOOK, selector)
    found = [
        f"raw markup: …{text[max(0, m.start() - 20) : m.end() + 30]}…"
        for text, _, _ in looks
        for m in RAW.finditer(text)
    ]
    return found + [f"formula failed: {error}" for _, errors, _ in looks for error in errors]


def formulas(path: Path) -> int:
    """Displayed formulas in a notebook: at least so many must be typeset."""
    cells = nbformat.read(path, as_version=4).cells
    return sum(cell.source.count("$$") // 2 for cell in cells if cell.cell_type == "markdown")


@each_notebook
def test_in_jupyterlab_a_chapter_is_finished_text(path: Path, lab: str, browser: Any) -> None:
    cells = nbformat.read(path, as_version=4).cells
    prose = [c for c in cells if c.cell_type == "markdown"]
    pictures = [o for c in cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    panel = ".jp-NotebookPanel"
    try:
        page.goto(f"{lab}/lab/tree/{path.name}?reset", wait_until="domcontentloaded")
        page.wait_for_function(
            """([n, k]) => document.querySelectorAll('.jp-MarkdownCell .jp-RenderedMarkdown').length
                >= n && document.querySelectorAll('.jp-NotebookPanel mjx-container').length >= k""",
            arg=[len(prose), formulas(path)],
            timeout=120_000,
        )
        page.wait_for_timeout(1000)
        SCREENS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENS / f"{path.stem}.png")
        assert faults(page, f"{panel} .jp-RenderedMarkdown") == []
        shown = page.evaluate(f"document.querySelectorAll('{panel} .jp-OutputArea img').length")
        assert shown >= len(pictures)
        assert page.evaluate(PICTURES, panel) == []
        opened = page.evaluate(  # set-up, plotting code and solutions are folded
            f"""[...document.querySelectorAll('{panel} .jp-CodeCell')].filter(e =>
                e.querySelector('.jp-InputArea-editor') && /@title/.test(e.textContent)).length"""
        )
        assert opened == 0
        exercise = page.locator(f"{panel} h3", has_text="Exercise").first
        if exercise.count():
            exercise.scroll_into_view_if_needed()
            page.wait_for_timeout(300)
            page.screenshot(path=SCREENS / f"{path.stem}_exercise.png")
    finally:
        page.close()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder for pages made by nbconvert, and its address; MathJax is the book's copy of it."""
    folder = tmp_path_factory.mktemp("html")
    (folder / "mathjax").symlink_to(ROOT / "book" / "_vendor" / "mathjax")
    handler = functools.partial(pdf.Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@each_notebook
def test_as_html_a_chapter_is_finished_text(
    path: Path, exported: tuple[Path, str], browser: Any
) -> None:
    from nbconvert import HTMLExporter

    folder, address = exported
    exporter = HTMLExporter(mathjax_url=f"{address}/mathjax/tex-chtml.js", require_js_url="")
    body, _ = exporter.from_filename(str(path))
    (folder / f"{path.stem}.html").write_text(body, encoding="utf-8")
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    page.add_init_script(  # the pages configure MathJax 2, the book's copy is MathJax 4
        r"window.MathJax = {tex: {inlineMath: [['$', '$']], processEscapes: true},"
        f"output: {{fontPath: '{address}/mathjax/mathjax-newcm-font'}}}}"
    )
    try:
        page.goto(f"{address}/{path.stem}.html", wait_until="domcontentloaded")
        page.wait_for_function(
            "k => document.querySelectorAll('mjx-container').length >= k",
            arg=formulas(path),
            timeout=120_000,
        )
        page.wait_for_timeout(500)
        assert faults(page, ".jp-RenderedMarkdown") == []
        assert page.evaluate(PICTURES, "body") == []
    finally:
        page.close()
