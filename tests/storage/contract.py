"""Every promise of the `Storage` protocol, as tests. A subclass only says how to open one."""

from __future__ import annotations

import pytest

from raft_actors.core.effects import HardState
from raft_actors.core.types import Term
from raft_actors.errors import DirectoryLocked, ForeignDirectory, StorageFailed
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

    # -- own bugs

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
