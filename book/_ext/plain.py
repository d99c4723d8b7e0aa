"""Plain notebooks to the site: what `tools/references.py` keeps right becomes targets and boxes.

Notebooks hold nothing but Markdown, LaTeX and a little HTML, so that they read well wherever they
are opened. Before MyST reads one, this puts its own syntax in the place of a few conventions:

    <a id="eq-x"></a>                        a target; \\tag{1.2} becomes the number in the margin
    > **Theorem 1.1. Its name**              a box, also for summaries, notes and warnings
    ### Exercise 1.1. Its name               a box, to the next heading, <details> or the end
    <details><summary><b>Solution</b>        the same, with a class
    **Figure 1.1.** below a cell's picture   the caption of that picture
    [text](03_elbo.ipynb#eq-x)               a reference to the target, on whichever page it is
    [Ho et al. (2020)](https://arxiv.org/…)  a citation, if the address is in references.bib
    `minidiff.ddim`                          a link to the API page
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinxcontrib.bibtex.plugin import register_plugin
from sphinxcontrib.bibtex.style.referencing import BracketStyle
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import references

ROUND = partial(BracketStyle, left="(", right=")")


@dataclass
class RoundBrackets(AuthorYearReferenceStyle):
    """Ho et al. (2020), as the notebooks write it."""

    bracket_parenthetical: BracketStyle = field(default_factory=ROUND)
    bracket_textual: BracketStyle = field(default_factory=ROUND)
    bracket_author: BracketStyle = field(default_factory=ROUND)
    bracket_label: BracketStyle = field(default_factory=ROUND)
    bracket_year: BracketStyle = field(default_factory=ROUND)


register_plugin("sphinxcontrib.bibtex.style.referencing", "author_year_round", RoundBrackets)

BOXES = {  # the first word of a box's title: the class of its admonition
    "What": "seealso",
    "Summary": "important",
    "Note": "note",
    "Aside": "note",
    "Warning": "warning",
}
CAPTION = re.compile(r'\A<a id="(fig-[\w-]+)"></a>\n\n(\*\*Figure [\w.]+\*\* .*)\Z', flags=re.S)
FOLDED = re.compile(r"\A# @title (.+)\n")
ANCHOR = re.compile(rf'^( *)<a id="({references.NAME})"></a>\n\s*?\n', flags=re.M)
QUOTE = re.compile(r"^(?:>.*\n?)+", flags=re.M)
EXERCISE = re.compile(
    r'^(<a id="ex-[\w-]+"></a>\n\n)### (Exercise .+)\n((?:(?!#|<).*(?:\n|\Z))*)', flags=re.M
)
NAME = re.compile(r"`minidiff\.([A-Za-z_]\w*)((?:\.\w+)*)`")
ROLE = re.compile(r"\{(?:eq|numref|prf:ref)\}`([\w-]+)`")


def box(quote: re.Match[str]) -> str:
    """A quotation that begins with a title, or stands right below a heading, is a box."""
    text = re.sub(r"^> ?", "", quote[0], flags=re.M)
    title = re.match(r"\*\*(.+)\*\*\n", text)
    if title:
        return admonition(title[1], text[title.end() :])
    above = quote.string[: quote.start()].rstrip().rpartition("\n")[2]
    return admonition(above.strip("# "), text) if above.startswith("#") else quote[0]


def admonition(title: str, text: str, kind: str | None = None) -> str:
    kind = kind or BOXES.get(re.split(r"\W", title)[0], "important")
    if re.match(references.KINDS, title):
        kind = "theorem"
    return f"::::{{admonition}} {title}\n:class: {kind}\n{text.strip()}\n::::\n"


def markdown(text: str) -> str:
    """MyST of a plain Markdown cell."""
    text = EXERCISE.sub(lambda m: m[1] + admonition(m[2], m[3], "exercise") + "\n", text)
    text = QUOTE.sub(box, text)
    text = ANCHOR.sub(r"\1(\2)=\n", text)
    text = text.replace("<details><summary><b>Sol", '<details class="solution"><summary><b>Sol')
    text = re.sub(r"\]\([\w.]+\.ipynb#", "](#", text)
    text = text.replace("](../book/", "](../")
    return NAME.sub(documented, references.CITATION.sub(citation, text))


def citation(link: re.Match[str]) -> str:
    paper = references.by_address().get(link[2])
    if paper is not None and link[1] == paper.textual:
        return f"{{cite:t}}`{paper.key}`"
    if paper is not None and link[1] == paper.parenthetical:
        return f"{{cite:alp}}`{paper.key}`"
    return link[0]


def documented(name: re.Match[str]) -> str:
    import minidiff

    return f"{{py:obj}}{name[0]}" if name[1] in minidiff.__all__ else name[0]


@cache
def labels() -> dict[str, references.Label]:
    return references.labels()


def read(app: Any, page: str, source: list[str]) -> None:
    """Sphinx calls this with the text of every page before it is parsed."""
    if not page.startswith("notebooks/"):
        source[0] = ROLE.sub(lambda m: f"[{labels()[m[1]].text}](#{m[1]})", source[0])
        return
    notebook = json.loads(source[0])
    cells: list[Any] = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            if (caption := CAPTION.match(text)) and cells[-1]["cell_type"] == "code":
                drawn = cells[-1]["metadata"].setdefault("mystnb", {})
                drawn["figure"] = {"caption": markdown(caption[2]), "name": caption[1]}
                continue
            cell["source"] = markdown(text)
        elif (folded := FOLDED.match(text)) and "solution" not in cell["metadata"].get("tags", []):
            title = re.sub("^Figure", "Code of Figure", folded[1])
            prompts = {"code_prompt_show": title, "code_prompt_hide": title}
            cell["metadata"].setdefault("mystnb", {}).update(prompts)
            cell["source"] = text[folded.end() :]
        cells.append(cell)
    source[0] = json.dumps(notebook | {"cells": cells})


def number(app: Any, doctree: Any) -> None:
    """Equations keep the number that the notebook gives them."""
    for formula in doctree.findall(nodes.math_block):
        tag = re.search(r"\s*\\tag\{([^}]*)\}\s*$", formula.astext())
        if tag:
            latex = formula.astext()[: tag.start()]
            formula[:] = [nodes.Text(latex)]
            formula["number"] = tag[1]


def unnumbered(app: Any, config: Any) -> None:
    """sphinx_jupyterbook_latex switches Sphinx's own numbers on, whatever _config.yml says."""
    config["numfig"] = False


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("config-inited", unnumbered, priority=900)
    app.connect("source-read", read)
    app.connect("doctree-read", number)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
