"""Which processes a training has, and how the connection reaches them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import SecretStr

from akkafka.broker.connection import Connection
from akkafka.cli.training.crew import Home, crew, kafka_environment
from akkafka.cli.training.supervision import Role
from akkafka.protocol.config import load_config


def test_every_gate_has_a_process_and_sentinels_are_no_more_than_lanes() -> None:
    config = load_config(None, ["run.sentinels=9", "lanes.train=2"])
    workers = crew(config, "net", 4, Path("somewhere"), "h:1")
    assert [w.name for w in workers if w.role is Role.GATE] == ["gate-0", "gate-1", "gate-2"]
    assert [w.name for w in workers if w.role is Role.TRAIN] == ["sentinel-train-0", "sentinel-train-1"]
    assert all(w.command[w.command.index("--network") :][:2] == ("--network", "net") for w in workers)
    assert all("--data-dir" in w.command for w in workers if w.role is not Role.GATE)
    (validator,) = (w for w in workers if w.role is Role.VALIDATE)
    assert "--once" in validator.last_resort
    assert "--once" not in validator.command


def test_gates_share_processes_as_told() -> None:
    workers = crew(load_config(None, ["run.processes=['0', '1-2']"]), "net", 4, None, "h:1")
    gates = {w.name: w.command[w.command.index("--layer") + 1] for w in workers if w.role is Role.GATE}
    assert gates == {"gate-0": "0", "gate-1-2": "1-2"}


def test_a_standby_of_a_gate_differs_by_its_flag_alone() -> None:
    workers = {w.name: w for w in crew(load_config(None), "net", 4, None, "h:1", standby=True)}
    assert [name for name in workers if name.endswith("-standby")] == [f"gate-{i}-standby" for i in range(3)]
    assert all(workers[f"gate-{i}-standby"].command == (*workers[f"gate-{i}"].command, "--standby") for i in range(3))


def test_without_validation_lanes_nobody_validates() -> None:
    workers = crew(load_config(None, ["lanes.validate=0"]), "net", 4, None, "h:1")
    assert not [w for w in workers if w.role is Role.VALIDATE]


def test_a_password_travels_by_environment_and_arrives_as_it_was(tmp_path: Path) -> None:
    cafile = tmp_path / "ca.pem"
    cafile.touch()
    told = Connection(
        bootstrap_servers="h:9093",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="me",
        sasl_password=SecretStr("secret"),
        ssl_cafile=cafile,
        ssl_check_hostname=False,
        replication_factor=2,
    )
    environment = kafka_environment(told)
    assert environment["KAFKA_SASL_PASSWORD"] == "secret"
    assert Connection.load({}, environment) == told
    assert not any("secret" in word for w in crew(load_config(None), "n", 1, None, "h:1") for word in w.command)


def test_a_goal_is_remembered_for_its_run_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "net")
    home.make()
    network: Any = SimpleNamespace(run="a-1")
    assert home.remembered(network) is None
    home.remember(network, 7)
    assert home.remembered(network) == 7
    another: Any = SimpleNamespace(run="a-2")
    assert home.remembered(another) is None
    home.goal.write_text("{")
    assert home.remembered(network) is None


def test_every_process_may_use_the_packages_that_train_was_allowed() -> None:
    workers = crew(load_config(None), "net", 4, None, "h:1", ("own_layer", "own_data"))
    words = ("--allow", "own_layer", "--allow", "own_data")
    assert all(any(w.command[i : i + 4] == words for i in range(len(w.command))) for w in workers)
