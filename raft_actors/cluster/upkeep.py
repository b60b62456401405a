"""What the keeper has to do next, so that a group becomes what its log says it shall be. Pure.

Here:   `next_steps`: from what the leader confirmed and what the actors say, to steps.
Never:  doing them (keeper.py), asking (membership.py), which node is best (placing.py).

Truth is in the log (docs/adr/0013): a vacant place wants somebody, a non-voter shall vote, who is not listed shall not
be there. The keeper forgets everything between two looks, and may die in each. So a step is only ever derived from what
is there, is harmless when it was done already, and changes the log only for the configuration that it was derived from.

Losing data is the one thing that a keeper could do. So an actor is ended only at a place that is vacant, or not
listed, in a *committed* configuration that a leader confirmed *after* that actor had said what it holds. What is set
aside then is settled the same way (keeper.py). A voter is taken out of the log unasked only if the group was started
with `replace_after_s`, and only while the places without a voter that answers, this one included, are a minority.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from raft_actors.core.entries import Member
from raft_actors.core.events import AddMember, Change, Promote, RemoveMember, RemovePlace
from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.peer.membership import MemberLine, Membership
from raft_actors.peer.standing import PeerState

SILENT_S_MAX: Final = 10.0
"""An actor at a vacant place that has not answered for so long is not going to: its node is gone, or it hangs."""

NEWCOMER_SILENT_MS_MAX: Final = 60_000
"""A new member has to be started and found before it can answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of one member's peer actor, from before the membership was asked for."""

    state: PeerState | None
    """None: it does not answer."""
    directory_id: DirectoryId | None
    silent_s: float
    """Since when; 0 if it answers."""
    in_the_way: bool
    """Somebody wants this place to be served on another node."""


@dataclass(frozen=True, slots=True)
class Fill:
    """Create actors at this vacant place, on an empty directory."""

    member_id: MemberId


@dataclass(frozen=True, slots=True)
class End:
    """End this member's actors: what they hold counts nowhere, or they do not answer."""

    member_id: MemberId
    why: str


Step: TypeAlias = Fill | End | Change
"""A `Change` is asked of the leader, for the configuration that was looked at."""


def next_steps(
    view: Membership, seen: Mapping[MemberId, Seen], *, promotion_lag_max: int, replace_after_s: float | None
) -> list[Step]:
    """At most one change to the log, and none while the one before is not committed."""
    if not view.committed:
        return []
    listed = {line.member_id for line in view.lines}
    steps: list[Step] = [End(member_id, "it was removed") for member_id in sorted(seen) if member_id not in listed]
    changes: list[Change] = []
    for line in view.lines:
        if line.directory_id is None:
            step = _for_vacant(line.member_id, seen.get(line.member_id))
            if isinstance(step, AddMember):
                changes.append(step)
            elif step is not None:
                steps.append(step)
        elif not line.voter and line.lag is not None and line.lag <= promotion_lag_max:
            changes.append(Promote(directory_id=line.directory_id))
    if replace_after_s is not None:
        changes += _lost(view, int(replace_after_s * 1000))
    return steps + changes[:1]


def _for_vacant(member_id: MemberId, seen: Seen | None) -> AddMember | Fill | End | None:
    if seen is None:
        return Fill(member_id)
    if seen.in_the_way:
        return End(member_id, "its place shall be served on another node")
    match seen.state:
        case None:
            return End(member_id, "it does not answer") if seen.silent_s >= SILENT_S_MAX else None
        case PeerState.STARTING:
            return None
        case PeerState.UNINITIALISED if seen.directory_id is not None:
            return AddMember(member=Member(member_id=member_id, directory_id=seen.directory_id, voter=False))
        case _:
            return End(member_id, "what it holds counts nowhere any more")


def _lost(view: Membership, silent_ms_max: int) -> list[Change]:
    """Voters that nobody has heard of for so long, as long as what is missing stays a minority of the places.

    Also a non-voter: whoever was to replace a lost one may be lost as well.
    """

    def is_lost(line: MemberLine) -> bool:
        patience_ms = silent_ms_max if line.voter else max(silent_ms_max, NEWCOMER_SILENT_MS_MAX)
        return line.silent_ms is not None and line.silent_ms >= patience_ms

    silent = [line for line in view.lines if is_lost(line)]
    missing = {line.member_id for line in view.lines if not line.voter} | {line.member_id for line in silent}
    if len(missing) > (len(view.lines) - 1) // 2:
        return []
    return [_vacate(line) for line in silent]


def _vacate(line: MemberLine) -> RemoveMember:
    assert line.directory_id is not None, "who is silent has a directory"
    return RemoveMember(directory_id=line.directory_id, keep_place=True)


def in_words(change: Change) -> str:
    """A change of the membership, for a log."""
    match change:
        case AddMember(member=member):
            what = "a vacant place" if member.vacant else f"directory {member.directory_id.hex()}"
            return f"add {what} as member {member.member_id}"
        case Promote(directory_id=directory_id):
            return f"let directory {directory_id.hex()} vote"
        case RemoveMember(directory_id=directory_id, keep_place=keep_place):
            return f"remove directory {directory_id.hex()}{', its place stays' if keep_place else ''}"
        case RemovePlace(member_id=member_id):
            return f"remove the vacant place {member_id}"
