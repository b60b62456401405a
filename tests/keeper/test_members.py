"""What a caller is told of a change: done once, refused by name, or unknown. The leader is played, without Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raft_actors.cluster import membership
from raft_actors.cluster.membership import Members
from raft_actors.core.effects import ChangeRefusal, ChangeRefused, ChangeStarted
from raft_actors.core.entries import Configuration
from raft_actors.core.events import AddMember, Change, RemoveMember
from raft_actors.core.membership import after_change
from raft_actors.core.types import LogIndex, MemberId, Term
from raft_actors.errors import (
    AlreadyMember,
    ChangeUnderWay,
    LastVoter,
    MembershipError,
    NotMember,
    TooFewLeft,
)
from raft_actors.peer.membership import MemberLine, Membership
from tests.core.builders import configuration, directory
from tests.core.several import add, add_vacant, promote, remove


class Leader(Members):
    """A group whose leader does what is asked at once, unless `going_wrong` says otherwise for the next requests.

    "lost": done, and no answer. "never": not done, and no answer. A `ChangeRefusal`: refused. A `Change`: somebody else
    makes this one first.
    """

    def __init__(self, members: Configuration) -> None:
        self._group = "g"
        self.members = members
        self.index = 5
        self.asked: list[Change] = []
        self.going_wrong: list[str | ChangeRefusal | Change] = []
        self.filled: list[int] = []

    def make(self, change: Change) -> None:
        following = after_change(self.members, change)
        assert isinstance(following, Configuration), following
        self.members, self.index = following, self.index + 1

    def _view(self, deadline_s: float) -> Membership:
        lines = tuple(
            MemberLine(
                member_id=line.member_id,
                directory_id=None if line.vacant else line.directory_id,
                voter=line.voter,
                lag=None if line.vacant else 0,
                silent_ms=None if line.vacant else 0,
                heard=not line.vacant,
            )
            for line in self.members.members
        )
        return Membership(
            leader=MemberId(0),
            term=Term(1),
            index=LogIndex(self.index),
            committed=True,
            commit_index=LogIndex(self.index),
            lines=lines,
        )

    def _ask_leader(self, view: Membership, method: str, *arguments: Any) -> Any:
        assert method == "change_membership"
        made_for, change = arguments
        wrong = self.going_wrong.pop(0) if self.going_wrong else None
        if wrong == "never":
            return None
        if isinstance(wrong, ChangeRefusal):
            return ChangeRefused(change_id=1, reason=wrong, leader=MemberId(0))
        if wrong is not None and wrong != "lost":
            assert not isinstance(wrong, str)
            self.make(wrong)
        if made_for != self.index:
            return ChangeRefused(change_id=1, reason=ChangeRefusal.OTHER_CONFIGURATION, leader=MemberId(0))
        following = after_change(self.members, change)
        if isinstance(following, ChangeRefusal):
            return ChangeRefused(change_id=1, reason=following, leader=MemberId(0))
        self.asked.append(change)
        self.make(change)
        if wrong == "lost":
            return None
        return ChangeStarted(change_id=1, index=LogIndex(self.index), term=Term(1))

    def _fill(self, member_id: MemberId, node: str | None, deadline_s: float, on_progress: object) -> None:
        self.filled.append(member_id)

    def _stop_leading(self, member_id: MemberId, deadline_s: float) -> None:
        """Another one leads."""

    def _hasten(self) -> None:
        """No keeper."""


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "members_with_actors", lambda group: [])
    monkeypatch.setattr(membership, "POLL_S", 0.001)


def three() -> Leader:
    return Leader(configuration(range(3)))


class TestOnceAndOnlyOnce:
    """An answer that is lost says nothing: one looks, and asks again only if what was wanted is not there."""

    @pytest.mark.parametrize("wrong", ["lost", "never", ChangeRefusal.TERM_NOT_COMMITTED, ChangeRefusal.TRANSFERRING])
    def test_a_member_more(self, wrong: str | ChangeRefusal) -> None:
        leader = three()
        leader.going_wrong = [wrong]
        assert leader.add() == 3
        assert [line.member_id for line in leader.members.members] == [0, 1, 2, 3]
        assert leader.filled == [3]

    @pytest.mark.parametrize("wrong", ["lost", "never", ChangeRefusal.CHANGE_NOT_COMMITTED])
    def test_a_member_less(self, wrong: str | ChangeRefusal) -> None:
        leader = three()
        leader.going_wrong = [wrong]
        leader.remove(1)
        assert leader.members == configuration((0, 2))
        assert leader.asked == [remove(1)]

    @pytest.mark.parametrize("wrong", ["lost", "never"])
    def test_a_replacement(self, wrong: str) -> None:
        leader = three()
        leader.going_wrong = [wrong]
        leader.replace(1)
        assert leader.asked == [remove(1, keep_place=True)]
        assert leader.filled == [1]


class TestOthersWhoChangeThingsMeanwhile:
    def test_two_who_add_get_one_each(self) -> None:
        leader = three()
        leader.going_wrong = [add_vacant(3)]
        assert leader.add() == 4
        assert leader.asked == [add_vacant(4)]

    def test_a_removal_of_who_was_replaced_meanwhile_is_no_success(self) -> None:
        leader = three()
        leader.going_wrong = [remove(1, keep_place=True), ChangeRefusal.OTHER_CONFIGURATION]
        with pytest.raises(MembershipError, match="was replaced meanwhile, and was not removed"):
            leader.remove(1)
        assert leader.members.find(MemberId(1)) is not None

    def test_a_replacement_that_somebody_else_has_begun_is_waited_for(self) -> None:
        leader = three()
        leader.going_wrong = [remove(1, keep_place=True)]
        leader.replace(1)
        assert (leader.asked, leader.filled) == ([], [1])

    def test_a_replacement_under_way_is_not_begun_anew(self) -> None:
        """The new member is being sent the log: the second call waits for it."""
        leader = Leader(configuration((0, 2), (1,)))
        leader.replace(1)
        assert (leader.asked, leader.filled) == ([], [1])


class TestRefusals:
    @pytest.mark.parametrize(
        ("call", "refusal"),
        [
            (lambda leader: leader.add(1), AlreadyMember),
            (lambda leader: leader.remove(7), NotMember),
            (lambda leader: leader.replace(7), NotMember),
        ],
    )
    def test_what_makes_no_sense(self, call: Callable[[Leader], object], refusal: type[Exception]) -> None:
        leader = three()
        with pytest.raises(refusal):
            call(leader)
        assert (leader.members, leader.filled) == (configuration(range(3)), [])

    @pytest.mark.parametrize(
        ("reason", "refusal"), [(ChangeRefusal.WOULD_STALL, TooFewLeft), (ChangeRefusal.LAST_VOTER, LastVoter)]
    )
    def test_what_the_leader_refuses_has_its_name(self, reason: ChangeRefusal, refusal: type[Exception]) -> None:
        leader = three()
        leader.going_wrong = [reason]
        with pytest.raises(refusal):
            leader.remove(1)

    @pytest.mark.parametrize(
        ("wrong", "outcome"), [("never", "unknown"), (ChangeRefusal.CHANGE_NOT_COMMITTED, "not_done")]
    )
    def test_what_is_not_done_in_time_says_whether_it_may_be_yet(self, wrong: str, outcome: str) -> None:
        leader = three()
        leader.going_wrong = [wrong] * 10_000
        with pytest.raises(ChangeUnderWay) as refusal:
            leader.remove(1, timeout_s=0.02)
        assert refusal.value.outcome == outcome

    def test_a_group_has_so_many_members_at_most(self) -> None:
        leader = Leader(configuration(range(15)))
        with pytest.raises(MembershipError, match="at most 15"):
            leader.add()

    def test_a_place_that_somebody_wanted_before_is_waited_for(self) -> None:
        leader = Leader(configuration(range(3)))
        leader.make(add_vacant(3))
        assert leader.add(3) == 3
        assert (leader.asked, leader.filled) == ([], [3])
        leader.make(add(3))
        assert leader.add(3) == 3
        leader.make(promote(3))
        with pytest.raises(AlreadyMember):
            leader.add(3)

    def test_the_changes_are_of_what_was_seen(self) -> None:
        leader = three()
        leader.replace(2)
        assert leader.asked == [RemoveMember(directory_id=directory(2), keep_place=True)]
        leader = three()
        leader.add(9)
        assert leader.asked == [AddMember(member=add_vacant(9).member)]
