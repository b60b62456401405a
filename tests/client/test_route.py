"""Which server is asked next."""

from __future__ import annotations

import random

import pytest

from raft_actors.client.limits import ClientLimits
from raft_actors.client.route import Backoff, Route
from raft_actors.core.types import MemberId
from raft_actors.errors import ConfigError

M0, M1, M2 = MemberId(0), MemberId(1), MemberId(2)


def route() -> Route:
    given = Route(ClientLimits(suspicion_ms=100), random.Random(1))
    given.know((M0, M1, M2))
    return given


class TestTurns:
    def test_without_a_leader_each_is_asked_in_turn(self) -> None:
        given = route()
        assert {given.next_member(0) for _ in range(3)} == {M0, M1, M2}

    def test_the_first_one_differs_between_clients(self) -> None:
        firsts = set()
        for seed in range(20):
            given = Route(ClientLimits(), random.Random(seed))
            given.know((M0, M1, M2))
            firsts.add(given.next_member(0))
        assert firsts == {M0, M1, M2}

    def test_a_silent_one_is_left_out_for_a_while(self) -> None:
        given = route()
        given.silent(M1, 0)
        assert M1 not in {given.next_member(50) for _ in range(6)}
        assert M1 in {given.next_member(100) for _ in range(6)}

    def test_when_all_are_silent_all_are_asked(self) -> None:
        given = route()
        for member in (M0, M1, M2):
            given.silent(member, 0)
        assert {given.next_member(50) for _ in range(3)} == {M0, M1, M2}

    def test_without_members_there_is_nobody(self) -> None:
        assert Route(ClientLimits(), random.Random(1)).next_member(0) is None


class TestLeader:
    def test_a_hint_is_followed(self) -> None:
        given = route()
        given.refused(M0, M2, 0)
        assert given.leader == M2

    def test_a_hint_to_a_silent_server_is_not(self) -> None:
        given = route()
        given.silent(M2, 0)
        given.refused(M0, M2, 50)
        assert given.leader is None

    def test_it_is_again_once_that_server_spoke(self) -> None:
        given = route()
        given.silent(M2, 0)
        given.spoke(M2)
        given.refused(M0, M2, 50)
        assert given.leader == M2

    @pytest.mark.parametrize("hint", [M0, MemberId(9), None])
    def test_a_hint_to_the_speaker_a_stranger_or_nobody_says_nothing(self, hint: MemberId | None) -> None:
        given = route()
        given.leads(M0)
        given.refused(M0, hint, 0)
        assert given.leader is None

    def test_a_leader_whom_nobody_knows_yet_is_looked_for_once(self) -> None:
        """It was added since the servers were looked up; a member that was removed is not asked about for ever."""
        given = route()
        assert not given.know(given.members)
        given.refused(M0, MemberId(9), 0)
        assert given.know(given.members)
        assert not given.know(given.members)
        given.refused(M0, MemberId(9), 0)
        assert not given.know((*given.members, MemberId(9))), "found meanwhile"
        given.refused(M0, MemberId(9), 0)
        assert given.leader == 9

    def test_an_old_hint_does_not_replace_who_proved_to_lead(self) -> None:
        given = route()
        given.leads(M1)
        given.refused(M0, M2, 0)
        assert given.leader == M1

    def test_two_that_name_each_other_are_not_followed_for_ever(self) -> None:
        given = route()
        for speaker, hint in [(M0, M1), (M1, M0), (M0, M1)]:
            given.refused(speaker, hint, 0)
        assert given.leader is None

    def test_a_leader_that_left_the_group_leads_no_more(self) -> None:
        given = route()
        given.leads(M2)
        given.know((M0, M1))
        assert given.leader is None


class TestBackoff:
    def test_doubles_up_to_its_longest_and_begins_anew(self) -> None:
        backoff = Backoff(ClientLimits(backoff_ms_min=100, backoff_ms_max=400), random.Random(1))
        pauses = []
        for _ in range(4):
            backoff.grow(0)
            pauses.append(backoff.until_ms)
        assert all(low <= pause <= 2 * low for pause, low in zip(pauses, (50, 100, 200, 200), strict=True)), pauses
        backoff.reset()
        assert backoff.until_ms == 0
        backoff.grow(0)
        assert backoff.until_ms <= 100


class TestLimits:
    def test_each_is_above_0(self) -> None:
        with pytest.raises(ConfigError, match="attempt_ms=0"):
            ClientLimits(attempt_ms=0)

    def test_a_batch_must_be_readable(self) -> None:
        with pytest.raises(ConfigError, match="batch_count_max"):
            ClientLimits(batch_count_max=10**6)
