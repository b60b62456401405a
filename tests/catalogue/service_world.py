"""`python -m tests.catalogue.service_world ROW LIMIT SEED`: a row of the key-value store in a world.

Here:   `ServiceWorld`, whose clients go on whatever the row does to the group; `play_service`; the command line.
Never:  which rows there are (service_rows.py), random faults; what must be true of histories (tests/sim/checks).

A row of service.py, played once: a round of faults, then all is healed, and every client has to get on. What clients
ask for is what those of all worlds do: puts, some on condition, appends, deletes, reads of both kinds.
"""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from collections import Counter
from dataclasses import replace
from typing import Any, Final

from analysis.history import Outcome
from raft_actors.faults.plan import Plan
from tests.catalogue.service import DOWN_S, OPERATION_S, ROUND_S, SPLIT_S, ServiceRow
from tests.catalogue.service_rows import SERVICE_ROWS
from tests.catalogue.sim_lab import options_of
from tests.sim.checks import Violation
from tests.sim.client import ClientProcess, Wanted
from tests.sim.rest import STILL_HAPPENINGS, Rest
from tests.sim.story import KEPT
from tests.sim.timeline import SECOND_US
from tests.sim.world import World, WorldFailed

LIMITS: Final = (1, 1_000, 10_000, None)
"""Bytes of log after which a snapshot is taken: at each write, soon, later, never."""
GAP_US: Final = (1_000, 60_000)
"""Between two operations of a client."""
LEAST_MAX: Final = 5
"""Operations of each client that have to go well after a round, of those that a row demands on real actors."""
PATIENCE_S: Final = 60.0
LOOK_S: Final = 0.05


class ServiceWorld(World):
    """One group and its clients."""

    def __init__(self, row: ServiceRow, limit: int | None, seed: int, *, kept: int | None = KEPT) -> None:
        """`limit`: bytes of log after which a snapshot is taken."""
        self._row = row
        self._limit = limit
        self._went_well: Counter[str] = Counter()
        options = options_of(row.size, limit, random.Random(f"{row.name} {limit} {seed}"))
        timeout_ms = round(OPERATION_S * 1000)
        super().__init__(
            seed,
            options=replace(
                options,
                clients=row.clients,
                keys=row.keys,
                operation_gap_us=GAP_US,
                operation_timeouts_ms=(timeout_ms, timeout_ms),
                profiles=("unreliable",) if row.unreliable else (),
            ),
            kept=kept,
        )

    @property
    def again(self) -> str:
        return f"python -m tests.catalogue.service_world {self._row.name} {self._limit or 'never'} {self.seed}"

    def operation_ended(
        self, client: ClientProcess, number: int, wanted: Wanted, outcome: Outcome, *results: Any
    ) -> None:
        super().operation_ended(client, number, wanted, outcome, *results)
        self._went_well[client.name] += outcome is Outcome.OK

    def play(self) -> None:
        """A round of faults, progress of every client, rest, the verdict. Raises `WorldFailed`."""
        try:
            self._disturb()
            self._obey(None)
            self._until_all_get_on()
            self._heal()
            Rest(self).demand()
            self.checks.verdict()
        except Exception as why:
            raise WorldFailed(self, why) from why

    def _disturb(self) -> None:
        end_us = self.timeline.now_us + round(ROUND_S * SECOND_US)
        self._split()
        if self._row.crashes:
            self._pass(ROUND_S / 2)
            self._restart_all()
        while (left_us := end_us - self.timeline.now_us) > 0:
            self._pass(min(left_us / SECOND_US, self.dice.uniform(*SPLIT_S)))
            self._split()

    def _split(self) -> None:
        """The members in two parts, whoever they are, and neither is empty."""
        if self._row.partitions:
            members = self.dice.sample(list(self.members), len(self.members))
            self._obey(self.dice.randint(1, len(members) - 1), members)

    def _restart_all(self) -> None:
        for member in self.members.values():
            member.end_server("is killed")
            member.end_peer("is killed")
        self._pass(DOWN_S)
        for member in self.members.values():
            member.start_peer()
            member.start_server()

    def _obey(self, at: int | None, members: list[Any] | None = None) -> None:
        """The row's network, with the members split there; `at` None: not split."""
        plan = Plan()
        plan.unreliable(self._row.unreliable)
        if at is not None and members is not None:
            plan.partition(members[:at], members[at:])
        self.plan.obey(plan.rules)
        self.network.let_go()

    def _until_all_get_on(self) -> None:
        least = min(self._row.least, LEAST_MAX)
        enough = {client.name: self._went_well[client.name] + least for client in self.clients}
        end_us = self.timeline.now_us + round(PATIENCE_S * SECOND_US)
        while late := [name for name, count in enough.items() if self._went_well[name] < count]:
            if self.timeline.now_us > end_us:
                raise Violation("clients get on", f"{late} did not within {PATIENCE_S:.0f} s after all was healed")
            self._pass(LOOK_S)

    def _pass(self, seconds: float) -> None:
        if not self.timeline.play_for(round(seconds * SECOND_US), STILL_HAPPENINGS):
            raise Violation("the world goes on", f"{STILL_HAPPENINGS} things happened, and {seconds:g} s did not pass")


def main() -> int:
    """0: nothing was found; 1: something was."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.catalogue.service_world", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("row", choices=[row.name for row in SERVICE_ROWS], metavar="ROW")
    parser.add_argument("limit", help="bytes of log after which a snapshot is taken, or never")
    parser.add_argument("seed", type=int)
    parsed = parser.parse_args()
    (row,) = (row for row in SERVICE_ROWS if row.name == parsed.row)
    world = ServiceWorld(row, None if parsed.limit == "never" else int(parsed.limit), parsed.seed)
    try:
        world.play()
    except WorldFailed as failed:
        print(failed, end="\n\n")
        traceback.print_exception(failed.__cause__, file=sys.stdout)
        return 1
    print(f"{world.event_count} events in {world.timeline.now_us / SECOND_US:.1f} s, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
