"""The data directories of K6: a log of 16 KiB, its marks intact or not, and a compacted one beside two snapshots.

Here:   `make`: a directory from a seed, and what may be said of it (`Log`).
Never:  what is changed in it and how a start is judged (damage.py).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from typing import Final

from raft_actors.core.types import EntryId
from raft_actors.storage.directory import SEGMENT_SUFFIX, SNAPSHOT_SUFFIX
from raft_actors.storage.records import MARK_PREFIXES, read_mark
from raft_actors.storage.wal import FileStorage
from tests.storage.campaigns.oracle import Model
from tests.storage.campaigns.workload import draw_group, open_storage
from tests.storage.faulty_files import FaultyFiles
from tests.storage.logs import GENESIS, meta, take_snapshot

LOG_BYTES: Final = 16 * 1024
SEGMENT_BYTES_MAX: Final = 6 * 1024
COMPACTED_BYTES: Final = 2 * 1024
"""What is written behind the older snapshot."""
STATE: Final = bytes(range(250)) * 4


@dataclass(frozen=True, slots=True)
class Log:
    """A directory as it was left, and what may be said of it."""

    files: FaultyFiles
    states: tuple[Model, ...]
    """The log after each group, the empty one first."""
    group_ends: tuple[tuple[str, int], ...]
    """File and offset behind each group; of a group that is written twice, the later place."""
    marks: tuple[tuple[str, int, int], ...]
    """File, first byte and end of everything that says: all before was synced."""
    start_count: int
    states_of_snapshots: dict[EntryId, bytes]
    """What each snapshot holds, by the last entry that it covers."""


class Form(Enum):
    """What a directory looks like."""

    MARKED = "marked"
    NOT_MARKED = "not marked"
    COMPACTED = "compacted"


@cache
def make(seed: int, form: Form) -> Log:
    """A directory from a seed."""
    return _make_compacted(seed) if form is Form.COMPACTED else _make_whole(seed, marked=form is Form.MARKED)


def _make_compacted(seed: int) -> Log:
    """Two snapshots, the log from the older one on, in several files; the first entry of all is in none of them."""
    dice = random.Random(seed)
    files = FaultyFiles(seed=seed)
    storage = open_storage(files, COMPACTED_BYTES // 4)
    storage.write_genesis(GENESIS)
    states, ends = [Model().after([GENESIS])], [_end(storage)]
    taken: dict[EntryId, bytes] = {}
    while log_names(files)[0] == "log-00000001.seg":  # until the way back to the first file is cut
        while storage.log_bytes < COMPACTED_BYTES or states[-1].last.index <= states[-1].committed:
            _write_one(storage, dice, states, ends)
        states[-1] = _take(storage, states[-1], taken, 900)
        storage.compact(states[-1].committed)
    _write_on(storage, dice, states, ends)
    states[-1] = _take(storage, states[-1], taken, 700)
    _write_on(storage, dice, states, ends)
    storage.mark_synced()
    start_count = storage.recovered.incarnation.start_count
    files.kill()
    newest = states[-1].snapshot
    states = [replace(each, snapshot=newest, forgotten=states[-1].committed) for each in states]
    return Log(files, tuple(states), tuple(ends), tuple(_marks(files, storage)), start_count, taken)


def _write_on(storage: FileStorage, dice: random.Random, states: list[Model], ends: list[tuple[str, int]]) -> None:
    """Some groups, in two more files, with entries that no snapshot covers."""
    groups, file = len(states) + 4, storage._end.segment + 2
    while len(states) < groups or storage._end.segment < file or states[-1].last.index <= states[-1].committed:
        _write_one(storage, dice, states, ends)


def _write_one(storage: FileStorage, dice: random.Random, states: list[Model], ends: list[tuple[str, int]]) -> None:
    group = draw_group(dice, states[-1])
    storage.write(group)
    states.append(states[-1].after(group))
    ends.append(_end(storage))


def _take(storage: FileStorage, model: Model, taken: dict[EntryId, bytes], size: int) -> Model:
    """A snapshot of the newest entry."""
    at = model.last
    taken[at] = STATE[:size]
    take_snapshot(storage, at.term, at.index, taken[at])
    return replace(model, snapshot=meta(at.term, at.index))


def _make_whole(seed: int, *, marked: bool) -> Log:
    """At least LOG_BYTES of log in several files, from several starts, with every type of record but a reset."""
    dice = random.Random(seed)
    files = FaultyFiles(seed=seed)
    storage = open_storage(files, SEGMENT_BYTES_MAX)
    storage.write_genesis(GENESIS)
    states = [Model(), Model().after([GENESIS])]
    ends = [_end(storage), _end(storage)]
    while storage.log_bytes < LOG_BYTES or len(states) < 40:
        _write_one(storage, dice, states, ends)
        if dice.random() < 0.2:
            storage.mark_synced()
        if dice.random() < 0.1:
            files.kill()
            storage = open_storage(files, SEGMENT_BYTES_MAX)
            ends[-1] = _end(storage)
    if storage.recovered.entries == states[-1].entries:  # the last group must stand behind the last start
        _write_one(storage, dice, states, ends)
    if marked:
        storage.mark_synced()
    start_count = storage.recovered.incarnation.start_count
    files.kill()
    return Log(files, tuple(states), tuple(ends), tuple(_marks(files, storage)), start_count, {})


def _end(storage: FileStorage) -> tuple[str, int]:
    end = storage._end
    return f"log-{end.segment:08d}.seg", end.offset


def _marks(files: FaultyFiles, storage: FileStorage) -> Iterator[tuple[str, int, int]]:
    directory_id = storage.recovered.incarnation.directory_id
    for number, name in enumerate(log_names(files)):
        data = bytes(files.cached_names[name].cache)
        if number:  # its header says it of the files before
            yield name, 0, 24
        segment = int(name[4:12])
        for at in range(len(data)):
            if data[at : at + 4] in MARK_PREFIXES:
                mark = read_mark(data, at, len(data), directory_id, segment)
                if mark is not None:
                    yield name, at, mark[0].behind


def snapshot_files(files: FaultyFiles) -> list[str]:
    """The files of the snapshots, oldest first."""
    return sorted(name for name in files.cached_names if name.endswith(SNAPSHOT_SUFFIX))


def log_names(files: FaultyFiles) -> list[str]:
    """The files of the log, oldest first."""
    return sorted(name for name in files.cached_names if name.endswith(SEGMENT_SUFFIX))
