"""One job at a time, when a file gets its name, and how large the log may grow before the next: the desk alone."""

from __future__ import annotations

import pytest

from raft_actors.config import RaftConfig
from raft_actors.core.effects import FetchSnapshot
from raft_actors.core.types import EntryId
from raft_actors.peer.filing import NameSnapshot, Step
from raft_actors.peer.snapshot_job import RETRY_MS
from raft_actors.peer.snapshots import PATIENCE_MS
from tests.core.builders import append, entry, follower, last_of, log_of, offer, only, restored, snapshot
from tests.peer.desk import DEADLINE_MS, DUE, TEN, Bench


class TestAName:
    """Contracts 5, ADR 10: whoever finds the file at a start must know the term in which its entries were committed."""

    def test_it_waits_for_the_newest_write_that_was_issued_when_the_first_slice_came(self) -> None:
        peer = follower(log=TEN, commit=8)
        bench = Bench(peer).taking()
        peer.ask(append(3, last_of(TEN), commit=8), 2)  # another term, and not durable yet
        bench.give().written().give(ends=True).written()
        assert not bench.named
        peer.sync()
        bench.desk.durable()
        assert bench.orders[-1] == NameSnapshot(job=bench.job)

    def test_later_writes_it_does_not_wait_for(self) -> None:
        peer = follower(log=TEN, commit=8)
        bench = Bench(peer).taking().give()
        peer.ask(append(3, last_of(TEN), commit=8), 2)
        assert peer.state.durable_seq < peer.state.write_seq
        bench.written().give(ends=True).written()
        assert bench.named

    def test_an_offered_one_waits_for_the_write_that_the_core_names(self) -> None:
        peer = follower(log=TEN, commit=8)
        fetch = only(peer.ask(offer(2, snapshot(2, 20))), FetchSnapshot)
        assert fetch.after > peer.state.durable_seq
        bench = Bench(peer).fetching(snapshot(2, 20), after=fetch.after)
        bench.give(ends=True, last=EntryId(2, 20)).written()
        assert not bench.named
        peer.sync()
        bench.desk.durable()
        assert bench.named

    def test_it_waits_for_every_slice(self) -> None:
        bench = Bench().taking().give().give(ends=True)
        bench.desk.durable()
        assert not bench.named
        assert not bench.written().named
        assert bench.written().named

    def test_it_is_ordered_once(self) -> None:
        bench = Bench().taking().give(ends=True).written()
        bench.desk.durable()
        assert [type(order) for order in bench.orders].count(NameSnapshot) == 1

    def test_it_is_not_given_to_one_that_was_given_up(self) -> None:
        bench = Bench().taking().give().refuse().written()
        bench.desk.durable()
        assert not bench.named

    def test_a_whole_one_has_all_the_time_that_the_disk_needs(self) -> None:
        bench = Bench().taking().give(ends=True).look(10 * PATIENCE_MS).written()
        assert (bench.named, bench.given_up) == (True, [])

    def test_only_then_the_core_hears_of_it(self) -> None:
        bench = Bench().taking().give(ends=True)
        assert bench.filed(Step.WRITTEN) is None
        assert bench.filed(Step.NAMED) == snapshot(1, 8)
        ((kind, details),) = bench.ends
        assert (kind, details["how"], details["index"], details["bytes"]) == ("snapshot", "taken", 8, 10)


class TestAFileThatCannotBeWritten:
    @pytest.mark.parametrize("when", ["writing", "naming"])
    def test_it_is_a_failure_and_tried_again(self, when: str) -> None:
        bench = Bench().taking().give(ends=when == "naming")
        if when == "naming":
            bench.written()
        assert bench.filed(Step.ENDED, "no space left") is None
        assert bench.desk.error == "no space left"
        assert bench.ends == [("snapshot_failed", {"why": "no space left", "source": None})]
        count = len(bench.asks)
        assert len(bench.look(RETRY_MS[0]).asks) == count + 1
        assert bench.complete() == snapshot(1, 8)
        assert bench.desk.error is None

    def test_reports_of_another_job_are_not_read(self) -> None:
        bench = Bench().taking().give(ends=True)
        for step in Step:
            assert bench.filed(step, job=bench.job - 1) is None
        assert not bench.named
        assert bench.written().named


class TestOneAtATime:
    """The storage writes one file at a time."""

    def test_an_offer_waits_for_the_one_under_way_and_for_the_end_of_its_file(self) -> None:
        bench = Bench().taking()
        assert bench.offered(snapshot(1, 20)) is None
        bench.refuse()
        assert bench.offered(snapshot(1, 20)) is None
        bench.now_ms += RETRY_MS[0]
        assert bench.offered(snapshot(1, 20)) is None
        assert bench.ports.fetched == [], "its file is not gone yet"
        bench.filed(Step.ENDED)
        bench.fetching(snapshot(1, 20))

    def test_so_does_one_of_our_own(self) -> None:
        bench = Bench().fetching(snapshot(1, 20))
        bench.log_bytes = DUE
        assert bench.look().ports.asked == []
        bench.refuse().look(RETRY_MS[0])
        assert bench.ports.asked == []
        bench.filed(Step.ENDED)
        assert len(bench.look().ports.asked) == 1

    def test_an_offer_that_is_repeated_begins_nothing_anew(self) -> None:
        bench = Bench().fetching(snapshot(1, 20))
        bench.offered(snapshot(1, 20))
        bench.offered(snapshot(1, 30), source=2)
        assert len(bench.ports.fetched) == 1

    def test_but_the_next_leader_does_not_wait_for_the_one_before_if_that_sends_nothing_any_more(self) -> None:
        bench = Bench().fetching(snapshot(1, 20))
        bench.look(2 * DEADLINE_MS - 1).offered(snapshot(1, 20), source=2)
        bench.look(1).offered(snapshot(1, 20), source=1)
        assert bench.given_up == []
        bench.offered(snapshot(1, 20), source=2)
        assert (bench.given_up, bench.ends) == ([bench.job], []), "no failure"
        bench.filed(Step.ENDED)
        bench.offered(snapshot(1, 20), source=2)
        assert [to for to, _, _ in bench.ports.fetched][-1] == 2

    @pytest.mark.parametrize("how", ["our own, all of it is here", "a slice in hand", "all of it is here"])
    def test_one_that_goes_on_is_not_given_up_for_an_offer(self, how: str) -> None:
        bench = Bench()
        if how == "our own, all of it is here":
            bench.taking().give(ends=True)
        else:
            bench.fetching(snapshot(1, 20)).give(ends=how == "all of it is here", last=EntryId(1, 20))
        bench.now_ms += 3 * DEADLINE_MS
        bench.offered(snapshot(1, 20), source=2)
        assert bench.given_up == []

    def test_an_offer_waits_after_a_failure_too(self) -> None:
        bench = Bench().fetching().fail()
        bench.offered(snapshot(1, 20))
        assert len(bench.ports.fetched) == 1
        bench.now_ms += RETRY_MS[0]
        bench.offered(snapshot(1, 20))
        assert len(bench.ports.fetched) == 2

    @pytest.mark.parametrize("index", [12, 20])
    def test_an_offer_of_what_is_there_is_answered_with_it(self, index: int) -> None:
        """The core had no use for it when it led; by now it may have one."""
        bench = Bench().fetching(snapshot(1, 20))
        bench.complete(last=EntryId(1, 20))
        assert bench.offered(snapshot(1, index)) == snapshot(1, 20)
        assert len(bench.ports.fetched) == 1
        bench.fetching(snapshot(1, 21))
        assert len(bench.ports.fetched) == 2

    def test_a_start_knows_the_one_that_it_found(self) -> None:
        bench = Bench(restored(log=TEN[4:], base=EntryId(1, 4), taken=snapshot(1, 8)))
        assert bench.offered(snapshot(1, 8)) == snapshot(1, 8)


class TestHowLargeTheLogMayGrow:
    """Half of the size that was named lies before the newest snapshot, half behind it, about."""

    def due_at(self, bench: Bench, *, since: int = 0) -> int:
        """At which size of the log the next one is taken."""
        bench.commits(9)
        bench.log_bytes, count = since, len(bench.asks)
        while len(bench.look().asks) == count:
            bench.log_bytes += 1
            assert bench.log_bytes < 100 * DUE, "never"
        return bench.log_bytes

    def test_what_came_while_it_was_taken_counts_for_the_next(self) -> None:
        bench = Bench().taking()
        bench.log_bytes += 300
        bench.complete()
        assert self.due_at(bench) == 2 * DUE

    def test_what_was_there_before_a_fetched_one_does_not(self) -> None:
        bench = Bench().fetching(snapshot(1, 20))
        bench.log_bytes = 300
        bench.complete(last=EntryId(1, 20))
        bench.peer.stored(snapshot(1, 20))
        bench.peer.ask(append(1, EntryId(1, 20), [entry(1, 21)]))
        bench.commits(21)
        bench.log_bytes += DUE - 1
        assert bench.look().ports.asked == []
        bench.log_bytes += 1
        assert len(bench.look().ports.asked) == 1

    def test_a_compaction_makes_the_log_smaller_and_not_the_next_one_later(self) -> None:
        bench = Bench().taking()
        bench.complete()
        bench.desk.compacted(DUE - 100)
        assert self.due_at(bench) == 100 + DUE

    def test_nor_does_one_that_comes_while_the_next_one_is_taken(self) -> None:
        """The disk may be slow, and the next snapshot begin before the log was cut behind the last one."""
        bench = Bench().taking()
        bench.desk.compacted(400)
        bench.log_bytes -= 400
        bench.complete()
        assert self.due_at(bench) == DUE - 400 + DUE

    def test_a_compaction_of_more_than_is_covered_leaves_nothing(self) -> None:
        bench = Bench()
        bench.desk.compacted(10 * DUE)
        assert self.due_at(bench) == DUE

    def test_a_state_larger_than_that_is_written_down_as_much_more_rarely(self) -> None:
        """Else snapshots would write many times what the log does."""
        bench = Bench().taking()
        bench.complete(8 * DUE)
        assert self.due_at(bench) == DUE + 4 * DUE

    def test_but_not_so_rarely_that_the_log_gets_full(self) -> None:
        config = RaftConfig(snapshot_log_bytes=2 * DUE, log_bytes_max=6 * DUE)
        bench = Bench(config=config).taking()
        bench.complete(8 * DUE)
        assert self.due_at(bench) == DUE + config.log_bytes_max // 4

    def test_a_failed_one_covers_nothing(self) -> None:
        bench = Bench().taking().fail()
        bench.now_ms += RETRY_MS[0]
        assert self.due_at(bench) == DUE

    def test_a_start_knows_what_lies_behind_the_snapshot_that_it_found(self) -> None:
        log = log_of(*[1] * 10)[4:]
        peer = restored(log=log, base=EntryId(1, 4), taken=snapshot(1, 8))
        behind = sum(each.size_bytes for each in log[4:])
        bench = Bench(peer, log_bytes=700)
        assert self.due_at(bench, since=700) == 700 - behind + DUE

    def test_and_without_a_snapshot_all_of_it_does(self) -> None:
        assert Bench(log_bytes=DUE).look().asks, "all of this log lies behind the genesis"
