"""A peer's disk daemon in simulated time: write groups one after the other, and the mark behind the last one.

Here:   `DiskDaemon`: what has gathered makes one group, it takes as long as the disk takes, the engine hears of it.
Never:  what a storage does with a group (raft_actors/storage), what a crash leaves of one under way (disks.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raft_actors.core.effects import Persist, Record
from raft_actors.errors import StorageFailed

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
        self._waiting: list[Persist] = []
        self._marked = True

    def write(self, persist: Persist) -> None:
        """As soon as the group before is durable."""
        self._waiting.append(persist)
        if self.writing is None:
            self._begin()

    def _begin(self) -> None:
        """What has gathered makes one group, as in the product's disk daemon."""
        gathered, self._waiting = self._waiting, []
        self.writing = [record for persist in gathered for record in persist.records]
        options, dice = self._world.options, self._world.dice
        if self._member.stalled or (options.stall_probability and dice.random() < options.stall_probability):
            least, most = options.stall_us
        else:
            least, most = options.disk_us
        delay_us = least + int(dice.random() * (most - least))
        self._timeline.after(delay_us, self._process, self._written, gathered[-1].seq)

    def _written(self, seq: Any) -> None:
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
        log_bytes = process.storage.log_bytes
        inbox_us = self._world.options.inbox_us[1]
        if inbox_us:
            self._timeline.after(int(self._world.dice.random() * inbox_us), process, self._hear, seq, log_bytes)
        else:
            self._hear(seq, log_bytes)
        if self._waiting and self.writing is None:
            self._begin()
        elif self._member.disk.is_files:
            self._timeline.after(self._world.options.idle_mark_ms * 1000, process, self._mark)

    def _hear(self, seq: Any, log_bytes: int) -> None:
        engine = self._process.engine
        if seq <= engine.state.durable_seq:
            return  # a later one was heard of first
        self.tells_durable = True
        engine.written(seq, log_bytes)
        self.tells_durable = False

    def _mark(self) -> None:
        if self.writing is None and not self._marked:
            self._marked = True
            try:
                self._process.storage.mark_synced()
            except StorageFailed:
                self._member.disk_failed()
