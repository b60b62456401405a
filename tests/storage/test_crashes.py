"""Stop at every call, keep any part of what was not synced, and start again: nothing acknowledged is ever lost.

The oracle is the list of groups that the workload wrote. After a crash the log is what all acknowledged groups add up
to, or that and the one group that was being written. Nothing else exists.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from raft_actors.core.entries import Genesis
from raft_actors.errors import StorageFailed
from raft_actors.storage.image import LogImage, LogRecord
from raft_actors.storage.interface import Recovered
from raft_actors.storage.wal import FileStorage
from tests.storage.faulty_files import (
    PATH,
    FaultyFiles,
    Keep,
    MachineStopped,
    everything,
    first,
    nothing,
    only_sizes,
    some,
)
from tests.storage.logs import CONFIGURATION, GENESIS, GROUP, MEMBER, OTHER, append, command, entry, truncate, vote

MARK, RESTART, KILL = "mark", "restart", "kill"

WORKLOAD: list[object] = [
    GENESIS,
    MARK,
    (vote(1, OTHER), append(entry(1, 1))),
    (append(command(1, 2), command(1, 3, 900)),),
    MARK,
    (append(command(1, 4, 30)),),
    KILL,
    (truncate(3), vote(2), append(command(2, 3), command(2, 4))),
    (vote(3, OTHER),),
    RESTART,
    RESTART,
    (append(entry(3, 5, CONFIGURATION)),),
    (append(*(command(3, index, 200) for index in range(6, 12))),),
    KILL,
    KILL,
    (truncate(7),),
    (append(command(4, 7)), vote(4)),
    MARK,
]


@dataclass
class Oracle:
    """What was promised to whom."""

    acknowledged: list[tuple[LogRecord, ...]] = field(default_factory=list)
    in_flight: list[tuple[LogRecord, ...]] = field(default_factory=list)
    start_count_told: int = 0
    directory_id_told: bytes | None = None

    def told(self, found: Recovered) -> None:
        """`open` returned: from here on all of it may be known to others."""
        assert found.incarnation.start_count > self.start_count_told, "a start counter was told twice"
        assert self.directory_id_told in (None, found.incarnation.directory_id), "the directory changed its id"
        self.start_count_told = found.incarnation.start_count
        self.directory_id_told = found.incarnation.directory_id
        if self._matches(found, self.acknowledged):
            self.in_flight = []
        else:
            assert self.in_flight, f"lost or changed: {found}"
            assert self._matches(found, self.acknowledged + self.in_flight), f"lost, changed or half a group: {found}"
            self.acknowledged += self.in_flight
            self.in_flight = []

    def _matches(self, found: Recovered, groups: list[tuple[LogRecord, ...]]) -> bool:
        image = LogImage()
        for group in groups:
            for record in group:
                image.apply(record)
        return (image.genesis, image.hard_state, tuple(image.entries)) == (
            found.genesis,
            found.hard_state,
            found.entries,
        )


def start(files: FaultyFiles, oracle: Oracle) -> FileStorage:
    storage = FileStorage.open(PATH, group=GROUP, member_id=MEMBER, segment_bytes_max=600, files=files)
    oracle.told(storage.recovered)
    return storage


def work(files: FaultyFiles, oracle: Oracle) -> None:
    """The workload, until it is done or a fault ends it."""
    storage = start(files, oracle)
    for step in WORKLOAD:
        if step == MARK:
            storage.mark_synced()
        elif step in (RESTART, KILL):
            if step == RESTART:
                storage.close()
            number, fail = files.stop_at, files.fail_at
            calls = files.calls
            files.kill()
            files.stop_at, files.fail_at, files.calls = number, fail, calls
            storage = start(files, oracle)
        else:
            group = (step,) if isinstance(step, Genesis) else step
            oracle.in_flight = [group]
            if isinstance(step, Genesis):
                storage.write_genesis(step)
            else:
                storage.write(group)
            oracle.acknowledged += oracle.in_flight
            oracle.in_flight = []


def call_count() -> int:
    files = FaultyFiles()
    work(files, Oracle())
    return len(files.calls)


CALLS = call_count()


def stopped_at(number: int) -> tuple[FaultyFiles, Oracle]:
    files, oracle = FaultyFiles(seed=number), Oracle()
    files.stop_at = number
    with pytest.raises(MachineStopped):
        work(files, oracle)
    return files, oracle


def kept_parts(files: FaultyFiles, dice: random.Random, random_count: int) -> list[Keep]:
    """Every prefix of what was not synced, and some of anything."""
    prefixes = [first(count) for count in range(1, len(files.changes))]
    return [nothing, everything, only_sizes, *prefixes, *(some(dice) for _ in range(random_count))]


def fork(files: FaultyFiles, oracle: Oracle) -> tuple[FaultyFiles, Oracle]:
    fresh = Oracle(list(oracle.acknowledged), list(oracle.in_flight), oracle.start_count_told, oracle.directory_id_told)
    return files.copy(), fresh


def test_the_workload_reaches_what_it_is_for():
    files = FaultyFiles()
    work(files, Oracle())
    created = {call for call in files.calls if call.startswith("create log-")}
    assert len(created) > 1 + WORKLOAD.count(KILL) + WORKLOAD.count(RESTART), "segments roll within a start, too"
    assert any(call.startswith("unlink log-") for call in files.calls), "a start without writes leaves no file behind"
    assert files.calls.count("sync directory") >= len(created)


@pytest.mark.long
@pytest.mark.slow
class TestPowerCutAtEveryCall:
    """Issue 2, storage; reliability K5."""

    def test_acknowledged_groups_are_there_and_recovery_is_idempotent(self):
        for number in range(CALLS):
            files, oracle = stopped_at(number)
            for keep in kept_parts(files, random.Random(number), 6):
                world, promised = fork(files, oracle)
                world.power_cut(keep)
                found = start(world, promised).recovered
                world.kill()
                again = start(world, promised).recovered
                assert (again.entries, again.hard_state) == (found.entries, found.hard_state)
                assert again.torn_bytes == 0, "what was torn is dropped once"

    def test_what_was_answered_after_a_kill_survives_a_power_cut(self):
        """Bytes read back from the page cache are not durable (contracts 4)."""
        for number in range(CALLS):
            files, oracle = stopped_at(number)
            files.kill()
            start(files, oracle)
            for keep in kept_parts(files, random.Random(number), 3):
                world, promised = fork(files, oracle)
                promised.in_flight = []
                world.power_cut(keep)
                start(world, promised)

    @pytest.mark.parametrize("first_stop_is", ["kill", "power cut"])
    def test_a_crash_inside_recovery_changes_nothing(self, first_stop_is):
        for number in range(0, CALLS, 2):
            files, oracle = stopped_at(number)
            dice = random.Random(number)
            if first_stop_is == "kill":
                files.kill()
            else:
                files.power_cut(some(dice))
            trial, promised = fork(files, oracle)
            start(trial, promised)
            for depth_two in range(len(trial.calls)):
                world, promised = fork(files, oracle)
                world.stop_at = depth_two
                with pytest.raises(MachineStopped):
                    start(world, promised)
                world.power_cut(dice.choice([nothing, everything, only_sizes, some(dice), some(dice)]))
                start(world, promised)
                world.power_cut(nothing)
                start(world, promised)

    def test_work_goes_on_after_any_crash(self):
        for number in range(CALLS):
            files, oracle = stopped_at(number)
            dice = random.Random(number)
            files.power_cut(some(dice))
            storage = start(files, oracle)
            last = storage.recovered.entries[-1].id if storage.recovered.entries else None
            term, index = (last.term, last.index + 1) if last else (1, 1)
            group = (append(command(term + 1, index)),)
            storage.write(group)
            oracle.acknowledged.append(group)
            files.power_cut(nothing)
            start(files, oracle)


class TestErrorAtEveryCall:
    """A disk that fails once: nothing is acknowledged after it, and nothing acknowledged before it is lost (K8)."""

    @pytest.mark.slow
    @pytest.mark.parametrize("errno", [5, 28], ids=["EIO", "ENOSPC"])
    @pytest.mark.parametrize("short_writes", [False, True])
    def test_the_member_stops_and_the_next_start_finds_everything(self, errno, short_writes):
        seen = 0
        for number in range(CALLS):
            files, oracle = FaultyFiles(seed=number), Oracle()
            files.fail_at, files.error, files.short_writes = number, errno, short_writes
            try:
                work(files, oracle)
            except StorageFailed:
                seen += 1
            assert not files.descriptors or oracle.start_count_told, "a failed open holds nothing"
            for keep in (everything, nothing, some(random.Random(number))):
                world, promised = fork(files, oracle)
                world.kill()
                if keep is not everything:
                    world.power_cut(keep)
                start(world, promised)
                world.power_cut(nothing)
                promised.in_flight = []
                start(world, promised)
        assert seen >= CALLS * 3 // 4, "only an unlink may fail unnoticed"

    def test_a_failed_sync_is_not_healed_by_the_next_one(self):
        """Pages are clean after a failed sync: only writing them anew makes them durable (contracts 4)."""
        files, oracle = FaultyFiles(), Oracle()
        storage = start(files, oracle)
        group = (vote(9, OTHER),)
        oracle.in_flight = [group]
        files.fail_at = len(files.calls) + 1
        with pytest.raises(StorageFailed):
            storage.write(group)
        files.kill()
        assert start(files, oracle).recovered.hard_state == vote(9, OTHER), "read from the page cache, and now told"
        files.power_cut(nothing)
        assert start(files, oracle).recovered.hard_state == vote(9, OTHER)


class TestWhatRecoveryLeavesBehind:
    """A start must not make a later one see damage, or keep files for ever."""

    def test_a_torn_tail_is_never_judged_again(self):
        files, oracle = FaultyFiles(), Oracle()
        storage = start(files, oracle)
        storage.write((append(command(1, 1)),))
        oracle.acknowledged.append((append(command(1, 1)),))
        files.stop_at = len(files.calls) + 1
        with pytest.raises(MachineStopped):
            storage.write((append(command(1, 2, 3000)),))
        files.power_cut(only_sizes)
        assert start(files, oracle).recovered.torn_bytes > 3000
        for _ in range(3):
            files.kill()
            storage = start(files, oracle)
            assert storage.recovered.torn_bytes == 0
        assert storage.recovered.entries == (command(1, 1),)

    def test_starts_without_writes_leave_one_file(self):
        files, oracle = FaultyFiles(), Oracle()
        start(files, oracle)
        for _ in range(20):
            files.kill()
            start(files, oracle)
        assert sum(name.endswith(".seg") for name in files.cached_names) == 1
        assert oracle.start_count_told == 21

    def test_a_removed_file_that_comes_back_changes_nothing(self):
        files, oracle = FaultyFiles(), Oracle()
        start(files, oracle)
        old = dict(files.cached_names)
        files.kill()
        storage = start(files, oracle)
        group = (append(command(1, 1)),)
        storage.write(group)
        oracle.acknowledged.append(group)
        files.kill()
        for name, inode in old.items():
            files.cached_names.setdefault(name, inode)
        start(files, oracle)
