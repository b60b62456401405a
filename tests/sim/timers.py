"""A peer's timers in simulated time: the election timer, heartbeats, and the owner's look at what nothing else shows.

Here:   `Timers`.
Never:  what is due (raft_actors/peer/engine.py), clocks (timeline.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raft_actors.core.events import HeartbeatDue
from raft_actors.core.types import Role
from raft_actors.peer.runtime import TICK_S

if TYPE_CHECKING:
    from tests.sim.peer import PeerProcess

TICK_SOON_US: Final = int(TICK_S * 1_000_000)


class Timers:
    """Of one process, whose engine is there."""

    def __init__(self, process: PeerProcess) -> None:
        self._process = process
        self._member = process.member
        self._timeline = process.member.world.timeline
        self._dice = process.member.world.dice
        self._timer_us: int | None = None
        self._tick_us = 0
        self._beating = False
        self.changed()
        self._tick_at(self._member.world.options.tick_us)

    def changed(self) -> None:
        """The election deadline came nearer, or the role is another one."""
        engine = self._process.engine
        deadline = engine.election_timer.deadline
        if deadline is not None:
            delay_us = self._member.clock.until_us(deadline.at_ms)
            at_us = self._timeline.now_us + delay_us
            if self._timer_us is None or at_us < self._timer_us:
                self._timer_us = at_us
                self._timeline.after(delay_us, self._process, self._timer_fires, at_us)
        if engine.state.role is Role.LEADER and not self._beating:
            self._beating = True
            self._timeline.after(int(self._dice.random() * self.interval_us()), self._process, self._beat)

    def _timer_fires(self, at_us: int) -> None:
        if at_us != self._timer_us:
            return  # an earlier one was set meanwhile
        self._timer_us = None
        deadline = self._process.engine.election_timer.deadline
        if deadline is not None and deadline.at_ms <= self._member.clock.now_ms():
            self._process.engine.election_due()
        self.changed()

    def interval_us(self) -> int:
        """Between two heartbeats, in the world's time."""
        clock = self._member.clock
        return clock.until_us(clock.now_ms() + self._member.world.options.config.heartbeat_interval_ms)

    def _beat(self) -> None:
        if self._process.engine.state.role is not Role.LEADER:
            self._beating = False
            return
        self._process.engine.handle(HeartbeatDue(now_ms=self._member.clock.now_ms()))
        self._timeline.after(self.interval_us(), self._process, self._beat)

    def tick_soon(self) -> None:
        """Something waits for the owner's next look."""
        if self._tick_us > self._timeline.now_us + TICK_SOON_US:
            self._tick_at(int(self._dice.random() * TICK_SOON_US))

    def _tick_at(self, delay_us: int) -> None:
        self._tick_us = self._timeline.now_us + delay_us
        self._timeline.after(delay_us, self._process, self._tick, self._tick_us)

    def _tick(self, at_us: int) -> None:
        if at_us == self._tick_us:
            self._tick_at(self._member.world.options.tick_us)
            self._process.transfers.sweep()
            self._process.engine.tick()
