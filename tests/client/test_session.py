"""Sequences of a session: what each frame says to the rules of application/sessions.py."""

from __future__ import annotations

import pytest

from raft_actors.client.session import Session
from tests.application.builders import client


def session() -> Session:
    return Session(client("c"), opens=7)


class TestOpens:
    def test_is_sent_with_every_command_until_the_first_answer(self) -> None:
        given = session()
        first, second = given.begin(), given.begin()
        assert [given.frame(sequence, b"").opens for sequence in (first, second)] == [7, 7]
        given.answered()
        assert given.frame(second, b"").opens is None

    def test_is_the_first_index_learned_and_never_a_later_one(self) -> None:
        given = Session(client("c"))
        given.learn(3)
        given.learn(9)
        assert given.frame(given.begin(), b"").opens == 3

    def test_without_it_no_command_may_be_sent(self) -> None:
        with pytest.raises(AssertionError, match="before an applied index is known"):
            Session(client("c")).begin()


class TestAckedBelow:
    def test_stands_at_the_oldest_command_without_an_outcome(self) -> None:
        given = session()
        first, second, third = (given.begin() for _ in range(3))
        given.end(second)
        assert given.frame(third, b"").acked_below == first
        given.end(first)
        assert given.frame(third, b"").acked_below == third

    def test_a_retry_carries_the_newest(self) -> None:
        given = session()
        first, second = given.begin(), given.begin()
        before = given.frame(second, b"").acked_below
        given.end(first)
        assert (before, given.frame(second, b"").acked_below) == (0, 1)

    def test_passes_what_was_given_up_so_the_window_never_stays_full(self) -> None:
        given = session()
        sequences = [given.begin() for _ in range(3)]
        assert not given.has_room(3)
        given.end(sequences[0])
        assert given.has_room(3)

    def test_a_command_that_ended_gets_no_further_frame(self) -> None:
        given = session()
        sequence = given.begin()
        given.end(sequence)
        with pytest.raises(AssertionError, match="has ended"):
            given.frame(sequence, b"")
