"""Write what follows from notebooks/: _toc.yml, the tables in README.md and index.md.

    python tools/chapters.py            write
    python tools/chapters.py --check    only say what is out of date

A chapter is a notebook in notebooks/. Its time is the one that `make notebooks` measured.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import references

ROOT = Path(__file__).resolve().parent.parent
START = "A first look"  # chapter 0 is outside the numbering, so that chapter 1 is number 1
PARTS = {
    START: range(0, 1),
    "Denoising diffusion probabilistic models": range(1, 11),
    "Denoising diffusion implicit models": range(11, 17),
    "At scale and in the field": range(17, 19),
    "What came after": range(19, 90),
}
APPENDIX = 90  # notebooks from this number on come first among the appendices
APPENDICES = [
    *("routes", "play", "formulas", "questions", "notation", "glossary", "networks"),
    *("api", "results", "where_next", "sources", "errata", "impact", "how_built", "changes"),
    "bibliography",
]
QUESTIONS = {
    0: "What is a diffusion model, and can I see one work in a minute?",
    1: "How does an image become noise, and how much of it is left at step t?",
    2: "Why can the way back be taken in small Gaussian steps?",
    3: "What exactly is the bound that training minimises?",
    4: "Why does a plain squared error on the noise do the job?",
    5: "How do you draw from a density that nobody can write down?",
    6: "What is inside the network?",
    7: "How is it trained, and how does it draw?",
    8: "What is decided when, on the way from noise to image?",
    9: "How good are the samples, in numbers?",
    10: "What did Improved DDPM improve?",
    11: "Which other processes have the same marginals?",
    12: "Why does one trained network serve them all?",
    13: "How few steps are enough?",
    14: "Where is the picture before it is drawn?",
    15: "Which differential equation is being solved, and how well?",
    16: "Where does the equation come from, and how probable is an image?",
    17: "How fast, how big, how much?",
    18: "Which mistakes do published implementations make, and which test finds each?",
    19: "How do you get what you ask for?",
    20: "Where should a network be trained, and where should a sampler stop?",
    21: "What is left of a diffusion model without schedule, chain and bound?",
    22: "Can one network call draw a picture, and what is lost on the way there?",
    23: "Must it be a U-Net, and must it be pixels?",
    24: "How does one add noise to a word?",
    25: "Can a trained network change a picture, and learn from mine?",
    26: "What has changed since DDPM, and what of it matters?",
    90: "Which facts about Gaussians does the book stand on, and why are they true?",
    91: "What must I know about probability to read this book?",
    92: "Which runs made the weights of this book, and what did each of them change?",
}


def chapters() -> list[tuple[int, str, str]]:
    """(number, stem, title) of every chapter, in order."""
    found = []
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        prose = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        title = re.search(r"^# (.+)$", prose, flags=re.M)
        found.append((int(path.stem[:2]), path.stem, title[1] if title else path.stem))
    return found


def toc() -> str:
    lines = ["# Written by tools/chapters.py from the files in notebooks/ and book/.", ""]
    lines += ["format: jb-book", "root: index", "parts:"]
    for caption, numbers in PARTS.items():
        stems = [stem for number, stem, _ in chapters() if number in numbers]
        if stems:
            numbered = [] if caption == START else ["    numbered: true"]
            lines += [f"  - caption: {caption}", *numbered, "    chapters:"]
            lines += [f"      - file: notebooks/{stem}" for stem in stems]
    appendices = [f"notebooks/{stem}" for number, stem, _ in chapters() if number >= APPENDIX]
    appendices += [name for name in APPENDICES if (ROOT / "book" / f"{name}.md").exists()]
    lines += ["  - caption: Appendices", "    chapters:"]
    lines += [f"      - file: {name}" for name in appendices]
    return "\n".join(lines) + "\n"


def table(link: str) -> str:
    """The chapters as a Markdown table; `link` makes a link target out of a notebook's stem."""
    path = ROOT / "results" / "notebooks.json"
    seconds = json.loads(path.read_text())["seconds"] if path.exists() else {}
    rows = ["| No. | Chapter | The question | On a laptop |", "|---|---|---|---|"]
    for number, stem, title in chapters():
        time = f"{max(seconds[stem], 1):.0f} s" if stem in seconds else ""
        target = link.format(stem=stem)
        shown = references.chapter(stem)
        rows.append(f"| {shown} | [{title}]({target}) | {QUESTIONS.get(number, '')} | {time} |")
    return "\n".join(rows)


def between(mark: str, page: str, text: str) -> str:
    """The page with the text between <!-- mark --> and <!-- end of mark --> replaced."""
    marked = rf"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)"
    return re.sub(marked, lambda m: m[1] + text + "\n" + m[2], page, flags=re.S)


def settle(wanted: dict[Path, str]) -> int:
    """Write the files that are out of date; with --check only say which."""
    check, tool = "--check" in sys.argv, Path(sys.argv[0]).name
    stale = [p for p, text in wanted.items() if not p.exists() or p.read_text("utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is out of date: run python tools/{tool}")
        else:
            path.write_text(wanted[path], encoding="utf-8")
    return int(check and bool(stale))


def main() -> int:
    wanted = {ROOT / "_toc.yml": toc()}
    for page, link in (
        ("README.md", "notebooks/{stem}.ipynb"),
        ("book/index.md", "notebooks/{stem}"),
    ):
        path = ROOT / page
        wanted[path] = between("chapters", path.read_text(encoding="utf-8"), table(link))
    return settle(wanted)


if __name__ == "__main__":
    sys.exit(main())
