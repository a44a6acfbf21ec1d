"""What a user sees of a failure: words and an exit code, never a bare traceback."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from akkafka.broker.connection import Connection
from akkafka.cli.failing import INTERNAL, fail, lines_of
from akkafka.cli.locating import answering
from akkafka.errors import BrokerError, ConfigError, DataError, LogLostError, NetworkError
from tests.cli.conftest import Akkafka


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError, 2), (DataError, 3), (BrokerError, 4), (LogLostError, 6), (NetworkError, 7)],
)
def test_our_errors_are_printed_with_their_hint_and_their_exit_code(
    error: type[ConfigError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(error("gate fc2: no", hint="do that")) == code
    said = capsys.readouterr()
    assert said.err == "error: gate fc2: no\nhint: do that\n"
    assert said.out == ""


def test_an_error_without_a_hint_is_one_line() -> None:
    assert lines_of(ConfigError("no")) == ["error: no"]


def test_a_fault_of_ours_is_one_line_that_asks_for_a_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AKKAFKA_DEBUG", raising=False)
    assert fail(ZeroDivisionError("over\nhere")) == INTERNAL
    said = capsys.readouterr().err
    assert said.startswith("internal error: ZeroDivisionError: over here, please report")
    assert said.count("\n") == 1


def test_the_traceback_is_there_for_those_who_ask(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKKAFKA_DEBUG", "1")
    try:
        raise ZeroDivisionError("over")
    except ZeroDivisionError as error:
        fail(error)
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_wrong_key_ends_with_2_and_names_it(akkafka: Akkafka) -> None:
    ran = akkafka("train", "--set", "schedule.widnow=3")
    assert ran.code == 2
    assert "widnow" in ran.err
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err


def test_a_missing_file_ends_with_2(akkafka: Akkafka) -> None:
    ran = akkafka("define", "nowhere.toml")
    assert (ran.code, ran.out) == (2, "")
    assert "nowhere.toml" in ran.err


@pytest.mark.parametrize("words", [("trian",), ("train", "--epohcs", "3"), ("train", "--epochs", "0"), ("reset",)])
def test_wrong_usage_ends_with_2(akkafka: Akkafka, words: tuple[str, ...]) -> None:
    ran = akkafka(*words)
    assert ran.code == 2
    assert "Usage:" in ran.err


def test_a_network_name_that_no_topic_can_have_is_refused_before_a_broker_is_looked_for(akkafka: Akkafka) -> None:
    ran = akkafka("train", "--network", "Net.work")
    assert ran.code == 2
    assert "'Net.work'" in ran.err


def test_a_report_that_cannot_be_written_is_told_before_anything_starts(akkafka: Akkafka, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = akkafka("train", "--report", str(tmp_path / "file" / "r.json"))
    assert ran.code == 2
    assert "cannot be written" in ran.err


def test_a_password_is_not_asked_for_twice_but_named(akkafka: Akkafka) -> None:
    ran = akkafka("networks", "--security-protocol", "SASL_SSL", "--bootstrap-servers", "localhost:1")
    assert ran.code == 2
    assert "KAFKA_SASL_PASSWORD" in ran.err


@pytest.fixture
def not_kafka() -> Iterator[int]:
    """The port of something that speaks another protocol."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                with link, suppress(OSError):  # who asks may have hung up
                    link.recv(1024)
                    link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("command", ["train", "status", "networks"])
def test_a_port_that_is_not_kafka_is_called_so_at_once(akkafka: Akkafka, not_kafka: int, command: str) -> None:
    ran = akkafka(command, "--bootstrap-servers", f"127.0.0.1:{not_kafka}")
    assert ran.code == 4
    assert "is not a Kafka: it speaks HTTP" in ran.err


def test_nobody_waits_for_a_port_that_is_not_kafka(not_kafka: int) -> None:
    with pytest.raises(BrokerError, match="is not a Kafka"):
        answering(Connection(bootstrap_servers=f"127.0.0.1:{not_kafka}"), print, patience_s=math.inf)


def test_status_of_no_broker_says_what_was_tried(akkafka: Akkafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akkafka.cli.locating.on_default_port", lambda where: None)  # this machine may have one
    ran = akkafka("status")
    assert ran.code == 4
    assert "none runs in" in ran.err
    assert "akkafka broker start" in ran.err


def test_broker_where_without_a_broker_is_an_error(akkafka: Akkafka) -> None:
    assert akkafka("broker", "where").code == 4
    assert akkafka("broker", "status").code == 1


def test_who_presses_ctrl_c_while_python_ends_sees_no_traceback() -> None:
    code = (
        "import atexit, os, signal, sys; sys.argv = ['akkafka', '--version']\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "from akkafka.cli.main import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['akkafka', '--help']\n"
        "from akkafka.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'numba', 'aiokafka', 'pydantic', 'sklearn', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "train" in done.stdout
    assert done.stderr.strip() == "[]"


def test_version_is_the_packages(akkafka: Akkafka) -> None:
    from akkafka import __version__

    assert akkafka("--version").out == f"akkafka {__version__}\n"
