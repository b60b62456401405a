"""Dissertation §4.1: what a change makes of a configuration, and why majorities of neighbours always meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import pytest

from raft_actors.core.effects import ChangeRefusal
from raft_actors.core.entries import Configuration, Member
from raft_actors.core.events import AddMember, Change, Promote, RemoveMember
from raft_actors.core.membership import after_change
from raft_actors.core.quorum import majority
from raft_actors.core.types import VACANT, DirectoryId
from tests.core.builders import configuration, directory
from tests.core.several import add, add_vacant, promote, remove, remove_place


class TestTheAlgebra:
    """What a change makes of a configuration: one member more, less, or of another kind."""

    THREE = configuration((0, 1, 2), (3,))

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            (add(5), configuration((0, 1, 2), (3, 5))),
            (promote(3), configuration((0, 1, 2, 3))),
            (remove(3), configuration((0, 1, 2))),
            (remove(1), configuration((0, 2), (3,))),
            (add(1), ChangeRefusal.ALREADY_MEMBER),
            (add(1, wiped=1), ChangeRefusal.ALREADY_MEMBER),  # the old directory has to be removed first
            (AddMember(member=replace(add(5).member, directory_id=directory(1))), ChangeRefusal.ALREADY_MEMBER),
            (promote(5), ChangeRefusal.NOT_MEMBER),
            (promote(1), ChangeRefusal.ALREADY_VOTER),
            (remove(5), ChangeRefusal.NOT_MEMBER),
            (RemoveMember(directory_id=directory(1, wiped=1)), ChangeRefusal.NOT_MEMBER),
        ],
    )
    def test_what_follows(self, wanted: Change, expected: object) -> None:
        assert after_change(self.THREE, wanted) == expected

    VACANT_1 = Configuration(
        members=(*configuration((0,)).members, add_vacant(1).member, *configuration((2,), (3,)).members)
    )

    @pytest.mark.parametrize(
        ("before", "wanted", "expected"),
        [
            (THREE, remove(1, keep_place=True), VACANT_1),
            (
                VACANT_1,
                add(1, wiped=1),
                Configuration(
                    members=(*configuration((0,)).members, add(1, wiped=1).member, *configuration((2,), (3,)).members)
                ),
            ),
            (VACANT_1, add_vacant(1), ChangeRefusal.ALREADY_MEMBER),
            (VACANT_1, remove_place(1), configuration((0, 2), (3,))),
            (VACANT_1, remove_place(3), ChangeRefusal.ALREADY_MEMBER),  # served meanwhile: its directory is named
            (VACANT_1, remove_place(5), ChangeRefusal.NOT_MEMBER),
            (VACANT_1, Promote(directory_id=VACANT), ChangeRefusal.NOT_MEMBER),
            (VACANT_1, RemoveMember(directory_id=VACANT), ChangeRefusal.NOT_MEMBER),
            (
                configuration((0,)),
                add_vacant(1),
                Configuration(members=(*configuration((0,)).members, add_vacant(1).member)),
            ),
            (THREE, add_vacant(1), ChangeRefusal.ALREADY_MEMBER),
        ],
    )
    def test_a_place_may_be_vacant(self, before: Configuration, wanted: Change, expected: object) -> None:
        """What is missing stands in the log, so that anybody may go on where somebody stopped (ADR 13)."""
        assert after_change(before, wanted) == expected

    def test_a_vacant_place_is_no_voter_and_several_may_be_vacant(self) -> None:
        with pytest.raises(ValueError, match="vacant"):
            Configuration(members=(Member(member_id=1, directory_id=VACANT, voter=True),))
        two = after_change(self.VACANT_1, add_vacant(5))
        assert isinstance(two, Configuration)
        assert [line.member_id for line in two.members if line.vacant] == [1, 5]
        assert two.find_directory(VACANT) is None

    def test_the_lines_stay_sorted_by_member(self) -> None:
        assert after_change(configuration((0, 2)), add(1)) == configuration((0, 2), (1,))

    def test_the_last_voter_stays(self) -> None:
        """Reliability D12, however many non-voters there are."""
        assert after_change(configuration((1,), (2, 3)), remove(1)) is ChangeRefusal.LAST_VOTER
        assert after_change(configuration((1,), (2, 3)), remove(2)) == configuration((1,), (3,))

    def test_nobody_is_added_as_a_voter(self) -> None:
        """Reliability D8: a voter without the log stops the group when another is lost."""
        with pytest.raises(ValueError, match="added as a non-voter"):
            AddMember(member=Member(member_id=5, directory_id=directory(5), voter=True))

    def test_a_line_that_was_there_is_never_touched(self) -> None:
        """Reliability D12: no change demotes, renames or moves another member."""
        for wanted in (add(5), promote(3), remove(1)):
            then = after_change(self.THREE, wanted)
            assert isinstance(then, Configuration)
            assert len(set(then.members) ^ set(self.THREE.members)) <= 2
            assert (
                len({line.directory_id for line in then.members} ^ {line.directory_id for line in self.THREE.members})
                <= 1
            )


def changes(members: Configuration, strangers: range) -> Iterator[Change]:
    """Every change that a configuration may meet, sensible or not."""
    for line in members.members:
        yield Promote(directory_id=line.directory_id)
        yield RemoveMember(directory_id=line.directory_id)
        yield RemoveMember(directory_id=line.directory_id, keep_place=True)
    for member in strangers:
        yield add(member)
        yield add_vacant(member)
        yield promote(member)
        yield remove(member)


def majorities(members: Configuration) -> list[set[DirectoryId]]:
    """All sets of voters that are just enough."""
    voters = [voter.directory_id for voter in members.voters()]
    return [set(each) for each in combinations(voters, majority(len(voters)))]


class TestNeighbours:
    """Rule 1 of the argument in membership.py, by trying everything."""

    @pytest.mark.parametrize("size", range(1, 8))
    def test_any_majority_of_one_meets_any_majority_of_the_next(self, size: int) -> None:
        """One to seven voters, none to two non-voters, every change."""
        tried = 0
        for non_voters in range(3):
            members = configuration(range(size), range(size, size + non_voters))
            for change in changes(members, range(8, 10)):
                then = after_change(members, change)
                if isinstance(then, Configuration):
                    tried += 1
                    for one in majorities(members):
                        assert all(one & other for other in majorities(then)), f"{change} of {members}"
        assert tried >= 3 * size

    @pytest.mark.parametrize("size", range(1, 8))
    def test_there_is_always_a_voter_and_never_a_place_twice(self, size: int) -> None:
        """Reliability D12; `Configuration` refuses to be made with a place or a directory twice."""
        for non_voters in range(3):
            members = configuration(range(size), range(size, size + non_voters))
            for change in changes(members, range(8, 10)):
                then = after_change(members, change)
                if isinstance(then, Configuration):
                    assert then.voters()
                    assert then != members

    @pytest.mark.parametrize(
        ("size", "disjoint"), [(1, False), (2, True), (3, False), (4, True), (5, False), (6, True)]
    )
    def test_siblings_need_not_meet(self, size: int, disjoint: bool) -> None:
        """Two changes of one configuration: why rules 2 and 3 are there. From an even number of voters, majorities of
        two successors can be apart; Ongaro's three cases have four."""
        members = configuration(range(size), (8, 9))
        then = [after_change(members, change) for change in changes(members, range(0))]
        siblings = [each for each in then if isinstance(each, Configuration) and each.voters() != members.voters()]
        apart = any(
            not one & other
            for left, right in combinations(siblings, 2)
            for one in majorities(left)
            for other in majorities(right)
        )
        assert apart is disjoint
