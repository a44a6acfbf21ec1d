"""What a gate needs of its inputs: one case a rule."""

from __future__ import annotations

from akkafka.gate.needs import Needs
from akkafka.protocol.messages import Backward, Mode

from .bench import RUN, forward

WINDOW = 2


def needs(count: int, mode: Mode = Mode.TRAIN) -> Needs:
    found = Needs(1, WINDOW)
    for seq in range(count):
        found.accepted(forward(seq, mode=mode), 10 + seq)
        found.accepted(Backward(RUN, 0, seq, (), 0, None), 50 + seq)
    return found


def test_a_training_input_is_needed_until_its_gradient_is_in_the_journal() -> None:
    # Past fault: it was 13, where the next one's first copy lay, and a late copy of batch 2 before it: whoever began
    # anew, behind the input that the last output named, wanted that copy and found it trimmed, for ever.
    assert needs(6).forward(0, applied=3) == 12
    assert needs(6).forward(0, applied=1) == 10, "all before is older"
    assert needs(6).forward(0, applied=0) is None


def test_of_inputs_that_were_read_before_this_process_began_none_goes_until_they_are_applied() -> None:
    found = Needs(1, WINDOW)
    for seq in range(5, 9):
        found.accepted(forward(seq), 10 + seq)
    assert found.forward(0, applied=5) is None
    assert found.forward(0, applied=6) == 15


def test_the_gate_before_finds_what_may_be_open_there() -> None:
    assert needs(6).forward(0, applied=6) == 10 + 6 - WINDOW


def test_an_input_that_nothing_comes_back_for_is_needed_until_its_output_is_in_the_log() -> None:
    found = needs(6, Mode.VALIDATE)
    assert found.forward(0, applied=0) is None
    found.delivered(0, 2)
    assert found.forward(0, applied=0) == 12, "the last one sent, too"
    found.delivered(0, 1)
    assert found.forward(0, applied=0) is None
    found.delivered(0, 5)
    assert found.forward(0, applied=0) == 15, "the lane's last input stays"


def test_the_gradient_of_the_newest_update_stays() -> None:
    assert needs(6).backward(0, applied=4) == 53
    assert needs(6).backward(0, applied=0) is None
    assert needs(6).backward(0, applied=6) == 55
