"""A peer's disk daemon in simulated time: write groups one after the other, and the mark behind the last one.

Here:   `DiskDaemon`: what has gathered makes one group, it takes as long as the disk takes, the engine hears of it;
        compactions, each in its turn.
Never:  what a storage does with a group (raft_actors/storage), what a crash leaves of one under way (disks.py).
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from raft_actors.core.effects import Compact, Persist, Record
from raft_actors.core.types import LogIndex, WriteSeq
from raft_actors.errors import StorageFailed
from tests.sim.steps import Step

if TYPE_CHECKING:
    from tests.sim.peer import PeerProcess


class DiskDaemon:
    """Of one process."""

    def __init__(self, process: PeerProcess) -> None:
        self.writing: list[Record] | None = None
        """On its way to the disk."""
        self.tells_durable = False
        """What leaves now, leaves because a write is durable."""
        self._process = process
        self._member = process.member
        self._world = process.member.world
        self._timeline = self._world.timeline
        self._waiting: list[Persist | Compact] = []
        self._compacting: LogIndex | None = None
        """A compaction is under way, up to there."""
        self._marked = True

    def write(self, persist: Persist) -> None:
        """As soon as the group before is durable."""
        self._put(persist)

    def compact(self, to: LogIndex) -> None:
        """Behind the writes before."""
        self._put(Compact(to=to))

    def finish(self) -> None:
        """Do what is under way, or as much of it as the disk lets happen: the process ends."""
        if self.writing is not None:
            self._process.storage.write(self.writing)
        elif self._compacting is not None:
            self._process.storage.compact(self._compacting)

    @property
    def _is_busy(self) -> bool:
        return self.writing is not None or self._compacting is not None

    def _put(self, work: Persist | Compact) -> None:
        self._waiting.append(work)
        if not self._is_busy:
            self._begin()

    def _begin(self) -> None:
        """What has gathered makes one group, as in the product's disk daemon; a compaction waits for its turn."""
        first, delay_us = self._waiting[0], self._process.disk_us(self._world.options.disk_us)
        if isinstance(first, Compact):
            del self._waiting[0]
            self._compacting = first.to
            self._timeline.after(delay_us, self._process, self._compacted)
            self._world.snapshot_step(Step.COMPACTING, self._member)
            return
        group = list(takewhile(_is_write, self._waiting))
        del self._waiting[: len(group)]
        self.writing = [record for persist in group if isinstance(persist, Persist) for record in persist.records]
        last = group[-1]
        assert isinstance(last, Persist), "a compaction within a group"
        self._timeline.after(delay_us, self._process, self._written, last.seq)

    def _written(self, seq: WriteSeq) -> None:
        records, process = self.writing, self._process
        assert records is not None, "a write ended that had not begun"
        try:
            process.storage.write(records)
        except StorageFailed:
            self._member.disk_failed()
            return
        self.writing, self._marked = None, False
        self._world.checks.wrote(process.engine.state.directory_id, records)
        self._world.watch.wrote(records)
        process.hears(self._hear, seq, process.storage.log_bytes)
        if not self._next() and self._member.disk.is_files:
            self._timeline.after(self._world.options.idle_mark_ms * 1000, process, self._mark)

    def _compacted(self) -> None:
        to, process = self._compacting, self._process
        assert to is not None, "a compaction ended that had not begun"
        process.storage.compact(to)
        self._compacting = None
        self._world.checks.compacted(process.engine.state.directory_id, to)
        self._world.watch.count("log compacted")
        self._world.snapshot_step(Step.COMPACTED, self._member)
        process.hears(process.engine.compacted, process.storage.log_bytes)
        self._next()

    def _next(self) -> bool:
        """Go on with what waits. False: nothing does."""
        if self._waiting and not self._is_busy:
            self._begin()
        return self._is_busy

    def _hear(self, seq: WriteSeq, log_bytes: int) -> None:
        engine = self._process.engine
        self.tells_durable = True
        engine.written(seq, log_bytes)
        self.tells_durable = False

    def _mark(self) -> None:
        if not self._is_busy and not self._marked:
            self._marked = True
            try:
                self._process.storage.mark_synced()
            except StorageFailed:
                self._member.disk_failed()


def _is_write(work: Persist | Compact) -> bool:
    return isinstance(work, Persist)
