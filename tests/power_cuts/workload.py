"""What a member writes: one step after the other, from dice and from what its log holds.

Here:   `next_step`. The member's process and the one that watches it call it with equal dice and equal images, so the
        watcher knows what was written without being sent it.
Never:  files, promises.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from raft_actors.core.effects import Append, HardState, Truncate
from raft_actors.core.entries import Command, Entry
from raft_actors.core.types import DirectoryId, EntryId, LogIndex, Term
from raft_actors.storage.image import LogImage, LogRecord
from tests.storage.logs import GENESIS

ENTRIES_MAX: Final = 300
"""A longer log is truncated: recovery has to stay quick."""

_VOTES: Final = (None, DirectoryId(b"A" * 16), DirectoryId(b"B" * 16))


class Pause(Enum):
    """A step that writes no records."""

    MARK = "the idle mark"
    REOPEN = "close in order, open again"


@dataclass(frozen=True, slots=True)
class Write:
    """One write group."""

    records: tuple[LogRecord, ...]


Step: TypeAlias = Write | Pause


def next_step(dice: random.Random, image: LogImage) -> Step:
    """The step of a member whose log is `image`; changes nothing but the dice."""
    if image.genesis is None:
        return Write((GENESIS,))
    chance = dice.random()
    if chance < 0.12:
        return Pause.MARK
    if chance < 0.16:
        return Pause.REOPEN
    records: list[LogRecord] = []
    term, last = image.hard_state.term, image.last.index
    if term == 0 or dice.random() < 0.25:
        hard_state = _later(dice, image.hard_state)
        term = hard_state.term
        records.append(hard_state)
    if last and (last > ENTRIES_MAX or dice.random() < 0.15):
        keep = dice.randrange(last) if last > ENTRIES_MAX else max(0, last - dice.randint(1, 6))
        records.append(Truncate(from_index=LogIndex(keep + 1)))
        last = keep
    if not records or dice.random() < 0.6:
        records.append(Append(entries=tuple(_entry(dice, term, last + 1 + at) for at in range(dice.randint(1, 5)))))
    return Write(tuple(records))


def _later(dice: random.Random, now: HardState) -> HardState:
    """A vote in this term if none was given yet, or a later term."""
    if now.term and now.voted_for is None and dice.random() < 0.5:
        return HardState(term=now.term, voted_for=dice.choice(_VOTES[1:]))
    return HardState(term=Term(now.term + dice.randint(1, 3)), voted_for=dice.choice(_VOTES))


def _entry(dice: random.Random, term: Term, index: int) -> Entry:
    """Mostly less than a sector, at times many pages: those can be there in part."""
    size = dice.choice((dice.randint(1, 200), dice.randint(1, 200), dice.randint(200, 6_000)))
    if dice.random() < 0.04:
        size = dice.randint(20_000, 120_000)
    data = dice.randbytes(size)
    return Entry(id=EntryId(term, LogIndex(index)), payload=Command(data=data), stamp_ms=index)
