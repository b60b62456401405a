"""The plan's words: which messages a rule is for, which rule holds where several match, what a heal leaves, counts."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from random import Random

import pytest

import raft_actors.faults
from raft_actors.faults.plan import LINKS_MAX, RULES_MAX, Plan
from raft_actors.faults.rules import Fate, Message, Node, Part

INTACT = Fate((0,))
LOST = Fate(())
HELD = Fate((0,), held_until_healed=True)


def request(src: Node, dst: Node, method: str = "append_entries") -> Message:
    return Message(src, dst, method, Part.REQUEST)


def reply(src: Node, dst: Node, method: str = "append_entries") -> Message:
    return Message(src, dst, method, Part.REPLY)


def fate(plan: Plan, message: Message, now_ms: int = 0) -> Fate:
    """Of rules that leave nothing to the dice."""
    return plan.fate(message, now_ms, Random(0))


class TestScope:
    """A rule is for a direction of a link, for a method, for a leg of the call."""

    def test_without_a_rule_everything_arrives_at_once_and_no_dice_are_thrown(self) -> None:
        dice = Random(1)
        before = dice.getstate()
        assert Plan().fate(request(0, 1), 0, dice) == INTACT
        assert dice.getstate() == before

    def test_a_cut_is_for_one_direction_and_for_both_legs_that_travel_in_it(self) -> None:
        plan = Plan()
        plan.cut(0, 1)
        assert fate(plan, request(0, 1)) == LOST
        assert fate(plan, reply(0, 1)) == LOST, "the answer of 0 to a request of 1"
        assert fate(plan, request(1, 0)) == INTACT
        assert fate(plan, request(0, 2)) == INTACT

    def test_a_cut_may_be_for_a_method_and_for_a_leg(self) -> None:
        plan = Plan()
        plan.cut(0, None, method="request_vote", part=Part.REPLY)
        assert fate(plan, reply(0, 2, "request_vote")) == LOST
        assert fate(plan, request(0, 2, "request_vote")) == INTACT
        assert fate(plan, reply(0, 2)) == INTACT

    def test_an_isolated_node_hears_nobody_and_is_heard_by_nobody(self) -> None:
        plan = Plan()
        plan.isolate(1)
        assert [fate(plan, request(*link)) for link in ((0, 1), (1, 0), (0, 2))] == [LOST, LOST, INTACT]

    def test_two_nodes_can_be_isolated(self) -> None:
        plan = Plan()
        plan.isolate(1)
        plan.isolate(2)
        assert [fate(plan, request(*link)) for link in ((0, 1), (2, 0), (1, 2), (0, 3))] == [LOST, LOST, LOST, INTACT]

    def test_a_partition_cuts_between_its_sides_alone_and_takes_the_place_of_the_one_before(self) -> None:
        plan = Plan()
        plan.partition([0, 1], [2])
        plan.partition([0, "c1"], [1, 2, "c2"])
        assert fate(plan, request(1, 2)) == INTACT
        assert [fate(plan, request(*link)) for link in ((0, 1), (2, 0))] == [LOST, LOST]
        assert fate(plan, request("c1", "s2", "submit")) == LOST
        assert len(plan.rules) == 1

    def test_who_is_on_no_side_of_a_partition_reaches_all(self) -> None:
        plan = Plan()
        plan.partition([0], [1])
        assert [fate(plan, request(*link)) for link in ((0, 2), (2, 1), (1, 0))] == [INTACT, INTACT, LOST]

    @pytest.mark.parametrize("sides", [([0, 1], [1, 2]), ([0, 0], [1])], ids=str)
    def test_nobody_is_on_two_sides(self, sides: tuple[list[Node], ...]) -> None:
        with pytest.raises(ValueError, match="a node is on two sides"):
            Plan().partition(*sides)

    def test_a_server_is_where_its_member_is(self) -> None:
        plan = Plan()
        plan.isolate(0)
        assert fate(plan, request("c1", "s0", "submit")) == LOST
        plan.heal()
        plan.delay((5, 5), dst=0)
        assert fate(plan, request("c1", "s0", "submit")) == Fate((5,))

    @pytest.mark.parametrize(
        "rule",
        [
            lambda plan: plan.isolate(0),
            lambda plan: plan.partition([0], [1, 2]),
            lambda plan: plan.cut(None, 0),
            lambda plan: plan.drop(request=1.0),
            lambda plan: plan.cut("s0", 1),
        ],
    )
    def test_between_a_member_and_its_server_there_is_no_network(self, rule: Callable[[Plan], object]) -> None:
        plan = Plan()
        rule(plan)
        assert fate(plan, request("s0", 0, "propose")) == INTACT

    @pytest.mark.parametrize(
        "rule",
        [
            lambda plan: plan.isolate("s0"),
            lambda plan: plan.partition([0], ["s0"]),
            lambda plan: plan.cut("s0", 0),
            lambda plan: plan.cut("s0", None),
        ],
    )
    def test_but_a_rule_that_names_the_server_parts_them(self, rule: Callable[[Plan], object]) -> None:
        plan = Plan()
        rule(plan)
        assert fate(plan, request("s0", 0, "propose")) == LOST

    def test_a_rule_ends_by_itself_at_its_time(self) -> None:
        plan = Plan()
        plan.cut(0, 1, until_ms=100)
        plan.delay((7, 7), src=0, until_ms=50)
        plan.delay((9, 9), src=0, dst=2, until_ms=70)
        at = (0, 49, 50, 69, 70, 99, 100)
        assert [fate(plan, request(0, 1), now).delays_ms for now in at] == [(), (), (), (), (), (), (0,)]
        assert [fate(plan, request(0, 2), now).delays_ms for now in at] == [(9,), (9,), (9,), (9,), (0,), (0,), (0,)]


class TestPrecedence:
    """A cut comes before a drop, a drop before the rest; the newest rule of a kind has the last word."""

    def test_a_cut_that_loses_comes_before_one_that_holds(self) -> None:
        for words in (("cut", "hold"), ("hold", "cut")):
            plan = Plan()
            for word in words:
                if word == "cut":
                    plan.cut(0, 1)
                else:
                    plan.isolate(1, held=True)
            assert fate(plan, request(0, 1)) == LOST
            assert fate(plan, request(1, 0)) == HELD

    def test_a_cut_comes_before_a_drop_and_a_drop_before_a_hold(self) -> None:
        plan = Plan()
        plan.drop(request=1.0)
        plan.cut(0, 1)
        plan.cut(0, 2, held=True)
        for dst in (1, 2):
            assert fate(plan, request(0, dst)) == LOST
        assert [(row["cut"], row["dropped"], row["held"]) for row in plan.counts()] == [(1, 0, 0), (0, 1, 0)]

    def test_the_newest_rule_of_a_kind_has_the_last_word(self) -> None:
        plan = Plan()
        plan.delay((5, 5))
        plan.delay((9, 9), dst=1)
        assert [fate(plan, request(0, dst)).delays_ms for dst in (1, 2)] == [(9,), (5,)]
        plan.delay((3, 3), src=0)
        assert [fate(plan, request(0, dst)).delays_ms for dst in (1, 2)] == [(3,), (3,)]

    def test_a_link_can_be_exempted(self) -> None:
        plan = Plan()
        plan.drop(request=1.0, reply=1.0)
        plan.drop(request=0.0, reply=0.0, dst=2)
        assert [fate(plan, message) for message in (request(0, 1), request(0, 2), reply(0, 2))] == [
            LOST,
            INTACT,
            INTACT,
        ]

    def test_the_kinds_add_up(self) -> None:
        plan = Plan()
        plan.delay((5, 5))
        plan.reorder(1.0, late_ms=(100, 100))
        plan.duplicate(1.0, late_ms=(1000, 1000))
        plan.cut(0, 2, held=True)
        assert fate(plan, request(0, 1)) == Fate((105, 1105))
        assert fate(plan, request(0, 2)) == Fate((105, 1105), held_until_healed=True)

    def test_a_rule_takes_the_place_of_one_with_the_same_scope(self) -> None:
        plan = Plan()
        for probability in (0.1, 0.2, 0.3):
            plan.drop(request=probability, dst=1)
            plan.drop(reply=probability, dst=1)
            plan.reorder(probability)
        assert [row.get("probability") for row in plan.rows()] == [0.3, 0.3, 0.3]


class TestHeal:
    """After a heal no rule is left."""

    def test_heal_clears_every_word(self) -> None:
        plan = full_plan()
        assert len(plan.rules) == 12
        plan.heal()
        assert plan.rules == ()
        assert plan.rows() == []
        dice = Random(3)
        for message in (request(0, 1), reply(1, 0), request("c1", "s2"), request(2, 0, "request_vote")):
            assert plan.fate(message, 0, dice) == INTACT
            assert not plan.holds(message, 0)
        assert dice.getstate() == Random(3).getstate()

    def test_what_is_held_goes_when_its_own_cut_does(self) -> None:
        plan = Plan()
        plan.cut(0, 1, held=True, until_ms=100)
        isolated = plan.isolate(2, held=True)
        assert plan.holds(request(0, 1), 99)
        assert not plan.holds(request(0, 1), 100)
        assert plan.holds(request(0, 2), 100)
        plan.remove(*isolated)
        assert not plan.holds(request(0, 2), 0)
        assert plan.holds(request(0, 1), 0)

    def test_a_cut_that_loses_holds_nothing(self) -> None:
        plan = Plan()
        plan.cut(0, 1)
        assert not plan.holds(request(0, 1), 0)

    def test_a_rule_can_be_taken_back_alone_and_twice(self) -> None:
        plan = Plan()
        first, second = plan.isolate(0), plan.isolate(1)
        plan.remove(*first)
        plan.remove(*first)
        assert plan.rules == second

    def test_a_profile_is_switched_off_alone(self) -> None:
        plan = Plan()
        plan.unreliable()
        plan.long_reordering()
        plan.delay((1, 1))
        plan.unreliable(False)
        plan.long_reordering(False)
        assert [row["kind"] for row in plan.rows()] == ["delay"]


class TestCounts:
    """A fault that did not bite is seen in the counts."""

    def test_counts_are_exact(self) -> None:
        plan, dice = Plan(), Random(11)
        plan.drop(request=0.3, method="request_vote")
        plan.duplicate(0.5, dst=1)
        plan.delay((0, 3), dst=2)
        plan.reorder(0.4, dst=2)
        plan.isolate(3, held=True)
        plan.cut(4, 0)
        messages = [
            *(request(0, 1, "request_vote"), request(0, 1), reply(0, 2), request(0, 3), request(4, 0), request(1, 0))
        ] * 200
        fates = [(message, plan.fate(message, 0, dice)) for message in messages]
        rows = {(row["src"], row["dst"], row["method"], row["part"]): row for row in plan.counts()}
        assert len(rows) == 6
        for message in messages[:6]:
            row = rows[message.src, message.dst, message.method, message.part.value]
            seen = [decided for of, decided in fates if of == message]
            lost = sum(not one.delays_ms for one in seen)
            assert row["offered"] == len(seen) == 200
            assert (row["cut"], row["dropped"]) == ((200, 0) if message.src == 4 else (0, lost))
            assert row["untouched"] == sum(one == INTACT for one in seen)
            assert row["held"] == sum(one.held_until_healed for one in seen)
            assert row["duplicated"] == sum(len(one.delays_ms) == 2 for one in seen)
        late, early = rows[0, 2, "append_entries", "reply"], [one for of, one in fates if of.dst == 2]
        assert late["reordered"] > 50, "reordered, and delayed"
        assert late["untouched"] == sum(one.delays_ms == (0,) for one in early)
        assert 0 < 200 - int(late["untouched"]) <= int(late["delayed"]) + int(late["reordered"])
        assert rows[1, 0, "append_entries", "request"]["untouched"] == 200

    def test_a_draw_of_nothing_is_no_touch(self) -> None:
        plan = Plan()
        plan.delay((0, 0))
        plan.reorder(1.0, late_ms=(0, 0))
        assert fate(plan, request(0, 1)) == INTACT
        (row,) = plan.counts()
        assert (row["offered"], row["untouched"], row["delayed"], row["reordered"]) == (1, 1, 0, 0)

    def test_heal_keeps_the_counts(self) -> None:
        plan = Plan()
        plan.cut(0, 1)
        fate(plan, request(0, 1))
        plan.heal()
        fate(plan, request(0, 1))
        (row,) = plan.counts()
        assert (row["offered"], row["cut"], row["untouched"]) == (2, 1, 1)

    def test_links_beyond_the_bound_are_counted_together(self) -> None:
        plan = Plan()
        plan.drop(request=1.0, method="late")
        for number in range(LINKS_MAX):
            fate(plan, request(f"c{number}", 0))
        assert fate(plan, request("one", 0, "late")) == LOST
        assert fate(plan, request("two", 0)) == INTACT
        assert fate(plan, request("c0", 0)) == INTACT
        rows = plan.counts()
        assert len(rows) == LINKS_MAX + 1
        assert rows[0]["offered"] == 2
        assert (rows[-1]["src"], rows[-1]["offered"], rows[-1]["dropped"], rows[-1]["untouched"]) == ("*", 2, 1, 1)


class TestValues:
    """Rules are values: they travel, they print, they are refused when they cannot be meant."""

    def test_rules_travel_and_decide_the_same_elsewhere(self) -> None:
        here, there = full_plan(), Plan()
        there.obey(pickle.loads(pickle.dumps(here.rules)))
        assert there.rules == here.rules
        assert story(here, 5) == story(there, 5)

    def test_a_plan_travels_with_its_counts(self) -> None:
        plan = full_plan()
        story(plan, 1)
        copy = pickle.loads(pickle.dumps(plan))
        assert copy.counts() == plan.counts()
        assert story(copy, 2) == story(plan, 2)

    def test_rows_say_what_was_said(self) -> None:
        plan = Plan()
        plan.isolate(0, held=True)
        plan.drop(reply=0.0, src=0, method="request_vote", until_ms=0)
        plan.partition([0], ["c1"])
        assert plan.rows() == [
            {"kind": "isolate", "held": True, "node": 0},
            {
                "kind": "drop",
                "src": 0,
                "method": "request_vote",
                "part": "reply",
                "until_ms": 0,
                "probability": 0.0,
            },
            {"kind": "partition", "sides": ((0,), ("c1",))},
        ]

    @pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
    def test_a_probability_lies_between_0_and_1(self, probability: float) -> None:
        for word in (
            lambda plan: plan.drop(request=probability),
            lambda plan: plan.reorder(probability),
            lambda plan: plan.duplicate(probability),
        ):
            with pytest.raises(ValueError, match="probability"):
                word(Plan())

    @pytest.mark.parametrize("ms", [(5, 4), (-1, 4)])
    def test_a_range_has_its_smaller_end_first(self, ms: tuple[int, int]) -> None:
        for word in (
            lambda plan: plan.delay(ms),
            lambda plan: plan.reorder(0.5, late_ms=ms),
            lambda plan: plan.duplicate(0.5, late_ms=ms),
            lambda plan: plan.drop(request=0.5, told_ms=ms),
        ):
            plan = Plan()
            with pytest.raises(ValueError, match="the smaller one first"):
                word(plan)
            assert plan.rules == ()

    def test_the_number_of_rules_is_bounded(self) -> None:
        plan = Plan()
        for number in range(RULES_MAX):
            plan.cut(0, f"c{number}")
        with pytest.raises(ValueError, match="at most 256"):
            plan.cut(0, "one more")

    def test_the_package_shows_the_words_a_user_needs(self) -> None:
        for name in raft_actors.faults.__all__:
            assert getattr(raft_actors.faults, name) is not None
        assert dir(raft_actors.faults) == raft_actors.faults.__all__
        with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
            raft_actors.faults.Nothing  # noqa: B018


def full_plan() -> Plan:
    """Every word once."""
    plan = Plan()
    plan.unreliable()
    plan.long_reordering()
    plan.long_delays()
    plan.partition([0, 1, "c1"], [2, "c2"], held=True)
    plan.isolate(4)
    plan.cut(1, 0, method="request_vote")
    plan.delay((0, 40), dst=1)
    plan.drop(request=0.2, src=1)
    plan.reorder(0.3, late_ms=(1, 50))
    plan.duplicate(0.2, late_ms=(0, 30), until_ms=80)
    return plan


def story(plan: Plan, seed: int) -> list[Fate]:
    """Fates of the same thousand messages."""
    dice, nodes = Random(seed), (0, 1, 2, 3, 4, "s0", "s2", "c1", "c2")
    fates = []
    for now_ms in range(1000):
        src, dst = dice.sample(nodes, 2)
        method, part = dice.choice(["append_entries", "request_vote"]), dice.choice(list(Part))
        fates.append(plan.fate(Message(src, dst, method, part), now_ms, dice))
    return fates


def test_the_dice_decide_and_nothing_else() -> None:
    """The same rules, messages and dice give the same fates; other dice others."""
    assert story(full_plan(), 5) == story(full_plan(), 5)
    assert story(full_plan(), 5) != story(full_plan(), 6)
