"""Messages on their way: what goes at once, what later and in which order, what waits, what is lost and who is told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import pytest

from raft_actors.faults.rules import (
    UNTOLD_MS,
    Cut,
    Delay,
    Drop,
    Duplicate,
    Isolate,
    Message,
    Node,
    Part,
    Reorder,
    Rule,
    Unavailable,
)
from raft_actors.faults.transit import UNDER_WAY_MAX, Transit

TO_1 = Message(0, 1, "append_entries", Part.REQUEST)
TO_2 = Message(0, 2, "append_entries", Part.REQUEST)
HOLD_1 = Cut(src=0, dst=1, held=True)


class Road:
    """A transit, and what it had done to the messages that were sent, by name."""

    def __init__(self, *rules: Rule, seed: int = 1) -> None:
        self.transit = Transit(Random(seed))
        self.transit.obey(rules, 0)
        self.done: list[str] = []

    def send(self, name: str, message: Message = TO_1, now_ms: int = 0) -> bool:
        arrive, lost = partial(self.done.append, name), partial(self.done.append, f"{name} lost")
        return self.transit.depart(message, 0, now_ms, arrive, lost)

    def at(self, now_ms: int) -> list[str]:
        """What is done when this time comes."""
        before = len(self.done)
        for do in self.transit.due(now_ms):
            do()
        return self.done[before:]

    def waiting(self) -> list[int]:
        return [held.number for held in self.transit.held()]


class TestTime:
    """A message arrives when its fate says, once for each copy."""

    def test_what_no_rule_touches_arrives_now_and_its_sender_sees_to_it(self) -> None:
        road = Road(Delay(ms=(5, 5), dst=2))
        assert road.send("a")
        assert road.transit.next_ms is None
        assert road.at(1_000_000) == []

    def test_a_late_one_is_done_at_its_time_and_not_before(self) -> None:
        road = Road(Delay(ms=(5, 5)))
        assert not road.send("a", now_ms=100)
        assert road.transit.next_ms == 105
        assert road.at(104) == []
        assert road.at(105) == ["a"]
        assert road.transit.next_ms is None
        assert road.at(106) == [], "once"

    def test_each_copy_arrives_at_its_own_time(self) -> None:
        road = Road(Duplicate(probability=1.0, late_ms=(30, 30)))
        assert not road.send("a", now_ms=7), "the first copy is at its time too, though that is now"
        assert [road.at(now_ms) for now_ms in (7, 36, 37, 1000)] == [["a"], [], ["a"], []]

    def test_what_is_due_comes_in_the_order_of_its_times(self) -> None:
        road = Road(Delay(ms=(50, 50), dst=1), Delay(ms=(10, 10), dst=2))
        road.send("slow")
        road.send("fast", TO_2)
        road.send("fast later", TO_2, now_ms=20)
        assert road.transit.next_ms == 10
        assert road.at(100) == ["fast", "fast later", "slow"]

    def test_equal_times_keep_the_order_in_which_they_were_sent(self) -> None:
        road = Road(Delay(ms=(5, 5), dst=1), Delay(ms=(3, 3), dst=2))
        names = [f"{number}" for number in range(50)]
        for number, name in enumerate(names):
            road.send(name, *((TO_1, 0) if number % 2 else (TO_2, 2)))
        assert road.at(5) == names

    def test_the_dice_alone_decide_when(self) -> None:
        def times(seed: int) -> list[int | None]:
            road = Road(Reorder(probability=0.5, late_ms=(1, 500)), seed=seed)
            found: list[int | None] = []
            for number in range(20):
                road.send(f"{number}")
            while road.transit.next_ms is not None:
                found.append(road.transit.next_ms)
                road.at(road.transit.next_ms)
            return found

        assert times(3) == times(3)
        assert times(3) != times(4)


class TestLost:
    """A lost message never arrives; its caller is told when the rule says, or when a connection would be given up."""

    @pytest.mark.parametrize(
        "rules",
        [
            (Drop(probability=1.0, told_ms=(27, 27)),),
            (Cut(src=0, dst=1), Unavailable(told_ms=(27, 27))),
        ],
        ids=["drop", "cut"],
    )
    def test_its_caller_is_told_when_the_rule_says(self, rules: tuple[Rule, ...]) -> None:
        road = Road(*rules)
        assert not road.send("a", now_ms=3)
        assert road.at(29) == []
        assert road.at(30) == ["a lost"]

    @pytest.mark.parametrize("rule", [Drop(probability=1.0), Isolate(node=1)], ids=["drop", "cut"])
    def test_where_nothing_tells_him_it_is_when_his_connection_is_given_up(self, rule: Rule) -> None:
        told: set[int | None] = set()
        for seed in range(100):
            road = Road(rule, seed=seed)
            assert not road.send("a", now_ms=10_000)
            told.add(road.transit.next_ms)
            assert road.at(10_000 + UNTOLD_MS[1]) == ["a lost"]
        times = sorted(at for at in told if at is not None)
        assert len(times) > 90, "they are drawn, each for itself"
        assert 10_000 + UNTOLD_MS[0] <= times[0]
        assert times[-1] <= 10_000 + UNTOLD_MS[1]

    def test_a_heal_does_not_bring_it_back(self) -> None:
        road = Road(Cut(src=0, dst=1), Unavailable(told_ms=(50, 50)))
        road.send("a")
        road.transit.obey((), 10)
        assert road.at(1000) == ["a lost"]


class TestHeld:
    """A message that is held waits until the rules change, or until somebody sees to this one."""

    def test_it_waits_while_its_link_is_cut(self) -> None:
        road = Road(HOLD_1)
        assert not road.send("a", now_ms=4)
        (held,) = road.transit.held()
        assert (held.message, held.since_ms) == (TO_1, 4)
        road.transit.obey((HOLD_1, Delay(ms=(1, 1), dst=2)), 500)
        assert road.transit.next_ms is None
        assert road.at(1_000_000) == []
        assert road.waiting() == [held.number]

    def test_a_heal_lets_all_go_in_the_order_in_which_they_were_sent(self) -> None:
        road = Road(Isolate(node=0, held=True))
        for name, message in (("a", TO_2), ("b", TO_1), ("c", TO_2)):
            road.send(name, message)
        assert road.waiting() == sorted(road.waiting())
        road.transit.obey((), 70)
        assert road.transit.next_ms == 70
        assert road.transit.held() == ()
        assert road.at(70) == ["a", "b", "c"]

    def test_those_go_whose_own_cut_is_taken_back(self) -> None:
        road = Road(HOLD_1, Cut(src=0, dst=2, held=True))
        road.send("a", TO_1)
        road.send("b", TO_2)
        road.transit.obey((HOLD_1,), 9)
        assert road.at(9) == ["b"]
        assert [held.message for held in road.transit.held()] == [TO_1]

    def test_a_cut_that_loses_in_the_place_of_one_that_holds_lets_go_what_was_sent_before_it(self) -> None:
        road = Road(HOLD_1)
        road.send("before")
        road.transit.obey((Cut(src=0, dst=1), Unavailable(told_ms=(0, 0))), 9)
        road.send("after", now_ms=9)
        assert road.at(9) == ["before", "after lost"]

    def test_its_delays_begin_when_it_goes(self) -> None:
        road = Road(HOLD_1, Delay(ms=(5, 5)), Duplicate(probability=1.0, late_ms=(20, 20)))
        road.send("a", now_ms=100)
        road.transit.obey((), 1000)
        assert [road.at(now_ms) for now_ms in (1004, 1005, 1024, 1025)] == [[], ["a"], [], ["a"]]

    @pytest.mark.parametrize(
        ("see_to", "outcome"), [(Transit.let_go, "b"), (Transit.lose, "b lost")], ids=["let go", "lost"]
    )
    def test_one_is_seen_to_alone_while_the_link_stays_cut(
        self, see_to: Callable[[Transit, int, int], bool], outcome: str
    ) -> None:
        road = Road(HOLD_1)
        for name in ("a", "b", "c"):
            road.send(name)
        first, second, third = road.waiting()
        assert see_to(road.transit, second, 40)
        assert road.transit.next_ms == 40
        assert road.waiting() == [first, third]
        assert not see_to(road.transit, second, 41), "it does not wait any more"
        assert road.at(1000) == [outcome]
        road.transit.obey((), 2000)
        assert road.at(2000) == ["a", "c"]

    @pytest.mark.parametrize("see_to", [Transit.let_go, Transit.lose])
    def test_a_number_that_does_not_wait_is_nothing(self, see_to: Callable[[Transit, int, int], bool]) -> None:
        road = Road(HOLD_1, Delay(ms=(5, 5), dst=2))
        road.send("late", TO_2)
        for number in range(5):
            assert not see_to(road.transit, number, 0)
        assert road.at(1000) == ["late"]


class TestRulesThatEndByThemselves:
    """`until_ms`: a rule that is over counts no more, without anybody saying so."""

    def test_what_is_sent_afterwards_arrives_at_once(self) -> None:
        road = Road(Delay(ms=(9, 9), dst=1, until_ms=100), Cut(src=0, dst=2, until_ms=50))
        assert [road.send("a", TO_1, now_ms) for now_ms in (99, 100)] == [False, True]
        assert [road.send("a", TO_2, now_ms) for now_ms in (49, 50)] == [False, True]

    def test_what_is_late_keeps_its_time(self) -> None:
        road = Road(Delay(ms=(9, 9), until_ms=100))
        road.send("a", now_ms=99)
        assert road.at(107) == []
        assert road.at(108) == ["a"]

    def test_what_it_held_goes_when_it_ends(self) -> None:
        road = Road(Cut(src=0, dst=1, held=True, until_ms=100), Cut(src=0, dst=2, held=True, until_ms=150))
        road.send("a", TO_1, now_ms=10)
        road.send("b", TO_2, now_ms=20)
        assert road.transit.next_ms == 100
        assert road.at(99) == []
        assert road.at(100) == ["a"]
        assert road.transit.next_ms == 150
        assert road.at(149) == []
        assert road.at(150) == ["b"]
        assert road.transit.next_ms is None

    def test_what_another_cut_holds_too_waits_for_that_one(self) -> None:
        road = Road(Cut(src=0, dst=1, held=True, until_ms=100), Isolate(node=1, held=True))
        road.send("a")
        assert road.at(100) == []
        assert road.transit.next_ms is None
        road.transit.obey((), 300)
        assert road.at(300) == ["a"]


@pytest.mark.slow
class TestBound:
    """No more than UNDER_WAY_MAX are under way; what comes beyond is lost, and told at once."""

    @pytest.mark.parametrize("rule", [HOLD_1, Delay(ms=(500, 500)), Cut(src=0, dst=1)], ids=["held", "late", "lost"])
    def test_what_comes_beyond_is_lost_and_told_at_once(self, rule: Rule) -> None:
        road = Road(rule)
        for _ in range(UNDER_WAY_MAX):
            assert not road.send("under way")
        assert not road.send("beyond", now_ms=3)
        assert road.at(3) == ["beyond lost"]

    def test_held_and_late_count_together_and_what_arrives_at_once_does_not(self) -> None:
        road = Road(HOLD_1, Delay(ms=(500, 500), dst=2))
        for number in range(UNDER_WAY_MAX):
            road.send("under way", TO_1 if number % 2 else TO_2)
        assert road.send("free", Message(1, 0, "append_entries", Part.REQUEST))
        for message in (TO_1, TO_2):
            road.send("beyond", message, now_ms=1)
        assert road.at(1) == ["beyond lost", "beyond lost"]
        assert len(road.transit.held()) == UNDER_WAY_MAX // 2

    def test_who_arrives_makes_room(self) -> None:
        road = Road(HOLD_1)
        for _ in range(UNDER_WAY_MAX):
            road.send("under way")
        first, *_ = road.waiting()
        road.transit.let_go(first, 5)
        assert road.at(5) == ["under way"]
        road.send("one more", now_ms=6)
        assert road.at(6) == []
        assert len(road.transit.held()) == UNDER_WAY_MAX


def test_each_message_arrives_once_for_each_copy_or_is_told_lost_once() -> None:
    """Whatever becomes of the rules meanwhile: five worlds of a thousand messages."""
    for seed in range(5):
        dice, road = Random(seed), Road(seed=seed)
        nodes: tuple[Node, ...] = (0, 1, 2, "c1")
        kinds: list[Rule] = [
            Delay(ms=(0, 40)),
            Reorder(probability=0.4, late_ms=(1, 90), part=Part.REPLY),
            Drop(probability=0.2, told_ms=(0, 30), method="request_vote"),
            Isolate(node=2, held=True),
            Cut(src=0, dst=1),
            Cut(src=1, dst="c1", held=True),
        ]
        at_once = set()
        for now_ms in range(1000):
            if now_ms % 50 == 0:
                road.transit.obey(dice.sample(kinds, dice.randint(0, 4)), now_ms)
            src, dst = dice.sample(nodes, 2)
            message = Message(src, dst, dice.choice(["append_entries", "request_vote"]), dice.choice(list(Part)))
            if road.send(f"{now_ms}", message, now_ms):
                at_once.add(f"{now_ms}")
            for held in road.transit.held():
                if dice.random() < 0.01:
                    dice.choice([road.transit.let_go, road.transit.lose])(held.number, now_ms)
            road.at(now_ms)
        road.transit.obey((), 1000)
        road.at(1000 + UNTOLD_MS[1])
        assert road.transit.next_ms is None
        ended = [name.removesuffix(" lost") for name in road.done]
        assert len(ended) == len(set(ended)), "none of these rules makes copies"
        assert set(ended) == {f"{number}" for number in range(1000)} - at_once
        assert 100 < len(ended) < 1000
