"""`python -m tests.catalogue.sim_lab ROW SEED`: a group of the simulator, which a row of the catalogue drives.

Here:   `SimLab`, the world behind it, `play_row`; the command line plays one row again and prints what happened last.
Never:  rows, random faults, clients: what goes wrong in such a world, the row does. What must be true of it after every
        event is checked as in every world (tests/sim/checks).

A seed is a group: its delays, its disks, how fast a caller learns that a process is gone. All of that is drawn as it
might be on one machine or in one rack. Members of a world are numbered from 1, those of a lab from 0.
"""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from collections.abc import Sequence
from typing import Final

from raft_actors.application import exchange
from raft_actors.application.frames import RawFrame, encode_batch
from raft_actors.application.limits import HostLimits
from raft_actors.application.settings import SessionLimits
from raft_actors.client.limits import ClientLimits
from raft_actors.config import RaftConfig
from raft_actors.core.types import MemberId, Role
from raft_actors.faults.rules import Rule
from raft_actors.peer.engine import Engine
from tests.catalogue.all_rows import row_named
from tests.catalogue.lab import Lab
from tests.catalogue.ledger import Ledger
from tests.catalogue.row import Row
from tests.sim.checks import Violation
from tests.sim.member import Member
from tests.sim.options import RATE_ONE, Options
from tests.sim.rest import STILL_HAPPENINGS, Rest
from tests.sim.story import KEPT
from tests.sim.timeline import SECOND_US
from tests.sim.timers import TICK_SOON_US
from tests.sim.world import World, WorldFailed

ROUNDS_SHARE: Final = 4
"""One world plays so much of a long row; two hundred of them play fifty times as much of it."""
LINES: Final = 60
"""Of the story, at the command line."""


def options_of(size: int, snapshot_log_bytes: int | None, dice: random.Random) -> Options:
    """A realistic group, and nothing that goes wrong by itself."""
    config = RaftConfig(snapshot_log_bytes=snapshot_log_bytes) if snapshot_log_bytes else RaftConfig()
    return Options(
        members=size,
        non_voters=0,
        places=size,
        administered=False,
        admin_every_us=SECOND_US,
        admin_every_events=1,
        strangers=True,
        promotion_lag_max=512,
        compare_every=1024,
        clients=0,
        files=dice.random() < 0.3,
        codec=True,
        rates=(RATE_ONE,) * size,
        network_us=dice.choice(((500, 1000), (500, 3000), (2000, 3000))),
        disk_us=dice.choice(((200, 500), (200, 2000), (1000, 2000))),
        stall_us=(0, 0),
        stall_probability=0.0,
        tick_us=TICK_SOON_US,
        inbox_us=(0, 0),
        socket_us=(20, 100),
        work_us=(10, 100),
        dead_call_ms=dice.choice(((0, 5), (10, 300), (1300, 1900))),
        held_calls=dice.random() < 0.5,
        idle_mark_ms=config.idle_mark_ms,
        segment_bytes_max=config.segment_bytes,
        config=config,
        sessions=SessionLimits(),
        host=HostLimits(),
        client=ClientLimits(),
        keys=1,
        operation_gap_us=(0, 0),
        operation_timeouts_ms=(1, 1),
        in_parallel=1,
        hoarders=(),
        filing_us=(500, 3000),
        naming_us=(500, 3000),
        lost_reference=0.0,
        drop=0.0,
        duplicate=0.0,
        reorder=0.0,
        delay_ms=0,
        profiles=(),
        fault_every_us=SECOND_US,
        fault_every_events=1,
        faults=(),
    )


class RowWorld(World):
    """A world without dice of its own for faults: the row throws them."""

    def __init__(self, row: Row, seed: int, *, kept: int | None) -> None:
        self._row = row
        options = options_of(row.size, row.snapshot_log_bytes, random.Random(f"{row.name} {seed}"))
        super().__init__(seed, options=options, kept=kept, machine=Ledger)

    @property
    def again(self) -> str:
        return f"python -m tests.catalogue.sim_lab {self._row.name} {self.seed}"


class SimLab(Lab):
    """One world. It stands still but for `sleep`."""

    first_number = 1
    rpc_limits = (10, 28, 20)

    def __init__(self, row: Row, seed: int, *, kept: int | None = KEPT) -> None:
        """`kept`: how many of the last events a failure tells; None: all."""
        super().__init__(row.size, unreliable=row.unreliable)
        self.world = RowWorld(row, seed, kept=kept)
        self.obey(self.rules())

    def end(self) -> None:
        """Everything is healed; the group has to agree once more, and to come to rest, its logs and states equal."""
        self.world.tell("", "-- the row is over, everything is healed")
        self.connect_all()
        self.set_network(unreliable=False, long_reordering=False)
        self.restart(*self.down)
        self.one(by=self.size)
        Rest(self.world).come()

    def rounds(self, count: int) -> int:
        return -(-count // ROUNDS_SHARE)

    # -- time ---------------------------------------------------------------------------------------------------------

    def now_s(self) -> float:
        return self.world.timeline.now_us / SECOND_US

    def sleep(self, seconds: float) -> None:
        if not self.world.timeline.play_for(round(seconds * SECOND_US), STILL_HAPPENINGS):
            raise Violation("the world goes on", f"{STILL_HAPPENINGS} things happened, and {seconds:g} s did not pass")

    def random(self) -> float:
        return self.world.dice.random()

    # -- members ------------------------------------------------------------------------------------------------------

    def start(self, member: int, command: bytes) -> int | None:
        peer = self._at(member).peer
        if peer is None:
            return None
        answers: list[exchange.ProposeAnswer] = []
        peer.propose(encode_batch([RawFrame(command=command)]), answers.append)
        match answers:
            case [exchange.Started(index=index)]:
                self.world.tell(peer.name, f"is offered {command!r:.40}: index {index}")
                return index
            case [exchange.NotLeader()]:
                return None
            case _:
                raise AssertionError(f"member {member} was offered {command!r:.40} and answers {answers}")

    def state_of(self, member: int) -> tuple[int, bool] | None:
        engine = self._engine(member)
        return None if engine is None else (engine.state.current_term, engine.state.role is Role.LEADER)

    def applied_by(self, member: int) -> dict[int, bytes]:
        server = self._at(member).server
        if server is None or server.machine is None:
            return {}
        ledger = server.machine.machine
        assert isinstance(ledger, Ledger), f"a world of the catalogue has ledgers, not {ledger}"
        return dict(ledger.commands)

    def crash(self, *members: int) -> None:
        for member in members:
            self._at(member).end_server("is killed")
            self._at(member).end_peer("is killed")
        self.down |= set(members)

    def restart(self, *members: int) -> None:
        for member in members:
            self._at(member).start_peer()
            self._at(member).start_server()
            assert self._at(member).peer is not None, f"member {member} does not start"
        self.down -= set(members)

    def log_bytes(self) -> int:
        peers = [place.peer for place in self.world.members.values()]
        return max((peer.storage.log_bytes for peer in peers if peer is not None), default=0)

    def snapshot_index(self, member: int) -> int:
        engine = self._engine(member)
        snapshot = None if engine is None else engine.state.snapshot
        return 0 if snapshot is None else snapshot.last.index

    def _at(self, member: int) -> Member:
        return self.world.members[MemberId(member + 1)]

    def _engine(self, member: int) -> Engine | None:
        return self._at(member).engine

    # -- network ------------------------------------------------------------------------------------------------------

    def set_links(self, cut: set[tuple[int, int]]) -> None:
        if cut != self._cut:
            self.world.tell("", f"-- cut: {' '.join(f'{src + 1}-{dst + 1}' for src, dst in sorted(cut)) or 'nothing'}")
        super().set_links(cut)

    def obey(self, rules: Sequence[Rule]) -> None:
        self.world.plan.obey(rules)
        self.world.network.let_go()

    def message_counts(self) -> list[dict[str, int | str]]:
        return self.world.plan.counts()


def play_row(row: Row, seed: int, *, kept: int | None = KEPT) -> SimLab:
    """The row, and rest. Raises `WorldFailed`, whatever is wrong: a rule, the product, what the row says."""
    lab = SimLab(row, seed, kept=kept)
    try:
        row.play(lab)
        lab.end()
    except Exception as why:
        raise WorldFailed(lab.world, why) from why
    return lab


def main() -> int:
    """0: nothing was found; 1: something was."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.catalogue.sim_lab", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("row")
    parser.add_argument("seed", type=int)
    parser.add_argument("--lines", type=int, default=LINES, metavar="N", help=f"of the story (default {LINES})")
    parser.add_argument("--all", action="store_true", help="the whole story")
    parsed = parser.parse_args()
    kept = None if parsed.all else parsed.lines
    try:
        lab = play_row(row_named(parsed.row), parsed.seed, kept=kept)
    except WorldFailed as failed:
        print(failed, end="\n\n")
        traceback.print_exception(failed.__cause__, file=sys.stdout)
        return 1
    print("\n".join(lab.world.story.lines()))
    world = lab.world
    print(f"{parsed.row}, seed {parsed.seed}: {world.event_count} events in {lab.now_s():.1f} s, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
