"""Dissertation §3.10: leadership is handed to a voter that holds the whole log, and is told to campaign at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raft_actors.core.effects import (
    DropReason,
    Effect,
    ProposalRefusal,
    ProposalRefused,
    ProposalStarted,
    ReadConfirmed,
    RestartElectionTimer,
    RoleChanged,
    SendRequest,
    TransferEnd,
)
from raft_actors.core.events import StepDownRequested
from raft_actors.core.messages import (
    AppendEntries,
    PreVote,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
    TimeoutNowReply,
)
from raft_actors.core.types import EntryId, Role
from tests.core.builders import (
    SETTINGS,
    append,
    configuration,
    directory,
    follower,
    last_of,
    leader,
    leader_of_all,
    log_of,
    only,
    pre_candidate,
    refusal,
    reply,
    requests,
    restored,
    snapshot_of,
    some,
)
from tests.core.several import Several, change, ended, remove, transfer

LOG = log_of(1, 1)
END = last_of(LOG)


def told(effects: list[Effect]) -> dict[int, TimeoutNow]:
    """Who was told to campaign."""
    return requests(effects, TimeoutNow)


def now(*, term: int = 1, end: EntryId = END) -> TimeoutNow:
    return TimeoutNow(term=term, last_entry=end)


class TestTheLeader:
    """Reliability A15: a target that lacks something cannot win."""

    def test_a_voter_that_holds_everything_is_told_at_once(self) -> None:
        peer = leader_of_all(log=LOG)
        effects = transfer(peer, directory(2))
        assert told(effects) == {2: TimeoutNow(term=2, last_entry=EntryId(2, 3))}
        assert only(effects, SendRequest).after == peer.state.hard_state_seq

    def test_one_that_lacks_the_end_is_brought_there_first(self) -> None:
        peer = leader_of_all(log=LOG)
        peer.propose()
        assert not told(transfer(peer, directory(2)))
        assert not told(peer.accepted(1))
        assert told(peer.accepted(2)) == {2: TimeoutNow(term=2, last_entry=EntryId(2, 4))}

    def test_one_that_is_probed_is_brought_there_too(self) -> None:
        peer = leader(log=LOG)
        peer.sync()
        peer.accepted(1)
        transfer(peer, directory(2))
        peer.refused(2, EntryId(1, 1))
        assert set(told(peer.accepted(2))) == {2}

    def test_of_several_the_one_with_most_of_the_log(self) -> None:
        peer = leader_of_all(5, log=LOG)
        peer.propose()
        peer.accepted(3)
        assert set(told(transfer(peer))) == {3}

    def test_it_is_told_once(self) -> None:
        peer = leader_of_all(log=LOG)
        transfer(peer, directory(2))
        assert not told(peer.beat())
        assert not told(peer.accepted(2))

    def test_it_takes_no_commands_meanwhile(self) -> None:
        """ "The prior leader stops accepting new client requests": else the target may never hold everything."""
        peer = leader_of_all(log=LOG)
        peer.propose()
        transfer(peer, directory(2))
        before = peer.state.log.last
        effects = peer.propose(proposal_id=5)
        assert effects == [ProposalRefused(proposal_id=5, reason=ProposalRefusal.OVERLOADED, leader=0)]
        peer.sync()
        peer.accepted(2)
        assert some(peer.propose(proposal_id=6), ProposalRefused)
        assert peer.state.log.last == before

    def test_it_goes_on_committing_and_serving_reads(self) -> None:
        """Reliability E5: a read needs a round that a majority answers in this term: no successor can be missed."""
        peer = leader_of_all(log=LOG)
        peer.propose()
        transfer(peer, directory(2))
        peer.sync()
        peer.accepted(1)
        assert peer.state.commit_index == 4
        peer.read()
        assert some(peer.accepted(1), ReadConfirmed)

    def test_the_answer_in_a_later_term_ends_it(self) -> None:
        peer = leader_of_all(log=LOG)
        transfer(peer, directory(2))
        effects = peer.answer(TimeoutNowReply(term=3, campaigns=True), 2, to=peer.newest(2))
        assert (ended(effects).done, ended(effects).why) == (True, TransferEnd.MOVED)
        assert only(effects, RoleChanged).role is Role.FOLLOWER

    def test_so_does_the_targets_campaign(self) -> None:
        peer = leader_of_all(log=LOG)
        transfer(peer, directory(2))
        effects = peer.ask(RequestVote(term=3, last_entry=EntryId(2, 3)), 2)
        assert ended(effects).done
        assert reply(effects, RequestVoteReply).vote_granted

    def test_a_refusal_or_no_answer_is_tried_again_with_the_next_heartbeat(self) -> None:
        """At once would be without end, where no call can be made."""
        peer = leader_of_all(log=LOG)
        transfer(peer, directory(2))
        for end in (
            peer.fail,
            lambda request: peer.answer(TimeoutNowReply(term=2, campaigns=False), 2, to=request),
        ):
            assert not told(end(peer.newest(2)))
            assert set(told(peer.beat())) == {2}
            assert isinstance(peer.newest(2).envelope.message, TimeoutNow)

    def test_a_target_that_restarted_is_told_when_it_has_confirmed_its_log_anew(self) -> None:
        peer = leader_of_all(log=LOG)
        transfer(peer, directory(2))
        peer.fail(peer.newest(2))
        peer.hello(2, 2)
        assert not told(peer.beat())
        peer.accepted(2, start=2)
        assert set(told(peer.beat())) == {2}


class TestWhoCannotBeChosen:
    @pytest.mark.parametrize(
        ("make", "to", "why"),
        [
            (lambda: follower(log=LOG), directory(2), TransferEnd.NOT_LEADER),
            (lambda: leader_of_all(log=LOG), directory(7), TransferEnd.NO_SUCH_VOTER),
            (lambda: leader_of_all(log=LOG), directory(2, wiped=1), TransferEnd.NO_SUCH_VOTER),
            (lambda: leader_of_all(log=LOG), directory(0), TransferEnd.NO_SUCH_VOTER),
            (lambda: leader(1, log=LOG), None, TransferEnd.NO_SUCH_VOTER),
        ],
    )
    def test_it_ends_at_once(self, make, to, why) -> None:
        (end,) = transfer(make(), to)
        assert (end.transfer_id, end.done, end.why) == (9, False, why)

    def test_a_non_voter_is_none(self) -> None:
        group = Several(configuration((0, 1), (2,)), LOG)
        assert group.campaign(0, 1)
        assert ended(transfer(group[0], directory(2))).why is TransferEnd.NO_SUCH_VOTER

    def test_one_at_a_time(self) -> None:
        peer = leader_of_all(log=LOG)
        transfer(peer, directory(2))
        assert ended(transfer(peer, directory(1))).why is TransferEnd.ANOTHER_UNDER_WAY
        assert peer.state.leading.transfer.to == directory(2)


class TestGivingUp:
    """ "If the transfer does not complete after about an election timeout, the prior leader aborts and resumes." """

    def test_commands_are_taken_again(self) -> None:
        peer = leader_of_all(log=LOG)
        transfer(peer, directory(2))
        assert some(peer.wait(SETTINGS.election_timeout_ms_min - 1).beat(), SendRequest)
        assert some(peer.propose(), ProposalRefused)
        effects = peer.wait(1).beat()
        assert (ended(effects).done, ended(effects).why) == (False, TransferEnd.GIVEN_UP)
        assert some(peer.propose(), ProposalStarted)

    def test_whatever_happens_first_tells_the_time(self) -> None:
        peer = leader_of_all(log=LOG)
        transfer(peer, directory(2))
        peer.wait(SETTINGS.election_timeout_ms_min)
        assert ended(peer.accepted(1)).why is TransferEnd.GIVEN_UP

    def test_who_steps_down_for_another_reason_says_so(self) -> None:
        peer = leader_of_all(log=LOG)
        transfer(peer, directory(2))
        end = ended(peer.do(StepDownRequested(now_ms=peer.now_ms, why="test", hold_off_ms=0)))
        assert (end.done, end.why) == (False, TransferEnd.STEPPED_DOWN)

    def test_a_later_term_before_the_target_was_told_is_not_its_doing(self) -> None:
        peer = leader_of_all(log=LOG)
        peer.propose()
        transfer(peer, directory(2))
        end = ended(peer.ask(append(9), 1))
        assert (end.done, end.why) == (False, TransferEnd.STEPPED_DOWN)

    def test_a_new_leadership_knows_nothing_of_it(self) -> None:
        """Reliability A15: a flag that is never cleared (hashicorp #696)."""
        group = Several(configuration(range(3)), LOG)
        assert group.campaign(0, 1, 2)
        transfer(group[0], directory(2))
        assert group.campaign(1, 2)
        group.beat(1, 0, 2)
        assert group.campaign(0, 1, 2)
        assert some(group[0].propose(), ProposalStarted)


class TestTheTarget:
    """It campaigns at once: no silence, no pre-vote; everything else is an election like any other."""

    def test_it_campaigns(self) -> None:
        peer = follower(log=LOG)
        effects = peer.ask(now())
        assert requests(effects, RequestVote) == dict.fromkeys((1, 2), RequestVote(term=2, last_entry=END))
        assert not requests(effects, PreVote)
        assert reply(effects, TimeoutNowReply) == TimeoutNowReply(term=2, campaigns=True)
        assert (peer.state.role, peer.state.leader) == (Role.CANDIDATE, None)

    def test_everything_waits_for_its_own_vote(self) -> None:
        peer = follower(log=LOG)
        effects = peer.ask(now())
        asked = [one for one in some(effects, SendRequest) if isinstance(one.envelope.message, RequestVote)]
        assert {one.after for one in asked} == {peer.state.write_seq}
        peer.answer(RequestVoteReply(term=2, vote_granted=True), 2)
        assert peer.state.role is Role.CANDIDATE
        peer.sync()
        peer.answer(RequestVoteReply(term=2, vote_granted=True), 2)
        assert peer.state.role is Role.LEADER

    def test_a_group_of_one_voter_and_itself(self) -> None:
        """The leader removed itself and hands over: its target is the only voter left."""
        peer = follower(2, log=LOG)
        peer.ask(now())
        peer.sync()
        peer.answer(RequestVoteReply(term=2, vote_granted=True), 1)
        assert peer.state.role is Role.LEADER

    def test_one_that_has_just_asked_for_pre_votes_obeys_too(self) -> None:
        peer = pre_candidate(follower(log=LOG))
        assert reply(peer.ask(now()), TimeoutNowReply).campaigns

    def test_if_it_wins_nothing_it_asks_first_again(self) -> None:
        peer = follower(log=LOG)
        peer.ask(now())
        effects = peer.wait(5_000).time_out()
        assert peer.state.role is Role.PRE_CANDIDATE
        assert not requests(effects, RequestVote)

    @pytest.mark.parametrize("end", [EntryId(1, 1), EntryId(1, 3), EntryId(0, 0)])
    def test_a_copy_that_names_another_end_deposes_nobody(self, end: EntryId) -> None:
        """Ray runs a held call after the heal: the leader gave up and went on."""
        peer = follower(log=LOG)
        effects = peer.ask(now(end=end))
        assert reply(effects, TimeoutNowReply) == TimeoutNowReply(term=1, campaigns=False)
        assert peer.state.role is Role.FOLLOWER

    def test_a_leader_of_an_earlier_term_is_told_the_term(self) -> None:
        peer = follower(log=LOG, term=5)
        before = snapshot_of(peer)
        assert reply(peer.ask(now(term=4)), TimeoutNowReply) == TimeoutNowReply(term=5, campaigns=False)
        assert snapshot_of(peer) == before

    def test_a_leader_of_a_later_term_is_followed(self) -> None:
        """It meant a process that knew its term; this one has to be heard from first."""
        peer = follower(log=LOG)
        effects = peer.ask(now(term=3), 2)
        assert reply(effects, TimeoutNowReply) == TimeoutNowReply(term=3, campaigns=False)
        assert (peer.state.current_term, peer.state.leader_hint) == (3, 2)

    def test_it_is_a_word_of_the_leader(self) -> None:
        assert some(follower(log=LOG).ask(now(end=EntryId(1, 1))), RestartElectionTimer)

    @pytest.mark.parametrize(
        "members", [configuration((1, 2), (0,)), configuration((1, 2))], ids=["non-voter", "not listed"]
    )
    def test_who_is_no_voter_in_force_does_not(self, members) -> None:
        peer = restored(log=LOG, members=members)
        peer.ask(append(1, END))
        peer.sync()
        assert not reply(peer.ask(now()), TimeoutNowReply).campaigns

    def test_a_voter_that_its_newest_configuration_removes_does_not(self) -> None:
        """It might campaign by itself (contracts 7), but it is nobody to hand over to."""
        log = (*LOG[:1], replace(LOG[1], payload=configuration((1, 2))))
        peer = restored(log=log)
        peer.ask(append(1, END))
        peer.sync()
        assert not reply(peer.ask(now()), TimeoutNowReply).campaigns

    def test_who_holds_off_does_not(self) -> None:
        """Contracts 13: it stepped down because it cannot serve."""
        peer = leader_of_all(log=LOG)
        peer.do(StepDownRequested(now_ms=peer.now_ms, why="test", hold_off_ms=3_000))
        last = peer.state.log.last
        peer.ask(append(3, last))
        assert not reply(peer.ask(now(term=3, end=last)), TimeoutNowReply).campaigns
        assert reply(peer.wait(3_000).ask(now(term=3, end=last)), TimeoutNowReply).campaigns

    @pytest.mark.parametrize(
        ("message", "reason"),
        [
            (now(end=EntryId(2, 2)), DropReason.MALFORMED),
            (now(end=EntryId(-1, 2)), DropReason.MALFORMED),
            (now(end=EntryId(1, -1)), DropReason.MALFORMED),
            (now(end=EntryId(1, 2**63)), DropReason.MALFORMED),
        ],
    )
    def test_what_no_leader_sends(self, message: TimeoutNow, reason: DropReason) -> None:
        assert refusal(follower(log=LOG).ask(message)) is reason

    def test_a_second_leader_is_refused(self) -> None:
        assert refusal(follower(log=LOG, leader=1).ask(now(), 2)) is DropReason.SECOND_LEADER
        assert refusal(leader_of_all(log=LOG).ask(now(term=2, end=EntryId(2, 3)), 2)) is DropReason.SECOND_LEADER


class TestTheVoters:
    def test_a_voter_that_hears_the_leader_votes(self) -> None:
        """§4.2.3: "disrupt the leader if [...] it has permission". Of a pre-vote it would want to hear nothing."""
        peer = follower(log=LOG)
        assert reply(peer.ask(RequestVote(term=2, last_entry=END), 2), RequestVoteReply).vote_granted


class TestAWholeTransfer:
    @pytest.mark.parametrize("size", [2, 3, 4, 5])
    def test_leadership_moves_within_one_exchange(self, size: int) -> None:
        group = Several(configuration(range(size)), LOG)
        everybody = list(range(size))
        assert group.campaign(0, *everybody)
        group.beat(0, *everybody)
        end = group[0].state.log.last
        transfer(group[0], directory(1))
        group.carry(0, 1)
        group.carry(1, *everybody)
        assert group.leads(1)
        assert not group.leads(0)
        assert group[1].state.log.entry_at(end.index).id == end

    def test_a_leader_removes_itself_and_hands_over_meanwhile(self) -> None:
        """Its removal is committed by its successor."""
        group = Several(configuration(range(3)), LOG)
        assert group.campaign(0, 1, 2)
        group.beat(0, 1, 2)
        change(group[0], remove(0))
        transfer(group[0], directory(1))
        group[0].sync()
        group[0].accepted(1)
        assert isinstance(group[0].newest(1).envelope.message, TimeoutNow | AppendEntries)
        group.carry(0, 1)
        group.carry(1, 2)
        assert group.leads(1)
        assert group.commit(1) == group[1].state.log.last.index == 5
        assert not group.leads(0)
