"""A snapshot is what a manifest names and whose hashes agree: torn, mixed or foreign ones are never taken for whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from akkafka.gate import snapshot
from akkafka.gate.snapshot import Shelf, Snapshot, to_records
from akkafka.gate.state import GateState
from akkafka.protocol import wire
from akkafka.protocol.messages import Run, SnapshotChunk

from ..simulation import toy
from .bench import OTHER, RUN, after, record_of, zero

Records = list[tuple[bytes, bytes]]
ONE = after(zero(), record_of(0, 1, zero().hop(0), source=4))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "CHUNK_BYTES", 100)


def records(state: GateState = ONE, writer: str = "me", run: Run = RUN, gate: int = 0) -> Records:
    return to_records(run, gate, writer, state, {0: zero()})


def shelf_of(*kept: tuple[bytes | None, bytes | None]) -> Shelf:
    shelf = Shelf(RUN, 0, 2)
    for key, value in kept:
        shelf.put(key, value)
    return shelf


def whole(shelf: Shelf) -> Snapshot:
    found = shelf.newest()
    assert found is not None
    return found


def test_a_state_comes_back_as_it_was() -> None:
    found = whole(shelf_of(*records()))
    state = found.state
    assert (state.version, state.chain, state.applied, state.sources, state.next_offset) == (
        ONE.version, ONE.chain, ONE.applied, ONE.sources, ONE.next_offset,
    )  # fmt: skip
    assert toy.number(state.params["w"]) == toy.number(ONE.params["w"])
    assert toy.number(state.optimizer["m"]) == toy.number(ONE.optimizer["m"])
    assert [(v, o.version, o.chain, toy.number(o.params["w"])) for v, o in found.older.items()] == [
        (0, 0, bytes(16), 5)
    ]


def test_a_state_of_several_chunks_ends_with_its_manifest() -> None:
    keys = [key for key, _ in records()]
    assert len(keys) > 3
    assert keys[-1].endswith(b"/manifest") and keys[:-1] == sorted(keys[:-1])


def test_a_snapshot_torn_anywhere_is_none() -> None:
    every = records()
    for end in range(len(every)):
        assert shelf_of(*every[:end]).newest() is None


def test_a_torn_snapshot_leaves_the_one_before_it() -> None:
    older, newer = records(zero()), records()
    for end in range(len(newer)):
        assert whole(shelf_of(*older, *newer[:end])).state.version == 0
    assert whole(shelf_of(*older, *newer)).state.version == 1


def test_a_missing_chunk_is_told() -> None:
    shelf = shelf_of(*records()[1:])
    assert shelf.newest() is None
    assert "chunk 0 of" in shelf.faults[0] and "missing" in shelf.faults[0]


def test_a_chunk_with_other_bytes_is_told() -> None:
    first, *rest = records()
    chunk = wire.decode(first[1])
    assert isinstance(chunk, SnapshotChunk)
    shelf = shelf_of((first[0], wire.encode(replace(chunk, data=chunk.data[:-1] + b"!"))), *rest)
    assert shelf.newest() is None
    assert "another hash" in shelf.faults[0]


def test_writers_of_one_version_do_not_tear_each_others_snapshots() -> None:
    a, b = records(writer="a"), records(writer="b")
    mixed = [record for pair in zip(a, b, strict=True) for record in pair]
    assert len(list(shelf_of(*mixed).snapshots())) == 2
    assert not {key for key, _ in a} & {key for key, _ in b}


def test_a_removed_snapshot_is_gone() -> None:
    shelf = shelf_of(*records())
    keys = shelf.keys(whole(shelf).manifest)
    assert keys[0].endswith(b"/manifest"), "first what names the others"
    for key in keys:
        shelf.put(key, None)
    assert shelf.newest() is None and shelf.manifests() == []


@pytest.mark.parametrize("foreign", [records(run=OTHER), records(gate=1)])
def test_snapshots_of_another_run_or_gate_are_told_and_passed_over(foreign: Records) -> None:
    shelf = shelf_of(*records(zero()), *foreign)
    assert whole(shelf).state.version == 0
    assert len(shelf.faults) == len(foreign)


def test_bytes_that_are_no_part_of_a_snapshot_are_told_and_passed_over() -> None:
    stray = wire.encode(record_of(0, 0, zero().hop(0)))
    shelf = shelf_of((b"key", b"garbage"), (b"key", stray), (None, b"garbage"), *records())
    assert whole(shelf).state.version == 1
    assert len(shelf.faults) == 2


def test_snapshots_come_newest_first() -> None:
    shelf = shelf_of(*records(), *records(zero()))
    assert [s.state.version for s in shelf.snapshots()] == [1, 0]
