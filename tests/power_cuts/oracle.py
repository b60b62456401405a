"""What a member's process was told to be durable, and whether what it finds later agrees.

Here:   `Oracle`: hears every message of the process, knows its steps from equal dice, judges what is found.
Never:  processes, disks, the moment of a cut.

After any end the log is exactly what the acknowledged groups add up to, or that and the one group that was under way.
Once a start was told of one of the two, that is what holds. *Late* is what a process says after the power began to go:
nobody can have heard it, so it promises nothing; but it may have happened.
"""

from __future__ import annotations

import random
from collections import Counter

from raft_actors.storage.image import LogImage, LogRecord
from raft_actors.storage.interface import Recovered
from tests.power_cuts.workload import Pause, Step, Write, next_step


class BrokenPromise(Exception):
    """Something acknowledged is not there, or something else is."""


class Oracle:
    """The promises of one data directory, over all its starts."""

    def __init__(self) -> None:
        """Of a directory that does not exist yet."""
        self.counters: Counter[str] = Counter()
        self._may_be = [LogImage()]
        """What the next start may find, beside the group under way; one, but for what was said late."""
        self._now = self._may_be[0]
        """What the process that lives holds, or the one that died last did."""
        self._under_way: tuple[LogRecord, ...] = ()
        self._start_count_told = 0
        self._directory_id_told: bytes | None = None
        self._dice = random.Random(0)
        self._step: Step | None = None
        self._closed_in_order = False

    def process_begins(self, seed: str) -> None:
        """A new process will open the directory, with these dice."""
        self._dice = random.Random(seed)
        self._step = None

    def opened(self, found: Recovered, *, late: bool = False) -> None:
        """A start was told this; from now on everybody may know it. Raises `BrokenPromise`."""
        self._judge_start(found, late)
        may_be = self._candidates()
        self._now = self._judge_log(found, may_be)
        self._may_be = may_be if late else [self._now]
        if found.torn_bytes:
            self.counters["torn tails dropped"] += 1
            if self._closed_in_order:
                raise BrokenPromise(f"{found.torn_bytes} torn bytes after a clean close")
        if not late:
            self._closed_in_order = False
            self.counters["starts told"] += 1
        self._plan()

    def done(self, *, late: bool = False) -> None:
        """The step returned."""
        step = self._step
        if isinstance(step, Write):
            self._now = _after(self._now, step.records)
            self.counters["groups acknowledged"] += not late
        else:
            assert step is Pause.MARK, f"a step that cannot be done: {step}"
            self.counters["marks"] += not late
        self._may_be = [*self._may_be, self._now] if late else [self._now]
        self._closed_in_order = False
        self._plan()

    def closed(self, *, late: bool = False) -> None:
        """The storage was closed in order."""
        self._under_way = ()
        self._closed_in_order = not late
        self.counters["closed in order"] += not late

    def _plan(self) -> None:
        self._step = next_step(self._dice, self._now)
        self._under_way = self._step.records if isinstance(self._step, Write) else ()

    def _candidates(self) -> list[LogImage]:
        return [*self._may_be, _after(self._now, self._under_way)] if self._under_way else list(self._may_be)

    def _judge_start(self, found: Recovered, late: bool) -> None:
        incarnation = found.incarnation
        if incarnation.start_count <= self._start_count_told:
            raise BrokenPromise(f"start {incarnation.start_count} was told after start {self._start_count_told}")
        if self._directory_id_told not in (None, incarnation.directory_id):
            raise BrokenPromise("the directory has another id than it told before")
        if not late:
            self._start_count_told, self._directory_id_told = incarnation.start_count, incarnation.directory_id

    def _judge_log(self, found: Recovered, may_be: list[LogImage]) -> LogImage:
        for image in may_be:
            if _is(found, image):
                if self._under_way:
                    self.counters[f"group under way {'kept' if image is may_be[-1] else 'lost'}"] += 1
                return image
        allowed = "\nor ".join(map(_told, may_be))
        raise BrokenPromise(f"acknowledged, the last perhaps under way: {allowed}\nfound: {_found(found)}")


def _after(image: LogImage, records: tuple[LogRecord, ...]) -> LogImage:
    """The log with these records behind it."""
    after = LogImage(image.genesis, image.hard_state, image.base, list(image.entries))
    for record in records:
        after.apply(record)
    return after


def _is(found: Recovered, image: LogImage) -> bool:
    """Whether exactly this was found."""
    return (
        found.genesis == image.genesis
        and found.hard_state == image.hard_state
        and len(found.entries) == len(image.entries)
        and all(mine == theirs for mine, theirs in zip(image.entries, found.entries, strict=True))
    )


def _told(image: LogImage) -> str:
    vote = image.hard_state.voted_for
    return f"term {image.hard_state.term}, vote {vote!r}, last entry {image.last}, genesis {image.genesis is not None}"


def _found(found: Recovered) -> str:
    return (
        _told(LogImage(found.genesis, found.hard_state, found.base, list(found.entries)))
        + f", {found.torn_bytes} torn bytes"
    )
