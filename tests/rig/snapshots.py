"""The snapshots of one member of a pumped group: its files, and slices on their way out of them and in.

Here:   `Snapshots`.
Never:  when anything happens (member.py, world.py), what must be true (tests/sim/checks).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from raft_actors.application.exchange import Restore
from raft_actors.application.pipe import decode_slice, encode_slice
from raft_actors.application.slices import SLICE_REQUEST, SliceRequest, checked
from raft_actors.core.entries import SnapshotMeta
from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId
from raft_actors.peer.clock import Clock
from raft_actors.peer.engine import Engine
from raft_actors.peer.filing import FilingOrder, NameSnapshot, SnapshotFiler, Step, StoreSlice
from raft_actors.peer.shelf import SnapshotShelf
from raft_actors.storage.interface import Storage
from tests.rig.application import Application
from tests.sim.checks import Checks

RESTORE_BYTES: Final = 100
"""Of a slice that an application reads, so that there are several."""
GONE: Final = b""
"""Answers a read of a snapshot that is not there."""


class Snapshots:
    """Of one process."""

    def __init__(self, storage: Storage, clock: Clock, checks: Checks) -> None:
        self._directory_id = storage.recovered.incarnation.directory_id
        self._clock = clock
        self._checks = checks
        self._filer, self._shelf = SnapshotFiler(storage), SnapshotShelf(storage.open_snapshot, clock)
        self._unnamed: dict[int, tuple[SnapshotMeta, list[bytes]]] = {}
        """By job: what its file holds so far."""

    def do(self, order: FilingOrder) -> Callable[[Engine], None]:
        """One order of the engine; what that is to be told afterwards."""
        filed = self._filer.do(order)
        if isinstance(order, StoreSlice) and filed.step is Step.WRITTEN:
            self._unnamed.setdefault(order.job, (order.meta, []))[1].append(bytes(order.data))
        elif filed.step is not Step.WRITTEN:
            unnamed = self._unnamed.pop(order.job, None)
            if unnamed is not None and isinstance(order, NameSnapshot):
                meta, pieces = unnamed
                if filed.step is Step.NAMED:
                    self._checks.named(self._directory_id, meta, pieces)
                else:
                    self._checks.maybe_named(self._directory_id, meta)
        return lambda engine: engine.filed(filed)

    def read(self, data: bytes) -> bytes:
        """Another peer asks for a slice of a snapshot of ours, or our application does."""
        request = SLICE_REQUEST.decode(data)
        found = self._shelf.read(request, request.bytes_max)
        return GONE if found is None else encode_slice(*found)

    def fetched(self, job: int, data: bytes | None) -> Callable[[Engine], None]:
        """What another peer answered to a read of its snapshot; None: nothing."""
        now_ms = self._clock.now_ms()
        if data is None:
            return lambda engine: engine.snapshots.slice_lost(job, now_ms)
        if data == GONE:
            return lambda engine: engine.snapshots.slice_refused(job, "the snapshot is gone", now_ms)
        slice_, piece = decode_slice(data)
        return lambda engine: engine.snapshots.slice_arrived(job, slice_, piece, now_ms)

    def restored(self, news: Restore) -> Application:
        """A new application, from the snapshot that its peer names."""
        state: list[bytes] = []
        behind, ends = 0, False
        while not ends:
            request = SliceRequest(
                cluster_id=news.cluster_id,
                asker=DirectoryId(bytes(DIRECTORY_ID_BYTES)),
                term=news.term,
                index=news.index,
                offset=behind,
                bytes_max=RESTORE_BYTES,
                by_reference=True,
            )
            slice_, data = decode_slice(self.read(SLICE_REQUEST.encode(request)))
            state += [bytes(piece) for piece in checked(slice_, data)]
            behind, ends = slice_.behind, slice_.ends
        application = Application(news.settings, state)
        application.cluster_id = news.cluster_id
        return application
