"""Slides for teachers: the figures of the chapters with their captions, and the summaries.

    make slides                            every meeting of every course into _build/slides/
    python tools/slides.py week ddim       these courses, of tools/routes.py
    python tools/slides.py forward_process one chapter

Nothing is executed: the pictures are those that the notebooks hold. A deck is one HTML file that
needs no other and no network. The keys PageDown and PageUp turn the slides; printed, it is a PDF of
one slide a page.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nbformat
import references
import routes
from docutils.utils.math.latex2mathml import tex2mathml
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode

import notebooks

OUT = notebooks.ROOT / "_build" / "slides"
STYLE = (Path(__file__).parent / "slides.css").read_text(encoding="utf-8")
HEADING = re.compile(r"^#{1,3} (.+)$", flags=re.M)
CAPTION = re.compile(r'\A<a id="fig-[\w-]+"></a>\n+\*\*(Figure [\w.]+)\.\*\* (.*)\Z', flags=re.S)
POINTS = re.compile(r"^## Summary\n+((?:>.*\n?)+)", flags=re.M)
TO_DOCUTILS = {  # what its TeX does not know
    r"\s*\\tag\{[^}]*\}": "",
    r"\\[bB]igg?[lrm]?(?![a-z])": "",
    r"\\bar(?![a-z])": r"\\overline",  # its bar is hardly seen
    # else an index stands below the letter
    r"\\(?:overline|tilde|hat)\s*(?:\\[A-Za-z]+|\w|\{[^{}]*\})": r"{\g<0>{}}",
    r"\\dots(?![a-z])": r"\\ldots",
    r"\\([td]?frac)(\d)(\d)": r"\\\1{\2}{\3}",
    "°": r"^\\circ",
}
A_SLIDE = 1300  # letters of a summary that fit one


# -- Markdown -----------------------------------------------------------------------------------


@cache
def parser() -> MarkdownIt:
    def formula(tex: str, options: dict[str, bool]) -> str:
        written = tex.strip()
        for pattern, known in TO_DOCUTILS.items():
            written = re.sub(pattern, known, written)
        return str(tex2mathml(written, as_block=options["display_mode"]))

    plain = MarkdownIt().enable("table")
    return plain.use(dollarmath_plugin, double_inline=True, renderer=formula)


LINK = re.compile(rf"{references.TEXT}\([^)\s]*(?:\([^)\s]*\)[^)\s]*)*\)")


def rendered(markdown: str) -> str:
    """HTML of Markdown, with its formulas as MathML; on a slide a link is its words."""
    text = re.sub(r'<a id="[^"]*"></a>\n*', "", LINK.sub(r"\1", markdown))
    return str(parser().render(text))


def inline(markdown: str) -> str:
    """The same for a piece of a line."""
    return str(parser().renderInline(LINK.sub(r"\1", markdown)))


# -- slides -------------------------------------------------------------------------------------


def slide(content: str, foot: str = "", kind: str = "") -> str:
    """One slide, with its words at the bottom."""
    footer = f"<footer><span>{foot}</span><span>minidiff</span></footer>" if foot else ""
    return f"<section{f' class={kind}' if kind else ''}>{content}{footer}</section>"


def picture(cell: NotebookNode) -> str:
    """What a cell has drawn, as an <img> that holds it."""
    alt = html.escape(notebooks.alternative(cell))
    for output in cell.outputs:
        for mime in set(notebooks.IMAGES) & set(output.get("data", {})):
            data = notebooks.text_of(output.data[mime])
            if mime == "image/svg+xml":
                data, coded = re.sub(r"\s+", " ", data), "utf-8"
                data = html.escape(data.replace("%", "%25").replace("#", "%23"))
            else:
                data, coded = data.replace("\n", ""), "base64"
            return f'<div class="picture"><img alt="{alt}" src="data:{mime};{coded},{data}"></div>'
    raise ValueError(f"a cell with a caption shows no picture: {cell.source[:60]!r}")


def figures(notebook: NotebookNode, foot: str) -> Iterator[str]:
    """A slide for each figure, under the heading of its section."""
    heading, drawn = "", None
    for cell in notebook.cells:
        if cell.cell_type == "code":
            drawn = cell
            continue
        if (caption := CAPTION.match(cell.source)) and drawn is not None:
            yield slide(
                f"<h2>{inline(heading)}</h2>{picture(drawn)}"
                f'<p class="caption">{inline(caption[2])}</p>',
                f"{foot}, {caption[1].lower()}",
            )
        heading = [heading, *HEADING.findall(cell.source)][-1]


def summary(notebook: NotebookNode, foot: str) -> Iterator[str]:
    """What to remember, on as many slides as it takes."""
    found = POINTS.search("\n\n".join(references.prose(notebook)))
    quoted = re.sub(r"^> ?", "", found[1], flags=re.M) if found else ""
    points, parts = re.findall(r"^- (.+(?:\n(?!- ).+)*)", quoted, flags=re.M), [""]
    for point in points:
        if parts[-1] and len(parts[-1]) + len(point) > A_SLIDE:
            parts.append("")
        parts[-1] += f"- {point.strip()}\n"
    for part in filter(None, parts):
        yield slide(f"<h2>Summary</h2>{rendered(part)}", foot)


def chapter(name: str, exercises: tuple[str, ...] = ()) -> str:
    """The slides of a chapter, and the names of exercises to do."""
    this = routes.book()[name]
    notebook = nbformat.read(notebooks.NOTEBOOKS / f"{this.stem}.ipynb", as_version=4)
    number = f"Chapter {this.number}" if this.number.isdigit() else f"Appendix {this.number}"
    foot = f"{number}, {inline(this.title)}"
    title = f"<p>{number}</p><h1>{inline(this.title)}</h1><p>{inline(this.question)}</p>"
    slides = [slide(title, kind="title"), *figures(notebook, foot), *summary(notebook, foot)]
    if exercises:
        tasks = "".join(f"- {routes.exercises(name)[task]}\n" for task in exercises)
        slides.append(slide(f"<h2>Exercises</h2>{rendered(tasks)}", foot))
    return "".join(slides)


def deck(title: str, slides: str) -> str:
    """The file."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" '
        f'content="light"><title>{html.escape(title)}</title><style>{STYLE}</style></head>'
        f"<body>{slides}</body></html>\n"
    )


def decks(name: str) -> Iterator[tuple[str, str]]:
    """(name of the file, its text) of a course's meetings, or of a chapter."""
    if name not in routes.COURSES:
        yield name, deck(routes.book()[name].title, chapter(name))
        return
    course = routes.COURSES[name]
    for number, session in enumerate(course.sessions, 1):
        title = f"{course.unit} {number}: {session.title}"
        first = f"<p>{course.title}</p><h1>{title}</h1>"
        rest = [chapter(read, tuple(tasks.split())) for read, tasks in session.chapters.items()]
        yield f"{name}-{number:02}", deck(title, slide(first, kind="title") + "".join(rest))


def main() -> None:
    names = sys.argv[1:] or list(routes.COURSES)
    known = [*routes.COURSES, *routes.book()]
    for name in names:
        if name not in known:
            sys.exit(f"{name} is neither a course nor a chapter: there are {', '.join(known)}")
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names:
        for file, text in decks(name):
            (OUT / f"{file}.html").write_text(text, encoding="utf-8")
            count, size = text.count("<section"), len(text.encode()) / 1e6
            print(f"{file}.html: {count} slides, {size:.1f} MB")
    print(f"in {OUT.relative_to(notebooks.ROOT)}")


if __name__ == "__main__":
    main()
