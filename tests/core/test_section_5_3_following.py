"""Raft §5.3, the follower: AppendEntries, receiver implementation 1 to 5 (Fig. 2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_actors.core.effects import Append, CommitAdvanced, DropReason, Persist, Truncate
from raft_actors.core.messages import AppendEntries, AppendEntriesReply
from raft_actors.core.types import GENESIS_ID, EntryId
from tests.core.builders import (
    append,
    entry,
    follower,
    leader,
    log_of,
    only,
    refusal,
    reply,
    requests,
    restored,
    some,
)
from tests.core.strategies import two_logs

LOG = log_of(1, 1, 2, 2)


class TestTheConsistencyCheck:
    """2. "Reply false if log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm." """

    @pytest.mark.parametrize(
        ("prev", "matches"),
        [
            (GENESIS_ID, True),
            (EntryId(1, 2), True),
            (EntryId(2, 4), True),
            (EntryId(1, 4), False),
            (EntryId(2, 2), False),
            (EntryId(2, 5), False),
        ],
    )
    def test_prev_entry_must_be_held(self, prev: EntryId, matches: bool) -> None:
        peer = follower(log=LOG, term=2)
        assert reply(peer.ask(append(2, prev)), AppendEntriesReply).success is matches
        assert peer.state.log.last == EntryId(2, 4)

    @pytest.mark.parametrize(
        ("prev", "hint"),
        [
            (EntryId(2, 9), EntryId(2, 4)),  # our log is shorter: its end
            (EntryId(1, 3), EntryId(1, 2)),  # our entry there is of a later term: skip the whole term
            (EntryId(3, 3), EntryId(2, 3)),  # our entry there is of an earlier term: it may be the leader's
        ],
    )
    def test_the_refusal_says_what_could_still_match(self, prev: EntryId, hint: EntryId) -> None:
        """ "The follower can include the term of the conflicting entry and the first index it stores [of it]." """
        answer = reply(follower(log=LOG, term=3).ask(append(3, prev)), AppendEntriesReply)
        assert (answer.success, answer.conflict, answer.prev_index, answer.match_index) == (False, hint, prev.index, 0)

    def test_even_a_refused_request_is_a_leader_speaking(self) -> None:
        peer = restored(log=LOG)
        peer.ask(append(5, EntryId(5, 20)), sender=2)
        assert (peer.state.leader_hint, peer.state.current_term) == (2, 5)


class TestTakingEntries:
    """3. and 4. "If an existing entry conflicts with a new one, delete it and all that follow; append any new." """

    def test_new_entries_go_behind_the_end(self) -> None:
        peer = follower(log=LOG, term=2)
        effects = peer.ask(append(2, EntryId(2, 4), log_of(2, 2, after=4)))
        assert only(effects, Persist).records == (Append(entries=log_of(2, 2, after=4)),)
        assert reply(effects, AppendEntriesReply).match_index == 6

    def test_a_conflict_truncates_exactly_from_there_and_the_truncation_is_written(self) -> None:
        peer = follower(log=LOG, term=3)
        effects = peer.ask(append(3, EntryId(1, 2), (entry(2, 3), entry(3, 4), entry(3, 5))))
        assert [write.records[0] for write in some(effects, Persist)] == [
            Truncate(from_index=4),
            Append(entries=(entry(3, 4), entry(3, 5))),
        ]
        assert peer.state.log.last == EntryId(3, 5)

    def test_a_late_shorter_copy_cuts_nothing_off(self) -> None:
        """Reliability B2: 1..4 were acknowledged, then the message of 1..2 arrives."""
        peer = follower(log=LOG, term=2)
        effects = peer.ask(append(2, GENESIS_ID, LOG[:2]))
        assert not some(effects, Persist)
        assert peer.state.log.last == EntryId(2, 4)

    def test_an_overlapping_request_writes_only_what_is_new(self) -> None:
        peer = follower(log=LOG, term=2)
        effects = peer.ask(append(2, EntryId(1, 1), (*LOG[1:], entry(2, 5))))
        assert only(effects, Persist).records == (Append(entries=(entry(2, 5),)),)

    def test_match_is_what_the_request_covers_not_our_end(self) -> None:
        """Reliability B6: what lies behind may be another leader's."""
        peer = follower(log=LOG, term=3)
        assert reply(peer.ask(append(3, EntryId(1, 1), LOG[1:2])), AppendEntriesReply).match_index == 2

    @pytest.mark.slow
    @given(logs=two_logs(run_max=3), data=st.data())
    def test_afterwards_the_logs_are_identical_up_to_the_last_entry_covered(
        self, logs: tuple[list[int], list[int]], data: st.DataObject
    ) -> None:
        """The Log Matching Property (Fig. 3), whatever part of the leader's log arrives, in whatever order."""
        mine, leaders = log_of(*logs[0]), log_of(*logs[1])
        peer = restored(log=mine, term=7)
        for _ in range(4):
            start = data.draw(st.integers(0, len(leaders)))
            stop = data.draw(st.integers(start, len(leaders)))
            prev = leaders[start - 1].id if start else GENESIS_ID
            answer = reply(peer.ask(append(7, prev, leaders[start:stop])), AppendEntriesReply)
            held = [peer.state.log.entry_at(index).id for index in range(1, peer.state.log.last.index + 1)]
            if answer.success:
                assert answer.match_index == stop
                assert held[:stop] == [one.id for one in leaders[:stop]]
            else:
                assert prev not in held


class TestTheCommitIndex:
    """5. "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)." """

    def test_it_follows_the_leader(self) -> None:
        peer = follower(log=LOG, term=2)
        effects = peer.ask(append(2, EntryId(2, 4), commit=3))
        assert only(effects, CommitAdvanced) == CommitAdvanced(commit_index=3)

    @pytest.mark.parametrize("entries", [(), log_of(1, 1)[1:]], ids=["heartbeat", "with an entry"])
    def test_it_never_passes_the_last_entry_that_the_request_covers(self, entries: tuple[object, ...]) -> None:
        """Reliability B3 and B4: our entries 3 and 4 are of a leader that lost; the new one has committed 7."""
        peer = follower(log=LOG, term=3)
        peer.ask(AppendEntries(term=3, prev_entry=EntryId(1, 1), entries=entries, leader_commit=7, beat=0))
        assert peer.state.commit_index == 1 + len(entries)

    def test_a_refused_request_commits_nothing(self) -> None:
        """Reliability B4: the check of prev comes before anything else."""
        peer = follower(log=LOG, term=3)
        peer.ask(append(3, EntryId(3, 4), commit=4))
        assert peer.state.commit_index == 0

    def test_it_never_goes_back(self) -> None:
        peer = follower(log=LOG, term=2, commit=3)
        assert not some(peer.ask(append(2, EntryId(1, 1), commit=1)), CommitAdvanced)
        assert peer.state.commit_index == 3

    def test_a_leader_that_would_overwrite_committed_entries_is_no_leader_of_ours(self) -> None:
        peer = follower(log=LOG, term=2, commit=3)
        assert refusal(peer.ask(append(9, EntryId(1, 2), log_of(9, after=2)))) is DropReason.CONFLICTS_WITH_COMMITTED
        assert peer.state.log.last == EntryId(2, 4)


def test_a_heartbeat_starts_from_what_the_member_is_known_to_hold() -> None:
    """Reliability B17: with the commit index in its place a slow follower would refuse it, as if its log had shrunk."""
    peer = leader(log=LOG)
    peer.sync()
    peer.accepted(1)
    assert peer.state.commit_index == 5
    heartbeat = requests(peer.beat(), AppendEntries)[2]
    assert heartbeat.prev_entry == GENESIS_ID
    late = follower(term=3)
    assert reply(late.ask(heartbeat), AppendEntriesReply).success
    assert late.state.commit_index == 0
