"""Chapter 7: writing a file so that a crash at any moment leaves the old one or the new, whole."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def write_whole(path: str | Path, content: bytes, *, flush: bool = True) -> None:
    """Write a file with this content, as `whole` does.

    flush=False is for thousands of small files that could be made again: whole after a crash of
    this program, but not of the machine.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(f"{folder}/a.txt", b"all of it")
    ...     os.listdir(folder), Path(folder, "a.txt").read_text()
    (['a.txt'], 'all of it')
    """
    with whole(path, flush=flush) as file:
        file.write(content)


@contextlib.contextmanager
def whole(path: str | Path, *, flush: bool = True) -> Iterator[BinaryIO]:
    """A file to write into; under the name `path` only when the block has ended and all is on disk.

    It grows under a temporary name beside it, which nobody else can have made, and takes over the
    older file's owner and mode; the folder is made if need be. Of a symbolic link the file that it
    points to is replaced, not the link. What is no file but a device or a pipe, such as /dev/null,
    is written into as it is. OSError for what cannot be written, and then nothing has changed.

    flush=False is for thousands of small files that could be made again: whole after a crash of
    this program, but not of the machine.
    """
    if _is_no_file(path):
        with open(path, "wb") as through:
            yield through
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:50]}.{os.getpid()}{secrets.token_hex(4)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(temporary, flags, 0o666), "wb") as file:
            _take_over(path, file.fileno())
            yield file
            file.flush()
            if flush:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:  # an impatient second Ctrl-C, too
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)  # a full disk names no file
        raise
    if flush and os.name == "posix":  # the rename itself must reach the disk
        with contextlib.suppress(OSError):  # some file systems can't flush a folder
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def check_writable(path: str | Path) -> None:
    """Fail now as `whole` would later: the folder is made, and a file in it for a moment."""
    if Path(path).is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not _is_no_file(path):  # to open a pipe and close it again would end it
        with contextlib.suppress(_Unwritten), whole(path):
            raise _Unwritten


class _Unwritten(Exception):
    """Ends the block of `whole` before anything has changed."""


def _is_no_file(path: str | Path) -> bool:
    """A device, a pipe, a folder; and /dev/stdout, which somebody else has open."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    handle = os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/"))
    return handle or not stat.S_ISREG(mode)


def _take_over(path: Path, file: int) -> None:
    """Owner and mode of the file that will be replaced, if there is one that may be."""
    try:
        old = os.stat(path)
    except FileNotFoundError:
        return
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    with contextlib.suppress(AttributeError, OSError):  # not on Windows; or it is another user's
        os.fchown(file, old.st_uid, old.st_gid)
    with contextlib.suppress(AttributeError, OSError):
        os.fchmod(file, stat.S_IMODE(old.st_mode))
