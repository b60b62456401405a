"""What is read of the sessions is what they were at the call, whatever is applied meanwhile (frozen_sessions.py)."""

from __future__ import annotations

import random
import sys
import tracemalloc
from collections.abc import Callable
from itertools import islice, pairwise
from types import FrameType
from typing import Any, Final

import pytest

from raft_actors.application.frames import ClientId, Frame
from raft_actors.application.last_uses import LastUse
from raft_actors.application.sessions import Sessions
from raft_actors.application.settings import SessionLimits
from tests.application.builders import frame

LIMITS = SessionLimits(results_max=5, sessions_max=7, idle_ms_max=100)


class Log:
    """Sessions, fed one entry after the other."""

    def __init__(self, limits: SessionLimits = LIMITS) -> None:
        self.sessions = Sessions(limits)
        self.index = self.stamp_ms = 0

    def apply(self, *frames: Frame, later_ms: int = 0) -> None:
        self.index += 1
        self.stamp_ms += later_ms
        self.sessions.apply_entry(self.index, self.stamp_ms, frames, lambda command: b"%d:" % self.index + command)

    def open(self, names: str) -> None:
        """One entry in which each of them gets two results."""
        frames = [frame(sequence, by=name, opens=self.index) for sequence in (1, 2) for name in names]
        self.apply(*frames)


def copied(sessions: Sessions) -> list[int | bytes]:
    """The fields by a plain copy of everything at once, which is what `fields` was once."""
    uses = list(sessions._last_uses)
    fields: list[int | bytes] = [sessions.dropped_to, len(uses)]
    for use in uses:
        fields += (use.index, use.stamp_ms, len(use.clients))
        for client_id in sorted(use.clients):
            session = sessions._sessions[client_id]
            fields += (client_id, session.acked_below, len(session.results))
            for sequence, result in sorted(session.results.items()):
                fields += (sequence, result)
    return fields


class Reader:
    """A snapshot under way, and the plain copy that it has to be equal to, field for field."""

    def __init__(self, sessions: Sessions) -> None:
        self.expected = copied(sessions)
        self.fields = sessions.fields()
        self.count = 0

    def read(self, count: int) -> None:
        fields = list(islice(self.fields, count))
        assert fields == self.expected[self.count :][: len(fields)]
        self.count += len(fields)

    def read_all(self) -> None:
        self.read(len(self.expected))
        assert (self.count, list(self.fields)) == (len(self.expected), [])


def any_frames(dice: random.Random, index: int) -> list[Frame]:
    """Of more clients than may have sessions: first ones, retries, late ones, acknowledgements of any size."""
    return [
        frame(
            dice.randrange(12),
            by=dice.choice("abcdefghijkl"),
            acked_below=dice.choice((0, 0, dice.randrange(12))),
            opens=dice.choice((None, index, index, 0)),
        )
        for _ in range(dice.choice((0, 1, 1, 2, 9)))
    ]


@pytest.mark.parametrize("seed", range(80))
def test_it_reads_what_a_copy_would_have(seed: int) -> None:
    """Several readers at once, each at another place, while sessions move, go idle, are crowded out and come back."""
    dice, log = random.Random(seed), Log()
    readers: list[Reader] = []
    for _ in range(300):
        chance = dice.random()
        if chance < 0.5:
            log.apply(*any_frames(dice, log.index), later_ms=dice.choice((0, 0, 10, 10, 90)))
        elif chance < 0.6:
            readers = [*readers[-3:], Reader(log.sessions)]
        elif readers:
            dice.choice(readers).read(dice.choice((1, 1, 2, 5, 20)))
    for reader in readers:
        reader.read_all()


CHANGES: Final[dict[str, Callable[[Log], object]]] = {
    "a new result": lambda log: log.apply(frame(3, by="c")),
    "a retry": lambda log: log.apply(frame(1, by="d")),
    "an acknowledgement": lambda log: log.apply(frame(3, by="b", acked_below=3)),
    "the whole oldest entry": lambda log: log.apply(frame(3, by="a"), frame(3, by="b")),
    "the whole middle one": lambda log: log.apply(frame(3, by="d"), frame(3, by="c", acked_below=2)),
    "the newest entry one by one": lambda log: [log.apply(frame(3, by=name)) for name in "fe"],
    "others open": lambda log: log.open("z"),
    "all idle": lambda log: log.apply(later_ms=100),
    "all idle, then all open again": lambda log: [log.apply(later_ms=100), log.open("abcdef")],
    "crowded out, from the middle of an entry on": lambda log: log.open("uvwx"),
    "crowded out, then open again": lambda log: [log.open("uvwx"), log.open("ab")],
    "used in every entry to come": lambda log: [log.apply(frame(3, by="a")) for _ in range(20)],
}


class TestEachKindOfChange:
    """Six sessions in three entries, changed before anything is read, or behind the first field, the second, ..."""

    def log(self) -> Log:
        log = Log()
        for names in ("ba", "cd", "fe"):
            log.open(names)
        return log

    @pytest.mark.parametrize("change", CHANGES)
    def test_wherever_the_reader_is(self, change: str) -> None:
        for count in range(len(copied(self.log().sessions)) + 1):
            log = self.log()
            reader = Reader(log.sessions)
            reader.read(count)
            CHANGES[change](log)
            reader.read_all()

    @pytest.mark.parametrize("change", CHANGES)
    def test_the_copy_tells_it(self, change: str) -> None:
        """Otherwise the test above would show nothing."""
        log = self.log()
        before = copied(log.sessions)
        CHANGES[change](log)
        assert copied(log.sessions) != before

    def test_the_moment_is_that_of_the_call(self) -> None:
        log = self.log()
        before, fields = copied(log.sessions), log.sessions.fields()
        log.open("g")
        assert list(fields) == before

    def test_no_sessions_at_all(self) -> None:
        log = Log()
        reader = Reader(log.sessions)
        log.open("ab")
        assert reader.expected == [-1, 0]
        reader.read_all()


class TestWhatItCosts:
    """What a clock would say, in lines of Python and in memory; a copy made by one call of C shows in the latter."""

    def sessions(self, count: int) -> Sessions:
        """Eight in each entry, one result each."""
        log = Log(SessionLimits())
        for first in range(0, count, 8):
            log.apply(*(frame(1, by=f"{number:07}", opens=log.index) for number in range(first, first + 8)))
        return log.sessions

    @pytest.mark.slow
    def test_freezing_and_reading_on_cost_the_same_for_any_number(self) -> None:
        few, many = self.sessions(80), self.sessions(100_000)
        assert len(many.clients()) == 100_000
        lines, peak_bytes = self.cost(few)
        lines_of_many, peak_bytes_of_many = self.cost(many)
        assert lines == lines_of_many
        assert peak_bytes_of_many < 2 * peak_bytes

    def test_one_session_or_one_entry_at_a_time(self) -> None:
        """Between two fields at most the eight sessions of an entry are looked at, or a session's only result."""
        fields = self.sessions(400).fields()
        assert max(lines_run(lambda: next(fields, None)) for _ in range(2 + 50 * 3 + 400 * 5)) < 40
        assert next(fields, None) is None

    def cost(self, sessions: Sessions) -> tuple[int, int]:
        """Of freezing, and of reading from the first entry into the second: lines run, most bytes held."""

        def take() -> None:
            assert len(list(islice(sessions.fields(), 50))) == 50

        tracemalloc.start()
        try:
            take()
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        return lines_run(take), peak_bytes

    def test_a_reader_that_stands_still_keeps_no_more_with_every_entry(self) -> None:
        """Nodes of the ring point at their neighbours; one kept would keep all that come behind it."""
        log = Log()
        for names in ("ba", "cd", "fe"):
            log.open(names)
        reader = Reader(log.sessions)
        reader.read(3)
        blocks = []
        for _ in range(6):
            for number in range(300):
                log.apply(frame(1, by="abcdef"[number % 6]))
            blocks.append(sys.getallocatedblocks())  # of the whole process: what other threads take may come between
        assert min(after - before for before, after in pairwise(blocks)) < 100
        reader.read_all()


class TestWhoStopsReading:
    @pytest.mark.parametrize("count", [0, 1, 8])
    def test_leaves_nothing_behind(self, count: int) -> None:
        """Neither what was kept for it, from that moment on, nor work, from the next change on."""
        log = Log()
        log.open("abc")
        reader, other = Reader(log.sessions), Reader(log.sessions)
        reader.read(count)
        log.apply(frame(3, by="a"))
        (frozen, frozen_for_other) = log.sessions._frozen
        del reader
        assert frozen() is None
        log.apply(frame(3, by="b"))
        assert log.sessions._frozen == [frozen_for_other]
        other.read_all()
        log.apply(frame(3, by="c"))
        assert log.sessions._frozen == []

    def test_at_the_end_neither_even_if_the_iterator_is_held_on_to(self) -> None:
        log = Log()
        log.open("a")
        fields = log.sessions.fields()
        assert len(list(fields)) == 2 + 3 + 3 + 4
        log.apply(frame(3, by="a"))
        assert log.sessions._frozen == []
        assert next(fields, None) is None


class TestTheRing:
    """`LastUses` beside a dictionary."""

    @pytest.mark.parametrize("seed", range(20))
    def test_it_has_what_a_dictionary_would(self, seed: int) -> None:
        dice, log = random.Random(seed), Log()
        for _ in range(150):
            log.apply(*any_frames(dice, log.index), later_ms=dice.choice((0, 10, 90)))
            uses: dict[int, set[ClientId]] = {}
            for client_id, session in log.sessions._sessions.items():
                uses.setdefault(session.last_use.index, set()).add(client_id)
            ring = log.sessions._last_uses
            assert [(use.index, use.clients) for use in ring] == sorted(uses.items())
            assert (len(ring), ring.newest_index) == (len(uses), max(uses, default=0))
            assert ring.oldest.index == min(uses, default=0)
            assert backwards(ring.oldest.before) == sorted(uses, reverse=True)


def backwards(end: LastUse) -> list[int]:
    """The indexes in the ring, from its end on."""
    found, use = [], end.before
    while use is not end:
        found.append(use.index)
        use = use.before
    return found


def lines_run(call: Callable[[], object]) -> int:
    """How many lines of Python a call runs."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
