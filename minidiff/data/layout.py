"""Chapter 7: what lies in a folder of pictures, and what its subfolders mean: splits or classes.

Nothing is passed over in silence. What the folder was taken for is one sentence with counts: a
warning where something was left out or guessed, else a message of the logger "minidiff".
"""

from __future__ import annotations

import errno
import logging
import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from minidiff.data.pictures import SUFFIXES

# how the folders of the two splits are called, in any case; of several the first counts
NAMES = {
    "train": ("train", "training"),
    "test": ("test", "testing", "val", "valid", "validation"),
}

Parts = tuple[str, ...]  # of a path, below the folder


class Layout:
    """The pictures below a folder, in order, and where its splits are.

    Subfolders called as in `NAMES` are the splits if all pictures are in such, or if both splits
    are there. Otherwise each subfolder is a class, whatever it is called. Linked folders are
    followed. What is hidden, and what is no picture by its name, is left out and counted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        found = sorted(_walk(path))
        self.pictures = [parts for parts, what in found if what == "picture"]
        self.folders = [parts for parts, what in found if what == "folder"]
        self.left_out = Counter(what for _, what in found if what not in ("picture", "folder"))
        full = {parts[0]: parts[0].lower() for parts in self.pictures if len(parts) > 1}
        named = {
            split: min((names.index(low), top) for top, low in full.items() if low in names)[1]
            for split, names in NAMES.items()
            if set(names) & set(full.values())
        }
        alone = all(_is_split(parts[0]) for parts in self.pictures) and len(full) > 0
        #: the folder of each split; without splits the whole folder is for training
        self.splits: dict[str, Parts] = (
            {split: (top,) for split, top in named.items()}
            if alone or len(named) == 2
            else {"train": ()}
        )

    def of(self, split: str) -> tuple[list[Path], list[str]]:
        """The files of a split, and the class of each: the first folder in it, or "".

        Letters with accents have two forms, and a Mac's archive brings the other one: to the eye
        they are one name, and so they are one class.
        """
        root = self.splits.get(split)
        if root is None or not self.pictures:
            kind = {"train": "training", "test": "test"}[split]
            what = f"no {kind} images: put them into {self.path / split}"
            if not self.pictures:
                what = f"no images ({' '.join(sorted(SUFFIXES))})"
            raise ValueError(f"{self.path} has {what}{_list('; left out:', self.left_out)}")
        here = [parts[len(root) :] for parts in self.pictures if parts[: len(root)] == root]
        files = [self.path.joinpath(*root, *parts) for parts in here]
        names = [parts[0] if len(parts) > 1 else "" for parts in here]
        return files, [unicodedata.normalize("NFC", name) for name in names]

    def tell(self, split: str) -> None:
        """Say in one sentence what the split was taken for, and what was left out."""
        root = self.splits[split]
        classes = Counter(self.of(split)[1])
        left_out = self.left_out + Counter(self._unused(root))
        guesses = list(self._guesses(split, classes))
        there = "".join(
            f"; {other[0]}: {_pictures(len(self.of(name)[0]))}"
            for name, other in self.splits.items()
            if name != split
        )
        line = f"{self.path.joinpath(*root)}: {_pictures(classes.total())}{_named(classes)}{there}"
        line += "".join(f"; {guess}" for guess in guesses) + _list("; left out:", left_out)
        if guesses or left_out:
            warnings.warn(line, stacklevel=4)
        else:
            logging.getLogger("minidiff").info(line)

    def _unused(self, root: Parts) -> Iterator[str]:
        """Pictures outside of the splits, and folders that could be classes but hold none."""
        used = set(self.splits.values())
        for parts in self.pictures:
            if () not in used and parts[:1] not in used:
                yield f"in {parts[0]}" if len(parts) > 1 else "beside the folders"
        full = {parts[: len(root) + 1] for parts in self.pictures}
        for parts in self.folders:
            if parts[:-1] == root and parts not in full:
                yield f"without pictures ({parts[-1]})"

    def _guesses(self, split: str, classes: Mapping[str, int]) -> Iterator[str]:
        """What could have been meant otherwise."""
        root = self.splits[split]
        if root and root[0].lower() not in NAMES[split][:2]:
            yield f"{root[0]} is taken for the {split} split"
        if not root and (named := [name for name in classes if _is_split(name)]):
            yield f"{' and '.join(named)} is taken for a class like the others, not for a split"
        if "" in classes and len(classes) > 1:
            yield "those beside the folders are a class of their own, ''"
        inner = {p[len(root) + 1] for p in self.pictures if len(p) > len(root) + 2}
        if list(classes) != [""] and len(classes) == 1 and len(inner) > 1:
            only = self.path.joinpath(*root, *classes)
            yield f"its {len(inner)} folders are one class: to have them as classes, give {only}"


def _is_split(name: str) -> bool:
    return any(name.lower() in names for names in NAMES.values())


def _walk(
    folder: Path, inside: Parts = (), above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[tuple[Parts, str]]:
    """Each entry, and whether it is a picture, a folder, or why it is left out."""
    here = os.stat(folder)
    if (here.st_dev, here.st_ino) in above:
        yield inside, "linked in a circle"
        return
    if inside:
        yield inside, "folder"
    with os.scandir(folder) as entries:
        for entry in entries:
            parts = (*inside, entry.name)
            if (what := _kind(entry)) == "folder":
                yield from _walk(folder / entry.name, parts, above | {(here.st_dev, here.st_ino)})
            else:
                yield parts, what


def _kind(entry: os.DirEntry[str]) -> str:
    """A folder, a picture, or why it is left out."""
    ending = os.path.splitext(entry.name)[1].lower()
    if entry.name.startswith("."):
        return "hidden"
    try:
        if entry.is_dir():
            return "folder"
        if not entry.is_file():
            return "no regular file" if os.path.exists(entry) else "linked to nothing"
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return "linked in a circle"
    return "picture" if ending in SUFFIXES else ending or "without an ending"


def _pictures(n: int) -> str:
    return f"{n:,} picture{'s' if n > 1 else ''}"


def _named(classes: Counter[str]) -> str:
    if list(classes) == [""]:
        return ", no classes"
    shown = sorted(classes.items())
    some = [f"{name or repr(name)} {n:,}" for name, n in shown[:5]] + ["…"] * (len(shown) > 5)
    return f" in {len(shown):,} class{'es' if len(shown) > 1 else ''} ({', '.join(some)})"


def _list(title: str, counts: Counter[str]) -> str:
    if not counts:
        return ""
    largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{n:,} {what}" for what, n in largest[:6]]
    rest = sum(n for _, n in largest[6:])
    return f"{title} {', '.join(shown + [f'{rest:,} others'] * (rest > 0))}"
