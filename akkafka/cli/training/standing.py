"""Where a network's training lanes stand, read from the last records of their topics: the log knows, no file does."""

from __future__ import annotations

from dataclasses import dataclass

from akkafka.broker.base import Broker
from akkafka.broker.network import Network
from akkafka.data.epochs import Cursor
from akkafka.protocol.messages import Mode
from akkafka.sentinel.lanes import training_places

BEGINNING = Cursor(0, 0)


@dataclass(frozen=True, slots=True)
class LaneStand:
    """A training lane."""

    lane: int
    stride: int  # lanes that share the source: an epoch of this lane begins before this batch
    issued: int = 0  # next seq to be issued
    home: int = 0  # next seq to come home
    after: Cursor = BEGINNING  # next place in the data

    @property
    def at_epoch(self) -> bool:
        """An epoch has just been issued to its end."""
        return self.after.epoch > 0 and self.after.batch < self.stride


async def read_lanes(broker: Broker, network: Network) -> list[LaneStand]:
    """The training lanes of the definition."""
    plan = network.definition.plan
    places = await training_places(broker, network, plan.of(Mode.TRAIN))
    return [
        LaneStand(lane, plan.sources[lane].stride, at.issued, at.home, at.cursor or BEGINNING)
        for lane, at in ((lane, place.standing) for lane, place in places.items())
    ]
