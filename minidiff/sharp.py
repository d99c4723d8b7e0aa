"""All chapters: how a notebook stores a figure: two pixels where it shows one, in few colours."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

COLOURS = 256  # of a picture with a table of colours, a third of the bytes of one without
CLOSE = 1.5  # grey levels, root mean square: what the table may cost


def sharp(figure: Figure) -> tuple[bytes, dict[str, int]]:
    """The figure as PNG of twice its size in both directions, and the size at which it is shown."""
    from PIL import Image

    quick = {"compress_level": 0}  # it is read at once
    figure.savefig(drawn := io.BytesIO(), format="png", dpi=2 * figure.dpi, pil_kwargs=quick)
    picture = Image.open(drawn).convert("RGB")
    width, height = (side // 2 for side in picture.size)
    dpi = (2 * figure.dpi, 2 * figure.dpi)
    few(picture).save(stored := io.BytesIO(), format="png", optimize=True, dpi=dpi)
    return stored.getvalue(), {"width": width, "height": height}


def few(picture: Image) -> Image:
    """The picture in 256 colours, if nobody sees the difference."""
    from PIL import Image, ImageChops, ImageStat

    table = picture.quantize(COLOURS, dither=Image.Dither.NONE)
    apart = ImageStat.Stat(ImageChops.difference(picture, table.convert("RGB")))
    return table if max(apart.rms) <= CLOSE else picture


def use() -> None:
    """In a notebook: have figures stored so from now on."""
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    import matplotlib
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    pyplot.switch_backend(matplotlib.get_backend())  # loaded later, it would undo what follows
    shell.display_formatter.formatters["image/png"].for_type(Figure, sharp)
