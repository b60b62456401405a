"""The machine that keeps what it was given."""

from __future__ import annotations

import pytest

from raft_actors.application.machine import create_machine
from tests.catalogue.ledger import Ledger, read_commands


def ledger(*indexes: int) -> Ledger:
    made = Ledger()
    for index in indexes:
        made.apply(index, b"at %d" % index)
    return made


def test_it_is_a_state_machine() -> None:
    assert isinstance(create_machine(Ledger, b"settings"), Ledger)


def test_a_query_tells_all_of_it() -> None:
    assert read_commands(ledger(2, 3, 7).query(b"")) == {2: b"at 2", 3: b"at 3", 7: b"at 7"}
    assert read_commands(Ledger().query(b"")) == {}


@pytest.mark.parametrize("late", [1, 3])
def test_what_comes_again_or_too_late_stops_it(late: int) -> None:
    with pytest.raises(ValueError, match=f"entry {late} was applied after entry 3"):
        ledger(1, 3).apply(late, b"late")


def test_a_snapshot_carries_it_whichever_way_its_bytes_are_cut() -> None:
    data, restored = b"".join(ledger(2, 300).snapshot()), Ledger()
    restored.restore(memoryview(data)[at : at + 3] for at in range(0, len(data), 3))
    assert restored.commands == {2: b"at 2", 300: b"at 300"}
    restored.apply(301, b"at 301")
    with pytest.raises(ValueError, match="after entry 301"):
        restored.apply(300, b"at 300")


def test_a_snapshot_is_of_the_state_when_its_first_piece_is_asked_for() -> None:
    made = ledger(1)
    pieces = made.snapshot()
    first = next(pieces)
    made.apply(2, b"at 2")
    assert read_commands(b"".join((first, *pieces))) == {1: b"at 1"}
