"""This member's snapshots, read slice by slice by peers that lag and by its own application.

Here:   `SnapshotShelf`: one place in one file for each who reads.
Never:  when a snapshot is offered (core), what a file is like (raft_actors/storage), where the bytes go (actor.py).

The file is the truth. What is put into the object store is a copy of one slice, and may be lost at any time; then the
same slice is asked for again, and is kept here for that. So a process holds a slice of the state for each reader, never
the state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from raft_actors.application.slices import Slice, SliceRequest, StateSlicer
from raft_actors.codec import CHUNK_BYTES_MAX
from raft_actors.core.types import DirectoryId, EntryId, LogIndex
from raft_actors.errors import SnapshotGone
from raft_actors.peer.clock import Clock
from raft_actors.storage.interface import SnapshotSource

READERS_MAX: Final = 8
"""Files open at a time; who has not read for longest loses his place, and begins anew."""
IDLE_MS_MAX: Final = 30_000
"""A reader who asks for nothing for so long is gone."""


@dataclass(slots=True)
class _Reading:
    source: SnapshotSource
    slicer: StateSlicer
    read_ms: int

    def at(self, offset: int, bytes_max: int, clock: Clock) -> tuple[Slice, bytes] | None:
        """The slice that begins there; None: it lies before what is kept, or is not reached yet."""
        self.read_ms = clock.now_ms()
        found = self.slicer.again(offset, bytes_max)
        if found is None and offset == self.slicer.offset:
            found = self.slicer.read(bytes_max)
        return found


class SnapshotShelf:
    """Any thread may read; one does at a time."""

    def __init__(self, open_snapshot: Callable[[LogIndex], SnapshotSource], clock: Clock) -> None:
        self._open = open_snapshot
        self._clock = clock
        self._readings: dict[DirectoryId, _Reading] = {}
        """Who reads what, whoever read last behind the others."""
        self._closed = False
        self._lock = threading.Lock()
        """Held while a slice is read: some milliseconds, longer for who begins in the middle or on a slow disk. Other
        readers wait for it; `sweep` does not, and `close` only so long."""

    def read(self, request: SliceRequest, bytes_max: int) -> tuple[Slice, bytes] | None:
        """The slice that was asked for, of at most `bytes_max`; None when that snapshot is not there any more.

        Raises `SnapshotDamaged`, or OSError from the disk.
        """
        last, offset = EntryId(request.term, request.index), request.offset
        with self._lock:
            if self._closed:
                return None
            try:
                return self._read(request.asker, last, offset, bytes_max)
            except BaseException:
                if request.asker in self._readings:
                    self._close(request.asker)  # what is left of a stream that broke looks like its end
                raise

    def sweep(self) -> None:
        """Close what nobody reads any more. To be called now and then."""
        if not self._lock.acquire(blocking=False):
            return  # somebody reads; another time
        try:
            now_ms = self._clock.now_ms()
            idle = [asker for asker, each in self._readings.items() if now_ms - each.read_ms >= IDLE_MS_MAX]
            for asker in idle:
                self._close(asker)
        finally:
            self._lock.release()

    def close(self, timeout_s: float) -> None:
        """No more reading. A reader whose disk hangs is left behind; it ends with the process."""
        self._closed = True  # seen by who reads
        if self._lock.acquire(timeout=max(0.0, timeout_s)):
            try:
                for asker in tuple(self._readings):
                    self._close(asker)
            finally:
                self._lock.release()

    def _read(self, asker: DirectoryId, last: EntryId, offset: int, bytes_max: int) -> tuple[Slice, bytes] | None:
        reading = self._readings.pop(asker, None)
        if reading is not None:
            self._readings[asker] = reading  # behind the others
            if reading.slicer.last == last and (found := reading.at(offset, bytes_max, self._clock)):
                return found
            self._close(asker)
        if not self._begin(asker, last, offset):
            return None
        return self._readings[asker].at(offset, bytes_max, self._clock)

    def _begin(self, asker: DirectoryId, last: EntryId, offset: int) -> bool:
        """Open the file, and pass over what lies before `offset`. False where there is no such snapshot."""
        try:
            source = self._open(last.index)
        except SnapshotGone:
            return False
        reading = self._readings[asker] = _Reading(source, StateSlicer(last, source.chunks()), self._clock.now_ms())
        while len(self._readings) > READERS_MAX:
            self._close(next(iter(self._readings)))
        if source.meta.last != last:
            self._close(asker)
            return False
        ends = False
        while reading.slicer.offset < offset and not ends and not self._closed:
            ends = reading.slicer.read(min(offset - reading.slicer.offset, CHUNK_BYTES_MAX))[0].ends
        return True

    def _close(self, asker: DirectoryId) -> None:
        self._readings.pop(asker).source.close()
