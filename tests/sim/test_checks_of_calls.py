"""Every rule about calls between peers can be broken, and those about a peer's queues, as in test_checks.py.

Here:   calls and answers that are forged, slots without calls, queues that are too long.
Never:  logs, commits and disks (test_checks.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import pytest

from raft_actors.core.effects import HardState, Record, SendReply, SendRequest, Truncate
from raft_actors.core.messages import (
    Envelope,
    Message,
    PreVote,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
    TimeoutNowReply,
)
from raft_actors.core.types import EntryId, LogIndex, MemberId, RequestId, RpcId, Term, WriteSeq
from raft_actors.envelopes import decode_envelope
from raft_actors.peer.engine import PENDING_CALLS_MAX, Engine
from raft_actors.peer.window import CallKind, _OpenCall
from tests.core.builders import append, append_reply
from tests.rig.network import Flight
from tests.rig.rig import Group
from tests.sim.checks import bounds, checks
from tests.sim.test_checks import breaks, group_at_rest, look, member, second_entry

NUMBER: Final = RpcId(1_000)
ASKED: Final = RequestId(1_000)
END: Final = EntryId(Term(1), LogIndex(1))


def says(group: Group, number: int, message: Message, to: int = 1) -> Envelope:
    state = group.state(number)
    return Envelope(
        cluster_id=state.cluster_id,
        sender=state.member_id,
        incarnation=state.incarnation,
        to=MemberId(to),
        message=message,
    )


def under_way(group: Group, dst: int) -> Flight:
    return next(group.network.select(dst=dst, part="request"))


def open_call(group: Group, number: int, to: int, rpc_id: int = NUMBER) -> None:
    window = group.members[MemberId(number)].running().window
    window._calls[RpcId(rpc_id)] = _OpenCall(to=MemberId(to), kind=CallKind.APPEND, deadline_ms=0)


class TestCalls:
    def test_a_call_is_made_twice(self) -> None:
        group = group_at_rest()
        second_entry(group)
        flight = under_way(group, dst=2)
        assert flight.data is not None
        with breaks("calls in flight"):
            group.checks.called(member(group, 1), flight.rpc_id, decode_envelope(flight.data))

    def test_a_call_is_made_twice_after_its_slot_was_freed(self) -> None:
        group = group_at_rest()
        second_entry(group)
        flight = under_way(group, dst=2)
        assert flight.data is not None
        group.crash(2)
        group.restart(2)
        group.deliver(method="hello", dst=1)
        assert group.under_way(dst=2, part="request") > 0
        with breaks("calls in flight"):
            group.checks.called(member(group, 1), flight.rpc_id, decode_envelope(flight.data))

    def test_a_slot_is_taken_without_a_call(self) -> None:
        group = group_at_rest()
        open_call(group, 1, to=2)
        with breaks("calls in flight"):
            look(group, 1)

    def test_a_slot_is_freed_while_its_call_is_under_way(self) -> None:
        group = group_at_rest()
        second_entry(group)
        member(group, 1).running().window.target_restarted(MemberId(2))
        with breaks("calls in flight"):
            look(group, 1)

    def test_a_new_incarnation_frees_all_slots_or_none(self) -> None:
        group = group_at_rest()
        second_entry(group)
        group.beat(1)
        group.crash(2)
        group.restart(2)
        window = member(group, 1).running().window
        assert window.open_to(MemberId(2)) == 2
        window.ended(under_way(group, dst=2).rpc_id)
        with breaks("calls in flight"):
            look(group, 1)

    def test_an_end_of_a_call_is_not_noticed(self) -> None:
        group = group_at_rest()
        second_entry(group)
        group.checks.call_ended(member(group, 1), under_way(group, dst=2).rpc_id)
        with breaks("calls in flight"):
            look(group, 1)

    def test_more_calls_are_open_than_ray_takes(self) -> None:
        group = group_at_rest()
        envelope = says(group, 1, append(1, entries=[group.state(1).log.entry_at(LogIndex(1))]), to=2)
        for number in range(PENDING_CALLS_MAX + 1):
            open_call(group, 1, to=2, rpc_id=NUMBER + number)
            group.checks.called(member(group, 1), RpcId(NUMBER + number), envelope)
            if number < PENDING_CALLS_MAX:
                look(group, 1)
        with breaks("calls in flight"):
            look(group, 1, times=checks.LOOK_EVERY)

    def test_a_request_arrives_twice(self) -> None:
        group = group_at_rest()
        envelope = says(group, 1, append(1), to=2)
        group.checks.received(member(group, 2), ASKED, envelope)
        with breaks("one answer"):
            group.checks.received(member(group, 2), ASKED, envelope)

    def test_a_request_is_answered_twice(self) -> None:
        group = group_at_rest()
        group.checks.received(member(group, 2), ASKED, says(group, 1, append(1), to=2))
        group.checks.answered(member(group, 2), ASKED, None)
        with breaks("one answer"):
            group.checks.answered(member(group, 2), ASKED, None)


class TestPromises:
    """Member 2 is a follower of member 1 in term 1, for whom it voted."""

    @pytest.mark.parametrize(
        "message",
        [
            append(1),
            append(2),
            RequestVote(term=Term(2), last_entry=EntryId(Term(1), LogIndex(1))),
            PreVote(term=Term(2), last_entry=EntryId(Term(1), LogIndex(1)), campaign=1),
        ],
        ids=["leads with the vote for another", "leads a term", "asks for a vote", "asks for a pre-vote"],
    )
    def test_a_request_is_sent_before_its_term_and_vote_are_durable(self, message: Message) -> None:
        group = group_at_rest()
        group.checks.called(member(group, 2), NUMBER, says(group, 2, PreVote(term=Term(1), last_entry=END, campaign=1)))
        with breaks("durable before it is said"):
            group.checks.called(member(group, 2), RpcId(NUMBER + 1), says(group, 2, message))

    @pytest.mark.parametrize(("by", "term"), [(3, 1), (1, 2)])
    def test_a_vote_is_given_before_it_is_durable(self, by: int, term: int) -> None:
        group = group_at_rest()
        self.ask(group, says(group, 1, RequestVote(term=Term(1), last_entry=END), to=2))
        self.answer(group, RequestVoteReply(term=Term(1), vote_granted=True))
        self.ask(group, says(group, by, RequestVote(term=Term(term), last_entry=END), to=2))
        with breaks("durable before it is said"):
            self.answer(group, RequestVoteReply(term=Term(term), vote_granted=True))

    def test_a_hand_over_is_said_to_who_lacks_the_log(self) -> None:
        group = group_at_rest()
        group.isolate(2)
        second_entry(group)
        group.transfer(1, 2)
        state = group.state(1)
        told = TimeoutNow(term=Term(1), last_entry=END)
        group.checks.called(member(group, 1), NUMBER, says(group, 1, told, to=2))
        with breaks("who is told to lead holds the log"):
            told = TimeoutNow(term=Term(1), last_entry=state.log.last)
            group.checks.called(member(group, 1), RpcId(NUMBER + 1), says(group, 1, told, to=2))

    @pytest.mark.parametrize(("term", "last"), [(1, END), (2, EntryId(Term(1), LogIndex(2)))])
    def test_a_hand_over_is_obeyed_that_was_said_of_another_log_or_term(self, term: int, last: EntryId) -> None:
        group = group_at_rest()
        directory_id = group.state(2).directory_id
        group.checks.wrote(directory_id, [HardState(term=Term(3), voted_for=directory_id)])
        group.state(2).current_term, group.state(2).voted_for = Term(3), directory_id
        look(group, 2)
        self.ask(group, says(group, 1, TimeoutNow(term=Term(2), last_entry=END), to=2))
        self.answer(group, TimeoutNowReply(term=Term(3), campaigns=True))
        self.ask(group, says(group, 1, TimeoutNow(term=Term(term), last_entry=last), to=2))
        with breaks("who is told to lead holds the log"):
            self.answer(group, TimeoutNowReply(term=Term(3), campaigns=True))

    @pytest.mark.parametrize(
        ("terms", "may"),
        [
            ((1, 3, 3), True),
            ((1, 3, 3, 4), True),
            ((1, 3, 3, 3), False),
            ((1, 3, 3, 3, 4), False),
            ((1, 3), False),
            ((1, 3, 4), True),
            ((1, 4, 4), True),
        ],
    )
    def test_a_hand_over_was_obeyed_and_another_leader_of_the_term_wrote_over_it(
        self, terms: tuple[int, ...], may: bool
    ) -> None:
        """Seed 158092 of the first 200,000 worlds: the answer waited for the disk, and in the term that it began its
        sender lost to another candidate, who truncated its log."""
        nodes = [SimpleNamespace(term=term, index=index) for index, term in enumerate(terms)]
        peer: Any = SimpleNamespace(name="3", log=nodes, term=4)
        request = TimeoutNow(term=Term(3), last_entry=EntryId(Term(3), LogIndex(2)))
        calls, reply = group_at_rest().checks._calls, TimeoutNowReply(term=Term(4), campaigns=True)
        with nullcontext() if may else breaks("who is told to lead holds the log"):
            calls._require_obeyed_rightly(peer, request, reply)

    @pytest.mark.parametrize("too_much", ["a later entry", "an entry on its way", "more than was asked"])
    def test_entries_are_acknowledged_before_they_are_durable(self, too_much: str) -> None:
        group = group_at_rest()
        group.hold_disk(2)
        second_entry(group)
        group.deliver(dst=2, part="request")
        entries = [group.state(1).log.entry_at(LogIndex(index)) for index in (1, 2)]
        request = append(1, entries=entries[:1])
        self.ask(group, says(group, 1, request, to=2))
        self.answer(group, append_reply(request, success=True))
        if too_much == "a later entry":
            request = append(1, EntryId(Term(1), LogIndex(9)))
        elif too_much == "an entry on its way":
            request = append(1, entries=entries)
        reply = append_reply(request, success=True)
        if too_much == "more than was asked":
            reply = replace(reply, match_index=LogIndex(2))
        self.ask(group, says(group, 1, request, to=2))
        with breaks("durable before it is said"):
            self.answer(group, reply)

    @pytest.mark.parametrize("later_term", [True, False])
    def test_an_entry_is_acknowledged_that_was_truncated_in_the_same_term(self, later_term: bool) -> None:
        group = group_at_rest()
        directory_id, request = group.state(2).directory_id, append(1, END)
        records: list[Record] = [HardState(term=Term(2), voted_for=None)] if later_term else []
        group.checks.wrote(directory_id, [*records, Truncate(from_index=LogIndex(1))])
        self.ask(group, says(group, 1, request, to=2))
        if later_term:
            self.answer(group, append_reply(request, success=True))
        else:
            with breaks("durable before it is said"):
                self.answer(group, append_reply(request, success=True))

    def ask(self, group: Group, envelope: Envelope) -> None:
        group.checks.received(member(group, 2), ASKED, envelope)

    def answer(self, group: Group, message: Message) -> None:
        group.checks.answered(member(group, 2), ASKED, says(group, 2, message))


# -- queues -----------------------------------------------------------------------------------------------------------

MANY: Final = 20_000


def _leading(engine: Engine) -> Any:
    assert engine.state.leading is not None
    return engine.state.leading


PEER_QUEUES: Final[dict[str, Callable[[Engine], object]]] = {
    "open calls": lambda engine: engine.window._calls.update(dict.fromkeys(range(MANY))),  # type: ignore[arg-type]
    "apply calls": lambda engine: engine.feed._under_way.update(dict.fromkeys(range(3), 0)),
    "replies held": lambda engine: engine._outbox._held.append(held(SendReply)),
    "requests held": lambda engine: engine._outbox._held.extend([held(SendRequest)] * MANY),
    "reads": lambda engine: _leading(engine).reads.extend([None] * MANY),
    "uncommitted bytes": lambda engine: setattr(_leading(engine), "uncommitted_bytes", 2**30),
    "appends under way": lambda engine: next(iter(_leading(engine).progress.values())).appends.update(range(MANY)),
}


def held(kind: Any) -> Any:
    number = {"request_id": ASKED} if kind is SendReply else {"rpc_id": NUMBER}
    return kind(**number, envelope=None, after=WriteSeq(9))


class TestQueues:
    @pytest.mark.parametrize("what", PEER_QUEUES)
    def test_a_queue_of_a_peer_is_too_long(self, what: str) -> None:
        group = group_at_rest()
        engine = member(group, 1).running()
        bounds.check_peer(engine, "member 1", 0)
        PEER_QUEUES[what](engine)
        with breaks("bounded queues", what):
            bounds.check_peer(engine, "member 1", 0)

    def test_a_running_peer_is_looked_at_now_and_then(self) -> None:
        group = group_at_rest()
        member(group, 2).running().feed._under_way.update(dict.fromkeys(range(3), 0))
        with breaks("bounded queues"):
            look(group, 2, times=checks.LOOK_EVERY)
