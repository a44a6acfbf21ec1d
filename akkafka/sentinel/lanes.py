"""Where a lane stands, read from the last records of its topics: a sentinel keeps nothing itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from akkafka.broker.base import Broker, Record, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.reading import last_records, reading
from akkafka.data.epochs import Cursor
from akkafka.errors import ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.messages import Backward, Forward, Message
from akkafka.sentinel.events import LaneStanding

_TAIL = 16  # a woken process sends about a window of late copies


@dataclass(frozen=True, slots=True)
class LanePlace:
    """A lane's standing, and where to read its outputs on."""

    standing: LaneStanding
    output_offset: int


async def training_places(broker: Broker, network: Network, lanes: Collection[int]) -> dict[int, LanePlace]:
    """Places of training lanes: outputs are read on behind the last one that was answered.

    The very last record of a lane may be a late copy, by a process that slept meanwhile. What came home was answered,
    and what was answered was issued: where the ends say otherwise, the highest batch before them is looked for. Else a
    new owner would read from where the lane stood long ago, which may be trimmed by now.
    """
    topics = network.topics
    issued = topics.forward(0)
    answered = topics.backward(network.gate_count)
    last = await _last(broker, network, [issued, answered], lanes)
    homes = await _homes(broker, network, lanes)
    for topic, least in ((answered, homes), (issued, homes)):
        late = [TopicPartition(topic, lane) for lane in lanes if _next(last[TopicPartition(topic, lane)]) < least[lane]]
        last.update(await _highest(broker, network, late, least))
    return {lane: _training_place(lane, last, issued, answered, homes[lane]) for lane in lanes}


async def _highest(
    broker: Broker, network: Network, parts: Collection[TopicPartition], least: Mapping[int, int]
) -> dict[TopicPartition, Message | None]:
    """First copies of the highest batches, from as far back as it takes to find one that reaches `least` (by lane)."""
    found: dict[TopicPartition, Message | None] = {}
    todo, count, bounds = list(parts), _TAIL, await broker.bounds(list(parts))
    async with reading(broker, "highest") as reader:
        while todo:
            for where, records in (await last_records(broker, reader, todo, count)).items():
                found[where] = max((m for r in records if (m := _message(network, [r]))), key=_next, default=None)
            todo = [
                where
                for where in todo
                if _next(found[where]) < least[where.partition] and bounds[where][1] - bounds[where][0] > count
            ]
            count *= 4
    return found


def _next(message: Message | None) -> int:
    return message.seq + 1 if isinstance(message, Forward | Backward) else 0


async def _homes(broker: Broker, network: Network, lanes: Collection[int]) -> dict[int, int]:
    """Next seq to come home, by lane: behind the highest at the lane's end, as the very last may be a late duplicate.

    A home that is read too low would keep a full window shut for ever. Duplicates come from processes that were
    doubled or woken, a window of batches each at the most; homecomings are small, so far more than that are read.
    """
    parts = [TopicPartition(network.topics.backward(0), lane) for lane in lanes]
    async with reading(broker, "homes") as reader:
        tails = await last_records(broker, reader, parts, 64 + 8 * network.definition.schedule.window)
    return {
        where.partition: max((m.seq + 1 for r in tail if isinstance(m := _message(network, [r]), Backward)), default=0)
        for where, tail in tails.items()
    }


def _training_place(
    lane: int, last: dict[TopicPartition, Message | None], issued: str, answered: str, home: int
) -> LanePlace:
    newest, answer = last[TopicPartition(issued, lane)], last[TopicPartition(answered, lane)]
    seq, cursor = _issued(newest)
    done = answer.seq + 1 if isinstance(answer, Backward) else 0
    offset = answer.source + 1 if isinstance(answer, Backward) else 0
    return LanePlace(LaneStanding(lane, seq, cursor, home, done), offset)


async def passing_places(broker: Broker, network: Network, lanes: Collection[int]) -> dict[int, LanePlace]:
    """Places of forward-only lanes: outputs of batches that others have issued are of no use, so from the end."""
    issued, output = network.topics.forward(0), network.topics.forward(network.gate_count)
    parts = [TopicPartition(output, lane) for lane in lanes]
    bounds = await broker.bounds(parts)
    last = await _last(broker, network, [issued, output], lanes)
    places: dict[int, LanePlace] = {}
    for lane in lanes:
        seq, _ = _issued(last[TopicPartition(issued, lane)])
        out, _ = _issued(last[TopicPartition(output, lane)])
        end = bounds[TopicPartition(output, lane)][1]
        places[lane] = LanePlace(LaneStanding(lane, max(seq, out), None, out, out), end)
    return places


def _issued(message: Message | None) -> tuple[int, Cursor | None]:
    return (message.seq + 1, message.after) if isinstance(message, Forward) else (0, None)


async def _last(
    broker: Broker, network: Network, topics: list[str], lanes: Collection[int]
) -> dict[TopicPartition, Message | None]:
    parts = [TopicPartition(topic, lane) for topic in topics for lane in lanes]
    async with reading(broker, "standing") as reader:
        records = await last_records(broker, reader, parts)
        found = {where: _message(network, held) for where, held in records.items()}
        foreign = [where for where, held in records.items() if held and found[where] is None]
        if foreign:  # something that is not ours lies at the end: look further back
            records = await last_records(broker, reader, foreign, 1000)
            found.update({where: _message(network, held) for where, held in records.items()})
    return found


def _message(network: Network, records: list[Record]) -> Message | None:
    """The newest message of this run among them."""
    for record in reversed(records):
        try:
            message = wire.decode(record.value)
        except ProtocolError:
            continue
        if isinstance(message, Forward | Backward) and message.run == network.run and message.lane == record.partition:
            return message
    return None
