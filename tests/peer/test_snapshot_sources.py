"""Another leader offers a snapshot while one of the last leader's is under way.

With two of three members left, nothing is committed until the third one has its snapshot. So it must not wait for a
dead source as long as for a slow one; and what still comes must not be begun anew.
"""

from __future__ import annotations

import pytest

from raft_actors.core.types import EntryId, LogIndex
from raft_actors.peer.filing import Step
from raft_actors.peer.snapshots import OFFERS_APART
from tests.core.builders import snapshot
from tests.peer.desk import CONFIG, DEADLINE_MS, Bench

AT_20 = EntryId(1, 20)


def test_one_whose_source_sends_nothing_any_more_is_given_up_for_it() -> None:
    bench = Bench().fetching()
    first = bench.job
    bench.lose().now_ms += 2 * DEADLINE_MS
    bench.offered(snapshot(1, 20), source=2)
    assert bench.given_up == [first]
    assert bench.desk.error is None, "that is no failure: the next one begins at once"
    bench.filed(Step.ENDED, job=first)
    bench.offered(snapshot(1, 20), source=2)
    assert [to for to, _, _ in bench.ports.fetched] == [1, 2]


@pytest.mark.parametrize("what", ["the last leader", "something came lately", "the disk is slow", "it is whole"])
def test_others_go_on(what: str) -> None:
    bench = Bench().fetching()
    bench.now_ms += 2 * DEADLINE_MS - 1
    match what:
        case "the last leader":
            bench.now_ms += 1
        case "something came lately":
            bench.give(last=AT_20).written()
            bench.now_ms += 2 * DEADLINE_MS - 1
        case "the disk is slow":
            bench.give(last=AT_20).now_ms += 2 * DEADLINE_MS
        case _:
            bench.give(last=AT_20, ends=True).written().now_ms += 2 * DEADLINE_MS
    bench.offered(snapshot(1, 20), source=1 if what == "the last leader" else 2)
    assert not bench.given_up


def test_one_of_our_own_gives_way_to_what_we_lack() -> None:
    bench = Bench().taking().give()
    own = bench.job
    bench.offered(snapshot(1, 20), source=2)
    assert bench.given_up == [own]
    assert bench.desk.error is None
    bench.filed(Step.ENDED, job=own)
    bench.offered(snapshot(1, 20), source=2)
    assert [to for to, _, _ in bench.ports.fetched] == [2]


def test_an_application_that_fails_does_not_keep_us_from_what_we_lack() -> None:
    bench = Bench().taking().refuse()
    bench.filed(Step.ENDED)
    bench.look()
    assert len(bench.asks) == 1, "it is left alone for a while"
    bench.offered(snapshot(1, 20), source=2)
    assert [to for to, _, _ in bench.ports.fetched] == [2]


@pytest.mark.parametrize("by_hand", [False, True])
def test_ours_does_not_come_between_two_offers(by_hand: bool) -> None:
    """Given up for an offer, it would be due again before the next one, and be given up again, for ever."""
    bench = Bench().taking()
    if by_hand:
        bench.desk.want(1, LogIndex(8))
    for _ in range(5):
        bench.offered(snapshot(1, 20), source=2)
        bench.filed(Step.ENDED)
        for _ in range(6):
            bench.look(20)
    assert [to for to, _, _ in bench.ports.fetched][:1] == [2]
    assert len(bench.asks) == 1


def test_what_is_offered_no_more_is_not_waited_for() -> None:
    bench = Bench().taking()
    bench.offered(snapshot(1, 20), source=2)
    bench.filed(Step.ENDED)
    bench.look(OFFERS_APART * CONFIG.heartbeat_interval_ms)
    assert len(bench.asks) == 2


def test_the_failures_of_one_source_say_nothing_of_another() -> None:
    bench = Bench().fetching().refuse()
    bench.filed(Step.ENDED)
    bench.offered(snapshot(1, 20), source=1)
    assert len(bench.ports.fetched) == 1
    bench.offered(snapshot(1, 20), source=2)
    assert [to for to, _, _ in bench.ports.fetched] == [1, 2]
