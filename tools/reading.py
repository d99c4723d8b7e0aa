"""How long a chapter takes to read.

    python tools/reading.py      minutes of every chapter, and what they are made of

200 words a minute, a minute for each displayed formula, five seconds for each line of code that is
not folded. What is folded (set-up, drawing, solutions) is not counted.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

import notebooks

WORDS_PER_MINUTE = 200
MINUTES_PER_FORMULA = 1
SECONDS_PER_LINE = 5
FORMULA = re.compile(r"\$\$.*?\$\$", flags=re.S)
UNREAD = re.compile(r'<details>.*?</details>|<a id="[^"]*"></a>|(?<=\])\([^)\s]*\)', flags=re.S)


class Reading(NamedTuple):
    """What there is to read in a notebook."""

    words: int
    formulas: int
    lines: int

    @property
    def minutes(self) -> float:
        """How long it takes."""
        code = self.lines * SECONDS_PER_LINE / 60
        return self.words / WORDS_PER_MINUTE + self.formulas * MINUTES_PER_FORMULA + code


def measure(notebook: NotebookNode) -> Reading:
    """Count words, displayed formulas and open lines of code."""
    words = formulas = lines = 0
    for cell in notebook.cells:
        source = notebooks.text_of(cell.source)
        if cell.cell_type == "markdown":
            text = UNREAD.sub("", source)
            formulas += len(FORMULA.findall(text))
            words += len(FORMULA.sub("", text).split())
        elif cell.cell_type == "code" and not notebooks.FOLDED & set(notebooks.tags(cell)):
            lines += sum(bool(line.strip()) for line in source.splitlines())
    return Reading(words, formulas, lines)


@cache
def chapter(stem: str) -> Reading:
    """The reading of a chapter of the book."""
    return measure(nbformat.read(notebooks.NOTEBOOKS / f"{stem}.ipynb", as_version=4))


def main() -> None:
    for path in notebooks.select([]):
        found = chapter(path.stem)
        print(f"{path.stem:24}{found.minutes:5.0f} min {found}")


if __name__ == "__main__":
    main()
