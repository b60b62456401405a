"""A group, its clients and everything between them in one thread, from one seed.

Here:   `World`: how it is made, what its parts tell it; faults until enough has happened, then none and progress.
Never:  what happens (timeline.py and the processes), which faults (nemesis.py), what must be true (checks).

A seed is a world: options, delays, faults and what clients want are drawn from one `random.Random`, and what happens at
the same time happens in the order in which it was scheduled. So a failure is replayed by its seed.
"""

from __future__ import annotations

import random
from dataclasses import replace
from hashlib import blake2b
from typing import Final

from analysis.history import UNSEEN, Mismatch, Op, Outcome, Result
from kv.config import Config
from kv.machine import KVMachine
from raft_actors.application import chain
from raft_actors.application.machine import MachineSource
from raft_actors.codec import cluster_id_of
from raft_actors.config import RaftConfig
from raft_actors.core.entries import Configuration, Genesis
from raft_actors.core.entries import Member as Line
from raft_actors.core.events import Event
from raft_actors.core.quorum import majority
from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.faults.plan import Plan
from tests.rig.disks import GROUP, Disks, FaultyDisks, MemoryDisks
from tests.sim.administrator import Administrator
from tests.sim.checks import Checks, Violation
from tests.sim.client import ClientProcess, Wanted, request_of
from tests.sim.disks import Disk
from tests.sim.keys import Keys
from tests.sim.member import Member
from tests.sim.moments import NEVER
from tests.sim.nemesis import Nemesis
from tests.sim.network import Network
from tests.sim.options import Options, draw
from tests.sim.peer import PeerProcess
from tests.sim.rest import STILL_HAPPENINGS, Rest
from tests.sim.steps import Step
from tests.sim.story import KEPT, Story
from tests.sim.timeline import SECOND_US, Timeline
from tests.sim.watch import Watch

GENERATION: Final = 10
"""Between the numbers of two machines in one place."""
HANDLES_KEPT: Final = 0.4
"""Of so many processes each goes on to call a machine that has a successor, until it hears that it is dead."""
DEATH_TOLD_US: Final = 4_000_000
FAULTS_US: Final = 600 * SECOND_US
"""A world in which hardly anything can happen, one member that is struck all the time, ends by this time."""


class WorldFailed(AssertionError):
    """Something was not as it must be: what, in which world, and what happened before."""

    def __init__(self, world: World, why: BaseException) -> None:
        self.seed = world.seed
        self.rule = why.rule if isinstance(why, Violation) else type(why).__name__
        self.what = why.text if isinstance(why, Violation) else str(why)
        self.events = world.event_count
        super().__init__(
            "\n".join(
                (
                    f"seed {world.seed}, event {world.event_count}: {self.rule}: {self.what}",
                    f"again: {world.again}",
                    "",
                    "options:",
                    *world.options.lines(),
                    "",
                    "last events:",
                    *world.story.lines(),
                )
            )
        )


class World:
    """One world. `run` plays it to its end, and raises `WorldFailed`."""

    def __init__(
        self,
        seed: int,
        *,
        options: Options | None = None,
        kept: int | None = KEPT,
        machine: MachineSource = KVMachine.from_settings,
    ) -> None:
        """`kept`: how many of the last events a failure tells; None: all. `machine`: of all applications."""
        self.seed = seed
        self.machine = machine
        self.dice = random.Random(seed)
        self.options = options or draw(self.dice)
        self.timeline = Timeline()
        self.story = Story(kept)
        self.watch = Watch()
        self.checks = Checks()
        self.plan = Plan()
        self.network = Network(self.timeline, self.dice, self.plan, self.options.network_us)
        self.event_count = 0
        """Events of the core, `core.step` calls that came from outside of it."""
        self.events_wanted = 0
        self.resting = False
        """No more faults."""
        self._halt_at = NEVER
        """The count of events at which the faults have done enough."""
        self._operations = 0
        self._client_count = 0
        self.outcomes: dict[int, Outcome] = {}
        """What users were told, by operation."""
        self.keys = Keys(self.options.keys)
        self._disks: Disks = (
            FaultyDisks(segment_bytes_max=self.options.segment_bytes_max) if self.options.files else MemoryDisks()
        )
        numbers = [MemberId(number) for number in range(1, self.options.members + 1)]
        places = {number: Disk(self._disks, number, self.dice) for number in numbers}
        storages = {number: place.open() for number, place in places.items()}
        lines = tuple(
            Line(
                member_id=number,
                directory_id=storages[number].recovered.incarnation.directory_id,
                voter=number <= self.options.members - self.options.non_voters,
            )
            for number in numbers
        )
        settings = Config(sessions=self.options.sessions).settings()
        self.genesis = Genesis(
            cluster_id=cluster_id_of(GROUP, lines, settings),
            group=GROUP,
            configuration=Configuration(members=lines),
            settings=settings,
        )
        self.members = {number: Member(self, number, places[number], begins=True) for number in numbers}
        """Who is at each place now: whom its name leads to."""
        self.zombies: list[Member] = []
        """Machines in whose place there is another one."""
        self.clients: list[ClientProcess] = []
        self._obey_options()
        for number, member in self.members.items():
            member.start_peer(storages[number])
            member.start_server()
        for number in map(MemberId, range(self.options.members + 1, self.options.places + 1)):
            self.members[number] = spare = Member(self, number, Disk(self._disks, number, self.dice), begins=False)
            spare.start_peer()
            spare.start_server()
        self.clients += [ClientProcess(self, self.next_client_name()) for _ in range(self.options.clients)]
        self.nemesis = Nemesis(self)
        self.administrator = Administrator(self)

    def _obey_options(self) -> None:
        options, plan = self.options, self.plan
        if options.drop:
            told_ms = (0, 2 * options.config.rpc_deadline_ms)
            plan.drop(request=options.drop, reply=options.drop, told_ms=told_ms)
        if options.duplicate:
            plan.duplicate(options.duplicate, late_ms=(0, 500))
        if options.reorder:
            plan.reorder(options.reorder)
        if options.delay_ms:
            plan.delay((0, options.delay_ms))
        for profile in options.profiles:
            getattr(plan, profile)()

    # -- its course ---------------------------------------------------------------------------------------------------

    def run(self, events: int) -> None:
        """Faults for so many events, then rest and progress. Raises `WorldFailed`."""
        self.events_wanted = events
        interval, chain.CHECKPOINT_INTERVAL = chain.CHECKPOINT_INTERVAL, self.options.compare_every  # type: ignore[misc]
        try:
            self._run_with_faults(events)
            self._heal()
            Rest(self).demand()
            self.checks.verdict()
        except Exception as why:
            raise WorldFailed(self, why) from why
        finally:
            chain.CHECKPOINT_INTERVAL = interval  # type: ignore[misc]

    @property
    def again(self) -> str:
        """How a reader plays it again."""
        return f"python -m tests.sim replay {self.seed} --events {self.events_wanted}"

    def trace(self) -> str:
        """A digest of all that happened, of a world that keeps its whole story."""
        digest = blake2b(digest_size=16)
        for line in self.story.lines():
            digest.update(line.encode())
        digest.update(repr(sorted(self.watch.counts.items())).encode())
        digest.update(repr(self.plan.counts()).encode())
        return digest.hexdigest()

    def _run_with_faults(self, events: int) -> None:
        self._halt_at = events
        self.timeline.after(FAULTS_US, None, self.timeline.halt)
        before = 0
        while self.event_count < events and not self.timeline.play(STILL_HAPPENINGS):
            if self.event_count == before:
                raise Violation("the world goes on", f"nothing happens after event {self.event_count}")
            before = self.event_count
        self._halt_at = NEVER

    def _heal(self) -> None:
        """All links are whole, everything that can run runs."""
        self.tell("", "-- everything is healed")
        self.resting = True
        self.plan.heal()
        self.network.let_go()
        for client in self.clients:
            client.resting = True
            if client.paused:
                self.timeline.resume(client)
        for member in self.everybody():
            member.stalled = False
            for process in (member.peer, member.server):
                if process is not None and process.paused:
                    self.timeline.resume(process)
            if member.old is not None:
                member.end_peer("ends at last")
            if member not in self.zombies:
                member.start_peer()
                member.start_server()
        self.bury_zombies()

    # -- what its parts tell ------------------------------------------------------------------------------------------

    def tell(self, who: str, what: str) -> None:
        """For the story."""
        self.story.add((self.timeline.now_us, who, what))

    def after_event(self, process: PeerProcess, event: Event) -> None:
        """A peer has handled an event, and all that followed from it inside."""
        self.event_count += 1
        if self.event_count == self._halt_at:
            self.timeline.halt()
        self.story.add((self.timeline.now_us, process.name, event))
        self.checks.after_peer_event(process.member.member_id)
        state = process.engine.state
        if state.commit_index > process.commit_index:
            process.commit_index = state.commit_index
            self.watch.committed(state)
        if self.event_count >= self.nemesis.due_event:
            self.nemesis.look()

    def after_apply(self, member: Member) -> None:
        """An application has applied entries."""
        self.checks.after_event(member)

    def restored(self, member: Member) -> None:
        """An application goes on from a snapshot."""
        self.watch.count("application restored from a snapshot")
        self.checks.restored(member)

    def config_of(self, number: MemberId) -> RaftConfig:
        """The group's, but for when a snapshot is taken."""
        config = self.options.config
        return replace(config, snapshot_log_bytes=1 << 29) if number in self.options.hoarders else config

    def snapshot_step(self, step: Step, member: Member) -> None:
        """A snapshot is a step further at this member."""
        self.nemesis.ambushes.stepped(step, member)

    def loses_a_reference(self) -> bool:
        """Whether the bytes of a slice, which came through an object store, are not there any more."""
        probability = self.options.lost_reference
        return probability > 0 and not self.resting and self.dice.random() < probability

    # -- who is there -------------------------------------------------------------------------------------------------

    def everybody(self) -> list[Member]:
        """All machines, those too in whose place there is another one."""
        return [*self.members.values(), *self.zombies]

    def targets(self) -> list[Member]:
        """Those whom a fault may strike: all but the empty directories that wait to be invited."""
        return [member for member in self.everybody() if not member.idle]

    def whole_members(self) -> list[Member]:
        """Members of the newest committed configuration that have their disks."""
        listed = {line.directory_id for line in self.checks.newest_configuration.served()}
        return [member for member in self.members.values() if member.directory_id in listed and not member.damaged]

    def has_disks(self, configuration: Configuration, *, without: DirectoryId | None = None) -> bool:
        """Whether a majority of its voters are in their places, with their disks."""
        there = {member.directory_id for member in self.members.values() if not member.damaged} - {without}
        voters = configuration.voters()
        return sum(voter.directory_id in there for voter in voters) >= majority(len(voters))

    def may_lose_a_disk(self, member: Member) -> bool:
        """Whether every configuration that could come into force would still have a majority with their disks."""
        return member.directory_id is not None and all(
            self.has_disks(each, without=member.directory_id) for each in self.checks.possible_configurations()
        )

    def replace_machine(self, old: Member) -> Member:
        """Another machine, with an empty disk, comes in the place of this one, which is not told. The name leads to the
        new one; some have a handle of the old one still."""
        number = old.number
        self.tell(old.name, "has a successor")
        generation = sum(zombie.number == number for zombie in self.zombies) + 1
        member_id = MemberId(GENERATION * generation + number)
        disk = Disk(self._disks, member_id, self.dice)
        fresh = Member(self, member_id, disk, begins=self.options.strangers, number=number)
        self.members[number] = fresh
        self.zombies.append(old)
        for process in (*(member.peer for member in self.everybody()), *self.clients):
            if process is not None and process is not old.peer and self.dice.random() < HANDLES_KEPT:
                process.handles[number] = old
                self.timeline.after(self.dice.randint(0, DEATH_TOLD_US), None, process.handles.pop, number, None)
        old.is_given_up()
        fresh.start_peer()
        fresh.start_server()
        return fresh

    def bury_zombies(self) -> None:
        """In a healed world nobody takes part whom others cannot reach by its name. Who is not listed may live on."""
        listed = {line.directory_id for line in self.checks.newest_configuration.served()}
        for zombie in self.zombies:
            if zombie.directory_id in listed:
                zombie.bury()

    def callee(self, process: PeerProcess | ClientProcess, number: MemberId) -> Member:
        """Whom a call of this process to this place reaches."""
        kept = process.handles.get(number)
        if kept is not None and kept.peer is None:
            del process.handles[number]  # Ray says that it died; the name is looked up anew
            kept = None
        return kept or self.members[number]

    # -- what clients want --------------------------------------------------------------------------------------------

    def next_client_name(self) -> str:
        """Of one more client process."""
        self._client_count += 1
        return f"c{self._client_count}"

    def next_operation(self) -> int:
        """Number of one more operation."""
        self._operations += 1
        return self._operations

    def operation_invoked(self, client: ClientProcess, number: int, wanted: Wanted) -> None:
        """A user asks."""
        self.tell(client.name, f"{wanted.op} {wanted.key} {wanted.value or ''}begins ({number})")
        self.keys.asked(wanted.key, is_delete=wanted.op == "delete")
        if wanted.op != "stale":
            self.checks.clients.invoked(
                number,
                client=client.name,
                op=Op(wanted.op),
                key=wanted.key,
                at=self.timeline.now_us,
                value=UNSEEN if wanted.value is None else wanted.value,
                if_version=wanted.if_version,
                command=request_of(wanted) if wanted.value is not None else None,
            )

    def operation_ended(
        self,
        client: ClientProcess,
        number: int,
        wanted: Wanted,
        outcome: Outcome,
        result: Result | None = None,
        raw: bytes | None = None,
    ) -> None:
        """A user is told."""
        self.tell(client.name, f"{wanted.op} {wanted.key} ends ({number}): {outcome.value} {result!r:.80}")
        self.outcomes[number] = outcome
        self.watch.count(f"operations {outcome.value}")
        if isinstance(result, Mismatch):
            self.watch.count("conditional put refused")
        if wanted.op == "delete" and outcome is not Outcome.UNKNOWN:
            self.keys.delete_ended(wanted.key)
        if wanted.op != "stale":
            self.checks.clients.ended(
                number,
                at=self.timeline.now_us,
                outcome=outcome,
                result=result,
                raw=raw,
            )

    # -- delays -------------------------------------------------------------------------------------------------------

    def socket_us(self, *, work: bool = False) -> int:
        """From a peer to its application or back; `work`: and until it can be looked at."""
        least, most = self.options.socket_us
        delay_us = least + int(self.dice.random() * (most - least))
        if work:
            least, most = self.options.work_us
            delay_us += least + int(self.dice.random() * (most - least))
        return delay_us

    def dead_call_us(self) -> int:
        """Until the caller of a process that is gone learns so."""
        return self.dice.randint(*self.options.dead_call_ms) * 1000
