"""A data directory founded from a state: the first member of a cluster that goes on from what another one had (ADR 14).

Here:   `Founding`, which writes the directory beside its place; `settle`, which brings it there; `found_in_place_of`,
        which does both with what the old directory there holds; what a crash between leaves, and who clears it away.
Never:  where the state comes from (raft_actors/cluster), who may ask for it, what becomes of the old directory.

    <place>.founding    genesis; the snapshot, if there is one; a reset to it and the entries behind it; term, no vote
    <place>             the same, under its name

The genesis names one voter, the directory itself, and leaves the other places vacant (ADR 13). Its cluster id is
computed from the one before it: no message of the old cluster is heard in the new one, and none of the new in the old.

**A crash** at any moment leaves the place as it was, or the founded directory in it, whole. All is written through the
promises of `Storage`, in an order in which the term comes last: a directory without one is not founded (`is_founded`).
Whole and synced it is read again, as a start would read it; then it gets its name, and that is synced. What is left
under the other name belongs to an attempt that ended; the next one removes it. Between the old directory's removal
from the place and the new one's naming the place is empty, and what lies beside it is founded: then the next attempt
has nothing to do but to name it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from raft_actors.codec import CHUNK_BYTES_MAX, successor_cluster_id
from raft_actors.core.effects import Append, HardState, Reset
from raft_actors.core.entries import Configuration, Entry, Genesis, Member, Noop, SnapshotMeta
from raft_actors.core.types import GENESIS_ID, VACANT, DirectoryId, LogIndex, MemberId, Term
from raft_actors.errors import CannotRecover, StorageError
from raft_actors.storage.files import Files, OsFiles
from raft_actors.storage.interface import Recovered, SnapshotSink
from raft_actors.storage.place import FOUNDING_SUFFIX
from raft_actors.storage.visit import peek_identity, set_aside
from raft_actors.storage.wal import FileStorage


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a directory is founded, for whom."""

    path: str
    group: str
    member_id: MemberId
    segment_bytes_max: int
    allow_unsafe_data_dir: bool

    @property
    def beside(self) -> str:
        """Where it is written."""
        return self.path + FOUNDING_SUFFIX

    def open(self, path: str, files: Files | None = None) -> FileStorage:
        """Raises what `FileStorage.open` does."""
        return FileStorage.open(
            path,
            group=self.group,
            member_id=self.member_id,
            segment_bytes_max=self.segment_bytes_max,
            allow_unsafe_data_dir=self.allow_unsafe_data_dir,
            files=files,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the new cluster goes on from."""

    cluster_id: bytes
    """Of the old one."""
    settings: bytes
    places: tuple[MemberId, ...]
    """Of the new group, the founded member's own among them."""
    snapshot: SnapshotMeta | None
    """Of the state that is written; None: there is none, the entries begin with the first."""


def is_founded(recovered: Recovered) -> bool:
    """Whether a directory was founded to its end, or belongs to a running cluster: the term is what comes last."""
    return recovered.genesis is not None and recovered.hard_state.term > 0


class Founding:
    """One directory being written. Use it as a context: what does not come to `finish` leaves nothing behind."""

    def __init__(self, place: Place, origin: Origin, *, files: Files | None = None) -> None:
        """Begin it, empty, beside its place. Raises what `FileStorage.open` does, `SnapshotFailed`, OSError."""
        assert place.member_id in origin.places, f"member {place.member_id} is founded among {origin.places}"
        self._place, self._files = place, files
        if files is None:
            remove_unfinished(place)
        self._storage = place.open(place.beside, files)
        self._sink: SnapshotSink | None = None
        self._origin = origin
        directory_id = self._storage.recovered.incarnation.directory_id
        self.genesis: Final = genesis_of(origin, place.group, place.member_id, directory_id)
        self._meta: SnapshotMeta | None = None
        self._storage.write_genesis(self.genesis)
        if origin.snapshot is not None:
            self._meta = replace(origin.snapshot, configuration_id=GENESIS_ID, configuration=self.genesis.configuration)
            self._sink = self._storage.begin_snapshot(self._meta)

    def __enter__(self) -> Founding:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abandon()

    def write(self, chunk: bytes | memoryview) -> None:
        """The next bytes of the state, at most 4 MiB. Raises `SnapshotFailed`."""
        assert self._sink is not None, "a state without a snapshot that it belongs to"
        self._sink.write(chunk)

    def finish(self, entries: Sequence[Entry], term: Term) -> None:
        """All of the state is written: add what is behind it, and look at the whole as a start does. Not named yet.

        `entries` are the old log's, consecutive from the state on; `term` the old term. A configuration among them is
        of the old cluster: its place and time stay, what it said does not. Raises `SnapshotFailed`, `StorageFailed`,
        and what `FileStorage.open` does.
        """
        storage, meta = self._storage, self._meta
        if meta is not None and self._sink is not None:
            self._sink.commit()
            storage.write([Reset(base=meta.last)])
        last = GENESIS_ID if meta is None else meta.last
        for portion in _portions(entries):
            storage.write([Append(entries=portion)])
            last = portion[-1].id
        term = Term(max(term, last.term, 1))
        storage.write([HardState(term=term, voted_for=None)])
        storage.close()
        self._look_again(last.index, term)

    def abandon(self) -> None:
        """Leave nothing behind. Raises nothing: what the disk keeps, the next attempt removes."""
        with suppress(StorageError, OSError):
            self._storage.close()
        if self._files is None:
            with suppress(OSError):
                remove_unfinished(self._place)

    def _look_again(self, last: LogIndex, term: Term) -> None:
        storage = self._place.open(self._place.beside, self._files)
        try:
            found = storage.recovered
        finally:
            storage.close()
        held = found.entries[-1].index if found.entries else found.base.index
        assert is_founded(found), "a directory that was founded to its end has a genesis and a term"
        assert found.genesis == self.genesis, "another genesis than the one that was written"
        assert (found.snapshot, held, found.hard_state) == (self._meta, last, HardState(term=term, voted_for=None)), (
            f"a founded directory with {found.snapshot} and entries up to {held} in {found.hard_state}"
        )


def genesis_of(origin: Origin, group: str, member_id: MemberId, directory_id: DirectoryId) -> Genesis:
    """The record that the new cluster begins with: one voter, the other places vacant."""
    members = tuple(
        Member(
            member_id=place,
            directory_id=directory_id if place == member_id else VACANT,
            voter=place == member_id,
        )
        for place in sorted(origin.places)
    )
    return Genesis(
        cluster_id=successor_cluster_id(origin.cluster_id, group, members, origin.settings),
        group=group,
        configuration=Configuration(members=members),
        settings=origin.settings,
    )


def _portions(entries: Sequence[Entry]) -> Iterator[tuple[Entry, ...]]:
    """Write groups of a few MiB."""
    portion: list[Entry] = []
    size = 0
    for entry in entries:
        portion.append(replace(entry, payload=Noop()) if isinstance(entry.payload, Configuration) else entry)
        size += entry.size_bytes
        if size >= CHUNK_BYTES_MAX:
            yield tuple(portion)
            portion, size = [], 0
    if portion:
        yield tuple(portion)


# -- names ----------------------------------------------------------------------------------------------------------


def remove_unfinished(place: Place) -> None:
    """What an attempt that ended has left beside the place. Raises OSError."""
    with suppress(FileNotFoundError):
        shutil.rmtree(place.beside)


def awaits_its_name(place: Place) -> bool:
    """Whether the place is empty, and what lies beside it was founded to its end: only `settle` is missing.

    Raises what `FileStorage.open` does for a directory that is there and no good.
    """
    if os.path.lexists(place.path) or not os.path.isdir(place.beside):
        return False
    storage = place.open(place.beside)
    try:
        return is_founded(storage.recovered)
    finally:
        storage.close()


def settle(place: Place) -> None:
    """Bring a founded directory to its place, durably. Raises FileExistsError if something is there; OSError."""
    with _parent_of(place) as (files, parent):
        if os.path.lexists(place.path):
            raise FileExistsError(f"something lies in {place.path}")
        files.rename(parent, os.path.basename(place.beside), os.path.basename(place.path))
        files.sync(parent)


@contextmanager
def _parent_of(place: Place) -> Iterator[tuple[Files, int]]:
    files = OsFiles()
    parent = files.open_directory(os.path.dirname(place.path))
    try:
        yield files, parent
    finally:
        files.close(parent)


# -- from the directory that lies there -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """What was founded."""

    path: str
    places: tuple[MemberId, ...]
    settings: bytes
    cluster_id: bytes
    last_index: int
    """Of the last entry that the new cluster holds."""
    aside: str | None
    """Where the old directory lies now, if this put it there."""

    @classmethod
    def of(cls, place: Place, genesis: Genesis, last_index: int, aside: str | None = None) -> Founded:
        """A directory with this genesis."""
        return cls(
            path=place.path,
            places=tuple(member.member_id for member in genesis.configuration.members),
            settings=genesis.settings,
            cluster_id=genesis.cluster_id,
            last_index=last_index,
            aside=aside,
        )


def found_in_place_of(place: Place, open_old: Callable[[], FileStorage]) -> Founded:
    """A new cluster's directory from what the old one in the place holds, which is set aside then.

    `open_old` opens that. Done again after it was cut off, it goes on where it was. Raises `CannotRecover`, what
    `open_old` and reading raise, OSError; the old directory is as it was then.
    """
    if awaits_its_name(place):
        settle(place)
        with closing(place.open(place.path)) as storage:
            found = storage.recovered
            assert found.genesis is not None, "a directory that was founded has a genesis"
            return Founded.of(place, found.genesis, found.entries[-1].index if found.entries else found.base.index)
    if peek_identity(place.path, group=place.group, member_id=place.member_id) is None:
        raise CannotRecover(f"member {place.member_id} of group {place.group!r} has no data directory at {place.path}")
    with closing(open_old()) as storage:
        genesis, last_index = _found_from(place, storage)
        directory_id = storage.recovered.incarnation.directory_id
        aside = set_aside(place.path, group=place.group, member_id=place.member_id, directory_id=directory_id)
        settle(place)
    return Founded.of(place, genesis, last_index, aside)


def _found_from(place: Place, storage: FileStorage) -> tuple[Genesis, LogIndex]:
    """A new directory beside the one that is open; and the index of its last entry."""
    old, snapshot = storage.recovered, storage.recovered.snapshot
    if old.genesis is None:
        raise CannotRecover(
            f"member {place.member_id} of group {place.group!r} never belonged to a cluster, it is empty: take another"
        )
    places = tuple(member.member_id for member in configuration_of(old, old.genesis).members)
    if place.member_id not in places:
        raise CannotRecover(
            f"member {place.member_id} of group {place.group!r} was removed from it, as its own log says: take another"
        )
    covered = LogIndex(0) if snapshot is None else snapshot.last.index
    entries = [entry for entry in old.entries if entry.index > covered]
    origin = Origin(cluster_id=old.genesis.cluster_id, settings=old.genesis.settings, places=places, snapshot=snapshot)
    with Founding(place, origin) as founding:
        if snapshot is not None:
            with closing(storage.open_snapshot(snapshot.last.index)) as source:
                for chunk in source.chunks():
                    founding.write(chunk)
        founding.finish(entries, old.hard_state.term)
    return founding.genesis, entries[-1].index if entries else covered


def configuration_of(recovered: Recovered, genesis: Genesis) -> Configuration:
    """The newest in a log, committed or not, as a member goes by it (dissertation §4.1)."""
    for entry in reversed(recovered.entries):
        if isinstance(entry.payload, Configuration):
            return entry.payload
    return genesis.configuration if recovered.snapshot is None else recovered.snapshot.configuration
