"""What arrives from outside is validated, dropped and counted; never asserted on (DESIGN 4, "Core").

Every test here sends what no correct peer of the cluster sends, or sends it to the wrong place or too late.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_actors.core.effects import ChangeRefused, ChangeStarted, Count, DropReason, Refuse, SendReply
from raft_actors.core.entries import Command, Configuration, Entry, Noop
from raft_actors.core.events import HelloReceived, ReplyReceived, RequestReceived
from raft_actors.core.invariants import check_state
from raft_actors.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Envelope,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
    TimeoutNowReply,
)
from raft_actors.core.step import step
from raft_actors.core.types import EntryId, Incarnation, Role
from tests.core.builders import (
    CLUSTER_ID,
    Peer,
    append,
    append_reply,
    candidate,
    configuration,
    directory,
    entry,
    follower,
    incarnation,
    leader,
    leader_of_all,
    log_of,
    pre_candidate,
    refusal,
    restored,
    snapshot_of,
    some,
)
from tests.core.several import add, change, promote, remove, transfer

LOG = log_of(1, 1, 2, 2)
HEARTBEAT = append(2, EntryId(2, 4))


def envelope(message: Message, sender: int = 1, to: int = 0, who: Incarnation | None = None) -> Envelope:
    return Envelope(
        cluster_id=CLUSTER_ID, sender=sender, incarnation=who or incarnation(sender), to=to, message=message
    )


STRANGERS = [
    pytest.param(replace(envelope(HEARTBEAT), cluster_id=b"another"), DropReason.FOREIGN_CLUSTER, id="foreign"),
    pytest.param(envelope(HEARTBEAT, to=2), DropReason.WRONG_ADDRESSEE, id="addressed to another"),
    pytest.param(envelope(HEARTBEAT, sender=0), DropReason.FROM_SELF, id="our own member id"),
    pytest.param(envelope(HEARTBEAT, who=incarnation(0)), DropReason.FROM_SELF, id="our own directory"),
    pytest.param(envelope(HEARTBEAT, who=incarnation(1, 2)), DropReason.OLD_INCARNATION, id="replaced process"),
]


class TestStrangers:
    """Not of our cluster, not for us, from ourselves, or from a process that has been replaced: nothing changes."""

    def peer(self) -> Peer:
        peer = follower(log=LOG, term=2)
        peer.hello(1, start=3)
        return peer

    @pytest.mark.parametrize(("strange", "reason"), STRANGERS)
    def test_a_request_is_refused(self, strange: Envelope, reason: DropReason) -> None:
        peer = self.peer()
        before = snapshot_of(peer)
        assert refusal(peer.do(RequestReceived(now_ms=peer.now_ms, request_id=8, envelope=strange))) is reason
        assert snapshot_of(peer) == before

    @pytest.mark.parametrize(("strange", "reason"), STRANGERS)
    def test_a_reply_is_counted(self, strange: Envelope, reason: DropReason) -> None:
        peer = self.peer()
        before = snapshot_of(peer)
        answered = replace(strange, message=append_reply(HEARTBEAT, success=False, term=99))
        effects = peer.do(ReplyReceived(now_ms=peer.now_ms, rpc_id=1, envelope=answered))
        assert effects == [Count(sender=strange.sender, reason=reason)]
        assert snapshot_of(peer) == before

    def test_a_hello_of_another_cluster_is_counted(self) -> None:
        peer = self.peer()
        hello = HelloReceived(now_ms=peer.now_ms, cluster_id=b"another", sender=1, incarnation=incarnation(1, 9))
        assert peer.do(hello) == [Count(sender=1, reason=DropReason.FOREIGN_CLUSTER)]
        assert peer.state.start_counts[directory(1)] == 3

    def test_strangers_do_not_grow_what_we_remember(self) -> None:
        """Nothing is unbounded: start counters are kept for listed directories only."""
        peer = self.peer()
        for wiped in range(1, 50):
            peer.ask(HEARTBEAT, 1, wiped=wiped)
        assert set(peer.state.start_counts) == {directory(1)}


class TestMalformed:
    """Messages that contradict themselves, or what every correct leader holds."""

    @pytest.mark.parametrize(
        "request_",
        [
            append(2, EntryId(1, -1)),
            append(2, EntryId(-1, 1)),
            append(2, EntryId(2, 4), commit=-1),
            append(2, EntryId(3, 4)),
            append(2, EntryId(2, 4), (entry(2, 6),)),
            append(2, EntryId(2, 4), (entry(2, 5), entry(2, 5))),
            append(2, EntryId(2, 4), (entry(1, 5),)),
            append(2, EntryId(2, 4), (entry(3, 5),)),
            append(2, EntryId(2, 4), (entry(2, 5, stamp_ms=9), entry(2, 6, stamp_ms=8))),
            append(2, EntryId(2, 4), (entry(2, 5, stamp_ms=-1),)),
            append(2, EntryId(2, 4), (entry(2, 5, Configuration(members=())),)),
            append(2, EntryId(2, 4), (entry(2, 5, configuration((), non_voters=(1, 2))),)),
        ],
        ids=[
            "negative index",
            "negative term",
            "negative commit",
            "an entry of a later term than its leader's",
            "a gap",
            "an index twice",
            "terms fall",
            "an entry of a later term",
            "log time falls within",
            "log time falls against ours",
            "nobody is a member",
            "nobody is a voter",
        ],
    )
    def test_append_entries_is_refused_and_nothing_is_taken(self, request_: AppendEntries) -> None:
        peer = follower(log=LOG, term=2)
        before = snapshot_of(peer)
        assert refusal(peer.ask(request_)) is DropReason.MALFORMED
        assert snapshot_of(peer) == before

    @pytest.mark.parametrize(
        "message", [append_reply(HEARTBEAT, success=True), RequestVoteReply(term=9, vote_granted=True)]
    )
    def test_a_reply_in_place_of_a_request_is_refused(self, message: Message) -> None:
        assert refusal(follower(log=LOG, term=2).ask(message)) is DropReason.MALFORMED

    @pytest.mark.parametrize("message", [HEARTBEAT, RequestVote(term=9, last_entry=EntryId(9, 9))])
    def test_a_request_in_place_of_a_reply_is_counted(self, message: Message) -> None:
        effects = follower(log=LOG, term=2).answer(message)
        assert effects == [Count(sender=1, reason=DropReason.MALFORMED)]

    def test_a_second_leader_of_our_term_is_refused(self) -> None:
        peer = leader_of_all()
        assert refusal(peer.ask(append(1))) is DropReason.SECOND_LEADER
        assert peer.state.role is Role.LEADER

    def test_a_second_leader_of_the_term_is_refused_by_followers_too(self) -> None:
        """Election Safety (Fig. 3) is broken elsewhere; following both would spread it into the logs."""
        peer = follower(log=LOG, term=2, leader=1)
        assert refusal(peer.ask(HEARTBEAT, 2)) is DropReason.SECOND_LEADER
        assert peer.state.leader_hint == 1

    @pytest.mark.parametrize(
        ("prev", "entries"),
        [(EntryId(1, 3), ()), (EntryId(1, 1), (entry(2, 2),)), (EntryId(2, 0), ())],
        ids=["prev", "an entry", "the genesis"],
    )
    def test_what_contradicts_committed_entries_is_refused(self, prev: EntryId, entries: tuple[Entry, ...]) -> None:
        peer = follower(log=LOG, term=2, commit=3)
        before = snapshot_of(peer)
        assert refusal(peer.ask(append(9, prev, entries))) is DropReason.CONFLICTS_WITH_COMMITTED
        assert snapshot_of(peer) == before


class TestAnswersThatCannotBe:
    """A leader believes no answer that its own log contradicts."""

    def test_a_match_beyond_our_log(self) -> None:
        peer = leader(log=LOG)
        peer.sync()
        claim = replace(append_reply(peer.newest_append(1), success=True), match_index=99)
        assert peer.answer(claim, to=peer.newest(1)) == [Count(sender=1, reason=DropReason.IMPOSSIBLE_MATCH)]
        assert peer.state.commit_index == 0

    def test_a_refusal_without_a_hint_is_tried_again_with_the_next_heartbeat(self) -> None:
        peer = leader(log=LOG)
        claim = append_reply(peer.newest_append(1), success=False)
        assert peer.answer(claim, to=peer.newest(1)) == [Count(sender=1, reason=DropReason.IMPOSSIBLE_MATCH)]
        peer.beat()
        assert peer.newest_append(1).entries

    def test_a_round_that_was_not_begun(self) -> None:
        peer = leader_of_all()
        peer.read()
        early = replace(append_reply(peer.newest_append(1), success=True), beat=10**9)
        peer.answer(early)
        peer.read(2)
        assert len(peer.state.leading.reads) == 1  # the round under way was confirmed, the next was not

    def test_a_vote_for_a_question_that_has_not_left(self) -> None:
        """The own vote is not durable, so nobody has been asked yet."""
        peer = candidate(restored())
        for voter in (1, 2):
            peer.answer(RequestVoteReply(term=1, vote_granted=True), voter)
        assert peer.state.role is Role.CANDIDATE

    def test_an_answer_when_we_lead_no_more(self) -> None:
        effects = follower(log=LOG, term=2).answer(append_reply(HEARTBEAT, success=True))
        assert effects == [Count(sender=1, reason=DropReason.STALE_REPLY)]


# -- anything at all -------------------------------------------------------------------------------------------------

numbers = st.integers(-2, 8) | st.just(10**12)
entry_ids = st.builds(EntryId, numbers, numbers)
payloads = st.sampled_from(
    [Command(data=b"x"), Noop(), configuration((0, 1, 2)), configuration((1, 2)), configuration(())]
)
entries = st.builds(Entry, id=entry_ids, payload=payloads, stamp_ms=numbers)
near_entries = st.lists(st.integers(1, 4), max_size=4).map(lambda terms: log_of(*sorted(terms), after=len(terms)))
messages = st.one_of(
    st.builds(PreVote, term=numbers, last_entry=entry_ids, campaign=numbers),
    st.builds(PreVoteReply, term=numbers, vote_granted=st.booleans(), campaign=numbers),
    st.builds(RequestVote, term=numbers, last_entry=entry_ids),
    st.builds(TimeoutNow, term=numbers, last_entry=entry_ids),
    st.builds(TimeoutNowReply, term=numbers, campaigns=st.booleans()),
    st.builds(RequestVoteReply, term=numbers, vote_granted=st.booleans()),
    st.builds(
        AppendEntries,
        term=numbers,
        prev_entry=entry_ids,
        entries=st.lists(entries, max_size=3).map(tuple) | near_entries,
        leader_commit=numbers,
        beat=numbers,
    ),
    st.builds(
        AppendEntriesReply,
        term=numbers,
        success=st.booleans(),
        request_term=numbers,
        prev_index=numbers,
        match_index=numbers,
        conflict=st.none() | entry_ids,
        beat=numbers,
    ),
)
senders = st.integers(0, 4)
envelopes = st.builds(
    Envelope,
    cluster_id=st.sampled_from([CLUSTER_ID] * 9 + [b"another"]),
    sender=senders,
    incarnation=st.builds(incarnation, senders, st.integers(0, 3), wiped=st.sampled_from([0, 0, 0, 1])),
    to=st.sampled_from([0] * 9 + [1]),
    message=messages,
)
arrivals = st.lists(
    st.tuples(
        st.sampled_from(["request", "reply", "timeout", "beat", "sync", "propose", "read", "change", "transfer"]),
        envelopes,
    ),
    max_size=12,
)
STATES = {
    "follower": lambda: follower(log=LOG, term=2, commit=2),
    "fresh": restored,
    "pre-candidate": lambda: pre_candidate(follower(log=LOG, term=2, commit=2)),
    "candidate": lambda: candidate(follower(log=LOG, term=2)),
    "leader": lambda: leader(log=log_of(1, 1)),
    "leader of all": lambda: leader_of_all(log=log_of(1, 1)),
    "alone": lambda: leader(1),
}


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
@given(arrivals)
def test_nothing_from_outside_breaks_an_invariant_and_each_request_is_answered_once(
    state: str, arrived: list[tuple[str, Envelope]]
) -> None:
    """Random messages, most of them impossible, in any order and in every role, among what the shell does."""
    peer = STATES[state]()
    for number, (kind, message) in enumerate(arrived):
        match kind:
            case "request":
                effects = step(peer.state, RequestReceived(now_ms=peer.now_ms, request_id=number, envelope=message))
                check_state(peer.state)
                answers = [*some(effects, SendReply), *some(effects, Refuse)]
                assert [answer.request_id for answer in answers] == [number]
            case "reply":
                peer.do(ReplyReceived(now_ms=peer.now_ms, rpc_id=peer.state.last_rpc_id, envelope=message))
            case "timeout" if peer.state.role is not Role.LEADER:
                peer.time_out()
            case "beat":
                peer.wait(300).beat()
            case "sync":
                peer.sync()
            case "propose":
                peer.propose()
            case "change":
                wanted = (add(3), remove(0), remove(1), promote(3), promote(1))[number % 5]
                assert some(change(peer, wanted), ChangeStarted | ChangeRefused)
            case "transfer":
                transfer(peer, directory(number) if number % 2 else None)
            case _:
                peer.read(number)
