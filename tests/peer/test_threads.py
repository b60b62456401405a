"""Daemons that cannot die in silence, waiting that always ends, the one door for threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from raft_actors.errors import DaemonFailed
from raft_actors.peer.daemon import Daemon
from raft_actors.peer.engine import Engine
from raft_actors.peer.inbox import Inbox
from raft_actors.peer.waiting import Waiting, resolve, result

LONG_S = 10.0


def no_failure(name: str, failure: BaseException) -> None:
    raise AssertionError(f"{name} failed: {failure}")


class TestDaemon:
    def test_it_carries_its_name_and_ends_when_told(self) -> None:
        names = []

        def body(stop: threading.Event) -> None:
            names.append(threading.current_thread().name)
            stop.wait(LONG_S)

        daemon = Daemon("heartbeats", body, no_failure)
        daemon.start()
        daemon.stop(LONG_S)
        assert names == ["heartbeats"]
        assert "heartbeats" not in {thread.name for thread in threading.enumerate()}

    def test_what_it_died_of_is_told_at_once_and_raised_at_the_end(self) -> None:
        told: Future[tuple[str, BaseException]] = Future()

        def body(stop: threading.Event) -> None:
            raise ValueError("the disk is round")

        daemon = Daemon("disk", body, lambda name, failure: told.set_result((name, failure)))
        daemon.start()
        name, failure = told.result(LONG_S)
        assert name == "disk"
        for _ in range(2):
            with pytest.raises(DaemonFailed, match="disk: ValueError: the disk is round") as raised:
                daemon.stop(LONG_S)
            assert raised.value.__cause__ is failure

    def test_one_that_hangs_is_reported_with_its_name(self) -> None:
        let_go = threading.Event()
        daemon = Daemon("apply command", lambda stop: assert_true(let_go.wait(LONG_S)), no_failure)
        daemon.start()
        with pytest.raises(DaemonFailed, match=r"apply command: did not end within 0.0 s"):
            daemon.stop(0.0)
        let_go.set()
        daemon.stop(LONG_S)

    def test_one_that_never_started_has_nothing_to_end(self) -> None:
        Daemon("owner", lambda stop: None, no_failure).stop(0.0)

    def test_it_may_be_stopped_from_within(self) -> None:
        ended = threading.Event()

        def body(stop: threading.Event) -> None:
            daemon.stop(LONG_S)
            assert stop.is_set()
            ended.set()

        daemon = Daemon("owner", body, no_failure)
        daemon.start()
        assert ended.wait(LONG_S)
        daemon.stop(LONG_S)


def assert_true(value: bool) -> None:
    assert value


class TestWaiting:
    def test_a_number_gets_its_value(self) -> None:
        waiting = Waiting()
        first, second = waiting.begin(), waiting.begin()
        waiting.resolve(second[0], "second")
        waiting.resolve(first[0], "first")
        assert (waiting.wait(*first, 0), waiting.wait(*second, 0)) == ("first", "second")

    def test_without_a_value_the_wait_ends_at_its_timeout(self) -> None:
        waiting = Waiting()
        number, future = waiting.begin()
        assert waiting.wait(number, future, 0) is None
        waiting.resolve(number, "late")
        assert not future.done()

    def test_a_second_value_is_dropped(self) -> None:
        waiting = Waiting()
        number, future = waiting.begin()
        waiting.resolve(number, "first")
        waiting.resolve(number, "second")
        assert waiting.wait(number, future, 0) == "first"

    def test_deadlines_are_named_once_when_they_pass_also_if_nobody_waits_any_more(self) -> None:
        waiting = Waiting()
        number, future = waiting.begin(deadline_ms=100)
        waiting.begin(deadline_ms=200)
        assert waiting.wait(number, future, 0) is None
        assert waiting.take_overdue(99) == []
        assert waiting.take_overdue(100) == [number]
        assert waiting.take_overdue(100) == []

    def test_what_was_answered_is_not_overdue(self) -> None:
        waiting = Waiting()
        number, _ = waiting.begin(deadline_ms=100)
        waiting.resolve(number, "in time")
        assert waiting.take_overdue(200) == []

    def test_at_the_end_everybody_and_whoever_comes_later_is_told_that_nobody_knows(self) -> None:
        waiting = Waiting()
        before = waiting.begin(deadline_ms=100)
        waiting.end_all()
        after = waiting.begin()
        assert before[1].result(0) is None
        assert after[1].result(0) is None
        assert waiting.take_overdue(10**9) == []

    def test_resolving_a_future_that_was_given_up_is_no_error(self) -> None:
        future: Future[int] = Future()
        future.cancel()
        resolve(future, 1)
        assert future.cancelled()

    def test_result_is_none_in_time(self) -> None:
        assert result(Future(), 0) is None


class TestInbox:
    def test_jobs_are_done_in_the_order_in_which_they_were_put(self) -> None:
        inbox, _ = an_inbox()
        order: list[int] = []
        for number in range(3):
            inbox.put(lambda engine, number=number: order.append(number))  # type: ignore[misc]
        assert len(inbox) == 3
        inbox.put_and_work(lambda engine: order.append(3))
        assert order == [0, 1, 2, 3]
        assert len(inbox) == 0

    def test_who_brings_a_job_does_it_while_nobody_is_at_work(self) -> None:
        inbox, _ = an_inbox()
        done_by: list[threading.Thread] = []
        inbox.put_and_work(lambda engine: done_by.append(threading.current_thread()))
        assert done_by == [threading.current_thread()]

    def test_what_is_left_is_done_by_the_owners_thread_which_is_woken(self) -> None:
        inbox, _ = an_inbox()
        done: list[int] = []

        def own() -> None:
            inbox.wait(LONG_S)
            inbox.work(LONG_S, also=lambda engine: done.append(2))

        owner = threading.Thread(target=own)
        owner.start()
        inbox.put(lambda engine: done.append(1))
        owner.join(LONG_S)
        assert done == [1, 2]

    def test_a_job_that_comes_while_another_is_done_is_not_done_beside_it_and_not_forgotten(self) -> None:
        inbox, _ = an_inbox()
        begun, may_end, order = threading.Event(), threading.Event(), list[int]()

        def slow(engine: Engine) -> None:
            begun.set()
            assert may_end.wait(LONG_S)
            order.append(1)

        first = threading.Thread(target=inbox.put_and_work, args=(slow,))
        first.start()
        assert begun.wait(LONG_S)
        inbox.put_and_work(lambda engine: order.append(2))  # returns at once
        assert order == []
        may_end.set()
        first.join(LONG_S)
        assert order == [1]
        inbox.wait(LONG_S)  # it has been woken, or this takes too long
        inbox.work(LONG_S, also=lambda engine: order.append(3))
        assert order == [1, 2, 3]

    def test_who_works_for_others_does_no_more_than_stood_there(self) -> None:
        inbox, _ = an_inbox()
        done: list[int] = []

        def another(engine: Engine) -> None:
            done.append(len(done))
            inbox.put(another)

        inbox.put_and_work(another)
        assert done == [0]

    def test_many_threads_never_do_two_at_a_time_and_forget_none(self) -> None:
        inbox, _ = an_inbox()
        at_work, done, stop = list[int](), list[int](), threading.Event()

        def job(engine: Engine) -> None:
            at_work.append(1)
            assert len(at_work) == 1, "two at a time"
            done.append(1)
            at_work.pop()

        def own() -> None:
            while not stop.is_set() or len(inbox):
                inbox.wait(0.01)
                inbox.work(LONG_S, also=lambda engine: None)

        def bring(put: Callable[[Callable[[Engine], None]], None]) -> None:
            for _ in range(300):
                put(job)

        owner = threading.Thread(target=own)
        owner.start()
        givers = [threading.Thread(target=bring, args=(put,)) for put in (inbox.put, inbox.put_and_work) * 3]
        for giver in givers:
            giver.start()
        for giver in givers:
            giver.join(LONG_S)
        stop.set()
        owner.join(LONG_S)
        assert len(done) == 6 * 300

    def test_a_job_that_fails_is_the_owners_failure_and_the_last(self) -> None:
        inbox, failures = an_inbox()

        def broken(engine: Engine) -> None:
            raise AssertionError("two leaders in a term")

        done: list[int] = []
        inbox.put_and_work(broken)
        inbox.put_and_work(lambda engine: done.append(1))
        inbox.work(0.0, also=lambda engine: done.append(2))
        assert [str(failure) for failure in failures] == ["two leaders in a term"]
        assert done == []
        assert len(inbox) == 0

    def test_nothing_is_done_after_it_was_closed(self) -> None:
        inbox, _ = an_inbox()
        done: list[int] = []
        inbox.close(0.0)
        inbox.put(lambda engine: done.append(1))
        inbox.put_and_work(lambda engine: done.append(2))
        assert done == []
        assert len(inbox) == 0

    def test_nothing_is_done_before_there_is_an_engine(self) -> None:
        inbox = Inbox(lambda failure: None)
        done: list[int] = []
        inbox.put_and_work(lambda engine: done.append(1))
        assert done == []
        inbox.begin(object.__new__(Engine))
        inbox.put_and_work(lambda engine: done.append(2))
        assert done == [1, 2]


def an_inbox() -> tuple[Inbox, list[BaseException]]:
    failures: list[BaseException] = []
    inbox = Inbox(failures.append)
    inbox.begin(object.__new__(Engine))
    return inbox, failures
