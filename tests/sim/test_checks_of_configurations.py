"""Rules of who belongs to the group and of handing leadership over can be broken: one thing is forged, and one rule
says so.

Here:   configurations that no leader makes, in a group at rest (tests/rig).
Never:  whether the product keeps the rules.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from raft_actors.core.effects import Effect
from raft_actors.core.entries import Configuration, Noop
from raft_actors.core.entries import Member as Line
from raft_actors.core.membership import _keep_progress
from raft_actors.core.replication import append_as_leader, feed
from raft_actors.core.types import VACANT, MemberId, Role
from raft_actors.peer.engine import Engine
from tests.rig.rig import Group
from tests.sim.test_checks import D2, D4, breaks, group_at_rest, look, second_entry


class TestConfigurations:
    def lines(self, group: Group) -> tuple[Line, ...]:
        return group.genesis.configuration.members

    @pytest.mark.parametrize("replaced", [1, 2])
    def test_two_members_change_at_once(self, replaced: int) -> None:
        """One that goes, and one that goes while another one comes in its place."""
        group = group_at_rest()
        one, two, three = self.lines(group)
        group.propose(1, b"y")
        lines = (one, two, replace(three, directory_id=D4)) if replaced == 1 else (one,)
        payload = Configuration(members=lines)
        with breaks("one member at a time"):
            configured(group, payload)

    def test_a_vacant_place_and_a_non_voter_are_one_change_each(self) -> None:
        group = group_at_rest()
        one, two, three = self.lines(group)
        vacant = Line(member_id=MemberId(3), directory_id=VACANT, voter=False)
        configured(group, Configuration(members=(one, two, vacant)))
        configured(group, Configuration(members=(one, two, replace(three, directory_id=D4, voter=False))))
        assert group.checks.newest_configuration.find_directory(D4) is not None
        assert group.checks.was_listed(three.directory_id)
        assert not group.checks.was_listed(D2)

    def test_what_could_be_committed_is_known(self) -> None:
        """An entry in one log alone; it can win nothing any more once something else stands in its place."""
        group = group_at_rest()
        one, two, _ = self.lines(group)
        smaller = Configuration(members=(one, two))
        group.isolate(1)
        append_configuration(group, 1, smaller)
        assert group.checks.possible_configurations() == [group.genesis.configuration, smaller]
        group.elect(2)
        group.propose(2, b"y")
        group.deliver_all()
        assert group.checks.possible_configurations() == [group.genesis.configuration]

    def test_who_was_no_voter_campaigns(self) -> None:
        group = Group(3, non_voters=[3])
        for number in (2, 3):
            group.state(number).role = Role.PRE_CANDIDATE
        look(group, 2)
        with breaks("only voters campaign"):
            look(group, 3)

    def test_a_leader_appends_while_it_hands_over(self) -> None:
        group = group_at_rest()
        group.isolate(2)
        second_entry(group)
        group.transfer(1, 2)
        leading = group.state(1).leading
        assert leading is not None
        append_as_leader(group.state(1), leading, Noop(), group.clock.time_ms, [])
        with breaks("the log rests while leadership moves"):
            look(group, 1)

    def test_who_is_promoted_lacks_the_log(self) -> None:
        group = group_at_rest()
        group.checks.promoted(group.state(2).directory_id, term=1, index=1)
        group.checks.promoted(D4, term=1, index=0)
        with breaks("who is promoted holds the log"):
            group.checks.promoted(group.state(2).directory_id, term=1, index=2)

    def test_a_leader_is_deposed_for_nothing(self) -> None:
        group = group_at_rest()
        group.checks.undisturbed(1)
        group.elect(2)
        with breaks("a calm group keeps its leader"):
            group.checks.undisturbed(1)


def append_configuration(group: Group, number: int, payload: Configuration) -> None:
    """Member `number`, which leads, has this in its log, whatever it is."""
    member = group.members[MemberId(number)]

    def act(engine: Engine) -> None:
        leading, out = engine.state.leading, list[Effect]()
        assert leading is not None
        append_as_leader(engine.state, leading, payload, group.clock.time_ms, out)
        _keep_progress(engine.state, leading, group.clock.time_ms)
        for progress in leading.progress.values():
            feed(engine.state, leading, progress, out)
        for effect in out:
            engine._perform(effect)

    group._event(member, act)


def configured(group: Group, payload: Configuration) -> None:
    """Member 1 leads, and this becomes committed."""
    append_configuration(group, 1, payload)
    group.deliver_all()
