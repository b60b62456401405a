"""When faults begin and end: by the clock or by the count of events, when another member leads, when a leader writes.

Here:   `Moments`.
Never:  which faults (nemesis.py).

A fault begins and ends by the clock or by the count of events, whichever comes first. By the clock alone, a world of
some hundred events would spend them on the heartbeats of a leader that has nothing to do; by events alone, nothing
would ever be late.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from raft_actors.core.types import Role
from tests.sim.ending import FAULT_EVENTS, FAULT_US, Ending

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World

STRANDED_TIMEOUTS: Final = (1.0, 5.0)
"""How long a leader is alone, in longest election timeouts, if nobody is elected in its place."""
SUCCEEDED_EVENTS: Final = 60
"""Up to so many events after another one was elected; it takes some 20 until that one has committed something."""
NEVER: Final = 1 << 60


class Moments:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dice = world.dice
        self._timeline = world.timeline
        self._options = world.options
        self._by_event: list[tuple[int, int, Ending]] = []
        self._endings = 0
        self._until_another_leads: list[Ending] = []
        self._ambush: Ending | None = None
        """Happens as soon as a leader has something that is not committed."""
        self.due_event = NEVER
        """The count of events at which it wants to look."""

    def look(self) -> None:
        """So many events have happened; what is due comes next, not within what happens now."""
        while self._by_event and self._by_event[0][0] <= self._world.event_count:
            self.at_time(0, heapq.heappop(self._by_event)[2])
        if self._ambush is not None and any(map(_is_writing, self._leaders())):
            ambush, self._ambush = self._ambush, None
            self.at_time(0, ambush)
        self._set_due()

    def _set_due(self) -> None:
        if self._ambush is not None:
            self.due_event = 0
        else:
            self.due_event = self._by_event[0][0] if self._by_event else NEVER

    def leader_elected(self) -> None:
        """Another member leads now."""
        succeeded, self._until_another_leads = self._until_another_leads, []
        for ending in succeeded:
            self.at_event(self._dice.randint(0, SUCCEEDED_EVENTS), ending)

    def _after_a_while(self, act: Callable[..., object], *arguments: object) -> None:
        ending = Ending(act, arguments)
        self.at_time(self._dice.randint(0, self._dice.choice(FAULT_US)), ending)
        self.at_event(self._dice.randint(0, self._dice.choice(FAULT_EVENTS)), ending)

    def at_time(self, delay_us: int, ending: Ending) -> None:
        """It happens so much later."""
        self._timeline.after(delay_us, None, ending.happen)

    def at_event(self, delay_events: int, ending: Ending) -> None:
        """It happens so many events later."""
        self._endings += 1
        heapq.heappush(self._by_event, (self._world.event_count + delay_events + 1, self._endings, ending))
        self._set_due()

    def _at_a_write(self, ending: Ending) -> None:
        """It happens as soon as a leader has something that is not committed; one at a time."""
        self._ambush = ending
        self._set_due()

    def _until_succeeded(self, act: Callable[..., object], *arguments: object) -> None:
        ending = Ending(act, arguments)
        timeouts = self._dice.uniform(*STRANDED_TIMEOUTS)
        self.at_time(int(timeouts * self._options.config.election_timeout_ms_max * 1000), ending)
        self._until_another_leads.append(ending)

    def _waits_for_a_leader(self) -> bool:
        """Whether nobody leads, or one that is alone and has no successor yet."""
        return self._leader() is None or any(not ending.is_over for ending in self._until_another_leads)

    def _leaders(self) -> list[Member]:
        members = self._world.everybody()
        return [member for member in members if member.engine and member.engine.state.role is Role.LEADER]

    def _leader(self) -> Member | None:
        leaders = self._leaders()
        return self._dice.choice(leaders) if leaders else None


def _is_writing(leader: Member) -> bool:
    state = leader.engine.state if leader.engine else None
    return state is not None and state.commit_index < state.log.last.index
