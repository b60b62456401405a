"""Dissertation §4.1, §4.2: the configuration is read from the log, and whoever counts, counts its voters by directory.

Changing the membership comes later; what a configuration in the log means is decided here (contracts rules 1 and 7, and
DESIGN 4, "why refusing to vote is not enough").
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from raft_actors.core.configuration import Configurations
from raft_actors.core.effects import CommitAdvanced, ConfigurationChanged, Count, DropReason, ReadConfirmed, SendRequest
from raft_actors.core.entries import Configuration, Entry
from raft_actors.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
)
from raft_actors.core.types import EntryId, LogIndex, Role
from tests.core.builders import (
    SETTINGS,
    Peer,
    append,
    candidate,
    configuration,
    directory,
    elected,
    entry,
    follower,
    last_of,
    log_of,
    only,
    pre_candidate,
    reply,
    requests,
    restored,
    some,
)


def change(term: int, index: int, *voters: int, non_voters: tuple[int, ...] = ()) -> Entry:
    return entry(term, index, configuration(voters, non_voters))


def in_force(peer: Peer) -> Configuration:
    return peer.state.configurations.in_force


class TestWhichIsInForce:
    """ "A server always uses the latest configuration in its log, regardless of whether the entry is committed." """

    @pytest.mark.parametrize(("index", "place"), [(0, 0), (1, 0), (2, 2), (4, 2), (5, 5), (99, 5)])
    def test_of_an_entry_it_is_the_newest_at_or_before_it(self, index: int, place: int) -> None:
        configurations = Configurations(LogIndex(0), configuration([0]))
        configurations.appended([change(1, 2, 0, 1), *log_of(1, 1, after=2), change(1, 5, 0, 1, 2)])
        voters = {0: [0], 2: [0, 1], 5: [0, 1, 2]}[place]
        assert configurations.at(LogIndex(index)) == (place, configuration(voters))
        configurations.truncated(LogIndex(5))
        assert configurations.at(LogIndex(index))[0] == min(place, 2)

    def test_of_an_entry_above_the_logs_base_it_is_known_after_a_compaction(self) -> None:
        configurations = Configurations(LogIndex(0), configuration([0]))
        configurations.appended([change(1, 2, 0, 1), *log_of(1, 1, after=2), change(1, 5, 0, 1, 2)])
        configurations.compacted(LogIndex(3))
        assert [configurations.at(LogIndex(index))[0] for index in (3, 4, 5)] == [2, 2, 5]

    def test_from_the_moment_it_is_appended(self) -> None:
        """Reliability D2."""
        peer = follower()
        effects = peer.ask(append(1, entries=(change(1, 1, 0, 1),)))
        assert only(effects, ConfigurationChanged) == ConfigurationChanged(index=1)
        assert in_force(peer) == configuration((0, 1))
        assert peer.state.commit_index == 0

    def test_the_newest_of_several(self) -> None:
        peer = follower()
        peer.ask(append(1, entries=(change(1, 1, 0, 1), change(1, 2, 0, 1, 3))))
        assert in_force(peer) == configuration((0, 1, 3))

    def test_until_it_is_truncated_then_the_one_before(self) -> None:
        """Reliability D3."""
        peer = follower()
        peer.ask(append(1, entries=(*log_of(1), change(1, 2, 0, 1))))
        effects = peer.ask(append(2, EntryId(1, 1), log_of(2, after=1)), 2)
        assert only(effects, ConfigurationChanged) == ConfigurationChanged(index=0)
        assert in_force(peer) == configuration((0, 1, 2))

    def test_after_a_restart_as_before(self) -> None:
        assert in_force(restored(log=(*log_of(1), change(1, 2, 0, 1)))) == configuration((0, 1))

    @pytest.mark.parametrize("members", [((1, 0), (0, 1)), ((0, 1), (0, 2)), ((0, 1), (1, 1))])
    def test_unsorted_or_doubled_members_are_no_configuration(self, members: tuple[tuple[int, int], ...]) -> None:
        one = configuration((0,)).members[0]
        with pytest.raises(ValueError, match="member"):
            Configuration(members=tuple(replace(one, member_id=who, directory_id=directory(d)) for who, d in members))


class TestWhoCounts:
    """Contracts rule 1: "listed" is not "voter", and a removed leader does not count itself."""

    def non_voter_group(self) -> Peer:
        """Voters 0, 1, 2; non-voter 3."""
        peer = elected(restored(members=configuration((0, 1, 2), (3,))))
        peer.propose()
        peer.sync()
        return peer

    def test_a_non_voters_copy_commits_nothing(self) -> None:
        """Rule 1 (a): leader 0 is cut off with 3; if 3 counted, 0 and 3 would commit while 1 and 2 elect another."""
        peer = self.non_voter_group()
        peer.accepted(3)
        peer.accepted(3)
        assert peer.state.leading.progress[directory(3)].match_index == 1
        assert peer.state.commit_index == 0

    def test_a_non_voters_answer_confirms_no_read(self) -> None:
        peer = self.non_voter_group()
        peer.read()
        assert not some(peer.accepted(3), ReadConfirmed)

    def test_a_non_voters_answer_is_no_quorum(self) -> None:
        peer = self.non_voter_group()
        peer.wait(SETTINGS.check_quorum_ms)
        peer.accepted(3)
        peer.wait(1).beat()
        assert peer.state.role is Role.FOLLOWER

    def test_a_non_voters_vote_is_none(self) -> None:
        peer = candidate(restored(members=configuration((0, 1, 2), (3,))))
        peer.sync()
        effects = peer.answer(RequestVoteReply(term=1, vote_granted=True), 3)
        assert effects == [Count(sender=3, reason=DropReason.NOT_A_VOTER)]
        assert peer.state.role is Role.CANDIDATE

    def test_it_is_fed_and_not_asked_for_votes(self) -> None:
        peer = elected(restored(members=configuration((0, 1, 2), (3,))))
        asked = {one.envelope.to for one in peer.sent if not isinstance(one.envelope.message, AppendEntries)}
        fed = {one.envelope.to for one in peer.sent if isinstance(one.envelope.message, AppendEntries)}
        assert (asked, fed) == ({1, 2}, {1, 2, 3})

    def test_a_removed_leader_does_not_count_its_own_copy(self) -> None:
        """Rule 1 (b): 1, 2, 3 are in force, 0 leads them to the end. Entries 1 and 2 are on 0 and 1 only; a majority of
        {1, 2, 3} without them could elect another leader, so 0 + 1 must not commit."""
        peer = elected(restored(4, log=(change(1, 1, 1, 2, 3),)))
        peer.sync()
        peer.accepted(1)
        assert peer.state.commit_index == 0
        assert only(peer.accepted(2), CommitAdvanced).commit_index == 2

    def test_a_removed_leader_is_no_majority_of_two_either(self) -> None:
        peer = elected(restored(2, log=(change(1, 1, 1),)))
        peer.sync()
        assert peer.state.commit_index == 0
        assert only(peer.accepted(1), CommitAdvanced).commit_index == 2


class TestWhoCampaigns:
    """Contracts rule 7, dissertation §4.2.2: a voter in force, or one removed by an entry that may not be committed."""

    def campaigns(self, peer: Peer) -> bool:
        return bool(some(peer.wait(SETTINGS.check_quorum_ms).time_out(), SendRequest))

    def test_a_voter_does(self) -> None:
        assert self.campaigns(restored())

    def test_a_non_voter_does_not(self) -> None:
        assert not self.campaigns(restored(members=configuration((1, 2), (0,))))

    def test_who_is_not_listed_does_not(self) -> None:
        assert not self.campaigns(restored(members=configuration((1, 2, 3))))

    def test_who_is_listed_with_another_directory_does_not(self) -> None:
        """A wiped member with the old data's configuration: it made none of the promises."""
        assert not self.campaigns(restored(wiped=1))

    def test_the_removed_one_does_while_its_removal_is_not_known_to_be_committed(self) -> None:
        """Two members: 0 appended its own removal and was deposed. It has the longer log, so 1 cannot win without it;
        if it did not campaign, nobody ever would."""
        peer = restored(2, log=(change(1, 1, 1),))
        effects = peer.wait(5_000).time_out()
        assert set(requests(effects, PreVote)) == {1}
        assert peer.state.role is Role.PRE_CANDIDATE  # it does not count itself
        peer.answer(PreVoteReply(term=1, vote_granted=True, campaign=1), 1)
        peer.sync()
        assert peer.state.role is Role.CANDIDATE
        peer.answer(RequestVoteReply(term=2, vote_granted=True), 1)
        assert peer.state.role is Role.LEADER

    def test_the_one_that_stays_is_refused_by_the_longer_log(self) -> None:
        """The other half of that schedule."""
        removed = restored(2, log=(change(1, 1, 1),))
        answer = removed.wait(5_000).ask(PreVote(term=1, last_entry=EntryId(0, 0), campaign=1), 1)
        assert not reply(answer, PreVoteReply).vote_granted

    def test_the_removed_one_does_not_when_its_removal_is_committed(self) -> None:
        log = (change(1, 1, 1, 2),)
        peer = follower(log=log, commit=1)
        assert not self.campaigns(peer)

    def test_a_voter_again_when_its_removal_is_truncated(self) -> None:
        peer = restored(log=(change(1, 1, 1, 2), change(1, 2, 1)))
        assert not self.campaigns(peer)  # removed two configurations ago
        peer.ask(append(2, entries=log_of(2)))
        assert self.campaigns(peer)


class TestWhoIsObeyed:
    """Dissertation §4.1: requests of any peer of the cluster, listed or not; who answers need not know more."""

    def test_a_follower_that_was_away_obeys_a_leader_whose_directory_it_does_not_know(self) -> None:
        peer = follower()
        log = (change(1, 1, 0, 1, 2, 3),)
        answer = peer.ask(append(5, entries=(*log, entry(5, 2))), 3)
        assert reply(answer, AppendEntriesReply).success
        assert peer.state.leader_hint == 3

    def test_a_non_voter_votes(self) -> None:
        """The candidate may know of its promotion first."""
        peer = restored(members=configuration((1, 2), (0,)))
        answer = peer.ask(RequestVote(term=1, last_entry=EntryId(0, 0)), 1)
        assert reply(answer, RequestVoteReply).vote_granted

    def test_a_wiped_member_takes_data_and_its_answers_count_nowhere(self) -> None:
        wiped = restored(member=2, wiped=1)
        peer = elected(restored())
        peer.propose(b"precious")
        peer.sync()
        request = append(1, entries=(peer.state.log.entry_at(1),))
        answer = reply(wiped.ask(request, 0), AppendEntriesReply)
        assert answer.success
        assert peer.answer(answer, 2, wiped=1) == [Count(sender=2, reason=DropReason.NOT_A_VOTER)]


class TestWhyRefusingToVoteIsNotEnough:
    """DESIGN 4: S1 leads term 5, cut off from S2. S3 voted for S2 in term 9, S2 leads; then S3's disk is wiped."""

    def test_the_schedule(self) -> None:
        log = log_of(1)
        s1 = elected(restored(log=log, term=4))
        s1.sync()
        s2 = restored(log=log, term=8, member=1)
        s3 = restored(log=log, term=8, member=2)
        pre_candidate(s2)
        s2.answer(PreVoteReply(term=8, vote_granted=True, campaign=1), 2)
        s2.sync()
        granted = reply(s3.ask(RequestVote(term=9, last_entry=EntryId(1, 1)), 1), RequestVoteReply)
        s2.answer(granted, 2)
        assert (s1.state.role, s2.state.role) == (Role.LEADER, Role.LEADER)
        assert (s1.state.current_term, s2.state.current_term) == (5, 9)

        empty = restored(member=2, wiped=1)  # S3 again, nothing left of term 9
        entries = [s1.state.log.entry_at(index) for index in (1, 2)]
        answer = reply(empty.ask(append(5, entries=entries), 0), AppendEntriesReply)
        assert answer.success
        s1.answer(answer, 2, wiped=1)
        s1.read()
        s1.answer(replace(answer, beat=99), 2, wiped=1)
        assert s1.state.commit_index == 0, "S2 would overwrite what S1 has acknowledged"
        assert s1.state.leading.reads, "S2 may have committed what S1 would not show"
        s1.wait(SETTINGS.check_quorum_ms + 1).answer(answer, 2, wiped=1)
        s1.beat()
        assert s1.state.role is Role.FOLLOWER


def test_a_leaders_progress_is_kept_by_directory() -> None:
    """Reliability D9: a member that comes back with a new disk inherits nothing of its predecessor."""
    peer = elected(restored(log=log_of(1)))
    peer.sync()
    peer.accepted(1)
    peer.accepted(1, wiped=1)
    assert set(peer.state.leading.progress) == {directory(1), directory(2)}
    assert last_of(log_of(1)).index < peer.state.leading.progress[directory(1)].match_index == 2
