"""Committed entries on their way to the application, in order (Ruaft's apply daemon), and whether it is there at all.

Here:   one attachment's position, the calls under way, the answers; no thread, no clock.
Never:  what applying means (raft_actors/application/host.py on the other side).

The application is another process that dies by itself. It attaches with an epoch that it drew; calls of an earlier
epoch count for nothing. At most two calls are under way, so that one travels while the other is worked on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from raft_actors.application.exchange import (
    Applied,
    Apply,
    ApplyAnswer,
    Checkpoint,
    CommittedEntry,
    EntryKind,
    Epoch,
    Gap,
    Stopped,
    WrongEpoch,
)
from raft_actors.core.entries import Command, Entry, Noop
from raft_actors.core.log import Log
from raft_actors.core.types import LogIndex

CALLS_MAX: Final = 2
"""Apply calls under way (DESIGN 4)."""
CALL_ENTRIES_MAX: Final = 4096
"""Entries in one call."""
PROBE_INTERVAL_MS: Final = 500
"""How long a leader leaves its application without a call: an idle one could be dead without anybody noticing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyCall:
    """One call to the application; `call_id` tells its answer from that of an earlier one."""

    call_id: int
    request: Apply


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """News of an answer: how far the application is, and chains for the comparison between members."""

    applied_index: LogIndex
    checkpoints: tuple[Checkpoint, ...]


class ApplicationFeed:
    """The peer's side of the application protocol (DESIGN 4)."""

    def __init__(self, *, now_ms: int, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._epoch: Epoch | None = None
        self._next_index = LogIndex(1)
        self._under_way: dict[int, int] = {}
        """When each call under way was made."""
        self._last_call_id = 0
        self._called_ms = now_ms
        self._absent_since_ms: int | None = now_ms
        self.applied_index = LogIndex(0)

    @property
    def epoch(self) -> Epoch | None:
        """The attachment in force."""
        return self._epoch

    @property
    def next_index(self) -> LogIndex:
        """The entry that goes out next."""
        return self._next_index

    def absent_ms(self, now_ms: int) -> int:
        """For how long there has been no application, or one that does not answer; 0 when all is well."""
        if self._absent_since_ms is not None:
            return now_ms - self._absent_since_ms
        return max((now_ms - sent_ms for sent_ms in self._under_way.values()), default=0)

    def attach(self, epoch: Epoch, applied_index: LogIndex) -> None:
        """A (new) application, or one that starts over. Whatever was under way to the one before is forgotten."""
        self._epoch = epoch
        self._next_index = LogIndex(applied_index + 1)
        self._under_way.clear()
        self._absent_since_ms = None
        self.applied_index = applied_index

    def detach(self, now_ms: int) -> None:
        """The application is gone; it comes back with another epoch."""
        if self._epoch is not None:
            self._epoch = None
            self._under_way.clear()
            self._absent_since_ms = now_ms

    def next_call(self, log: Log, commit_index: LogIndex, now_ms: int) -> ApplyCall | None:
        """The next entries to apply, or None when there are none or enough is under way."""
        if self._epoch is None or len(self._under_way) >= CALLS_MAX or self._next_index > commit_index:
            return None
        entries = log.read(self._next_index, commit_index, bytes_max=self._bytes_max, entries_max=CALL_ENTRIES_MAX)
        call = self._call(tuple(_committed(entry) for entry in entries), self._epoch, now_ms)
        self._next_index = LogIndex(self._next_index + len(entries))
        return call

    def probe(self, now_ms: int) -> ApplyCall | None:
        """A call without entries, when there has been none for a while; None otherwise."""
        if self._epoch is None or self._under_way or now_ms - self._called_ms < PROBE_INTERVAL_MS:
            return None
        return self._call((), self._epoch, now_ms)

    def _call(self, entries: tuple[CommittedEntry, ...], epoch: Epoch, now_ms: int) -> ApplyCall:
        self._last_call_id += 1
        self._under_way[self._last_call_id] = self._called_ms = now_ms
        request = Apply(epoch=epoch, first_index=self._next_index, entries=entries)
        return ApplyCall(call_id=self._last_call_id, request=request)

    def answered(self, call_id: int, answer: ApplyAnswer, now_ms: int) -> Progress | Stopped | None:
        """Take an answer. `Stopped`: the machine raised, this member must fail. None: nothing new."""
        if call_id not in self._under_way:
            return None  # an earlier epoch's
        del self._under_way[call_id]
        match answer:
            case Applied(applied_index=applied_index, checkpoints=checkpoints):
                self.applied_index = max(self.applied_index, applied_index)
                return Progress(applied_index=self.applied_index, checkpoints=checkpoints)
            case Gap(applied_index=applied_index):
                self._under_way.clear()  # whatever is still under way meets the same gap
                self._next_index = LogIndex(applied_index + 1)
                return None
            case WrongEpoch():
                self.detach(now_ms)
                return None
            case Stopped():
                return answer

    def lost(self, call_id: int, now_ms: int) -> None:
        """The call failed: the application is taken for dead until it attaches again."""
        if call_id in self._under_way:
            self.detach(now_ms)


def _committed(entry: Entry) -> CommittedEntry:
    match entry.payload:
        case Command(data=data):
            kind = EntryKind.COMMAND
        case Noop():
            kind, data = EntryKind.NOOP, b""
        case _:
            kind, data = EntryKind.CONFIGURATION, b""
    return CommittedEntry(term=entry.term, stamp_ms=entry.stamp_ms, kind=kind, data=data)
