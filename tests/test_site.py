"""The built book as a reader meets it: every page in a browser, with every other host cut off.

`make site-test` builds the book first. Without Chromium the browser tests are skipped, with the
reason; the tests that only read HTML run all the same.
"""

import functools
import http.server
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
AXE = ROOT / "tests" / "_vendor" / "axe-core" / "axe.min.js"
PAGE_BYTES = 2_000_000  # of one page's own HTML and pictures
CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), ""
)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TOC = (ROOT / "_toc.yml").read_text(encoding="utf-8")
PAGES = [f"{name}.html" for name in re.findall(r"(?:root|- file): (\S+)", TOC)]
ESCAPED_TEX = re.compile(r"\$\$|\\\(|\\\[|\\begin\{|\\frac|\\bar\b")

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(not HTML.exists(), reason="the book is not built: make book"),
]
each_page = pytest.mark.parametrize("page", PAGES)


# -- the files ----------------------------------------------------------------------------------


@functools.cache
def soup(page: str) -> BeautifulSoup:
    return BeautifulSoup((HTML / page).read_text(encoding="utf-8"), "html.parser")


def article(page: str) -> BeautifulSoup:
    return soup(page).find("article") or soup(page)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_chapter_has_a_page_that_holds_its_outputs(path: Path) -> None:
    page = f"notebooks/{path.stem}.html"
    assert (HTML / page).exists()
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    hidden = {"remove-cell", "remove-output"}
    shown = [
        cell
        for cell in cells
        if cell.get("outputs") and not hidden & set(cell["metadata"].get("tags", []))
    ]
    assert len(article(page).select("div.cell_output")) == len(shown)


@each_page
def test_internal_links_anchors_and_images_resolve(page: str) -> None:
    broken = []
    for tag in soup(page).find_all(["a", "img"]):
        target = tag.get("href") or tag.get("src")
        if not target or urlparse(target).scheme:
            continue
        address, fragment = urldefrag(urljoin(page, target))
        file = HTML / unquote(address) if address else HTML / page
        if not file.is_file():
            broken.append(target)
        elif fragment and file.suffix == ".html":
            other = soup(file.relative_to(HTML).as_posix())
            if not other.find(id=unquote(fragment)) and not other.find(attrs={"name": fragment}):
                broken.append(target)
    assert broken == []


@each_page
def test_every_picture_says_what_it_shows(page: str) -> None:
    silent = [str(tag)[:100] for tag in article(page).find_all("img") if not tag.get("alt")]
    assert silent == []
    assert not [t for t in article(page).find_all("img") if re.search(r"\.(png|gif)$", t["alt"])]


@each_page
def test_a_page_is_light(page: str) -> None:
    pictures = [
        HTML / urljoin(page, tag["src"])
        for tag in article(page).find_all("img")
        if not urlparse(tag["src"]).scheme
    ]
    size = sum(path.stat().st_size for path in {HTML / page, *pictures} if path.exists())
    assert size <= PAGE_BYTES


# -- the browser --------------------------------------------------------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(HTML))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api").sync_playwright().start()
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield browser
    browser.close()
    playwright.stop()


class Visit:
    """A page that is open, and everything that went wrong while it loaded."""

    def __init__(self, browser, address: str, width: int = 1280, scheme: str = "light"):
        self.complaints: list[str] = []
        self.address = address
        self.page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.page.on("console", self.hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.route("**/*", self.guard)

    def hear(self, message) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")

    def guard(self, route) -> None:
        """Let nothing leave this machine, and remember what wanted to."""
        url = route.request.url
        if url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.complaints.append(f"request: {url}")
            route.abort()

    def open(self, page: str) -> None:
        self.page.goto(self.address + page, wait_until="load")
        self.page.evaluate("() => window.MathJax?.startup?.promise")


@pytest.fixture
def visit(browser, address: str):
    made = []

    def make(page: str, **options) -> Visit:
        made.append(Visit(browser, address, **options))
        made[-1].open(page)
        return made[-1]

    yield make
    for one in made:
        one.page.close()


VISIBLE_TEXT = """() => {
  const copy = document.querySelector("article").cloneNode(true);
  copy.querySelectorAll("pre, code, script, mjx-container, .highlight").forEach(e => e.remove());
  return copy.textContent;
}"""
WIDE = """() => [...document.querySelectorAll("article *")]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
  .filter(e => { for (let p = e; p; p = p.parentElement)
     if (/(auto|scroll|hidden)/.test(getComputedStyle(p).overflowX) && p !== document.body
         && p.clientWidth <= innerWidth) return false; return true; })
  .slice(0, 5).map(e => e.outerHTML.slice(0, 120))"""


@each_page
def test_a_page_works_with_the_network_cut(page: str, visit) -> None:
    open_page = visit(page)
    tab = open_page.page
    assert open_page.complaints == []
    formulas = tab.locator("article .math").count()
    assert tab.locator("article mjx-container").count() >= min(formulas, 1)
    assert tab.locator("mjx-merror").count() == 0
    assert not ESCAPED_TEX.search(tab.evaluate(VISIBLE_TEXT))
    broken = """() => [...document.images]
        .filter(i => i.complete && i.loading != "lazy" && !i.naturalWidth).map(i => i.src)"""
    assert tab.evaluate(broken) == []


@each_page
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_makes_the_page_scroll_sideways(page: str, width: int, visit) -> None:
    tab = visit(page, width=width).page
    if folder := os.environ.get("SCREENSHOTS"):
        name = f"{page.removesuffix('.html').replace('/', '-')}-{width}.png"
        tab.screenshot(path=str(Path(folder) / name), full_page=True)
    scrolls = tab.evaluate("() => document.scrollingElement.scrollWidth - innerWidth")
    assert scrolls <= 1, tab.evaluate(WIDE)


@each_page
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_accessibility_fault(page: str, scheme: str, visit) -> None:
    tab = visit(page, scheme=scheme).page
    tab.add_script_tag(path=str(AXE))
    result = tab.evaluate("() => axe.run('article', {resultTypes: ['violations']})")
    faults = [
        f"{v['id']}: {v['help']}: {node['html'][:100]}"
        for v in result["violations"]
        for node in v["nodes"][:3]
    ]
    assert faults == []


def test_search_finds_a_word(visit) -> None:
    tab = visit("search.html?q=posterior").page
    tab.wait_for_selector("#search-results li", timeout=10_000)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_solution_unfolds(path: Path, visit) -> None:
    tab = visit(f"notebooks/{path.stem}.html").page
    folded = tab.locator("details.hide:has-text('Show the solution')")
    if not folded.count():
        pytest.skip("no solution in this chapter")
    code = folded.first.locator("pre").first
    assert not code.is_visible()
    folded.first.locator("summary").click()
    assert code.is_visible()


def test_the_reader_can_turn_the_pages(visit) -> None:
    tab = visit("index.html").page
    for _ in range(len(NOTEBOOKS)):
        tab.locator("a.right-next").first.click()
        tab.wait_for_load_state()
    assert NOTEBOOKS[-1].stem in tab.url
