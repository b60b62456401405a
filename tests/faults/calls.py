"""Calls that a test makes over a faulty wire, seen from both ends.

Here:   `Call`, nodes and rules, `settle`.
Never:  tests (test_wire.py, test_wire_exactly_once.py).

Who is called is the test: it hands out futures, and ends them when it likes, as Ray's thread would. What is late is
done by the wire's own thread; `settle` waits for it.
"""

from __future__ import annotations

from concurrent.futures import Future
from queue import Queue

from raft_actors.faults.rules import Cut, Delay, Drop, Duplicate, Node, Rule
from raft_actors.faults.wire import FaultyWire
from raft_actors.wire import Wire

DEADLINE_S = 20.0
"""A test that waits longer has failed."""

HERE = 0
THERE = 1
MARKER: Node = "marker"
MARKER_MS = 20
"""Later than what any rule here makes of a leg that was sent before."""

HOLD_REQUESTS = Cut(src=HERE, dst=THERE, held=True)
HOLD_REPLIES = Cut(src=THERE, dst=HERE, held=True)
LATE_REQUESTS = Delay(dst=THERE, ms=(1, 1))
LATE_REPLIES = Delay(src=THERE, ms=(1, 1))
LOST_REQUESTS = Drop(dst=THERE, probability=1.0, told_ms=(0, 0))
LOST_REPLIES = Drop(src=THERE, probability=1.0, told_ms=(0, 0))
TWICE = Duplicate(dst=THERE, probability=1.0, late_ms=(0, 0))


class Call:
    """One call, seen from both ends."""

    def __init__(self, *answers: object) -> None:
        """`answers`: of the copies as they are begun; an exception is raised. Without any the test answers."""
        self.begun: Queue[Future[object]] = Queue()
        self.told: Queue[Future[object]] = Queue()
        self._answers = list(answers)

    def begin(self) -> Future[object]:
        future: Future[object] = Future()
        self.begun.put(future)
        if self._answers:
            answer = self._answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            future.set_result(answer)
        return future

    def send(self, wire: Wire, dst: Node = THERE, size_bytes: int = 0) -> Call:
        wire.send(dst, "append_entries", size_bytes, self.begin, self.told.put)
        return self

    def next_begun(self) -> Future[object]:
        return self.begun.get(timeout=DEADLINE_S)

    def next_told(self) -> Future[object]:
        return self.told.get(timeout=DEADLINE_S)

    @property
    def is_silent(self) -> bool:
        """Nothing was begun or told beyond what the test has taken."""
        return self.begun.empty() and self.told.empty()


def settle(wire: FaultyWire, *rules: Rule) -> None:
    """Obey these rules, and wait until both legs of all that is under way, and not held, have arrived."""
    wire.obey([*rules, Delay(src=MARKER, ms=(MARKER_MS, MARKER_MS)), Delay(dst=MARKER, ms=(MARKER_MS, MARKER_MS))])
    Call(b"").send(wire, MARKER).next_told()
