"""What stands in a snapshot file, and what the file is called.

Here:   `SnapshotHeader`, `SnapshotName`, the records of a snapshot.
Never:  files (snapshots.py), what the state in it is (the application).

    snapshot = header, chunks, end      each in the frame of records.py; each CRC chains to the record before, the
                                        header's to 0
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from struct import Struct
from struct import error as StructError
from typing import Final

from raft_actors.codec import CodecError, decode_configuration, decode_genesis, encode_configuration, encode_genesis
from raft_actors.core.entries import Genesis, SnapshotMeta
from raft_actors.core.types import DirectoryId, EntryId, LogIndex, MemberId, Term
from raft_actors.storage.directory import SNAPSHOT_SUFFIX
from raft_actors.storage.image import ImpossibleRecord
from raft_actors.storage.records import (
    FORMAT_VERSION,
    SNAPSHOT_CHUNK,
    SNAPSHOT_END,
    SNAPSHOT_HEADER,
    Frame,
    Identity,
    enclose,
    encode_frame,
    encode_name,
    read_name,
)

HEADER_BYTES_MAX: Final = 4 * 1024 * 1024
"""Longest header: two configurations of at most 65,535 members of 21 bytes, the genesis's and its own, and settings."""

_HEADER: Final = Struct("<16sIqQQIIB")  # directory id, member id, stamp, configuration's index, term; three lengths
_END: Final = Struct("<Q")  # bytes of the state
_SNAPSHOT_NAME: Final = re.compile(r"snap-(\d{20})-(\d{8})\.snap", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotHeader:
    """First record of a snapshot file."""

    identity: Identity
    genesis: Genesis
    meta: SnapshotMeta


@dataclass(frozen=True, slots=True, order=True)
class SnapshotName:
    """Which snapshot a file is, and how many names it had before."""

    index: LogIndex
    """Of the last entry that it covers."""
    generation: int

    @property
    def file(self) -> str:
        """In its directory."""
        return f"snap-{self.index:020d}-{self.generation:08d}{SNAPSHOT_SUFFIX}"

    def next(self) -> SnapshotName:
        """A name that is not used."""
        return replace(self, generation=self.generation + 1)


def snapshot_names(files: Iterable[str]) -> list[SnapshotName]:
    """Of all snapshots among these files, rising."""
    found = (SnapshotName(LogIndex(int(m[1])), int(m[2])) for m in map(_SNAPSHOT_NAME.fullmatch, files) if m)
    return sorted(found)


def newest_names(files: Iterable[str]) -> dict[LogIndex, SnapshotName]:
    """The newest name of each snapshot among these files, with rising index."""
    return {name.index: name for name in snapshot_names(files)}


def encode_header(header: SnapshotHeader) -> tuple[bytes, int]:
    """The first record, and its CRC."""
    meta, identity = header.meta, header.identity
    name, genesis = encode_name(identity.group), encode_genesis(header.genesis)
    configuration = encode_configuration(meta.configuration)
    at = meta.configuration_id
    lengths = len(configuration), len(genesis), len(name)
    fixed = _HEADER.pack(identity.directory_id, identity.member_id, meta.stamp_ms, at.index, at.term, *lengths)
    body = fixed + configuration + genesis + name
    assert len(body) <= HEADER_BYTES_MAX, f"settings of {len(header.genesis.settings)} bytes: no start could read them"
    return encode_frame(SNAPSHOT_HEADER, meta.last, body, 0)


def decode_header(frame: Frame) -> SnapshotHeader:
    """The reverse. Raises `ImpossibleRecord`; a newer version is the caller's to see first."""
    if frame.kind != SNAPSHOT_HEADER or not 0 < frame.version <= FORMAT_VERSION:
        raise ImpossibleRecord("not the header of a snapshot of a known version")
    try:
        directory_id, member_id, stamp_ms, index, term, *lengths = _HEADER.unpack_from(frame.body)
        begin = _HEADER.size
        behind_configuration = begin + lengths[0]
        behind_genesis = behind_configuration + lengths[1]
        return SnapshotHeader(
            identity=Identity(
                directory_id=DirectoryId(directory_id),
                group=read_name(frame.body[behind_genesis:], lengths[2]),
                member_id=MemberId(member_id),
            ),
            genesis=decode_genesis(frame.body[behind_configuration:behind_genesis]),
            meta=SnapshotMeta(
                last=EntryId(Term(frame.entry_term), LogIndex(frame.entry_index)),
                stamp_ms=stamp_ms,
                configuration_id=EntryId(Term(term), LogIndex(index)),
                configuration=decode_configuration(frame.body[begin:behind_configuration]),
            ),
        )
    except (StructError, CodecError, ValueError) as refusal:
        raise ImpossibleRecord(f"a snapshot's header of a form that is not known: {refusal}") from refusal


def enclose_chunk(count: int, chunk: bytes | memoryview, chain: int) -> tuple[bytes, bytes, int]:
    """What stands before and behind the chunk with this number, from 1 up, in its record, and the record's CRC."""
    return enclose(SNAPSHOT_CHUNK, EntryId(Term(0), LogIndex(count)), chunk, chain)


def encode_end(count: int, size: int, chain: int) -> bytes:
    """The last record, behind `count` chunks of `size` bytes."""
    return encode_frame(SNAPSHOT_END, EntryId(Term(0), LogIndex(count)), _END.pack(size), chain)[0]


def is_end(frame: Frame, count: int, size: int) -> bool:
    """Whether this is the record of `encode_end`."""
    return (frame.entry_index, frame.entry_term, frame.body) == (count, 0, _END.pack(size))
