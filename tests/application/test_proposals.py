"""Every caller of a command gets one answer, in time, and a true one; every attempt is proposed at most once."""

from __future__ import annotations

import itertools

import pytest

from raft_actors.application.exchange import (
    LogFull,
    NotLeader,
    Overloaded,
    ProposeAnswer,
    TermLost,
)
from raft_actors.application.frames import Fenced, decode_batch
from raft_actors.application.host import PEER_GONE, ApplicationHost
from raft_actors.application.limits import HostLimits
from raft_actors.application.proposals import (
    APPLIED_LONG_AGO,
    DEADLINE,
    DUPLICATE,
    JOINED_TOO_MANY,
    NO_ANSWER,
    PEER_CHANGED,
    TERM_LOST,
    Proposal,
)
from raft_actors.application.requests import Lost, TooLarge
from raft_actors.application.settings import SessionLimits
from raft_actors.core.types import MemberId, Term
from raft_actors.errors import ConfigError
from tests.application.builders import (
    EPOCH,
    LATE_MS,
    OTHER_EPOCH,
    Journal,
    answers,
    apply,
    apply_request,
    attached_host,
    attempt,
    done,
    entry,
    entry_of,
    frame,
    noop,
    propose,
    started,
    submit,
)


class TestAProposalEnds:
    def proposed(self, host: ApplicationHost, *sequences: int) -> Proposal:
        for sequence in sequences:
            submit(host, sequence, attempt(sequence))
        return propose(host)

    def test_as_applied_here(self) -> None:
        host = attached_host()
        proposal = self.proposed(host, 1, 2)
        host.proposal_answered(proposal.proposal_id, started(1))
        assert answers(host) == {}
        apply(host, 1, entry_of(proposal))
        assert answers(host) == {1: done(b"1", 1), 2: done(b"2", 1)}

    def test_at_once_when_it_was_applied_before_the_peers_answer_came(self) -> None:
        """Contracts, schedule 10 (c)."""
        host = attached_host()
        proposal = self.proposed(host, 1)
        apply(host, 1, entry_of(proposal), noop())
        assert answers(host) == {}
        host.proposal_answered(proposal.proposal_id, started(1))
        assert answers(host) == {1: done(b"1", 1)}

    @pytest.mark.parametrize("limits", [HostLimits(recent_entries_max=1), HostLimits(recent_bytes_max=8)])
    def test_as_unknown_when_that_was_too_long_ago(self, limits: HostLimits) -> None:
        host = attached_host(limits=limits)
        proposal = self.proposed(host, 1)
        apply(host, 1, entry_of(proposal), entry(b"other"))
        host.proposal_answered(proposal.proposal_id, started(1))
        assert answers(host) == {1: APPLIED_LONG_AGO}

    def test_with_what_the_sessions_say(self) -> None:
        host = attached_host()
        apply(host, 1, entry(frame(3, opens=0, acked_below=3)))
        proposal = self.proposed(host, 2)
        host.proposal_answered(proposal.proposal_id, started(2))
        apply(host, 2, entry_of(proposal))
        assert answers(host) == {2: Fenced()}

    @pytest.mark.parametrize("early", [True, False], ids=["answer first", "entry first"])
    def test_as_lost_when_another_entry_stands_in_its_place(self, early: bool) -> None:
        host = attached_host()
        proposal = self.proposed(host, 1)
        if early:
            host.proposal_answered(proposal.proposal_id, started(1, term=1))
        apply(host, 1, noop(term=2))
        if not early:
            host.proposal_answered(proposal.proposal_id, started(1, term=1))
        assert answers(host) == {1: Lost()}

    @pytest.mark.parametrize("early", [True, False], ids=["answer first", "entry first"])
    def test_as_lost_when_a_later_term_was_applied_below_it(self, early: bool) -> None:
        host = attached_host()
        proposal = self.proposed(host, 1)
        if early:
            host.proposal_answered(proposal.proposal_id, started(5, term=1))
        apply(host, 1, noop(term=2))
        if not early:
            host.proposal_answered(proposal.proposal_id, started(5, term=1))
        assert answers(host) == {1: Lost()}

    @pytest.mark.parametrize("early", [True, False], ids=["answer first", "notice first"])
    def test_as_unknown_when_the_term_is_lost(self, early: bool) -> None:
        host = attached_host()
        proposal = self.proposed(host, 1)
        if early:
            host.proposal_answered(proposal.proposal_id, started(1, term=1))
        host.term_lost(TermLost(epoch=EPOCH, term=Term(1)))
        if not early:
            host.proposal_answered(proposal.proposal_id, started(1, term=1))
        assert answers(host) == {1: TERM_LOST}

    def test_not_by_the_loss_of_an_earlier_term_or_of_an_earlier_epoch(self) -> None:
        host = attached_host()
        proposal = self.proposed(host, 1)
        host.proposal_answered(proposal.proposal_id, started(1, term=3))
        host.term_lost(TermLost(epoch=EPOCH, term=Term(2)))
        host.term_lost(TermLost(epoch=OTHER_EPOCH, term=Term(3)))
        apply(host, 1, entry_of(proposal, term=3))
        assert answers(host) == {1: done(b"1", 1, term=3)}

    @pytest.mark.parametrize("refusal", [NotLeader(leader=MemberId(2)), Overloaded(), LogFull()])
    def test_with_the_peers_refusal(self, refusal: ProposeAnswer) -> None:
        host = attached_host()
        proposal = self.proposed(host, 1)
        host.proposal_answered(proposal.proposal_id, refusal)
        assert answers(host) == {1: refusal}

    def test_as_unknown_when_the_call_failed(self) -> None:
        host = attached_host()
        host.proposal_answered(self.proposed(host, 1).proposal_id, None)
        assert answers(host) == {1: NO_ANSWER}

    def test_as_unknown_when_the_peer_changes_and_what_is_queued_goes_to_the_new_one(self) -> None:
        host = attached_host(limits=HostLimits(proposal_frames_max=1))
        first, second = self.proposed(host, 1, 2, 3), propose(host)
        host.proposal_answered(first.proposal_id, started(1))
        host.attach(OTHER_EPOCH)
        assert answers(host) == {1: PEER_CHANGED, 2: PEER_CHANGED}
        host.proposal_answered(second.proposal_id, started(2))
        host.apply(apply_request(1, entry_of(first), entry_of(second), epoch=OTHER_EPOCH))
        assert answers(host) == {}
        assert decode_batch(propose(host).data) == (attempt(3).frame,)

    def test_as_definitely_not_done_when_it_was_not_proposed_and_the_peer_is_gone(self) -> None:
        host = attached_host(limits=HostLimits(proposal_frames_max=1))
        self.proposed(host, 1, 2)
        host.detach()
        submit(host, 3, attempt(3))
        assert answers(host) == {1: PEER_GONE, 2: NotLeader(leader=None), 3: NotLeader(leader=None)}

    def test_at_its_deadline_wherever_it_is(self) -> None:
        host = attached_host(limits=HostLimits(proposal_frames_max=1))
        for ticket in (1, 2, 3):
            submit(host, ticket, attempt(ticket), deadline_ms=100 * ticket)
        host.proposal_answered(propose(host).proposal_id, started(1))
        handed = propose(host)
        host.expire(99)
        assert answers(host) == {}
        host.expire(100)
        assert answers(host) == {1: DEADLINE}
        host.expire(1_000)
        assert answers(host) == {2: DEADLINE, 3: Overloaded()}
        assert host.waiting_count == 0
        assert host.next_proposal() is None, "what was given up before it was proposed is never proposed"
        host.proposal_answered(handed.proposal_id, started(2))
        apply(host, 1, entry(b"x"), entry_of(handed))
        assert answers(host) == {}

    def test_of_one_command_leaves_its_neighbours_in_the_batch_their_own_answers(self) -> None:
        host = attached_host()
        submit(host, 1, attempt(1), deadline_ms=10)
        submit(host, 2, attempt(2))
        proposal = propose(host)
        host.proposal_answered(proposal.proposal_id, started(1))
        host.expire(10)
        apply(host, 1, entry_of(proposal))
        assert answers(host) == {1: DEADLINE, 2: done(b"2", 1)}


class TestAnAttemptIsProposedOnce:
    def test_a_copy_of_a_waiting_one_waits_with_it(self) -> None:
        host = attached_host()
        submit(host, 1, attempt())
        submit(host, 2, attempt())
        proposal = propose(host)
        submit(host, 3, attempt())
        host.proposal_answered(proposal.proposal_id, started(1))
        submit(host, 4, attempt())
        assert host.next_proposal() is None
        apply(host, 1, entry_of(proposal))
        assert answers(host) == dict.fromkeys((1, 2, 3, 4), done(b"1", 1))

    def test_a_copy_of_an_ended_one_is_unknown(self) -> None:
        host = attached_host()
        submit(host, 1, attempt())
        host.proposal_answered(propose(host).proposal_id, NotLeader(leader=None))
        submit(host, 2, attempt())
        assert answers(host) == {1: NotLeader(leader=None), 2: DUPLICATE}
        assert host.next_proposal() is None

    def test_a_copy_of_a_refused_one_is_not_proposed_after_all(self) -> None:
        host = ApplicationHost(Journal(), SessionLimits())
        submit(host, 1, attempt())
        host.attach(EPOCH)
        submit(host, 2, attempt())
        assert answers(host) == {1: NotLeader(leader=None), 2: DUPLICATE}
        assert host.next_proposal() is None

    def test_a_copy_keeps_waiting_when_the_first_caller_gave_up(self) -> None:
        host = attached_host()
        submit(host, 1, attempt(), deadline_ms=10)
        submit(host, 2, attempt(), deadline_ms=20)
        host.expire(10)
        assert answers(host) == {1: DEADLINE}
        proposal = propose(host)
        host.proposal_answered(proposal.proposal_id, started(1))
        apply(host, 1, entry_of(proposal))
        assert answers(host) == {2: done(b"1", 1)}

    def test_the_next_attempt_is_proposed_and_gets_the_first_ones_result(self) -> None:
        host = attached_host()
        submit(host, 1, attempt(number=1))
        first = propose(host)
        submit(host, 2, attempt(number=2))
        second = propose(host)
        for index, proposal in enumerate((first, second), start=1):
            host.proposal_answered(proposal.proposal_id, started(index))
        apply(host, 1, entry_of(first), entry_of(second))
        assert answers(host) == {1: done(b"1", 1), 2: done(b"1", 2)}

    def test_as_many_ended_ones_are_remembered_as_the_limit_says(self) -> None:
        host = attached_host(limits=HostLimits(attempts_remembered_max=2))
        for sequence in (1, 2, 3):
            submit(host, sequence, attempt(sequence))
            host.proposal_answered(propose(host).proposal_id, LogFull())
        submit(host, 4, attempt(2))
        submit(host, 5, attempt(1))
        assert answers(host)[4] == DUPLICATE
        assert decode_batch(propose(host).data) == (attempt(1).frame,)


class TestBatchesAndBounds:
    def test_what_waits_shares_a_batch_oldest_first(self) -> None:
        host = attached_host(limits=HostLimits(proposal_frames_max=2))
        for sequence in (1, 2, 3):
            submit(host, sequence, attempt(sequence))
        assert decode_batch(propose(host).data) == (attempt(1).frame, attempt(2).frame)
        assert decode_batch(propose(host).data) == (attempt(3).frame,)
        assert host.next_proposal() is None

    def test_a_batch_ends_before_its_bytes_are_too_many(self) -> None:
        host = attached_host(limits=HostLimits(proposal_bytes_max=1_000))
        for sequence in (1, 2, 3):
            submit(host, sequence, attempt(sequence, command=bytes(400)))
        sizes = [len(propose(host).data) for _ in range(2)]
        assert all(size <= 1_000 for size in sizes)
        assert sizes[0] > sizes[1]

    def test_a_command_that_fits_into_no_batch_is_refused(self) -> None:
        host = attached_host(limits=HostLimits(proposal_bytes_max=1_000))
        submit(host, 1, attempt(1, command=bytes(936)))
        submit(host, 2, attempt(2, command=bytes(937)))
        assert answers(host) == {2: TooLarge(bytes_max=936)}
        assert len(propose(host).data) <= 1_000

    def test_a_call_that_hangs_keeps_its_place_until_it_ends(self) -> None:
        host = attached_host(limits=HostLimits(proposals_in_flight_max=1))
        submit(host, 1, attempt(1), deadline_ms=10)
        hanging = propose(host)
        submit(host, 2, attempt(2))
        host.expire(10)
        assert host.next_proposal() is None
        host.proposal_answered(hanging.proposal_id, None)
        assert decode_batch(propose(host).data) == (attempt(2).frame,)

    def test_an_answer_frees_its_own_place_alone(self) -> None:
        host = attached_host(limits=HostLimits(proposals_in_flight_max=2, proposal_frames_max=1))
        for sequence in (1, 2, 3, 4):
            submit(host, sequence, attempt(sequence))
        first, _ = propose(host), propose(host)
        assert host.next_proposal() is None
        host.proposal_answered(first.proposal_id, started(1))
        propose(host)
        assert host.next_proposal() is None

    def test_too_many_callers_are_refused_and_copies_unknown(self) -> None:
        host = attached_host(limits=HostLimits(attempts_waiting_max=1))
        submit(host, 1, attempt(1))
        submit(host, 2, attempt(2))
        submit(host, 3, attempt(1))
        assert answers(host) == {2: Overloaded(), 3: JOINED_TOO_MANY}

    def test_too_many_bytes_are_refused_until_some_have_ended(self) -> None:
        host = attached_host(limits=HostLimits(attempts_waiting_bytes_max=1_000))
        submit(host, 1, attempt(1, command=bytes(500)))
        submit(host, 2, attempt(2, command=bytes(500)))
        assert answers(host) == {2: Overloaded()}
        host.proposal_answered(propose(host).proposal_id, LogFull())
        submit(host, 3, attempt(3, command=bytes(500)))
        assert answers(host) == {1: LogFull()}

    @pytest.mark.parametrize(("name", "value"), [("proposal_frames_max", 65_537), ("recent_entries_max", 0)])
    def test_limits_that_make_no_sense_are_refused(self, name: str, value: int) -> None:
        with pytest.raises(ConfigError, match=name):
            HostLimits(**{name: value})


@pytest.mark.parametrize("order", list(itertools.permutations(["answer", "apply", "lose"])), ids="-".join)
def test_whatever_the_order_a_caller_gets_one_answer_and_it_is_true(order: tuple[str, ...]) -> None:
    host = attached_host()
    submit(host, 1, attempt())
    proposal = propose(host)
    for step in order:
        match step:
            case "answer":
                host.proposal_answered(proposal.proposal_id, started(1))
            case "apply":
                apply(host, 1, entry_of(proposal))
            case _:
                host.term_lost(TermLost(epoch=EPOCH, term=Term(1)))
    host.expire(LATE_MS)
    assert answers(host)[1] in (done(b"1", 1), TERM_LOST)
    assert host.waiting_count == 0
