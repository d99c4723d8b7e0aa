"""Chapter 6: writing a file so that a crash at any moment leaves the old one or the new, whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_whole(path: str | Path, content: bytes, *, flush: bool = True) -> None:
    """Write under a temporary name, flush to the disk, rename; the folder is made if need be.

    flush=False is for thousands of small files that could be made again: whole after a crash of
    this program, but not of the machine.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(f"{folder}/a.txt", b"all of it")
    ...     os.listdir(folder), Path(folder, "a.txt").read_text()
    (['a.txt'], 'all of it')
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            if flush:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:  # an impatient second Ctrl-C, too
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if flush and os.name == "posix":  # the rename itself must reach the disk
        with contextlib.suppress(OSError):  # some file systems can't flush a folder
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
