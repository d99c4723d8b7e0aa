"""Number the book's equations, figures and exercises, and keep every reference to them right.

    python tools/references.py            write numbers and references into notebooks/
    python tools/references.py --check    only say what is stale, dangling or raw

An author gives a thing a name and refers to it; this fills in what readers see:

    <a id="eq-marginal"></a>     [](#eq-marginal)    becomes  [(1.3)](#eq-marginal), and in another
                                                     chapter  [(1.3)](01_….ipynb#eq-marginal)
    $$
    … \\tag{1.3}                  (the tag is written too)
    $$

    <a id="fig-fan"></a>         [](#fig-fan)        becomes  [Figure 1.2](#fig-fan)

    **Figure 1.2.** The caption.

    <a id="prf-closed"></a>      [](#prf-closed)     becomes  [Theorem 1.1](#prf-closed)

    > **Theorem 1.1. Its name**

    <a id="ex-01-jump"></a>      [](#ex-01-jump)     becomes  [Exercise 1.4](#ex-01-jump)

    ### Exercise 1.4. Its name

    <a id="sec-fwd-end"></a>     [](#sec-fwd-end)    becomes  [The end](#sec-fwd-end)

    ## The end

    [t](cite:ho2020denoising)    becomes  [Ho et al. (2020)](https://arxiv.org/abs/2006.11239)
    ([p](cite:ho2020denoising))  becomes  ([Ho et al., 2020](https://arxiv.org/abs/2006.11239))
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
BIBLIOGRAPHY = ROOT / "book" / "references.bib"
APPENDIX = 90  # notebooks from this number on are appendices A, B, …

NAME = r"(?:eq|fig|ex|prf|sec)-[\w-]+"
NUMBER = r"(?: [0-9A-Z?]+(?:\.[0-9?]+)?)?"  # " 1.3", " ?", or nothing yet
KINDS = r"Theorem|Lemma|Algorithm|Definition|Proposition|Corollary"
GAP = r"\n(?:[ >]*\n)+[ >]*"  # the empty line that HTML needs behind it
ANCHOR = re.compile(rf'^[ >]*<a id="({NAME})"></a>', flags=re.M)
EQUATION = re.compile(rf'(<a id="(eq-[\w-]+)"></a>{GAP}\$\$)(.*?)(\s*)(\$\$)', flags=re.S)
FIGURE = re.compile(rf'(<a id="(fig-[\w-]+)"></a>{GAP}\*\*)Figure{NUMBER}\.(?=\*\*)')
EXERCISE = re.compile(rf'(<a id="(ex-[\w-]+)"></a>{GAP}#+ )Exercise{NUMBER}\. ')
PROVEN = re.compile(rf'(<a id="(prf-[\w-]+)"></a>{GAP}\*\*)({KINDS}){NUMBER}\.')
SECTION = re.compile(rf'<a id="(sec-[\w-]+)"></a>{GAP}#+ (.+)')
TAG = re.compile(r"\s*\\tag\{[^}]*\}")
TEXT = r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]"
LINK = re.compile(rf"{TEXT}\(([\w.]*)#({NAME})\)")
CITATION = re.compile(rf"{TEXT}\((cite:[\w-]+|https?://[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)\)")
CHECK = re.compile(r'(md\.book\.check\(\s*)"[^"]*"')
DRAWS = re.compile(rf"\A# @title Figure{NUMBER}$", flags=re.M)
CODE = re.compile(r"^ *(`{3,}).*?^ *\1`*$|(?<!`)(`+)(?!`).+?(?<!`)\2(?!`)", flags=re.M | re.S)
RAW = {  # what plain viewers show as it is written
    r"\{[a-z:]+\}`": "a MyST role",
    r"^ *(?:`{3,}|:{3,})\{": "a MyST directive",
    r"^ *\([\w-]+\)=$": "a MyST target",
    r"\$\$ *\([\w-]+\)$": "a MyST equation label",
    r"^>(?:(?!\$\$).)*\$\$(?:(?!\$\$).)*$": "a formula of several lines in a quotation",
    r"</?(?!(?:a|b|details|summary)[ >])[a-z][^>\n]*>": "HTML that not every viewer keeps",
    r"(?:</a>|</summary>|</details>)\n[^\n>]": "HTML without an empty line behind it",
}


class Label(NamedTuple):
    """A named thing: the notebook that holds it, and what a reference to it says."""

    stem: str
    text: str


def chapter(stem: str) -> str:
    """The number of a chapter, "12", or the letter of an appendix, "A"."""
    number = int(stem[:2])
    return str(number) if number < APPENDIX else chr(ord("A") + number - APPENDIX)


def prose(notebook: NotebookNode) -> Iterator[str]:
    yield from (cell.source for cell in notebook.cells if cell.cell_type == "markdown")


# -- numbers ------------------------------------------------------------------------------------


def numbered(notebook: NotebookNode, stem: str) -> dict[str, Label]:
    """Every name of one notebook, in order, with the text of a reference to it."""
    counts: Counter[str] = Counter()
    found: dict[str, Label] = {}
    for text in prose(notebook):
        for anchor in ANCHOR.finditer(text):
            name = anchor[1]
            here = text[anchor.start() :].lstrip(" >")
            if name in found:
                raise ValueError(f"{stem}: {name} is given twice")
            if (section := SECTION.match(here)) is not None:
                found[name] = Label(stem, section[2])
                continue
            if EQUATION.match(here):
                kind = "eq"
            elif FIGURE.match(here):
                kind = "Figure"
            elif EXERCISE.match(here):
                kind = "Exercise"
            elif (proven := PROVEN.match(here)) is not None:
                kind = proven[3]
            else:
                raise ValueError(f"{stem}: nothing that {name} could name comes after it")
            counts[kind] += 1
            number = f"{chapter(stem)}.{counts[kind]}"
            found[name] = Label(stem, f"({number})" if kind == "eq" else f"{kind} {number}")
    return found


def labels() -> dict[str, Label]:
    """Every name of the book."""
    found: dict[str, Label] = {}
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        new = numbered(nbformat.read(path, as_version=4), path.stem)
        if twice := set(found) & set(new):
            raise ValueError(f"{path.stem}: {sorted(twice)} are names in another chapter too")
        found |= new
    return found


# -- papers -------------------------------------------------------------------------------------


class Paper(NamedTuple):
    """An entry of the bibliography, and how the text speaks of it."""

    key: str
    address: str
    who: str
    year: str

    @property
    def textual(self) -> str:
        """As the subject of a sentence."""
        return f"{self.who} ({self.year})"

    @property
    def parenthetical(self) -> str:
        """Inside brackets."""
        return f"{self.who}, {self.year}"


@cache
def papers() -> dict[str, Paper]:
    """Every entry of references.bib by its key."""
    from pybtex.database import parse_file
    from pybtex.richtext import Text

    found = {}
    for key, entry in parse_file(str(BIBLIOGRAPHY)).entries.items():
        names = [" ".join([*p.prelast_names, *p.last_names]) for p in entry.persons["author"]]
        names = [str(Text.from_latex(name)) for name in names]  # Hyv{\"a}rinen, with an ä
        who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        fields = entry.fields
        if "eprint" in fields:
            address = f"https://arxiv.org/abs/{fields['eprint']}"
        elif "doi" in fields:
            address = f"https://doi.org/{fields['doi']}"
        else:
            address = fields["url"]
        found[key] = Paper(key, address, who, fields["year"])
    return found


@cache
def by_address() -> dict[str, Paper]:
    return {paper.address: paper for paper in papers().values()}


def cited(link: re.Match[str]) -> str:
    text, address = link[1], link[2]
    paper = papers()[address[5:]] if address.startswith("cite:") else by_address().get(address)
    if paper is None:
        return link[0]
    if text == "t" or re.search(r"\(\d{4}\)$", text):
        return f"[{paper.textual}]({paper.address})"
    if text == "p" or re.search(r", \d{4}$", text):
        return f"[{paper.parenthetical}]({paper.address})"
    return link[0]  # words of the author's own choice


# -- writing ------------------------------------------------------------------------------------


def rewritten(text: str, stem: str, known: dict[str, Label]) -> str:
    """A Markdown cell with the right numbers and references."""

    def number(name: str) -> str:
        return known[name].text.split()[-1].strip("()")

    def refer(link: re.Match[str]) -> str:
        text, _, name = link.groups()
        if name not in known:
            return link[0]
        target = known[name]
        file = "" if target.stem == stem else f"{target.stem}.ipynb"
        if not name.startswith("sec-") or text in ("", "?"):
            text = target.text
        return f"[{text}]({file}#{name})"

    text = EQUATION.sub(
        lambda m: f"{m[1]}{TAG.sub('', m[3])} \\tag{{{number(m[2])}}}{m[4]}{m[5]}", text
    )
    text = FIGURE.sub(lambda m: f"{m[1]}Figure {number(m[2])}.", text)
    text = EXERCISE.sub(lambda m: f"{m[1]}Exercise {number(m[2])}. ", text)
    text = PROVEN.sub(lambda m: f"{m[1]}{m[3]} {number(m[2])}.", text)
    return CITATION.sub(cited, LINK.sub(refer, text))


def update(notebook: NotebookNode, stem: str, known: dict[str, Label]) -> bool:
    """Write numbers and references into a notebook; whether anything changed."""
    before = [cell.source for cell in notebook.cells]
    exercise = ""
    for cell, after in zip(notebook.cells, [*notebook.cells[1:], None], strict=True):
        if cell.cell_type == "markdown":
            cell.source = rewritten(cell.source, stem, known)
            for found in EXERCISE.finditer(cell.source):
                exercise = known[found[2]].text.split()[-1]
            continue
        cell.source = CHECK.sub(rf'\1"{exercise}"', cell.source)
        figure = FIGURE.match(after.source) if after and after.cell_type == "markdown" else None
        if figure:
            cell.source = DRAWS.sub(f"# @title {known[figure[2]].text}", cell.source)
    return before != [cell.source for cell in notebook.cells]


def problems(notebook: NotebookNode, stem: str, known: dict[str, Label]) -> Iterator[str]:
    """Raw markup, references without a target, and numbers that are not right."""
    try:
        known = known | numbered(notebook, stem)
    except ValueError as error:
        yield str(error)
        return
    for text in prose(notebook):
        bare = CODE.sub(lambda c: c[0] if re.match(r" *`{3,}\{", c[0]) else "`", text)
        bare = re.sub(r"(?<!\$)\$[^$]+\$(?!\$)", "", bare)
        for pattern, what in RAW.items():
            for raw in re.finditer(pattern, bare, flags=re.M):
                yield f"shows {what} to readers: {bare[raw.start() : raw.start() + 60]!r}"
        for link in LINK.finditer(text):
            if link[3] not in known:
                yield f"refers to {link[3]}, which does not exist"
        for file in re.findall(r"\]\(([\w./]+\.(?:ipynb|md))[#)]", text):
            if not (NOTEBOOKS / file).exists():
                yield f"links to {file}, which does not exist"
    if update(deepcopy(notebook), stem, known):
        yield "has stale numbers or references: run python tools/references.py"


def main() -> int:
    known, found = labels(), []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        if "--check" in sys.argv:
            found += [f"{path.stem}: {p}" for p in problems(notebook, path.stem, known)]
        elif update(notebook, path.stem, known):
            import notebooks  # the normal form

            notebooks.write(notebooks.normalise(notebook), path)
            print(f"{path.stem}: numbers and references written")
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
