"""K8: the n-th call fails, once or for ever, or does less than was asked; for every n of every workload.

Here:   `run_unit`: workloads from seeds, each call of each failing in each way; what a storage may do after that, and
        what the next start finds.
Never:  a process that ends (crashes.py).

After an error of the disk a storage acknowledges nothing any more, whatever it is asked, and lets its directory go when
it is closed. What it had acknowledged is found by the next start, when the disk works again, and again after a power
cut. An error while looking refuses the start and changes nothing: it is never taken for damage. Two errors do less: a
snapshot that cannot be written is written once more, and a file that a compaction cannot remove stays.
"""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from raft_actors.core.effects import HardState
from raft_actors.core.types import Term
from raft_actors.errors import RaftActorsError, SnapshotFailed, StorageFailed
from raft_actors.storage.wal import FileStorage
from tests.campaigns import Finding, Outcome
from tests.storage.campaigns.found import Found, expect, trace
from tests.storage.campaigns.oracle import Oracle
from tests.storage.campaigns.workload import Compact, Player, draw, draw_group, open_storage, step_text, write
from tests.storage.faulty_files import FaultyFiles, everything, nothing, some
from tests.storage.logs import GENESIS

STEP_COUNT: Final = 12


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call fails."""

    error: int
    for_ever: bool = False
    short_writes: bool = False
    """All writes do less than asked, even before."""

    def __str__(self) -> str:
        often = "for ever" if self.for_ever else "once"
        return f"{errno.errorcode[self.error]} {often}{', short writes' if self.short_writes else ''}"


FAILURES: Final = (
    Failure(errno.EIO),
    Failure(errno.EIO, short_writes=True),
    Failure(errno.EIO, for_ever=True),
    Failure(errno.ENOSPC),
    Failure(errno.ENOSPC, for_ever=True, short_writes=True),
    Failure(errno.EINTR),
)

LOOK_FAILURES: Final = (Failure(errno.EIO), Failure(errno.EINTR))


def run_unit(unit: int) -> Outcome:
    """The workload of this seed, with every failure at every call."""
    tally: Counter[str] = Counter({"workloads": 1})
    runs = Failures(unit, tally)
    try:
        runs.run()
    except Found as found:
        replay = f"python -m tests.storage.campaigns k8 --first {unit} --count 1"
        finding = Finding(rule=found.rule, text=f"{runs.story()}\n{found.text}", replay=replay)
        return Outcome(done=tally["runs"], counters=tally, findings=(finding,))
    return Outcome(done=tally["runs"], counters=tally)


class Failures:
    """All failures of one workload."""

    def __init__(self, seed: int, tally: Counter[str]) -> None:
        self._seed = seed
        self._tally = tally
        self._workload = draw(random.Random(seed), STEP_COUNT)
        self._where = ""
        self._player: Player | None = None

    def run(self) -> None:
        """One undisturbed run to count the calls, then one for each call and failure. Raises `Found`."""
        calm = self._undisturbed("nothing fails")
        short = self._undisturbed("all writes short", short_writes=True)
        self._undisturbed("all reads short", short_reads=True)
        for failure in FAILURES:
            for number, what in enumerate(short.calls if failure.short_writes else calm.calls):
                self._disturbed(f"call {number} ({what})", failure, at=number)
        for number in range(calm.looks):
            for failure in LOOK_FAILURES:
                self._disturbed(f"look {number}", failure, look_at=number)

    def story(self) -> str:
        """What was being done."""
        at = 0 if self._player is None else self._player.at
        step = step_text(self._workload.steps[at])
        return f"seed {self._seed}, {self._where}, at step {at} ({step})\n{self._workload}"

    # -- one run

    def _prepare(self, where: str) -> tuple[FaultyFiles, Player, random.Random]:
        self._tally["runs"] += 1
        self._where = where
        files, dice = FaultyFiles(seed=self._seed), random.Random(self._seed)
        self._player = Player(files, self._workload, dice=dice)
        return files, self._player, random.Random(self._tally["runs"])

    def _undisturbed(self, where: str, *, short_reads: bool = False, short_writes: bool = False) -> FaultyFiles:
        files, player, dice = self._prepare(where)
        files.short_reads, files.short_writes = short_reads, short_writes
        try:
            player.play()
        except (RaftActorsError, AssertionError, OSError) as failure:
            raise Found("failed without a failure", trace(failure)) from failure
        self._afterwards(files, player.oracle, dice)
        return files

    def _disturbed(self, where: str, failure: Failure, *, at: int | None = None, look_at: int | None = None) -> None:
        files, player, dice = self._prepare(f"{where}: {failure}")
        files.fail_at, files.fail_look_at = at, look_at
        files.error, files.fail_for_ever, files.short_writes = failure.error, failure.for_ever, failure.short_writes
        files.failed_sync = dice.choice((nothing, everything, some(dice)))
        failed_in: list[int] = []
        files.on_failure = lambda: failed_in.append(player.at)
        try:
            player.play()
        except (StorageFailed, SnapshotFailed) as refusal:
            _expect_advice(refusal)
            self._tally[f"stopped: {failure}"] += 1
        except Exception as other:
            raise Found("not the declared error", trace(other)) from other
        else:
            what = "a look" if at is None else files.calls[at]
            if player.snapshots_failed:
                self._tally["a snapshot is written again"] += 1
            else:
                in_compaction = failed_in and isinstance(self._workload.steps[failed_in[0]], Compact)
                expect(in_compaction or what.startswith("unlink"), "an error went unnoticed", what)
                self._tally["a file that does not count stays"] += 1
        if player.storage is not None and not player.storage._closed and files.descriptors:
            self._probe(files, player.storage)
        expect(not files.descriptors, "something stays open", f"{len(files.descriptors)} descriptors")
        if failure.for_ever:
            self._start_on_a_broken_disk(files)
        self._afterwards(files, player.oracle, dice)

    def _probe(self, files: FaultyFiles, storage: FileStorage) -> None:
        """A storage that failed does nothing more, though the disk works again, and gives its directory free."""
        if storage._failure is not None:
            files.fail_at = files.fail_look_at = None
            before = len(files.calls)
            for what, call in self._requests(storage):
                try:
                    call()
                except StorageFailed:
                    continue
                raise Found("answered after a failure", what)
            expect(len(files.calls) == before, "written after a failure", str(files.calls[before:]))
        files.fail_at = files.fail_look_at = None  # a snapshot that failed does not stop the log
        storage.close()

    def _requests(self, storage: FileStorage) -> tuple[tuple[str, Callable[[], None]], ...]:
        group = (HardState(term=Term(10**6), voted_for=None),)
        return (
            ("write", partial(storage.write, group)),
            ("mark", storage.mark_synced),
            ("genesis", partial(storage.write_genesis, GENESIS)),
        )

    def _start_on_a_broken_disk(self, files: FaultyFiles) -> None:
        """It says so, holds nothing, and harms nothing."""
        files.kill()
        files.fail_at = 0
        try:
            open_storage(files, self._workload.segment_bytes_max)
        except StorageFailed:
            expect(not files.descriptors, "something stays open", "after a start that was refused")
        except Exception as other:
            raise Found("not the declared error", trace(other)) from other
        else:
            raise Found("started on a broken disk", "no call that changes something can succeed")
        self._tally["starts on a broken disk"] += 1

    def _afterwards(self, files: FaultyFiles, oracle: Oracle, dice: random.Random) -> None:
        """The disk works again: all acknowledged is there, also after power cuts, and work goes on."""
        for keep in (None, nothing, everything, some(dice)):
            image, promised = files.copy(), oracle.copy()
            image.short_writes = False
            if keep is None:
                image.kill()
            else:
                image.power_cut(keep)
            self._start(image, promised)
            image.power_cut(nothing)
            storage = self._start(image, promised)
            write(storage, promised, draw_group(dice, promised.acknowledged))
            image.power_cut(nothing)
            self._start(image, promised)

    def _start(self, image: FaultyFiles, oracle: Oracle) -> FileStorage:
        self._tally["starts afterwards"] += 1
        try:
            storage = open_storage(image, self._workload.segment_bytes_max)
        except Exception as refusal:
            raise Found("no start after a failure", trace(refusal)) from refusal
        oracle.told(storage.recovered)
        return storage


def _expect_advice(refusal: StorageFailed | SnapshotFailed) -> None:
    text = str(refusal)
    expect("see to the disk" in text, "no word what to do", text)
    expect("/data/member" in text, "imprecise refusal", text)
