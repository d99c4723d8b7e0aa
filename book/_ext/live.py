"""Figures that answer: which scripts a page needs, and the shipped weights as one of them.

A figure of the class `live-NAME` (`:figclass: live-sampling`) is the static twin of a figure in
book/_style/live.js, which takes its place where JavaScript runs. All that such a page loads are
scripts: from file:// a browser lets it load nothing else.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from minidiff.engine.checkpoint import SHIPPED, read

PLAIN, NETWORK = r"<figure [^>]*\bdata-play=", r"<figure [^>]*\blive-"
SCRIPTS = {  # what is in the page: what it needs, in this order
    PLAIN: ("frame.js", "play_data.js", "play.js"),
    NETWORK: ("frame.js", "play_data.js", "unet.js", "live.js"),
}
WEIGHTS = ("digits_labels",)  # the networks of live.js


def script(path: Path) -> str:
    """An intact file of weights as the script that unet.js asks for: its bytes, in base64."""
    read(path)  # a damaged one stops the build
    text = base64.b64encode(path.read_bytes()).decode()
    return f'minidiff.deliver("{path.stem}", "{text}");\n'


def add_scripts(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Sphinx calls this for every page before it is written."""
    body = context.get("body") or ""
    needed = [name for mark, names in SCRIPTS.items() if re.search(mark, body) for name in names]
    for name in dict.fromkeys(needed):
        app.add_js_file(name, loading_method="defer")


def write_weights(app: Any, exception: Exception | None) -> None:
    """Put the weights beside unet.js when the pages are made."""
    if exception is None and app.builder.format == "html":
        folder = Path(app.outdir, "_static", "weights")
        folder.mkdir(exist_ok=True)
        for name in WEIGHTS:
            (folder / f"{name}.js").write_text(script(SHIPPED / f"{name}.safetensors"))


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", write_weights)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
