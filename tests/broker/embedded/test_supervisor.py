"""The supervisor with children that are no Kafka: it gives up by name and leaves nothing behind, whatever kills it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from akkafka.broker.embedded.diagnosis import diagnose, tail
from akkafka.broker.embedded.launch import prepare
from akkafka.broker.embedded.place import Place, is_held, read_json, write_json
from akkafka.broker.embedded.tether import kill, tethered, tied_by_pipe
from akkafka.cli.living import lives

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0
FOREVER = "import time\nwhile True: time.sleep(60)"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = prepare(tmp_path / "state")
    yield place
    pid = read_json(place.state).get("supervisor_pid")
    if pid is not None and is_held(place.supervisor_lock):
        os.kill(pid, signal.SIGKILL)


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.01)


def supervise(
    place: Place, script: str, linger_s: float = 0.0, stop_timeout_s: float = 20.0, archive: Path | None = None
) -> None:
    """Start a supervisor, as `launch` does, for a Python script instead of Kafka."""
    orders = {
        "command": [sys.executable, "-c", script],
        "port": 1,  # nobody answers there: the child never counts as ready
        "linger_s": linger_s,
        "stop_timeout_s": stop_timeout_s,
        "jcmd": None,
        "rss_bytes": 0,
        "facts": {"bootstrap": "127.0.0.1:1", "version": "0"},
    }
    if archive is not None:
        orders |= {"archive": str(archive), "archive_fresh": f"{archive}.new"}
    write_json(place.launch, orders)
    with place.supervisor_lock.open("ab") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["-P", "-m", "akkafka.broker.embedded.supervisor", str(place.root), str(lock.fileno())]
        with (place.logs / "supervisor.log").open("ab") as log:
            subprocess.run(
                [sys.executable, *command],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                pass_fds=[lock.fileno()],
                start_new_session=True,
                stdout=log,
                stderr=log,
                check=True,
            )


def phase(place: Place) -> str:
    return str(read_json(place.state).get("phase"))


def child_of(place: Place) -> psutil.Process:
    eventually(lambda: bool(read_json(place.state).get("jvm_pid")), "the child has started")
    return psutil.Process(read_json(place.state)["jvm_pid"])


def test_a_broker_that_dies_again_and_again_is_given_up_with_its_last_words(place: Place) -> None:
    place.held.touch()
    supervise(place, "print('first words')\nprint('last words')\nraise SystemExit(3)")
    eventually(lambda: phase(place) == "failed", "it gives up")
    problem = read_json(place.state)["problem"]
    assert "ended 4 times in a row: exit code 3" in problem
    assert "last words" in problem
    eventually(lambda: not is_held(place.supervisor_lock), "the supervisor ends")
    assert not place.held.exists()  # `broker start` is over, too


@pytest.mark.parametrize(
    ("words", "kind", "meaning"),
    [
        ("java.net.BindException: Address already in use", "port", "port is taken"),
        ("java.io.IOException: No space left on device", "disk", "the disk is full"),
        ("java.lang.OutOfMemoryError: Java heap space", "memory", "heap is too small"),
        ("RuntimeException: No `meta.properties` found in /x", "data", "incomplete"),
    ],
)
def test_a_cause_that_a_restart_cannot_mend_is_named_at_once(place: Place, words: str, kind: str, meaning: str) -> None:
    place.held.touch()
    supervise(place, f"print({words!r})\nraise SystemExit(1)")
    eventually(lambda: phase(place) == "failed", "it gives up")
    report = read_json(place.state)
    assert (report["kind"], report.get("restarts")) == (kind, None)
    assert meaning in report["problem"]


def test_it_ends_with_its_last_lease_even_if_the_child_does_not_listen(place: Place) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER
    place.held.touch()
    supervise(place, deaf, stop_timeout_s=0.1)
    child = child_of(place)
    place.held.unlink()
    eventually(lambda: phase(place) == "stopped", "it ends")
    assert not child.is_running()


def test_a_jvm_that_writes_its_archive_gets_the_time_and_the_archive_is_kept(place: Place, tmp_path: Path) -> None:
    archive, go_on = tmp_path / "kafka.jsa", tmp_path / "go_on"
    script = f"""
import pathlib, signal, sys, time
def end(*_):
    while not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.01)
    pathlib.Path({f"{archive}.new"!r}).write_text("classes")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path({f"{archive}.new.config"!r}).touch()  # not when it is asked to end: it might be slower than its time
pathlib.Path({str(tmp_path / "listens")!r}).touch()
{FOREVER}"""
    place.held.touch()
    supervise(place, script, stop_timeout_s=0.05, archive=archive)
    eventually((tmp_path / "listens").exists, "the child listens")
    place.held.unlink()
    eventually(lambda: phase(place) == "archiving", "its time is over, and it still writes")
    go_on.touch()
    eventually(lambda: phase(place) == "stopped", "it ends")
    assert archive.read_text() == "classes"


def test_a_child_that_is_killed_takes_its_own_children_along(place: Place, tmp_path: Path) -> None:
    deaf = f"""
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", {FOREVER!r}])
pathlib.Path({str(tmp_path / "half")!r}).write_text(str(child.pid))
pathlib.Path({str(tmp_path / "half")!r}).rename({str(tmp_path / "pid")!r})
{FOREVER}"""
    place.held.touch()
    supervise(place, deaf, stop_timeout_s=0.1)
    eventually((tmp_path / "pid").exists, "the child has a child")
    grandchild = psutil.Process(int((tmp_path / "pid").read_text()))
    place.held.unlink()
    eventually(lambda: phase(place) == "stopped", "it ends")
    eventually(lambda: not lives(grandchild), "the grandchild dies, too")


def test_a_killed_supervisor_takes_its_child_along(place: Place) -> None:
    place.held.touch()
    supervise(place, FOREVER)
    child = child_of(place)
    os.kill(read_json(place.state)["supervisor_pid"], signal.SIGKILL)
    eventually(lambda: not lives(child), "the child dies")
    assert not is_held(place.supervisor_lock)


def test_sigterm_ends_both(place: Place) -> None:
    place.held.touch()
    supervise(place, FOREVER)
    child = child_of(place)
    os.kill(read_json(place.state)["supervisor_pid"], signal.SIGTERM)
    eventually(lambda: phase(place) == "stopped", "it ends")
    assert not child.is_running()


def test_the_supervisor_has_a_session_of_its_own_and_is_small(place: Place) -> None:
    place.held.touch()
    supervise(place, FOREVER)
    child_of(place)
    supervisor = read_json(place.state)["supervisor_pid"]
    assert os.getsid(supervisor) != os.getsid(0)
    assert psutil.Process(supervisor).memory_info().rss < 32 * 1024 * 1024


def test_the_supervisor_imports_the_standard_library_only() -> None:
    script = (
        "import sys, akkafka.broker.embedded.supervisor\n"
        "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names - {'akkafka', '__main__'})"
    )
    command = [
        sys.executable,
        "-S",
        "-c",
        script,
    ]  # -S: what the site module of a virtual environment loads is not ours
    told = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=True)
    assert told.stdout.split() == []


# -- tether

PARENT = """
import sys, time
from pathlib import Path
from akkafka.broker.embedded.tether import tethered, tied_by_pipe
start = {"kernel": tethered, "pipe": tied_by_pipe}[sys.argv[1]]
child = start([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"],
              sys.stdout.buffer, Path("/"))
time.sleep(600)
"""


@pytest.mark.parametrize("way", ["kernel", "pipe"])
def test_a_tethered_child_dies_with_its_parent(way: str) -> None:
    if way == "kernel" and sys.platform != "linux":
        pytest.skip("only Linux has the parent-death signal")
    command = [sys.executable, "-c", PARENT, way]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        eventually(lambda: not lives(child), "the child dies")


@pytest.mark.parametrize("start", [tethered, tied_by_pipe])
def test_a_tethered_child_tells_its_exit_code_and_its_words(tmp_path: Path, start: Callable[..., object]) -> None:
    with (tmp_path / "out").open("wb") as out:
        child = start(["sh", "-c", "echo words; exit 7"], out, tmp_path)
        assert isinstance(child, subprocess.Popen)
        with child:
            assert child.wait(PATIENCE_S) == 7
    assert (tmp_path / "out").read_text() == "words\n"


@pytest.mark.parametrize("start", [tethered, tied_by_pipe])
@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_tethered_child_can_be_ended(tmp_path: Path, start: Callable[..., object], end: str) -> None:
    script = "import os, time; open('pid', 'w').write(str(os.getpid())); os.rename('pid', 'done'); time.sleep(600)"
    with (tmp_path / "out").open("wb") as out:
        child = start([sys.executable, "-c", script], out, tmp_path)
        assert isinstance(child, subprocess.Popen)
        with child:
            eventually((tmp_path / "done").exists, "the child runs")
            process = psutil.Process(int((tmp_path / "done").read_text()))
            child.terminate() if end == "terminate" else kill(child)
            assert child.wait(PATIENCE_S) != 0
            eventually(lambda: not process.is_running(), "the child has ended")


# -- diagnosis


def test_words_from_before_this_start_are_not_taken_for_a_cause(place: Place) -> None:
    old = "ERROR Address already in use\n"
    (place.logs / "server.log").write_text(old + "ERROR something new\n")
    assert diagnose(place, 1, log_start=len(old)).kind == "unknown"
    assert "something new" in diagnose(place, 1, log_start=len(old)).text
    assert diagnose(place, 1).kind == "port"


def test_a_jvm_that_was_killed_is_not_explained_by_its_log(place: Place) -> None:
    (place.logs / "server.log").write_text("WARN No space left on device\n")
    assert (diagnose(place, -9).kind, diagnose(place, -9).text) == ("unknown", "killed by signal 9")


def test_the_tail_of_a_log_that_rolled_over_begins_at_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("new\n")
    assert tail(tmp_path / "log", start=5000) == ["new"]
    assert tail(tmp_path / "missing") == []
