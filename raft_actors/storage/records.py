"""The records of a log file, one by one, and their bytes. docs/FORMATS.md has the same as tables.

Here:   the frame around every record, the records of a segment file and of IDENTITY, what each CRC covers.
Never:  files, and what a broken record means: that depends on where it stands (recovery.py).

Frame, little-endian: magic, version, type, length of the body, index, term (24 bytes), the body, CRC32 (4 bytes). The
CRC covers all 24 bytes and the body, and starts from a *chain* value: the CRC of the record before in the same write
group. So a record that is changed, swapped, repeated or moved within its group does not verify.

A group header and a synced mark start from a *seed* instead, the CRC of (directory id, segment number, offset in the
file), and carry the chain value of the record before in their body. So each of them can be recognised alone, behind
bytes that are broken, and nowhere but at its own place: log bytes inside a stored value never pass for one. A segment
header and IDENTITY start from 0 and can be read without knowing whose they are.

    segment = segment header, then groups and synced marks in any order
    group   = group header, (genesis | hard state | entry | truncation | reset)+, group trailer

snapshot_records.py has the records of snapshots, in the same frame.

A zero is no magic and no type: zero-filled space never parses. The frame and the CRC rule of a segment header and of
IDENTITY stay as they are in every later version, so that `version` can be trusted once the CRC holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple
from zlib import crc32

from raft_actors.codec import CodecError, decode_entry, decode_genesis, encode_entry, encode_genesis
from raft_actors.core.effects import Append, HardState, Reset, Truncate
from raft_actors.core.entries import Entry, Genesis
from raft_actors.core.types import DirectoryId, EntryId, LogIndex, MemberId, Term
from raft_actors.storage.image import ImpossibleRecord, LogRecord

FORMAT_VERSION: Final = 1
"""Of all files in a data directory. A greater one is `NewerFormat`."""

GROUP_NAME_BYTES_MAX: Final = 255
SEGMENT_HEADER_BYTES_MAX: Final = 1024

SEGMENT_NUMBER_MAX: Final = 10**8 - 1
"""Highest number of a file: its name has eight digits."""
START_COUNT_MAX: Final = 2**63 - 1
"""Highest start counter that is read: the next start must have a number, too."""

MAGIC: Final = b"\xd7R"
SEGMENT_HEADER: Final = 1
GROUP_HEADER: Final = 2
GROUP_TRAILER: Final = 3
SYNCED_MARK: Final = 4
GENESIS: Final = 5
HARD_STATE: Final = 6
ENTRY: Final = 7
TRUNCATION: Final = 8
IDENTITY: Final = 9
RESET: Final = 10
SNAPSHOT_HEADER: Final = 11
SNAPSHOT_CHUNK: Final = 12
SNAPSHOT_END: Final = 13

_HEAD: Final = Struct("<2sBBIQQ")  # magic, version, type, body length, index, term
_CRC: Final = Struct("<I")
_SEED: Final = Struct("<16sIQ")  # directory id, segment, offset
_CHAIN: Final = Struct("<I")
_TRAILER: Final = Struct("<IQ")  # count of records, bytes of the group before the trailer
_VOTE: Final = Struct("<B16s")  # voted?, for whom
_SEGMENT: Final = Struct("<16sIQIQB16sIQIQB")  # as in SegmentHeader; last the length of the group's name
_IDENTITY: Final = Struct("<16sIB")  # directory id, member id, length of the group's name

FRAME_BYTES: Final = _HEAD.size + _CRC.size
MARK_PREFIXES: Final = tuple(MAGIC + bytes((FORMAT_VERSION, kind)) for kind in (GROUP_HEADER, SYNCED_MARK))
"""How a record begins that says that all before it was synced."""


class Frame(NamedTuple):
    """One record whose CRC holds."""

    version: int
    kind: int
    entry_index: int
    entry_term: int
    body: bytes
    chain: int
    """Its CRC, which the next record chains to."""
    behind: int
    """Offset of the next record."""


class Position(NamedTuple):
    """A place in the log files between two records, and the chain value there. Segment 0: before all files."""

    segment: int
    offset: int
    chain: int


LOG_START: Final = Position(0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose a data directory is."""

    directory_id: DirectoryId
    group: str
    member_id: MemberId


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader:
    """First record of a segment file."""

    identity: Identity
    start_count: int
    """Which start of the directory created the file."""
    number: int
    hard_state: HardState
    """Term and vote before the first record of this file."""
    before: EntryId
    """The entry before the first record of this file."""
    continues: Position
    """How far the earlier files count; everything in them from there on is void, and replaced by this file."""
    opening_end: int
    """Offset behind the group that repeats what recovery kept from there on; the header's end if there is none."""


def record_kinds(data: bytes) -> Iterator[int]:
    """Kinds of the records at the beginning of a file, as far as they look like records; no checksum is looked at."""
    at = 0
    while at + _HEAD.size <= len(data):
        magic, _, kind, length, _, _ = _HEAD.unpack_from(data, at)
        if magic != MAGIC:
            return
        yield kind
        at += FRAME_BYTES + length


def seed_of(directory_id: DirectoryId, segment: int, offset: int) -> int:
    """What the CRC of a group header or synced mark at this place starts from."""
    return crc32(_SEED.pack(directory_id, segment, offset))


def enclose(kind: int, at: EntryId, body: bytes | memoryview, chain: int) -> tuple[bytes, bytes, int]:
    """What stands before and behind the body of one record, and the record's CRC: a large body need not be copied."""
    head = _HEAD.pack(MAGIC, FORMAT_VERSION, kind, len(body), at.index, at.term)
    crc = crc32(body, crc32(head, chain))
    return head, _CRC.pack(crc), crc


def encode_frame(kind: int, at: EntryId, body: bytes, chain: int) -> tuple[bytes, int]:
    """One record, and its CRC."""
    head, tail, crc = enclose(kind, at, body, chain)
    return head + body + tail, crc


def read_length(head: bytes) -> int | None:
    """How long the body is that these first bytes of a record announce; None if they are not those of a record."""
    if len(head) < _HEAD.size:
        return None
    magic, _, _, length, _, _ = _HEAD.unpack_from(head)
    return int(length) if magic == MAGIC else None


def read_frame(data: bytes, at: int, end: int, chain: int) -> Frame | None:
    """The record at offset `at` that ends by `end` and chains to `chain`; None when there is none."""
    if end - at < FRAME_BYTES:
        return None
    magic, version, kind, length, index, term = _HEAD.unpack_from(data, at)
    if magic != MAGIC or length > end - at - FRAME_BYTES:
        return None
    body = at + _HEAD.size
    behind = body + length
    crc = crc32(memoryview(data)[at:behind], chain)
    if _CRC.unpack_from(data, behind)[0] != crc:
        return None
    return Frame(version, kind, index, term, data[body:behind], crc, behind + _CRC.size)


# -- marks and groups ---------------------------------------------------------------------------------------------


def encode_mark(
    directory_id: DirectoryId, at: Position, last: EntryId, *, kind: int = SYNCED_MARK
) -> tuple[bytes, int]:
    """A record that says: everything before `at` was synced before this was written. Returns it and its CRC."""
    return encode_frame(kind, last, _CHAIN.pack(at.chain), seed_of(directory_id, at.segment, at.offset))


def read_mark(data: bytes, at: int, end: int, directory_id: DirectoryId, segment: int) -> tuple[Frame, int] | None:
    """The group header or synced mark at this place, and the chain value that it says was before it; else None."""
    frame = read_frame(data, at, end, seed_of(directory_id, segment, at))
    if frame is None or frame.version != FORMAT_VERSION or frame.kind not in (GROUP_HEADER, SYNCED_MARK):
        return None
    if len(frame.body) != _CHAIN.size:
        return None
    return frame, _CHAIN.unpack(frame.body)[0]


def encode_group(
    directory_id: DirectoryId, at: Position, before: EntryId, after: EntryId, records: Sequence[LogRecord]
) -> tuple[bytes, int]:
    """A write group to stand at `at`, and the CRC of its trailer. `before`, `after`: the log's last entry."""
    header, chain = encode_mark(directory_id, at, before, kind=GROUP_HEADER)
    parts = [header]
    size, count = len(header), 0
    for kind, place, body in _bodies(records):
        framed, chain = encode_frame(kind, place, body, chain)
        parts.append(framed)
        size += len(framed)
        count += 1
    trailer, chain = encode_frame(GROUP_TRAILER, after, _TRAILER.pack(count, size), chain)
    parts.append(trailer)
    return b"".join(parts), chain


def is_trailer_of(frame: Frame, count: int, size: int) -> bool:
    """Whether this trailer closes a group of `count` records in `size` bytes."""
    return len(frame.body) == _TRAILER.size and _TRAILER.unpack(frame.body) == (count, size)


def _bodies(records: Sequence[LogRecord]) -> Iterable[tuple[int, EntryId, bytes]]:
    for record in records:
        match record:
            case Append(entries=entries):
                for entry in entries:
                    yield ENTRY, entry.id, encode_entry(entry)
            case HardState(term=term, voted_for=vote):
                yield HARD_STATE, EntryId(term, LogIndex(0)), _encode_vote(vote)
            case Truncate(from_index=index):
                yield TRUNCATION, EntryId(Term(0), index), b""
            case Reset(base=base):
                yield RESET, base, b""
            case Genesis():
                yield GENESIS, EntryId(Term(0), LogIndex(0)), encode_genesis(record)


def decode_record(frame: Frame) -> Entry | HardState | Truncate | Reset | Genesis:
    """What a record of a group says. Raises `ImpossibleRecord` for one that no version of this program wrote."""
    kind, body = frame.kind, frame.body
    _require_this_version(frame)
    try:
        if kind == ENTRY:
            entry = decode_entry(body)
            if entry.id.index != frame.entry_index or entry.id.term != frame.entry_term:
                raise ImpossibleRecord(f"entry {entry.id} framed as index {frame.entry_index}, term {frame.entry_term}")
            return entry
        if kind == HARD_STATE and frame.entry_index == 0:
            return HardState(term=Term(frame.entry_term), voted_for=_decode_vote(body))
        if kind == TRUNCATION and not body and frame.entry_term == 0:
            return Truncate(from_index=LogIndex(frame.entry_index))
        if kind == RESET and not body:
            return Reset(base=EntryId(Term(frame.entry_term), LogIndex(frame.entry_index)))
        if kind == GENESIS and frame.entry_index == frame.entry_term == 0:
            return decode_genesis(body)
    except CodecError as refusal:
        raise ImpossibleRecord(f"record of type {kind}: {refusal}") from refusal
    raise ImpossibleRecord(f"a record of type {kind} and of this form does not belong into a group")


def _require_this_version(frame: Frame) -> None:
    if frame.version != FORMAT_VERSION:
        raise ImpossibleRecord(f"a record of format {frame.version} in a file of format {FORMAT_VERSION}")


def _require_known_version(frame: Frame) -> None:
    """Of a segment header or IDENTITY, which a later version can still read when an earlier one wrote them."""
    if not 0 < frame.version <= FORMAT_VERSION:
        raise ImpossibleRecord(f"a file of format {frame.version}, and 1 to {FORMAT_VERSION} are known")


def _encode_vote(vote: DirectoryId | None) -> bytes:
    return _VOTE.pack(vote is not None, vote or b"")


def _decode_vote(body: bytes) -> DirectoryId | None:
    if len(body) != _VOTE.size:
        raise ImpossibleRecord("a vote of a form that is not known")
    return _vote(*_VOTE.unpack(body))


def _vote(voted: int, vote: bytes) -> DirectoryId | None:
    """Each vote has one form: 1 and a directory, or 0 and zeros."""
    if voted not in (0, 1) or (not voted and any(vote)):
        raise ImpossibleRecord("a vote of a form that is not known")
    return DirectoryId(vote) if voted else None


# -- segment header and identity ----------------------------------------------------------------------------------


def encode_segment_header(header: SegmentHeader) -> tuple[bytes, int]:
    """The first record of a file, and its CRC. Its length depends on the group's name alone."""
    identity, vote, continues = header.identity, header.hard_state.voted_for, header.continues
    name = encode_name(identity.group)
    body = _SEGMENT.pack(
        identity.directory_id,
        identity.member_id,
        header.start_count,
        header.number,
        header.hard_state.term,
        vote is not None,
        vote or b"",
        continues.segment,
        continues.offset,
        continues.chain,
        header.opening_end,
        len(name),
    )
    return encode_frame(SEGMENT_HEADER, header.before, body + name, 0)


def decode_segment_header(frame: Frame) -> SegmentHeader:
    """The reverse. Raises `ImpossibleRecord`; a newer version is the caller's to see first."""
    _require_known_version(frame)
    try:
        fields = _SEGMENT.unpack_from(frame.body)
        directory_id, member_id, start_count, number, term, voted, vote, *continues, opening_end, length = fields
        group = read_name(frame.body[_SEGMENT.size :], length)
    except (StructError, UnicodeDecodeError) as refusal:
        raise ImpossibleRecord("a segment header of a form that is not known") from refusal
    if not continues[0] < number <= SEGMENT_NUMBER_MAX:
        raise ImpossibleRecord(f"segment {number} that continues segment {continues[0]}")
    if not 0 < start_count <= START_COUNT_MAX:
        raise ImpossibleRecord(f"a segment of start {start_count}")
    return SegmentHeader(
        identity=Identity(directory_id=DirectoryId(directory_id), group=group, member_id=MemberId(member_id)),
        start_count=start_count,
        number=number,
        hard_state=HardState(term=Term(term), voted_for=_vote(voted, vote)),
        before=EntryId(Term(frame.entry_term), LogIndex(frame.entry_index)),
        continues=Position(*continues),
        opening_end=opening_end,
    )


def encode_identity(identity: Identity) -> bytes:
    """The whole content of the file IDENTITY."""
    name = encode_name(identity.group)
    body = _IDENTITY.pack(identity.directory_id, identity.member_id, len(name)) + name
    return encode_frame(IDENTITY, EntryId(Term(0), LogIndex(0)), body, 0)[0]


def decode_identity(frame: Frame) -> Identity:
    """The reverse. Raises `ImpossibleRecord`; a newer version is the caller's to see first."""
    _require_known_version(frame)
    try:
        directory_id, member_id, length = _IDENTITY.unpack_from(frame.body)
        group = read_name(frame.body[_IDENTITY.size :], length)
    except (StructError, UnicodeDecodeError) as refusal:
        raise ImpossibleRecord("an IDENTITY of a form that is not known") from refusal
    if frame.entry_index or frame.entry_term:
        raise ImpossibleRecord("an IDENTITY with a place in the log")
    return Identity(directory_id=DirectoryId(directory_id), group=group, member_id=MemberId(member_id))


def encode_name(group: str) -> bytes:
    """A group's name, as the headers of files end with it."""
    name = group.encode()
    assert 0 < len(name) <= GROUP_NAME_BYTES_MAX, f"a group's name of {len(name)} bytes should not have come this far"
    return name


def read_name(name: bytes, length: int) -> str:
    """The reverse; `length` is what the header announces. Raises `ImpossibleRecord` or UnicodeDecodeError."""
    if len(name) != length or not name:
        raise ImpossibleRecord(f"a group's name of {len(name)} bytes where {length} are announced")
    return name.decode()
