"""The broker's address and credentials: where they come from, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from akkafka.broker.connection import Connection
from akkafka.errors import ConfigError


def test_flags_come_before_the_environment_and_that_before_defaults() -> None:
    environ = {"KAFKA_BOOTSTRAP_SERVERS": "env:1", "KAFKA_CLIENT_ID": "from-env", "KAFKA_PATIENCE_S": "3.5"}
    made = Connection.load({"bootstrap_servers": "flag:2", "client_id": None}, environ)
    assert (made.bootstrap_servers, made.client_id, made.patience_s) == ("flag:2", "from-env", 3.5)
    assert made.security_protocol == "PLAINTEXT"


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Connection.load({}, {"KAFKA_BOOTSTRAP_SERVERS": ""}).bootstrap_servers == "localhost:9092"


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("a:1", [("a", 1)]),
        ("a", [("a", 9092)]),
        ("a:1, b:2", [("a", 1), ("b", 2)]),
        ("[::1]:5", [("::1", 5)]),
        ("[::1]", [("::1", 9092)]),
    ],
)
def test_addresses_are_read_in_all_their_forms(text: str, addresses: list[tuple[str, int]]) -> None:
    assert list(Connection(bootstrap_servers=text).addresses) == addresses


@pytest.mark.parametrize("text", ["", "a:", ":1", "a:x", "a:0", "a:65536", "a:1,,b:2", "::1", "a:-1"])
def test_an_address_that_cannot_be_read_is_refused_with_the_variables_name(text: str) -> None:
    with pytest.raises(ConfigError, match="--bootstrap-servers"):
        Connection.load({"bootstrap_servers": text}, {})
    if text:
        with pytest.raises(ConfigError, match="KAFKA_BOOTSTRAP_SERVERS"):
            Connection.load({}, {"KAFKA_BOOTSTRAP_SERVERS": text})


def test_a_wrong_choice_names_the_variable_and_what_is_possible() -> None:
    with pytest.raises(ConfigError, match=r"KAFKA_SECURITY_PROTOCOL.*SASL_SSL"):
        Connection.load({}, {"KAFKA_SECURITY_PROTOCOL": "TLS"})


SASL = {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_USERNAME": "ann", "KAFKA_SASL_PASSWORD": "s3cret"}


def test_the_password_is_never_shown() -> None:
    made = Connection.load({}, SASL)
    assert made.sasl_password is not None and made.sasl_password.get_secret_value() == "s3cret"
    assert "s3cret" not in f"{made!r} {made} {made.model_dump()} {made.model_dump_json()}"
    with pytest.raises(ConfigError) as caught:
        Connection.load({}, {**SASL, "KAFKA_SASL_MECHANISM": "s3cret"})
    assert "s3cret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("missing", ["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"])
def test_sasl_without_user_or_password_says_what_to_set(missing: str) -> None:
    with pytest.raises(ConfigError, match="KAFKA_SASL_PASSWORD"):
        Connection.load({}, {name: value for name, value in SASL.items() if name != missing})


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"KAFKA_SSL_CAFILE.*gone.pem"):
        Connection.load({}, {"KAFKA_SSL_CAFILE": str(tmp_path / "gone.pem")})


def test_a_certificate_that_cannot_be_read_is_an_error_that_teaches(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    made = Connection(security_protocol="SSL", ssl_cafile=broken)
    with pytest.raises(ConfigError, match="KAFKA_SSL_CAFILE") as caught:
        made.ssl_context()
    assert "PEM" in caught.value.hint


def test_tls_checks_names_unless_told_otherwise() -> None:
    strict = Connection(security_protocol="SSL").ssl_context()
    loose = Connection(security_protocol="SSL", ssl_check_hostname=False).ssl_context()
    assert strict is not None and strict.check_hostname
    assert loose is not None and not loose.check_hostname
    assert Connection().ssl_context() is None


def test_a_heartbeat_that_is_slower_than_half_a_session_is_refused() -> None:
    with pytest.raises(ConfigError, match="session"):
        Connection.load({"session_timeout_s": 6.0, "heartbeat_s": 4.0}, {})


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(ConfigError, match="--bootstrap-server"):
        Connection.load({"bootstrap_server": "a:1"}, {})
