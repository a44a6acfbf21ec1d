"""The audit of a simulated life: what has survived all faults must hold for it, too."""

from __future__ import annotations

from akkafka.audit.courses import Courses
from akkafka.audit.judge import Judge, Stretch, Subject
from akkafka.broker.base import TopicPartition

from .gate_start import rule
from .world import RUN, World


def check_audit(world: World) -> None:
    """No fault is found, unless something was forged: then only what was."""
    told = [f for f in _judged(world).findings.told if not (world.forged and f.kind == "snapshot")]
    assert not told, f"the audit finds faults: {[str(finding) for finding in told]}"


def _judged(world: World) -> Judge:
    s = world.scenario
    gates = range(s.gates)
    subject = Subject(
        "simulation",
        RUN,
        world.topics,
        tuple(f"gate{gate}" for gate in gates),
        tuple(rule(world, gate) for gate in gates),
        s.all_lanes,
        tuple(range(s.lanes)),
        Courses({}),  # the oracle has looked at the samples
    )
    cut: dict[TopicPartition, Stretch] = {}
    judge = Judge(subject, cut)
    bounds = {where: world.log.bounds(where) for where in judge.order()}
    cut.update({where: Stretch(low, high, high) for where, (low, high) in bounds.items()})
    judge.letters.update((refused.where.topic, refused.where.partition, refused.offset) for refused in world.refused)
    for where, (low, _) in bounds.items():
        judge.open(where)
        for record in world.read(where, low):
            judge.take(record)
        judge.close(where)
    judge.conclude({where: high for where, (_, high) in bounds.items()})
    return judge
