"""Snapshot files beside the log: what falls back, what is refused, and which files of the log go (ADR 10)."""

from __future__ import annotations

import random
from dataclasses import replace
from zlib import crc32

import pytest

from raft_actors.config import MIB
from raft_actors.core.types import EntryId, LogIndex, Term
from raft_actors.errors import ForeignDirectory, LogDamaged, NewerFormat, SnapshotDamaged, SnapshotFailed, StorageFailed
from raft_actors.storage.files import Room
from raft_actors.storage.records import SNAPSHOT_CHUNK, encode_frame, read_frame
from raft_actors.storage.segments import segment_name
from raft_actors.storage.snapshot_records import newest_names
from raft_actors.storage.wal import FileStorage
from tests.storage.faulty_files import PATH, FaultyFiles, everything, nothing
from tests.storage.logs import (
    GENESIS,
    GROUP,
    MEMBER,
    OTHER,
    append,
    command,
    meta,
    read_snapshot,
    reset,
    state_at,
    take_snapshot,
    truncate,
    vote,
)


def start(files: FaultyFiles, segment_bytes_max: int = 700) -> FileStorage:
    files.kill()
    return FileStorage.open(PATH, group=GROUP, member_id=MEMBER, segment_bytes_max=segment_bytes_max, files=files)


def with_entries(files: FaultyFiles, last: int) -> FileStorage:
    storage = start(files)
    storage.write_genesis(GENESIS)
    storage.write([vote(1, OTHER)])
    for index in range(1, last + 1):
        storage.write([append(command(1, index, 100))])
    return storage


def compacted(files: FaultyFiles) -> FileStorage:
    """Snapshots at 10 and 20, the log from 10 on."""
    storage = with_entries(files, 25)
    take_snapshot(storage, 1, 10)
    take_snapshot(storage, 1, 20)
    storage.compact(LogIndex(10))
    return storage


def file_of(files: FaultyFiles, index: int) -> str:
    return newest_names(files.cached_names)[LogIndex(index)].file


def bytes_of(files: FaultyFiles, index: int) -> bytearray:
    return files.cached_names[file_of(files, index)].cache


def log_names(files: FaultyFiles) -> list[str]:
    return sorted(name for name in files.cached_names if name.endswith(".seg"))


class TestADamagedSnapshot:
    """reliability C15; contracts 5 c."""

    def test_costs_nothing_where_the_one_before_it_and_the_log_are_enough(self):
        files = FaultyFiles()
        compacted(files)
        bytes_of(files, 20)[-40] ^= 1
        found = start(files).recovered
        assert found.snapshot == meta(1, 10)
        assert found.base.index <= 10
        assert found.entries[-1] == command(1, 25, 100)
        (said,) = found.damaged_snapshots
        assert file_of(files, 20) in said

    def test_is_replaced_by_the_next_of_the_same_index(self):
        files = FaultyFiles()
        compacted(files)
        bytes_of(files, 20)[-40] ^= 1
        storage = start(files)
        take_snapshot(storage, 1, 20)
        storage = start(files)
        assert storage.recovered.snapshot == meta(1, 20)
        assert read_snapshot(storage, 20) == state_at(20)

    def test_is_refused_when_the_log_begins_there(self):
        files = FaultyFiles()
        storage = compacted(files)
        take_snapshot(storage, 2, 100)
        storage.write([vote(2), reset(2, 100)])
        storage.write([append(command(2, 101))])
        storage.compact(LogIndex(100))
        start(files)
        bytes_of(files, 100)[-40] ^= 1
        with pytest.raises(LogDamaged, match="checksum") as refusal:
            start(files)
        assert refusal.value.file.endswith(file_of(files, 100))
        assert not files.descriptors, "a refusal holds nothing open"

    def test_is_refused_when_the_reset_to_it_is_in_the_log_and_older_ones_are_good(self):
        """Else what was acknowledged behind it were dropped in silence, and the member voted."""
        files = FaultyFiles()
        storage = compacted(files)
        take_snapshot(storage, 2, 100)
        storage.write([vote(2), reset(2, 100)])
        storage.write([append(command(2, 101))])
        del files.cached_names[file_of(files, 100)]
        with pytest.raises(LogDamaged, match="no good snapshot"):
            start(files)

    def test_that_was_the_only_one_costs_nothing_as_long_as_the_log_is_whole(self):
        files = FaultyFiles()
        take_snapshot(with_entries(files, 5), 1, 3)
        bytes_of(files, 3)[0] ^= 1
        found = start(files).recovered
        assert found.snapshot is None
        assert len(found.entries) == 5

    def test_both_gone_is_damage(self):
        files = FaultyFiles()
        compacted(files)
        for each in (10, 20):
            del files.cached_names[file_of(files, each)]
        with pytest.raises(LogDamaged):
            start(files)

    def test_is_told_while_it_is_read(self):
        files = FaultyFiles()
        storage = compacted(files)
        source = storage.open_snapshot(LogIndex(10))
        bytes_of(files, 10)[-40] ^= 1
        with pytest.raises(SnapshotDamaged, match="snap-0000"):
            list(source.chunks())
        source.close()

    def test_bytes_behind_the_end_are_damage(self):
        files = FaultyFiles()
        compacted(files)
        bytes_of(files, 20).extend(b"\0")
        assert start(files).recovered.snapshot == meta(1, 10)

    def test_under_the_name_of_another_is_damage(self):
        files = FaultyFiles()
        compacted(files)
        name = newest_names(files.cached_names)[LogIndex(20)]
        files.cached_names[replace(name, index=LogIndex(21)).file] = files.cached_names.pop(name.file)
        found = start(files).recovered
        assert found.snapshot == meta(1, 10)
        assert "another name" in found.damaged_snapshots[0]

    def test_pieces_out_of_order_are_damage(self):
        """A chunk says which one it is, however good its checksum."""
        files = FaultyFiles()
        take_snapshot(with_entries(files, 5), 1, 3)
        data = bytes_of(files, 3)
        header = read_frame(bytes(data), 0, len(data), 0)
        lie, _ = encode_frame(SNAPSHOT_CHUNK, EntryId(Term(0), LogIndex(2)), b"second", header.chain)
        data[header.behind :] = lie
        found = start(files).recovered
        assert found.snapshot is None
        assert "chunk 1" in found.damaged_snapshots[0]


class TestWhoseItIs:
    def test_a_snapshot_of_another_directory_is_refused(self):
        files, others = FaultyFiles(seed=1), FaultyFiles(seed=2)
        compacted(files)
        compacted(others)
        files.cached_names[file_of(files, 20)].cache = bytes_of(others, 20)
        with pytest.raises(ForeignDirectory):
            start(files)

    def test_a_newer_format_is_refused(self):
        files = FaultyFiles()
        compacted(files)
        data = bytes_of(files, 20)
        header = read_frame(bytes(data), 0, len(data), 0)
        newer = bytearray(data[: header.behind])
        newer[2] = 2
        data[: header.behind] = sealed(bytes(newer))
        with pytest.raises(NewerFormat):
            start(files)

    def test_snapshots_without_a_log_are_damage_and_draw_no_new_identity(self):
        """A member that lost its log has lost its vote: it must not begin again from its snapshot."""
        files = FaultyFiles()
        compacted(files)
        for name in log_names(files):
            del files.cached_names[name]
        identity = bytes(files.cached_names["IDENTITY"].cache)
        with pytest.raises(LogDamaged, match="no file of the log counts"):
            start(files)
        assert bytes(files.cached_names["IDENTITY"].cache) == identity


def sealed(data: bytes) -> bytes:
    return data[:-4] + crc32(data[:-4]).to_bytes(4, "little")


class TestWhatGoes:
    def test_a_file_that_truncates_from_before_its_beginning_may_be_the_first(self):
        """It was written before what it truncates was covered; read from there on, it truncates what is not there."""
        files = FaultyFiles()
        storage = with_entries(files, 30)
        while storage._end.offset < 700:  # the next group begins a file
            storage.write([vote(storage._image.hard_state.term + 1)])
        term = storage._image.hard_state.term
        storage.write([truncate(10)])
        cut = segment_name(storage._end.segment)
        storage.write([vote(term + 1)])
        storage.write([append(command(term, 10))])
        storage.write([append(*(command(term, index, 100) for index in range(11, 60)))])
        storage.write([append(command(term, 60))])
        for at in (30, 35, 60):
            take_snapshot(storage, term, at)
            storage.compact(LogIndex(at))
            assert (log_names(files)[0] == cut) == (at < 60), "what this test is for"
            storage = start(files)
            found = storage.recovered
            assert found.base.index <= at
            assert found.base.index == 0 or found.base.term > 0, "a base whose term is not known matches nothing"
            assert found.entries[-1:] in ((command(term, 60),), ())
            assert [each.index for each in found.entries] == list(range(found.base.index + 1, 61))

    def test_files_that_come_back_make_no_difference(self):
        dice = random.Random(3)
        for _ in range(60):
            files = FaultyFiles()
            storage = with_entries(files, 40)
            storage.write([truncate(15), vote(2), append(command(2, 15))])
            for index in range(16, 60):
                storage.write([append(command(2, index, 100))])
            take_snapshot(storage, 2, 50)
            old = {name: files.cached_names[name] for name in log_names(files)}
            storage.compact(LogIndex(50))
            for name, inode in old.items():
                if dice.random() < 0.6:
                    files.cached_names.setdefault(name, inode)
            found = start(files).recovered
            assert found.base.index <= 50
            assert found.entries == tuple(
                command(1, index, 100) if index < 15 else command(2, index, 100 if index > 15 else 20)
                for index in range(found.base.index + 1, 60)
            )
            assert found.hard_state == vote(2)

    def test_stopped_anywhere_the_log_is_whole(self):
        for keep in (nothing, everything):
            done = 0
            while True:
                files = FaultyFiles()
                storage = with_entries(files, 40)
                take_snapshot(storage, 1, 30)
                files.fail_at, files.fail_for_ever = len(files.calls) + done, True
                storage.compact(LogIndex(30))
                failed = len(files.calls) > files.fail_at
                files.power_cut(keep)
                found = start(files).recovered
                assert found.base.index <= 30
                assert found.entries[-1] == command(1, 40, 100)
                if not failed:
                    break
                done += 1
            assert done > 3

    def test_a_start_removes_what_was_never_finished_before_it_needs_room(self):
        """A disk that is full of half a snapshot has none for the header of a segment."""
        files = FaultyFiles()
        with_entries(files, 5).begin_snapshot(meta(1, 3)).write(b"half")
        assert any(name.endswith(".snap.new") for name in files.cached_names)
        start(files)
        assert not any(name.endswith(".snap.new") for name in files.cached_names)
        changes = [call for call in files.calls if call.startswith(("unlink", "create", "link"))]
        assert changes[0].endswith(".snap.new")

    def test_starts_that_fail_leave_no_names_behind(self):
        files = FaultyFiles()
        take_snapshot(with_entries(files, 5), 1, 3)
        start(files)
        for _ in range(20):
            files.kill()
            files.fail_at = 4
            with pytest.raises(StorageFailed):
                FileStorage.open(PATH, group=GROUP, member_id=MEMBER, segment_bytes_max=700, files=files)
            assert any(call.startswith("link") for call in files.calls), "what this test is for"
        assert sum(".snap" in name for name in files.cached_names) == 1

    def test_a_file_that_cannot_be_removed_keeps_no_other(self):
        files = FaultyFiles()
        storage = with_entries(files, 40)
        take_snapshot(storage, 1, 10)
        take_snapshot(storage, 1, 30)
        files.fail_at = len(files.calls)
        storage.compact(LogIndex(30))
        assert len(log_names(files)) < 8
        assert log_names(files)[0] == "log-00000001.seg"
        assert not any("0010-" in name for name in files.cached_names)
        storage.compact(LogIndex(30))
        assert log_names(files)[0] != "log-00000001.seg"
        assert storage.log_bytes == sum(len(files.cached_names[name].cache) for name in log_names(files))


class TestAWriter:
    @pytest.mark.parametrize(
        ("room", "fits"),
        [
            (Room(free=65 * MIB, total=1 << 40), True),
            (Room(free=64 * MIB, total=1 << 40), False),
            (Room(free=3 * MIB, total=32 * MIB), True),
            (Room(free=2 * MIB, total=32 * MIB), False),
        ],
    )
    def test_it_leaves_room_for_the_log(self, room: Room, fits: bool) -> None:
        """One that took the last byte would end the process with the log's next write, again and again."""
        files = FaultyFiles()
        storage = with_entries(files, 5)
        files.room_left = room
        if fits:
            take_snapshot(storage, 1, 3)
        else:
            with pytest.raises(SnapshotFailed, match="nearly full, and the log needs the rest"):
                take_snapshot(storage, 1, 3)
            assert not any(".snap" in name for name in files.cached_names)
        storage.write([append(command(1, 6))])

    def test_every_failure_leaves_nothing_and_the_log_goes_on(self):
        number = 0
        while True:
            files = FaultyFiles()
            storage = with_entries(files, 5)
            files.fail_at = len(files.calls) + number
            try:
                take_snapshot(storage, 1, 3)
                break
            except SnapshotFailed:
                pass
            assert not any(".snap" in name for name in files.cached_names), files.calls[-3:]
            storage.write([append(command(1, 6))])
            image = files.copy()
            files.power_cut(nothing)
            found = start(files).recovered
            assert found.snapshot is None, "a name that was never told to be durable"
            assert found.entries[-1] == command(1, 6)
            image.power_cut(everything)
            found = start(image).recovered
            assert found.snapshot in (None, meta(1, 3)), "it may come back, and is whole"
            assert found.entries[-1] == command(1, 6)
            assert not found.damaged_snapshots
            number += 1
        assert number > 5

    def test_the_state_is_synced_bit_by_bit(self):
        files = FaultyFiles()
        storage = with_entries(files, 5)
        done = len(files.calls)
        sink = storage.begin_snapshot(meta(1, 3))
        for _ in range(3):
            sink.write(bytes(4 * 1024 * 1024))
        sink.commit()
        assert sum("sync" in call for call in files.calls[done:]) == 5

    def test_closing_the_storage_abandons_it(self):
        files = FaultyFiles()
        storage = with_entries(files, 5)
        sink = storage.begin_snapshot(meta(1, 3))
        storage.close()
        assert not files.descriptors
        assert not sink.is_open

    def test_settings_that_no_start_could_read_are_a_bug(self):
        files = FaultyFiles()
        storage = start(files)
        storage.write_genesis(replace(GENESIS, settings=bytes(5 * 1024 * 1024)))
        storage.write([append(command(1, 1))])
        with pytest.raises(AssertionError, match="no start could read"):
            storage.begin_snapshot(meta(1, 1))
