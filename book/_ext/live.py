"""Figures that answer: where they stand, which scripts a page needs, and the shipped weights.

A figure of the class `live-NAME` is built, where JavaScript runs, by the file of book/_style that
FIGURES names. In a chapter it stands below the figure of PLACES, which is its static twin: what a
notebook, paper and a browser without JavaScript show. On a page, `:figclass: live-NAME` puts it in
the place of a picture. All that is loaded are scripts: from file:// a browser lets a page load
nothing else.
"""

from __future__ import annotations

import base64
import re
import zlib
from pathlib import Path
from typing import Any

from minidiff.engine.checkpoint import SHIPPED, read

FORMULAS = ("frame.js", "toy.js")
RUNTIME = (*FORMULAS, "unet.js", "network.js")
NETWORK = (*RUNTIME, "play_data.js")
FIGURES = {  # what is in the page: what it needs, in this order
    **dict.fromkeys(
        ("schedule", "noising", "posterior"), (*FORMULAS, "play_data.js", "processes.js")
    ),
    **dict.fromkeys(("plane", "solver"), (*FORMULAS, "plane.js")),
    "clouds": (*FORMULAS, "clouds.js"),
    "training": (*FORMULAS, "mlp.js", "training.js"),
    **dict.fromkeys(("sampling", "renoise"), (*NETWORK, "live.js")),
    **dict.fromkeys(("samplers", "interpolate"), (*NETWORK, "samplers.js")),
    **dict.fromkeys(("guidance", "inpainting"), (*NETWORK, "asked.js")),
    **dict.fromkeys(("creatures", "wishes"), (*RUNTIME, "creature_data.js", "creatures.js")),
}
PLACES = {  # the figure of a chapter, or a section's list: the figure that answers below it
    "fig-start-creatures": "creatures",
    "fig-start-samples": "sampling",
    "fig-start-moons": "training",
    "fig-fwd-strip": "noising",
    "fig-fwd-two-strips": "schedule",
    "fig-reverse-small-large": "posterior",
    "fig-digits-posterior-mean": "renoise",
    "fig-simple-islands": "training",
    "fig-train-digits": "sampling",
    "fig-inside-expect": "sampling",
    "fig-inside-share": "renoise",
    "fig-met-bias": "clouds",
    "fig-ddim-hundred": "samplers",
    "fig-det-walk": "interpolate",
    "fig-ode-hook": "plane",
    "fig-ode-steps": "solver",
    "fig-next-guided": "guidance",
    "fig-next-creatures": "wishes",
    "fig-edit-hats": "inpainting",
}
WEIGHTS = ("digits_labels", "creatures16")  # the networks of network.js


def script(path: Path) -> str:
    """An intact file of weights as the script that unet.js asks for: deflated, in base64."""
    read(path)  # a damaged one stops the build
    text = base64.b64encode(zlib.compress(path.read_bytes(), 9)).decode()
    return f'minidiff.deliver("{path.stem}", "{text}");\n'


def placed(body: str) -> str:
    """The body of a page with its figures in their places, each named once in a page."""
    for name, figure in PLACES.items():
        mark = re.search(rf'<(figure|section) [^>]*\bid="{name}"', body)
        if mark is None:
            continue
        end = "</figure>" if mark[1] == "figure" else "</ul>"
        at = body.index(end, mark.end()) + len(end)
        new = f'\n<figure class="live-{figure} placed" id="live-{figure}"></figure>'
        body = body[:at] + new + body[at:]
    return body


def needed(body: str) -> list[str]:
    """The scripts of a page, in the order in which they run."""
    classes = re.findall(r'<figure [^>]*?class="([^"]*)"', body)
    names = [name for every in classes for name in FIGURES if f"live-{name}" in every.split()]
    return list(dict.fromkeys(file for name in names for file in FIGURES[name]))


def name_places(app: Any, doctree: Any) -> None:
    """Let other pages link to the figures of this one, which stand in no source."""
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for place, figure in PLACES.items():
        if place in doctree.ids:
            slugs[f"live-{figure}"] = (0, f"live-{figure}", figure)


def add_scripts(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Sphinx calls this for every page before it is written."""
    context["body"] = body = placed(context.get("body") or "")
    for name in needed(body):
        app.add_js_file(name, loading_method="defer")
    if needed(body):
        app.add_css_file("live.css")


def write_weights(app: Any, exception: Exception | None) -> None:
    """Put the weights beside unet.js when the pages are made."""
    if exception is None and app.builder.format == "html":
        folder = Path(app.outdir, "_static", "weights")
        folder.mkdir(exist_ok=True)
        for name in WEIGHTS:
            (folder / f"{name}.js").write_text(script(SHIPPED / f"{name}.safetensors"))


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("doctree-read", name_places)
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", write_weights)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
