"""Who follows the injector: what each said last, who is awake, which held messages each has to let go or to lose.

Here:   `Followers`. Time is counted in the injector's own ticks: were its loop to stand still for seconds, nobody else
        would have slept for it.
Never:  waiting for them (injector.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from raft_actors.faults.orders import Report
from raft_actors.faults.rules import Node

TICK_S: Final = 0.1
AWAKE_TICKS: Final = 30
"""Who has not asked for so long is not waited for."""


@dataclass(slots=True)
class Follower:
    """A process that asks for orders."""

    report: Report
    seen_tick: int
    let_go: set[int] = field(default_factory=set)
    lose: set[int] = field(default_factory=set)


class Followers:
    """By process."""

    def __init__(self, stands_still: Callable[[Node], bool]) -> None:
        """`stands_still`: whether this node was stopped by our own hand: it is not waited for, and comes back."""
        self._stands_still = stands_still
        self._by_process: dict[str, Follower] = {}
        self._tick = 0
        self.ever: set[Node] = set()
        """Nodes that followed at some time."""

    def tick(self) -> None:
        """`TICK_S` more have passed, by a loop that runs."""
        self._tick += 1

    def take(self, report: Report) -> Follower:
        """It asks. Another process of its node that does not any more is forgotten."""
        self.ever.add(report.node)
        follower = self._by_process.get(report.process)
        if follower is None:
            for process, other in list(self._by_process.items()):
                if other.report.node == report.node and not self._asks(other):
                    del self._by_process[process]
            follower = self._by_process[report.process] = Follower(report, self._tick)
        follower.report = report
        follower.seen_tick = self._tick
        waiting = {held.number for held in report.held}
        follower.let_go &= waiting
        follower.lose &= waiting
        return follower

    def forget(self, process: str) -> None:
        """It follows no more."""
        self._by_process.pop(process, None)

    def forget_pids(self, pids: Collection[int]) -> None:
        """These are gone."""
        for process, follower in list(self._by_process.items()):
            if follower.report.pid in pids:
                del self._by_process[process]

    def resumed(self, node: Node) -> None:
        """It goes on, and asks soon: it is waited for from now on."""
        for follower in self._by_process.values():
            if follower.report.node == node:
                follower.seen_tick = self._tick

    def of(self, process: str) -> Follower | None:
        """The follower that this process is, if it is one."""
        return self._by_process.get(process)

    def awake(self) -> list[Follower]:
        """Those that are waited for."""
        return [
            follower
            for follower in self._by_process.values()
            if self._asks(follower) and not self._stands_still(follower.report.node)
        ]

    def there(self) -> list[Follower]:
        """Those, and the ones that stand still by our hand: what they hold is held still."""
        return [
            follower
            for follower in self._by_process.values()
            if self._asks(follower) or self._stands_still(follower.report.node)
        ]

    def _asks(self, follower: Follower) -> bool:
        return self._tick - follower.seen_tick < AWAKE_TICKS
