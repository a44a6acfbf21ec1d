"""What a sentinel reads: a data set, cut into batches by cursors, made into messages."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from akkafka.broker.base import Broker, BrokerUnavailableError, DeliveryError
from akkafka.broker.library import publish
from akkafka.broker.network import Network
from akkafka.data.dataset import Dataset, DataSpec, Split, load
from akkafka.data.epochs import Cursor, Plan, Shard, take, take_targets
from akkafka.data.source import data_dir_from_env
from akkafka.errors import ConfigError, ShapeError
from akkafka.protocol.messages import Forward, Mode, Rows
from akkafka.protocol.stamps import begun
from akkafka.protocol.tally import tally_of
from akkafka.sentinel.events import Issue
from akkafka.sentinel.training import LaneCourse

_PAUSE_S = 1.0
SPLITS: Mapping[Mode, Split] = {Mode.TRAIN: "train", Mode.VALIDATE: "validation", Mode.TEST: "test"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for; None: what the definition names."""

    data: str | None = None
    shard: str | None = None
    data_dir: Path | None = None

    @property
    def own(self) -> bool:
        """True if it is not just what the definition names."""
        return self.data is not None or self.shard is not None


def load_split(network: Network, wanted: Wanted, mode: Mode, say: Callable[[str], None]) -> Dataset:
    """The data of a role; raises DataError, ConfigError, or ShapeError if it does not fit the network."""
    spec = DataSpec(name=wanted.data) if wanted.data is not None else network.definition.data
    told = 0.0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told > 2.0:
            told = time.monotonic()
            say(f"{what}: {done / 1e6:.1f} of {total / 1e6:.1f} MB")

    dataset = load(spec, SPLITS[mode], data_dir=wanted.data_dir or data_dir_from_env(), progress=progress)
    first = network.definition.layers[0]
    if dataset.sample_shape != first.in_shape or dataset.x.dtype != first.in_dtype:
        raise ShapeError(
            f"data {spec.name!r} has samples {dataset.sample_shape} {dataset.x.dtype}, network {network.name!r} takes "
            f"{first.in_shape} {first.in_dtype}",
            hint="Take the data that the network was defined for, or define another network.",
        )
    target = network.definition.target_shape
    if target is not None and dataset.target_shape != target:
        raise ShapeError(
            f"data {spec.name!r} has targets of shape {dataset.target_shape} a sample, network {network.name!r} learns "
            f"{target}",
            hint="Take the data that the network was defined for, or define another network.",
        )
    return dataset


@dataclass(frozen=True, slots=True)
class Course:
    """One lane's batches."""

    plan: Plan
    first: int
    stride: int

    @property
    def lane_course(self) -> LaneCourse:
        """As the core wants it."""
        return LaneCourse(self.plan.cursor_of(self.first), self._advance)

    def _advance(self, cursor: Cursor) -> Cursor:
        return self.plan.cursor_of(self.plan.index(cursor) + self.stride)


def defined_courses(network: Network, dataset: Dataset) -> dict[int, Course]:
    """Courses of the definition's training lanes."""
    plans: dict[Shard | None, Plan] = {}
    courses: dict[int, Course] = {}
    for source in network.definition.plan.sources:
        if source.shard not in plans:
            plans[source.shard] = plan_for(network, dataset, source.shard)
        courses[source.lane] = Course(plans[source.shard], source.first, source.stride)
    return courses


def plan_for(network: Network, dataset: Dataset, shard: Shard | None) -> Plan:
    """How training data are cut into batches."""
    definition = network.definition
    return Plan(len(dataset), shard, definition.batch_size, definition.seed)


def claim_source(network: Network, wanted: Wanted, dataset: Dataset) -> str:
    """Canonical JSON that names a lane's own data: equal for processes that may share the lane."""
    source = {
        "data": wanted.data or network.definition.data.name,
        "shard": wanted.shard,
        "batch_size": network.definition.batch_size,
        "seed": network.definition.seed,
        "fingerprint": dataset.fingerprint,
    }
    return json.dumps(source, sort_keys=True, separators=(",", ":"))


def matching_lanes(network: Network, wanted: Wanted) -> list[int]:
    """Training lanes of the definition that read just what is wanted."""
    if wanted.data is not None and wanted.data != network.definition.data.name:
        return []
    if wanted.shard is None:
        return list(network.definition.plan.of(Mode.TRAIN))
    shard = Shard.parse(wanted.shard)
    return [source.lane for source in network.definition.plan.sources if source.shard == shard]


async def published(
    broker: Broker, network: Network, dataset: Dataset, process: str, leave: asyncio.Event, say: Callable[[str], None]
) -> bytes | None:
    """What batches name the data set by once it is in the log; None if samples travel by value (or `leave` is set).

    Tries for as long as it takes. Raises ConfigError for a data set that is to go by reference and is too large.
    """
    wire, size = network.definition.wire, dataset.x.nbytes
    if wire.samples == "value" or (wire.samples == "auto" and size > wire.reference_limit_bytes):
        return None
    if size > wire.reference_limit_bytes:
        raise ConfigError(
            f"[wire] samples = 'reference': data {dataset.name!r} has {size} bytes, "
            f"reference_limit_bytes is {wire.reference_limit_bytes}",
            hint="Raise the limit (the first gate keeps the data in memory), or let samples = 'auto'.",
        )
    while not leave.is_set():
        try:
            return await publish(broker, network, dataset.x, process, say)
        except (BrokerUnavailableError, DeliveryError) as error:
            say(f"publishing data {dataset.name!r}: {error}; trying again")
            await asyncio.sleep(_PAUSE_S)
    return None


def parse_shard(text: str | None, samples: int) -> Shard | None:
    """The shard, checked against the data; raises ConfigError."""
    try:
        return Shard.parse(text, samples) if text is not None else None
    except ConfigError as error:
        raise ConfigError(f"--shard: {error}", hint=error.hint) from error


def training_batch(
    network: Network, dataset: Dataset, course: Course, issue: Issue, reference: bytes | None = None
) -> Forward:
    """The message of a training batch; with `reference`, the data set's published name, it names rows."""
    begun_ns = time.time_ns()
    ids = course.plan.ids(issue.cursor)
    x, y = take(dataset, ids) if reference is None else (None, take_targets(dataset, ids))
    return Forward(
        run=network.run,
        mode=Mode.TRAIN,
        lane=issue.lane,
        seq=issue.seq,
        cursor=issue.cursor,
        after=issue.after,
        trail=(),
        x=x,
        context={"targets": y, "ids": ids},
        issued_ns=time.time_ns(),
        rows=None if reference is None else Rows(reference, ids),
        tally=tally_of(ids, issue.cursor.epoch, course.plan.rows.start, course.plan.rows.stop),
        stamps=begun(issue.seq, network.gate_count, begun_ns),
        followed=issue.followed,
    )


def passing_batch(
    network: Network, dataset: Dataset, mode: Mode, size: int, issue: Issue, reference: bytes | None = None
) -> Forward:
    """The message of a batch of a pass, rows in the data's own order; with `reference` it names them."""
    first = issue.cursor.batch * size
    rows = slice(first, min(first + size, len(dataset)))
    return Forward(
        run=network.run,
        mode=mode,
        lane=issue.lane,
        seq=issue.seq,
        cursor=issue.cursor,
        after=issue.after,
        trail=(),
        x=dataset.x[rows] if reference is None else None,
        context={"targets": dataset.y[rows]},
        tag=issue.tag,
        issued_ns=time.time_ns(),
        rows=None if reference is None else Rows(reference, np.arange(rows.start, rows.stop, dtype=np.uint32)),
    )
