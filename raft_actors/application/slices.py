"""A state on its way between two processes: consecutive slices of one stream, each with its checksums.

Here:   what a slice says of itself, and how it is asked for; `StateSlicer`, which cuts what a state machine writes;
        `SliceWay`, when to do without the object store; `checked`, which gives back the right bytes alone.
Never:  the bytes' way (the Ray object store, a socket), files (raft_actors/storage), what the state means.

Three ways have the same slices: from an application to the peer that writes its snapshot down, from that peer's file to
a peer that lags, and from there to the application that goes on from it. Whoever receives asks, by offset, for one
slice after the other. So he alone decides how much is under way, an answer that is lost is asked for again, and one
that comes twice or late is told by its offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from raft_actors.application.packing import Codec, Malformed
from raft_actors.codec import CHUNK_BYTES_MAX
from raft_actors.core.types import DirectoryId, EntryId, LogIndex, Term

INLINE_BYTES_MAX: Final = 64 * 1024
"""Longest slice that travels within a Ray call. A longer answer would need the object store, which may be full."""
STEP_BYTES: Final = 256 * 1024
"""What one step gathers of a state, or a little more: about a millisecond."""
STEP_PIECES: Final = 500
"""The same for a state of many small pieces."""
LARGE_BYTES: Final = 64 * 1024
"""A piece of a state that is copied no more often than it must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Which bytes of which snapshot these are."""

    term: Term
    index: LogIndex
    """With `term` the last entry that the snapshot covers."""
    offset: int
    """Of the first byte in the whole state."""
    size: int
    """In bytes; 0 only at the end."""
    checksums: tuple[int, ...]
    """CRC-32 of each 4 MiB, the last one shorter."""
    ends: bool
    """Nothing follows."""

    @property
    def last(self) -> EntryId:
        """The last entry that the snapshot covers."""
        return EntryId(self.term, self.index)

    @property
    def behind(self) -> int:
        """Where the next slice begins."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRequest:
    """To a peer: the bytes of your snapshot from `offset` on."""

    cluster_id: bytes
    asker: DirectoryId
    """Who asks: a peer's directory, or 16 bytes that an application drew; a peer reads on where it was with each."""
    term: Term
    index: LogIndex
    offset: int
    bytes_max: int
    by_reference: bool
    """Through the object store, if it has room; otherwise within the call, at most INLINE_BYTES_MAX."""


INLINE_RUN: Final = 16
"""Slices within the call, after one that was lost behind its reference, before another is asked for by reference; twice
as many after each that is lost."""


class SliceWay:
    """How the next slice is asked for: by reference, unless one was lost lately. A reference is a cache."""

    __slots__ = ("_left", "_run")

    def __init__(self) -> None:
        self._left = 0
        self._run = INLINE_RUN

    @property
    def by_reference(self) -> bool:
        """Otherwise within the call, and at most INLINE_BYTES_MAX."""
        return self._left == 0

    def bytes_max(self, bytes_max: int) -> int:
        """How much to ask for, where so much would be good."""
        return bytes_max if self.by_reference else min(bytes_max, INLINE_BYTES_MAX)

    def arrived(self) -> None:
        """A slice came, this way or the other."""
        self._left = max(0, self._left - 1)

    def lost(self) -> None:
        """It did not: ask for some within the call, then try a reference again."""
        if self._left == 0:
            self._left, self._run = self._run, 2 * self._run


SLICE: Final[Codec[Slice]] = Codec(Slice, version=1)
SLICE_REQUEST: Final[Codec[SliceRequest]] = Codec(SliceRequest, version=1)


def describe(last: EntryId, offset: int, data: bytes | memoryview, *, ends: bool) -> Slice:
    """What goes with these bytes."""
    return Slice(
        term=last.term,
        index=last.index,
        offset=offset,
        size=len(data),
        checksums=tuple(crc32(piece) for piece in _cut(memoryview(data))),
        ends=ends,
    )


def checked(slice_: Slice, data: memoryview) -> Iterator[memoryview]:
    """The bytes, 4 MiB at a time, each after a look at its checksum. Raises `Malformed`."""
    if len(data) != slice_.size or len(slice_.checksums) != -(-slice_.size // CHUNK_BYTES_MAX):
        raise Malformed(f"{len(data)} bytes of a slice of {slice_.size} with {len(slice_.checksums)} checksums")
    for piece, checksum in zip(_cut(data), slice_.checksums, strict=True):
        if crc32(piece) != checksum:
            raise Malformed(f"a slice at offset {slice_.offset} whose checksum does not fit")
        yield piece


def _cut(data: memoryview) -> Iterator[memoryview]:
    return (data[at : at + CHUNK_BYTES_MAX] for at in range(0, len(data), CHUNK_BYTES_MAX))


class StateSlicer:
    """One state that is being read from its machine. The slice given last is kept: it may be asked for again."""

    def __init__(self, last: EntryId, pieces: Iterator[bytes]) -> None:
        """`last`: the entry after which the state is as `pieces` have it."""
        self.last: Final = last
        self._pieces = pieces
        self._gathered: list[bytes | bytearray | memoryview] = []
        self._gathered_bytes = 0
        self._exhausted = False
        self._kept: tuple[Slice, bytes] | None = None

    @property
    def offset(self) -> int:
        """Where the next slice begins."""
        return 0 if self._kept is None else self._kept[0].behind

    @property
    def gathered_bytes(self) -> int:
        """Of the next slice."""
        return self._gathered_bytes

    def gather(self, bytes_max: int) -> bool:
        """One short step towards a slice of `bytes_max`. True when there is one. Raises what the machine raises."""
        before = self._gathered_bytes
        for _ in range(STEP_PIECES):
            if self._exhausted or self._gathered_bytes >= bytes_max:
                return True
            if self._gathered_bytes - before >= STEP_BYTES:
                return False
            piece = next(self._pieces, None)
            if piece is None:
                self._exhausted = True
            else:
                self._add(piece)
        return self._exhausted or self._gathered_bytes >= bytes_max

    def _add(self, piece: bytes) -> None:
        """Large pieces are joined by `take`. Small ones are joined here, step by step: tens of thousands at once would
        stop all threads for longer than a loop may stall."""
        if len(piece) >= LARGE_BYTES:
            self._gathered.append(piece)
        else:
            tail = self._gathered[-1] if self._gathered else None
            if not isinstance(tail, bytearray):
                tail = bytearray()
                self._gathered.append(tail)
            tail += piece
        self._gathered_bytes += len(piece)

    def take(self, bytes_max: int) -> tuple[Slice, bytes]:
        """The slice that was gathered, of at most `bytes_max`; less, where gathering has not ended."""
        offset = self.offset
        rest = self._cut_off(bytes_max)
        data = b"".join(self._gathered)
        self._gathered, self._gathered_bytes = rest, sum(map(len, rest))
        self._kept = (describe(self.last, offset, data, ends=self._exhausted and not rest), data)
        return self._kept

    def _cut_off(self, bytes_max: int) -> list[bytes | bytearray | memoryview]:
        """What was gathered beyond so many bytes, taken from the end. Nothing is copied."""
        rest: list[bytes | bytearray | memoryview] = []
        beyond = self._gathered_bytes - bytes_max
        while beyond > 0:
            piece = self._gathered.pop()
            if len(piece) > beyond:
                at = len(piece) - beyond
                self._gathered.append(memoryview(piece)[:at])
                piece = memoryview(piece)[at:]
            rest.append(piece)
            beyond -= len(piece)
        return rest[::-1]

    def read(self, bytes_max: int) -> tuple[Slice, bytes]:
        """The next slice in one go, for whoever may wait for it."""
        while not self.gather(bytes_max):
            pass
        return self.take(bytes_max)

    def again(self, offset: int, bytes_max: int) -> tuple[Slice, bytes] | None:
        """What begins at `offset` of the slice given last, or None where it does not lie there.

        It may be asked for in smaller parts than it was given in: those travel another way.
        """
        if self._kept is None:
            return None
        kept, data = self._kept
        if not (kept.offset <= offset < kept.behind or (kept.ends and offset == kept.behind)):
            return None
        part = data[offset - kept.offset :][:bytes_max]
        return describe(self.last, offset, part, ends=kept.ends and offset + len(part) == kept.behind), part
