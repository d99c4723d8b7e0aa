"""The routes through the book fit the chapters, as do the questions and the page of formulas."""

import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
import reading
import references
import routes

ROOT = Path(__file__).resolve().parent.parent
QUESTIONS = (ROOT / "book" / "questions.md").read_text(encoding="utf-8")
ORDER = list(routes.NEEDS)  # in which they can be read
APPENDICES = {name for name, this in routes.book().items() if not this.number.isdigit()}
labels = cache(references.labels)  # reads every notebook
each_course = pytest.mark.parametrize("course", routes.COURSES.values(), ids=routes.COURSES)


# -- what needs what ----------------------------------------------------------------------------


def test_the_map_holds_every_chapter_and_no_other() -> None:
    assert set(ORDER) == set(routes.book())


def test_a_chapter_needs_earlier_ones_only() -> None:
    for name, needs in routes.NEEDS.items():
        assert all(ORDER.index(need) < ORDER.index(name) for need in needs), name


@pytest.mark.parametrize("name", sorted(set(ORDER) - APPENDICES))
def test_what_a_chapter_calculates_with_is_among_what_it_needs(name: str) -> None:
    """Equations, theorems and algorithms of earlier chapters; sections are asides."""
    this, known = routes.book()[name], labels()
    notebook = nbformat.read(references.NOTEBOOKS / f"{this.stem}.ipynb", as_version=4)
    used = {
        known[label].stem[3:]
        for text in references.prose(notebook)
        for _, _, label in references.LINK.findall(text)
        if label.startswith(("eq-", "prf-"))
    }
    earlier = set(ORDER[: ORDER.index(name)])
    assert (used & earlier) - APPENDICES <= routes.before(name)


# -- the courses --------------------------------------------------------------------------------


def test_twelve_weeks_are_twelve_and_hold_the_whole_book() -> None:
    sessions = routes.COURSES["term"].sessions
    assert len(sessions) == 12
    read = [name for session in sessions for name in session.chapters]
    assert sorted(read) == sorted(ORDER)


def test_a_week_has_five_days_and_the_short_path() -> None:
    sessions = routes.COURSES["week"].sessions
    assert len(sessions) == 5
    assert set(routes.SHORT) <= {name for session in sessions for name in session.chapters}


def test_the_short_path_needs_nothing_beside_itself() -> None:
    for i, name in enumerate(routes.SHORT):
        assert set(routes.NEEDS[name]) <= set(routes.SHORT[:i])


@each_course
def test_nothing_is_read_before_what_it_needs(course: routes.Course) -> None:
    read = list(course.given)
    for session in course.sessions:
        for name in session.chapters:
            assert set(routes.NEEDS[name]) <= set(read), f"{name} in {session.title}"
            assert name not in read
            read.append(name)
    for name in course.given:
        assert set(routes.NEEDS[name]) <= set(read), f"{name}, taken on trust"


@each_course
def test_every_chapter_of_a_course_has_exercises_that_exist(course: routes.Course) -> None:
    for session in course.sessions:
        for chapter, names in session.chapters.items():
            assert bool(names) == bool(routes.exercises(chapter)), chapter
            assert set(names.split()) <= set(routes.exercises(chapter)), chapter


def test_the_page_shows_all_of_it() -> None:
    page = (ROOT / "book" / "routes.md").read_text(encoding="utf-8")
    shown = routes.filled(page)
    assert "<!--" not in shown
    assert all(f"<!-- course {name} -->" in page for name in routes.COURSES)
    targets = set(re.findall(r"\]\(#([\w-]+)\)", shown))
    exercises = {target for target in targets if target.startswith("ex-")}
    assert exercises <= set(labels())
    assert targets - exercises <= set(re.findall(r"^\(([\w-]+)\)=$", QUESTIONS, flags=re.M))


def test_no_box_of_the_map_lies_on_another_and_no_arrow_behind_one() -> None:
    where = routes.places()
    assert len(set(where.values())) == len(where)
    for need, name in routes.arrows():
        assert where[need][0] < where[name][0]
        lanes = routes.way(where[need], where[name], where.values())
        between = range(where[need][0] + 1, where[name][0])
        assert not set(zip(between, lanes[1:-1], strict=True)) & set(where.values())


def test_the_map_is_a_picture_with_a_link_for_each_chapter() -> None:
    drawn = ElementTree.fromstring(routes.drawn())
    links = [a.get("href") for a in drawn.iter("a")]
    assert links == [f"notebooks/{routes.book()[name].stem}.html" for name in ORDER]
    assert len(drawn.findall("path")) == len(routes.arrows())
    right = float(drawn.get("viewBox", "").split()[2])
    for box in drawn.iter("rect"):
        assert float(box.get("x", 0)) + float(box.get("width", 0)) <= right


# -- minutes ------------------------------------------------------------------------------------


def test_reading_counts_words_formulas_and_open_code() -> None:
    cells = [
        nbformat.v4.new_markdown_cell(
            "two [words](04_simple_loss.ipynb#eq-x)\n\n$$\na < b, c > d\n$$\n\n"
            "<details><summary><b>Solution</b></summary>\n\nmany more words\n\n</details>"
        ),
        nbformat.v4.new_code_cell("x = 1\n\ny = 2"),
        nbformat.v4.new_code_cell("z = 3", metadata={"tags": ["hide-input"]}),
    ]
    found = reading.measure(nbformat.v4.new_notebook(cells=cells))
    assert found == (2, 1, 2)
    assert found.minutes == pytest.approx(2 / 200 + 1 + 10 / 60)


def test_ddpm_and_ddim_are_read_in_thirteen_hours_and_no_chapter_in_more_than_one() -> None:
    minutes = {this.number: this.minutes for this in routes.book().values()}
    assert max(minutes.values()) <= 60
    assert sum(minutes[str(number)] for number in range(17)) <= 13 * 60
    assert max(minutes[str(number)] for number in range(19, 27)) <= 45


# -- for teachers -------------------------------------------------------------------------------


def test_questions_are_counted_and_each_has_a_kind_an_answer_and_a_place() -> None:
    found = re.findall(r"^```\{dropdown\} (\d+)\. (.+)\n((?:(?!```).*\n)+)```$", QUESTIONS, re.M)
    assert [int(number) for number, _, _ in found] == list(range(1, len(found) + 1))
    assert f"A bank of {len(found)} questions" in QUESTIONS
    assert QUESTIONS.count("{dropdown}") == len(found) >= 60
    known = labels()
    for number, title, body in found:
        assert re.search(r"\*\((recall|derive|transfer)\)\*$", title), number
        answer, _, place = body.partition("\nSee ")
        assert len(answer.split()) >= 5, number
        named = re.search(r"^\{(?:ref|eq|prf:ref)\}`([\w-]+)`\.$", place.strip())
        assert named is not None, number
        assert named[1] in known, number


def test_every_chapter_belongs_to_one_part_of_the_questions() -> None:
    assert set(routes.questions()) == set(ORDER) - APPENDICES - {"start_here"}
