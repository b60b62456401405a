"""K5: the process or the machine stops at every call that changes something, and everything that may be left is opened.

Here:   `run_unit`: workloads from seeds, at each call of each the images that a kill or a power cut may leave, crashes
        inside the recovery of those, and power cuts after what a recovery has told.
Never:  what is allowed to be found (oracle.py), errors that a process survives (failures.py).

An *image* is the state of all files at a crash, opened by a new process. At a call that writes, part of it may have
happened. Of what was not synced a power cut keeps nothing, everything, any prefix in order, only names and sizes, or
any subset, in pieces of 512 bytes that are old, new, zero or garbage; a kill keeps all of it in the page cache, and
only then may the power fail: what the recovery after the kill has told must be there (contracts 4). Images of a call
that are equal to one before with the same promises are not opened again, nor counted.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Final

from raft_actors.errors import RaftActorsError
from tests.campaigns import Finding, Outcome
from tests.storage.campaigns.found import Found, expect, trace
from tests.storage.campaigns.memory import measured
from tests.storage.campaigns.oracle import Oracle
from tests.storage.campaigns.workload import Player, draw, draw_group, open_storage, step_text, write
from tests.storage.faulty_files import (
    SECTOR_BYTES,
    Change,
    FaultyFiles,
    Keep,
    everything,
    first,
    nothing,
    only_sizes,
    some,
)
from tests.storage.logs import read_snapshot

IMAGES_PER_UNIT: Final = 2_000
"""A unit takes one workload after the other until it has opened so many."""

SEEDS_PER_UNIT: Final = 1_000
"""Distance of the first seeds of two units; a unit needs far fewer."""

STEP_COUNT: Final = 14
SUBSETS_PER_POINT: Final = 10
"""Random subsets of what was not synced, drawn at each call."""
PARTS_PER_WRITE: Final = 2
"""Places inside a write, beside none and all of it, at which the process is stopped."""
DEPTH_MAX: Final = 3
"""A crash, a crash in the recovery from it, and one in the recovery from that."""
INSIDE_RECOVERY_PROBABILITY: Final = 0.04
"""Share of the images whose recovery is stopped at each of its calls."""
MEASURED_EVERY: Final = 50
"""The memory of one recovery in so many is measured: it is slow, and all files are small (damage.py measures all)."""
WORK_PROBABILITY: Final = 0.2
"""Share of the images with which work goes on; with the others a power cut follows at once."""


def run_unit(unit: int, *, images: int = IMAGES_PER_UNIT) -> Outcome:
    """Workloads of seeds from `unit * SEEDS_PER_UNIT` on, until `images` were opened or something was found."""
    tally: Counter[str] = Counter()
    for seed in range(unit * SEEDS_PER_UNIT, (unit + 1) * SEEDS_PER_UNIT):
        crashes = Crashes(seed, tally)
        tally["workloads"] += 1
        try:
            crashes.run()
        except Found as found:
            replay = f"python -m tests.storage.campaigns k5 --first {unit} --count 1"
            finding = Finding(rule=found.rule, text=f"{found.text}\n{crashes.story()}", replay=replay)
            return Outcome(done=tally["images"], counters=tally, findings=(finding,))
        if tally["images"] >= images:
            break
    return Outcome(done=tally["images"], counters=tally)


class Crashes:
    """All crashes of one workload."""

    def __init__(self, seed: int, tally: Counter[str]) -> None:
        self._seed = seed
        self._dice = random.Random(seed)
        self._tally = tally
        self._workload = draw(self._dice, STEP_COUNT)
        self._files = FaultyFiles(seed=seed)
        self._player = Player(self._files, self._workload, dice=self._dice)
        self._seen: set[tuple[object, ...]] = set()
        self._where: list[str] = []
        """How the files came to be as they are, crash by crash; only for the story."""

    def run(self) -> None:
        """Perform the workload, and stop it at every call. Raises `Found`."""
        self._files.watch = self._stop_here
        try:
            self._player.play()
        except (RaftActorsError, AssertionError, OSError) as failure:
            raise Found("the workload itself failed", trace(failure)) from failure
        self._stop_here("the end")

    def story(self) -> str:
        """What led to the present image."""
        at = self._player.at
        lines = [f"seed {self._seed}, during step {at} ({step_text(self._workload.steps[at])}):", *self._where]
        return "\n".join(lines) + f"\n{self._workload}"

    # -- one call

    def _stop_here(self, what: str) -> None:
        self._tally["calls"] += 1
        self._images_at(what, self._files, self._player.oracle, depth=1)

    def _images_at(self, what: str, files: FaultyFiles, oracle: Oracle, *, depth: int) -> None:
        """Everything that may be left if it stops before this call, or within it."""
        said = len(self._where)
        for part, stopped in self._parts(files):
            self._where.append(f"- stopped at call {len(files.calls)}, {what}{part}")
            for name, keep in self._keeps(stopped.changes, depth):
                image = stopped.copy()
                image.power_cut(keep)
                self._where.append(f"- then the power failed and left {name}")
                self._judge_new(image, oracle, depth)
                self._where.pop()
            if depth == 1 or self._dice.random() < 0.3:
                self._where.append("- then the process was killed")
                stopped.kill()
                self._judge(stopped, oracle.copy(), depth, in_cache=True)
                self._where.pop()
            del self._where[said:]

    def _parts(self, files: FaultyFiles) -> Iterator[tuple[str, FaultyFiles]]:
        """The files as they are; and, at a write, with parts of it in the page cache."""
        yield "", files.copy()
        if files.writing is not None:
            size = len(files.writing.data)
            for count in sorted({size, *(self._dice.randrange(1, size + 1) for _ in range(PARTS_PER_WRITE))}):
                stopped = files.copy()
                stopped.write_part(count)
                yield f" of {size} bytes after {count}", stopped

    def _keeps(self, changes: list[Change], depth: int) -> Iterator[tuple[str, Keep]]:
        dice = self._dice
        if depth > 1:  # each call of each recovery: a choice must do
            yield from (("nothing", nothing), ("a part", some(dice)))
            return
        yield from (("nothing", nothing), ("everything", everything), ("sizes alone", only_sizes))
        for count in range(1, len(changes)):
            yield f"the first {count} changes", first(count)
        if changes:
            for number in range(SUBSETS_PER_POINT):
                yield f"part {number}", some(dice)
            yield "garbage in what was not synced", garbage(dice, changes)

    # -- one image

    def _judge_new(self, image: FaultyFiles, oracle: Oracle, depth: int) -> None:
        key = (image.on_platter(), self._player.at, oracle.in_flight is None, oracle.start_count_told, depth)
        if key in self._seen:
            return
        self._seen.add(key)
        self._judge(image, oracle.copy(), depth, in_cache=False)

    def _judge(self, image: FaultyFiles, oracle: Oracle, depth: int, *, in_cache: bool) -> None:
        self._tally["images"] += 1
        self._tally[f"images at depth {depth}"] += 1
        if depth < DEPTH_MAX and self._dice.random() < INSIDE_RECOVERY_PROBABILITY:
            self._where.append("- inside the recovery from that:")
            deeper = image.copy()
            promised = oracle.copy()
            deeper.watch = lambda what: self._images_at(what, deeper, promised, depth=depth + 1)
            self._open(deeper, oracle.copy())
            self._where.pop()
        acknowledged = oracle.acknowledged
        torn_bytes = self._open(image, oracle)
        self._tally["torn tails"] += torn_bytes > 0
        self._tally["unacknowledged groups found"] += oracle.acknowledged is not acknowledged
        self._tally["kills before a power cut"] += in_cache
        if self._dice.random() < WORK_PROBABILITY:
            self._work(image, oracle)
        else:
            self._again(image, oracle)

    def _again(self, image: FaultyFiles, oracle: Oracle) -> None:
        """What a recovery told is durable, and the next recovery finds the same and nothing torn."""
        keep = self._dice.choice((nothing, nothing, everything, some(self._dice)))
        self._where.append("- that was recovered, and the power failed again")
        image.power_cut(keep)
        torn_bytes = self._open(image, oracle)
        expect(torn_bytes == 0, "torn twice", f"{torn_bytes} torn bytes were left by a recovery that had ended")
        self._where.pop()

    def _work(self, image: FaultyFiles, oracle: Oracle) -> None:
        """A directory that was recovered takes another group, and has it after the next power cut."""
        self._where.append("- that was recovered, a group written, and the power failed")
        image.kill()
        storage = open_storage(image, self._workload.segment_bytes_max)
        oracle.told(storage.recovered)
        write(storage, oracle, draw_group(self._dice, oracle.acknowledged))
        image.power_cut(self._dice.choice((nothing, some(self._dice))))
        self._open(image, oracle)
        self._where.pop()

    def _open(self, image: FaultyFiles, oracle: Oracle) -> int:
        """A start finds what it must; returns the torn bytes. Raises `Found`."""
        self._tally["recoveries"] += 1
        try:
            start = partial(open_storage, image, self._workload.segment_bytes_max)
            storage = measured(start, self._tally["recoveries"] % MEASURED_EVERY == 0)
            found = storage.recovered
            state = None if found.snapshot is None else b"".join(read_snapshot(storage, found.snapshot.last.index))
        except (RaftActorsError, AssertionError, OSError) as refusal:
            raise Found("a crash became a refusal", trace(refusal)) from refusal
        expect(not found.damaged_snapshots, "a crash damaged a snapshot", "; ".join(found.damaged_snapshots))
        oracle.told(found)
        if found.snapshot is not None:
            expect(state == self._player.states[found.snapshot.last], "another state", f"of {found.snapshot.last}")
            self._tally["snapshots found"] += 1
        self._tally["logs that begin at a snapshot"] += found.base.index > 0
        return found.torn_bytes


def garbage(dice: random.Random, changes: list[Change]) -> Keep:
    """Names and sizes, and of each sector the old bytes, the new ones, or any: noise, or what other sectors hold."""
    pool = b"".join(change.data for change in changes).ljust(SECTOR_BYTES, b"\xd7")

    def keep(change: Change) -> Change | None:
        if change.inode is None:
            return change
        data = bytearray(change.data)
        for at in range(-(change.offset % SECTOR_BYTES), len(data), SECTOR_BYTES):
            begin, end = max(at, 0), min(at + SECTOR_BYTES, len(data))
            start = dice.randrange(len(pool) - (SECTOR_BYTES - 1))
            instead = dice.choice((data[begin:end], dice.randbytes(end - begin), pool[start : start + end - begin]))
            data[begin:end] = instead
        return Change(inode=change.inode, offset=change.offset, data=bytes(data))

    return keep
