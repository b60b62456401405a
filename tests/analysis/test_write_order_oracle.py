"""Random histories of several keys, judged by their versions and by an oracle that tries all orders.

Here:   the oracle; runs of a store in which something may then be changed; the judge that searches, on one key; judges
        with a fault, which one of the two must find.
Never:  which histories are legal, by name (test_write_order.py), though the oracle is asked of those as well.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import permutations
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import told, write_order
from analysis.history import Call, Found, Mismatch, Op, Written
from analysis.linearizability import Judgement
from tests.analysis.test_key_model import (
    NOT_DONE,
    OK,
    UNKNOWN,
    History,
    agrees,
    any_history,
    effects,
    get,
    judgement,
    with_times,
)
from tests.analysis.test_write_order import BEFORE, TWINS, by_version, numbered

# -- the oracle --------------------------------------------------------------------------------------------------------

Stores: TypeAlias = tuple[tuple[str, Hashable, int], ...]
"""Of each key value and version; the number of the newest write stands apart."""


def has_an_order(calls: History, *, begins_empty: bool = True) -> bool:
    """Try all orders that respect time, all numbers that nobody heard, and all that may have been there before."""
    by_id: dict[str, list[Call]] = {}
    for call in calls:
        if call.outcome is not NOT_DONE:
            by_id.setdefault(call.op_id, []).append(call)
    operations = list(by_id.values())
    heard = [number for call in calls for number in (version_told(call), call.if_version) if number]
    top = max(heard, default=0) + len(calls)

    @cache
    def fits(left: frozenset[int], stores: Stores, newest: int) -> bool:
        due = [operations[number] for number in left if operations[number][0].outcome is OK]
        if not due:
            return True
        return any(
            fits(left - {number}, after, newer)
            for number in left
            if all(operations[number][0].invoked <= (parts[0].returned or 0) for parts in due)
            for after, newer in moments(operations[number], stores, newest, top)
        )

    everything = frozenset(range(len(operations)))
    return any(
        fits(everything, stores, max((version for _, _, version in stores), default=0))
        for stores in beginnings(calls, set(heard), begins_empty)
    )


def version_told(call: Call) -> int | None:
    return getattr(call.result, "version", None) or getattr(call.result, "current", None)


def moments(parts: list[Call], stores: Stores, newest: int, top: int) -> Iterator[tuple[Stores, int]]:
    """What may be there after all parts took effect, in any order, with what they were told."""
    for order in permutations(parts) if parts[0].op in (Op.PUT, Op.APPEND) else [tuple(parts)]:
        reached = {(stores, newest)}
        for call in order:
            reached = {
                (
                    tuple(
                        (key, *((after[0], after[1]) if key == call.key else (value, version)))
                        for key, value, version in now
                    ),
                    after[2],
                )
                for now, number in reached
                for one in [next((value, version) for key, value, version in now if key == call.key)]
                for result, after in effects((*one, number), call, top)
                if call.outcome is UNKNOWN or agrees(call.result, result)
            }
        yield from reached


def beginnings(calls: History, heard: set[int], begins_empty: bool) -> Iterator[Stores]:
    keys = sorted({call.key for call in calls})
    values: set[Hashable] = set(VALUES)
    for call in calls:
        if isinstance(call.result, Found):
            values.add(call.result.value)
        if isinstance(call.result, Found) and isinstance(call.result.value, str):
            values |= {call.result.value[:end] for end in range(len(call.result.value) + 1)}
    versions = [] if begins_empty else sorted(heard | {1})
    each = [(None, 0), *((value, version) for version in versions for value in sorted(values, key=repr))]

    def some(rest: list[str], used: frozenset[int]) -> Iterator[Stores]:
        if not rest:
            yield ()
            return
        for value, version in each:
            if version == 0 or version not in used:
                for more in some(rest[1:], used | {version}):
                    yield ((rest[0], value, version), *more)

    return some(keys, frozenset())


# -- random histories --------------------------------------------------------------------------------------------------

VALUES: Final = ("a", "b", "c", 1)
RANDOM_COUNT: Final = 600


def any_run(dice: random.Random, *, begins_empty: bool = True) -> History:
    """A run of a store of two keys, in which one thing or two may then be changed."""
    keys = ("j", "k")
    stores: dict[str, tuple[Hashable, int]] = {
        key: (None, 0) if begins_empty or dice.randrange(2) else (dice.choice(VALUES), 1 + place)
        for place, key in enumerate(keys)
    }
    newest = max(version for _, version in stores.values())
    operations: list[list[Call]] = []
    widest = dice.choice((5, 10, 30, 60))
    all_several = dice.randrange(4) == 0
    ops = dice.choice(((Op.PUT, Op.GET), (Op.PUT, Op.GET, Op.GET), (Op.PUT, Op.APPEND, Op.GET, Op.GET, Op.DELETE)))
    for number in range(dice.randint(3, 5)):
        op, outcome = dice.choice(ops), dice.choice((OK, OK, OK, OK, UNKNOWN))
        several = op in (Op.PUT, Op.GET) and (all_several or dice.randrange(3) == 0)
        parts = []
        happened = outcome is OK or dice.randrange(2) == 0
        newest += dice.choice((0, 0, 0, 1)) if happened else 0
        for key in dice.sample(keys, 2) if several and (op is Op.PUT or not all_several) else [dice.choice(keys)]:
            made = replace(get(0, 0), key=key, op=op, outcome=outcome, result=None)
            if op in (Op.PUT, Op.APPEND):
                made = replace(made, value=dice.choice(VALUES))
            if op in (Op.PUT, Op.DELETE) and not several and dice.randrange(4) == 0:
                made = replace(made, if_version=dice.choice((stores[key][1], 0, newest)))
            if happened:
                result, (value, version, newest) = next(effects((*stores[key], newest), made, newest + 1))
                stores[key] = value, version
                made = replace(made, result=result if outcome is OK else None)
            parts.append(made)
        timed = with_times(parts[0], 10 * number, widest, dice)
        operations.append([replace(part, invoked=timed.invoked, returned=timed.returned) for part in parts])
    for _ in range(dice.choice((0, 1, 1, 2))):
        change(operations, dice)
    calls = numbered(*map(tuple, operations))
    dice.shuffle(calls)
    return calls


def change(operations: list[list[Call]], dice: random.Random) -> None:
    """The times of one operation, or what one part was told."""
    parts = dice.choice(operations)
    place = dice.randrange(len(parts))
    match parts[place].result:
        case Found(version=version) as found if dice.randrange(3):
            other = dice.choice([call.result for each in operations for call in each if isinstance(call.result, Found)])
            near = replace(found, version=max(0, version + dice.choice((-2, -1, 1))))
            parts[place] = replace(
                parts[place], result=dice.choice((other, near, replace(found, value=dice.choice(VALUES))))
            )
        case Written(version=version) if dice.randrange(3):
            parts[place] = replace(parts[place], result=Written(version=max(0, version + dice.choice((-2, -1, 1)))))
        case Mismatch() if dice.randrange(3):
            parts[place] = replace(parts[place], result=Mismatch(current=dice.randrange(4)))
        case _:
            timed = with_times(parts[0], dice.randrange(0, 60, 5), 10, dice)
            parts[:] = [replace(part, invoked=timed.invoked, returned=timed.returned) for part in parts]


def differs(calls: History, is_legal: Callable[[History], bool], **options: Any) -> bool:
    """Whether it decides, and wrongly."""
    found = by_version(calls, **options)
    return found is not Judgement.UNKNOWN and (found is Judgement.OK) != is_legal(calls)


def is_legal_by_search(calls: History) -> bool:
    return judgement(calls) is Judgement.OK


def text(calls: History) -> str:
    return "\n".join(f"{call.op_id}: {call}" for call in sorted(calls, key=lambda call: call.invoked))


_take, _place = told.Told.take, write_order._Order._place


def _ends_early(facts: told.Told, call: Call) -> None:
    returned = call.returned
    _take(facts, call if returned is None or returned == call.invoked else replace(call, returned=returned - 1))


def _never_hidden(order: object, is_append: bool, key: told.Key, fault: str, *shown: Call | None) -> None:
    raise told.NoOrder(fault, *shown)


FAULTS: Final[dict[str, tuple[str, Callable[..., object]]]] = {
    "reads have no floor": (
        "write_order._Order._place",
        lambda order, operation, floor, holder: _place(order, operation, 0, holder),
    ),
    "a call ends before one that begins at that moment": ("told.Told.take", _ends_early),
    "numbers inside a put_many": ("write_order._Order._check_ranges", lambda order: None),
    "values are not looked at": ("write_order._Order._check_values", lambda order, key: None),
    "an append replaces": ("write_order._Order._joined", lambda order, key, before, append: append.value),
    "nothing is hidden behind an append": ("write_order._Order._unless_hidden", _never_hidden),
    "conditions are not looked at": ("write_order._Order._check_conditions", lambda order: None),
    "anybody may have written it": ("write_order.match_puts", lambda facts, key: None),
    "parts that nobody saw did not happen": ("owed_numbers._number_unseen_parts", lambda facts, happened: None),
    "all values are one": ("write_order.fits", lambda one, other: True),
    "puts of unknown outcome write any value": ("owed_numbers.class_of", lambda value: None),
}


NOT_FOR_THE_ORACLE: Final = frozenset(
    (
        "lists are appended",
        "bytes behind text",
        "an unseen value",
        "a version has one value",
        "a lost update in spite of a condition",
    )
)
"""It knows text only, and takes what nobody wrote down for any value, each time anew."""


class TestAgainstTheSearch:
    @settings(max_examples=300)
    @given(st.randoms(use_true_random=False))
    def test_where_it_decides_they_agree(self, dice: random.Random) -> None:
        assert not differs(calls := any_history(dice), is_legal_by_search), text(calls)

    @pytest.mark.long
    def test_they_agree_on_many_more(self) -> None:
        found: Counter[Judgement] = Counter()
        for seed in range(10_000):
            calls = any_history(random.Random(seed))
            found[by_version(calls)] += 1
            assert not differs(calls, is_legal_by_search), text(calls)
        assert found[Judgement.OK] > 4_000
        assert found[Judgement.ILLEGAL] > 1_500


class TestAgainstTheOracle:
    @pytest.mark.slow
    @pytest.mark.parametrize("begins_empty", [True, False])
    def test_where_it_decides_they_agree(self, begins_empty: bool) -> None:
        found: Counter[Judgement] = Counter()
        for seed in range(RANDOM_COUNT):
            calls = any_run(random.Random(seed), begins_empty=begins_empty)
            found[by_version(calls, begins_empty=begins_empty)] += 1
            is_legal = partial(has_an_order, begins_empty=begins_empty)
            assert not differs(calls, is_legal, begins_empty=begins_empty), text(calls)
        assert min(found[Judgement.OK], found[Judgement.ILLEGAL]) > RANDOM_COUNT // 5
        assert found[Judgement.UNKNOWN] < RANDOM_COUNT // 5

    @pytest.mark.parametrize("name", [name for name in TWINS if name not in NOT_FOR_THE_ORACLE])
    def test_it_says_the_same_of_the_twins(self, name: str) -> None:
        legal, illegal = TWINS[name]
        assert has_an_order(legal)
        assert not has_an_order(illegal)

    @pytest.mark.parametrize("name", BEFORE)
    def test_and_of_those_in_a_store_that_may_hold_something(self, name: str) -> None:
        legal, illegal = BEFORE[name]
        assert has_an_order(legal, begins_empty=False)
        assert not has_an_order(illegal, begins_empty=False)

    @pytest.mark.slow
    @pytest.mark.parametrize("why", FAULTS)
    def test_a_judge_with_a_fault_differs(self, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
        place, fault = FAULTS[why]
        monkeypatch.setattr(f"analysis.{place}", fault)
        runs = (any_run(random.Random(seed)) for seed in range(20 * RANDOM_COUNT))
        assert any(differs(calls, has_an_order) for calls in runs)
