"""Write what follows from results/: the page book/results.md and what README.md says was measured.

python tools/measured.py            write
python tools/measured.py --check    only say what is out of date
"""

from __future__ import annotations

import ast
import json
import re
import sys
import textwrap
from functools import cache
from typing import Any

import references
from chapters import ROOT, between, chapters, settle

WIDTH = 72  # letters of a line of code that fit a phone held sideways
LAUNCHER = r"\b(?:python|torchrun|make) .*"
FEW = 3  # commands that are shown at once
HEAD = """# What was measured, and how

<!-- Written by tools/measured.py from results/. -->

Tables that take a GPU, or too long for a chapter, are made once and stored. `md.results("NAME")`
gives each as a dictionary, with the seed and the versions, too. The commands stand here as they
were given, the oldest first; files of settings that they call `configs/...` are today in
`minidiff/configs/`. A command goes on with the file that is there, so name another `--out` to
measure everything anew.
"""


def stored(name: str) -> Any:
    return json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))


# -- the page -----------------------------------------------------------------------------------


def commands(result: dict[str, Any]) -> list[str]:
    """Each by itself, without what was said of where it ran."""
    parts = re.split("; | & ", result["command"])
    return [found[0] for part in parts if (found := re.search(LAUNCHER, part))]


def what(name: str, result: dict[str, Any]) -> str:
    """What it says of itself; or the program that makes it, or that table of the program, does."""
    if "about" in result:
        return result["about"]
    words = commands(result)[0].split()
    script = result.get("script") or next(w for w in words if w.startswith("benchmarks/"))
    tree = ast.parse((ROOT / script).read_text(encoding="utf-8"))
    inside = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    table = next((word for word in words if name.endswith(f"_{word}")), "")
    text = ast.get_docstring(inside.get(table, tree)) or ""
    return text.split("\n\n")[0].replace("\n", " ")


@cache
def code(stem: str) -> str:
    """Of a notebook."""
    cells = json.loads((ROOT / "notebooks" / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


def readers(name: str) -> list[str]:
    """The chapters that read it (and don't only load the network that it is of)."""
    weights = f'load_pretrained("{name}"'
    texts = {s: code(s).replace(weights, "") for _, s, _ in chapters()}
    return [s for s, text in texts.items() if "md.results(" in text and f'"{name}"' in text]


def entry(name: str) -> str:
    """A result's part of the page."""
    result = stored(name)
    where = f"{result['hardware']}, {result['date']}"
    if "date_note" in result:
        where += f" (the date is that {result['date_note']})"
    used = ", ".join(
        f"{{doc}}`{references.chapter(stem)} </notebooks/{stem}>`" for stem in readers(name)
    )
    lines = [f"## `{name}`", "", what(name, result), "", f"Measured on {where}."]
    lines += [f"Read in chapter {used}." if used else "No chapter reads it."]
    if "note" in result:
        lines += [result["note"]]
    if "script" in result:
        lines += [f"Put together by `{result['script']}`."]
    given = result["command"].split("; ")
    shown = ["```text", *map(wrapped, given), "```"]
    if len(given) > FEW:
        shown = [f":::{{admonition}} {len(given)} commands", ":class: dropdown", *shown, ":::"]
    return "\n".join([*lines, "", *shown, ""])


def wrapped(command: str) -> str:
    """Short lines, in each of which an option stays with its first value."""
    glued = re.sub(r"(?<= )(--?[\w-]+) (?!-)", "\\1\0", command)
    lines = textwrap.wrap(
        glued, WIDTH - 2, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return " \\\n".join(lines).replace("\0", " ")


def page() -> str:
    names = sorted(path.stem for path in (ROOT / "results").glob("*.json"))
    return "\n".join([HEAD, *map(entry, names)])


# -- README.md ----------------------------------------------------------------------------------


def given(name: str, *words: str) -> str:
    """The first command of a result that has these words."""
    whole = [c for c in commands(stored(name)) if all(f" {word} " in f"{c} " for word in words)]
    return f"`{whole[0]}`"


def jobs(script: str, option: str, runs: list[Any]) -> str:
    """The command that measures these runs of libraries, and no others."""
    names = dict.fromkeys(f"{r['library']}:{r['rung']}:{r['batch']}" for r in runs)
    return f"`python benchmarks/{script}.py --{option} {' '.join(names)}`"


def measured() -> str:
    """What results/ says about the CIFAR-10 network, each with the command that measures it."""
    run, bounds = stored("cifar10_training"), stored("cifar10_nll")["rows"]
    first = re.sub(r"configs/(\w+)\.py", r"\1", run["stretches"][0]["command"])
    trained = len({part["command"] for part in run["stretches"]})
    bound = next(row for row in bounds if row["split"] == "test")
    ddim = {(r["S"], r["eta"]): r for r in stored("cifar10_ddim")["rows"] if r["tau"] == "linear"}
    best, floor = ddim[50, 0.0], stored("cifar10_floor")["rows"][0]
    speed = stored("train_gpu")
    step = next(r for r in speed["runs"] if (r["rung"], r["batch"]) == ("compiled", 512))
    peers = [r for r in speed["runs"] if r["rung"] == "tuned" and "images_per_s" in r]
    peer = {r["library"]: r["images_per_s"] for r in peers}
    one, two = (stored(f"train_{n}gpu")["runs"][0] for n in (1, 2))
    times = two["images_per_s"] / one["images_per_s"]
    modes = stored("modes_gpu")
    steps = [r for r in modes["rows"] if (r["what"], r["config"]) == ("train", "cifar10_minutes")]
    graphs = {r["batch"]: r for r in steps if r["mode"] == "auto"}
    launched = next(r for r in steps if (r["batch"], r["mode"]) == (128, "default"))
    drawn = stored("cifar10_sampling")
    rows = [row for row in drawn["rows"] if "program" in row]
    ours = {(r["sampler"], r["NFE"]): r for r in rows if "FID-768" in r}
    ddim_100, solver = ours["ddim", 100], ours["dpm++", 20]
    took = {
        (r["program"], r["mode"]): r["seconds_for_50000"]
        for r in rows
        if (r["sampler"], r["NFE"]) == ("ddim", 100)
    }
    timed = [r for r in stored("cifar10_equal_time")["rows"] if r["seconds"] == 240]
    as_in_file: dict[tuple[str, str, int], list[Any]] = {}  # seed by seed
    for r in timed:
        if not r["settings"]:
            as_in_file.setdefault((r["library"], r["rung"], r["batch"]), []).append(r)
    paper = {"network_options": {"start": "ddpm"}, "betas": [0.9, 0.999]}
    (before,) = (r for r in timed if (r["settings"], r["batch"]) == (paper, 512))

    years = [r for r in stored("six_years")["rows"] if r["train_seed"] == 0]
    at_50 = ", ".join(
        f"{r['recipe']} {min(q['FID-768'] for q in r['quality'] if q['calls'] == 50):.3f}"
        for r in sorted(years, key=lambda r: r["year"])
    )

    def reached(r: Any) -> float:
        return min(q["FID-768"] for q in r["quality"])

    def spread(runs: list[Any]) -> str:
        low, high = min(map(reached, runs)), max(map(reached, runs))
        took = [r["seconds_first_steps"] for r in runs]
        return (
            f"{low:.2f} to {high:.2f} ({len(runs)} seeds; compiling took {min(took):.0f} to "
            f"{max(took):.0f} s of the time)"
        )

    mine, tuned = as_in_file["ours", "compiled", 512], as_in_file["diffusers", "tuned", 512]
    (plain,), (lucid,) = (
        as_in_file[k] for k in (("diffusers", "default", 128), ("lucidrains", "default", 32))
    )
    rivals = [r for key, runs in as_in_file.items() if key[0] != "ours" for r in runs]
    assert run["config"]["times"] == "bound", "mend the first sentence"
    won = max(map(reached, mine)) < min(map(reached, rivals))
    assert won, "mend the last sentences"
    return (
        f"- **Trained** on {run['images'] / 1e6:.1f} million images in {run['gpu_hours']:.2f} "
        f"GPU-hours ({run['hardware']}; in the last {run['stretches'][-1]['images'] / 1e6:.1f} "
        "million a quarter of the t were drawn by the weights of the bound), by "
        f"`{first}` and {trained - 1} commands more, which `results/cifar10_training.json` "
        "holds: "
        f"{bound['large']['bits_per_dim']:.3f} ± "
        f"{bound['large']['standard_error']:.3f} bits/dim on {bound['n']:,} test images with "
        f"variance β, {bound['small']['bits_per_dim']:.3f} ± "
        f"{bound['small']['standard_error']:.3f} with β̃ "
        f"(the small terms, t > 50, on {bound['n_late']:,} of them). "
        f"Measured by {given('cifar10_nll')}.\n"
        f"- **Samples** of {best['S']}-step DDIM: FID-768 {best['FID-768']:.3f} with "
        f"{best['n']:,} samples; real test images score {floor['FID-768']:.4f}. FID-768 is not "
        "FID: it takes an earlier layer of the same Inception network and gives smaller numbers. "
        f"By {given('cifar10_ddim', '--steps 50')} and {given('cifar10_floor')}. `python -m "
        "minidiff evaluate cifar10 --data cifar10 --extractor inception768` measures the like, and "
        "with `inception2048`, from the same download, the papers' FID.\n"
        f"- **Speed** of a whole training step, batch 512, compiled, bfloat16, "
        f"{speed['hardware']}: {step['images_per_s']:,.0f} images/s, {step['mfu']:.0%} of what the "
        "card's matrix products reach. By the recipes of diffusers and smalldiffusion, tuned by "
        f"the same means: {peer['diffusers']:,.0f} and {peer['smalldiffusion']:,.0f}. By "
        f"{jobs('train_gpu', 'jobs', [step, *peers])}.\n"
        f'- **Small batches** with CUDA graphs (`compile = "auto"`), {modes["hardware"]}: '
        f"{graphs[128]['images_per_s']:,.0f} images/s at 128, as in the paper's recipe, "
        f"{graphs[128]['images_per_s'] / launched['images_per_s']:.1f} times as many as without; "
        f"{graphs[256]['images_per_s']:,.0f} at 256, {graphs[1024]['images_per_s']:,.0f} at 1,024 "
        f"({graphs[1024]['TFLOPs'] / modes['bf16_peak_TFLOPs']:.0%} of the matrix products' rate). "
        f"By `python benchmarks/modes_gpu.py`.\n"
        f"- **Two GPUs**, {two['batch']:,} images on each: {two['images_per_s']:,.0f} images/s, "
        f"{times:.2f} times one of them alone, an efficiency of {times / 2:.2f}. By "
        f"{given('train_2gpu')} and {given('train_1gpu')}.\n"
        f"- **Sampling** of 50,000 images, {drawn['hardware']}: {ddim_100['seconds']:.0f} s in 100 "
        f"steps of DDIM (FID-768 {ddim_100['FID-768']:.3f}), {solver['seconds']:.0f} s in 20 of "
        f"DPM-Solver++ ({solver['FID-768']:.3f}), compiled and in bfloat16. The 100 steps in "
        f"diffusers' pipeline, with the same weights, take {took['diffusers', 'tuned']:.0f} s; as "
        f"both programs come, diffusers takes {took['diffusers', 'default']:.0f} s and ours "
        f"{took['minidiff', 'default']:.0f} s (scaled from 1,000 images). By "
        f"{given('cifar10_sampling')}.\n"
        "- **After 240 s** of training from random weights on one GPU our recipe, with batch "
        f"{mine[0]['batch']}, reaches FID-768 {spread(mine)}; that of diffusers with the same "
        "batch, as we tuned it (our means of speed, a larger learning rate, no dropout), "
        f"{spread(tuned)}; the default recipes of diffusers and of lucidrains "
        f"{reached(plain):.2f} and {reached(lucid):.2f} (one run each). With the paper's initial "
        "weights and Adam's β₁ of 0.9, in place of PyTorch's initial weights and 0.95, ours "
        f"reached {reached(before):.2f} (one run, compiling {before['seconds_first_steps']:.0f} s)."
        f" {before['n']:,} samples each. By "
        f"{jobs('equal_time', 'seconds 240 --recipes', [*mine, *tuned, plain, lucid])}, with "
        "`--train-seed` for the other seeds; the last by "
        f"{given('cifar10_equal_time', '--recipes ours:compiled:512', '--network_options')}.\n"
        f"- **Six years in six minutes**: recipes of 2020 to {max(r['year'] for r in years)} after "
        f"{years[0]['seconds']:.0f} s each on one {years[0]['hardware']}, compiling not counted; "
        f"FID-768 of {years[0]['n']:,} samples at 50 calls of the better of two samplers: {at_50}. "
        f"Chapter 26 says which of these differences may be read. By "
        f"{' and '.join(f'`{command}`' for command in commands(stored('six_years')))}.\n"
        "\nA command goes on with the table that is there: give it another `--out` to measure anew."
    )


def main() -> int:
    readme = ROOT / "README.md"
    text = between("measured", readme.read_text(encoding="utf-8"), measured())
    return settle({ROOT / "book" / "results.md": page(), readme: text})


if __name__ == "__main__":
    sys.exit(main())
