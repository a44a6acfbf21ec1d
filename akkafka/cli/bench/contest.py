"""Who runs when: turn about, one at a time, each begun when nothing of the one before is left."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from akkafka.cli.bench.contender import Contender, Say, Turn
from akkafka.cli.bench.figures import OURS, Round
from akkafka.cli.bench.machine import Calm, calm
from akkafka.cli.bench.watch import Watch
from akkafka.errors import AkkafkaError

TURN_S = 1800.0  # a turn that takes longer hangs
PARTING_S = 20.0  # to end in good order when interrupted
LAST_LINES = 12

T = TypeVar("T")


def order(contenders: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """A B C A B C …, rounds counted from 1: what drifts with time meets all alike."""
    for number in range(1, rounds + 1):
        for contender in contenders:
            yield number, contender


def hold(
    contenders: Sequence[Contender],
    rounds: int,
    folder: Path,
    say: Say,
    *,
    look: Callable[[], Calm] = calm,
    timeout_s: float = TURN_S,
) -> list[Round]:
    """Run all rounds; `folder` holds the job, and takes what contenders write.

    Raises AkkafkaError when a contender fails: a ratio with gaps would mislead.
    """
    for contender in contenders:
        contender.prepare(say)
    done = []
    for number, contender in order(contenders, rounds):
        before = look()
        done.append(_round(number, contender, folder, before, say, timeout_s))
        say(line_of(done[-1], rounds))
    return done


def line_of(turn: Round, rounds: int) -> str:
    """One turn, for progress."""
    accuracy = turn.outcome.validation_accuracy
    learned = "" if accuracy is None else f", validation accuracy {accuracy:.2%}"
    loud = "" if turn.calm.quiet else f"; {turn.calm.busy_cores:.1f} cores busy before"
    return (
        f"round {turn.number}/{rounds}  {turn.contender}: {turn.outcome.samples_per_second:,.0f} samples/s{learned} "
        f"({turn.wall_seconds:.1f} s in all{loud})"
    )


def _round(number: int, contender: Contender, folder: Path, before: Calm, say: Say, timeout_s: float) -> Round:
    turn = contender.turn(folder)
    file = re.sub(r"[^\w.-]", "_", contender.name)
    stdout, stderr = (folder / f"{file}.{end}" for end in ("stdout", "stderr"))
    begun = time.monotonic()
    process = _started(turn, stdout, stderr)
    with Watch(process.pid, str(folder)) as watch:
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AkkafkaError(f"bench: {contender.name} has not ended within {timeout_s:.0f} s") from None
        finally:
            took = time.monotonic() - begun
            _end(process)
            for label in watch.clear():
                say(f"{contender.name} left {label} behind; it was killed")
    if code:
        raise _failed(contender.name, code, stdout, stderr)
    return Round(number, contender.name, turn.outcome(stdout), before, took, watch.cpu_seconds())


def _started(turn: Turn, stdout: Path, stderr: Path) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C in the terminal reaches us alone, and we end it in good order."""
    with stdout.open("wb") as out, stderr.open("wb") as err:
        return subprocess.Popen(
            turn.command,
            env=dict(turn.environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing to do if it has ended; else it is asked to, then killed."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PARTING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _failed(name: str, code: int, stdout: Path, stderr: Path) -> AkkafkaError:
    """The error for a contender that ended badly, with what it said last."""
    text = stderr.read_text(errors="replace").strip() or stdout.read_text(errors="replace").strip()
    last = "\n".join(text.splitlines()[-LAST_LINES:])
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return AkkafkaError(
        f"bench: {name} {how}; it said last:\n{last}",
        hint="`akkafka doctor` checks what akkafka needs."
        if name == OURS
        else "Leave it out: --peer with other names.",
    )
