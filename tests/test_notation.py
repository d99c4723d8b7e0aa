"""The page of notation is true: it knows every letter of the notebooks' formulas, and where."""

import re
from collections import defaultdict
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "book" / "notation.md").read_text("utf-8")

APPENDIX = {"90": "A", "91": "B", "92": "C"}
GREEK = re.compile(
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|phi|varphi"
    "|chi|psi|omega|Gamma|Delta|Theta|Lambda|Sigma|Phi|Psi|Omega|ell|nabla|partial"
)
SILENT = re.compile(  # words and layout, no letters
    r"\\tag\{[^}]*\}|\\(?:begin|end)\{[^}]*\}(?:\{[^}]*\})?|\\text(?:bf|rm|it)?\{[^{}]*\}"
    r"|\\(?:operatorname|mathrm)\s*\{[^{}]*\}|\\math(?:rm|cal|bb|bf)\s*(?:\{[^{}]*\}|[A-Za-z])"
)
ACCENT = re.compile(r"\\(bar|tilde|hat|vec|dot)(?![a-z])\s*\{?\s*(\\[A-Za-z]+|[A-Za-z])\}?")
LETTER = re.compile(r"\\([A-Za-z]+)|([A-Za-z])")
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$([^$]+?)\$", re.DOTALL)


def formulas(markdown: str) -> list[str]:
    markdown = re.sub(r"```.*?```|`[^`\n]*`", "", markdown, flags=re.DOTALL)
    return [display or inline for display, inline in FORMULA.findall(markdown)]


def letters(tex: str) -> set[str]:
    """The letters of a formula; an accented one is a letter of its own."""
    found: set[str] = set()

    def accented(match: re.Match[str]) -> str:
        accent, letter = match[1], match[2]
        found.add(f"\\{accent}{letter}" if letter[0] == "\\" else f"\\{accent} {letter}")
        return " "

    tex = ACCENT.sub(accented, SILENT.sub(" ", tex))
    for word, letter in LETTER.findall(tex):
        if letter or GREEK.fullmatch(word):
            found.add(letter or f"\\{word}")
    return found


def used() -> dict[str, set[str]]:
    """The chapters in whose formulas each letter stands."""
    where: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        number = path.stem[:2].lstrip("0") or "0"
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                for tex in formulas(cell.source):
                    for letter in letters(tex):
                        where[letter].add(APPENDIX.get(number, number))
    return dict(where)


def section(title: str) -> str:
    return re.split(r"^#+ ", PAGE.split(f" {title}\n")[1], flags=re.MULTILINE)[0]


def rows_of(title: str) -> list[list[str]]:
    rows = [r.strip("|").split(" | ") for r in section(title).splitlines() if r.startswith("| $")]
    return [[part.strip() for part in row] for row in rows]


def one_meaning() -> dict[str, str]:
    """Each letter of the first table, and the chapter in which the page says it is first used."""
    first = {}
    for symbol, *_, chapter in rows_of("Notation"):
        symbol = re.sub(r"_(?:\{[^}]*\}|\\[a-z]+|.)|\^.", "", symbol)  # x of x_T
        for letter in set().union(*(letters(tex) for tex in formulas(symbol))):
            first.setdefault(letter, chapter)
    return first


def chapters(text: str) -> set[str]:
    """'1, 3-5, A' as a set."""
    found: set[str] = set()
    for part in text.strip().split(", "):
        first, _, last = part.partition("-")
        found |= {first} if not last else {str(n) for n in range(int(first), int(last) + 1)}
    return found


def several_meanings() -> dict[str, set[str]]:
    """The chapters that the page names for each letter with more than one meaning."""
    named: dict[str, set[str]] = defaultdict(set)
    for letter, _, where in rows_of("Letters with more than one meaning"):
        named[letter.strip("$")] |= chapters(where)
    return dict(named)


def local() -> set[str]:
    return set().union(*(letters(tex) for tex in formulas(section("Letters of one place"))))


USED = used()


def test_every_letter_is_on_the_page() -> None:
    known = {*one_meaning(), *several_meanings(), *local()}
    assert {k: sorted(v) for k, v in USED.items() if k not in known} == {}


def test_a_letter_is_in_one_list_only() -> None:
    lists = [set(one_meaning()), set(several_meanings()), local()]
    assert sum(map(len, lists)) == len(set().union(*lists))


@pytest.mark.parametrize("letter", sorted(several_meanings()))
def test_the_chapters_of_a_letter_with_several_meanings(letter: str) -> None:
    assert several_meanings()[letter] == USED[letter]


@pytest.mark.parametrize("letter", sorted(one_meaning()))
def test_the_chapter_of_first_use(letter: str) -> None:
    earliest = min(USED[letter], key=lambda c: int(c) if c.isdigit() else 90)
    assert one_meaning()[letter] == earliest


def test_no_letter_is_explained_that_nobody_uses() -> None:
    assert local() - set(USED) == set()


def test_a_missing_letter_and_a_missing_chapter_are_noticed() -> None:
    assert letters(r"\bar\alpha_t = \mathrm{SNR}_T \dots \hat{x}_0 \,\text{so}") == {
        "\\bar\\alpha",
        "\\hat x",
        "t",
        "T",
    }
    assert chapters("2-4, 6, A") == {"2", "3", "4", "6", "A"}
