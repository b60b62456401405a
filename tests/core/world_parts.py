"""What a random world is made of, and what must hold in it (Raft Fig. 3).

Here:   messages under way, members with their disks; the checks, which remember the whole history.
Never:  what happens (random_world.py, changing_world.py).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from raft_actors.core.effects import Compact, FetchSnapshot, Persist, SendReply, SendRequest
from raft_actors.core.entries import Configuration, Entry, SnapshotMeta
from raft_actors.core.entries import Member as Line
from raft_actors.core.events import HelloReceived
from raft_actors.core.outbox import Outbox
from raft_actors.core.quorum import majority
from raft_actors.core.state import State
from raft_actors.core.types import GENESIS_ID, DirectoryId, EntryId, Term
from raft_actors.storage.image import LogImage

NOWHERE = (-1, -1, -1)  # the caller of a hello: nobody waits


@dataclass(slots=True)
class Message:
    """Under way: a request or a hello (caller waits as (member, start, rpc id)), or the reply to one."""

    to: int
    content: SendRequest | SendReply | HelloReceived
    caller: tuple[int, int, int]
    sender: int


@dataclass(slots=True)
class Member:
    """One peer: its disk, and what a crash takes."""

    id: int
    start: int = 0
    wiped: int = 0
    """How many disks it had before this one."""
    log: LogImage = field(default_factory=LogImage)
    """On the disk; what it refuses, no correct core writes."""
    file: SnapshotMeta | None = None
    """The newest snapshot on the disk."""
    writes: deque[Persist | Compact] = field(default_factory=deque)
    fetching: FetchSnapshot | None = None
    stored: list[SnapshotMeta] = field(default_factory=list)
    """Files whose news is under way to the core."""
    state: State = None  # type: ignore[assignment]  # World.start sets it
    outbox: Outbox = field(default_factory=Outbox)
    timer: tuple[int, int] | None = None
    """(generation, deadline) of the running election timer."""
    waiting: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Request id -> caller."""


def newest_configuration(
    entries: Sequence[Entry], place: EntryId, otherwise: Configuration
) -> tuple[EntryId, Configuration]:
    """The newest one among these entries and where it stands, or else what was before them."""
    for entry in reversed(entries):
        if isinstance(entry.payload, Configuration):
            return entry.id, entry.payload
    return place, otherwise


class Checked:
    """What the checks remember, of the whole history, and the checks."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        """The first one."""
        self.members: list[Member] = []
        self.counts: Counter[str] = Counter()
        self.leaders: dict[Term, DirectoryId] = {}
        self.written: dict[EntryId, tuple[Entry, EntryId]] = {}
        self.committed: list[Entry] = []

    def check_log_matching(self, member: Member, write: Persist) -> None:
        """Each (term, index) has one content and one entry before it, in every log that ever was; by induction, logs
        that share an entry share all before it."""
        for record in write.records:
            for entry in getattr(record, "entries", ()):
                before = member.state.log.entry_id_at(entry.index - 1)
                known = self.written.setdefault(entry.id, (entry, before))
                assert known == (entry, before), f"Log Matching: {known} and {(entry, before)}"

    def check_new_leader(self, member: Member) -> None:
        state = member.state
        first = self.leaders.setdefault(state.current_term, state.directory_id)
        assert first == state.directory_id, f"Election Safety: two leaders in term {state.current_term}"
        for entry in self.committed:
            assert state.log.covers(entry.id), f"Leader Completeness: {entry.id} is committed, the leader lacks it"
        self.counts["election"] += 1

    def check_commit(self, member: Member) -> None:
        for index in range(member.state.log.base.index + 1, member.state.commit_index + 1):
            entry = member.state.log.entry_at(index)
            if index > len(self.committed):
                self.committed.append(entry)
                voters = self.in_log(member).voters()
                copies = sum(self.holds(voter, entry) for voter in voters)
                assert copies >= majority(len(voters)), f"{entry.id} is committed with {copies} durable copies"
                self.counts["commit"] += 1
            assert self.committed[index - 1] == entry, f"State Machine Safety at {index}"

    def check_configuration(self, member: Member) -> None:
        """The newest in the log is in force, committed or not (dissertation §4.1)."""
        expected, found = self.in_log(member), member.state.configurations.in_force
        assert expected == found, f"the log of {member.id} says {expected}, in force is {found}"

    def in_log(self, member: Member) -> Configuration:
        """The newest configuration in this log, by reading it."""
        state, base = member.state, (GENESIS_ID, self.configuration)
        if state.snapshot is not None:
            base = (state.snapshot.configuration_id, state.snapshot.configuration)
        log = state.log
        entries = [log.entry_at(index) for index in range(log.base.index + 1, log.last.index + 1)]
        return newest_configuration(entries, *base)[1]

    def holds(self, voter: Line, entry: Entry) -> bool:
        """Whether this voter's very disk has it."""
        member = self.members[voter.member_id]
        same = member.state.directory_id == voter.directory_id
        return same and (entry.index <= member.log.base.index or member.log.holds(entry.id))
