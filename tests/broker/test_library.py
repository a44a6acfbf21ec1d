"""A data set's file: whatever order its pieces come in, and whether what is read of it stays mapped."""

from __future__ import annotations

import hashlib
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pytest

from akkafka.broker import library
from akkafka.broker.library import MappedSamples, _Filling, samples_id
from akkafka.protocol.messages import Run, SamplesChunk, SamplesManifest

PIECE = 100
X = np.random.default_rng(3).integers(0, 256, (75, 33), dtype=np.uint8)  # 25 pieces, the last one shorter
RUN = Run(bytes(8), bytes(8))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "PIECE_BYTES", PIECE)


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile(buffering=0) as made:
        yield made


def chunks() -> list[SamplesChunk]:
    whole = X.tobytes()
    pieces = [whole[at : at + PIECE] for at in range(0, len(whole), PIECE)]
    return [SamplesChunk(RUN, samples_id(X), index, piece) for index, piece in enumerate(pieces)]


def manifest() -> SamplesManifest:
    hashes = tuple(hashlib.sha256(chunk.piece).digest() for chunk in chunks())
    return SamplesManifest(RUN, samples_id(X), X.dtype.str, X.shape, 0, len(hashes), hashes)


def content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def test_pieces_in_order_fill_the_file_and_name_it(file: IO[bytes]) -> None:
    filling = _Filling(file.fileno(), manifest())
    for first in range(0, 25, 8):
        assert filling.samples_id is None
        filling.take(chunks()[first : first + 8])
    assert content(file) == X.tobytes() and not filling.missing
    assert filling.samples_id == samples_id(X)


@pytest.mark.parametrize("seed", range(5))
def test_pieces_in_any_order_twice_and_broken_ones_fill_it_too(file: IO[bytes], seed: int) -> None:
    rng = random.Random(seed)
    broken = [SamplesChunk(RUN, samples_id(X), index, b"x" * PIECE) for index in range(25)]
    coming = [*chunks(), *chunks(), *broken]
    rng.shuffle(coming)
    filling = _Filling(file.fileno(), manifest())
    while coming:
        count = rng.randint(1, 9)
        filling.take(coming[:count])
        del coming[:count]
    assert content(file) == X.tobytes() and not filling.missing
    assert filling.samples_id in (None, samples_id(X))


def test_what_is_missing_is_known(file: IO[bytes]) -> None:
    filling = _Filling(file.fileno(), manifest())
    filling.take([chunk for chunk in chunks() if chunk.index not in (7, 24)])
    assert filling.missing == {7, 24} and filling.samples_id is None


def test_what_the_system_writes_only_in_part_is_written_on(file: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "writev", lambda fd, run: write(fd, b"".join(run)[:130]))
    monkeypatch.setattr(os, "write", lambda fd, left: write(fd, left[:70]))
    filling = _Filling(file.fileno(), manifest())
    filling.take(chunks())
    assert content(file) == X.tobytes()


class Watched(MappedSamples):
    """Counts how often it unmaps; time passes only there, and a little in every take."""

    def __init__(self, file: IO[bytes], price: float) -> None:
        self.now, self.unmapped, self.price = 0.0, 0, price
        super().__init__(file, X.dtype, X.shape, self.clock)

    def clock(self) -> float:
        self.now += 0.001
        return self.now

    def unmap(self) -> None:
        super().unmap()
        self.unmapped += 1
        self.now += self.price


def takes(samples: Watched) -> list[int]:
    """What each of 20 takes unmapped; their rows are right."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(20):
        rows = rng.permutation(len(X))[:9]
        before = samples.unmapped
        assert np.array_equal(samples.take(rows), X[rows])
        found.append(samples.unmapped - before)
    return found


def test_what_is_read_stays_mapped_where_unmapping_is_dear(file: IO[bytes]) -> None:
    file.write(X.tobytes())
    samples = Watched(file, 0.004)
    assert takes(samples) == [1] * library._TRIALS + [0] * (20 - library._TRIALS)
    assert samples.stays


def test_where_unmapping_is_cheap_nothing_else_is_tried(file: IO[bytes]) -> None:
    file.write(X.tobytes())
    samples = Watched(file, 0.0002)
    assert takes(samples) == [1] * 20 and not samples.stays


def test_a_take_that_is_slow_in_itself_unmaps_on(file: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    file.write(X.tobytes())
    monkeypatch.setattr(library, "_DEAR_S", 0.0009)  # less than any take
    samples, trials = Watched(file, 0.0002), library._TRIALS
    assert takes(samples) == [1] * trials + [0] * trials + [1] * (20 - 2 * trials)
    assert not samples.stays


@pytest.mark.skipif(sys.platform != "linux", reason="memfd_create is Linux's")
def test_a_file_in_single_pages_stays_mapped() -> None:
    """As on a tmpfs: each page that is touched again is a fault; measured here, by this thread's own CPU time."""
    x: Any = np.random.default_rng(1).integers(0, 256, (60_000, 784), dtype=np.uint8)
    with os.fdopen(os.memfd_create("akkafka-test"), "wb", buffering=0) as made:
        os.ftruncate(made.fileno(), x.nbytes)
        for first in range(0, len(x), 5000):
            os.pwrite(made.fileno(), x[first : first + 5000].tobytes(), first * 784)
        samples = MappedSamples(made, x.dtype, x.shape)
    rng = np.random.default_rng(2)
    for _ in range(2 * library._TRIALS):
        rows = rng.permutation(len(x))[:1024]
        assert np.array_equal(samples.take(rows), x[rows])
    assert samples.stays
