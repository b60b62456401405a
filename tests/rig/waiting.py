"""What waits in a pumped group: the clock, what an engine asked for, readers.

Here:   `ManualClock`, `Waiting`, `Read`.
Never:  when anything goes on (world.py, rig.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from raft_actors.application import exchange
from raft_actors.application.exchange import AskSlice
from raft_actors.core.effects import Compact, Persist
from raft_actors.core.types import RequestId
from raft_actors.peer.feed import ApplyCall
from raft_actors.peer.filing import FilingOrder
from tests.rig.network import Flight


class ManualClock:
    """Stands still until the rig moves it."""

    def __init__(self) -> None:
        self.time_ms = 10_000

    def now_ms(self) -> int:
        return self.time_ms


@dataclass(slots=True, kw_only=True)
class Read:
    """A read at the peer's door, and its answer once there is one."""

    must_see: int
    """Committed, and perhaps acknowledged, when the read arrived."""
    answer: exchange.ReadAnswer | None = None


@dataclass(slots=True)
class Waiting:
    """What the engine asked for and the rig has not done yet."""

    writes: list[Persist | Compact] = field(default_factory=list)
    files: list[FilingOrder] = field(default_factory=list)
    application_calls: list[ApplyCall | exchange.TermLost | AskSlice] = field(default_factory=list)
    requests: dict[RequestId, Flight] = field(default_factory=dict)
    """Received and not answered."""
