"""Snapshot files as the snapshot daemon writes them: what it is ordered to do, and what it reports.

Here:   the orders, the reports, `SnapshotFiler`, which does one after the other and may take long.
Never:  when a snapshot is taken or given up (snapshots.py), what is in a file (raft_actors/storage).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from raft_actors.application.packing import Malformed
from raft_actors.application.slices import Slice, checked
from raft_actors.core.entries import SnapshotMeta
from raft_actors.errors import SnapshotFailed
from raft_actors.storage.interface import SnapshotSink, Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSlice:
    """Write these bytes behind those before; the first slice of a job begins its file. Ends as WRITTEN or ENDED."""

    job: int
    meta: SnapshotMeta
    slice_: Slice
    data: memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class NameSnapshot:
    """All of it is written, and what its name has to wait for is durable. Ends as NAMED or ENDED."""

    job: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AbandonSnapshot:
    """Leave nothing of it behind. Ends as ENDED."""

    job: int


class Step(Enum):
    """How far a job's file is."""

    WRITTEN = "written"
    """One more slice is in the file."""
    NAMED = "named"
    """It is durable, and the newest one."""
    ENDED = "ended"
    """There is no such file; no order of this job does anything any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """What became of an order."""

    job: int
    step: Step
    why: str = ""
    """Of ENDED, where the file could not be written."""


FilingOrder: TypeAlias = StoreSlice | NameSnapshot | AbandonSnapshot


class SnapshotFiler:
    """Used by the snapshot daemon alone. One file at a time; jobs come with rising numbers."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._job = 0
        self._sink: SnapshotSink | None = None
        """Of `_job`; None: not begun, or over."""

    def do(self, order: FilingOrder) -> Filed:
        """Do it. An order of a job that is over ends as ENDED, again."""
        try:
            match order:
                case StoreSlice():
                    return self._store(order)
                case NameSnapshot(job=job):
                    if self._sink is None or job != self._job:
                        return Filed(job=job, step=Step.ENDED)
                    self._sink.commit()
                    self._sink = None
                    return Filed(job=job, step=Step.NAMED)
                case AbandonSnapshot(job=job):
                    self._job = max(self._job, job)
                    self.abandon()
                    return Filed(job=job, step=Step.ENDED)
        except (SnapshotFailed, Malformed) as failure:
            self.abandon()
            return Filed(job=order.job, step=Step.ENDED, why=str(failure))

    def abandon(self) -> None:
        """Whatever is under way is over. Before the storage is closed."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.abandon()

    def _store(self, order: StoreSlice) -> Filed:
        if order.job > self._job:
            self.abandon()
            self._job = order.job
            self._sink = self._storage.begin_snapshot(order.meta)
        if self._sink is None or order.job != self._job:
            return Filed(job=order.job, step=Step.ENDED)
        for piece in checked(order.slice_, order.data):
            self._sink.write(piece)
        return Filed(job=order.job, step=Step.WRITTEN)
