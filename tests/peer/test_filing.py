"""The one who writes snapshot files: each order ends in one report, and a job that is over does nothing any more."""

from __future__ import annotations

import pytest

from raft_actors.application.slices import Slice, describe
from raft_actors.codec import CHUNK_BYTES_MAX
from raft_actors.core.entries import SnapshotMeta
from raft_actors.core.types import EntryId, LogIndex, MemberId
from raft_actors.peer.filing import AbandonSnapshot, Filed, NameSnapshot, SnapshotFiler, Step, StoreSlice
from raft_actors.storage.memory import MemoryDisk, MemoryStorage
from tests.core.builders import snapshot
from tests.peer.node import genesis
from tests.rig.disks import GROUP, directory_id


class Bench:
    """A filer on a disk in memory."""

    def __init__(self) -> None:
        self.disk = MemoryDisk(directory_id=directory_id(1))
        storage = MemoryStorage.open(self.disk, group=GROUP, member_id=MemberId(1))
        storage.write_genesis(genesis())
        self.filer = SnapshotFiler(storage)
        self.offset = 0

    def store(
        self, data: bytes, *, job: int = 1, index: int = 5, ends: bool = False, says: Slice | None = None
    ) -> Filed:
        """The next slice of a job."""
        meta = snapshot(1, index)
        slice_ = says or describe(meta.last, self.offset, data, ends=ends)
        self.offset = slice_.behind
        return self.filer.do(StoreSlice(job=job, meta=meta, slice_=slice_, data=memoryview(data)))

    def name(self, job: int = 1) -> Filed:
        return self.filer.do(NameSnapshot(job=job))

    def abandon(self, job: int = 1) -> Filed:
        return self.filer.do(AbandonSnapshot(job=job))

    @property
    def files(self) -> dict[int, bytes]:
        return {index: b"".join(each.chunks()) for index, each in self.disk.snapshots.items()}

    def meta(self, index: int) -> SnapshotMeta:
        return self.disk.snapshots[LogIndex(index)].meta


def done(step: Step, *, job: int = 1, why: str = "") -> Filed:
    return Filed(job=job, step=step, why=why)


class TestOneJob:
    def test_slices_one_behind_the_other_and_then_the_name(self) -> None:
        bench = Bench()
        assert [bench.store(data) for data in (b"one ", b"two ", b"three")] == [done(Step.WRITTEN)] * 3
        assert bench.files == {}
        assert bench.name() == done(Step.NAMED)
        assert bench.files == {5: b"one two three"}
        assert bench.meta(5) == snapshot(1, 5)

    def test_a_large_slice_is_written_in_pieces(self) -> None:
        bench = Bench()
        data = bytes(CHUNK_BYTES_MAX + 1)
        bench.store(data)
        bench.name()
        assert bench.files == {5: data}

    def test_an_empty_slice_at_the_end_adds_nothing(self) -> None:
        bench = Bench()
        bench.store(b"all")
        assert bench.store(b"", ends=True) == done(Step.WRITTEN)
        bench.name()
        assert bench.files == {5: b"all"}

    @pytest.mark.parametrize("begun", [True, False])
    def test_one_that_is_given_up_leaves_nothing(self, begun: bool) -> None:
        bench = Bench()
        if begun:
            bench.store(b"one")
        assert bench.abandon() == done(Step.ENDED)
        assert bench.store(b"two") == done(Step.ENDED), "also where its first slice comes behind the end"
        assert bench.name() == done(Step.ENDED)
        assert bench.files == {}

    def test_no_name_without_a_slice(self) -> None:
        assert Bench().name() == done(Step.ENDED)

    def test_no_second_name(self) -> None:
        bench = Bench()
        bench.store(b"one")
        bench.name()
        assert [bench.name(), bench.store(b"two")] == [done(Step.ENDED)] * 2
        assert bench.files == {5: b"one"}


class TestTheNextJob:
    def test_it_begins_with_its_first_slice(self) -> None:
        bench = Bench()
        bench.store(b"one", ends=True)
        bench.name()
        assert bench.store(b"two", job=2, index=9) == done(Step.WRITTEN, job=2)
        assert bench.name(2) == done(Step.NAMED, job=2)
        assert bench.files == {5: b"one", 9: b"two"}

    def test_orders_of_the_one_before_do_nothing_to_it(self) -> None:
        bench = Bench()
        bench.abandon()
        bench.store(b"two", job=2, index=9)
        assert bench.store(b"one") == done(Step.ENDED)
        assert bench.name() == done(Step.ENDED)
        bench.name(2)
        assert bench.files == {9: b"two"}

    def test_it_ends_the_one_before(self) -> None:
        bench = Bench()
        bench.store(b"one")
        bench.store(b"two", job=2)
        assert bench.name() == done(Step.ENDED)
        bench.name(2)
        assert bench.files == {5: b"two"}


class TestFailures:
    """One of them ends the job, says why, and leaves nothing; the next job is another beginning."""

    @pytest.mark.parametrize("at", ["beginning", "writing", "naming"])
    def test_of_the_disk(self, at: str) -> None:
        bench = Bench()
        if at != "beginning":
            bench.store(b"one")
        bench.disk.broken = True
        ended = bench.name() if at == "naming" else bench.store(b"two")
        assert (ended.job, ended.step) == (1, Step.ENDED)
        assert ended.why.startswith("the disk is broken")
        bench.disk.broken = False
        assert bench.store(b"three") == done(Step.ENDED)
        assert bench.name() == done(Step.ENDED)
        assert bench.store(b"four", job=2) == done(Step.WRITTEN, job=2)

    def test_bytes_that_are_not_those_that_were_sent(self) -> None:
        """C15: what was damaged on its way does not become a file."""
        bench = Bench()
        bench.store(b"one")
        ended = bench.store(b"twi", says=describe(EntryId(1, 5), 3, b"two", ends=True))
        assert (ended.step, ended.why) == (Step.ENDED, "a slice at offset 3 whose checksum does not fit")
        assert bench.name() == done(Step.ENDED)
        assert bench.files == {}


def test_what_is_under_way_is_abandoned_before_the_storage_is_closed() -> None:
    bench = Bench()
    bench.store(b"one")
    for _ in range(2):
        bench.filer.abandon()
    assert bench.name() == done(Step.ENDED)
