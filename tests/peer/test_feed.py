"""Committed entries on their way to the application: two calls under way, one epoch, no gap."""

from __future__ import annotations

import pytest

from raft_actors.application.exchange import Applied, Apply, Checkpoint, EntryKind, Epoch, Gap, Stopped, WrongEpoch
from raft_actors.core.entries import Noop
from raft_actors.core.log import Log
from raft_actors.core.types import LogIndex
from raft_actors.peer.feed import CALLS_MAX, PROBE_INTERVAL_MS, ApplicationFeed, ApplyCall, Progress
from tests.core.builders import configuration, entry

EPOCH, OTHER = Epoch(b"e" * 16), Epoch(b"f" * 16)
SIX = [entry(1, index) for index in range(1, 7)]
TWO_ENTRIES_BYTES = 2 * SIX[0].size_bytes


def feed_of(applied_index: int = 0, *, bytes_max: int = TWO_ENTRIES_BYTES, now_ms: int = 0) -> ApplicationFeed:
    feed = ApplicationFeed(now_ms=now_ms, bytes_max=bytes_max)
    feed.attach(EPOCH, LogIndex(applied_index))
    return feed


def next_call(feed: ApplicationFeed, commit_index: int = 6, now_ms: int = 0) -> ApplyCall:
    call = feed.next_call(Log(SIX), LogIndex(commit_index), now_ms)
    assert call is not None
    return call


def nothing(feed: ApplicationFeed, commit_index: int = 6) -> bool:
    return feed.next_call(Log(SIX), LogIndex(commit_index), 0) is None


def place(request: Apply) -> tuple[int, int]:
    return request.first_index, len(request.entries)


def applied(index: int, *checkpoints: Checkpoint) -> Applied:
    return Applied(applied_index=LogIndex(index), chain=b"", checkpoints=checkpoints)


class TestOrder:
    def test_two_calls_are_under_way_one_behind_the_other(self) -> None:
        feed = feed_of()
        assert [place(next_call(feed).request) for _ in range(CALLS_MAX)] == [(1, 2), (3, 2)]
        assert nothing(feed)

    def test_an_answer_makes_room(self) -> None:
        feed = feed_of()
        first = next_call(feed)
        next_call(feed)
        assert feed.answered(first.call_id, applied(2), 0) == Progress(applied_index=LogIndex(2), checkpoints=())
        assert place(next_call(feed).request) == (5, 2)

    def test_only_what_is_committed_is_sent(self) -> None:
        feed = feed_of()
        assert place(next_call(feed, commit_index=1).request) == (1, 1)
        assert nothing(feed, commit_index=1)

    def test_it_goes_on_behind_what_the_application_has(self) -> None:
        assert place(next_call(feed_of(4)).request) == (5, 2)

    def test_an_application_that_is_ahead_of_a_restarted_peer_waits(self) -> None:
        feed = feed_of(5)
        assert nothing(feed, commit_index=3)
        assert place(next_call(feed).request) == (6, 1)

    def test_one_entry_above_the_limit_travels_alone(self) -> None:
        assert place(next_call(feed_of(bytes_max=1)).request) == (1, 1)

    def test_answers_in_the_wrong_order_do_not_go_back(self) -> None:
        feed = feed_of()
        first, second = next_call(feed), next_call(feed)
        feed.answered(second.call_id, applied(4), 0)
        feed.answered(first.call_id, applied(2), 0)
        assert feed.applied_index == 4

    def test_what_an_entry_carries_is_said(self) -> None:
        log = Log([entry(1, 1), entry(1, 2, Noop()), entry(1, 3, configuration([1]))])
        call = feed_of(bytes_max=10_000).next_call(log, LogIndex(3), 0)
        assert call is not None
        assert [sent.kind for sent in call.request.entries] == [
            EntryKind.COMMAND,
            EntryKind.NOOP,
            EntryKind.CONFIGURATION,
        ]


class TestGap:
    def test_it_is_sent_again_from_where_the_application_is(self) -> None:
        feed = feed_of()
        first, second = next_call(feed), next_call(feed)
        feed.answered(second.call_id, Gap(applied_index=LogIndex(0)), 0)
        assert place(next_call(feed).request) == (1, 2)
        assert feed.answered(first.call_id, applied(2), 0) is None, "the call before the gap counts for nothing"


class TestEpochs:
    def test_answers_of_an_earlier_one_count_for_nothing(self) -> None:
        feed = feed_of()
        call = next_call(feed)
        feed.attach(OTHER, LogIndex(0))
        assert feed.answered(call.call_id, applied(2), 0) is None
        assert feed.applied_index == 0
        assert next_call(feed).request.epoch == OTHER

    def test_a_lost_call_of_an_earlier_one_detaches_nobody(self) -> None:
        feed = feed_of()
        call = next_call(feed)
        feed.attach(OTHER, LogIndex(0))
        feed.lost(call.call_id, 0)
        assert feed.epoch == OTHER

    @pytest.mark.parametrize("how", ["lost", "wrong epoch"])
    def test_the_application_is_gone_until_it_attaches_again(self, how: str) -> None:
        feed = feed_of()
        call = next_call(feed)
        if how == "lost":
            feed.lost(call.call_id, 100)
        else:
            feed.answered(call.call_id, WrongEpoch(), 100)
        assert feed.epoch is None
        assert nothing(feed)
        assert feed.absent_ms(350) == 250
        feed.attach(OTHER, LogIndex(0))
        assert feed.absent_ms(400) == 0

    def test_a_stopped_machine_is_told(self) -> None:
        feed = feed_of()
        stopped = Stopped(index=LogIndex(1), why="KeyError")
        assert feed.answered(next_call(feed).call_id, stopped, 0) == stopped

    def test_checkpoints_are_passed_on(self) -> None:
        feed = feed_of()
        checkpoint = Checkpoint(index=LogIndex(2), chain=b"c")
        news = feed.answered(next_call(feed).call_id, applied(2, checkpoint), 0)
        assert isinstance(news, Progress)
        assert news.checkpoints == (checkpoint,)


class TestAbsence:
    def test_before_the_first_attachment_it_counts_from_the_start(self) -> None:
        assert ApplicationFeed(now_ms=100, bytes_max=1).absent_ms(2100) == 2000

    def test_an_application_that_does_not_answer_is_as_good_as_away(self) -> None:
        feed = feed_of()
        next_call(feed, now_ms=100)
        next_call(feed, now_ms=200)
        assert feed.absent_ms(1100) == 1000

    def test_an_idle_one_is_asked_now_and_then(self) -> None:
        feed = feed_of(6)
        assert feed.probe(PROBE_INTERVAL_MS - 1) is None
        call = feed.probe(PROBE_INTERVAL_MS)
        assert call is not None
        assert place(call.request) == (7, 0)
        assert feed.probe(2 * PROBE_INTERVAL_MS) is None, "one at a time"
        feed.answered(call.call_id, applied(6), 2 * PROBE_INTERVAL_MS)
        assert feed.probe(2 * PROBE_INTERVAL_MS) is not None

    def test_nobody_is_asked_who_is_not_attached(self) -> None:
        assert ApplicationFeed(now_ms=0, bytes_max=1).probe(10 * PROBE_INTERVAL_MS) is None
