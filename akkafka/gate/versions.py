"""The states that a gate has at hand: those that the journal has, and what it speculates on top of them. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Set

from akkafka.gate.state import GateState, pass_over
from akkafka.protocol.messages import TRAIL_CHAIN_BYTES, Hop


class Absent(enum.Enum):
    """Why the state that a trail names is not at hand."""

    AHEAD = enum.auto()  # others have made it: the journal held it before the batch left
    FORGOTTEN = enum.auto()  # it can be rebuilt from snapshot and journal
    FOREIGN = enum.auto()  # the journal's version of this number has another history


class Versions:
    """By number; a version is *certain* once its record is in the journal at the expected offset."""

    def __init__(self, start: GateState, older: Mapping[int, GateState], ring: int) -> None:
        """`start` is certain; `older`: versions that open batches name; `ring`: versions to keep behind the certain."""
        self.certain = start
        self.newest = start  # certain plus what we speculate on
        self.at_hand: dict[int, GateState] = {**older, start.version: start}
        self._ring = ring

    def find(self, hop: Hop) -> GateState | Absent:
        """The state that a trail names."""
        state = self.at_hand.get(hop.version)
        if state is not None and state.chain[:TRAIL_CHAIN_BYTES] == hop.chain:
            return state
        if hop.version > self.certain.version:
            return Absent.AHEAD
        return Absent.FORGOTTEN if state is None else Absent.FOREIGN

    def holds(self, state: GateState) -> bool:
        """False if it was rolled back, or forgotten."""
        return self.at_hand.get(state.version) is state

    def older(self) -> dict[int, GateState]:
        """What is at hand before the certain one, by version."""
        return {version: state for version, state in self.at_hand.items() if version < self.certain.version}

    def extend(self, state: GateState) -> None:
        """Speculate on one more."""
        self.newest = state
        self.at_hand[state.version] = state

    def commit(self, state: GateState) -> None:
        """The journal has it."""
        self.certain = state

    def pass_over(self) -> None:
        """The journal's next record does not count. Nothing may be speculated on."""
        self.certain = self.newest = pass_over(self.certain)
        self.at_hand[self.certain.version] = self.certain

    def rebuilt(self, state: GateState) -> None:
        """A forgotten one is at hand again."""
        self.at_hand[state.version] = state

    def roll_back(self) -> None:
        """Throw away what is not certain."""
        self.newest = self.certain
        for version in [v for v in self.at_hand if v > self.certain.version]:
            del self.at_hand[version]

    def forget(self, needed: Set[int]) -> None:
        """Keep what is certain or newer, the ring behind it, and what is needed."""
        low = self.certain.version - self._ring
        for version in [v for v in self.at_hand if v < low and v not in needed]:
            del self.at_hand[version]
