"""Raft §5.4.2: what is committed, who is counted for it, and what a leader must not conclude from copies."""

from __future__ import annotations

import pytest

from raft_actors.core.effects import CommitAdvanced, Count, DropReason, Effect, SendReply
from raft_actors.core.messages import AppendEntries, Message, RequestVote, RequestVoteReply
from raft_actors.core.types import EntryId
from tests.core.builders import (
    append,
    elected,
    follower,
    leader,
    leader_of_all,
    log_of,
    only,
    reply,
    requests,
    restored,
    some,
)


def the_reply(effects: list[Effect]) -> Message:
    return only(effects, SendReply).envelope.message


class TestCountingReplicas:
    """ "A log entry is committed once the leader that created the entry has replicated it on a majority." """

    @pytest.mark.parametrize("size", range(1, 8))
    def test_a_majority_and_no_copy_less_for_every_size(self, size: int) -> None:
        """Even sizes too: Ruaft commits with half (RF1)."""
        peer = leader_of_all(size)
        peer.propose()
        peer.sync()
        for copies in range(1, size // 2 + 1):  # beside its own
            assert peer.state.commit_index == 0
            peer.accepted(copies)
        assert peer.state.commit_index == 1

    def test_alone_it_commits_what_is_durable_and_not_before(self) -> None:
        """Ruaft's fault RF2 (alone, nothing is ever committed), and reliability B16 (acknowledged before the sync)."""
        peer = leader(1)
        assert not some(peer.propose(), CommitAdvanced)
        assert only(peer.sync(), CommitAdvanced) == CommitAdvanced(commit_index=1)

    def test_the_leaders_own_copy_counts_only_when_it_is_durable(self) -> None:
        """Reliability B9, dissertation §10.2.1: the leader and one other crash, and both copies must be there."""
        peer = leader_of_all()
        peer.propose()
        assert not some(peer.accepted(1), CommitAdvanced)
        assert only(peer.sync(), CommitAdvanced) == CommitAdvanced(commit_index=1)

    def test_it_may_be_committed_by_others_before_its_own_copy_is_durable(self) -> None:
        peer = leader_of_all()
        peer.propose()
        peer.accepted(1)
        assert only(peer.accepted(2), CommitAdvanced) == CommitAdvanced(commit_index=1)

    def test_one_member_that_answers_twice_is_one_copy(self) -> None:
        peer = leader_of_all(5)
        peer.propose()
        peer.sync()
        request = peer.newest(1)
        peer.accepted(1, request)
        peer.accepted(1, request)
        assert peer.state.commit_index == 0

    def test_followers_learn_it_with_the_next_message(self) -> None:
        peer = leader_of_all()
        peer.propose()
        peer.sync()
        peer.accepted(1)
        assert requests(peer.beat(), AppendEntries)[1].leader_commit == 1

    def test_a_wiped_disk_at_a_members_address_is_no_copy(self) -> None:
        """DESIGN 4: S3 lost its disk, and with it the vote that it gave S2 in a later term. If its answer counted,
        S1 would commit and acknowledge what S2 is about to overwrite."""
        peer = leader_of_all()
        peer.propose()
        peer.sync()
        effects = peer.accepted(2, wiped=1)
        assert effects == [Count(sender=2, reason=DropReason.NOT_A_VOTER)]
        assert peer.state.commit_index == 0

    def test_a_restarted_member_loses_no_commit(self) -> None:
        """Its progress starts from nothing, the commit index does not go back."""
        peer = leader_of_all(log=log_of(1, 1))
        peer.hello(1, start=2)
        peer.hello(2, start=2)
        peer.sync()
        assert peer.state.commit_index == 3


class TestEntriesOfEarlierTerms:
    """ "Raft never commits log entries from previous terms by counting replicas." """

    def test_copies_on_all_do_not_commit_them(self) -> None:
        """Reliability B1."""
        peer = leader(5, log=log_of(1, 2))
        peer.sync()
        old = append(3, entries=log_of(1, 2))  # the no-op, entry 3, has not arrived anywhere yet
        for member in range(1, 5):
            copy = restored(5, term=2, member=member)
            peer.answer(the_reply(copy.ask(old, 0)), member)
        assert peer.state.commit_index == 0

    def test_an_entry_of_its_own_commits_all_before_it(self) -> None:
        """ "Once an entry from the current term has been committed, then all prior entries are committed." """
        peer = leader(log=log_of(1, 2))
        peer.sync()
        assert only(peer.accepted(1), CommitAdvanced) == CommitAdvanced(commit_index=3)


class TestFigure8:
    """ "A time sequence showing why a leader cannot determine commitment using log entries from older terms." """

    def test_a_to_e(self) -> None:
        """(a) S1 leads term 2 and copies entry 2 to S2. (b) S5 leads term 3 with another entry 2. (c) S1 leads term 4
        and copies its old entry 2 to S3: on a majority, and not committed. (d) S5 can still win and overwrite it."""
        old, rival = log_of(1, 2), log_of(1, 3)
        s1 = elected(restored(5, log=old, term=3))  # (c): votes of S2 and S3
        s1.sync()
        assert (s1.state.current_term, s1.state.log.last) == (4, EntryId(4, 3))
        s3 = restored(5, log=log_of(1), term=3, member=2)
        for copy, member in ((restored(5, log=old, term=3, member=1), 1), (s3, 2)):
            message = append(4, EntryId(1, 1), old[1:])  # the old entry travels without the new one behind it
            s1.answer(the_reply(copy.ask(message, 0)), member)
            copy.sync()
        assert s1.state.commit_index == 0

        # (d): S1 crashed. S5 may win with S2, S3 and S4: its last term, 3, is later than their 2.
        s5_asks = RequestVote(term=5, last_entry=EntryId(3, 2))
        assert reply(s3.ask(s5_asks, 4), RequestVoteReply).vote_granted
        s3.ask(append(5, EntryId(1, 1), rival[1:]), 4)
        assert s3.state.log.last == EntryId(3, 2)

    def test_e_with_an_entry_of_term_4_on_a_majority_s5_cannot_win(self) -> None:
        s1 = elected(restored(5, log=log_of(1, 2), term=3))
        s1.sync()
        voters = [restored(5, log=log_of(1), term=3, member=member) for member in (1, 2)]
        message = append(4, EntryId(1, 1), log_of(1, 2, 4)[1:])
        for member, voter in enumerate(voters, 1):
            s1.answer(the_reply(voter.ask(message, 0)), member)
        assert s1.state.commit_index == 3
        s5_asks = RequestVote(term=5, last_entry=EntryId(3, 2))
        assert not any(reply(voter.ask(s5_asks, 4), RequestVoteReply).vote_granted for voter in voters)


class TestDelayedCommitConsistency:
    """A follower that was away takes no commit index that the messages it accepted do not cover."""

    def test_a_heartbeat_that_overtakes_the_entries_commits_nothing_of_the_old_tail(self) -> None:
        peer = follower(log=log_of(1, 2, 2), term=2)
        peer.ask(append(5, EntryId(1, 1), commit=3), 2)
        assert peer.state.commit_index == 1
        peer.ask(append(5, EntryId(1, 1), log_of(1, 5, 5)[1:], commit=3), 2)
        assert (peer.state.commit_index, peer.state.log.last) == (3, EntryId(5, 3))
