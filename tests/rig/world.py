"""The pump of a group: members, their clock and network, one event at a time, and the checks after each.

Here:   `World`: starts and ends of processes, arrivals, timers, what happens at once when it is not held.
Never:  the words of a story (rig.py), what must be true (tests/sim/checks), rules of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from raft_actors.application.exchange import Epoch
from raft_actors.application.settings import ApplicationSettings, SessionLimits, encode_settings
from raft_actors.codec import cluster_id_of
from raft_actors.config import RaftConfig
from raft_actors.core.entries import Configuration, Genesis
from raft_actors.core.entries import Member as Line
from raft_actors.core.events import HeartbeatDue, HelloReceived, RequestReceived
from raft_actors.core.state import State
from raft_actors.core.types import MemberId, Role
from raft_actors.envelopes import Hello, decode_envelope, decode_hello, decode_join, encode_hello
from raft_actors.errors import StorageFailed
from raft_actors.peer.chains import CHAIN_REPORT
from raft_actors.peer.engine import Engine
from raft_actors.storage.interface import Storage
from tests.rig.disks import GROUP, Disks, MemoryDisks
from tests.rig.member import Member, reply_to
from tests.rig.network import Flight, Network, Part, place
from tests.rig.waiting import ManualClock
from tests.sim.checks import Checks
from tests.storage.faulty_files import MachineStopped

STEP_MS = 10
TURNS_MAX = 20_000
"""Messages in one `deliver_all`; more means that the members never come to rest."""


class World:
    """Members 1 to `size`, all but the `non_voters` voting, started on empty disks with the same genesis.

    Behind them come `spare` places, where nobody is until `empty` puts a directory there.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        non_voters: Iterable[int] = (),
        spare: int = 0,
        seed: int = 1,
        disks: Disks | None = None,
        config: RaftConfig | None = None,
        sessions: SessionLimits | None = None,
    ) -> None:
        self.config = config or RaftConfig()
        self.disks: Disks = disks or MemoryDisks()
        self.dice = random.Random(seed)
        self.clock = ManualClock()
        self.network = Network()
        self.checks = Checks()
        self.story: list[str] = [f"seed {seed}"]
        self._told: dict[MemberId, tuple[int, int]] = {}
        self._read_count = self._save_count = 0
        self._transfer_count = 0
        listed = {MemberId(number): number not in set(non_voters) for number in range(1, size + 1)}
        places = map(MemberId, range(1, size + spare + 1))
        self.members = {number: Member(number, self.network, self.tell, self.checks) for number in places}
        storages = {number: self.disks.open(number) for number in listed}
        lines = tuple(
            Line(member_id=number, directory_id=storages[number].recovered.incarnation.directory_id, voter=voter)
            for number, voter in listed.items()
        )
        settings = encode_settings(ApplicationSettings(sessions=sessions or SessionLimits(), machine=b""))
        self.genesis = Genesis(
            cluster_id=cluster_id_of(GROUP, lines, settings),
            group=GROUP,
            configuration=Configuration(members=lines),
            settings=settings,
        )
        for number, storage in storages.items():
            self._begin(self.members[number], storage)

    # -- inside -------------------------------------------------------------------------------------------------------

    def tell(self, line: str) -> None:
        """One line of what happened."""
        self.story.append(line)

    def _member(self, number: int) -> Member:
        return self.members[MemberId(number)]

    def _event(self, member: Member, act: Callable[[Engine], None]) -> None:
        """One event at one member, the checks of what it changed, and then what is not held."""
        try:
            act(member.running())
            self._note_progress()
            self.checks.after_event(member)
        except AssertionError as broken:
            raise AssertionError(self._failure(str(broken))) from broken
        if member.failure is not None and member.engine is not None:
            failure = member.failure
            self.crash(member.member_id)
            member.failure = failure
        self._work()

    def _work(self) -> None:
        for member in self.members.values():
            while member.engine is not None and member.waiting.writes and not member.disk_held:
                self._sync(member)
            while member.engine is not None and member.waiting.files and not member.disk_held:
                self._event(member, member.do_filing())
            while member.engine is not None and member.waiting.application_calls and not member.application_held:
                told = member.application_work()
                if told is not None:
                    self._event(member, told)
            if member.engine is not None and member.reattaches and not member.application_held:
                self.start_application(member.member_id)

    def _note_progress(self) -> None:
        for number, member in self.members.items():
            if member.engine is not None:
                now = (member.engine.state.commit_index, member.applied_index())
                commit, applied = self._told.get(number, (0, 0))
                if now[0] > commit:
                    self.tell(f"{number} commits {now[0]}")
                if now[1] > applied:
                    self.tell(f"{number} has applied {now[1]}")
                self._told[number] = now

    def _failure(self, what: str) -> str:
        return what + "\n\nlast events:\n" + "\n".join(self.story[-40:])

    def state(self, number: int) -> State:
        """The core state of a member that runs."""
        return self._member(number).running().state

    def role(self, number: int) -> Role:
        """Its role."""
        return self.state(number).role

    # -- processes -----------------------------------------------------------------------------------------------------

    def _begin(self, member: Member, storage: Storage) -> None:
        member.begin(storage, self.genesis, self.config, self.clock, self.dice)
        engine = member.running()
        self.tell(f"{member.member_id} starts, term={engine.state.current_term} last={place(engine.state.log.last)}")
        self.start_application(member.member_id)
        hello = Hello(cluster_id=self.genesis.cluster_id, sender=member.member_id, incarnation=engine.state.incarnation)
        if engine.state.incarnation.start_count > 1:
            for other, there in self.members.items():
                if other != member.member_id and there.directory_id is not None:
                    self.network.send(
                        Flight(
                            src=member.member_id,
                            dst=other,
                            method="hello",
                            part=Part.NOTICE,
                            data=encode_hello(hello),
                        )
                    )

    def _end(self, number: int, how: str) -> None:
        member = self._member(number)
        self.tell(f"{number} {how}")
        for request in member.end():
            self.network.send(reply_to(request, None))
        self._told[member.member_id] = (0, member.applied_index())

    def crash(self, number: int) -> None:
        """SIGKILL of the peer: what was not written is lost. Its application lives on, detached."""
        self._end(number, "crashes")
        self.disks.kill(MemberId(number))

    def start_application(self, number: int) -> None:
        """The application attaches to its peer, from where it stands."""
        member = self._member(number)
        self._event(member, member.attach(Epoch(self.dice.randbytes(16)), self.genesis.settings))

    # -- network ------------------------------------------------------------------------------------------------------

    def deliver_all(
        self, *, src: int | None = None, dst: int | None = None, method: str | None = None, part: str | None = None
    ) -> None:
        """Messages that match arrive, oldest first, and those that follow from them, until none is left.

        Members then look once at what nothing else makes them look at, as they do every few tens of milliseconds.
        """
        ticked = False
        for _ in range(TURNS_MAX):
            flight = next(self.network.select(src=src, dst=dst, method=method, part=part), None)
            if flight is not None:
                self._arrive(flight)
            elif ticked:
                return
            else:
                self._tick()
            ticked = flight is None
        raise AssertionError(self._failure("the members do not come to rest"))

    def _tick(self) -> None:
        for member in self.members.values():
            if member.engine is not None:
                self._event(member, Engine.tick)

    def tell_of(self, flight: Flight, what: str = "") -> None:
        """A message arrives, or is lost; an invitation is news only where somebody waits for one."""
        if flight.method != "join" or (flight.part is Part.REQUEST and self._member(flight.dst).empty is not None):
            self.tell(f"{what}{flight}")

    def _arrive(self, flight: Flight) -> None:
        self.network.take(flight)
        self.tell_of(flight)
        member = self._member(flight.dst)
        if flight.part is Part.REPLY:
            if member.engine is None or flight.caller_start != member.start:
                return
            if flight.method == "read_snapshot":
                self._event(member, member.snapshots.fetched(flight.rpc_id, flight.data))
            elif flight.method == "join":
                member.engine.invitations.ended(flight.src)
            else:
                reply = None if flight.data is None else decode_envelope(flight.data)
                self.checks.call_ended(member, flight.rpc_id)
                self._event(member, lambda engine: engine.call_ended(flight.rpc_id, flight.src, reply))
        elif flight.method == "join":
            self._invited(member, flight)
        elif member.engine is None:
            if flight.part is Part.REQUEST:
                self.network.send(reply_to(flight, None))
        else:
            assert flight.data is not None
            if flight.method == "read_snapshot":
                self.network.send(reply_to(flight, member.snapshots.read(flight.data)))
                return
            self._event(member, self._arrival(member, flight, flight.data))

    def _invited(self, member: Member, flight: Flight) -> None:
        """Taken by the very directory that it is for, while that is empty, as `Peer.join` does; no news otherwise."""
        assert flight.data is not None
        join, storage = decode_join(flight.data), member.empty
        runs = member.engine is not None or storage is not None
        self.network.send(reply_to(flight, b"" if runs else None))
        if storage is not None and join.directory_id == member.directory_id and join.genesis.group == GROUP:
            member.empty = None
            self._begin(member, storage)

    def _arrival(self, member: Member, flight: Flight, data: bytes) -> Callable[[Engine], None]:
        now_ms = self.clock.time_ms
        if flight.method == "hello":
            hello = decode_hello(data)
            event = HelloReceived(
                now_ms=now_ms, cluster_id=hello.cluster_id, sender=hello.sender, incarnation=hello.incarnation
            )
            return lambda engine: engine.handle(event)
        if flight.method == "report_chains":
            return lambda engine: engine.chains_reported(CHAIN_REPORT.decode(data))
        envelope = decode_envelope(data)
        request_id = member.next_request(flight, envelope)
        request = RequestReceived(now_ms=now_ms, request_id=request_id, envelope=envelope)
        return lambda engine: engine.handle(request)

    def _sync(self, member: Member, count: int | None = None) -> None:
        try:
            told = member.sync(count)
        except MachineStopped:
            self.crash(member.member_id)
        except StorageFailed as failure:
            self.tell(f"{member.member_id} stops itself: {failure.message}")
            self.crash(member.member_id)
        else:
            for tell in told:
                if member.engine is not None:
                    self._event(member, tell)

    def beat(self, number: int) -> None:
        """The heartbeat of this member is due."""
        member = self._member(number)
        member.beaten_ms = self.clock.time_ms
        self._event(member, lambda engine: engine.handle(HeartbeatDue(now_ms=self.clock.time_ms)))

    # -- time ---------------------------------------------------------------------------------------------------------

    def pass_time(self, ms: int) -> None:
        """Time passes: timers fire, leaders beat, deadlines are noticed, messages arrive."""
        self.run_until(lambda: False, limit_ms=ms, must=False)

    def run_until(self, reached: Callable[[], bool], *, limit_ms: int = 20_000, must: bool = True) -> None:
        """Let time pass until `reached`; that it is within `limit_ms` is what a caller demands."""
        end_ms = self.clock.time_ms + limit_ms
        while not reached():
            if self.clock.time_ms >= end_ms:
                assert not must, self._failure(f"not reached within {limit_ms} ms")
                return
            self.clock.time_ms += STEP_MS
            for member in self.members.values():
                if member.engine is not None:
                    self._timers(member)
            self.deliver_all()

    def _timers(self, member: Member) -> None:
        deadline = member.running().election_timer.deadline
        if deadline is not None and deadline.at_ms <= self.clock.time_ms:
            self._event(member, Engine.election_due)
        due_ms = member.beaten_ms + self.config.heartbeat_interval_ms
        if member.engine is not None and self.role(member.member_id) is Role.LEADER and due_ms <= self.clock.time_ms:
            self.beat(member.member_id)
