"""Faults that last end once, by whoever comes first, and never by the time of another one."""

from __future__ import annotations

from queue import Queue

import pytest

from raft_actors.faults.lasting import Lasting

DEADLINE_S = 20.0


def test_one_that_is_ended_is_undone_once() -> None:
    lasting, undone = Lasting(), Queue[str]()
    lasting.begin("stop 1", lambda: undone.put("stop 1"), 60.0)
    assert lasting.lasts("stop 1")
    assert lasting.end("stop 1")
    assert not lasting.lasts("stop 1")
    assert not lasting.end("stop 1")
    assert undone.qsize() == 1


@pytest.mark.slow
def test_one_whose_time_is_over_ends_by_itself() -> None:
    lasting, undone = Lasting(), Queue[str]()
    lasting.begin("stop 1", lambda: undone.put("stop 1"), 0.02)
    assert undone.get(timeout=DEADLINE_S) == "stop 1"
    assert not lasting.end("stop 1")


def test_another_one_about_the_same_ends_the_one_before_first() -> None:
    lasting, undone = Lasting(), Queue[str]()
    lasting.begin("slow 1", lambda: undone.put("first"), 60.0)
    lasting.begin("slow 1", lambda: undone.put("second"), 60.0)
    lasting.begin("slow 2", lambda: undone.put("of another"), None)
    assert undone.get_nowait() == "first"
    lasting.end_all()
    assert {undone.get_nowait(), undone.get_nowait()} == {"second", "of another"}
    assert undone.empty()


@pytest.mark.slow
def test_the_time_of_one_that_was_ended_does_not_end_the_next() -> None:
    """A pause of a minute, ended after a second, must not end another pause a minute after the first one began."""
    lasting, undone = Lasting(), Queue[str]()
    lasting.begin("stop 1", lambda: undone.put("first"), 0.05)
    lasting.end("stop 1")
    lasting.begin("stop 1", lambda: undone.put("second"), 60.0)
    assert undone.get_nowait() == "first"
    lasting.begin("a clock", lambda: undone.put("later than the first one's time"), 0.1)
    assert undone.get(timeout=DEADLINE_S) == "later than the first one's time"
    assert lasting.end("stop 1")


@pytest.mark.slow
def test_who_ends_it_while_its_time_ends_it_too_does_it_once() -> None:
    for _ in range(50):
        lasting, undone = Lasting(), Queue[str]()
        lasting.begin("stop 1", lambda undone=undone: undone.put("undone"), 0.001)  # type: ignore[misc]
        lasting.end("stop 1")
        assert undone.get(timeout=DEADLINE_S) == "undone"
        assert undone.empty()
