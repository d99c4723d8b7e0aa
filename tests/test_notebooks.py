"""Every notebook is in its normal form, and its exercises can be told right from wrong."""

import json
from pathlib import Path

import nbformat
import pytest

import notebooks as tool

PATHS = sorted(tool.NOTEBOOKS.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)

SCRIPT = '''# %% [markdown]
# # A title
#
# Text with $x$.

# %%
#| tags: setup, hide-input
#| alt: A rising line.
#| width: 80%
# @title Names
double = 2

# %% [markdown]
# ## Exercises
#
# <a id="ex-00-f"></a>
#
# ### Exercise 0.1. Twice

# %%
#| tags: stub
def f(x):
    """Twice x."""
    raise NotImplementedError

# %%
#| tags: solution
# @title Solution
def solution_f(x):
    return double * x

# %%
#| tags: check
import minidiff as md

try_solution = False

def tests(f):
    assert f(3) == 6, "Twice 3 is 6."

md.book.check("0.1", tests, solution_f if try_solution else f)
'''


@each_notebook
def test_a_notebook_keeps_the_rules(path: Path) -> None:
    assert list(tool.problems(path)) == []


@each_notebook
def test_a_notebook_survives_the_way_through_its_script(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    again = tool.from_script(tool.to_script(notebook))
    assert [cell.source for cell in again.cells] == [cell.source for cell in notebook.cells]
    assert [cell.metadata for cell in again.cells] == [cell.metadata for cell in notebook.cells]


# -- the rules themselves: a check that cannot fail proves nothing ------------------------------


def code(source: str = "1 + 1", outputs: list | None = None, **metadata: object):
    return nbformat.v4.new_code_cell(
        source, outputs=outputs or [], execution_count=1, metadata=metadata
    )


def display(data: dict, **metadata: object):
    return nbformat.v4.new_output("display_data", data=data, metadata=metadata)


def printed(text: str):
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def test_script_to_notebook() -> None:
    notebook = tool.from_script(SCRIPT)
    kinds = ["markdown", "code", "code", "markdown"]
    assert [c.cell_type for c in notebook.cells] == kinds + 3 * ["code"]
    assert notebook.cells[0].source == "# A title\n\nText with $x$."
    assert notebook.cells[1].source == tool.BOOTSTRAP
    assert notebook.cells[2].source == "# @title Names\ndouble = 2"
    assert notebook.cells[2].metadata.tags == ["setup", "hide-input"]
    assert notebook.cells[2].metadata.mystnb == {"image": {"alt": "A rising line.", "width": "80%"}}
    for folded in (1, 2, 5):  # in JupyterLab, and on Colab
        assert notebook.cells[folded].metadata.jupyter == {"source_hidden": True}
        assert notebook.cells[folded].metadata.cellView == "form"
    assert notebook.cells[5].metadata.tags == ["solution", "hide-cell"]


def test_quoted_markdown_needs_no_comment_signs() -> None:
    notebook = tool.from_script('# %% [markdown]\nr"""\n# Title\n\n$\\bar\\alpha$\n"""\n')
    assert notebook.cells[0].source == "# Title\n\n$\\bar\\alpha$"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("x = 1\n# %%\n", "before the first"),
        ("# %% markdown\n", "unknown cell marker"),
        ("# %% [markdown]\nwords\n", "without '# '"),
        ("# %%\n#| colour: red\n", "unknown '#|' options"),
    ],
)
def test_a_wrong_script_is_refused_with_a_reason(script: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tool.from_script(script)


def test_the_normal_form_drops_what_nobody_wrote_and_is_stable() -> None:
    picture = {"image/png": "aGk=", "text/plain": "<Figure size 640x480 with 1 Axes>"}
    cell = code(
        outputs=[
            nbformat.v4.new_output("stream", name="stderr", text="100%"),
            printed("a\n"),
            printed("b\n"),
            display(picture, needs_background="light"),
        ],
        collapsed=True,
        execution={"iopub.status.busy": "now"},
    )
    once = tool.normalise(nbformat.v4.new_notebook(cells=[cell, code("2")]))
    assert once.cells[0].metadata == {}
    assert [o.output_type for o in once.cells[0].outputs] == ["stream", "display_data"]
    assert once.cells[0].outputs[0].text == "a\nb\n"
    assert once.cells[0].outputs[1].data["text/plain"] == "<image>"
    assert [c.execution_count for c in once.cells] == [1, 2]
    again = tool.normalise(nbformat.v4.new_notebook(cells=[code(), code()]))
    assert again.cells[1].id == f"{again.cells[0].id}-2"
    assert json.dumps(tool.normalise(once)) == json.dumps(once)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            nbformat.v4.new_markdown_cell('<a id="fig-a"></a>\n\n**Figure ?.** A.\n\n## B'),
            "a caption has a cell of its own",
        ),
        (code(outputs=[display({"image/png": "aGk="})]), "without alternative text"),
        (code(outputs=[display({"text/html": "<img src='x'>"})]), "HTML image without"),
        (code(outputs=2 * [display({"image/png": "aGk="}, **{"image/png": {"alt": "x"}})]), "one"),
        (code(tags=["nbval-check-output"]), "must have a stored text output"),
        (code(outputs=[printed("/home/me/x.png")]), "absolute path"),
        (code(outputs=[printed("<Line at 0x7f3a5c0b9d10>")]), "memory address"),
        (code("open('/home/me/x')"), "absolute path"),
        (code("%matplotlib inline"), "magic"),
        (code("from tqdm.auto import tqdm"), "tqdm widget"),
        (code(outputs=[nbformat.v4.new_output("error", ename="E", evalue="")]), "failed: E"),
        (nbformat.v4.new_code_cell("1"), "was not executed"),
        (nbformat.v4.new_markdown_cell("![](x.png)"), "without alternative text"),
    ],
)
def test_every_rule_can_be_broken(cell: nbformat.NotebookNode, message: str) -> None:
    assert any(message in problem for problem in tool.cell_problems(cell))


@pytest.mark.parametrize("text", ["no heading", "## Second", "# A\n\n# B", "# A\n\n### C"])
def test_headings_are_in_order(text: str) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    assert list(tool.heading_problems(notebook))


def test_a_comment_in_a_fence_is_not_a_heading() -> None:
    cell = nbformat.v4.new_markdown_cell("# A\n\n```python\n# B\n```")
    assert list(tool.heading_problems(nbformat.v4.new_notebook(cells=[cell]))) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", None),
        ("raise NotImplementedError", "return 2 * x", "the stub is not called unsolved"),
        ("return double * x", "return x", "the solution is refused"),
        ("#| tags: setup, hide-input", "#| tags: hide-input", "the solution is refused"),
    ],
)
def test_exercises_are_proven(tmp_path: Path, old: str, new: str, message: str | None) -> None:
    path = tmp_path / "x.ipynb"
    tool.write(tool.from_script(SCRIPT.replace(old, new) if old else SCRIPT), path)
    failures = list(tool.exercise_failures(tool.exercises(path)))
    assert len(failures) == (message is not None)
    assert message is None or message in failures[0]


def test_executing_stores_the_normal_form(tmp_path: Path) -> None:
    path = tmp_path / "00_x.ipynb"
    tool.write(tool.from_script(SCRIPT), path)
    tool.execute(path)
    assert list(tool.problems(path)) == []
    assert "Exercise 0.1: not solved yet" in path.read_text()


def test_running_all_keeps_the_readers_answers_and_their_verdicts(tmp_path: Path) -> None:
    answers = {
        "raise NotImplementedError": "not solved yet",
        "return x * x": "not yet right. Twice 3 is 6.",
        "return x + None": "stopped with TypeError",
        "return x + x": "correct",
    }
    script, exercise = SCRIPT.split('# <a id="ex-00-f')
    for k, answer in enumerate(answers, 1):
        one = exercise.replace("raise NotImplementedError", answer).replace("0.1", f"0.{k}")
        script += f'# %% [markdown]\n# <a id="ex-00-f{k}{one}\n'
    path = tmp_path / "00_x.ipynb"
    tool.write(tool.from_script(script), path)
    tool.execute(path)  # reaches the end, with the solutions' cells run
    for k, said in enumerate(answers.values(), 1):
        assert f"Exercise 0.{k}: {said}" in path.read_text()


def test_times_of_other_notebooks_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stem in ("01_one", "02_two"):
        (tmp_path / f"{stem}.ipynb").touch()
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(tool, "RECORD", tmp_path / "notebooks.json")
    monkeypatch.setattr(tool, "execute", lambda path: 1.0)

    def recorded() -> dict[str, float]:
        return json.loads(tool.RECORD.read_text())["seconds"]

    assert tool.run(tool.select([]), 1, record=True) == 0
    monkeypatch.setattr(tool, "execute", lambda path: 2.0)
    assert tool.run(tool.select(["02_two"]), 1, record=True) == 0
    assert recorded() == {"01_one": 1.0, "02_two": 2.0}

    def fail(path: Path) -> float:
        raise RuntimeError("no")

    monkeypatch.setattr(tool, "execute", fail)
    assert tool.run(tool.select(["02_two"]), 1, record=True) == 1  # the old time does not hide it
    (tmp_path / "01_one.ipynb").unlink()
    assert tool.run(tool.select([]), 1, record=True) == 1
    assert list(recorded()) == ["02_two"]
    tool.RECORD.write_text(tool.RECORD.read_text().replace('"CPU, ', '"CPU, 9'))
    monkeypatch.setattr(tool, "execute", lambda path: 3.0)
    assert tool.run(tool.select([]), 1, record=True) == 0
    assert recorded() == {"02_two": 3.0}


@each_notebook
def test_the_source_that_a_chapter_shows_is_that_of_the_library(path: Path) -> None:
    names: dict[str, object] = {}
    exec("import minidiff as md; from minidiff.unet import blocks", names)
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and "md.book.source(" in cell.source:
            *above, last = cell.source.split("\n")
            exec("\n".join(above), names)
            shown = eval(last, names)._repr_markdown_()
            assert tool.text_of(cell.outputs[0].data["text/markdown"]) == shown, "run it again"
