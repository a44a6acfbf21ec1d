"""Optimizers from plain data: what is right is built, what is wrong teaches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from akkafka.errors import ConfigError
from akkafka.optim.optimizer import OPTIMIZERS, optimizer_spec
from akkafka.optim.schedule import SCHEDULES
from akkafka.sentences import sentence

from .cases import CASES, Case

SCHEDULED = {"type": "cosine", "updates": 100, "warmup": 5, "floor": 0.1}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_spec_survives_the_way_through_json_with_its_schedule(case: Case) -> None:
    spec = optimizer_spec({**case.data, "schedule": SCHEDULED})
    assert optimizer_spec(spec.model_dump()) == spec
    assert optimizer_spec(json.loads(spec.model_dump_json())) == spec
    assert spec.model_dump()["schedule"] == SCHEDULED


def test_the_tables_name_each_entry_as_its_own_type_does_and_every_field_tells_what_it_is() -> None:
    for name, spec in [*OPTIMIZERS.items(), *SCHEDULES.items()]:
        assert spec.model_fields["type"].default == name
        assert all(sentence(spec, field) for field in spec.model_fields)


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    (
        ({"type": "sdg", "lr": 1.0}, "unknown optimizer 'sdg'", "sgd"),
        ({"type": "dc-asgd", "lr": 1.0}, "unknown optimizer 'dc-asgd'", "dc-asgd-"),
        ({"lr": 1.0}, "optimizer: the key 'type' is missing", "momentum"),
        ({"type": "sgd"}, "sgd: lr: field required", "Learning rate"),
        ({"type": "sgd", "lr": -0.1}, "sgd: lr: .* greater than or equal to 0, got -0.1", "Learning rate"),
        ({"type": "sgd", "lr": "0.1"}, "sgd: lr: .* number, got '0.1'", "Learning rate"),
        ({"type": "sgd", "lr": float("inf")}, "sgd: lr: ", "Learning rate"),
        ({"type": "sgd", "lr": 0.1, "wieght_decay": 1}, "sgd: unknown key 'wieght_decay'", "weight_decay"),
        ({"type": "sgd", "lr": 0.1, "clip_norm": 0}, "sgd: clip_norm: .* greater than 0", "2-norm"),
        ({"type": "momentum", "lr": 0.1, "beta": 1}, "momentum: beta: .* less than 1", "mean"),
        ({"type": "dc-asgd-c", "lr": 0.1, "lam": -1}, "dc-asgd-c: lam: ", "correction"),
        ({"type": "dc-asgd-a", "lr": 0.1, "m": 1}, "dc-asgd-a: m: ", "mean of"),
        ({"type": "dc-asgd-a", "lr": 0.1, "eps": 0}, "dc-asgd-a: eps: ", "root"),
        ({"type": "adma", "lr": 0.1}, "unknown optimizer 'adma'", "adam"),
        ({"type": "adam", "lr": 0.1, "beta2": 1}, "adam: beta2: .* less than 1", "g²"),
        ({"type": "sgd", "lr": 0.1, "clip_value": 0}, "sgd: clip_value: .* greater than 0", "cut to this"),
        ({"type": "sgd", "lr": 0.1, "accumulate": 0}, "sgd: accumulate: .* 1, got 0", "in so many batches"),
        ({"type": "sgd", "lr": 0.1, "staleness_aware": True, "pipemare": 3}, "both divide", "one of them"),
        ({"type": "dc-asgd-a", "lr": 0.1, "accumulate": 2}, "accumulate = 2", "larger batches"),
        ({"type": "sgd", "lr": 0.1, "schedule": {"type": "step"}}, "schedule step: every: field required", "two steps"),
        ({"type": "sgd", "lr": 0.1, "schedule": {"type": "cosin"}}, "sgd: unknown schedule 'cosin'", "cosine"),
        (
            {"type": "sgd", "lr": 0.1, "schedule": {"type": "cosine"}},
            "schedule cosine: updates: field required",
            "floor",
        ),
        ({"type": "sgd", "lr": 0.1, "schedule": "cosine"}, "sgd: schedule: .*got 'cosine'", "version"),
        ({"type": "sgd", "lr": 0.1, "schedule": {"type": "warmup", "updates": 0}}, "warmup: updates: ", "warm-up"),
    ),
)
def test_a_mistake_is_told_with_its_key_and_what_to_do(data: Any, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message) as err:
        optimizer_spec(data)
    assert hint in err.value.hint
