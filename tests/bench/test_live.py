"""The benches over a real broker and real processes: figures of everything that runs, and nothing that is left."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import psutil
import pytest

from akkafka.broker.connection import Connection
from akkafka.broker.network import networks
from akkafka.cli.bench.ground import COLD_S, WARM_S, Ground, ground
from akkafka.cli.bench.hop import Request as WireRequest
from akkafka.cli.bench.hop import wire
from akkafka.cli.bench.pipeline import Setting, lines, measured
from akkafka.cli.bench.waterfall import SEGMENTS, station_names
from akkafka.cli.living import lives
from akkafka.cli.locating import reached

pytestmark = pytest.mark.kafka


def marked(mark: str) -> list[psutil.Process]:
    """Processes whose command line names it."""
    return [p for p in psutil.process_iter(["cmdline"]) if any(mark in word for word in p.info["cmdline"] or ())]


def folder_in(said: str) -> str:
    """Where this very bench had its broker."""
    found = re.search(r"data in (\S+)/broker", said)
    assert found is not None, said
    return found[1]


def test_a_pipeline_is_measured_with_all_its_processes_and_leaves_none() -> None:
    said: list[str] = []
    with ground("akp-", said.append) as here:
        assert here.java is not None and "kafka.Kafka" in here.java.cmdline()
        steady = measured(Setting(Path("digits"), ("wire.edges=bfloat16",)), 4.0, here, said.append)
    assert steady.samples > 0 and steady.batches > 0 and steady.latency_ms > 0
    assert steady.samples_per_second == steady.samples / steady.seconds
    assert {"gate-0", "gate-1", "gate-2", "sentinel-train", "sentinel-validate", "broker"} <= steady.cpu_seconds.keys()
    assert all(steady.cpu_seconds[name] > 0 for name in ("gate-0", "gate-2", "sentinel-train", "broker"))
    assert steady.window == 3 and not steady.window_why, "as configured"
    assert steady.staleness.keys() == steady.busy.keys() == {"fc1", "fc2", "fc3"}
    assert any(f"measured in {COLD_S:.0f} s" in line for line in said), "a new broker is given time to compile"
    assert any("samples/s" in line for line in said), "it takes longer than two seconds, so it tells how far it is"
    assert steady.trips, "every 16th batch brings its times home"
    for trip in steady.trips:
        assert trip.spent(1, SEGMENTS.index("wire")) > 0 and trip.total_ms < 60_000
    table = "\n".join(lines([steady], steady.trips, station_names(["fc1", "fc2", "fc3"])))
    assert "fc3 backward" in table and "broker" in table
    assert not marked(folder_in("\n".join(said)))


def test_a_pipeline_is_measured_over_the_broker_that_is_named_and_its_network_is_dropped(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap)
    said: list[str] = []
    with ground("akp-", said.append) as here:
        here.next_network()  # as if another had been measured before: what is warm is not waited for
        steady = measured(Setting(Path("digits")), 2.0, here, said.append)
        left = asyncio.run(networks_of(here))
    assert steady.batches > 0 and steady.cpu_seconds["broker"] > 0
    assert any(f"measured in {WARM_S:.0f} s" in line for line in said)
    assert not [name for name in left if name.startswith("bench-")]
    assert not any("data in" in line for line in said), "no broker of its own"
    assert here.java is not None and lives(here.java), "the named one goes on"


async def networks_of(here: Ground) -> list[str]:
    """What is on its broker."""
    async with reached(here.connection) as broker:
        return await networks(broker)


def test_a_network_that_cannot_be_dropped_is_told_and_hides_no_other_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_PATIENCE_S", "1")
    said: list[str] = []
    Ground(Connection.load({"bootstrap_servers": "127.0.0.1:1"}), tmp_path, {}, None, said.append).drop("bench-1")
    assert len(said) == 1 and "akkafka reset --network bench-1" in said[0]


def test_a_hop_is_measured_by_size_and_leaves_no_broker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wire(WireRequest((1_000, 200_000), 1, tmp_path / "hops.json", None))
    told = json.loads((tmp_path / "hops.json").read_text())
    assert [hop["size"] for hop in told["hops"]] == [1_000, 200_000]
    for hop in told["hops"]:
        assert 0 < hop["p50_ms"] <= hop["p95_ms"] and hop["megabytes_per_second"] > 0 and hop["cpu_ms"] > 0
    assert told["hops"][1]["megabytes_per_second"] > told["hops"][0]["megabytes_per_second"]
    out = capsys.readouterr()
    assert "CPU ms of the broker" in out.out
    assert not marked(folder_in(out.out + out.err))
