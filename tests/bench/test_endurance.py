"""What is made of phases of peace and of kills; and that a training really is killed at, and measured."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from akkafka.cli.bench.endurance import Phase, Request, Size, endurance, kept, lines, moments, pair_ratios

PHASES = [Phase(0, 10.0, 1000), Phase(2, 10.0, 900), Phase(0, 10.0, 3000), Phase(2, 10.0, 3000)]


def test_kills_lie_within_their_intervals_and_leave_the_last_one_time_to_recover() -> None:
    for seed in range(50):
        found = moments(random.Random(seed), 60.0, 30.0)
        assert len(found) == 2
        assert 7.5 <= found[0] <= 22.5 and 37.5 <= found[1] <= 52.5
    assert moments(random.Random(0), 20.0, 30.0) == []


def test_the_share_is_of_all_samples_and_pairs_are_told_beside() -> None:
    assert kept(PHASES) == pytest.approx(3900 / 4000)
    assert pair_ratios(PHASES) == pytest.approx([0.9, 1.0])
    rss = {"gate-0": 200 << 20, "broker": 300 << 20}
    sizes = [Size(float(i), (i + 1) << 20, rss if i else {"gate-0": 200 << 20}) for i in range(6)]
    told = lines(PHASES, sizes)
    assert any("97.5% of the throughput is left under 4 kills" in line for line in told)
    assert [line.split()[:2] for line in told[-3:]] == [["first", "third"], ["second", "third"], ["last", "third"]]


@pytest.mark.kafka
def test_a_training_is_killed_at_and_goes_on(tmp_path: Path) -> None:
    endurance(Request(Path("digits"), (), 1, 1, 8.0, 8.0, None, tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert [phase["kills"] for phase in found["phases"]] == [0, 1]
    assert all(phase["samples"] > 0 for phase in found["phases"])
    assert found["sizes"] and {"gate-0", "gate-0-standby", "broker"} & found["sizes"][-1]["rss_bytes"].keys()
