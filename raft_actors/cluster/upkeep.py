"""What the keeper has to do next, so that a group becomes what its log says it shall be. Pure.

Here:   `next_steps`: from what the leader confirmed and what the actors say, to steps.
Never:  doing them (caretaker.py), asking (membership.py), which node is best (placing.py).

Truth is in the log (docs/adr/0013): a vacant place wants somebody, a non-voter shall vote, who is not listed shall not
be there. The keeper may forget everything between two looks, and die in each. So a step is only ever derived from what
is there, is harmless when it was done already, and changes the log only for the configuration that it was derived from.

Losing data is the one thing that a keeper could do. So an actor is ended only at a place that is vacant, or not
listed, in a *committed* configuration that a leader confirmed *after* that actor had said what it holds. What is set
aside then is settled the same way (caretaker.py). A voter is taken out of the log unasked only if the group was started
with `replace_after_s`, and only while the places without a voter that answers, this one included, are a minority. A
non-voter has no vote to lose: one that is silent for a minute was lost on its way, and another one takes its place.
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
"""An actor at a vacant place that answered once, and has not for so long, is not going to: its node is gone."""
NEWCOMER_S_MAX: Final = 60.0
"""A new one has to be placed by Ray, started and found before it answers."""
PROMOTED_SILENT_MS_MAX: Final = 1000
"""Who has not answered for longer is not asked to vote; the leader would refuse it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of one member's peer actor, from before the membership was asked for."""

    state: PeerState | None
    """None: it does not answer."""
    directory_id: DirectoryId | None
    for_s: float
    """How long it has been so, as far as the keeper saw."""
    answered: bool
    """It did once; or this keeper did not create it, and somebody waits for it longer than it knows."""
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
    view: Membership,
    seen: Mapping[MemberId, Seen],
    *,
    promotion_lag_max: int,
    replace_after_s: float | None,
    lost_before: frozenset[DirectoryId] = frozenset(),
) -> list[Step]:
    """At most one change to the log, and none while the one before is not committed.

    `lost_before`: who was lost at the look before; a leader that stood still itself takes everybody for silent.
    """
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
        elif _has_caught_up(line, promotion_lag_max):
            changes.append(Promote(directory_id=line.directory_id))
    changes += [
        RemoveMember(directory_id=directory_id, keep_place=True)
        for directory_id in lost(view, replace_after_s)
        if directory_id in lost_before
    ]
    return steps + changes[:1]


def _has_caught_up(line: MemberLine, promotion_lag_max: int) -> bool:
    if line.voter or line.lag is None or line.silent_ms is None:
        return False
    return line.lag <= promotion_lag_max and line.silent_ms < PROMOTED_SILENT_MS_MAX


def _for_vacant(member_id: MemberId, seen: Seen | None) -> AddMember | Fill | End | None:
    if seen is None:
        return Fill(member_id)
    if seen.in_the_way:
        return End(member_id, "its place shall be served on another node")
    match seen.state:
        case None:
            patience_s = SILENT_S_MAX if seen.answered else NEWCOMER_S_MAX
            return End(member_id, "it does not answer") if seen.for_s >= patience_s else None
        case PeerState.STARTING:
            return End(member_id, "it does not come up") if seen.for_s >= NEWCOMER_S_MAX else None
        case PeerState.UNINITIALISED if seen.directory_id is not None:
            return AddMember(member=Member(member_id=member_id, directory_id=seen.directory_id, voter=False))
        case PeerState.FAILED if seen.directory_id is None:  # it cannot use that place: another node may do
            return End(member_id, "it found no directory that it may use") if seen.for_s >= NEWCOMER_S_MAX else None
        case _:
            return End(member_id, "what it holds counts nowhere any more")


def lost(view: Membership, replace_after_s: float | None) -> list[DirectoryId]:
    """Voters that nobody has heard of for so long, as long as what is missing stays a minority of the places; and
    non-voters that were lost before they voted."""

    def is_silent(line: MemberLine, for_s: float) -> bool:
        return line.silent_ms is not None and line.silent_ms >= for_s * 1000

    newcomers = [line for line in view.lines if not line.voter and is_silent(line, NEWCOMER_S_MAX)]
    voters = [
        line for line in view.lines if line.voter and replace_after_s is not None and is_silent(line, replace_after_s)
    ]
    missing = len(voters) + sum(not line.voter for line in view.lines)
    if missing > (len(view.lines) - 1) // 2:
        voters = []
    return [line.directory_id for line in (*voters, *newcomers) if line.directory_id is not None]


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
