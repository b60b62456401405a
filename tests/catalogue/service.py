"""A service under load and faults, as the labs' tests of a key-value store have it (ruaft.md 2.2, 2.7, 2.10).

Here:   `ServiceRow`, what a row does to the store; `Service`, which plays it: clients that go on whatever happens, the
        hand that splits and kills, three rounds.
Never:  which rows there are (service_rows.py), whether the history makes sense (analysis.check_run, on the run that is
        recorded meanwhile).

Each client does what the labs' clients do, in turns: appends to a key of its own, puts on condition of a version that
others race for, and reads, puts and appends of any key. Clients reach all servers; servers are cut from each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

import kv
from kv.app.histories import Outcome, Write, append_faults
from raft_actors.faults import Faults
from tests.cluster.world import Load

ROUNDS: Final = 3
ROUND_S: Final = 2.0
"""Faults of a round last so long at least."""
SPLIT_S: Final = (1.0, 1.2)
"""Between two partitions, as in the labs."""
DOWN_S: Final = 0.5
OPERATION_S: Final = 3.0
ENOUGH_S: Final = 20.0
"""For a read when all is healed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRow:
    """One row: how many ask, what goes wrong meanwhile, and what is demanded."""

    name: str
    clients: int = 5
    size: int = 5
    unreliable: bool = False
    partitions: bool = False
    crashes: bool = False
    """All members are killed at once, while clients are at it."""
    snapshot_log_bytes: int | None = None
    """None: no snapshot is ever taken."""
    least: int = 10
    """Operations of each client that go well after the faults of each round."""
    keys: int = 20
    """That all clients share."""


class ServiceClient:
    """Asks one thing after the other. What it is told, the run records."""

    def __init__(self, store: kv.Client, number: int, keys: int) -> None:
        self.writes: list[Write] = []
        """Appends to its own key."""
        self.own = f"own {number}"
        self._store = store
        self._number = number
        self._keys = keys
        self._dice = Random(number)

    def go_on(self, label: str) -> None:
        """One operation; its label is what it writes."""
        act = self._dice.choice((self._append_own, self._append_own, self._read_own, self._race, self._any, self._any))
        act(label)

    def _append_own(self, label: str) -> None:
        outcome: Outcome = "unknown"
        try:
            self._store.append(self.own, [label])
            outcome = "ok"
        except kv.KVError as failure:
            outcome = failure.outcome
            raise
        finally:
            self.writes.append(Write(client=self._number, key=self.own, token=label, outcome=outcome))

    def _read_own(self, _: str) -> None:
        self._store.get(self.own)

    def _race(self, label: str) -> None:
        found = self._store.get_versioned("raced for")
        version = 0 if found is None else found.version
        self._store.put("raced for", {"client": self._number, "label": label}, if_version=version)

    def _any(self, label: str) -> None:
        key = f"any {self._dice.randrange(self._keys)}"
        throw = self._dice.random()
        if throw < 0.45:
            self._store.get(key)
        elif throw < 0.95:
            self._store.append(key, f"({self._number}, {label}), ")
        else:
            self._store.put(key, f"{self._number}: ")


class Service:
    """One row, on a group of its own that was started with faults."""

    def __init__(self, row: ServiceRow, faults: Faults, connect: Callable[[str], kv.Client]) -> None:
        self._row = row
        self._faults = faults
        self._dice = Random(row.name)
        self._clients = [ServiceClient(connect(f"c{i}"), i, row.keys) for i in range(row.clients)]

    def play(self, store: kv.Client) -> None:
        """Three rounds; after each all is healed, and every acknowledged append is there once."""
        if self._row.unreliable:
            self._faults.unreliable()
        for _ in range(ROUNDS):
            self._round()
            found = {client.own: store.get(client.own, (), timeout_s=ENOUGH_S) for client in self._clients}
            writes = [write for client in self._clients for write in client.writes]
            assert append_faults(writes, found) == []

    def _round(self) -> None:
        with Load(*(client.go_on for client in self._clients), threads=1) as load:
            self._disturb()
            load.wait_for_more_of_each(self._row.least)

    def _disturb(self) -> None:
        """What the row wants to go wrong, for as long as a round lasts; all is mended in the end."""
        end_s = time.monotonic() + ROUND_S
        cut = self._split() if self._row.partitions else None
        if self._row.crashes:
            time.sleep(ROUND_S / 2)
            members = range(self._row.size)
            self._faults.kill(*members, stay_down=True)
            time.sleep(DOWN_S)
            self._faults.restart(*members)
        while (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(left_s, self._dice.uniform(*SPLIT_S)))
            if cut is not None:
                self._faults.remove(cut)
                cut = self._split()
        self._faults.remove(cut)

    def _split(self) -> str:
        """The members in two parts, whoever they are, and neither is empty."""
        members = list(range(self._row.size))
        self._dice.shuffle(members)
        at = self._dice.randint(1, len(members) - 1)
        return self._faults.partition(members[:at], members[at:])
