"""The network's definition: all that gates and sentinels must agree on, and nothing that differs between its runs."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from akkafka.data.dataset import info, shapes
from akkafka.data.epochs import Shard
from akkafka.errors import ConfigError, DataError, ShapeError
from akkafka.nn.layer import Layer
from akkafka.nn.losses import REAL_TARGETS, check_loss, telling
from akkafka.nn.spec import build_sequence
from akkafka.protocol.faults import faults_of, listed
from akkafka.protocol.messages import MAX_GATES, Mode, Run
from akkafka.protocol.packages import (
    MAX_PACKAGES,
    PackageSpec,
    check_here,
    check_named,
    packages_in_use,
    read_packages,
)
from akkafka.protocol.settings import (
    CompleteData,
    EdgeSpec,
    GateSpec,
    LaneSpec,
    Part,
    ScheduleSpec,
    SnapshotSpec,
    WireSpec,
)

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
MAX_LANES = 1024  # partitions of every edge topic


class Definition(Part):
    """A network; equal definitions have equal hashes, whoever wrote them."""

    name: str = Field(description="The network's name as its author gave it.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Weights, masks and the order of samples derive from it.")
    loss: str = Field("softmax-cross-entropy", description="The sentinels' loss function.")
    loss_settings: dict[str, float] = Field(
        default_factory=dict,
        exclude_if=lambda settings: not settings,  # later than the first definitions, whose hashes stay
        description="What can be set of the loss: smoothing of softmax-cross-entropy, delta of huber.",
    )
    data: CompleteData = Field(description="The data set that sentinels read unless told otherwise.")
    batch_size: int = Field(64, ge=1, le=1 << 20, description="Samples in a batch; an epoch's last one may be smaller.")
    gates: tuple[GateSpec, ...] = Field(
        min_length=1, max_length=MAX_GATES, strict=False, description="The gates, in order."
    )
    lanes: LaneSpec = Field(default_factory=LaneSpec, description="Lanes by role.")
    schedule: ScheduleSpec = Field(default_factory=ScheduleSpec, description="When gates do what.")
    snapshots: SnapshotSpec = Field(default_factory=SnapshotSpec, description="When gates save their state.")
    wire: WireSpec = Field(
        default_factory=WireSpec, exclude_if=lambda value: value == WireSpec(), description="What travels, and how."
    )
    packages: tuple[PackageSpec, ...] = Field(
        (), max_length=MAX_PACKAGES, strict=False, description="Where own layers and data come from; filled in."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"network name {self.name!r}: takes {NAME.pattern}")
        check_loss(self.loss, self.loss_settings)
        self._settle_packages()
        self._check_gate_names()
        self._check_lanes()
        self._check_weights()
        self._check_output()  # builds the layers, so shapes of neighbours are checked before anything starts
        return self

    def _settle_packages(self) -> None:
        """Name the packages in use, or check those that were named by who defined the network."""
        if "packages" in self.model_fields_set:
            check_here(self.packages)
            check_named(self.packages, self.gates, self.loss)
        else:
            object.__setattr__(self, "packages", packages_in_use(self.gates, self.loss, self.data.name))

    def _check_gate_names(self) -> None:
        names = [gate.name for gate in self.gates]
        for name in names:
            if not NAME.fullmatch(name) or name.isdigit():
                raise ConfigError(
                    f"[[gate]] name {name!r}: takes {NAME.pattern}",
                    hint="Not digits alone: in key paths such as gate.0.layers a number is a position.",
                )
        if len(set(names)) != len(names):
            raise ConfigError(f"[[gate]] names must differ, got {names}")

    def _check_lanes(self) -> None:
        fixed = self.schedule.kind == "fixed"
        if fixed and len(self.lanes.train) > 1:
            raise ConfigError(
                "[schedule] kind = 'fixed' needs all training lanes on one source",
                hint="The fixed schedule numbers batches n = seq x lanes + lane; use one entry in lanes.train.",
            )
        bound = self.schedule.max_staleness
        if fixed and bound is not None and bound < self.in_flight:
            raise ConfigError(
                f"[schedule] max_staleness = {bound} is less than window x lanes = {self.in_flight}, kind is 'fixed'",
                hint="The fixed schedule goes round the lanes in turn: with less than a window of each it would stop.",
            )
        if self.schedule.auto_window and fixed:
            raise ConfigError(
                "[schedule] window = 'auto' belongs to kind = 'arrival', got kind = 'fixed'",
                hint="Give a number: whatever it is, kind = 'fixed' gives the same bits for the same delay.",
            )
        if self.schedule.gate_window is not None and fixed:
            raise ConfigError(
                f"[schedule] gate_window = {self.schedule.gate_window} belongs to kind = 'arrival', got kind = 'fixed'",
                hint="Set delay instead: it says how old the weights of a batch are.",
            )
        if self.schedule.delay is not None and not fixed:
            raise ConfigError(
                f"[schedule] delay = {self.schedule.delay} belongs to kind = 'fixed', got kind = 'arrival'",
                hint="Set kind = 'fixed', or leave delay out: as messages come, nobody knows it beforehand.",
            )
        if self.plan.count > MAX_LANES:
            raise ConfigError(f"[lanes] {self.plan.count} lanes in all, takes up to {MAX_LANES}")

    def _check_weights(self) -> None:
        if not any(gate.trainable for gate in self.gates):
            raise ConfigError(
                "[[gate]] trainable = false everywhere: nothing would be trained", hint="Leave one gate trainable."
            )
        for gate, layer in zip(self.gates, self.layers, strict=True):
            if gate.weights is not None and not layer.param_shapes:
                raise ConfigError(f"[[gate]] {gate.name!r}: has no weights to begin with, got weights = {gate.weights}")

    def _check_output(self) -> None:
        last, classes = self.layers[-1], self.classes
        if self.loss in REAL_TARGETS and classes is not None:
            raise ConfigError(
                f"loss {self.loss!r} needs real targets, data set {self.data.name!r} has {classes} classes",
                hint="Take softmax-cross-entropy for classes, or binary-cross-entropy where there are two.",
            )
        if self.loss in REAL_TARGETS or self.loss == "binary-cross-entropy":
            self._check_real_output(last, classes)
        if self.loss != "softmax-cross-entropy":
            return
        if classes is None:
            raise ConfigError(
                f"loss 'softmax-cross-entropy' needs class numbers, data set {self.data.name!r} has real targets",
                hint="Take mse, mae or huber.",
            )
        shape, places = last.out_shape, self.target_shape or ()
        if len(shape) != len(places) + 1 or shape[:-1] != places or shape[-1] < classes or last.out_dtype != np.float32:
            each = f" at each of {places} positions" if places else ""
            raise ShapeError(
                f"gate {self.gates[-1].name!r} gives {shape} {last.out_dtype}, loss {self.loss!r} takes "
                f"{(*places, classes)} float32: one output a class of {self.data.name!r}{each}",
                hint=f"Let the last linear layer have out = {classes}"
                + (", inside of an each layer." if places else "."),
            )

    def _check_real_output(self, last: Layer, classes: int | None) -> None:
        name, shape, target = self.gates[-1].name, last.out_shape, self.target_shape
        if last.out_dtype != np.float32:
            raise ShapeError(f"gate {name!r} gives {shape} {last.out_dtype}, loss {self.loss!r} takes float32")
        if classes is not None and (classes, shape) != (2, (*(target or ()), 1)):
            raise ShapeError(
                f"gate {name!r} gives {shape}, {self.data.name!r} has {classes} classes: loss {self.loss!r} takes "
                f"{(*(target or ()), 1)} float32 for two classes",
                hint="Let the last linear layer have out = 1, or take softmax-cross-entropy.",
            )
        if classes is None and target is not None and shape not in (target, (*target, 1)):
            raise ShapeError(
                f"gate {name!r} gives {shape}, loss {self.loss!r} takes {target or (1,)} float32: one output for each "
                f"number that a sample of {self.data.name!r} is to give",
                hint=f"Let the last linear layer have out = {target[-1] if target else 1}.",
            )

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Each gate's layers, built; raises ShapeError that names both neighbours."""
        shape, dtype = shapes(self.data)
        built: list[Layer] = []
        before = f"data {self.data.name!r}"
        for gate in self.gates:
            try:
                layer = build_sequence(gate.layers, shape, dtype)
            except ShapeError as error:
                raise ShapeError(
                    f"gate {gate.name!r} does not fit {before}, which gives {shape} {dtype}: {error}", hint=error.hint
                ) from error
            built.append(layer)
            before, shape, dtype = f"gate {gate.name!r}", layer.out_shape, layer.out_dtype
        return tuple(built)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A changed copy, checked like a new one; pydantic's own would keep the old one's hash and layers."""
        kept = set(type(self).model_fields)
        if {"gates", "loss", "data"} & (update or {}).keys():
            kept.discard("packages")  # named anew
        return type(self).model_validate({**{name: getattr(self, name) for name in kept}, **(update or {})})

    @cached_property
    def canonical(self) -> str:
        """JSON with sorted keys: what is hashed and published. Without packages of one's own it names none."""
        fields = self.model_dump(mode="json", by_alias=True, exclude=None if self.packages else {"packages"})
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @property
    def classes(self) -> int | None:
        """How many classes the data set has; None for real-valued targets."""
        return self.data.classes if self.data.complete else info(self.data.name).classes

    @property
    def target_shape(self) -> tuple[int, ...] | None:
        """Shape of what one sample is to give: () for one number, (T,) for one at each position; None: not known."""
        known = self.data.target_shape if self.data.complete else info(self.data.name).target_shape
        return () if known is None and self.classes is not None else known

    @property
    def hash(self) -> str:
        """sha256 of `canonical`, in hex."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    def new_run(self) -> Run:
        """A run of this definition with a random incarnation."""
        return Run(bytes.fromhex(self.hash)[:8], os.urandom(8))

    @cached_property
    def plan(self) -> LanePlan:
        """Whose lane is whose."""
        return lane_plan(self.lanes)

    @property
    def in_flight(self) -> int:
        """Training batches in flight over all lanes of the definition."""
        return self.schedule.window * len(self.plan.of(Mode.TRAIN))

    @property
    def gate_window(self) -> int:
        """Batches of a lane between a gate's forward and its update, at most."""
        return min(self.schedule.window, self.schedule.gate_window or self.schedule.window)

    @property
    def delay(self) -> int:
        """D of the fixed schedule."""
        return self.in_flight - 1 if self.schedule.delay is None else self.schedule.delay

    @property
    def max_staleness(self) -> int:
        """How old an open batch may grow before issuing stops."""
        return self.schedule.max_staleness or 4 * self.in_flight

    @property
    def reach(self) -> int:
        """Updates for which a gate's older weights are at hand: what was forwarded before is zeroed.

        A part of the rule by which records count, so never to be changed. Twice what a batch can be late by unless its
        process slept: issuing stops at max_staleness, and every lane, a claimed one too, may then have a window open.
        The journal is kept for as many records at least.
        """
        if self.schedule.kind == "fixed":
            return self.delay
        lanes = len(self.plan.of(Mode.TRAIN)) + len(self.plan.spare)
        return 2 * (self.max_staleness + self.schedule.window * lanes)

    @property
    def largest_bytes(self) -> int:
        """Of the arrays in a batch on any edge, or in an update of any gate's weights, at most."""
        passed = [shapes(self.data), *((layer.out_shape, layer.out_dtype) for layer in self.layers)]
        batch = self.batch_size * max(prod(shape) * dtype.itemsize for shape, dtype in passed)
        weights = max(sum(map(prod, layer.param_shapes.values())) for layer in self.layers)
        return max(batch, weights * np.dtype(np.float32).itemsize)

    @property
    def telling(self) -> tuple[str, ...]:
        """The metrics to be shown, the foremost first."""
        return telling(self.loss, self.layers[-1].out_shape)

    def edge(self, i: int) -> EdgeSpec:
        """Forms of numbers on edge `i`, in front of gate i; the open end is edge `len(gates)`.

        Samples travel as they are, and homecomings bring nothing, so there is nothing to set for edge 0.
        """
        if i == 0:
            return EdgeSpec()
        inner = self.wire.edges if i < len(self.gates) else EdgeSpec()
        return self.gates[i - 1].wire or inner

    def weights_seed(self, gate: int) -> tuple[int, int]:
        """What the initial weights of `gate` derive from."""
        return self.seed, gate


def parse_definition(canonical: str) -> Definition:
    """The definition in `canonical` JSON; raises ConfigError, whatever the text.

    PackageError, which is one, if it was defined with other sources of own layers and data than are here.
    """
    try:
        fields = json.loads(canonical)
        if isinstance(fields, dict):
            fields.setdefault("packages", [])  # what is on the wire names its packages, even if that is none
            check_here(read_packages(fields["packages"]))  # first: a layer that is missing would be "unknown"
        return Definition.model_validate(fields)
    except ValidationError as error:
        raise listed("definition", faults_of(error, Definition)) from error
    except (ValueError, RecursionError) as error:  # no JSON, or nested without end
        raise ConfigError(f"definition: not readable as JSON: {str(error)[:200]}") from error
    except DataError as error:  # own data without their shapes: `define` publishes none such
        raise ConfigError(f"definition: {error}", hint=error.hint) from error


@dataclass(frozen=True, slots=True)
class LaneSource:
    """What a training lane reads: every n-th batch of a shard."""

    lane: int
    first: int  # the lane's first batch
    stride: int  # lanes that share the source
    shard: Shard | None  # None: all rows


@dataclass(frozen=True, slots=True)
class LanePlan:
    """Lanes of a network by role."""

    roles: Mapping[Mode, range]
    spare: range
    sources: Sequence[LaneSource]  # of the training lanes, by lane

    @property
    def count(self) -> int:
        """All lanes: the partition count of every edge topic."""
        return self.spare.stop

    def of(self, mode: Mode) -> range:
        """The lanes that the definition gives to a role."""
        return self.roles[mode]


def lane_plan(spec: LaneSpec) -> LanePlan:
    """Number the lanes, role by role."""
    sources = [
        LaneSource(0, j, group.lanes, Shard.parse(group.shard) if group.shard else None)
        for group in spec.train
        for j in range(group.lanes)
    ]
    roles: dict[Mode, range] = {}
    at = 0
    for mode, count in (
        (Mode.TRAIN, len(sources)),
        (Mode.VALIDATE, spec.validate_),
        (Mode.TEST, spec.test),
        (Mode.PREDICT, spec.predict),
    ):
        roles[mode] = range(at, at + count)
        at += count
    numbered = [LaneSource(lane, s.first, s.stride, s.shard) for lane, s in enumerate(sources)]
    return LanePlan(roles, range(at, at + spec.spare), numbered)


@lru_cache(maxsize=1024)  # a batch has the same on its way back
def mask_key(run: Run, gate: int, lane: int, seq: int) -> int:
    """128 bits from which all chance of one batch at one gate follows; equal in every incarnation of a definition."""
    facts = f"{gate}/{lane}/{seq}".encode()
    return int.from_bytes(hashlib.blake2b(facts, key=run.definition, digest_size=16).digest(), "little")
