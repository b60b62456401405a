"""What the oracle lets pass and what it does not; without disks and processes."""

from __future__ import annotations

import pytest

from raft_actors.core.effects import Append, HardState
from raft_actors.core.entries import Entry
from raft_actors.core.types import GENESIS_ID, DirectoryId, Incarnation, Term
from raft_actors.storage.interface import Recovered
from tests.power_cuts.oracle import BrokenPromise, Oracle
from tests.power_cuts.workload import Pause, Write
from tests.storage.logs import GENESIS, append, command, vote

ID = DirectoryId(b"D" * 16)


def found(start: int, term: int, *entries: Entry, torn: int = 0, directory_id: DirectoryId = ID) -> Recovered:
    return Recovered(
        incarnation=Incarnation(directory_id=directory_id, start_count=start),
        genesis=GENESIS,
        hard_state=HardState(term=Term(term), voted_for=None),
        base=GENESIS_ID,
        entries=entries,
        snapshot=None,
        torn_bytes=torn,
        damaged_snapshots=(),
    )


def step(oracle: Oracle, *records: HardState | Append) -> None:
    """The next step is this one, whatever the dice say."""
    oracle._step, oracle._under_way = Write(records), records


ONE, TWO, THREE = (command(1, index) for index in (1, 2, 3))


@pytest.fixture
def oracle() -> Oracle:
    """Told of a start, then one entry acknowledged, another under way."""
    made = Oracle()
    made.process_begins("seed")
    made._under_way = (GENESIS, vote(1))
    made.opened(found(1, 1))
    step(made, append(ONE))
    made.done()
    step(made, append(TWO))
    return made


class TestWhatWasAcknowledged:
    @pytest.mark.parametrize("entries", [(ONE,), (ONE, TWO)])
    def test_is_found_with_or_without_what_was_under_way(self, oracle: Oracle, entries: tuple[Entry, ...]) -> None:
        oracle.opened(found(2, 1, *entries))

    @pytest.mark.parametrize("entries", [(), (TWO,), (ONE, THREE), (ONE, TWO, THREE)])
    def test_is_missed_when_anything_else_is_found(self, oracle: Oracle, entries: tuple[Entry, ...]) -> None:
        with pytest.raises(BrokenPromise):
            oracle.opened(found(2, 1, *entries))

    def test_a_term_that_falls_is_found(self, oracle: Oracle) -> None:
        with pytest.raises(BrokenPromise):
            oracle.opened(found(2, 0, ONE))

    def test_is_what_a_start_told_from_then_on(self, oracle: Oracle) -> None:
        oracle.opened(found(2, 1, ONE, TWO))
        oracle.process_begins("another")
        oracle._under_way = ()
        with pytest.raises(BrokenPromise):
            oracle.opened(found(3, 1, ONE))


class TestAStart:
    @pytest.mark.parametrize(("start", "directory_id"), [(1, ID), (2, DirectoryId(b"E" * 16))])
    def test_repeats_no_number_and_keeps_its_directory_id(
        self, oracle: Oracle, start: int, directory_id: DirectoryId
    ) -> None:
        with pytest.raises(BrokenPromise):
            oracle.opened(found(start, 1, ONE, directory_id=directory_id))

    def test_finds_nothing_torn_after_a_clean_close(self, oracle: Oracle) -> None:
        oracle.closed()
        with pytest.raises(BrokenPromise, match="clean close"):
            oracle.opened(found(2, 1, ONE, torn=9))

    def test_finds_no_group_that_was_not_begun_after_a_clean_close(self, oracle: Oracle) -> None:
        oracle.closed()
        with pytest.raises(BrokenPromise):
            oracle.opened(found(2, 1, ONE, TWO))


class TestWhatIsSaidWithoutPower:
    """Nobody can have heard it, but it may have happened."""

    @pytest.mark.parametrize("entries", [(ONE,), (ONE, TWO), (ONE, TWO, THREE)])
    def test_a_group_promises_nothing(self, oracle: Oracle, entries: tuple[Entry, ...]) -> None:
        oracle.done(late=True)
        step(oracle, append(THREE))
        oracle.opened(found(2, 1, *entries))

    @pytest.mark.parametrize("entries", [(), (TWO,), (ONE, THREE)])
    def test_what_was_acknowledged_before_is_still_missed(self, oracle: Oracle, entries: tuple[Entry, ...]) -> None:
        oracle.done(late=True)
        step(oracle, append(THREE))
        with pytest.raises(BrokenPromise):
            oracle.opened(found(2, 1, *entries))

    def test_a_start_takes_no_number_and_decides_nothing(self, oracle: Oracle) -> None:
        oracle.opened(found(2, 1, ONE, TWO), late=True)
        oracle._under_way = ()
        oracle.opened(found(2, 1, ONE))

    def test_a_mark_and_a_close_promise_nothing(self, oracle: Oracle) -> None:
        oracle._step, oracle._under_way = Pause.MARK, ()
        oracle.done(late=True)
        oracle.closed(late=True)
        oracle.opened(found(2, 1, ONE, torn=3))
