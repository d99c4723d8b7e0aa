"""What a reference leads to, shown beside it: formulas, figures, theorems and exercises, in a file.

preview.js loads that file when a reader first rests on such a reference. It is a script, because
from file:// a browser loads nothing else.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PLACE = re.compile(r'<(div|figure)\b[^>]*\bid="((?:eq|fig|prf|ex)-[\w-]+)"')


def element(page: str, mark: re.Match[str]) -> str:
    """The whole element that begins at the mark, to the end of its own tag."""
    depth = 0
    for tag in re.finditer(rf"<(/?){mark[1]}\b[^>]*>", page[mark.start() :]):
        depth += -1 if tag[1] else 1
        if depth == 0:
            return page[mark.start() : mark.start() + tag.end()]
    raise ValueError(f"the element {mark[2]} has no end")


def bare(html: str) -> str:
    """Without names and links, which are its own place's, and with pictures found from the root."""
    html = re.sub(r'<a class="headerlink".*?</a>', "", html, flags=re.S)
    html = re.sub(r"</?a\b[^>]*>", "", html)
    html = re.sub(r'(<[^>]*?) (?:id|loading|tabindex)="[^"]*"', r"\1", html)
    html = re.sub(r'<span class="wide-figure[^>]*>(<img[^>]*>)</span>', r"\1", html, flags=re.S)
    return re.sub(r'src="(?:\.\./)*_images/', 'src="_images/', html)


def previews(page: str) -> dict[str, str]:
    """The places of a built page that references lead to: their names, and what stands there."""
    article = page[page.find("<article") : page.rfind("</article>")]
    return {mark[2]: bare(element(article, mark)) for mark in PLACE.finditer(article)}


def write(app: Any, exception: Exception | None) -> None:
    """Names are one for the whole book, so a page need not be told."""
    if exception is None and app.builder.format == "html":
        found: dict[str, str] = {}
        for name in sorted(app.env.found_docs):
            page = Path(app.outdir, app.builder.get_target_uri(name))
            found |= previews(page.read_text(encoding="utf-8"))
        text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
        Path(app.outdir, "_static", "previews.js").write_text(
            f"window.PREVIEWS = {text};\n", encoding="utf-8"
        )


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
