"""The lock and the jars: only the bytes that the lock names are ever used, wherever they came from."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from akkafka.broker.embedded.jars import LOCK_FILE, KafkaLock, LockedJar, fetch, read_lock
from akkafka.errors import BrokerError

CONTENT = {"one": b"the first jar", "two": b"the second jar"}


@pytest.fixture
def lock() -> KafkaLock:
    """A lock of two small files, as a repository of our own serves them."""
    jars = [
        LockedJar("org.example.sub", name, "1.0", f"{name}-1.0.jar", hashlib.sha256(data).hexdigest())
        for name, data in CONTENT.items()
    ]
    return KafkaLock("9.9.9", tuple(jars))


@pytest.fixture
def served(tmp_path: Path, lock: KafkaLock) -> Path:
    root = tmp_path / "served"
    for jar in lock.jars:
        (root / jar.place).parent.mkdir(parents=True)
        (root / jar.place).write_bytes(CONTENT[jar.artifact])
    return root


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def repository(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A Maven repository over HTTP, named as the mirror; gives the requests that it got."""
    requests: list[str] = []

    class Handler(_Quiet):
        def do_GET(self) -> None:
            requests.append(self.path)
            super().do_GET()

    handler = functools.partial(Handler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AKKAFKA_MAVEN_REPOSITORY", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("AKKAFKA_OFFLINE", raising=False)
        yield requests
        server.shutdown()
        thread.join()


def test_the_committed_lock_is_one_version_of_everything_with_a_hash_each() -> None:
    lock = read_lock()
    assert {jar.version for jar in lock.jars if jar.group == "org.apache.kafka"} == {lock.kafka_version}
    assert len({jar.version for jar in lock.jars if jar.group == "org.apache.logging.log4j"}) == 1
    assert len({(jar.group, jar.artifact) for jar in lock.jars}) == len(lock.jars)
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in lock.jars)
    assert all(jar.file == f"{jar.artifact}-{jar.version}.jar" for jar in lock.jars)


def test_the_committed_lock_has_a_log_binding_and_all_that_kafka_starts_with() -> None:
    artifacts = {jar.artifact for jar in read_lock().jars}
    assert {"kafka_2.13", "kafka-clients", "scala-library", "log4j-core", "log4j-slf4j-impl"} <= artifacts


def test_the_committed_lock_names_no_address() -> None:
    text = LOCK_FILE.read_text(encoding="utf-8")
    assert "//" not in text
    assert set(json.loads(text)["jars"][0]) == {"group", "artifact", "version", "file", "sha256"}


def test_missing_jars_are_fetched_one_by_one_and_said(lock: KafkaLock, repository: list[str], tmp_path: Path) -> None:
    said: list[str] = []
    paths = fetch(lock, tmp_path / "cache", said.append)
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert ["1/2" in said[0], "2/2" in said[1]] == [True, True]


def test_a_second_time_asks_nobody(lock: KafkaLock, repository: list[str], tmp_path: Path) -> None:
    first = fetch(lock, tmp_path / "cache", print)
    asked = len(repository)
    assert asked > 0
    assert fetch(lock, tmp_path / "cache", pytest.fail) == first
    assert len(repository) == asked


def test_a_full_cache_works_offline(
    lock: KafkaLock, repository: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch(lock, tmp_path / "cache", print)
    monkeypatch.setenv("AKKAFKA_OFFLINE", "1")
    (tmp_path / "cache" / f"verified-{lock.fingerprint}.json").unlink()  # even when all has to be hashed again
    assert fetch(lock, tmp_path / "cache", pytest.fail) == first


def test_an_empty_cache_offline_says_what_to_do(
    lock: KafkaLock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKKAFKA_OFFLINE", "1")
    with pytest.raises(BrokerError, match=r"cannot fetch org\.example\.sub:one:1\.0.*AKKAFKA_OFFLINE") as caught:
        fetch(lock, tmp_path / "cache", print)
    assert "AKKAFKA_MAVEN_REPOSITORY" in caught.value.hint


def test_a_jar_with_other_bytes_is_refused_and_not_kept(
    lock: KafkaLock, repository: list[str], served: Path, tmp_path: Path
) -> None:
    (served / lock.jars[1].place).write_bytes(b"something else")
    with pytest.raises(BrokerError, match=r"two-1\.0\.jar.*another SHA-256"):
        fetch(lock, tmp_path / "cache", print)
    assert not (tmp_path / "cache" / "maven" / lock.jars[1].place).exists()


def test_a_jar_that_was_cut_off_is_fetched_again(lock: KafkaLock, repository: list[str], tmp_path: Path) -> None:
    half = tmp_path / "cache" / "maven" / lock.jars[0].place
    half.parent.mkdir(parents=True)
    half.write_bytes(CONTENT["one"][:5])
    assert fetch(lock, tmp_path / "cache", print)[0].read_bytes() == CONTENT["one"]


def test_a_jar_that_changes_after_it_was_verified_is_noticed(
    lock: KafkaLock, repository: list[str], tmp_path: Path
) -> None:
    path = fetch(lock, tmp_path / "cache", print)[0]
    path.write_bytes(b"tampered with")
    assert fetch(lock, tmp_path / "cache", print)[0].read_bytes() == CONTENT["one"]


def test_a_jar_that_the_repository_does_not_have_is_named(
    lock: KafkaLock, repository: list[str], served: Path, tmp_path: Path
) -> None:
    (served / lock.jars[1].place).unlink()
    with pytest.raises(BrokerError, match=r"cannot fetch org\.example\.sub:two:1\.0"):
        fetch(lock, tmp_path / "cache", print)


def test_a_cache_that_cannot_be_written_is_named(lock: KafkaLock, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match="cannot write to the cache directory") as caught:
        fetch(lock, tmp_path / "file" / "cache", print)
    assert "AKKAFKA_CACHE_DIR" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kafka_version": "4", "jars": [{"group": "g"}]}'])
def test_a_broken_lock_is_a_broker_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text, encoding="utf-8")
    with pytest.raises(BrokerError, match="not a lock"):
        read_lock(tmp_path / "lock")
