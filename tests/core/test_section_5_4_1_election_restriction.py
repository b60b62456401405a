"""Raft §5.4.1: "the voter denies its vote if its own log is more up-to-date than that of the candidate"."""

from __future__ import annotations

import pytest

from raft_actors.core.election import at_least_as_up_to_date
from raft_actors.core.messages import PreVote, PreVoteReply, RequestVote, RequestVoteReply
from raft_actors.core.types import GENESIS_ID, EntryId
from tests.core.builders import log_of, reply, restored

CASES = [
    # the candidate's last entry, the voter's log, granted
    pytest.param(EntryId(3, 1), (2,) * 9, True, id="a later term wins, however short the log"),
    pytest.param(EntryId(2, 9), (1, 3), False, id="an earlier term loses, however long the log"),  # reliability A6
    pytest.param(EntryId(2, 4), (2,) * 5, False, id="same term, shorter log"),
    pytest.param(EntryId(2, 5), (1, 1, 2, 2, 2), True, id="same term, same length"),
    pytest.param(EntryId(2, 6), (2,) * 5, True, id="same term, longer log"),
    pytest.param(GENESIS_ID, (1,), False, id="an empty log loses against any"),
    pytest.param(GENESIS_ID, (), True, id="two empty logs"),
]


@pytest.mark.parametrize(("candidate", "voter", "granted"), CASES)
class TestElectionRestriction:
    """ "If the logs have last entries with different terms, then the log with the later term is more up-to-date. If the
    logs end with the same term, then whichever log is longer is more up-to-date." """

    def test_a_vote(self, candidate: EntryId, voter: tuple[int, ...], granted: bool) -> None:
        effects = restored(log=log_of(*voter)).ask(RequestVote(term=9, last_entry=candidate))
        assert reply(effects, RequestVoteReply) == RequestVoteReply(term=9, vote_granted=granted)

    def test_a_pre_vote(self, candidate: EntryId, voter: tuple[int, ...], granted: bool) -> None:
        effects = restored(log=log_of(*voter)).ask(PreVote(term=9, last_entry=candidate, campaign=1))
        assert reply(effects, PreVoteReply).vote_granted is granted

    def test_the_order_of_logs_is_the_order_of_entry_ids(
        self, candidate: EntryId, voter: tuple[int, ...], granted: bool
    ) -> None:
        last = log_of(*voter)[-1].id if voter else GENESIS_ID
        assert at_least_as_up_to_date(candidate, last) is granted
