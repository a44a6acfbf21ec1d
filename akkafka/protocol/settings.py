"""The parts of a definition: lanes, schedule, snapshots, wire, gates. What a user writes into a TOML table each."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, model_validator

from akkafka.data.dataset import DataSpec, completed
from akkafka.nn.spec import LayerSpec, layer_spec
from akkafka.optim.optimizer import OptimizerSpec, optimizer_spec
from akkafka.protocol.faults import told
from akkafka.protocol.narrow import Form

AUTO_LIMIT: Final = 16  # batches in flight in each lane where the window is found, at most, unless told otherwise


class Part(BaseModel):
    """Settings that are part of the definition's hash."""

    # strict: `window = true` or "5" is a slip, and would hash like 1 or 5
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _layer(data: Any) -> LayerSpec:
    return data if isinstance(data, LayerSpec) else told(layer_spec, data)


def _optimizer(data: Any) -> OptimizerSpec:
    return data if isinstance(data, OptimizerSpec) else told(optimizer_spec, data)


def _completed(data: DataSpec) -> DataSpec:
    """With the shapes of own data, so that a gate needs neither the data nor their package."""
    return told(completed, data)


CompleteData = Annotated[DataSpec, AfterValidator(_completed)]
AnyLayer = Annotated[SerializeAsAny[LayerSpec], BeforeValidator(_layer)]
AnyOptimizer = Annotated[SerializeAsAny[OptimizerSpec], BeforeValidator(_optimizer)]


class EdgeSpec(Part):
    """In which form float32 numbers travel over an edge (narrow.py); one word is short for both ways."""

    forward: Form = Field("float32", description="Outputs of the gate in front.")
    backward: Form = Field("float32", description="Gradients that come back to it.")

    @model_validator(mode="before")
    @classmethod
    def _both(cls, data: Any) -> Any:
        return {"forward": data, "backward": data} if isinstance(data, str) else data


class GateSpec(Part):
    """One gate: a block of layers and its own optimizer."""

    name: str = Field(description="What messages and tables call it.")
    layers: tuple[AnyLayer, ...] = Field(description="The layers, in order.", min_length=1, strict=False)
    optimizer: AnyOptimizer = Field(description="This gate's optimizer; the network's own if left out.")
    # both are later than the first definitions, whose hashes stay
    trainable: bool = Field(
        True,
        exclude_if=lambda value: value is True,
        description="false: frozen. It passes gradients on and counts every batch in its journal, but takes no step, "
        "and computes as in validation: running statistics, no dropout.",
    )
    weights: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{32}$",
        exclude_if=lambda value: value is None,
        description="Name (a hash) of the weights in the log that it begins with, put here by `akkafka import` and "
        "`train --weights`; drawn from the seed if left out.",
    )
    wire: EdgeSpec | None = Field(
        None,
        exclude_if=lambda value: value is None,  # later than the first definitions, whose hashes stay
        description="Form of numbers on the edge behind this gate: what it gives, and the gradients that come back; "
        "wire.edges if left out, and for the last gate float32.",
    )


class TrainLanes(Part):
    """Lanes that share one source: lane j of n takes batches j, j+n, j+2n, … of it."""

    lanes: int = Field(1, ge=1, le=64, description="How many lanes, so how many sentinels can share the work.")
    shard: str | None = Field(None, description="Rows of the data set, e.g. '0:30000'; all of them if left out.")


class LaneSpec(Part):
    """Which lanes there are and whose they are, in the order train, validate, test, predict, spare."""

    train: tuple[TrainLanes, ...] = Field(
        (TrainLanes(),), min_length=1, max_length=64, strict=False, description="Training lanes, by source."
    )
    validate_: int = Field(2, ge=0, le=64, alias="validate", description="Lanes for validation sentinels.")
    test: int = Field(1, ge=0, le=64, description="Lanes for test sentinels.")
    predict: int = Field(1, ge=0, le=64, description="Lanes for predictions.")
    spare: int = Field(4, ge=0, le=64, description="Lanes that a sentinel with data of its own may claim.")

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)


class ScheduleSpec(Part):
    """When gates do what."""

    kind: Literal["arrival", "fixed"] = Field(
        "arrival", description="arrival: as messages come, backward first; fixed: reproducible bit for bit."
    )
    window: int = Field(
        5,
        ge=1,
        le=1024,
        description="Training batches in flight in each lane; 'auto': as few as keep the busiest gate busy, up to "
        "window_limit (16 if left out).",
    )
    auto_window: bool = Field(
        False,
        exclude_if=lambda value: value is False,  # later than the first definitions, whose hashes stay
        description="Sentinels find the window by themselves (sentinel/window.py), `window` is its bound: what is "
        "published for window = 'auto'.",
    )
    gate_window: int | None = Field(
        None,
        ge=1,
        exclude_if=lambda value: value is None,  # later than the first definitions, whose hashes stay
        description="arrival only: batches of a lane that a gate has forwarded and not yet applied, at most; others "
        "wait before it. Staleness is below this times the lanes; default window.",
    )
    burst: int | None = Field(
        None,
        ge=1,
        exclude_if=lambda value: value is None,  # later than the first definitions, whose hashes stay
        description="Training batches of a lane that are issued together, once the window has room for them; they "
        "leave each gate together, too: fewer and larger requests. Left out: 1, and a third of a window that is found.",
    )
    delay: int | None = Field(
        None, ge=0, description="fixed only: batch n uses the weights of version n - delay; default window x lanes - 1."
    )
    max_staleness: int | None = Field(
        None, ge=1, description="Issuing stops while an open batch is older than so many; default 4 x window x lanes."
    )

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, data: Any) -> Any:
        """`window = "auto"` and its limit as what all bounds derive from: the limit."""
        if not isinstance(data, dict) or data.get("window") != "auto":
            return data
        rest = {name: value for name, value in data.items() if name != "window_limit"}
        return {**rest, "window": data.get("window_limit", AUTO_LIMIT), "auto_window": True}


class SnapshotSpec(Part):
    """How much a restart has to read again at most."""

    every_bytes: int = Field(64 << 20, ge=1 << 10, description="Journal bytes between two snapshots.")
    every_seconds: float = Field(30.0, gt=0, description="Seconds between two snapshots, if anything has changed.")


class WireSpec(Part):
    """What travels, and how."""

    samples: Literal["auto", "value", "reference"] = Field(
        "auto",
        description="value: in every message; reference: published once, messages name rows; auto: by reference if the "
        "data set is no larger than reference_limit_bytes.",
    )
    reference_limit_bytes: int = Field(
        512 << 20, ge=1 << 20, description="Published samples that the first gate keeps in memory, at most."
    )
    edges: EdgeSpec = Field(
        EdgeSpec(),
        exclude_if=lambda value: value == EdgeSpec(),  # as GateSpec.wire
        description="Form of numbers between gates: float32, bfloat16, float16 or int8, or one for each way.",
    )
    journal: Literal["float32", "bfloat16"] = Field(
        "float32",
        exclude_if=lambda value: value == "float32",  # as above
        description="Form of the weights' gradients, as they stand in the journals and as steps are made with them.",
    )
