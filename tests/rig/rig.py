"""A group of members pumped by hand in one thread: the product's own code without Ray, threads and time.

Here:   `Group`: one call makes one thing happen, and after every event all of tests/sim/checks must hold.
Never:  rules of its own. The clock is moved by hand, all dice are one `random.Random`, so a seed is a world.

What is not held happens at once: writes become durable, applications apply. Messages always wait: `deliver_all`, or
one by one `deliver`, `drop`, `duplicate`, chosen by `src`, `dst`, `method` ("append_entries", "request_vote", "hello",
"report_chains") and `part` ("request", "reply", "notice"). Members are numbered from 1, as in the paper's figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from raft_actors.application.exchange import ProposeAnswer
from raft_actors.application.frames import RawFrame, encode_batch
from raft_actors.application.requests import Answer, Attempt
from raft_actors.core.effects import Append, ChangeRefused, ChangeStarted, HardState, Record
from raft_actors.core.entries import Entry
from raft_actors.core.events import Change, ChangeRequested, TransferRequested
from raft_actors.core.types import LogIndex, MemberId, Role, Term
from raft_actors.peer.engine import Engine
from raft_actors.peer.snapshots import SaveAnswer
from tests.rig.member import Member
from tests.rig.network import place
from tests.rig.waiting import Read
from tests.rig.world import World


class Group(World):
    """The words of a story; `deliver_all`, `beat`, `crash` and `run_until` are in `World`."""

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
        member.reads[self._read_count] = read = Read(must_see=self.checks.committed_count)
        self._event(member, lambda engine: engine.read(self._read_count))
        return read

    def _propose(self, member: Member, data: bytes) -> ProposeAnswer:
        proposal_id = member.next_proposal_id()
        self._event(member, lambda engine: engine.propose(proposal_id, data))
        return member.proposal_answer(proposal_id)

    # -- administration -----------------------------------------------------------------------------------------------

    def change(self, number: int, wanted: Change, made_for: int | None = None) -> ChangeStarted | ChangeRefused:
        """Ask this member for a change of what is in force there, or was at an index of its log."""
        member = self._member(number)
        if made_for is None:
            made_for = member.running().state.configurations.in_force_index
        event = ChangeRequested(
            now_ms=self.clock.time_ms, change_id=len(member.change_answers), made_for=LogIndex(made_for), change=wanted
        )
        self._event(member, lambda engine: engine.handle(event))
        return member.change_answers[event.change_id]

    def transfer(self, number: int, to: int | None) -> int:
        """Ask this member to hand leadership over; a number for its `transfer_answers`."""
        member = self._member(number)
        self._transfer_count += 1
        event = TransferRequested(
            now_ms=self.clock.time_ms,
            transfer_id=self._transfer_count,
            to=None if to is None else self._member(to).directory_id,
        )
        self._event(member, lambda engine: engine.handle(event))
        return event.transfer_id

    # -- network ------------------------------------------------------------------------------------------------------

    def deliver(
        self, *, src: int | None = None, dst: int | None = None, method: str | None = None, part: str | None = None
    ) -> None:
        """The oldest message that matches arrives; there must be one."""
        for flight in self.network.select(src=src, dst=dst, method=method, part=part):
            self._arrive(flight)
            return
        raise AssertionError(self._failure(f"no message src={src} dst={dst} method={method} part={part}"))

    def drop(
        self, *, src: int | None = None, dst: int | None = None, method: str | None = None, part: str | None = None
    ) -> None:
        """Messages under way that match are lost, those on cut links too."""
        for flight in list(self.network.select(src=src, dst=dst, method=method, part=part, over_cuts=True)):
            self.tell_of(flight, "lost: ")
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

    # -- processes ----------------------------------------------------------------------------------------------------

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
        self.checks.wiped(member)
        member.application = None

    def restart(self, number: int) -> None:
        """A new process on the disk. It says hello to all others, and its application attaches."""
        member = self._member(number)
        assert member.engine is None, f"member {number} runs"
        member.disk_held = member.application_held = False
        self._begin(member, self.disks.open(MemberId(number)))

    def empty(self, number: int) -> None:
        """A process starts on an empty directory of this place: new, or wiped before. It waits to be invited."""
        member = self._member(number)
        assert member.engine is None, f"member {number} runs"
        assert member.empty is None, f"member {number} waits already"
        member.disk_held = member.application_held = False
        member.wait(self.disks.open(MemberId(number)))
        self.tell(f"{number} is empty")

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
        directory_id = storage.recovered.incarnation.directory_id
        image = self.checks.image_of(directory_id)
        for record in records:
            image.apply(record)
        self.checks.put_on_disk(directory_id, image)
        self.disks.kill(member.member_id)

    def crash_application(self, number: int) -> None:
        """Its state is gone; calls to it fail."""
        member = self._member(number)
        member.application = None
        member.held_proposal_answers = []
        member.application_held = False
        self._work()

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

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def save(self, number: int) -> SaveAnswer | None:
        """Somebody asks this member for a snapshot. What he is told, None: nothing so far, for something is held."""
        member = self._member(number)
        self._save_count += 1
        save = self._save_count
        self._event(member, lambda engine: engine.save_snapshot(save))
        self._event(member, Engine.tick)
        return member.save_answers.get(save)

    def hold_restore(self, number: int) -> None:
        """An application that goes on from a snapshot does not attach again until `release_restore`."""
        self._member(number).restore_held = True

    def release_restore(self, number: int) -> None:
        """It attaches."""
        self._member(number).restore_held = False
        self.start_application(number)

    def snapshots(self, number: int) -> str:
        """Where the log of this member begins, and its newest snapshot."""
        state = self.state(number)
        return f"base={place(state.log.base)} snapshot={place(state.snapshot.last) if state.snapshot else '-'}"

    # -- looking ------------------------------------------------------------------------------------------------------

    def log(self, number: int) -> str:
        """Its log as the paper draws it: the terms, from its base on."""
        state = self.state(number)
        first = state.log.base.index + 1
        return " ".join(str(state.log.term_at(LogIndex(index))) for index in range(first, state.log.last.index + 1))

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
