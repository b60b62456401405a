"""The application beside a peer, whatever its state machine: applies what is committed, and answers who waits.

Here:   `ApplicationHost`: epochs, applying in order, the state chain, stopping when the machine raises; its snapshot.
Never:  threads, clocks, Ray. A shell carries bytes to and from it, resolves futures with `take_answers`, and calls
        `expire` now and then.

After any call, also one that raised, the shell takes the answers: every ticket given to `submit` or `read` ends with
exactly one, by its deadline at the latest.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Iterable, Iterator
from typing import Final

from raft_actors.application.chain import CHAIN_BYTES, StateChain
from raft_actors.application.exchange import (
    Applied,
    Apply,
    ApplyAnswer,
    Checkpoint,
    CommittedEntry,
    EntryKind,
    Epoch,
    Gap,
    ProposeAnswer,
    Provenance,
    Stopped,
    TermLost,
    WrongEpoch,
)
from raft_actors.application.fields import FieldReader, pack_fields
from raft_actors.application.frames import AnyFrame, Unreadable, decode_batch, encode_outcomes
from raft_actors.application.limits import HostLimits, Ticket
from raft_actors.application.machine import StateMachine
from raft_actors.application.packing import Malformed
from raft_actors.application.proposals import Proposal, Proposals
from raft_actors.application.reads import Reads
from raft_actors.application.requests import Answer, Attempt, QueryAnswer, QueryDone, QueryFailed, Unknown
from raft_actors.application.sessions import Sessions
from raft_actors.application.settings import SessionLimits
from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId, EntryId, LogIndex, Term
from raft_actors.errors import RaftActorsError

STATE_FORMAT: Final = "raft-actors state 1"
"""First field of a snapshot; another one is refused."""

NOTHING_AGREED: Final = Checkpoint(index=LogIndex(0), chain=bytes(CHAIN_BYTES))
"""How a snapshot says that no point was agreed."""

PEER_GONE: Final = Unknown(why="this member's peer went away; ask another member")
STOPPED: Final = Unknown(why="this member's state machine failed; ask another member")


class ApplicationStopped(RaftActorsError):
    """The state machine raised while applying; this replica is stopped, fix the machine and replace the member.

    Carries `index` of the entry and `why`: which exception, and where, without any value of a user.
    """


class ApplicationHost:
    """One state machine, its sessions and its callers. Used by one thread at a time."""

    def __init__(self, machine: StateMachine, sessions: SessionLimits, limits: HostLimits | None = None) -> None:
        """`machine` and `sessions` as the genesis record says; `limits` are this process's own."""
        limits = limits or HostLimits()
        self._machine = machine
        self._sessions = Sessions(sessions)
        self._chain = StateChain(limits.checkpoints_max)
        self._proposals = Proposals(limits)
        self._reads = Reads(limits)
        self._epoch: Epoch | None = None
        self._applied_index = LogIndex(0)
        self._applied_term = Term(0)
        self._stopped: Stopped | None = None
        self._provenance: Provenance | None = None

    @property
    def epoch(self) -> Epoch | None:
        """Under which the host is attached; None: it is not."""
        return self._epoch

    @property
    def applied_index(self) -> LogIndex:
        """The last entry applied; 0 before the first."""
        return self._applied_index

    @property
    def applied(self) -> EntryId:
        """The last entry applied, with its term."""
        return EntryId(self._applied_term, self._applied_index)

    @property
    def provenance(self) -> Provenance | None:
        """Of the snapshot that this state went on from; None: every entry was applied here."""
        return self._provenance

    @property
    def chain(self) -> bytes:
        """The state chain at `applied_index`, 16 bytes."""
        return self._chain.value

    @property
    def waiting_count(self) -> int:
        """Callers without an answer."""
        return self._proposals.waiting_count + self._reads.waiting_count

    @property
    def stopped(self) -> Stopped | None:
        """Why this host applies nothing any more, as the peer is told; None: it does."""
        return self._stopped

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The state chains kept for comparison with other members, oldest first."""
        return self._chain.checkpoints(LogIndex(0), self._applied_index)

    def take_answers(self) -> tuple[list[tuple[Ticket, Answer]], list[tuple[Ticket, QueryAnswer]]]:
        """What ended since the last call: answers of attempts, answers of queries."""
        return self._proposals.take_answers(), self._reads.take_answers()

    # -- the peer -----------------------------------------------------------------------------------------------------

    def attach(self, epoch: Epoch) -> None:
        """The peer accepted `epoch` and sends entries from `applied_index + 1`. Raises `ApplicationStopped`.

        What was handed to the peer before ends unknown. If the peer says that the state cannot go on, the shell makes
        a new host instead, and detaches this one.
        """
        self._raise_if_stopped()
        assert epoch != self._epoch, "an epoch is drawn anew for every attachment"
        self._epoch = epoch
        self._proposals.attach()

    def detach(self) -> None:
        """The peer is gone. Everyone who waits is answered, and so is everyone who comes, until the next `attach`."""
        self._end_epoch(PEER_GONE)

    def apply(self, request: Apply) -> ApplyAnswer:
        """Apply the entries that are not applied yet, if they follow on what is, under the present epoch.

        Raises `ApplicationStopped` when the machine does, and on every later call: nobody knows how much of the
        failed command the state holds.
        """
        self._raise_if_stopped()
        if request.epoch != self._epoch:
            return WrongEpoch()
        if request.first_index > self._applied_index + 1:
            return Gap(applied_index=self._applied_index)
        known_count = self._applied_index + 1 - request.first_index
        for entry in request.entries[known_count:]:
            self._apply_entry(LogIndex(self._applied_index + 1), entry)
        self._proposals.end_overtaken()
        self._reads.applied(self._applied_index, self._query)
        last_index = LogIndex(request.first_index + len(request.entries) - 1)
        return Applied(
            applied_index=self._applied_index,
            chain=self._chain.value,
            checkpoints=self._chain.checkpoints(request.first_index, last_index),
        )

    def term_lost(self, notice: TermLost) -> None:
        """The peer no longer leads; a notice of another epoch says nothing about this one."""
        if notice.epoch == self._epoch:
            self._proposals.term_lost(notice.term)

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def snapshot(self, provenance: Provenance) -> Iterator[bytes]:
        """The state after `applied`, as it is at this call, in pieces; what is applied meanwhile does not show in them.

        Provenance, sessions, state chain and the machine's own snapshot: docs/FORMATS.md. Raises `ApplicationStopped`.
        """
        self._raise_if_stopped()
        agreed = provenance.agreed
        if agreed is None or agreed.index > self._applied_index:  # of a state before this one, which was further on
            agreed = NOTHING_AGREED
        fields: list[int | bytes | str] = [STATE_FORMAT, self._applied_index, self._applied_term, self._chain.value]
        fields += [provenance.computed_by, agreed.index, agreed.chain]
        machine = map(_bytes, self._machine.snapshot())
        # A machine that is a generator looks at its state when its first piece is asked for: that has to be now.
        first = itertools.islice(machine, 1)
        return itertools.chain(pack_fields(itertools.chain(fields, self._sessions.fields())), tuple(first), machine)

    def restore(self, chunks: Iterable[memoryview]) -> None:
        """Go on from a snapshot. For a host that has applied nothing yet.

        Raises `Malformed`, or what the machine raises for its part; this host is of no use then.
        """
        assert self._applied_index == 0, "a host that has applied something is not restored, another one is made"
        assert self._epoch is None, "a host is restored before it is attached"
        reader = FieldReader(chunks)
        state_format = reader.read(str)
        if state_format != STATE_FORMAT:
            raise Malformed(f"a state of format {state_format!r}, and this process knows {STATE_FORMAT!r}")
        applied_index, applied_term, chain = reader.read(int), reader.read(int), reader.read(bytes)
        if applied_index < 1 or applied_term < 0 or len(chain) != CHAIN_BYTES:
            raise Malformed(f"a state after index {applied_index} of term {applied_term}")
        provenance = _read_provenance(reader, applied_index)
        sessions = Sessions.read(self._sessions.limits, reader, applied_index)
        self._machine.restore(reader.rest())
        self._sessions = sessions
        self._chain.restore(chain)
        self._applied_index, self._applied_term = LogIndex(applied_index), Term(applied_term)
        self._provenance = provenance

    # -- callers ------------------------------------------------------------------------------------------------------

    def submit(self, ticket: Ticket, attempt: Attempt, deadline_ms: int) -> None:
        """A client's attempt arrived; its answer comes with `take_answers`. Raises `ApplicationStopped`."""
        self._raise_if_stopped()
        self._proposals.submit(ticket, attempt, deadline_ms)

    def next_proposal(self) -> Proposal | None:
        """What to propose to the peer next; None: nothing now. Each proposal has to be `proposal_answered`, once."""
        return self._proposals.next_proposal()

    def proposal_answered(self, proposal_id: int, answer: ProposeAnswer | None) -> None:
        """What the peer said to a proposal; None when the call failed. May come before or after the entry's `apply`."""
        self._proposals.answered(proposal_id, answer)

    def read(self, ticket: Ticket, request: bytes, index: LogIndex, deadline_ms: int) -> None:
        """Query a state that has applied `index` (the peer's `ReadAt`; 0 for a stale read), now or once it has.

        The answer comes with `take_answers`. Raises `ApplicationStopped`.
        """
        self._raise_if_stopped()
        self._reads.read(ticket, request, index, self._applied_index, deadline_ms, self._query)

    def expire(self, now_ms: int) -> None:
        """Answer everyone whose deadline has come. To be called a few times a second; nearly free when nothing ends."""
        self._proposals.expire(now_ms)
        self._reads.expire(now_ms)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _apply_entry(self, index: LogIndex, entry: CommittedEntry) -> None:
        assert entry.term >= self._applied_term, f"entry {index}: terms never fall along a log (Raft §5.3)"
        frames = _frames(entry)
        outcomes = self._sessions.apply_entry(
            index, entry.stamp_ms, frames or (), lambda command: self._run(index, command)
        )
        if frames is None:
            outcomes = (Unreadable(),)
        results = encode_outcomes(outcomes)
        self._chain.extend(index, entry, results)
        self._applied_index, self._applied_term = index, entry.term
        self._proposals.applied(index, entry.term, outcomes, len(results))

    def _query(self, request: bytes) -> QueryAnswer:
        try:
            result = _bytes(self._machine.query(request))
        except Exception as failure:
            return QueryFailed(why=_place_of(failure))
        return QueryDone(result=result, applied_index=self._applied_index)

    def _run(self, index: LogIndex, command: bytes) -> bytes:
        try:
            return _bytes(self._machine.apply(index, command))
        except Exception as failure:
            self._stopped = Stopped(index=index, why=_place_of(failure))
            self._end_epoch(STOPPED)
            raise self._stop_error(self._stopped) from failure

    def _end_epoch(self, answer: Unknown) -> None:
        self._epoch = None
        self._proposals.detach(answer)
        self._reads.end_all(answer)

    def _raise_if_stopped(self) -> None:
        if self._stopped is not None:
            raise self._stop_error(self._stopped)

    @staticmethod
    def _stop_error(stopped: Stopped) -> ApplicationStopped:
        return ApplicationStopped(
            f"the state machine raised {stopped.why} while applying entry {stopped.index}; fix it, then replace this "
            f"member",
            index=stopped.index,
            why=stopped.why,
        )


def _frames(entry: CommittedEntry) -> tuple[AnyFrame, ...] | None:
    """The entry's commands; None when its bytes are no batch, which every member finds alike."""
    if entry.kind is not EntryKind.COMMAND:
        return ()
    try:
        return decode_batch(entry.data)
    except Malformed:
        return None


def _read_provenance(reader: FieldReader, applied_index: int) -> Provenance:
    computed_by, agreed = reader.read(bytes), reader.read_count(applied_index)
    chain = reader.read(bytes)
    if len(computed_by) != DIRECTORY_ID_BYTES or len(chain) != CHAIN_BYTES:
        raise Malformed("a provenance that names no directory or no chain")
    return Provenance(
        computed_by=DirectoryId(computed_by),
        agreed=Checkpoint(index=LogIndex(agreed), chain=chain) if agreed else None,
    )


def _bytes(result: object) -> bytes:
    """What the machine gave, if it kept its promise to give bytes; a mutable buffer could change after hashing."""
    if type(result) is not bytes:
        raise TypeError(f"a state machine answers in bytes, not {type(result).__name__}")
    return result


def _place_of(failure: Exception) -> str:
    """Which exception and where, without its text: that may hold values."""
    where = traceback.extract_tb(failure.__traceback__)[-1]
    return f"{type(failure).__name__} in {where.name} ({where.filename}:{where.lineno})"
