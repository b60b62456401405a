"""Which configuration is in force: the newest in the log, committed or not (dissertation §4.1).

Here:   the configurations of a log by index, kept in step with its appends and truncations.
Never:  a constant list of members; how to change membership (membership.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from raft_actors.core.entries import Configuration, Entry, Member
from raft_actors.core.types import DirectoryId, LogIndex, MemberId


class Configurations:
    """Every configuration of the log, oldest first; the first is the genesis (index 0) or a snapshot's.

    "A server always uses the latest configuration in its log, regardless of whether the entry is committed"
    (dissertation §4.1). So an append puts one in force and a truncation takes it back.
    """

    __slots__ = ("_history",)

    def __init__(self, base_index: LogIndex, base: Configuration) -> None:
        self._history: list[tuple[LogIndex, Configuration]] = [(base_index, base)]

    @property
    def in_force(self) -> Configuration:
        """The newest one."""
        return self._history[-1][1]

    @property
    def in_force_index(self) -> LogIndex:
        """Index of the entry that carries the one in force."""
        return self._history[-1][0]

    def uncommitted(self, commit_index: LogIndex) -> int:
        """How many of them are above the commit index."""
        return sum(index > commit_index for index, _ in self._history)

    @property
    def before(self) -> Configuration | None:
        """The one before the one in force, or None."""
        return self._history[-2][1] if len(self._history) > 1 else None

    def at(self, index: LogIndex) -> tuple[LogIndex, Configuration]:
        """Which one was in force at an entry that is not below the log's base, and where it stands."""
        return next(each for each in reversed(self._history) if each[0] <= index)

    def appended(self, entries: Iterable[Entry]) -> bool:
        """Take note of appended entries. True when another configuration is in force now."""
        changed = False
        for entry in entries:
            if isinstance(entry.payload, Configuration):
                assert entry.index > self.in_force_index, f"configuration at {entry.index} is not the newest"
                self._history.append((entry.index, entry.payload))
                changed = True
        return changed

    def truncated(self, from_index: LogIndex) -> bool:
        """Take note that entries from `from_index` on are gone. True when another configuration is in force now."""
        changed = False
        while self._history[-1][0] >= from_index:
            self._history.pop()
            assert self._history, "the base configuration was truncated: committed entries were lost"
            changed = True
        return changed

    def compacted(self, commit_index: LogIndex) -> None:
        """Forget what no truncation brings back: all before the newest that is committed."""
        while len(self._history) > 1 and self._history[1][0] <= commit_index:
            del self._history[0]

    def reset(self, base_index: LogIndex, base: Configuration) -> bool:
        """Begin anew with a snapshot's. True when another configuration is in force now."""
        changed = base != self.in_force
        self._history = [(base_index, base)]
        return changed

    def may_campaign(self, directory_id: DirectoryId, commit_index: LogIndex) -> bool:
        """Whether the peer on this directory may ask for votes.

        A voter in force may. So may one that the newest configuration removed while that is not known to be
        committed (dissertation §4.2.2): with two members, the removed one may hold the only copy of the entry that
        removes it, and nobody else could ever be elected. It then does not count itself. A peer that never was a
        voter under its present directory never campaigns, which is why requests may be obeyed from anyone.
        """
        if self.in_force.is_voter(directory_id):
            return True
        before = self.before
        return before is not None and before.is_voter(directory_id) and self.in_force_index > commit_index

    def others(self, member_id: MemberId) -> tuple[Member, ...]:
        """The members in force other than this one, as far as there is somebody to talk to."""
        return tuple(member for member in self.in_force.served() if member.member_id != member_id)
