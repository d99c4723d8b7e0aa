"""An exercise's check is itself a test: it must refuse wrong answers and let right ones pass.

tests/answers/NN_name.py holds, for each exercise of that chapter, at least three plausible wrong
answers, each with words that the check's message must contain, and at least two right ones, written
differently from the book's (floats, float32, another shape of the same idea).
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import runpy
from pathlib import Path

import pytest

import minidiff as md
import notebooks as tool

FILES = sorted((Path(__file__).parent / "answers").glob("*.py"))
ANSWERS = {path.stem: runpy.run_path(str(path)) for path in FILES}
WRONG = [
    pytest.param(stem, exercise, code, words, id=f"{exercise}-{number}")
    for stem, file in ANSWERS.items()
    for exercise, answers in file["WRONG"].items()
    for number, (code, words) in enumerate(answers)
]
RIGHT = [
    pytest.param(stem, exercise, code, id=f"{exercise}-{number}")
    for stem, file in ANSWERS.items()
    for exercise, answers in file["RIGHT"].items()
    for number, code in enumerate(answers)
]


@functools.cache
def exercises(stem: str) -> list[tool.Exercise]:
    """The exercises of a chapter, whose cells run once for all that is asked here."""
    return list(tool.exercises(tool.NOTEBOOKS / f"{stem}.ipynb"))


def verdict(stem: str, label: str, code: str) -> str:
    """What the check prints of an answer."""
    (exercise,) = (e for e in exercises(stem) if e.label == label)
    space = dict(exercise.names)
    exec(compile(code, label, "exec"), space)
    (name,) = inspect.signature(exercise.tests).parameters
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        md.book.check(label, exercise.tests, space[name])
    return said.getvalue()


@pytest.mark.parametrize("path", tool.select([]), ids=lambda path: path.stem)
def test_stubs_fail_and_solutions_pass(path: Path) -> None:
    assert list(tool.exercise_failures(exercises(path.stem))) == []


@pytest.mark.parametrize(("stem", "label", "code", "words"), WRONG)
def test_a_wrong_answer_is_refused_and_told_why(
    stem: str, label: str, code: str, words: str
) -> None:
    said = verdict(stem, label, code)
    assert "not yet right" in said or "stopped with" in said
    assert words.lower() in said.lower()


@pytest.mark.parametrize(("stem", "label", "code"), RIGHT)
def test_a_right_answer_passes(stem: str, label: str, code: str) -> None:
    assert verdict(stem, label, code).endswith(f"Exercise {label}: correct\n")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_exercise_has_mutants(path: Path) -> None:
    wrong, right = ANSWERS[path.stem]["WRONG"], ANSWERS[path.stem]["RIGHT"]
    for label in [exercise.label for exercise in exercises(path.stem)]:
        assert len(wrong.get(label, ())) >= 3, label
        assert len(right.get(label, ())) >= 2, label


def test_every_chapter_with_exercises_has_a_file() -> None:
    checked = {p.stem for p in tool.NOTEBOOKS.glob("*.ipynb") if '"check"' in p.read_text("utf-8")}
    assert checked == set(ANSWERS)
