"""One member of a consumer group that only shares out lanes: it joins, beats and leaves; it reads and commits nothing.

The group protocol is Kafka's classic one. Lanes travel as partitions of the topic in the usual form, so that
Kafka's own tools show who works on what; what a member can do and what it works on now travels as JSON in its metadata.
aiokafka's consumer is not used for this: it leaves the group when nobody reads from it, and after an error it stops
coordinating until somebody reads.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from aiokafka import errors as kafka_errors
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

from akkafka.broker.base import BrokerUnavailableError
from akkafka.broker.link import Link, log
from akkafka.broker.sharing import share
from akkafka.errors import AkkafkaError, BrokerError

ASSIGNOR = "akkafka-lanes"  # a stranger with another assignor is refused by the broker, not mixed in
PROTOCOL_VERSION = 0
MAX_LANES = 4096  # of a member's claim: metadata come from the network
BACKOFF_S = 0.1
LEAVE_TIMEOUT_S = 1.0
KAFKAS_SESSION_S = 6.0  # the shortest that every broker allows unless its settings say otherwise

_LOST_IDENTITY = (kafka_errors.UnknownMemberIdError, kafka_errors.IllegalGenerationError)
_FATAL = (
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.InconsistentGroupProtocolError,
    kafka_errors.InvalidGroupIdError,
    kafka_errors.InvalidSessionTimeoutError,
)


class _AskAgainError(Exception):
    """The group is in motion: go through joining again."""


class KafkaMembership:
    """base.Membership on a link of its own."""

    def __init__(
        self, link: Link, group: str, topic: str, lanes: Collection[int], forget: Callable[[KafkaMembership], None]
    ) -> None:
        self._link, self._group, self._topic = link, group, topic
        self._can = frozenset(lanes)
        self._forget = forget
        self._lanes: frozenset[int] = frozenset()
        self._given = False  # an assignment has come
        self._told: frozenset[int] | None = None  # what `changed` returned last
        self._error: AkkafkaError | None = None
        self._woken = asyncio.Event()
        self._member, self._generation = "", -1
        self._session_s = link.settings.session_timeout_s
        self._coordinator: int | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Reach the cluster and begin to join; the first lanes come by `changed`."""
        await self._link.open()
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"group {self._group}")

    @property
    def lanes(self) -> frozenset[int]:
        """See base.Membership; kept through a rebalance and while the broker is away, empty once closed."""
        return self._lanes

    async def changed(self) -> frozenset[int]:
        """See base.Membership; the first call returns the first lanes. BrokerError once closed, or refused."""
        while self._error is None and (not self._given or self._told == self._lanes):
            self._woken.clear()
            await self._woken.wait()
        if self._error is not None:
            raise self._error
        self._told = self._lanes
        return self._lanes

    async def close(self) -> None:
        """See base.Membership."""
        self._error = BrokerError(f"group {self._group}: this member has left")
        self._lanes = frozenset()
        self._woken.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=LEAVE_TIMEOUT_S)
            with suppress(AkkafkaError):
                await self._leave()
        await self._link.close()
        self._forget(self)

    # -- the life of a member

    async def _run(self) -> None:
        while self._error is None:
            try:
                await self._join()
                await self._beat()
            except _AskAgainError:
                continue
            except BrokerUnavailableError:
                self._coordinator = None
                await asyncio.sleep(BACKOFF_S)
            except Exception as error:  # a fault of ours or of aiokafka must not leave `changed` waiting
                known = error if isinstance(error, AkkafkaError) else BrokerError(f"unexpected {error!r}")
                self._error = known
                self._woken.set()

    async def _join(self) -> None:
        """Join, share the lanes out if we are chosen to, and take our own."""
        session_ms, rebalance_ms = int(self._session_s * 1000), int(max(self._session_s, KAFKAS_SESSION_S) * 1000)
        metadata = ConsumerProtocolMemberMetadata(PROTOCOL_VERSION, [self._topic], self._claim()).encode()
        request = JoinGroupRequest(
            self._group, session_ms, rebalance_ms, self._member, None, "consumer", [(ASSIGNOR, metadata)]
        )
        timeout = rebalance_ms / 1000 + self._link.settings.request_timeout_s
        answer = await self._ask(request, timeout=timeout)
        self._member = answer.member_id or self._member
        await self._checked(answer.error_code)
        self._generation = answer.generation_id
        shares = self._shares(answer.members) if answer.leader_id == answer.member_id else []
        request = SyncGroupRequest(self._group, self._generation, self._member, None, shares)
        answer = await self._ask(request, timeout=timeout)
        await self._checked(answer.error_code)
        self._assigned(ConsumerProtocolMemberAssignment.decode(answer.member_assignment))

    async def _beat(self) -> None:
        """Send heartbeats until the group is in motion."""
        while True:
            await asyncio.sleep(self._link.settings.heartbeat_s)
            answer = await self._ask(HeartbeatRequest(self._group, self._generation, self._member))
            await self._checked(answer.error_code)

    async def _leave(self) -> None:
        """Tell the coordinator, on a fresh connection: the old one may still wait for the answer to a join."""
        if self._member and self._coordinator is not None:
            self._link.drop(self._coordinator)
            request = LeaveGroupRequest(self._group, self._member)
            await self._link.request(self._coordinator, request, timeout=LEAVE_TIMEOUT_S)

    async def _ask(self, request: Any, *, timeout: float | None = None) -> Any:
        if self._coordinator is None:
            self._coordinator = await self._find_coordinator()
        limit = self._session_s if timeout is None else timeout
        return await self._link.request(self._coordinator, request, timeout=limit)

    async def _find_coordinator(self) -> int:
        await self._link.refresh(())
        answer = await self._link.request_any(FindCoordinatorRequest(self._group, 0))
        error = kafka_errors.for_code(answer.error_code)
        if error in _FATAL:
            raise self._fatal(error)
        if error is not kafka_errors.NoError:
            raise BrokerUnavailableError(f"group {self._group} has no coordinator yet ({error.__name__})")
        return int(answer.coordinator_id)

    async def _checked(self, code: int) -> None:
        """Nothing if all is well; else change what has to change and raise _AskAgainError, or a BrokerError."""
        error = kafka_errors.for_code(code)
        if error is kafka_errors.NoError:
            return
        if error is kafka_errors.InvalidSessionTimeoutError and self._session_s < KAFKAS_SESSION_S:
            log.info("group %s: sessions of %g s are too short for this broker", self._group, self._session_s)
            self._session_s = KAFKAS_SESSION_S
            raise _AskAgainError
        if error in _FATAL:
            raise self._fatal(error)
        if error in _LOST_IDENTITY:
            self._member, self._generation = "", -1
        elif error not in (kafka_errors.RebalanceInProgressError, kafka_errors.MemberIdRequired):
            log.info("group %s: %s; looking for its coordinator again", self._group, error.__name__)
            self._coordinator = None
            await asyncio.sleep(BACKOFF_S)
        raise _AskAgainError

    def _fatal(self, error: type[Exception]) -> BrokerError:
        return BrokerError(
            f"group {self._group}: the broker refuses this member ({error.__name__})",
            hint="Another kind of consumer uses this group's name, or the broker's group limits or rights forbid it.",
        )

    # -- lanes

    def _claim(self) -> bytes:
        return json.dumps({"can": sorted(self._can), "held": sorted(self._lanes)}).encode()

    def _shares(self, members: Collection[Any]) -> list[tuple[str, bytes]]:
        wants: dict[str, frozenset[int]] = {}
        held: dict[str, frozenset[int]] = {}
        for member, *_, metadata in members:
            wants[member], held[member] = read_claim(metadata)
        return [
            (
                member,
                ConsumerProtocolMemberAssignment(
                    PROTOCOL_VERSION, [(self._topic, sorted(lanes))] if lanes else [], b""
                ).encode(),
            )
            for member, lanes in share(wants, held).items()
        ]

    def _assigned(self, assignment: Any) -> None:
        lanes = {lane for topic, partitions in assignment.assignment if topic == self._topic for lane in partitions}
        self._lanes = frozenset(lanes) & self._can
        self._given = True
        self._woken.set()


def read_claim(metadata: bytes) -> tuple[frozenset[int], frozenset[int]]:
    """(Lanes a member can do, lanes it works on) from its group metadata; nothing if they are not in our form."""
    try:
        claim = json.loads(ConsumerProtocolMemberMetadata.decode(metadata).user_data)
        can, held = claim["can"], claim["held"]
        if not all(isinstance(lanes, list) and len(lanes) <= MAX_LANES for lanes in (can, held)):
            return frozenset(), frozenset()
        return frozenset(map(int, can)), frozenset(map(int, held))
    except (ValueError, TypeError, KeyError, RecursionError):
        return frozenset(), frozenset()
