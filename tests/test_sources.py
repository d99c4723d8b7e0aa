"""The maps in book/ lead somewhere: every reference of their pages has a target."""

import os
import re
from functools import cache
from pathlib import Path

import pytest
import references

import minidiff as md

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("sources", "errata", "impact", "glossary", "where_next")
DOCUMENTS = {
    "ddpm_review_full.md": 7,  # and how many numbered sections its map must at least mention
    "ddpm_review_intro.md": 0,
    "ddpm_review_with_code.md": 4,
    "ddim_review_full.md": 4,
    "ddim_review_intro.md": 3,
}
# Labels of the pages, as MyST writes them before a heading.
LABEL = re.compile(r"^\(([\w-]+)\)=$", flags=re.M)
REFERENCE = re.compile(r"\{(doc|ref|eq|numref|prf:ref|py:\w+)\}`([^`<]+)`")


@cache
def labels() -> set[str]:
    found = set(references.labels())
    for path in (ROOT / "book").glob("*.md"):
        found |= set(LABEL.findall(path.read_text(encoding="utf-8")))
    return found


def exists(kind: str, target: str) -> bool:
    if kind == "doc":
        if target.startswith("/notebooks/"):
            return (ROOT / f"{target[1:]}.ipynb").exists()
        return (ROOT / "book" / f"{target}.md").exists()
    if kind.startswith("py:"):
        return hasattr(md, target.removeprefix("minidiff."))
    return target in labels()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    found = REFERENCE.findall((ROOT / "book" / f"{page}.md").read_text(encoding="utf-8"))
    assert found
    assert [f"{{{kind}}}`{target}`" for kind, target in found if not exists(kind, target)] == []


def test_a_dead_link_would_be_found() -> None:
    assert not exists("ref", "sec-fwd-nowhere")
    assert not exists("doc", "/notebooks/99_nowhere")
    assert not exists("py:func", "minidiff.nothing")


@cache
def chapters_of_the_map() -> dict[str, str]:
    """The map's text for each document."""
    parts = re.split(r"^## .*\(`(\w+\.md)`\)$", (ROOT / "book/sources.md").read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_row_of_the_map_has_a_link(name: str) -> None:
    rows = re.findall(
        r"^\| (?!In the source|-)(.*?) \| (.*) \|$", chapters_of_the_map()[name], re.M
    )
    assert len(rows) >= 5
    assert [row[0] for row in rows if not REFERENCE.search(row[1])] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_map_counts_the_sections(name: str) -> None:
    for number in range(1, DOCUMENTS[name] + 1):
        assert f"*{number}. " in chapters_of_the_map()[name]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_heading_of_a_source_is_left_out(name: str) -> None:
    folder = os.environ.get("MINIDIFF_SOURCES")
    if not folder:
        pytest.skip("the reviews are not part of this repository; MINIDIFF_SOURCES names a copy")
    text = (Path(folder) / name).read_text(encoding="utf-8", errors="replace")
    headings = re.findall(r"^#{1,4} (.+)$|^([\d-]+\. [^\n]{3,80})#$", text, flags=re.M)
    mapped = re.sub(r"\W", "", chapters_of_the_map()[name]).lower()

    def key(heading: str) -> str:
        heading = re.sub(r"\\\(.*?\\\)|\$.*?\$|^[\d.\- ]+", "", heading.replace("**", ""))
        return re.sub(r"\W", "", heading.partition(":")[0]).lower()

    wanted = [heading for pair in headings for heading in pair if heading]
    assert [h for h in wanted if key(h) and key(h) not in mapped] == []


PAPER = r"DDPM, arXiv:2006\.11239v\d, |DDIM, arXiv:2010\.02502v\d, "
PLACE = re.compile(rf"\*\*(?:(?:{PAPER})(?:[^*]*\beqs?\. \(|section)|`\w+_review_\w+\.md`, )")


def errata() -> list[str]:
    text = (ROOT / "book" / "errata.md").read_text(encoding="utf-8")
    parts = re.split(r"\n\n+", re.sub(r"\A.*?(?=^## )", "", text, flags=re.M | re.S))
    return [part for part in parts if not part.startswith("#")]


def test_an_erratum_begins_with_its_place() -> None:
    assert len(errata()) > 20
    assert [entry[:60] for entry in errata() if not PLACE.match(entry)] == []
    assert not PLACE.match('**"Multiply by one"** (`ddpm_review_full.md`, 4.3)')
    assert not PLACE.match("**DDIM, arXiv:2010.02502, eq. (2)**")


CIRCLED = re.compile("[\u2460-\u24ff\u2776-\u2793]")


def test_no_circled_number_that_a_font_may_lack() -> None:
    texts = {p: p.read_text("utf-8") for p in (ROOT / "book").glob("*.md")}
    texts |= {p: p.read_text("utf-8") for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert [path.name for path, text in texts.items() if CIRCLED.search(text)] == []
    assert CIRCLED.search("step \u2467")


def entries(text: str) -> list[str]:
    """The entries of a glossary: a term, and below it, indented, what it means."""
    inside = re.findall(r"^```\{glossary\}\n(.*?)^```", text, flags=re.M | re.S)
    return [entry for part in inside for entry in re.split(r"\n\n(?=\S)", part.strip())]


def test_every_entry_of_the_glossary_leads_to_its_place() -> None:
    found = entries((ROOT / "book" / "glossary.md").read_text(encoding="utf-8"))
    assert len(found) > 80
    assert [entry.split("\n")[0] for entry in found if not REFERENCE.search(entry)] == []
    without = "```{glossary}\nnat\n    A unit.\n\nbit\n    Another. {ref}`sec-x`\n```"
    assert [bool(REFERENCE.search(entry)) for entry in entries(without)] == [False, True]
