"""Calls between processes: how a leg of a call travels, what its caller learns when there is no answer.

Here:   `Network`: the plan's fates turned into arrivals; held messages; the two ends of a call.
Never:  which faults there are (raft_actors/faults/rules.py), what a call means to who gets it.

As with Ray, a call ends at most once for its caller: with the first reply that arrives, or with the news that there
will be none. A request may arrive more than once, and each copy is worked on.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, TypeAlias

from raft_actors.faults.plan import Plan
from raft_actors.faults.rules import UNTOLD_MS, Message
from tests.sim.options import Range
from tests.sim.timeline import Process, Timeline

_UNTOLD_US: Final = (UNTOLD_MS[0] * 1000, UNTOLD_MS[1] * 1000)

Arrive: TypeAlias = Callable[[object], object]


class Network:
    """Carries messages as a plan says."""

    def __init__(self, timeline: Timeline, dice: random.Random, plan: Plan, latency_us: Range) -> None:
        self.plan = plan
        self._timeline = timeline
        self._dice = dice
        self._least_us, most_us = latency_us
        self._span_us = most_us - self._least_us
        self._held: list[tuple[Message, tuple[int, ...], Process | None, Arrive, object]] = []

    def send(
        self,
        message: Message,
        process: Process | None,
        arrive: Arrive,
        content: object,
        lost: Callable[[int], object] | None,
    ) -> None:
        """One leg of a call: `arrive(content)` happens to `process` (None: whoever is there) once for each copy.

        `lost(delay_us)`: it never arrives, and the caller learns that so much later.
        """
        timeline = self._timeline
        size_bytes = len(content) if type(content) is bytes else 0
        fate = self.plan.fate(message, timeline.now_us // 1000, self._dice, size_bytes)
        delays_ms = fate.delays_ms
        if fate.held_until_healed:
            self._held.append((message, delays_ms, process, arrive, content))
        elif delays_ms:
            for delay_ms in delays_ms:
                timeline.after(delay_ms * 1000 + self.latency_us(), process, arrive, content)
        elif lost is not None:
            told_ms = fate.told_after_ms
            lost(self._dice.randint(*_UNTOLD_US) if told_ms is None else told_ms * 1000 + self.latency_us())

    def latency_us(self) -> int:
        """How long a message takes where nothing is wrong."""
        return self._least_us + int(self._dice.random() * self._span_us)

    def let_go(self) -> None:
        """Rules have changed: what is not held any more travels."""
        now_ms = self._timeline.now_us // 1000
        held, self._held = self._held, []
        for item in held:
            message, delays_ms, process, arrive, content = item
            if self.plan.holds(message, now_ms):
                self._held.append(item)
            else:
                for delay_ms in delays_ms:
                    self._timeline.after(delay_ms * 1000 + self.latency_us(), process, arrive, content)
