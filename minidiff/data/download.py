"""Chapter 7: downloads that may be cut off at any moment, resumed, checked, and whole or absent."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path

LARGEST = 1 << 29  # bytes: three times the largest file that is fetched here
PATIENCE = 30.0  # seconds without an answer, or in which fewer than SLOWEST bytes have come
SLOWEST = 1 << 14


class DownloadError(RuntimeError):
    """A file could not be had, or is not the file it should be."""


def check(path: Path, digest: str) -> None:
    """Refuse a file whose md5 (32 hex digits) or sha256 (64) is not `digest`."""
    found = _hash(path, digest)
    if found != digest:
        raise DownloadError(
            f"{path} is damaged or altered: its {_kind(digest)} is {found}, the official file has "
            f"{digest}. Delete it and run again to download it anew."
        )


def _kind(digest: str) -> str:
    return "md5" if len(digest) == 32 else "sha256"


def _hash(path: Path, digest: str) -> str:
    found = hashlib.new(_kind(digest))
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def fetch(url: str, path: Path, digest: str) -> Path:
    """The file at `path`, downloaded from `url` if it isn't there, and checked against `digest`.

    It grows under the name `path`.part, which a later call continues; only a complete file with the
    right digest gets its own name. Processes that start together download it once. A server that
    sends more than `LARGEST` bytes, or next to nothing for `PATIENCE` seconds, is given up.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(path.parent):
                if not path.exists():
                    _download(url, path, digest)
                    return path
    except urllib.error.HTTPError as error:
        raise DownloadError(
            f"{url} answered {error.code} {error.reason}. {_by_hand(path)}"
        ) from error
    except ConnectionError as error:
        raise DownloadError(f"cannot reach {url} ({error}). {_by_hand(path)}") from error
    except OSError as error:
        raise DownloadError(
            f"cannot write to {path.parent}: {error.strerror}. "
            "Set MINIDIFF_DATA to a folder you can write to."
        ) from error
    check(path, digest)
    return path


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time, where the system can (not on Windows, nor on every network disk)."""
    with ExitStack() as stack:
        with suppress(ImportError, OSError):
            import fcntl

            fd = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, fd)  # which also unlocks
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield


def _by_hand(path: Path) -> str:
    return (
        f"If you are offline: get {path.name} on another machine and put it into {path.parent}, "
        "or set MINIDIFF_DATA to a folder that has it."
    )


def _download(url: str, path: Path, digest: str) -> None:
    part = path.with_name(path.name + ".part")
    _continue(url, part)
    found = _hash(part, digest)
    if found != digest:
        part.unlink()  # continuing it would never end well
        raise DownloadError(
            f"what {url} sent is not the official {path.name}: its {_kind(digest)} is {found}, not "
            f"{digest}. It was deleted; run again to retry."
        )
    os.replace(part, path)


def _continue(url: str, part: Path) -> None:
    from tqdm import tqdm  # type: ignore[import-untyped]

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: the part already has every byte, or more
            raise
        return
    except (OSError, HTTPException) as error:
        raise _broken(error) from error
    with response:
        if response.status != 206:  # a server that ignores Range sends the whole file
            have = 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        _check_size(url, part, total or 0)
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem) as bar,
        ):
            for chunk in _chunks(response):
                have += len(chunk)
                _check_size(url, part, have)
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    size = part.stat().st_size
    if total is not None and size < total:
        raise ConnectionError(f"broke off after {size:,} of {total:,} bytes; {_GO_ON}")


def _check_size(url: str, part: Path, size: int) -> None:
    if size > LARGEST:
        part.unlink(missing_ok=True)
        raise DownloadError(
            f"{url} sends {size:,} bytes or more, and no file that is fetched here has more than "
            f"{LARGEST:,}: it is not the official {part.stem}"
        )


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """What the server sends, as it comes; ConnectionError whatever ends it before its time."""
    began, came = time.monotonic(), 0
    while True:
        try:
            chunk = response.read1(1 << 16)
        except (OSError, HTTPException) as error:
            raise _broken(error) from error
        if not chunk:
            return
        yield chunk
        came += len(chunk)
        if (now := time.monotonic()) - began > PATIENCE:
            if came < SLOWEST:
                raise ConnectionError(f"{came:,} bytes in {now - began:.0f} seconds; {_GO_ON}")
            began, came = now, 0


def _broken(error: Exception) -> ConnectionError:
    """An error of the network or of TLS, told apart from those of the disk."""
    why = getattr(error, "reason", None) or str(error).strip() or type(error).__name__
    return ConnectionError(f"{why}; {_GO_ON}")


_GO_ON = "run again to continue"
