"""Once: notebooks written in MyST to plain ones.   python tmp_convert/convert.py [NAME ...]

Reads notebooks/*.ipynb as they are now (MyST) and writes them in the plain form; then
tools/references.py numbers them. --from REV reads them from git instead, so that it can be repeated.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import notebooks as tool  # noqa: E402
import references  # noqa: E402

OPEN = re.compile(r"^(\s*)(`{3,}|:{3,})\{([\w:-]+)\}[ \t]*(.*)$")
FENCE = re.compile(r"^(\s*)(`{3,})(?![`{])\S*\s*$")
ADDRESS = {}  # label -> stem of the notebook that holds it
TITLES = {}  # stem -> title

# what an old literalinclude shows -> the call that shows it, by public names
SOURCE = {
    ("losses.py", "_simple"): "md.book.source(md.loss_simple, \"_simple\")",
    ("parameterize.py", "_TO_X0: dict"): "md.book.source(md.to_x0_eps, \"_TO_X0\")",
    ("samplers.py", "_walk"): "md.book.source(md.ancestral, \"_walk\")",
    ("guidance.py", "Guided.ask"): "from minidiff.guidance import Guided\n\nmd.book.source(Guided.ask)",
    ("blocks.py", "ResBlock"): "md.book.source(blocks.ResBlock)",
    ("blocks.py", "Attention"): "md.book.source(blocks.Attention)",
    ("trainer.py", "Trainer.step"): "from minidiff.engine.trainer import Trainer\n\nmd.book.source(Trainer.step)",
    ("metrics.py", "precision_recall_density_coverage"): "md.book.source(md.metrics.precision_recall_density_coverage)",
    ("distributed.py", "copies"): "from minidiff.engine import distributed\n\nmd.book.source(distributed.copies)",
    ("distributed.py", "shards"): "from minidiff.engine import distributed\n\nmd.book.source(distributed.shards)",
    ("speed.py", "training_flops"): "from minidiff.engine.speed import training_flops\n\nmd.book.source(training_flops)",
}
WORDS = {  # labels that stand in code, said in words
    "Look at each of \"\n    \"the three parts of eq-gaussian-kl:": "Look at each of \"\n    \"the three parts of the formula:",
    "Exercise: solve eq-scale-cost for n": "Exercise: solve the formula of the cost for n",
    "the mean of equation (eq-fwd-prior-kl) over log 2": "the mean of its formula over log 2",
    "Equation (eq-unet-res), with every shape": "The block's formula, with every shape",
    "The density (eq-gauss-density)": "The density of a Gaussian",
}
NOTES: list[str] = []  # what a human should look at
counts: dict[str, int] = {}


def count(what: str) -> None:
    counts[what] = counts.get(what, 0) + 1


# -- blocks -------------------------------------------------------------------------------------


def blocks(text: str):
    """("text", lines) and ("directive", indent, name, argument, options, body) in order."""
    lines, i, plain = text.split("\n"), 0, []
    while i < len(lines):
        code = FENCE.match(lines[i])
        if code:  # a block of code: as it is
            end = i + 1
            while end < len(lines) and lines[end].strip() != code[2]:
                end += 1
            plain += lines[i : end + 1]
            i = end + 1
            continue
        m = OPEN.match(lines[i])
        if not m:
            plain.append(lines[i])
            i += 1
            continue
        indent, fence, name, argument = m.groups()
        end = i + 1
        while end < len(lines) and lines[end].strip() != fence:
            end += 1
        assert end < len(lines), f"unclosed {name}"
        body = [line[len(indent) :] if line.startswith(indent) else line for line in lines[i + 1 : end]]
        options = {}
        while body and (o := re.match(r":([\w-]+):\s*(.*)", body[0])):
            options[o[1]] = o[2]
            body.pop(0)
        if plain:
            yield "text", "\n".join(plain)
            plain = []
        yield "directive", indent, name, argument.strip(), options, "\n".join(body).strip("\n")
        i = end + 1
    if plain:
        yield "text", "\n".join(plain)


def anchor(name: str, indent: str = "") -> str:
    return f'{indent}<a id="{name}"></a>\n\n'


def quote(text: str) -> str:
    # a formula in a quotation stands on one line: viewers take "> " for a part of it otherwise
    text = re.sub(
        r"^( *)\$\$\n(.*?)\n *\$\$$",
        lambda m: f"{m[1]}$$ {' '.join(line.strip() for line in m[2].split(chr(10)))} $$",
        text,
        flags=re.M | re.S,
    )
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def directive(indent, name, argument, options, body, stem) -> str:
    count(name)
    inner = "".join(piece if isinstance(piece, str) else "" for piece in convert(body, stem))
    label = options.get("label") or options.get("name")
    if name == "exercise":
        return anchor(label) + f"### Exercise ?. {argument}\n\n{inner}\n"
    if name == "solution":
        return f"<details><summary><b>Solution</b></summary>\n\n{inner}\n\n</details>\n"
    if name == "prf:proof":
        end = inner.rstrip()
        closing = " ∎" if not end.endswith("$$") else "\n\n∎"
        if re.match(r"\d+\. ", inner):
            return f"**Proof.**\n\n{end}{closing}\n"
        return f"**Proof.** {end}{closing}\n"
    if name in ("prf:theorem", "prf:lemma", "prf:algorithm"):
        title = f"**{name[4:].capitalize()} ?. {argument}**"
        return anchor(label) + quote(f"{title}\n\n{inner}") + "\n"
    titles = {"note": "Note", "warning": "Warning", "margin": "Aside", "admonition": argument}
    return quote(f"**{titles[name]}**\n\n{inner}") + "\n"


def equation(m: re.Match) -> str:
    indent, body, label = m.groups()
    count("displayed formula")
    if label is None:
        return m[0]
    count("labelled equation")
    return f"{anchor(label, indent)}{indent}$${body}$$"


def inline(text: str, stem: str) -> str:
    """Targets, labelled equations and roles."""
    text = re.sub(r"^( *)\$\$((?:(?!\$\$).)*)\$\$(?: *\(([\w-]+)\))?[ \t]*$", equation, text, flags=re.M | re.S)

    def target(m):
        count("target")
        return anchor(m[2], m[1])

    text = re.sub(r"^( *)\(([\w-]+)\)=\n+", target, text, flags=re.M)
    text = text.replace("distortion $= $ error", "distortion $=$ error")  # VS Code wants no space

    def role(m):
        kind, content = m.groups()
        count("role " + kind)
        content = content.replace("\n", " ")
        if kind.startswith("py:"):
            return f"`{content}`"
        if kind == "doc":
            page = content.strip("/")
            if page.startswith("notebooks/"):
                page = page.removeprefix("notebooks/")
                return f"[{TITLES[page]}]({page}.ipynb)"
            return f"[{page.capitalize()}](../book/{page}.md)" if page != "play" else f"[Play](../book/{page}.md)"
        if kind == "cite:t":
            return " and ".join(f"[t](cite:{key.strip()})" for key in content.split(","))
        if kind == "cite":
            return "(" + "; ".join(f"[p](cite:{key.strip()})" for key in content.split(",")) + ")"
        named = re.fullmatch(r"(.*?)\s*<([\w-]+)>", content)
        text, label = (named[1], named[2]) if named else ("", content)
        assert label in ADDRESS, f"{stem}: {label}"
        return f"[{text}](#{label})"

    return re.sub(r"\{([a-z:]+)\}`([^`]*)`", role, text)


def convert(text: str, stem: str):
    """Pieces of a Markdown cell: text, or ("source", call) for a cell that shows source."""
    out = []
    for kind, *what in blocks(text):
        if kind == "text":
            piece = inline(what[0], stem)
        elif what[1] == "literalinclude":
            count("literalinclude")
            out.append(("source", shown(what[2], what[3])))
            continue
        else:
            piece = directive(*what, stem)
            if out and isinstance(out[-1], str) and not out[-1].endswith("\n\n"):
                piece = ("\n" if out[-1].endswith("\n") else "\n\n") + piece
        if out and isinstance(out[-1], str):
            if not out[-1].endswith("\n"):
                out[-1] += "\n"
            out[-1] += piece
        else:
            out.append(piece)
    return out


def shown(file: str, options: dict) -> str:
    name = options.get("pyobject") or options["start-at"].strip('"')
    call = SOURCE.get((Path(file).name, name)) or f"md.book.source(md.{name})"
    what = name.removeprefix("_").split(":")[0]
    return f"# @title The library's source: {what}\n{call}"


# -- code cells ---------------------------------------------------------------------------------


def solution_name(name: str) -> str:
    return "solution_" + name.removeprefix("my_")


def stub(source: str) -> tuple[str, str]:
    function = next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef))
    if "NotImplementedError" not in source:  # a wrong function to be mended
        first = function.body[1] if isinstance(function.body[0], ast.Expr) else function.body[0]
        lines = source.split("\n")
        hint = 'raise NotImplementedError("Exercise: mend what follows, then delete this line")'
        lines.insert(first.lineno - 1, "    " + hint)
        source = "\n".join(lines)
        NOTES.append(f"stub of {function.name}: a wrong function, now behind a raise; read its statement")
    return source, function.name


def solution(source: str, name: str) -> str:
    source = re.sub(r"\A# @title .*", "# @title Solution (try first, then unfold)", source)
    return re.sub(rf"\b{name}\b", solution_name(name), source)


def check(source: str, name: str) -> str:
    lines = source.rstrip().split("\n")
    assert re.fullmatch(r'print\("ex-[\w-]+: correct"\)', lines[-1]), lines[-1]
    body = "\n".join(lines[:-1]).rstrip()
    if "print(" in body:
        NOTES.append(f"check of {name}: prints more than the verdict; unsolved, its output is gone")
    body = "\n".join(f"    {line}" if line else "" for line in body.split("\n"))
    count("check")
    return (
        "try_solution = False  # True tries the solution in the place of your answer\n\n\n"
        f"def tests({name}):\n{body}\n\n\n"
        f'md.book.check("?", tests, {solution_name(name)} if try_solution else {name})'
    )


def printed(text: str):
    return [nbformat.v4.new_output("stream", name="stdout", text=text)]


# -- a notebook ---------------------------------------------------------------------------------


def old_tags(cell):
    return list(cell.metadata.get("tags", []))


def has_picture(cell) -> bool:
    return any(
        mime in o.get("data", {}) for o in cell.get("outputs", []) for mime in ("image/png", "text/html")
    )


def plain(notebook, stem: str):
    cells, name = [], ""
    old = list(notebook.cells)
    assert "IN_COLAB" in old[0].source
    bootstrap = new_code_cell(tool.BOOTSTRAP, metadata={"tags": ["remove-cell"]})
    bootstrap.execution_count = 1
    bootstrap.outputs = old[0].outputs
    first_picture = next((i for i, c in enumerate(old) if has_picture(c)), 0)
    after = next((i for i, c in enumerate(old[2:], 2) if c.cell_type != "code"), 2)
    opening = []
    for i, cell in enumerate(old[1:], 1):
        tags, source = old_tags(cell), cell.source
        if cell.cell_type == "markdown":
            for piece in convert(source, stem):
                if isinstance(piece, str):
                    text = re.sub(r"\n{3,}", "\n\n", piece).strip("\n")
                    text = re.sub(r"(</summary>|</details>|</a>)\n(?=[^\n])", r"\1\n\n", text)
                    text = text.replace("## Summary\n\n> **Summary**\n>\n", "## Summary\n\n")
                    text = text.replace("> **Summary**\n>\n", "## Summary\n\n")
                    if text:
                        cells.append(new_markdown_cell(text))
                else:
                    shown_cell = new_code_cell(piece[1], metadata={"tags": ["remove-input"]})
                    cells.append(shown_cell)
            if i == 1:
                cells.append(bootstrap)
            continue
        for before, words in WORDS.items():
            if before in source:
                source = source.replace(before, words)
                count("label in code")
        metadata = {"tags": tags} if tags else {}
        mystnb = cell.metadata.get("mystnb", {})
        if mystnb.get("image"):
            metadata["mystnb"] = {"image": mystnb["image"]}
        new = new_code_cell(source, metadata=metadata, outputs=cell.outputs)
        new.execution_count = cell.execution_count
        figure = mystnb.get("figure")
        if "stub" in tags:
            new.source, name = stub(source)
        elif "solution" in tags:
            new.source = solution(source, name)
        elif "check" in tags:
            new.source = check(source, name)
            new.outputs = printed("")
        elif "setup" in tags and i < min(first_picture or 99, after) and (
            stem[:2] != "00" or source.startswith("import")  # chapter 0 shows its few lines
        ):
            opening.append(new)  # gathered into one folded cell, in front of the first picture
            if len(opening) == 1:
                cells.append(new)
            else:
                into = opening[0]
                into.source += "\n\n" + new.source
                into.outputs += new.outputs
            continue
        elif "hide-input" in tags:
            if figure:
                title = "Figure ?"
            elif has_picture(cell):
                title = "The animation below" if "animation" in source else "The picture below"
            elif cell.outputs:
                title = "The numbers below"
            else:
                title = "Helpers for the next cells"
                NOTES.append(f"{stem} cell {i}: folded helpers, find a better title: {source[:60]!r}")
            new.source = f"# @title {title}\n{source}"
        cells.append(new)
        if figure:
            count("figure")
            caption = inline(figure["caption"], stem)
            cells.append(new_markdown_cell(f"{anchor(figure['name'])}**Figure ?.** {caption}"))
    if opening:
        into = opening[0]
        into.source = "# @title Set-up: imports, data and models of this chapter\n" + into.source
        into.metadata["tags"] = ["setup", "hide-input"] + (
            ["nbval-check-output"] if "nbval-check-output" in old_tags(into) else []
        )
    return new_notebook(cells=cells, metadata=notebook.metadata)


def read(stem: str, revision: str | None):
    path = f"notebooks/{stem}.ipynb"
    if revision is None:
        return nbformat.read(ROOT / path, as_version=4)
    raw = subprocess.run(["git", "show", f"{revision}:{path}"], cwd=ROOT, capture_output=True, check=True)
    return nbformat.reads(raw.stdout.decode(), as_version=4)


def main() -> None:
    arguments = sys.argv[1:]
    revision = None
    if "--from" in arguments:
        at = arguments.index("--from")
        revision = arguments[at + 1]
        del arguments[at : at + 2]
    stems = [p.stem for p in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))]
    books = {stem: read(stem, revision) for stem in stems}
    for stem, book in books.items():
        for cell in book.cells:
            text = cell.source if cell.cell_type == "markdown" else ""
            for found in re.findall(
                r'^ *\(([\w-]+)\)=|\$\$ *\(([\w-]+)\)|^:(?:label|name): *([\w-]+)|<a id="([\w-]+)">', text, flags=re.M
            ):
                ADDRESS["".join(found)] = stem
            if name := cell.metadata.get("mystnb", {}).get("figure", {}).get("name"):
                ADDRESS[name] = stem
            if title := re.search(r"^# (.+)$", text, flags=re.M):
                TITLES.setdefault(stem, title[1])
    todo = [s for s in stems if not arguments or s in arguments]
    failed = []
    for stem in todo:
        if any('<a id="' in c.source for c in books[stem].cells):
            print(f"{stem}: is plain already")
            continue
        try:
            made = plain(books[stem], stem)
            tool.write(tool.normalise(made), ROOT / "notebooks" / f"{stem}.ipynb")
            subprocess.run([sys.executable, "-m", "ruff", "format", "-q", f"notebooks/{stem}.ipynb"], cwd=ROOT, check=True)
            again = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
            tool.write(tool.normalise(again), ROOT / "notebooks" / f"{stem}.ipynb")
        except Exception as error:
            failed.append(stem)
            print(f"{stem}: FAILED: {type(error).__name__}: {error}")
    for what, n in sorted(counts.items()):
        print(f"{n:5d} {what}")
    for note in NOTES:
        print("look at:", note)
    if not failed:
        print("now: python tools/references.py && python tools/notebooks.py run")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
