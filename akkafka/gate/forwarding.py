"""A gate's way forward: which batch is next, with which weights, what comes of it and when it may leave. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from akkafka.gate import events as e
from akkafka.gate.attempts import Attempts
from akkafka.gate.inbox import Inbox
from akkafka.gate.lane import Lane, Outgoing, Stashed
from akkafka.gate.settings import CoreSettings
from akkafka.gate.state import GateState
from akkafka.gate.versions import Versions
from akkafka.protocol.definition import mask_key
from akkafka.protocol.messages import Array, Forward, Narrow
from akkafka.protocol.stamps import computed


class Forwarding:
    """Takes the inputs that wait in the lanes, and leaves there what was made of them until it may leave."""

    def __init__(
        self,
        settings: CoreSettings,
        lanes: Sequence[Lane],
        versions: Versions,
        inbox: Inbox,
        attempts: Attempts,
        asked: list[e.Instruction],
    ) -> None:
        """`asked`: takes what has to be done besides computing."""
        self._settings = settings
        self._lanes, self._versions, self._inbox, self._attempts = lanes, versions, inbox, attempts
        self._asked = asked

    @property
    def flushed(self) -> bool:
        """Nothing waits to be sent."""
        return not any(lane.outbox for lane in self._lanes)

    def begin(self) -> e.ComputeForward | bool:
        """What is to be computed next; True if a batch was done on the spot, False if none can be begun."""
        waiting = [lane for lane in self._lanes if lane.forwards]
        if len(waiting) > 1:
            waiting.sort(key=_rank)
        for lane in waiting:
            event = lane.forwards[0][1]
            message = event.message
            if self._passed(message):
                lane.forwards.popleft()
                self._inbox.statistics.duplicates += 1
                return True
            state = None if self._too_early(message) else self._state_for(message)
            careless = message.void or self._attempts.given_up(lane.number, "forward", message.seq)
            if state is None or not (careless or self._attempts.may_begin(lane.number, "forward", message.seq)):
                continue
            lane.forwards.popleft()
            return self._work(lane, event, state)
        return False

    def computed(self, event: e.ForwardComputed) -> None:
        """Take the answer; it is computed again if its weights were rolled back."""
        job = event.job
        lane = self._lanes[job.message.lane]
        source = e.ForwardArrived(job.offset, job.message)
        overtakes = bool(lane.forwards) and lane.forwards[0][1].message.seq < job.message.seq
        if overtakes or not self._versions.holds(job.state):
            self._requeue(lane, source)
            return
        self._done(lane, source, job.state, event.y, event.tape, event.failure, event.spent)

    def commit(self) -> None:
        """More versions are certain: what was computed with them leaves."""
        for lane in self._lanes:
            self._flush(lane)

    def take_back(self) -> None:
        """What has not left is computed again."""
        for lane in self._lanes:
            self._take_back(lane)

    # --- which one, with which weights ------------------------------------------------------------

    def _passed(self, message: Forward) -> bool:
        """True if another process has forwarded this batch, and it has even come back."""
        lane = self._lanes[message.lane]
        applied = self._versions.certain.applied[message.lane]
        return message.mode.training and message.seq < max(applied, lane.next_backward)

    def _too_early(self, message: Forward) -> bool:
        """True if the window would be exceeded: as many batches of the lane are forwarded and not applied.

        The oldest one's gradient is on its way to us for sure, so waiting ends: gates behind us hold only what waits
        for still older batches, and the last of them waits for a sentinel, which holds nothing back. Where the window
        is the sentinels' own, only a restarted or woken process ever waits; else it would use weights that are older
        than the window allows, and window 1 would not be synchronous training. A smaller window of the gates bounds
        staleness as 1F1B does (PipeDream, SOSP 2019), while the next batches are already here.
        """
        window = self._settings.window
        return message.mode.training and 0 < window <= message.seq - self._versions.newest.applied[message.lane]

    def _state_for(self, message: Forward) -> GateState | None:
        """The state that this batch is to be computed with, or None: it does not exist yet."""
        rule = self._settings.rule
        if not rule.fixed_lanes or not message.mode.training:
            return self._versions.newest
        number = rule.number(message.lane, message.seq)
        return self._versions.at_hand.get(max(0, number - self._settings.delay))

    def _work(self, lane: Lane, event: e.ForwardArrived, state: GateState) -> e.ComputeForward | bool:
        message = event.message
        reason = (
            message.void
            or self._attempts.given_up(lane.number, "forward", message.seq)
            or self._settings.check_input(message)
        )
        if reason:
            self._done(lane, event, state, None, None, reason)
            return True
        key = mask_key(self._settings.run, self._settings.gate, lane.number, message.seq)
        return e.ComputeForward(event.offset, message, state, key)

    # --- what comes of it -------------------------------------------------------------------------

    def _requeue(self, lane: Lane, source: e.ForwardArrived) -> None:
        """Back among the inputs, at its place in the lane."""
        place = sum(event.message.seq < source.message.seq for _, event in lane.forwards)
        lane.forwards.insert(place, (0, source))

    def _done(
        self,
        lane: Lane,
        source: e.ForwardArrived,
        state: GateState,
        y: Array | Narrow | None,
        tape: Any,
        void: str,
        spent: tuple[int, int] = (0, 0),
    ) -> None:
        hop = state.hop(source.offset)
        message = source.message
        out = replace(
            message,
            trail=(*message.trail, hop),
            x=None if void else y,
            rows=None,
            void=self._voiced(message, void),
            stamps=computed(message.stamps, spent),
        )
        if message.mode.training:
            lane.stash[message.seq] = Stashed(hop, tape)
        if void and not message.void:
            self._asked.append(self._inbox.refused("forward", lane.number, source.offset, out.void))
        lane.outbox.append(Outgoing(source, state, out))
        self._flush(lane)

    def _voiced(self, message: Forward, void: str) -> str:
        """A reason that says where it arose."""
        return void if not void or message.void else f"gate {self._settings.gate} ({self._settings.name}): {void}"

    def _flush(self, lane: Lane) -> None:
        """Output commit: what was computed with a version leaves when the version exists."""
        while lane.outbox and lane.outbox[0].state.version <= self._versions.certain.version:
            self._asked.append(e.SendForward(lane.outbox.popleft().message))

    def _take_back(self, lane: Lane) -> None:
        while lane.outbox:
            outgoing = lane.outbox.popleft()
            lane.stash.pop(outgoing.message.seq, None)
            self._requeue(lane, outgoing.source)


def _rank(lane: Lane) -> int:
    return lane.forwards[0][0]
