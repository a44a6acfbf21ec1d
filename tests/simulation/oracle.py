"""Judges a schedule from the log alone, in plain Python, without a line of the cores' code.

It walks each lane with its own rule of first copies, folds each journal from zero with its own numbers, and recomputes
every activation and gradient from the weights that the trail of the first copy names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

from akkafka.broker.base import TopicPartition
from akkafka.protocol.definition import mask_key
from akkafka.protocol.messages import Backward, Forward, Hop, JournalRecord, Message, Mode

from . import codec, toy
from .world import RUN, World


class Seen(NamedTuple):
    """A record of an edge or a journal."""

    offset: int
    time: int
    message: Message


@dataclass(frozen=True, slots=True)
class Version:
    """What the checker's own fold has after so many counted records."""

    time: int
    chain: bytes
    w: int
    m: int
    applied: tuple[int, ...]
    sources: tuple[int, ...]
    next_offset: int
    record: JournalRecord | None = None  # the one that made it


@dataclass(slots=True)
class Oracle:
    """`check` raises AssertionError with what is wrong."""

    world: World
    forwards: dict[tuple[int, int], dict[int, Seen]] = field(default_factory=dict)  # (edge, lane) -> seq -> first copy
    backwards: dict[tuple[int, int], dict[int, Seen]] = field(default_factory=dict)
    versions: dict[int, list[Version]] = field(default_factory=dict)  # by gate

    def check(self) -> None:
        s = self.world.scenario
        assert not self.world.halts, f"a gate stopped: {self.world.halts}"
        for edge in range(s.gates + 1):
            for lane in range(s.all_lanes):
                self.forwards[edge, lane] = self._first(self.world.forward(edge, lane), edge)
                self.backwards[edge, lane] = self._first(self.world.backward(edge, lane), s.gates)
        for gate in range(s.gates):
            self.versions[gate] = self._fold(gate)
        self._check_issued()
        self._check_window()
        for gate in range(s.gates):
            self._check_forwards(gate)
            self._check_backwards(gate)
            self._check_journal(gate)
            self._check_complete(gate)
        self._check_voids()
        self._check_answers()
        self._check_refused()
        self._check_passes()

    # --- reading --------------------------------------------------------------------------------------

    def _records(self, where: TopicPartition) -> list[Seen]:
        """Messages that were not forged."""
        forged = self.world.forged
        found: list[Seen] = []
        for offset, landed in enumerate(self.world.history[where]):
            message = codec.read(landed.value) if (where, offset) not in forged else None
            if message is not None:
                found.append(Seen(offset, landed.time, message))
        return found

    def _first(self, where: TopicPartition, trail: int) -> dict[int, Seen]:
        first: dict[int, Seen] = {}
        for seen in self._records(where):
            m = seen.message
            assert isinstance(m, Forward | Backward), f"{where}: {m}"
            assert (m.run, m.lane, len(m.trail)) == (RUN, where.partition, trail), f"{where}: {m}"
            assert m.seq <= len(first), f"{where}: batch {m.seq} follows {len(first) - 1}: a gap"
            if m.seq == len(first):
                first[m.seq] = seen
        return first

    def _fold(self, gate: int) -> list[Version]:
        s = self.world.scenario
        lanes = (0,) * s.all_lanes
        w, m = toy.initial(gate)
        versions = [Version(0, bytes(16), w, m, lanes, lanes, 0)]
        for offset, landed in enumerate(self.world.history[self.world.journal(gate)]):
            record, now = codec.read(landed.value), versions[-1]
            if not isinstance(record, JournalRecord) or not self._counts(gate, record, versions):
                continue
            assert landed.value is not None
            w, m = now.w, now.m
            staleness = len(versions) - 1 - record.hop.version
            if record.zeroed:
                w, m = toy.stepped(w, m, 0, w, staleness)
            elif not record.void:
                w, m = toy.stepped(w, m, toy.number(record.grads["w"]), versions[record.hop.version].w, staleness)
            chain = hashlib.blake2b(landed.value, key=now.chain, digest_size=16).digest()
            applied, sources = list(now.applied), list(now.sources)
            applied[record.lane], sources[record.lane] = record.seq + 1, record.source + 1
            versions.append(Version(landed.time, chain, w, m, tuple(applied), tuple(sources), offset + 1, record))
        return versions

    def _counts(self, gate: int, record: JournalRecord, versions: list[Version]) -> bool:
        s, now = self.world.scenario, versions[-1]
        if (record.run, record.gate) != (RUN, gate) or record.lane >= s.lanes:
            return False
        if record.seq != now.applied[record.lane] or record.hop.version >= len(versions):
            return False
        given = not (record.void or record.zeroed)
        if given and len(versions) - 1 - record.hop.version > s.rule_reach:
            return False
        return not s.fixed or record.seq * s.lanes + record.lane == len(versions) - 1

    # --- what was issued ------------------------------------------------------------------------------

    def _check_issued(self) -> None:
        s = self.world.scenario
        for lane in range(s.lanes):
            issued = [seen.message for _, seen in sorted(self.forwards[0, lane].items())]
            cursors = [m.cursor for m in issued if isinstance(m, Forward)]
            assert cursors == s.cursors(lane), f"lane {lane} brought {cursors}, its epochs hold {s.cursors(lane)}"
            for edge in range(s.gates + 1):
                for name, there in (("forward", self.forwards), ("backward", self.backwards)):
                    assert len(there[edge, lane]) == len(issued), f"{name}.{edge}[{lane}] has {len(there[edge, lane])}"

    def _check_window(self) -> None:
        """No batch is issued before the one that lies a window behind it is home."""
        s = self.world.scenario
        for lane in range(s.lanes):
            homes = [seen.time for _, seen in sorted(self.backwards[0, lane].items())]
            for seen in self._records(self.world.forward(0, lane)):
                assert isinstance(seen.message, Forward)
                seq = seen.message.seq
                assert seq < s.window or homes[seq - s.window] < seen.time, f"lane {lane}: {seq} was issued too early"

    # --- forwards: output commit, the right weights ------------------------------------------------------

    def _check_forwards(self, gate: int) -> None:
        for lane in range(self.world.scenario.all_lanes):
            for seen in self._records(self.world.forward(gate + 1, lane)):
                assert isinstance(seen.message, Forward)
                self._check_forward(gate, lane, seen, seen.message)

    def _check_forward(self, gate: int, lane: int, seen: Seen, m: Forward) -> None:
        told = f"gate {gate}, lane {lane}, batch {m.seq}, forward at {seen.offset}"
        source = self.forwards[gate, lane][m.seq]
        given = source.message
        assert isinstance(given, Forward)
        hop, version = m.trail[gate], self._version(gate, m.trail[gate], seen.time, told)
        assert hop.offset == source.offset and m.trail[:gate] == given.trail, f"{told}: not from the first copy"
        assert source.time < seen.time, f"{told}: before its input"
        assert (m.cursor, m.after, m.tag, m.mode) == (given.cursor, given.after, given.tag, given.mode), told
        assert toy.number(m.context["t"]) == toy.number(given.context["t"]), told
        if m.void:
            assert given.void == m.void or (not given.void and self.world.unlucky(lane, m.seq)), told
            return
        assert not given.void, f"{told}: a void batch came to life"
        self._check_held(m, version, told)
        key = mask_key(RUN, gate, lane, m.seq)
        expected = toy.forward(toy.number(given.x), version.w, key)
        assert toy.number(m.x) == expected, f"{told}: not what version {hop.version} makes of its input"

    def _check_held(self, m: Forward, version: Version, told: str) -> None:
        """Weights are never older than the gates' window allows."""
        s = self.world.scenario
        if m.mode is Mode.TRAIN and not s.fixed:
            applied = version.applied[m.lane]
            assert m.seq < applied + s.held_window, f"{told}: made when {applied} were applied, holds {s.held_window}"

    def _version(self, gate: int, hop: Hop, time: int, told: str) -> Version:
        versions = self.versions[gate]
        assert hop.version < len(versions), f"{told}: version {hop.version} never existed"
        version = versions[hop.version]
        assert version.time < time, f"{told}: it left before version {hop.version} existed"
        assert version.chain[:8] == hop.chain, f"{told}: another history of version {hop.version}"
        return version

    # --- backwards --------------------------------------------------------------------------------------

    def _check_backwards(self, gate: int) -> None:
        for lane in range(self.world.scenario.lanes):
            for seen in self._records(self.world.backward(gate, lane)):
                m = seen.message
                assert isinstance(m, Backward)
                told = f"gate {gate}, lane {lane}, batch {m.seq}, backward at {seen.offset}"
                source = self.backwards[gate + 1, lane][m.seq]
                assert isinstance(source.message, Backward)
                assert m.source == source.offset and source.time < seen.time, f"{told}: not from the first copy"
                assert m.trail == source.message.trail, f"{told}: the trail has changed"
                assert m.void == source.message.void, f"{told}: void on the way back: {m.void}"
                self._check_zeroed(m.zeroed, source.message, told, gate, seen.time)
                if not m.void and not m.zeroed:
                    dx, _ = self._gradients(gate, lane, source.message)
                    assert toy.number(m.dy) == dx, f"{told}: not the input gradient with the forward's weights"

    def _check_zeroed(self, zeroed: str, given: Backward, told: str, gate: int, time: int) -> None:
        """What a gate above could not form, no gate below forms; else there is a reason."""
        assert not (zeroed and given.void), f"{told}: both void and zeroed"
        if given.zeroed:
            assert zeroed == given.zeroed, f"{told}: {zeroed or 'whole'}, it was zeroed above: {given.zeroed}"
        elif zeroed and not self._out_of_reach(gate, time, given.trail):
            assert self.world.unlucky(given.lane, given.seq), f"{told}: zeroed without reason: {zeroed}"

    def _out_of_reach(self, gate: int, time: int, trail: tuple[Hop, ...]) -> bool:
        """The forward's weights are that old; what the gate has done and not yet written counts as well."""
        s = self.world.scenario
        there = sum(version.time <= time for version in self.versions[gate]) - 1
        return there + s.window * s.lanes - trail[gate].version > s.rule_reach

    def _gradients(self, gate: int, lane: int, given: Backward) -> tuple[int, int]:
        """(input gradient, weight gradient) with the weights that the first copy's trail names."""
        forward = self.forwards[gate, lane][given.seq].message
        assert isinstance(forward, Forward)
        x, dy = toy.number(forward.x), toy.number(given.dy)
        w = self.versions[gate][given.trail[gate].version].w
        key = mask_key(RUN, gate, lane, given.seq)
        return toy.input_gradient(x, w, key, dy), toy.weight_gradient(x, w, dy)

    def _check_answers(self) -> None:
        gates = self.world.scenario.gates
        for lane in range(self.world.scenario.lanes):
            for seen in self._records(self.world.backward(gates, lane)):
                m = seen.message
                assert isinstance(m, Backward)
                told = f"the loss of lane {lane}, batch {m.seq}, at {seen.offset}"
                output = self.forwards[gates, lane][m.seq]
                assert isinstance(output.message, Forward)
                assert m.source == output.offset and m.trail == output.message.trail, f"{told}: not of the first copy"
                assert not m.zeroed, f"{told}: zeroed by the loss"
                if output.message.void:
                    assert m.void == output.message.void, f"{told}: a void batch came to life"
                elif m.void:
                    assert self.world.unlucky(lane, m.seq), f"{told}: void without reason: {m.void}"
                else:
                    y, t = toy.number(output.message.x), toy.number(output.message.context["t"])
                    assert toy.number(m.dy) == toy.loss_gradient(y, t), told

    # --- journals ---------------------------------------------------------------------------------------

    def _check_journal(self, gate: int) -> None:
        s = self.world.scenario
        arrivals: dict[tuple[int, int], int] = {}
        for lane in range(self.world.scenario.lanes):
            for seq, seen in self.backwards[gate, lane].items():
                arrivals[lane, seq] = seen.time
        for seen in self._records(self.world.journal(gate)):
            r = seen.message
            assert isinstance(r, JournalRecord) and r.gate == gate and r.run == RUN
            told = f"gate {gate}, journal record {seen.offset} of lane {r.lane}, batch {r.seq}"
            source = self.backwards[gate + 1, r.lane][r.seq]
            assert isinstance(source.message, Backward)
            assert arrivals[r.lane, r.seq] < seen.time, f"{told}: before its gradient was in the log"
            assert r.source == source.offset, f"{told}: not from the first copy"
            assert r.hop == source.message.trail[gate], f"{told}: made with {r.hop}, not with what the trail names"
            assert r.void == source.message.void, f"{told}: void {r.void!r}, its gradient {source.message.void!r}"
            self._check_zeroed(r.zeroed, source.message, told, gate, seen.time)
            assert r.tally == s.tally(s.cursors(r.lane)[r.seq]), f"{told}: brings {r.tally}"
            if not r.void and not r.zeroed:
                _, gradient = self._gradients(gate, r.lane, source.message)
                assert toy.number(r.grads["w"]) == gradient, f"{told}: not the gradient with the forward's weights"

    def _check_complete(self, gate: int) -> None:
        s, last = self.world.scenario, self.versions[gate][-1]
        due = tuple(len(s.cursors(lane)) for lane in range(s.lanes)) + (0,) * s.eval_lanes
        assert last.applied == due, f"gate {gate} applied {last.applied}, issued were {due}"

    def _check_voids(self) -> None:
        """Exactly once at every gate, or void at every gate."""
        void = [
            {(v.record.lane, v.record.seq) for v in versions if v.record is not None and v.record.void}
            for versions in self.versions.values()
        ]
        assert all(there == void[0] for there in void), f"void at some gates and not at others: {void}"

    # --- dead letters, passes -----------------------------------------------------------------------------

    def _check_refused(self) -> None:
        for refused in self.world.refused:
            if (refused.where, refused.offset) in self.world.forged:
                continue
            message = codec.read(self.world.values[refused.where][refused.offset])
            assert isinstance(message, Forward | Backward), f"{refused}"
            if "updates ago" in refused.reason:
                continue  # whether that was so is looked at where the batch is zeroed
            if message.lane >= self.world.scenario.lanes and not self.world.scenario.walks:
                continue  # a pass whose lane stands further than its last message told passes over what others issued
            assert self.world.unlucky(message.lane, message.seq), f"refused without reason: {refused}"

    def _check_passes(self) -> None:
        gates = self.world.scenario.gates
        for asked, ended in self.world.passes:
            batches = [result.message.cursor.batch for result in ended.results]
            assert batches == list(range(asked)), f"a pass over {asked} batches counted {batches}"
            for result in ended.results:
                m = result.message
                assert m.tag == ended.tag and m.mode is Mode.VALIDATE
                first = self.forwards[gates, m.lane][m.seq]
                if self.world.scenario.walks:
                    assert first.offset == result.offset, f"a pass counted a later copy of batch {m.seq}"
