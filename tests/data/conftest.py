"""What the tests of this room share: the real data sets if they are there, small published ones, and a mirror."""

from __future__ import annotations

import gzip
import hashlib
import mmap
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from akkafka.data.published import PublishedFile, PublishedSet

IDX_CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx_bytes(array: NDArray[Any]) -> bytes:
    """The IDX file that holds `array`, written independently of the reader."""
    header = bytes([0, 0, IDX_CODES[array.dtype.name], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def is_mapped(array: NDArray[Any]) -> bool:
    """Whether the array's memory is a mapped file's."""
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    return base is not None


class Mirror(ThreadingHTTPServer):
    """Serves what it is told to, and remembers what it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.announced: dict[str, int] = {}  # Content-Length, where it is not the true one; -1: none at all
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Answer)

    def address(self, folder: str = "") -> str:
        """Of a folder on this server, ending in a slash."""
        return f"http://127.0.0.1:{self.server_address[1]}/{folder}{'/' if folder else ''}"


class _Answer(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.headers.append(dict(self.headers))
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        length = self.server.announced.get(self.path, len(body))
        if length >= 0:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name that http.server uses)
        """Nothing to stderr."""


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # where a proxy is set, it must not be asked for this address
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Mirror() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def published(stem: str, array: NDArray[np.uint8]) -> tuple[PublishedFile, bytes]:
    """A file as its publisher describes it, and its bytes as published."""
    plain = idx_bytes(array)
    packed = gzip.compress(plain, mtime=0)
    hashes = [hashlib.sha256(data).hexdigest() for data in (packed, plain)]
    return PublishedFile(stem, array.shape, len(packed), *hashes), packed


class Tiny:
    """A published set of 6 training and 4 test images of 3 x 2 pixels, and its four files by name."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.files: dict[str, bytes] = {}
        self.images: dict[str, NDArray[np.uint8]] = {}
        self.labels: dict[str, NDArray[np.uint8]] = {}
        self.train = self._pair("train", rng, 6)
        self.test = self._pair("t10k", rng, 4)

    def _pair(self, part: str, rng: np.random.Generator, n: int) -> tuple[PublishedFile, PublishedFile]:
        self.images[part] = rng.integers(0, 256, (n, 3, 2), dtype=np.uint8)
        self.labels[part] = rng.integers(0, 10, n, dtype=np.uint8)
        images, images_gz = published(f"{part}-images-idx3-ubyte", self.images[part])
        labels, labels_gz = published(f"{part}-labels-idx1-ubyte", self.labels[part])
        self.files |= {images.name: images_gz, labels.name: labels_gz}
        return images, labels

    def set(self, *mirrors: str) -> PublishedSet:
        return PublishedSet("tiny", ("tiny", "TINY/raw"), mirrors, self.train, self.test)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)


@pytest.fixture
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the session's own: each real file is unpacked once."""
    return tmp_path_factory.mktemp("cache")
