"""The wire of a group with faults: a call ends once for its caller, whatever becomes of its legs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Queue
from random import Random

import pytest

import raft_actors.faults.wire
from raft_actors.faults.rules import (
    Cut,
    Delay,
    Drop,
    Duplicate,
    Message,
    Part,
    Rule,
)
from raft_actors.faults.wire import FaultyWire, size_of
from raft_actors.wire import DIRECT, CallLost
from tests.faults.calls import (
    DEADLINE_S,
    HERE,
    HOLD_REPLIES,
    HOLD_REQUESTS,
    LATE_REPLIES,
    LATE_REQUESTS,
    LOST_REPLIES,
    LOST_REQUESTS,
    THERE,
    TWICE,
    Call,
    settle,
)


@pytest.fixture(name="wire")
def fixture_wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyWire]:
    """Of this node. Its thread sleeps until it is woken, so that who forgets to wake it is found."""
    monkeypatch.setattr(raft_actors.faults.wire, "IDLE_S", 10 * DEADLINE_S)
    wire = FaultyWire(HERE, Random(1))
    yield wire
    wire.close()


def threads_of(wire: FaultyWire) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"faulty wire of {wire.node}"]


class TestBegin:
    """How a call is made, and who learns that it was not."""

    def test_without_a_rule_it_is_made_here_and_now_and_its_end_told_by_who_ends_it(self, wire: FaultyWire) -> None:
        call = Call().send(wire)
        call.begun.get_nowait().set_result(b"yes")
        assert call.told.get_nowait().result() == b"yes"
        assert call.is_silent

    @pytest.mark.parametrize("rules", [(), (LATE_REPLIES,), (HOLD_REPLIES,)], ids=["no rule", "late", "held"])
    def test_a_begin_that_raises_at_once_raises_at_the_caller(self, wire: FaultyWire, rules: tuple[Rule, ...]) -> None:
        wire.obey(rules)
        call = Call(OSError("no more calls"))
        with pytest.raises(OSError, match="no more calls"):
            call.send(wire)
        settle(wire)
        assert call.told.empty()

    @pytest.mark.parametrize("rule", [LATE_REQUESTS, HOLD_REQUESTS], ids=["late", "held"])
    def test_one_that_raises_late_ends_the_call_with_that_exception(self, wire: FaultyWire, rule: Rule) -> None:
        wire.obey([rule])
        refusal = OSError("no more calls")
        call = Call(refusal).send(wire)
        settle(wire)
        assert call.next_told().exception() is refusal
        call.next_begun()
        assert call.is_silent

    def test_a_late_one_is_not_made_by_its_caller(self, wire: FaultyWire) -> None:
        wire.obey([LATE_REQUESTS])
        made_by: Queue[threading.Thread] = Queue()

        def begin() -> Future[object]:
            made_by.put(threading.current_thread())
            return Future()

        wire.send(THERE, "append_entries", 0, begin, lambda future: None)
        assert made_by.get(timeout=DEADLINE_S) in threads_of(wire)

    def test_direct_is_ray_as_it_is(self) -> None:
        call = Call().send(DIRECT)
        DIRECT.close()
        call.begun.get_nowait().set_result(b"yes")
        assert call.told.get_nowait().result() == b"yes"
        with pytest.raises(OSError, match="no more calls"):
            Call(OSError("no more calls")).send(DIRECT)


class TestLost:
    """Who lost a leg learns that nobody knows."""

    def test_a_lost_request_was_never_begun(self, wire: FaultyWire) -> None:
        wire.obey([LOST_REQUESTS])
        call = Call(b"yes").send(wire)
        assert isinstance(call.next_told().exception(), CallLost)
        settle(wire)
        assert call.is_silent

    def test_a_lost_reply_is_told_as_lost_though_the_call_ran(self, wire: FaultyWire) -> None:
        wire.obey([LOST_REPLIES])
        call = Call(b"yes").send(wire)
        assert call.next_begun().result() == b"yes"
        assert isinstance(call.next_told().exception(), CallLost)
        settle(wire)
        assert call.is_silent

    @pytest.mark.parametrize(
        "rule", [HOLD_REPLIES, LOST_REPLIES, Cut(src=THERE, dst=HERE), LATE_REPLIES], ids=lambda rule: str(rule.row())
    )
    def test_a_future_that_fails_is_told_at_once_although_its_reply_would_not_pass(
        self, wire: FaultyWire, rule: Rule
    ) -> None:
        wire.obey([rule])
        call = Call().send(wire)
        failure = OSError("the actor died")
        call.begun.get_nowait().set_exception(failure)
        assert call.told.get_nowait().exception() is failure

    def test_the_reply_goes_the_other_way(self, wire: FaultyWire) -> None:
        wire.obey([Cut(src=HERE, dst=THERE, part=Part.REPLY), Delay(src=THERE, part=Part.REQUEST, ms=(50, 50))])
        assert Call(b"yes").send(wire).told.get_nowait().result() == b"yes"


class TestCopies:
    """A second copy is a second call, and no second end of the first."""

    def test_a_second_copy_is_begun_while_the_call_is_not_over_and_the_first_answer_ends_it(
        self, wire: FaultyWire
    ) -> None:
        wire.obey([TWICE])
        call = Call().send(wire)
        first, second = call.next_begun(), call.next_begun()
        second.set_result(b"second")
        assert call.told.get_nowait().result() == b"second"
        first.set_result(b"first")
        settle(wire)
        assert call.is_silent

    def test_it_is_not_begun_when_the_call_is_over(self, wire: FaultyWire) -> None:
        wire.obey([TWICE])
        call = Call(b"first", b"second").send(wire)
        assert call.next_told().result() == b"first"
        settle(wire)
        call.next_begun()
        assert call.is_silent

    def test_nor_when_the_first_was_refused(self, wire: FaultyWire) -> None:
        wire.obey([TWICE])
        refused = OSError("no more calls")
        call = Call(refused, b"second").send(wire)
        assert call.next_told().exception() is refused
        settle(wire)
        call.next_begun()
        assert call.is_silent

    def test_a_reply_that_comes_twice_is_told_once(self, wire: FaultyWire) -> None:
        wire.obey([Duplicate(src=THERE, probability=1.0, late_ms=(1, 1))])
        call = Call(b"yes").send(wire)
        assert call.next_told().result() == b"yes"
        settle(wire)
        call.next_begun()
        assert call.is_silent

    def test_a_copy_that_fails_ends_the_call_before_an_answer_that_waits(self, wire: FaultyWire) -> None:
        wire.obey([TWICE, HOLD_REPLIES])
        call = Call().send(wire)
        first, second = call.next_begun(), call.next_begun()
        first.set_result(b"first")
        failure = OSError("the actor died")
        second.set_exception(failure)
        assert call.told.get_nowait().exception() is failure
        settle(wire)
        assert call.is_silent


class TestHeld:
    """What waits can be seen, and seen to one by one."""

    def test_held_shows_what_waits_in_the_order_in_which_it_was_sent(self, wire: FaultyWire) -> None:
        wire.obey([HOLD_REQUESTS, Cut(src=2, dst=HERE, held=True)])
        Call().send(wire)
        answered = Call(b"yes").send(wire, 2)
        assert [held.message for held in wire.held()] == [
            Message(HERE, THERE, "append_entries", Part.REQUEST),
            Message(2, HERE, "append_entries", Part.REPLY),
        ]
        assert answered.begun.get_nowait().result() == b"yes", "it ran; its reply waits"

    def test_one_request_is_let_go_and_another_lost_while_the_link_stays_cut(self, wire: FaultyWire) -> None:
        wire.obey([HOLD_REQUESTS])
        calls = [Call(b"yes").send(wire) for _ in range(4)]
        settle(wire, HOLD_REQUESTS)
        numbers = [held.number for held in wire.held()]
        wire.let_go(numbers[2])
        assert calls[2].next_told().result() == b"yes"
        wire.lose(numbers[1])
        assert isinstance(calls[1].next_told().exception(), CallLost)
        settle(wire, HOLD_REQUESTS)
        assert [held.number for held in wire.held()] == [numbers[0], numbers[3]]
        assert [call.begun.qsize() for call in calls] == [0, 0, 1, 0]
        settle(wire)
        assert [calls[number].next_told().result() for number in (0, 3)] == [b"yes", b"yes"]
        assert wire.held() == ()

    def test_one_reply_is_let_go_and_another_lost(self, wire: FaultyWire) -> None:
        wire.obey([HOLD_REPLIES])
        calls = [Call(f"{number}".encode()).send(wire) for number in range(3)]
        settle(wire, HOLD_REPLIES)
        numbers = [held.number for held in wire.held()]
        wire.let_go(numbers[2])
        assert calls[2].next_told().result() == b"2"
        wire.lose(numbers[0])
        assert isinstance(calls[0].next_told().exception(), CallLost)
        wire.obey(())
        assert calls[1].next_told().result() == b"1"

    def test_a_number_that_does_not_wait_is_nothing(self, wire: FaultyWire) -> None:
        wire.obey([HOLD_REQUESTS])
        call = Call(b"yes").send(wire)
        (held,) = wire.held()
        for number in (held.number - 1, held.number + 1):
            wire.let_go(number)
            wire.lose(number)
        settle(wire, HOLD_REQUESTS)
        assert wire.held() == (held,)
        assert call.is_silent

    def test_a_call_that_is_over_may_still_have_a_copy_that_waits(self, wire: FaultyWire) -> None:
        wire.obey([TWICE])
        call = Call().send(wire)
        first, second = call.next_begun(), call.next_begun()
        wire.obey([HOLD_REPLIES])
        first.set_result(b"first")
        wire.obey(())
        assert call.next_told().result() == b"first"
        wire.obey([HOLD_REPLIES])
        second.set_result(b"second")
        assert len(wire.held()) == 1
        settle(wire)
        assert call.is_silent


class TestCounts:
    """Bytes of requests as their callers say, of replies as they are."""

    @pytest.mark.parametrize(
        ("answer", "size_bytes"),
        [
            (b"", 0),
            (b"four", 4),
            (memoryview(b"three")[1:4], 3),
            (memoryview(b"12345678").cast("I"), 8),
            ((b"head", memoryview(b"body!")), 9),
            ((b"head", (b"a", 7, b"bc")), 7),
            ((b"head", [b"behind a reference"]), 4),
            ((), 0),
            (None, 0),
            ("text", 0),
            (12345, 0),
        ],
        ids=lambda value: None if isinstance(value, int) else type(value).__name__,
    )
    def test_the_size_of_an_answer(self, wire: FaultyWire, answer: object, size_bytes: int) -> None:
        assert size_of(answer) == size_bytes
        Call(answer).send(wire, size_bytes=11)
        requests, replies = wire.counts()
        assert (requests["src"], requests["dst"], requests["part"]) == (HERE, THERE, "request")
        assert (requests["offered"], requests["size_bytes"]) == (1, 11)
        assert (replies["src"], replies["dst"], replies["part"]) == (THERE, HERE, "reply")
        assert (replies["offered"], replies["size_bytes"]) == (1, size_bytes)

    def test_what_was_lost_was_sent_and_what_failed_has_no_reply(self, wire: FaultyWire) -> None:
        wire.obey([LOST_REQUESTS])
        Call().send(wire, size_bytes=7).next_told()
        wire.obey(())
        Call().send(wire, size_bytes=5).next_begun().set_exception(OSError("the actor died"))
        (requests,) = wire.counts()
        assert (requests["offered"], requests["size_bytes"], requests["dropped"]) == (2, 12, 1)


class TestDice:
    """The seed decides."""

    def test_the_same_seed_has_the_same_calls_lost(self, wire: FaultyWire) -> None:
        def lost(seed: str) -> list[bool]:
            wire.seed(seed)
            calls = [Call(b"yes").send(wire) for _ in range(64)]
            return [call.next_told().exception() is not None for call in calls]

        wire.obey([Drop(dst=THERE, probability=0.5, told_ms=(0, 0))])
        first = lost("7/0")
        assert 10 < sum(first) < 54
        assert lost("7/0") == first
        assert lost("8/0") != first


class TestThreads:
    """Nothing is called while the wire is locked; one that raises costs nobody else."""

    @pytest.mark.parametrize(
        "rules",
        [(), (LATE_REQUESTS,), (LATE_REPLIES,), (LOST_REQUESTS,), (LOST_REPLIES,), (HOLD_REQUESTS,), (HOLD_REPLIES,)],
        ids=lambda rules: ", ".join(str(rule.row()) for rule in rules),
    )
    def test_whoever_is_called_may_wait_for_another_thread_that_uses_the_wire(
        self, wire: FaultyWire, rules: tuple[Rule, ...]
    ) -> None:
        wire.obey(rules)
        told: Queue[object] = Queue()
        with ThreadPoolExecutor(2) as pool:

            def use_wire() -> int:
                wire.obey(rules)
                return len(wire.held()) + len(wire.counts())

            def begin() -> Future[object]:
                assert pool.submit(use_wire).result(DEADLINE_S) > 0
                future: Future[object] = Future()
                future.set_result(b"yes")
                return future

            def ended(future: Future[object]) -> None:
                told.put(pool.submit(use_wire).result(DEADLINE_S))

            wire.send(THERE, "append_entries", 0, begin, ended)
            wire.obey(rules)
            for held in wire.held():
                wire.let_go(held.number)
            told.get(timeout=DEADLINE_S)

    def test_whoever_is_told_may_call_again(self, wire: FaultyWire) -> None:
        wire.obey([LATE_REQUESTS, LATE_REPLIES])
        again = Call(b"again")

        def ended(future: Future[object]) -> None:
            again.send(wire)

        wire.send(THERE, "append_entries", 0, Call(b"yes").begin, ended)
        assert again.next_told().result() == b"again"

    @pytest.mark.parametrize("rule", [LATE_REQUESTS, LATE_REPLIES, LOST_REQUESTS], ids=lambda rule: str(rule.row()))
    def test_one_who_raises_when_told_costs_nobody_else(
        self, wire: FaultyWire, rule: Rule, caplog: pytest.LogCaptureFixture
    ) -> None:
        wire.obey([rule])

        def ended(future: Future[object]) -> None:
            raise ValueError("of the caller")

        wire.send(THERE, "append_entries", 0, Call(b"yes").begin, ended)
        settle(wire)
        assert len(threads_of(wire)) == 1
        assert "of the caller" in caplog.text

    def test_what_comes_later_but_is_due_sooner_is_not_slept_through(self, wire: FaultyWire) -> None:
        wire.obey([Delay(dst=2, ms=(3_600_000, 3_600_000)), LATE_REQUESTS])
        late = Call().send(wire, 2)
        assert Call(b"yes").send(wire).next_told().result() == b"yes"
        assert late.is_silent


class TestClose:
    """A closed wire carries nothing any more."""

    def test_close_ends_the_thread_and_what_was_under_way_is_never_called(self, wire: FaultyWire) -> None:
        wire.obey([HOLD_REQUESTS, Delay(dst=2, ms=(500, 500)), Delay(src=3, ms=(500, 500)), Cut(src=HERE, dst=4)])
        calls = [Call(b"yes").send(wire, dst) for dst in (THERE, 2, 3, 4)]
        calls[2].next_begun()
        (thread,) = threads_of(wire)
        assert not wire.closed
        wire.close()
        assert wire.closed
        assert not thread.is_alive()
        wire.obey(())
        for held in wire.held():
            wire.let_go(held.number)
        assert all(call.is_silent for call in calls)
        wire.close()

    def test_answers_that_come_afterwards_are_told_to_nobody(self, wire: FaultyWire) -> None:
        calls = [Call().send(wire) for _ in range(2)]
        wire.close()
        calls[0].next_begun().set_result(b"yes")
        calls[1].next_begun().set_exception(OSError("the actor died"))
        assert all(call.is_silent for call in calls)

    @pytest.mark.parametrize("rules", [(), (LATE_REQUESTS,), (HOLD_REQUESTS,)], ids=["no rule", "late", "held"])
    def test_nothing_is_begun_afterwards(self, wire: FaultyWire, rules: tuple[Rule, ...]) -> None:
        wire.obey(rules)
        wire.close()
        assert Call(b"yes").send(wire).is_silent
        assert wire.held() == ()

    def test_whoever_is_told_may_close_it_and_what_was_due_with_that_is_never_called(self, wire: FaultyWire) -> None:
        wire.obey([HOLD_REQUESTS])
        closed = threading.Event()

        def ended(future: Future[object]) -> None:
            wire.close()
            closed.set()

        wire.send(THERE, "append_entries", 0, Call(b"yes").begin, ended)
        call = Call(b"yes").send(wire)
        (thread,) = threads_of(wire)
        wire.obey(())  # both go at the same time
        assert closed.wait(DEADLINE_S)
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        assert call.is_silent

    def test_close_waits_for_who_is_being_told(self, wire: FaultyWire, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(raft_actors.faults.wire, "CLOSE_S", DEADLINE_S)
        wire.obey([LATE_REQUESTS])
        entered, leave = threading.Event(), threading.Event()

        def ended(future: Future[object]) -> None:
            entered.set()
            leave.wait(DEADLINE_S)

        wire.send(THERE, "append_entries", 0, Call(b"yes").begin, ended)
        assert entered.wait(DEADLINE_S)
        with ThreadPoolExecutor(1) as pool:
            closing = pool.submit(wire.close)
            with pytest.raises(TimeoutError):
                closing.result(0.02)
            leave.set()
            closing.result(DEADLINE_S)
        assert threads_of(wire) == []
