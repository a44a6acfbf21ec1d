"""Fetches a published file from the first of its mirrors that has it, whole and with the right hash."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias
from urllib.parse import urlsplit

from akkafka.data.only_one import only_one
from akkafka.data.source import Progress
from akkafka.errors import DataError

CONNECT_S, READ_S = 5.0, 30.0  # a mirror that is silent for longer is passed over
WAIT_S = 120.0  # for another process that is fetching the same file
_LOOK_EVERY_S = 0.2
_CHUNK_BYTES = 1 << 16
_DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}

Clock: TypeAlias = Callable[[], float]
Sleep: TypeAlias = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Remote:
    """A file, and where it can be had."""

    name: str
    mirrors: tuple[str, ...]  # addresses that end in a slash, tried in order
    sha256: str  # in hex
    size: int  # bytes; no more is accepted from a mirror


def download(
    remote: Remote,
    folder: Path,
    *,
    progress: Progress,
    clock: Clock = time.monotonic,
    sleep: Sleep = time.sleep,
) -> Path:
    """The path of the file in `folder`, fetched if it is not there with its hash already.

    Several processes may call this at once: one fetches, the others wait for it, `WAIT_S` at most.
    Raises DataError when every mirror fails, with the reason of each, or when the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / f"{remote.name}.lock"
        return _when_alone(lock, lambda: _from_mirrors(remote, folder, progress), clock, sleep)
    except OSError as error:
        raise DataError(
            f"{remote.name} cannot be stored in {folder}: {error.strerror or error}",
            hint="make room, mend the permissions, set XDG_CACHE_HOME, or name the file's folder by --data-dir",
        ) from error


def _when_alone(lock: Path, fetch: Callable[[], Path], clock: Clock, sleep: Sleep) -> Path:
    """Fetches when nobody else does, or after a while all the same: who is at it may hang, and twice does no harm."""
    deadline = clock() + WAIT_S
    while True:
        with only_one(lock) as alone:
            if alone or clock() >= deadline:
                return fetch()
        sleep(_LOOK_EVERY_S)


def _from_mirrors(remote: Remote, folder: Path, progress: Progress) -> Path:
    failures = []
    for mirror in remote.mirrors:
        try:
            return _from_mirror(mirror, remote, folder, progress)
        except ValueError as error:  # pooch's for another hash than expected, and our own
            failures.append(f"{mirror}: {_reason(error)}")
        except OSError as error:  # the base of all that requests raises
            if error.errno in _DISK_ERRNOS:
                raise
            failures.append(f"{mirror}: {_reason(error)}")
    raise DataError(
        "\n  ".join([f"{remote.name} could not be downloaded; what was tried:", *failures]),
        hint=f"if you have it (sha256 {remote.sha256}), name its folder by --data-dir or AKKAFKA_DATA_DIR",
    )


def _from_mirror(mirror: str, remote: Remote, folder: Path, progress: Progress) -> Path:
    import pooch  # here, as it takes 50 ms to import and most starts download nothing

    pooch.get_logger().setLevel("WARNING")  # it would tell of each file on stderr; `progress` does
    # identity: a server that unpacks .gz files on the way would hand us another content than the one hashed
    headers = {"Accept-Encoding": "identity"}
    http = pooch.HTTPDownloader(chunk_size=_CHUNK_BYTES, headers=headers, timeout=(CONNECT_S, READ_S))
    what = f"{remote.name} from {urlsplit(mirror).netloc}"

    def bounded(url: str, output_file: str, _: object) -> None:
        with Path(output_file).open("wb") as out:
            http(url, _Bounded(out, remote.size, lambda done: progress(what, done, remote.size)), None)

    known_hash = f"sha256:{remote.sha256}"
    path = pooch.retrieve(mirror + remote.name, known_hash, fname=remote.name, path=folder, downloader=bounded)
    return Path(path)


class _Bounded:
    """A file that counts what is written to it, and takes no more than was expected: mirrors are not ours."""

    def __init__(self, file: IO[bytes], size: int, written: Callable[[int], None]) -> None:
        self._file = file
        self._size = size
        self._written = written
        self._done = 0

    def write(self, chunk: bytes) -> int:
        self._done += len(chunk)
        if self._done > self._size:
            raise ValueError(f"sends more than the {self._size} bytes of the file")
        self._written(self._done)
        return self._file.write(chunk)

    def flush(self) -> None:
        """Nothing: the file is flushed when closed, not after each chunk."""


def _reason(error: Exception) -> str:
    """The first line of what went wrong, kept short."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:200]
