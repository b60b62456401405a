"""DESIGN 4, "Durability": every message waits for the write that it depends on; nothing counts before it is durable.

"Every `Send` and `Reply` carries `after`, set to the newest write issued so far, except a leader's AppendEntries,
heartbeats, pre-vote requests and read-index beats, which carry the seq of the (term, vote) that made them legal."
"""

from __future__ import annotations

import pytest

from raft_actors.core.effects import Append, HardState, Persist, SendReply, SendRequest, Truncate
from raft_actors.core.messages import AppendEntriesReply, PreVote, PreVoteReply, RequestVote, RequestVoteReply
from raft_actors.core.types import EntryId, Role
from tests.core.builders import (
    append,
    candidate,
    elected,
    entry,
    follower,
    leader,
    leader_of_all,
    log_of,
    only,
    pre_candidate,
    reply,
    restored,
    some,
)

LOG = log_of(1, 1)


class TestRepliesWaitForTheNewestWrite:
    """So a reply can never promise what a crash could take back, whatever it says."""

    @pytest.mark.parametrize(
        "message",
        [
            append(1, EntryId(1, 2)),
            append(1, EntryId(1, 2), log_of(1, after=2)),
            append(1, EntryId(1, 9)),
            append(0),
            RequestVote(term=2, last_entry=EntryId(1, 2)),
            RequestVote(term=2, last_entry=EntryId(0, 0)),
            PreVote(term=1, last_entry=EntryId(1, 2), campaign=1),
        ],
        ids=["heartbeat", "entries", "gap", "earlier term", "vote", "no vote", "pre-vote"],
    )
    def test_with_a_write_on_its_way(self, message: object) -> None:
        peer = follower(log=LOG)
        peer.ask(append(1, EntryId(1, 2), log_of(1, after=2)))
        effects = peer.ask(message)  # type: ignore[arg-type]
        assert peer.state.write_seq > peer.state.durable_seq
        assert only(effects, SendReply).after == peer.state.write_seq

    def test_a_duplicate_whose_entries_are_still_on_their_way_is_not_answered_at_once(self) -> None:
        """The classic hole: the copy produces no write of its own, and its success relies on the first one's."""
        peer = follower(log=LOG)
        request = append(1, EntryId(1, 2), log_of(1, 1, after=2))
        first = peer.ask(request)
        copy = peer.ask(request)
        assert not some(copy, Persist)
        assert reply(copy, AppendEntriesReply).success
        assert only(copy, SendReply).after == only(first, Persist).seq

    def test_the_write_stands_before_the_reply(self) -> None:
        """Effects begin in list order (reliability A1)."""
        effects = follower(log=LOG).ask(RequestVote(term=2, last_entry=EntryId(1, 2)))
        kinds = [type(effect) for effect in effects if isinstance(effect, Persist | SendReply)]
        assert kinds == [Persist, Persist, SendReply]

    def test_a_term_learnt_and_a_truncation_are_written_in_the_order_in_which_they_happened(self) -> None:
        peer = follower(log=log_of(1, 2, 2), term=2)
        effects = peer.ask(append(3, EntryId(1, 1), (entry(3, 2),)))
        writes = some(effects, Persist)
        assert [write.records[0] for write in writes] == [
            HardState(term=3, voted_for=None),
            Truncate(from_index=2),
            Append(entries=(entry(3, 2),)),
        ]
        assert [write.seq for write in writes] == sorted({write.seq for write in writes})
        assert only(effects, SendReply).after == writes[-1].seq


class TestRequests:
    """A candidate's wait for everything; a leader's and a pre-candidate's for the write that made them legal."""

    def test_a_vote_request_waits_for_the_candidates_vote_and_for_the_log_that_it_boasts_of(self) -> None:
        peer = follower(log=LOG)
        peer.ask(append(1, EntryId(1, 2), log_of(1, after=2)))  # on its way
        sent = some(candidate(peer).sent, SendRequest)
        asks = [one for one in sent if isinstance(one.envelope.message, RequestVote)]
        assert {one.after for one in asks} == {peer.state.write_seq}
        assert asks[0].envelope.message == RequestVote(term=2, last_entry=EntryId(1, 3))

    def test_a_pre_vote_waits_for_its_term_only(self) -> None:
        peer = restored(log=LOG)
        peer.ask(append(2, EntryId(1, 2)))
        term_seq = peer.state.write_seq
        peer.ask(append(2, EntryId(1, 2), log_of(2, after=2)))
        pre_candidate(peer)
        assert {one.after for one in peer.sent} == {term_seq}
        assert peer.state.write_seq == term_seq + 1

    def test_a_leaders_disk_runs_beside_its_followers(self) -> None:
        """Dissertation §10.2.1: entries leave before they are durable here; heartbeats never wait for them."""
        peer = leader_of_all(log=LOG)
        done = peer.state.durable_seq
        sent = some(peer.propose() + peer.beat() + peer.read(), SendRequest)
        assert len(sent) == 6
        assert all(one.after <= done < peer.state.write_seq for one in sent)


class TestOwnPromises:
    """ "A candidate's own vote and a leader's own copy count only once durable." """

    def test_others_votes_without_the_own_one_may_suffice(self) -> None:
        """They cannot come before it: the requests wait for the write of term and vote."""
        peer = candidate(restored(5))
        assert all(
            one.after == peer.state.hard_state_seq for one in peer.sent if isinstance(one.envelope.message, RequestVote)
        )

    def test_the_own_vote_waits_for_its_own_write(self) -> None:
        peer = restored(1, log=LOG)
        peer.ask(RequestVote(term=5, last_entry=EntryId(0, 0)), 1)  # term 5, a write on its way
        candidate(peer)
        peer.sync(1)
        assert peer.state.role is Role.CANDIDATE
        peer.sync(2)
        assert peer.state.role is Role.LEADER

    def test_a_leader_without_a_disk_commits_with_the_others_copies(self) -> None:
        peer = leader_of_all(5)
        peer.propose()
        peer.accepted(1)
        peer.accepted(2)
        assert peer.state.commit_index == 0
        peer.accepted(3)
        assert peer.state.commit_index == 1


class TestTheABAOfAsynchronousAppends:
    """Reliability B10: entry 3 is written, cut off, and written again with other content while the disk is slow."""

    def test_a_completion_of_the_first_does_not_make_the_second_durable(self) -> None:
        peer = follower(log=LOG, term=2)
        first = peer.ask(append(2, EntryId(1, 2), log_of(2, after=2)))
        peer.ask(append(3, EntryId(1, 2), log_of(3, after=2)), 2)
        peer.sync(only(first, Persist).seq)
        assert (peer.state.log.last, peer.state.durable_index) == (EntryId(3, 3), 2)
        peer.sync()
        assert peer.state.durable_index == 3

    def test_the_same_entry_again_is_another_write(self) -> None:
        """Even when the very same entry returns: term 2's entry 3 is cut off by term 3, and term 4 brings it back."""
        peer = follower(log=LOG, term=2)
        first = peer.ask(append(2, EntryId(1, 2), log_of(2, after=2)))
        peer.ask(append(3, EntryId(1, 2), log_of(3, after=2)), 2)
        again = peer.ask(append(4, EntryId(1, 2), log_of(2, after=2)), 1)
        peer.sync(only(first, Persist).seq)
        assert peer.state.durable_index == 2
        assert only(again, SendReply).after == peer.state.write_seq

    def test_a_leader_counts_its_own_copy_by_the_write_not_by_the_index(self) -> None:
        """It wrote entries 3 and 4 of term 2 as a follower; 3' of term 3 took their place; then it was elected."""
        peer = follower(2, log=LOG, term=2)
        old = peer.ask(append(2, EntryId(1, 2), log_of(2, 2, after=2)))
        peer.ask(append(3, EntryId(1, 2), log_of(3, after=2)))
        pre_candidate(peer)
        peer.answer(PreVoteReply(term=3, vote_granted=True, campaign=1))
        peer.sync(only(old, Persist).seq)
        assert peer.state.durable_index == 2
        peer.sync()
        peer.answer(RequestVoteReply(term=4, vote_granted=True))
        assert (peer.state.role, peer.state.durable_index, peer.state.log.last) == (Role.LEADER, 3, EntryId(4, 4))

    def test_the_disk_reports_only_what_was_issued_and_never_goes_back(self) -> None:
        """Our own disk's report is our own state: asserted, not dropped."""
        peer = leader(log=LOG)
        peer.sync()
        with pytest.raises(AssertionError, match="disk reports write"):
            peer.sync(peer.state.write_seq + 1)
        with pytest.raises(AssertionError, match="disk reports write"):
            peer.sync(0)


class TestAfterACrash:
    """What a message promised holds for the state that comes back from the disk."""

    @pytest.mark.parametrize("crash_after", [0, 1, 2])
    def test_a_vote_that_left_is_remembered_and_one_that_is_not_remembered_has_not_left(self, crash_after: int) -> None:
        """Reliability A1, at every point: nothing written, the term written, the vote written."""
        peer = follower(log=LOG)
        base = peer.state.write_seq
        effects = peer.ask(RequestVote(term=2, last_entry=EntryId(1, 2)), 1)
        left = only(effects, SendReply).after <= base + crash_after
        kept = [write.records[0] for write in some(effects, Persist)][:crash_after]
        term, voted_for = (kept[-1].term, kept[-1].voted_for) if kept else (1, None)  # type: ignore[union-attr]
        back = restored(log=LOG, term=term, voted_for=voted_for)
        second = reply(back.ask(RequestVote(term=2, last_entry=EntryId(1, 2)), 2), RequestVoteReply)
        assert not (left and second.vote_granted)
        assert left is (crash_after == 2)

    def test_a_single_leader_starts_again_with_everything_it_committed(self) -> None:
        peer = leader(1)
        peer.propose()
        peer.sync()
        entries = [peer.state.log.entry_at(index + 1) for index in range(len(peer.state.log))]
        back = elected(restored(1, log=entries, term=1, start=2))
        assert (back.state.log.last, back.state.commit_index) == (EntryId(2, 2), 0)
        back.sync()
        assert back.state.commit_index == 2
