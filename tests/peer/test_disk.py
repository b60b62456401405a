"""What the disk and snapshot daemons do, in whose order: their loops in the test's own thread, on a disk that notes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from raft_actors.application.slices import SLICE_REQUEST, SliceRequest, describe
from raft_actors.config import RaftConfig
from raft_actors.core.effects import Append, Compact, Persist, Record
from raft_actors.core.types import LogIndex, MemberId, Term, WriteSeq
from raft_actors.errors import SnapshotDamaged
from raft_actors.peer.disk import Disk
from raft_actors.peer.filing import AbandonSnapshot, Filed, NameSnapshot, Step, StoreSlice
from raft_actors.peer.perform import Queues
from raft_actors.peer.shelf import SnapshotShelf
from raft_actors.storage.memory import MemoryDisk, MemorySnapshot, MemoryStorage
from tests.core.builders import directory, entry, snapshot
from tests.peer.node import Unreachable, genesis
from tests.peer.test_runtime import runtime_of
from tests.rig.disks import GROUP, directory_id


class Noting:
    """A storage whose log shrinks by 100 with each compaction, and grows by 10 with each record."""

    def __init__(self) -> None:
        self.did: list[tuple[str, object]] = []
        self.log_bytes = 0

    def write(self, records: Sequence[Record]) -> None:
        self.did.append(("write", len(records)))
        self.log_bytes += 10 * len(records)

    def compact(self, to: LogIndex) -> None:
        self.did.append(("compact", to))
        self.log_bytes -= 100

    def mark_synced(self) -> None:
        self.did.append(("mark", None))


class Told:
    """The engine, as far as the disk tells it something."""

    def __init__(self) -> None:
        self.news: list[tuple[object, ...]] = []

    def written(self, seq: WriteSeq, log_bytes: int) -> None:
        self.news.append(("written", seq, log_bytes))

    def compacted(self, log_bytes: int) -> None:
        self.news.append(("compacted", log_bytes))

    def filed(self, filed: Filed) -> None:
        self.news.append(("filed", filed.job, filed.step))


class Until(threading.Event):
    """Set as soon as there is nothing left to do."""

    def __init__(self, idle: Callable[[], bool]) -> None:
        super().__init__()
        self._idle = idle

    def is_set(self) -> bool:
        return self._idle()


class Bench:
    """A disk with its queues."""

    def __init__(self, storage: Any) -> None:
        self.queues = Queues(lambda name, failure: pytest.fail(f"{name}: {failure}"))
        self.told = Told()
        self.queues.inbox.begin(self.told)  # type: ignore[arg-type]
        self.shelf = SnapshotShelf(storage.open_snapshot, Still()) if hasattr(storage, "open_snapshot") else None
        self.disk = Disk(storage, self.queues, self.shelf, idle_mark_ms=50)  # type: ignore[arg-type]

    def write(self, *writes: Persist | Compact) -> list[tuple[object, ...]]:
        """These stand in the queue when the daemon looks; what the owner hears."""
        for each in writes:
            self.queues.writes.put(each)
        self.disk.write(Until(self.queues.writes.empty))
        return self.heard()

    def heard(self) -> list[tuple[object, ...]]:
        self.queues.inbox.work(0, lambda engine: None)
        return self.told.news


class Still:
    """A clock."""

    def now_ms(self) -> int:
        return 0


def persist(seq: int, count: int = 1) -> Persist:
    return Persist(seq=WriteSeq(seq), records=(Append(entries=(entry(1, seq),)),) * count)


class TestTheLog:
    def test_what_has_gathered_is_one_group(self) -> None:
        storage = Noting()
        assert Bench(storage).write(persist(1), persist(2), persist(3, 2)) == [("written", 3, 40)]
        assert storage.did == [("write", 4), ("mark", None)]

    def test_a_compaction_goes_in_turn_with_the_writes(self) -> None:
        """Contracts 5: what it forgets must be there, and what follows it may need it to have been done."""
        storage = Noting()
        told = Bench(storage).write(
            persist(1), persist(2), Compact(to=LogIndex(1)), persist(3), Compact(to=LogIndex(3))
        )
        assert storage.did[:-1] == [("write", 2), ("compact", 1), ("write", 1), ("compact", 3)]
        assert told == [("written", 2, 20), ("compacted", -80), ("written", 3, -70), ("compacted", -170)]

    def test_compactions_alone_write_nothing(self) -> None:
        storage = Noting()
        assert Bench(storage).write(Compact(to=LogIndex(1)), Compact(to=LogIndex(2))) == [
            ("compacted", -100),
            ("compacted", -200),
        ]
        assert storage.did == [("compact", 1), ("compact", 2)]


class TestFiles:
    def test_orders_are_done_one_behind_the_other_and_what_is_left_is_abandoned(self) -> None:
        disk = MemoryDisk(directory_id=directory_id(1))
        storage = MemoryStorage.open(disk, group=GROUP, member_id=MemberId(1))
        storage.write_genesis(genesis())
        bench = Bench(storage)
        for job, index in ((1, 5), (2, 6), (3, 7)):
            meta = snapshot(1, index)
            slice_ = describe(meta.last, 0, b"state", ends=True)
            bench.queues.files.put(StoreSlice(job=job, meta=meta, slice_=slice_, data=memoryview(b"state")))
            if job < 3:
                bench.queues.files.put(AbandonSnapshot(job=job) if job == 1 else NameSnapshot(job=job))
        bench.disk.file(Until(bench.queues.files.empty))
        assert bench.heard() == [
            ("filed", 1, Step.WRITTEN),
            ("filed", 1, Step.ENDED),
            ("filed", 2, Step.WRITTEN),
            ("filed", 2, Step.NAMED),
            ("filed", 3, Step.WRITTEN),
        ]
        assert list(disk.snapshots) == [6]
        storage.begin_snapshot(snapshot(1, 8))  # no other one is being written


class TestReading:
    """`Runtime.read_snapshot`: what another peer or the application gets of our files."""

    STATE = bytes(200_000)

    def runtime(self) -> Any:
        config = RaftConfig(snapshot_slice_bytes_max=150_000)
        disk = MemoryDisk(directory_id=directory_id(1))
        made, self.failures = runtime_of(1, genesis(), disk, Unreachable(), config)
        disk.snapshots[LogIndex(5)] = MemorySnapshot(snapshot(1, 5), (self.STATE,))
        return made

    def ask(self, bytes_max: int, *, by_reference: bool = True, cluster: bytes | None = None) -> bytes:
        return SLICE_REQUEST.encode(
            SliceRequest(
                cluster_id=cluster or genesis().cluster_id,
                asker=directory(2),
                term=Term(1),
                index=LogIndex(5),
                offset=0,
                bytes_max=bytes_max,
                by_reference=by_reference,
            )
        )

    @pytest.mark.parametrize(
        ("bytes_max", "by_reference", "size"),
        [(10**9, True, 150_000), (100_000, True, 100_000), (10**9, False, 65_536), (0, True, 1)],
    )
    def test_a_slice_is_never_larger_than_may_travel(self, bytes_max: int, by_reference: bool, size: int) -> None:
        slice_, data = self.runtime().read_snapshot(self.ask(bytes_max, by_reference=by_reference))
        assert (slice_.size, len(data)) == (size, size)

    def test_what_is_no_question_or_of_another_cluster_is_counted(self) -> None:
        runtime = self.runtime()
        assert runtime.read_snapshot(b"no question") is None
        assert runtime.read_snapshot(self.ask(10, cluster=b"another cluster.")) is None
        runtime._queues.inbox.work(0, lambda engine: None)
        assert runtime.gauges().dropped == {"malformed": 1, "foreign_cluster": 1}

    @pytest.mark.parametrize("failure", [SnapshotDamaged("a flipped bit", file="s"), OSError("EIO")])
    def test_a_file_that_cannot_be_read_ends_the_member(
        self, failure: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C15: nothing of it is spread; the start after it goes by the snapshot before."""

        def chunks(_: MemorySnapshot) -> Any:
            raise failure
            yield

        runtime = self.runtime()
        monkeypatch.setattr(MemorySnapshot, "chunks", chunks)
        assert runtime.read_snapshot(self.ask(10)) is None
        assert self.failures == [str(failure)]

    def test_a_peer_that_stopped_reads_nothing(self) -> None:
        runtime = self.runtime()
        runtime.stop(1.0)
        assert runtime.read_snapshot(self.ask(10)) is None
