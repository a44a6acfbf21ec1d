"""Processes tied to ours: real ones, small."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from akkafka.cli.living import lives
from akkafka.cli.training.children import ONE_THREAD, Children, environment
from akkafka.cli.training.supervision import Order, Role, Worker

WAITS = "import time; print('ready', flush=True); time.sleep(600)"
COUNTS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(8))
print('ready', flush=True)
time.sleep(600)
"""


def worker(name: str, code: str) -> Worker:
    return Worker(name, Role.GATE, ("-c", code))


def until(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    """Look often; fails if it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


@pytest.fixture(params=["by the kernel", "by a pipe"])
def children(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Children]:
    if request.param == "by the kernel" and sys.platform != "linux":
        pytest.skip("only Linux has a parent-death signal")
    made = Children(tmp_path, environment({}), by_kernel=request.param == "by the kernel", modules=())
    yield made
    made.kill_all()


def ready(children: Children, name: str) -> None:
    """Until it has said so, and its number is told, too: what is forked may speak before its server does."""
    until(lambda: children.ended() == [] and name in children.pids and children.last_lines(name, 1) == ["ready"])


def ended(children: Children) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []

    def look() -> bool:
        found.extend(children.ended())
        return bool(found)

    until(look)
    return found


def test_exit_codes_are_told_once(children: Children) -> None:
    children.start(worker("one", "raise SystemExit(3)"))
    assert ended(children) == [("one", 3)]
    assert children.ended() == []
    assert (children.pids, children.names) == ({}, frozenset())


@pytest.mark.parametrize(("order", "code"), [(Order.FINISH, 7), (Order.ONE_MORE_PASS, 8)])
def test_signals_reach_the_process(children: Children, order: Order, code: int) -> None:
    children.start(worker("one", COUNTS))
    ready(children, "one")
    children.send("one", order)
    assert ended(children) == [("one", code)]


def test_a_process_that_does_not_listen_can_be_killed(children: Children) -> None:
    children.start(worker("one", "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS))
    ready(children, "one")
    children.send("one", Order.FINISH)
    children.send("one", Order.DIE)
    ((name, code),) = ended(children)
    assert (name, code in (-9, 137)) == ("one", True)


def test_kill_all_waits_until_all_are_gone(children: Children) -> None:
    for name in ("one", "two"):
        children.start(worker(name, WAITS))
        ready(children, name)
    groups = [psutil.Process(pid) for pid in children.pids.values()]
    family = [*groups, *(child for process in groups for child in process.children(recursive=True))]
    children.kill_all()
    until(lambda: not any(map(lives, family)))


def test_signals_to_a_process_that_is_gone_do_nothing(children: Children) -> None:
    children.send("nobody", Order.FINISH)
    children.start(worker("one", "pass"))
    ended(children)
    children.send("one", Order.DIE)


def test_a_log_begins_anew_with_the_training_but_not_with_a_restart(children: Children) -> None:
    children.log("one").write_text("of last week\n")
    for word in ("first", "second"):
        children.start(worker("one", f"print({word!r})"))
        ended(children)
    assert children.log("one").read_text() == "first\nsecond\n"


def test_last_words_begin_with_the_error_if_there_is_one(children: Children) -> None:
    lines = "\n".join(["noise"] * 20 + ["error: no data", "hint: fetch them"])
    children.start(worker("one", f"print({lines!r})"))
    ended(children)
    assert children.last_lines("one", 8) == ["error: no data", "hint: fetch them"]
    assert children.last_lines("unknown", 8) == []


def test_ctrl_c_in_the_terminal_does_not_reach_them(children: Children) -> None:
    children.start(worker("one", WAITS))
    ready(children, "one")
    (pid,) = children.pids.values()
    assert os.getsid(pid) != os.getsid(0)


@pytest.mark.parametrize("by_kernel", [True, False])
def test_a_killed_supervisor_leaves_no_process_behind(tmp_path: Path, by_kernel: bool) -> None:
    if by_kernel and sys.platform != "linux":
        pytest.skip("only Linux has a parent-death signal")
    code = f"""
import time
from pathlib import Path
from akkafka.cli.training.children import Children, environment
from akkafka.cli.training.supervision import Role, Worker
children = Children(Path({str(tmp_path)!r}), environment({{}}), by_kernel={by_kernel}, modules=())
children.start(Worker('one', Role.GATE, ('-c', {WAITS!r})))
while children.last_lines('one', 1) != ['ready']: time.sleep(0.01)
print('up', flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment({})) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"up\n"
        family = psutil.Process(supervisor.pid).children(recursive=True)
        assert family
        supervisor.kill()
    until(lambda: not any(map(lives, family)))


def test_children_get_one_compute_thread_and_only_the_connection_they_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    made = environment({"KAFKA_CLIENT_ID": "me"})
    assert ONE_THREAD.items() <= made.items()
    assert {name: value for name, value in made.items() if name.startswith("KAFKA_")} == {"KAFKA_CLIENT_ID": "me"}


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[Children]:
    made = Children(tmp_path, environment({}), modules=("json.tool",))
    yield made
    made.kill_all()


@LINUX
def test_what_is_forked_finds_the_modules_loaded_and_looks_as_if_it_was_started_alone(forked: Children) -> None:
    forked.start(worker("one", f"import sys; assert 'json.tool' in sys.modules; {WAITS}"))
    ready(forked, "one")
    looks = psutil.Process(forked.pids["one"])
    assert looks.cmdline()[:3] == [sys.executable, "-c", "import"]
    assert looks.name() == Path(sys.executable).name


@LINUX
def test_a_module_is_run_with_its_words_and_environment(forked: Children, tmp_path: Path) -> None:
    (tmp_path / "tells.py").write_text("import os, sys; print(sys.argv[1:], os.environ.get('TOLD'), __name__)")
    forked.environment = environment({}) | {"TOLD": "so", "PYTHONPATH": str(tmp_path)}
    forked.start(Worker("one", Role.GATE, ("-m", "tells", "--layer", "2")))
    assert ended(forked) == [("one", 0)]
    assert forked.last_lines("one", 9) == ["['--layer', '2'] so __main__"]


@LINUX
def test_an_error_in_what_is_forked_is_in_its_log_and_in_its_code(forked: Children) -> None:
    forked.start(worker("one", "raise OSError('no luck')"))
    assert ended(forked) == [("one", 1)]
    assert forked.last_lines("one", 1) == ["OSError: no luck"]


@LINUX
def test_with_their_fork_server_all_end_and_the_next_start_has_another(forked: Children) -> None:
    forked.start(worker("one", WAITS))
    ready(forked, "one")
    process = psutil.Process(forked.pids["one"])
    server = process.parent()
    assert server is not None
    server.kill()
    assert ended(forked) == [("one", -9)]
    until(lambda: not lives(process))
    forked.start(worker("one", "print('again')"))
    assert ended(forked) == [("one", 0)]


@LINUX
def test_a_fork_server_that_cannot_load_is_told_with_its_reason(tmp_path: Path) -> None:
    children = Children(tmp_path, environment({}), modules=("no_such_module",))
    children.start(worker("one", WAITS))
    assert ended(children) == [("one", 1)]
    assert "No module named 'no_such_module'" in "\n".join(children.last_lines("one", 8))


@LINUX
def test_a_module_that_is_loaded_beforehand_is_run_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "tells").mkdir()
    (tmp_path / "tells" / "__init__.py").write_text("")
    (tmp_path / "tells" / "__main__.py").write_text("if __name__ == '__main__': print('told')")
    strict = environment({}) | {"PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)]), "PYTHONWARNINGS": "error"}
    children = Children(tmp_path, strict, modules=("tells.__main__",))
    children.start(Worker("one", Role.GATE, ("-m", "tells")))
    assert ended(children) == [("one", 0)]
    assert children.last_lines("one", 9) == ["told"]
    children.kill_all()


@LINUX
def test_a_fork_server_that_somebody_has_stopped_obeys_orders(forked: Children) -> None:
    forked.start(worker("one", WAITS))
    ready(forked, "one")
    server = psutil.Process(forked.pids["one"]).parent()
    assert server is not None
    server.suspend()
    forked.send("one", Order.DIE)
    assert ended(forked) == [("one", -9)]


@LINUX
def test_what_ended_before_kill_all_is_not_told_of_those_that_start_behind_it(tmp_path: Path) -> None:
    children = Children(tmp_path, environment({}), modules=("no_such_module",))
    before = psutil.Process().children()
    children.start(worker("one", WAITS))
    (server,) = (child for child in psutil.Process().children() if child not in before)
    until(lambda: not lives(server))
    children.kill_all()
    assert children.ended() == []


@LINUX
def test_kill_all_does_not_wait_for_what_is_not_yet_loaded(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time; time.sleep(600)")
    children = Children(tmp_path, environment({}) | {"PYTHONPATH": str(tmp_path)}, modules=("slow",))
    children.start(worker("one", WAITS))
    assert children.names == {"one"}
    children.kill_all()
    assert children.names == frozenset()
