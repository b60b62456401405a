"""The co-located application as a Ray actor: any state machine, behind an asyncio loop (docs/adr/0005).

Here:   `ApplicationActor`: attaching to the peer, batches of clients and of the peer, futures and deadlines.
Never:  what is applied, who waits, what happens once (host.py and its parts), Raft.

One event loop owns the host, so nothing here needs a lock, and a thousand waiting clients cost no thread. Ray runs the
constructor without a loop, also after a restart, so the actor calls itself once to begin (`run`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import os
import sys
import time
from typing import Any, Final

import ray
from ray.exceptions import RayError

from raft_actors.application import exchange
from raft_actors.application.exchange import Attached, Epoch
from raft_actors.application.host import ApplicationHost, ApplicationStopped
from raft_actors.application.limits import Ticket
from raft_actors.application.machine import MachineSource, create_machine
from raft_actors.application.packing import Malformed
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
from raft_actors.core.types import LogIndex, MemberId
from raft_actors.names import NAMESPACE, peer_name

LOG: Final = logging.getLogger("raft_actors.application")

CALLS_MAX: Final = 4096
"""Calls at a time (`max_concurrency`): waiting clients are cheap here, but not free."""
PEER_TIMEOUT_S: Final = 2.0
"""When a call to the co-located peer counts as failed."""
ATTACH_RETRY_S: Final = (0.05, 1.0)
"""First and longest wait between attempts to attach."""
ATTACH_CHECK_S: Final = 0.5
"""How often the attachment is checked: a peer that restarts forgets it."""
SWITCH_INTERVAL_S: Final = 0.0005
"""Ray's threads and the loop hand over often: an answer must not wait 5 ms for the interpreter."""
EXPIRE_S: Final = 0.05
"""How late a deadline may be noticed."""

NO_STATE: Final = Unknown(why="this member has no state yet; ask another member")


class ApplicationActor:
    """One member's state machine and its callers. All methods are coroutines on one loop."""

    def __init__(self, group: str, member_id: MemberId, machine: MachineSource) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._group = group
        self._member_id = member_id
        self._machine = machine
        self._host: ApplicationHost | None = None
        self._attached_to: Attached | None = None
        self._attaching: asyncio.Event | None = None
        self._peer: Any = None
        self._tickets = itertools.count(1)
        self._futures: dict[Ticket, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._read_under_way: asyncio.Task[exchange.ReadAnswer | None] | None = None
        self._read_next: asyncio.Task[exchange.ReadAnswer | None] | None = None
        self._error: str | None = None
        self._running = False
        self._me = ray.get_runtime_context().current_actor
        self._me.run.remote()

    def __repr__(self) -> str:
        return f"Application({self._group}/{self._member_id})"

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Attach to the peer, and again whenever it forgot us; ends with the process. A second call does nothing."""
        if self._running:
            return
        self._running = True
        self._spawn(self._expire_for_ever())
        wait_s = ATTACH_RETRY_S[0]
        while True:
            try:
                attached = await self._attach()
            except Exception as failure:
                self._error = f"{type(failure).__name__}: {failure}"
                LOG.exception("group=%s member=%s cannot attach", self._group, self._member_id)
                attached = False
            if attached:
                wait_s = ATTACH_RETRY_S[0]
                await self._until_forgotten()
            else:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, ATTACH_RETRY_S[1])

    async def _attach(self) -> bool:
        """One attempt. The peer may send entries before its answer reaches us: `apply` waits for `_attaching`."""
        if self._host is not None and self._host.stopped is not None:
            return False
        if self._peer is None:
            self._peer = await asyncio.to_thread(_find, peer_name(self._group, self._member_id))
        if self._peer is None:
            return False
        epoch = Epoch(os.urandom(16))
        before = self._attached_to
        request = exchange.Attach(
            epoch=epoch,
            cluster_id=before.cluster_id if before is not None else None,
            applied_index=self._host.applied_index if self._host is not None else LogIndex(0),
            checkpoints=self._host.checkpoints() if self._host is not None else (),
        )
        self._attaching = asyncio.Event()
        try:
            data = await self._call_peer("attach", exchange.ATTACH.encode(request), self._me)
            answer = None if data is None else exchange.ATTACH_ANSWER.decode(data)
            if not isinstance(answer, Attached):
                self._error = answer.why if answer is not None else "the peer does not answer"
                return False
            self._take_up(answer, epoch)
            return True
        finally:
            self._attaching.set()

    def _take_up(self, attached: Attached, epoch: Epoch) -> None:
        goes_on = self._host is not None and attached.first_index == self._host.applied_index + 1
        if self._host is None or not goes_on:
            if self._host is not None:
                self._host.detach()
                self._deliver()
            settings = decode_settings(attached.settings)
            self._host = ApplicationHost(create_machine(self._machine, settings.machine), settings.sessions)
            gc.collect()
            gc.freeze()  # what is loaded by now is never garbage; full collections would walk it for nothing
        self._host.attach(epoch)
        self._deliver()
        self._attached_to = attached
        self._error = None

    async def _until_forgotten(self) -> None:
        """Return when the peer does not know our epoch any more; callers that wait are then told."""
        assert self._host is not None, "attached without a host"
        while self._host.epoch is not None:
            await asyncio.sleep(ATTACH_CHECK_S)
            try:
                async with asyncio.timeout(PEER_TIMEOUT_S):
                    known = await self._peer.attached.remote(self._host.epoch)
            except (RayError, TimeoutError):
                known = None
            if known is not True:
                if known is None:
                    self._peer = None  # dead, or as good as: look its name up again
                if self._host.stopped is None:
                    self._host.detach()
                    self._deliver()
                return

    async def peer_restarted(self) -> None:
        """The co-located peer says that it is new: end what waits for its predecessor, attach at once."""
        if self._host is not None and self._host.stopped is None and self._host.epoch is not None:
            self._host.detach()
            self._deliver()

    async def _expire_for_ever(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_S)
            if self._host is not None:
                self._host.expire(_now_ms())
                self._deliver()

    # -- the peer -----------------------------------------------------------------------------------------------------

    async def apply(self, data: bytes) -> bytes:
        """Committed entries, from the co-located peer."""
        request = exchange.APPLY.decode(data)
        if self._attaching is not None:
            await self._attaching.wait()
        return exchange.APPLY_ANSWER.encode(self._apply(request))

    def _apply(self, request: exchange.Apply) -> exchange.ApplyAnswer:
        host = self._host
        if host is None:
            return exchange.WrongEpoch()
        try:
            return host.apply(request)
        except ApplicationStopped as stopped:
            self._error = str(stopped)
            LOG.error("group=%s member=%s %s", self._group, self._member_id, stopped)
            return host.stopped or exchange.Stopped(index=LogIndex(0), why="unknown")
        finally:
            self._deliver()

    async def term_lost(self, data: bytes) -> None:
        """The co-located peer no longer leads."""
        if self._host is not None:
            self._host.term_lost(exchange.TERM_LOST.decode(data))
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
            verdict = await self._read_index()
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

    async def _read_index(self) -> exchange.ReadAnswer | None:
        """Ask the peer, once for all who wait. Who arrives while a question is under way shares the next one.

        An answer to a question asked before the read arrived would not do (dissertation §6.4).
        """
        if self._read_under_way is None or self._read_under_way.done():
            self._read_under_way = self._spawn(self._ask_read_index())
            return await asyncio.shield(self._read_under_way)
        if self._read_next is None:
            self._read_next = self._spawn(self._ask_after(self._read_under_way))
        return await asyncio.shield(self._read_next)

    async def _ask_after(self, before: asyncio.Task[Any]) -> exchange.ReadAnswer | None:
        await asyncio.wait([before])
        self._read_under_way, self._read_next = self._read_next, None
        return await self._ask_read_index()

    async def _ask_read_index(self) -> exchange.ReadAnswer | None:
        data = await self._call_peer("read", exchange.READ.encode(exchange.Read()))
        return None if data is None else exchange.READ_ANSWER.decode(data)

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
            "pid": os.getpid(),
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
        host = self._host
        while host is not None and (proposal := host.next_proposal()) is not None:
            self._spawn(self._propose(host, proposal.proposal_id, proposal.data))

    async def _propose(self, host: ApplicationHost, proposal_id: int, batch: bytes) -> None:
        answer: exchange.ProposeAnswer | None = None
        try:
            data = await self._call_peer("propose", exchange.PROPOSE.encode(exchange.Propose(data=batch)))
            if data is not None:
                answer = exchange.PROPOSE_ANSWER.decode(data)
        finally:
            host.proposal_answered(proposal_id, answer)
            self._pump_proposals()
            self._deliver()

    async def _call_peer(self, method: str, *arguments: Any) -> bytes | None:
        """The peer's answer; None when it gave none, or not in time. It may still do what was asked."""
        if self._peer is None:
            return None
        with contextlib.suppress(RayError, TimeoutError, Malformed):
            async with asyncio.timeout(PEER_TIMEOUT_S):
                data = await getattr(self._peer, method).remote(*arguments)
            return data if type(data) is bytes else None
        return None

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


def _find(name: str) -> Any:
    """The actor of this name, or None. Blocks; may take long when Ray's head is down."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except (ValueError, RayError):
        return None


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
        "num_cpus": 0,
    }
