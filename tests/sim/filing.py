"""A peer's snapshot daemon in simulated time: one order after the other, beside the log's disk daemon.

Here:   `FilingDaemon`: an order takes as long as a write takes, the checks hear what was named, then the engine does.
Never:  what an order does (raft_actors/peer/filing.py), what a crash leaves of one under way (disks.py).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from raft_actors.core.entries import SnapshotMeta
from raft_actors.peer.filing import AbandonSnapshot, FilingOrder, NameSnapshot, SnapshotFiler, StoreSlice
from raft_actors.peer.filing import Step as FiledStep
from tests.sim.steps import Step

if TYPE_CHECKING:
    from tests.sim.peer import PeerProcess


class FilingDaemon:
    """Of one process."""

    def __init__(self, process: PeerProcess) -> None:
        self._process = process
        self._world = process.member.world
        self._filer = SnapshotFiler(process.storage)
        self._doing: FilingOrder | None = None
        self._waiting: deque[FilingOrder] = deque()
        self._meta: SnapshotMeta | None = None
        """Of the file that is being written."""
        self._pieces: list[bytes] = []
        """What is in it."""

    def file(self, order: FilingOrder) -> None:
        """When the orders before are done."""
        self._waiting.append(order)
        if isinstance(order, NameSnapshot):
            self._world.snapshot_step(Step.ORDERED, self._process.member)
        elif isinstance(order, AbandonSnapshot):
            self._world.watch.count("snapshot given up")
        if self._doing is None:
            self._begin()

    @property
    def naming(self) -> SnapshotMeta | None:
        """Of the snapshot that gets its name right now."""
        return self._meta if isinstance(self._doing, NameSnapshot) else None

    def finish(self) -> None:
        """Do what is under way, or as much of it as the disk lets happen: the process ends."""
        if self._doing is not None:
            self._filer.do(self._doing)

    def _begin(self) -> None:
        self._doing = self._waiting.popleft()
        options = self._world.options
        usual = options.naming_us if isinstance(self._doing, NameSnapshot) else options.filing_us
        self._world.timeline.after(self._process.disk_us(usual), self._process, self._done)

    def _done(self) -> None:
        order, process = self._doing, self._process
        assert order is not None, "an order ended that had not begun"
        filed = self._filer.do(order)
        naming = self.naming
        self._doing = None
        if isinstance(order, StoreSlice) and filed.step is FiledStep.WRITTEN:
            if not order.slice_.offset:
                self._meta, self._pieces = order.meta, []
            self._pieces.append(bytes(order.data))
            self._world.snapshot_step(Step.WRITTEN, process.member)
        elif filed.step is FiledStep.NAMED:
            assert naming is not None, "a name for no file"
            self._world.checks.named(process.engine.state.directory_id, naming, self._pieces)
            self._world.snapshot_step(Step.NAMED, process.member)
        elif naming is not None and filed.why:
            self._world.checks.maybe_named(process.engine.state.directory_id, naming)
        process.hears(process.engine.filed, filed)
        if self._waiting and self._doing is None:
            self._begin()
