"""Small machines, frames and entries for the tests of the application."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from raft_actors.application.exchange import Applied, Apply, CommittedEntry, EntryKind, Epoch, Started
from raft_actors.application.frames import AnyFrame, ClientId, Frame, RawFrame, encode_batch
from raft_actors.application.host import ApplicationHost
from raft_actors.application.limits import HostLimits, Ticket
from raft_actors.application.proposals import Proposal
from raft_actors.application.requests import Answer, Attempt, Done, QueryAnswer
from raft_actors.application.settings import SessionLimits
from raft_actors.core.types import LogIndex, Term

EPOCH = Epoch(b"epoch-0123456789")
OTHER_EPOCH = Epoch(b"epoch-9876543210")
LATE_MS = 10_000
A = TypeVar("A")


def client(name: str) -> ClientId:
    return ClientId(name.encode().ljust(16, b"-"))


def frame(
    sequence: int,
    command: bytes | None = None,
    *,
    by: str = "c",
    acked_below: int = 0,
    opens: int | None = None,
) -> Frame:
    return Frame(
        client_id=client(by),
        sequence=sequence,
        acked_below=acked_below,
        opens=opens,
        command=b"%d" % sequence if command is None else command,
    )


class Journal:
    """Remembers what it was told, and answers how many commands that makes."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    def apply(self, index: int, command: bytes) -> bytes:
        self.commands.append(command)
        return b"%d" % len(self.commands)

    def query(self, request: bytes) -> bytes:
        return request + b":" + b",".join(self.commands)

    def snapshot(self) -> Iterator[bytes]:
        return iter([b"".join(len(command).to_bytes(4, "little") + command for command in self.commands)])

    def restore(self, chunks: Iterator[memoryview]) -> None:
        data, self.commands = b"".join(chunks), []
        while data:
            end = 4 + int.from_bytes(data[:4], "little")
            self.commands.append(data[4:end])
            data = data[end:]


def entry(*frames: AnyFrame | bytes, term: int = 1, stamp_ms: int = 0) -> CommittedEntry:
    """An entry with these frames; bytes stand for a raw one."""
    batch = [RawFrame(command=given) if isinstance(given, bytes) else given for given in frames]
    return CommittedEntry(term=Term(term), stamp_ms=stamp_ms, kind=EntryKind.COMMAND, data=encode_batch(batch))


def noop(*, term: int = 1, stamp_ms: int = 0) -> CommittedEntry:
    return CommittedEntry(term=Term(term), stamp_ms=stamp_ms, kind=EntryKind.NOOP, data=b"")


def apply_request(first_index: int, *entries: CommittedEntry, epoch: Epoch = EPOCH) -> Apply:
    return Apply(epoch=epoch, first_index=LogIndex(first_index), entries=entries)


def attached_host(
    machine: Journal | None = None,
    *,
    sessions: SessionLimits | None = None,
    limits: HostLimits | None = None,
) -> ApplicationHost:
    host = ApplicationHost(machine or Journal(), sessions or SessionLimits(), limits)
    host.attach(EPOCH)
    return host


def apply(host: ApplicationHost, first_index: int, *entries: CommittedEntry) -> Applied:
    """Apply what must be applicable."""
    answer = host.apply(apply_request(first_index, *entries))
    assert isinstance(answer, Applied)
    return answer


def attempt(sequence: int = 1, *, number: int = 1, by: str = "c", command: bytes | None = None) -> Attempt:
    return Attempt(number=number, frame=frame(sequence, command, by=by, opens=0))


def submit(host: ApplicationHost, ticket: int, given: Attempt, *, deadline_ms: int = LATE_MS) -> None:
    host.submit(Ticket(ticket), given, deadline_ms)


def propose(host: ApplicationHost) -> Proposal:
    """The next proposal, which there must be."""
    proposal = host.next_proposal()
    assert proposal is not None
    return proposal


def started(index: int, term: int = 1) -> Started:
    return Started(index=LogIndex(index), term=Term(term))


def entry_of(proposal: Proposal, *, term: int = 1) -> CommittedEntry:
    return CommittedEntry(term=Term(term), stamp_ms=0, kind=EntryKind.COMMAND, data=proposal.data)


def done(result: bytes, index: int, term: int = 1) -> Done:
    return Done(result=result, index=LogIndex(index), term=Term(term))


def answers(host: ApplicationHost) -> dict[int, Answer]:
    """What the attempts' tickets got since the last call; each at most once."""
    ended, _ = host.take_answers()
    return _each_once(ended)


def query_answers(host: ApplicationHost) -> dict[int, QueryAnswer]:
    """What the queries' tickets got since the last call; each at most once."""
    _, ended = host.take_answers()
    return _each_once(ended)


def _each_once(ended: Sequence[tuple[Ticket, A]]) -> dict[int, A]:
    by_ticket: dict[int, A] = {int(ticket): answer for ticket, answer in ended}
    assert len(by_ticket) == len(ended), f"a ticket ended twice: {ended}"
    return by_ticket
