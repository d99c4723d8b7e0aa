"""What the pages show as output is what the code prints now, and as it prints it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import myst_nb.core.render
import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from sphinx.util import logging
from sphinx.util.display import status_iterator

ROOT = Path(__file__).resolve().parent.parent.parent
NOTE = "library.sha256"  # in the store: which library made what is there
AT_ONCE = 2  # notebooks; each takes one core and up to a gigabyte
logger = logging.getLogger(__name__)


@cache
def library() -> str:
    """A digest of all that a notebook's output depends on, beside the notebook itself."""
    installed = sorted({f"{found.name} {found.version}" for found in distributions()})
    profile = os.environ.get("MINIDIFF_PROFILE")
    digest = hashlib.sha256(f"{sys.version} {installed} {profile}".encode())
    for folder in ("minidiff", "results"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
                digest.update(path.read_bytes())
    return digest.hexdigest()


def store(app: Any) -> Path:
    """The folder of what the notebooks have put out."""
    return Path(app.config.nb_execution_cache_path or Path(app.outdir).parent / ".jupyter_cache")


def forget(app: Any) -> None:
    """Drop stored outputs that another version of the library, or of what it needs, made.

    jupyter-cache asks only whether a notebook's own code has changed.
    """
    note = store(app) / NOTE
    if app.config.nb_execution_mode != "cache" or (note.exists() and note.read_text() == library()):
        return
    if (note.parent / "global.db").exists():
        logger.info("The library or what is installed has changed: every notebook runs again.")
        get_cache(note.parent).clear_cache()
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(library())


def outdated(app: Any, env: Any, added: Any, changed: Any, removed: Any) -> list[str]:
    """The pages of notebooks are made again when their outputs are another library's."""
    before, env.outputs_by = getattr(env, "outputs_by", None), library()
    stale = before != env.outputs_by
    return [name for name in env.found_docs if stale and name.startswith("notebooks/")]


def execute(app: Any, env: Any, names: list[str]) -> None:
    """Run the notebooks to be read that have no stored outputs, several at once, the longest first.

    myst-nb would run them one by one. It finds these outputs in the store; a notebook that fails
    here it runs again, and tells where it failed.
    """
    if app.config.nb_execution_mode != "cache":
        return
    stored = get_cache(store(app))
    todo = {}
    for name in names:
        if (path := Path(env.doc2path(name))).suffix == ".ipynb":
            text = [path.read_text(encoding="utf-8")]
            app.emit("source-read", name, text)  # as myst-nb gets it, or it would not be found
            notebook = nbformat.reads(text[0], as_version=4)
            try:
                stored.match_cache_notebook(notebook)
            except KeyError:
                todo[path] = notebook
    known = json.loads((ROOT / "results" / "notebooks.json").read_text())["seconds"]
    longest_first = sorted(todo, key=lambda path: -known.get(path.stem, 0))

    def run(path: Path) -> tuple[Path, Any]:
        with tempfile.TemporaryDirectory() as empty:
            how = {"timeout": app.config.nb_execution_timeout, "allow_errors": False}
            how["shutdown_kernel"] = "immediate"  # all is said; by itself it takes another second
            return path, single_nb_execution(todo[path], empty, **how)

    for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(threads, "1")  # of each: more would wait for one another
    with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
        results = pool.map(run, longest_first)
        done = status_iterator(
            results, "executing notebooks... ", length=len(todo), stringify_func=lambda r: r[0].stem
        )
        for path, result in done:
            if result.err is None:
                data = {"execution_seconds": result.time}
                bundle = CacheBundleIn(todo[path], str(path), data=data)
                stored.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def joined(outputs: list[Any]) -> list[Any]:
    """What a cell prints in several goes, as one block and to the letter.

    myst-nb's own way of merging ends every piece with a new line, which breaks the lines of a slow
    loop that prints a row in pieces.
    """
    kept: list[Any] = []
    streams: dict[str, Any] = {}
    for output in outputs:
        name = output.get("name") if output["output_type"] == "stream" else None
        if name in streams:
            streams[name]["text"] += output["text"]
            continue
        kept.append(output)
        if name:
            streams[name] = output
    return kept


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    myst_nb.core.render.coalesce_streams = joined
    app.connect("builder-inited", forget, priority=100)
    app.connect("env-get-outdated", outdated)
    app.connect("env-before-read-docs", execute)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
