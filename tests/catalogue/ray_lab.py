"""A group of Ray actors as a lab: real processes, real disks, the fault injector between them.

Here:   `RayLab`.
Never:  rows.

`start`, `state_of` and `applied_by` go to the member itself, past every cut link, as the labs' do: they stand for a
process beside it. What passes between members meets the injector.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import ray
from ray.exceptions import RayError

import raft_actors
from raft_actors import faults
from raft_actors.core.types import MemberId
from raft_actors.errors import RaftActorsError
from raft_actors.faults.rules import Rule
from raft_actors.names import NAMESPACE, peer_name
from tests.catalogue.lab import Lab
from tests.catalogue.ledger import Ledger, read_commands
from tests.catalogue.row import Row
from tests.cluster.world import asked_at, eventually

ANSWER_S: Final = 5.0
"""How long a member may take to say something of itself."""


class RayLab(Lab):
    """One group, started by this and shut down by whoever owns its name."""

    first_number = 0
    rpc_limits = (30, 42, 60)

    def __init__(self, name: str, row: Row, data_dir: str) -> None:
        super().__init__(row.size, unreliable=row.unreliable)
        self._name = name
        config = raft_actors.RaftConfig()
        if row.snapshot_log_bytes is not None:
            config = raft_actors.RaftConfig(snapshot_log_bytes=row.snapshot_log_bytes)
        self._group = raft_actors.start(
            name, Ledger, members=row.size, data_dir=data_dir, config=config, faults=True, start_timeout_s=60.0
        )
        self.faults = faults.connect(name)
        self._dice = Random(row.name)
        self.obey(self.rules())
        eventually(lambda: all(self.state_of(member) for member in self.members))

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def random(self) -> float:
        return self._dice.random()

    def start(self, member: int, command: bytes) -> int | None:
        if member in self.down:
            return None
        try:
            answer = ray.get(self._peer(member).start.remote(command), timeout=ANSWER_S)
        except (RayError, RaftActorsError, ValueError):
            return None
        return int(answer.index) if isinstance(answer, raft_actors.Started) else None

    def state_of(self, member: int) -> tuple[int, bool] | None:
        if member in self.down:
            return None
        try:
            state: tuple[int, bool] = ray.get(self._peer(member).get_state.remote(), timeout=ANSWER_S)
        except (RayError, ValueError):
            return None
        return state

    def applied_by(self, member: int) -> dict[int, bytes]:
        if member in self.down:
            return {}
        answer = asked_at(self._name, member, b"")
        return {} if answer is None else read_commands(answer)

    def obey(self, rules: Sequence[Rule]) -> None:
        self.faults.obey(*rules)

    def message_counts(self) -> list[dict[str, Any]]:
        return self.faults.counts()

    def crash(self, *members: int) -> None:
        self.down |= set(members)
        self.faults.kill(*members, stay_down=True)

    def restart(self, *members: int) -> None:
        self.faults.restart(*members)
        self.down -= set(members)
        eventually(lambda: all(self._runs(member) for member in members))

    def _runs(self, member: int) -> bool:
        said = ray.get(self._peer(member).status.remote(), timeout=ANSWER_S)
        return bool(said["state"] == "running")

    def log_bytes(self) -> int:
        return max(status.log_bytes or 0 for status in self._group.status())

    def snapshot_index(self, member: int) -> int:
        return next(status.snapshot_index or 0 for status in self._group.status() if status.id == member)

    def _peer(self, member: int) -> Any:
        return ray.get_actor(peer_name(self._name, MemberId(member)), namespace=NAMESPACE)
