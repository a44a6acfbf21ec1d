"""Who works on which lane: one pure function for every group, so that Kafka and memory share lanes out alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_NOTHING: Mapping[str, Collection[int]] = {}


def share(
    wants: Mapping[str, Collection[int]], held: Mapping[str, Collection[int]] = _NOTHING
) -> dict[str, frozenset[int]]:
    """Lanes of each member: every lane that any member can do goes to exactly one member that can do it.

    `wants` names the lanes each member can do, `held` those it works on now (claims it has no right to are ignored).
    Even: no lane can be moved to make two members' loads more alike. Sticky: a lane moves only for evenness, as its new
    owner has to read its way in. Pure and independent of the mappings' order, so it does not matter who computes it.
    """
    members = sorted(wants)
    can = {member: frozenset(wants[member]) for member in members}
    shares = _kept(members, can, held)
    _hand_out(members, can, shares)
    while _level(members, can, shares):
        pass
    return {member: frozenset(lanes) for member, lanes in shares.items()}


def _kept(
    members: Collection[str], can: Mapping[str, frozenset[int]], held: Mapping[str, Collection[int]]
) -> dict[str, set[int]]:
    taken: set[int] = set()
    shares: dict[str, set[int]] = {}
    for member in members:
        shares[member] = set(held.get(member, ())) & can[member] - taken
        taken |= shares[member]
    return shares


def _hand_out(members: Collection[str], can: Mapping[str, frozenset[int]], shares: dict[str, set[int]]) -> None:
    """Give each free lane to the least busy member that can do it, lanes with the fewest takers first."""
    able = {lane: [m for m in members if lane in can[m]] for lane in frozenset().union(*can.values())}
    for lanes in shares.values():
        for lane in lanes:
            del able[lane]
    for lane in sorted(able, key=lambda free: (len(able[free]), free)):
        shares[min(able[lane], key=lambda m: (len(shares[m]), m))].add(lane)


def _level(members: Collection[str], can: Mapping[str, frozenset[int]], shares: dict[str, set[int]]) -> bool:
    """Move one lane from a busy member to an idler one; False if nothing is left to gain."""
    for rich in sorted(members, key=lambda m: (-len(shares[m]), m)):
        for poor in sorted(members, key=lambda m: (len(shares[m]), m)):
            movable = shares[rich] & can[poor]
            if len(shares[rich]) - len(shares[poor]) >= 2 and movable:
                lane = max(movable)
                shares[rich].remove(lane)
                shares[poor].add(lane)
                return True
    return False
