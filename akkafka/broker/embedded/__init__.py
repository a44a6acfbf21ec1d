"""The embedded broker: a real Apache Kafka as a process of its own, for whoever has none.

Open first: `control` (acquire, status, start, stop), then `supervisor` (the process that owns the JVM) and `place`
(what lies where). Names are loaded when first asked for: the supervisor imports this package too, and is to stay
small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from akkafka.broker.embedded.control import BrokerStatus as BrokerStatus
    from akkafka.broker.embedded.control import Lease as Lease
    from akkafka.broker.embedded.control import acquire as acquire
    from akkafka.broker.embedded.control import run_foreground as run_foreground
    from akkafka.broker.embedded.control import start as start
    from akkafka.broker.embedded.control import status as status
    from akkafka.broker.embedded.control import stop as stop
    from akkafka.broker.embedded.handshake import ProbeResult as ProbeResult
    from akkafka.broker.embedded.handshake import probe as probe
    from akkafka.broker.embedded.provisioning import Provision as Provision
    from akkafka.broker.embedded.provisioning import provision as provision
    from akkafka.broker.embedded.settings import BrokerSettings as BrokerSettings
    from akkafka.broker.embedded.settings import default_state_dir as default_state_dir

_HOME = {
    "BrokerStatus": "control",
    "Lease": "control",
    "acquire": "control",
    "run_foreground": "control",
    "start": "control",
    "status": "control",
    "stop": "control",
    "ProbeResult": "handshake",
    "probe": "handshake",
    "Provision": "provisioning",
    "provision": "provisioning",
    "BrokerSettings": "settings",
    "default_state_dir": "settings",
}


def __getattr__(name: str) -> Any:
    """Loads the module that has `name`."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
