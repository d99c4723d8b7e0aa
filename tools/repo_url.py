"""Write the repository's address, and its version, wherever the book names them.

    python tools/repo_url.py https://github.com/OWNER/NAME [--version TAG_OR_COMMIT] [--branch NAME]

In the repository the address is unset: OWNER is `-unset-`, which nobody can own, for no GitHub name
begins with a hyphen. The workflow that publishes the book sets it from the repository it runs in:
in links and badges, in the cell that installs the library on Colab (of this version), and in the
README, whose pictures and links become absolute, so that they work on a package index too.
`--branch` is where Colab finds the notebooks that say so.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import nbformat

import notebooks

ROOT = Path(__file__).resolve().parent.parent
UNSET = ("-unset-", "minidiff")
NAME = r"[A-Za-z0-9](?:[A-Za-z0-9]|-(?=[A-Za-z0-9]))*"  # what GitHub allows an owner
ADDRESS = re.compile(rf"https://github\.com/({NAME})/([\w.-]+?)(?:\.git)?/?")


def current() -> tuple[str, str]:
    """(owner, name) as _config.yml says."""
    text = (ROOT / "_config.yml").read_text(encoding="utf-8")
    found = re.search(r"^  url: https://github\.com/([\w.-]+)/([\w.-]+)$", text, flags=re.M)
    if not found:
        raise SystemExit("_config.yml must have repository: url: https://github.com/OWNER/NAME")
    return found[1], found[2]


def rewritten(text: str, old: tuple[str, str], new: tuple[str, str]) -> str:
    """The text with the old repository's addresses replaced: GitHub, Colab and Pages."""
    boundary = r"(?![\w-])"
    for pattern, replacement in (
        (rf"github\.com/{old[0]}/{old[1]}{boundary}", f"github.com/{new[0]}/{new[1]}"),
        (rf"(colab\.[\w./]+/github)/{old[0]}/{old[1]}{boundary}", rf"\1/{new[0]}/{new[1]}"),
        (rf"{old[0]}\.github\.io/{old[1]}{boundary}", f"{new[0]}.github.io/{new[1]}"),
    ):
        text = re.sub(pattern, replacement, text)
    return text


def pinned(text: str, new: tuple[str, str], version: str) -> str:
    """The version that is installed, wherever a text installs the library with git."""
    return re.sub(
        rf"(git\+https://github\.com/{new[0]}/{new[1]})(@[\w./-]+)?", rf"\1@{version}", text
    )


def absolute(text: str, new: tuple[str, str], version: str) -> str:
    """The README with its relative pictures and links made absolute."""
    raw = f"https://raw.githubusercontent.com/{new[0]}/{new[1]}/{version}/"
    page = f"https://github.com/{new[0]}/{new[1]}/blob/{version}/"
    text = text.replace("](../../", f"](https://github.com/{new[0]}/{new[1]}/")  # issues
    relative = r"(?!\w+:|#)([^)\s]+)"
    text = re.sub(rf"(!\[[^\]]*\]\(){relative}", rf"\1{raw}\2", text)
    return re.sub(rf"((?<!!)\[[^\]]*\]\(){relative}", rf"\1{page}\2", text)


def files() -> list[Path]:
    """Every text file that git knows, without what other projects wrote."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    binary = {".png", ".gif", ".webp", ".npz", ".safetensors", ".woff"}
    return [
        p
        for p in paths
        if p.is_file()
        and not p.is_symlink()
        and "_vendor" not in p.parts
        and p.suffix not in binary
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", help="https://github.com/OWNER/NAME")
    parser.add_argument("--version", default="main", help="the tag or commit to install")
    parser.add_argument("--branch", default="main", help="where Colab finds the notebooks")
    args = parser.parse_args()
    match = ADDRESS.fullmatch(args.address)
    if not match:
        parser.error(f"the address must be https://github.com/OWNER/NAME, got {args.address!r}")
    old, new = current(), (match[1], match[2])
    this_file = Path(__file__).resolve()
    for path in files():
        if path in (
            this_file,
            ROOT / "tests" / "test_repository.py",
        ):  # they speak of the unset one
            continue
        before = path.read_text(encoding="utf-8")
        after = pinned(rewritten(before, old, new), new, args.version)
        if path == ROOT / "_config.yml":
            after = re.sub(r"^  branch: \S+$", f"  branch: {args.branch}", after, flags=re.M)
        if path == ROOT / "README.md":
            after = absolute(after, new, args.version)
        if after != before:
            path.write_text(after, encoding="utf-8")
            if path.suffix == ".ipynb":  # cell ids follow from the cells' text
                notebooks.write(notebooks.normalise(nbformat.reads(after, as_version=4)), path)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
