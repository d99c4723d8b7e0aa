"""Chapter 7: one run a folder. A second start is refused for as long as the first one lives."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NAME = ".lock"  # stays in the folder, empty while nobody holds it
_held: set[tuple[int, Path]] = set()  # the system lets the same process in twice


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder that exists; ValueError, naming the holder, if another run does.

    The lock is the operating system's, on a range of the file `.lock`. It ends with the process,
    however that dies; child processes do not inherit it; and NFS passes it on. Where a file system
    has no locks, what the holder wrote into the file decides: his process and computer.
    """
    path = folder.resolve() / NAME
    key = (os.getpid(), path)  # with the process, because a fork copies the set
    if key in _held:
        raise ValueError(_busy(folder, "this process"))
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        holder = os.read(handle, 300)
        if not _system_lock(handle, holder):
            raise ValueError(_busy(folder, _told(holder)))
        _held.add(key)
        try:
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, f"{os.getpid()} {socket.gethostname()}\n".encode())
            yield
        finally:
            _held.discard(key)
            with contextlib.suppress(OSError):  # a full disk, a folder that is gone
                os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _system_lock(handle: int, holder: bytes) -> bool:
    """Whether the lock could be had."""
    try:
        if sys.platform == "win32":
            os.lseek(handle, 1 << 30, os.SEEK_SET)  # far behind the text, which stays readable
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        return not _alive(holder)
    return True


def _alive(holder: bytes) -> bool:
    """Whether the process that wrote this still runs, as far as can be seen from here."""
    pid, _, host = holder.decode(errors="replace").strip().partition(" ")
    if not pid.isdecimal() or host != socket.gethostname():
        return bool(pid)
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it lives and is another user's
    return True


def _told(holder: bytes) -> str:
    pid, _, host = holder.decode(errors="replace").strip().partition(" ")
    return f"process {pid} on {host}" if host else "another process"


def _busy(folder: Path, holder: str) -> str:
    return (
        f"{folder} is in use by {holder}: wait for the end of that run, or choose another --out "
        f"folder (if no run is alive, delete {folder / NAME})"
    )
