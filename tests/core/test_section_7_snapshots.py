"""Snapshots: Raft §7 and Fig. 13, dissertation §5, contracts 5 a."""

from __future__ import annotations

import pytest

from raft_actors.core.effects import (
    CommitAdvanced,
    Compact,
    ConfigurationChanged,
    DropReason,
    FetchSnapshot,
    Persist,
    Refuse,
    Reset,
    SendReply,
    StateReplaced,
)
from raft_actors.core.messages import AppendEntriesReply, InstallSnapshotReply
from raft_actors.core.snapshotting import snapshot_of
from raft_actors.core.types import GENESIS_ID, EntryId, Role
from tests.core.builders import (
    Peer,
    append,
    compacted_leader,
    configuration,
    entry,
    follower,
    last_of,
    leader_of_all,
    log_of,
    offer,
    only,
    pre_candidate,
    reply,
    restored,
    snapshot,
    some,
)

TEN = log_of(*[1] * 10)


class TestWhatTheLogForgets:
    """ "Once a server completes writing a snapshot, it may delete all log entries up through the last included index"
    (Raft §7). We keep those since the snapshot before (ADR 10)."""

    def test_the_first_snapshot_costs_the_log_nothing(self):
        peer = leader_of_all(log=TEN)
        effects = peer.stored(snapshot(1, 5))
        assert not some(effects, Compact)
        assert peer.state.log.base == GENESIS_ID
        assert peer.state.snapshot == snapshot(1, 5)

    def test_the_second_lets_it_begin_at_the_first(self):
        peer = leader_of_all(log=TEN)
        peer.stored(snapshot(1, 5))
        assert only(peer.stored(snapshot(1, 9)), Compact).to == 5
        assert peer.state.log.base == EntryId(1, 5)
        assert peer.state.log.entry_at(6) == TEN[5]

    def test_an_older_or_equal_one_changes_nothing(self):
        peer = compacted_leader()
        for index in (3, 7, 8):
            assert peer.stored(snapshot(1, index)) == []
        assert peer.state.snapshot == snapshot(1, 8)

    def test_terms_that_begin_before_the_base_are_still_known(self):
        peer = leader_of_all(log=log_of(1, 1, 3, 3, 3, 4))
        peer.stored(snapshot(3, 4))
        peer.stored(snapshot(4, 6))
        log = peer.state.log
        assert log.last_at_or_before(5, 3) == EntryId(3, 5)
        assert log.last_at_or_before(5, 2) == EntryId(3, 4), "the base, when nothing else is left"
        assert log.size_bytes == sum(log.entry_at(index).size_bytes for index in range(5, log.last.index + 1))

    def test_time_goes_on_from_the_base(self):
        peer = restored(1, taken=snapshot(2, 7, stamp_ms=5_000, members=configuration([0])), base=EntryId(2, 7), term=2)
        assert peer.state.log.last_stamp_ms == 5_000

    def test_a_configuration_that_is_committed_is_not_taken_back(self):
        change = configuration(range(3), [3])
        peer = follower(log=(*log_of(1), entry(1, 2, change), *log_of(1, 1, after=2)), commit=4)
        peer.stored(snapshot(1, 3, members=change, placed=EntryId(1, 2)))
        peer.stored(snapshot(1, 4, members=change, placed=EntryId(1, 2)))
        assert peer.state.configurations.in_force == change
        assert peer.state.configurations.before is None


class TestWhatAStateStandsFor:
    """Everything up to an entry, and the configuration in force there (dissertation §4, C7)."""

    FIRST, SECOND = configuration(range(3), [3]), configuration(range(4))

    def changing(self) -> Peer:
        """Configurations at 2 and 5, eight of nine entries committed."""
        log = (
            *log_of(1),
            entry(1, 2, self.FIRST),
            *log_of(1, 1, after=2),
            entry(2, 5, self.SECOND),
            *log_of(2, after=5),
        )
        log = (*log, *(entry(2, index, stamp_ms=index) for index in (7, 8, 9)))
        return follower(log=log, term=2, commit=8)

    @pytest.mark.parametrize("index", range(1, 9))
    def test_the_newest_configuration_at_or_before_it(self, index):
        peer = self.changing()
        term, stamp_ms = (1 if index < 5 else 2), (index if index > 6 else 0)
        if index < 2:
            expected = snapshot(term, index)
        elif index < 5:
            expected = snapshot(term, index, members=self.FIRST, placed=EntryId(1, 2))
        else:
            expected = snapshot(term, index, members=self.SECOND, placed=EntryId(2, 5), stamp_ms=stamp_ms)
        assert snapshot_of(peer.state, EntryId(term, index)) == expected

    @pytest.mark.parametrize("last", [EntryId(2, 9), EntryId(2, 10), EntryId(1, 8), EntryId(3, 8), GENESIS_ID])
    def test_nothing_where_that_entry_is_not_known_to_be_committed_or_not_held(self, last):
        assert snapshot_of(self.changing().state, last) is None

    def test_where_the_log_does_not_reach_back_the_newest_snapshot_knows_where_it_stood(self):
        peer = self.changing()
        for index, term in ((6, 2), (7, 2)):
            peer.stored(snapshot_of(peer.state, EntryId(term, index)))
        assert peer.state.log.base == EntryId(2, 6)
        assert snapshot_of(peer.state, EntryId(2, 8)) == snapshot(
            2, 8, members=self.SECOND, placed=EntryId(2, 5), stamp_ms=8
        )
        assert snapshot_of(peer.state, EntryId(2, 5)) is None, "below the base nothing is known any more"

    def test_so_it_is_after_a_start(self):
        meta = snapshot(1, 4, members=self.FIRST, placed=EntryId(1, 2))
        peer = restored(taken=meta, base=meta.last, log=log_of(1, 1, after=4))
        peer.ask(append(1, EntryId(1, 6), commit=6))
        assert snapshot_of(peer.state, EntryId(1, 6)) == snapshot(1, 6, members=self.FIRST, placed=EntryId(1, 2))

    def test_without_any_other_it_is_that_of_the_genesis_also_where_the_log_begins_later(self):
        peer = compacted_leader()
        assert snapshot_of(peer.state, EntryId(1, 10)) == snapshot(1, 10)


class TestAStart:
    """Recovery hands over the newest good snapshot and the log that continues it (ADR 10)."""

    def test_what_it_covers_is_committed(self):
        peer = restored(taken=snapshot(1, 8), base=EntryId(1, 4), log=TEN[4:])
        assert peer.state.commit_index == 8
        assert peer.state.log.base == EntryId(1, 4)
        assert peer.state.durable_index == 10

    def test_its_configuration_is_in_force_unless_the_log_has_a_newer_one(self):
        older, newer = configuration(range(4)), configuration(range(5))
        meta = snapshot(1, 3, members=older, placed=EntryId(1, 2))
        log = (entry(1, 2, older), *log_of(1, 1, after=2))
        assert restored(taken=meta, base=EntryId(1, 1), log=log).state.configurations.in_force == older
        log = (*log, entry(1, 5, newer))
        state = restored(taken=meta, base=EntryId(1, 1), log=log).state
        assert state.configurations.in_force == newer
        assert state.configurations.before == older

    def test_a_log_that_does_not_continue_it_is_a_bug(self):
        with pytest.raises(AssertionError, match="a log from"):
            restored(taken=snapshot(2, 4), base=GENESIS_ID, log=log_of(1, 1, 1, 1, 1))


class TestTheReceiver:
    """Raft Fig. 13, InstallSnapshot RPC, receiver implementation."""

    def test_1_a_term_below_ours_is_answered_at_once(self):
        peer = follower(log=TEN, term=5)
        effects = peer.ask(offer(4, snapshot(1, 20)))
        answer = reply(effects, InstallSnapshotReply)
        assert (answer.term, answer.match_index) == (5, 0)
        assert not some(effects, FetchSnapshot)

    def test_a_leader_is_followed(self):
        peer = restored(log=TEN)
        peer.ask(offer(7, snapshot(6, 20)), 2)
        assert (peer.state.current_term, peer.state.leader_hint, peer.state.role) == (7, 2, Role.FOLLOWER)

    def test_what_the_log_lacks_is_fetched(self):
        peer = follower(log=TEN, commit=7)
        effects = peer.ask(offer(2, snapshot(1, 20), beat=9))
        fetch = only(effects, FetchSnapshot)
        assert fetch.snapshot == snapshot(1, 20)
        assert fetch.after == only(effects, Persist).seq, "the term in which it was offered has to be durable before"
        answer = reply(effects, InstallSnapshotReply)
        assert (answer.match_index, answer.beat) == (7, 9)

    def test_6_what_the_log_holds_is_retained_and_known_to_be_committed(self):
        """ "If existing log entry has same index and term as snapshot's last included entry, retain log entries
        following it and reply." """
        peer = follower(log=TEN, commit=2)
        effects = peer.ask(offer(1, snapshot(1, 6)))
        assert reply(effects, InstallSnapshotReply).match_index == 6
        assert only(effects, CommitAdvanced).commit_index == 6
        assert not some(effects, FetchSnapshot)
        assert peer.state.log.last.index == 10

    def test_what_is_behind_us_is_there(self):
        """C1: a late copy rolls nothing back."""
        peer = restored(taken=snapshot(1, 8), base=EntryId(1, 8), term=1)
        effects = peer.ask(offer(1, snapshot(1, 5)))
        assert reply(effects, InstallSnapshotReply).match_index == 8
        assert peer.state.log.base == EntryId(1, 8)

    def test_7_another_entry_at_its_index_goes_with_all_that_follows(self):
        """ "Discard the entire log" (C3)."""
        peer = follower(log=(*TEN, *log_of(2, 2, after=10)), term=3, commit=9)
        meta = snapshot(3, 11)
        peer.ask(offer(3, meta))
        effects = peer.stored(meta)
        assert only(effects, Persist).records == (Reset(base=EntryId(3, 11)),)
        assert only(effects, StateReplaced).snapshot == meta
        assert only(effects, CommitAdvanced).commit_index == 11
        assert only(effects, Compact).to == 11
        assert peer.state.log.last == EntryId(3, 11)

    def test_8_its_configuration_is_used(self):
        change = configuration(range(4))
        peer = follower(log=TEN)
        meta = snapshot(1, 20, members=change, placed=EntryId(1, 15))
        peer.ask(offer(1, meta))
        assert only(peer.stored(meta), ConfigurationChanged).index == 15
        assert peer.state.configurations.in_force == change

    def test_it_is_acknowledged_after_the_reset_is_durable(self):
        peer = follower(log=TEN)
        meta = snapshot(1, 20)
        peer.ask(offer(1, meta))
        write = only(peer.stored(meta), Persist)
        effects = peer.ask(offer(1, meta))
        assert reply(effects, InstallSnapshotReply).match_index == 20
        assert only(effects, SendReply).after >= write.seq

    def test_the_log_goes_on_behind_it(self):
        peer = follower(log=TEN)
        meta = snapshot(1, 20)
        peer.stored(meta)
        effects = peer.ask(append(1, EntryId(1, 20), log_of(1, 1, after=20)))
        assert reply(effects, AppendEntriesReply).match_index == 22

    def test_older_writes_on_their_way_do_not_count_for_the_new_log(self):
        peer = follower(log=TEN)
        peer.ask(append(1, last_of(TEN), log_of(*[1] * 20, after=10)))
        pending = peer.state.write_seq
        peer.ask(offer(2, snapshot(2, 15)), 2)
        peer.stored(snapshot(2, 15))
        peer.sync(pending)
        assert peer.state.durable_index == 15

    @pytest.mark.parametrize(
        ("request_", "reason"),
        [
            (offer(1, snapshot(2, 20)), DropReason.MALFORMED),
            (offer(1, snapshot(0, 20)), DropReason.MALFORMED),
            (offer(1, snapshot(1, 20, members=configuration([], [1]))), DropReason.MALFORMED),
            (offer(1, snapshot(1, 20, placed=EntryId(2, 3))), DropReason.MALFORMED),
            (offer(2, snapshot(2, 5)), DropReason.CONFLICTS_WITH_COMMITTED),
            (offer(1, snapshot(1, 20, placed=EntryId(0, 20))), DropReason.MALFORMED),
            (offer(1, snapshot(1, 20, placed=EntryId(1, 0))), DropReason.MALFORMED),
            (offer(1, snapshot(1, 20, stamp_ms=-1)), DropReason.MALFORMED),
            (offer(1, snapshot(1, 20, stamp_ms=2**63 - 1)), DropReason.MALFORMED),
            (offer(1, snapshot(1, 2**64 - 1)), DropReason.MALFORMED),
        ],
        ids=[
            *(
                "term above the leader's",
                "term of the genesis",
                "no voters",
                "configuration of a later term",
                "differs",
            ),
            *(
                "another configuration at its end",
                "a genesis of a term",
                "time before ours",
                "no time left",
                "no index left",
            ),
        ],
    )
    def test_what_no_correct_leader_sends_is_dropped(self, request_, reason):
        peer = follower(log=TEN, commit=8)
        before = peer.state.log.last
        effects = peer.ask(request_)
        assert only(effects, Refuse).reason is reason
        assert not some(effects, FetchSnapshot)
        assert peer.state.log.last == before

    def test_a_term_below_that_of_what_is_committed_is_dropped(self):
        peer = follower(log=log_of(5, 5), term=5, commit=2)
        assert only(peer.ask(offer(5, snapshot(2, 20))), Refuse).reason is DropReason.MALFORMED

    def test_a_campaign_ends_with_the_log_that_it_was_for(self):
        """Its configuration may list somebody else in our place."""
        peer = pre_candidate(follower(log=TEN))
        peer.stored(snapshot(1, 20))
        assert peer.state.role is Role.FOLLOWER

    def test_the_state_is_replaced_before_anything_behind_it_is_committed(self):
        """A shell that acts in order would look for entries that are gone."""
        effects = follower(log=TEN).stored(snapshot(1, 20))
        kinds = [type(effect) for effect in effects]
        assert kinds.index(StateReplaced) < kinds.index(CommitAdvanced) < kinds.index(Compact)

    def test_a_second_leader_of_the_term_is_dropped(self):
        peer = follower(log=TEN, leader=1)
        assert only(peer.ask(offer(1, snapshot(1, 20)), 2), Refuse).reason is DropReason.SECOND_LEADER


class TestWhenItIsThereAtLast:
    """Contracts 5 a: "when the file is durable the core decides anew"."""

    def test_what_was_acknowledged_meanwhile_stays(self):
        """S3 fetches snapshot 200 slowly; a new leader's 11..210 are acknowledged; nothing of them may go (C2)."""
        peer = follower(log=TEN)
        meta = snapshot(1, 15)
        peer.ask(offer(1, meta))
        peer.ask(append(2, last_of(TEN), (*log_of(*[1] * 5, after=10), *log_of(2, 2, after=15)), commit=12), 2)
        effects = peer.stored(meta)
        assert not some(effects, Persist)
        assert not some(effects, StateReplaced)
        assert peer.state.log.last == EntryId(2, 17)
        assert peer.state.snapshot == meta

    def test_what_it_holds_is_committed_though_no_leader_said_so_yet(self):
        peer = follower(log=TEN)
        peer.ask(append(2, last_of(TEN), log_of(*[1] * 5, after=10)), 2)
        effects = peer.stored(snapshot(1, 15))
        assert only(effects, CommitAdvanced).commit_index == 15
        assert not some(effects, Persist)

    def test_what_differs_from_what_is_committed_is_dropped(self):
        peer = follower(log=TEN, commit=10, term=3)
        assert peer.stored(snapshot(3, 9)) == []
        assert peer.state.snapshot is None

    def test_a_leader_commits_by_counting(self):
        """Fetched as a follower, there when it leads: it holds the entry (Leader Completeness)."""
        peer = leader_of_all(log=TEN)
        peer.propose()
        assert peer.stored(snapshot(2, peer.state.log.last.index)) == []
        assert peer.state.commit_index < peer.state.log.last.index


class TestAppendEntriesBelowTheBase:
    """What lies below a follower's base was committed: it has it, whatever the leader begins with."""

    def compacted(self) -> Peer:
        return restored(taken=snapshot(1, 8), base=EntryId(1, 8), log=log_of(1, 1, after=8))

    def test_a_heartbeat_from_the_genesis_is_taken(self):
        effects = self.compacted().ask(append(1, GENESIS_ID))
        assert reply(effects, AppendEntriesReply).success is True

    def test_entries_that_it_holds_in_its_snapshot_are_passed_over(self):
        peer = self.compacted()
        effects = peer.ask(append(1, EntryId(1, 5), log_of(*[1] * 7, after=5)))
        assert reply(effects, AppendEntriesReply).match_index == 12
        assert only(effects, Persist).records[0].entries[0].index == 11

    def test_entries_that_end_before_the_base_change_nothing(self):
        peer = self.compacted()
        effects = peer.ask(append(1, EntryId(1, 2), log_of(1, 1, after=2)))
        assert reply(effects, AppendEntriesReply).match_index == 4
        assert not some(effects, Persist)

    def test_another_entry_at_the_base_is_refused(self):
        effects = self.compacted().ask(append(2, EntryId(1, 7), (entry(2, 8), entry(2, 9))))
        assert only(effects, Refuse).reason is DropReason.CONFLICTS_WITH_COMMITTED

    def test_a_leader_that_backs_up_is_told_where_we_begin(self):
        peer = self.compacted()
        effects = peer.ask(append(3, EntryId(3, 30)))
        assert reply(effects, AppendEntriesReply).conflict == EntryId(1, 10)
