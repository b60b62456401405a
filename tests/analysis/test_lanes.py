"""Lanes: no two calls that overlap share one, and no more of them than needed.

Here:   overlaps of one client, of several, calls that never end; random histories.
Never:  what lanes are for (test_timeline.py, test_porcupine.py).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from analysis.history import Call, Op, Outcome
from analysis.lanes import lanes, occupied_until
from tests.analysis.test_key_model import NOT_DONE, OK, UNKNOWN, put

FOR_EVER: Final = 10**9


@st.composite
def any_call(draw: st.DrawFn) -> Call:
    """Of two clients; times are few, so that many are the same."""
    begin = draw(st.integers(0, 12))
    end = draw(st.none() | st.integers(begin, 14))
    outcome: Outcome = draw(st.sampled_from([OK, NOT_DONE, UNKNOWN])) if end is not None else UNKNOWN
    made = put(begin, end, "a", 1) if outcome is OK else put(begin, end, "a", outcome=outcome)
    return replace(made, client=draw(st.sampled_from("AB")), op=draw(st.sampled_from([Op.PUT, Op.APPEND])))


class TestLanes:
    def test_calls_one_after_another_share_a_lane(self) -> None:
        assert lanes([put(0, 1, "a", 1), put(2, 3, "b", 2), put(4, 9, "c", 3)]) == [0, 0, 0]

    def test_calls_that_overlap_do_not(self) -> None:
        assert lanes([put(0, 5, "a", 1), put(2, 9, "b", 2), put(6, 7, "c", 3)]) == [0, 1, 0]

    def test_a_call_at_the_moment_of_a_return_overlaps(self) -> None:
        assert lanes([put(0, 2, "a", 1), put(2, 3, "b", 2), put(3, 4, "c", 3)]) == [0, 1, 0]

    def test_each_client_has_its_own(self) -> None:
        assert lanes([put(0, 5, "a", 1), put(2, 9, "b", 2, client="other")]) == [0, 0]

    def test_a_call_that_never_ends_keeps_its_lane(self) -> None:
        assert lanes([put(0, None, "a"), put(5, 6, "b", 2), put(7, 8, "c", 3)]) == [0, 1, 1]

    def test_nor_does_one_of_unknown_outcome_end_when_its_caller_gives_up(self) -> None:
        gave_up = put(0, 2, "a")
        assert occupied_until(gave_up) is None
        assert lanes([gave_up, put(5, 6, "b", 2)]) == [0, 1]

    def test_they_follow_the_invocations_and_are_told_in_the_order_of_the_calls(self) -> None:
        assert lanes([put(2, 9, "b", 2), put(0, 5, "a", 1)]) == [1, 0]

    def test_nothing_has_none(self) -> None:
        assert lanes([]) == []


def overlap(one: Call, other: Call) -> bool:
    first, second = sorted((one, other), key=lambda call: call.invoked)
    end = occupied_until(first)
    return second.invoked <= (FOR_EVER if end is None else end)


@given(st.lists(any_call(), max_size=12))
def test_calls_that_overlap_never_share_a_lane_and_there_are_no_more_lanes_than_needed(calls: list[Call]) -> None:
    given_lanes = lanes(calls)
    for (one, lane), (other, other_lane) in combinations(zip(calls, given_lanes, strict=True), 2):
        if one.client == other.client and overlap(one, other):
            assert lane != other_lane
    for client in "AB":
        mine = [(call, lane) for call, lane in zip(calls, given_lanes, strict=True) if call.client == client]
        at_once = [sum(overlap(call, other) for other, _ in mine if other.invoked <= call.invoked) for call, _ in mine]
        assert len({lane for _, lane in mine}) == max(at_once, default=0)
