"""Every public name is documented with an example that runs, and typed."""

import doctest
import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import minidiff as md

NAMES = list(md.__all__)
ROOT = Path(__file__).resolve().parent.parent
RECORDS = {"Prediction", "Step", "Likelihood", "Elbo"}  # what other functions return
FILES = {"save_weights", "load_weights"}  # one line each, and they write to the disk


def public_parts(name: str) -> list[tuple[str, object]]:
    """The name itself and, for a class, its public methods and properties."""
    thing = getattr(md, name)
    parts: list[tuple[str, object]] = [(name, thing)]
    if inspect.isclass(thing):
        for key, value in vars(thing).items():
            plain = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if not key.startswith("_") and (
                inspect.isfunction(plain) or isinstance(plain, property)
            ):
                parts.append((f"{name}.{key}", plain))
    return parts


def test_what_the_texts_call_md_is_there() -> None:
    """`md.name` in the README, the pages, the model cards and the chapters."""
    texts = [ROOT / "README.md", *(ROOT / "book").glob("*.md")]
    texts += [*(ROOT / "minidiff" / "weights").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    named = {
        (path.name, name)
        for path in texts
        for name in re.findall(r"`md\.(\w+)", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert {(p, name) for p, name in named if not hasattr(md, name)} <= {("api.md", "name")}  # any


def test_the_list_is_sorted_and_complete() -> None:
    def key(name: str) -> tuple[bool, bool, str]:
        return not name.isupper(), not name[0].isupper(), name

    assert sorted(md.__all__, key=key) == md.__all__
    assert len(set(md.__all__)) == len(md.__all__)
    imported = {
        name
        for name, value in vars(md).items()
        if getattr(value, "__module__", "").startswith("minidiff.") and not name.startswith("_")
    }
    assert imported == set(md.__all__)
    assert set(md.__all__) <= set(dir(md))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'minidiff' has no attribute 'dimm'"):
        md.dimm  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_documented(name: str) -> None:
    for part, thing in public_parts(name):
        doc = inspect.getdoc(thing)
        assert doc, f"{part} has no docstring"
        assert doc.strip()[0].isalnum() or doc.strip()[0] in "(<|-[`∇", f"{part}: {doc[:30]!r}"
        assert doc.splitlines()[0].strip(), f"{part} does not begin with a sentence"


@pytest.mark.parametrize("name", [n for n in NAMES if n not in RECORDS | FILES])
def test_has_an_example(name: str) -> None:
    """pytest runs the examples; here: that there is one."""
    thing = getattr(md, name)
    examples = [
        example
        for part, _ in [(name, thing)]
        for test in doctest.DocTestFinder(recurse=True).find(thing, part, globs={})
        for example in test.examples
    ]
    assert examples, f"md.{name} has no example"


@pytest.mark.parametrize("name", NAMES)
def test_typed(name: str) -> None:
    for part, thing in public_parts(name):
        f = thing.fget if isinstance(thing, property) else thing
        if inspect.isclass(f):
            f = f.__init__ if "__init__" in vars(f) else None
        if f is None or not inspect.isfunction(f):
            continue
        signature = inspect.signature(f)
        hints = dict(f.__annotations__)
        missing = [p for p in signature.parameters if p not in hints and p not in ("self", "cls")]
        assert not missing, f"{part}: {missing} have no type"
        assert "return" in hints, f"{part} has no return type"
        typing.get_type_hints(f, vars(sys.modules[f.__module__]) | {"T": typing.TypeVar("T")})


def test_importing_does_not_import_the_heavy_rooms() -> None:
    heavy = ["matplotlib", "sklearn", "scipy", "torchdiffeq", "torchvision"]
    heavy += ["huggingface_hub", "PIL", "diffusers"]
    code = f"import sys, minidiff; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "[]"
