"""Write the data of the interactive figures (book/play.md): one digit, and samples by step and eta.

python tools/play_data.py
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import torch
from PIL import Image

import minidiff as md

STEPS, ETAS, COUNT = (5, 10, 20, 50, 100), (0.0, 0.5, 1.0, "hat"), 16


def main() -> None:
    """Sample the shipped digits network from one set of latents for every choice of S and eta."""
    model = md.load_pretrained("digits")
    x_T = md.randn(torch.empty(COUNT, 1, 8, 8), torch.Generator().manual_seed(0))
    sheet = torch.zeros(len(ETAS) * 16, len(STEPS) * 64, dtype=torch.uint8)
    for row, eta in enumerate(ETAS):
        for column, S in enumerate(STEPS):
            generator = torch.Generator().manual_seed(1)
            *_, last = md.ddim(model, x_T, md.tau(1000, S=S), eta, generator=generator)
            tile = md.data.to_uint8(last.x)[:, 0].reshape(2, 8, 8, 8).transpose(1, 2)
            sheet[row * 16 : row * 16 + 16, column * 64 : column * 64 + 64] = tile.reshape(16, 64)
    file = io.BytesIO()
    Image.fromarray(sheet.numpy()).save(file, format="PNG", optimize=True)
    digit = md.data.load("digits").images[3, 0].flatten().tolist()
    data = {
        "digit": digit,
        "steps": STEPS,
        "etas": ETAS,
        "sheet": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode(),
    }
    out = Path(__file__).resolve().parent.parent / "book" / "_style" / "play_data.js"
    out.write_text(f"// Written by tools/play_data.py.\nwindow.PLAY = {json.dumps(data)};\n")
    print(f"{out.stat().st_size / 1024:.0f} KiB in {out.name}")


if __name__ == "__main__":
    main()
