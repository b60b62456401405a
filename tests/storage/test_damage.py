"""Every bit flipped, every length cut, sectors zeroed and swapped: the same data, a precise refusal, or a lost tail.

The log holds every type of record, in three segments; its last group is followed by a mark or not. Damage before a mark
is always told (reliability F1); only the last group, without its mark, may be taken for torn (docs/DIVERGENCE).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raft_actors.errors import ForeignDirectory, LogDamaged
from raft_actors.storage.interface import Recovered
from raft_actors.storage.wal import FileStorage
from tests.storage.faulty_files import PATH, FaultyFiles, MachineStopped, nothing
from tests.storage.logs import CONFIGURATION, GENESIS, GROUP, MEMBER, OTHER, append, command, entry, truncate, vote


def open_log(files: FaultyFiles) -> FileStorage:
    return FileStorage.open(PATH, group=GROUP, member_id=MEMBER, segment_bytes_max=600, files=files)


def log(*, marked: bool) -> FaultyFiles:
    """Three segments: one rolled, one of a second start that repeats a group in its opening."""
    files = FaultyFiles()
    storage = open_log(files)
    storage.write_genesis(GENESIS)
    storage.write([vote(1, OTHER), append(entry(1, 1), command(1, 2))])
    storage.write([truncate(2), append(entry(1, 2, CONFIGURATION))])
    storage.write([append(command(1, 3))])
    files.kill()
    storage = open_log(files)
    storage.mark_synced()
    storage.write([append(command(1, 4))])
    if marked:
        storage.mark_synced()
    files.kill()
    return files


def content(found: Recovered) -> tuple[object, ...]:
    return found.genesis, found.hard_state, found.entries


def opened(files: FaultyFiles, change: Callable[[FaultyFiles], None]) -> Recovered | LogDamaged | ForeignDirectory:
    """What a start says of a copy of the log after the change; any other exception fails the test."""
    world = files.copy()
    change(world)
    try:
        return open_log(world).recovered
    except (LogDamaged, ForeignDirectory) as refusal:
        assert not world.descriptors, "a refused open holds nothing"
        return refusal


def log_files(files: FaultyFiles) -> list[str]:
    return sorted(name for name in files.cached_names if name.endswith(".seg"))


WHOLE = content(open_log(log(marked=True)).recovered)
WITHOUT_LAST = (WHOLE[0], WHOLE[1], WHOLE[2][:-1])


def flip(name: str, at: int, bit: int) -> Callable[[FaultyFiles], None]:
    def change(files: FaultyFiles) -> None:
        files.cached_names[name].cache[at] ^= 1 << bit

    return change


def cut(name: str, size: int) -> Callable[[FaultyFiles], None]:
    def change(files: FaultyFiles) -> None:
        del files.cached_names[name].cache[size:]

    return change


def test_the_log_has_three_segments_and_all_its_groups():
    files = log(marked=True)
    assert len(log_files(files)) == 3
    assert [each.index for each in WHOLE[2]] == [1, 2, 3, 4]


@pytest.mark.slow
class TestEveryBit:
    """ "...never silent loss or changed data, never an exception other than the declared one" (reliability K6)."""

    def test_before_a_mark_every_flip_is_told(self):
        files = log(marked=True)
        told = 0
        for name in log_files(files):
            for at in range(len(files.cached_names[name].cache)):
                outcome = opened(files, flip(name, at, at % 8))
                if isinstance(outcome, LogDamaged):
                    assert outcome.file.endswith(".seg")
                    assert 0 <= outcome.offset <= at, "it names a place at or before the flipped bit"
                    told += 1
                else:
                    assert isinstance(outcome, Recovered), outcome
                    assert content(outcome) == WHOLE, f"{name} byte {at}: lost or changed in silence"
        assert told > 500

    def test_without_a_mark_only_the_last_group_may_go(self):
        files = log(marked=False)
        lost = 0
        last = log_files(files)[-1]
        for name in log_files(files):
            for at in range(len(files.cached_names[name].cache)):
                outcome = opened(files, flip(name, at, (at * 5) % 8))
                if isinstance(outcome, Recovered) and content(outcome) != WHOLE:
                    assert name == last, f"{name} byte {at}"
                    assert content(outcome) == WITHOUT_LAST, f"{name} byte {at}"
                    assert outcome.torn_bytes > 0
                    lost += 1
        assert lost > 0

    def test_identity_is_never_misread(self):
        files = log(marked=True)
        for at in range(len(files.cached_names["IDENTITY"].cache)):
            for bit in range(8):
                assert isinstance(opened(files, flip("IDENTITY", at, bit)), LogDamaged)


@pytest.mark.slow
class TestEveryLength:
    """A file cut short is what a power cut leaves, or damage; never something else."""

    @pytest.mark.parametrize("marked", [True, False])
    def test_the_last_file_cut_leaves_a_prefix_of_whole_groups_and_a_new_start_counter(self, marked):
        files = log(marked=marked)
        name = log_files(files)[-1]
        for size in range(len(files.cached_names[name].cache)):
            outcome = opened(files, cut(name, size))
            assert isinstance(outcome, Recovered), outcome
            assert content(outcome) in (WHOLE, WITHOUT_LAST)
            assert outcome.incarnation.start_count >= 3, "a counter that was told never comes again"

    def test_an_earlier_file_cut_where_it_counts_is_told(self):
        files = log(marked=True)
        for name in log_files(files)[:-1]:
            for size in range(len(files.cached_names[name].cache)):
                outcome = opened(files, cut(name, size))
                assert isinstance(outcome, LogDamaged) or content(outcome) == WHOLE

    def test_a_missing_earlier_file_is_told(self):
        files = log(marked=True)
        for name in [*log_files(files)[:-1], "IDENTITY"]:
            assert isinstance(opened(files, lambda world, name=name: world.cached_names.pop(name)), LogDamaged)


class TestInterruptedStart:
    """A start that ended early left a header, and a header is a mark for the files before it."""

    @staticmethod
    def interrupted() -> tuple[FaultyFiles, str]:
        """A log whose newest file is a header without its opening; and the name of the file that it continues."""
        files = FaultyFiles()
        storage = open_log(files)
        storage.write([append(command(1, 1))])
        storage.write([append(command(1, 2))])
        files.kill()
        before = set(files.cached_names)
        trial = files.copy()
        open_log(trial)
        files.stop_at = trial.calls.index("write", trial.calls.index("sync directory"))
        with pytest.raises(MachineStopped):
            open_log(files)
        files.power_cut(nothing)
        assert len(set(files.cached_names) - before) == 1
        return files, log_files(files)[-2]

    def test_it_changes_nothing_but_the_start_counter(self):
        files, _ = self.interrupted()
        outcome = opened(files, lambda world: None)
        assert [each.index for each in outcome.entries] == [1, 2]
        assert outcome.incarnation.start_count == 3

    @pytest.mark.slow
    def test_the_file_before_it_cut_short_is_told(self):
        files, name = self.interrupted()
        sizes = len(files.cached_names[name].cache)
        outcomes = [opened(files, cut(name, size)) for size in range(sizes)]
        kept = [outcome for outcome in outcomes if isinstance(outcome, Recovered)]
        assert any(isinstance(outcome, LogDamaged) for outcome in outcomes)
        assert all([each.index for each in outcome.entries] == [1] for outcome in kept), (
            "only the unmarked group may go"
        )

    def test_the_file_before_it_missing_is_told(self):
        files, name = self.interrupted()
        assert isinstance(opened(files, lambda world: world.cached_names.pop(name)), LogDamaged)


class TestWholePieces:
    """Records and files in the wrong place (reliability F8, F12, F13)."""

    @pytest.mark.parametrize("fill", [0, 0xFF])
    def test_space_without_content_behind_the_end_is_torn(self, fill):
        files = log(marked=True)

        def fill_up(world: FaultyFiles) -> None:
            world.cached_names[log_files(world)[-1]].cache.extend(bytes([fill]) * 5000)

        outcome = opened(files, fill_up)
        assert content(outcome) == WHOLE
        assert outcome.torn_bytes == 5000

    def test_a_length_of_four_gigabytes_allocates_nothing(self):
        files = log(marked=True)
        head = b"\xd7R\x01\x07\xff\xff\xff\xff" + bytes(16)

        def lie(world: FaultyFiles) -> None:
            world.cached_names[log_files(world)[-1]].cache.extend(head)

        assert content(opened(files, lie)) == WHOLE

    def test_log_bytes_inside_a_stored_value_are_no_mark(self):
        """A value that holds a copy of the log must not turn a torn tail behind it into damage (contracts 9)."""
        files = log(marked=True)
        copy = bytes(files.cached_names[log_files(files)[-1]].cache)
        storage = open_log(files)
        value = type(command(1, 5).payload)(data=copy)
        storage.write([append(entry(1, 5, value))])
        files.kill()
        name = log_files(files)[-1]
        size = len(files.cached_names[name].cache)
        outcome = opened(files, cut(name, size - 1))
        assert content(outcome) == WHOLE

    def test_a_copied_group_does_not_count_twice(self):
        files = log(marked=True)
        storage = open_log(files)
        before = storage._end.offset
        storage.write([vote(2)])
        files.kill()

        def repeat(world: FaultyFiles) -> None:
            cache = world.cached_names[log_files(world)[-1]].cache
            cache.extend(cache[before:])

        outcome = opened(files, repeat)
        assert outcome.hard_state == vote(2)
        assert outcome.torn_bytes > 0

    def test_files_that_changed_names_are_told(self):
        def swap(world: FaultyFiles) -> None:
            first, second, _ = log_files(world)
            names = world.cached_names
            names[first], names[second] = names[second], names[first]

        assert isinstance(opened(log(marked=True), swap), LogDamaged)

    def test_a_file_of_another_directory_is_refused(self):
        other = FaultyFiles(seed=2)
        open_log(other).write_genesis(GENESIS)

        def replace(world: FaultyFiles) -> None:
            world.cached_names[log_files(world)[-1]] = other.cached_names["log-00000001.seg"]

        assert isinstance(opened(log(marked=True), replace), ForeignDirectory)
