"""What the supervisor does when a process ends, by events alone."""

from __future__ import annotations

import pytest

from akkafka.cli.training import supervision as s

GATES = [s.Worker(f"gate-{i}", s.Role.GATE, ("-m", "gate", str(i))) for i in range(2)]
TRAINERS = [s.Worker(f"train-{i}", s.Role.TRAIN, ("-m", "train")) for i in range(2)]
VALIDATOR = s.Worker("validate", s.Role.VALIDATE, ("-m", "validate"), ("-m", "validate", "--once"))
ALL = [*GATES, *TRAINERS, VALIDATOR]


def begun(workers: list[s.Worker] | None = None) -> s.Supervision:
    supervision = s.Supervision(ALL if workers is None else workers)
    supervision.on(s.Begun(), 0.0)
    return supervision


def started(instructions: list[s.Instruction]) -> list[str]:
    return [i.worker.name for i in instructions if isinstance(i, s.Start)]


def sent(instructions: list[s.Instruction]) -> dict[str, s.Order]:
    return {i.name: i.order for i in instructions if isinstance(i, s.Send)}


def told(instructions: list[s.Instruction]) -> str:
    return "\n".join(i.text for i in instructions if isinstance(i, s.Tell))


def trained(supervision: s.Supervision) -> s.Supervision:
    """Both training sentinels have ended as they should, and the log agrees."""
    for worker in TRAINERS:
        supervision.on(s.Ended(worker.name, 0), 50.0)
    supervision.on(s.LanesRead(finished=True), 50.1)
    return supervision


def test_all_processes_start_together_except_those_that_run_already() -> None:
    supervision = s.Supervision(ALL)
    assert started(supervision.on(s.Begun(frozenset({"gate-0", "train-1"})), 0.0)) == ["gate-1", "train-0", "validate"]


LATER = s.Worker("validate", s.Role.VALIDATE, ("-m", "validate"), ("-m", "validate", "--once"), later=True)


def test_who_is_not_needed_for_the_first_batch_starts_behind_it_once() -> None:
    supervision = begun([*GATES, *TRAINERS, LATER])
    assert started(supervision.on(s.Ticked(), s.LATER_S - 0.1)) == []
    assert started(supervision.on(s.Progressed(), s.LATER_S - 0.1)) == ["validate"]
    assert started(supervision.on(s.Progressed(), s.LATER_S)) == []
    assert started(supervision.on(s.Ticked(), s.LATER_S + 0.1)) == []


def test_who_is_not_needed_for_the_first_batch_does_not_wait_for_ever() -> None:
    supervision = begun([*GATES, *TRAINERS, LATER])
    assert started(supervision.on(s.Ticked(), s.LATER_S)) == ["validate"]


def test_a_training_that_is_over_before_the_validator_began_is_validated_all_the_same() -> None:
    supervision = trained(begun([*GATES, *TRAINERS, LATER]))
    assert started(supervision.on(s.Progressed(), 50.2)) == []
    (start,) = supervision.on(s.JournalsFull(), 50.3)
    assert isinstance(start, s.Start)
    assert start.worker.command == LATER.last_resort


def test_nobody_is_started_for_the_first_time_when_the_training_is_to_end() -> None:
    supervision = begun([*GATES, *TRAINERS, LATER])
    supervision.on(s.StopAsked(), 1.0)
    assert started(supervision.on(s.Progressed(), 1.1) + supervision.on(s.Ticked(), s.LATER_S)) == []


def test_a_training_goes_through_its_phases_to_a_quiet_end() -> None:
    supervision = begun()
    assert supervision.on(s.Ended("train-0", 0), 50.0) == []
    assert supervision.on(s.Ended("train-1", 0), 50.0) == [s.ReadLanes()]
    assert supervision.on(s.LanesRead(finished=True), 50.1) == []
    assert supervision.phase is s.Phase.SETTLING
    assert sent(supervision.on(s.JournalsFull(), 50.2)) == {"validate": s.Order.ONE_MORE_PASS}
    closing = supervision.on(s.Ended("validate", 0), 51.0)
    assert sent(closing) == {"gate-0": s.Order.FINISH, "gate-1": s.Order.FINISH}
    over = []
    for gate in GATES:
        supervision.on(s.Ended(gate.name, 0), 51.5)
        over.append(supervision.ended)
    assert over == [False, True]
    assert supervision.validated
    assert (supervision.stopped, supervision.culprit) == (False, "")


def test_gates_are_not_ended_before_their_journals_are_full() -> None:
    supervision = trained(begun())
    assert supervision.on(s.Ticked(), 500.0) == []
    assert supervision.phase is s.Phase.SETTLING


@pytest.mark.parametrize("phase", ["training", "settling"])
def test_a_killed_gate_is_started_again_after_the_back_off(phase: str) -> None:
    supervision = begun() if phase == "training" else trained(begun())
    assert "gate-1 was killed by SIGKILL" in told(supervision.on(s.Ended("gate-1", -9), 100.0))
    assert started(supervision.on(s.Ticked(), 100.1)) == []
    assert supervision.restarts == ["gate-1"]
    assert started(supervision.on(s.Ticked(), 100.2)) == ["gate-1"]
    assert supervision.restarts == []


def test_back_off_grows_with_each_quick_death() -> None:
    supervision = begun()
    for died, wait in enumerate(s.BACK_OFF_S, start=1):
        supervision.on(s.Ended("gate-0", 1), died * 10.0)
        assert started(supervision.on(s.Ticked(), died * 10.0 + wait - 0.01)) == []
        assert started(supervision.on(s.Ticked(), died * 10.0 + wait)) == ["gate-0"]
    assert list(s.BACK_OFF_S) == sorted(s.BACK_OFF_S)


def test_who_dies_again_and_again_is_given_up_by_name_and_the_rest_is_ended() -> None:
    supervision, now = begun(), 0.0
    for _ in range(s.MAX_FAILURES):
        supervision.on(s.Ended("gate-0", 1), now)
        now += 10.0
        assert started(supervision.on(s.Ticked(), now)) == ["gate-0"]
    end = supervision.on(s.Ended("gate-0", 1), now)
    assert "gate-0 has failed with exit code 1 (7 times in a row) and is given up" in told(end)
    assert sent(end) == dict.fromkeys(("train-0", "train-1", "validate"), s.Order.FINISH)
    assert (supervision.culprit, supervision.culprit_code) == ("gate-0", 1)
    assert started(supervision.on(s.Ticked(), now + 1)) == []


def test_a_long_life_clears_the_record() -> None:
    supervision, now = begun(), 0.0
    for _ in range(3 * s.MAX_FAILURES):
        now += s.HEALTHY_S
        supervision.on(s.Ended("gate-0", 1), now)
        now += s.BACK_OFF_S[0]
        assert started(supervision.on(s.Ticked(), now)) == ["gate-0"]


@pytest.mark.parametrize("code", sorted(s.HOPELESS))
def test_an_error_that_a_restart_would_repeat_ends_training_at_once(code: int) -> None:
    supervision = begun()
    assert "is given up" in told(supervision.on(s.Ended("train-0", code), 1.0))
    assert (supervision.culprit, supervision.culprit_code) == ("train-0", code)


def test_a_broker_that_is_away_is_waited_for_longer_than_a_fault_is_tried() -> None:
    supervision, now = begun(), 0.0
    for _ in range(s.MAX_FAILURES_AWAY):
        supervision.on(s.Ended("gate-0", s.BROKER_AWAY), now)
        now += 6.0
        assert started(supervision.on(s.Ticked(), now)) == ["gate-0"]
    supervision.on(s.Ended("gate-0", s.BROKER_AWAY), now)
    assert supervision.culprit == "gate-0"


def test_a_sentinel_that_was_ended_from_outside_is_started_again_when_lanes_are_unfinished() -> None:
    supervision = begun()
    supervision.on(s.Ended("train-0", 0), 30.0)
    assert supervision.on(s.Ended("train-1", 0), 30.0) == [s.ReadLanes()]
    supervision.on(s.LanesRead(finished=False), 30.1)
    assert supervision.phase is s.Phase.TRAINING
    assert started(supervision.on(s.Ticked(), 30.3)) == ["train-0", "train-1"]


def test_a_sentinel_that_misses_the_end_is_told_by_what_the_log_says() -> None:
    supervision = begun()
    supervision.on(s.Ended("train-0", 0), 30.0)
    assert sent(supervision.on(s.LanesRead(finished=True), 33.0)) == {"train-1": s.Order.FINISH}
    assert supervision.phase is s.Phase.SETTLING
    assert supervision.on(s.Ended("train-1", -15), 34.0) == []
    assert sent(supervision.on(s.JournalsFull(), 35.0)) == {"validate": s.Order.ONE_MORE_PASS}


def test_a_validator_that_does_not_know_the_signal_yet_makes_its_pass_in_a_new_process() -> None:
    supervision = trained(begun())
    supervision.on(s.JournalsFull(), 51.0)
    again = supervision.on(s.Ended("validate", -10), 51.1)
    assert [i.worker.command for i in again if isinstance(i, s.Start)] == [VALIDATOR.last_resort]
    assert sent(supervision.on(s.Ended("validate", 0), 53.0)) == {w.name: s.Order.FINISH for w in GATES}
    assert supervision.validated


def test_a_network_without_validation_lanes_closes_at_once() -> None:
    supervision = trained(begun([*GATES, *TRAINERS]))
    assert sent(supervision.on(s.JournalsFull(), 51.0)) == {w.name: s.Order.FINISH for w in GATES}


def test_ctrl_c_ends_sentinels_first_and_gates_when_those_are_gone() -> None:
    supervision = begun()
    first = supervision.on(s.StopAsked(), 10.0)
    assert sent(first) == dict.fromkeys(("train-0", "train-1", "validate"), s.Order.FINISH)
    supervision.on(s.Ended("train-0", 0), 11.0)
    supervision.on(s.Ended("validate", 0), 11.0)
    gates = supervision.on(s.Ended("train-1", 0), 12.0)
    assert sent(gates) == {w.name: s.Order.FINISH for w in GATES}
    for worker in GATES:
        supervision.on(s.Ended(worker.name, 0), 13.0)
    assert supervision.ended
    assert supervision.stopped


def test_a_second_ctrl_c_kills_everything() -> None:
    supervision = begun()
    supervision.on(s.StopAsked(), 10.0)
    assert sent(supervision.on(s.StopAsked(), 10.5)) == {w.name: s.Order.DIE for w in ALL}
    for worker in ALL:
        supervision.on(s.Ended(worker.name, -9), 10.6)
    assert supervision.ended


def test_ctrl_c_while_gates_write_their_last_snapshot_lets_them() -> None:
    supervision = trained(begun())
    supervision.on(s.JournalsFull(), 51.0)
    supervision.on(s.Ended("validate", 0), 52.0)
    assert sent(supervision.on(s.StopAsked(), 52.1)) == {}
    assert sent(supervision.on(s.StopAsked(), 52.2)) == {w.name: s.Order.DIE for w in GATES}


def test_ctrl_c_before_anything_runs_again_ends_it() -> None:
    supervision = begun([GATES[0]])
    supervision.on(s.Ended("gate-0", 1), 1.0)
    supervision.on(s.StopAsked(), 1.1)
    assert supervision.ended
    assert started(supervision.on(s.Ticked(), 60.0)) == []


def test_who_does_not_finish_in_time_is_named_and_killed() -> None:
    supervision = begun()
    supervision.on(s.StopAsked(), 10.0)
    assert supervision.on(s.Ticked(), 10.0 + s.DRAIN_S - 0.1) == []
    late = supervision.on(s.Ticked(), 10.0 + s.DRAIN_S)
    assert sent(late) == dict.fromkeys(("train-0", "train-1", "validate"), s.Order.DIE)
    assert "train-0 does not finish in time" in told(late)


def test_a_death_in_words() -> None:
    assert [s.how(code) for code in (0, 3, -15, -250)] == [
        "has ended",
        "has failed with exit code 3",
        "was killed by SIGTERM",
        "was killed by signal 250",
    ]


def test_who_is_killed_from_outside_again_and_again_is_not_given_up_while_training_gets_on() -> None:
    supervision = begun()
    now = 1.0
    for _ in range(20):
        supervision.on(s.Progressed(), now)
        told_now = told(supervision.on(s.Ended("gate-1", -9), now + 1.0))
        assert "started again in 0.2 s" in told_now, "a clean record each time"
        assert started(supervision.on(s.Ticked(), now + 2.0)) == ["gate-1"]
        now += 3.0
    assert supervision.culprit == ""


@pytest.mark.parametrize("code", [-9, -11, 1], ids=["killed without progress", "crashed", "failed"])
def test_who_brings_training_down_each_time_is_given_up(code: int) -> None:
    supervision = begun()
    for n in range(s.MAX_KILLS + 1 if code == -9 else s.MAX_FAILURES + 1):
        assert supervision.culprit == ""
        if code != -9:
            supervision.on(s.Progressed(), 8.0 * n + 1.0)
        supervision.on(s.Ended("gate-1", code), 8.0 * n + 2.0)
        supervision.on(s.Ticked(), 8.0 * n + 2.0 + s.BACK_OFF_S[-1])
    assert supervision.culprit == "gate-1"
