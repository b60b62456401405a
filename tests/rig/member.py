"""One member of a pumped group: the product's engine, storage and application host, and what waits between them.

Here:   the engine's world (`Ports`) as queues that the rig empties, the application beside the peer, starts and ends.
Never:  when anything happens (rig.py), what must be true (tests/sim/checks).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import groupby

from raft_actors.application import exchange
from raft_actors.application.exchange import AskSlice, Attached, Epoch, Restore
from raft_actors.application.host import ApplicationHost
from raft_actors.application.limits import Ticket
from raft_actors.application.requests import Attempt
from raft_actors.application.slices import SLICE_REQUEST, SliceRequest
from raft_actors.config import RaftConfig
from raft_actors.core.effects import ChangeRefused, ChangeStarted, Compact, Persist, Record, TransferEnded
from raft_actors.core.entries import Genesis
from raft_actors.core.messages import Envelope
from raft_actors.core.state import State
from raft_actors.core.types import DirectoryId, LogIndex, MemberId, RequestId, RpcId
from raft_actors.envelopes import Join, encode_envelope, encode_join
from raft_actors.peer.chains import CHAIN_REPORT, ChainReport
from raft_actors.peer.clock import Clock
from raft_actors.peer.engine import Engine
from raft_actors.peer.feed import ApplyCall
from raft_actors.peer.filing import FilingOrder
from raft_actors.peer.perform import METHODS
from raft_actors.peer.snapshots import SaveAnswer
from raft_actors.storage.interface import Storage
from tests.rig.application import Application
from tests.rig.network import Flight, Network, Part
from tests.rig.snapshots import Snapshots
from tests.rig.waiting import ManualClock, Read, Waiting
from tests.sim.checks import Checks

LATE_MS = 10**12


class Member:
    """A place in the group. Implements the engine's `Ports`; the checks see it as it is (`SimMember`)."""

    def __init__(self, member_id: MemberId, network: Network, tell: Callable[[str], None], checks: Checks) -> None:
        self.member_id = member_id
        self.directory_id: DirectoryId | None = None
        self.engine: Engine | None = None
        self.storage: Storage | None = None
        self.empty: Storage | None = None
        """Of a process that waits to be invited: it has a directory and no log."""
        self.application: Application | None = None
        self.waiting = Waiting()
        self.disk_held = self.application_held = self.proposal_answers_held = self.restore_held = False
        self.reattaches = False
        """The peer cut its application off."""
        self.save_answers: dict[int, SaveAnswer] = {}
        self.held_proposal_answers: list[tuple[int, exchange.ProposeAnswer]] = []
        self.reads: dict[int, Read] = {}
        self.notes: list[tuple[str, dict[str, object]]] = []
        self.failure: str | None = None
        self.beaten_ms = 0
        self.start = 0
        self._writing: tuple[Record, ...] = ()
        self._snapshots: Snapshots | None = None
        self._clock: Clock | None = None
        self._request_count = 0
        self._proposal_count = 0
        self._proposal_answers: dict[int, exchange.ProposeAnswer] = {}
        self.change_answers: dict[int, ChangeStarted | ChangeRefused] = {}
        self.transfer_answers: dict[int, TransferEnded] = {}
        self._network = network
        self._tell = tell
        self._checks = checks

    # -- life ---------------------------------------------------------------------------------------------------------

    def begin(
        self, storage: Storage, genesis: Genesis, config: RaftConfig, clock: ManualClock, dice: random.Random
    ) -> None:
        """A process starts on a disk: with what was durable, and nothing else."""
        found = storage.recovered
        self.directory_id = found.incarnation.directory_id
        self._checks.recovered(self.directory_id, found, found.snapshot)
        if found.genesis is None:
            storage.write_genesis(genesis)  # as `join` or `bootstrap` do
        self.storage = storage
        self._clock = clock
        self.waiting = Waiting()
        self.start += 1
        self.failure = None
        state = State.restore(
            settings=config.core(),
            member_id=self.member_id,
            incarnation=found.incarnation,
            genesis=genesis,
            hard_state=found.hard_state,
            entries=found.entries,
            base=found.base,
            snapshot=found.snapshot,
        )
        self.reattaches = False
        self._snapshots = Snapshots(storage, clock, self._checks)
        self.engine = Engine(
            state=state,
            genesis=genesis,
            config=config,
            clock=clock,
            dice=dice,
            ports=self,
            log_bytes=storage.log_bytes,
        )
        self._checks.started(self)

    def wait(self, storage: Storage) -> None:
        """A process starts on an empty directory, and belongs to no group yet."""
        assert storage.recovered.genesis is None, f"the directory of member {self.member_id} is not empty"
        self.directory_id, self.empty = storage.recovered.incarnation.directory_id, storage

    def end(self) -> list[Flight]:
        """The process is gone, with all it held. Returns the requests that it will not answer."""
        self._checks.stopped(self, self._writing)
        self._writing = ()
        self.engine = self.storage = self.empty = self._snapshots = None
        requests = list(self.waiting.requests.values())
        self.waiting = Waiting()
        self.held_proposal_answers = []
        if self.application is not None:
            self.application.host.detach()
            self.application.take_answers()
        return requests

    def running(self) -> Engine:
        """The engine of a member that runs."""
        assert self.engine is not None, f"member {self.member_id} is down"
        return self.engine

    def _now_ms(self) -> int:
        assert self._clock is not None, f"member {self.member_id} never ran"
        return self._clock.now_ms()

    @property
    def snapshots(self) -> Snapshots:
        """Of a member that runs."""
        assert self._snapshots is not None, f"member {self.member_id} is down"
        return self._snapshots

    # -- disk ---------------------------------------------------------------------------------------------------------

    def write(self, persist: Persist) -> None:
        self.waiting.writes.append(persist)

    def compact(self, to: LogIndex) -> None:
        self.waiting.writes.append(Compact(to=to))

    def sync(self, count: int | None = None) -> list[Callable[[Engine], None]]:
        """The oldest writes, as one group; what the engine is to be told afterwards. A compaction is one by itself."""
        assert self.storage is not None
        count = len(self.waiting.writes) if count is None else count
        done, self.waiting.writes = self.waiting.writes[:count], self.waiting.writes[count:]
        told: list[Callable[[Engine], None]] = []
        for is_group, works in groupby(done, key=lambda work: isinstance(work, Persist)):
            if is_group:
                told.append(self._write_group([work for work in works if isinstance(work, Persist)]))
            else:
                told += [self._compact(work.to) for work in works if isinstance(work, Compact)]
        return told

    def _write_group(self, group: list[Persist]) -> Callable[[Engine], None]:
        assert self.storage is not None
        records: list[Record] = [record for persist in group for record in persist.records]
        self._writing = tuple(records)
        self.storage.write(records)
        self._writing = ()
        self._checks.wrote(self.running().state.directory_id, records)
        seq, log_bytes = group[-1].seq, self.storage.log_bytes
        return lambda engine: engine.written(seq, log_bytes)

    def _compact(self, to: LogIndex) -> Callable[[Engine], None]:
        assert self.storage is not None
        self.storage.compact(to)
        self._checks.compacted(self.running().state.directory_id, to)
        self._tell(f"{self.member_id} compacts its log to {to}")
        log_bytes = self.storage.log_bytes
        return lambda engine: engine.compacted(log_bytes)

    def file(self, order: FilingOrder) -> None:
        self.waiting.files.append(order)

    def do_filing(self) -> Callable[[Engine], None]:
        """The oldest order of a snapshot's file; what the engine is to be told afterwards."""
        return self.snapshots.do(self.waiting.files.pop(0))

    # -- network ------------------------------------------------------------------------------------------------------

    def call(self, rpc_id: RpcId, envelope: Envelope) -> None:
        self._checks.called(self, rpc_id, envelope)
        method = METHODS[type(envelope.message)]
        self._network.send(
            Flight(
                src=self.member_id,
                dst=envelope.to,
                method=method,
                part=Part.REQUEST,
                data=encode_envelope(envelope),
                rpc_id=rpc_id,
                caller_start=self.start,
            )
        )

    def next_request(self, flight: Flight, envelope: Envelope) -> RequestId:
        """A request has arrived; its number."""
        self._request_count += 1
        request_id = RequestId(self._request_count)
        self.waiting.requests[request_id] = flight
        self._checks.received(self, request_id, envelope)
        return request_id

    def answer(self, request_id: RequestId, envelope: Envelope | None) -> None:
        self._checks.answered(self, request_id, envelope)
        request = self.waiting.requests.pop(request_id)
        self._network.send(reply_to(request, None if envelope is None else encode_envelope(envelope)))

    def report_chains(self, to: MemberId, report: ChainReport) -> None:
        data = CHAIN_REPORT.encode(report)
        self._network.send(Flight(src=self.member_id, dst=to, method="report_chains", part=Part.NOTICE, data=data))

    def ask_peer(self, to: MemberId, job: int, request: SliceRequest) -> None:
        self._network.send(
            Flight(
                src=self.member_id,
                dst=to,
                method="read_snapshot",
                part=Part.REQUEST,
                data=SLICE_REQUEST.encode(request),
                rpc_id=RpcId(job),
                caller_start=self.start,
            )
        )

    # -- application --------------------------------------------------------------------------------------------------

    def ask_application(self, asked: AskSlice) -> None:
        self.waiting.application_calls.append(asked)

    def cut_application(self) -> None:
        self.reattaches = True
        if self.application is not None:
            self.application.host.detach()
            self.application.take_answers()

    def save_ended(self, number: int, answer: SaveAnswer) -> None:
        assert number not in self.save_answers, f"save {number} was answered twice"
        self.save_answers[number] = answer

    def apply(self, call: ApplyCall) -> None:
        self.waiting.application_calls.append(call)

    def term_lost(self, news: exchange.TermLost) -> None:
        self.waiting.application_calls.append(news)

    def application_work(self) -> Callable[[Engine], None] | None:
        """Let the application work on the oldest call; what the engine is to be told afterwards."""
        call = self.waiting.application_calls.pop(0)
        if self.application is not None:
            return self.application.work(call, self._now_ms())
        return (lambda engine: engine.applied(call.call_id, None)) if isinstance(call, ApplyCall) else None

    def attach(self, epoch: Epoch, settings: bytes) -> Callable[[Engine], None]:
        """The application says that it is there; a new one if it has died. It may have to go on from a snapshot."""
        if self.application is None:
            self.application = Application(settings)
        self.reattaches = False

        def attach(engine: Engine) -> None:
            application = self.application
            assert application is not None
            answer = application.attach(engine, epoch)
            if isinstance(answer, Restore):
                application.host.detach()
                application.take_answers()
                self.application = application = self.snapshots.restored(answer)
                self._tell(f"{self.member_id} restores its application from the snapshot of {answer.index}")
                if self.restore_held:
                    return
                answer = application.attach(engine, epoch)
            assert isinstance(answer, Attached)
            assert answer.first_index == application.host.applied_index + 1
            application.cluster_id = answer.cluster_id
            application.host.attach(epoch)
            engine.tick()  # its entries follow behind the answer

        return attach

    def submit(self, attempt: Attempt) -> int:
        """A client's attempt arrives at the application."""
        assert self.application is not None
        self.application.ticket_count += 1
        self.application.host.submit(Ticket(self.application.ticket_count), attempt, LATE_MS)
        return self.application.ticket_count

    def proposed(self, answer: tuple[int, exchange.ProposeAnswer]) -> None:
        """The peer's answer reaches the application, now or when it is no longer held."""
        assert self.application is not None
        if self.proposal_answers_held:
            self.held_proposal_answers.append(answer)
        else:
            self.application.host.proposal_answered(*answer)
        self.application.take_answers()

    def release_proposal_answers(self) -> None:
        """Those that were held arrive."""
        self.proposal_answers_held = False
        answers, self.held_proposal_answers = self.held_proposal_answers, []
        for answer in answers:
            self.proposed(answer)

    # -- who asked ----------------------------------------------------------------------------------------------------

    def next_proposal_id(self) -> int:
        self._proposal_count += 1
        return self._proposal_count

    def proposal_ended(self, proposal_id: int, answer: exchange.ProposeAnswer) -> None:
        assert proposal_id not in self._proposal_answers, f"proposal {proposal_id} was answered twice"
        self._proposal_answers[proposal_id] = answer

    def proposal_answer(self, proposal_id: int) -> exchange.ProposeAnswer:
        """It comes within `Engine.propose`."""
        return self._proposal_answers[proposal_id]

    def read_ended(self, read_id: int, answer: exchange.ReadAnswer) -> None:
        read = self.reads[read_id]
        assert read.answer is None, f"read {read_id} was answered twice"
        read.answer = answer
        if isinstance(answer, exchange.ReadAt):
            assert answer.index >= read.must_see, f"stale read at {answer.index}: {read.must_see} was committed before"

    def change_ended(self, change_id: int, answer: ChangeStarted | ChangeRefused) -> None:
        assert change_id not in self.change_answers, f"change {change_id} was answered twice"
        self.change_answers[change_id] = answer

    def transfer_ended(self, answer: TransferEnded) -> None:
        assert answer.transfer_id not in self.transfer_answers, f"transfer {answer.transfer_id} was answered twice"
        self.transfer_answers[answer.transfer_id] = answer

    # -- the rest -----------------------------------------------------------------------------------------------------

    def timers_changed(self) -> None:
        """The rig looks at the timers itself."""

    def invite(self, to: MemberId, directory_id: DirectoryId) -> None:
        data = encode_join(Join(directory_id=directory_id, genesis=self.running().genesis))
        self._network.send(
            Flight(src=self.member_id, dst=to, method="join", part=Part.REQUEST, data=data, caller_start=self.start)
        )

    def others_changed(self, others: tuple[MemberId, ...]) -> None: ...

    def note(self, kind: str, details: dict[str, object]) -> None:
        self.notes.append((kind, details))
        if kind == "role":
            leader = details["leader"]
            self._tell(
                f"{self.member_id} {details['role']} term={details['term']}"
                + (f" follows {leader}" if leader not in (None, self.member_id) else "")
                + f" ({details['why']})"
            )
        elif kind == "snapshot":
            self._tell(f"{self.member_id} has {details['how']} a snapshot of {details['index']}")
        elif kind == "snapshot_failed":
            self._tell(f"{self.member_id} gave a snapshot up: {details['why']}")
        elif kind == "state_replaced":
            self._tell(f"{self.member_id} goes on behind the snapshot of {details['index']}")
        elif kind == "config":
            self._tell(f"{self.member_id} configuration of {details['index']} in force")

    def failed(self, why: str) -> None:
        self.failure = why
        self._tell(f"{self.member_id} failed: {why}")

    @property
    def host(self) -> ApplicationHost | None:
        """The running application's."""
        return None if self.application is None else self.application.host

    def applied_index(self) -> LogIndex:
        """How far its application is."""
        return self.application.host.applied_index if self.application is not None else LogIndex(0)


def reply_to(request: Flight, data: bytes | None) -> Flight:
    """The way back."""
    return Flight(
        src=request.dst,
        dst=request.src,
        method=request.method,
        part=Part.REPLY,
        data=data,
        rpc_id=request.rpc_id,
        caller_start=request.caller_start,
    )
