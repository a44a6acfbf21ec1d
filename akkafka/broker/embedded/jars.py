"""Kafka's jars on this machine: exactly those of kafka.lock, fetched by jgo, each checked against its SHA-256.

The lock says which bytes, jgo says where from (Maven Central, the mirrors of jgo's own settings file, or the one in
AKKAFKA_MAVEN_REPOSITORY). jgo itself only warns when a checksum is wrong, so the hashes here are what protects.
Nothing is resolved at a user's place: the lock already names every jar, so no POM is read and no version can drift.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akkafka.errors import BrokerError

LOCK_FILE = Path(__file__).with_name("kafka.lock")
MIRROR_VARIABLE = "AKKAFKA_MAVEN_REPOSITORY"
OFFLINE_VARIABLE = "AKKAFKA_OFFLINE"
CACHE_VARIABLE = "AKKAFKA_CACHE_DIR"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LockedJar:
    """One jar: Maven coordinate and the SHA-256 of its bytes."""

    group: str
    artifact: str
    version: str
    file: str
    sha256: str  # hex

    @property
    def place(self) -> Path:
        """Where a Maven repository keeps it, relative to the repository's root."""
        return Path(*self.group.split("."), self.artifact, self.version, self.file)


@dataclass(frozen=True, slots=True)
class KafkaLock:
    """The committed lock: Kafka's version and all its jars, in class path order."""

    kafka_version: str
    jars: tuple[LockedJar, ...]

    @property
    def fingerprint(self) -> str:
        """Names this very set of jars: hex, 16 digits."""
        return hashlib.sha256("".join(jar.sha256 for jar in self.jars).encode()).hexdigest()[:16]


def read_lock(path: Path = LOCK_FILE) -> KafkaLock:
    """The lock at `path`. Raises BrokerError if it is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return KafkaLock(str(content["kafka_version"]), tuple(LockedJar(**jar) for jar in content["jars"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokerError(f"{path} is not a lock of Kafka's jars: {error}", hint="reinstall akkafka") from error


def cache_dir() -> Path:
    """AKKAFKA_CACHE_DIR, or the platform's cache directory for akkafka."""
    override = os.environ.get(CACHE_VARIABLE)
    if override:
        return Path(override).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("akkafka"))


def fetch(lock: KafkaLock, cache: Path, progress: Progress) -> tuple[Path, ...]:
    """Paths of all jars of `lock`, whole and verified; what is missing is downloaded into `cache`.

    With a full cache no network is touched and nothing is hashed: the verified state is remembered by size and time
    of change. Raises BrokerError if a jar cannot be had, or is not the one that the lock names.
    """
    repository = cache / "maven"
    paths = tuple(repository / jar.place for jar in lock.jars)
    remembered = _Verified(cache / f"verified-{lock.fingerprint}.json")
    if remembered.covers(paths):
        return paths
    with _alone(cache):
        for number, (jar, path) in enumerate(zip(lock.jars, paths, strict=True), start=1):
            if not remembered.covers((path,)) and not _is_whole(path, jar):
                progress(f"fetching Kafka {lock.kafka_version}: jar {number}/{len(lock.jars)} ({jar.file})")
                _download(jar, repository)
        remembered.write(paths)
    return paths


@dataclass(frozen=True, slots=True)
class _Verified:
    """Which files were found to be right, by size and time of change: hashing 44 MB at each start would cost 0.1 s."""

    file: Path

    def covers(self, paths: tuple[Path, ...]) -> bool:
        try:
            known = json.loads(self.file.read_text(encoding="utf-8"))
            return all(known.get(path.name) == _stamp(path) for path in paths)
        except (OSError, ValueError, AttributeError):
            return False

    def write(self, paths: tuple[Path, ...]) -> None:
        temporary = self.file.with_suffix(".new")
        temporary.write_text(json.dumps({path.name: _stamp(path) for path in paths}), encoding="utf-8")
        temporary.replace(self.file)


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """One process fetches at a time; the others wait and then find everything there."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        handle = (cache / "fetch.lock").open("w")
    except OSError as error:
        raise BrokerError(
            f"cannot write to the cache directory {cache}: {error.strerror}",
            hint=f"set {CACHE_VARIABLE} to a directory that can be written",
        ) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _is_whole(path: Path, jar: LockedJar) -> bool:
    """True if the file is there with the right bytes; a file with others (a download cut off) is removed."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return False
    if found != jar.sha256:
        path.unlink()
    return found == jar.sha256


def _download(jar: LockedJar, repository: Path) -> None:
    context = _maven(repository)
    path = repository / jar.place
    try:
        context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except Exception as error:  # jgo lets requests' and its own errors through, of no common class
        path.unlink(missing_ok=True)
        raise _unreachable(jar, error, context.offline) from error
    if not _is_whole(path, jar):
        raise BrokerError(
            f"{jar.file}: the repository's file has another SHA-256 than akkafka's lock names ({jar.sha256[:12]}…)",
            hint=f"do not trust that repository; try another one with {MIRROR_VARIABLE}=<address>",
        )


def _maven(repository: Path) -> Any:  # jgo has no types for us, and is imported only when a jar is missing
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext
    except ImportError as error:
        raise BrokerError(
            "the embedded broker needs jgo, which is not installed",
            hint='pip install "akkafka[broker]", or start a Kafka with: docker compose up kafka',
        ) from error
    mirror = os.environ.get(MIRROR_VARIABLE)
    mirrors = {"mirror": mirror.rstrip("/")} if mirror else GlobalSettings.load().repositories or None
    offline = os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")
    return MavenContext(repo_cache=repository, remote_repos=mirrors, timeout=30, offline=offline)


def _unreachable(jar: LockedJar, error: Exception, offline: bool) -> BrokerError:
    why = f"{OFFLINE_VARIABLE} is set" if offline else f"{type(error).__name__}: {str(error)[:200]}"
    return BrokerError(
        f"cannot fetch {jar.group}:{jar.artifact}:{jar.version}, a part of Apache Kafka ({why})",
        hint=f"go online once (44 MB; then it works offline), name a mirror with {MIRROR_VARIABLE}=<address>, "
        "or use a Kafka that runs already: --bootstrap-servers host:port",
    )
