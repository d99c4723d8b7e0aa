"""Slides are made of what the notebooks hold, in one file that needs no other."""

import io
import re
from typing import Any

import nbformat
import pytest
import routes
import slides
from bs4 import BeautifulSoup

import notebooks

CHAPTER = "simple_loss"


def soup(text: str) -> BeautifulSoup:
    return BeautifulSoup(text, "html.parser")


def test_a_chapter_has_a_slide_for_each_figure_in_order() -> None:
    ((name, text),) = slides.decks(CHAPTER)
    assert name == CHAPTER
    path = notebooks.NOTEBOOKS / f"{routes.book()[CHAPTER].stem}.ipynb"
    prose = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells)
    named = re.findall(r"^\*\*(Figure [\w.]+)\.\*\*", prose, flags=re.M)
    shown = [s for s in soup(text).find_all("section") if s.find("img")]
    assert len(named) > 2
    assert [s.footer.span.get_text().split(", ")[-1] for s in shown] == [n.lower() for n in named]
    assert all(s.img["alt"] and s.find(class_="caption").get_text() for s in shown)


@pytest.mark.parametrize("course", routes.COURSES)
def test_a_course_has_a_deck_for_each_meeting_and_loads_nothing(course: str) -> None:
    made = list(slides.decks(course))
    sessions = routes.COURSES[course].sessions
    assert len(made) == len({name for name, _ in made}) == len(sessions)
    for session, (_, text) in zip(sessions, made, strict=True):
        page = soup(text)
        titles = {h.get_text() for h in page.find_all("h1")}
        assert {routes.book()[name].title for name in session.chapters} <= titles
        assert all(img["src"].startswith("data:image/") for img in page.find_all("img"))
        assert not page.find_all(["script", "link", "a"])
        for code in page.find_all(["code", "img", "style"]):
            code.decompose()
        assert not re.search(r"\$|\\[a-z]", page.get_text())


def test_an_index_stands_beside_a_letter_with_a_bar() -> None:
    bar = soup(slides.inline(r"$\bar\alpha_t$")).find("msub")
    assert bar.find("mover")
    assert bar.find_all("mi")[-1].get_text() == "t"


def test_a_caption_without_a_picture_is_no_slide() -> None:
    with pytest.raises(ValueError, match="shows no picture"):
        slides.picture(nbformat.v4.new_code_cell("x = 1"))


def test_an_unknown_name_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["slides.py", "forward"])
    with pytest.raises(SystemExit, match="forward is neither a course nor a chapter"):
        slides.main()


def test_every_slide_fits_its_page(browser: Any) -> None:
    pypdf = pytest.importorskip("pypdf")
    tab = browser.new_page(viewport={"width": 1280, "height": 720})
    for _, text in slides.decks("term"):
        tab.set_content(text)
        tab.emulate_media(media="screen")
        over = """() => [...document.querySelectorAll("section")].filter(s =>
            s.scrollHeight > s.clientHeight || s.scrollWidth > s.clientWidth
            || s.querySelector(".picture")?.clientHeight < 300).map(s => s.innerText)"""
        assert tab.evaluate(over) == []
    printed = tab.pdf(prefer_css_page_size=True, print_background=True)
    tab.close()
    pages = pypdf.PdfReader(io.BytesIO(printed)).pages
    assert len(pages) == text.count("<section")
