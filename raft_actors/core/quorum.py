"""Majorities, in two functions and their law.

Here:   how many make a majority, and what a majority has reached.
Never:  who is counted (configuration.py, election.py, replication.py).

The law (tests/core/test_quorum.py checks it against the obvious slow version): `majority_reached(values)` is the
highest v such that at least `majority(len(values))` of the values are v or more. Two majorities of one set share a
member, for even sizes too; Ruaft's fault RF1 was `n // 2` for them.
"""

from __future__ import annotations

from collections.abc import Sequence


def majority(voter_count: int) -> int:
    """How many of `voter_count` voters make a majority: more than half. Raft §5.2."""
    assert voter_count > 0, "a majority of nobody: the configuration in force has no voter"
    return voter_count // 2 + 1


def majority_reached(values: Sequence[int]) -> int:
    """The highest number that a majority of the voters has reached; `values` holds one number for each voter."""
    ranked = sorted(values, reverse=True)
    return ranked[majority(len(ranked)) - 1]
