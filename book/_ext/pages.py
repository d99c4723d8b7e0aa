"""Last touches to the book's pages, where the theme's HTML falls short of what readers need."""

from __future__ import annotations

import re
from typing import Any


def finish(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Called for every page before it is written."""
    # sphinx-thebe (live kernels, unused here) declares its constants twice: an error on every page.
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in f"{script} {getattr(script, 'attributes', {}).get('body', '')}".lower()
    ]
    body = context.get("body")
    if body:
        # A label that hides the visible words from screen readers.
        body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
        # A role that ARIA has withdrawn, inside a list.
        body = body.replace('role="doc-biblioentry"', 'role="listitem"')
        # Pictures are fetched when the reader comes near them.
        context["body"] = re.sub(r"<img (?!loading)", '<img loading="lazy" ', body)


def plain_docstring(
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Docstrings are written for people at a prompt; make valid reStructuredText of them."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    lines[:] = [*"\n\n".join(map(restructured, paragraphs)).split("\n"), ""]


def restructured(paragraph: str) -> str:
    if paragraph.lstrip().startswith(">>>"):
        return paragraph
    if re.search(r"^\s|\S  +\S", paragraph, flags=re.M):  # laid out by hand: leave it as it is
        return "::\n\n" + re.sub(r"^", "    ", paragraph, flags=re.M)
    parts = paragraph.split("`")
    if len(parts) % 2 == 0:  # a lone backtick
        parts = [paragraph.replace("`", "'")]
    prose = [re.sub(r"([\\*_|])", r"\\\1", part) for part in parts[::2]]
    code = [f"``{part}``" for part in parts[1::2]]
    return "".join(a + b for a, b in zip(prose, [*code, ""], strict=True))


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", plain_docstring)
    app.connect("html-page-context", finish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
