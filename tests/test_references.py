"""The tool that numbers the book's equations, figures and exercises."""

import re

import nbformat
import pytest
import references as tool
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

CHAPTER = [
    '# T\n\n<a id="eq-a"></a>\n\n$$\nx\n$$\n\n'
    '1. One\n\n   <a id="eq-b"></a>\n\n   $$\n   y .\n   $$',
    '<a id="sec-s"></a>\n\n## What is left\n\n'
    "[](#eq-b), [stale](#eq-a), [](#sec-s), [my words](#sec-s)",
    '<a id="fig-f"></a>\n\n**Figure ?.** A caption.',
    '<a id="prf-l"></a>\n\n> **Lemma ?. Its name**\n>\n> $$ x $$\n\n[](#prf-l) [](#fig-f)',
    '<a id="ex-03-e"></a>\n\n### Exercise. Its name\n\n'
    "[t](cite:ho2020denoising) ([p](cite:song2021denoising))",
]


def made(*texts: str, code: str = "1") -> nbformat.NotebookNode:
    cells = [new_markdown_cell(text) for text in texts]
    cells.insert(2, new_code_cell("# @title Figure ?\n1"))
    cells.append(new_code_cell('md.book.check("?", tests, f)'))
    return new_notebook(cells=cells)


def test_numbers_and_references_are_filled_in_and_stay() -> None:
    notebook = made(*CHAPTER)
    known = tool.numbered(notebook, "03_elbo")
    assert tool.update(notebook, "03_elbo", known)
    text = "\n".join(cell.source for cell in notebook.cells)
    for wanted in (
        "$$\nx \\tag{3.1}\n$$",
        "   y . \\tag{3.2}\n   $$",
        "[(3.2)](#eq-b), [(3.1)](#eq-a), [What is left](#sec-s), [my words](#sec-s)",
        "**Figure 3.1.** A caption.",
        "# @title Figure 3.1\n1",
        "> **Lemma 3.1. Its name**",
        "[Lemma 3.1](#prf-l) [Figure 3.1](#fig-f)",
        "### Exercise 3.1. Its name",
        'md.book.check("3.1", tests, f)',
        "[Ho et al. (2020)](https://arxiv.org/abs/2006.11239)",
        "([Song et al., 2021](https://arxiv.org/abs/2010.02502))",
    ):
        assert wanted in text
    assert list(tool.problems(notebook, "03_elbo", known)) == []
    assert not tool.update(notebook, "03_elbo", known)


def test_a_check_that_needs_several_lines_is_numbered_too() -> None:
    notebook = made(*CHAPTER)
    notebook.cells[-1].source = 'md.book.check(\n    "?", tests, f\n)'
    tool.update(notebook, "03_elbo", tool.numbered(notebook, "03_elbo"))
    assert notebook.cells[-1].source == 'md.book.check(\n    "3.1", tests, f\n)'


def test_a_reference_to_another_chapter_opens_it() -> None:
    known = {"eq-a": tool.Label("90_gaussian_identities", "(A.1)")}
    assert (
        tool.rewritten("[](#eq-a)", "03_elbo", known)
        == "[(A.1)](90_gaussian_identities.ipynb#eq-a)"
    )
    assert tool.chapter("90_gaussian_identities") == "A"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("see {eq}`eq-a`", "a MyST role"),
        ("```{note}\nx\n```", "a MyST directive"),
        ("(sec-x)=\n## X", "a MyST target"),
        ("$$\nx\n$$ (eq-a)", "a MyST equation label"),
        ("> $$\n> x\n> $$", "a formula of several lines"),
        ('<div class="x">', "HTML that not every"),
        (
            "<details><summary><b>Solution</b></summary>\ntext\n\n</details>",
            "without an empty line",
        ),
        ("[](#eq-nowhere)", "which does not exist"),
        ("[x](77_nowhere.ipynb)", "which does not exist"),
        ('<a id="eq-a"></a>\n\n$$\nx\n$$', "stale numbers"),
    ],
)
def test_what_readers_must_not_see_is_found(text: str, message: str) -> None:
    notebook = new_notebook(cells=[new_markdown_cell(text)])
    known = tool.numbered(notebook, "03_elbo")
    assert any(message in problem for problem in tool.problems(notebook, "03_elbo", known))


@pytest.mark.parametrize(
    "text", ['<a id="eq-a"></a>\n\ntext', 2 * '<a id="eq-a"></a>\n\n$$ x $$\n\n']
)
def test_a_name_names_one_thing(text: str) -> None:
    with pytest.raises(ValueError, match="eq-a"):
        tool.numbered(new_notebook(cells=[new_markdown_cell(text)]), "03_elbo")


def test_code_may_show_what_prose_may_not() -> None:
    notebook = new_notebook(
        cells=[new_markdown_cell("`{eq}` and\n\n```python\nx = <b>\n(a-b)=\n```")]
    )
    assert list(tool.problems(notebook, "03_elbo", {})) == []


def test_every_fact_of_probability_is_linked_where_it_is_used() -> None:
    facts = {k for k, v in tool.labels().items() if k.startswith("sec-prob-")}
    paths = [p for p in tool.NOTEBOOKS.glob("*.ipynb") if not p.stem.startswith("91_")]
    linked = {found for path in paths for found in facts if f"#{found})" in path.read_text("utf-8")}
    assert len(facts) == 10
    assert facts - linked == set()


def test_names_are_letters_and_not_latex() -> None:
    papers = tool.papers()
    assert papers["hyvarinen2005estimation"].who == "Hyvärinen"
    assert [p.who for p in papers.values() if set(p.who) & set('\\{}"~')] == []


# "chapter 7", "7", "Exercise 7.2" or "(7.2)" as the words of a link, and where it leads
LINK = re.compile(
    r"\[(?P<words>[^\]]*)\]\(\S*?(?P<file>\d\d)_\w+[^)\s]*\)"
    r"|\{doc\}`(?P<title>[^`<]*)<\S*?(?P<page>\d\d)_\w+>`"
)
SAID = re.compile(r"\b[Cc]hapter (\w+)|^\(?(?:[A-Z][a-z]+ )?(\d+|[A-C])(?:\.\d+\)?)?$")


def wrong_numbers(text: str) -> list[str]:
    """Links whose words name another chapter than the one that they open."""
    wrong = []
    for link in LINK.finditer(text):
        name = tool.chapter(link["file"] or link["page"])
        said = SAID.search((link["words"] or link["title"] or "").strip())
        if said and (said[1] or said[2]) != name:
            wrong.append(link[0])
    return wrong


def texts() -> dict[str, str]:
    """What readers see of each page and notebook."""
    pages = [*tool.ROOT.glob("*.md"), *tool.ROOT.glob("book/*.md")]
    shown = {path.name: path.read_text(encoding="utf-8") for path in pages}
    for path in sorted(tool.NOTEBOOKS.glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        shown[path.name] = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    return shown


def test_a_link_that_names_a_chapter_opens_it() -> None:
    found = texts()
    assert sum(len(LINK.findall(text)) for text in found.values()) > 200
    assert {name: wrong for name, text in found.items() if (wrong := wrong_numbers(text))} == {}


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("[chapter 7](notebooks/07_training_sampling)", True),
        ("[Chapter 6](../book/notebooks/07_training_sampling.md)", False),
        ("| [5](notebooks/06_unet) |", False),
        ("[(4.8)](05_score.ipynb#eq-x)", False),
        ("[Exercise A.2](90_gaussian_identities.ipynb#ex-90-kl)", True),
        ("{doc}`see chapter 14 </notebooks/15_ode>`", False),
        ("[two steps](13_ddim.ipynb#sec-ddim-step)", True),
    ],
)
def test_a_wrong_number_beside_a_link_is_found(text: str, right: bool) -> None:
    assert (wrong_numbers(text) == []) == right
