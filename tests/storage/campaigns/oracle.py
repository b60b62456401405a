"""What must be there after a crash: the groups that were acknowledged, and perhaps the one that was being written.

Here:   `Model`, what records add up to, written a second time and simply; `Oracle`, which knows what was promised to
        whom and judges what a start found.
Never:  files; the product's own `LogImage`, which would agree with itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from raft_actors.core.effects import Append, HardState, Truncate
from raft_actors.core.entries import Entry, Genesis
from raft_actors.core.types import DirectoryId
from raft_actors.storage.image import LogRecord
from raft_actors.storage.interface import Recovered
from tests.storage.campaigns.found import Found, expect


@dataclass(frozen=True, slots=True)
class Model:
    """The state of a log, as plain as can be."""

    genesis: Genesis | None = None
    term: int = 0
    vote: DirectoryId | None = None
    entries: tuple[Entry, ...] = ()

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
                    model = replace(model, entries=model.entries[: index - 1])
                case Genesis():
                    model = replace(model, genesis=record)
        return model

    @classmethod
    def of(cls, found: Recovered) -> Model:
        """What a start found, in the same words."""
        return cls(found.genesis, found.hard_state.term, found.hard_state.voted_for, found.entries)


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
        if model != self.acknowledged:
            if model != self.in_flight:
                raise Found(*difference(self.acknowledged, self.in_flight, model))
            self.acknowledged = model
        self.in_flight = None


def difference(acknowledged: Model, in_flight: Model | None, found: Model) -> tuple[str, str]:
    """The rule that `found` breaks, and how; it is neither of the two allowed models."""
    may = f"acknowledged {_brief(acknowledged)}, in flight {_brief(in_flight)}, found {_brief(found)}"
    allowed = [model for model in (acknowledged, in_flight) if model is not None]
    if found.term < acknowledged.term:
        return "term back", may
    if found.term == acknowledged.term and found.vote != acknowledged.vote and acknowledged.vote is not None:
        return "vote changed", may
    if all(found.genesis != model.genesis for model in allowed):
        return "genesis lost or changed", may
    for at, entry in enumerate(acknowledged.entries):
        if in_flight is not None and in_flight.entries[at : at + 1] != (entry,):
            break  # the group in flight truncates from here on
        if found.entries[at : at + 1] != (entry,):
            what = "acknowledged entry lost" if len(found.entries) <= at else "acknowledged entry changed"
            return what, f"index {at + 1}; {may}"
    if all(len(found.entries) > len(model.entries) for model in allowed):
        return "truncated entries are back", may
    return "half a group", may


def _brief(model: Model | None) -> str:
    if model is None:
        return "nothing"
    vote = "-" if model.vote is None else model.vote[:2].hex()
    last = f"{model.entries[-1].id.term}/{model.entries[-1].id.index}" if model.entries else "0/0"
    return f"(term {model.term}, vote {vote}, last {last}{'' if model.genesis else ', no genesis'})"
