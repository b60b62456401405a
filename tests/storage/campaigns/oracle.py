"""What must be there after a crash: the groups that were acknowledged, and perhaps the one that was being written.

Here:   `Model`, what records and snapshots add up to, written a second time and simply; `Oracle`, which knows what was
        promised to whom and judges what a start found.
Never:  files; the product's own `LogImage`, which would agree with itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from raft_actors.core.effects import Append, HardState, Reset, Truncate
from raft_actors.core.entries import Entry, Genesis, SnapshotMeta
from raft_actors.core.types import GENESIS_ID, DirectoryId, EntryId, LogIndex
from raft_actors.storage.image import LogRecord
from raft_actors.storage.interface import Recovered
from tests.storage.campaigns.found import Found, expect


@dataclass(frozen=True, slots=True)
class Model:
    """The state of a log, as plain as can be. What a compaction forgets stays in it."""

    genesis: Genesis | None = None
    term: int = 0
    vote: DirectoryId | None = None
    base: EntryId = GENESIS_ID
    """The genesis, or where a reset began the log."""
    entries: tuple[Entry, ...] = ()
    """From behind `base` on."""
    snapshot: SnapshotMeta | None = None
    """The newest that is durable."""
    forgotten: LogIndex = LogIndex(0)
    """Entries up to this one may be gone: a compaction was begun."""

    @property
    def last(self) -> EntryId:
        """The newest entry, or the base."""
        return self.entries[-1].id if self.entries else self.base

    @property
    def committed(self) -> LogIndex:
        """What is in a snapshot was committed, and is never truncated."""
        return max(self.base.index, LogIndex(0) if self.snapshot is None else self.snapshot.last.index)

    def id_at(self, index: int) -> EntryId | None:
        """The entry at an index, or the base; None for what the log does not have."""
        position = index - self.base.index
        if position == 0:
            return self.base
        return self.entries[position - 1].id if 0 < position <= len(self.entries) else None

    def entry_at(self, index: int) -> Entry | None:
        """The entry at an index; None for what the log does not have."""
        position = index - self.base.index
        return self.entries[position - 1] if 0 < position <= len(self.entries) else None

    def after(self, records: Iterable[LogRecord]) -> Model:
        """The state after these records."""
        model = self
        for record in records:
            match record:
                case Append(entries=entries):
                    model = replace(model, entries=model.entries + entries)
                case HardState(term=term, voted_for=vote):
                    model = replace(model, term=term, vote=vote)
                case Truncate(from_index=index):
                    model = replace(model, entries=model.entries[: index - model.base.index - 1])
                case Reset(base=base):
                    model = replace(model, base=base, entries=())
                case Genesis():
                    model = replace(model, genesis=record)
        return model

    def joined(self) -> Model:
        """What a start makes of it: the log is reset when it does not hold what the snapshot ends with (ADR 10)."""
        if self.snapshot is None or self.id_at(self.snapshot.last.index) == self.snapshot.last:
            return self
        return replace(self, base=self.snapshot.last, entries=())

    def without_beginning(self, base: EntryId) -> Model:
        """The same log from a later entry on; itself when it holds no such entry, or may not forget so much."""
        count = base.index - self.base.index
        if not count > 0 or base.index > self.forgotten or self.id_at(base.index) != base:
            return self
        return replace(self, base=base, entries=self.entries[count:])

    def is_found(self, found: Model) -> bool:
        """Whether a start that found this found all of it."""
        expected = self.joined().without_beginning(found.base)
        return replace(expected, forgotten=LogIndex(0)) == found

    @classmethod
    def of(cls, found: Recovered) -> Model:
        """What a start found, in the same words."""
        hard_state = found.hard_state
        return cls(found.genesis, hard_state.term, hard_state.voted_for, found.base, found.entries, found.snapshot)


@dataclass(slots=True)
class Oracle:
    """What was promised to whom. A copy of it goes with every copy of the files."""

    acknowledged: Model = Model()
    """All groups whose write returned, and all that a start told."""
    in_flight: Model | None = None
    """The same and the group that is being written, which may be found or not."""
    start_count_told: int = 0
    directory_id_told: DirectoryId | None = None

    def copy(self) -> Oracle:
        """The same promises, to go another way from here."""
        return replace(self)

    def begin(self, records: Iterable[LogRecord]) -> None:
        """A group is about to be written."""
        self.in_flight = self.acknowledged.after(records)

    def begin_snapshot(self, meta: SnapshotMeta) -> None:
        """A snapshot is about to be written."""
        self.in_flight = replace(self.acknowledged, snapshot=meta)

    def begin_compaction(self, to: LogIndex) -> None:
        """From here on entries up to this one may be gone."""
        self.acknowledged = replace(self.acknowledged, forgotten=max(to, self.acknowledged.forgotten))

    def acknowledge(self) -> None:
        """Its write returned: from here on it may be known to others."""
        assert self.in_flight is not None, "nothing is being written"
        self.acknowledged, self.in_flight = self.in_flight, None

    def told(self, found: Recovered) -> None:
        """`open` returned, and from here on all of what it found may be known to others. Raises `Found`."""
        count, directory_id = found.incarnation.start_count, found.incarnation.directory_id
        expect(
            count > self.start_count_told,
            "start counter repeated",
            f"start {count} after start {self.start_count_told} had been told",
        )
        expect(self.directory_id_told in (None, directory_id), "directory id changed", "the directory drew another id")
        self.start_count_told, self.directory_id_told = count, directory_id
        model = Model.of(found)
        if not self.acknowledged.is_found(model):
            if self.in_flight is None or not self.in_flight.is_found(model):
                raise Found(*difference(self.acknowledged, self.in_flight, model))
            self.acknowledged = self.in_flight
        self.acknowledged = self.acknowledged.joined()
        self.in_flight = None


def difference(acknowledged: Model, in_flight: Model | None, found: Model) -> tuple[str, str]:
    """The rule that `found` breaks, and how; it is neither of the two allowed models."""
    may = f"acknowledged {_brief(acknowledged)}, in flight {_brief(in_flight)}, found {_brief(found)}"
    acknowledged = acknowledged.joined()
    in_flight = None if in_flight is None else in_flight.joined()
    allowed = [model for model in (acknowledged, in_flight) if model is not None]
    if found.term < acknowledged.term:
        return "term back", may
    if found.term == acknowledged.term and found.vote != acknowledged.vote and acknowledged.vote is not None:
        return "vote changed", may
    if all(found.genesis != model.genesis for model in allowed):
        return "genesis lost or changed", may
    if all(found.snapshot != model.snapshot for model in allowed):
        return "snapshot lost or changed", may
    for entry in acknowledged.entries:
        index = entry.id.index
        if in_flight is not None and in_flight.entry_at(index) != entry:
            break  # the group in flight truncates from here on, or resets the log
        instead = found.entry_at(index)
        may_be_forgotten = index <= min(found.base.index, acknowledged.forgotten)
        if instead != entry and not (instead is None and may_be_forgotten):
            return f"acknowledged entry {'lost' if instead is None else 'changed'}", f"index {index}; {may}"
    if all(found.last.index > model.last.index for model in allowed):
        return "truncated entries are back", may
    if all(found.base.index > model.forgotten and found.base != model.base for model in allowed):
        return "acknowledged entry lost", may
    return "half a group", may


def _brief(model: Model | None) -> str:
    if model is None:
        return "nothing"
    vote = "-" if model.vote is None else model.vote[:2].hex()
    base, last = (f"{each.term}/{each.index}" for each in (model.base, model.last))
    snapshot = "none" if model.snapshot is None else f"{model.snapshot.last.term}/{model.snapshot.last.index}"
    genesis = "" if model.genesis else ", no genesis"
    return f"(term {model.term}, vote {vote}, from {base} to {last}, snapshot {snapshot}{genesis})"
