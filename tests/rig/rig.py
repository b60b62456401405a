"""A group of members pumped by hand in one thread: the product's own code without Ray, threads and time.

Here:   `Group`: one call makes one thing happen, and after every event all of checks.py must hold.
Never:  rules of its own. The clock is moved by hand, all dice are one `random.Random`, so a seed is a world.

What is not held happens at once: writes become durable, applications apply. Messages always wait: `deliver_all`, or
one by one `deliver`, `drop`, `duplicate`, chosen by `src`, `dst`, `method` ("append_entries", "request_vote", "hello",
"report_chains") and `part` ("request", "reply", "notice"). Members are numbered from 1, as in the paper's figures.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import product

from raft_actors.application.exchange import Epoch, ProposeAnswer
from raft_actors.application.frames import RawFrame, encode_batch
from raft_actors.application.requests import Answer, Attempt
from raft_actors.application.settings import ApplicationSettings, SessionLimits, encode_settings
from raft_actors.codec import Hello, cluster_id_of, decode_envelope, decode_hello, encode_hello
from raft_actors.config import RaftConfig
from raft_actors.core.effects import Append, HardState, Record
from raft_actors.core.entries import Configuration, Entry, Genesis
from raft_actors.core.entries import Member as Line
from raft_actors.core.events import HeartbeatDue, HelloReceived, RequestReceived
from raft_actors.core.state import State
from raft_actors.core.types import DirectoryId, LogIndex, MemberId, Role, Term
from raft_actors.peer.chains import CHAIN_REPORT
from raft_actors.peer.engine import Engine
from raft_actors.storage.image import LogImage
from raft_actors.storage.interface import Storage
from tests.rig.checks import Checks
from tests.rig.disks import GROUP, Disks, MemoryDisks
from tests.rig.member import ManualClock, Member, Read, reply_to
from tests.rig.network import Flight, Network, Part, place
from tests.storage.faulty_files import MachineStopped

STEP_MS = 10
TURNS_MAX = 20_000
"""Messages in one `deliver_all`; more means that the members never come to rest."""


class Group:
    """Members 1 to `size`, all but the `non_voters` voting, started on empty disks with the same genesis."""

    def __init__(
        self,
        size: int = 3,
        *,
        non_voters: Iterable[int] = (),
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
        self._durable: dict[DirectoryId, LogImage] = {}
        self._told: dict[MemberId, tuple[int, int]] = {}
        self._read_count = 0
        listed = {MemberId(number): number not in set(non_voters) for number in range(1, size + 1)}
        self.members = {number: Member(number, self.network, self.tell) for number in listed}
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

    # -- elections ----------------------------------------------------------------------------------------------------

    def timeout(self, number: int) -> None:
        """The election timer of this member fires: time moves to its deadline, and no other timer is looked at."""
        member = self._member(number)
        deadline = member.running().election_timer.deadline
        assert deadline is not None, f"member {number} leads, it has no election timer"
        self.clock.time_ms = max(self.clock.time_ms, deadline.at_ms)
        self._event(member, Engine.election_due)

    def elect(self, number: int) -> None:
        """This member's timer fires and it wins. Others have not heard a leader for long enough by then."""
        self.clock.time_ms += self.config.election_timeout_ms_max
        self.timeout(number)
        self.deliver_all()
        assert self.role(number) is Role.LEADER, self._failure(f"member {number} did not win")

    def beat(self, number: int) -> None:
        """The heartbeat of this member is due."""
        member = self._member(number)
        member.beaten_ms = self.clock.time_ms
        self._event(member, lambda engine: engine.handle(HeartbeatDue(now_ms=self.clock.time_ms)))

    # -- clients ------------------------------------------------------------------------------------------------------

    def propose(self, number: int, command: bytes) -> ProposeAnswer:
        """Ask this member to put a command into the log, without a session."""
        return self._propose(self._member(number), encode_batch([RawFrame(command=command)]))

    def submit(self, number: int, *attempts: Attempt) -> list[int]:
        """Attempts of clients at this member's application, as one batch; their tickets for `answer`."""
        member = self._member(number)
        tickets = [member.submit(attempt) for attempt in attempts]
        assert member.application is not None
        while (proposal := member.application.host.next_proposal()) is not None:
            member.proposed((proposal.proposal_id, self._propose(member, proposal.data)))
        member.application.take_answers()
        return tickets

    def answer(self, number: int, ticket: int) -> Answer | None:
        """What the attempt got, or None so far."""
        application = self._member(number).application
        assert application is not None
        return application.answers.get(ticket)

    def read(self, number: int) -> Read:
        """Verify authority at this member (dissertation §6.4)."""
        member = self._member(number)
        self._read_count += 1
        member.reads[self._read_count] = read = Read(must_see=len(self.checks.committed))
        self._event(member, lambda engine: engine.read(self._read_count))
        return read

    def _propose(self, member: Member, data: bytes) -> ProposeAnswer:
        proposal_id = member.next_proposal_id()
        self._event(member, lambda engine: engine.propose(proposal_id, data))
        return member.proposal_answer(proposal_id)

    # -- network ------------------------------------------------------------------------------------------------------

    def deliver(
        self, *, src: int | None = None, dst: int | None = None, method: str | None = None, part: str | None = None
    ) -> None:
        """The oldest message that matches arrives; there must be one."""
        for flight in self.network.select(src=src, dst=dst, method=method, part=part):
            self._arrive(flight)
            return
        raise AssertionError(self._failure(f"no message src={src} dst={dst} method={method} part={part}"))

    def deliver_all(
        self, *, src: int | None = None, dst: int | None = None, method: str | None = None, part: str | None = None
    ) -> None:
        """Messages that match arrive, oldest first, and those that follow from them, until none is left."""
        for _ in range(TURNS_MAX):
            flight = next(self.network.select(src=src, dst=dst, method=method, part=part), None)
            if flight is None:
                return
            self._arrive(flight)
        raise AssertionError(self._failure("the members do not come to rest"))

    def drop(
        self, *, src: int | None = None, dst: int | None = None, method: str | None = None, part: str | None = None
    ) -> None:
        """Messages under way that match are lost, those on cut links too."""
        for flight in list(self.network.select(src=src, dst=dst, method=method, part=part, over_cuts=True)):
            self.tell(f"lost: {flight}")
            self.network.take(flight)

    def duplicate(
        self, *, src: int | None = None, dst: int | None = None, method: str | None = None, part: str | None = None
    ) -> None:
        """Messages under way that match will arrive once more, last of all."""
        for flight in list(self.network.select(src=src, dst=dst, method=method, part=part, over_cuts=True)):
            self.network.copy(flight)

    def reverse(self) -> None:
        """Messages under way change their order."""
        self.network.flights.reverse()

    def under_way(
        self, *, src: int | None = None, dst: int | None = None, method: str | None = None, part: str | None = None
    ) -> int:
        """How many messages match, on cut links too."""
        return len(list(self.network.select(src=src, dst=dst, method=method, part=part, over_cuts=True)))

    def cut(self, src: int, dst: int) -> None:
        """What src sends to dst waits until `heal`."""
        self.network.cut(MemberId(src), MemberId(dst))

    def partition(self, *sides: Iterable[int]) -> None:
        """Cut all links between members of different sides."""
        named = [list(side) for side in sides]
        for position, side in enumerate(named):
            for other in named[:position] + named[position + 1 :]:
                for src, dst in product(side, other):
                    self.cut(src, dst)

    def isolate(self, number: int) -> None:
        """Cut this member off from all others."""
        self.partition([number], [other for other in self.members if other != number])

    def heal(self) -> None:
        """All links work. What waited on them arrives late, as Ray delivers a call that was made in a partition."""
        self.network.heal()

    def _arrive(self, flight: Flight) -> None:
        self.network.take(flight)
        self.tell(str(flight))
        member = self._member(flight.dst)
        if flight.part is Part.REPLY:
            if member.engine is not None and flight.caller_start == member.start:
                reply = None if flight.data is None else decode_envelope(flight.data)
                self._event(member, lambda engine: engine.call_ended(flight.rpc_id, flight.src, reply))
        elif member.engine is None:
            if flight.part is Part.REQUEST:
                self.network.send(reply_to(flight, None))
        else:
            assert flight.data is not None
            self._event(member, self._arrival(member, flight, flight.data))

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
        request = RequestReceived(now_ms=now_ms, request_id=member.next_request(flight), envelope=decode_envelope(data))
        return lambda engine: engine.handle(request)

    # -- disks --------------------------------------------------------------------------------------------------------

    def hold_disk(self, number: int) -> None:
        """Writes of this member wait for `sync`."""
        self._member(number).disk_held = True

    def sync(self, number: int, count: int | None = None) -> None:
        """The oldest writes that wait, all unless said otherwise, become durable as one group."""
        assert self._member(number).waiting.writes, self._failure(f"member {number} writes nothing")
        self._sync(self._member(number), count)

    def mark(self, number: int) -> None:
        """This member is idle for long enough to mark its last write as synced."""
        storage = self._member(number).storage
        assert storage is not None, f"member {number} is down"
        storage.mark_synced()

    def release_disk(self, number: int) -> None:
        """Writes are durable at once again, those that wait too."""
        self._member(number).disk_held = False
        self._work()

    def _sync(self, member: Member, count: int | None = None) -> None:
        try:
            told = member.sync(count)
        except MachineStopped:
            self.crash(member.member_id)
        else:
            self._event(member, told)

    # -- processes ----------------------------------------------------------------------------------------------------

    def crash(self, number: int) -> None:
        """SIGKILL of the peer: what was not written is lost. Its application lives on, detached."""
        self._end(number, "crashes")
        self.disks.kill(MemberId(number))

    def power_cut(self, number: int) -> None:
        """The whole machine: what was not synced is lost, and the application with it."""
        self._end(number, "loses power")
        self.disks.power_cut(MemberId(number))
        self._member(number).application = None

    def wipe(self, number: int) -> None:
        """The machine and its disk are gone; `restart` gives it an empty one and the genesis, as `join` does."""
        self._end(number, "is wiped")
        self.disks.wipe(MemberId(number))
        member = self._member(number)
        member.application, member.durable = None, LogImage()

    def restart(self, number: int) -> None:
        """A new process on the disk. It says hello to all others, and its application attaches."""
        member = self._member(number)
        assert member.engine is None, f"member {number} runs"
        member.disk_held = member.application_held = False
        self._begin(member, self.disks.open(MemberId(number)))

    def put_on_disk(self, number: int, *entries: Entry, term: int | None = None) -> None:
        """Write entries, and a term, behind the log of a member that is down: a past that need not be played."""
        member = self._member(number)
        assert member.engine is None, f"member {number} runs"
        storage = self.disks.open(member.member_id)
        storage.write_genesis(self.genesis)
        term = entries[-1].term if term is None else term
        records: list[Record] = [HardState(term=Term(term), voted_for=None)]
        if entries:
            records.append(Append(entries=entries))
        storage.write(records)
        for record in records:
            member.durable.apply(record)
        self.disks.kill(member.member_id)

    def crash_application(self, number: int) -> None:
        """Its state is gone; calls to it fail."""
        member = self._member(number)
        member.application = None
        member.held_proposal_answers = []
        member.application_held = False
        self._work()

    def start_application(self, number: int) -> None:
        """The application attaches to its peer, from where it stands."""
        member = self._member(number)
        self._event(member, member.attach(Epoch(self.dice.randbytes(16)), self.genesis.settings))

    def hold_proposal_answers(self, number: int) -> None:
        """The peer's answers to its application's proposals wait, while entries do not (they may overtake)."""
        self._member(number).proposal_answers_held = True

    def release_proposal_answers(self, number: int) -> None:
        """They arrive."""
        self._member(number).release_proposal_answers()

    def reverse_application_calls(self, number: int) -> None:
        """The calls that wait at a held application change their order."""
        self._member(number).waiting.application_calls.reverse()

    def hold_application(self, number: int) -> None:
        """Calls to the application wait."""
        self._member(number).application_held = True

    def release_application(self, number: int) -> None:
        """It works again."""
        self._member(number).application_held = False
        self._work()

    def _begin(self, member: Member, storage: Storage) -> None:
        member.begin(storage, self.genesis, self.config, self.clock, self.dice)
        engine = member.running()
        self._durable[engine.state.directory_id] = member.durable
        self.tell(f"{member.member_id} starts, term={engine.state.current_term} last={place(engine.state.log.last)}")
        self.start_application(member.member_id)
        hello = Hello(cluster_id=self.genesis.cluster_id, sender=member.member_id, incarnation=engine.state.incarnation)
        if engine.state.incarnation.start_count > 1:
            for other in self.members:
                if other != member.member_id:
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
        if member.engine is not None:
            self._event(member, Engine.tick)

    # -- looking ------------------------------------------------------------------------------------------------------

    def state(self, number: int) -> State:
        """The core state of a member that runs."""
        return self._member(number).running().state

    def role(self, number: int) -> Role:
        """Its role."""
        return self.state(number).role

    def log(self, number: int) -> str:
        """Its log as the paper draws it: the terms."""
        state = self.state(number)
        return " ".join(str(state.log.term_at(LogIndex(index))) for index in range(1, state.log.last.index + 1))

    def commit(self, number: int) -> int:
        """Its commit index."""
        return self.state(number).commit_index

    def applied(self, number: int) -> list[bytes]:
        """The commands that its application has applied."""
        application = self._member(number).application
        return [] if application is None else list(application.journal.commands)

    def failure(self, number: int) -> str | None:
        """Why this member stopped itself."""
        return self._member(number).failure

    def leader(self) -> int | None:
        """Who leads in the highest term, among those that run."""
        leading = [
            (self.state(number).current_term, number)
            for number, member in self.members.items()
            if member.engine is not None and self.role(number) is Role.LEADER
        ]
        return max(leading)[1] if leading else None

    # -- inside -------------------------------------------------------------------------------------------------------

    def tell(self, line: str) -> None:
        """One line of what happened."""
        self.story.append(line)

    def _member(self, number: int) -> Member:
        return self.members[MemberId(number)]

    def _event(self, member: Member, act: Callable[[Engine], None]) -> None:
        """One event at one member, the check of all members, and then what is not held."""
        try:
            act(member.running())
            self._note_progress()
            self._check()
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
            while member.engine is not None and member.waiting.application_calls and not member.application_held:
                answer = member.application_work()
                if answer is not None:
                    self._event(member, lambda engine, answer=answer: engine.applied(*answer))  # type: ignore[misc]

    def _check(self) -> None:
        self.checks.after_event(
            [member.engine.state for member in self.members.values() if member.engine is not None],
            {number: member.application.host for number, member in self.members.items() if member.application},
            self._durable,
        )

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
