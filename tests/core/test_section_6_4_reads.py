"""Dissertation §6.4: linearizable reads without a log entry (read index; Ruaft's verify authority).

"The leader makes sure it hasn't been superseded by a newer leader of which it is unaware": by a round of messages that
were sent after the read arrived.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from raft_actors.core.effects import CommitAdvanced, Effect, ReadConfirmed, ReadRefused
from raft_actors.core.events import ReadAbandoned
from raft_actors.core.messages import AppendEntries, RequestVote
from raft_actors.core.types import EntryId
from tests.core.builders import (
    SETTINGS,
    Peer,
    append_reply,
    elected,
    follower,
    leader,
    leader_of_all,
    log_of,
    only,
    requests,
    some,
)


def confirmed(effects: list[Effect]) -> list[tuple[int, int]]:
    return [(read.read_id, read.read_index) for read in some(effects, ReadConfirmed)]


class TestARound:
    """A read is answered when a majority has answered messages sent after it arrived."""

    def test_a_read_starts_a_round_at_once(self) -> None:
        peer = leader_of_all(log=log_of(1, 1))
        beats = requests(peer.read(), AppendEntries)
        assert set(beats) == {1, 2}
        assert {message.beat for message in beats.values()} == {peer.state.leading.beat}

    @pytest.mark.parametrize("size", range(1, 8))
    def test_a_majority_and_no_answer_less_for_every_size(self, size: int) -> None:
        peer = leader_of_all(size)
        found = confirmed(peer.read())
        for member in range(1, size // 2 + 1):
            assert found == []
            found = confirmed(peer.accepted(member))
        assert found == [(1, 0)]

    def test_the_index_is_the_commit_index_at_arrival(self) -> None:
        peer = leader_of_all(log=log_of(1, 1))
        peer.read()
        peer.propose()
        peer.sync()
        effects = peer.accepted(2)  # its answer to the append commits entry 4, and confirms the round as well
        assert only(effects, CommitAdvanced).commit_index == 4
        assert confirmed(effects) == [(1, 3)]

    def test_a_refusal_is_an_answer_too(self) -> None:
        """A follower whose log lags still says that it is in our term."""
        peer = elected(follower(log=log_of(1, 1), commit=2))
        peer.read()
        assert confirmed(peer.refused(1, EntryId(1, 1))) == [(1, 2)]

    def test_appends_confirm_as_well_as_heartbeats(self) -> None:
        peer = leader_of_all()
        peer.read()
        peer.propose()
        assert confirmed(peer.accepted(1)) == [(1, 0)]

    def test_an_answer_from_before_the_read_confirms_nothing(self) -> None:
        """Reliability E3: held back by the network, or a duplicate, its number is that of an earlier round."""
        peer = leader_of_all()
        peer.beat()
        late = peer.newest(1)
        peer.read()
        assert confirmed(peer.accepted(1, late)) == []
        assert confirmed(peer.accepted(1, late)) == []
        assert confirmed(peer.accepted(1)) == [(1, 0)]

    def test_one_member_that_answers_twice_is_no_majority(self) -> None:
        peer = leader_of_all(5)
        peer.read()
        peer.accepted(1)
        assert confirmed(peer.accepted(1)) == []
        assert confirmed(peer.accepted(2)) == [(1, 0)]

    def test_the_answers_of_a_wiped_disk_confirm_nothing(self) -> None:
        peer = leader_of_all()
        peer.read()
        assert confirmed(peer.accepted(1, wiped=1)) == []

    def test_a_lost_round_is_made_up_by_any_later_one(self) -> None:
        peer = leader_of_all()
        peer.read()
        peer.beat()
        assert confirmed(peer.accepted(1)) == [(1, 0)]


class TestSharedRounds:
    """ "Reads that arrive during a round share the next." One round is under way at a time."""

    def test_reads_during_a_round_send_nothing_and_are_answered_together(self) -> None:
        peer = leader_of_all()
        peer.read(1)
        first = peer.newest(1)
        assert peer.read(2) == []
        assert peer.read(3) == []
        effects = peer.accepted(1, first)
        assert confirmed(effects) == [(1, 0)]
        assert set(requests(effects, AppendEntries)) == {1, 2}
        assert confirmed(peer.accepted(2)) == [(2, 0), (3, 0)]

    def test_a_late_read_is_not_confirmed_by_the_round_before_it(self) -> None:
        peer = leader_of_all()
        peer.read(1)
        first_to_1, first_to_2 = peer.newest(1), peer.newest(2)
        peer.read(2)
        assert confirmed(peer.accepted(1, first_to_1)) == [(1, 0)]
        assert confirmed(peer.accepted(2, first_to_2)) == []

    def test_who_no_longer_waits_is_forgotten_and_the_next_round_starts(self) -> None:
        peer = leader_of_all()
        peer.read(1)
        peer.read(2)
        effects = peer.do(ReadAbandoned(now_ms=peer.now_ms, read_id=1))
        assert set(requests(effects, AppendEntries)) == {1, 2}
        assert confirmed(peer.accepted(1)) == [(2, 0)]

    def test_how_many_wait_is_bounded(self) -> None:
        peer = leader_of_all(settings=replace(SETTINGS, reads_waiting_max=2))
        peer.read(1)
        peer.read(2)
        assert peer.read(3) == [ReadRefused(read_id=3, leader=0)]


class TestTheTrueCommitIndex:
    """ "If the leader has not yet marked an entry from its current term committed, it waits until it has done so." """

    def test_a_read_right_after_the_election_waits_for_the_no_op(self) -> None:
        """Reliability E2: entries 1 and 2 may be committed and acknowledged, and this leader doesn't know it yet."""
        peer = leader(log=log_of(1, 1))
        appends = {to: peer.newest(to) for to in (1, 2)}
        peer.read()
        assert confirmed(peer.accepted(1)) == []  # a majority is with us, but what is committed is not known
        peer.sync()
        effects = peer.accepted(2, appends[2])
        assert only(effects, CommitAdvanced).commit_index == 3
        assert confirmed(effects) == [(1, 3)]

    def test_its_index_is_at_least_the_end_of_the_log_at_the_election(self) -> None:
        """Ruaft's two edge cases: never a commit index from before the sentinel."""
        peer = leader(log=log_of(1, 1))
        appends = {to: peer.newest(to) for to in (1, 2)}
        peer.sync()
        peer.read(1)
        peer.accepted(1, appends[1])
        peer.read(2)
        assert confirmed(peer.accepted(2)) == [(1, 3)]
        assert confirmed(peer.accepted(1)) == [(2, 3)]

    def test_no_entry_is_written_for_a_read_when_nothing_may_be_uncommitted(self) -> None:
        peer = elected(follower(log=log_of(1, 1), commit=2))
        peer.read()
        assert confirmed(peer.accepted(1)) == [(1, 2)]
        assert peer.state.log.last == EntryId(1, 2)

    def test_alone_it_needs_its_disk_and_nobody_else(self) -> None:
        peer = leader(1, log=log_of(1, 1))
        assert confirmed(peer.read()) == []
        assert confirmed(peer.sync()) == [(1, 3)]
        assert confirmed(peer.read(2)) == [(2, 3)]


class TestNoAuthority:
    """Reliability E1: a deposed leader serves no read, whether it knows of its fall or not."""

    def test_who_does_not_lead_refuses_and_says_who_does(self) -> None:
        assert follower(leader=2).read() == [ReadRefused(read_id=1, leader=2)]

    def test_a_new_term_refuses_what_waits(self) -> None:
        peer = leader_of_all()
        peer.read(1)
        peer.read(2)
        effects = peer.ask(RequestVote(term=9, last_entry=EntryId(8, 8)))
        assert some(effects, ReadRefused) == [ReadRefused(read_id=1, leader=None), ReadRefused(read_id=2, leader=None)]

    def test_check_quorum_refuses_what_waits(self) -> None:
        peer = leader_of_all()
        peer.read()
        effects = peer.wait(SETTINGS.check_quorum_ms + 1).beat()
        assert only(effects, ReadRefused)

    def test_cut_off_it_confirms_nothing_however_long_it_beats(self) -> None:
        peer = leader_of_all()
        peer.read()
        assert not any(confirmed(peer.wait(100).beat()) for _ in range(10))

    def test_an_answer_of_a_later_term_deposes_and_does_not_confirm(self) -> None:
        peer = leader_of_all()
        peer.read()
        effects = peer.answer(append_reply(peer.newest_append(1), success=False, term=2), 1)
        assert confirmed(effects) == []
        assert only(effects, ReadRefused)

    def test_an_answer_of_an_earlier_leadership_does_not_confirm_in_the_next(self) -> None:
        """Rounds are numbered from one in each term, so a number alone would not tell them apart."""
        peer = leader_of_all()
        for _ in range(5):
            peer.beat()
        late = peer.newest(1)
        peer.answer(append_reply(peer.newest_append(2), success=False, term=2), 2)
        elected(peer)
        peer.read()
        assert confirmed(peer.accepted(1, late)) == []
        assert confirmed(peer.accepted(1)) == [(1, 0)]


def test_reads_are_answered_in_the_order_of_their_rounds() -> None:
    """Mixed: reads before and during rounds, answers late, lost and doubled; each is answered once, in order."""
    peer: Peer = leader_of_all(5)
    answered: list[int] = []
    for read_id in range(1, 9):
        answered += [read for read, _ in confirmed(peer.read(read_id))]
        if read_id % 3 == 0:
            for member in (1, 1, 2):
                answered += [read for read, _ in confirmed(peer.accepted(member))]
    for member in (3, 4):
        answered += [read for read, _ in confirmed(peer.accepted(member))]
    assert answered == sorted(set(answered)) == list(range(1, len(answered) + 1))
    assert len(answered) >= 6
