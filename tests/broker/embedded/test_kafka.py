"""The embedded broker with a real Kafka: who may die when, and what is there afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from akkafka.broker.embedded import BrokerSettings, Lease, acquire, probe, start, status, stop
from akkafka.broker.embedded.identity import format_data
from akkafka.broker.embedded.launch import prepare
from akkafka.broker.embedded.place import Place, read_json, write_json
from akkafka.broker.embedded.properties import HOST
from akkafka.errors import BrokerError

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PATIENCE_S = 90.0
# A user of the broker in a process of its own: says its address, then waits to be killed or told to go.
USER = """
import sys
from pathlib import Path
from akkafka.broker.embedded import BrokerSettings, acquire
lease = acquire(BrokerSettings(Path(sys.argv[1]), linger_s=0.0))
print(lease.bootstrap, flush=True)
sys.stdin.readline()
lease.release()
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerSettings]:
    """One state directory for the module; a broker that a failed test left behind is ended."""
    settings = BrokerSettings(tmp_path_factory.mktemp("broker"), linger_s=0.0)
    yield settings
    stop(settings.state_dir, print, force=True)


@pytest.fixture
def user(settings: BrokerSettings) -> Iterator[subprocess.Popen[str]]:
    """Another process with a lease; its first line of output is the address."""
    with open_user(settings) as process:
        yield process
        process.kill()


def open_user(settings: BrokerSettings) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", USER, str(settings.state_dir)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())


def environment() -> dict[str, str]:
    import akkafka

    root = str(Path(str(akkafka.__file__)).parents[1])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Waits for something that another process does; the limit only keeps a failing test from hanging."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.02)


def port_of(bootstrap: str) -> int:
    return int(bootstrap.rpartition(":")[2])


def answers(bootstrap: str) -> bool:
    return probe(HOST, port_of(bootstrap)).is_kafka


def ended(settings: BrokerSettings) -> bool:
    seen = status(settings.state_dir)
    return seen.pid is None


def jvm_of(settings: BrokerSettings) -> psutil.Process:
    pid = status(settings.state_dir).jvm_pid
    assert pid is not None
    return psutil.Process(pid)


def ready(settings: BrokerSettings) -> Lease:
    return acquire(settings, progress=print)


def test_the_first_lease_starts_a_kafka_the_second_joins_it_and_the_last_release_ends_it(
    settings: BrokerSettings,
) -> None:
    first = ready(settings)
    second = acquire(settings)
    assert first.bootstrap == second.bootstrap
    seen = status(settings.state_dir)
    assert (seen.running, seen.phase, seen.leases) == (True, "ready", (os.getpid(), os.getpid()))
    jvm = jvm_of(settings)
    assert seen.pid is not None
    assert os.getsid(seen.pid) != os.getsid(0)  # Ctrl-C in this terminal is not meant for it
    first.release()
    assert answers(second.bootstrap)
    second.release()
    eventually(lambda: ended(settings), "the broker ends behind its last lease")
    assert not jvm.is_running()
    assert status(settings.state_dir).phase == "stopped"
    assert status(settings.state_dir).problem is None


def test_a_restart_goes_on_at_the_same_address_with_the_same_cluster(settings: BrokerSettings) -> None:
    with ready(settings) as lease:
        before = status(settings.state_dir).cluster_id, lease.bootstrap
    eventually(lambda: ended(settings), "the broker ends")
    with ready(settings) as lease:
        assert (status(settings.state_dir).cluster_id, lease.bootstrap) == before


def test_a_killed_user_gives_its_lease_back(settings: BrokerSettings, user: subprocess.Popen[str]) -> None:
    assert answers(address(user))
    assert status(settings.state_dir).leases == (user.pid,)
    user.kill()
    eventually(lambda: ended(settings), "the broker ends behind its killed user")


def test_a_killed_supervisor_leaves_no_jvm_and_the_next_user_starts_anew(settings: BrokerSettings) -> None:
    with ready(settings) as lease:
        before = status(settings.state_dir)
        jvm = jvm_of(settings)
        assert before.pid is not None
        os.kill(before.pid, signal.SIGKILL)
        eventually(lambda: not jvm.is_running(), "the JVM dies with its supervisor")
        assert status(settings.state_dir).problem == "its supervisor was killed"
        with acquire(settings) as again:
            assert again.bootstrap == lease.bootstrap
            assert status(settings.state_dir).cluster_id == before.cluster_id


def test_a_killed_jvm_comes_back_at_the_same_address_with_its_data(settings: BrokerSettings) -> None:
    with ready(settings) as lease:
        before = status(settings.state_dir)
        jvm_of(settings).kill()
        eventually(lambda: status(settings.state_dir).restarts == before.restarts + 1, "its death is noticed")
        with acquire(settings) as again:  # returns once it is ready again
            assert again.bootstrap == lease.bootstrap
            assert answers(lease.bootstrap)
        after = status(settings.state_dir)
        assert (after.cluster_id, after.pid) == (before.cluster_id, before.pid)
        assert after.jvm_pid != before.jvm_pid


def test_two_processes_that_start_it_at_once_get_one_broker(settings: BrokerSettings) -> None:
    with open_user(settings) as one, open_user(settings) as other:
        try:
            assert address(one) == address(other) != ""
            assert set(status(settings.state_dir).leases) == {one.pid, other.pid}
            supervisors = [
                process.pid
                for process in psutil.process_iter(["cmdline"])
                if str(settings.state_dir) in (process.info["cmdline"] or []) and "-m" in process.info["cmdline"]
            ]
            assert supervisors == [status(settings.state_dir).pid]
        finally:
            one.kill()
            other.kill()
    eventually(lambda: ended(settings), "the broker ends")


def test_start_keeps_it_up_without_a_process_until_stop(settings: BrokerSettings) -> None:
    bootstrap = start(settings, print)
    assert status(settings.state_dir).leases == ()
    assert status(settings.state_dir).held
    with acquire(settings) as lease:
        said: list[str] = []
        assert lease.bootstrap == bootstrap
        assert not stop(settings.state_dir, said.append)  # somebody still uses it
        assert str(os.getpid()) in said[-1]
        assert answers(bootstrap)
    assert stop(settings.state_dir, print)
    assert ended(settings)


def test_a_remembered_port_that_is_taken_makes_the_broker_move_and_say_so(settings: BrokerSettings) -> None:
    eventually(lambda: ended(settings), "the broker of the test before ends")
    last = read_json(Place(settings.state_dir).ports)["port"]
    with socket.create_server((HOST, last)):
        said: list[str] = []
        with acquire(settings, progress=said.append) as lease:
            assert port_of(lease.bootstrap) != last
            assert any(f"port {last}" in line and "moves" in line for line in said), said
    eventually(lambda: ended(settings), "the broker ends")


def test_stale_reports_of_a_broker_that_is_no_more_are_not_believed(settings: BrokerSettings) -> None:
    place = prepare(settings.state_dir)
    eventually(lambda: ended(settings), "the broker of the test before ends")
    write_json(place.state, {"phase": "ready", "bootstrap": "127.0.0.1:1", "supervisor_pid": os.getpid()})
    (place.leases / "4711-stale").touch()
    assert not status(settings.state_dir).running
    with ready(settings) as lease:
        assert answers(lease.bootstrap)
        assert status(settings.state_dir).leases == (os.getpid(),)


def test_a_torn_identity_file_is_mended_and_the_data_stay(settings: BrokerSettings) -> None:
    place = Place(settings.state_dir)
    eventually(lambda: ended(settings), "the broker of the test before ends")
    cluster = format_data(place)
    (place.data / "meta.properties").write_text("version=1\nclus")
    with ready(settings):
        assert status(settings.state_dir).cluster_id == cluster


def test_a_joining_user_that_asks_for_another_port_is_told_where_the_broker_is(settings: BrokerSettings) -> None:
    with ready(settings) as lease, pytest.raises(BrokerError, match=f"runs already, at {lease.bootstrap}"):
        acquire(replace(settings, port=1024 + port_of(lease.bootstrap)))


def test_nothing_is_fetched_when_all_is_there(settings: BrokerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    with ready(settings):  # whatever is missing is fetched now
        pass
    eventually(lambda: ended(settings), "the broker ends")
    monkeypatch.setenv("AKKAFKA_OFFLINE", "1")
    with ready(settings) as lease:
        assert answers(lease.bootstrap)


def test_a_broker_beyond_its_memory_is_told_to_collect_and_works_on(tmp_path: Path) -> None:
    small = BrokerSettings(tmp_path, linger_s=0.0, rss_mb=1)
    log = tmp_path / "logs" / "supervisor.log"
    with ready(small) as lease:
        eventually(lambda: "heap was collected" in log.read_text(), "the heap is collected")
        assert answers(lease.bootstrap)
        assert status(tmp_path).restarts == 0
    eventually(lambda: ended(small), "the broker ends")
