"""What has to hold after a storm, looked up in the log itself: not asked of those who wrote it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.reading import read_to_end, reading
from akkafka.cli.training.report import weights_sha256
from akkafka.cli.training.standing import LaneStand, read_lanes
from akkafka.data.dataset import load as load_data
from akkafka.data.source import data_dir_from_env
from akkafka.errors import AkkafkaError, ProtocolError
from akkafka.gate.model import Model
from akkafka.gate.recovery import Folding, fold
from akkafka.gate.restore import counting_rule, read_journal, restore, ring
from akkafka.protocol import wire
from akkafka.protocol.messages import Forward, JournalRecord, Mode

MANY = 5  # faults of one kind that are told in full


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, and whether it was kept."""

    name: str
    holds: bool
    detail: str


async def check_log(broker: Broker, network: Network) -> list[Check]:
    """Everything that the log tells of a finished training."""
    lanes = await read_lanes(broker, network)
    found = [_all_home(lanes), await _samples_once(broker, network)]
    for gate in range(network.gate_count):
        found.append(await _batches_once(broker, network, gate, lanes))
        found.append(await _replay(broker, network, gate))
    return found


def _all_home(lanes: Sequence[LaneStand]) -> Check:
    away = [f"lane {lane.lane}: {lane.issued} issued, {lane.home} home" for lane in lanes if lane.home != lane.issued]
    total = sum(lane.issued for lane in lanes)
    return Check("every batch came home", not away, "; ".join(away) or f"{total} batches in {len(lanes)} lanes")


async def _batches_once(broker: Broker, network: Network, gate: int, lanes: Sequence[LaneStand]) -> Check:
    """Counts the journal by the rule of design.md alone: a record counts if its seq is the next of its lane."""
    name = f"gate {gate}: every batch applied exactly once"
    where = TopicPartition(network.topics.journal(gate), 0)
    low, high = (await broker.bounds([where]))[where]
    upcoming = {lane.lane: 0 for lane in lanes}
    late = voids = 0
    async with reading(broker, f"check-{gate}") as reader:
        start = 0 if low == 0 else None
        if start is None:
            upcoming = dict(enumerate((await restore(broker, network, gate)).state.applied))
        else:
            async for record in read_to_end(broker, reader, where):
                entry = _journal_record(record.value, network)
                if entry is None:
                    continue
                if entry.seq == upcoming.get(entry.lane) and _in_turn(network, upcoming, entry):
                    upcoming[entry.lane] += 1
                    voids += bool(entry.void)
                else:
                    late += 1
    wrong = [
        f"lane {lane.lane}: {lane.issued} issued, {upcoming.get(lane.lane, 0)} applied"
        for lane in lanes
        if upcoming.get(lane.lane, 0) != lane.issued
    ]
    if voids:
        wrong.append(f"{voids} batches were voided: nothing in this training is a reason for that")
    seen = "from its first record on" if low == 0 else f"from offset {low} on"
    detail = f"{sum(upcoming[lane.lane] for lane in lanes)} applied, {late} copies passed over; {high} records, {seen}"
    return Check(name, not wrong, "; ".join(wrong) or detail)


def _in_turn(network: Network, upcoming: dict[int, int], entry: JournalRecord) -> bool:
    """Under the fixed schedule a record also has to be the next of all."""
    if network.definition.schedule.kind != "fixed":
        return True
    lanes = len(network.definition.plan.of(Mode.TRAIN))
    return entry.seq * lanes + entry.lane == sum(upcoming.values())


def _journal_record(value: bytes | None, network: Network) -> JournalRecord | None:
    try:
        message = wire.decode(value)
    except ProtocolError:
        return None
    return message if isinstance(message, JournalRecord) and message.run == network.run else None


async def _replay(broker: Broker, network: Network, gate: int) -> Check:
    """Weights from the definition and the whole journal against those from the newest snapshot, bit for bit."""
    name = f"gate {gate}: replay from zero equals the weights that are served"
    try:
        served = (await restore(broker, network, gate)).state
        where = TopicPartition(network.topics.journal(gate), 0)
        low, high = (await broker.bounds([where]))[where]
        if low > 0:
            return Check(name, True, f"not looked at: the journal was trimmed before offset {low}")
        model = Model(network.definition, gate, network.run, "")
        async with reading(broker, f"replay-{gate}") as reader:
            entries = await read_journal(reader, network, where, 0, high)
        state, _ = fold(model.initial(), {}, entries, Folding(counting_rule(network, gate), model.step, ring(network)))
    except AkkafkaError as error:
        return Check(name, False, str(error))
    one, other = weights_sha256(state.params), weights_sha256(served.params)
    same = (state.version, state.chain, one) == (served.version, served.chain, other)
    return Check(name, same, f"version {state.version}, {one[:12]}" + ("" if same else f" is not {other[:12]}"))


async def _samples_once(broker: Broker, network: Network) -> Check:
    """Each whole epoch has each sample of the training set once; first copies count."""
    name = "every sample once in every epoch"
    dataset = load_data(network.definition.data, "train", data_dir=data_dir_from_env())
    epochs: dict[int, Counter[int]] = {}
    ends: list[int] = []
    async with reading(broker, "check-samples") as reader:
        for lane in network.definition.plan.of(Mode.TRAIN):
            where = TopicPartition(network.topics.forward(0), lane)
            upcoming, end = 0, 0
            async for record in read_to_end(broker, reader, where):
                message = _forward(record.value, network)
                if message is None or message.seq < upcoming:
                    continue
                if message.seq > upcoming:
                    if upcoming == 0:
                        return Check(name, True, "not looked at: the log of inputs was trimmed")
                    return Check(name, False, f"lane {lane}: batch {message.seq} follows {upcoming - 1}")
                upcoming, end = message.seq + 1, message.after.epoch
                epochs.setdefault(message.cursor.epoch, Counter()).update(message.context["ids"].tolist())
            ends.append(end)
    whole = min(ends, default=0)
    wanted = dict.fromkeys(range(len(dataset)), 1)
    wrong = [epoch for epoch in range(whole) if dict(epochs.get(epoch, {})) != wanted]
    if wrong:
        return Check(name, False, f"not so in epochs {wrong[:MANY]} of {whole}")
    return Check(name, True, f"{whole} epochs of {len(dataset)} samples")


def _forward(value: bytes | None, network: Network) -> Forward | None:
    try:
        message = wire.decode(value)
    except ProtocolError:
        return None
    return message if isinstance(message, Forward) and message.run == network.run else None
