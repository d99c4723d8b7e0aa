"""Pictures: right pixels in right places, small animations, words for those who don't see them."""

import base64
import io

import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image, ImageChops, ImageStat

from minidiff import plots, sharp

pytest.importorskip("matplotlib").use("Agg")


def test_mosaic_places_every_image():
    x = torch.arange(5).view(5, 1, 1, 1).expand(5, 1, 2, 3) / 2 - 1.0
    m = plots.mosaic(x, ncols=2)
    assert m.shape == (3 * 3 + 1, 2 * 4 + 1, 3)
    centre = [m[1 + 3 * (i // 2), 1 + 4 * (i % 2), 0].item() for i in range(5)]
    assert centre == [0, 64, 128, 191, 255]
    assert (m[-2, -2] == 255).all()  # the sixth place is empty
    assert plots.mosaic(torch.zeros(3, 4, 4)).shape == (6, 6, 3)
    for bad in (torch.zeros(4, 4), torch.zeros(0, 1, 4, 4), torch.zeros(1, 2, 4, 4)):
        with pytest.raises(ValueError, match="images must be"):
            plots.mosaic(bad)


def test_mosaic_keeps_colours():
    red = torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert plots.mosaic(red)[1, 1].tolist() == [255, 0, 0]


def test_a_notebook_stores_twice_the_pixels_that_it_shows():
    """In few colours, and so that nobody sees that there are few."""
    plots.style()
    figure = plots.film([torch.rand(3, 1, 8, 8) * 2 - 1 for _ in range(4)], ["a", "b", "c", "d"])
    figure.savefig(plain := io.BytesIO(), format="png", dpi=2 * figure.dpi)
    drawn = Image.open(plain).convert("RGB")
    stored, shown = sharp.sharp(figure)
    picture = Image.open(io.BytesIO(stored))
    assert picture.size == drawn.size
    assert shown == {"width": drawn.width // 2, "height": drawn.height // 2}
    assert picture.mode == "P"
    assert len(stored) < len(plain.getvalue()) / 2
    assert max(ImageStat.Stat(ImageChops.difference(picture.convert("RGB"), drawn)).rms) < 1.5


def test_a_picture_of_many_colours_keeps_them_all():
    i = torch.arange(256 * 256)
    pixels = torch.stack([i % 256, i // 256, (7 * i) % 256], 1).to(torch.uint8)
    picture = Image.fromarray(pixels.view(256, 256, 3).numpy())
    assert sharp.few(picture) is picture


def test_figures_are_sharp_wherever_a_notebook_runs():
    """In a kernel of its own, with the backend that notebooks have, whatever came before it."""
    nbclient = pytest.importorskip("nbclient")
    lines = ["import matplotlib.pyplot as plt", "import minidiff as md", "md.plots.style()"]
    cells = ["\n".join(lines), "plt.plot([1, 2])\nplt.show()", "md.plots.grid(IMAGES)"]
    cells[0] += "\nimport torch\nIMAGES = torch.zeros(2, 1, 4, 4)"
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    for cell in notebook.cells[1:]:
        (output,) = [o for o in cell.outputs if "image/png" in o.get("data", {})]
        picture = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"])))
        assert output.metadata["image/png"]["width"] == picture.width // 2
        assert picture.info["dpi"][0] > 200


def test_figures():
    plots.style()
    x = torch.rand(6, 3, 8, 8) * 2 - 1
    assert len(plots.grid(x, title="Six").axes) == 1
    strip = plots.film((x * a for a in (0.1, 0.5, 1)), ["t=2", "t=1", "t=0"], rows=2, title="Film")
    assert [t.get_text() for t in strip.axes[0].texts] == ["t=2", "t=1", "t=0"]
    with pytest.raises(ValueError, match="3 frames need 3 labels, got 2"):
        plots.film([x, x, x], [1, 2])
    assert not plots.scatter(torch.randn(9, 2), limit=2).get_title()
    paths = plots.trajectories(torch.randn(4, 7, 2), limit=3)
    assert len(paths.lines) == 7
    plots.field(lambda at: -at, paths)
    import matplotlib.pyplot as plt

    plt.close("all")


def test_save_image(tmp_path):
    x = torch.rand(4, 1, 8, 8) * 2 - 1
    plots.save_image(x, tmp_path / "a.png", ncols=4, scale=3)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (3 * 37, 3 * 10)
        assert image.getpixel((3 + 1, 3 + 1))[0] == ((x[0, 0, 0, 0] + 1) * 127.5).round()


@pytest.mark.parametrize("name", ["a.webp", "a.gif"])
def test_save_animation(tmp_path, name):
    frames = [torch.full((1, 1, 4, 4), a) for a in (-1.0, 0.0, 1.0)]
    plots.save_animation(frames, tmp_path / name, width=60)
    with Image.open(tmp_path / name) as film:
        assert film.n_frames == 3
        assert film.size == (60, 60)
        film.seek(2)
        film.load()
        assert film.info["duration"] == 1500
        assert film.convert("RGB").getpixel((30, 30)) == (255, 255, 255)
    with pytest.raises(ValueError, match=r"\.webp or \.gif"):
        plots.save_animation(frames, tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="at least one frame"):
        plots.save_animation([], tmp_path / name)


def test_animation_in_a_page():
    g = torch.Generator().manual_seed(0)
    noise = [torch.randn(16, 3, 32, 32, generator=g) for _ in range(40)]  # hard to compress
    shown = plots.animation(noise, alt='Noise, "only" <noise>.')
    html = shown._repr_html_()
    assert len(html) < 1_000_000
    assert 'alt="Noise, &quot;only&quot; &lt;noise&gt;."' in html
    assert "prefers-reduced-motion" in html
    with Image.open(io.BytesIO(shown.webp)) as film:
        assert film.n_frames == 40
    with pytest.raises(ValueError, match="fewer frames"):
        plots.animation([torch.randn(225, 3, 32, 32, generator=g) for _ in range(12)], alt="")


def test_animation_of_figures():
    from matplotlib.pyplot import get_fignums

    figures = [plots.scatter(torch.randn(20, 2), limit=3).figure for _ in range(3)]
    shown = plots.animation(figures, alt="Points.")
    with Image.open(io.BytesIO(shown.webp)) as film:
        assert film.n_frames == 3
    assert not get_fignums()  # or the notebook would show each figure again


def test_pictures_are_written_whole_and_of_a_size_that_fits(tmp_path):
    path, x = tmp_path / "a.png", torch.zeros(1, 1, 8, 8)
    plots.save_image(x, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="take fewer images or less scale"):
        plots.save_image(x, path, scale=100_000)
    with pytest.raises(ValueError, match="at least one frame"):
        plots.save_animation([], tmp_path / "a.webp")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
