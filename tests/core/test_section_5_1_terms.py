"""Raft §5.1: terms act as a logical clock; who learns of a later one follows, who hears an earlier one says no."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raft_actors.core.effects import HardState, Persist, ReadRefused, RestartElectionTimer, RoleChanged
from raft_actors.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
)
from raft_actors.core.state import LEGAL_TRANSITIONS, change_role
from raft_actors.core.types import EntryId, Role
from tests.core.builders import (
    Peer,
    append,
    append_reply,
    candidate,
    directory,
    follower,
    leader,
    log_of,
    only,
    pre_candidate,
    reply,
    restored,
    snapshot_of,
    some,
)

LOG = log_of(1, 1)
ROLES: dict[Role, Callable[[], Peer]] = {
    Role.FOLLOWER: lambda: follower(log=LOG, term=2),
    Role.PRE_CANDIDATE: lambda: pre_candidate(follower(log=LOG, term=2)),
    Role.CANDIDATE: lambda: candidate(follower(log=LOG)),
    Role.LEADER: lambda: leader(log=LOG),
}
every_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.value)


def deliver(peer: Peer, message: Message) -> list[object]:
    is_request = isinstance(message, PreVote | RequestVote | AppendEntries)
    return list(peer.ask(message) if is_request else peer.answer(message))


class TestALaterTerm:
    """ "If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to follower." """

    @every_role
    @pytest.mark.parametrize(
        "message",
        [
            RequestVote(term=9, last_entry=EntryId(0, 0)),
            append(9),
            PreVoteReply(term=9, vote_granted=False, campaign=1),
            PreVoteReply(term=9, vote_granted=True, campaign=1),
            RequestVoteReply(term=9, vote_granted=False),
            RequestVoteReply(term=9, vote_granted=True),  # reliability A8: no grant, whatever it says
            append_reply(append(2), success=False, term=9),
            append_reply(append(9), success=True),
        ],
        ids=lambda message: type(message).__name__,
    )
    def test_is_adopted_by_everyone_from_every_message_but_a_pre_vote(self, role: Role, message: Message) -> None:
        peer = ROLES[role]()
        assert peer.state.role is role
        effects = deliver(peer, message)
        assert (peer.state.current_term, peer.state.role) == (9, Role.FOLLOWER)
        assert some(effects, Persist)[0].records == (HardState(term=9, voted_for=None),)

    @every_role
    def test_of_a_pre_vote_changes_nothing(self, role: Role) -> None:
        """A peer that was away asks with its own term; if that were adopted, pre-vote would be for nothing."""
        peer = ROLES[role]()
        peer.hello(1, start=1)  # so that the start counter is known already
        before = snapshot_of(peer)
        deliver(peer, PreVote(term=9, last_entry=EntryId(9, 9), campaign=1))
        assert snapshot_of(peer) == before

    def test_does_not_touch_the_log(self) -> None:
        peer = follower(log=LOG)
        peer.ask(RequestVote(term=9, last_entry=EntryId(0, 0)))
        assert peer.state.log.last == EntryId(1, 2)

    def test_ends_a_leadership_with_all_that_waited_for_it(self) -> None:
        peer = leader()
        peer.read(read_id=7)
        effects = peer.answer(append_reply(append(1), success=False, term=9))
        assert only(effects, ReadRefused) == ReadRefused(read_id=7, leader=None)
        assert only(effects, RoleChanged).leader is None
        assert only(effects, RestartElectionTimer).generation == peer.state.timer_generation


class TestAnEarlierTerm:
    """ "If a server receives a request with a stale term number, it rejects the request." """

    @every_role
    def test_append_entries_is_refused_with_our_term_and_resets_nothing(self, role: Role) -> None:
        peer = ROLES[role]()
        effects = peer.ask(append(1), sender=2)
        answer = reply(effects, AppendEntriesReply)
        assert (answer.success, answer.term, answer.request_term) == (False, 2, 1)
        assert peer.state.role is role
        assert not some(effects, RestartElectionTimer)

    @every_role
    def test_a_vote_is_refused_with_our_term_and_resets_nothing(self, role: Role) -> None:
        peer = ROLES[role]()
        effects = peer.ask(RequestVote(term=1, last_entry=EntryId(1, 9)), sender=2)
        assert reply(effects, RequestVoteReply) == RequestVoteReply(term=2, vote_granted=False)
        assert peer.state.role is role
        assert not some(effects, RestartElectionTimer)

    @every_role
    def test_a_pre_vote_is_refused_with_our_term(self, role: Role) -> None:
        """The asker adopts it, and that is what dissolves RF3."""
        peer = ROLES[role]()
        effects = peer.wait(5_000).ask(PreVote(term=1, last_entry=EntryId(1, 9), campaign=3), sender=2)
        assert reply(effects, PreVoteReply) == PreVoteReply(term=2, vote_granted=False, campaign=3)


class TestTheElectionTimer:
    """Reset by a leader of the present term and by a vote given; by nothing else (reliability A16)."""

    @pytest.mark.parametrize(
        "message",
        [
            append(1),
            RequestVote(term=1, last_entry=EntryId(9, 9)),
            RequestVote(term=2, last_entry=EntryId(0, 0)),
            RequestVote(term=9, last_entry=EntryId(0, 0)),  # a later term, but a log too short for a vote
            PreVote(term=9, last_entry=EntryId(9, 9), campaign=1),
        ],
        ids=["stale append", "stale vote", "denied vote", "later term, denied vote", "pre-vote"],
    )
    def test_a_stream_of_messages_that_mean_nothing_does_not_keep_it_from_firing(self, message: Message) -> None:
        peer = follower(log=LOG, term=2)
        generation = peer.state.timer_generation
        assert not some(peer.ask(message, sender=2), RestartElectionTimer)
        assert peer.state.timer_generation == generation

    @pytest.mark.parametrize("message", [append(2), append(3), RequestVote(term=3, last_entry=EntryId(2, 9))])
    def test_a_leader_and_a_vote_given_restart_it(self, message: Message) -> None:
        peer = follower(log=LOG, term=2)
        effects = peer.ask(message)
        assert only(effects, RestartElectionTimer).generation == peer.state.timer_generation


class TestTheTableOfRoles:
    """Raft Fig. 4 with the pre-candidate: a role changes in one function, against one table."""

    @pytest.mark.parametrize(("before", "after"), [(a, b) for a in Role for b in Role if a is not b])
    def test_what_the_table_does_not_list_is_a_bug(self, before: Role, after: Role) -> None:
        peer = ROLES[before]()
        if (before, after) in LEGAL_TRANSITIONS:
            change_role(peer.state, after, why="test", out=[])
            assert peer.state.role is after
        else:
            with pytest.raises(AssertionError, match=f"{before} -> {after}"):
                change_role(peer.state, after, why="test", out=[])


class TestAfterARestart:
    """ "Updated on stable storage before responding to RPCs" (Fig. 2): what was said holds after a crash."""

    def test_term_and_vote_are_where_they_were(self) -> None:
        peer = restored(log=LOG, term=5, voted_for=directory(2))
        effects = peer.ask(RequestVote(term=5, last_entry=EntryId(4, 9)), sender=1)
        assert reply(effects, RequestVoteReply) == RequestVoteReply(term=5, vote_granted=False)

    def test_what_was_committed_is_not_known(self) -> None:
        """A commit index is never restored, so it cannot lie above the log (reliability B18)."""
        assert restored(log=LOG).state.commit_index == 0
