"""Secured listeners of a real Kafka: TLS, client certificates and passwords, on both kinds of event loop."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from akkafka.broker.base import TopicPartition, TopicSpec
from akkafka.broker.connection import Connection
from akkafka.broker.embedded import BrokerSettings, probe
from akkafka.broker.embedded.identity import format_data
from akkafka.broker.embedded.place import Place
from akkafka.broker.embedded.ports import is_free
from akkafka.broker.embedded.properties import render, server_properties
from akkafka.broker.embedded.provisioning import provision
from akkafka.broker.embedded.tether import tethered
from akkafka.broker.kafka import KafkaBroker
from akkafka.errors import BrokerError

pytestmark = pytest.mark.kafka

HOST = "127.0.0.1"
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
USER, PASSWORD = "alice", "looking-glass"
PROTOCOLS = ("SSL", "SASL_SSL", "SASL_PLAINTEXT")


@dataclass(frozen=True)
class Secured:
    """A running Kafka's listeners, and the files that its clients need."""

    ports: dict[str, int]
    ca: Path
    certificate: Path
    key: Path
    foreign_ca: Path

    def connection(self, protocol: str, **other: Any) -> Connection:
        settings: dict[str, Any] = {
            "bootstrap_servers": f"localhost:{self.ports[protocol]}",
            "security_protocol": protocol,
            "patience_s": 5.0,
        }
        if protocol.endswith("SSL"):
            settings["ssl_cafile"] = self.ca
        if protocol == "SSL":
            settings |= {"ssl_certfile": self.certificate, "ssl_keyfile": self.key}
        if protocol.startswith("SASL"):
            settings |= {"sasl_mechanism": "PLAIN", "sasl_username": USER, "sasl_password": PASSWORD}
        return Connection(**{**settings, **other})


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    place = Place(tmp_path_factory.mktemp("secured"))
    place.logs.mkdir()
    ca = trustme.CA()
    server, client = ca.issue_cert("localhost", HOST), ca.issue_cert("client@akkafka")
    paths = {name: place.root / f"{name}.pem" for name in ("ca", "foreign", "server", "certificate", "key")}
    ca.cert_pem.write_to_path(str(paths["ca"]))
    trustme.CA().cert_pem.write_to_path(str(paths["foreign"]))
    client.cert_chain_pems[0].write_to_path(str(paths["certificate"]))
    client.private_key_pem.write_to_path(str(paths["key"]))
    paths["server"].write_bytes(_pkcs8(server) + b"".join(pem.bytes() for pem in server.cert_chain_pems))

    free = [port for port in random.sample(range(20000, 32000), 50) if is_free(port)]
    ports = dict(zip(("PLAINTEXT", *PROTOCOLS), free, strict=False))
    properties = server_properties(BrokerSettings(place.root), ports["PLAINTEXT"], free[4])
    listeners = ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items())
    properties |= {
        "listeners": f"{listeners},CONTROLLER://{HOST}:{free[4]}",
        "advertised.listeners": listeners.replace(HOST, "localhost"),
        "listener.security.protocol.map": ",".join(f"{n}:{n}" for n in ports) + ",CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(paths["server"]),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(paths["ca"]),
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN",
    }
    for protocol in PROTOCOLS[1:]:
        properties[f"listener.name.{protocol.lower()}.plain.sasl.jaas.config"] = (
            f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        )
    format_data(place)
    (place.root / "server.properties").write_text(render(properties), encoding="utf-8")
    java = provision(print)
    run = [str(java.java), "-Xmx320m", "-XX:+UseSerialGC", "-cp", java.classpath, "kafka.Kafka"]
    run.append(str(place.root / "server.properties"))
    with (place.logs / "console.log").open("wb") as console, tethered(run, console, place.root) as jvm:
        for _ in range(1500):  # a slow machine needs half a minute
            if jvm.poll() is not None or probe(HOST, ports["PLAINTEXT"], timeout_s=1.0).is_kafka:
                break
            with suppress(subprocess.TimeoutExpired):
                jvm.wait(0.1)
        yield Secured(ports, paths["ca"], paths["certificate"], paths["key"], paths["foreign"])
        jvm.terminate()


def _pkcs8(server: trustme.LeafCert) -> bytes:
    """The key in the only form that Kafka takes."""
    key = load_pem_private_key(server.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


async def there_and_back(connection: Connection, topic: str) -> None:
    broker = KafkaBroker(connection)
    try:
        where = TopicPartition(topic, 0)
        await broker.create([TopicSpec(topic, 1, {"max.message.bytes": str(8 << 20)})])
        producer, reader = await broker.producer("p"), await broker.reader("r", max_wait_ms=500)
        sent = [bytes([n]) * size for n, size in enumerate((1, 1000, 70_000, 3_000_000, 10))]
        assert await asyncio.gather(*(producer.send(where, value) for value in sent)) == [0, 1, 2, 3, 4]
        reader.assign({where: 0})
        came: list[bytes | None] = []
        while len(came) < len(sent):
            came += [record.value for record in await reader.poll(timeout=10.0)]
        assert came == sent
    finally:
        await broker.close()


@pytest.mark.parametrize("loop", sorted(LOOPS))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_records_go_there_and_back_over_a_secured_listener(
    secured: Secured, protocol: str, loop: str, unique: Callable[[], str]
) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(there_and_back(secured.connection(protocol), unique()))


@pytest.mark.parametrize("protocol", PROTOCOLS[1:])
def test_a_wrong_password_is_named_and_not_tried_for_long(
    secured: Secured, protocol: str, unique: Callable[[], str]
) -> None:
    connection = secured.connection(protocol, sasl_password="wrong")
    with asyncio.Runner() as runner, pytest.raises(BrokerError, match=r"refused user 'alice'") as caught:
        runner.run(there_and_back(connection, unique()))
    assert "KAFKA_SASL_PASSWORD" in caught.value.hint and "wrong" not in str(caught.value)


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_a_certificate_of_somebody_else_is_refused(secured: Secured, loop: str, unique: Callable[[], str]) -> None:
    connection = secured.connection("SASL_SSL", ssl_cafile=secured.foreign_ca)
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner, pytest.raises(BrokerError, match="certificate"):
        runner.run(there_and_back(connection, unique()))


def test_without_its_own_certificate_a_client_is_not_let_in(secured: Secured, unique: Callable[[], str]) -> None:
    connection = secured.connection("SSL", ssl_certfile=None, ssl_keyfile=None, patience_s=1.0)
    with asyncio.Runner() as runner, pytest.raises(BrokerError):
        runner.run(there_and_back(connection, unique()))
