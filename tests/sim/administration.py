"""What a simulated peer's administrator asks of it and hears: changes of the membership, transfers of leadership.

Here:   the part of the engine's `Ports` that ends them; each ends once, and as the product promises.
Never:  who asks for what, and when (administrator.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raft_actors.core.effects import ChangeRefused, ChangeStarted, TransferEnded
from raft_actors.core.events import Change, Promote
from raft_actors.core.types import DirectoryId, LogIndex
from raft_actors.peer.engine import Engine
from tests.sim.checks import Violation

if TYPE_CHECKING:
    from tests.sim.member import Member

RULE = "answered is what was asked"


class Administration:
    """Of one process."""

    member: Member
    engine: Engine

    def __init__(self) -> None:
        self._change: tuple[int, LogIndex, LogIndex, Change] | None = None
        """Under way: its number, what it was made for, what was in force, what it is."""
        self._asked = 0
        self.transfers_open: set[int] = set()
        """That have not ended."""
        self.configured_at = LogIndex(0)
        """Where the configuration stood that was in force last."""

    def ask_change(self, made_for: LogIndex, change: Change) -> None:
        """Somebody wants another configuration."""
        self._asked += 1
        self._change = (self._asked, made_for, self.engine.state.configurations.in_force_index, change)
        self.engine.change(self._asked, made_for, change)
        if self._change is not None:
            raise Violation(RULE, f"change {self._asked} was not answered")

    def change_ended(self, change_id: int, answer: ChangeStarted | ChangeRefused) -> None:
        """A change was appended, or refused."""
        if self._change is None or self._change[0] != change_id:
            raise Violation(RULE, f"change {change_id} was not asked for, or is answered again: {answer}")
        (_, made_for, found, change), self._change = self._change, None
        world, state = self.member.world, self.engine.state
        world.tell(self.member.name, f"{change} made for {made_for}: {answer}")
        if isinstance(answer, ChangeRefused):
            world.administrator.refused(answer.reason)
            return
        configurations = state.configurations
        if made_for != found:
            raise Violation(RULE, f"{change} was made for {made_for}, {found} was in force (contracts 12)")
        if answer.index != configurations.in_force_index:
            raise Violation(RULE, f"{change} stands at {answer.index}, {configurations.in_force_index} is in force")
        if isinstance(change, Promote):
            lag = world.options.promotion_lag_max
            world.checks.promoted(change.directory_id, state.current_term, state.commit_index - lag)
        world.administrator.started(self.member, change)

    def ask_transfer(self, to: DirectoryId | None) -> int:
        """Somebody wants another leader. A number that is in `transfers_open` until it has ended."""
        self._asked += 1
        self.transfers_open.add(self._asked)
        self.engine.transfer(self._asked, to)
        return self._asked

    def transfer_ended(self, answer: TransferEnded) -> None:
        """A transfer is over."""
        if answer.transfer_id not in self.transfers_open:
            raise Violation(RULE, f"transfer {answer.transfer_id} was not asked for, or ends again: {answer}")
        self.transfers_open.remove(answer.transfer_id)
        self.member.world.tell(self.member.name, f"transfer {answer.why.value}")
        self.member.world.administrator.transferred(answer)
