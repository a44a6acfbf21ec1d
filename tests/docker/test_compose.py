"""compose.yaml and Dockerfile without a Docker engine: the schema, the embedded broker's limits, a real boot."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from akkafka.broker.embedded import Provision, provision
from akkafka.broker.embedded.handshake import probe
from akkafka.broker.embedded.identity import format_data
from akkafka.broker.embedded.jars import read_lock
from akkafka.broker.embedded.jvm import command
from akkafka.broker.embedded.place import Place
from akkafka.broker.embedded.ports import is_free
from akkafka.broker.embedded.properties import render, server_properties
from akkafka.broker.embedded.settings import BrokerSettings
from akkafka.broker.embedded.tether import tethered

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
KAFKA: dict[str, Any] = COMPOSE["services"]["kafka"]
FLEET = {name: service for name, service in COMPOSE["services"].items() if name != "kafka"}

# What the image's entry point does not pass on to server.properties (KafkaDockerWrapper, ExcludeServerPropsEnv).
NOT_PROPERTIES = {"KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_OPTS", "KAFKA_LOG4J_OPTS", "KAFKA_VERSION"}


def properties_of(environment: dict[str, str]) -> dict[str, str]:
    """As the official image translates: KAFKA_ goes, _ is a dot, __ an underscore, ___ a dash."""
    return {
        name.removeprefix("KAFKA_").lower().replace("_", ".").replace("...", "-").replace("..", "_"): value
        for name, value in environment.items()
        if name.startswith("KAFKA_") and name not in NOT_PROPERTIES
    }


def test_it_is_a_compose_file_by_the_specification() -> None:
    vendored = pytest.importorskip("check_jsonschema", reason="brings the schema of compose-spec")
    schema = files(vendored).joinpath("builtin_schemas", "vendor", "compose-spec.json").read_text(encoding="utf-8")
    jsonschema.validate(COMPOSE, json.loads(schema))


def test_the_image_has_the_version_of_the_lock() -> None:
    assert KAFKA["image"] == f"apache/kafka:{read_lock().kafka_version}"


def test_the_broker_in_docker_has_the_limits_of_the_embedded_one() -> None:
    here = server_properties(BrokerSettings(Path("/state")), 9092, 29093)
    there = properties_of(KAFKA["environment"])
    by_nature = {key for key in here if "listener" in key or key in ("log.dirs", "controller.quorum.voters")}
    assert {key: there.get(key) for key in here if key not in by_nature} == {
        key: value for key, value in here.items() if key not in by_nature
    }


def test_the_jvm_in_docker_is_tuned_like_the_embedded_one() -> None:
    java = Provision(Path("java"), "", "", 17, Path(__file__))
    settings = BrokerSettings(Path("/state"))
    here = command(Place(settings.state_dir), settings, java, Path("fresh"))
    there = " ".join(KAFKA["environment"][name] for name in ("KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS")).split()
    assert set(there) < set(here)
    assert {flag for flag in here if flag.startswith(("-Xm", "-XX:Max", "-XX:Tiered"))} < set(there)


def test_only_a_broker_that_lasts_gets_the_compiler_that_costs_more_at_first(tmp_path: Path) -> None:
    java = Provision(Path("java"), "", "", 17, Path(__file__))

    def flags(lasting: bool) -> list[str]:
        return command(Place(tmp_path), BrokerSettings(tmp_path, lasting=lasting), java, Path("fresh"))

    assert set(flags(False)) - set(flags(True)) == {"-XX:TieredStopAtLevel=1"}


def test_the_environment_is_translated_as_the_image_does() -> None:
    assert properties_of({"KAFKA_A_B": "1", "KAFKA_C__D": "2", "KAFKA_E___F": "3", "CLUSTER_ID": "x"}) == {
        "a.b": "1",
        "c_d": "2",
        "e-f": "3",
    }


def test_only_kafka_starts_unless_the_fleet_is_asked_for() -> None:
    assert "profiles" not in KAFKA
    assert all(service["profiles"] == ["train"] for service in FLEET.values())


def test_every_member_of_the_fleet_finds_the_broker_and_waits_for_its_health() -> None:
    advertised = KAFKA["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    for service in FLEET.values():
        assert "://" + service["environment"]["KAFKA_BOOTSTRAP_SERVERS"] in advertised
        assert service["depends_on"] == {"kafka": {"condition": "service_healthy"}}


def test_the_fleet_is_a_gate_per_layer_two_sentinels_and_a_definition() -> None:
    assert set(FLEET) == {"define", "gate-0", "gate-1", "gate-2", "sentinel-train", "sentinel-validate"}
    for number in range(3):
        assert FLEET[f"gate-{number}"]["command"] == ["python", "-m", "akkafka.gate", "--layer", str(number)]
        assert FLEET[f"gate-{number}"]["restart"] == "unless-stopped"
    assert FLEET["define"]["restart"] == "no"
    assert (ROOT / FLEET["define"]["command"][-1]).exists()


@pytest.mark.parametrize("name", sorted(FLEET))
def test_the_command_of_each_member_is_one_that_the_programs_take(name: str) -> None:
    words = FLEET[name]["command"]
    module, arguments = ("akkafka", words[1:]) if words[0] == "akkafka" else (words[2], words[3:])
    run = [sys.executable, "-m", module, *arguments, "--help"]
    told = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, check=False)
    assert told.returncode == 0, told.stderr
    options = [word for word in arguments if word.startswith("--")]
    assert all(option in told.stdout for option in options), told.stdout


def test_the_ports_are_open_to_this_machine_only() -> None:
    assert KAFKA["ports"] == ["127.0.0.1:9092:9092"]


def test_the_image_runs_as_somebody_who_may_do_little() -> None:
    lines = [line.split()[0:2] for line in DOCKERFILE.splitlines() if re.match(r"[A-Z]+ ", line)]
    users = [index for index, (word, _) in enumerate(lines) if word == "USER"]
    assert lines[users[-1]][1] not in ("root", "0")
    assert lines.index(["RUN", "akkafka"]) > users[-1]  # so that the compiled kernels are in that user's cache


def test_all_that_the_image_copies_is_there() -> None:
    sources = [word for line in DOCKERFILE.splitlines() if line.startswith("COPY") for word in line.split()[1:-1]]
    assert sources
    missing = [name for name in sources if not (ROOT / name).exists()]
    assert not missing
    allowed = (ROOT / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    assert all(f"!{name}\n" in allowed for name in sources)


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Kafka that runs on compose.yaml's settings; only ports and paths are this machine's."""
    place = Place(tmp_path_factory.mktemp("compose"))
    place.logs.mkdir()
    ports = [port for port in random.sample(range(20000, 32000), 50) if is_free(port)]
    moved = {"9092": str(ports[0]), "19092": str(ports[1]), "29093": str(ports[2])}
    properties = properties_of(KAFKA["environment"]) | {"log.dirs": str(place.data)}
    for key in ("listeners", "advertised.listeners", "controller.quorum.voters"):
        text = re.sub(r":(\d+)", lambda match: ":" + moved[match[1]], properties[key])
        properties[key] = text.replace("0.0.0.0", "127.0.0.1").replace("//kafka:", "//localhost:")
    format_data(place)
    (place.root / "server.properties").write_text(render(properties), encoding="utf-8")
    java = provision(print)
    tuning = " ".join(KAFKA["environment"][name] for name in ("KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS"))
    run = [
        str(java.java),
        *tuning.split(),
        "-cp",
        java.classpath,
        "kafka.Kafka",
        str(place.root / "server.properties"),
    ]
    with (place.logs / "console.log").open("wb") as console, tethered(run, console, place.root) as jvm:
        for _ in range(1500):  # a slow machine needs half a minute
            if jvm.poll() is not None or probe("127.0.0.1", ports[0], timeout_s=1.0).is_kafka:
                break
            with suppress(subprocess.TimeoutExpired):
                jvm.wait(0.1)
        yield ports[0]
        jvm.terminate()


@pytest.mark.kafka
def test_a_real_kafka_starts_on_the_settings_of_the_compose_file(booted: int) -> None:
    answer = probe("127.0.0.1", booted)
    assert answer.is_kafka, answer.detail


@pytest.mark.kafka
def test_the_health_check_tells_a_kafka_from_what_is_none(booted: int) -> None:
    def healthy(port: int) -> bool:
        check = [word.replace("$$", "$").replace("9092", str(port)) for word in KAFKA["healthcheck"]["test"][1:]]
        return subprocess.run(check, env=os.environ, stderr=subprocess.DEVNULL, check=False).returncode == 0

    assert healthy(booted)
    assert not healthy(next(port for port in range(20000, 32000) if is_free(port)))
