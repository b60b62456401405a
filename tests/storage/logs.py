"""Values that the storage tests write."""

from __future__ import annotations

from raft_actors.codec import cluster_id_of
from raft_actors.core.effects import Append, HardState, Truncate
from raft_actors.core.entries import Command, Configuration, Entry, Genesis, Member, Noop, Payload
from raft_actors.core.types import DirectoryId, EntryId, LogIndex, MemberId, Term

GROUP = "test"
MEMBER = MemberId(0)
CONFIGURATION = Configuration(
    members=tuple(
        Member(member_id=MemberId(number), directory_id=DirectoryId(bytes([65 + number]) * 16), voter=number < 3)
        for number in range(4)
    )
)
GENESIS = Genesis(
    cluster_id=cluster_id_of(GROUP, CONFIGURATION.members, b"limits"),
    group=GROUP,
    configuration=CONFIGURATION,
    settings=b"limits",
)
OTHER = DirectoryId(b"B" * 16)


def command(term: int, index: int, size: int = 20) -> Entry:
    data = (b"%d/%d " % (term, index) * (size // 4 + 1))[:size]
    return entry(term, index, Command(data=data))


def entry(term: int, index: int, payload: Payload | None = None) -> Entry:
    return Entry(id=EntryId(Term(term), LogIndex(index)), payload=payload or Noop(), stamp_ms=10 * index)


def append(*entries: Entry) -> Append:
    return Append(entries=entries)


def vote(term: int, voted_for: DirectoryId | None = None) -> HardState:
    return HardState(term=Term(term), voted_for=voted_for)


def truncate(index: int) -> Truncate:
    return Truncate(from_index=LogIndex(index))
