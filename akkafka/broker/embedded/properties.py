"""server.properties of the embedded broker: one small node that holds everything, each line with its reason."""

from __future__ import annotations

from pathlib import Path

from akkafka.broker.embedded.settings import MIB, BrokerSettings

HOST = "127.0.0.1"  # this machine only: the broker has no passwords, so no other machine may reach it
NETWORK_THREADS, IO_THREADS = 1, 2
ENVELOPE_BYTES = MIB  # room for envelope, headers and record batch around the largest message


def server_properties(settings: BrokerSettings, port: int, controller_port: int) -> dict[str, str]:
    """Kafka's settings for one node at `port`. Keys and values as in server.properties."""
    return {
        **_node(settings.state_dir, port, controller_port),
        **_internal_topics(),
        **_sizes(settings.max_message_bytes + ENVELOPE_BYTES),
        **_disk(),
        **_smallness(),
        **_groups(),
        **_proxied(settings.proxied, port, controller_port),
    }


def render(properties: dict[str, str]) -> str:
    """As a file's text; backslashes (of paths) are escaped as the format wants."""
    return "".join(f"{key}={value.replace(chr(92), chr(92) * 2)}\n" for key, value in properties.items())


def _node(state_dir: Path, port: int, controller_port: int) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",  # KRaft in one process
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",  # static: the data directory needs no voter record
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(state_dir / "data"),
        # After a SIGKILL the broker is let in again only when its old session has run out: with the default of 9 s a
        # restart takes 12 s, with 1.5 s it takes 3.
        "broker.session.timeout.ms": "1500",
        "broker.heartbeat.interval.ms": "300",
        # A topic misspelt must be an error, and ours need their own settings: never made by asking for it.
        "auto.create.topics.enable": "false",
    }


def _proxied(proxied: tuple[int, int] | None, port: int, controller_port: int) -> dict[str, str]:
    """A second listener for clients of a proxy (`akkafka chaos`); the first stays what it is."""
    if proxied is None:
        return {}
    own, advertised = proxied
    return {
        "listeners": f"PLAINTEXT://{HOST}:{port},PROXIED://{HOST}:{own},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port},PROXIED://{HOST}:{advertised}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }


def _internal_topics() -> dict[str, str]:
    """One node: one replica of everything. One partition each: every partition costs files and start-up time."""
    return {
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
    }


def _sizes(largest: int) -> dict[str, str]:
    """Limits of 1 MB stand in four places; these are the broker's."""
    return {
        "message.max.bytes": str(largest),
        "replica.fetch.max.bytes": str(largest),  # unused by one node; kept equal, so that a second could follow
        # A client puts the batches of all partitions into one request; more than two large ones do not fit the heap.
        "socket.request.max.bytes": str(2 * largest),
        "log.segment.bytes": str(largest + 8 * MIB),  # a batch must fit into one segment; deletion works by segments
    }


def _disk() -> dict[str, str]:
    """What is no longer needed goes within a second or two; what is needed never goes by itself.

    Soon, as the pages of memory that deleted segments held are what the next ones are written to: topics.segment_bytes.

    No flush settings: an acknowledged record is in the operating system's page cache, which outlives a SIGKILL of the
    broker. Only a crash of the whole machine could lose it, and Kafka's own answer to that, replicas, a single node
    has not.
    """
    return {
        "log.retention.ms": "-1",  # edges and journals are trimmed by need; topics bounded by time say so themselves
        "log.retention.bytes": "-1",
        "log.retention.check.interval.ms": "500",  # default 5 minutes: the disk would overshoot for as long
        "log.initial.task.delay.ms": "1000",  # default 30 s before the first check
        "log.segment.delete.delay.ms": "100",  # default 60 s between "deleted" and deleted
        "log.cleaner.backoff.ms": "2000",  # default 15 s between two looks for something to compact
        "log.index.size.max.bytes": str(MIB),  # default 10 MiB mapped per segment and index; ours need a tenth of this
        "offsets.topic.segment.bytes": str(8 * MIB),  # compacted in small steps
        "offsets.retention.minutes": str(365 * 24 * 60),  # stopped before the holidays, goes on after them
    }


def _smallness() -> dict[str, str]:
    """Threads and buffers for a machine of 2 cores that mostly computes something else."""
    return {
        "num.network.threads": str(NETWORK_THREADS),
        "num.io.threads": str(IO_THREADS),
        "background.threads": "2",
        "num.recovery.threads.per.data.dir": "2",
        "log.cleaner.threads": "1",
        "log.cleaner.dedupe.buffer.size": str(4 * MIB),  # default 128 MiB of the heap; this holds 150,000 keys a pass
        "num.partitions": "1",
        "metadata.log.segment.bytes": str(8 * MIB),  # least that Kafka takes
    }


def _groups() -> dict[str, str]:
    return {
        "group.initial.rebalance.delay.ms": "0",  # default 3 s of waiting for more members at each group's start
        "group.min.session.timeout.ms": "1000",  # a client may ask for quick detection of a dead member (default 6 s)
    }
