"""What the disk and snapshot daemons do: the log's writes, and beside them the files of snapshots.

Here:   `Disk`: two loops, each the body of a daemon.
Never:  what is written when (engine.py), how (raft_actors/storage).
"""

from __future__ import annotations

import queue
import threading
from functools import partial
from typing import Final

from raft_actors.core.effects import Compact, Persist
from raft_actors.core.types import WriteSeq
from raft_actors.peer.engine import Engine
from raft_actors.peer.filing import Filed, SnapshotFiler
from raft_actors.peer.perform import Queues
from raft_actors.peer.shelf import SnapshotShelf
from raft_actors.storage.interface import Storage

IDLE_S: Final = 0.1
"""How long an idle daemon sleeps at most."""


class Disk:
    """Of one running peer."""

    def __init__(self, storage: Storage, queues: Queues, shelf: SnapshotShelf, *, idle_mark_ms: int) -> None:
        self._idle_mark_s = idle_mark_ms / 1000
        self._storage = storage
        self._queues = queues
        self._shelf = shelf

    def write(self, stop: threading.Event) -> None:
        """Bring writes to the disk in order; what has gathered meanwhile makes one group with one sync."""
        marked = True
        while True:
            writes = self._take_writes(IDLE_S if marked and not stop.is_set() else min(IDLE_S, self._idle_mark_s))
            if writes:
                marked = not self._work_on(writes) and marked
            elif not marked:
                self._storage.mark_synced()
                marked = True
            if stop.is_set() and not writes:
                return

    def file(self, stop: threading.Event) -> None:
        """Write snapshots down, slice by slice."""
        filer = SnapshotFiler(self._storage)
        try:
            while not stop.is_set():
                try:
                    order = self._queues.files.get(timeout=IDLE_S)
                except queue.Empty:
                    self._shelf.sweep()
                    continue
                self._queues.inbox.put(partial(_filed, filer.do(order)))
                del order  # it holds a slice, in shared memory
        finally:
            filer.abandon()

    def _take_writes(self, timeout_s: float) -> list[Persist | Compact]:
        try:
            writes = [self._queues.writes.get(timeout=timeout_s)]
        except queue.Empty:
            return []
        while True:
            try:
                writes.append(self._queues.writes.get_nowait())
            except queue.Empty:
                return writes

    def _work_on(self, writes: list[Persist | Compact]) -> bool:
        """One group, or one before and one behind each compaction. Whether anything was written."""
        group: list[Persist] = []
        for each in writes:
            if isinstance(each, Persist):
                group.append(each)
            else:
                self._write_group(group)
                group = []
                self._storage.compact(each.to)
                self._queues.inbox.put(partial(_compacted, self._storage.log_bytes))
        self._write_group(group)
        return any(isinstance(each, Persist) for each in writes)

    def _write_group(self, group: list[Persist]) -> None:
        if group:
            self._storage.write([record for write in group for record in write.records])
            self._queues.inbox.put_and_work(partial(_written, group[-1].seq, self._storage.log_bytes))


def _written(seq: WriteSeq, log_bytes: int, engine: Engine) -> None:
    engine.written(seq, log_bytes)


def _compacted(log_bytes: int, engine: Engine) -> None:
    engine.compacted(log_bytes)


def _filed(filed: Filed, engine: Engine) -> None:
    engine.filed(filed)
