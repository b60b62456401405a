"""Dissertation §4.1 to §4.3 with several leaders: what one appended and another did not see; a leader's own removal."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from raft_actors.core.effects import (
    ChangeRefusal,
    ChangeStarted,
    CommitAdvanced,
    ProposalStarted,
    RoleChanged,
    SendRequest,
)
from raft_actors.core.entries import Configuration, Noop
from raft_actors.core.events import Change
from raft_actors.core.messages import AppendEntries, PreVote
from raft_actors.core.quorum import majority
from raft_actors.core.types import EntryId, Role
from tests.core.builders import (
    SETTINGS,
    append,
    configuration,
    directory,
    entry,
    log_of,
    only,
    requests,
    restored,
    some,
)
from tests.core.several import Several, add, change, promote, refused, remove, started

FOUR = configuration(range(4), (4, 5))


def led_by_0(members: Configuration, *, spare: Iterable[int] = ()) -> Several:
    """0 leads term 2, all hold its whole log |1|2|, all of it is committed, and everybody knows."""
    group = Several(members, log_of(1), spare=spare)
    others = [line.member_id for line in members.members if line.member_id]
    assert group.campaign(0, *others)
    group.beat(0, *others)
    assert all(group.commit(member) == 2 for member in (0, *others))
    return group


class TestOngarosThreeCases:
    """ "Bug in single-server membership changes" (raft-dev, 10 July 2015; reliability D1).

    0 leads and appends a change that too few hold. 1, which never saw it, is elected and wants another one of the same
    configuration. Majorities of the two may be apart: 0, elected once more by its own, would overwrite what 1's
    committed. It takes an entry of 1's term, committed before its change, to keep 0 from that.
    """

    @pytest.mark.parametrize(
        ("first", "held_by", "second", "acknowledged_by", "elect_0"),
        [
            pytest.param(promote(4), (4,), remove(0), (2,), (3, 4), id="one adds, one removes"),
            pytest.param(promote(4), (4,), promote(5), (2, 5), (3, 4), id="both add"),
            pytest.param(remove(1), (), remove(0), (2,), (3,), id="both remove"),
        ],
    )
    @pytest.mark.parametrize("holds_the_no_op", [3, 0])
    def test_the_schedule(
        self,
        first: Change,
        held_by: tuple[int, ...],
        second: Change,
        acknowledged_by: tuple[int, ...],
        elect_0: tuple[int, ...],
        holds_the_no_op: int,
    ) -> None:
        group = led_by_0(FOUR)
        started(change(group[0], first))
        group.carry(0, *held_by)
        assert group.commit(0) == 2, "too few hold it"

        assert group.campaign(1, 2, 3)
        group[1].beat()
        group.carry(1, 2, 5)  # so that 5 is known to be there
        assert group[1].state.log.last == EntryId(2, 2), "a quiet election adds nothing"
        answer = change(group[1], second)
        if not some(answer, ChangeStarted):
            assert refused(answer).reason is ChangeRefusal.TERM_NOT_COMMITTED
            group.carry(1, 2, holds_the_no_op)
            group.beat(1, 2, 5, holds_the_no_op)
            assert group.commit(1) == 3
            answer = change(group[1], second)
        place = started(answer).index
        group.carry(1, *acknowledged_by)
        assert group.commit(1) == place, "the new majority holds it"

        elected = group.campaign(0, *elect_0)
        assert not elected, "0 would overwrite what 1 committed"
        assert group[1].state.log.matches(EntryId(3, place))

    def test_a_leader_that_knows_of_the_other_change_waits_for_it(self) -> None:
        """The same, but the second leader holds the first one's entry: rule 2 is enough."""
        group = led_by_0(FOUR)
        change(group[0], promote(4))
        group.carry(0, 1)
        assert group.campaign(1, 2, 3)
        assert [each.payload for each in entries_of(group, 1)][2:] == [configuration(range(5), (5,)), Noop()]
        assert group.commit(1) == 4  # 0's entry went with it


def entries_of(group: Several, member: int) -> list:
    log = group[member].state.log
    return [log.entry_at(index) for index in range(log.base.index + 1, log.last.index + 1)]


class TestAcrossLeaders:
    def test_a_change_that_was_overwritten_is_taken_back_everywhere(self) -> None:
        """Reliability D3: 0 and 4 believed in five voters, and vote and count as four again."""
        group = led_by_0(FOUR)
        change(group[0], promote(4))
        group.carry(0, 4)
        assert group.campaign(1, 2, 3)
        group[1].propose()
        group.carry(1, 2, 3)
        group.beat(1, 0, 2, 3, 4)
        assert group[0].state.configurations.in_force == group[4].state.configurations.in_force == FOUR
        assert group.commit(4) == 3

    def test_a_member_that_was_away_learns_of_all_changes_at_once(self) -> None:
        """It obeys leaders that it never heard of (dissertation §4.1), and counts by the newest it holds."""
        group = led_by_0(configuration(range(3)), spare=(3,))
        for wanted in (add(3), None, promote(3), remove(1)):
            if wanted is not None:
                started(change(group[0], wanted))
            group.carry(0, 1, 3) if wanted != remove(1) else group.carry(0, 3)
            group.beat(0, 1, 3)
        assert group[2].state.configurations.in_force == configuration(range(3))
        assert group.campaign(3, 0)
        group.beat(3, 0, 2)
        assert group[2].state.configurations.in_force == configuration((0, 2, 3))
        assert group[2].state.leader_hint == 3

    def test_a_new_member_is_brought_everything_and_may_lead(self) -> None:
        """From nothing to leading: §4.2.1, catching up as a non-voter."""
        group = led_by_0(configuration(range(3)), spare=(3,))
        assert not some(group[3].time_out(), SendRequest), "who is not listed never campaigns"
        started(change(group[0], add(3)))
        group.carry(0, 1, 2, 3)
        group.beat(0, 1, 2, 3)
        assert not some(group[3].time_out(), SendRequest), "a non-voter never campaigns"
        started(change(group[0], promote(3)))
        group.carry(0, 1, 2, 3)
        group.beat(0, 1, 2, 3)
        assert group.campaign(3, 0, 1)

    def test_a_replacement_from_loss_to_promotion(self) -> None:
        """Contracts 12, DESIGN 4: the old directory goes, by the smaller group; the new one comes, and is promoted."""
        group = led_by_0(configuration(range(3)))
        group.peers[2] = restored(members=configuration(range(3)), member=2, wiped=1)
        assert refused(change(group[0], add(2, wiped=1))).reason is ChangeRefusal.ALREADY_MEMBER
        group.beat(0, 1, 2)
        for wanted in (remove(2), add(2, wiped=1)):
            started(change(group[0], wanted))
            group.carry(0, 1, 2)
            group.beat(0, 1, 2)
        assert group[2].state.log.last == group[0].state.log.last
        assert group.commit(2) == group.commit(0) == 4


class TestALeaderRemovesItself:
    """Reliability D6; dissertation §4.2.2; contracts 1 (b) and 7."""

    @pytest.mark.parametrize("size", [2, 3, 4, 5])
    def test_it_leads_until_that_is_committed_by_the_others_then_tells_them_and_leaves(self, size: int) -> None:
        group = led_by_0(configuration(range(size)))
        others = range(1, size)
        place = started(change(group[0], remove(0))).index
        group[0].sync()
        assert group.leads(0)
        assert some(group[0].propose(), ProposalStarted), "it takes commands meanwhile"
        for count, member in enumerate(others, 1):
            assert group.leads(0), "it left too early"
            assert group.commit(0) == 2, "it counted itself"
            effects = group[0].accepted(member, first_append(group, member))
            if count == majority(size - 1):
                break
        assert only(effects, CommitAdvanced).commit_index == place
        told = requests(effects, AppendEntries)
        assert {to for to, message in told.items() if message.leader_commit >= place} == set(others)
        assert some(effects, RoleChanged)[-1].role is Role.FOLLOWER
        assert not some(group[0].wait(5_000).time_out(), SendRequest), "its removal is committed: it campaigns no more"

    @pytest.mark.parametrize("size", [2, 3, 4, 5])
    def test_the_others_go_on(self, size: int) -> None:
        group = led_by_0(configuration(range(size)))
        others = range(1, size)
        change(group[0], remove(0))
        group.carry(0, *others)
        assert not group.leads(0)
        assert sum(group.commit(member) == 3 for member in others) >= majority(size - 1), "told before it left"
        assert group.campaign(1, *range(2, size))
        group[1].propose()
        group.carry(1, *others)
        assert group.commit(1) == group[1].state.log.last.index

    def test_alone_it_stays(self) -> None:
        group = led_by_0(configuration(range(1)))
        assert refused(change(group[0], remove(0))).reason is ChangeRefusal.LAST_VOTER

    @pytest.mark.parametrize("size", [2, 3, 4, 5])
    def test_without_the_others_it_is_no_leader_for_long(self, size: int) -> None:
        """It is no voter, so its own presence is none of the voters' (check quorum)."""
        group = led_by_0(configuration(range(size)))
        change(group[0], remove(0))
        group[0].sync()
        needed = majority(size - 1)
        group.wait(SETTINGS.check_quorum_ms + 1)
        for member in range(1, needed):
            group[0].accepted(member, first_append(group, member))
        assert only(group[0].beat(), RoleChanged).role is Role.FOLLOWER

    def test_deposed_before_it_is_committed_it_may_hold_the_only_copy_that_can_win(self) -> None:
        """Contracts 7: two members. 1 lacks the entry and needs 0, which refuses the shorter log; 0 has to campaign."""
        group = led_by_0(configuration(range(2)))
        change(group[0], remove(0))
        group[0].sync()
        group.wait(SETTINGS.check_quorum_ms + 1)
        group[0].beat()
        group.carry(0)
        assert not group.leads(0)
        assert not group.campaign(1, 0)
        effects = group[0].wait(5_000).time_out()
        assert set(requests(effects, PreVote)) == {1}
        group.wait(5_000)
        group.carry(0, 1)
        assert group.commit(0) >= 3
        assert not group.leads(0), "elected, it committed its removal, and left"
        assert group.campaign(1)

    def test_contracts_1_b(self) -> None:
        """Four voters; 1, 2, 3 hold the removal of 0, which then gets e to 1 only. 0 + 1 must not acknowledge e: 2 and
        3 are a majority of {1, 2, 3} and elect 3 without it."""
        group = led_by_0(configuration(range(4)))
        change(group[0], remove(0))
        held = {member: first_append(group, member) for member in (1, 2, 3)}
        group[0].propose(b"e")
        group[0].sync()
        for member in (1, 2, 3):
            group[member].ask(held[member].envelope.message, 0)
            group[member].sync()
        e = EntryId(2, 4)
        group[1].ask(append(2, EntryId(2, 3), (entry(2, 4),)), 0)
        group[1].sync()
        group[0].accepted(1)
        assert group.commit(0) == 2, "1 of {1, 2, 3}"
        group.wait(5_000)
        assert group.campaign(3, 2)
        assert not group[3].state.log.matches(e)

    def test_contracts_1_a(self) -> None:
        """Voters 0, 1, 2 and the non-voter 3, listed by a change: 0 is cut off with 3, and 1 + 2 elect 1."""
        group = led_by_0(configuration(range(3)), spare=(3,))
        change(group[0], add(3))
        group.carry(0, 1, 2, 3)
        group[0].propose(b"lost")
        group.carry(0, 3)
        committed = group.commit(0)
        group[0].read()
        group.carry(0, 3)
        assert group.commit(0) == committed < group[0].state.log.last.index
        assert group[0].state.leading.reads, "a read would be stale"
        assert group.campaign(1, 2)
        assert directory(3) in group[1].state.leading.progress


def first_append(group: Several, member: int) -> SendRequest:
    """The one that carries the newest configuration to this member."""
    return next(
        sent
        for sent in reversed(group[0].sent)
        if sent.envelope.to == member
        and isinstance(sent.envelope.message, AppendEntries)
        and any(isinstance(each.payload, Configuration) for each in sent.envelope.message.entries)
    )
