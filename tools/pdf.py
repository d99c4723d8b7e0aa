"""Print the built book as one PDF: the first page, the contents, then every page in order.

    make pdf        # builds the book, then writes _build/minidiff.pdf

Chromium prints the pages one after the other, so that memory stays small. pdf.js makes each ready
for paper, pdf.css lays it out, and here they are joined: contents, bookmarks, references.
"""

from __future__ import annotations

import functools
import html
import http.server
import io
import re
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(__file__).resolve().parent
HTML = ROOT / "_build" / "html"
OUT = ROOT / "_build" / "minidiff.pdf"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PAPER = {"width": 658, "height": 930}  # A4 within its margins, in CSS pixels
JUMP = "https://book.invalid/"  # stands for "elsewhere in this book" until the parts are joined


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that keeps silent."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def pages() -> dict[str, str]:
    """Page: the caption that stands above it in the contents, or none. In order."""
    found, caption = {"index": ""}, ""
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    for key, value in re.findall(r"- (caption|file): (.+)", toc):
        if key == "caption":
            caption = value
        elif value != "play":  # its figures need a screen
            found[value], caption = caption, ""
    return found


def site() -> str:
    """Where the book is on the web."""
    found = re.search(r"baseurl: (\S+)", (ROOT / "_config.yml").read_text(encoding="utf-8"))
    return found[1] if found else ""


def printed(tab: Any) -> Any:
    """What the tab shows, as a PdfReader."""
    from pypdf import PdfReader

    return PdfReader(io.BytesIO(tab.pdf(prefer_css_page_size=True, print_background=True)))


def part(tab: Any, url: str, name: str, names: list[str], start: int) -> tuple[Any, list[Any]]:
    """One page of the site as (PdfReader, its headings); `start` pages stand before it."""
    tab.goto(f"{url}{name}.html")
    tab.evaluate("() => window.MathJax?.startup?.promise")
    values = {"name": name, "names": names, "start": start, "site": site(), "book": JUMP}
    tab.add_style_tag(path=TOOLS / "pdf.css")
    headings = tab.evaluate((TOOLS / "pdf.js").read_text(encoding="utf-8"), values)
    return printed(tab), headings


def contents(tab: Any, rows: list[tuple[str, str, str, int]], start: int) -> Any:
    """The table of contents; a row is (caption above it or none, page, title, page number)."""
    lines = []
    for caption, name, title, number in rows:
        if caption:
            lines.append(f"<tr class=caption><td colspan=2>{html.escape(caption)}</td></tr>")
        link = f'<a href="{JUMP}{name}">{html.escape(title)}</a>'
        lines.append(f"<tr><td>{link}</td><td>{number}</td></tr>")
    tab.set_content(
        f"<style>html {{ counter-reset: page {start}; }}</style>"
        f"<h1>Contents</h1><table class=contents>{''.join(lines)}</table>"
    )
    tab.add_style_tag(path=TOOLS / "pdf.css")
    return printed(tab)


def join(parts: list[tuple[Any, list[Any]]]) -> Any:
    """The parts as one PdfWriter: bookmarks from the headings, references that jump."""
    from pypdf import PdfWriter
    from pypdf.generic import Destination, Fit, NameObject

    book = PdfWriter()
    places: dict[str, tuple[int, Fit]] = {}
    for reader, headings in parts:
        before = len(book.pages)
        book.append(reader, import_outline=False)
        for name, place in reader.named_destinations.items():
            at = before + reader.get_destination_page_number(place)
            places[name.removeprefix("/")] = (at, Fit.xyz(top=place.top))
        chapter = None
        for heading in headings:
            at, fit = places.get(heading["id"], (before, Fit.fit()))
            above = None if heading["top"] else chapter
            mark = book.add_outline_item(
                title=heading["title"], page_number=at, parent=above, fit=fit
            )
            chapter = mark if heading["top"] else chapter
    for page in book.pages:
        for annotation in page.get("/Annots", []):
            link = annotation.get_object()
            target = str(link.get("/Dest") or link.get("/A", {}).get("/URI", ""))
            target = target.removeprefix("/").removeprefix(JUMP)
            if target in places:
                at, fit = places[target]
                link.pop("/A", None)
                reference = book.pages[at].indirect_reference
                jump = Destination(target, reference, fit)
                link[NameObject("/Dest")] = jump.dest_array
    return book


def written(tab: Any, url: str) -> Any:
    """The whole book of the site at `url`, as a PdfWriter."""
    captions = pages()
    names = list(captions)
    title = part(tab, url, "index", names, 0)
    start = len(title[0].pages)
    blank = [(captions[name], name, name, 0) for name in names[1:]]
    total = start + len(contents(tab, blank, start).pages)
    parts, rows = [], []
    for name in names[1:]:
        parts.append(part(tab, url, name, names, total))
        rows.append((captions[name], name, parts[-1][1][0]["title"], total + 1))
        total += len(parts[-1][0].pages)
    listed = contents(tab, rows, start), [{"title": "Contents", "id": "", "top": True}]
    return join([title, listed, *parts])


def main() -> None:
    """Serve the site, print it, say how long it is."""
    try:
        import pypdf  # noqa: F401
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        sys.exit(f"printing needs one more package: pip install {error.name}")
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        sys.exit("printing needs Chromium: install it and run this again")
    for name in pages():
        if not (HTML / f"{name}.html").exists():
            sys.exit(f"{name}.html is not built yet: run make book first")
    handler = functools.partial(Quiet, directory=str(HTML))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(color_scheme="light", reduced_motion="reduce", viewport=PAPER)
        tab.emulate_media(media="print")
        book = written(tab, f"http://127.0.0.1:{server.server_port}/")
        browser.close()
    server.shutdown()
    book.add_metadata({"/Title": "minidiff: a textbook of diffusion models that runs"})
    book.write(OUT)
    size = OUT.stat().st_size / 1e6
    print(f"{len(book.pages)} pages, {size:.0f} MB in {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
