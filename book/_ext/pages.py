"""Last touches to the book's pages, where the theme's HTML falls short of what readers need."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import routes

SHARP = 200  # pixels an inch: above this a picture has two pixels where one is shown
WIDE = 500  # pixels: the letters of figures above this can't be read where they must fit a phone


def finish(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Called for every page before it is written."""
    # sphinx-thebe (live kernels, unused here) declares its constants twice: an error on every page.
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in f"{script} {getattr(script, 'attributes', {}).get('body', '')}".lower()
    ]
    body = context.get("body")
    if body:
        # A label that hides the visible words from screen readers.
        body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
        # A role that ARIA has withdrawn, inside a list.
        body = body.replace('role="doc-biblioentry"', 'role="listitem"')
        # With this class the theme puts a tab stop here while there is something to scroll.
        body = body.replace(
            'class="important admonition"',
            'class="important admonition pst-scrollable-table-container"',
        )
        files = {name: Path(app.srcdir, file) for file, name in app.builder.images.items()}
        context["body"] = re.sub(r"<img [^>]*>", lambda tag: picture(tag[0], files), body)


def picture(tag: str, files: dict[str, Path]) -> str:
    """The tag of a picture that is fetched when the reader comes near, into room kept for it."""
    tag = tag.replace("<img ", '<img loading="lazy" ')
    name = re.search(r'src="[^"]*_images/([^"]+\.(?:png|webp))"', tag)
    if name is None:
        return tag
    with Image.open(files[name[1]]) as image:
        width, height = image.size
        if min(image.info.get("dpi", (0,))) > SHARP:  # minidiff/sharp.py drew it
            width, height = width // 2, height // 2
            tag = re.sub(rf' style="width: {width}(?:px)?; height: {height}(?:px)?;"', "", tag)
    tag = tag.replace("<img ", f'<img width="{width}" height="{height}" ')
    if width <= WIDE or "style=" in tag:  # of a width that its author chose
        return tag
    # The second class has the theme put a tab stop here while there is something to scroll.
    return (
        '<span class="wide-figure pst-scrollable-table-container" role="group" '
        f'aria-label="Wide figure" style="--drawn: {width}px">{tag}</span>'
    )


# -- the API page -------------------------------------------------------------------------------

FIRST = (  # the files in the order in which the chapters need them; any other comes after these
    *("schedule", "process", "bound", "parameterize", "denoiser", "losses", "unet.network"),
    *("unet.config", "engine.loop", "engine.config", "engine.ema", "timesteps", "weighting"),
    *("objective", "spacing", "samplers", "ode", "likelihood", "guidance", "editing"),
)


def library() -> str:
    """Every name of minidiff.__all__ under the file that it lives in."""
    import minidiff

    files: dict[str, list[str]] = {file: [] for file in FIRST}
    for name in minidiff.__all__:
        file = getattr(minidiff, name).__module__.removeprefix("minidiff.")
        files.setdefault(file, []).append(name)
    lines = []
    for file, names in files.items():
        lines += [f"### `{file.replace('.', '/')}.py`", "", "```{eval-rst}"]
        lines += [f".. automodule:: minidiff.{file}", "   :no-index:", ""]
        lines += [".. currentmodule:: minidiff", ""]
        for name in names:
            kind = "class" if isinstance(getattr(minidiff, name), type) else "function"
            lines += [f".. auto{kind}:: {name}", *["   :members:"] * (kind == "class"), ""]
        lines += ["```", ""]
    return "\n".join(lines)


PRINTED = {  # the workflow that publishes the book prints it too
    True: "To print it all: `make pdf`",
    False: "[The book as a PDF](https://-unset-.github.io/minidiff/minidiff.pdf)",
}


def unset(app: Any) -> bool:
    """Whether this is the book of nobody's repository."""
    return "/-unset-/" in app.config.html_theme_options.get("repository_url", "")


def fill(app: Any, page: str, source: list[str]) -> None:
    if page.startswith("notebooks/"):  # whose code runs as it is
        return
    source[0] = source[0].replace("<!-- the library, file by file -->", library())
    if page == "routes":
        source[0] = routes.filled(source[0])
    source[0] = source[0].replace("<!-- print -->", PRINTED[unset(app)])
    # a book of nobody's repository is installed from the folder that it lies in
    source[0] = source[0].replace("git+https://github.com/-unset-/minidiff", ".")


def without_address(app: Any, config: Any) -> None:
    """Leave out the buttons that lead to the repository while its address is unset."""
    options = config.html_theme_options
    if unset(app):
        for button in ("repository", "issues", "edit_page"):
            options[f"use_{button}_button"] = False
        options["launch_buttons"] = {}


def plain_docstring(
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Docstrings are written for people at a prompt; make valid reStructuredText of them."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    lines[:] = [*"\n\n".join(map(restructured, paragraphs)).split("\n"), ""]


def restructured(paragraph: str) -> str:
    if paragraph.lstrip().startswith(">>>"):
        return paragraph
    if re.search(r"^\s|\S  +\S", paragraph, flags=re.M):  # laid out by hand: leave it as it is
        return ".. code-block:: none\n\n" + re.sub(r"^", "    ", paragraph, flags=re.M)
    parts = paragraph.split("`")
    if len(parts) % 2 == 0:  # a lone backtick
        parts = [paragraph.replace("`", "'")]
    prose = [re.sub(r"([\\*_|])", r"\\\1", part) for part in parts[::2]]
    code = [f"``{part}``" for part in parts[1::2]]
    return "".join(a + b for a, b in zip(prose, [*code, ""], strict=True))


def without_aliases(
    app: Any, what: str, name: str, thing: Any, skip: bool, options: Any
) -> bool | None:
    """The fields of a named tuple stand in its signature."""
    return True if str(thing.__doc__).startswith("Alias for field number") else None


def short_signature(
    app: Any,
    what: str,
    name: str,
    thing: Any,
    options: Any,
    arguments: str | None,
    result: str | None,
) -> tuple[str | None, str | None]:
    """Dataclasses with factories: no private fields, and types by their last name."""
    if arguments and "<factory>" in arguments:
        arguments = re.sub(r", _\w+: .*? = <factory>", "", arguments).replace("<factory>", "{}")
        arguments = re.sub(r"~(\w+\.)+", "", arguments)
    return arguments, result


def sitemap(app: Any, exception: Exception | None) -> None:
    """The list of pages that search engines ask for."""
    if exception is None and app.builder.format == "html":
        uris = [app.builder.get_target_uri(page) for page in sorted(app.env.found_docs)]
        urls = "".join(f"<url><loc>{app.config.html_baseurl}{uri}</loc></url>\n" for uri in uris)
        Path(app.outdir, "sitemap.xml").write_text(
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n'
        )


def lighter(app: Any, exception: Exception | None) -> None:
    """The theme has its icons twice: as a font, and as half a megabyte of script. One is enough."""
    script = Path(app.outdir, "_static", "scripts", "fontawesome.js")
    if exception is None and script.exists():
        script.write_text("// The icons are a font.\n")


KEPT = (
    "<script>window.kept = {}; for (const kind of ['local', 'session']) {"
    " try { kept[kind] = window[`${kind}Storage`]; kept[kind].length; } catch {"
    " kept[kind] = { getItem: () => null, setItem() {}, removeItem() {} }; } }</script>\n"
)
FORGETFUL = ("scripts/pydata-sphinx-theme.js", "sphinx_highlight.js", "searchtools.js")


def without_storage(app: Any, exception: Exception | None) -> None:
    """Where a browser keeps nothing, as in a frame, the theme's scripts must not end at that.

    (They would, at their first lines: no search opens, no menu.)
    """
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for path in [*out.rglob("*.html"), *(out / "_static" / name for name in FORGETFUL)]:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".js":
            new = re.sub(r"\b(local|session)Storage\b", r"kept.\1", text)
        else:
            of_theme = '<script data-cfasync="false">'
            head, theme, rest = text.partition(of_theme)
            if not theme or KEPT in head:
                continue
            script, end, rest = rest.partition("</script>")
            new = head + KEPT + theme + script.replace("localStorage", "kept.local") + end + rest
        if new != text:
            path.write_text(new, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("build-finished", lighter)
    app.connect("build-finished", sitemap)
    app.connect("build-finished", without_storage)
    app.connect("config-inited", without_address)
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", plain_docstring)
    app.connect("autodoc-process-signature", short_signature)
    app.connect("autodoc-skip-member", without_aliases)
    app.connect("html-page-context", finish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
