"""Every error that akkafka raises on purpose, so that the command line can tell a user's mistake from a fault of ours.

A message answers four questions: what happened, where (gate, lane, batch), what was expected, what to do next.
`akkafka.cli` prints the message without a traceback and leaves with `exit_code`.
"""

from __future__ import annotations


class AkkafkaError(Exception):
    """Base of all; `hint` says what to do next and is printed on a line of its own."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(AkkafkaError):
    """A configuration file, a flag or an environment variable is wrong; the message names the key."""

    exit_code = 2


class ShapeError(ConfigError):
    """Shapes or dtypes of neighbours, or of a batch and its gate, do not fit."""


class DataError(AkkafkaError):
    """A data set is missing, truncated, or not what its hash says."""

    exit_code = 3


class BrokerError(AkkafkaError):
    """The broker cannot be found, reached or used."""

    exit_code = 4


class ProtocolError(AkkafkaError):
    """Bytes from a topic are not a valid message of this network; never raised for a user's mistake."""

    exit_code = 5


class NewerSchemaError(ProtocolError):
    """A record was written by a newer akkafka; its reader stops instead of guessing."""


class LogLostError(AkkafkaError):
    """The broker lost a part of its log: offsets or chain hashes do not fit what was acknowledged."""

    exit_code = 6


class NetworkError(AkkafkaError):
    """A network of that name is missing, or is there with another definition."""

    exit_code = 7


class ReplayError(AkkafkaError):
    """A replay was asked for what the log does not hold any more, or not yet."""

    exit_code = 8
