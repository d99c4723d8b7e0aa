"""What a learner puts in the wrong place: every public function answers in one sentence.

The functions are found by walking the public API, what is wrong for them by their annotations: a
new function is tried without being entered here. A required parameter of a new name needs a
specimen in GOOD.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import minidiff as md
from minidiff.data import Images
from minidiff.engine.distributed import World
from minidiff.engine.generate import Sampling, generate
from minidiff.kinds import check_scale
from minidiff.measure.frechet import FrechetStats
from minidiff.toy import GaussianMixture

PACKAGE = Path(md.__file__).parent
S = md.Schedule.linear(100)
SIZE = {"size": 8, "in_channels": 1, "width": 8, "mults": (1,), "blocks": 1, "attention": ()}


def unet(**options: Any) -> md.UNet:
    return md.UNet(md.UNetConfig(**{"out_channels": 1, **SIZE, **options}, groups=4)).eval()  # type: ignore[arg-type]


UNET = unet()
MODEL = md.Denoiser(UNET, S).eval()
X = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8)
POINTS = GaussianMixture(torch.tensor([[-1.0], [1.0]]), std=0.3)
FEATURES = torch.linspace(0, 1, 32).reshape(8, 4).sin()
BYTES = md.data.to_uint8(X[:1].expand(6, 1, 8, 8))
DATA = Images(BYTES, torch.zeros(6).long(), ("a",))
PAIR = md.Gaussian(X, X.abs() + 1)


def logits(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A classifier, and a network without weights."""
    return x.flatten(1)[:, :3]


def no_idea(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A network of letters."""
    return torch.zeros(*x.shape, 3)


# A good value for each parameter by its name; some functions mean another thing by a name.
GOOD: dict[str, Any] = {
    "model": MODEL, "schedule": S, "net": UNET, "classifier": logits, "mixture": POINTS,
    "x0": X, "xt": X, "xs": X / 2, "x_T": X, "y0": X / 2, "x_bar": X, "eps": X, "prediction": X,
    "a": X, "b": X / 2, "x": X, "like": X, "mask": X > 0, "g": PAIR, "other": PAIR,
    "t": 9, "s": 5, "tau": [9, 5, 0], "sigma": 0.01, "eta": 0.5, "T": 100, "steps": 5, "most": 80.0,
    "weight": torch.tensor([0.2, 0.8]), "labels": torch.tensor([0, 1]), "images": BYTES,
    "image": X[0, 0], "features": FEATURES, "real": FEATURES, "fake": FEATURES + 0.1,
    "probs": torch.eye(4), "factors": torch.zeros(2, 7).long(), "frames": [X, X],
    "paths": torch.zeros(3, 4, 2), "means": torch.eye(2), "losses": torch.ones(2),
    "kind": "eps", "to": "v", "n": 4, "K": 3, "dim": 2, "amount": 1.0, "noise": torch.ones(3) / 3,
    "f": lambda x: x, "alt": "words", "size": 8, "betas": [0.1, 0.2], "alpha_bar": [1.0, 0.5, 0.1],
    "shape": (1, 8, 8), "which": range(2), "batches": [[0, 1]], "p": torch.eye(2), "config": SIZE,
    "sampling": Sampling(steps=2), "world": World(0, 1, torch.device("cpu")),
    "name_or_path": "digits", "path": "/dev/null/no.png", "folder": "/dev/null/no",
    "samples": BYTES, "reference": DATA,
    "extractor": md.features.Classifier.load("digits"), "classes": ("a",), "state": {},
}  # fmt: skip
SPECIAL: dict[str, dict[str, Any]] = {
    "md.interpolate": {"x0": X[:1], "y0": X[:1] / 2},
    "md.gamma": {"sigma": torch.full((101,), 0.01)},
    "md.LossAwareTimes.update": {"t": torch.tensor([3, 4])},
    "md.ddim": {"eta": 1.0},
    "md.loss_hybrid": {"model": md.Denoiser(unet(out_channels=2), S, "eps", "learned").eval()},
    "md.solve": {"method": "heun", "churn": md.Churn(40)},
    "md.vlb_term": {"t": 1},
    "md.plots.scatter": {"x": torch.zeros(4, 2)},
}
LETTERS = torch.tensor([[0, 1], [2, 0]])
OF_CLASS: dict[str, dict[str, Any]] = {
    "md.Letters": {"net": no_idea, "t": 3, "s": 2} | dict.fromkeys(("x0", "xt", "xs"), LETTERS),
    "md.toy.GaussianMixture": dict.fromkeys(("x", "xt", "x0"), X[:1, 0, 0, :1]),
}
OWNERS: dict[str, Any] = {  # whose methods are called
    "md.EMA": md.EMA(UNET), "md.Denoiser": MODEL, "md.Letters": md.Letters.masked(3, 4),
    "md.Schedule": S, "md.Gaussian": PAIR, "md.toy.GaussianMixture": POINTS,
    "md.UniformTimes": md.UniformTimes(100), "md.StratifiedTimes": md.StratifiedTimes(100),
    "md.BoundTimes": md.BoundTimes(S), "md.LogNormalTimes": md.LogNormalTimes(S),
    "md.LossAwareTimes": md.LossAwareTimes(100), "md.generate.Sampling": Sampling(steps=2),
    "md.data.Images": DATA, "md.frechet.FrechetStats": FrechetStats(), "md.UNet": UNET,
    "md.Transformer": md.Transformer(md.TransformerConfig(8, 1, 1, width=32, depth=1, heads=2)),
}  # fmt: skip

# What is no model, no schedule, …; each of them is somebody's slip.
NO_MODEL = [UNET, logits, None, "digits", [MODEL], S, X, md.Denoiser, POINTS.net(S),
            md.LogNormalTimes(S), SIZE]  # fmt: skip
NO_SCHEDULE = [MODEL, UNET, None, "linear", 1000, X, md.Schedule, S.alpha_bar, [1.0, 0.5]]
NO_NETWORK = [None, "unet", [UNET], S, MODEL, md.UNet, X]
NO_WEIGHTS = [None, "unet", [UNET], S, md.UNet, X, logits]
NO_TENSOR = [X.tolist(), X.numpy(), None, MODEL, UNET, S, 3, "x", [X], (X, X)]
NO_STATE = [*NO_TENSOR, X.to(torch.uint8), X.long(), X > 0, X[0, 0, 0], X[0, 0, 0, 0]]
NO_TIME = [None, "9", [9], -1, 10_001, float("nan"), float("inf"), torch.tensor([3, 4, 5]), X, S]
NO_GENERATOR = [0, np.random.default_rng(0), "cpu", torch]
NO_NUMBER = [None, "9", [9], X, MODEL]
NUMBERS = {"int", "float", "int | None", "float | None"}
STATES = {"x0", "xt", "xs", "x_T", "y0", "x_bar", "eps", "prediction", "a", "b"}
TENSORS = {"x", "like", "image", "images", "features", "real", "fake", "probs", "factors", "frames"}
TENSORS |= {"paths", "means", "losses", "samples", "noise"}


def public() -> Iterator[tuple[str, Any]]:
    """Every public function by its name; of every public class what makes it, and its methods."""
    rooms = {"md": md, **{f"md.{room}": getattr(md, room) for room in md._ROOMS}}
    rooms["md.frechet"] = importlib.import_module("minidiff.measure.frechet")
    rooms["md.cache"] = importlib.import_module("minidiff.measure.cache")
    rooms["md.generate"] = importlib.import_module("minidiff.engine.generate")
    for room, module in rooms.items():
        here = module.__name__
        own = [k for k, v in vars(module).items() if getattr(v, "__module__", "") == here]
        for name in getattr(module, "__all__", own):
            thing = getattr(module, name)
            if name[0] == "_" or not (inspect.isfunction(thing) or inspect.isclass(thing)):
                continue
            if not issubclass(type(thing), type) or not issubclass(thing, tuple | Exception):
                yield f"{room}.{name}", thing
            for key, part in vars(thing).items() if inspect.isclass(thing) else ():
                if key[0] != "_" and inspect.isfunction(part):
                    yield f"{room}.{name}.{key}", part


def wrong(name: str, parameter: str, annotation: str) -> list[Any]:
    """What this parameter must refuse; nothing for a parameter that is of none of these kinds."""
    found: list[Any] = []
    if "Callable[" in annotation and "Denoiser" in annotation:
        return []
    if "Denoiser" in annotation:
        found = NO_MODEL
    elif annotation == "Schedule":
        found = NO_SCHEDULE
    elif "nn.Module" in annotation:
        found = NO_WEIGHTS
    elif parameter in ("net", "classifier") or annotation == "UNet":
        found = NO_NETWORK
    elif parameter == "t" or (parameter == "s" and "cosine" not in name):
        found = NO_TIME
    elif "Generator" in annotation:
        found = NO_GENERATOR
    elif annotation in NUMBERS and name.rpartition(".")[0] in ("md", "md.metrics", *OWNERS):
        found = NO_NUMBER
    elif parameter in STATES and "Tensor" in annotation:
        found = NO_STATE
    elif parameter in TENSORS and "Tensor" in annotation:
        found = NO_TENSOR
    fine = FINE.get(f"{name}.{parameter}", []) + ([None] if "None" in annotation else [])
    return [bad for bad in found if not any(bad is good for good in fine)]


# Values that a parameter of this name takes here, though they would be slips elsewhere.
FINE: dict[str, list[Any]] = {
    "md.Denoiser.net": [None],  # without a network it still knows its process
    "md.encode.steps": [None],  # every step
    "md.decode.steps": [None],
    "md.plots.film.frames": NO_TENSOR[-2:],
    "md.plots.animation.frames": NO_TENSOR[-2:],
    "md.plots.save_animation.frames": NO_TENSOR[-2:],
}
# Not tried: what only carries values, what needs pictures on a disk, and the insides of networks
# and extractors, which others ask.
INSIDE = {"md.Elbo", "md.UNet.embed", "md.Transformer.embed", "md.toy.MLP.forward"}
INSIDE |= {"md.data.Folder.batch", "md.data.Folder.stream", "md.features.Extractor.forward"}
INSIDE |= {"md.Churn.raised", "md.UNetConfig.head_width"}
INSIDE |= {"md.toy.ExactNet.forward", "md.Schedule.at", "md.Denoiser.in_units"}


def parameters(name: str, thing: Any) -> dict[str, inspect.Parameter]:
    found = inspect.signature(thing).parameters
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {k: p for k, p in found.items() if k != "self" and p.kind in named}


CASES = [
    (name, thing, key, bad)
    for name, thing in public()
    if name not in INSIDE and "features.Incep" not in name and "features.Class" not in name
    for key, p in parameters(name, thing).items()
    if (bad := wrong(name, key, str(p.annotation)))
]


def called(name: str, thing: Any, **slips: Any) -> None:
    """The function with good arguments but for these, and whatever it returns begun."""
    owner = name.rpartition(".")[0]
    arguments = {
        k: {**GOOD, **OF_CLASS.get(owner, {}), **SPECIAL.get(name, {})}.get(k)
        for k, p in parameters(name, thing).items()
        if p.default is p.empty or k in SPECIAL.get(name, {})
    }
    method = inspect.isfunction(thing) and "self" in inspect.signature(thing).parameters
    bound = [OWNERS[owner]] if method else []
    result = thing(*bound, **{**arguments, **slips})
    if hasattr(result, "__enter__"):
        with result:
            pass
    if inspect.isgenerator(result):
        next(result)


def raised(error: BaseException) -> bool:
    """Whether a `raise` of the library says it, not a line that went wrong."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return Path(frame.filename).is_relative_to(PACKAGE) and "raise" in (frame.line or "")


def answer(act: Callable[[], object]) -> str:
    """What is wrong with the answer to a slip; nothing if it is one sentence of the library's."""
    try:
        act()
    except ValueError as error:
        bad = not raised(error) or "\n" in str(error) or len(str(error)) > 300
        return f"not a sentence of its own: {error}" if bad else ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "taken"


@pytest.mark.parametrize(
    ("name", "thing", "key", "slips"), CASES, ids=[f"{name}-{key}" for name, _, key, _ in CASES]
)
def test_a_slip_is_answered_in_one_sentence(
    name: str, thing: Any, key: str, slips: list[Any]
) -> None:
    missing = {
        k for k, p in parameters(name, thing).items() if p.default is p.empty and k not in GOOD
    }
    assert not missing, f"GOOD needs a specimen of {missing}"
    answers = {
        " ".join(repr(slip).split())[:60]: answer(
            lambda slip=slip: called(name, thing, **{key: slip})
        )
        for slip in slips
    }
    assert {slip: said for slip, said in answers.items() if said} == {}


def test_the_walk_finds_what_takes_a_model() -> None:
    """A walk that finds nothing would pass everything."""
    found = {f"{name}-{key}" for name, _, key, _ in CASES}
    assert len(found) > 150
    named = [k for k, v in vars(md).items() if inspect.isfunction(v) and k in md.__all__]
    taken = [k for k in named if "model" in inspect.signature(getattr(md, k)).parameters]
    assert len(taken) > 20
    assert {f"md.{name}-model" for name in taken} <= found
    assert {"md.data.Images.batch-generator", "md.plots.grid-x", "md.EMA-model"} <= found


def tensors(name: str, thing: Any) -> list[str]:
    """The states that a function takes."""
    named = parameters(name, thing).items()
    return [k for k, p in named if k in STATES and str(p.annotation) == "Tensor"]


ASKED = {
    name: (thing, states)
    for name, thing, key, _ in CASES
    if key == "model" and (states := tensors(name, thing))
}
ADAPTIVE = {"md.log_likelihood", "md.solve_adaptive"}  # torchdiffeq looks at numbers; meta has none


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("slip", ["one image", "another size", "another device"])
def test_images_that_do_not_fit_the_network_are_answered_too(name: str, slip: str) -> None:
    if slip == "another device" and name in ADAPTIVE:
        pytest.skip("torchdiffeq looks at numbers, which meta tensors do not have")
    x = {"one image": X[0], "another size": X[:, 0], "another device": X.to("meta")}[slip]
    thing, states = ASKED[name]
    x = x[:1] if name == "md.interpolate" else x
    with pytest.raises(ValueError, match=r"shape|use xt\.to|is on|must fit") as caught:
        called(name, thing, **dict.fromkeys(states, x))
    assert raised(caught.value)


DATA_GIVEN = {
    name: (thing, given)
    for name, thing, key, _ in CASES
    if key == "model" and (given := [k for k in tensors(name, thing) if k in ("x0", "y0")])
}


@pytest.mark.parametrize("name", DATA_GIVEN)
@pytest.mark.parametrize("most", [255, 16])  # those of scikit-learn's digits
def test_bytes_as_floats_are_no_data(name: str, most: int) -> None:
    thing, given = DATA_GIVEN[name]
    pixels = torch.linspace(0, most, 64).round().reshape(1, 1, 8, 8)
    pixels = pixels.expand(1 if name == "md.interpolate" else 2, -1, -1, -1)
    with pytest.raises(ValueError, match=rf"scaled to \[-1, 1\], got 0\.\.{most}: from_uint8"):
        called(name, thing, **dict.fromkeys(given, pixels))


def test_data_of_another_scale_are_taken() -> None:
    """Nothing is refused but what cannot be meant."""
    pixels = torch.linspace(0, 255, 64).reshape(1, 1, 8, 8)
    fine = {
        "dark": pixels / 255,
        "of mean 0": pixels - pixels.mean(),
        "latents": pixels.expand(1, 4, 8, 8),
        "points": pixels.flatten(1),
        "nobody's": pixels[:0],
        "elsewhere": pixels.to("meta"),
    }
    for name, x0 in fine.items():
        check_scale(**{name: x0})
    check_scale(80.0, pixels=pixels)
    unit = md.Denoiser(UNET, S, sigma_data=80.0).eval()
    assert md.loss_simple(unit, pixels, 5).isfinite().all()


def test_bytes_as_floats_are_not_shown_all_white(tmp_path: Path) -> None:
    pixels = torch.arange(256.0).reshape(1, 1, 16, 16)
    for act in (
        lambda: md.data.to_uint8(pixels),
        lambda: md.plots.grid(pixels),
        lambda: md.plots.film([pixels]),
        lambda: md.plots.save_image(pixels, tmp_path / "x.png"),
    ):
        with pytest.raises(ValueError, match=r"scaled to \[-1, 1\], got 0\.\.255: from_uint8"):
            act()
    assert not list(tmp_path.iterdir())
    assert md.data.to_uint8(torch.full((1, 8, 8), 1.5)).min() == 255  # bright, by a sampler


ONE = World(0, 1, torch.device("cpu"))
BY_CLASS = md.Denoiser(unet(num_classes=3), S).eval()
SOME = torch.tensor([3, 4])


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        # Memory that nobody had written to was returned as images,
        (lambda: generate(MODEL, (1, 8, 8), 2, Sampling(steps=2), ONE, batch=-3), "batch must be"),
        (lambda: generate(MODEL, (1, 8, 8), 2, Sampling(steps=2), ONE, batch=0), "batch must be"),
        (lambda: generate(MODEL, (1, 8, 8), -1, Sampling(steps=2), ONE), "n must be a whole"),
        (lambda: generate(MODEL, (1, 8, 8), 2.5, Sampling(steps=2), ONE), "n must be a whole"),  # type: ignore[arg-type]
        # a height taken for channels,
        (lambda: Images(BYTES.permute(0, 2, 3, 1), DATA.labels, ("a",)), "last: x.permute"),
        # a mask for classes,
        (lambda: BY_CLASS(X, 5, labels=torch.tensor([True, False])), "whole entries 0..2"),
        (lambda: BY_CLASS(X, 5, labels=SOME.to("meta")), "labels are on meta, x on cpu; use .to"),
        # weights below 0 or NaN,
        (lambda: md.weights_min_snr(S, -1), "limit must be above 0"),
        (lambda: md.weights_min_snr(S, float("nan")), "limit must be above 0"),
        (lambda: md.weights_p2(S, k=-1), "k must be at least 0"),
        # a tolerance that nothing meets or everything,
        (lambda: md.solve_adaptive(MODEL, X, rtol=-1), "rtol and atol must be at least 0"),
        (lambda: md.log_likelihood(MODEL, X, rtol=0, atol=0), "rtol and atol must be at least 0"),
        # losses of no step,
        (lambda: md.LossAwareTimes(100).update(SOME - 3, torch.ones(2)), "t must be in 1..100"),
        (lambda: md.LossAwareTimes(100).update(SOME * 30, torch.ones(2)), "t must be in 1..100"),
        # and NaN as black.
        (lambda: md.data.to_uint8(X * torch.nan), "x holds NaN"),
        (lambda: md.plots.grid(X * torch.nan), "x holds NaN"),
        # These ended in PyTorch's or Python's words.
        (lambda: md.interpolate(MODEL, X[:1], X[:1], torch.ones(2), 2.5), "t must be whole"),  # type: ignore[arg-type]
        (lambda: md.Schedule.from_betas("0.1"), "betas must be a list"),  # type: ignore[arg-type]
        (lambda: md.Schedule.from_alpha_bar(None), "alpha_bar must be a list"),  # type: ignore[arg-type]
        (lambda: md.Schedule.linear(100, "0.1"), "beta_1 must be one number"),  # type: ignore[arg-type]
        (lambda: md.Schedule.cosine(100, s="0.1"), "s must be one number"),  # type: ignore[arg-type]
        (lambda: md.Schedule.flow(100, last="0.1"), "last must be one number"),  # type: ignore[arg-type]
        (lambda: md.results(5), "there is no result 5"),  # type: ignore[call-overload]
        (lambda: md.metrics.kid(FEATURES, FEATURES, size=2.5), "KID needs subsets"),  # type: ignore[arg-type]
        (lambda: md.metrics.inception_score(torch.eye(4), 2.5), "splits must be a whole"),  # type: ignore[arg-type]
        (lambda: md.metrics.evaluate(BYTES, DATA, GOOD["extractor"], batch=0), "batch must be"),
    ],
)  # fmt: skip
def test_what_was_taken_in_silence_or_failed_in_others_words(
    act: Callable[[], object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        act()
    assert raised(caught.value)


@pytest.mark.parametrize("name", ["md.guide", "md.guide_by_classifier"])
@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([0.0, 1.0]),
        torch.tensor([True, False]),
        torch.zeros(3).long(),
        "cat",
        None,
        1,
        [[0], [1, 2]],
        MODEL,
    ],
)
def test_labels_are_looked_at(name: str, labels: Any) -> None:
    model = md.Denoiser(unet(num_classes=3), S).eval()
    how = {"classifier": logits} if name == "md.guide_by_classifier" else {}
    with pytest.raises(ValueError, match="labels") as caught:
        getattr(md, name[3:])(model if not how else MODEL, labels=labels, **how)(X, 5)
    assert raised(caught.value)


def test_times_between_the_steps_are_refused_where_a_step_is_meant() -> None:
    process = md.Letters.masked(3, 4)
    for act in (
        lambda: md.vlb_term(MODEL, X, X, 4.5),
        lambda: md.j_term(MODEL, X, X, 4.5, 0.01),  # type: ignore[arg-type]
        lambda: md.loss_gamma(MODEL, X, torch.tensor([4.5, 5]), S.snr),
        lambda: process.marginal(LETTERS, 2.5),  # type: ignore[arg-type]
        lambda: process.guess(no_idea, LETTERS, 2.5),  # type: ignore[arg-type]
        lambda: md.UniformTimes(2.5),  # type: ignore[arg-type]
        lambda: md.Schedule.linear(1000.5),  # type: ignore[arg-type]
        lambda: md.encode(MODEL, X, 2.5),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match="whole") as caught:
            act()
        assert raised(caught.value)


def test_a_table_of_weights_has_an_entry_for_each_t() -> None:
    t = torch.tensor([3, 4])
    for weights in (torch.ones(8), torch.ones(100), torch.ones(101, 1), [1.0] * 101, 2.0):
        with pytest.raises(ValueError, match=r"weights must (be a tensor|hold T \+ 1 = 101)"):
            md.loss_gamma(MODEL, X, t, weights)  # type: ignore[arg-type]
    one = md.loss_gamma(MODEL, X, 3, S.snr, generator=torch.manual_seed(0))
    same = md.loss_gamma(MODEL, X, torch.tensor([3, 3]), S.snr, generator=torch.manual_seed(0))
    assert torch.equal(one, same)


def test_a_network_of_another_library_is_told_how_to_be_wrapped() -> None:
    class Output:
        sample = X

    with pytest.raises(ValueError, match=r"must return a tensor, got an Output; wrap it .*sample"):
        md.Denoiser(lambda x, t: Output(), S)(X, 5)
    with pytest.raises(ValueError, match="net is a Denoiser already"):
        md.Denoiser(MODEL, S)


def test_averages_are_of_one_network() -> None:
    ema = md.EMA(UNET)
    for use in (ema.update, ema.copy_to, lambda net: ema.averaged(net).__enter__()):
        with pytest.raises(ValueError, match="give it the network that it was made for"):
            use(torch.nn.Linear(2, 2))


def test_what_has_no_weights_is_neither_stored_nor_trained(tmp_path: Path) -> None:
    bare = md.Denoiser(logits, S)
    file = tmp_path / "x.safetensors"
    for act in (
        lambda: md.save_weights(file, bare),
        lambda: md.load_weights("digits", bare),
        lambda: md.train(md.TrainConfig(steps=1), model=bare, bar=False),
    ):
        with pytest.raises(ValueError, match=r"needs a network with weights, .* got a function"):
            act()
    assert not file.exists()
    for slip in (None, 3, MODEL, ["digits"]):
        with pytest.raises(ValueError, match="must be a name or a path, got"):
            md.load_pretrained(slip)  # type: ignore[arg-type]


def test_a_name_in_a_message_is_there() -> None:
    """`minidiff.data.from_uint8` in an error or a docstring leads somewhere."""
    named = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= {
                    (path.name, name)
                    for name in re.findall(
                        r"\bmd\.[a-z_]\w*(?:\.\w+)*|\bminidiff(?:\.\w+)+", node.value
                    )
                }
    lost = []
    for file, name in sorted(named):
        thing: Any = md
        for part in name.split(".")[1:]:
            try:
                thing = getattr(thing, part, None) or importlib.import_module(
                    f"{thing.__name__}.{part}"
                )
            except (AttributeError, ImportError):
                lost.append((file, name))
                break
    assert lost == []
