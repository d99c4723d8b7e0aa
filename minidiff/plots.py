"""Pictures: image grids, film strips, 2-D trajectories and fields, animations.

Every function takes tensors in [-1, 1], as the samplers give them, and only looks at them.
matplotlib and Pillow are imported inside the functions, so `import minidiff` stays quick.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from minidiff import sharp
from minidiff.data.files import write_whole
from minidiff.data.images import as_pictures, to_uint8
from minidiff.kinds import as_frames, as_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

# Okabe & Ito's palette ("Color universal design", 2008), safe for the common colour blindnesses.
# Their yellow is left out: it can hardly be seen on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
LARGEST = 1 << 28  # pixels of a picture that is written


def style() -> None:
    """Set matplotlib up for the book: colour-blind-safe, on white in light and dark pages alike.

    The white is part of the picture: a transparent figure would put dark axes on a dark page. In a
    notebook figures are stored with two pixels where one is shown (`minidiff/sharp.py`).
    """
    import matplotlib as mpl
    from cycler import cycler

    sharp.use()
    mpl.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.titlelocation": "left",
            "axes.axisbelow": True,
            "figure.figsize": (6.4, 3.6),
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "savefig.bbox": "tight",
            "savefig.facecolor": "white",
            "savefig.pad_inches": 0.1,
        }
    )


def mosaic(x: Tensor, ncols: int | None = None, *, pad: int = 1) -> Tensor:
    """One image made of many, row by row: the layout behind `grid`, `film` and `save_image`.

    x is (B, C, H, W) or (C, H, W) in [-1, 1] with 1 or 3 channels; the result is uint8
    (height, width, 3) with `pad` white pixels around each image; by default nearly square.

    >>> mosaic(torch.zeros(6, 1, 8, 8), ncols=3).shape
    torch.Size([19, 28, 3])
    """
    x = as_pictures(x)
    n, _, h, w = x.shape
    ncols = min(n, ncols or math.ceil(math.sqrt(n)))
    nrows = math.ceil(n / ncols)
    pixels = to_uint8(x).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)  # (B, H, W, 3)
    out = torch.full((nrows * (h + pad) + pad, ncols * (w + pad) + pad, 3), 255, dtype=torch.uint8)
    for i, image in enumerate(pixels):
        top, left = (i // ncols) * (h + pad) + pad, (i % ncols) * (w + pad) + pad
        out[top : top + h, left : left + w] = image
    return out


def _figure(pixels: Tensor, width: float, extra: float) -> tuple[Figure, Axes]:
    """Pixels as they are, so many inches wide, with `extra` inches for what is written above."""
    import matplotlib.pyplot as plt

    height, across = pixels.shape[:2]
    size = (width, width * height / across + extra)
    fig, ax = plt.subplots(figsize=size, layout="constrained")
    ax.imshow(pixels.numpy(), interpolation="nearest")
    ax.axis("off")
    plt.close(fig)  # or a notebook would show it twice: as an open figure and as the cell's value
    return fig, ax


def grid(
    x: Tensor, ncols: int | None = None, *, title: str | None = None, width: float | None = None
) -> Figure:
    """Images (B, C, H, W) side by side. `width` is in inches; by default it suits their number."""
    pixels = mosaic(x, ncols)
    width = width or min(7.0, max(1.5, pixels.shape[1] / 24))
    fig, ax = _figure(pixels, width, 0.3 if title else 0)
    if title:
        ax.set_title(title, loc="left", fontsize=10)
    return fig


def film(
    frames: Iterable[Tensor],
    labels: Sequence[object] = (),
    *,
    rows: int = 4,
    title: str | None = None,
    width: float | None = None,
) -> Figure:
    """A film strip: a row per sample, a column per frame, `labels` (times, say) above the columns.

    Each frame is (B, C, H, W) in [-1, 1]; the first `rows` samples of each are shown.

    >>> fig = film([torch.rand(4, 1, 8, 8) * 2 - 1 for _ in range(5)], [5, 4, 3, 2, 1], rows=2)
    """
    shown = [as_pictures(frame)[:rows] for frame in as_frames(frames)]
    strip = torch.stack(shown, 1)  # (rows, frames, C, H, W)
    _, ncols, _, h, w = strip.shape
    if len(labels) not in (0, ncols):
        raise ValueError(f"{ncols} frames need {ncols} labels, got {len(labels)}")
    width = width or min(8.0, max(3.0, 0.75 * ncols))
    pixels = mosaic(strip.flatten(0, 1), ncols)
    fig, ax = _figure(pixels, width, 0.25 * (bool(labels) + bool(title)))
    for i, label in enumerate(labels):
        middle = 1 + i * (w + 1) + w / 2
        ax.text(middle, -0.06 * h, str(label), ha="center", va="bottom", fontsize=9)
    if title:
        ax.set_title(title, loc="left", fontsize=10, pad=18 if labels else 6)
    return fig


def scatter(
    x: Tensor, ax: Axes | None = None, *, limit: float | None = None, **kwargs: Any
) -> Axes:
    """Points (N, 2), with equal axes. `limit` sets both axes to [-limit, limit]."""
    import matplotlib.pyplot as plt

    ax = ax or plt.subplots(figsize=(3.2, 3.2), layout="constrained")[1]
    xy = as_points(x, 2)
    options: dict[str, Any] = {"s": 4, "alpha": 0.5, "linewidths": 0, **kwargs}
    ax.scatter(xy[:, 0], xy[:, 1], **options)
    ax.set_aspect("equal")
    if limit is not None:
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit))
    return ax


def trajectories(
    paths: Tensor, ax: Axes | None = None, *, limit: float | None = None, **kwargs: Any
) -> Axes:
    """Paths (steps, N, 2) of N points: thin lines from a grey dot (start) to a red one (end)."""
    xy = as_points(paths, 3)
    ax = scatter(xy[0], ax, limit=limit, s=8, color="#999999", alpha=0.8, zorder=2)
    line: dict[str, Any] = {"color": COLOURS[5], "linewidth": 0.6, "alpha": 0.6, "zorder": 1}
    ax.plot(xy[:, :, 0], xy[:, :, 1], **{**line, **kwargs})
    return scatter(xy[-1], ax, limit=limit, s=10, color=COLOURS[1], alpha=0.9, zorder=3)


def field(
    f: Callable[[Tensor], Tensor],
    ax: Axes | None = None,
    *,
    limit: float = 3.0,
    n: int = 17,
    **kwargs: Any,
) -> Axes:
    """Arrows of a vector field f: (N, 2) -> (N, 2) at n x n places of [-limit, limit]^2."""
    import matplotlib.pyplot as plt

    ax = ax or plt.subplots(figsize=(3.2, 3.2), layout="constrained")[1]
    u = torch.linspace(-limit, limit, n)
    at = torch.cartesian_prod(u, u)  # (n * n, 2)
    v = as_points(f(at), 2)
    ax.quiver(*at.T, *v.T, **{"color": "#555555", "pivot": "mid", **kwargs})
    ax.set_aspect("equal")
    return ax


def save_image(x: Tensor, path: str | Path, ncols: int | None = None, *, scale: int = 1) -> None:
    """Write images (B, C, H, W) as one PNG, each pixel `scale` pixels wide."""
    write_whole(path, _png(_upscale(mosaic(x, ncols), scale)))


def _png(picture: Image.Image) -> bytes:
    picture.save(buffer := io.BytesIO(), format="png")
    return buffer.getvalue()


def _upscale(pixels: Tensor, scale: int) -> Image.Image:
    from PIL import Image

    image = Image.fromarray(pixels.numpy())
    if image.width * image.height * scale**2 > LARGEST:
        raise ValueError(f"a picture of over {LARGEST:,} pixels: take fewer images or less scale")
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def _picture(frame: Tensor | Figure, width: int) -> Image.Image:
    """A frame as pixels: tensors enlarged by a whole factor to about `width`, figures as drawn."""
    if isinstance(frame, Tensor):
        pixels = mosaic(frame)
        return _upscale(pixels, max(1, round(width / pixels.shape[1])))
    import matplotlib.pyplot as plt
    from PIL import Image

    buffer = io.BytesIO()  # not bbox="tight": all frames must have one size
    with plt.rc_context({"savefig.bbox": "standard"}):
        frame.savefig(buffer, format="png", dpi=80)
    plt.close(frame)
    return Image.open(buffer).convert("RGB")


def _encode(pictures: Sequence[Image.Image], kind: str, fps: float, **options: Any) -> bytes:
    """An endless animation that rests on its last picture for 1.5 s."""
    if not pictures:
        raise ValueError("an animation needs at least one frame, got none")
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format=kind,
        save_all=True,
        append_images=pictures[1:],
        duration=[round(1000 / fps)] * (len(pictures) - 1) + [1500],
        loop=0,
        **options,
    )
    return buffer.getvalue()


def save_animation(
    frames: Iterable[Tensor | Figure], path: str | Path, *, fps: float = 12, width: int = 320
) -> None:
    """Write an animation as .webp (lossless) or .gif, by the name."""
    if (kind := Path(path).suffix.lower()) not in (".webp", ".gif"):
        raise ValueError(f"an animation is written as .webp or .gif, got {str(path)!r}")
    pictures = [_picture(frame, width) for frame in as_frames(frames)]
    lossless = {"lossless": True} if kind == ".webp" else {}
    write_whole(path, _encode(pictures, kind[1:], fps, **lossless))


class Animation:
    """An animated WebP that a notebook shows by itself; `alt` says in words what is seen.

    Readers who have asked their system for less motion get the last frame, standing still.
    """

    def __init__(self, webp: bytes, still: bytes, alt: str, width: int) -> None:
        self.webp, self.still, self.alt, self.width = webp, still, alt, width

    def __repr__(self) -> str:
        return f"Animation({self.alt!r})"

    def _repr_html_(self) -> str:
        from html import escape

        webp, still = (base64.b64encode(b).decode() for b in (self.webp, self.still))
        return (
            '<picture><source media="(prefers-reduced-motion: reduce)" '
            f'srcset="data:image/png;base64,{still}">'
            f'<img src="data:image/webp;base64,{webp}" alt="{escape(self.alt)}" '
            f'width="{self.width}" style="max-width: 100%; image-rendering: pixelated"></picture>'
        )


def animation(
    frames: Iterable[Tensor | Figure], *, alt: str, fps: float = 12, width: int = 320
) -> Animation:
    """Frames (B, C, H, W) in [-1, 1], or figures, as an animation of at most 1 MB inside the page.

    It is lossless where that fits, and of falling quality where it doesn't. Images are stored pixel
    for pixel; the page enlarges them to `width`.

    >>> animation([torch.zeros(4, 1, 8, 8), torch.ones(4, 1, 8, 8)], alt="Black turns white.").alt
    'Black turns white.'
    """
    pictures = [_picture(frame, 0) for frame in as_frames(frames)]
    still = _png(pictures[-1]) if pictures else b""
    for options in ({"lossless": True}, {"quality": 85}, {"quality": 60}, {"quality": 30}):
        webp = _encode(pictures, "webp", fps, **options)
        if len(webp) + len(still) <= 700_000:  # base64 adds a third
            return Animation(webp, still, alt, width)
    raise ValueError(
        f"{len(pictures)} frames make {len(webp) / 1e6:.1f} MB, over the 0.7 MB that a page should "
        "carry: give fewer frames or fewer images in each"
    )
