"""labrpc's network in figures: how often and how late, over many draws of fixed dice.

A frequency may differ from the stated one by five standard deviations of a draw of that size, a mean by as many of its
own: were the dice drawn anew, a true profile would fail once in a million runs, and one that is off by 2 % of all
messages would hardly ever pass.
"""

from __future__ import annotations

from math import sqrt
from random import Random
from statistics import fmean, pstdev

import pytest

from raft_actors.faults.plan import Plan
from raft_actors.faults.rules import Fate, Message, Part

DRAWS = 20_000

REQUEST = Message(0, 1, "append_entries", Part.REQUEST)
REPLY = Message(1, 0, "append_entries", Part.REPLY)

pytestmark = pytest.mark.slow


def fates(plan: Plan, message: Message, count: int = DRAWS) -> list[Fate]:
    dice = Random(20_260_101)
    return [plan.fate(message, 0, dice) for _ in range(count)]


def assert_share(found: int, of: int, expected: float) -> None:
    assert abs(found / of - expected) <= 5 * sqrt(expected * (1 - expected) / of), f"{found} of {of}, {expected}"


def assert_mean(values: list[int], expected: float) -> None:
    assert abs(fmean(values) - expected) <= 5 * pstdev(values) / sqrt(len(values)), f"{fmean(values)}, {expected}"


class TestUnreliable:
    """ "Request delay: uniform 0..26 ms. Request drop 10 %, the caller told after 27 ms. Reply drop 10 %, at once." """

    def plan(self) -> Plan:
        plan = Plan()
        plan.unreliable()
        return plan

    def test_one_request_in_ten_is_lost_and_its_caller_told_after_27_ms(self) -> None:
        lost = [fate for fate in fates(self.plan(), REQUEST) if not fate.delays_ms]
        assert_share(len(lost), DRAWS, 0.1)
        assert {fate.told_after_ms for fate in lost} == {27}

    def test_the_others_are_late_by_0_to_26_ms_evenly(self) -> None:
        late = [fate.delays_ms[0] for fate in fates(self.plan(), REQUEST) if fate.delays_ms]
        assert (min(late), max(late)) == (0, 26)
        assert_mean(late, 13)
        for delay in range(27):
            assert_share(late.count(delay), len(late), 1 / 27)

    def test_one_reply_in_ten_is_lost_and_the_others_come_at_once(self) -> None:
        replies = fates(self.plan(), REPLY)
        assert_share(replies.count(Fate((), told_after_ms=0)), DRAWS, 0.1)
        assert set(replies) == {Fate((), told_after_ms=0), Fate((0,))}

    def test_81_calls_in_100_succeed(self) -> None:
        plan, dice = self.plan(), Random(4)
        done = sum(
            bool(plan.fate(REQUEST, 0, dice).delays_ms and plan.fate(REPLY, 0, dice).delays_ms) for _ in range(DRAWS)
        )
        assert_share(done, DRAWS, 0.81)


class TestLongReordering:
    """ "Of surviving replies 2/3 delayed by 200 + r ms, r uniform in [0, b], b uniform in [0, 1999]": mean 700."""

    def test_two_replies_in_three_are_late_by_200_to_2199_ms(self) -> None:
        plan = Plan()
        plan.long_reordering()
        late = [fate.delays_ms[0] for fate in fates(plan, REPLY) if fate.delays_ms != (0,)]
        assert_share(len(late), DRAWS, 2 / 3)
        assert 200 <= min(late) <= 201
        assert 2150 <= max(late) <= 2199
        assert_mean(late, 200 + 1999 / 4)
        # r <= x means b <= x, or b above and r below it; a half is below 373, not below 999 as of an even draw.
        assert_share(sum(delay < 200 + 373 for delay in late), len(late), 0.5)

    def test_requests_are_left_alone(self) -> None:
        plan = Plan()
        plan.long_reordering()
        assert set(fates(plan, REQUEST, 1000)) == {Fate((0,))}

    def test_it_is_independent_of_unreliable(self) -> None:
        plan = Plan()
        plan.long_reordering()
        plan.unreliable()
        survivors = [fate for fate in fates(plan, REPLY) if fate.delays_ms]
        assert_share(DRAWS - len(survivors), DRAWS, 0.1)
        assert_share(sum(fate.delays_ms[0] >= 200 for fate in survivors), len(survivors), 2 / 3)


class TestLongDelays:
    """ "Disabled end: failure after uniform 0..6999 ms if long delays on, else 0..99 ms", and nothing arrives."""

    @pytest.mark.parametrize(("on", "most"), [(True, 6999), (False, 99)])
    def test_the_caller_over_a_cut_link_is_told_late(self, on: bool, most: int) -> None:
        plan = Plan()
        plan.long_delays(on)
        plan.isolate(1)
        told = [fate.told_after_ms for fate in fates(plan, REQUEST)]
        numbers = [ms for ms in told if ms is not None]
        assert len(numbers) == DRAWS
        assert 0 <= min(numbers) <= most / 1000
        assert most * 0.999 <= max(numbers) <= most
        assert_mean(numbers, most / 2)

    def test_without_the_profile_nobody_is_told(self) -> None:
        plan = Plan()
        plan.isolate(1)
        assert set(fates(plan, REQUEST, 100)) == {Fate(())}

    def test_it_delays_nothing_by_itself(self) -> None:
        plan = Plan()
        plan.long_delays()
        assert set(fates(plan, REQUEST, 1000)) == {Fate((0,))}


class TestOwnNumbers:
    """The plain words with figures of their own."""

    def test_shares(self) -> None:
        plan = Plan()
        plan.drop(request=0.03)
        plan.duplicate(0.25, late_ms=(10, 20))
        plan.reorder(0.5, late_ms=(40, 40))
        seen = fates(plan, REQUEST)
        arrived = [fate.delays_ms for fate in seen if fate.delays_ms]
        assert_share(DRAWS - len(arrived), DRAWS, 0.03)
        twice = [delays for delays in arrived if len(delays) == 2]
        assert_share(len(twice), len(arrived), 0.25)
        assert_share(sum(delays[0] == 40 for delays in arrived), len(arrived), 0.5)
        assert {delays[1] for delays in twice} == {*range(10, 21), *range(50, 61)}
