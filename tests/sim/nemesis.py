"""Who makes trouble: faults at random times, each of which ends by itself after a while.

Here:   `Nemesis`, one method for each kind that options.py names.
Never:  at which moment something happens (moments.py), what a fault does to a message (raft_actors/faults/plan.py), to
        a process (member.py) or to a disk (disks.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from raft_actors.faults.rules import Node, Rule
from tests.sim.ambushes import Ambushes
from tests.sim.client import ClientProcess
from tests.sim.ending import Ending
from tests.sim.moments import Moments
from tests.sim.steps import Step
from tests.sim.timeline import Process

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.peer import PeerProcess
    from tests.sim.world import World

OUTRUN_US: Final = 8_000_000
"""Or for so long, if no snapshot is taken."""
PATIENCE: Final = 0.8
"""Of so many faults that would strike while nobody leads, or a stranded one does, each waits for the next leader:
else few worlds get far, and hardly ever have two leaders."""
ZOMBIES_MAX: Final = 5
"""Of one place."""
BEFORE_KILL_US: Final = 500_000
"""Until a directory that was damaged is opened again."""


class Nemesis(Moments):
    """Strikes until it is told to rest."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.ambushes = Ambushes(world)
        if self._options.faults:
            self._later()

    def _later(self) -> None:
        if self._world.resting:
            return
        ending = Ending(self._strike, ())
        self.at_time(int(self._dice.expovariate(1 / self._options.fault_every_us)), ending)
        self.at_event(int(self._dice.expovariate(1 / self._options.fault_every_events)), ending)

    def _strike(self) -> None:
        if self._waits_for_a_leader() and self._dice.random() < PATIENCE:
            self._until_succeeded(self._later)
            return
        if self.ambushes.outruns and self._dice.random() < PATIENCE:
            self._save(self._leader())  # else hardly anybody would ever be outrun
            self._later()
            return
        self._begin(getattr(self, self._dice.choice(self._options.faults)))
        self._later()

    def _begin(self, fault: Callable[[], object]) -> None:
        if not self._world.resting:
            fault()

    def _member(self) -> Member:
        return self._dice.choice(self._world.targets() or list(self._world.members.values()))

    # -- network ------------------------------------------------------------------------------------------------------

    def partition(self) -> None:
        """Members and clients on two sides, sometimes three."""
        sides: list[list[Node]] = [[] for _ in range(self._dice.choice((2, 2, 2, 3)))]
        members = [int(member.member_id) for member in self._world.targets()]
        for node in (*members, *(client.name for client in self._world.clients)):
            self._dice.choice(sides).append(node)
        counts = [sum(1 for node in side if node in members) for side in sides]
        if len(sides) == 2 and counts[0] == counts[1]:
            self._world.watch.count("even-sized split")
        rules = self._world.plan.partition(*sides, held=self._holds())
        self._note("partition", " | ".join(",".join(map(str, side)) for side in sides))
        self._end_later(rules)

    def isolate(self) -> None:
        """One member, from all."""
        self._isolate(self._member())

    def _isolate(self, member: Member) -> None:
        self._note("isolate", str(member.member_id))
        self._end_later(self._world.plan.isolate(int(member.member_id), held=self._holds()))

    def ambush(self) -> None:
        """A leader is struck when it has something that is not committed."""
        strikes = (self.strand_leader, self.strand_leader, self.kill_leader, self.isolate_leader)
        self._at_a_write(Ending(self._begin, (self._dice.choice(strikes),)))

    def isolate_leader(self) -> None:
        """A leader, from all."""
        leader = self._leader()
        if leader is not None:
            self._isolate(leader)

    def strand_leader(self) -> None:
        """The leader and some clients on one side, perhaps with a member that follows it, a majority on the other: what
        it appends is never committed, another one is elected without it, and what it knows grows old."""
        leader = self._leader()
        others = [int(member.member_id) for member in self._world.targets() if member is not leader]
        if leader is None or not others:
            return
        self._dice.shuffle(others)
        with_it = others[: self._dice.randint(0, max(0, (len(others) - 1) // 2))]
        clients = [client.name for client in self._world.clients]
        self._dice.shuffle(clients)
        split = self._dice.randint(1, len(clients) - 1) if len(clients) > 1 else self._dice.randint(0, 1)
        stranded: list[Node] = [int(leader.member_id), *with_it, *clients[:split]]
        self._note("stranded", ",".join(map(str, stranded)))
        rest: list[Node] = [*(member for member in others if member not in with_it), *clients[split:]]
        rules = self._world.plan.partition(stranded, rest, held=self._holds())
        self._until_succeeded(self._end, rules)

    def leave_behind(self) -> None:
        """A member misses what the others commit; it is back at the moment when the leader is gone."""
        leader, member = self._leader(), self._member()
        if leader is None or leader is member:
            return
        self._note("left behind", str(member.member_id))
        rules = self._world.plan.isolate(int(member.member_id))
        self._after_a_while(self._bring_back, rules)

    def _bring_back(self, rules: tuple[Rule, ...]) -> None:
        self._end(rules)
        leader = self._leader()
        if leader is not None and not self._world.resting:
            if self._dice.random() < 0.5:
                self._kill(leader)
            else:
                self._end_later(self._world.plan.isolate(int(leader.member_id), held=self._holds()))

    def outrun(self) -> None:
        """A member misses so much that it needs a snapshot; perhaps the leader is gone when it has got it."""
        member = self._member()
        if member is self._leader():
            return
        self._note("outrun", str(member.member_id))
        ending = Ending(self._end, (self._world.plan.isolate(int(member.member_id)),))
        self.at_time(OUTRUN_US, ending)
        self.ambushes.until_outrun(member, ending)
        if self._dice.random() < 0.5:
            step = self._dice.choice((Step.SERVED, Step.FETCHED, Step.FETCHED))
            strike = self._dice.choice((self.kill_leader, self.strand_leader, self.isolate_leader))
            self.ambushes.wait_for(step, lambda _: strike())

    def partial_partition(self) -> None:
        """Two members do not reach each other; everybody else reaches both."""
        one, other = self._member(), self._member()
        if one is not other:
            self._note("cut both ways", f"{one.member_id} {other.member_id}")
            held = self._holds()
            for src, dst in ((one, other), (other, one)):
                self._end_later(self._world.plan.cut(int(src.member_id), int(dst.member_id), held=held))

    def one_way(self) -> None:
        """From one to another, or to everybody, or from everybody to one; perhaps for one method only."""
        src: Node | None = int(self._member().member_id)
        dst: Node | None = int(self._member().member_id)
        if src == dst:
            src, dst = (None, dst) if self._dice.random() < 0.5 else (src, None)
        method = self._dice.choice((None, None, "append_entries", "request_vote"))
        self._note("cut", f"{src} -> {dst} {method or ''}")
        self._end_later(self._world.plan.cut(src, dst, held=self._holds(), method=method))

    def _holds(self) -> bool:
        return self._options.held_calls and self._dice.random() < 0.5

    def _end_later(self, rules: tuple[Rule, ...]) -> None:
        self._after_a_while(self._end, rules)

    def _end(self, rules: tuple[Rule, ...]) -> None:
        self._world.plan.remove(*rules)
        self._world.network.let_go()

    # -- processes ----------------------------------------------------------------------------------------------------

    def kill_peer(self) -> None:
        """SIGKILL; Ray starts it again."""
        self._kill(self._member())

    def kill_leader(self) -> None:
        """The same, of a leader."""
        leader = self._leader()
        if leader is not None:
            self._kill(leader)

    def strike_snapshot(self) -> None:
        """A member is struck at some step of a snapshot: its process, its machine, its application, its links."""
        strikes = (self._kill, self._kill, self._cut_power, self._cut_power, self._kill_server, self._isolate)
        self.ambushes.wait_for(self._dice.choice(list(Step)), self._dice.choice(strikes))

    def strike_source(self) -> None:
        """Who sends a snapshot is gone in the middle of it."""
        self.ambushes.wait_for(Step.SERVED, self._dice.choice((self._kill, self._cut_power, self._isolate)))

    def ask_for_snapshot(self) -> None:
        """Somebody asks a member for a snapshot by hand."""
        self._save(self._member())

    def _save(self, member: Member | None) -> None:
        if member is not None and member.peer is not None and not member.peer.paused:
            member.peer.save_snapshot()

    def _kill(self, member: Member) -> None:
        member.end_peer("is killed")
        self._after_a_while(member.start_peer)

    def kill_server(self) -> None:
        """SIGKILL of an application."""
        self._kill_server(self._member())

    def _kill_server(self, member: Member) -> None:
        member.end_server("is killed")
        self._after_a_while(member.start_server)

    def power_cut(self) -> None:
        """One machine, with all that was not synced."""
        self._cut_power(self._member())

    def power_cut_all(self) -> None:
        """All machines at once."""
        for member in self._world.everybody():
            self._cut_power(member)

    def _cut_power(self, member: Member) -> None:
        member.end_server("loses its power")
        member.end_peer("loses its power", power_cut=True)
        self._after_a_while(member.start_peer)
        self._after_a_while(member.start_server)

    def pause_peer(self) -> None:
        """SIGSTOP, and SIGCONT later: everything that came meanwhile is there at once."""
        self._pause(self._member().peer)

    def pause_server(self) -> None:
        """The same, of an application."""
        self._pause(self._member().server)

    def pause_client(self) -> None:
        """The same, of a client."""
        self._pause(self._dice.choice(self._world.clients))

    def _pause(self, process: Process | None) -> None:
        if process is not None and not process.paused:
            self._note(f"{process.name} is stopped")
            process.paused = True
            self._after_a_while(self._resume, process)

    def _resume(self, process: Process) -> None:
        if process.paused:
            self._note(f"{process.name} goes on")
            self._timeline.resume(process)

    def replace_client(self) -> None:
        """A client's process ends; another one begins, with another client id."""
        position = self._dice.randrange(len(self._world.clients))
        client = self._world.clients[position]
        client.end()
        self._world.clients[position] = ClientProcess(self._world, self._world.next_client_name())
        self._note(f"{client.name} ends, {self._world.clients[position].name} begins")

    # -- disks --------------------------------------------------------------------------------------------------------

    def stall_disk(self) -> None:
        """Every write takes long."""
        member = self._member()
        self._note(f"the disk of {member.member_id} stalls")
        member.stalled = True
        self._after_a_while(setattr, member, "stalled", False)

    def wipe(self) -> None:
        """A disk is replaced by an empty one, and nobody is told. Of so many that the others still are a majority."""
        member = self._member()
        if self._world.may_lose_a_disk(member):
            self._world.watch.count("disk lost")
            member.wipe()
            self._after_a_while(member.start_peer)

    def replace_machine(self) -> None:
        """Another machine with an empty disk comes in the place of one, which perhaps is stopped, or dead, or neither.
        Later on it wakes up, ends, and begins again: its promises stand, its name leads to another one."""
        old = self._dice.choice(list(self._world.members.values()))
        many = sum(zombie.number == old.number for zombie in self._world.zombies) >= ZOMBIES_MAX
        if old.idle or many or not self._world.may_lose_a_disk(old):
            return
        self.replace(old)

    def supersede(self) -> None:
        """A process is stopped, or cut off, and taken for dead; it wakes up beside its successor, which waits for it to
        end."""
        member = self._member()
        if member.peer is not None:
            self._world.watch.count("process superseded that lives on")
            old = member.peer
            self._pause(old)
            member.supersede()
            self._after_a_while(self._resume, old)
            self._after_a_while(self._end_old, member, old)

    def _end_old(self, member: Member, old: PeerProcess) -> None:
        if member.old is old:
            member.end_peer("ends at last")

    def replace(self, old: Member) -> None:
        """It has a successor now, and haunts the group for a while."""
        self._world.watch.count("machine replaced")
        if old.peer is not None:
            self._world.watch.count("machine replaced that lives on")
        self._world.replace_machine(old)
        if self._dice.random() < 0.6:
            self._pause(old.peer)
        self._after_a_while(self._kill, old)  # it is started again after that

    def refuse_write(self) -> None:
        """One of the next calls of a disk fails."""
        member = self._member()
        self._note(f"the disk of {member.member_id} will refuse a call")
        member.disk.refuse()

    def stop_while_opening(self) -> None:
        """A process is killed, and its successor while it reads what is there."""
        member = self._member()
        member.end_peer("is killed")
        member.disk.stop_while_opening()
        self._after_a_while(member.start_peer)

    def damage(self) -> None:
        """A bit flips in what was synced long ago; the next start finds out."""
        member = self._member()
        if self._world.may_lose_a_disk(member) and (what := member.disk.damage()) is not None:
            self._note(f"the disk of {member.member_id} is damaged: {what}")
            member.damaged = True
            self._timeline.after(self._dice.randint(0, BEFORE_KILL_US), None, self._kill, member)

    def damage_snapshot(self) -> None:
        """A bit flips in the newest snapshot of a member that is down."""
        member = self._member()
        if not self._world.may_lose_a_disk(member):
            return
        member.end_peer("is killed")
        if member.directory_id is not None and (what := member.disk.damage_snapshot()) is not None:
            self._note(f"the disk of {member.member_id} is damaged: {what}")
            member.damaged = True
            self._world.checks.snapshot_damaged(member.directory_id)
        self._after_a_while(member.start_peer)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _note(self, what: str, details: str = "") -> None:
        self._world.tell("", f"-- {what} {details}".rstrip())
