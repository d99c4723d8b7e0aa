"""Write what follows from notebooks/ and results/: _toc.yml, tables in README.md and index.md.

    python tools/chapters.py            write
    python tools/chapters.py --check    only say what is out of date

A chapter is a notebook in notebooks/. Its time is the one that `make notebooks` measured.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START = "A first look"  # chapter 0 is outside the numbering, so that chapter 1 is number 1
PARTS = {
    START: range(0, 1),
    "Denoising diffusion probabilistic models": range(1, 10),
    "Denoising diffusion implicit models": range(10, 15),
    "At scale and in the field": range(15, 90),
}
APPENDIX = 90  # notebooks from this number on come first among the appendices
APPENDICES = [
    *("play", "notation", "glossary", "api", "sources", "errata", "impact", "how_built"),
    *("changes", "bibliography"),
]
QUESTIONS = {
    0: "What is a diffusion model, and can I see one work in a minute?",
    1: "How does an image become noise, and how much of it is left at step t?",
    2: "Why can the way back be taken in small Gaussian steps?",
    3: "What exactly is the bound that training minimises?",
    4: "Why does a plain squared error on the noise do the job?",
    5: "What is inside the network?",
    6: "How is it trained, and how does it draw?",
    7: "What is decided when, on the way from noise to image?",
    8: "How good are the samples, in numbers?",
    9: "What did Improved DDPM improve?",
    10: "Which other processes have the same marginals?",
    11: "Why does one trained network serve them all?",
    12: "How few steps are enough?",
    13: "What does a sampler without noise make possible?",
    14: "Which differential equation is being solved, and how well?",
    15: "How fast, how big, how much?",
    16: "Which mistakes do published implementations make, and which test finds each?",
    17: "Guidance, latent diffusion, flow matching, consistency: what changes in the code?",
    90: "Which facts about Gaussians does the book stand on, and why are they true?",
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
        shown = number if number < APPENDIX else "A"
        rows.append(f"| {shown} | [{title}]({target}) | {QUESTIONS.get(number, '')} | {time} |")
    return "\n".join(rows)


def measured() -> str:
    """What results/ says about the CIFAR-10 network, as a Markdown list."""

    def result(name: str) -> Any:
        return json.loads((ROOT / "results" / f"{name}.json").read_text())

    run, bounds = result("cifar10_training"), result("cifar10_nll")["rows"]
    bound = next(row for row in bounds if row["split"] == "test")
    ddim = {(r["S"], r["eta"]): r for r in result("cifar10_ddim")["rows"] if r["tau"] == "linear"}
    best, floor = ddim[50, 0.0], result("cifar10_floor")["rows"][0]
    speed = result("train_gpu")
    step = next(r for r in speed["runs"] if (r["rung"], r["batch"]) == ("compiled", 512))
    peer = {r["library"]: r.get("images_per_s") for r in speed["runs"] if r["rung"] == "tuned"}
    one, two = (result(f"train_{n}gpu")["runs"][0] for n in (1, 2))
    times = two["images_per_s"] / one["images_per_s"]
    drawn = result("cifar10_sampling")
    rows = [row for row in drawn["rows"] if "program" in row]
    ours = {(r["sampler"], r["NFE"]): r for r in rows if "FID-768" in r}
    ddim_100, solver = ours["ddim", 100], ours["dpm++", 20]
    took = {
        (r["program"], r["mode"]): r["seconds_for_50000"]
        for r in rows
        if (r["sampler"], r["NFE"]) == ("ddim", 100)
    }
    timed = [r for r in result("cifar10_equal_time")["rows"] if r["seconds"] == 240]
    as_in_file: dict[tuple[str, str, int], list[Any]] = {}  # seed by seed
    for r in timed:
        if not r["settings"]:
            as_in_file.setdefault((r["library"], r["rung"], r["batch"]), []).append(r)
    paper = {"network_options": {"start": "ddpm"}, "betas": [0.9, 0.999]}
    (before,) = (r for r in timed if (r["settings"], r["batch"]) == (paper, 512))

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
        "million a quarter of the t were drawn by the weights of the bound): "
        f"{bound['large']['bits_per_dim']:.3f} ± "
        f"{bound['large']['standard_error']:.3f} bits/dim on {bound['n']:,} test images with "
        f"variance β, {bound['small']['bits_per_dim']:.3f} ± "
        f"{bound['small']['standard_error']:.3f} with β̃ "
        f"(the small terms, t > 50, on {bound['n_late']:,} of them).\n"
        f"- **Samples** of {best['S']}-step DDIM: FID-768 {best['FID-768']:.3f} with "
        f"{best['n']:,} samples; real test images score {floor['FID-768']:.4f}. FID-768 is not "
        "FID: it takes an earlier layer of the same Inception network and gives smaller numbers.\n"
        f"- **Speed** of a whole training step, batch 512, compiled, bfloat16, "
        f"{speed['hardware']}: {step['images_per_s']:,.0f} images/s, {step['mfu']:.0%} of what the "
        "card's matrix products reach. By the recipes of diffusers and smalldiffusion, tuned by "
        f"the same means: {peer['diffusers']:,.0f} and {peer['smalldiffusion']:,.0f}.\n"
        f"- **Two GPUs**, {two['batch']:,} images on each: {two['images_per_s']:,.0f} images/s, "
        f"{times:.2f} times one of them alone, an efficiency of {times / 2:.2f}.\n"
        f"- **Sampling** of 50,000 images, {drawn['hardware']}: {ddim_100['seconds']:.0f} s in 100 "
        f"steps of DDIM (FID-768 {ddim_100['FID-768']:.3f}), {solver['seconds']:.0f} s in 20 of "
        f"DPM-Solver++ ({solver['FID-768']:.3f}), compiled and in bfloat16. The 100 steps in "
        f"diffusers' pipeline, with the same weights, take {took['diffusers', 'tuned']:.0f} s; as "
        f"both programs come, diffusers takes {took['diffusers', 'default']:.0f} s and ours "
        f"{took['minidiff', 'default']:.0f} s (scaled from 1,000 images).\n"
        "- **After 240 s** of training from random weights on one GPU our recipe, with batch "
        f"{mine[0]['batch']}, reaches FID-768 {spread(mine)}; that of diffusers with the same "
        "batch, as we tuned it (our means of speed, a larger learning rate, no dropout), "
        f"{spread(tuned)}; the default recipes of diffusers and of lucidrains "
        f"{reached(plain):.2f} and {reached(lucid):.2f} (one run each). With the paper's initial "
        "weights and Adam's β₁ of 0.9, in place of PyTorch's initial weights and 0.95, ours "
        f"reached {reached(before):.2f} (one run, compiling {before['seconds_first_steps']:.0f} s)."
        f" {before['n']:,} samples each."
    )


def between(mark: str, page: str, text: str) -> str:
    """The page with the text between <!-- mark --> and <!-- end of mark --> replaced."""
    marked = rf"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)"
    return re.sub(marked, lambda m: m[1] + text + "\n" + m[2], page, flags=re.S)


def main() -> int:
    readme, index = ROOT / "README.md", ROOT / "book" / "index.md"
    wanted = {
        ROOT / "_toc.yml": toc(),
        readme: between(
            "measured",
            between(
                "chapters",
                readme.read_text(encoding="utf-8"),
                table("notebooks/{stem}.ipynb"),
            ),
            measured(),
        ),
        index: between("chapters", index.read_text(encoding="utf-8"), table("notebooks/{stem}")),
    }
    stale = [p for p, text in wanted.items() if not p.exists() or p.read_text("utf-8") != text]
    for path in stale:
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is out of date: run python tools/chapters.py")
        else:
            path.write_text(wanted[path], encoding="utf-8")
    return int("--check" in sys.argv and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
