"""Where a batch's time goes: stamps that a real pipeline collects, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from akkafka.broker.base import Broker, Record, TopicPartition
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.reading import read_to_end, reading
from akkafka.cli.bench.draw import check_drawing, draw_trip
from akkafka.cli.bench.waterfall import SEGMENTS, WIDTH, drawn, medians, rows, station_names, trip_of, typical
from akkafka.errors import ConfigError
from akkafka.protocol import wire
from akkafka.protocol.messages import Backward
from akkafka.protocol.stamps import EVERY, PER_STATION

from ..conftest import Run
from ..pipeline.fleet import small_definition, train_through

MS = 1_000_000
NAMES = station_names(["fc1"])


def stamps(*lengths_ms: float) -> list[int]:
    """Of a network with one gate: 4 stations, 24 times; each `length` later than the one before, the last repeated."""
    at, found = 10**18, []
    for i in range(24):
        found.append(at)
        at += int((lengths_ms[min(i, len(lengths_ms) - 1)]) * MS)
    return found


async def _records(broker: Broker, where: TopicPartition) -> list[Record]:
    async with reading(broker, "test-homes") as reader:
        return [record async for record in read_to_end(broker, reader, where)]


def test_stretches_are_those_between_stamps_and_add_up_to_the_whole() -> None:
    trip = trip_of(stamps(0, 0, 0, 2, 1, 3, 4, 5, 6, 7, 8, 1), 1)
    assert trip is not None
    assert [trip.spent(0, segment) for segment in range(6)] == [0, 0, 0, 0, 2, 1]
    assert [trip.spent(1, segment) for segment in range(6)] == [3, 4, 5, 6, 7, 8]
    assert trip.total_ms == sum(bar.length_ms for bar in trip.bars) == 3 + 33 + 12


@pytest.mark.parametrize("broken", [stamps(1)[:-1], [*stamps(1), 10**18], [*stamps(1)[:5], 0, *stamps(1)[6:]], []])
def test_a_batch_whose_stamps_are_not_whole_or_not_in_order_tells_nothing(broken: list[int]) -> None:
    assert trip_of(broken, 1) is None
    assert trip_of(stamps(1), 2) is None


def test_the_table_has_a_row_for_each_station_and_one_for_all() -> None:
    trips = [trip for trip in (trip_of(stamps(length), 1) for length in (1, 3, 2)) if trip is not None]
    cells = rows(medians(trips, 4), NAMES)
    assert [row[0] for row in cells] == ["issue", "fc1 forward", "loss", "fc1 backward", "all"]
    assert cells[1][1:] == ["2.00"] * 6 + ["12.00"]
    assert cells[-1][-1] == "46.00", "23 stretches of 2 ms"
    assert typical(trips) is trips[2]


def test_the_picture_in_letters_has_every_stretch_that_is_long_enough() -> None:
    trip = trip_of(stamps(1), 1)
    assert trip is not None
    lines = drawn(trip, NAMES)
    body = [line.partition("|")[2].rpartition("|")[0] for line in lines[:4]]
    assert all(len(line) == WIDTH for line in body)
    assert body[1].strip().replace(" ", "")[0] == "e" and set("".join(body)) == set("e~dqC: ")
    assert "23.0 ms" in lines[-1] and all(name in lines[-1] for name in SEGMENTS)


def test_a_picture_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    trip = trip_of(stamps(1), 1)
    assert trip is not None
    check_drawing(tmp_path / "trip.png")
    draw_trip(trip, NAMES, "a batch", tmp_path / "trip.png")
    assert (tmp_path / "trip.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_another_kind_is_refused_beforehand(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PNG") as refused:
        check_drawing(tmp_path / "trip.jpg")
    assert "trip.png" in refused.value.hint


def test_every_sixteenth_batch_of_a_training_comes_home_with_all_its_times(run: Run, unique: Callable[[], str]) -> None:
    broker = MemoryBroker()
    network, _ = run(train_through(broker, small_definition("schedule.window=3"), unique(), epochs=6, jitter=2))
    where = TopicPartition(network.topics.backward(0), 0)
    homes = [wire.decode(record.value) for record in run(_records(broker, where))]
    told = {home.seq: home.stamps for home in homes if isinstance(home, Backward)}
    assert sorted(told) == list(range(36)), "six epochs of six batches"
    for seq, times in told.items():
        assert (times is None) == (seq % EVERY != 0)
        if times is not None:
            assert len(times) == PER_STATION * 8
            trip = trip_of(times, 3)
            assert trip is not None and 0 < trip.total_ms < 600_000
            assert trip.spent(1, SEGMENTS.index("compute")) > 0 and trip.spent(1, SEGMENTS.index("wire")) > 0
