"""The arithmetic of the report, against plain sums."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from akkafka.cli.training.board import Board
from akkafka.cli.training.report import (
    check_writable,
    figures,
    steady_rate,
    weights_sha256,
    write_json,
    write_weights,
)
from akkafka.cli.training.show import PlainShow, Scene, summary
from akkafka.errors import ConfigError
from akkafka.protocol.figures import BatchFigures, GateFigures, SentinelFigures, TrainFigures
from akkafka.protocol.messages import Mode

S = 1_000_000_000


def test_rate_is_that_behind_the_warm_up() -> None:
    slow = [(n * S, 100) for n in range(20)]  # 100 samples a second for 20 s …
    quick = [(19 * S + n * S // 10, 100) for n in range(1, 81)]  # … then 1000
    rate = steady_rate([*slow, *quick])
    assert (rate.cut, rate.counted, rate.seconds) == (20, 80, 8.0)
    assert rate.samples_per_second == pytest.approx(1000.0)
    assert "first 20 batches" in rate.said


def test_at_least_ten_batches_are_warm_up() -> None:
    rate = steady_rate([(n * S, 10) for n in range(15)])
    assert (rate.cut, rate.counted, rate.samples_per_second) == (10, 5, 10.0)


def test_the_search_for_a_window_is_warm_up_if_enough_batches_are_behind_it() -> None:
    slow, quick = [(n * S, 100) for n in range(60)], [(59 * S + n * S // 10, 100) for n in range(1, 41)]
    found = steady_rate([*slow, *quick], settled_ns=59 * S)
    assert (found.cut, found.counted, found.samples_per_second) == (60, 40, 1000.0)
    assert "the first 60 batches (the search for a window)" in found.said
    late = steady_rate([*slow, *quick], settled_ns=59 * S + 3_100_000_000)  # nine batches are behind it
    assert late == steady_rate([*slow, *quick])
    early = steady_rate([*slow, *quick], settled_ns=10 * S)  # within the usual warm-up
    assert early == late and "search" not in early.said


def test_the_order_in_which_figures_come_does_not_matter() -> None:
    batches = [(n * S, 10 + n) for n in range(30)]
    assert steady_rate(batches[::-1]) == steady_rate(batches)


@pytest.mark.parametrize("count", [0, 1, 10, 11])
def test_too_few_batches_have_no_rate_and_say_so(count: int) -> None:
    rate = steady_rate([(n * S, 10) for n in range(count)])
    assert rate.samples_per_second == 0.0
    assert "not measured" in rate.said


def test_batches_of_one_moment_have_no_rate_instead_of_an_infinite_one() -> None:
    assert steady_rate([(S, 10)] * 40).samples_per_second == 0.0


def weights() -> dict[str, NDArray[np.float32]]:
    return {"0.w": np.arange(6, dtype=np.float32).reshape(2, 3), "0.b": np.ones(3, np.float32)}


def test_hash_of_weights_is_over_sorted_names_shapes_and_bytes() -> None:
    expected = hashlib.sha256(
        b"0.b(3,)" + np.ones(3, "<f4").tobytes() + b"0.w(2, 3)" + np.arange(6, dtype="<f4").tobytes()
    )
    assert weights_sha256(weights()) == expected.hexdigest()


def test_hash_tells_shapes_names_and_one_bit_apart_but_not_memory_layout() -> None:
    one = weights()
    assert weights_sha256({**one, "0.w": np.asfortranarray(one["0.w"])}) == weights_sha256(one)
    nudged = {**one, "0.b": np.nextafter(one["0.b"], np.float32(2))}
    others = [{**one, "0.w": one["0.w"].reshape(3, 2)}, {"0.w": one["0.w"], "1.b": one["0.b"]}, nudged]
    assert len({weights_sha256(w) for w in [one, *others]}) == 4


def test_weights_are_named_by_gate_and_param(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "w.npz"
    write_weights(path, {"fc1": weights(), "fc2": {"0.file": np.zeros(1, np.float32)}})
    with np.load(path) as held:
        assert sorted(held.files) == ["fc1.0.b", "fc1.0.w", "fc2.0.file"]
        assert np.array_equal(held["fc1.0.w"], weights()["0.w"])


def test_a_file_that_cannot_be_written_is_told_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be written"):
        check_writable(tmp_path / "file" / "below.json")
    check_writable(None)
    check_writable(tmp_path / "new.json")
    assert not (tmp_path / "new.json").exists()
    check_writable(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"


def test_report_has_every_field_that_is_promised(tmp_path: Path) -> None:
    board = Board((0,))
    rows = [
        BatchFigures(
            lane=0, seq=n, epoch=0, batch=n, samples=8, loss=0.5, correct=4, home_ns=S * (n + 1), latency_ms=1.0
        )
        for n in range(20)
    ]
    board.take("t", 0, TrainFigures(batches=rows))
    board.take(
        "g", 0, GateFigures(gate=0, name="fc1", state="working", version=4, updates=4, staleness_sum=6, rss_bytes=123)
    )
    board.close()
    facts = {"network": "n", "definition_hash": "h", "seed": 1, "broker": {}, "wall_seconds": 9.0}
    write_json(tmp_path / "r.json", figures(board, {0: "abc"}, facts))
    report = json.loads((tmp_path / "r.json").read_text())
    assert facts.items() <= report.items()
    assert report["samples_per_second"] == 8.0
    assert report["epochs"] == [
        {"epoch": 1, "loss": 0.5, "accuracy": 0.5, "seconds": pytest.approx(19.001), "samples": 160}
    ]
    (gate,) = report["gates"]
    assert {
        "gate": 0,
        "updates": 4,
        "staleness_mean": 1.5,
        "rss_bytes": 123,
        "weights_sha256": "abc",
    }.items() <= gate.items()
    assert {"staleness_max", "busy"} <= gate.keys()
    assert report["validations"] == [] and report["windows"] == []


def test_a_window_that_was_found_is_in_report_and_summary_and_begins_the_steady_state() -> None:
    board = Board((0,))
    homes = [(n * S, 8) for n in range(40)] + [(39 * S + n * S // 10, 8) for n in range(1, 61)]
    rows = [
        BatchFigures(lane=0, seq=n, epoch=0, batch=n, samples=8, loss=0.5, correct=4, home_ns=at, latency_ms=1.0)
        for n, (at, _) in enumerate(homes)
    ]
    board.take("t", 0, TrainFigures(batches=rows))
    beat = SentinelFigures(role=Mode.TRAIN, state="working", window=8)
    board.take("t", 20_000, beat)
    assert board.settled_ns == 0
    for at_ms, window in ((39_000, 6), (41_000, 6), (42_000, 12)):  # the last one: on trial anew, it may have changed
        board.take("t", at_ms, beat.model_copy(update={"window": window, "window_why": "fc1 is busy"}))
    report = figures(board, {}, {})
    assert report["windows"] == [{"window": 6, "why": "fc1 is busy"}]
    assert report["samples_per_second"] == pytest.approx(80.0)
    assert "window 6: fc1 is busy" in summary(board, 1.0, 1.0)


def test_a_window_is_said_once_when_it_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    board, show = Board((0,)), PlainShow()
    scene = Scene(board, epochs=1, title="network n", phase="training", begun=0.0)
    beat = SentinelFigures(role=Mode.TRAIN, state="working", window=6, window_why="fc1 is busy")
    for at_ms in (0, 200, 400):
        board.take("t", at_ms, beat)
        show.refresh(scene)
    board.take("t", 600, beat.model_copy(update={"window": 3, "window_why": "fc2 is busier"}))
    show.refresh(scene)
    assert capsys.readouterr().out.splitlines() == ["window 6: fc1 is busy", "window 3: fc2 is busier"]
