"""A process and the injector that it follows; Ray and the injector are the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from itertools import pairwise
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayError

import raft_actors.connection
import raft_actors.faults.follower
from raft_actors.errors import RayNotInitialised
from raft_actors.faults.follower import follow
from raft_actors.faults.orders import Orders, Report
from raft_actors.faults.rules import Cut
from raft_actors.faults.wire import FaultyWire

DEADLINE_S = 20.0
LOOK_S = 0.02
HOLD = Cut(src=0, dst=1, held=True)


class Ray:
    """What the follower asks of Ray. `answers` are taken one by one, each by one question."""

    def __init__(self) -> None:
        self.connected = True
        self.worker = "worker"
        self.has_injector = True
        self.looks: Queue[float] = Queue()
        """When it was asked whether there is a connection."""
        self.asked: Queue[Report] = Queue()
        self.answers: Queue[Orders | RayError] = Queue()
        self.left: Queue[str] = Queue()
        """Processes that said that they follow no more."""

    def is_initialized(self) -> bool:
        self.looks.put(time.monotonic())
        return self.connected

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(get_node_id=lambda: "node", get_worker_id=lambda: self.worker)

    def get_actor(self, name: str, *, namespace: str) -> SimpleNamespace:
        if not self.has_injector:
            raise ValueError(name)
        return SimpleNamespace(
            follow=SimpleNamespace(remote=lambda report: report), leave=SimpleNamespace(remote=self.left.put)
        )

    def get(self, report: Report, *, timeout: float) -> Any:
        self.asked.put(report)
        answer = self.answers.get(timeout=DEADLINE_S)
        if isinstance(answer, RayError):
            raise answer
        return answer

    def next_report(self) -> Report:
        return self.asked.get(timeout=DEADLINE_S)


@pytest.fixture(name="ray")
def fixture_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ray]:
    """Until all who follow have ended: they would ask the next test's."""
    ray = Ray()
    monkeypatch.setattr(raft_actors.faults.follower, "ray", ray)
    monkeypatch.setattr(raft_actors.connection, "ray", ray)
    monkeypatch.setattr(raft_actors.faults.follower, "LOOK_S", LOOK_S)
    yield ray
    for thread in threading.enumerate():
        if thread.name.startswith("faults for"):
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


@pytest.fixture(name="wire")
def fixture_wire(ray: Ray) -> Iterator[FaultyWire]:
    """Of member 0, which has obeyed its first orders: to hold what goes to member 1."""
    ray.answers.put(Orders(version=3, seed="7/0", rules=(HOLD,)))
    wire = follow("g", 0)
    yield wire
    wire.close()
    ray.answers.put(GetTimeoutError())


def held_back() -> Future[object]:
    raise RuntimeError("it was let go")


def hold_one(wire: FaultyWire) -> int:
    """The number of a message that waits now."""
    wire.send(1, "append_entries", 0, held_back, lambda future: None)
    return wire.held()[-1].number


def test_what_is_sent_before_the_first_orders_waits_for_them(ray: Ray) -> None:
    """A process that comes up in the middle of a partition does not begin by talking across it."""
    wire = follow("g", 0)
    begun: Queue[str] = Queue()
    wire.send(1, "hello", 0, partial(answered, begun), lambda future: None)
    wire.send(2, "hello", 0, partial(answered, begun), lambda future: None)
    report = ray.next_report()
    assert (report.node, report.version) == (0, 0)
    assert begun.empty()
    ray.answers.put(Orders(version=3, rules=(HOLD,)))
    assert begun.get(timeout=DEADLINE_S) == "begun", "the link to 2 is whole"
    assert ray.next_report().version == 3
    assert begun.empty()
    assert [held.message.dst for held in wire.held()] == [1]
    wire.close()
    ray.answers.put(GetTimeoutError())


@pytest.mark.parametrize("trouble", ["no injector", "no connection", "no answer"])
def test_it_begins_without_orders_where_none_come(ray: Ray, trouble: str) -> None:
    ray.has_injector = trouble != "no injector"
    wire = follow("g", 0)
    ray.connected = trouble != "no connection"
    begun: Queue[str] = Queue()
    wire.send(1, "append_entries", 0, partial(answered, begun), lambda future: None)
    ray.answers.put(GetTimeoutError())
    assert begun.get(timeout=DEADLINE_S) == "begun"
    wire.close()
    ray.answers.put(GetTimeoutError())


def test_nobody_is_followed_without_ray(ray: Ray) -> None:
    ray.connected = False
    with pytest.raises(RayNotInitialised):
        follow("g", 0)


def test_another_connection_to_ray_has_another_injector(ray: Ray, wire: FaultyWire) -> None:
    """What the one before ordered has ended: a client would be cut off for ever, and never be again."""
    for _ in range(2):
        ray.next_report()
    number = hold_one(wire)
    ray.worker = "another"
    ray.answers.put(Orders(version=3, rules=(HOLD,)))
    while (report := ray.next_report()).version == 3:
        ray.answers.put(Orders(version=3, rules=(HOLD,)))
    assert report.version == 0
    assert number not in [held.number for held in wire.held()]


def test_it_reports_what_waits_and_loses_what_it_is_told_to(ray: Ray, wire: FaultyWire) -> None:
    first, second = hold_one(wire), hold_one(wire)
    for _ in range(2):
        ray.next_report()
    ray.answers.put(Orders(version=4, rules=(HOLD,), lose=frozenset({first})))
    report = ray.next_report()
    assert [held.number for held in report.held] == [second]
    assert report.version == 4
    assert report.counts[0]["held"] == 2


def test_when_the_injector_dies_its_faults_end_and_the_next_one_is_followed_from_the_beginning(
    ray: Ray, wire: FaultyWire
) -> None:
    for _ in range(2):
        ray.next_report()
    ray.answers.put(ActorDiedError())
    assert ray.next_report().version == 0
    begun: Queue[str] = Queue()
    wire.send(1, "append_entries", 0, partial(answered, begun), lambda future: None)
    assert begun.get_nowait() == "begun"


def test_one_that_does_not_answer_is_obeyed_still(ray: Ray, wire: FaultyWire) -> None:
    for _ in range(2):
        ray.next_report()
    ray.answers.put(GetTimeoutError())
    assert ray.next_report().version == 3
    hold_one(wire)


def test_who_closes_its_wire_says_that_it_follows_no_more(ray: Ray, wire: FaultyWire) -> None:
    """Or the injector would wait for it with each word, for as long as it takes it for awake."""
    for _ in range(2):
        report = ray.next_report()
    wire.close()
    ray.answers.put(Orders(version=3))
    assert ray.left.get(timeout=DEADLINE_S) == report.process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "answer"),
    [
        ("no injector", ActorDiedError()),
        ("no connection", Orders(version=3)),
        ("no answer", ActorUnavailableError("away", bytes(16))),
    ],
)
def test_where_nobody_answers_it_looks_now_and_then_and_not_all_the_time(
    ray: Ray, wire: FaultyWire, trouble: str, answer: Orders | RayError
) -> None:
    for _ in range(2):
        ray.next_report()
    ray.connected = trouble != "no connection"
    ray.has_injector = trouble != "no injector"
    for _ in range(8):
        ray.answers.put(answer)
    while not ray.looks.empty():
        ray.looks.get()
    looks = [ray.looks.get(timeout=DEADLINE_S) for _ in range(5)][1:]
    assert all(later - earlier >= LOOK_S * 0.9 for earlier, later in pairwise(looks)), looks


def answered(begun: Queue[str]) -> Future[object]:
    begun.put("begun")
    future: Future[object] = Future()
    future.set_result(b"yes")
    return future
