"""Who belongs to the group and how far each is, as its leader knows it.

Here:   `Membership`, `MemberLine`, and how they are read from the core's state.
Never:  changing it (core/membership.py), asking for it across processes (raft_actors/cluster/membership.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from raft_actors.core.entries import Configuration
from raft_actors.core.state import State
from raft_actors.core.types import DirectoryId, LogIndex, MemberId, Term


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberLine:
    """One place of the group."""

    member_id: MemberId
    directory_id: DirectoryId | None
    """None: the place is vacant."""
    voter: bool
    lag: int | None
    """Entries that it is not known to hold of those that are committed; None for a vacant place."""
    silent_ms: int | None
    """For how long the leader has not heard of it, counted from its election at the earliest; None if vacant."""
    heard: bool
    """Whether it has answered this leader since its election."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A leader's view, confirmed by a round of the read index: nothing newer was committed a moment ago."""

    leader: MemberId
    term: Term
    index: LogIndex
    """Of the configuration in force: a change names it (contracts 12)."""
    committed: bool
    """Whether it is; until then no other change is taken."""
    commit_index: LogIndex
    lines: tuple[MemberLine, ...]

    def line(self, member_id: int) -> MemberLine | None:
        """Of this place, or None."""
        return next((line for line in self.lines if line.member_id == member_id), None)


def membership_of(state: State, now_ms: int) -> Membership | None:
    """What this peer knows as the leader; None if it does not lead."""
    leading, configurations = state.leading, state.configurations
    if leading is None:
        return None

    def line(directory_id: DirectoryId) -> tuple[int, int, bool]:
        progress = leading.progress.get(directory_id)
        if progress is None:  # ourselves
            return max(0, state.commit_index - state.durable_index), 0, True
        silent_ms, heard = now_ms - progress.last_answer_ms, progress.last_answer_ms > leading.since_ms
        return max(0, state.commit_index - progress.match_index), silent_ms, heard

    lines = []
    for member in configurations.in_force.members:
        lag, silent_ms, heard = (None, None, False) if member.vacant else line(member.directory_id)
        lines.append(
            MemberLine(
                member_id=member.member_id,
                directory_id=None if member.vacant else member.directory_id,
                voter=member.voter,
                lag=lag,
                silent_ms=silent_ms,
                heard=heard,
            )
        )
    return Membership(
        leader=state.member_id,
        term=state.current_term,
        index=configurations.in_force_index,
        committed=configurations.in_force_index <= state.commit_index,
        commit_index=state.commit_index,
        lines=tuple(lines),
    )


def standing_in(configuration: Configuration, directory_id: DirectoryId) -> str:
    """What this directory is in a configuration, in a word."""
    line = configuration.find_directory(directory_id)
    return "not listed" if line is None else "voter" if line.voter else "non-voter"
