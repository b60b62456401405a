"""Changes of the membership and transfers through the product's engine: messages as bytes, ends as answers."""

from __future__ import annotations

import pytest

from raft_actors.core.effects import ChangeRefusal, ChangeRefused, ChangeStarted, TransferEnd, TransferEnded
from raft_actors.core.entries import Member as Line
from raft_actors.core.events import AddMember, RemoveMember
from raft_actors.core.types import MemberId
from tests.rig.rig import Group


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_leadership_moves_in_one_exchange_without_a_timeout(size: int) -> None:
    group = Group(size)
    group.elect(1)
    group.propose(1, b"x")
    number = group.transfer(1, 2)
    group.deliver_all()
    assert group.leader() == 2
    assert group.members[1].transfer_answers[number] == TransferEnded(
        transfer_id=number, done=True, why=TransferEnd.MOVED
    )
    group.propose(2, b"y")
    group.deliver_all()
    assert group.applied(2) == [b"x", b"y"]


def test_without_an_answer_it_is_given_up_and_commands_are_taken_again() -> None:
    group = Group(3)
    group.elect(1)
    group.cut(1, 2)
    number = group.transfer(1, 2)
    group.pass_time(700)
    assert group.members[1].transfer_answers[number].why is TransferEnd.GIVEN_UP
    group.propose(1, b"x")
    group.deliver_all()
    assert group.applied(1) == [b"x"]


def test_a_leader_removes_itself_and_the_others_go_on() -> None:
    group = Group(3)
    group.elect(1)
    mine = group.members[1].directory_id
    assert mine is not None
    remove = RemoveMember(directory_id=mine)
    assert group.change(2, remove) == ChangeRefused(change_id=0, reason=ChangeRefusal.NOT_LEADER, leader=1)
    assert group.change(1, remove) == ChangeRefused(change_id=0, reason=ChangeRefusal.TERM_NOT_COMMITTED, leader=1)
    group.deliver_all()
    assert group.change(1, remove) == ChangeStarted(change_id=1, index=2, term=1)
    group.deliver_all()
    assert group.leader() is None
    group.elect(2)
    group.propose(2, b"x")
    group.deliver_all()
    group.beat(2)
    group.deliver_all()
    assert group.applied(3) == group.applied(2) == [b"x"]


def added() -> Group:
    """1 leads three members and has seated the directory 4, which is empty and not invited yet."""
    group = Group(3, spare=1)
    group.empty(4)
    group.elect(1)
    group.propose(1, b"x")
    group.deliver_all()
    four = group.members[MemberId(4)].directory_id
    assert four is not None
    line = Line(member_id=MemberId(4), directory_id=four, voter=False)
    assert isinstance(group.change(1, AddMember(member=line)), ChangeStarted)
    return group


def test_a_directory_that_is_listed_is_invited_and_fed() -> None:
    group = added()
    group.pass_time(500)
    group.deliver_all()
    assert group.log(4) == group.log(1)
    assert group.applied(4) == [b"x"]


def test_an_invitation_is_for_one_directory() -> None:
    group = added()
    group.pass_time(10)
    group.cut(1, 4)
    group.pass_time(1000)
    group.drop(dst=4, part="reply")
    group.wipe(4)
    group.empty(4)
    group.heal()
    group.deliver_all()
    assert group.members[MemberId(4)].engine is None, "it is another one that was invited"


def test_whoever_belongs_to_a_group_ignores_an_invitation() -> None:
    group = added()
    group.pass_time(500)
    group.duplicate(method="join")
    before = group.members[MemberId(4)].start
    group.isolate(4)
    group.pass_time(3000)
    group.heal()
    group.deliver_all()
    assert group.members[MemberId(4)].start == before
