"""What the pages show as output is what the code prints now, and as it prints it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import myst_nb.core.render
from jupyter_cache import get_cache
from sphinx.util import logging

ROOT = Path(__file__).resolve().parent.parent.parent
logger = logging.getLogger(__name__)


def library() -> str:
    """A digest of all that a notebook's output depends on, beside the notebook itself."""
    digest = hashlib.sha256()
    for folder in ("minidiff", "results"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
                digest.update(path.read_bytes())
    return digest.hexdigest()


def note(app: Any) -> Path:
    """The file beside the stored outputs that says which library made them."""
    folder = app.config.nb_execution_cache_path or Path(app.outdir).parent / ".jupyter_cache"
    return Path(folder) / "library.sha256"


def forget(app: Any) -> None:
    """Drop stored outputs that another version of the library, its weights or results made.

    jupyter-cache asks only whether a notebook's own code has changed.
    """
    if app.config.nb_execution_mode != "cache":
        return
    file = note(app)
    app.library_changed = not file.exists() or file.read_text() != library()
    if app.library_changed and (file.parent / "global.db").exists():
        logger.info("The library, its weights or results have changed: every notebook runs again.")
        get_cache(file.parent).clear_cache()


def remember(app: Any, exception: Exception | None) -> None:
    """Note the library that the pages were made with, once they are all made."""
    if exception is None and app.config.nb_execution_mode == "cache":
        note(app).write_text(library())


def outdated(app: Any, env: Any, added: Any, changed: Any, removed: Any) -> list[str]:
    """The notebooks are read again when their outputs were dropped."""
    stale = getattr(app, "library_changed", False)
    return [name for name in env.found_docs if stale and name.startswith("notebooks/")]


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
    app.connect("build-finished", remember)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
