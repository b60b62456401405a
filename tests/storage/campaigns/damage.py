"""K6: every bit, byte value, length and sector of a data directory changed, and nothing acknowledged lost in silence.

Here:   `run_unit`: every single change of a directory (directories.py), opened, and what may then be said.
Never:  crashes (crashes.py): here everything was synced, and then the disk or somebody changed it.

What a start may say of a changed directory:

- the same data, if the change does not matter, or hurts what a snapshot holds, too;
- the same data without the newest snapshot, if that is what was changed, and it says so;
- a refusal, `LogDamaged`, that names the file and an offset not behind the change, and says what to do;
- the log without its end, and it counts torn bytes: only from the change on, and only if no *mark* behind it survived
  (docs/FORMATS.md: a group header, a synced mark, the header of a later file). A single bit or byte can so take the
  last group before its mark is there, and nothing else (docs/DIVERGENCE.md); a lost sector or a shorter file can take
  what lies in it with its marks. A file cut short at the end of a group is an older state of the directory, and looks
  like one: nobody can tell.

Never other data, another exception, a start counter told before, or more than 64 MiB of memory.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from typing import Final, TypeAlias

from raft_actors.errors import LogDamaged
from raft_actors.storage.directory import IDENTITY, LOCK, SNAPSHOT_SUFFIX
from raft_actors.storage.records import decode_segment_header, read_frame
from tests.campaigns import Finding, Outcome
from tests.storage.campaigns.directories import SEGMENT_BYTES_MAX, Form, Log, log_names, make, snapshot_files
from tests.storage.campaigns.found import Found, expect, trace
from tests.storage.campaigns.memory import measured, tracing
from tests.storage.campaigns.oracle import Model
from tests.storage.campaigns.workload import open_storage
from tests.storage.faulty_files import SECTOR_BYTES, FaultyFiles
from tests.storage.logs import read_snapshot

UNITS_PER_LOG: Final = 211
"""The cases of one log go round these units one by one: a prime number, so that each unit has some of every
kind."""
Change: TypeAlias = Callable[[FaultyFiles], None]
Span: TypeAlias = tuple[int, int | None]
"""First byte that is changed, and the one behind the last; None: all the rest of the file is another."""


@dataclass(frozen=True, slots=True)
class Case:
    """One change of a directory."""

    kind: str
    name: str
    """The file that is changed."""
    spans: tuple[Span, ...]
    """Where; in order."""
    change: Change


# -- the changes --------------------------------------------------------------------------------------------------


def cases(log: Log, names: Sequence[str], dice: random.Random) -> Iterator[Case]:
    """Every change of the kinds below of each of these files."""
    for name in names:
        data = bytes(log.files.cached_names[name].cache)
        for at in range(len(data)):
            for bit in range(8):
                yield _replaced("bit flipped", name, (at, bytes([data[at] ^ 1 << bit])))
            for value in {0x00, 0xFF} - {data[at]}:
                yield _replaced("byte set", name, (at, bytes([value])))
            yield Case("cut short", name, ((at, None),), partial(_cut, name=name, size=at))
        yield from _sector_cases(name, data, dice)
        for size in (1, 23, 28, 100, SECTOR_BYTES, 5000):
            for kind, tail in (("zeros", bytes(size)), ("ones", b"\xff" * size), ("noise", dice.randbytes(size))):
                yield _replaced(f"a tail of {kind}", name, (len(data), tail))
        for at in (0, len(data) // 2):  # bytes of the log again, where others or none belong
            yield _replaced("a tail of the same file", name, (len(data), data[at:]))


def whole_pieces(log: Log, names: Sequence[str]) -> Iterator[Case]:
    """Files that are gone, groups that stand there twice: few, so they come first."""
    for name in names:
        if name != log_names(log.files)[-1]:  # without its newest file a directory is an older copy of itself
            yield Case("file gone", name, ((0, None),), partial(_remove, name=name))
        data = bytes(log.files.cached_names[name].cache)
        for begin, end in pairwise(end for where, end in log.group_ends if where == name):
            yield _replaced("group repeated", name, (len(data), data[begin:end]))


def _sector_cases(name: str, data: bytes, dice: random.Random) -> Iterator[Case]:
    starts = range(0, len(data), SECTOR_BYTES)
    sectors = [data[at : at + SECTOR_BYTES] for at in starts]
    for number, at in enumerate(starts):
        size = len(sectors[number])
        for kind, instead in (("zeros", bytes(size)), ("ones", b"\xff" * size), ("noise", dice.randbytes(size))):
            yield _replaced(f"sector of {kind}", name, (at, instead))
        for other in range(len(sectors)):
            if other != number:
                yield _replaced("sector repeated", name, (at, sectors[other][:size].ljust(size, b"\0")))
            if other > number and len(sectors[other]) == size:
                yield _replaced("sectors swapped", name, (at, sectors[other]), (starts[other], sectors[number]))


def _replaced(kind: str, name: str, *parts: tuple[int, bytes]) -> Case:
    spans = tuple((at, at + len(data)) for at, data in parts)
    return Case(kind, name, spans, partial(_put, name=name, parts=parts))


def _put(files: FaultyFiles, *, name: str, parts: Sequence[tuple[int, bytes]]) -> None:
    cache = files.cached_names[name].cache
    for at, data in parts:
        cache[at : at + len(data)] = data


def _remove(files: FaultyFiles, *, name: str) -> None:
    del files.cached_names[name]


def _cut(files: FaultyFiles, *, name: str, size: int) -> None:
    del files.cached_names[name].cache[size:]


# -- what may be said ---------------------------------------------------------------------------------------------


def judge(log: Log, case: Case) -> str:
    """Open a copy of the directory with this change, in a word what came of it. Raises `Found`."""
    image = log.files.copy()
    case.change(image)
    try:
        storage = open_storage(image, SEGMENT_BYTES_MAX)
        found = storage.recovered
        state = None if found.snapshot is None else b"".join(read_snapshot(storage, found.snapshot.last.index))
    except LogDamaged as refusal:
        expect(not image.descriptors, "a refusal holds something open", str(refusal))
        _expect_unchanged(log, case, image)
        _judge_refusal(case, refusal)
        return "refused"
    except Exception as failure:
        raise Found("not the declared error", trace(failure)) from failure
    expect(found.incarnation.start_count > log.start_count, "start counter repeated", str(found.incarnation))
    model = Model.of(found)
    newest = log.states[-1].snapshot
    is_snapshot = case.name.endswith(SNAPSHOT_SUFFIX)
    if found.snapshot is not None:
        expect(state == log.states_of_snapshots[found.snapshot.last], "changed data", "in a snapshot")
    if model.snapshot != newest and model.snapshot is not None:
        expect(is_snapshot, "snapshot lost", case.name)
        expect(bool(found.damaged_snapshots) or case.kind == "file gone", "silent loss", "of a snapshot")
        model = replace(model, snapshot=newest)
    expect(is_snapshot or not found.damaged_snapshots, "a good snapshot called damaged", case.name)
    if log.states[-1].is_found(model):
        return "an older snapshot and the same log" if found.snapshot != newest else "the same data"
    kept = max((number for number, state in enumerate(log.states) if state.is_found(model)), default=-1)
    expect(kept >= 0, "changed data", f"{len(model.entries)} entries, term {model.term}: never the state")
    expect(found.torn_bytes > 0 or _is_an_older_state(log, case), "silent loss", "groups are gone and nothing is torn")
    expect(not _mark_survives(log, case), "silent loss", "a mark behind the change says that it was synced")
    name, end = log.group_ends[kept + 1]
    expect(
        name > case.name or (name == case.name and end > case.spans[0][0]),
        "silent loss",
        f"group {kept + 1} ended at byte {end} of {name}, before the change",
    )
    lost = len(log.states) - 1 - kept
    if case.kind in ("bit flipped", "byte set"):
        expect(lost == 1, "silent loss", f"one byte took {lost} groups")
    return "the last group lost" if lost == 1 else "groups lost with all marks behind them"


def _expect_unchanged(log: Log, case: Case, image: FaultyFiles) -> None:
    """A start that refuses has left the directory as it found it, for whoever wants to look into it."""
    before = log.files.copy()
    case.change(before)
    for files in (before, image):
        files.cached_names.pop(LOCK, None)  # it says who looked last
    expect(image.cached_names == before.cached_names, "a refusal changed something", case.name)


def _judge_refusal(case: Case, refusal: LogDamaged) -> None:
    text = str(refusal)
    expect(refusal.file.endswith(f"/{case.name}"), "imprecise refusal", f"{case.name} was changed: {text}")
    expect(0 <= refusal.offset <= case.spans[0][0], "imprecise refusal", f"byte {case.spans[0][0]}: {text}")
    expect(case.name in text, "imprecise refusal", text)
    expect("replacing it" in text or "put back" in text, "no word what to do", text)


def _is_an_older_state(log: Log, case: Case) -> bool:
    """Whether the file was cut short at a place where it once ended: behind a group, before a mark, or inside its
    opening, which repeats what stands in the file before and so tears nothing (recovery.py)."""
    size, behind = case.spans[0]
    if behind is not None:
        return False
    data = bytes(log.files.cached_names[case.name].cache)
    frame = read_frame(data, 0, len(data), 0)
    assert frame is not None, "the log was not damaged yet"
    ends = {*log.group_ends, *((name, first) for name, first, _ in log.marks)}
    return size <= decode_segment_header(frame).opening_end or (case.name, size) in ends


def _mark_survives(log: Log, case: Case) -> bool:
    """Whether something behind the first changed byte is as it was, and says that all before it was synced."""
    begin = case.spans[0][0]
    for name, first, end in log.marks:
        if name > case.name:
            return True
        untouched = all(end <= at or (behind is not None and first >= behind) for at, behind in case.spans)
        if name == case.name and first >= begin and untouched:
            return True
    return False


# -- a unit -------------------------------------------------------------------------------------------------------


@cache
def _plan(seed: int) -> tuple[tuple[Form, Case], ...]:
    """All cases of one seed: of the marked log, of the last file without the last mark, of the compacted directory."""
    dice = random.Random(seed)
    marked, unmarked, compacted = (make(seed, form) for form in Form)
    return (
        *((Form.MARKED, case) for case in cases(marked, [*log_names(marked.files), IDENTITY], dice)),
        *((Form.NOT_MARKED, case) for case in cases(unmarked, log_names(unmarked.files)[-1:], dice)),
        *((Form.COMPACTED, case) for case in cases(compacted, _all_names(compacted), dice)),
    )


def _all_names(log: Log) -> list[str]:
    return [*log_names(log.files), *snapshot_files(log.files), IDENTITY]


def run_unit(unit: int) -> Outcome:
    """Every `UNITS_PER_LOG`th case of the logs with seed `unit // UNITS_PER_LOG`."""
    seed, first = divmod(unit, UNITS_PER_LOG)
    mine = _plan(seed)[first::UNITS_PER_LOG]
    if first == 0:
        for form in (Form.MARKED, Form.COMPACTED):
            log = make(seed, form)
            mine = (*((form, case) for case in whole_pieces(log, _all_names(log))), *mine)
    with tracing():  # not before: the plan is nearly a million objects
        return _run_cases(unit, seed, mine)


def _run_cases(unit: int, seed: int, mine: Sequence[tuple[Form, Case]]) -> Outcome:
    tally: Counter[str] = Counter()
    replay = f"python -m tests.storage.campaigns k6 --first {unit} --count 1"
    for number, (form, case) in enumerate(mine, 1):
        where = f"log {seed}, {form.value}: {case.kind} in {case.name} at {case.spans}"
        try:
            said = measured(partial(judge, make(seed, form), case), True)
        except Found as found:
            finding = Finding(rule=found.rule, text=f"{where}\n{found.text}", replay=replay)
            return Outcome(done=number, counters=tally, findings=(finding,))
        tally[case.kind] += 1
        tally[f"{said}, {form.value}"] += 1
    return Outcome(done=len(mine), counters=tally)
