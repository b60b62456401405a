"""Jobs are done in order, one at a time: by the daemon, or by the owner while nobody waits."""

from __future__ import annotations

import threading

from raft_actors.peer.inbox import Inbox
from raft_actors.peer.lane import Lane

LONG_S = 10.0


class Failures:
    """What was told, by whom."""

    def __init__(self) -> None:
        self.told: list[tuple[str, BaseException]] = []

    def __call__(self, name: str, failure: BaseException) -> None:
        self.told.append((name, failure))


def a_lane(inbox: Inbox | None = None) -> tuple[Lane, Failures]:
    failures = Failures()
    return Lane("apply command", inbox or Inbox(lambda failure: None), failures), failures


class TestWhoDoesIt:
    def test_the_owner_does_a_small_job_itself_while_nobody_waits(self) -> None:
        lane, _ = a_lane()
        done: list[threading.Thread] = []
        lane.put(lambda: done.append(threading.current_thread()), direct=True)
        assert done == [threading.current_thread()]

    def test_a_large_job_is_the_daemons(self) -> None:
        lane, _ = a_lane()
        done: list[int] = []
        lane.put(lambda: done.append(1))
        assert done == [], "nobody runs the daemon here"

    def test_with_work_in_the_owners_inbox_the_daemon_does_it(self) -> None:
        inbox = Inbox(lambda failure: None)
        inbox.put(lambda engine: None)
        lane, _ = a_lane(inbox)
        done: list[int] = []
        lane.put(lambda: done.append(1), direct=True)
        assert done == []

    def test_a_job_never_overtakes_one_that_the_daemon_has(self) -> None:
        lane, _ = a_lane()
        done: list[int] = []
        begun, may_end, stop = threading.Event(), threading.Event(), threading.Event()

        def slow() -> None:
            begun.set()
            assert may_end.wait(LONG_S)
            done.append(1)

        daemon = threading.Thread(target=lane.run, args=(stop,))
        daemon.start()
        lane.put(slow)
        assert begun.wait(LONG_S)
        both = threading.Event()
        lane.put(lambda: (done.append(2), both.set()), direct=True)
        assert done == [], "the first one is still being done, although the queue was empty"
        may_end.set()
        assert both.wait(LONG_S)
        stop.set()
        daemon.join(LONG_S)
        assert done == [1, 2]


class TestFailure:
    def test_in_the_owners_hands_it_is_told_under_the_daemons_name(self) -> None:
        lane, failures = a_lane()
        failure = ValueError("no route")

        def fail() -> None:
            raise failure

        lane.put(fail, direct=True)
        assert failures.told == [("apply command", failure)]
