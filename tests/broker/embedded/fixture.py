"""A broker for tests: one real Kafka for a whole pytest session, to be wrapped in a fixture by a conftest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from akkafka.broker.embedded import BrokerSettings, acquire


def broker_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yields "127.0.0.1:port" of a Kafka with no data in it; ends it, and its data, behind the last test.

    In a conftest: `bootstrap = pytest.fixture(scope="session")(broker_bootstrap)`.
    """
    settings = BrokerSettings(tmp_path_factory.mktemp("broker"), linger_s=0.0)
    with acquire(settings, progress=print) as lease:
        yield lease.bootstrap
