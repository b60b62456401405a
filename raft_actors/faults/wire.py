"""The wire of a group that was started with `faults=True`: each call decided twice, for its request and for its reply.

Here:   `FaultyWire`, at the caller, where both legs pass: one thread that does what is due.
Never:  which faults there are (rules.py, plan.py), where rules come from (follower.py), Ray.

What holds of Ray's calls holds of these, so that a fault shows a schedule that Ray can make too: a call ends at most
once for its caller, with the first answer; nobody learns from a lost answer whether the call ran; a call to a process
that has died fails, cut off or not, because it is Ray who tells. A second copy of a request is a second call of the
same actor, which is not made when the first one is over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final

from raft_actors.faults.rules import Message, Node, Part, Rule
from raft_actors.faults.transit import Do, HeldMessage, Transit
from raft_actors.wire import Begin, CallLost, Ended

IDLE_S: Final = 1.0
"""Longest sleep of the thread."""
CLOSE_S: Final = 1.0

log: Final = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Call:
    """One call and what its caller was told."""

    dst: Node
    method: str
    begin: Begin
    ended: Ended
    begun: bool = False
    answered: bool = False
    """A first answer is there, or on its way: Ray runs a call once, so no copy of it may run behind that."""
    over: bool = False


class FaultyWire:
    """How the calls of one node leave it (wire.Wire). Thread-safe."""

    def __init__(self, node: Node, dice: Random) -> None:
        self.node = node
        self._dice = dice
        self._transit = Transit(dice)
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"faulty wire of {node}", daemon=True)
        self._thread.start()

    def send(self, dst: Node, method: str, size_bytes: int, begin: Begin, ended: Ended) -> None:
        """As `Wire.send`."""
        call = _Call(dst, method, begin, ended)
        message = Message(self.node, dst, method, Part.REQUEST)
        if self._depart(message, size_bytes, partial(self._begin_late, call), partial(self._end, call, lost())):
            begin().add_done_callback(partial(self._answered, call))

    def close(self) -> None:
        """As `Wire.close`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_S)

    @property
    def closed(self) -> bool:
        """Whether nothing is carried any more."""
        return self._closed

    # -- what the injector says and asks ------------------------------------------------------------------------------

    def seed(self, seed: str) -> None:
        """Throw the dice of this seed from now on."""
        with self._changed:
            self._dice.seed(seed)

    def obey(self, rules: Iterable[Rule]) -> None:
        """From now on these rules are in force."""
        with self._changed:
            self._transit.obey(rules, _now_ms())
            self._changed.notify_all()

    def let_go(self, number: int) -> None:
        """The held message of this number may arrive."""
        with self._changed:
            self._transit.let_go(number, _now_ms())
            self._changed.notify_all()

    def lose(self, number: int) -> None:
        """The held message of this number never arrives."""
        with self._changed:
            self._transit.lose(number, _now_ms())
            self._changed.notify_all()

    def held(self) -> tuple[HeldMessage, ...]:
        """Messages that wait here."""
        with self._changed:
            return self._transit.held()

    def counts(self) -> list[dict[str, int | str]]:
        """As `Plan.counts`, of what left here and of the answers to it."""
        with self._changed:
            return self._transit.plan.counts()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _depart(self, message: Message, size_bytes: int, arrive: Do, lost_: Do) -> bool:
        with self._changed:
            if self._closed:
                return False
            at_once = self._transit.depart(message, size_bytes, _now_ms(), arrive, lost_)
            if not at_once:
                self._changed.notify_all()
            return at_once

    def _begin_late(self, call: _Call) -> None:
        """A request, or a copy of one, arrives later than it was sent."""
        if call.over or call.answered or self._closed:
            return
        try:
            future = call.begin()
        except Exception as refusal:  # nobody is there any more who could catch it
            if not call.begun:
                self._end(call, failed(refusal))
        else:
            call.begun = True
            future.add_done_callback(partial(self._answered, call))

    def _answered(self, call: _Call, future: Future[Any]) -> None:
        call.answered = True
        if future.exception() is not None:
            self._end(call, future)
            return
        message = Message(call.dst, self.node, call.method, Part.REPLY)
        end = partial(self._end, call, future)
        if self._depart(message, size_of(future.result()), end, partial(self._end, call, lost())):
            end()

    def _end(self, call: _Call, future: Future[Any]) -> None:
        with self._changed:
            first, call.over = not (call.over or self._closed), True
        if first:
            call.ended(future)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                due = self._transit.due(_now_ms())
                if not due:
                    next_ms = self._transit.next_ms
                    self._changed.wait(IDLE_S if next_ms is None else min(IDLE_S, max(0, next_ms - _now_ms()) / 1000))
            for do in due:
                try:
                    do()
                except Exception:  # of who was told: his call is over, the others' are not
                    log.exception("%s: whoever was told the end of a call raised", self._thread.name)


def size_of(answer: object) -> int:
    """Bytes of an answer; what is behind references does not travel with it."""
    if isinstance(answer, bytes | memoryview):
        return memoryview(answer).nbytes
    return sum(size_of(part) for part in answer) if isinstance(answer, tuple) else 0


def failed(failure: BaseException) -> Future[Any]:
    """A future that has ended so."""
    future: Future[Any] = Future()
    future.set_exception(failure)
    return future


def lost() -> Future[Any]:
    """A future of a call of which nobody knows anything more."""
    return failed(CallLost("the call or its answer was lost by an injected fault"))


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
