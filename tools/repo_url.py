"""Change the repository's address wherever it is written: links, badges, bootstrap cells, citation.

    python tools/repo_url.py https://github.com/OWNER/NAME

The address now in force is `repository: url:` of _config.yml.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat

import notebooks

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+?)/?")


def current() -> tuple[str, str]:
    """(owner, name) as _config.yml says."""
    found = re.search(r"^  url: (\S+)", (ROOT / "_config.yml").read_text(), flags=re.M)
    match = found and ADDRESS.fullmatch(found[1])
    if not match:
        raise SystemExit("_config.yml must have repository: url: https://github.com/OWNER/NAME")
    return match[1], match[2]


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
    match = ADDRESS.fullmatch(sys.argv[1]) if len(sys.argv) == 2 else None
    if not match:
        raise SystemExit("usage: python tools/repo_url.py https://github.com/OWNER/NAME")
    old, new = current(), (match[1], match[2])
    for path in files():
        before = path.read_text(encoding="utf-8")
        after = rewritten(before, old, new)
        if after != before:
            path.write_text(after, encoding="utf-8")
            if path.suffix == ".ipynb":  # cell ids follow from the cells' text
                notebooks.write(notebooks.normalise(nbformat.reads(after, as_version=4)), path)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
