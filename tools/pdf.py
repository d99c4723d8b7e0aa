"""Print the built book into one PDF: a title page with the contents, then every page in order.

    make pdf        # builds the book, then writes _build/minidiff.pdf

Needs Chromium; each page is printed by it as it stands, formulas and pictures included.
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

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
OUT = ROOT / "_build" / "minidiff.pdf"
PRINT_CSS = """
.bd-header, .bd-sidebar-primary, .bd-sidebar-secondary, .prev-next-footer, .bd-footer,
.header-article, .bd-header-article, #jb-print-docs-body, .skip-link, dialog {
  display: none !important;
}
.bd-article img { max-height: 20cm; }
div.highlight pre, .cell_output pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.cell, figure, table { break-inside: avoid-page; }
h2, h3 { break-after: avoid-page; }
"""
UNFOLD = "() => document.querySelectorAll('details').forEach(d => d.open = true)"
EAGER = """async () => { const all = [...document.images];
  all.forEach(i => { i.loading = 'eager'; });
  await Promise.all(all.map(i => i.decode().catch(() => {}))); }"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that keeps silent."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Print, count the pages, write the contents, join."""
    try:
        from playwright.sync_api import sync_playwright
        from pypdf import PdfReader, PdfWriter
    except ImportError as error:
        sys.exit(f"printing needs one more package: pip install {error.name}")
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if chromium is None:
        sys.exit("printing needs Chromium: install it and run this again")
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    names = [n for n in re.findall(r"- file: (\S+)", toc) if n != "play"]  # play needs a screen
    handler = functools.partial(Quiet, directory=str(HTML))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    parts: list[tuple[str, PdfReader]] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(color_scheme="light")

        def pdf() -> PdfReader:
            margin = {side: "18mm" for side in ("top", "bottom", "left", "right")}
            return PdfReader(io.BytesIO(tab.pdf(format="A4", margin=margin, print_background=True)))

        for name in names:
            tab.goto(f"http://127.0.0.1:{server.server_port}/{name}.html", wait_until="load")
            tab.evaluate("() => window.MathJax?.startup?.promise")
            tab.evaluate(UNFOLD)
            tab.evaluate(EAGER)
            tab.add_style_tag(content=PRINT_CSS)
            title = tab.title().split(" — ")[0]
            parts.append((title, pdf()))
            print(f"{len(parts[-1][1].pages):4d} pages  {title}", flush=True)
        page, rows = 2, []
        for title, part in parts:
            rows.append(f"<tr><td>{html.escape(title)}</td><td align=right>{page}</td></tr>")
            page += len(part.pages)
        tab.set_content(
            "<body style='font-family:sans-serif'><h1>minidiff</h1><p>A textbook of diffusion "
            f"models that runs</p><table style='width:100%'>{''.join(rows)}</table>"
        )
        front = pdf()
        browser.close()
    server.shutdown()
    if len(front.pages) != 1:
        sys.exit("the contents no longer fit on one page: the page numbers would be wrong")
    book = PdfWriter()
    book.append(front, outline_item="Contents")
    for title, part in parts:
        book.append(part, outline_item=title)
    with OUT.open("wb") as file:
        book.write(file)
    print(f"{len(book.pages)} pages in {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
