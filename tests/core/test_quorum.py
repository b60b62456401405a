"""Majorities against the obvious slow version. "Two majorities of one set share a member" is all that Raft rests on."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_actors.core.quorum import majority, majority_reached


class TestMajority:
    """More than half, for even sizes too (Ruaft's fault RF1 was half)."""

    @pytest.mark.parametrize(("voters", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
    def test_more_than_half(self, voters: int, needed: int) -> None:
        assert majority(voters) == needed

    @pytest.mark.parametrize("voters", range(1, 8))
    def test_any_two_majorities_share_a_voter_and_smaller_sets_need_not(self, voters: int) -> None:
        quorums = [set(quorum) for quorum in combinations(range(voters), majority(voters))]
        assert all(one & other for one in quorums for other in quorums)
        smaller = [set(group) for group in combinations(range(voters), majority(voters) - 1)]
        assert any(not one & other for one in smaller for other in smaller)

    def test_nobody_has_no_majority(self) -> None:
        with pytest.raises(AssertionError, match="no voter"):
            majority(0)


@pytest.mark.slow
@given(st.lists(st.integers(0, 8), min_size=1, max_size=9))
def test_what_a_majority_has_reached_is_what_counting_says(values: list[int]) -> None:
    """The dumb twin (reliability B8): try every value, count who has it, keep the highest that enough have."""
    slow = max(value for value in values if 2 * sum(other >= value for other in values) > len(values))
    assert majority_reached(values) == slow
