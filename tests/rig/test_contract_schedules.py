"""The schedules that break the contracts of the design when they are read too literally, each played to the end.

Filed by their numbers; what must be true after every event is checked by the group (tests/sim/checks).
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from raft_actors.application.exchange import NotLeader, ReadAt
from raft_actors.application.requests import Done
from raft_actors.application.settings import SessionLimits
from raft_actors.codec import cluster_id_of
from raft_actors.core.entries import Configuration, Entry, Member
from raft_actors.core.types import EntryId, LogIndex, MemberId, Role, Term
from raft_actors.envelopes import decode_envelope, encode_envelope
from raft_actors.peer.election_timer import SOON_MS_MAX
from raft_actors.peer.feed import PROBE_INTERVAL_MS
from tests.application.builders import attempt
from tests.rig.disks import FaultyDisks, directory_id
from tests.rig.rig import Group
from tests.storage.faulty_files import Change, some

SECTOR_BYTES = 512


def configuration_entry(index: int, *members: tuple[int, int], term: int = 1) -> Entry:
    """Voters as (member, how often it was wiped)."""
    lines = tuple(
        Member(member_id=MemberId(number), directory_id=directory_id(number, wipes), voter=True)
        for number, wipes in members
    )
    return Entry(id=EntryId(Term(term), LogIndex(index)), payload=Configuration(members=lines), stamp_ms=0)


class TestWhyRefusingToVoteIsNotEnough:
    """The schedule itself is tests/scenarios/wiped_voter.txt; here is its opposite."""

    def test_who_was_away_while_the_leaders_directory_joined_obeys_it(self) -> None:
        group = Group(3)
        for number in (1, 2, 3):
            group.crash(number)
        group.wipe(1)
        replaced = (configuration_entry(1, (2, 0), (3, 0)), configuration_entry(2, (1, 1), (2, 0), (3, 0)))
        group.put_on_disk(1, *replaced)
        group.put_on_disk(2, *replaced)
        group.restart(1)
        group.restart(2)
        group.elect(1)
        group.restart(3)
        assert not group.state(3).configurations.in_force.is_voter(directory_id(1, 1)), "3 does not know it yet"
        group.crash(2)
        group.propose(1, b"x")
        group.run_until(lambda: group.applied(3) == [b"x"])


class Test1WhoCounts:
    def test_a_leader_with_a_non_voter_is_alone(self) -> None:
        group = Group(4, non_voters=[4])
        group.elect(1)
        group.partition([1, 4], [2, 3])
        group.propose(1, b"x")
        read = group.read(1)
        group.deliver_all()
        assert group.log(4) == "1", "the non-voter is fed"
        assert (group.commit(1), read.answer) == (0, None)
        group.pass_time(2 * group.config.check_quorum_ms)
        assert group.role(1) is not Role.LEADER
        assert read.answer == NotLeader(leader=None)

    def test_a_non_voter_never_campaigns_and_gives_its_vote(self) -> None:
        group = Group(4, non_voters=[4])
        group.timeout(4)
        assert group.role(4) is Role.FOLLOWER
        assert group.under_way() == 0
        group.timeout(1)
        group.deliver_all()
        assert group.state(4).current_term == group.state(1).current_term

    def test_a_leader_that_removed_itself_does_not_count_itself(self) -> None:
        group = Group(4)
        removal = configuration_entry(1, (2, 0), (3, 0), (4, 0))
        for number in (1, 2, 3, 4):
            group.crash(number)
        for number in (1, 2, 3):
            group.put_on_disk(number, removal)
        for number in (1, 2, 3, 4):
            group.restart(number)
        group.deliver_all()
        group.timeout(1)
        group.deliver_all(method="request_vote")
        assert group.role(1) is Role.LEADER, "a removed voter may campaign while the removal is not committed"
        group.propose(1, b"e")
        for _ in range(2):
            group.deliver_all(src=1, dst=2)
            group.deliver_all(src=2, dst=1)
        assert group.log(2) == group.log(1) == "1 2 2"
        assert group.commit(1) == 0, "1 and 2 hold e, and 2 alone of {2, 3, 4} counts"
        group.isolate(1)
        group.crash(2)
        group.elect(3)
        assert group.log(3) == "1 3"


class Test4PageCache:
    """SIGKILL between write and sync; recovery reads it from the page cache; it is answered; the power fails."""

    def test_a_vote_read_back_is_durable_before_it_is_given_again(self) -> None:
        disks = FaultyDisks()
        group = Group(3, disks=disks)
        group.timeout(2)
        group.deliver_all(src=2, dst=3)
        group.deliver_all(src=3, dst=2)
        assert group.role(2) is Role.CANDIDATE
        group.duplicate(src=2, dst=3, method="request_vote")
        disks.stop_before_sync(MemberId(3))
        group.deliver(src=2, dst=3, method="request_vote")
        group.restart(3)
        voted_for = group.state(2).directory_id
        assert group.state(3).voted_for in (None, voted_for)
        group.deliver_all(src=2, dst=3, method="request_vote")
        group.deliver_all(src=3, dst=2, method="request_vote")
        assert group.role(2) is Role.LEADER
        group.power_cut(3)
        group.restart(3)
        assert group.state(3).voted_for == voted_for

    def test_entries_read_back_are_durable_before_they_are_acknowledged_again(self) -> None:
        disks = FaultyDisks()
        group = Group(3, disks=disks)
        group.elect(1)
        group.crash(3)
        disks.stop_before_sync(MemberId(2))
        group.propose(1, b"x")
        group.deliver(dst=2, method="append_entries")
        group.restart(2)
        group.run_until(lambda: group.commit(1) == 1)
        group.power_cut(2)
        group.restart(2)
        assert group.log(2) == "1"

    def test_all_are_killed_while_writing_and_then_lose_power(self) -> None:
        disks = FaultyDisks()
        group = Group(3, disks=disks)
        group.elect(1)
        for number in (1, 2, 3):
            disks.stop_before_sync(MemberId(number))
        group.propose(1, b"x")
        group.deliver_all()
        assert all(member.engine is None for member in group.members.values())
        for number in (1, 2, 3):
            group.restart(number)
        assert group.log(1) == "1"
        group.run_until(lambda: group.leader() is not None and group.applied(group.leader() or 0) == [b"x"])
        for number in (1, 2, 3):
            group.power_cut(number)
        for number in (1, 2, 3):
            group.restart(number)
        group.run_until(lambda: group.leader() is not None and group.applied(group.leader() or 0) == [b"x"])


class Test6Bootstrap:
    MEMBERS = tuple(
        Member(member_id=MemberId(number), directory_id=directory_id(number), voter=True) for number in (1, 2, 3)
    )

    def test_the_same_directories_make_the_same_cluster_whoever_starts_it(self) -> None:
        assert cluster_id_of("g", self.MEMBERS, b"s") == cluster_id_of("g", reversed(self.MEMBERS), b"s")

    @pytest.mark.parametrize(
        ("group", "wiped", "settings"), [("h", 0, b"s"), ("g", 1, b"s"), ("g", 0, b"t")], ids=["name", "disk", "limits"]
    )
    def test_anything_else_makes_another_one(self, group: str, wiped: int, settings: bytes) -> None:
        third = Member(member_id=MemberId(3), directory_id=directory_id(3, wiped), voter=True)
        other = cluster_id_of(group, (*self.MEMBERS[:2], third), settings)
        assert other != cluster_id_of("g", self.MEMBERS, b"s")

    def test_messages_of_another_cluster_are_dropped_and_counted(self) -> None:
        """Two wiped members that were bootstrapped anew must not truncate the log of the third."""
        new = Group(3, sessions=SessionLimits(sessions_max=7))
        new.elect(2)
        old = Group(3)
        old.elect(1)
        old.propose(1, b"x")
        old.deliver_all()
        new.propose(2, b"y")
        old.network.flights += new.network.select(dst=1, part="request")
        foreign = old.under_way(dst=1, part="request")
        assert foreign > 0
        term = old.state(1).current_term
        old.deliver_all(dst=1, part="request")
        assert old.members[MemberId(1)].running().dropped == {"foreign_cluster": foreign}
        assert (old.state(1).current_term, old.role(1), old.log(1)) == (term, Role.LEADER, "1")


class Test9IdleMark:
    @pytest.mark.parametrize("seed", range(12))
    def test_a_power_cut_behind_an_idle_mark_is_no_damage(self, seed: int) -> None:
        disks = FaultyDisks()
        group = Group(1, disks=disks)
        group.elect(1)
        group.propose(1, b"x")
        group.mark(1)
        disks.stop_before_sync(MemberId(1))
        group.propose(1, b"y" * 1500)
        disks.keep = some(random.Random(seed))
        group.power_cut(1)
        group.restart(1)
        assert group.log(1) in ("1", "1 1")
        group.run_until(lambda: group.applied(1)[:1] == [b"x"])

    def test_bytes_that_look_like_a_log_are_a_value_like_any_other(self) -> None:
        """Else a stored value that holds log bytes would be a mark behind a torn tail: damage, and the member fails."""
        disks = FaultyDisks()
        group = Group(1, disks=disks)
        group.elect(1)
        group.propose(1, b"x")
        files = disks.files(MemberId(1))
        log = b"".join(bytes(inode.cache) for name, inode in files.cached_names.items() if name.endswith(".seg"))
        disks.stop_before_sync(MemberId(1))
        group.propose(1, log)
        disks.keep = without_its_first_sector
        group.power_cut(1)
        assert log[-100:] in b"".join(content for _, content in files.on_platter()), "the value is there, not its head"
        group.restart(1)
        assert group.log(1) == "1"


def without_its_first_sector(change: Change) -> Change | None:
    """A power cut keeps the write, except for the sector in which it begins."""
    lost = SECTOR_BYTES - change.offset % SECTOR_BYTES
    return change if change.inode is None else replace(change, offset=change.offset + lost, data=change.data[lost:])


class Test10GapAndLateRegistration:
    def test_calls_that_change_their_order_leave_one_history(self) -> None:
        group = Group(1)
        group.elect(1)
        group.hold_application(1)
        group.propose(1, b"a")
        group.propose(1, b"b")
        group.reverse_application_calls(1)
        group.release_application(1)
        assert group.applied(1) == [b"a", b"b"]

    def test_an_application_that_died_applies_the_log_again(self) -> None:
        group = Group(3)
        group.elect(1)
        for command in (b"a", b"b"):
            group.propose(1, command)
        group.deliver_all()
        group.crash_application(1)
        group.propose(1, b"c")
        group.deliver_all()
        group.start_application(1)
        assert group.applied(1) == [b"a", b"b", b"c"]

    def test_an_application_that_outlives_its_peer_goes_on_where_it_was(self) -> None:
        group = Group(3)
        group.elect(1)
        group.propose(1, b"a")
        group.deliver_all()
        group.crash(1)
        group.elect(2)
        group.propose(2, b"b")
        group.deliver_all()
        group.restart(1)
        group.run_until(lambda: group.applied(1) == [b"a", b"b"])

    def test_a_proposal_whose_answer_is_overtaken_by_its_entry_ends_at_once(self) -> None:
        group = Group(3)
        group.elect(1)
        group.hold_proposal_answers(1)
        (ticket,) = group.submit(1, attempt(1, command=b"c1"))
        group.deliver_all()
        assert group.applied(1) == [b"c1"]
        assert group.answer(1, ticket) is None
        group.release_proposal_answers(1)
        assert group.answer(1, ticket) == Done(result=b"1", index=1, term=1)


class Test13BoundedDisturbances:
    def test_a_leader_hears_itself(self) -> None:
        """Appends to 2 are lost, votes are not: without the rule 1 and 2 would depose each other in turn."""
        group = Group(2)
        group.elect(1)
        group.timeout(2)
        group.deliver_all(method="request_vote")
        assert (group.role(1), group.role(2)) == (Role.LEADER, Role.PRE_CANDIDATE)
        assert group.state(1).current_term == 1

    def test_an_old_hello_changes_nothing(self) -> None:
        group = Group(3)
        group.elect(1)
        group.crash(1)
        group.restart(1)
        group.duplicate(method="hello")
        group.deliver(dst=2, method="hello")
        group.deliver(dst=3, method="hello")
        group.clock.time_ms += group.config.election_timeout_ms_max
        group.timeout(1)
        for method in ("request_vote", "append_entries"):
            group.deliver_all(method=method)
        assert group.role(1) is Role.LEADER
        generation, leader = group.state(2).timer_generation, group.state(2).leader
        assert leader is not None
        assert group.under_way(dst=2, method="hello") == 1
        group.deliver_all(method="hello")
        assert (group.state(2).timer_generation, group.state(2).leader) == (generation, leader)

    def test_after_the_hello_of_their_restarted_leader_followers_ask_for_votes_soon(self) -> None:
        group = Group(5)
        group.elect(1)
        group.crash(1)
        group.restart(1)
        now_ms = group.clock.time_ms
        group.deliver_all(method="hello")
        deadlines = []
        for number in (2, 3, 4, 5):
            deadline = group.members[MemberId(number)].running().election_timer.deadline
            assert deadline is not None
            deadlines.append(deadline.at_ms - now_ms)
        assert max(deadlines) <= SOON_MS_MAX
        assert len(set(deadlines)) > 1, "apart from each other"
        group.run_until(lambda: group.leader() is not None, limit_ms=SOON_MS_MAX + 10)

    def test_a_leader_without_application_hands_over_and_holds_off(self) -> None:
        group = Group(3)
        group.elect(1)
        group.crash_application(1)
        group.pass_time(group.config.application_absent_ms_max - 100)
        assert group.role(1) is Role.LEADER
        group.run_until(lambda: group.role(1) is not Role.LEADER, limit_ms=PROBE_INTERVAL_MS + 200)
        group.crash(2)
        group.crash(3)
        group.pass_time(3 * group.config.election_timeout_ms_max - 20)
        assert group.role(1) is Role.FOLLOWER, "alone, and still it does not campaign"
        group.pass_time(2 * group.config.election_timeout_ms_max)
        assert group.role(1) is Role.PRE_CANDIDATE

    def test_an_older_start_of_a_directory_is_not_counted(self) -> None:
        """A disk restored from an old copy has forgotten what it promised; part of it is found out so."""
        group = Group(3)
        group.elect(1)
        group.crash(3)
        group.isolate(2)
        group.propose(1, b"x")
        group.drop(dst=3)
        group.restart(3)
        group.deliver_all(method="hello")
        assert group.state(1).start_counts[directory_id(3)] == 2
        group.beat(1)
        group.deliver_all(dst=3)
        (reply,) = group.network.select(src=3, dst=1, part="reply")
        assert reply.data is not None
        envelope = decode_envelope(reply.data)
        assert (envelope.incarnation.start_count, group.log(3)) == (2, "1")
        older = replace(envelope, incarnation=replace(envelope.incarnation, start_count=1))
        group.network.flights.insert(0, replace(reply, data=encode_envelope(older)))
        group.deliver(src=3, dst=1)
        assert (group.commit(1), group.members[MemberId(1)].running().dropped) == (0, {"old_incarnation": 1})
        group.deliver(src=3, dst=1)
        assert group.commit(1) == 1


class TestReadsAfterRestart:
    def test_a_group_that_starts_again_reads_what_was_committed(self) -> None:
        group = Group(3)
        group.elect(1)
        group.propose(1, b"x")
        group.deliver_all()
        for number in (1, 2, 3):
            group.crash(number)
        for number in (1, 2, 3):
            group.restart(number)
        group.elect(3)
        read = group.read(3)
        group.deliver_all()
        assert read.answer == ReadAt(index=2)
