"""Write what the figures that answer need: ten test digits, the names of what creatures may have,
and the static twins of play.md.

python tools/play_data.py
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

import minidiff as md
from minidiff.data import creatures

SEED = 0
BOOK = Path(__file__).resolve().parent.parent / "book"


def sampling_twin(model: md.Denoiser) -> tuple[list[Tensor], list[int]]:
    """The film of three digits: rows x_t and x0 of each, a column for every second step of 20."""
    x_T = md.randn(torch.empty(3, 1, 8, 8), torch.Generator().manual_seed(3))
    steps = list(md.ddim(model, x_T, md.tau(1000, S=20), labels=torch.tensor([2, 3, 8])))
    states = [(1000, x_T), *((step.t, step.x) for step in steps)]
    kept = [(t, x, step.x0) for (t, x), step in zip(states, steps, strict=False)][::2]
    kept.append((0, steps[-1].x, steps[-1].x))
    return [torch.stack([x, x0], 1).flatten(0, 1) for _, x, x0 in kept], [t for t, _, _ in kept]


def renoise_twin(model: md.Denoiser, digit: Tensor) -> tuple[list[Tensor], list[int]]:
    """A digit noised to t (columns) and drawn anew: rows x_t, x0, the end; three other ends."""
    eps = md.randn(torch.empty(4, 1, 8, 8), torch.Generator().manual_seed(0))
    none = torch.full((4,), 10)
    times, frames = list(range(100, 1000, 100)), []
    for t in times:
        x_t = md.diffuse(model.schedule, digit.expand_as(eps), t, eps)
        first, *_, last = md.ddim(model, x_t, [t * i // 10 for i in range(10, -1, -1)], labels=none)
        frames.append(torch.cat([x_t[:1], first.x0[:1], last.x]))
    return frames, times


def strengths() -> Tensor:
    """Six creatures with horns, a beak and a ground of dusk: with w = 0, and again with w = 4."""
    model, wanted = md.load_pretrained("creatures16"), torch.tensor(creatures.COUNTS)
    for name, kind in (("ears", "horns"), ("muzzle", "beak"), ("ground", "dusk")):
        column = list(creatures.FACTORS).index(name)
        wanted[column] = creatures.FACTORS[name].index(kind)
    x_T = md.randn(torch.empty(6, 3, 16, 16), torch.Generator().manual_seed(SEED))
    walks = [
        md.ddim(md.guide(model, wanted.expand(6, -1), w), x_T, md.tau(1000, S=20)) for w in (0, 4)
    ]
    return torch.cat([list(walk)[-1].x for walk in walks])


def write(name: str, variable: str, data: object) -> None:
    out = BOOK / "_style" / name
    out.write_text(f"// Written by tools/play_data.py.\nwindow.{variable} = {json.dumps(data)};\n")
    print(f"{out.stat().st_size / 1024:.0f} KiB in {out.name}")


def main() -> None:
    """The digits as a script, the twins as pictures."""
    test = md.data.load("digits", split="test")
    starts = [test.images[test.labels == k][0] for k in range(10)]
    write("play_data.js", "PLAY", {"digits": [start.flatten().tolist() for start in starts]})
    write("creature_data.js", "CREATURES", {"factors": creatures.FACTORS})

    md.plots.save_image(strengths(), BOOK / "images" / "live_wishes.png", ncols=6, scale=5)
    model = md.load_pretrained("digits_labels")
    twins = {
        "live_sampling.png": sampling_twin(model),
        "live_renoise.png": renoise_twin(model, md.data.from_uint8(starts[3])),
    }
    for name, (frames, times) in twins.items():
        labels = [f"t = {t}" if not i else t for i, t in enumerate(times)]
        md.plots.film(frames, labels, rows=6).savefig(BOOK / "images" / name, dpi=80)


if __name__ == "__main__":
    main()
