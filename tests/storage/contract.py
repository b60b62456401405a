"""Every promise of the `Storage` protocol, as tests. A subclass only says how to open one."""

from __future__ import annotations

import pytest

from raft_actors.core.effects import HardState
from raft_actors.core.types import GENESIS_ID, EntryId, LogIndex, Term
from raft_actors.errors import DirectoryLocked, ForeignDirectory, SnapshotDamaged, SnapshotFailed, StorageFailed
from raft_actors.storage.interface import Storage
from tests.storage.logs import (
    CONFIGURATION,
    GENESIS,
    GROUP,
    MEMBER,
    OTHER,
    append,
    command,
    entry,
    meta,
    read_snapshot,
    reset,
    state_at,
    take_snapshot,
    truncate,
    vote,
)


class StorageContract:
    """One object of the test class is one disk."""

    def open(self, *, group: str = GROUP, member_id: int = MEMBER) -> Storage:
        raise NotImplementedError

    def crash(self, storage: Storage) -> None:
        """End without closing."""
        raise NotImplementedError

    def break_disk(self) -> None:
        """The next write fails."""
        raise NotImplementedError

    def mend_disk(self) -> None:
        raise NotImplementedError

    def again(self, storage: Storage) -> Storage:
        self.crash(storage)
        return self.open()

    # -- what a new one is

    def test_a_new_directory_is_empty_and_in_its_first_start(self):
        found = self.open().recovered
        assert found.genesis is None
        assert found.hard_state == HardState(term=Term(0), voted_for=None)
        assert found.entries == ()
        assert found.base == GENESIS_ID
        assert found.snapshot is None
        assert found.torn_bytes == 0
        assert found.incarnation.start_count == 1
        assert len(found.incarnation.directory_id) == 16

    def test_the_directory_keeps_its_id_and_every_start_gets_a_new_number(self):
        storage = self.open()
        first = storage.recovered.incarnation
        counts = []
        for _ in range(3):
            storage = self.again(storage)
            assert storage.recovered.incarnation.directory_id == first.directory_id
            counts.append(storage.recovered.incarnation.start_count)
        assert counts == [2, 3, 4]

    # -- what a write promises

    def test_what_was_written_is_there_after_a_crash(self):
        storage = self.open()
        storage.write_genesis(GENESIS)
        storage.write([vote(1, OTHER), append(entry(1, 1), command(1, 2))])
        storage.write([append(entry(1, 3, CONFIGURATION))])
        found = self.again(storage).recovered
        assert found.genesis == GENESIS
        assert found.hard_state == vote(1, OTHER)
        assert found.entries == (entry(1, 1), command(1, 2), entry(1, 3, CONFIGURATION))
        assert found.torn_bytes == 0

    def test_term_and_vote_never_regress(self):
        storage = self.open()
        storage.write([vote(3)])
        storage.write([vote(3, OTHER)])
        storage.write([vote(7)])
        assert self.again(storage).recovered.hard_state == vote(7)

    def test_truncation_forgets_the_suffix_for_ever(self):
        storage = self.open()
        storage.write([append(*(command(1, index) for index in range(1, 6)))])
        storage.write([truncate(3), append(command(2, 3))])
        storage = self.again(storage)
        assert storage.recovered.entries == (command(1, 1), command(1, 2), command(2, 3))
        storage.write([truncate(1)])
        assert self.again(storage).recovered.entries == ()

    def test_writing_goes_on_after_a_start(self):
        storage = self.open()
        for index in range(1, 6):
            storage.write([append(command(index, index))])
            storage = self.again(storage)
        assert [each.index for each in storage.recovered.entries] == [1, 2, 3, 4, 5]

    def test_what_open_found_does_not_change_with_later_writes(self):
        storage = self.open()
        storage.write([append(command(1, 1))])
        assert storage.recovered.entries == ()

    def test_log_bytes_grow_with_the_log(self):
        storage = self.open()
        before = storage.log_bytes
        storage.write([append(command(1, 1, 1000))])
        assert storage.log_bytes >= before + 1000

    def test_the_genesis_is_written_once(self):
        storage = self.open()
        storage.write_genesis(GENESIS)
        bytes_before = storage.log_bytes
        storage.write_genesis(GENESIS)
        assert storage.log_bytes == bytes_before
        assert self.again(storage).recovered.genesis == GENESIS

    def test_a_mark_changes_nothing_and_twice_writes_once(self):
        storage = self.open()
        storage.write([append(command(1, 1))])
        storage.mark_synced()
        bytes_before = storage.log_bytes
        storage.mark_synced()
        assert storage.log_bytes == bytes_before
        assert self.again(storage).recovered.entries == (command(1, 1),)

    # -- snapshots (ADR 10)

    def with_entries(self, last: int) -> Storage:
        """A log of entries 1 to `last` of term 1, each in a group of its own."""
        storage = self.open()
        storage.write_genesis(GENESIS)
        storage.write([vote(1, OTHER)])
        for index in range(1, last + 1):
            storage.write([append(command(1, index, 100))])
        return storage

    def test_a_snapshot_is_there_after_a_crash_and_the_newest_counts(self):
        storage = self.with_entries(9)
        take_snapshot(storage, 1, 3)
        take_snapshot(storage, 1, 7)
        storage = self.again(storage)
        assert storage.recovered.snapshot == meta(1, 7)
        assert read_snapshot(storage, 7) == state_at(7)
        assert len(storage.recovered.entries) == 9, "what a snapshot covers stays until it is compacted"

    def test_a_snapshot_that_was_not_committed_is_not_there(self):
        storage = self.with_entries(9)
        storage.begin_snapshot(meta(1, 3)).write(b"half")
        storage = self.again(storage)
        assert storage.recovered.snapshot is None
        with pytest.raises(SnapshotDamaged):
            storage.open_snapshot(LogIndex(3))
        sink = storage.begin_snapshot(meta(1, 3))
        sink.write(b"another half")
        sink.abandon()
        sink.abandon()
        take_snapshot(storage, 1, 3)
        assert self.again(storage).recovered.snapshot == meta(1, 3)

    def test_a_process_that_has_ended_writes_no_snapshot(self):
        storage = self.with_entries(9)
        sink = storage.begin_snapshot(meta(1, 3))
        sink.write(b"half")
        storage.close()
        storage = self.open()
        with pytest.raises((AssertionError, SnapshotFailed)):
            sink.commit()
        assert self.again(storage).recovered.snapshot is None

    def test_who_reads_a_snapshot_is_not_disturbed(self):
        storage = self.with_entries(9)
        take_snapshot(storage, 1, 3)
        source = storage.open_snapshot(LogIndex(3))
        take_snapshot(storage, 1, 7)
        storage.compact(LogIndex(7))
        assert source.meta == meta(1, 3)
        assert tuple(source.chunks()) == state_at(3)
        source.close()
        with pytest.raises(SnapshotDamaged):
            storage.open_snapshot(LogIndex(3))

    def test_compaction_forgets_what_is_covered_and_nothing_else(self):
        storage = self.with_entries(40)
        storage.write([vote(4, OTHER)])
        bytes_before = storage.log_bytes
        take_snapshot(storage, 1, 30)
        storage.compact(LogIndex(30))
        assert storage.log_bytes < bytes_before / 2
        for _ in range(2):
            storage = self.again(storage)
            found = storage.recovered
            assert 0 < found.base.index <= 30
            assert found.entries == tuple(command(1, index, 100) for index in range(found.base.index + 1, 41))
            assert found.hard_state == vote(4, OTHER), "the vote went with the old files (contracts 5 d)"
            assert found.genesis == GENESIS
            assert found.snapshot == meta(1, 30)
        storage.write([append(command(4, 41))])
        assert self.again(storage).recovered.entries[-1] == command(4, 41)

    def test_compaction_again_and_again_leaves_a_log_of_bounded_size(self):
        storage = self.with_entries(0)
        sizes = []
        for index in range(1, 301):
            storage.write([append(command(1, index, 100))])
            if index % 20 == 0:
                take_snapshot(storage, 1, index)
                storage.compact(LogIndex(max(index - 20, 20)))
                sizes.append(storage.log_bytes)
        assert max(sizes[5:]) <= 2 * max(sizes[:3])

    def test_a_reset_begins_the_log_behind_a_snapshot(self):
        storage = self.with_entries(5)
        take_snapshot(storage, 3, 50)
        storage.write([reset(3, 50), vote(3)])
        storage.write([append(command(3, 51))])
        storage.compact(LogIndex(50))
        storage = self.again(storage)
        assert storage.recovered.base == EntryId(Term(3), LogIndex(50))
        assert storage.recovered.entries == (command(3, 51),)
        storage.write([truncate(51), append(command(4, 51))])
        assert self.again(storage).recovered.entries == (command(4, 51),)

    @pytest.mark.parametrize(("term", "index"), [(1, 6), (3, 50), (3, 4)], ids=["next", "far behind", "differs"])
    def test_a_log_that_does_not_hold_the_snapshots_last_entry_is_reset_by_the_start(self, term, index):
        """The snapshot is durable, the reset was not: or the state was applied before the log was (contracts 5 b)."""
        storage = self.with_entries(5)
        storage.write([vote(3)])
        take_snapshot(storage, term, index)
        for _ in range(2):
            storage = self.again(storage)
            assert storage.recovered.base == EntryId(Term(term), LogIndex(index))
            assert storage.recovered.entries == ()
        storage.write([append(command(3, index + 1))])
        storage = self.again(storage)
        assert storage.recovered.entries == (command(3, index + 1),)
        assert storage.recovered.snapshot == meta(term, index)

    def test_what_was_acknowledged_behind_a_snapshot_stays(self):
        """The log holds (index, term): no reset (contracts 5 a)."""
        storage = self.with_entries(9)
        take_snapshot(storage, 1, 5)
        assert len(self.again(storage).recovered.entries) == 9

    def test_the_same_state_can_be_written_after_a_failure(self):
        storage = self.with_entries(5)
        sink = storage.begin_snapshot(meta(1, 3))
        self.break_disk()
        with pytest.raises(SnapshotFailed):
            sink.commit()
        self.mend_disk()
        take_snapshot(storage, 1, 3)
        storage.write([append(command(1, 6))])
        found = self.again(storage).recovered
        assert found.snapshot == meta(1, 3)
        assert found.entries[-1] == command(1, 6), "a snapshot that fails does not stop the log"

    # -- own bugs

    def test_what_would_lose_a_snapshot_is_a_bug(self):
        storage = self.with_entries(9)
        sink = storage.begin_snapshot(meta(1, 5))
        with pytest.raises(AssertionError):
            storage.begin_snapshot(meta(1, 6))
        with pytest.raises(AssertionError):
            storage.compact(LogIndex(5))
        with pytest.raises(AssertionError):
            sink.write(b"")
        sink.commit()
        with pytest.raises(AssertionError):
            sink.write(b"more")
        with pytest.raises(AssertionError):
            storage.begin_snapshot(meta(1, 5))
        storage.compact(LogIndex(5))
        with pytest.raises(AssertionError):
            storage.compact(LogIndex(6))

    @pytest.mark.parametrize(
        "records",
        [
            [append(command(1, 4))],
            [append(command(1, 2))],
            [append(command(1, 3), command(1, 5))],
            [append(command(0, 3))],
            [append()],
            [truncate(3)],
            [truncate(0)],
            [reset(1, 0)],
            [reset(1, 2)],
            [vote(1)],
            [vote(2)],
            [vote(2, DIRECTORY_A := CONFIGURATION.members[0].directory_id)],
            [],
        ],
        ids=[
            "gap",
            "overlap",
            "gap within",
            "term falls",
            "append of nothing",
            "truncation above the end",
            "truncation of the genesis",
            "reset to the genesis",
            "reset to what the log holds",
            "hard state's term falls",
            "vote withdrawn",
            "second vote",
            "group of nothing",
        ],
    )
    def test_what_cannot_follow_is_a_bug_and_is_not_written(self, records):
        storage = self.open()
        storage.write([vote(2, OTHER), append(command(1, 1), command(1, 2))])
        with pytest.raises(AssertionError):
            storage.write(records)
        found = self.again(storage).recovered
        assert found.entries == (command(1, 1), command(1, 2))
        assert found.hard_state == vote(2, OTHER)

    def test_a_second_genesis_that_differs_is_a_bug(self):
        storage = self.open()
        storage.write_genesis(GENESIS)
        with pytest.raises(AssertionError):
            storage.write_genesis(type(GENESIS)(**{**_fields(GENESIS), "settings": b"others"}))

    # -- who may use it

    def test_two_at_a_time_are_refused(self):
        storage = self.open()
        with pytest.raises(DirectoryLocked):
            self.open()
        storage.close()
        self.open().close()

    def test_close_may_be_called_again_and_nothing_works_after_it(self):
        storage = self.open()
        storage.close()
        storage.close()
        with pytest.raises(AssertionError):
            storage.write([vote(1)])

    @pytest.mark.parametrize(("group", "member_id"), [("other", MEMBER), (GROUP, 1)])
    def test_another_group_or_member_is_refused(self, group, member_id):
        self.open().close()
        with pytest.raises(ForeignDirectory):
            self.open(group=group, member_id=member_id)

    # -- a disk that fails

    def test_after_a_failed_write_nothing_works_any_more(self):
        storage = self.open()
        storage.write([append(command(1, 1))])
        self.break_disk()
        with pytest.raises(StorageFailed):
            storage.write([append(command(1, 2))])
        self.mend_disk()
        with pytest.raises(StorageFailed):
            storage.write([append(command(1, 2))])
        with pytest.raises(StorageFailed):
            storage.mark_synced()
        with pytest.raises(StorageFailed):
            storage.write_genesis(GENESIS)
        storage.close()
        assert self.open().recovered.entries[0] == command(1, 1)


def _fields(genesis):
    return {name: getattr(genesis, name) for name in genesis.__slots__}
