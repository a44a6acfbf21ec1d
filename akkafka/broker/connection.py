"""Where the broker is and how to speak to it: one checked, frozen record, from flags and the environment."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from akkafka.errors import ConfigError

PREFIX = "KAFKA_"
DEFAULT_PORT = 9092
Address = tuple[str, int]


class Connection(BaseModel):
    """How to reach a Kafka cluster, and how long to wait for it. Times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bootstrap_servers: str = Field("localhost:9092", description="host:port of one or more brokers, with commas.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Encryption and authentication the listener expects."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="How user and password are proven, with SASL_*."
    )
    sasl_username: str | None = Field(None, description="User, with SASL_*.")
    sasl_password: SecretStr | None = Field(None, description="Password, with SASL_*; never shown.")
    ssl_cafile: Path | None = Field(None, description="Certificates (PEM) to trust, else the system's, with *SSL.")
    ssl_certfile: Path | None = Field(None, description="Our own certificate (PEM), with *SSL.")
    ssl_keyfile: Path | None = Field(None, description="Our certificate's key (PEM), with *SSL.")
    ssl_check_hostname: bool = Field(True, description="Whether the certificate has to carry the broker's name.")
    client_id: str = Field("akkafka", min_length=1, description="Name the broker sees in its logs and quotas.")
    patience_s: float = Field(
        10.0, gt=0, description="How long a request or a reader waits for an absent broker before it says so."
    )
    delivery_timeout_s: float = Field(
        30.0,
        gt=0,
        description="How long a producer tries to deliver a record; outlasts a broker's restart (3 to 15 s).",
    )
    request_timeout_s: float = Field(
        20.0, gt=0, description="How long one request waits for its answer before its connection is given up."
    )
    replication_factor: int | None = Field(
        None, ge=1, description="Copies of each partition of a new topic; by default min(3, brokers)."
    )
    session_timeout_s: float = Field(
        3.0,
        gt=0,
        description="Silence after which the group gives a member's lanes to others; 6 s where the broker's "
        "group.min.session.timeout.ms (Kafka's default: 6 s) does not allow less.",
    )
    heartbeat_s: float = Field(
        0.5, gt=0, description="Interval of heartbeats; also how soon members hear of a rebalance."
    )

    @classmethod
    def load(cls, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None) -> Self:
        """Flags (field name -> value, None: not given) before KAFKA_* variables before defaults.

        ConfigError names the flag or the variable that is wrong.
        """
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        source = os.environ if environ is None else environ
        values: dict[str, Any] = {
            name: source[PREFIX + name.upper()]
            for name in cls.model_fields
            if source.get(PREFIX + name.upper()) and name not in given
        }
        try:
            return cls(**values, **given)
        except ValidationError as error:
            raise _config_error(error, frozenset(values)) from None  # its cause would show what was typed

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses_are_readable(cls, text: str) -> str:
        for part in text.split(","):
            _address(part)
        return text

    @field_validator("ssl_cafile", "ssl_certfile", "ssl_keyfile")
    @classmethod
    def _file_is_there(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError(f"there is no file {path}")
        return path

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.security_protocol.startswith("SASL") and (not self.sasl_username or self.sasl_password is None):
            raise ValueError(
                f"{self.security_protocol} needs a user and a password (KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD)"
            )
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("a key without its certificate: set KAFKA_SSL_CERTFILE too")
        if self.heartbeat_s * 2 > self.session_timeout_s:
            raise ValueError(
                f"a session of {self.session_timeout_s:g} s needs a heartbeat at least every "
                f"{self.session_timeout_s / 2:g} s, got {self.heartbeat_s:g} s"
            )
        return self

    @property
    def addresses(self) -> tuple[Address, ...]:
        """(host, port) of each bootstrap server."""
        return tuple(_address(part) for part in self.bootstrap_servers.split(","))

    @property
    def encrypted(self) -> bool:
        """True if TLS is spoken."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS settings, or None without TLS; ConfigError if a certificate cannot be read."""
        if not self.encrypted:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile is not None:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"KAFKA_SSL_CAFILE, KAFKA_SSL_CERTFILE or KAFKA_SSL_KEYFILE cannot be used: {error}",
                hint="They must be PEM files, and the key must belong to the certificate.",
            ) from error
        context.check_hostname = self.ssl_check_hostname
        return context


def _address(text: str) -> Address:
    """Host and port of "host", "host:port", "[v6]" or "[v6]:port"."""
    text = text.strip()
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} is not host:port (an IPv6 address goes in brackets)")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not host:port")
    return host, int(port)


def _config_error(error: ValidationError, from_environment: frozenset[str]) -> ConfigError:
    first = error.errors(include_input=False, include_url=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    message = str(first["msg"]).removeprefix("Value error, ")
    if not field:
        return ConfigError(f"the broker's address: {message}")
    key = PREFIX + field.upper() if field in from_environment else "--" + field.replace("_", "-")
    return ConfigError(f"{key}: {message}", hint="See `akkafka --help` for the broker's settings.")
