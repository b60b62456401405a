"""Simulated time: what happens when, and the clocks of processes, which run fast or slow.

Here:   the heap of happenings, `Process` (which may be paused or ended), `SkewedClock`.
Never:  what happens (peer.py, server.py, client.py, nemesis.py).

Time is counted in microseconds. What happens at the same time happens in the order in which it was scheduled, so one
seed is one world.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final, TypeAlias

Act: TypeAlias = Callable[..., object]

SECOND_US: Final = 1_000_000


class Process:
    """Something that handles what happens to it one after the other, until it ends; paused, it handles it later."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.backlog: list[tuple[Act, tuple[Any, ...]]] = []
        """What it has not looked at. Whoever ends it tells those who wait for that."""

    def catch_up(self) -> None:
        """Look at the first of what came while it was paused."""
        if self.backlog:
            act, arguments = self.backlog.pop(0)
            act(*arguments)


class Timeline:
    """The heap. An item names the process that it happens to, or None for the world itself."""

    def __init__(self) -> None:
        self.now_us = 0
        self._count = 0
        self._halted = False
        self._heap: list[tuple[int, int, Process | None, Act, tuple[Any, ...]]] = []

    def after(self, delay_us: int, process: Process | None, act: Act, *arguments: Any) -> None:
        """`act(*arguments)` happens to the process, `delay_us` from now, if it still lives then."""
        self._count += 1
        heappush(self._heap, (self.now_us + delay_us, self._count, process, act, arguments))

    def play(self, happenings_max: int) -> bool:
        """One thing after the other happens, until one of them says `halt`. False: none did; so many have happened, or
        nothing ever will."""
        heap, pop = self._heap, heappop
        self._halted = False
        for _ in range(happenings_max):
            if not heap:
                return False
            self.now_us, _, process, act, arguments = pop(heap)
            if process is None:
                act(*arguments)
            elif process.alive:
                if process.paused:
                    process.backlog.append((act, arguments))
                else:
                    act(*arguments)
            if self._halted:
                return True
        return False

    def play_for(self, delay_us: int, happenings_max: int) -> bool:
        """The same, for so long at most."""
        self.after(delay_us, None, self.halt)
        return self.play(happenings_max)

    def halt(self) -> None:
        """`play` ends with what happens now."""
        self._halted = True

    def resume(self, process: Process) -> None:
        """SIGCONT: everything that came meanwhile is there at once, in its order."""
        process.paused = False
        for _ in process.backlog:
            self.after(0, process, process.catch_up)


class SkewedClock:
    """A monotonic clock that runs at `rate` thousandths of the world's time."""

    def __init__(self, timeline: Timeline, *, start_ms: int, rate: int) -> None:
        self._timeline = timeline
        self._start = start_ms * SECOND_US
        self._rate = rate

    def now_ms(self) -> int:
        return (self._start + self._timeline.now_us * self._rate) // SECOND_US

    def until_us(self, at_ms: int) -> int:
        """How long it is until this clock shows `at_ms`, in the world's time."""
        left = at_ms * SECOND_US - self._start - self._timeline.now_us * self._rate
        return max(0, -(-left // self._rate))
