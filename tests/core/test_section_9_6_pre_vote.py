"""Dissertation §9.6 (pre-vote), §4.2.3 (stickiness), §6.2 (check quorum), and hello: who may disturb whom, and when.

They come together: pre-vote keeps a peer that was away from raising the term, stickiness keeps one with a hiccup from
deposing a healthy leader, check quorum ends a leader that only stickiness protects.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from raft_actors.core.effects import (
    Count,
    DropReason,
    Effect,
    Persist,
    RestartElectionTimer,
    RoleChanged,
    SendReply,
    SendRequest,
)
from raft_actors.core.events import StepDownRequested
from raft_actors.core.messages import (
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
)
from raft_actors.core.types import EntryId, Role
from tests.core.builders import (
    SETTINGS,
    Peer,
    append,
    append_reply,
    candidate,
    elected,
    follower,
    leader,
    leader_of_all,
    log_of,
    only,
    pre_candidate,
    reply,
    requests,
    restored,
    some,
)

LOG = log_of(1, 1)
STICKY_MS = SETTINGS.election_timeout_ms_min
ASK = PreVote(term=1, last_entry=EntryId(1, 2), campaign=4)


class TestAsking:
    """ "A candidate only increments its term if it first learns from a majority of the cluster that they would be
    willing to grant the candidate their votes." """

    def test_with_the_present_term_and_without_a_write(self) -> None:
        peer = follower(log=LOG)
        effects = peer.wait(STICKY_MS).time_out()
        asked = requests(effects, PreVote)
        assert asked == dict.fromkeys((1, 2), PreVote(term=1, last_entry=EntryId(1, 2), campaign=1))
        assert not some(effects, Persist)
        assert (peer.state.current_term, peer.state.role, peer.state.leader) == (1, Role.PRE_CANDIDATE, None)

    @pytest.mark.parametrize("size", range(1, 8))
    def test_a_majority_and_no_grant_less_for_every_size(self, size: int) -> None:
        peer = pre_candidate(restored(size))
        for voter in range(1, size // 2 + 1):
            assert peer.state.role is Role.PRE_CANDIDATE
            peer.answer(PreVoteReply(term=0, vote_granted=True, campaign=1), voter)
        assert (peer.state.role, peer.state.current_term) == (Role.CANDIDATE, 1)

    @pytest.mark.parametrize(
        ("answer", "wiped"),
        [
            (PreVoteReply(term=0, vote_granted=False, campaign=2), 0),
            (PreVoteReply(term=0, vote_granted=True, campaign=1), 0),
            (PreVoteReply(term=0, vote_granted=True, campaign=2), 1),
            (RequestVoteReply(term=0, vote_granted=True), 0),
        ],
        ids=["refused", "of an earlier campaign", "of a wiped disk", "a real vote"],
    )
    def test_what_does_not_count(self, answer: PreVoteReply, wiped: int) -> None:
        peer = pre_candidate(pre_candidate(restored()))
        for voter in (1, 2):
            peer.answer(answer, voter, wiped=wiped)
        assert peer.state.role is Role.PRE_CANDIDATE

    def test_a_peer_that_cannot_reach_a_majority_raises_no_term(self) -> None:
        """Reliability A12: 30 timeouts alone, and nobody is deposed when it is back."""
        peer = follower(log=LOG)
        for _ in range(30):
            pre_candidate(peer)
        assert peer.state.current_term == 1
        peer.ask(append(1, EntryId(1, 2)))
        assert peer.state.role is Role.FOLLOWER


class TestAnswering:
    """It changes nothing at the voter, and says what it would do (reliability A11)."""

    def test_yes_to_an_up_to_date_log_when_no_leader_is_heard(self) -> None:
        effects = follower(log=LOG).wait(STICKY_MS).ask(ASK, 2)
        assert reply(effects, PreVoteReply) == PreVoteReply(term=1, vote_granted=True, campaign=4)

    def test_to_anyone_who_asks_whoever_got_the_real_vote(self) -> None:
        peer = follower(log=LOG).wait(STICKY_MS)
        peer.ask(RequestVote(term=2, last_entry=EntryId(1, 2)), 1)
        ask = PreVote(term=2, last_entry=EntryId(1, 2), campaign=1)
        assert reply(peer.ask(ask, 2), PreVoteReply).vote_granted

    @pytest.mark.parametrize("make", [pre_candidate, candidate], ids=["pre-candidate", "candidate"])
    def test_yes_while_campaigning_itself(self, make: type) -> None:
        peer = make(follower(log=LOG))
        ask = PreVote(term=peer.state.current_term, last_entry=EntryId(1, 2), campaign=1)
        assert reply(peer.ask(ask, 2), PreVoteReply).vote_granted

    def test_nothing_is_written_and_no_timer_is_touched(self) -> None:
        effects = follower(log=LOG).wait(STICKY_MS).ask(ASK, 2)
        assert not some(effects, Persist)
        assert not some(effects, RestartElectionTimer)


class TestStickiness:
    """ "If a server receives a RequestVote request within the minimum election timeout of hearing from a current
    leader, it does not [...] grant its vote." Here it is the pre-vote that is not granted; a later term excuses nobody.
    """

    @pytest.mark.parametrize(("silence_ms", "granted"), [(0, False), (STICKY_MS - 1, False), (STICKY_MS, True)])
    def test_a_follower_holds_to_the_leader_that_it_heard(self, silence_ms: int, granted: bool) -> None:
        ask = PreVote(term=7, last_entry=EntryId(7, 9), campaign=1)
        effects = follower(log=LOG).wait(silence_ms).ask(ask, 2)
        assert reply(effects, PreVoteReply).vote_granted is granted

    def test_a_leader_hears_itself(self) -> None:
        """Contracts rule 13: otherwise two peers that do not hear each other well elect each other in turn."""
        peer = leader().wait(SETTINGS.check_quorum_ms)
        ask = PreVote(term=9, last_entry=EntryId(9, 9), campaign=1)
        assert not reply(peer.ask(ask, 2), PreVoteReply).vote_granted

    def test_only_messages_of_the_own_term_count_as_hearing(self) -> None:
        """Contracts rule 13: a leader of an earlier term is a leader no more."""
        peer = follower(log=LOG).wait(STICKY_MS)
        peer.ask(RequestVote(term=2, last_entry=EntryId(1, 2)), 2)
        peer.ask(append(1, EntryId(1, 2)), 1)
        ask = PreVote(term=2, last_entry=EntryId(1, 2), campaign=1)
        assert reply(peer.ask(ask, 2), PreVoteReply).vote_granted

    def test_a_leader_that_was_deposed_is_not_held_to(self) -> None:
        peer = follower(log=LOG)
        peer.ask(RequestVote(term=2, last_entry=EntryId(1, 2)), 2)
        ask = PreVote(term=2, last_entry=EntryId(1, 2), campaign=1)
        assert reply(peer.ask(ask, 2), PreVoteReply).vote_granted

    def test_a_leader_that_has_restarted_is_not_held_to(self) -> None:
        """ "Unless it has seen that leader's incarnation change" (DESIGN 4)."""
        peer = follower(log=LOG)
        peer.hello(1, start=2)
        assert reply(peer.ask(ASK, 2), PreVoteReply).vote_granted


class TestHello:
    """A restarted peer says so; whoever took it for the leader need not wait for the silence to be noticed."""

    def test_followers_of_the_restarted_leader_campaign_soon(self) -> None:
        peer = follower(log=LOG)
        effects = peer.hello(1, start=2)
        assert only(effects, RestartElectionTimer).soon
        assert only(effects, RoleChanged).leader is None

    def test_any_message_of_the_new_incarnation_tells_it_too(self) -> None:
        effects = follower(log=LOG).ask(ASK, 1, start=2)
        assert only(effects, RestartElectionTimer).soon

    @pytest.mark.parametrize(("sender", "start"), [(2, 2), (1, 1)], ids=["another member", "the same incarnation"])
    def test_nobody_else_and_no_known_incarnation_disturbs(self, sender: int, start: int) -> None:
        """Contracts rule 13: late hellos after a heal must not depose a healthy leader."""
        peer = follower(log=LOG)
        assert peer.hello(sender, start) == []
        assert peer.state.leader_hint == 1

    def test_a_late_hello_of_an_earlier_incarnation_changes_nothing(self) -> None:
        peer = restored(log=LOG)
        peer.ask(append(1, EntryId(1, 2)), 1, start=3)
        assert peer.hello(1, start=2) == [Count(sender=1, reason=DropReason.OLD_INCARNATION)]
        assert peer.state.leader_hint == 1

    def test_the_second_copy_of_a_hello_starts_nothing(self) -> None:
        peer = follower(log=LOG)
        peer.hello(1, start=2)
        assert peer.hello(1, start=2) == []

    def test_a_leader_that_leads_again_is_followed_again(self) -> None:
        peer = follower(log=LOG)
        peer.hello(1, start=2)
        peer.ask(append(2, EntryId(1, 2)), 1, start=2)
        assert (peer.state.leader_hint, peer.state.current_term) == (1, 2)
        assert peer.hello(1, start=2) == []


class TestCheckQuorum:
    """ "A leader steps down if an election timeout elapses without a successful round of heartbeats to a majority." """

    def test_without_a_majority_it_steps_down(self) -> None:
        """Reliability A14: it can send, but hears nobody; stickiness alone would keep it for ever (Ruaft's RF11)."""
        peer = leader_of_all()
        peer.wait(SETTINGS.check_quorum_ms).beat()
        assert peer.state.role is Role.LEADER
        effects = peer.wait(1).beat()
        assert only(effects, RoleChanged).role is Role.FOLLOWER
        assert only(effects, RestartElectionTimer)
        assert not some(effects, SendRequest)
        assert peer.state.current_term == 1

    @pytest.mark.parametrize(("size", "answering", "stays"), [(3, 1, True), (4, 1, False), (4, 2, True), (5, 2, True)])
    def test_itself_and_enough_others_for_every_size(self, size: int, answering: int, stays: bool) -> None:
        peer = leader_of_all(size)
        peer.wait(SETTINGS.check_quorum_ms)
        for member in range(1, answering + 1):
            peer.accepted(member)
        peer.wait(1).beat()
        assert (peer.state.role is Role.LEADER) is stays

    def test_alone_it_needs_nobody(self) -> None:
        peer = leader(1)
        peer.wait(10**6).beat()
        assert peer.state.role is Role.LEADER

    def test_a_refusal_is_an_answer_and_a_wiped_disks_is_not(self) -> None:
        peer = leader(log=LOG)
        peer.wait(SETTINGS.check_quorum_ms)
        peer.accepted(2, wiped=1)
        peer.wait(1)
        other = leader(log=LOG)
        other.wait(SETTINGS.check_quorum_ms)
        other.refused(1, EntryId(1, 1))
        other.wait(1).beat()
        peer.beat()
        assert (peer.state.role, other.state.role) == (Role.FOLLOWER, Role.LEADER)

    def test_a_heartbeat_that_comes_when_it_leads_no_more_is_ignored(self) -> None:
        assert follower().beat() == []


class TestSteppingDownOnRequest:
    """A leader whose application is away can commit, but answer nobody."""

    def request(self, peer: Peer, hold_off_ms: int = 3_000) -> list[object]:
        return list(peer.do(StepDownRequested(now_ms=peer.now_ms, why="no application", hold_off_ms=hold_off_ms)))

    def test_it_follows_and_does_not_campaign_until_the_hold_off_is_over(self) -> None:
        """Contracts rule 13: otherwise it wins again and again."""
        peer = leader_of_all()
        assert only(self.request(peer), RoleChanged).why == "no application"
        assert not some(peer.wait(2_999).time_out(), SendRequest)
        assert some(peer.wait(1).time_out(), SendRequest)

    def test_others_ignore_it(self) -> None:
        assert self.request(follower()) == []


# -- two peers that refuse each other --------------------------------------------------------------------------------


def carry(sender: Peer, other: Peer, effects: list[Effect]) -> Iterator[Message]:
    """Take what was sent to `other` there and its answers back, until nothing more is sent; yield the answers."""
    for request in some(effects, SendRequest):
        if request.envelope.to != other.state.member_id:
            continue
        answer = only(other.ask(request.envelope.message, sender.state.member_id), SendReply).envelope.message
        other.sync()
        more = sender.answer(answer, other.state.member_id, to=request)
        yield answer
        yield from carry(sender, other, [*more, *sender.sync()])


class TestRuaftsDeadlock:
    """RF3: A (term 5, longer log) and B (term 6, shorter log) are alive, the third is down. Each refuses the other:
    one for its term, one for its log. Terms are adopted from the *answers*, so one refusal each is enough."""

    def test_it_dissolves_in_two_campaigns(self) -> None:
        a = restored(log=log_of(5, 5), term=5)
        b = restored(log=log_of(5), term=6, member=1)
        b.wait(5_000)
        (refused,) = carry(b, a, b.time_out())
        assert refused == PreVoteReply(term=5, vote_granted=False, campaign=1)
        a.wait(5_000)
        (refused,) = carry(a, b, a.time_out())
        assert refused == PreVoteReply(term=6, vote_granted=False, campaign=1)
        assert a.state.current_term == 6
        answers = list(carry(a, b, a.wait(1_000).time_out()))
        assert answers[0] == PreVoteReply(term=6, vote_granted=True, campaign=2)
        assert a.state.role is Role.LEADER
        assert (b.state.leader_hint, b.state.log.last) == (0, EntryId(7, 3))

    def test_a_half_connected_leader_with_an_old_term_ends_too(self) -> None:
        """Reliability A13: B's term is above its leader's, so B takes nothing from it. Its refusal carries the term,
        the leader steps down, and the next election includes B."""
        peer = leader_of_all()
        peer.answer(append_reply(append(1), success=False, term=6), 1)
        assert (peer.state.role, peer.state.current_term) == (Role.FOLLOWER, 6)
        elected(peer)
        assert peer.state.current_term == 7
