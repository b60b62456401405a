"""What a process does with its storage, drawn from a seed, as long as nothing stops it.

Here:   `Step`, `draw`: legal groups of all kinds and sizes, idle marks, snapshots of the log, ahead of it and against
        it, compactions, restarts, kills, power cuts; `Player`, which performs them and keeps the oracle.
Never:  faults (crashes.py, failures.py), what is checked (oracle.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Final, TypeAlias

from raft_actors.core.effects import Append, HardState, Record, Reset, Truncate
from raft_actors.core.entries import Command, Entry, Genesis, Noop, Payload, SnapshotMeta
from raft_actors.core.types import DirectoryId, EntryId, LogIndex, Term
from raft_actors.errors import SnapshotFailed
from raft_actors.storage.image import LogRecord
from raft_actors.storage.wal import FileStorage
from tests.storage.campaigns.oracle import Model, Oracle
from tests.storage.faulty_files import PATH, FaultyFiles, everything, first, nothing, only_sizes, some
from tests.storage.logs import CONFIGURATION, GENESIS, GROUP, MEMBER

SEGMENT_SIZES: Final = (1, 300, 700, 4096)
"""Bytes after which a segment is full; 1 makes a file of every group."""

CANDIDATES: Final = tuple(DirectoryId(bytes([65 + number]) * 16) for number in range(3))


class Move(Enum):
    """What is no write."""

    MARK = "mark"
    RESTART = "restart"
    KILL = "kill"
    POWER_CUT = "power cut"


@dataclass(frozen=True, slots=True)
class Take:
    """Write a snapshot."""

    meta: SnapshotMeta
    state: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Compact:
    """Forget what a snapshot covers."""

    to: LogIndex


Group: TypeAlias = tuple[LogRecord, ...]
Step: TypeAlias = Group | Move | Take | Compact


@dataclass(frozen=True, slots=True)
class Workload:
    """Steps, and the size of a segment while they are taken."""

    segment_bytes_max: int
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        steps = "\n".join(f"  {number}: {step_text(step)}" for number, step in enumerate(self.steps))
        return f"segments of {self.segment_bytes_max} bytes\n{steps}"


def step_text(step: Step) -> str:
    """A step for people."""
    match step:
        case Move():
            return step.value
        case Take(meta=meta):
            return f"snapshot of {meta.last.term}/{meta.last.index} in {len(step.state)} chunks"
        case Compact(to=to):
            return f"compact to {to}"
    return ", ".join(map(_record_text, step))


def draw(dice: random.Random, step_count: int, *, snapshots: bool = True) -> Workload:
    """A workload of so many steps; what each group holds may follow what the ones before left."""
    model = Model()
    steps: list[Step] = []
    taken: list[EntryId] = []
    """Snapshots that were not compacted away."""
    for _ in range(step_count):
        kind = dice.random()
        compactions = [each.index for each in taken if model.id_at(each.index) == each]
        step: Step
        if kind < 0.2 and model.genesis is None:
            step = (GENESIS,)
        elif kind < 0.14 and model.genesis is not None and snapshots:
            step = _draw_snapshot(dice, model)
            taken.append(step.meta.last)
            model = replace(model, snapshot=step.meta)
        elif kind < 0.24 and compactions:
            step = Compact(dice.choice(compactions))
            taken = [each for each in taken if each.index >= step.to]
        elif kind < 0.75:
            step = draw_group(dice, model)
        else:
            step = dice.choice((Move.MARK, Move.MARK, Move.RESTART, Move.KILL, Move.POWER_CUT))
        steps.append(step)
        if isinstance(step, tuple):
            model = model.after(step)
        elif isinstance(step, Move) and step is not Move.MARK:
            model = model.joined()
    return Workload(dice.choice(SEGMENT_SIZES), tuple(steps))


def draw_group(dice: random.Random, model: Model) -> tuple[Record, ...]:
    """One legal group: a reset or a truncation perhaps, a term or vote perhaps, entries perhaps; never nothing."""
    records: list[Record] = []
    joined = model.joined()
    if joined is not model and dice.random() < 0.7:
        records.append(Reset(base=joined.base))
    elif model.last.index > model.committed and dice.random() < 0.2:
        records.append(Truncate(from_index=LogIndex(dice.randint(model.committed + 1, model.last.index))))
    if dice.random() < 0.35 or (model.term == 0 and not records):
        records.append(_hard_state(dice, model))
    if not records or dice.random() < 0.6:
        now = model.after(records)
        records.append(Append(entries=_entries(dice, now)))
        if dice.random() < 0.05:
            records.append(_hard_state(dice, now))
    return tuple(records)


def _draw_snapshot(dice: random.Random, model: Model) -> Take:
    """Of something the log holds; or, as a leader may send it, ahead of the log or of another entry at its index."""
    first, last = model.committed + 1, model.last
    term = max(model.term, last.term, 1)
    kind = dice.random()
    if first > last.index or kind < 0.15:
        at = EntryId(
            Term(dice.randint(max(1, last.term), term)), LogIndex(max(first, last.index + dice.choice((1, 1, 7))))
        )
    else:
        index = dice.randint(first, last.index)
        held = model.id_at(index)
        assert held is not None, "between what is committed and the end lies the log"
        at = EntryId(Term(held.term + 1), held.index) if kind < 0.25 and held.term < term else held
    meta = SnapshotMeta(
        last=at,
        stamp_ms=dice.randrange(1 << 40),
        configuration_id=EntryId(Term(dice.randint(0, at.term)), LogIndex(dice.randint(0, at.index))),
        configuration=CONFIGURATION,
    )
    sizes = [dice.choice((1, 100, dice.randrange(1, 1500))) for _ in range(dice.choice((0, 1, 1, 2, 4)))]
    return Take(meta, state_of(meta, sizes))


def state_of(meta: SnapshotMeta, sizes: Sequence[int]) -> tuple[bytes, ...]:
    """A state that tells its snapshot and its place in it."""
    words = (b"%d/%d/%d " % (meta.last.term, meta.last.index, number) for number in range(len(sizes)))
    return tuple((word * (size // len(word) + 1))[:size] for word, size in zip(words, sizes, strict=True))


def _hard_state(dice: random.Random, model: Model) -> HardState:
    if model.vote is None and model.term and dice.random() < 0.4:
        return HardState(term=Term(model.term), voted_for=dice.choice(CANDIDATES))
    return HardState(term=Term(model.term + dice.choice((1, 1, 1, 2, 300))), voted_for=dice.choice((None, *CANDIDATES)))


def _entries(dice: random.Random, model: Model) -> tuple[Entry, ...]:
    lowest, index = model.last.term, model.last.index
    term = Term(dice.randint(max(1, lowest), max(1, lowest, model.term)))
    return tuple(
        Entry(id=EntryId(term, LogIndex(index + more)), payload=_payload(dice), stamp_ms=dice.randrange(1 << 40))
        for more in range(1, dice.choice((1, 1, 1, 2, 3, 8)) + 1)
    )


def _payload(dice: random.Random) -> Payload:
    kind = dice.random()
    if kind < 0.1:
        return Noop()
    if kind < 0.2:
        return CONFIGURATION
    size = dice.choice((0, 1, 20, 20, dice.randrange(400), dice.randrange(400), dice.randrange(2500)))
    return Command(data=dice.randbytes(size))


class Player:
    """One process after the other with the same directory; what they were told is in `oracle`."""

    def __init__(self, files: FaultyFiles, workload: Workload, *, dice: random.Random) -> None:
        self.files = files
        self.oracle = Oracle()
        self.at = 0
        """The step that is being taken."""
        self.storage: FileStorage | None = None
        self.states: dict[EntryId, bytes] = {}
        """Of all snapshots that were begun."""
        self.snapshots_failed = 0
        """And were written once more."""
        self._workload = workload
        self._dice = dice

    def play(self) -> None:
        """Open, then all steps. Raises what stops it."""
        self.start()
        for at, step in enumerate(self._workload.steps):
            self.at = at
            self.take(step)

    def take(self, step: Step) -> None:
        """One step."""
        assert self.storage is not None, "start first"
        match step:
            case Move.MARK:
                self.storage.mark_synced()
            case Move.RESTART:
                self.storage.close()
                self._end(self.files.kill)
                self.start()
            case Move.KILL:
                self._end(self.files.kill)
                self.start()
            case Move.POWER_CUT:
                keeps = (nothing, everything, only_sizes, first(self._dice.randrange(4)), some(self._dice))
                self._end(partial(self.files.power_cut, self._dice.choice(keeps)))
                self.start()
            case Take(meta=meta, state=state):
                self.states[meta.last] = b"".join(state)
                try:
                    take(self.storage, self.oracle, step)
                except SnapshotFailed:
                    self.snapshots_failed += 1
                    take(self.storage, self.oracle, step)
            case Compact(to=to):
                self.oracle.begin_compaction(to)
                self.storage.compact(to)
            case _:
                write(self.storage, self.oracle, step)

    def _end(self, how: Callable[[], None]) -> None:
        """End the process; a fault that was set for later stays set."""
        files = self.files
        faults = files.fail_at, files.fail_look_at, files.calls, files.looks
        how()
        files.fail_at, files.fail_look_at, files.calls, files.looks = faults

    def start(self) -> None:
        """A new process opens the directory."""
        self.storage = open_storage(self.files, self._workload.segment_bytes_max)
        self.oracle.told(self.storage.recovered)


def open_storage(files: FaultyFiles, segment_bytes_max: int) -> FileStorage:
    """The product's own."""
    return FileStorage.open(PATH, group=GROUP, member_id=MEMBER, segment_bytes_max=segment_bytes_max, files=files)


def take(storage: FileStorage, oracle: Oracle, step: Take) -> None:
    """One snapshot, which is there when the commit returns."""
    oracle.begin_snapshot(step.meta)
    sink = storage.begin_snapshot(step.meta)
    for piece in step.state:
        sink.write(piece)
    sink.commit()
    oracle.acknowledge()


def write(storage: FileStorage, oracle: Oracle, group: Group) -> None:
    """One group, and its acknowledgement when the write returns."""
    oracle.begin(group)
    if isinstance(group[0], Genesis):
        storage.write_genesis(group[0])
    else:
        storage.write([record for record in group if not isinstance(record, Genesis)])
    oracle.acknowledge()


def _record_text(record: LogRecord) -> str:
    match record:
        case Append(entries=entries):
            size = sum(each.size_bytes for each in entries)
            return f"append {entries[0].id.index}..{entries[-1].id.index} of term {entries[0].id.term} ({size} bytes)"
        case HardState(term=term, voted_for=vote):
            return f"term {term} vote {'-' if vote is None else vote[:1].decode()}"
        case Truncate(from_index=index):
            return f"truncate from {index}"
        case Reset(base=base):
            return f"reset to {base.term}/{base.index}"
        case Genesis():
            return "genesis"
