"""Figures that come twice, late or not at all, and what they add up to."""

from __future__ import annotations

import json
import math

import pytest

from akkafka.cli.console import spoiled_words
from akkafka.cli.training.board import Board
from akkafka.cli.training.report import figures
from akkafka.cli.training.show import epoch_line, pass_line, summary
from akkafka.protocol.figures import (
    BatchFigures,
    GateFigures,
    LaneFigures,
    PassFigures,
    SentinelFigures,
    TrainFigures,
)
from akkafka.protocol.messages import Mode

S = 1_000_000_000
START = 1_700_000_000 * S


def batch(
    lane: int, seq: int, epoch: int, at: float, *, loss: float = 1.0, correct: int = 5, samples: int = 10
) -> BatchFigures:
    return BatchFigures(
        lane=lane,
        seq=seq,
        epoch=epoch,
        batch=seq,
        samples=samples,
        loss=loss,
        correct=correct,
        home_ns=START + int(at * S),
        latency_ms=500.0,
    )


def board_with(*batches: BatchFigures, lanes: tuple[int, ...] = (0,)) -> Board:
    board = Board(lanes)
    board.take("t", 0, TrainFigures(batches=list(batches)))
    return board


def gate(gate: int = 0, **values: object) -> GateFigures:
    return GateFigures.model_validate({"gate": gate, "name": "fc", "state": "working", **values})


def finished(*lanes: int) -> SentinelFigures:
    rows = [LaneFigures(lane=lane, issued=9, home=9, epoch=1, finished=True) for lane in lanes]
    return SentinelFigures(role=Mode.TRAIN, state="working", lanes=rows)


def test_loss_is_a_mean_over_samples_not_over_batches() -> None:
    board = board_with(batch(0, 0, 0, 1.0, loss=1.0, samples=30, correct=3), batch(0, 1, 0, 2.0, loss=5.0, samples=10))
    board.close()
    (epoch,) = board.epochs
    assert (epoch.loss, epoch.metrics, epoch.samples) == (2.0, {"accuracy": 8 / 40}, 40)


def test_a_batch_that_is_told_twice_counts_once() -> None:
    board = board_with(batch(0, 0, 0, 1.0), batch(0, 0, 0, 1.5, loss=9.0), batch(0, 1, 0, 2.0))
    board.take("another", 0, TrainFigures(batches=[batch(0, 1, 0, 2.0)]))
    board.close()
    assert board.epochs[0].samples == 20
    assert board.home_by_figures() == 2


def test_batches_of_lanes_that_are_not_ours_do_not_count() -> None:
    assert board_with(batch(7, 0, 0, 1.0)).home_by_figures() == 0


def test_an_epoch_ends_when_every_lane_has_gone_beyond_it() -> None:
    board = board_with(batch(0, 0, 0, 1.0), batch(1, 0, 0, 1.1), batch(0, 1, 1, 2.0), lanes=(0, 1))
    assert board.epochs == []
    board.take("t", 0, TrainFigures(batches=[batch(1, 1, 1, 2.1)]))
    assert [line.epoch for line in board.epochs] == [1]


def test_an_epoch_ends_when_its_lanes_bring_nothing_more() -> None:
    board = board_with(batch(0, 0, 0, 1.0), batch(1, 0, 0, 1.1), lanes=(0, 1))
    board.take("t", 0, finished(0))
    assert board.epochs == []
    board.take("u", 0, finished(1))
    assert [line.epoch for line in board.epochs] == [1]


def test_seconds_of_an_epoch_run_from_the_end_of_the_one_before() -> None:
    board = board_with(batch(0, 0, 0, 2.0), batch(0, 1, 1, 5.0), batch(0, 2, 2, 6.0))
    assert [line.seconds for line in board.epochs] == pytest.approx([0.5, 3.0])  # the first was issued 0.5 s before


def test_a_batch_that_is_told_after_its_epochs_line_does_not_make_a_second_line() -> None:
    board = board_with(batch(0, 1, 0, 1.0), batch(0, 2, 1, 2.0))
    board.take("t", 0, TrainFigures(batches=[batch(0, 0, 0, 0.9)]))
    board.close()
    assert [line.epoch for line in board.epochs] == [1, 2]


def test_a_resumed_training_begins_with_the_epoch_it_is_in() -> None:
    board = board_with(batch(0, 90, 4, 1.0))
    board.close()
    assert board.epochs[0].epoch == 5


def test_updates_of_a_gate_add_up_over_its_processes() -> None:
    board = Board((0,))
    board.take("first", 1, gate(updates=10, staleness_sum=30, staleness_max=4, version=10))
    board.take("first", 2, gate(updates=20, staleness_sum=50, staleness_max=5, version=20))
    board.take("second", 3, gate(updates=5, staleness_sum=0, version=25))
    row = board.gates[0]
    assert (row.updates, row.staleness_mean, row.staleness_max, row.version) == (25, 2.0, 5, 25)


def test_updates_that_a_killed_process_has_not_told_count_as_their_versions_exist() -> None:
    board = Board((0,))
    board.take("killed", 1, gate(state="standby"))
    board.take("killed", 2, gate(updates=10, staleness_sum=30, version=110))
    board.take("next", 3, gate(updates=0, version=113))  # what the journal has
    board.take("next", 4, gate(updates=5, staleness_sum=0, version=118))
    row = board.gates[0]
    assert (row.updates, row.version, row.staleness_mean) == (18, 118, 2.0)


def test_idle_beats_do_not_dilute_how_busy_a_gate_is() -> None:
    board = Board((0,))
    board.take("p", 1, gate(updates=0, busy=0.0))
    board.take("p", 2, gate(updates=4, busy=0.5))
    board.take("p", 3, gate(updates=4, busy=0.0))
    assert board.gates[0].busy == 0.5


def test_void_and_zeroed_batches_are_told_if_there_are_any() -> None:
    board = Board((0,))
    board.take("p", 1, gate(0, updates=9))
    assert spoiled_words(*board.spoiled) == ""
    board.take("p", 2, gate(0, updates=10, voids=1, zeroed=2))
    board.take("q", 3, gate(0, updates=3, voids=1))
    board.take("r", 3, gate(1, updates=13, voids=2, zeroed=1))
    assert (board.gates[0].voids, board.gates[0].zeroed) == (2, 2)
    assert spoiled_words(*board.spoiled) == "2 batches void, 2 applied with a gradient of zero"
    assert summary(board, 0.0, 0.0)[-1] == spoiled_words(*board.spoiled)


def test_a_standby_does_not_hide_what_the_working_process_does() -> None:
    board = Board((0,))
    board.take("p", 1, gate(version=7))
    board.take("q", 2, gate(state="standby"))
    assert (board.gates[0].state, board.gates[0].version) == ("working", 7)


def test_gates_lag_until_their_beats_tell_of_every_issued_batch() -> None:
    board = Board((0, 1))
    issued = {0: 5, 1: 4}
    board.take("p", 1, gate(0, applied=[(0, 5), (1, 3)]))
    board.take("q", 1, gate(1, applied=[(0, 5), (1, 4), (2, 0)]))
    assert board.lagging(issued, range(3)) == [0, 2]
    board.take("p", 2, gate(0, applied=[(0, 5), (1, 4)]))
    assert board.lagging(issued, range(2)) == []


def test_only_passes_of_validation_count_with_the_seconds_since_training_began() -> None:
    board = board_with(batch(0, 0, 0, 0.5))
    for role in (Mode.TEST, Mode.VALIDATE):
        body = PassFigures(
            role=role, data="d", samples=7, loss=0.5, accuracy=0.9, seconds=0.1, started_ms=0, versions=[(1, 2)]
        )
        board.take("v", START // 1_000_000 + 3000, body)
    (line,) = board.passes
    assert (line.metrics, line.samples) == ({"accuracy": 0.9}, 7)
    assert line.seconds == pytest.approx(3.0)


def test_a_regression_and_a_text_show_what_fits_them_and_never_an_accuracy_of_0() -> None:
    real = Board((0,), ("mae",))
    text = Board((0,), ("perplexity", "accuracy"))
    for board, metrics in ((real, {"mae": 0.25}), (text, {"top-5": 0.75})):
        rows = [
            batch(0, n, 0, 1.0 + n, loss=2.0 * n, correct=0).model_copy(update={"metrics": metrics}) for n in (0, 1)
        ]
        board.take("t", 0, TrainFigures(batches=rows))
        body = PassFigures(
            role=Mode.VALIDATE,
            data="d",
            samples=7,
            loss=0.5,
            accuracy=0.0,
            metrics={**metrics, "perplexity": 1.5},
            seconds=0.1,
            started_ms=0,
            versions=[(1, 2)],
        )
        board.take("v", START // 1_000_000 + 3000, body)
        board.close()
    assert real.epochs[0].metrics == real.passes[0].metrics == {"mae": 0.25}
    assert text.epochs[0].metrics == {"perplexity": pytest.approx(math.e), "accuracy": 0.0}  # of a mean loss of 1
    assert text.passes[0].metrics == {"perplexity": 1.5, "accuracy": 0.0}
    lines = [epoch_line(real.epochs[0], 1), pass_line(real.passes[0]), *summary(real, 1.0, 1.0)]
    lines.append(json.dumps(figures(real, {}, {})))
    assert not any("accuracy" in line for line in lines)
    assert "mae 0.25" in lines[0] and "mae 0.25" in lines[1] and '"mae": 0.25' in lines[-1]
    assert "perplexity 2.718  accuracy  0.00%" in epoch_line(text.epochs[0], 1)


def test_rate_of_the_last_seconds() -> None:
    board = board_with(*(batch(0, n, 0, 1.0 + n) for n in range(10)))
    assert board.rate(START + 10 * S, window_s=2.5) == pytest.approx(30 / 2.5)
    assert board.rate(START + 60 * S) == 0.0
