"""What the search page searches: every section, exercise, term and name of the book, as one list.

A section's `names` are what the glossary calls the things that it explains (`term (한국어, ABBR)`,
linked to the section), so that a reader finds it by its usual name. search.js ranks.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import references

SIGNS = {
    **{"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η"},
    **{"theta": "θ", "lambda": "λ", "mu": "μ", "sigma": "σ", "tau": "τ", "phi": "φ", "pi": "π"},
    **{"Delta": "Δ", "Sigma": "Σ", "Phi": "Φ", "ell": "ℓ", "nabla": "∇", "partial": "∂"},
    **{"sim": "~", "to": "→", "in": "∈", "le": "≤", "ge": "≥", "ne": "≠", "times": "×"},
    **{"cdot": "·", "approx": "≈", "mid": "|", "Vert": "‖", "infty": "∞", "sum": "Σ", "int": "∫"},
    **{"ldots": "…", "dots": "…", "sqrt": "√", "propto": "∝", "pm": "±", "top": "ᵀ", "star": "*"},
}
OVER = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303"}  # they follow their letter
MUTE = ("mathrm", "mathbf", "mathcal", "mathbb", "text", "operatorname", "left", "right", "big")
QUIET = (nodes.raw, nodes.comment, nodes.image, nodes.target, nodes.footnote, addnodes.index)
BELOW = str.maketrans("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
LONG = 60  # letters: a formula beyond this is a hole in an excerpt


def lowered(index: str) -> str:
    """An index as small letters below the line, if there are any for all of it."""
    below = index.replace(" ", "").translate(BELOW)
    return below if not re.search(r"[^₀-₎ₐ-ₜᵢ-ᵥⱼ]", below) else f"_{index}"


def readable(latex: str) -> str:
    """A formula as a few plain signs, or as an ellipsis."""
    text = re.sub(
        r"\\(hat|bar|tilde)\s*\{?\\?([a-zA-Z]+)\}?",
        lambda m: SIGNS.get(m[2], m[2]) + OVER[m[1]],
        latex,
    )
    text = re.sub(rf"\\(?:{'|'.join(MUTE)})(?![a-zA-Z])", "", text)
    text = re.sub(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", text)
    text = re.sub(r"\\([a-zA-Z]+)", lambda m: SIGNS.get(m[1], m[0]), text)
    text = re.sub(r"\\[,;:! ]", " ", text).replace("\\{", "{").replace("\\}", "}")
    text = re.sub(r"_(?:\{([^{}]*)\}|(\w))", lambda m: lowered(m[1] or m[2]), text)
    text = re.sub(r"[{}]", "", text)
    return "…" if "\\" in text or len(text) > LONG else " ".join(text.split())


@dataclass
class Entry:
    """One thing that a search can lead to. Its text has a line for each paragraph."""

    url: str
    kind: str  # page, section, exercise, term, name
    title: str
    number: str = ""
    page: str = ""
    names: str = ""
    text: str = ""
    code: str = ""
    lines: list[str] = field(default_factory=list, repr=False)
    words: dict[str, None] = field(default_factory=dict, repr=False)

    def finished(self) -> dict[str, str]:
        """What is not empty of it, with the text joined."""
        self.text, self.code = "\n".join(self.lines), " ".join(self.words)
        said = asdict(self)
        return {key: said[key] for key in said if said[key] and key not in ("lines", "words")}


def flat(node: Any) -> str:
    """The text of a title, a paragraph, a cell, with its formulas made readable."""
    named = isinstance(node, addnodes.pending_xref) and node["refdomain"] == "std"
    if named and not node["refexplicit"]:  # it takes the words of a title, which are not known yet
        return ""
    if isinstance(node, addnodes.pending_xref) and node["refdomain"] == "cite":
        paper = references.papers()[node["reftarget"]]
        return paper.textual if node["reftype"] == "t" else paper.parenthetical
    if isinstance(node, (nodes.math, nodes.math_block)):
        return readable(node.astext())
    if isinstance(node, QUIET):
        return ""
    if isinstance(node, nodes.Text):
        return str(node).replace("\n", " ").replace("\0", "")
    return "".join(map(flat, node.children))


def anchor(node: Any) -> str:
    """The name that the authors gave a place, which stays when its title is changed; or its id."""
    ids = node["ids"]
    return next((name for name in ids if name.startswith("sec-")), ids[0])


class Reader:
    """The entries of one page, from its doctree."""

    def __init__(self, app: Any, page: str, known: dict[str, list[str]]):
        self.url = app.builder.get_target_uri(page)
        self.numbers = app.env.toc_secnumbers.get(page, {})
        self.known = known
        self.entries: list[Entry] = []
        title = app.env.titles[page]
        first = ".".join(map(str, self.numbers.get("", ())))
        self.page = f"{first}. {flat(title)}" if first else flat(title)
        self.read(app.env.get_doctree(page), None)

    def open(self, kind: str, title: str, ids: list[str], name: str) -> Entry:
        """Begin an entry; `name` is the anchor that it is linked by."""
        numbers = next((self.numbers[f"#{i}"] for i in ids if f"#{i}" in self.numbers), ())
        entry = Entry(
            url=self.url if kind == "page" else f"{self.url}#{name}",
            kind=kind,
            title=title,
            number=".".join(map(str, numbers)),
            page="" if kind == "page" else self.page,
            names="; ".join(dict.fromkeys(n for i in ids for n in self.known.get(i, []))),
        )
        self.entries.append(entry)
        return entry

    def read(self, node: Any, entry: Entry | None) -> Entry | None:
        """Reads a node into its entry, and returns the one that what follows belongs to."""
        before = entry
        classes = node.get("classes", []) if isinstance(node, nodes.Element) else []
        if isinstance(node, nodes.section):
            kind = "section" if isinstance(node.parent, nodes.section) else "page"
            entry = self.open(kind, flat(node.next_node(nodes.title)), node["ids"], anchor(node))
        elif isinstance(node, nodes.admonition) and "exercise" in classes and node["ids"]:
            entry = self.open("exercise", flat(node[0]), node["ids"], node["ids"][0])
        elif isinstance(node, nodes.definition_list_item) and isinstance(node[0], nodes.term):
            if node[0]["ids"]:
                entry = self.open("term", flat(node[0]), node[0]["ids"], node[0]["ids"][0])
        elif isinstance(node, addnodes.desc) and node[0]["ids"]:
            entry = self.open("name", node[0]["fullname"], node[0]["ids"], node[0]["ids"][0])
        elif "cell_output" in classes or isinstance(node, (*QUIET, nodes.title, nodes.caption)):
            return before
        elif isinstance(node, nodes.literal_block) and entry:
            entry.words.update(dict.fromkeys(re.findall(r"[^\W\d]\w+", node.astext())))
            return before
        elif isinstance(node, (nodes.paragraph, nodes.math_block, nodes.row)) and entry:
            cells = node.children if isinstance(node, nodes.row) else [node]
            line = " · ".join(filter(None, (" ".join(flat(cell).split()) for cell in cells)))
            line = line.removesuffix("→").strip()  # of the glossary
            entry.lines += [line] * (line not in ("", "…") and line[:9] != "API page:")
            return before
        exercise = entry if entry and entry.kind == "exercise" else None
        for child in node.children:
            entry = self.read(child, entry)
        return exercise or before  # the solution follows the box


def named(doctree: Any) -> Iterator[tuple[str, str]]:
    """(place, its name) for all that the glossary says of its terms, abbreviations included."""
    for item in doctree.findall(nodes.definition_list_item):
        term, _, others = item[0].astext().partition(" (")
        names = [term, *re.findall(r"[A-Za-z][\w –-]*", others)]
        for link in item[1].findall(addnodes.pending_xref):
            for name in names:
                yield link["reftarget"], name


def entries(app: Any) -> list[dict[str, str]]:
    known: dict[str, list[str]] = {}
    if "glossary" in app.env.found_docs:
        for place, name in named(app.env.get_doctree("glossary")):
            known.setdefault(place, []).append(name)
    pages = [page for page in app.env.titles if page != app.config.root_doc]
    return [e.finished() for page in pages for e in Reader(app, page, known).entries]


def write(app: Any, exception: Exception | None) -> None:
    """A script, not JSON: from file:// a browser loads nothing else."""
    if exception is None and app.builder.format == "html":
        text = json.dumps(entries(app), ensure_ascii=False, separators=(",", ":"))
        Path(app.outdir, "_static", "sections.js").write_text(
            f"window.SECTIONS = {text};\n", encoding="utf-8"
        )


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
