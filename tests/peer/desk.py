"""A snapshot desk and a world that only remembers what it was asked for.

The state is that of a follower in term 1 with ten entries, eight of them committed, all of them durable.
"""

from __future__ import annotations

from raft_actors.application.exchange import AskSlice, Provenance
from raft_actors.application.slices import Slice, SliceRequest, describe
from raft_actors.config import RaftConfig
from raft_actors.core.effects import FetchSnapshot
from raft_actors.core.entries import SnapshotMeta
from raft_actors.core.types import EntryId, LogIndex, MemberId, WriteSeq
from raft_actors.peer.filing import AbandonSnapshot, Filed, FilingOrder, NameSnapshot, Step, StoreSlice
from raft_actors.peer.snapshots import SaveAnswer, SnapshotDesk
from tests.core.builders import Peer, append, directory, follower, log_of, snapshot

CONFIG = RaftConfig(snapshot_log_bytes=1_000, snapshot_slice_bytes_max=100_000)
DUE = CONFIG.snapshot_log_bytes // 2
DEADLINE_MS = CONFIG.rpc_deadline_ms
TEN = log_of(*[1] * 10)
AT_8 = EntryId(1, 8)
PROVENANCE = Provenance(computed_by=directory(0), agreed=None)


class Ports:
    """Takes note."""

    def __init__(self) -> None:
        self.asked: list[AskSlice] = []
        self.fetched: list[tuple[MemberId, int, SliceRequest]] = []
        self.orders: list[FilingOrder] = []
        self.ended: list[tuple[int, SaveAnswer]] = []
        self.notes: list[tuple[str, dict[str, object]]] = []

    def ask_application(self, asked: AskSlice) -> None:
        self.asked.append(asked)

    def ask_peer(self, to: MemberId, job: int, request: SliceRequest) -> None:
        self.fetched.append((to, job, request))

    def file(self, order: FilingOrder) -> None:
        self.orders.append(order)

    def save_ended(self, number: int, answer: SaveAnswer) -> None:
        self.ended.append((number, answer))

    def note(self, kind: str, details: dict[str, object]) -> None:
        self.notes.append((kind, details))


class Bench:
    """Drives one desk. `applied`: how far its application is, None where none may be asked."""

    def __init__(
        self,
        peer: Peer | None = None,
        *,
        log_bytes: int = 0,
        applied: int | None = 8,
        config: RaftConfig = CONFIG,
    ) -> None:
        self.peer = peer or follower(log=TEN, commit=8)
        self.state = self.peer.state
        self.ports = Ports()
        self.now_ms = 100_000
        self.log_bytes = log_bytes
        self.applied = applied
        self.desk = SnapshotDesk(self.state, config, self.ports, provenance=lambda: PROVENANCE, log_bytes=log_bytes)

    # what the engine says

    def look(self, ms: int = 0) -> Bench:
        """After so much time."""
        self.now_ms += ms
        applied = None if self.applied is None else LogIndex(self.applied)
        self.desk.look(self.now_ms, applied_index=applied, log_bytes=self.log_bytes)
        return self

    def commits(self, index: int) -> Bench:
        """Up to this entry, which is applied at once."""
        self.peer.ask(append(1, self.state.log.last, commit=index))
        self.applied = index
        return self

    def taking(self) -> Bench:
        """One of our own application has been asked for."""
        self.log_bytes += DUE
        self.look()
        assert self.ports.asked
        return self

    def offered(self, meta: SnapshotMeta, *, source: int = 1, after: int = 0) -> SnapshotMeta | None:
        return self.desk.offered(
            FetchSnapshot(source=MemberId(source), snapshot=meta, after=WriteSeq(after)), self.now_ms
        )

    def fetching(self, meta: SnapshotMeta | None = None, *, after: int = 0) -> Bench:
        """One that a leader offers has been asked for."""
        assert self.offered(meta or snapshot(1, 20), after=after) is None
        assert self.ports.fetched
        return self

    # what comes

    def give(
        self,
        size: int = 10,
        *,
        ends: bool = False,
        last: EntryId = AT_8,
        offset: int | None = None,
        job: int | None = None,
        data: bytes | None = None,
    ) -> Bench:
        """A slice; the one that was asked for unless said otherwise."""
        slice_: Slice = describe(last, self.offset if offset is None else offset, bytes(size), ends=ends)
        data = bytes(size) if data is None else data
        self.desk.slice_arrived(self.job if job is None else job, slice_, memoryview(data), self.now_ms)
        return self

    def lose(self) -> Bench:
        self.desk.slice_lost(self.job, self.now_ms)
        return self

    def refuse(self, why: str = "it cannot") -> Bench:
        self.desk.slice_refused(self.job, why, self.now_ms)
        return self

    def filed(self, step: Step, why: str = "", *, job: int | None = None) -> SnapshotMeta | None:
        """The snapshot daemon reports."""
        filed = Filed(job=self.job if job is None else job, step=step, why=why)
        return self.desk.filed(filed, self.log_bytes, self.now_ms)

    def written(self) -> Bench:
        self.filed(Step.WRITTEN)
        return self

    def complete(self, size: int = 10, *, last: EntryId = AT_8) -> SnapshotMeta | None:
        """All of it arrives, is written, and gets its name."""
        self.give(size, ends=True, last=last).written()
        assert self.orders[-1] == NameSnapshot(job=self.job)
        return self.filed(Step.NAMED)

    def fail(self) -> Bench:
        """The one under way is refused, and its file is gone."""
        self.refuse()
        self.filed(Step.ENDED)
        return self

    # what it did

    @property
    def orders(self) -> list[FilingOrder]:
        return self.ports.orders

    @property
    def ends(self) -> list[tuple[str, dict[str, object]]]:
        """What was noted of the ends of jobs."""
        return [note for note in self.ports.notes if note[0] != "snapshot_begun"]

    @property
    def stores(self) -> list[StoreSlice]:
        return [order for order in self.orders if isinstance(order, StoreSlice)]

    @property
    def given_up(self) -> list[int]:
        """Jobs whose files were abandoned."""
        return [order.job for order in self.orders if isinstance(order, AbandonSnapshot)]

    @property
    def named(self) -> bool:
        return any(isinstance(order, NameSnapshot) for order in self.orders)

    @property
    def asks(self) -> list[tuple[int, bool]]:
        """Offset of each slice that was asked for, and whether by reference."""
        asked = self.ports.asked or [request for _, _, request in self.ports.fetched]
        return [(each.offset, each.by_reference) for each in asked]

    @property
    def job(self) -> int:
        """The newest one."""
        return max([asked.job for asked in self.ports.asked] + [job for _, job, _ in self.ports.fetched])

    @property
    def offset(self) -> int:
        """Of the slice asked for last."""
        return self.asks[-1][0]
