"""Weights that a gate had on its way: every so many versions, and when each was there, from a log that is whole."""

from __future__ import annotations

from dataclasses import dataclass

from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.reading import read_to_end, reading
from akkafka.errors import ReplayError
from akkafka.gate.beginning import initial_state_of
from akkafka.gate.model import Model
from akkafka.gate.recovery import Folding, JournalEntry, fold, read_entry
from akkafka.gate.restore import counting_rule, ring
from akkafka.gate.state import GateState


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """One version."""

    state: GateState
    at_ms: int  # of wall clock, when the record that made it was written


async def past(broker: Broker, network: Network, gate: int, every: int) -> dict[int, Past]:
    """Each `every`th version of a gate, by its number.

    All records are held at once: as large as a gradient each. Raises ReplayError if the journal's head was trimmed.
    """
    where = TopicPartition(network.topics.journal(gate), 0)
    model = Model(network.definition, gate, network.run, "")
    entries: list[JournalEntry] = []
    times: list[int] = []
    async with reading(broker, f"past-{gate}") as reader:
        async for record in read_to_end(broker, reader, where):
            if record.offset != len(entries):
                raise ReplayError(
                    f"{where.topic}: offset {record.offset} where {len(entries)} was expected: the log is not whole",
                    hint="Train with --keep-log: it trims nothing.",
                )
            entries.append(read_entry(network.run, record.value))
            times.append(record.timestamp_ms)
    initial = await initial_state_of(broker, network, gate, model)
    folding = Folding(counting_rule(network, gate), model.step, ring(network))
    _, states = fold(initial, {}, entries, folding, range(every, len(entries) + 1, every))
    kept = (state for version, state in states.items() if version and version % every == 0)
    return {state.version: Past(state, times[state.next_offset - 1]) for state in kept}
