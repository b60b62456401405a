"""What must be true of a group after every event (Raft Fig. 3), looked at from outside all members.

Here:   election safety, leader append-only, log matching, leader completeness, state machine safety, and that what is
        committed is durable on a majority of the voters' disks.
Never:  the product's own bookkeeping: match indexes and the like prove nothing about themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from raft_actors.application.host import ApplicationHost
from raft_actors.core.entries import Entry
from raft_actors.core.invariants import check_state
from raft_actors.core.quorum import majority
from raft_actors.core.state import State
from raft_actors.core.types import GENESIS_ID, DirectoryId, EntryId, LogIndex, MemberId, Role, Term
from raft_actors.storage.image import LogImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """An entry that somebody took for committed, and who voted where that was so."""

    entry: Entry
    term: Term
    """Of the member that said so first; every leader of a later term must hold the entry."""
    voters: tuple[DirectoryId, ...]


@dataclass(slots=True)
class Checks:
    """Remembers the history of a group."""

    committed: list[Committed] = field(default_factory=list)
    known_to_differ: set[MemberId] = field(default_factory=set)
    """Members whose state machine a test has made wrong on purpose."""
    _leaders: dict[Term, DirectoryId] = field(default_factory=dict)
    _leader_last: dict[Term, EntryId] = field(default_factory=dict)
    _entries: dict[EntryId, tuple[EntryId, Entry]] = field(default_factory=dict)
    _chains: dict[LogIndex, bytes] = field(default_factory=dict)
    _checked_last: dict[DirectoryId, EntryId] = field(default_factory=dict)

    def after_event(
        self,
        states: Iterable[State],
        hosts: Mapping[MemberId, ApplicationHost],
        disks: Mapping[DirectoryId, LogImage],
    ) -> None:
        """`disks`: what is durable in each directory there ever was."""
        for state in states:
            check_state(state)
            self._log_matching(state)
            self._note_committed(state)
        for state in states:
            if state.role is Role.LEADER:
                self._election_safety(state)
                self._leader_append_only(state)
                self._leader_completeness(state)
        self._durable(disks)
        self._state_machine_safety(hosts)

    def _election_safety(self, state: State) -> None:
        led_by = self._leaders.setdefault(state.current_term, state.directory_id)
        assert led_by == state.directory_id, f"election safety: two leaders in term {state.current_term}"

    def _leader_append_only(self, state: State) -> None:
        before = self._leader_last.get(state.current_term, GENESIS_ID)
        assert state.log.matches(before), f"leader append-only: {before} is gone in term {state.current_term}"
        self._leader_last[state.current_term] = state.log.last

    def _log_matching(self, state: State) -> None:
        """ "If two logs contain an entry with the same index and term, then the logs are identical [...] up through the
        given index": each (term, index) has one entry and one predecessor in all the world."""
        if self._checked_last.get(state.directory_id) == state.log.last:
            return
        self._checked_last[state.directory_id] = state.log.last
        before = GENESIS_ID
        for index in range(1, state.log.last.index + 1):
            entry = state.log.entry_at(LogIndex(index))
            known = self._entries.setdefault(entry.id, (before, entry))
            assert known == (before, entry), f"log matching: member {state.member_id} differs at {entry.id}"
            before = entry.id

    def _note_committed(self, state: State) -> None:
        for index in range(1, state.commit_index + 1):
            entry = state.log.entry_at(LogIndex(index))
            if index <= len(self.committed):
                known = self.committed[index - 1].entry
                assert known == entry, f"member {state.member_id} committed {entry.id}, another one {known.id}"
            else:
                voters = tuple(voter.directory_id for voter in state.configurations.in_force.voters())
                self.committed.append(Committed(entry=entry, term=state.current_term, voters=voters))

    def _leader_completeness(self, state: State) -> None:
        for committed in self.committed:
            if committed.term < state.current_term:
                assert state.log.matches(committed.entry.id), (
                    f"leader completeness: {committed.entry.id} is missing in the log of member {state.member_id}, "
                    f"leader of term {state.current_term}"
                )

    def _durable(self, disks: Mapping[DirectoryId, LogImage]) -> None:
        for committed in self.committed:
            index = committed.entry.index
            copies = 0
            for voter in committed.voters:
                image = disks.get(voter)
                if image is not None and image.last.index >= index and image.entries[index - 1] == committed.entry:
                    copies += 1
            assert copies >= majority(len(committed.voters)), (
                f"{committed.entry.id} is committed and durable with {copies} of {len(committed.voters)} voters"
            )

    def _state_machine_safety(self, hosts: Mapping[MemberId, ApplicationHost]) -> None:
        for member_id, host in hosts.items():
            if member_id in self.known_to_differ:
                continue
            chain = self._chains.setdefault(host.applied_index, host.chain)
            assert chain == host.chain, f"state machine safety: member {member_id} differs at {host.applied_index}"
