"""The built book as a reader meets it: every page in a browser, with every other host cut off.

`make site-test` builds it first. Without Chromium the tests that need one are skipped.
"""

import functools
import gzip
import http.server
import io
import json
import os
import re
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pdf
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
AXE = ROOT / "tests" / "_vendor" / "axe-core" / "axe.min.js"
PAGE_BYTES = 2_000_000  # of one page's own HTML and pictures
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TOC = (ROOT / "_toc.yml").read_text(encoding="utf-8")
PAGES = [f"{name}.html" for name in re.findall(r"(?:root|- file): (\S+)", TOC)]
ASKED = "script[src], article img, link:is([rel=stylesheet], [rel=preload], [rel=icon])"
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
    # a progress bar leaves an empty frame behind when its stderr is removed
    frames = [frame for frame in article(page).select("div.cell_output") if frame.find(True)]
    assert len(frames) == len(shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_printed_lines_are_those_of_the_notebook(path: Path) -> None:
    """To the letter where numbers are compared, and by their number of lines everywhere."""
    page = iter(article(f"notebooks/{path.stem}.html").select("div.cell_output .output.stream"))
    hidden = {"remove-cell", "remove-output"}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        tags = set(cell["metadata"].get("tags", []))
        printed = [o for o in cell.get("outputs", []) if o["output_type"] == "stream"]
        if not printed or hidden & tags:
            continue
        wanted, shown = "".join(printed[0]["text"]).rstrip(), next(page).get_text().rstrip()
        assert len(shown.splitlines()) == len(wanted.splitlines()), wanted[:60]
        if "nbval-check-output" in tags:
            assert shown == wanted
    assert next(page, None) is None


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


@each_page
def test_a_page_is_light_on_the_wire(page: str) -> None:
    """All that its tags ask for, compressed where it is text."""
    names = {tag.get("src") or tag.get("href") for tag in soup(page).select(ASKED)}
    local = {urldefrag(n)[0].partition("?")[0] for n in names if n and not urlparse(n).scheme}
    files = {HTML / page, *(HTML / urljoin(page, unquote(name)) for name in local)}
    size = 0
    for path in (f for f in files if f.is_file()):
        text = path.suffix in {".js", ".css", ".svg"} or path == HTML / page
        size += len(gzip.compress(path.read_bytes())) * text
        size += path.stat().st_size * (path.suffix in {".png", ".webp", ".woff2"})
    assert 50_000 < size <= 1_500_000


def test_what_other_sites_ask_for() -> None:
    """An icon, a picture to show beside a link, and a list of pages."""
    assert (HTML / soup("index.html").find("link", rel="icon")["href"]).is_file()
    home = pdf.site()
    picture = soup("index.html").find("meta", property="og:image")["content"]
    assert picture.startswith(home)
    assert (HTML / picture.removeprefix(home)).is_file()
    listed = re.findall("<loc>(.*?)</loc>", (HTML / "sitemap.xml").read_text(encoding="utf-8"))
    assert {home + page for page in PAGES} <= set(listed)
    assert all((HTML / url.removeprefix(home)).is_file() for url in listed)


def test_a_wrong_address_leads_home() -> None:
    assert pdf.site() in [tag["href"] for tag in soup("404.html").find_all("a")]


# -- the browser --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    handler = functools.partial(pdf.Quiet, directory=str(HTML))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


class Visit:
    """A page that is open, and everything that went wrong while it loaded."""

    def __init__(self, browser, address: str):
        self.complaints: list[str] = []
        self.address = address
        self.page = browser.new_page(
            viewport={"width": 1280, "height": 900}, color_scheme="light", reduced_motion="reduce"
        )
        self.page.set_default_timeout(120_000)
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

    def make(page: str) -> Visit:
        made.append(Visit(browser, address))
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
# The width is that of the tag: pictures further down have not been fetched yet.
SHRUNK = """() => [...document.querySelectorAll("article figure img")]
  .filter(i => i.checkVisibility())  // the twin of a figure that answers is not
  .filter(i => !(i.clientWidth >= 0.6 * parseInt(i.getAttribute("width"))))
  .slice(0, 5).map(i => i.outerHTML.slice(0, 120))"""


def mathematics_faults(tab) -> Iterator[str]:
    if tab.locator("article .math").count() and not tab.locator("article mjx-container").count():
        yield "no formula was set"
    if tab.locator("mjx-merror").count():
        yield f"MathJax: {tab.locator('mjx-merror').first.text_content()}"
    if raw := ESCAPED_TEX.search(tab.evaluate(VISIBLE_TEXT)):
        yield f"raw TeX: {raw.string[max(0, raw.start() - 40) : raw.end() + 40]!r}"


def layout_faults(tab, width: int) -> Iterator[str]:
    tab.set_viewport_size({"width": width, "height": 900})
    tab.wait_for_timeout(600)  # the theme makes scrolling boxes reachable by key a moment later
    if folder := os.environ.get("SCREENSHOTS"):
        name = urlparse(tab.url).path.strip("/").removesuffix(".html").replace("/", "-")
        tab.screenshot(path=str(Path(folder) / f"{name}-{width}.png"), full_page=True)
    if tab.evaluate("() => document.scrollingElement.scrollWidth - innerWidth") > 1:
        yield f"scrolls sideways at {width} px: {tab.evaluate(WIDE)}"
    if shrunk := tab.evaluate(SHRUNK):
        yield f"letters too small at {width} px: {shrunk}"


def accessibility_faults(tab, scheme: str) -> Iterator[str]:
    tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    tab.wait_for_function(f"() => document.documentElement.dataset.theme == '{scheme}'")
    for pause in (600, 3000):  # colours change over from one theme to the other: what stays counts
        tab.wait_for_timeout(pause)
        result = tab.evaluate("() => axe.run('article', {resultTypes: ['violations']})")
        if not result["violations"]:
            return
    for fault in result["violations"]:
        for node in fault["nodes"][:3]:
            yield f"{scheme}: {fault['id']}: {fault['help']}: {node['html'][:150]}"


def folding_faults(tab) -> Iterator[str]:
    folded = tab.locator("details.hide:has-text('Show the solution')")
    if folded.count():
        code = folded.first.locator("pre").first
        if code.is_visible():
            yield "a solution is shown before it is asked for"
        folded.first.locator("summary").click()
        if not code.is_visible():
            yield "a solution does not unfold"


@each_page
def test_a_page_in_the_browser(page: str, visit) -> None:
    """One visit, everything judged: network, formulas, pictures, width, accessibility, folding."""
    opened = visit(page)
    tab = opened.page
    faults = list(mathematics_faults(tab))
    for width in (1280, 360):
        faults += layout_faults(tab, width)
    broken = """() => [...document.images]
        .filter(i => i.complete && i.loading != "lazy" && !i.naturalWidth).map(i => i.src)"""
    faults += [f"broken picture: {address}" for address in tab.evaluate(broken)]
    faults += opened.complaints
    tab.add_script_tag(path=str(AXE))
    for scheme in ("light", "dark"):
        faults += accessibility_faults(tab, scheme)
    faults += folding_faults(tab)
    if page.startswith("notebooks/"):
        faults += formula_faults(tab)
    assert faults == []


def test_a_wide_figure_scrolls_by_keyboard_on_a_phone_only(visit) -> None:
    tab = visit("notebooks/01_forward_process.html").page
    figure = tab.locator(".wide-figure").first
    for width, stop in ((1280, "-1"), (360, "0")):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.wait_for_timeout(600)  # as above
        assert figure.get_attribute("tabindex") == stop
    figure.focus()
    tab.keyboard.press("ArrowRight")  # the browser scrolls with its next frame, not at once
    tab.wait_for_function("e => e.scrollLeft > 0", arg=figure.element_handle(), timeout=5000)


# What a formula's signs overlap: a frame that hides or scrolls, or the edge of the window.
FITS = """() => {
  document.querySelectorAll("article details").forEach(folded => folded.open = true);
  const edge = e => {
    for (let p = e; p !== document.body; p = p.parentElement)
      if (getComputedStyle(p).overflowX !== "visible") return p.getBoundingClientRect().right;
    return innerWidth;
  };
  const right = e => Math.max(0, ...[e, ...e.querySelectorAll("*")].flatMap(
    c => [...c.getClientRects()].filter(r => r.width).map(r => r.right)));
  const name = e => e.closest("[id]").id;
  const shown = [...document.querySelectorAll("article mjx-container")];
  const wide = pre => pre.scrollWidth > pre.clientWidth + 1;
  return {
    formulas: shown.length,
    cut: shown.filter(m => !m.hasAttribute("display") && !m.closest("table")) // a table scrolls
      .filter(m => right(m.querySelector("mjx-math")) > edge(m) + 1).map(name),
    scroll: shown.filter(m => m.hasAttribute("display"))
      .filter(m => wide(m) || wide(m.parentElement)).map(name),
  };
}"""


def formula_faults(tab) -> Iterator[str]:
    """No formula in a line of text is cut at any width; on a laptop nothing displayed scrolls."""
    for width in (320, 768, 1440):
        tab.set_viewport_size({"width": width, "height": 900})
        seen = tab.evaluate(FITS)
        if not seen["formulas"]:
            yield "there is no formula"
        yield from (f"at {width} px {name} is cut" for name in seen["cut"])
    yield from (f"{name} scrolls" for name in seen["scroll"])


# How many letters a line of code has room for.
ROOM = """() => {
  const pre = document.querySelector("article .cell_input pre"), style = getComputedStyle(pre);
  const range = document.createRange();
  const walk = document.createTreeWalker(pre, NodeFilter.SHOW_TEXT);
  range.setStart(walk.nextNode(), 0);
  range.setEnd(walk.currentNode, 1);
  const inside = pre.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  return Math.floor((inside + 1) / range.getBoundingClientRect().width);
}"""


def test_code_fits_in_the_page(visit) -> None:
    """On a laptop, but for a few cells of the whole book, which scroll."""
    tab = visit("notebooks/00_start_here.html").page
    tab.set_viewport_size({"width": 1440, "height": 900})
    room = tab.evaluate(ROOM)
    assert room > 60
    cells = [
        cell.get_text().splitlines()
        for path in NOTEBOOKS
        for cell in article(f"notebooks/{path.stem}.html").select(".cell_input pre")
    ]
    assert len(cells) > 500
    assert sum(max(map(len, lines)) > room for lines in cells) <= 20


# How many letters there are in the lines of the long paragraphs, but for their last lines.
LINES = """() => {
  const range = document.createRange(), all = [];
  for (const p of document.querySelectorAll("article section > p")) {
    if (p.textContent.length < 250 || p.querySelector("mjx-container, code")) continue;
    const lines = {}, walk = document.createTreeWalker(p, NodeFilter.SHOW_TEXT);
    while (walk.nextNode())
      for (let i = 0; i < walk.currentNode.length; i++) {
        range.setStart(walk.currentNode, i);
        range.setEnd(walk.currentNode, i + 1);
        const { bottom } = range.getBoundingClientRect(), line = Math.round(bottom / 8);
        lines[line] = (lines[line] ?? 0) + 1;
      }
    all.push(...Object.values(lines).slice(0, -1));
  }
  return all.sort((a, b) => a - b);
}"""


def test_lines_of_prose_are_as_long_as_those_of_a_book(visit) -> None:
    tab = visit("notebooks/00_start_here.html").page
    for width in (1024, 1440, 1920):
        tab.set_viewport_size({"width": width, "height": 900})
        lines = tab.evaluate(LINES)
        assert len(lines) > 20
        assert 62 <= lines[len(lines) // 2] <= 80, width
        assert lines[-1] <= 90, width


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_the_first_screen_says_what_it_is_draws_and_leads_on(size: tuple[int, int], visit) -> None:
    tab = visit("index.html").page
    tab.set_viewport_size({"width": size[0], "height": size[1]})
    tab.wait_for_timeout(300)
    for part in ("article h1", "article p", ".start", "figure.live-creatures canvas"):
        box = tab.locator(part).first.bounding_box()
        assert box["y"] + box["height"] <= size[1], part


# -- the search ---------------------------------------------------------------------------------

SEARCHES = json.loads((ROOT / "tests" / "searches.json").read_text(encoding="utf-8"))
FIND = "question => Finder.find(question).slice(0, 3).map(hit => hit.url)"


@functools.cache
def places(url: str) -> set[str]:
    """All names of the place that a hit leads to: authors' and the title's own."""
    page, _, anchor = url.partition("#")
    tag = article(page).find(id=anchor) if anchor else article(page).find("section")
    tag = tag.parent if tag.name == "span" else tag
    spans = tag.find_all("span", id=True, recursive=False) if tag.name == "section" else []
    return {tag["id"], *(span["id"] for span in spans)} - {""}


@pytest.fixture(scope="module")
def find(browser, address: str):
    opened = Visit(browser, address)
    opened.open("search.html")
    yield lambda question: [places(url) for url in opened.page.evaluate(FIND, question)]
    opened.page.close()


@pytest.mark.parametrize(
    ("kind", "first", "three"), [("exam", 20, 26), ("learner", 64, 72), ("held out", 10, 16)]
)
def test_a_search_leads_to_the_section(kind: str, first: int, three: int, find) -> None:
    """30 questions of an examination, and 83 of the few words that learners type.

    The last 20 were written after the ranking by someone who had not read it; the glossary has
    learned some of their words since, so that they no longer test what a stranger would find.
    """
    rows = SEARCHES[kind]
    hits = {
        row["query"]: [not found.isdisjoint(row["sections"]) for found in find(row["query"])]
        for row in rows
    }
    missed = [query for query, found in hits.items() if not any(found)]
    assert len(hits) - len(missed) >= three, missed
    assert sum(found[:1] == [True] for found in hits.values()) >= first


def test_the_places_that_searches_lead_to_exist() -> None:
    ids = {tag["id"] for page in PAGES for tag in article(page).find_all(id=True)}
    wanted = {name for rows in SEARCHES.values() for row in rows for name in row["sections"]}
    assert wanted <= ids


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("memorisation", "memorization"),
        ("labelled neighbours", "labeled neighbors"),
        ("reparametrisation trick", "reparameterization trick"),
        ("warm-up", "warmup"),
        ("noise schedules", "noise schedule"),
        ("Frechet distance", "Fréchet distance"),
        ("η", "eta"),
        ("langevin dinamics", "Langevin dynamics"),
    ],
)
def test_a_search_overlooks_spelling(one: str, other: str, find) -> None:
    assert find(one)[:1] == find(other)[:1] != []


def test_excerpts_are_sentences(visit) -> None:
    tab = visit("search.html?q=posterior").page
    tab.wait_for_selector("#search-results .context mark")
    shown = tab.locator("#search-results .context").all_inner_texts()
    assert not [text for text in shown if ESCAPED_TEX.search(text)]
    broken = [text for text in shown if text and not re.search(r"[.:;!?)…”]$|…", text)]
    assert len(broken) <= len(shown) // 5, broken  # a row of a table ends as it likes
    field = tab.locator(".bd-search-container form.bd-search input")
    field.fill("Langevin dynamics")  # as one types
    first = tab.locator("#search-results li a").first
    assert "Langevin" in first.inner_text()
    first.click()
    tab.wait_for_url("**/05_score.html#*")


def test_the_search_needs_no_server_and_no_storage(browser) -> None:
    tab = browser.new_page()
    tab.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name,"
        " { get() { throw new DOMException('denied', 'SecurityError'); } });"
    )
    tab.goto(f"{(HTML / 'search.html').as_uri()}?q=posterior")
    assert tab.locator("#search-results li a").count() > 3
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((HTML / "notebooks/01_forward_process.html").as_uri())
    tab.locator("button.search-button__button:visible").first.click()
    tab.wait_for_selector("#pst-search-dialog[open] input:visible")
    assert errors == []
    tab.close()


def test_the_reader_can_turn_the_pages(visit) -> None:
    page = "index.html"
    for _ in NOTEBOOKS:
        page = urljoin(page, soup(page).select_one("a.right-next")["href"])
    assert NOTEBOOKS[-1].stem in page
    tab = visit("index.html").page
    tab.locator("a.right-next").first.click()
    tab.wait_for_url(f"**/notebooks/{NOTEBOOKS[0].stem}.html")


@pytest.mark.parametrize(
    ("page", "place", "shows"),
    [
        ("02_reverse_process", "#eq-true-reverse", "mjx-container"),
        ("04_simple_loss", "03_elbo.html#eq-l-t", "mjx-container"),
        ("02_reverse_process", "#fig-reverse-steps", "img"),
    ],
)
def test_a_reference_shows_what_it_leads_to(page: str, place: str, shows: str, visit) -> None:
    """To the mouse that rests on it and to the keyboard; Escape puts it away."""
    opened = visit(f"notebooks/{page}.html")
    tab = opened.page
    link, card = tab.locator(f"a.reference[href='{place}']").first, tab.locator("#preview")
    assert not card.is_visible()
    link.hover()
    card.locator(shows).first.wait_for(state="visible")
    assert link.get_attribute("aria-describedby") == card.get_attribute("id")
    box = card.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 1280
    tab.keyboard.press("Escape")
    assert not card.is_visible()
    tab.mouse.move(0, 0)
    link.evaluate("link => link.focus({ focusVisible: true })")
    card.locator(shows).first.wait_for(state="visible")
    if shows == "img":
        tab.wait_for_function("() => document.querySelector('#preview img').naturalWidth > 0")
    link.blur()
    assert not card.is_visible()
    assert opened.complaints == []


def test_every_place_that_has_a_preview_is_a_place() -> None:
    text = (HTML / "_static" / "previews.js").read_text(encoding="utf-8")
    shown = json.loads(text.removeprefix("window.PREVIEWS = ").rstrip(";\n"))
    wanted = {
        link["href"].partition("#")[2]
        for page in PAGES
        for link in article(page).select("a.reference.internal[href*='#']")
    }
    wanted = {name for name in wanted if re.match("(eq|fig|prf|ex)-", name)}
    assert len(wanted) > 100
    assert wanted <= set(shown)
    for name, html in shown.items():
        made = BeautifulSoup(html, "html.parser")
        assert len(made.find_all(recursive=False)) == 1, name
        assert not made.find_all(["a", "script"]), name
        assert not made.find_all(id=True), name
        assert all((HTML / tag["src"]).is_file() for tag in made.find_all("img")), name


def test_the_figures_that_answer_stand_in_their_chapters(visit) -> None:
    opened = visit("notebooks/15_ode.html")
    figures = opened.page.locator("figure.placed")
    assert figures.count() == 2
    for i in range(figures.count()):
        said = figures.nth(i).locator("output")
        before = said.inner_text()
        figures.nth(i).locator("input[type=range]").first.focus()
        opened.page.keyboard.press("ArrowLeft")
        assert said.inner_text() not in ("", before)
    assert opened.complaints == []


def test_what_the_page_of_figures_lists_is_there() -> None:
    links = [a["href"] for a in article("play.html").select("a[href*='#live-']")]
    assert len(links) >= 12
    for link in links:
        page, name = link.split("#")
        assert soup(page).find(id=name), link


def test_the_network_draws_in_the_page(visit) -> None:
    opened = visit("play.html")
    shown = opened.page.locator("figure.live-sampling")
    shown.get_by_role("button", name="Draw").press("Enter")
    opened.page.wait_for_function(
        "e => e.querySelector('output').textContent.startsWith('t = 0, 20 of 20')",
        arg=shown.element_handle(),
    )
    again = opened.page.locator("figure.live-renoise")
    again.locator("input[type=range]").press("ArrowLeft")
    opened.page.wait_for_function(
        "e => e.querySelector('output').textContent.includes('t = 390: ') && "
        "e.querySelector('output').textContent.includes('back ')",
        arg=again.element_handle(),
    )
    assert opened.complaints == []


def test_the_formulas_print_on_two_pages(visit) -> None:
    pypdf = pytest.importorskip("pypdf")
    tab = visit("formulas.html").page
    margin = dict.fromkeys(("top", "bottom", "left", "right"), "10mm")
    printed = pypdf.PdfReader(io.BytesIO(tab.pdf(format="A4", margin=margin)))
    assert len(printed.pages) <= 2
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 718, "height": 1047})  # A4 within these margins
    assert tab.evaluate("() => document.scrollingElement.scrollWidth - innerWidth") <= 0


def test_the_printed_book(browser, address: str) -> None:
    """Two chapters of it: formulas set, numbers counted on, references and bookmarks that jump."""
    names = ["notebooks/01_forward_process", "notation"]
    tab = browser.new_page(viewport=pdf.PAPER)
    tab.emulate_media(media="print")
    first = pdf.part(tab, address, names[0], names, 600)
    length = len(first[0].pages)
    second = pdf.part(tab, address, names[1], names, 600 + length)
    assert tab.evaluate("() => document.scrollingElement.scrollWidth - innerWidth") <= 0
    tab.close()
    book = pdf.join([first, second])
    text = " ".join(" ".join(page.extract_text() for page in book.pages).split())
    assert "Solution to Exercise 1.1" in text
    assert not ESCAPED_TEX.search(text)
    assert str(600 + len(book.pages)) in book.pages[-1].extract_text().split()
    assert [book.outline[i].title for i in (0, 2)] == ["1. The forward process", "Notation"]
    links = [a.get_object() for page in book.pages for a in page.get("/Annots", [])]
    assert pdf.JUMP not in str(links)
    jumps = [link["/Dest"][0].get_object() for link in links if "/Dest" in link]
    assert max(map(book.get_page_number, jumps)) >= length  # some lead into the other page


@pytest.mark.parametrize("page", ["questions", "results", "notebooks/03_elbo"])
def test_paper_shows_what_the_screen_folds(page: str, browser, address: str) -> None:
    """Answers, commands and lines of a derivation; not the code of a figure, nor a button."""
    tab = browser.new_page(viewport=pdf.PAPER)
    tab.emulate_media(media="print")
    reader, _ = pdf.part(tab, address, page, [page], 0)
    tab.close()
    text = unicodedata.normalize("NFKC", " ".join(p.extract_text() for p in reader.pages))
    text = re.sub(r"\s", "", text)
    folded = article(f"{page}.html").select("details:not(.hide, .solution), .dropdown")
    assert folded
    for tag in folded:
        for part in tag.find_all(["summary", "p", "pre"])[:2]:
            words = re.split(r"\\\(.*?\\\)", part.get_text(), flags=re.DOTALL)
            assert re.sub(r"\s", "", max(words, key=len)) in text
    assert not re.search("CodeofFigure|Clickto", text)


def on_paper(browser, folder: Path, body: str) -> list[str]:
    """The text of each page that a made-up page of the site is printed on."""
    (folder / "page.html").write_text(f"<article><section><h1>T</h1>{body}</section></article>")
    tab = browser.new_page(viewport=pdf.PAPER)
    tab.emulate_media(media="print")
    reader, _ = pdf.part(tab, f"{folder.as_uri()}/", "page", ["page"], 0)
    tab.close()
    return [page.extract_text() for page in reader.pages]


def test_what_hangs_below_the_last_line_makes_no_page_of_its_own(browser, tmp_path: Path) -> None:
    hanging = '<i style="position: absolute; width: 1px; height: 2000px"></i>'
    assert len(on_paper(browser, tmp_path, f"<p>The end.{hanging}</p>")) == 1


@pytest.mark.parametrize(
    "pair",
    [
        "<h2>One</h2><section><span id=a></span><span id=b></span><h3>Two</h3></section>",
        "<h2>One</h2><p>Two</p>",
        "<h2 style='orphans: 1; widows: 1'>One<br>Two</h2><p>Text.</p>",
        "<dl><dt>One</dt><dd><p>Two</p></dd></dl>",
        "<p>One</p><div class=math>Two</div>",
        "<div class='math nohighlight'>One<br>.<br>Two</div>",
        "<p>One</p><div class=cell><pre>Two</pre></div>",
        "<details><summary>One</summary><p>Two</p></details>",
    ],
)
def test_what_belongs_together_is_on_one_page(pair: str, browser, tmp_path: Path) -> None:
    for above in range(0, 60, 12):  # pixels: the foot comes at other places
        pages = on_paper(browser, tmp_path, f'<div style="height: {above}px"></div>' + 150 * pair)
        assert len(pages) > 2
        assert [page.count("One") for page in pages] == [page.count("Two") for page in pages]


def test_the_book_is_printed_to_where_the_first_page_says() -> None:
    pages = (ROOT / "book" / "_ext" / "pages.py").read_text(encoding="utf-8")
    assert f"({pdf.site()}{pdf.OUT.name})" in pages
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert f"make pdf && cp _build/{pdf.OUT.name} _build/html/" in workflow
