"""Over a faulty wire a call ends exactly once for its caller, whatever the rules are and whoever works beside it."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import Queue
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft_actors.faults.rules import Cut, Delay, Drop, Duplicate, Isolate, Part, Reorder, Rule, Unavailable
from raft_actors.faults.wire import FaultyWire
from raft_actors.wire import CallLost
from tests.faults.calls import (
    DEADLINE_S,
    HERE,
    HOLD_REPLIES,
    LATE_REPLIES,
    THERE,
    settle,
)

MS = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda ms: (min(ms), max(ms)))
SHARE = st.sampled_from([0.0, 0.3, 0.7, 1.0])
LEG = st.sampled_from([None, *Part])
RULES = st.lists(
    st.one_of(
        st.builds(Delay, ms=MS, part=LEG),
        st.builds(Reorder, probability=SHARE, late_ms=MS, part=LEG),
        st.builds(Duplicate, probability=SHARE, late_ms=MS, part=LEG),
        st.builds(Drop, probability=SHARE, told_ms=MS, part=LEG),
        st.builds(Cut, src=st.sampled_from([HERE, THERE]), dst=st.none(), held=st.booleans()),
        st.builds(Isolate, node=st.just(THERE), held=st.booleans()),
    ),
    max_size=5,
)
TOLD_SOON = Unavailable(told_ms=(0, 3))
"""Rather than after UNTOLD_MS."""


class Answers(Exception):
    """How an actor may refuse or fail."""


@pytest.mark.slow
@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    stages=st.lists(RULES, min_size=1, max_size=3),
    outcomes=st.lists(st.sampled_from(["now", "elsewhere", "fails", "refuses"]), min_size=4, max_size=12),
)
def test_a_call_ends_exactly_once_whatever_copies_lateness_and_losses(
    seed: int, stages: list[list[Rule]], outcomes: list[str]
) -> None:
    """Answers come at once or from another thread, as from Ray's; the rules change while the calls are under way."""
    wire = FaultyWire(HERE, Random(seed))
    calls: list[Queue[Future[object]]] = []
    with ThreadPoolExecutor(1) as ray_thread:

        def begin(outcome: str) -> Future[object]:
            if outcome == "refuses":
                raise Answers(outcome)
            future: Future[object] = Future()
            if outcome == "elsewhere":
                return ray_thread.submit(bytes, 3)
            if outcome == "fails":
                future.set_exception(Answers(outcome))
            else:
                future.set_result(b"yes")
            return future

        for rules in stages:
            wire.obey([*rules, TOLD_SOON])
            for outcome in outcomes:
                told: Queue[Future[object]] = Queue()
                try:
                    wire.send(THERE, "append_entries", 1, partial(begin, outcome), told.put)
                except Answers:
                    assert outcome == "refuses"
                else:
                    calls.append(told)
        wire.obey(())
        ends = [told.get(timeout=DEADLINE_S) for told in calls]
        ray_thread.submit(int).result(DEADLINE_S)
        settle(wire)
    settle(wire)
    wire.close()
    assert all(told.empty() for told in calls), "told twice"
    assert wire.held() == ()
    for end in ends:
        failure = end.exception(timeout=0)
        assert isinstance(failure, Answers | CallLost) if failure else end.result() in (b"yes", bytes(3))


@pytest.mark.slow
def test_calls_end_once_while_many_threads_send_and_the_rules_change() -> None:
    """Two senders, Ray's thread, the follower's and the wire's own."""
    wire = FaultyWire(HERE, Random(1))
    count = 150
    stages: list[list[Rule]] = [
        [Duplicate(dst=THERE, probability=0.5, late_ms=(0, 2)), LATE_REPLIES],
        [Isolate(node=THERE, held=True)],
        [Cut(src=THERE, dst=HERE), TOLD_SOON],
        [Drop(dst=THERE, probability=0.5, told_ms=(0, 2)), HOLD_REPLIES],
        [],
    ]
    with ThreadPoolExecutor(2) as ray_threads, ThreadPoolExecutor(2) as senders:
        going = threading.Event()

        def send_all() -> list[Queue[Future[object]]]:
            calls: list[Queue[Future[object]]] = []
            for _ in range(count):
                told: Queue[Future[object]] = Queue()
                wire.send(THERE, "append_entries", 1, lambda: ray_threads.submit(bytes, 3), told.put)
                calls.append(told)
            return calls

        def change_rules() -> None:
            dice = Random(5)
            while not going.is_set():
                wire.obey([*dice.choice(stages)])
                for held in wire.held():
                    dice.choice([wire.let_go, wire.lose])(held.number)
                wire.counts()

        follower = threading.Thread(target=change_rules, name="follower")
        follower.start()
        try:
            sent = [senders.submit(send_all) for _ in range(2)]
            calls = [told for each in sent for told in each.result(DEADLINE_S)]
        finally:
            going.set()
            follower.join(DEADLINE_S)
        wire.obey(())
        for told in calls:
            told.get(timeout=DEADLINE_S)
        settle(wire)
    settle(wire)
    assert all(told.empty() for told in calls)
    assert sum(int(row["offered"]) for row in wire.counts() if row["dst"] == THERE) == 2 * count
    wire.close()
