"""What each effect that leaves the engine becomes: a job for the daemon that does it.

Here:   `Queues`, what the threads of one peer share; `Perform`, the one place where effects touch anything.
Never:  the daemons (runtime.py), decisions (engine.py).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from raft_actors.application import exchange
from raft_actors.application.packing import Malformed
from raft_actors.application.slices import SLICE, SLICE_REQUEST, SliceRequest
from raft_actors.codec import CodecError
from raft_actors.core.effects import ChangeRefused, ChangeStarted, Compact, Persist, TransferEnded
from raft_actors.core.entries import Genesis
from raft_actors.core.messages import (
    AppendEntries,
    Envelope,
    InstallSnapshot,
    Message,
    PreVote,
    RequestVote,
    TimeoutNow,
)
from raft_actors.core.types import DirectoryId, LogIndex, MemberId, RequestId, RpcId
from raft_actors.envelopes import Join, decode_envelope, encode_envelope, encode_join
from raft_actors.peer.chains import CHAIN_REPORT, ChainReport
from raft_actors.peer.engine import Engine
from raft_actors.peer.feed import ApplyCall
from raft_actors.peer.filing import FilingOrder
from raft_actors.peer.inbox import Inbox
from raft_actors.peer.lane import Lane
from raft_actors.peer.links import ApplicationLink, Fetched, Lost, Transport
from raft_actors.peer.snapshots import SaveAnswer
from raft_actors.peer.waiting import Waiting

Note: TypeAlias = Callable[[str, dict[str, object]], None]

OWNER: Final = "owner"
"""The daemon that steps the engine, and whoever does so in its place."""
DIRECT_BYTES_MAX: Final = 64 * 1024
"""What the owner may send itself: it fits into the socket's buffer, and into a Ray call without the object store."""

METHODS: Final[dict[type[Message], str]] = {
    PreVote: "request_vote",
    RequestVote: "request_vote",
    AppendEntries: "append_entries",
    InstallSnapshot: "install_snapshot",
    TimeoutNow: "request_vote",
}
"""Which RPC carries which message; a pre-vote is a vote that is only asked about (dissertation §9.6), and TimeoutNow
asks for a campaign, which is the same business (§3.10)."""


class Queues:
    """What the threads of one peer hand to each other; all of it holds something limited elsewhere (inbox.py)."""

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        self.inbox = Inbox(lambda failure: on_failure(OWNER, failure))
        self.writes: queue.SimpleQueue[Persist | Compact] = queue.SimpleQueue()
        """For the disk daemon."""
        self.files: queue.SimpleQueue[FilingOrder] = queue.SimpleQueue()
        """For the snapshot daemon."""
        self.calls = Lane("sync log entries", self.inbox, on_failure)
        """For sync log entries: to other peers."""
        self.applies = Lane("apply command", self.inbox, on_failure)
        """For apply command: to the application."""
        self.timers = threading.Condition()
        """Notified when the election deadline or the role changes."""
        self.waiting = Waiting()
        self.application: ApplicationLink | None = None
        """The attachment in force; the owner's."""


class Perform:
    """The engine's world (engine.Ports), in the owner's turn: each method fills a queue and returns."""

    def __init__(
        self,
        queues: Queues,
        transport: Transport,
        genesis: Genesis,
        note: Note,
        failed: Callable[[str], None],
        story: Callable[[str], None] | None = None,
    ) -> None:
        """`story`: told of everything that leaves the engine, one line each; None: nobody listens."""
        self._story = story
        self._genesis = genesis
        self._queues = queues
        self._transport = transport
        self.note = note
        self.failed = failed

    def write(self, persist: Persist) -> None:
        if self._story is not None:
            self._story(f"write {persist.seq}: {', '.join(type(record).__name__ for record in persist.records)}")
        self._queues.writes.put(persist)

    def compact(self, to: LogIndex) -> None:
        self._queues.writes.put(Compact(to=to))

    def call(self, rpc_id: RpcId, envelope: Envelope) -> None:
        if self._story is not None:
            self._story(f"call {rpc_id} to member {envelope.to}: {_told(envelope.message)}")
        queues, transport = self._queues, self._transport
        method = METHODS[type(envelope.message)]

        def ended(data: bytes | None) -> None:
            queues.inbox.put(lambda engine: engine.call_ended(rpc_id, envelope.to, _decoded(data)))

        queues.calls.put(
            lambda: transport.call(envelope.to, method, encode_envelope(envelope), ended),
            direct=_size_of(envelope.message) <= DIRECT_BYTES_MAX,
        )

    def answer(self, request_id: RequestId, envelope: Envelope | None) -> None:
        if self._story is not None:
            self._story("refuse a request" if envelope is None else f"answer {envelope.to}: {_told(envelope.message)}")
        self._queues.waiting.resolve(request_id, envelope)

    def apply(self, call: ApplyCall) -> None:
        queues, link = self._queues, self._queues.application
        if link is None:  # it has gone a moment ago; the engine is about to hear of it
            return

        def ended(data: bytes | None) -> None:
            answer = _decoded_apply_answer(data)
            queues.inbox.put_and_work(lambda engine: engine.applied(call.call_id, answer))

        if self._story is not None:
            self._story(f"apply {len(call.request.entries)} entries from {call.request.first_index}")
        size_bytes = sum(len(entry.data) for entry in call.request.entries)
        queues.applies.put(lambda: link.apply(call.request, ended), direct=size_bytes <= DIRECT_BYTES_MAX)

    def cut_application(self) -> None:
        link, self._queues.application = self._queues.application, None
        if link is not None:
            link.close()

    def term_lost(self, news: exchange.TermLost) -> None:
        link = self._queues.application
        if link is not None:
            self._queues.applies.put(lambda: link.term_lost(news))

    def invite(self, to: MemberId, directory_id: DirectoryId) -> None:
        queues, transport = self._queues, self._transport
        data = encode_join(Join(directory_id=directory_id, genesis=self._genesis))

        def ended(_: bytes | None) -> None:
            queues.inbox.put(lambda engine: engine.invitations.ended(to))

        queues.calls.put(lambda: transport.call(to, "join", data, ended))

    def others_changed(self, others: tuple[MemberId, ...]) -> None:
        self._transport.know(others)

    def report_chains(self, to: MemberId, report: ChainReport) -> None:
        data, transport = CHAIN_REPORT.encode(report), self._transport
        self._queues.calls.put(lambda: transport.call(to, "report_chains", data, _ignore))

    def ask_application(self, asked: exchange.AskSlice) -> None:
        link = self._queues.application
        if link is not None:
            self._queues.applies.put(lambda: link.ask_slice(asked))

    def ask_peer(self, to: MemberId, job: int, request: SliceRequest) -> None:
        queues, transport, data = self._queues, self._transport, SLICE_REQUEST.encode(request)

        def ended(fetched: Fetched) -> None:
            queues.inbox.put(partial(_fetched, job, fetched))

        queues.calls.put(lambda: transport.fetch(to, data, ended))

    def file(self, order: FilingOrder) -> None:
        self._queues.files.put(order)

    def save_ended(self, number: int, answer: SaveAnswer) -> None:
        self._queues.waiting.resolve(number, answer)

    def proposal_ended(self, proposal_id: int, answer: exchange.ProposeAnswer) -> None:
        self._queues.waiting.resolve(proposal_id, answer)

    def read_ended(self, read_id: int, answer: exchange.ReadAnswer) -> None:
        self._queues.waiting.resolve(read_id, answer)

    def change_ended(self, change_id: int, answer: ChangeStarted | ChangeRefused) -> None:
        self._queues.waiting.resolve(change_id, answer)

    def transfer_ended(self, answer: TransferEnded) -> None:
        self._queues.waiting.resolve(answer.transfer_id, answer)

    def timers_changed(self) -> None:
        with self._queues.timers:
            self._queues.timers.notify_all()


def _told(message: Message) -> str:
    """The message without what users wrote."""
    match message:
        case AppendEntries():
            return (
                f"AppendEntries term={message.term} after={message.prev_entry.term}/{message.prev_entry.index} "
                f"entries={len(message.entries)} commit={message.leader_commit} beat={message.beat}"
            )
        case _:
            return repr(message)


def _size_of(message: Message) -> int:
    return sum(entry.size_bytes for entry in message.entries) if isinstance(message, AppendEntries) else 0


def _decoded(data: bytes | None) -> Envelope | None:
    """The reply in these bytes. What is no message counts as no answer."""
    if data is None:
        return None
    try:
        return decode_envelope(data)
    except CodecError:
        return None


def _decoded_apply_answer(data: bytes | None) -> exchange.ApplyAnswer | None:
    if data is None:
        return None
    try:
        return exchange.APPLY_ANSWER.decode(data)
    except Malformed:
        return None


def _fetched(job: int, fetched: Fetched, engine: Engine) -> None:
    """A slice of another peer's snapshot, or none. What is no slice counts as lost."""
    snapshots, now_ms = engine.snapshots, engine.now_ms()
    try:
        if fetched is Lost.GONE:
            snapshots.slice_refused(job, "the snapshot is gone, a newer one is offered", now_ms)
        elif fetched is Lost.LOST:
            snapshots.slice_lost(job, now_ms)
        else:
            snapshots.slice_arrived(job, SLICE.decode(fetched[0]), fetched[1], now_ms)
    except Malformed:
        engine.dropped["malformed"] += 1
        snapshots.slice_lost(job, now_ms)


def _ignore(data: bytes | None) -> None:
    """Nobody waits for this call's end."""
