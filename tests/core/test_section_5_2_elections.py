"""Raft §5.2: leader election. Who asks, who gives a vote, who counts, and how an election ends."""

from __future__ import annotations

import pytest

from raft_actors.core.effects import (
    Append,
    Count,
    DropReason,
    HardState,
    Persist,
    RestartElectionTimer,
    RoleChanged,
    SendReply,
    StopElectionTimer,
)
from raft_actors.core.entries import Noop
from raft_actors.core.events import ElectionTimedOut
from raft_actors.core.messages import AppendEntries, PreVoteReply, RequestVote, RequestVoteReply
from raft_actors.core.types import GENESIS_ID, EntryId, Role
from tests.core.builders import (
    Peer,
    append,
    candidate,
    directory,
    elected,
    follower,
    leader,
    log_of,
    only,
    pre_candidate,
    reply,
    requests,
    restored,
    some,
)

LOG = log_of(1, 1)


def vote(peer: Peer, by: int, *, term: int | None = None, granted: bool = True, wiped: int = 0) -> list[object]:
    message = RequestVoteReply(term=peer.state.current_term if term is None else term, vote_granted=granted)
    return list(peer.answer(message, by, wiped=wiped))


class TestBecomingACandidate:
    """ "Increment currentTerm, vote for self, reset election timer, send RequestVote RPCs to all other servers." """

    def test_all_four(self) -> None:
        peer = pre_candidate(follower(log=LOG))
        grant = PreVoteReply(term=1, vote_granted=True, campaign=peer.state.campaign)
        effects = peer.answer(grant, 2)
        assert only(effects, Persist).records == (HardState(term=2, voted_for=directory(0)),)
        assert only(effects, RoleChanged).role is Role.CANDIDATE
        assert only(effects, RestartElectionTimer).generation == peer.state.timer_generation
        asked = requests(effects, RequestVote)
        assert asked == dict.fromkeys((1, 2), RequestVote(term=2, last_entry=EntryId(1, 2)))

    def test_a_timer_that_was_restarted_meanwhile_starts_nothing(self) -> None:
        peer = follower()
        late = ElectionTimedOut(now_ms=peer.now_ms, generation=peer.state.timer_generation - 1)
        assert peer.do(late) == []

    def test_a_timer_of_before_the_leadership_starts_nothing(self) -> None:
        peer = candidate(restored())
        late = ElectionTimedOut(now_ms=peer.now_ms, generation=peer.state.timer_generation)
        peer.sync()
        vote(peer, 1)
        assert peer.do(late) == []
        assert peer.state.role is Role.LEADER

    def test_an_election_without_a_winner_is_followed_by_another_with_no_votes_left_over(self) -> None:
        """ "When this happens, each candidate will time out and start a new election." """
        peer = candidate(restored(5))
        peer.sync()
        vote(peer, 1)
        elected(peer)
        assert peer.state.current_term == 2


class TestCountingVotes:
    """ "A candidate wins an election if it receives votes from a majority of the servers in the full cluster." """

    @pytest.mark.parametrize("size", range(1, 8))
    def test_a_majority_and_no_vote_less_for_every_size(self, size: int) -> None:
        """Even sizes too: Ruaft elects with half (RF1)."""
        peer = candidate(restored(size))
        peer.sync()
        for given in range(1, size // 2 + 1):  # votes beside its own
            assert peer.state.role is Role.CANDIDATE
            vote(peer, given)
        assert peer.state.role is Role.LEADER

    def test_a_duplicate_counts_once(self) -> None:
        """Votes are a set (reliability A4)."""
        peer = candidate(restored(5))
        peer.sync()
        vote(peer, 1)
        vote(peer, 1)
        assert peer.state.role is Role.CANDIDATE

    def test_a_vote_of_an_earlier_term_counts_for_nothing(self) -> None:
        """Reliability A5: candidate of term 1, then of term 2; the late grant is of term 1."""
        peer = candidate(candidate(restored()))
        peer.sync()
        vote(peer, 1, term=1)
        assert (peer.state.current_term, peer.state.role) == (2, Role.CANDIDATE)

    def test_a_refused_vote_counts_for_nothing(self) -> None:
        peer = candidate(restored())
        peer.sync()
        vote(peer, 1, granted=False)
        vote(peer, 2, granted=False)
        assert peer.state.role is Role.CANDIDATE

    def test_the_own_vote_counts_only_when_it_is_durable(self) -> None:
        """A candidate that crashes after winning with a vote it forgets could vote again (reliability A1)."""
        peer = candidate(restored(1))
        assert peer.state.role is Role.CANDIDATE
        peer.sync()
        assert peer.state.role is Role.LEADER

    def test_a_wiped_disk_at_a_voters_address_counts_for_nothing(self) -> None:
        """It broke the promises that the old directory made (DESIGN 4; reliability A3)."""
        peer = candidate(restored())
        peer.sync()
        effects = vote(peer, 1, wiped=1)
        assert effects == [Count(sender=1, reason=DropReason.NOT_A_VOTER)]
        assert peer.state.role is Role.CANDIDATE

    def test_a_vote_after_the_election_changes_nothing(self) -> None:
        peer = leader()
        assert vote(peer, 2) == []


class TestGivingAVote:
    """ "Each server will vote for at most one candidate in a given term, on a first-come-first-served basis." """

    def ask(self, peer: Peer, sender: int, term: int = 2, *, wiped: int = 0) -> list[object]:
        return list(peer.ask(RequestVote(term=term, last_entry=EntryId(1, 2)), sender, wiped=wiped))

    def test_the_first_gets_it_and_it_is_written_before_it_is_said(self) -> None:
        peer = follower(log=LOG)
        effects = self.ask(peer, 1)
        assert reply(effects, RequestVoteReply) == RequestVoteReply(term=2, vote_granted=True)
        writes = some(effects, Persist)
        assert writes[-1].records == (HardState(term=2, voted_for=directory(1)),)
        assert only(effects, SendReply).after == writes[-1].seq
        assert only(effects, RestartElectionTimer)

    def test_the_second_does_not(self) -> None:
        peer = follower(log=LOG)
        self.ask(peer, 1)
        assert reply(self.ask(peer, 2), RequestVoteReply).vote_granted is False

    def test_a_copy_of_the_first_request_gets_it_again_without_a_write(self) -> None:
        """And still not before the first write is done: the answer is a promise too."""
        peer = follower(log=LOG)
        self.ask(peer, 1)
        effects = self.ask(peer, 1)
        assert reply(effects, RequestVoteReply).vote_granted is True
        assert not some(effects, Persist)
        assert only(effects, SendReply).after == peer.state.write_seq

    def test_a_vote_is_for_a_directory_not_for_an_address(self) -> None:
        peer = follower(log=LOG)
        self.ask(peer, 1)
        assert reply(self.ask(peer, 1, wiped=1), RequestVoteReply).vote_granted is False

    def test_a_new_term_brings_a_new_vote(self) -> None:
        peer = follower(log=LOG)
        self.ask(peer, 1)
        assert reply(self.ask(peer, 2, term=3), RequestVoteReply).vote_granted is True

    @pytest.mark.parametrize("peer", [candidate(follower(log=LOG)), leader(log=LOG)], ids=["candidate", "leader"])
    def test_who_voted_for_itself_has_none_to_give(self, peer: Peer) -> None:
        assert reply(self.ask(peer, 1), RequestVoteReply).vote_granted is False


class TestWinning:
    """ "Once a candidate wins an election, it becomes leader. It then sends heartbeat messages to all." """

    def test_it_speaks_to_all_at_once_and_has_no_timer(self) -> None:
        peer = candidate(restored(log=LOG, term=3))
        peer.sync()
        effects = vote(peer, 2)
        assert only(effects, RoleChanged) == RoleChanged(role=Role.LEADER, term=4, leader=0, why="elected")
        assert only(effects, StopElectionTimer).generation == peer.state.timer_generation
        assert set(requests(effects, AppendEntries)) == {1, 2}

    def test_it_writes_a_no_op_if_anything_may_be_uncommitted(self) -> None:
        """Raft §8, and §5.4.2: only an entry of its own term lets it commit the older ones (reliability B11)."""
        peer = candidate(restored(log=LOG))
        peer.sync()
        (record,) = only(vote(peer, 2), Persist).records
        assert isinstance(record, Append)
        assert [(entry.id, entry.payload) for entry in record.entries] == [(EntryId(2, 3), Noop())]

    def test_a_quiet_first_election_adds_nothing(self) -> None:
        peer = leader()
        assert peer.state.log.last == GENESIS_ID
        assert requests(peer.sent, AppendEntries)[1].entries == ()

    def test_a_leader_that_knows_all_to_be_committed_adds_nothing(self) -> None:
        """Its commit index is the group's true one already (Leader Completeness, §5.4)."""
        peer = elected(follower(log=LOG, commit=2))
        assert peer.state.log.last == EntryId(1, 2)

    def test_alone_it_elects_itself(self) -> None:
        """Ruaft's fault RF2 begins here; it ends in test_section_5_4_2_commit.py."""
        assert leader(1).state.role is Role.LEADER


class TestLosing:
    """ "If the leader's term is at least as large as the candidate's current term, [it] returns to follower state." """

    @pytest.mark.parametrize("make", [pre_candidate, candidate])
    @pytest.mark.parametrize("later", [0, 1])
    def test_a_leader_of_our_term_or_later_ends_the_campaign(self, make: object, later: int) -> None:
        """Of our own term too (reliability A9)."""
        assert callable(make)
        peer = make(follower(log=LOG))
        effects = peer.ask(append(peer.state.current_term + later, EntryId(1, 2)), sender=2)
        assert (peer.state.role, peer.state.leader_hint) == (Role.FOLLOWER, 2)
        assert some(effects, RoleChanged)[-1].leader == 2
        assert not peer.state.votes

    def test_an_earlier_leader_does_not(self) -> None:
        """ "If the term in the RPC is smaller [...], the candidate rejects the RPC and continues." """
        peer = candidate(follower(log=LOG))
        peer.ask(append(1, EntryId(1, 2)), sender=2)
        assert peer.state.role is Role.CANDIDATE
