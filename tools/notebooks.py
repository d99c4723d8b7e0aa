"""Write, execute and check the book's notebooks.

    python tools/notebooks.py from-script chapter.py notebooks/NN_name.ipynb
    python tools/notebooks.py to-script NN_name > chapter.py
    python tools/notebooks.py run [NAME ...]         execute and store outputs in the normal form
    python tools/notebooks.py check [NAME ...]       say what is not in the normal form
    python tools/notebooks.py exercises [NAME ...]   stubs must fail their checks, solutions pass

A notebook has one normal form, so that a diff shows what an author changed and nothing else.
CONTRIBUTING.md explains the script format and the rules.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import references
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
RECORD = ROOT / "results" / "notebooks.json"
BOOTSTRAP = (Path(__file__).parent / "bootstrap_cell.py").read_text().strip()
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
MAX_BYTES = 1_000_000
TIMEOUT = 600  # seconds for one cell
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
IMAGES = ("image/png", "image/jpeg", "image/svg+xml", "image/gif")
ABSOLUTE_PATH = re.compile(
    r"(?<![\w/.:])/(?:home|root|tmp|work|Users|content|opt)/\w|\b[A-Z]:\\Users\\"
)
ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def text_of(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)


# -- the script format --------------------------------------------------------------------------


def from_script(script: str) -> NotebookNode:
    """A notebook from a percent script: `# %%`, `# %% [markdown]`, and `#| key: value` lines."""
    cells = []
    head, *blocks = re.split(r"^# %%", script, flags=re.MULTILINE)
    if head.strip():
        raise ValueError(f"text before the first '# %%' line: {head.strip()[:60]!r}")
    for block in blocks:
        marker, _, body = block.partition("\n")
        if marker.strip() == "[markdown]":
            cells.append(new_markdown_cell(markdown_source(body.strip("\n"))))
        elif marker.strip():
            raise ValueError(
                f"unknown cell marker '# %%{marker}': options go in '#| key: value' lines"
            )
        else:
            cells.append(code_cell(body.strip("\n")))
    cells.insert(1, new_code_cell(BOOTSTRAP, metadata={"tags": ["remove-cell"]}))
    return normalise(new_notebook(cells=cells))


def markdown_source(body: str) -> str:
    quoted = re.fullmatch(r'r?"""\n?(.*?)\n?"""', body.strip(), flags=re.DOTALL)
    if quoted:
        return quoted[1]
    lines = body.split("\n")
    for line in lines:
        if not line.startswith("# ") and line.rstrip() not in ("#", ""):
            raise ValueError(f"a markdown cell has a line without '# ': {line!r}")
    return "\n".join(line[2:] for line in lines).strip("\n")


def code_cell(body: str) -> NotebookNode:
    lines, options = body.split("\n"), {}
    while lines and lines[0].startswith("#|"):
        key, _, value = lines.pop(0)[2:].partition(":")
        options[key.strip()] = value.strip()
    metadata: dict[str, Any] = {}
    if options.get("tags"):
        metadata["tags"] = [tag.strip() for tag in options["tags"].split(",")]
    image = {key: options[key] for key in ("alt", "width") if key in options}
    if image:
        metadata["mystnb"] = {"image": image}
    unknown = set(options) - {"tags", "alt", "width"}
    if unknown:
        raise ValueError(f"unknown '#|' options {sorted(unknown)}: tags, alt, width exist")
    return new_code_cell("\n".join(lines).strip("\n"), metadata=metadata)


def to_script(notebook: NotebookNode) -> str:
    """The percent script of a notebook (without its bootstrap cell)."""
    blocks = []
    for cell in notebook.cells:
        source = text_of(cell.source)
        if source == BOOTSTRAP:
            continue
        if cell.cell_type == "markdown":
            commented = "\n".join(f"# {line}".rstrip() for line in source.split("\n"))
            blocks.append(f"# %% [markdown]\n{commented}\n")
            continue
        image = cell.metadata.get("mystnb", {}).get("image", {})
        written = [
            tag for tag in tags(cell) if not (tag == "hide-cell" and "solution" in tags(cell))
        ]
        options = {
            "tags": ", ".join(written),
            "alt": image.get("alt"),
            "width": image.get("width"),
        }
        lines = [f"#| {key}: {value}" for key, value in options.items() if value]
        blocks.append("\n".join(["# %%", *lines, source]) + "\n")
    return "\n".join(blocks)


# -- the normal form ----------------------------------------------------------------------------


def normalise(notebook: NotebookNode) -> NotebookNode:
    """The notebook in its normal form: what an author wrote and what the code printed, no more."""
    seen: dict[str, int] = {}
    cells = []
    count = 0
    for cell in notebook.cells:
        source = text_of(cell.source).strip("\n")
        metadata: dict[str, Any] = {}
        if tags(cell):
            metadata["tags"] = list(dict.fromkeys(tags(cell)))
        if cell.metadata.get("mystnb"):
            metadata["mystnb"] = cell.metadata["mystnb"]
        if "solution" in tags(cell):
            metadata["tags"] = ["solution", "hide-cell"]
            metadata["mystnb"] = {
                "code_prompt_show": "Show the solution",
                "code_prompt_hide": "Hide the solution",
            }
        if FOLDED & set(metadata.get("tags", [])):  # in JupyterLab and on Colab as on the site
            metadata["jupyter"] = {"source_hidden": True}
            metadata["cellView"] = "form"
        if cell.cell_type == "markdown":
            new = new_markdown_cell(source, metadata=metadata)
        else:
            executed = cell.execution_count is not None
            count += executed
            new = new_code_cell(
                source,
                metadata=metadata,
                execution_count=count if executed else None,
                outputs=normal_outputs(cell.outputs, count, alternative(cell)),
            )
        digest = hashlib.sha1(source.encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        new.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cells.append(new)
    return new_notebook(cells=cells, metadata=METADATA)


def alternative(cell: NotebookNode) -> str:
    return str(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""))


def normal_outputs(outputs: list[NotebookNode], count: int, alt: str) -> list[NotebookNode]:
    kept: list[NotebookNode] = []
    for output in outputs:
        output = NotebookNode(json.loads(json.dumps(output)))
        if output.output_type == "stream":
            if output.name == "stderr":  # progress bars; a warning that matters must be printed
                continue
            output.text = text_of(output.text)
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
                continue
        elif output.output_type in ("display_data", "execute_result"):
            if "application/vnd.jupyter.widget-view+json" in output.data:
                continue
            said = {mime: output.metadata.get(mime, {}) for mime in set(IMAGES) & set(output.data)}
            output.metadata = {}
            for mime, about in said.items():
                output.data["text/plain"] = "<image>"
                # the size at which it is shown, and its words where nbconvert looks for them
                kept_of = {key: about[key] for key in ("width", "height") if key in about}
                if words := alt or about.get("alt"):
                    kept_of["alt"] = words
                if kept_of:
                    output.metadata[mime] = kept_of
            if output.output_type == "execute_result":
                output.execution_count = count
        kept.append(nbformat.from_dict(output))
    return kept


def write(notebook: NotebookNode, path: Path) -> None:
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


# -- execution ----------------------------------------------------------------------------------


def execute(path: Path) -> float:
    """Run one notebook from an empty folder, store its outputs, return the seconds it took."""
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(path)], check=True)
    notebook = nbformat.read(path, as_version=4)
    known = references.labels() | references.numbered(notebook, path.stem)
    references.update(notebook, path.stem, known)
    with tempfile.TemporaryDirectory() as empty:
        resources = {"metadata": {"path": empty}}
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT,
            kernel_name="python3",
            resources=resources,
            shutdown_kernel="immediate",  # by itself it takes another second
        )
        start = time.perf_counter()
        client.execute(env=kernel_environment())
        seconds = time.perf_counter() - start
    write(normalise(notebook), path)
    return seconds


def kernel_environment() -> dict[str, str]:
    defaults = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MINIDIFF_PROFILE": "cpu"}
    outside = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    return {**defaults, **outside}


# -- checks -------------------------------------------------------------------------------------


def problems(path: Path) -> Iterator[str]:
    """What is not in the normal form or breaks a rule of the book, one sentence each."""
    raw = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(raw, as_version=4)
    if len(raw.encode()) > MAX_BYTES:
        yield f"is {len(raw.encode()) / 1e6:.2f} MB, more than {MAX_BYTES / 1e6:.0f} MB"
    if len(notebook.cells) < 2 or text_of(notebook.cells[1].source) != BOOTSTRAP:
        yield "must have tools/bootstrap_cell.py as its second cell, behind title and question"
    if raw != nbformat.writes(normalise(notebook)) + "\n":
        yield "is not in the normal form: `python tools/notebooks.py run` writes it"
    yield from heading_problems(notebook)
    yield from references.problems(notebook, path.stem, references.labels())
    for number, cell in enumerate(notebook.cells):
        where = f"cell {number} ({text_of(cell.source).strip()[:40]!r})"
        yield from (f"{where} {problem}" for problem in cell_problems(cell))
    yield from exercise_problems(notebook)


def heading_problems(notebook: NotebookNode) -> Iterator[str]:
    levels = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"^(`{3,}).*?^\1`*\s*$", "", text_of(cell.source), flags=re.M | re.S)
            levels += [len(mark) for mark in re.findall(r"^(#{1,6}) ", prose, flags=re.M)]
    if not levels or levels[0] != 1 or levels.count(1) != 1:
        yield "must have one '# Title' heading, before all others"
    for above, below in pairwise(levels):
        if below > above + 1:
            yield f"skips a heading level: {'#' * above} is followed by {'#' * below}"


def cell_problems(cell: NotebookNode) -> Iterator[str]:
    source = text_of(cell.source)
    if ABSOLUTE_PATH.search(source):
        yield "names an absolute path"
    if cell.cell_type == "markdown":
        if source.startswith('<a id="fig-') and re.search(r"^#{1,6} ", source, flags=re.M):
            yield "has a heading below a caption: a caption has a cell of its own"
        for alt in re.findall(r"!\[([^\]]*)\]\(", source):
            if not alt.strip():
                yield "has an image without alternative text"
        return
    if re.search(r"^\s*[%!]", source, flags=re.M):
        yield "has a magic or a shell command"
    if re.search(r"tqdm\.(auto|notebook)", source):
        yield "uses a tqdm widget: `from tqdm import tqdm` works everywhere"
    if source.strip() and cell.execution_count is None:
        yield "was not executed"
    alt = alternative(cell)
    pictures = 0
    printed = False
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"failed: {output.ename}"
        data = output.get("data", {})
        text = text_of(output.get("text", data.get("text/plain", "")))
        html = text_of(data.get("text/html", ""))
        if ABSOLUTE_PATH.search(text) or ABSOLUTE_PATH.search(re.sub(r'"data:[^"]*"', "", html)):
            yield "prints an absolute path"
        if ADDRESS.search(text):
            yield "prints a memory address (end a drawing cell with plt.show())"
        for tag in re.findall(r"<img\b[^>]*>", html):
            if not re.search(r'\balt="[^"]+"', tag):
                yield "shows an HTML image without alternative text"
        if re.search(r'\b(?:src|href)="https?://[^"]*\.(?:js|css|png|gif|jpg)', html):
            yield "loads something from another host"
        images = [mime for mime in IMAGES if mime in data]
        if images:
            pictures += 1
            if not (alt or output.metadata.get(images[0], {}).get("alt")):
                yield "shows an image without alternative text: add '#| alt: ...'"
        else:
            printed = printed or bool(text.strip())
    if pictures > 1:
        yield "shows more than one image: one alternative text cannot describe them"
    if "nbval-check-output" in tags(cell) and (not printed or pictures):
        yield "is marked nbval-check-output and must have a stored text output, and no image"


def exercise_problems(notebook: NotebookNode) -> Iterator[str]:
    order = [t for cell in notebook.cells for t in tags(cell) if t in ("stub", "solution", "check")]
    if order != ["stub", "solution", "check"] * (len(order) // 3):
        yield f"has exercise cells in the order {order}: each needs stub, solution, check"
    for cell in notebook.cells:
        printed = "".join(text_of(o.get("text", "")) for o in cell.get("outputs", []))
        if "check" in tags(cell) and "not solved yet" not in printed:
            yield f"has a check that did not print 'not solved yet': {text_of(cell.source)[:50]!r}"
        if FOLDED & set(tags(cell)) and not text_of(cell.source).startswith("# @title "):
            yield f"has a folded cell without a '# @title' line: {text_of(cell.source)[:50]!r}"


# -- exercises ----------------------------------------------------------------------------------


class Exercise(NamedTuple):
    """An exercise as a reader meets it: what its check says of the stub and of the solution."""

    label: str
    tests: Callable[[Any], None]  # raises AssertionError with the message that readers see
    solution: Any
    unsolved: str
    solved: str
    names: dict[str, Any]  # what the cells before it have defined


def exercises(path: Path) -> Iterator[Exercise]:
    """Run the cells that exercises need, and every exercise with its stub and its solution."""
    import matplotlib

    matplotlib.use("agg")
    names: dict[str, Any] = {"__name__": "__main__"}

    def run(source: str) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(source, path.name, "exec"), names)
        return printed.getvalue()

    label = ""
    for cell in nbformat.read(path, as_version=4).cells:
        source = text_of(cell.source)
        if cell.cell_type == "markdown":
            label = [label, *re.findall(r'<a id="(ex-[\w-]+)"></a>', source)][-1]
        elif source == BOOTSTRAP or {"setup", "stub", "solution"} & set(tags(cell)):
            run(source)
        elif "check" in tags(cell):
            unsolved = run(source)
            solved = run(source.replace("try_solution = False", "try_solution = True"))
            (solution,) = re.findall(r"\b(\w+) if try_solution else", source)
            yield Exercise(label, names["tests"], names[solution], unsolved, solved, names)


def exercise_failures(found: Iterable[Exercise]) -> Iterator[str]:
    for exercise in found:
        if not exercise.unsolved.endswith("not solved yet\n"):
            yield f"{exercise.label}: the stub is not called unsolved: {exercise.unsolved!r}"
        if not exercise.solved.endswith("correct\n"):
            yield f"{exercise.label}: the solution is refused: {exercise.solved!r}"


# -- command line -------------------------------------------------------------------------------


def select(names: list[str]) -> list[Path]:
    if not names:
        return sorted(NOTEBOOKS.glob("*.ipynb"))
    paths = [NOTEBOOKS / f"{Path(name).stem}.ipynb" for name in names]
    for path in paths:
        if not path.exists():
            raise SystemExit(f"no notebook {path.stem} in {NOTEBOOKS.name}/")
    return paths


def run(paths: list[Path], jobs: int, record: bool) -> int:
    seconds: dict[str, float] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for path, future in [(path, pool.submit(execute, path)) for path in paths]:
            try:
                seconds[path.stem] = round(future.result(), 1)
                print(f"{path.stem}: {seconds[path.stem]} s", flush=True)
            except Exception as error:
                print(f"{path.stem}: {error}", file=sys.stderr)
    if record:
        import torch

        machine = {
            "about": "Seconds of each chapter, from its first cell to its last.",
            "command": "make notebooks",
            "hardware": f"CPU, {os.cpu_count()} cores",
            "versions": {"torch": torch.__version__},
            "profile": kernel_environment()["MINIDIFF_PROFILE"],
            "threads_per_notebook": int(kernel_environment()["OMP_NUM_THREADS"]),
        }
        old = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
        if all(old.get(key) == value for key, value in machine.items()):
            kept = old["seconds"]  # those that are not run now keep their time
        else:
            kept = {}
        known = {path.stem for path in select([])}
        machine["date"] = time.strftime("%Y-%m-%d")
        machine["seconds"] = {k: t for k, t in sorted((kept | seconds).items()) if k in known}
        text = json.dumps(machine, indent=1)
        RECORD.write_text(text + "\n", encoding="utf-8")
    return int(len(seconds) < len(paths))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "command", choices=["from-script", "to-script", "run", "check", "exercises"]
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--record", action="store_true", help="store their seconds in results/")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="notebooks executed at once")
    arguments = parser.parse_args()
    if arguments.command == "from-script":
        source, target = map(Path, arguments.names)
        write(from_script(source.read_text(encoding="utf-8")), target)
        return 0
    paths = select(arguments.names)
    if arguments.command == "to-script":
        print("\n".join(to_script(nbformat.read(path, as_version=4)) for path in paths))
        return 0
    failed = False
    if arguments.command == "run":
        return run(paths, arguments.jobs, arguments.record)
    for path in paths:
        check = arguments.command == "check"
        found = list(problems(path) if check else exercise_failures(exercises(path)))
        failed = failed or bool(found)
        for problem in found:
            print(f"{path.stem}: {problem}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
