"""Segment files of the log: their names, their headers, and which of them a compaction leaves.

Here:   finding, naming and loading the files; `first_needed`.
Never:  what their records add up to (recovery.py), writing them (wal.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from raft_actors.core.types import EntryId, LogIndex
from raft_actors.storage.directory import SEGMENT_SUFFIX, DataDirectory
from raft_actors.storage.files import READ, read_all
from raft_actors.storage.image import ImpossibleRecord
from raft_actors.storage.records import (
    FORMAT_VERSION,
    SEGMENT_HEADER,
    SEGMENT_HEADER_BYTES_MAX,
    SEGMENT_NUMBER_MAX,
    SegmentHeader,
    decode_segment_header,
    read_frame,
)
from raft_actors.storage.refusals import damaged, foreign, newer_format

_SEGMENT_NAME: Final = re.compile(r"log-(\d{8})\.seg", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A file of the log, as it was read."""

    name: str
    number: int
    size: int
    """Bytes of the file; `data` may hold only the first of them."""
    data: bytes
    header: SegmentHeader | None
    """None: the file does not begin with a whole header."""
    header_end: int
    header_chain: int


@dataclass(slots=True, kw_only=True)
class LogFile:
    """What a compaction has to know of a file that counts."""

    number: int
    size: int
    """Bytes; 0 of the file that is being written."""
    before: EntryId
    """The entry before its first record."""


def first_needed(files: Sequence[LogFile], to: LogIndex) -> int:
    """Position of the newest file that begins at or below `to`: before it nothing is that a snapshot of `to` has not.

    0 when no file can go.
    """
    return next((at for at in range(len(files) - 1, 0, -1) if files[at].before.index <= to), 0)


def segment_name(number: int) -> str:
    """File name of a segment."""
    assert 0 < number <= SEGMENT_NUMBER_MAX, f"segment numbers ran out: {number}"
    return f"log-{number:08d}{SEGMENT_SUFFIX}"


def segment_numbers(directory: DataDirectory) -> list[int]:
    """Numbers of all segment files, rising, whatever is in them. Raises OSError."""
    names = directory.files.list_names(directory.descriptor)
    return sorted(int(match[1]) for match in map(_SEGMENT_NAME.fullmatch, names) if match and int(match[1]) > 0)


def load_segment(directory: DataDirectory, number: int, size_max: int | None = None) -> Segment:
    """Read a file, or its first bytes. Raises when a whole header says that the file is not ours to read."""
    name = segment_name(number)
    descriptor = directory.open(name, READ)
    try:
        size = directory.files.fstat(descriptor).size
        data = read_all(directory.files, descriptor, size if size_max is None else min(size, size_max))
    finally:
        directory.files.close(descriptor)
    frame = read_frame(data, 0, min(len(data), SEGMENT_HEADER_BYTES_MAX), 0)
    if frame is None or frame.kind != SEGMENT_HEADER:
        return Segment(name=name, number=number, size=size, data=data, header=None, header_end=0, header_chain=0)
    if frame.version > FORMAT_VERSION:
        raise newer_format(directory, name, frame.version)
    try:
        header = decode_segment_header(frame)
    except ImpossibleRecord as refusal:
        raise damaged(directory, name, 0, 0, str(refusal)) from refusal
    if header.identity != directory.identity:
        raise foreign(directory, name, header.identity.member_id, header.identity.group)
    if header.number != number:
        raise damaged(directory, name, 0, 0, f"this is segment {header.number} under another name")
    return Segment(
        name=name,
        number=number,
        size=size,
        data=data,
        header=header,
        header_end=frame.behind,
        header_chain=frame.chain,
    )
