"""The process beside a pumped peer: a journal of commands behind the product's host, with or without a past.

Here:   `Application`, fresh or from a snapshot; `SliceGiver`, its state slice by slice for a peer's snapshot.
Never:  when anything happens (member.py, world.py; in simulated worlds tests/sim).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from raft_actors.application.exchange import (
    APPLY,
    APPLY_ANSWER,
    ASK_SLICE,
    ATTACH,
    ATTACH_ANSWER,
    TERM_LOST,
    AskSlice,
    Attach,
    AttachAnswer,
    ClusterId,
    Epoch,
    SliceRefused,
    TermLost,
)
from raft_actors.application.host import ApplicationHost, ApplicationStopped
from raft_actors.application.requests import Answer, QueryAnswer
from raft_actors.application.settings import decode_settings
from raft_actors.application.slices import Slice, StateSlicer
from raft_actors.peer.engine import Engine
from raft_actors.peer.feed import ApplyCall
from tests.application.builders import Journal


class SliceGiver:
    """One state at a time, for one job of the peer."""

    def __init__(self) -> None:
        self._job = 0
        self._slicer: StateSlicer | None = None

    def give(self, host: ApplicationHost, asked: AskSlice) -> tuple[Slice, bytes] | SliceRefused:
        """The slice that was asked for: of the state as it is now, if it is the first of its job."""
        if asked.offset == 0 and asked.job > self._job:
            try:
                self._slicer = StateSlicer(host.applied, host.snapshot(asked.provenance))
            except ApplicationStopped as stopped:
                return SliceRefused(job=asked.job, why=str(stopped))
            self._job = asked.job
        if asked.job != self._job or self._slicer is None:
            return SliceRefused(job=asked.job, why="this application has no such state under way")
        found = self._slicer.again(asked.offset, asked.bytes_max)
        if found is None and asked.offset == self._slicer.offset:
            found = self._slicer.read(asked.bytes_max)
        return found or SliceRefused(job=asked.job, why=f"the slice at {asked.offset} was given before")


class Application:
    """The process beside the peer: a journal of commands behind the product's host."""

    def __init__(self, settings: bytes, state: Iterable[bytes] | None = None) -> None:
        """`state`: of a snapshot; None: it begins with nothing."""
        self.journal = Journal()
        self.host = ApplicationHost(self.journal, decode_settings(settings).sessions)
        self.slices = SliceGiver()
        if state is not None:
            self.host.restore(map(memoryview, state))
        self.cluster_id: ClusterId | None = None
        self.answers: dict[int, Answer] = {}
        self.query_answers: dict[int, QueryAnswer] = {}
        self.ticket_count = 0

    def attach(self, engine: Engine, epoch: Epoch) -> AttachAnswer:
        """What the peer says to our attaching."""
        self.slices = SliceGiver()  # jobs are numbered anew by each process of the peer
        request = Attach(
            epoch=epoch,
            cluster_id=self.cluster_id,
            applied_index=self.host.applied_index,
            checkpoints=self.host.checkpoints(),
            provenance=self.host.provenance,
        )
        return ATTACH_ANSWER.decode(ATTACH_ANSWER.encode(engine.attach(ATTACH.decode(ATTACH.encode(request)))))

    def work(self, call: ApplyCall | TermLost | AskSlice, now_ms: int) -> Callable[[Engine], None] | None:
        """Work on one call; what the engine is to be told afterwards."""
        match call:
            case TermLost():
                self.host.term_lost(TERM_LOST.decode(TERM_LOST.encode(call)))
                self.take_answers()
                return None
            case AskSlice():
                return self._give(ASK_SLICE.decode(ASK_SLICE.encode(call)), now_ms)
        try:
            answer = self.host.apply(APPLY.decode(APPLY.encode(call.request)))
        except ApplicationStopped:
            assert self.host.stopped is not None
            answer = self.host.stopped
        self.take_answers()
        told = APPLY_ANSWER.decode(APPLY_ANSWER.encode(answer))
        return lambda engine: engine.applied(call.call_id, told)

    def _give(self, asked: AskSlice, now_ms: int) -> Callable[[Engine], None]:
        given = self.slices.give(self.host, asked)
        if isinstance(given, SliceRefused):
            return lambda engine: engine.snapshots.slice_refused(given.job, given.why, now_ms)
        slice_, data = given
        return lambda engine: engine.snapshots.slice_arrived(asked.job, slice_, memoryview(data), now_ms)

    def take_answers(self) -> None:
        """Note who got an answer."""
        answers, query_answers = self.host.take_answers()
        for ticket, answer in answers:
            assert ticket not in self.answers, f"ticket {ticket} was answered twice"
            self.answers[ticket] = answer
        self.query_answers.update(query_answers)
