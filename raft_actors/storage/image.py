"""What the records of a log add up to: genesis, term, vote, and the entries above a base.

Here:   `LogImage`, which takes one record after the other and refuses those that make no sense.
Never:  bytes and files. A refused record is a bug where we write (wal.py) and damage where we read (recovery.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from raft_actors.core.effects import Append, HardState, Record, Reset, Truncate
from raft_actors.core.entries import Entry, Genesis, SnapshotMeta
from raft_actors.core.types import GENESIS_ID, EntryId, LogIndex, Term

LogRecord: TypeAlias = Record | Genesis
"""What a write group may hold."""


class ImpossibleRecord(ValueError):
    """A record that cannot follow the ones before it; the text says why."""


@dataclass(slots=True)
class LogImage:
    """The state of a log after some records; starts as that of an empty directory."""

    genesis: Genesis | None = None
    hard_state: HardState = field(default_factory=lambda: HardState(term=Term(0), voted_for=None))
    base: EntryId = GENESIS_ID
    """The entry before the first one: the genesis, or what a snapshot covers."""
    entries: list[Entry] = field(default_factory=list)
    """Consecutive from `base` on."""
    is_cut: bool = False
    """While files are read whose earlier ones went in a compaction: what was before `base` is in a snapshot."""
    base_is_known: bool = True
    """False: a cut log was truncated to a place before its beginning, and only the index of that is known."""

    @property
    def last(self) -> EntryId:
        """Position of the last entry, or the base."""
        return self.entries[-1].id if self.entries else self.base

    def holds(self, entry_id: EntryId) -> bool:
        """Whether this very entry is in the log, or is its base."""
        position = entry_id.index - self.base.index
        if position == 0:
            return entry_id == self.base
        return 0 < position <= len(self.entries) and self.entries[position - 1].id == entry_id

    def reset_to(self, snapshot: SnapshotMeta | None) -> Reset | None:
        """The reset that joins the log to the newest good snapshot, None where it goes on from there as it is (ADR 10).

        Raises `ImpossibleRecord` when the log begins behind everything that is known.
        """
        covered = 0 if snapshot is None else snapshot.last.index
        if self.base.index > covered:
            raise ImpossibleRecord(
                f"the log begins behind index {self.base.index}, and no good snapshot holds what was before"
            )
        return None if snapshot is None or self.holds(snapshot.last) else Reset(base=snapshot.last)

    def compact(self, to: LogIndex) -> None:
        """Forget the entries up to and with `to`, which a snapshot covers; nothing when they are gone already."""
        assert to <= self.last.index, f"compaction to {to} of a log that ends at {self.last.index}"
        count = to - self.base.index
        if count > 0:
            self.base, self.base_is_known = self.entries[count - 1].id, True
            del self.entries[:count]

    def apply(self, record: LogRecord) -> None:
        """Take one more record. Raises `ImpossibleRecord`; the image is then as before."""
        match record:
            case Append(entries=entries):
                self._append(entries)
            case HardState():
                self._set_hard_state(record)
            case Truncate(from_index=index) if self.is_cut and 0 < index <= self.base.index:
                # What follows is covered by the snapshot, too; or a reset follows.
                self.base, self.entries = EntryId(Term(0), LogIndex(index - 1)), []
                self.base_is_known = index == 1
            case Truncate(from_index=index):
                if not self.base.index < index <= self.last.index:
                    raise ImpossibleRecord(
                        f"truncation from index {index} of a log that holds {self.base.index + 1} to {self.last.index}"
                    )
                del self.entries[index - self.base.index - 1 :]
            case Reset(base=base):
                if base.index <= self.base.index and not self.is_cut:
                    raise ImpossibleRecord(
                        f"a reset to index {base.index} of a log that begins behind {self.base.index}"
                    )
                if self.holds(base):
                    raise ImpossibleRecord(f"a reset to {base}, which the log holds")
                self.base, self.entries, self.is_cut, self.base_is_known = base, [], False, True
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
