"""The log above its base: lookup, append, conflict, truncation (Raft §5.3), compaction (§7).

Here:   the entries in memory, and the two searches of the conflict hint.
Never:  the disk (effects ask for it), commit and apply (replication.py), which configuration is in force.

Forgetting is quick, whatever the number of entries: what is forgotten is put aside, and let go of in small portions
(`let_go`), since a process stands still while Python frees half a million objects.

The base is the entry before the first one: the genesis (0, 0), or one that a snapshot covers. What was up to the base
was committed, so two logs of a group never differ there (State Machine Safety, Raft Fig. 3).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from raft_actors.core.entries import Entry
from raft_actors.core.types import GENESIS_ID, EntryId, LogIndex, Term


class Log:
    """Entries with consecutive indexes and terms that never fall."""

    __slots__ = ("_base", "_base_stamp_ms", "_ends", "_entries", "_forgotten", "_term_starts")

    def __init__(self, entries: Iterable[Entry] = (), base: EntryId = GENESIS_ID, base_stamp_ms: int = 0) -> None:
        self._base = base
        self._base_stamp_ms = base_stamp_ms
        self._entries: list[Entry] = []
        self._ends: list[int] = []
        """Bytes of all entries up to and with each, from some beginning on."""
        self._forgotten: list[Entry] = []
        self._term_starts: list[EntryId] = []
        held = tuple(entries)
        if held:
            self.append(held)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def base(self) -> EntryId:
        """The entry before the first."""
        return self._base

    @property
    def last(self) -> EntryId:
        """The newest entry, or the base of an empty log."""
        return self._entries[-1].id if self._entries else self._base

    @property
    def last_stamp_ms(self) -> int:
        """Log-carried time of the newest entry, or of the base; 0 for the genesis, or where it is not known."""
        return self._entries[-1].stamp_ms if self._entries else self._base_stamp_ms

    @property
    def size_bytes(self) -> int:
        """What the entries count against byte limits."""
        return self.size_of_last(len(self._entries))

    def size_of_last(self, count: int) -> int:
        """What the last `count` entries count against byte limits; all there are, if they are fewer."""
        if not self._entries or count <= 0:
            return 0
        return self._ends[-1] - self._end_before(max(0, len(self._entries) - count))

    def _end_before(self, position: int) -> int:
        return self._ends[position - 1] if position else self._ends[0] - self._entries[0].size_bytes

    def term_at(self, index: LogIndex) -> Term | None:
        """Term of the entry at `index`, or None where the log holds nothing (before the base, after the end)."""
        if index == self._base.index:
            return self._base.term
        position = index - self._base.index - 1
        if 0 <= position < len(self._entries):
            return self._entries[position].term
        return None

    def matches(self, entry_id: EntryId) -> bool:
        """Whether the log holds this very entry: the consistency check of AppendEntries (Raft §5.3)."""
        return self.term_at(entry_id.index) == entry_id.term

    def covers(self, entry_id: EntryId) -> bool:
        """Whether the log holds this entry or once held it: below the base there is only one that it can be."""
        return entry_id.index < self._base.index or self.matches(entry_id)

    def stamp_at(self, index: LogIndex) -> int:
        """Log-carried time of an entry that the log holds, or of its base."""
        return self._base_stamp_ms if index == self._base.index else self.entry_at(index).stamp_ms

    def entry_id_at(self, index: LogIndex) -> EntryId:
        """(term, index) of an entry that the log holds."""
        term = self.term_at(index)
        assert term is not None, f"no entry {index}: the log holds {self._base.index}..{self.last.index}"
        return EntryId(term, index)

    def entry_at(self, index: LogIndex) -> Entry:
        """The entry at `index`, which the log must hold above its base."""
        position = index - self._base.index - 1
        assert 0 <= position < len(self._entries), f"no entry {index} in {self._base.index + 1}..{self.last.index}"
        return self._entries[position]

    def read(self, first: LogIndex, last: LogIndex, *, bytes_max: int, entries_max: int) -> tuple[Entry, ...]:
        """Entries first..last, cut off at the limits, but never fewer than one if there is one (Raft §5.3).

        An entry above `bytes_max` travels alone; otherwise it could never be replicated.
        """
        assert first > self._base.index, f"entry {first} is at or before the base {self._base.index}"
        start = first - self._base.index - 1
        stop = min(last - self._base.index, len(self._entries), start + entries_max)
        if start >= stop:
            return ()
        fits = bisect_right(self._ends, self._end_before(start) + bytes_max, start, stop)
        return tuple(self._entries[start : max(fits, start + 1)])

    def append(self, entries: Sequence[Entry]) -> None:
        """Put entries behind the end."""
        assert entries, "append of nothing: the caller should have skipped it"
        end = self._ends[-1] if self._ends else 0
        for entry in entries:
            last = self.last
            assert entry.index == last.index + 1, f"gap: the log ends at {last}, got {entry.id}"
            assert entry.term >= last.term, f"terms never fall along a log (Raft §5.3): {last}, then {entry.id}"
            assert entry.stamp_ms >= self.last_stamp_ms, f"log time went back at {entry.id}"
            if not self._term_starts or entry.term > self._term_starts[-1].term:
                self._term_starts.append(entry.id)
            end += entry.size_bytes
            self._entries.append(entry)
            self._ends.append(end)

    def truncate_from(self, index: LogIndex) -> None:
        """Forget the entries from `index` on: they conflict with the leader's (Raft §5.3)."""
        assert self._base.index < index <= self.last.index, (
            f"truncation from {index} outside {self._base.index + 1}..{self.last.index}"
        )
        position = index - self._base.index - 1
        self._forgotten += self._entries[position:]
        del self._entries[position:], self._ends[position:]
        while self._term_starts and self._term_starts[-1].index >= index:
            self._term_starts.pop()

    def compact(self, to: LogIndex) -> None:
        """Forget the entries up to and with `to`, which a snapshot covers; nothing when they are gone already."""
        assert to <= self.last.index, f"compaction to {to} of a log that ends at {self.last}"
        count = to - self._base.index
        if count <= 0:
            return
        base = self._entries[count - 1]
        self._base, self._base_stamp_ms = base.id, base.stamp_ms
        self._forgotten += self._entries[:count]
        del self._entries[:count], self._ends[:count]
        self._term_starts = [start for start in self._term_starts if start.index > to]
        if self._entries and (not self._term_starts or self._term_starts[0].index > to + 1):
            self._term_starts.insert(0, self._entries[0].id)  # its term began before

    def reset(self, base: EntryId, stamp_ms: int) -> None:
        """Forget everything, and go on behind the last entry of a snapshot (Raft Fig. 13, 7.)."""
        assert base.index > self._base.index, f"a reset to {base} of a log that begins behind {self._base}"
        self._base, self._base_stamp_ms = base, stamp_ms
        self._forgotten += self._entries
        self._entries, self._ends, self._term_starts = [], [], []

    def let_go(self, count: int) -> None:
        """Free at most so many of the forgotten entries. To be called now and then."""
        if self._forgotten:
            del self._forgotten[-count:]

    def first_conflict(self, entries: Sequence[Entry]) -> int:
        """How many of `entries` the log already holds; entries[that] is missing or conflicts (Raft §5.3)."""
        for count, entry in enumerate(entries):
            if not self.covers(entry.id):
                return count
        return len(entries)

    def last_at_or_before(self, index: LogIndex, term: Term) -> EntryId:
        """The newest entry at or before `index` whose term is at most `term`; the base when there is none.

        Both sides of the conflict hint use it (Raft §5.3, end): the follower to skip its entries of terms that the
        leader cannot have there, the leader to skip those the follower cannot have. Each round of backing up
        therefore passes at least one whole term of one of the logs: rounds are bounded by terms, not by entries.
        """
        upper = min(index, self.last.index)
        starts = bisect_right([start.term for start in self._term_starts], term)
        if starts == 0:
            return self._base
        if starts < len(self._term_starts):
            upper = min(upper, LogIndex(self._term_starts[starts].index - 1))
        if upper <= self._base.index:
            return self._base
        return self.entry_id_at(upper)
