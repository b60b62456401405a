"""Silence that goes on while leaders change. Without Ray."""

from __future__ import annotations

from dataclasses import replace

from raft_actors.cluster.silences import OWN_COUNT_MS_MIN, Silences
from raft_actors.core.types import LogIndex, MemberId, Term
from raft_actors.peer.membership import MemberLine, Membership
from tests.rig.disks import directory_id

WHO = directory_id(2)


def line(silent_ms: int, *, heard: bool) -> MemberLine:
    return MemberLine(member_id=MemberId(2), directory_id=WHO, voter=True, lag=0, silent_ms=silent_ms, heard=heard)


def counted(silences: Silences, now_ms: int, *lines: MemberLine) -> list[int | None]:
    view = Membership(
        leader=MemberId(0), term=Term(3), index=LogIndex(7), committed=True, commit_index=LogIndex(9), lines=lines
    )
    return [each.silent_ms for each in silences.across_leaders(view, now_ms).lines]


def test_the_count_of_one_leader_is_added_to_that_of_the_one_before() -> None:
    silences = Silences()
    assert counted(silences, 10_000, line(3_000, heard=True)) == [3_000]
    assert counted(silences, 14_000, line(1_500, heard=False)) == [7_000]
    assert counted(silences, 19_000, line(1_000, heard=False)) == [12_000]


def test_an_answer_to_this_leader_ends_it() -> None:
    silences = Silences()
    counted(silences, 10_000, line(9_000, heard=True))
    assert counted(silences, 15_000, line(1_200, heard=True)) == [1_200]
    assert counted(silences, 18_000, line(2_000, heard=False)) == [4_200], "counted from that answer on"


def test_a_leader_of_a_moment_says_nothing_of_who_works() -> None:
    """It may have answered leaders that nobody looked at."""
    silences = Silences()
    counted(silences, 10_000, line(9_000, heard=True))
    assert counted(silences, 12_000, line(OWN_COUNT_MS_MIN - 1, heard=False)) == [OWN_COUNT_MS_MIN - 1]
    assert counted(silences, 12_001, line(OWN_COUNT_MS_MIN, heard=False)) == [11_001], "but nothing is forgotten"


def test_the_first_look_knows_what_the_leader_does() -> None:
    assert counted(Silences(), 10_000, line(4_000, heard=False)) == [4_000]


def test_who_left_the_configuration_is_forgotten() -> None:
    silences = Silences()
    counted(silences, 10_000, line(9_000, heard=True))
    vacant = replace(line(0, heard=False), directory_id=None, silent_ms=None, lag=None)
    assert counted(silences, 11_000, vacant) == [None]
    assert counted(silences, 13_000, line(1_500, heard=False)) == [1_500]
