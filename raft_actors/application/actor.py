"""The co-located application as a Ray actor: any state machine, behind an asyncio loop (docs/adr/0005).

Here:   `ApplicationActor`: attaching to the peer, batches of clients and of the peer, futures and deadlines.
Never:  what is applied, who waits, what happens once (host.py and its parts), Raft.

One event loop owns the host, so nothing here needs a lock, and a thousand waiting clients cost no thread. Ray runs the
constructor without a loop, also after a restart, so the actor calls itself to begin (`run`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from functools import partial
from typing import Any, Final

import ray

from raft_actors.application import exchange
from raft_actors.application.exchange import Attached, ClusterId, Epoch, Restore
from raft_actors.application.host import ApplicationHost, ApplicationStopped
from raft_actors.application.limits import Ticket
from raft_actors.application.machine import MachineSource, create_machine
from raft_actors.application.peer_link import PeerLink
from raft_actors.application.pipe import door_address
from raft_actors.application.read_rounds import ReadRounds, settle
from raft_actors.application.requests import (
    ANSWERS,
    QUERY,
    QUERY_ANSWERS,
    SUBMIT,
    Answer,
    Attempt,
    QueryAnswer,
    Unknown,
)
from raft_actors.application.settings import decode_settings
from raft_actors.application.snapshot_shell import SnapshotShell
from raft_actors.core.types import LogIndex, MemberId
from raft_actors.gauges import StallGauge
from raft_actors.names import NAMESPACE
from raft_actors.process import call_until, collect_all, freeze_what_lasts, log_to_stderr, prefer_this_process

LOG: Final = logging.getLogger("raft_actors.application")

CALLS_MAX: Final = 4096
"""Calls at a time (`max_concurrency`): waiting clients are cheap here, but not free."""
PEER_TIMEOUT_S: Final = 2.0
"""How long the co-located peer may take to answer an attach."""
ATTACH_RETRY_S: Final = (0.05, 1.0)
"""First and longest wait between attempts to attach."""
BEGIN_AGAIN_S: Final = 1.0
BEGIN_TIMES: Final = 600
"""How often, and how many times at most, an application that did not begin is told to."""
RESTORE_RETRY_S: Final = (0.1, 60.0)
"""The same between attempts to go on from a snapshot."""
EXPIRE_S: Final = 0.05
"""How late a deadline may be noticed."""

NO_STATE: Final = Unknown(why="this member has no state yet; ask another member")


class ApplicationActor:
    """One member's state machine and its callers. All methods are coroutines on one loop."""

    def __init__(self, group: str, member_id: MemberId, machine: MachineSource) -> None:
        prefer_this_process()
        log_to_stderr()
        self._group = group
        self._member_id = member_id
        self._machine = machine
        self._host: ApplicationHost | None = None
        self._cluster_id: ClusterId | None = None
        self._link: PeerLink | None = None
        self._attach_answer: asyncio.Future[exchange.AttachAnswer] | None = None
        self._epoch: Epoch | None = None
        self._tickets = itertools.count(1)
        self._futures: dict[Ticket, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reads = ReadRounds(self._ask_read_index)
        self._error: str | None = None
        self._running = False
        self._snapshots = SnapshotShell(group, member_id)
        self._restore_wait_s = RESTORE_RETRY_S[0]
        self._stalls = StallGauge()
        context = ray.get_runtime_context()
        self._door = door_address(context.get_session_name(), group, member_id)
        me = context.current_actor  # Ray loses a call to oneself now and then while it restarts an actor
        call_until(lambda: self._running, me.run.remote, every_s=BEGIN_AGAIN_S, times=BEGIN_TIMES)

    def __repr__(self) -> str:
        return f"Application({self._group}/{self._member_id})"

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Begin: attach to the peer, and again whenever it is gone. A second call does nothing."""
        if not self._running:
            self._running = True
            self._spawn(self._expire_for_ever())
            self._spawn(self._snapshots.meet_peer())
            self._spawn(self._attach_for_ever())

    async def _attach_for_ever(self) -> None:
        wait_s = ATTACH_RETRY_S[0]
        while True:
            try:
                link = await PeerLink.connect(self._door, self)
                if link is not None and await self._attach(link):
                    wait_s = ATTACH_RETRY_S[0]
                    await link.gone.wait()
            except Exception as bug:  # a member without its application, and nobody would know why
                self._error = f"{type(bug).__name__}: {bug}"
                LOG.exception("group=%s member=%s attaches again", self._group, self._member_id)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, ATTACH_RETRY_S[1])

    async def _attach(self, link: PeerLink) -> bool:
        """Ask until the peer is ready; False when it is gone or silent, or when there is nothing to attach."""
        wait_s = ATTACH_RETRY_S[0]
        while not link.gone.is_set() and (self._host is None or self._host.stopped is None):
            self._epoch = Epoch(os.urandom(16))
            self._link = link
            self._attach_answer = asyncio.get_running_loop().create_future()
            link.attach(
                exchange.Attach(
                    epoch=self._epoch,
                    cluster_id=self._cluster_id,
                    applied_index=self._host.applied_index if self._host is not None else LogIndex(0),
                    checkpoints=self._host.checkpoints() if self._host is not None else (),
                    provenance=self._host.provenance if self._host is not None else None,
                )
            )
            try:
                async with asyncio.timeout(PEER_TIMEOUT_S):
                    answer = await self._attach_answer
            except TimeoutError:
                self._error = "the peer does not answer"
                break
            if isinstance(answer, Attached):
                return True
            if isinstance(answer, Restore):
                if await self._restore(answer):
                    continue
            else:
                self._error = answer.why
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, ATTACH_RETRY_S[1])
        link.close()
        return False

    async def _restore(self, restore: Restore) -> bool:
        """Go on from the peer's snapshot, whatever the state was before. False: not now; ask again."""
        if self._host is not None:
            self._host.detach()
            self._deliver()
            self._host = None
        collect_all()  # the state before, and what a restore that failed has left: two at a time are enough
        self._error = f"it reads the peer's snapshot of index {restore.index}"
        try:
            host = await self._snapshots.restore(restore, partial(self._new_host, restore.settings))
        except Exception as failure:  # the file is gone or damaged, the machine cannot read it: the peer names another
            self._error = f"{type(failure).__name__}: {failure}"
            LOG.warning("group=%s member=%s cannot restore: %s", self._group, self._member_id, self._error)
            await asyncio.sleep(self._restore_wait_s)  # each attempt reads the whole state
            self._restore_wait_s = min(2 * self._restore_wait_s, RESTORE_RETRY_S[1])
            return False
        self._restore_wait_s = RESTORE_RETRY_S[0]
        self._host, self._cluster_id, self._error = host, restore.cluster_id, None
        LOG.info("group=%s member=%s goes on from index %s", self._group, self._member_id, restore.index)
        return True

    def _new_host(self, settings: bytes) -> ApplicationHost:
        decoded = decode_settings(settings)
        return ApplicationHost(create_machine(self._machine, decoded.machine), decoded.sessions)

    async def _expire_for_ever(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_S)
            self._stalls.look(EXPIRE_S)
            freeze_what_lasts()
            self._snapshots.expire()
            if self._host is not None:
                self._host.expire(_now_ms())
                self._deliver()

    # -- the peer (peer_link.Application) -----------------------------------------------------------------------------

    def peer_attached(self, answer: exchange.AttachAnswer) -> None:
        """Take up the new epoch at once: entries may stand right behind this answer."""
        if isinstance(answer, Attached):
            try:
                self._take_up(answer)
            except Exception as failure:  # the machine cannot be made, for example of another version
                self._error = f"{type(failure).__name__}: {failure}"
                LOG.exception("group=%s member=%s cannot attach", self._group, self._member_id)
                answer = exchange.NotReady(why=self._error)
        if self._attach_answer is not None and not self._attach_answer.done():
            self._attach_answer.set_result(answer)

    def _take_up(self, attached: Attached) -> None:
        assert self._epoch is not None, "attached without having asked"
        goes_on = self._host is not None and attached.first_index == self._host.applied_index + 1
        if self._host is None or not goes_on:
            if self._host is not None:
                self._host.detach()
                self._deliver()
            self._host = self._new_host(attached.settings)
        self._host.attach(self._epoch)
        self._cluster_id = attached.cluster_id
        self._error = None
        self._deliver()

    def peer_applies(self, request: exchange.Apply) -> exchange.ApplyAnswer:
        """Committed entries, from the co-located peer."""
        host = self._host
        if host is None:
            return exchange.WrongEpoch()
        try:
            return host.apply(request)
        except ApplicationStopped as stopped:
            self._error = str(stopped)
            LOG.error("group=%s member=%s %s", self._group, self._member_id, stopped)
            return host.stopped or exchange.Stopped(index=LogIndex(0), why="unknown")
        except Exception as bug:  # ours, not the machine's: nobody knows what was applied, so this member stops too
            self._error = f"{type(bug).__name__}: {bug}"
            LOG.exception("group=%s member=%s cannot apply", self._group, self._member_id)
            return exchange.Stopped(index=request.first_index, why=type(bug).__name__)
        finally:
            self._deliver()

    def peer_lost_term(self, news: exchange.TermLost) -> None:
        """The co-located peer no longer leads."""
        if self._host is not None:
            self._host.term_lost(news)
            self._deliver()

    def peer_asks_slice(self, asked: exchange.AskSlice, link: PeerLink) -> None:
        """The co-located peer takes a snapshot."""
        self._spawn(self._snapshots.give(self._host, asked, link))

    def peer_gone(self) -> None:
        """The co-located peer is gone: whoever waits for it is told."""
        self._link = None
        self._snapshots.peer_gone()
        self._error = self._error or "its peer is gone"  # what went wrong before says more
        if self._attach_answer is not None and not self._attach_answer.done():
            self._attach_answer.set_result(exchange.NotReady(why=self._error))
        if self._host is not None and self._host.stopped is None and self._host.epoch is not None:
            self._host.detach()
            self._deliver()

    # -- clients ------------------------------------------------------------------------------------------------------

    async def submit(self, data: bytes) -> bytes:
        """A batch of commands; answered when each of them has its answer."""
        request = SUBMIT.decode(data)
        deadline_ms = _now_ms() + request.timeout_ms
        waiting = [self._submit(attempt, deadline_ms) for attempt in request.attempts]
        self._pump_proposals()
        self._deliver()
        answers: list[Answer] = [await future for future in waiting]
        return ANSWERS.encode(tuple(answers))

    def _submit(self, attempt: Attempt, deadline_ms: int) -> asyncio.Future[Answer]:
        ticket, future = self._ticket()
        try:
            if self._host is None:
                self._end(ticket, exchange.NotLeader(leader=None))
            else:
                self._host.submit(ticket, attempt, deadline_ms)
        except ApplicationStopped:
            self._end(ticket, exchange.NotLeader(leader=None))
        return future

    async def query(self, data: bytes) -> bytes:
        """A batch of queries, all from one state: linearizable, or whatever this member has."""
        request = QUERY.decode(data)
        deadline_ms = _now_ms() + request.timeout_ms
        index = LogIndex(0)
        if request.linearizable:
            known = self._reads.ask()
            await asyncio.wait([known], timeout=request.timeout_ms / 1000)
            verdict = known.result() if known.done() else None
            if not isinstance(verdict, exchange.ReadAt):
                return QUERY_ANSWERS.encode(
                    (verdict or Unknown(why="the peer did not answer"),) * len(request.requests)
                )
            index = verdict.index
        waiting = [self._query(each, index, deadline_ms) for each in request.requests]
        self._deliver()
        answers: list[QueryAnswer] = [await future for future in waiting]
        return QUERY_ANSWERS.encode(tuple(answers))

    def _query(self, request: bytes, index: LogIndex, deadline_ms: int) -> asyncio.Future[QueryAnswer]:
        ticket, future = self._ticket()
        try:
            if self._host is None:
                self._end(ticket, NO_STATE)
            else:
                self._host.read(ticket, request, index, deadline_ms)
        except ApplicationStopped:
            self._end(ticket, NO_STATE)
        return future

    def _ask_read_index(self) -> asyncio.Future[exchange.ReadAnswer | None]:
        future: asyncio.Future[exchange.ReadAnswer | None] = asyncio.get_running_loop().create_future()
        if self._link is None or self._host is None or self._host.epoch is None:
            future.set_result(exchange.NotLeader(leader=None))  # not attached: nobody would answer
        else:
            self._link.read(partial(settle, future))
        return future

    async def status(self) -> dict[str, Any]:
        """How far this application is, for `kv.status` and `doctor`."""
        host = self._host
        return {
            "member_id": int(self._member_id),
            "attached": host is not None and host.epoch is not None,
            "applied_index": host.applied_index if host is not None else 0,
            "chain": host.chain.hex() if host is not None else None,
            "waiting": host.waiting_count if host is not None else 0,
            "error": self._error,
            "stall_ms_max": round(self._stalls.ms_max, 1),
            "pid": os.getpid(),
            "node_id": ray.get_runtime_context().get_node_id(),
        }

    # -- inside -------------------------------------------------------------------------------------------------------

    def _ticket(self) -> tuple[Ticket, asyncio.Future[Any]]:
        ticket = Ticket(next(self._tickets))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._futures[ticket] = future
        return ticket, future

    def _deliver(self) -> None:
        """Hand the answers that the host has collected to those who wait."""
        if self._host is None:
            return
        for answers in self._host.take_answers():
            for ticket, answer in answers:
                self._end(ticket, answer)

    def _end(self, ticket: Ticket, answer: Answer | QueryAnswer) -> None:
        future = self._futures.pop(ticket, None)
        if future is not None and not future.done():  # done: its caller was cancelled
            future.set_result(answer)

    def _pump_proposals(self) -> None:
        host, link = self._host, self._link
        while host is not None and link is not None and (proposal := host.next_proposal()) is not None:
            link.propose(proposal.data, partial(self._proposal_ended, host, proposal.proposal_id))

    def _proposal_ended(self, host: ApplicationHost, proposal_id: int, answer: exchange.ProposeAnswer | None) -> None:
        host.proposal_answered(proposal_id, answer)
        self._pump_proposals()
        self._deliver()

    def _spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        """A task that is kept until it ends; a bug in it is logged, never lost."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._error = f"{type(failure).__name__}: {failure}"
            LOG.error("group=%s member=%s", self._group, self._member_id, exc_info=failure)


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


RayApplication: Any = ray.remote(ApplicationActor)


def application_actor_options(name: str) -> dict[str, Any]:
    """Options of every application actor, each with its reason."""
    return {
        "name": name,
        "namespace": NAMESPACE,
        "lifetime": "detached",  # outlives the driver that started the group
        "max_restarts": -1,  # comes back without state, and attaches anew
        "max_task_retries": 0,  # whether a call ran is the client's question, answered by its session
        "max_concurrency": CALLS_MAX,  # waiting clients must not keep the peer's entries out
        "enable_task_events": False,  # a row in Ray's task list for every batch would cost time on each
        "num_cpus": 0,
    }
