"""What has to hold after a storm, looked up in the log itself: not asked of those who wrote it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from akkafka.audit.examine import examine
from akkafka.audit.replay import replay
from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.reading import read_to_end, reading
from akkafka.cli.training.standing import LaneStand, read_lanes
from akkafka.data.dataset import load as load_data
from akkafka.data.source import data_dir_from_env
from akkafka.errors import AkkafkaError, ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.messages import Forward, JournalRecord, Mode

MANY = 5  # faults of one kind that are told in full


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, and whether it was kept."""

    name: str
    holds: bool
    detail: str


async def check_log(broker: Broker, network: Network, *, at_rest: bool = True) -> list[Check]:
    """Everything that the log tells of a finished training; `at_rest`: its gates have left, and saved their states.

    What `akkafka audit` and `akkafka replay` say, and, where nothing was trimmed, what a second pair of eyes counts.
    """
    lanes = await read_lanes(broker, network)
    found = [_all_home(lanes), await _audit(broker, network), await _samples_once(broker, network)]
    for gate in range(network.gate_count):
        found.append(await _batches_once(broker, network, gate, lanes))
        found.append(await _replay(broker, network, gate, at_rest))
    return [check for check in found if check is not None]


async def _audit(broker: Broker, network: Network) -> Check:
    judge = await examine(broker, network)
    faults = [finding.message for finding in judge.findings.told]
    return Check("audit", not faults, "; ".join(faults[:MANY]) or "all of it holds")


async def _replay(broker: Broker, network: Network, gate: int, at_rest: bool) -> Check:
    """Weights rebuilt from the oldest point that the log holds, against all that the gate saved and told since."""
    name = f"gate {gate}: replay equals the weights that were served, bit for bit"
    try:
        found = await replay(broker, network, gate)
    except AkkafkaError as error:
        return Check(name, False, str(error))
    wrong = [f"{check.what}: {difference}" for check in found.checks for difference in check.differs]
    same = f"version {found.state.version} from {found.began}, compared {len(found.checks)} times"
    return Check(name, found.equal or not (at_rest or wrong), "; ".join(wrong[:MANY]) or same)


def _all_home(lanes: Sequence[LaneStand]) -> Check:
    away = [f"lane {lane.lane}: {lane.issued} issued, {lane.home} home" for lane in lanes if lane.home != lane.issued]
    total = sum(lane.issued for lane in lanes)
    return Check("every batch came home", not away, "; ".join(away) or f"{total} batches in {len(lanes)} lanes")


async def _batches_once(broker: Broker, network: Network, gate: int, lanes: Sequence[LaneStand]) -> Check | None:
    """Counts a whole journal by the rule of design.md alone: a record counts if its seq is the next of its lane."""
    name = f"gate {gate}: every batch applied exactly once"
    where = TopicPartition(network.topics.journal(gate), 0)
    low, high = (await broker.bounds([where]))[where]
    if low > 0:
        return None  # trimmed: the audit goes by sums
    upcoming = {lane.lane: 0 for lane in lanes}
    late = voids = zeroed = 0
    async with reading(broker, f"check-{gate}") as reader:
        async for record in read_to_end(broker, reader, where):
            entry = _journal_record(record.value, network)
            if entry is None:
                continue
            if entry.seq == upcoming.get(entry.lane) and _in_turn(network, upcoming, entry):
                upcoming[entry.lane] += 1
                voids += bool(entry.void)
                zeroed += bool(entry.zeroed)
            else:
                late += 1
    wrong = [
        f"lane {lane.lane}: {lane.issued} issued, {upcoming.get(lane.lane, 0)} applied"
        for lane in lanes
        if upcoming.get(lane.lane, 0) != lane.issued
    ]
    if voids:
        wrong.append(f"{voids} batches were voided: nothing in this training is a reason for that")
    if zeroed:
        wrong.append(f"{zeroed} batches were applied with a gradient of zero: likewise")
    detail = f"{sum(upcoming[lane.lane] for lane in lanes)} applied, {late} copies passed over; {high} records"
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


async def _samples_once(broker: Broker, network: Network) -> Check | None:
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
                        return None  # trimmed
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
