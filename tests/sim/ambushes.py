"""Faults that wait for a step of a snapshot, and those that end with one.

Here:   `Ambushes`.
Never:  which faults there are (nemesis.py), what a step is (steps.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.sim.ending import Ending
from tests.sim.steps import Step

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World


class Ambushes:
    """What strikes or ends comes next, not within what happens now."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._strike: tuple[Step, Callable[[Member], None]] | None = None
        """Happens to the member that takes this step next."""
        self._outrun: list[tuple[Member, Ending]] = []
        """Members that miss what the others do, until no log goes back to theirs."""

    def wait_for(self, step: Step, strike: Callable[[Member], None]) -> None:
        """One ambush at a time."""
        self._strike = (step, strike)

    def until_outrun(self, member: Member, ending: Ending) -> None:
        """It ends when another member forgets what this one lacks."""
        self._outrun.append((member, ending))

    @property
    def outruns(self) -> bool:
        """Whether a member is being outrun."""
        return any(not ending.is_over for _, ending in self._outrun)

    def stepped(self, step: Step, member: Member) -> None:
        """A member has taken this step."""
        if self._world.resting:
            return
        if self._strike is not None and self._strike[0] is step:
            (_, strike), self._strike = self._strike, None
            self._world.tell("", f"-- strikes {member.member_id}: {step.value}")
            self._world.watch.count(f"struck when {step.value}")
            self._at_once(Ending(strike, (member,)))
        if step is Step.COMPACTED and self._outrun:
            self._compacted(member)

    def _compacted(self, member: Member) -> None:
        assert member.engine is not None, "a compaction of a member that is down"
        base = member.engine.state.log.base.index
        for other, ending in list(self._outrun):
            if ending.is_over:
                self._outrun.remove((other, ending))
            elif other is not member and (other.engine is None or other.engine.state.log.last.index < base):
                self._outrun.remove((other, ending))
                self._at_once(ending)

    def _at_once(self, ending: Ending) -> None:
        self._world.timeline.after(0, None, ending.happen)
