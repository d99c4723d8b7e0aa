"""The figures that answer (book/_style): their numbers against the library, and how they are used.

Pages of a few lines, opened from file:// in headless Chromium; the built book is not needed.
"""

# ruff: noqa: F811 (a fixture that is imported is named again by who asks for it)

import base64
import gzip
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import minidiff as md
from minidiff.data import creatures

ROOT = Path(__file__).resolve().parent.parent
STYLE = ROOT / "book" / "_style"
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import live  # noqa: E402
from test_runtime import Page, opened  # noqa: E402, F401  (a fixture)

LINEAR = md.Schedule.linear(1000)
CENTRES = [[-1.0, -0.6], [1.0, -0.5], [0.0, 0.9]]  # of plane.js
THREE = md.toy.GaussianMixture(torch.tensor(CENTRES, dtype=torch.float64), std=0.02**0.5)
EXACT = md.Denoiser(THREE.net(LINEAR), LINEAR, clip=False)


def body(*names: str) -> str:
    return "".join(
        f'<figure class="live-{name} placed" id="live-{name}"></figure>' for name in names
    )


@pytest.fixture(scope="module")
def ask(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """The value of an expression in a page that has every figure; expressions leave no trace."""
    page = Page(browser, tmp_path_factory.mktemp("figures"), body(*live.FIGURES))
    yield lambda words, *given: page.tab.evaluate(f"(given) => {words}", list(given))
    page.tab.close()
    assert page.complaints == []


def near(here: Any, there: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(
        torch.tensor(here, dtype=torch.float64), there.double(), rtol=0, atol=tolerance
    )


# -- numbers ------------------------------------------------------------------------------------


def test_schedules_are_those_of_the_library(ask: Callable[..., Any]) -> None:
    for T in (30, 50, 1000):
        near(ask("Toy.linear(given[0])", T), md.Schedule.linear(T).alpha_bar)
        near(ask("Toy.cosine(given[0])", T), md.Schedule.cosine(T).alpha_bar)
    bare = md.Schedule.from_betas(torch.linspace(1e-4, 0.02, 50, dtype=torch.float64).tolist())
    near(ask("Toy.linear(50, false)"), bare.alpha_bar)


def test_grids_are_those_of_the_library(ask: Callable[..., Any]) -> None:
    for S in (1, 2, 7, 50, 200):
        for spacing in ("linear", "quadratic"):
            assert ask("Toy.tau(...given)", S, spacing) == md.tau(1000, S=S, spacing=spacing)
    assert ask("Toy.tau(10, 'linear', 410)") == md.tau(1000, S=10, start=410)


def test_the_step_back_is_the_true_one(ask: Callable[..., Any]) -> None:
    """The curves of `posterior`, at every beta and x_t of its sliders' ends."""
    two = md.toy.GaussianMixture(torch.tensor([[-0.8], [0.8]], dtype=torch.float64), std=0.2)
    grid = torch.linspace(-2, 2, 41, dtype=torch.float64)
    said = """{
      const before = new Toy.Mixture([[-0.8], [0.8]], [0.04, 0.04]);
      const q = before.given([given[1]], 1 - given[0]);
      return [given[2].map((u) => q.density([u])), q.mean()[0], q.variance()];
    }"""
    for beta in (0.001, 0.01, 0.3, 0.89):
        schedule = md.Schedule.from_betas([beta, 0.5])  # the step from 1 to 0 has this beta
        for x in (-2.0, 0.1, 2.0):
            q = two.reverse(schedule, torch.tensor([[x]], dtype=torch.float64), 1, 0)
            density, mean, variance = ask(said, beta, x, grid.tolist())
            near(density, q.log_prob(grid[:, None]).exp(), 1e-6)
            true = (q.weights * q.means[:, 0]).sum()
            near(mean, true)
            near(variance, (q.weights * (q.var + (q.means[:, 0] - true) ** 2)).sum())


def test_a_path_of_the_plane_is_that_of_ddim(ask: Callable[..., Any], monkeypatch: Any) -> None:
    said = """{
      const data = new Toy.Mixture(given[0], [0.02, 0.02, 0.02]), z = Toy.points(given[3], 5);
      const way = { eta: given[4], noise: (i) => z[i] };
      return [Toy.path(given[1], (x, a) => data.eps(x, a), given[2], way), z];
    }"""
    start = torch.tensor([[0.6, -1.7]], dtype=torch.float64)
    for S, eta in ((1, 0.0), (50, 0.0), (20, 1.0), (20, 0.5), (20, "hat")):
        tau = md.tau(1000, S=S)
        path, z = ask(said, CENTRES, start[0].tolist(), tau, S, eta)
        noise = iter(torch.tensor(z, dtype=torch.float64)[:, None])
        monkeypatch.setattr("minidiff.samplers.randn", lambda like, g, noise=noise: next(noise))
        steps = list(md.ddim(EXACT, start, tau, eta))
        near(path, torch.cat([start, *(step.x for step in steps)]))


def test_the_solvers_of_the_plane_are_those_of_the_library(ask: Callable[..., Any]) -> None:
    start = torch.tensor([[0.4, 1.1]], dtype=torch.float64)
    names = {"Euler (DDIM)": "euler", "Heun": "heun", "DPM-Solver++(2M)": "dpm++"}
    for name, method in names.items():
        levels = ask("Plane.levels(7)")
        x_bar = (start[0] * (1 + levels[0] ** 2) ** 0.5).tolist()
        path = ask("Plane.walk(given[0], 7, given[1])", x_bar, name)
        tau = [round(t, 9) for t in md.tau_at(LINEAR, sigma=[*levels[:-1], 0.0])]
        *_, last = md.solve(EXACT, start, tau, method)
        near(path[-1], last.x[0], 2e-3)  # the library asks at t, log-SNR linear between the steps


def test_the_frechet_distance_is_that_of_the_library(ask: Callable[..., Any]) -> None:
    figure = "document.querySelector('figure.live-clouds')"
    for n, narrow in ((3, 0.1), (100, 0.4), (400, 1.0)):
        clouds = ask(f"{figure}.clouds(...given)", n, narrow)
        said = ask("Toy.frechet(...given[0].map(Toy.stats))", clouds)
        stats = [
            md.metrics.FrechetStats().update(torch.tensor(one, dtype=torch.float64))
            for one in clouds
        ]
        near(
            said["distance"],
            torch.tensor(md.metrics.frechet_distance(*stats), dtype=torch.float64),
            1e-8,
        )
        near(said["places"], (stats[0].mean - stats[1].mean).square().sum(), 1e-9)


def test_ways_between_noises_are_those_of_the_library(ask: Callable[..., Any]) -> None:
    a, b = torch.randn(2, 1, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for name in ("lerp", "slerp"):
        for w in (0.0, 0.3, 1.0):
            here = ask(f"Toy.{name}(...given)", a[0].tolist(), b[0].tolist(), w)
            near(here, getattr(md, name)(a, b, w)[0])


def test_the_page_learns_as_pytorch_does(ask: Callable[..., Any]) -> None:
    given = torch.Generator().manual_seed(0)
    x, target = torch.randn(30, 3, generator=given), torch.randn(30, 2, generator=given)
    said = """{
      const net = new Mlp(3), [x, target] = given.map((flat) => Float32Array.from(flat));
      const parts = () => net.layers.map(({ parts }) => parts.map((part) => [...part]));
      const start = parts(), losses = [1, 2, 3].map(() => net.learn(x, target, 0.01));
      return [start, losses, [...net.forward(x)], net.size];
    }"""
    start, losses, answer, size = ask(said, x.flatten().tolist(), target.flatten().tolist())
    width = len(start[0][1])
    hidden = [nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    net = nn.Sequential(*hidden, nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
    flat = [torch.tensor(part) for layer in start for part in layer]
    for there, here in zip(net.parameters(), flat, strict=True):
        there.data = here.reshape(there.shape)
    assert size == sum(p.numel() for p in net.parameters())
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for loss in losses:
        error = (net(x) - target).square().mean()
        near(loss, error.detach(), 1e-5)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    near(answer, net(x).detach().flatten(), 1e-4)


def test_the_page_learns_a_ring(ask: Callable[..., Any]) -> None:
    """400 steps bring the points much nearer to the data than noise is."""
    said = """{
      const data = Training.SETS.ring(), net = new Mlp(1);
      const start = Float32Array.from(Toy.normals(400, 7));
      const pairs = (x) => Array.from({ length: 200 }, (_, i) => [x[2 * i], x[2 * i + 1]]);
      const far = (x) => Training.apart(pairs(x), data);
      for (const loss of Training.train(net, data, 400, 1))
        if (!(loss < 10)) throw Error(`loss ${loss}`);
      return [far(start), far(Training.sample(net, start).at(-1))];
    }"""
    noise, drawn = ask(said)
    assert drawn < noise / 2


WALK = """async ([name, x, y, grid, eta, w, known, mask, seeds]) => {
  const model = await minidiff.load(name);
  const floats = (list) => list && Float32Array.from(list), fresh = (i) => floats(seeds[i]);
  const asked = { x: floats(x), y, grid, eta, w, fresh, known: floats(known), mask };
  const states = [];
  for await (const step of Network.walk(model, asked)) states.push([...step.x]);
  return states;
}"""


@pytest.mark.parametrize(
    ("eta", "w", "filled"),
    [
        (0, 0, False),
        (1, 0, False),
        ("hat", 0, False),
        (0, 2.5, False),
        (0, -1, False),
        ("hat", 0, True),
    ],
)
def test_a_walk_in_the_page_is_that_of_the_library(
    eta: float | str,
    w: float,
    filled: bool,
    opened: Callable[..., Page],
    monkeypatch: Any,
) -> None:
    page, model = opened(body("guidance")), md.load_pretrained("digits_labels")
    page.ship(live.SHIPPED / "digits_labels.safetensors")
    tau, given = md.tau(1000, S=6), torch.Generator().manual_seed(0)
    x, *noises = torch.randn(1 + len(tau), 3, 1, 8, 8, generator=given)
    labels = torch.tensor([3, 8, 0])
    x0 = torch.rand(1, 1, 8, 8, generator=given) * 2 - 1
    mask = torch.rand(1, 8, 8, generator=given) < 0.5
    known = [x0.flatten().tolist(), mask.flatten().tolist()] if filled else [None, None]
    seeds = [noise.flatten().tolist() for noise in noises]
    asked = ["digits_labels", x.flatten().tolist(), labels.tolist(), tau, eta, w, *known, seeds]
    states = page.tab.evaluate(WALK, asked)
    stream = iter([x, *noises] if filled else noises)  # the known part has noise at T, too
    for module in ("samplers", "editing"):
        monkeypatch.setattr(f"minidiff.{module}.randn", lambda like, g: next(stream))
    if filled:
        steps = list(md.inpaint(model, x, x0, mask, tau, labels=labels))
    else:
        steps = list(md.ddim(md.guide(model, labels, w), x, tau, eta))
    for here, step in zip(states, steps, strict=True):
        near(here, step.x.flatten(), 1e-3)
    if filled:
        last = torch.tensor(states[-1]).reshape(x.shape)
        near(last[:, mask].tolist(), x0.expand_as(x)[:, mask], 1e-6)


@pytest.mark.parametrize("w", [0, 2.5, -1])
def test_creatures_are_guided_in_the_page_as_by_the_library(
    w: float, opened: Callable[..., Page]
) -> None:
    """Seven labels an image, with some left to the network, in a whole walk."""
    page, model = opened(body("wishes")), md.load_pretrained("creatures16")
    page.ship(live.SHIPPED / "creatures16.safetensors")
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none, tau = torch.tensor(model.null_label), md.tau(1000, S=20)
    labels = torch.stack([torch.zeros_like(none), none - 1])
    labels[1, ::2] = none[::2]
    asked = ["creatures16", x.flatten().tolist(), labels.tolist(), tau, 0, w, None, None, []]
    states = page.tab.evaluate(WALK, asked)
    for here, step in zip(states, md.ddim(md.guide(model, labels, w), x, tau), strict=True):
        near(here, step.x.flatten(), 1e-4)


# -- places -------------------------------------------------------------------------------------


def notebooks() -> dict[str, str]:
    cells = {
        path.stem: json.loads(path.read_text())["cells"] for path in ROOT.glob("notebooks/*.ipynb")
    }
    return {
        name: "\n".join("".join(cell["source"]) for cell in all_) for name, all_ in cells.items()
    }


def test_every_figure_has_a_place_in_a_chapter() -> None:
    text = "\n".join(notebooks().values())
    for place in live.PLACES:
        anchor = f'<a id="{place}"></a>' if place.startswith("fig-") else "## And then"
        assert anchor in text, f"no notebook has {place}"
    assert set(live.PLACES.values()) == set(live.FIGURES)
    assert len(live.FIGURES) >= 12


def test_a_page_is_given_its_figures_and_their_scripts() -> None:
    page = '<figure class="align-default" id="fig-ode-hook"><img></figure><p>on</p>'
    made = live.placed(page)
    assert made.index("</figure>") < made.index("live-plane") < made.index("<p>on</p>")
    assert live.needed(made) == ["frame.js", "toy.js", "plane.js"]
    assert live.needed(live.placed("<figure id=other></figure>")) == []


def test_every_figure_is_listed_on_the_page_of_figures() -> None:
    page = (ROOT / "book" / "play.md").read_text()
    assert set(re.findall(r"#live-([a-z]+)", page)) == set(live.FIGURES)


@pytest.mark.parametrize("name", live.FIGURES)
def test_the_chapters_of_a_figure_are_named_beside_its_link(name: str) -> None:
    page = (ROOT / "book" / "play.md").read_text()
    (said,) = re.findall(rf"^\| .*#live-{name}\).*\|(.*)\|$", page, flags=re.M)
    places = [place for place, figure in live.PLACES.items() if figure == name]
    marks = [f'<a id="{place}"></a>' for place in places]
    found = {
        int(stem[:2]) for stem, text in notebooks().items() if any(mark in text for mark in marks)
    }
    assert set(map(int, re.findall(r"\d+", said))) == found


def test_a_file_of_figures_is_short() -> None:
    files = {file for files in live.FIGURES.values() for file in files} - {"unet.js"}
    for file in files:
        assert len((STYLE / file).read_text().splitlines()) <= 300


@pytest.mark.parametrize("name", live.FIGURES)
def test_a_figure_is_light(name: str) -> None:
    """Its scripts come with the page; the weights, when they are asked for."""
    assert sum((STYLE / file).stat().st_size for file in live.FIGURES[name]) <= 100_000


@pytest.mark.parametrize("name", live.WEIGHTS)
def test_the_size_of_a_network_is_told_where_it_is_loaded(
    name: str, ask: Callable[..., Any]
) -> None:
    """As it travels: compressed. No lossless code of creatures16 stays below a megabyte."""
    size = len(gzip.compress(live.script(live.SHIPPED / f"{name}.safetensors").encode()))
    assert f"{size / 1e6:.1f} MB" in ask("Network.NETWORKS[given[0]].loads", name)
    assert size <= 1_100_000


def test_the_page_asks_for_what_a_creature_may_have(ask: Callable[..., Any]) -> None:
    assert ask("window.CREATURES.factors") == {
        name: list(kinds) for name, kinds in creatures.FACTORS.items()
    }


def test_what_is_picked_is_what_is_asked_for(opened: Callable[..., Page]) -> None:
    """The labels that the worker gets are the columns of `creatures.FACTORS`."""
    page = opened(body("wishes"))
    page.ship(live.SHIPPED / "creatures16.safetensors")
    shown = page.tab.locator("figure.live-wishes")
    shown.locator("select").first.select_option("ram")
    shown.locator("select").nth(5).select_option("stone")
    heard = """() => { const send = Worker.prototype.postMessage; window.asked = [];
      Worker.prototype.postMessage = function (word, ...rest) {
        if (word.labels) window.asked.push(word.labels);
        return send.call(this, word, ...rest);
      }; }"""
    page.tab.evaluate(heard)
    shown.get_by_role("button", name="Draw").press("Enter")
    page.tab.wait_for_function("() => window.asked.length > 20", timeout=120_000)
    alone, both = page.tab.evaluate("[asked[0], asked[20]]")
    none = list(creatures.COUNTS)
    kinds = {"ears": "ram", "muzzle": "beak", "fur": "stone", "ground": "dusk"}
    wanted = [
        kinds_.index(kinds[name]) if name in kinds else len(kinds_)
        for name, kinds_ in creatures.FACTORS.items()
    ]
    assert alone == [wanted] * 6
    assert both == [wanted] * 6 + [none] * 6  # for guidance, and without any label


def test_creatures_are_drawn_and_their_film_is_kept(opened: Callable[..., Page]) -> None:
    page = opened(body("creatures"))
    page.ship(live.SHIPPED / "creatures16.safetensors")
    shown = page.tab.locator("figure.live-creatures")
    said, film = shown.locator("output"), shown.locator("input").last
    assert said.inner_text().startswith("Empty so far.")  # for there is no picture in its place
    assert "1.1 MB" in said.inner_text()
    shown.locator("select").first.select_option("horns")
    shown.get_by_role("button", name="Draw").press("Enter")
    done = "e => e.textContent.startsWith('t = 0, 20 of 20')"
    page.tab.wait_for_function(done, arg=said.element_handle(), timeout=120_000)
    assert "ears: horns" in said.inner_text()
    film.press("ArrowLeft")
    assert said.inner_text().startswith("t = 50, 19 of 20 steps done")


def test_the_creatures_of_the_picture_are_shown_until_the_page_draws_its_own(
    opened: Callable[..., Page],
) -> None:
    path = ROOT / "book" / "images" / "creatures.png"
    source = base64.b64encode(path.read_bytes()).decode()
    page = opened(body("creatures").replace("></f", f'><img src="data:;base64,{source}"></f'))
    canvas = page.tab.locator("figure.live-creatures canvas")
    page.tab.wait_for_function("() => document.querySelector('figure img').naturalWidth > 0")
    assert "drew before" in page.tab.locator("figure.live-creatures output").inner_text()
    shown = Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")
    picture = Image.open(path).convert("RGB")
    cell, unit = (shown.width - 5 * 4) / 6, picture.width / 199
    for i in range(12):
        column, row = i % 6, i // 6
        for u, v in ((0.05, 0.05), (0.5, 0.9), (0.95, 0.05)):  # two corners, and a belly
            here = ((column + u) * cell + 4 * column, (row + v) * cell + 4 * row)
            there = ((1 + 33 * column + 32 * u) * unit, (1 + 33 * row + 32 * v) * unit)
            found, wanted = (
                torch.tensor(image.getpixel((int(x), int(y))))
                for image, (x, y) in ((shown, here), (picture, there))
            )
            assert (found - wanted).abs().max() <= 2, (i, u, v)


# -- use ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", live.FIGURES)
def test_a_figure_says_what_to_try_and_answers_to_the_keyboard(
    name: str,
    opened: Callable[..., Page],
) -> None:
    page = opened(body(name))
    page.ship(live.SHIPPED / "digits_labels.safetensors")
    shown = page.tab.locator(f"figure.live-{name}")
    assert len(shown.locator(".try").inner_text()) > 80
    said = shown.locator("output")
    for slider in shown.locator("input[type=range]:not([disabled])").all():
        before = said.inner_text(), shown.locator("canvas").evaluate("e => e.toDataURL()")
        slider.press(
            "ArrowLeft" if slider.input_value() == slider.get_attribute("max") else "ArrowRight"
        )
        value = slider.evaluate("e => e.parentElement.querySelector('.value').textContent")
        assert value == slider.get_attribute("aria-valuetext") != ""
        assert (said.inner_text(), shown.locator("canvas").evaluate("e => e.toDataURL()")) != before
        assert slider.get_attribute("list"), "a slider has ticks"
    names = shown.locator("canvas, button, .pad").all()
    assert all(one.get_attribute("aria-label") or one.inner_text() for one in names)
    page.tab.emulate_media(media="print")
    assert not shown.is_visible()


@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_a_figure_is_sharp(ratio: int, browser: Any, tmp_path: Path) -> None:
    page = Page(browser, tmp_path, body("plane"), device_scale_factor=ratio)
    canvas = page.tab.locator("canvas")
    assert canvas.evaluate("e => e.width") == round(canvas.bounding_box()["width"] * ratio)
    page.tab.close()


def test_a_point_is_dragged_and_moved_by_key(opened: Callable[..., Page]) -> None:
    page = opened(body("plane"))
    grip, said = page.tab.locator(".grip"), page.tab.locator("output")
    assert said.inner_text().startswith("x_T = (0.60, −1.70)")
    grip.press("ArrowUp")
    assert said.inner_text().startswith("x_T = (0.60, −1.60)")
    box = grip.bounding_box()
    page.tab.mouse.move(box["x"] + 13, box["y"] + 13)
    page.tab.mouse.down()
    page.tab.mouse.move(box["x"] - 60, box["y"] - 40)
    page.tab.mouse.up()
    u, v = map(float, re.search(r"\((\S+), (\S+)\)", said.inner_text().replace("−", "-")).groups())
    assert u < 0.4
    assert v > -1.5
    assert "arrow keys move it" in grip.get_attribute("aria-label")


def test_clouds_move_whole(opened: Callable[..., Page]) -> None:
    page = opened(body("clouds"))
    said = page.tab.locator("output")
    shapes = lambda: re.search(r"\+ (\S+) from the covariances", said.inner_text())[1]  # noqa: E731
    before = shapes()
    page.tab.locator(".grip:not(.tip)").first.press("ArrowUp")
    assert shapes() == before  # only the means
    page.tab.locator(".grip.tip").first.press("ArrowUp")
    assert shapes() != before


def test_a_shape_is_painted_and_learned(opened: Callable[..., Page]) -> None:
    page = opened(body("training"))
    page.tab.emulate_media(reduced_motion="reduce")
    field, said = page.tab.locator(".pad"), page.tab.locator("output")
    field.press("ArrowRight")
    field.press(" ")
    assert said.inner_text().startswith("12 points.")
    assert page.tab.locator("select").input_value() == "your own drawing"
    box = field.bounding_box()
    page.tab.mouse.move(box["x"] + 20, box["y"] + 20)
    page.tab.mouse.down()
    page.tab.mouse.move(box["x"] + 80, box["y"] + 60, steps=5)
    page.tab.mouse.up()
    assert said.inner_text().startswith("84 points.")
    page.tab.locator("input[type=range]").first.press("Home")  # 200 steps
    page.tab.get_by_role("button", name="Train").press("Enter")
    page.tab.wait_for_function(
        "() => /^200 of 200.*At t = 0/.test(document.querySelector('output').textContent)"
    )
    film = page.tab.locator("input[type=range]").last
    film.press("Home")
    assert "At t = 200" in said.inner_text()


def test_what_is_known_is_painted(opened: Callable[..., Page]) -> None:
    page = opened(body("inpainting"))
    page.ship(live.SHIPPED / "digits_labels.safetensors")
    said, field = page.tab.locator("output"), page.tab.locator(".pad")
    assert said.inner_text().startswith("32 of 64 pixels of the 9 are known")
    field.press(" ")  # the cursor begins below the middle, on a hidden pixel
    assert said.inner_text().startswith("33 of 64 pixels")
    page.tab.get_by_role("button", name="Fill in").press("Enter")
    page.tab.wait_for_function(
        "() => /filled part/.test(document.querySelector('output').textContent)"
    )
