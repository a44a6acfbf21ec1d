"""What a user may set about the embedded broker, checked when made, and where it lives if nothing is said."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from akkafka.errors import ConfigError

MIB = 1024 * 1024


@dataclass(frozen=True)
class BrokerSettings:
    """How to run the embedded broker. Raises ConfigError when a value cannot work."""

    state_dir: Path  # data, logs, leases; one broker at a time lives in it
    port: int | None = None  # None: a free one, remembered in the state dir; a number: this one or refuse
    heap_mb: int = 352  # -Xmx of the JVM: a ceiling for messages of 64 MiB
    rss_mb: int = 320  # resident memory (MiB) beyond which the whole heap is collected
    max_message_bytes: int = 64 * MIB  # largest message; room for envelope and record header is added to it
    linger_s: float = 2.0  # how long the broker stays after the last lease has gone
    start_timeout_s: float = 90.0  # how long `acquire` waits for a broker that is starting
    stop_timeout_s: float = 20.0  # how long the JVM gets to end cleanly before it is killed
    # (port of a second listener, port that it advertises): whoever comes through a proxy at the latter to the former
    # stays with the proxy, as Kafka tells clients the address to come back to.
    proxied: tuple[int, int] | None = None
    # Whether it will be busy for more than a minute: compiled code is then worth what the better compiler costs.
    lasting: bool = True

    def __post_init__(self) -> None:
        _check(self.port is None or 1024 <= self.port <= 65535, "port", self.port, "from 1024 to 65535")
        _check(self.rss_mb >= 1, "rss_mb", self.rss_mb, "at least 1 (MiB)")
        _check(self.heap_mb >= 128, "heap_mb", self.heap_mb, "at least 128 (MiB)")
        _check(MIB <= self.max_message_bytes <= 512 * MIB, "max_message_bytes", self.max_message_bytes, "1 to 512 MiB")
        # Whole on the heap at the same time: two requests, the log cleaner's two buffers, what is not yet collected.
        # Found by trying: 64 MiB in a compacted topic end a heap of 256 MB, not one of 320 MB.
        _check(
            self.max_message_bytes * 5 <= self.heap_mb * MIB,
            "max_message_bytes",
            self.max_message_bytes,
            f"at most a fifth of the heap (heap_mb = {self.heap_mb})",
        )
        for name in ("linger_s", "start_timeout_s", "stop_timeout_s"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more seconds")


def default_state_dir() -> Path:
    """AKKAFKA_STATE_DIR if set, else the platform's directory for a user's state, with `broker` behind it."""
    override = os.environ.get("AKKAFKA_STATE_DIR")
    if override:
        return Path(override).expanduser().absolute() / "broker"
    import platformdirs  # here: a supervisor or a quick `status` with an explicit directory does not need it

    return Path(platformdirs.user_state_dir("akkafka")) / "broker"


def _check(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"embedded broker: {name} must be {expected}, got {value}")
