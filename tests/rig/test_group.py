"""A group pumped by hand elects, replicates and restarts from its files, whatever its size and its disks."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft_actors.application.exchange import NotLeader, ReadAt, Started
from raft_actors.application.requests import Done
from raft_actors.core.types import Role
from tests.application.builders import attempt
from tests.rig.disks import Disks, FaultyDisks, MemoryDisks, RealDisks
from tests.rig.rig import Group

SIZES = [1, 2, 3, 4, 5]


@pytest.fixture(params=["memory", "faulty", "real"])
def disks(request: pytest.FixtureRequest, tmp_path: Path) -> Disks:
    kinds: dict[str, Disks] = {"memory": MemoryDisks(), "faulty": FaultyDisks(), "real": RealDisks(tmp_path)}
    return kinds[request.param]


class TestEverySize:
    @pytest.mark.parametrize("size", SIZES)
    def test_elects_commits_applies_and_reads(self, size: int) -> None:
        group = Group(size)
        group.elect(1)
        assert group.propose(1, b"x") == Started(index=1, term=1)
        group.deliver_all()
        assert group.commit(1) == 1
        read = group.read(1)
        group.deliver_all()
        assert read.answer == ReadAt(index=1)
        group.beat(1)
        group.deliver_all()
        assert all(group.applied(number) == [b"x"] for number in group.members)

    @pytest.mark.parametrize("size", SIZES)
    def test_needs_a_majority_and_no_more(self, size: int) -> None:
        group = Group(size)
        group.elect(1)
        majority = size // 2 + 1
        for number in range(majority + 1, size + 1):
            group.crash(number)
        group.propose(1, b"with a majority")
        group.deliver_all()
        assert group.commit(1) == 1
        if size > 1:
            group.crash(majority)
            group.propose(1, b"without")
            group.deliver_all()
            assert group.commit(1) == 1

    @pytest.mark.parametrize("size", SIZES)
    def test_finds_a_leader_by_its_own_timers(self, size: int) -> None:
        group = Group(size, seed=size)
        group.run_until(lambda: group.leader() is not None, limit_ms=6000)

    def test_two_halves_of_four_are_no_majority(self) -> None:
        group = Group(4)
        group.elect(1)
        group.partition([1, 2], [3, 4])
        group.propose(1, b"x")
        group.pass_time(5000)
        assert group.commit(1) == 0
        assert group.leader() is None

    def test_an_early_reply_to_a_follower_names_the_leader(self) -> None:
        group = Group(3)
        group.elect(1)
        assert group.propose(2, b"x") == NotLeader(leader=1)


class TestEveryDisk:
    def test_all_are_killed_and_what_was_committed_is_there(self, disks: Disks) -> None:
        group = Group(3, disks=disks)
        group.elect(1)
        for number in range(5):
            group.propose(1, b"%d" % number)
            group.deliver_all()
        for number in (1, 2, 3):
            group.crash(number)
            group.crash_application(number)
        for number in (3, 2, 1):
            group.restart(number)
        group.run_until(lambda: group.leader() is not None and len(group.applied(1)) == 5)
        assert group.applied(1) == [b"0", b"1", b"2", b"3", b"4"]

    def test_the_leader_is_killed_and_nothing_acknowledged_is_lost(self, disks: Disks) -> None:
        group = Group(3, disks=disks)
        group.elect(1)
        (ticket,) = group.submit(1, attempt(1, command=b"x"))
        group.deliver_all()
        assert group.answer(1, ticket) == Done(result=b"1", index=1, term=1)
        group.crash(1)
        group.run_until(lambda: group.leader() in (2, 3) and group.applied(group.leader() or 0) == [b"x"])
        group.restart(1)
        group.run_until(lambda: group.role(1) is Role.FOLLOWER and group.commit(1) == group.commit(group.leader() or 0))
        assert group.applied(1) == [b"x"]

    def test_a_wiped_member_holds_the_log_again_and_counts_nowhere(self, disks: Disks) -> None:
        group = Group(3, disks=disks)
        group.elect(1)
        group.propose(1, b"x")
        group.deliver_all()
        group.wipe(3)
        group.restart(3)
        group.crash(2)
        group.propose(1, b"y")
        group.deliver_all()
        assert group.commit(1) == 1


class TestFollowers:
    def test_one_that_was_away_gets_everything(self) -> None:
        group = Group(3)
        group.elect(1)
        group.crash(3)
        for number in range(20):
            group.propose(1, b"%d" % number)
        group.deliver_all()
        group.restart(3)
        group.run_until(lambda: len(group.applied(3)) == 20)

    def test_a_tail_that_nobody_committed_is_replaced(self) -> None:
        group = Group(3)
        group.elect(1)
        group.isolate(1)
        for _ in range(3):
            group.propose(1, b"never committed")
        group.elect(2)
        group.propose(2, b"committed")
        group.deliver_all()
        group.heal()
        group.run_until(lambda: group.log(1) == group.log(2) and group.applied(1) == [b"committed"])

    def test_a_duplicate_whose_first_copy_is_on_its_way_to_the_disk_is_not_answered(self) -> None:
        """It causes no write of its own, and still must wait for the write of the first copy."""
        group = Group(3)
        group.elect(1)
        group.crash(3)
        group.hold_disk(2)
        group.propose(1, b"x")
        group.duplicate(dst=2, method="append_entries")
        group.deliver_all()
        assert group.under_way(src=2) == 0
        assert group.commit(1) == 0
        group.crash(2)
        group.restart(2)
        assert group.log(2) == ""
        group.run_until(lambda: group.commit(1) == 1)

    def test_the_same_duplicate_is_answered_once_the_write_is_done(self) -> None:
        group = Group(3)
        group.elect(1)
        group.crash(3)
        group.hold_disk(2)
        group.propose(1, b"x")
        group.duplicate(dst=2, method="append_entries")
        group.deliver_all()
        group.sync(2)
        group.deliver_all()
        assert group.commit(1) == 1

    def test_appends_in_any_order_and_twice_leave_one_log(self) -> None:
        group = Group(3)
        group.elect(1)
        for number in range(6):
            group.propose(1, b"%d" % number)
            group.duplicate(method="append_entries")
            group.reverse()
        group.deliver_all()
        group.run_until(lambda: all(len(group.applied(number)) == 6 for number in group.members))
        assert group.applied(3) == [b"0", b"1", b"2", b"3", b"4", b"5"]


class TestLeaders:
    def test_its_own_copy_counts_only_when_durable(self) -> None:
        group = Group(3)
        group.elect(1)
        group.crash(3)
        group.hold_disk(1)
        group.propose(1, b"x")
        group.deliver_all()
        assert group.commit(1) == 0
        group.sync(1)
        assert group.commit(1) == 1

    def test_its_own_vote_counts_only_when_durable(self) -> None:
        group = Group(2)
        group.hold_disk(1)
        group.timeout(1)
        group.deliver_all()
        assert group.role(1) is Role.CANDIDATE
        assert group.under_way() == 0
        group.sync(1)
        group.deliver_all()
        assert group.role(1) is Role.LEADER

    def test_the_vote_of_an_earlier_term_becoming_durable_elects_nobody(self) -> None:
        group = Group(1)
        group.hold_disk(1)
        group.timeout(1)
        group.timeout(1)
        group.sync(1, count=1)
        assert (group.role(1), group.state(1).current_term) == (Role.CANDIDATE, 2)
        group.sync(1)
        assert group.role(1) is Role.LEADER

    def test_a_call_that_a_partition_held_changes_nothing_when_it_is_executed_after_the_heal(self) -> None:
        group = Group(3)
        group.elect(1)
        group.isolate(1)
        group.propose(1, b"held")
        group.elect(2)
        group.propose(2, b"committed")
        group.deliver_all()
        group.heal()
        group.deliver_all(src=1)
        group.run_until(lambda: all(group.applied(number) == [b"committed"] for number in group.members))

    def test_one_that_hears_no_majority_gives_up(self) -> None:
        group = Group(3)
        group.elect(1)
        group.isolate(1)
        group.pass_time(2 * group.config.check_quorum_ms)
        assert group.role(1) is not Role.LEADER


class TestReads:
    def test_an_answer_to_an_older_beat_confirms_no_read(self) -> None:
        """Delayed commit consistency: the old leader gets held answers after another one has committed."""
        group = Group(3)
        group.elect(1)
        group.propose(1, b"old")
        group.deliver_all()
        group.beat(1)
        group.deliver(dst=2, method="append_entries")
        group.deliver(dst=3, method="append_entries")
        group.cut(2, 1)
        group.cut(3, 1)
        group.cut(1, 2)
        group.cut(1, 3)
        group.elect(2)
        group.propose(2, b"new")
        group.deliver_all()
        read = group.read(1)
        held = list(group.network.select(dst=1, part="reply", over_cuts=True))
        assert len(held) == 2, "the answers to the beat before the read are still under way"
        group.drop(src=1)
        group.heal()
        group.deliver(src=2, dst=1, part="reply")
        group.deliver(src=3, dst=1, part="reply")
        assert read.answer is None

    def test_one_member_alone_does_not_answer(self) -> None:
        group = Group(3)
        group.elect(1)
        group.isolate(1)
        read = group.read(1)
        group.pass_time(3000)
        assert read.answer == NotLeader(leader=None)

    def test_a_new_leader_answers_only_when_it_knows_what_is_committed(self) -> None:
        group = Group(3)
        group.elect(1)
        group.propose(1, b"x")
        group.deliver_all()
        group.crash(1)
        group.clock.time_ms += 5000
        group.timeout(2)
        group.deliver_all(method="request_vote")
        read = group.read(2)
        assert group.role(2) is Role.LEADER
        assert read.answer is None
        group.deliver_all()
        assert read.answer == ReadAt(index=2)
