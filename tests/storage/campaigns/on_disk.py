"""The decoders of a data directory: single records, marks, IDENTITY, headers, and the recovery of whole files.

Here:   `ON_DISK`, and `sealed`, which gives changed records good checksums.
Never:  damage and crashes (damage.py, crashes.py): those break checksums. Here the checksum holds and the content lies,
        as no disk would and a program of another version, or an attacker, might.
"""

from __future__ import annotations

import struct
from functools import cache, partial
from typing import Any, Final
from zlib import crc32

from raft_actors.core.effects import Append
from raft_actors.core.entries import Entry
from raft_actors.core.types import DirectoryId, EntryId, LogIndex, Term
from raft_actors.errors import ForeignDirectory, LogDamaged, NewerFormat
from raft_actors.storage import records, snapshots
from raft_actors.storage.directory import SEGMENT_SUFFIX, SNAPSHOT_SUFFIX
from raft_actors.storage.image import ImpossibleRecord, LogRecord
from raft_actors.storage.interface import Recovered
from raft_actors.storage.records import Frame, Identity, Position, SegmentHeader
from raft_actors.storage.snapshot_records import SnapshotHeader
from tests.storage.campaigns.found import expect
from tests.storage.campaigns.oracle import Model
from tests.storage.campaigns.target import Decoder
from tests.storage.campaigns.workload import open_storage
from tests.storage.faulty_files import FaultyFiles
from tests.storage.logs import (
    CONFIGURATION,
    GENESIS,
    GROUP,
    MEMBER,
    OTHER,
    append,
    command,
    entry,
    meta,
    reset,
    take_snapshot,
    truncate,
    vote,
)

HEAD: Final = struct.Struct("<2sBBIQQ")
"""docs/FORMATS.md once more: magic, version, type, length, index, term."""
CRC: Final = struct.Struct("<I")
MARKS: Final = (2, 4)
SEGMENT_BYTES_MAX: Final = 600
DIRECTORY: Final = DirectoryId(bytes(range(16)))
PLACE: Final = Position(3, 1000, 77)
IDENTITY: Final = Identity(directory_id=DIRECTORY, group=GROUP, member_id=MEMBER)
REFUSALS: Final = (LogDamaged, NewerFormat, ForeignDirectory)


class NoRecord(Exception):
    """The frame does not hold; the caller decides what that means."""


# -- good checksums -----------------------------------------------------------------------------------------------


def sealed(data: bytes, *, directory_id: bytes = DIRECTORY, segment: int = PLACE.segment, base: int = 0) -> bytes:
    """The same bytes, cut into records as their lengths say, each with the checksum that belongs there.

    `base` is the offset in the file at which `data` begins. What follows the last whole record stays as it is.
    """
    out = bytearray(data)
    at, chain = 0, 0
    while len(out) - at >= HEAD.size + CRC.size:
        _, _, kind, length, _, _ = HEAD.unpack_from(out, at)
        behind = at + HEAD.size + length
        if behind + CRC.size > len(out):
            break
        if kind in MARKS:
            if length == CRC.size:
                CRC.pack_into(out, behind - CRC.size, chain)  # the chain value before the mark is a checksum too
            chain = crc32(struct.pack("<16sIQ", directory_id, segment, base + at))
        chain = crc32(out[at:behind], chain)
        CRC.pack_into(out, behind, chain)
        at = behind + CRC.size
    return bytes(out)


# -- single records -----------------------------------------------------------------------------------------------


def _alone(data: bytes) -> Frame:
    frame = records.read_frame(data, 0, len(data), 0)
    if frame is None or frame.behind != len(data):
        raise NoRecord
    return frame


def _decode_record(data: bytes) -> LogRecord | Entry:
    return records.decode_record(_alone(data))


def _encode_record(value: LogRecord | Entry) -> bytes:
    (kind, place, body), *rest = records._bodies([Append(entries=(value,)) if isinstance(value, Entry) else value])
    assert not rest, "one value is one record"
    return records.encode_frame(kind, place, body, 0)[0]


def _of_kind(data: bytes, kind: int) -> Frame:
    frame = _alone(data)
    if frame.kind != kind:
        raise NoRecord  # the callers ask that first
    return frame


def _decode_mark(data: bytes) -> tuple[Frame, int]:
    found = records.read_mark(bytes(PLACE.offset) + data, PLACE.offset, PLACE.offset + len(data), DIRECTORY, 3)
    if found is None or found[0].behind != PLACE.offset + len(data):
        raise NoRecord
    return found


def _encode_mark(found: tuple[Frame, int]) -> bytes:
    frame, chain = found
    last = EntryId(Term(frame.entry_term), LogIndex(frame.entry_index))
    return records.encode_mark(DIRECTORY, PLACE._replace(chain=chain), last, kind=frame.kind)[0]


def _header(**changes: Any) -> bytes:
    facts: dict[str, Any] = {
        "identity": IDENTITY,
        "start_count": 4,
        "number": 3,
        "hard_state": vote(5, OTHER),
        "before": EntryId(Term(5), LogIndex(9)),
        "continues": Position(2, 1200, 0xDEAD),
        "opening_end": 300,
    }
    return records.encode_segment_header(SegmentHeader(**{**facts, **changes}))[0]


# -- whole files --------------------------------------------------------------------------------------------------


@cache
def directory() -> FaultyFiles:
    """A directory with two files of a log, the first of which the second continues, and a snapshot."""
    files = FaultyFiles(seed=5)
    storage = open_storage(files, SEGMENT_BYTES_MAX)
    storage.write_genesis(GENESIS)
    storage.write([vote(1, OTHER), append(entry(1, 1), command(1, 2))])
    storage.mark_synced()
    storage.write([append(command(1, 3, 90), entry(1, 4, CONFIGURATION))])
    storage.write([truncate(4), vote(2), append(command(2, 4))])
    storage.write([append(command(2, 5))])
    files.kill()
    storage = open_storage(files, SEGMENT_BYTES_MAX)
    storage.write([append(command(2, 6), command(2, 7, 400))])
    take_snapshot(storage, 2, 6, b"a piece of state", bytes(100))
    files.kill()
    return files


def names() -> list[str]:
    return sorted(name for name in directory().cached_names if name.endswith((SEGMENT_SUFFIX, SNAPSHOT_SUFFIX)))


def recover(data: bytes, *, name: str) -> Recovered:
    """What a start makes of the directory with this file in place of the good one; the next start must agree."""
    image = directory().copy()
    image.cached_names[name].cache = bytearray(data)
    try:
        found = open_storage(image, SEGMENT_BYTES_MAX).recovered
    except REFUSALS:
        expect(not image.descriptors, "a refusal holds something open", name)
        raise
    terms = [found.base.term, *(each.id.term for each in found.entries)]
    indexes = [found.base.index, *(each.id.index for each in found.entries)]
    expect(indexes == list(range(indexes[0], indexes[0] + len(terms))), "indexes with gaps", name)
    expect(terms == sorted(terms), "terms that fall", name)
    covered = 0 if found.snapshot is None else found.snapshot.last.index
    expect(indexes[0] <= covered <= indexes[-1], "a log that does not continue its snapshot", name)
    image.kill()
    again = open_storage(image, SEGMENT_BYTES_MAX).recovered
    expect(Model.of(again) == Model.of(found), "the next start finds something else", name)
    return found


def _recovery(name: str) -> Decoder:
    files = directory()
    directory_id = records.decode_identity(_alone(bytes(files.cached_names["IDENTITY"].cache))).directory_id
    return Decoder(
        name=f"recovery of {name}",
        decode=partial(recover, name=name),
        samples=(bytes(files.cached_names[name].cache),),
        errors=REFUSALS,
        seal=partial(sealed, directory_id=directory_id, segment=int(name[4:12])),
    )


ON_DISK: Final[tuple[Decoder, ...]] = (
    Decoder(
        name="record of a group",
        decode=_decode_record,
        samples=tuple(
            map(
                _encode_record,
                (
                    GENESIS,
                    vote(7),
                    vote(8, OTHER),
                    command(3, 4),
                    entry(1, 1),
                    entry(2, 9, CONFIGURATION),
                    truncate(5),
                    reset(3, 8),
                ),
            )
        ),
        errors=(NoRecord, ImpossibleRecord),
        encode=_encode_record,
        exact=True,
        seal=sealed,
    ),
    Decoder(
        name="mark",
        decode=_decode_mark,
        samples=tuple(
            records.encode_mark(DIRECTORY, PLACE, EntryId(Term(2), LogIndex(3)), kind=kind)[0] for kind in MARKS
        ),
        errors=(NoRecord,),
        encode=_encode_mark,
        exact=True,
        seal=partial(sealed, base=PLACE.offset),
    ),
    Decoder(
        name="segment header",
        decode=lambda data: records.decode_segment_header(_of_kind(data, records.SEGMENT_HEADER)),
        samples=(_header(), _header(hard_state=vote(0), before=EntryId(Term(0), LogIndex(0)))),
        errors=(NoRecord, ImpossibleRecord),
        encode=lambda header: records.encode_segment_header(header)[0],
        exact=True,
        seal=sealed,
    ),
    Decoder(
        name="identity",
        decode=lambda data: records.decode_identity(_of_kind(data, records.IDENTITY)),
        samples=(records.encode_identity(IDENTITY),),
        errors=(NoRecord, ImpossibleRecord),
        encode=records.encode_identity,
        exact=True,
        seal=sealed,
    ),
    Decoder(
        name="snapshot header",
        decode=lambda data: snapshots.decode_header(_of_kind(data, records.SNAPSHOT_HEADER)),
        samples=(snapshots.encode_header(SnapshotHeader(identity=IDENTITY, genesis=GENESIS, meta=meta(3, 8)))[0],),
        errors=(NoRecord, ImpossibleRecord),
        encode=lambda header: snapshots.encode_header(header)[0],
        exact=True,
        seal=sealed,
    ),
    *map(_recovery, names()),
)
