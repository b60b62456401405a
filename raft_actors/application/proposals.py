"""Who waits for which command: from the attempt's arrival to its one answer.

Here:   attempts that are queued, handed to the peer, started at (index, term), or ended; their deadlines.
Never:  what an entry does (host.py, sessions.py), queries (reads.py), clocks. `now_ms` and deadlines are one monotonic
        clock of the caller.

An attempt's life. It is queued; `next_proposal` puts it into a batch; the peer's answer puts the batch at (index,
term), or ends it. From there it ends as applied here, as lost (another entry stands in its place), or as unknown
(the term was lost, the peer changed, the deadline passed). Each attempt is proposed at most once, whatever the network
does to the request; the one who answers an attempt "definitely not" must not let a late copy of it prove him wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from raft_actors.application.exchange import NotLeader, Overloaded, ProposeAnswer, Started
from raft_actors.application.frames import (
    FRAME_OVERHEAD_BYTES,
    ClientId,
    Computed,
    Frame,
    Outcome,
    Unreadable,
    encode_batch,
)
from raft_actors.application.limits import HostLimits, Ticket
from raft_actors.application.requests import Answer, Attempt, Done, Lost, TooLarge, Unknown
from raft_actors.core.types import LogIndex, Term

AttemptKey: TypeAlias = tuple[ClientId, int, int]

DEADLINE: Final = Unknown(why="not known to be applied within the time given")
DUPLICATE: Final = Unknown(why="a late copy of an attempt that was answered before")
JOINED_TOO_MANY: Final = Unknown(why="a copy of a waiting attempt, and too many wait")
NO_ANSWER: Final = Unknown(why="the peer did not answer the proposal")
TERM_LOST: Final = Unknown(why="the peer lost its leadership after the append")
PEER_CHANGED: Final = Unknown(why="the peer was replaced or restarted after the append")
APPLIED_LONG_AGO: Final = Unknown(why="applied before the peer's answer came, and its result is no longer kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One batch for the log. The shell calls the peer with `data` and says the answer to `answered`, once, always."""

    proposal_id: int
    data: bytes


@dataclass(slots=True, kw_only=True)
class _Waiting:
    key: AttemptKey
    frame: Frame
    tickets: dict[Ticket, int] = field(default_factory=dict)
    """Who waits, and until when (deadline in ms); empty when all of them gave up."""

    @property
    def size_bytes(self) -> int:
        return FRAME_OVERHEAD_BYTES + len(self.frame.command)


_Batch: TypeAlias = tuple[_Waiting, ...]


class Proposals:
    """The waiting attempts of one application. Answers collect until `take_answers`."""

    def __init__(self, limits: HostLimits) -> None:
        self._limits = limits
        self._answers: list[tuple[Ticket, Answer]] = []
        self._waiting: dict[AttemptKey, _Waiting] = {}
        self._queue: OrderedDict[AttemptKey, _Waiting] = OrderedDict()
        self._handed: dict[int, _Batch] = {}
        self._started: dict[tuple[LogIndex, Term], _Batch] = {}
        self._ended: OrderedDict[AttemptKey, None] = OrderedDict()
        self._recent: OrderedDict[LogIndex, tuple[Term, Sequence[Outcome], int]] = OrderedDict()
        self._recent_bytes = 0
        self._calls_open: set[int] = set()
        self._proposal_count = 0
        self._ticket_count = 0
        self._waiting_bytes = 0
        self._earliest_deadline_ms: int | None = None
        self._applied_index = LogIndex(0)
        self._applied_term = Term(0)
        self._lost_to = Term(-1)
        self._attached = False

    @property
    def waiting_count(self) -> int:
        """Tickets without an answer."""
        return self._ticket_count

    def take_answers(self) -> list[tuple[Ticket, Answer]]:
        """What ended since the last call, each ticket once."""
        answers, self._answers = self._answers, []
        return answers

    # -- an attempt arrives -------------------------------------------------------------------------------------------

    def submit(self, ticket: Ticket, attempt: Attempt, deadline_ms: int) -> None:
        """Queue an attempt; or let a second copy of it wait with the first; or answer at once.

        A refused attempt counts as ended: after a definite answer a late copy of it must not be proposed.
        """
        waiting = self._waiting.get(attempt.key)
        if attempt.key in self._ended:
            self._answers.append((ticket, DUPLICATE))
        elif waiting is not None:
            if self._ticket_count < self._limits.attempts_waiting_max:
                self._wait(ticket, waiting, deadline_ms)
            else:
                self._answers.append((ticket, JOINED_TOO_MANY))
        else:
            waiting = _Waiting(key=attempt.key, frame=attempt.frame)
            refusal = self._refusal(waiting)
            if refusal is None:
                self._waiting[waiting.key] = self._queue[waiting.key] = waiting
                self._waiting_bytes += waiting.size_bytes
                self._wait(ticket, waiting, deadline_ms)
            else:
                self._remember(waiting.key)
                self._answers.append((ticket, refusal))

    def _refusal(self, waiting: _Waiting) -> Answer | None:
        if not self._attached:
            return NotLeader(leader=None)
        if waiting.size_bytes > self._limits.proposal_bytes_max:
            return TooLarge(bytes_max=self._limits.proposal_bytes_max - FRAME_OVERHEAD_BYTES)
        bytes_left = self._limits.attempts_waiting_bytes_max - self._waiting_bytes
        if waiting.size_bytes > bytes_left or self._ticket_count >= self._limits.attempts_waiting_max:
            return Overloaded()
        return None

    def _wait(self, ticket: Ticket, waiting: _Waiting, deadline_ms: int) -> None:
        assert ticket not in waiting.tickets, f"ticket {ticket} was given to two callers"
        waiting.tickets[ticket] = deadline_ms
        self._ticket_count += 1
        if self._earliest_deadline_ms is None or deadline_ms < self._earliest_deadline_ms:
            self._earliest_deadline_ms = deadline_ms

    # -- towards the peer ---------------------------------------------------------------------------------------------

    def next_proposal(self) -> Proposal | None:
        """The next batch, oldest attempts first; None when nothing is queued or enough calls are open."""
        if not self._queue or len(self._calls_open) >= self._limits.proposals_in_flight_max:
            return None
        batch: list[_Waiting] = []
        size_bytes = 0
        while self._queue and len(batch) < self._limits.proposal_frames_max:
            key, waiting = next(iter(self._queue.items()))
            size_bytes += waiting.size_bytes
            if size_bytes > self._limits.proposal_bytes_max:
                break
            del self._queue[key]
            batch.append(waiting)
        self._proposal_count += 1
        self._calls_open.add(self._proposal_count)
        self._handed[self._proposal_count] = tuple(batch)
        return Proposal(
            proposal_id=self._proposal_count,
            data=encode_batch([waiting.frame for waiting in batch]),
        )

    def answered(self, proposal_id: int, answer: ProposeAnswer | None) -> None:
        """The peer's answer to a proposal; None: the call failed, and the peer may have obeyed it."""
        self._calls_open.discard(proposal_id)
        batch = self._handed.pop(proposal_id, None)
        if batch is None:
            return  # all of its callers had given up, or the peer changed meanwhile
        match answer:
            case None:
                self._end_all(batch, NO_ANSWER)
            case Started(index=index, term=term):
                self._start(batch, index, term)
            case refusal:
                self._end_all(batch, refusal)

    def _start(self, batch: _Batch, index: LogIndex, term: Term) -> None:
        """Wait at (index, term), unless that entry's fate is known already: applying may overtake the answer."""
        recent = self._recent.get(index)
        if recent is not None and recent[0] == term:
            self._end_as_applied(batch, index, term, recent[1])
        elif recent is not None or (index > self._applied_index and term < self._applied_term):
            self._end_all(batch, Lost())
        elif index <= self._applied_index:
            self._end_all(batch, APPLIED_LONG_AGO)
        elif term <= self._lost_to:
            self._end_all(batch, TERM_LOST)
        else:
            assert (index, term) not in self._started, f"two proposals started at {(index, term)}"
            self._started[index, term] = batch

    # -- the log moves on ---------------------------------------------------------------------------------------------

    def applied(self, index: LogIndex, term: Term, outcomes: Sequence[Outcome], outcomes_bytes: int) -> None:
        """The entry at (index, term) was applied with these outcomes, `outcomes_bytes` long when encoded."""
        self._applied_index, self._applied_term = index, term
        self._recent[index] = term, outcomes, outcomes_bytes
        self._recent_bytes += outcomes_bytes
        while len(self._recent) > self._limits.recent_entries_max or self._recent_bytes > self._limits.recent_bytes_max:
            _, (_, _, dropped_bytes) = self._recent.popitem(last=False)
            self._recent_bytes -= dropped_bytes
        batch = self._started.pop((index, term), None)
        if batch is not None:
            self._end_as_applied(batch, index, term, outcomes)

    def end_overtaken(self) -> None:
        """End what the applied entries have ruled out. To be called when a call's entries are all applied.

        Lost is what stands at an applied index with another term, and also what stands above with a lower term: terms
        never fall along a log (Raft §5.3), so that entry can not follow the applied one in any log.
        """
        for (index, term), batch in list(self._started.items()):
            if index <= self._applied_index or term < self._applied_term:
                del self._started[index, term]
                self._end_all(batch, Lost())

    def term_lost(self, term: Term) -> None:
        """The peer no longer leads `term`: what was started in it or before is unknown, and so is what is yet to be."""
        self._lost_to = max(self._lost_to, term)
        for (index, started_term), batch in list(self._started.items()):
            if started_term <= self._lost_to:
                del self._started[index, started_term]
                self._end_all(batch, TERM_LOST)

    def attach(self) -> None:
        """Another peer, or the same one started again: nobody will tell what became of the proposals made so far."""
        self._end_handed_over(PEER_CHANGED)
        self._attached = True

    def detach(self, answer: Unknown) -> None:
        """There is no peer: what was handed over ends with `answer`; what was not, and what comes, is not done."""
        self._end_handed_over(answer)
        self._end_all(tuple(self._queue.values()), NotLeader(leader=None))
        self._queue.clear()
        self._attached = False

    def _end_handed_over(self, answer: Unknown) -> None:
        for batch in [*self._handed.values(), *self._started.values()]:
            self._end_all(batch, answer)
        self._handed.clear()
        self._started.clear()

    def expire(self, now_ms: int) -> None:
        """End every caller whose deadline has come: unknown, or definite when its attempt was never handed over."""
        if self._earliest_deadline_ms is None or now_ms < self._earliest_deadline_ms:
            return
        for waiting in self._waiting.values():
            answer = Overloaded() if waiting.key in self._queue and len(waiting.tickets) == 1 else DEADLINE
            for ticket in [ticket for ticket, deadline_ms in waiting.tickets.items() if deadline_ms <= now_ms]:
                del waiting.tickets[ticket]
                self._end_ticket(ticket, answer)
        self._forget_abandoned()
        deadlines = [deadline for waiting in self._waiting.values() for deadline in waiting.tickets.values()]
        self._earliest_deadline_ms = min(deadlines, default=None)

    def _forget_abandoned(self) -> None:
        """What nobody waits for is not proposed any more, and a batch nobody waits for is not looked for in the log."""
        for waiting in [waiting for waiting in self._queue.values() if not waiting.tickets]:
            del self._queue[waiting.key]
            self._end_all((waiting,), DEADLINE)
        for proposal_id in [number for number, batch in self._handed.items() if not _anyone_waits(batch)]:
            self._end_all(self._handed.pop(proposal_id), DEADLINE)
        for place in [place for place, batch in self._started.items() if not _anyone_waits(batch)]:
            self._end_all(self._started.pop(place), DEADLINE)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _end_as_applied(self, batch: _Batch, index: LogIndex, term: Term, outcomes: Sequence[Outcome]) -> None:
        assert len(outcomes) == len(batch), f"entry {index}: {len(outcomes)} outcomes for {len(batch)} commands of ours"
        for waiting, outcome in zip(batch, outcomes, strict=True):
            match outcome:
                case Computed(result=result):
                    self._end_all((waiting,), Done(result=result, index=index, term=term))
                case Unreadable():
                    raise AssertionError(f"entry {index}: we wrote a batch that we cannot read")
                case refusal:
                    self._end_all((waiting,), refusal)

    def _end_all(self, batch: _Batch, answer: Answer) -> None:
        for waiting in batch:
            del self._waiting[waiting.key]
            self._waiting_bytes -= waiting.size_bytes
            self._remember(waiting.key)
            for ticket in waiting.tickets:
                self._end_ticket(ticket, answer)

    def _end_ticket(self, ticket: Ticket, answer: Answer) -> None:
        self._ticket_count -= 1
        self._answers.append((ticket, answer))

    def _remember(self, key: AttemptKey) -> None:
        self._ended[key] = None
        if len(self._ended) > self._limits.attempts_remembered_max:
            self._ended.popitem(last=False)


def _anyone_waits(batch: _Batch) -> bool:
    return any(waiting.tickets for waiting in batch)
