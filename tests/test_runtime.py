"""The network in the browser (book/_style/unet.js) against PyTorch, and the figures made with it.

Pages of a few lines, opened from file:// in headless Chromium; the built book is not needed.
"""

import shutil
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import minidiff as md

ROOT = Path(__file__).resolve().parent.parent
STYLE = ROOT / "book" / "_style"
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import live  # noqa: E402

TOLERANCE = 1e-4
WALK = """async ([name, x, labels, tau, images]) => {
  const model = await minidiff.load(name);
  const stop = new AbortController(), steps = [], shares = [];
  const progress = (share) => { if (shares.push(share) === images) stop.abort(); };
  const asked = { x: Float32Array.from(x), labels, tau, progress, signal: stop.signal };
  for await (const { t, x, raw } of model.ddim(asked)) steps.push({ t, x: [...x], raw: [...raw] });
  return { steps, shares };
}"""


class Page:
    """A page that is open, what it asked for and what it complained about."""

    def __init__(self, browser: Any, folder: Path, body: str, **screen: Any) -> None:
        (folder / "weights").mkdir()
        needed = live.needed(body) or ["unet.js"]
        for name in (*needed, "live.css"):
            shutil.copy(STYLE / name, folder)
        head = "<!doctype html><meta charset=utf-8><link rel=stylesheet href=live.css>"
        scripts = "".join(f"<script src={name}></script>" for name in needed)
        (folder / "page.html").write_text(head + body + scripts)
        self.folder = folder
        self.complaints: list[str] = []
        self.tab = browser.new_page(**screen)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", lambda request: self.hear(request.url))
        self.tab.goto((folder / "page.html").as_uri())

    def hear(self, url: str) -> None:
        if not url.startswith((self.folder.as_uri(), "data:", "blob:")):
            self.complaints.append(f"asked for {url}")

    def ship(self, path: Path) -> None:
        (self.folder / "weights" / f"{path.stem}.js").write_text(live.script(path))

    def walk(
        self, name: str, x: Tensor, labels: Tensor | None, tau: list[int], images: int = 0
    ) -> Any:
        asked = labels if labels is None else labels.tolist()
        return self.tab.evaluate(WALK, [name, x.flatten().tolist(), asked, tau, images])


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Any:
    made: list[Page] = []

    def make(body: str = "") -> Page:
        made.append(Page(browser, tmp_path, body))
        return made[-1]

    yield make
    for page in made:
        page.tab.close()
        assert page.complaints == []


def given(model: md.Denoiser, n: int) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
    """Noise of the model's shape, and labels with the null class among them."""
    c = model.net.config
    x = md.randn(torch.empty(n, c.in_channels, c.size, c.size), torch.Generator().manual_seed(0))
    if not c.vectors:
        return x, None, {}
    several = torch.stack([(torch.arange(n) + rows - 2) % rows for rows in c.vectors], dim=1)
    labels = several if isinstance(c.num_classes, tuple) else several[:, 0]
    return x, labels, {"labels": labels}


def differences(page: Page, name: str, model: md.Denoiser, n: int, tau: list[int]) -> list[float]:
    """The largest difference to PyTorch in the network's answer and in the state, of every step."""
    x, labels, cond = given(model, n)
    steps = page.walk(name, x, labels, tau)["steps"]
    assert [step["t"] for step in steps] == tau[1:]
    found, last = [], None
    for step, (t, s), truth in zip(
        steps, pairwise(tau), md.ddim(model, x, tau, **cond), strict=True
    ):
        seen = {**cond, "x_self": last} if model.self_conditioned and last is not None else cond
        with torch.no_grad():
            raw = model(x, t, **seen).raw
        x, last = truth.x, truth.x0
        for name_, there in (("raw", raw), ("x", truth.x)):
            here = torch.tensor(step[name_]).reshape(there.shape)
            found.append(float((here - there).abs().max()))
        assert s == truth.t
    return found


@pytest.mark.parametrize("name", ["digits", "digits_labels"])
def test_the_digits_are_those_of_pytorch(name: str, opened: Callable[..., Page]) -> None:
    page, model = opened(), md.load_pretrained(name)
    page.ship(live.SHIPPED / f"{name}.safetensors")
    assert max(differences(page, name, model, 4, md.tau(1000, S=20))) < TOLERANCE
    for t in (1, 2, 250, 999, 1000):  # eps for fixed inputs, whatever the step before did
        assert max(differences(page, name, model, 4, [t, 0])[:1]) < TOLERANCE


@pytest.mark.parametrize("t", [1, 2, 250, 999, 1000])
def test_eps_of_the_creatures_is_that_of_pytorch(t: int, opened: Callable[..., Page]) -> None:
    """eps for fixed inputs; the network says v, from which eps is made here."""
    page, model = opened(), md.load_pretrained("creatures16")
    page.ship(live.SHIPPED / "creatures16.safetensors")
    x, labels, cond = given(model, 4)
    (step,) = page.walk("creatures16", x, labels, [t, 0])["steps"]
    v = torch.tensor(step["raw"]).reshape(x.shape)
    _, eps = md.to_x0_eps(model.schedule, "v", v, x, t)
    with torch.no_grad():
        truth = model(x, t, clip=False, **cond).eps
    assert float((eps - truth).abs().max()) < TOLERANCE


def test_the_creatures_are_those_of_pytorch(opened: Callable[..., Page]) -> None:
    page, model = opened(), md.load_pretrained("creatures16")
    page.ship(live.SHIPPED / "creatures16.safetensors")
    assert max(differences(page, "creatures16", model, 3, md.tau(1000, S=20))) < TOLERANCE


def test_a_network_of_more_channels_is_that_of_pytorch(opened: Callable[..., Page]) -> None:
    page, model = opened(), md.load_pretrained("fashion")  # 1.6 million parameters, 28 pixels wide
    page.ship(live.SHIPPED / "fashion.safetensors")
    assert max(differences(page, "fashion", model, 2, [1000, 500, 0])) < TOLERANCE


LINEAR, COSINE = md.Schedule.linear(50), md.Schedule.cosine(50)
SMALL = dict(size=8, in_channels=1, out_channels=1, width=8, mults=(1, 2), blocks=1, groups=4)
SMALL |= dict(attention=())
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as IDDPM": (
        dict(in_channels=3, out_channels=6, scale_shift=True, symmetric=True, time="iddpm")
        | dict(clock=0.25, blocks=2, head_dim=4, attention=(8, 4), eps=1e-5),
        dict(variance="learned", schedule=COSINE),
    ),
    "linear attention, three levels": (
        dict(size=12, mults=(1, 2, 1), linear_attention=(12, 6), attention=(3,), head_dim=2),
        dict(schedule=LINEAR, clip=False),
    ),
    "learned features of the log-SNR, v": (
        dict(time="learned", clock=tuple(COSINE.log_snr[1:].tolist()), num_classes=3),
        dict(predict="v", schedule=md.Schedule.from_alpha_bar(COSINE.alpha_bar)),
    ),
    "random features, x0, its own guess": (
        dict(time="random", clock=1 / 50, self_cond=True, in_channels=3, out_channels=3),
        dict(predict="x0", schedule=md.Schedule.from_betas([0.01 * i for i in range(1, 51)])),
    ),
    "several labels, several heads": (
        dict(num_classes=(3, 2, 5), heads=2, attention=(8,)),
        dict(schedule=COSINE, predict="v"),
    ),
    "labels without a null class": (
        dict(num_classes=3, null_class=False),
        dict(schedule=LINEAR),
    ),
    "channels that four does not divide": (
        dict(width=6, groups=3, in_channels=2, out_channels=2, attention=(8,), mults=(1, 3)),
        dict(schedule=LINEAR),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_is_that_of_pytorch(
    name: str, opened: Callable[..., Page], tmp_path: Path
) -> None:
    network, denoiser = NETWORKS[name]
    torch.manual_seed(0)
    made = md.Denoiser(md.UNet(md.UNetConfig(**(SMALL | network), start="torch")), **denoiser)
    path = tmp_path / "made.safetensors"
    md.save_weights(path, made, quantize="int8", half=("up",))  # 8, 16 and 32 bits in one file
    page = opened()
    page.ship(path)
    model = md.load_pretrained(path)
    assert max(differences(page, "made", model, 3, [40, 30, 7, 1, 0])) < TOLERANCE


def test_a_walk_stops_when_it_is_told(opened: Callable[..., Page]) -> None:
    page, model = opened(), md.load_pretrained("digits")
    page.ship(live.SHIPPED / "digits.safetensors")
    x, *_ = given(model, 4)
    stopped = page.walk("digits", x, None, md.tau(1000, S=50), images=10)
    assert [step["t"] for step in stopped["steps"]] == [980, 960]  # the third step was not finished
    assert stopped["shares"] == pytest.approx([i / 200 for i in range(1, 11)])
    assert len(page.walk("digits", x, None, [1000, 500, 0])["steps"]) == 2  # and it can walk again


def test_what_cannot_run_says_so_and_may_be_tried_again(
    opened: Callable[..., Page], tmp_path: Path
) -> None:
    page = opened()
    load = "name => minidiff.load(name).then(() => 'loaded', (error) => error.message)"
    assert page.tab.evaluate(load, "digits") == "the weights digits could not be loaded"
    page.ship(live.SHIPPED / "digits.safetensors")
    assert page.tab.evaluate(load, "digits") == "loaded"
    config = md.load_pretrained("digits").net.config
    path = tmp_path / "mu.safetensors"
    md.save_weights(path, md.Denoiser(md.UNet(config), md.Schedule.linear(50), predict="mu"))
    page.ship(path)
    with pytest.raises(Exception, match="cannot use a network that predicts mu"):
        page.walk("mu", torch.zeros(1, 1, 8, 8), None, [50, 0])


@pytest.mark.parametrize(
    ("pixels", "labels", "tau", "message"),
    [
        (63, None, [10, 0], "x must be images of 64 numbers, got 63"),
        (64, [1, 2], [10, 0], "labels must be 1 whole numbers from 0 to 10, got 1,2"),
        (64, [11], [10, 0], "labels must be 1 whole numbers from 0 to 10, got 11"),
        (64, None, [1001, 0], "fall from at most 1000"),
        (64, None, [10, 10], "fall from at most 1000"),
    ],
)
def test_wrong_questions_are_refused_in_a_sentence(
    pixels: int, labels: list[int] | None, tau: list[int], message: str, opened: Any
) -> None:
    page = opened()
    page.ship(live.SHIPPED / "digits_labels.safetensors")
    asked = None if labels is None else torch.tensor(labels)
    with pytest.raises(Exception, match=message):
        page.walk("digits_labels", torch.zeros(pixels), asked, tau)


# -- the figures --------------------------------------------------------------------------------

TWIN = '<img alt="twin" src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">'
FIGURE = f'<figure class="live-{{}}">{TWIN}</figure>'
DONE = "e => !e.querySelector('output').hasAttribute('aria-busy')"


def figure(page: Page, name: str) -> Any:
    return page.tab.locator(f"figure.live-{name}")


def wait(page: Page, name: str) -> None:
    page.tab.wait_for_function(DONE, arg=figure(page, name).element_handle())


def test_digits_are_drawn_by_keyboard(opened: Callable[..., Page]) -> None:
    page = opened(FIGURE.format("sampling"))
    page.ship(live.SHIPPED / "digits_labels.safetensors")
    shown = figure(page, "sampling")
    said, film = shown.locator("output"), shown.locator("input").nth(1)
    assert "nothing but noise" in said.inner_text()
    assert film.is_disabled()
    shown.locator("select").select_option("3")
    shown.locator("input").first.focus()
    for _ in range(2):
        page.tab.keyboard.press("ArrowLeft")
    assert shown.locator(".value").first.inner_text() == "5"
    shown.get_by_role("button", name="Draw").press("Enter")
    wait(page, "sampling")
    assert said.inner_text().startswith("t = 0, 5 of 5 steps done: sixteen times the digit 3.")
    film.press("ArrowLeft")
    assert said.inner_text().startswith("t = 200, 4 of 5 steps done")
    assert film.get_attribute("aria-valuetext") == "200"
    shown.get_by_role("button", name="Other noise").press("Enter")
    assert "nothing but noise" in said.inner_text()


def test_drawing_can_be_stopped(opened: Callable[..., Page]) -> None:
    page = opened(FIGURE.format("sampling"))
    page.ship(live.SHIPPED / "digits_labels.safetensors")
    shown = figure(page, "sampling")
    shown.locator("input").first.press("End")  # 200 steps
    shown.get_by_role("button", name="Draw").click()
    page.tab.wait_for_function(
        "e => /[1-9] of 200/.test(e.textContent)", arg=shown.element_handle()
    )
    assert shown.locator("progress").is_visible()
    shown.get_by_role("button", name="Stop").click()
    wait(page, "sampling")
    assert shown.get_by_role("button", name="Draw").is_visible()
    assert "t = 0" not in shown.locator("output").inner_text()
    assert not shown.locator("progress").is_visible()


def test_a_digit_comes_back_from_a_little_noise_and_not_from_much(
    opened: Callable[..., Page],
) -> None:
    page = opened(FIGURE.format("renoise"))
    page.ship(live.SHIPPED / "digits_labels.safetensors")
    shown = figure(page, "renoise")
    far = []
    for key in ("Home", "ArrowRight", "End"):  # t = 0, 10, 1000
        shown.locator("input").first.press(key)
        wait(page, "renoise")
        far.append(float(shown.locator("output").inner_text().rstrip(".").rpartition("back ")[2]))
    assert far[0] == 0
    assert far[0] < far[1] < far[2]


def test_without_the_network_the_twin_stays(opened: Callable[..., Page]) -> None:
    page = opened(FIGURE.format("sampling"))  # its weights are not there
    shown = figure(page, "sampling")
    assert not shown.locator("img").is_visible()
    shown.get_by_role("button", name="Draw").click()
    page.tab.wait_for_function("e => e.dataset.trouble", arg=shown.element_handle())
    assert "could not be loaded" in shown.locator("output").inner_text()
    assert shown.locator("img").is_visible()


def test_the_twin_is_printed(opened: Callable[..., Page]) -> None:
    page = opened(FIGURE.format("renoise"))
    page.tab.emulate_media(media="print")
    shown = figure(page, "renoise")
    assert shown.locator("img").is_visible()
    assert not shown.locator("canvas").is_visible()
    assert not shown.locator("form").is_visible()
