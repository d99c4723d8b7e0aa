"""Ways through the book: what needs what, the short path, and four courses.

This is the one place that says so. book/routes.md shows it through `filled`, tools/slides.py makes
the slides of each course from it, and tests/test_routes.py holds it against the chapters. Chapters
go by their names without the number, exercises by theirs without the chapter, so that a new number
changes nothing here.
"""

from __future__ import annotations

import html
import itertools
import re
import textwrap
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import chapters
import nbformat
import reading
import references

ROOT = chapters.ROOT

NEEDS: dict[str, tuple[str, ...]] = {  # a chapter: those that it cannot be understood without
    "start_here": (),
    "forward_process": (),
    "reverse_process": ("forward_process",),
    "elbo": ("reverse_process",),
    "simple_loss": ("elbo",),
    "score": ("simple_loss",),
    "unet": ("simple_loss",),
    "training_sampling": ("simple_loss",),
    "looking_inside": ("training_sampling",),
    "metrics": ("training_sampling",),
    "improved_ddpm": ("metrics",),
    "non_markovian": ("simple_loss",),
    "one_objective": ("non_markovian",),
    "ddim": ("one_objective", "training_sampling"),
    "deterministic": ("ddim",),
    "ode": ("ddim", "score"),
    "sde_likelihood": ("ode",),
    "scale": ("unet", "training_sampling"),
    "bug_museum": ("ddim",),
    "guidance": ("score", "ddim"),
    "noise_levels": ("ode",),
    "flow_matching": ("sde_likelihood", "noise_levels"),
    "few_steps": ("ode",),
    "transformers_latents": ("unet", "training_sampling"),
    "discrete": ("elbo",),
    "editing": ("guidance", "ode"),
    "six_years": ("improved_ddpm", "flow_matching", "transformers_latents"),
    "gaussian_identities": (),
    "probability": (),
    "training_history": (),
}
SHORT = (
    *("forward_process", "reverse_process", "elbo", "simple_loss", "score"),
    *("training_sampling", "non_markovian", "one_objective", "ddim", "ode"),
)


class Session(NamedTuple):
    """What is read for one meeting: each chapter with the exercises that are worth the time."""

    title: str
    chapters: dict[str, str]


class Course(NamedTuple):
    """A way through the book for one kind of reader."""

    title: str
    about: str
    given: tuple[str, ...]  # chapters whose results are taken on trust
    unit: str
    sessions: tuple[Session, ...]


COURSES = {
    "ddim": Course(
        "Two sessions on DDIM",
        "For a group that has trained a DDPM and wants to know what DDIM changes. The first "
        "session is mathematics, the second is pictures.",
        ("forward_process", "reverse_process", "elbo", "simple_loss", "training_sampling"),
        "Session",
        (
            Session(
                "other processes, the same network",
                {"non_markovian": "step two-frames telescope", "one_objective": "gamma constant"},
            ),
            Session(
                "few steps, and none of them random",
                {"ddim": "step limit own-tau", "deterministic": "slerp encode exact"},
            ),
        ),
    ),
    "week": Course(
        "A week",
        "The short path in five days, with an hour or two of exercises behind each.",
        (),
        "Day",
        (
            Session(
                "noise, and one step back",
                {
                    "start_here": "draw",
                    "forward_process": "diffuse forgotten",
                    "reverse_process": "ends skip",
                },
            ),
            Session("the bound", {"elbo": "why kl single"}),
            Session(
                "the loss, and a network that draws",
                {
                    "simple_loss": "mean v hidden",
                    "score": "tweedie langevin",
                    "training_sampling": "algorithm-1 step last-step",
                },
            ),
            Session(
                "another process for the same network",
                {"non_markovian": "step telescope", "one_objective": "gamma limit"},
            ),
            Session(
                "fewer steps, and the equation behind them",
                {"ddim": "step limit one", "ode": "ddim midpoint cross"},
            ),
        ),
    ),
    "term": Course(
        "Twelve weeks",
        "The whole book, for a course of a term with one meeting a week.",
        (),
        "Week",
        (
            Session(
                "from image to noise",
                {
                    "start_here": "calls places",
                    "probability": "guess tower",
                    "forward_process": "diffuse jump own-schedule forgotten",
                },
            ),
            Session(
                "one step back",
                {"gaussian_identities": "three mean", "reverse_process": "ends skip two-points"},
            ),
            Session("the bound", {"elbo": "why kl order edges single"}),
            Session(
                "the loss, twice",
                {"simple_loss": "mean v hidden minsnr", "score": "tweedie dsm langevin normal"},
            ),
            Session(
                "a network that draws",
                {"unet": "attend count blind", "training_sampling": "algorithm-1 step ema memory"},
            ),
            Session(
                "what is decided when, and how good it is",
                {"looking_inside": "rate blur", "metrics": "diagonal recall fool-recall"},
            ),
            Session(
                "better, faster, bigger",
                {
                    "improved_ddpm": "variance importance saving",
                    "scale": "conv mfu budget",
                    "training_history": "",
                },
            ),
            Session(
                "a family of processes",
                {
                    "non_markovian": "step two-frames telescope",
                    "one_objective": "gamma constant two-steps",
                },
            ),
            Session(
                "few steps",
                {"ddim": "step limit guard own-tau", "deterministic": "slerp encode gaussian"},
            ),
            Session(
                "differential equations",
                {"ode": "midpoint multistep cross", "sde_likelihood": "reverse hutchinson bits"},
            ),
            Session("mistakes", {"bug_museum": "tau posterior mutation agree"}),
            Session(
                "what came after, and projects",
                {
                    "guidance": "guide interval gaussian",
                    "noise_levels": "wrap heun churn",
                    "flow_matching": "velocity euler straight",
                    "few_steps": "boundary lines",
                    "transformers_latents": "pca",
                    "discrete": "order tie",
                    "editing": "known reverse",
                    "six_years": "differ claim",
                },
            ),
        ),
    ),
    "engineers": Course(
        "Engineers only",
        "For people who shall build or mend such a model. Derivations are taken on trust; each "
        "exercise is a function with a check, or a number to work out.",
        ("reverse_process", "elbo", "score", "non_markovian", "one_objective", "ode"),
        "Session",
        (
            Session(
                "noise and loss",
                {
                    "start_here": "draw budget",
                    "forward_process": "diffuse published-bug",
                    "simple_loss": "mean v",
                },
            ),
            Session(
                "network, training, sampling",
                {"unet": "attend count field", "training_sampling": "algorithm-1 last-step ema"},
            ),
            Session(
                "is it any good, and how fast",
                {"metrics": "diagonal infinity", "ddim": "step guard own-tau"},
            ),
            Session(
                "mistakes, and their tests",
                {"bug_museum": "tau uint8 posterior mutation"},
            ),
            Session(
                "money, and what came after",
                {"scale": "mfu unequal budget latent", "guidance": "guide interval"},
            ),
        ),
    ),
}


# -- what the chapters say of themselves --------------------------------------------------------


class Chapter(NamedTuple):
    """A chapter under its name: where it is, and what the pages call it."""

    stem: str
    number: str
    title: str
    question: str

    @property
    def minutes(self) -> float:
        """Of reading."""
        return reading.chapter(self.stem).minutes

    @property
    def link(self) -> str:
        """In Markdown."""
        return f"[{self.number} {self.title}](notebooks/{self.stem})"


@cache
def book() -> dict[str, Chapter]:
    """Every chapter by its name, in the order of the book."""
    return {
        stem[3:]: Chapter(stem, references.chapter(stem), title, chapters.QUESTIONS[number])
        for number, stem, title in chapters.chapters()
    }


EXERCISE = re.compile(r'<a id="ex-\d\d-([\w-]+)"></a>\n+### Exercise [\w.]+ (.+)')


@cache
def exercises(name: str) -> dict[str, str]:
    """The exercises of a chapter: the title of each by its name."""
    path = references.NOTEBOOKS / f"{book()[name].stem}.ipynb"
    text = "\n\n".join(references.prose(nbformat.read(path, as_version=4)))
    return dict(EXERCISE.findall(text))


def questions() -> dict[str, str]:
    """The part of the question bank that is about each chapter, as a link."""
    text = (ROOT / "book" / "questions.md").read_text(encoding="utf-8")
    found = {}
    for target, title, body in re.findall(
        r"^\((questions-\w+)\)=\n## (.+)\n((?:(?!^\(|^## ).*\n)*)", text, flags=re.M
    ):
        for stem in re.findall(r"\(notebooks/\d\d_(\w+)\)", body):
            found[stem] = f"[{title}](#{target})"
    return found


def before(name: str) -> set[str]:
    """All that a chapter needs, and what that needs."""
    return set(NEEDS[name]).union(*(before(need) for need in NEEDS[name]))


# -- the page -----------------------------------------------------------------------------------


def hours(names: list[str]) -> str:
    """How long it takes to read these chapters."""
    minutes = sum(book()[name].minutes for name in names)
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"


def short() -> str:
    """The short path as a table."""
    rows = ["| Chapter | The question | Minutes |", "|---|---|---|"]
    for name in SHORT:
        row = book()[name]
        rows.append(f"| {row.link} | {row.question} | {row.minutes:.0f} |")
    return "\n".join([*rows, "", f"Together: {hours(list(SHORT))} of {hours(list(book()))}."])


def course(name: str) -> str:
    """A course, meeting by meeting."""
    this = COURSES[name]
    lines = [this.about]
    if this.given:
        trusted = ", ".join(book()[given].link for given in this.given)
        lines[0] += f" Taken as known, or on trust: {trusted}."
    for number, (title, read) in enumerate(this.sessions, 1):
        links = [book()[chapter].link for chapter in read]
        tasks = [
            f"[{exercises(chapter)[task]}](#ex-{book()[chapter].stem[:2]}-{task})"
            for chapter, names in read.items()
            for task in names.split()
        ]
        asked = dict.fromkeys(questions()[chapter] for chapter in read if chapter in questions())
        lines += ["", f"**{this.unit} {number}: {title}**", f": Read {', '.join(links)}."]
        lines[-1] += f" *{hours(list(read)).capitalize()}.*"
        lines += ["", f"  Exercises: {', '.join(tasks)}."]
        if asked:
            lines += ["", f"  Questions: {', '.join(asked)}."]
    return "\n".join(lines)


def filled(page: str) -> str:
    """book/routes.md with what is written here in the places of its comments."""
    parts = {"short path": short(), "map": drawn()}
    parts |= {f"course {name}": course(name) for name in COURSES}
    return re.sub(r"<!-- ([\w ]+) -->", lambda mark: parts[mark[1]], page)


# -- the map ------------------------------------------------------------------------------------

LANES, WIDTH, HEIGHT, GAP_X, GAP_Y = 3, 114, 70, 16, 30
BETWEEN = (0.5, 1.5)  # the lanes' gaps
SWEEPS = 3
Place = tuple[int, int]  # row, lane


def arrows() -> list[tuple[str, str]]:
    """(needed, needing), without those that follow from two others."""
    return [
        (need, name)
        for name in NEEDS
        for need in NEEDS[name]
        if not any(need in before(other) for other in NEEDS[name])
    ]


def way(start: Place, end: Place, taken: Iterable[Place]) -> list[float]:
    """The lanes through which an arrow passes: between two boxes in the rows where one stands."""
    (top, left), (bottom, right) = start, end
    lanes: list[float] = [left]
    for row in range(top + 1, bottom):
        straight = left + (right - left) * (row - top) / (bottom - top)
        free = [lane for lane in range(LANES) if (row, lane) not in taken]
        lanes.append(min([*free, *BETWEEN], key=lambda lane: (abs(lane - straight), lane)))
    return [*lanes, right]


def confusion(where: dict[str, Place]) -> float:
    """How hard a map is to read: arrows that are slanted, that cross, that share their way."""
    total = 0.0
    pieces: list[tuple[int, float, float]] = []
    for need, name in arrows():
        lanes = way(where[need], where[name], where.values())
        for row, (a, b) in enumerate(itertools.pairwise(lanes), where[need][0]):
            total += abs(a - b)
            pieces.append((row, a, b))
    for (row, a, b), (row_2, a_2, b_2) in itertools.combinations(pieces, 2):
        total += 2 * (row == row_2 and ((a - a_2) * (b - b_2) < 0 or (b == b_2 and b % 1 > 0)))
    return total


@cache
def places() -> dict[str, Place]:
    """Row and lane of each chapter: below all that it needs, where the arrows are clearest."""
    rows: list[list[str]] = []
    row_of: dict[str, int] = {}
    for name in NEEDS:
        row = max((row_of[need] + 1 for need in NEEDS[name]), default=0)
        while row < len(rows) and len(rows[row]) == LANES:
            row += 1
        rows += [[] for _ in range(row + 1 - len(rows))]
        rows[row].append(name)
        row_of[name] = row
    found = {
        name: (row, lane)
        for row, names in enumerate(rows)
        for lane, name in enumerate(names, int(len(names) == 1))
    }
    for _ in range(SWEEPS):
        for row, names in enumerate(rows):
            tried = [
                found | {name: (row, lane) for name, lane in zip(names, lanes, strict=True)}
                for lanes in itertools.permutations(range(LANES), len(names))
            ]
            found = min(tried, key=confusion)
    return found


def corner(place: tuple[int, float]) -> tuple[float, float]:
    """The upper left corner of a chapter's box."""
    row, lane = place
    return 1 + lane * (WIDTH + GAP_X), 1 + row * (HEIGHT + GAP_Y)


def drawn() -> str:
    """The map as SVG, in the colours of the page that holds it."""
    where = places()
    lines, boxes = [], []
    for need, name in arrows():
        row = where[need][0]
        path = ""
        for a, b in itertools.pairwise(way(where[need], where[name], where.values())):
            (x, y), (to_x, to_y) = corner((row, a)), corner((row + 1, b))
            x, y, to_x = x + WIDTH / 2, y + HEIGHT, to_x + WIDTH / 2
            path += f"{'L' if path else 'M'}{x:g} {y:g} "
            path += f"C{x:g} {(y + to_y) / 2:g} {to_x:g} {(y + to_y) / 2:g} {to_x:g} {to_y - 3:g} "
            row += 1
        lines.append(f'<path d="{path.strip()}" marker-end="url(#tip)"/>')
    for name in NEEDS:
        this = book()[name]
        x, y = corner(where[name])
        words = textwrap.wrap(this.title, 15)
        text = "".join(f'<tspan x="{x + 8}" dy="15">{html.escape(line)}</tspan>' for line in words)
        boxes.append(
            f'<a href="notebooks/{this.stem}.html"><rect x="{x}" y="{y}" width="{WIDTH}" '
            f'height="{HEIGHT}" rx="5"/><text x="{x + 8}" y="{y + 15}">'
            f'<tspan class="number">{this.number}</tspan> <tspan class="time">'
            f"{this.minutes:.0f} min</tspan>{text}</text></a>"
        )
    width = LANES * (WIDTH + GAP_X) - GAP_X + 2
    height = corner((max(row for row, _ in where.values()), 0))[1] + HEIGHT + 1
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 Z"/></marker></defs>'
    )
    return (
        f'<svg class="routes" viewBox="0 0 {width} {height}" role="group" '
        f'aria-label="What needs what: an arrow leads from a chapter to one that needs it.">'
        f"{tip}{''.join(lines)}{''.join(boxes)}</svg>"
    )
