"""When a snapshot is taken or fetched, and what becomes of its slices: the desk alone, no bytes on any way."""

from __future__ import annotations

from itertools import pairwise

import pytest

from raft_actors.application.slices import INLINE_BYTES_MAX
from raft_actors.core.types import EntryId
from raft_actors.peer.filing import Step
from raft_actors.peer.snapshot_job import RETRY_MS
from raft_actors.peer.snapshots import ASK_AGAIN_MS, PATIENCE_MS, SLICES_AHEAD_MAX, NotSaved, Saved
from tests.core.builders import (
    CLUSTER_ID,
    append,
    configuration,
    directory,
    entry,
    follower,
    log_of,
    restored,
    snapshot,
)
from tests.peer.desk import CONFIG, DEADLINE_MS, DUE, PROVENANCE, TEN, Bench


class TestWhenOneIsDue:
    def test_when_half_of_the_size_was_written(self) -> None:
        bench = Bench()
        bench.log_bytes = DUE - 1
        assert not bench.look().asks
        bench.log_bytes = DUE
        assert bench.look().asks == [(0, True)]

    def test_what_is_asked_for(self) -> None:
        (asked,) = Bench().taking().ports.asked
        assert (asked.bytes_max, asked.provenance) == (CONFIG.snapshot_slice_bytes_max, PROVENANCE)

    @pytest.mark.parametrize(("applied", "due"), [(7, True), (8, True), (9, False), (None, False)])
    def test_only_of_what_is_committed_here(self, applied: int | None, due: bool) -> None:
        """A peer that restarted may know less than its application: that waits for the leader's word."""
        bench = Bench(applied=applied)
        bench.log_bytes = DUE
        assert bool(bench.look().asks) is due

    @pytest.mark.parametrize(("applied", "due"), [(5, False), (6, False), (7, True)])
    def test_only_of_something_new(self, applied: int, due: bool) -> None:
        peer = follower(log=TEN, commit=8)
        peer.stored(snapshot(1, 6))
        bench = Bench(peer, applied=applied)
        bench.log_bytes = 10 * DUE
        assert bool(bench.look().asks) is due

    def test_not_at_once_after_a_failure_and_later_each_time_up_to_a_minute(self) -> None:
        bench, begun = Bench().taking(), []
        for _ in range(9):
            begun.append(bench.now_ms)
            bench.fail()
            count = len(bench.asks)
            while len(bench.asks) == count:
                bench.look(500)
        waits = [later - earlier for earlier, later in pairwise([*begun, bench.now_ms])]
        assert waits == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]
        assert (waits[0], waits[-1]) == RETRY_MS
        bench.complete()
        bench.log_bytes += DUE
        bench.commits(9).look().fail()
        count = len(bench.asks)
        assert len(bench.look(RETRY_MS[0] - 1).asks) == count
        assert len(bench.look(1).asks) == count + 1, "a success makes the wait short again"

    def test_a_job_of_an_earlier_process_has_none_of_our_numbers(self) -> None:
        """The application may still send slices of a state that this peer's predecessor asked for."""
        jobs = {Bench(restored(1, log=TEN, start=start)).fetching().job for start in (1, 2, 3)}
        assert len(jobs) == 3


class TestWhoWantsOne:
    def test_gets_it_however_small_the_log_and_however_lately_one_failed(self) -> None:
        bench = Bench().taking().fail()
        bench.log_bytes = 0
        bench.desk.want(7, 8)
        assert len(bench.look().asks) == 2
        assert bench.ports.ended == []
        bench.complete()
        assert bench.ports.ended == [(7, Saved(index=8))]
        bench.look(10**6)
        assert len(bench.ports.ended) == 1

    def test_has_it_already_where_nothing_is_new(self) -> None:
        bench = Bench().taking()
        bench.complete()
        bench.desk.want(7, 8)
        assert bench.ports.ended == [(7, Saved(index=8))]

    def test_waits_for_the_one_after_the_one_under_way_if_that_is_older(self) -> None:
        bench = Bench().taking()
        bench.desk.want(7, 9)
        bench.commits(9).complete()
        assert bench.ports.ended == []
        bench.look()
        bench.complete(last=EntryId(1, 9))
        assert bench.ports.ended == [(7, Saved(index=9))]

    @pytest.mark.parametrize("end", ["refused", "file", "patience", "application"])
    def test_is_told_why_there_is_none(self, end: str) -> None:
        bench = Bench()
        bench.desk.want(7, 8)
        bench.desk.want(8, 8)
        bench.look()
        if end == "refused":
            bench.refuse("it cannot")
        elif end == "file":
            bench.filed(Step.ENDED, "no space")
        elif end == "patience":
            bench.look(PATIENCE_MS)
        else:
            bench.desk.application_changed(bench.now_ms)
        bench.filed(Step.ENDED)
        assert [number for number, _ in bench.ports.ended] == [7, 8]
        why = {"refused": "it cannot", "file": "no space", "patience": "nothing came for 10 s"}
        expected = NotSaved(why=why.get(end, "the application went away"))
        assert [answer for _, answer in bench.ports.ended] == [expected, expected]

    def test_is_told_when_no_application_may_be_asked(self) -> None:
        bench = Bench(applied=None)
        bench.desk.want(7, 8)
        bench.look()
        assert [(number, type(answer)) for number, answer in bench.ports.ended] == [(7, NotSaved)]

    def test_is_served_by_one_that_was_fetched(self) -> None:
        bench = Bench().fetching(snapshot(1, 20))
        bench.desk.want(7, 9)
        bench.complete(last=EntryId(1, 20))
        assert bench.ports.ended == [(7, Saved(index=20))]

    def test_does_not_hear_of_the_end_of_one_that_was_fetched_for_nothing(self) -> None:
        bench = Bench().fetching()
        bench.desk.want(7, 8)
        bench.fail()
        assert bench.ports.ended == []


class TestWhatItStandsFor:
    """A snapshot of ours is of a prefix of the log that is committed here: its first slice says of which."""

    def test_the_entry_that_the_application_was_at(self) -> None:
        members = configuration(range(3), [3])
        peer = follower(log=(*log_of(1), entry(1, 2, members, stamp_ms=5), entry(1, 3, stamp_ms=9)), commit=3)
        meta = Bench(peer, applied=2).taking().complete(last=EntryId(1, 3))
        assert meta == snapshot(1, 3, members=members, placed=EntryId(1, 2), stamp_ms=9)

    @pytest.mark.parametrize(
        ("last", "why"),
        [
            (EntryId(1, 9), "held, not known to be committed"),
            (EntryId(2, 8), "another one is held there"),
            (EntryId(1, 11), "beyond the log"),
            (EntryId(0, 0), "nothing was applied"),
        ],
    )
    def test_of_another_one_it_is_given_up(self, last: EntryId, why: str) -> None:
        bench = Bench().taking().give(last=last)
        assert (bench.stores, bench.given_up) == ([], [bench.job]), why
        assert bench.desk.error == f"the state after {last} is of no use here"

    @pytest.mark.parametrize("index", [4, 6])
    def test_so_it_is_where_a_newer_one_is_there(self, index: int) -> None:
        """Also where the log that is left does not say any more which configuration was in force."""
        members = configuration(range(3), [3])
        peer = follower(log=(*log_of(1, 1, 1, 1), entry(1, 5, members), *log_of(1, 1, 1, after=5)), commit=8)
        peer.stored(snapshot(1, 3))
        peer.stored(snapshot(1, 6, members=members, placed=EntryId(1, 5)))
        bench = Bench(peer).taking().give(last=EntryId(1, index))
        assert bench.given_up == [bench.job]

    def test_all_slices_are_of_the_same(self) -> None:
        """C10: a slice of another snapshot is not put behind those before."""
        bench = Bench().taking().give().give(last=EntryId(1, 7))
        assert (len(bench.stores), bench.given_up) == (1, [bench.job])

    def test_an_offered_one_is_what_was_offered(self) -> None:
        bench = Bench().fetching(snapshot(1, 20))
        assert bench.complete(last=EntryId(1, 20)) == snapshot(1, 20)
        bench = Bench().fetching(snapshot(1, 20)).give(last=EntryId(1, 19))
        assert (bench.stores, bench.given_up) == ([], [bench.job])

    @pytest.mark.parametrize("data", [b"", bytes(9), bytes(11)])
    def test_bytes_that_are_not_what_the_slice_says_are_not_written(self, data: bytes) -> None:
        bench = Bench().taking().give(data=data)
        assert (bench.stores, bench.given_up) == ([], [bench.job])

    def test_an_empty_slice_is_the_last_one_or_it_would_never_end(self) -> None:
        assert Bench().taking().give(0).given_up
        bench = Bench().taking().give().give(0, ends=True)
        assert (len(bench.stores), bench.given_up) == (2, [])


class TestSlices:
    def test_one_is_written_while_the_next_one_travels(self) -> None:
        bench = Bench().taking().give(10)
        assert [order.slice_.offset for order in bench.stores] == [0]
        assert bench.asks == [(0, True), (10, True)]

    def test_there_are_never_more_than_two_here(self) -> None:
        bench = Bench().taking()
        for _ in range(SLICES_AHEAD_MAX):
            bench.give()
        assert len(bench.asks) == SLICES_AHEAD_MAX
        assert len(bench.look(ASK_AGAIN_MS).asks) == SLICES_AHEAD_MAX
        bench.written()
        assert bench.asks[-1] == (20, True)
        assert len(bench.asks) == SLICES_AHEAD_MAX + 1, "one written, one more asked for"

    @pytest.mark.parametrize("how", ["twice", "before", "behind", "other job", "next job"])
    def test_what_was_not_asked_for_changes_nothing(self, how: str) -> None:
        bench = Bench().taking().give(10)
        told = (list(bench.orders), list(bench.asks))
        if how in ("twice", "before", "behind"):
            bench.give(10, offset={"twice": 0, "before": 5, "behind": 20}[how])
        else:
            bench.give(10, job=bench.job + (1 if how == "next job" else -1))
        assert (bench.orders, bench.asks) == told
        bench.give(10)
        assert [order.slice_.offset for order in bench.stores] == [0, 10]

    def test_nothing_is_asked_for_behind_the_last_one_and_nothing_taken(self) -> None:
        bench = Bench().taking().give(10, ends=True).give(10, offset=10)
        bench.lose().look(PATIENCE_MS).refuse()
        assert (len(bench.stores), len(bench.asks), bench.given_up) == (1, 1, [])

    def test_nothing_is_taken_of_one_that_was_given_up(self) -> None:
        bench = Bench().taking().refuse().give()
        assert (bench.stores, len(bench.asks)) == ([], 1)

    def test_an_offered_one_is_asked_of_who_offered_it(self) -> None:
        bench = Bench().fetching(snapshot(1, 20))
        bench.give(10, last=EntryId(1, 20))
        to, _, request = bench.ports.fetched[-1]
        assert (to, request.cluster_id, request.asker) == (1, CLUSTER_ID, directory(0))
        assert (request.term, request.index, request.offset) == (1, 20, 10)


class TestWhatIsLost:
    """C16: a reference is a cache; whoever gets none asks again, for less, without."""

    def test_it_is_asked_for_again_after_a_moment_inline_and_so_are_all_that_follow(self) -> None:
        bench = Bench().taking().give(10).written().lose()
        assert len(bench.look(ASK_AGAIN_MS - 1).asks) == 2
        assert bench.look(1).asks[-1] == (10, False)
        assert bench.ports.asked[-1].bytes_max == INLINE_BYTES_MAX
        assert bench.give(10).asks[-1] == (20, False)

    def test_so_is_one_of_another_peer(self) -> None:
        bench = Bench().fetching().lose().look(ASK_AGAIN_MS)
        assert [(to, request.by_reference) for to, _, request in bench.ports.fetched] == [(1, True), (1, False)]

    def test_a_loss_of_another_job_or_of_one_that_has_come_is_none(self) -> None:
        bench = Bench().taking()
        bench.desk.slice_lost(bench.job - 1, bench.now_ms)
        assert len(bench.look(ASK_AGAIN_MS).asks) == 1

    def test_an_answer_that_never_comes_is_asked_for_again_after_two_deadlines(self) -> None:
        bench = Bench().taking()
        assert len(bench.look(2 * DEADLINE_MS - 1).asks) == 1
        assert bench.look(1).asks[1:] == [(0, False)]

    def test_the_first_answer_is_still_welcome_then_and_the_second_one_is_late(self) -> None:
        bench = Bench().taking().look(2 * DEADLINE_MS)
        bench.give(70_000, offset=0).give(10, offset=0)
        assert [order.slice_.size for order in bench.stores] == [70_000]
        assert bench.asks[-1] == (70_000, False)


class TestAfterTheApplicationOrALeader:
    def test_it_is_patient_only_so_long(self) -> None:
        bench = Bench().taking()
        for _ in range(PATIENCE_MS // 100 - 1):
            bench.look(100)
        assert bench.given_up == []
        assert bench.look(100).given_up == [bench.job]

    @pytest.mark.parametrize("progress", ["slice", "written"])
    def test_each_progress_is_a_new_beginning(self, progress: str) -> None:
        bench = Bench().taking().give()
        for _ in range(2):
            bench.look(PATIENCE_MS - 1)
            if progress == "slice":
                bench.give()
            else:
                bench.written()
            assert bench.given_up == []
        if progress == "slice":
            bench.written()
        assert bench.look(PATIENCE_MS).given_up == [bench.job]

    def test_a_slow_disk_is_waited_for(self) -> None:
        bench = Bench().taking()
        for _ in range(SLICES_AHEAD_MAX):
            bench.give()
        assert bench.look(10 * PATIENCE_MS).given_up == []
        assert bench.written().look(PATIENCE_MS - 1).given_up == []

    def test_lost_slices_are_no_progress(self) -> None:
        bench = Bench().fetching()
        for _ in range(PATIENCE_MS // ASK_AGAIN_MS):
            bench.lose().look(ASK_AGAIN_MS)
        assert bench.given_up == [bench.job]

    def test_one_that_entries_overtook_is_given_up_and_that_is_no_failure(self) -> None:
        """C1: while it travelled, another leader brought the entries."""
        peer = follower(log=TEN, commit=8)
        bench = Bench(peer).fetching(snapshot(1, 9)).give(last=EntryId(1, 9))
        peer.ask(append(1, EntryId(1, 10), commit=10))
        assert bench.look().given_up == [bench.job]
        assert (bench.desk.error, bench.ends) == (None, [])
        bench.filed(Step.ENDED)
        assert bench.offered(snapshot(1, 30)) is None
        assert bench.ports.fetched[-1][2].index == 30, "the next one may begin at once"

    def test_one_of_an_application_that_went_away_is_given_up_once(self) -> None:
        """Its successor attaches before the file is gone; and what the first one refuses comes late."""
        bench = Bench().taking().give()
        for _ in range(2):
            bench.desk.application_changed(bench.now_ms)
        bench.refuse().look(PATIENCE_MS)
        assert bench.given_up == [bench.job]
        assert [kind for kind, _ in bench.ends] == ["snapshot_failed"]
        bench.filed(Step.ENDED)
        assert len(bench.look(RETRY_MS[0]).given_up) == 1
        assert bench.asks[-1] == (0, True)

    def test_it_does_not_matter_to_what_is_fetched_or_has_come_whole(self) -> None:
        fetching, whole = Bench().fetching(), Bench().taking().give(ends=True)
        for bench in (fetching, whole):
            bench.desk.application_changed(bench.now_ms)
            assert bench.given_up == []

    def test_progress_is_told(self) -> None:
        bench = Bench()
        assert bench.desk.progress() is None
        bench.taking()
        assert bench.desk.progress() == "taking one, 0.0 MiB"
        bench.give(2**20)
        assert bench.desk.progress() == "taking one at 8, 1.0 MiB"
        assert bench.refuse().desk.progress() is None
        assert Bench().fetching().desk.progress() == "fetching one from member 1 at 20, 0.0 MiB"
