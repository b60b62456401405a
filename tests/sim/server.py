"""One start of an application actor: what raft_actors/application/actor.py does on its event loop, in simulated time.

Here:   `ServerProcess`: attaching, slices of its state, batches of clients and of the peer, deadlines, around the
        product's host.
Never:  what is applied, who waits, what happens once (raft_actors/application/host.py and its parts).

The actor itself is asyncio and Ray, so its few decisions are said here again: when it attaches, which state goes on,
which reads share a question to the peer. How it goes on from a snapshot stands in restoring.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from raft_actors.application import exchange
from raft_actors.application.exchange import Attached, ClusterId, Epoch, Restore
from raft_actors.application.host import ApplicationHost, ApplicationStopped
from raft_actors.application.limits import Ticket
from raft_actors.application.requests import (
    ANSWERS,
    QUERY,
    QUERY_ANSWERS,
    SUBMIT,
    Done,
    Unknown,
)
from raft_actors.application.settings import decode_settings
from raft_actors.core.types import LogIndex
from raft_actors.peer.feed import ApplyCall
from tests.rig.application import SliceGiver
from tests.sim.batches import Batch, Reply
from tests.sim.link import Link
from tests.sim.machine import WatchedMachine
from tests.sim.restoring import Restoring
from tests.sim.timeline import Process

if TYPE_CHECKING:
    from tests.sim.member import Member

ATTACH_RETRY_US: Final = (50_000, 1_000_000)
PEER_TIMEOUT_US: Final = 2_000_000
EXPIRE_MS: Final = 50
NO_STATE: Final = Unknown(why="this member has no state yet")


class ServerProcess(Process):
    """From its start to its end."""

    def __init__(self, member: Member) -> None:
        super().__init__(f"s{member.member_id}")
        self.member = member
        self.host: ApplicationHost | None = None
        self.machine: WatchedMachine | None = None
        self.batches: dict[Batch, None] = {}
        """Calls of clients that are not answered."""
        self._world = member.world
        self._timeline = member.world.timeline
        self._cluster_id: ClusterId | None = None
        self._link: Link | None = None
        self._epoch: Epoch | None = None
        self._answered = False
        """The peer answered to this epoch's attach."""
        self.slices = SliceGiver()
        self.restoring = Restoring(self)
        self._retry_us = ATTACH_RETRY_US[0]
        self._tickets = 0
        self._waiting: dict[Ticket, tuple[Batch, int]] = {}
        self._numbers = 0
        self._proposals: dict[int, tuple[ApplicationHost, int]] = {}
        self._reads_under_way: list[Callable[[exchange.ReadAnswer | None], object]] | None = None
        self._read_number = 0
        self._reads_next: list[Callable[[exchange.ReadAnswer | None], object]] = []
        self._expiring = False
        self._connect()

    # -- life ---------------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        peer = self.member.peer
        if peer is None:
            self._later()
            return
        self._link = link = Link(self._world, peer, self)
        peer.links.append(link)
        self._attach(link)

    def _attach(self, link: Link) -> None:
        self._epoch = Epoch(self._world.dice.randbytes(16))
        self._answered = False
        self.slices = SliceGiver()  # jobs are numbered anew by each process of the peer
        host = self.host
        request = exchange.Attach(
            epoch=self._epoch,
            cluster_id=self._cluster_id,
            applied_index=host.applied_index if host is not None else LogIndex(0),
            checkpoints=host.checkpoints() if host is not None else (),
            provenance=host.provenance if host is not None else None,
        )
        link.to_peer(link.peer.application_attaches, link, request)
        self._timeline.after(PEER_TIMEOUT_US, self, self._attach_is_late, link, self._epoch)

    def _attach_is_late(self, link: Link, epoch: Epoch) -> None:
        if link is self._link and epoch is self._epoch and not self._answered:
            link.close()

    def _later(self) -> None:
        self._timeline.after(self._retry_us, self, self._connect)
        self._retry_us = min(2 * self._retry_us, ATTACH_RETRY_US[1])

    def link_ended(self, link: Link) -> None:
        """The peer's process ended, or one side closed."""
        if link is not self._link:
            return
        self._link = None
        self.restoring.stop()
        if self.host is not None and self.host.stopped is None and self.host.epoch is not None:
            self.host.detach()
            self._deliver()
        proposals, self._proposals = self._proposals, {}
        for host, proposal_id in proposals.values():
            self._proposal_ended(host, proposal_id, None)
        self._read_index_known(None)
        self._later()

    def end(self) -> None:
        """The process is gone: its callers learn so, and its peer."""
        batches, self.batches = self.batches, {}
        for batch in batches:
            batch.fail()
        for act, arguments in self.backlog:
            if getattr(act, "__func__", None) in (ServerProcess.submit, ServerProcess.query):
                arguments[-1]()
        if self._link is not None:
            self._link.close()

    # -- the peer -----------------------------------------------------------------------------------------------------

    @property
    def link(self) -> Link | None:
        """To the peer."""
        return self._link

    def peer_attached(self, link: Link, answer: Attached | Restore) -> None:
        """Take up the new epoch at once: entries may stand right behind this answer. Or go on from a snapshot."""
        if link is not self._link:
            return
        self._answered = True
        self._cluster_id = answer.cluster_id
        if isinstance(answer, Restore):
            self._drop_host()
            self.restoring.begin(link, answer)
            return
        assert self._epoch is not None, "attached without having asked"
        if self.host is None or answer.first_index != self.host.applied_index + 1:
            self._drop_host()
            self.machine, self.host = self.fresh_host(answer.settings)
        self.host.attach(self._epoch)
        self._retry_us = ATTACH_RETRY_US[0]
        self._deliver()

    def _drop_host(self) -> None:
        if self.host is not None:
            self.host.detach()
            self._deliver()
        self.machine = self.host = None

    def fresh_host(self, settings: bytes) -> tuple[WatchedMachine, ApplicationHost]:
        """Without state."""
        decoded = decode_settings(settings)
        machine = WatchedMachine(decoded.machine, self.member)
        return machine, ApplicationHost(machine, decoded.sessions, self._world.options.host)

    def restored(self, link: Link, machine: WatchedMachine, host: ApplicationHost) -> None:
        """Go on from a snapshot: attach again, with its state."""
        self.machine, self.host = machine, host
        self._world.restored(self.member)
        self._attach(link)

    def peer_asks_slice(self, link: Link, asked: exchange.AskSlice) -> None:
        """The peer takes a snapshot of our state."""
        if link is not self._link or self.host is None:
            return
        given = self.slices.give(self.host, asked)
        link.to_peer(link.peer.transfers.given, link, asked, given)

    def peer_applies(self, link: Link, call: ApplyCall) -> None:
        """Committed entries, from the peer beside us."""
        if link is not self._link:
            return
        request, codec, host = call.request, self._world.options.codec, self.host
        if codec:
            request = exchange.APPLY.decode(exchange.APPLY.encode(request))
        answer: exchange.ApplyAnswer = exchange.WrongEpoch()
        if host is not None:
            try:
                answer = host.apply(request)
            except ApplicationStopped:
                assert host.stopped is not None, "stopped without saying why"
                answer = host.stopped
            self._deliver()
            self._world.after_apply(self.member)
        if codec:
            answer = exchange.APPLY_ANSWER.decode(exchange.APPLY_ANSWER.encode(answer))
        link.to_peer(link.peer.application_applied, link, call.call_id, answer)
        if isinstance(answer, exchange.WrongEpoch):
            link.close()

    def peer_lost_term(self, news: exchange.TermLost) -> None:
        """The peer beside us no longer leads."""
        if self.host is not None:
            self.host.term_lost(news)
            self._deliver()

    def proposal_answered(self, link: Link, number: int, answer: exchange.ProposeAnswer | None) -> None:
        """The peer's answer to a proposal."""
        if link is self._link and number in self._proposals:
            host, proposal_id = self._proposals.pop(number)
            self._proposal_ended(host, proposal_id, answer)

    def _proposal_ended(self, host: ApplicationHost, proposal_id: int, answer: exchange.ProposeAnswer | None) -> None:
        host.proposal_answered(proposal_id, answer)
        self._pump_proposals()
        self._deliver()

    def _pump_proposals(self) -> None:
        host, link = self.host, self._link
        while host is not None and link is not None and (proposal := host.next_proposal()) is not None:
            self._numbers += 1
            self._proposals[self._numbers] = (host, proposal.proposal_id)
            link.to_peer(link.peer.application_proposes, link, self._numbers, proposal.data)

    # -- clients ------------------------------------------------------------------------------------------------------

    def submit(self, data: bytes, reply: Reply, fail: Callable[[], object]) -> None:
        """A batch of commands; answered when each of them has its answer."""
        request = SUBMIT.decode(data)
        deadline_ms = self.member.clock.now_ms() + request.timeout_ms
        batch = Batch(
            len(request.attempts),
            deadline_ms,
            lambda answers: reply(ANSWERS.encode(tuple(answers))),
            fail,
            tuple(attempt.frame.command for attempt in request.attempts),
        )
        self.batches[batch] = None
        for position, attempt in enumerate(request.attempts):
            ticket = self._ticket(batch, position)
            try:
                if self.host is None:
                    self._end(ticket, exchange.NotLeader(leader=None))
                else:
                    self.host.submit(ticket, attempt, deadline_ms)
            except ApplicationStopped:
                self._end(ticket, exchange.NotLeader(leader=None))
        self._pump_proposals()
        self._deliver()
        self._expire_later(deadline_ms)

    def query(self, data: bytes, reply: Reply, fail: Callable[[], object]) -> None:
        """A batch of queries, all from one state: linearizable, or whatever this member has."""
        request = QUERY.decode(data)
        deadline_ms = self.member.clock.now_ms() + request.timeout_ms
        batch = Batch(
            len(request.requests), deadline_ms, lambda answers: reply(QUERY_ANSWERS.encode(tuple(answers))), fail
        )
        self.batches[batch] = None
        if not request.linearizable:
            self._query(batch, request.requests, LogIndex(0))
            return

        def known(verdict: exchange.ReadAnswer | None) -> None:
            if batch not in self.batches:
                return  # given up
            if isinstance(verdict, exchange.ReadAt):
                self._query(batch, request.requests, verdict.index)
            else:
                self._answer_all(batch, verdict or Unknown(why="the peer did not answer"))

        self._read_index(known)
        if batch in self.batches:
            late_us = self.member.clock.until_us(deadline_ms)
            self._timeline.after(late_us, self, self._read_index_is_late, batch)

    def _read_index_is_late(self, batch: Batch) -> None:
        if batch in self.batches and batch.missing == len(batch.answers) and not self._is_read(batch):
            self._answer_all(batch, Unknown(why="the peer did not answer"))

    def _is_read(self, batch: Batch) -> bool:
        return any(waiting is batch for waiting, _ in self._waiting.values())

    def _answer_all(self, batch: Batch, answer: Any) -> None:
        del self.batches[batch]
        batch.reply([answer] * len(batch.answers))  # type: ignore[arg-type]

    def _query(self, batch: Batch, requests: tuple[bytes, ...], index: LogIndex) -> None:
        for position, request in enumerate(requests):
            ticket = self._ticket(batch, position)
            try:
                if self.host is None:
                    self._end(ticket, NO_STATE)
                else:
                    self.host.read(ticket, request, index, batch.deadline_ms)
            except ApplicationStopped:
                self._end(ticket, NO_STATE)
        self._deliver()
        self._expire_later(batch.deadline_ms)

    def _read_index(self, known: Callable[[exchange.ReadAnswer | None], object]) -> None:
        """Ask the peer, once for all who wait. Who arrives while a question is under way shares the next one."""
        if self._reads_under_way is not None:
            self._reads_next.append(known)
            return
        self._reads_under_way = [known]
        self._ask_read_index()

    def _ask_read_index(self) -> None:
        link = self._link
        if link is None or self.host is None or self.host.epoch is None:
            self._read_index_known(exchange.NotLeader(leader=None))
        else:
            self._numbers += 1
            self._read_number = self._numbers
            link.to_peer(link.peer.application_reads, link, self._numbers)

    def read_answered(self, link: Link, number: int, answer: exchange.ReadAnswer | None) -> None:
        """The peer's answer to the question under way."""
        if link is self._link and number == self._read_number:
            self._read_index_known(answer)

    def _read_index_known(self, answer: exchange.ReadAnswer | None) -> None:
        """One question is answered: ask the next, if anybody came meanwhile."""
        waiting = self._reads_under_way
        if waiting is None:
            return
        self._reads_under_way = None
        following, self._reads_next = self._reads_next, []
        if len(waiting) > 1 and isinstance(answer, exchange.ReadAt):
            self._world.watch.read_round_shared()
        for known in waiting:
            known(answer)
        if following:
            self._reads_under_way = following
            self._ask_read_index()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _ticket(self, batch: Batch, position: int) -> Ticket:
        self._tickets += 1
        ticket = Ticket(self._tickets)
        self._waiting[ticket] = (batch, position)
        return ticket

    def _deliver(self) -> None:
        """Hand the answers that the host has collected to those who wait."""
        if self.host is None:
            return
        for answers in self.host.take_answers():
            for ticket, answer in answers:
                self._end(ticket, answer)

    def _end(self, ticket: Ticket, answer: Any) -> None:
        batch, position = self._waiting.pop(ticket)  # a second answer is a KeyError
        if type(answer) is Done and self.machine is not None:
            self._world.watch.command_answered(self.machine.ran_at.get(batch.commands[position]), answer.index)
        batch.answers[position] = answer
        batch.missing -= 1
        if not batch.missing:
            del self.batches[batch]
            batch.reply(batch.answers)  # type: ignore[arg-type]

    def _expire_later(self, deadline_ms: int) -> None:
        if self._waiting and not self._expiring:
            self._expiring = True
            self._timeline.after(self.member.clock.until_us(deadline_ms + EXPIRE_MS), self, self._expire)

    def _expire(self) -> None:
        self._expiring = False
        if self.host is not None:
            self.host.expire(self.member.clock.now_ms())
            self._deliver()
        if self.batches:
            nearest_ms = min(batch.deadline_ms for batch in self.batches)
            self._expire_later(max(nearest_ms, self.member.clock.now_ms()))
