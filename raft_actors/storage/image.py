"""What the records of a log add up to: genesis, term, vote and entries.

Here:   `LogImage`, which takes one record after the other and refuses those that make no sense.
Never:  bytes and files. A refused record is a bug where we write (wal.py) and damage where we read (recovery.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from raft_actors.core.effects import Append, HardState, Record, Truncate
from raft_actors.core.entries import Entry, Genesis
from raft_actors.core.types import GENESIS_ID, EntryId, Term

LogRecord: TypeAlias = Record | Genesis
"""What a write group may hold."""


class ImpossibleRecord(ValueError):
    """A record that cannot follow the ones before it; the text says why."""


@dataclass(slots=True)
class LogImage:
    """The state of a log after some records; starts as that of an empty directory."""

    genesis: Genesis | None = None
    hard_state: HardState = field(default_factory=lambda: HardState(term=Term(0), voted_for=None))
    entries: list[Entry] = field(default_factory=list)

    @property
    def last(self) -> EntryId:
        """Position of the last entry, or that of the genesis."""
        return self.entries[-1].id if self.entries else GENESIS_ID

    def apply(self, record: LogRecord) -> None:
        """Take one more record. Raises `ImpossibleRecord`; the image is then as before."""
        match record:
            case Append(entries=entries):
                self._append(entries)
            case HardState():
                self._set_hard_state(record)
            case Truncate(from_index=index):
                if not 1 <= index <= self.last.index:
                    raise ImpossibleRecord(f"truncation from index {index} of a log that ends at {self.last.index}")
                del self.entries[index - 1 :]
            case Genesis():
                if self.genesis not in (None, record):
                    raise ImpossibleRecord("a second genesis that differs from the first")
                self.genesis = record

    def _append(self, entries: tuple[Entry, ...]) -> None:
        if not entries:
            raise ImpossibleRecord("an append of nothing")
        term, index = self.last.term, self.last.index
        for entry in entries:
            at = entry.id
            if at.index != index + 1:
                raise ImpossibleRecord(f"gap: entry {at.index} follows entry {index}")
            if at.term < term:
                raise ImpossibleRecord(f"terms fall along the log: {at.term} at {at.index} follows {term} (Raft §5.3)")
            term, index = at.term, at.index
        self.entries += entries

    def _set_hard_state(self, new: HardState) -> None:
        old = self.hard_state
        if new.term < old.term:
            raise ImpossibleRecord(f"the term falls: {old.term}, then {new.term} (Raft §5.1)")
        if new.term == old.term and old.voted_for not in (None, new.voted_for):
            raise ImpossibleRecord(f"a second vote in term {new.term} (Raft §5.2)")
        self.hard_state = new
