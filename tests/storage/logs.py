"""Values that the storage tests write."""

from __future__ import annotations

from raft_actors.codec import cluster_id_of
from raft_actors.core.effects import Append, HardState, Reset, Truncate
from raft_actors.core.entries import Command, Configuration, Entry, Genesis, Member, Noop, Payload, SnapshotMeta
from raft_actors.core.types import GENESIS_ID, DirectoryId, EntryId, LogIndex, MemberId, Term
from raft_actors.storage.interface import Storage

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


def reset(term: int, index: int) -> Reset:
    return Reset(base=EntryId(Term(term), LogIndex(index)))


def meta(term: int, index: int) -> SnapshotMeta:
    return SnapshotMeta(
        last=EntryId(Term(term), LogIndex(index)),
        stamp_ms=10 * index,
        configuration_id=GENESIS_ID,
        configuration=CONFIGURATION,
    )


def state_at(index: int) -> tuple[bytes, ...]:
    """The state of an imaginary application after so many entries, in pieces."""
    return tuple(b"%d:%d " % (index, piece) * 9 for piece in range(index % 4))


def take_snapshot(storage: Storage, term: int, index: int, *pieces: bytes) -> None:
    """Write one, of that imaginary state unless pieces are given, and make it the newest."""
    sink = storage.begin_snapshot(meta(term, index))
    for piece in pieces or state_at(index):
        sink.write(piece)
    sink.commit()


def read_snapshot(storage: Storage, index: int) -> tuple[bytes, ...]:
    source = storage.open_snapshot(LogIndex(index))
    try:
        return tuple(source.chunks())
    finally:
        source.close()
