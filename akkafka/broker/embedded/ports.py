"""Which ports the broker takes: the one asked for, the ones it had last, or free ones."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

from akkafka.broker.embedded.place import Place, read_json, write_json
from akkafka.broker.embedded.properties import HOST
from akkafka.errors import BrokerError

# Below the range that Linux, macOS and Windows give to outgoing connections: a port remembered from there would now
# and then be in use by some browser when the broker wants it back.
RANGE = range(20000, 32000)


def is_free(port: int) -> bool:
    """True if we could listen there now. Address reuse as Kafka sets it: a port in TIME_WAIT counts as free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, port))
            attempt.listen(1)
        except OSError:
            return False
    return True


def choose_ports(place: Place, asked: int | None, others: int, progress: Callable[[str], None]) -> tuple[int, int]:
    """(port, controller port), written down for the next start. `others`: how many users lean on the old address.

    Raises BrokerError if the port asked for is taken, or if the old one is taken while others depend on it.
    """
    remembered = read_json(place.ports)
    last, controller = remembered.get("port"), remembered.get("controller_port")
    if asked is not None:
        _must_be_free(asked)
        port = asked
    elif isinstance(last, int) and last in RANGE and is_free(last):
        port = last
    else:
        port = free_port()
        if isinstance(last, int):
            _moved(last, port, others, progress)
    if not (isinstance(controller, int) and controller in RANGE and controller != port and is_free(controller)):
        controller = free_port(other_than=port)
    write_json(place.ports, {"port": port, "controller_port": controller})
    return port, controller


def _must_be_free(port: int) -> None:
    if not is_free(port):
        raise BrokerError(
            f"port {port} is taken by another program{_owner(port)}",
            hint="end that program, ask for another --port, or, if it is a Kafka, use it: "
            f"--bootstrap-servers {HOST}:{port}",
        )


def _moved(last: int, port: int, others: int, progress: Callable[[str], None]) -> None:
    if others:
        raise BrokerError(
            f"the broker's port {last} was taken by another program{_owner(last)}, "
            f"and {others} process(es) still use that address",
            hint="end that program or those processes, then try again",
        )
    progress(f"port {last}, used last time, is taken{_owner(last)}: the broker moves to {port}")


def _owner(port: int) -> str:
    """Who listens at a port, as far as this user may know: " (nginx, pid 4711)", or nothing."""
    try:
        import psutil

        for link in psutil.net_connections("tcp"):
            if link.status == psutil.CONN_LISTEN and link.laddr.port == port and link.pid:
                return f" ({psutil.Process(link.pid).name()}, pid {link.pid})"
    except Exception:  # not permitted on this system, or gone meanwhile: the name is a courtesy
        return ""
    return ""


def free_port(other_than: int | None = None) -> int:
    """A port of `RANGE` that nobody listens at. Raises BrokerError if none is found."""
    for port in random.SystemRandom().sample(RANGE, 200):
        if port != other_than and is_free(port):
            return port
    raise BrokerError(f"no free port found from {RANGE.start} to {RANGE.stop}", hint="name one with --port")
