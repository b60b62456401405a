"""The judge on histories made by hand, each illegal one with a legal twin, and how its search goes about it.

Here:   twins that differ in one call; keys, budgets, the smallest failing prefix, how far a search goes; calls of rows.
Never:  random histories and the oracle (test_key_model.py), which is asked here too.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.history import UNSEEN, Call, Deleted, Mismatch, Op, WrongType
from analysis.linearizability import Judgement, judge
from tests.analysis.test_key_model import (
    NOT_DONE,
    OK,
    UNKNOWN,
    History,
    any_history,
    append,
    delete,
    get,
    has_an_order,
    history,
    judgement,
    put,
)

A1: Final = put(0, 1, "a", 1)
"""What most histories begin with."""


def twins(*before: Call, legal: Call, illegal: Call, after: tuple[Call, ...] = ()) -> tuple[History, History]:
    """Two histories that differ in one call."""
    return history(*before, legal, *after), history(*before, illegal, *after)


TWINS: Final = {
    # reads
    "a stale read": twins(A1, put(2, 3, "b", 2), legal=get(4, 5, "b", 2), illegal=get(4, 5, "a", 1)),
    "a read of the old value after the write returned": twins(
        A1, put(2, 5, "b", 2), legal=get(5, 6, "a", 1), illegal=get(6, 7, "a", 1)
    ),
    "an acknowledged write that is not seen": twins(A1, legal=get(2, 3, "a", 1), illegal=get(2, 3)),
    "a value that was never written": twins(A1, legal=get(2, 3, "a", 1), illegal=get(2, 3, "z", 1)),
    "a version that was never written": twins(A1, legal=get(2, 3, "a", 1), illegal=get(2, 3, "a", 7)),
    "a version of another value": twins(A1, put(2, 3, "b", 2), legal=get(4, 5, "b", 2), illegal=get(4, 5, "b", 1)),
    "something in a store where nothing was written": twins(legal=get(0, 1), illegal=get(0, 1, "a", 1)),
    "a read before the write began": twins(A1, get(4, 5, "b", 2), legal=put(5, 9, "b", 2), illegal=put(6, 9, "b", 2)),
    "two reads that see a write come and go": twins(
        A1, put(2, 9, "b", 2), get(3, 4, "b", 2), legal=get(5, 6, "b", 2), illegal=get(5, 6, "a", 1)
    ),
    "a value of another type": twins(put(0, 1, 1, 1), legal=get(2, 3, 1, 1), illegal=get(2, 3, True, 1)),
    # writes that overlap
    "the version says which of two writes was last": twins(
        put(0, 9, "a", 2), put(0, 9, "b", 1), legal=get(10, 11, "a", 2), illegal=get(10, 11, "b", 1)
    ),
    "and it may be either one": twins(
        put(0, 9, "a", 1), put(0, 9, "b", 2), legal=get(10, 11, "b", 2), illegal=get(10, 11, "a", 1)
    ),
    "versions against the order of time": twins(put(2, 3, "a", 2), legal=put(0, 2, "b", 3), illegal=put(0, 1, "b", 3)),
    # appends
    "a lost update": twins(
        append(0, 1, "x", 1), append(2, 3, "y", 2), legal=get(4, 5, "xy", 2), illegal=get(4, 5, "y", 2)
    ),
    "appends in the other order": twins(
        append(0, 9, "x", 1), append(0, 9, "y", 2), legal=get(10, 11, "xy", 2), illegal=get(10, 11, "yx", 2)
    ),
    "an append that is there twice": twins(
        append(0, 1, "x", 1), append(2, 3, "y"), legal=get(4, 5, "xy", 2), illegal=get(4, 5, "xyy", 2)
    ),
    "appends of unknown outcome have one order": twins(
        append(0, 9, "x"),
        append(0, 9, "y"),
        get(10, 11, "yx", 2),
        legal=get(12, 13, "yx", 2),
        illegal=get(12, 13, "xy", 2),
    ),
    "bytes behind text": twins(A1, legal=append(2, 3, b"x", result=WrongType()), illegal=append(2, 3, b"x", 2)),
    "text behind text, refused": twins(A1, legal=append(2, 3, "x", 2), illegal=append(2, 3, "x", result=WrongType())),
    "a number cannot be appended": twins(legal=append(0, 1, 1, result=WrongType()), illegal=append(0, 1, 1, 1)),
    "lists are appended": twins(
        append(0, 1, ("x",), 1), append(2, 3, ("y",), 2), legal=get(4, 5, ("x", "y"), 2), illegal=get(4, 5, ("y",), 2)
    ),
    # deletes
    "a delete": twins(A1, delete(2, 3, True), legal=get(4, 5), illegal=get(4, 5, "a", 1)),
    "a delete that found something found it": twins(legal=delete(0, 1, False), illegal=delete(0, 1, True)),
    "a delete that found nothing": twins(A1, legal=delete(2, 3, True), illegal=delete(2, 3, False)),
    "of two deletes one finds the value": twins(
        A1, delete(2, 9, True), legal=delete(2, 9, False), illegal=delete(2, 9, True)
    ),
    "a delete takes a version": twins(A1, delete(2, 3, True), legal=put(4, 5, "b", 3), illegal=put(4, 5, "b", 2)),
    # versions
    "versions that fall": twins(put(0, 1, "a", 5), legal=put(2, 3, "b", 6), illegal=put(2, 3, "b", 4)),
    "a version that is used twice": twins(put(0, 1, "a", 5), legal=put(2, 3, "b", 6), illegal=put(2, 3, "b", 5)),
    "no version is left for a write that was seen": twins(
        A1, put(2, 3, "b"), get(4, 5, "b", 2), legal=put(6, 7, "c", 3), illegal=put(6, 7, "c", 2)
    ),
    "a write of unknown outcome has a version of its own": twins(
        A1, put(2, 3, "b"), legal=get(4, 5, "b", 2), illegal=get(4, 5, "b", 1)
    ),
    "two of them have two": twins(
        *(append(0, 1, "x", 1), append(0, 9, "y"), append(0, 9, "z")),
        legal=get(10, 11, "xyz", 3),
        illegal=get(10, 11, "xyz", 2),
    ),
    "a write of unknown outcome has one version": twins(
        put(0, 1, "a"), get(2, 3, "a", 4), legal=get(4, 5, "a", 4), illegal=get(4, 5, "a", 5)
    ),
    "a lost update in spite of a condition": twins(
        A1,
        put(2, 3, "b", 2, if_version=1),
        legal=put(4, 5, "c", 3, if_version=2),
        illegal=put(4, 5, "c", 3, if_version=1),
    ),
    "a version mismatch names the other version": twins(
        A1,
        legal=put(2, 3, "b", if_version=4, result=Mismatch(current=1)),
        illegal=put(2, 3, "b", if_version=4, result=Mismatch(current=2)),
    ),
    "a version mismatch where versions match": twins(
        A1,
        legal=put(2, 3, "b", if_version=0, result=Mismatch(current=1)),
        illegal=put(2, 3, "b", if_version=1, result=Mismatch(current=1)),
    ),
    "a version mismatch that names nothing, where versions match": twins(
        A1,
        legal=put(2, 3, "b", if_version=0, result=Mismatch(current=None)),
        illegal=put(2, 3, "b", if_version=1, result=Mismatch(current=None)),
    ),
    "a version mismatch without a condition": twins(
        A1,
        legal=delete(2, 3, if_version=2, result=Mismatch(current=1)),
        illegal=delete(2, 3, result=Mismatch(current=1)),
    ),
    "a delete under a condition": twins(
        A1, legal=delete(2, 3, True, if_version=1), illegal=delete(2, 3, True, if_version=2)
    ),
    "a put where nothing may be": twins(legal=put(0, 1, "a", 1, if_version=0), illegal=put(0, 1, "a", 1, if_version=1)),
    # what is not known
    "an unknown outcome takes effect late, and once": twins(
        A1, put(2, 3, "b"), get(4, 5, "a", 1), get(6, 7, "b", 2), legal=get(8, 9, "b", 2), illegal=get(8, 9, "a", 1)
    ),
    "an unknown outcome never takes effect": twins(
        A1, legal=put(2, 3, "b"), illegal=put(2, 3, "b", 2), after=(get(4, 5, "a", 1), get(6, 7, "a", 1))
    ),
    "an unknown outcome does not take effect before its beginning": twins(
        A1, get(4, 5, "b", 2), legal=put(5, None, "b"), illegal=put(6, None, "b")
    ),
    "an unknown outcome takes effect under its condition": twins(
        A1, legal=put(2, 3, "b", if_version=1), illegal=put(2, 3, "b", if_version=0), after=(get(4, 5, "b", 2),)
    ),
    "a delete of unknown outcome": twins(A1, legal=delete(2, 3), illegal=delete(6, 7), after=(get(4, 5),)),
    "what was not done is not seen": twins(
        A1, legal=put(2, 3, "b"), illegal=put(2, 3, "b", outcome=NOT_DONE), after=(get(4, 5, "b", 2),)
    ),
    "what was not done does not hide what was": twins(
        A1, legal=put(2, 3, "b", outcome=NOT_DONE), illegal=put(2, 3, "b", 2), after=(get(4, 5, "a", 1),)
    ),
    "a read that tells a version may still be of a later write": twins(
        *(put(0, None, "a"), put(0, None, "a"), get(9, 30, "a", 5), delete(10, 20, True)),
        legal=get(31, 32, "a", 5),
        illegal=get(31, 32, "a", 6),
    ),
    # values that nobody wrote down
    "an unseen value of another version": twins(
        put(0, 9, UNSEEN, 1), put(0, 9, UNSEEN, 2), legal=get(10, 11, UNSEEN, 2), illegal=get(10, 11, UNSEEN, 1)
    ),
    "an unseen value behind an unseen one": twins(
        append(0, 1, UNSEEN, 1), append(2, 3, UNSEEN, 2), legal=get(4, 5, "?", 2), illegal=get(4, 5, "?", 1)
    ),
    "a delete that does not say what it found": twins(
        A1, delete(2, 3, result=Deleted(found=None)), legal=get(4, 5), illegal=get(4, 5, "a", 1)
    ),
}


class TestTwins:
    @pytest.mark.parametrize("name", TWINS)
    def test_one_is_legal_and_one_is_not(self, name: str) -> None:
        legal, illegal = TWINS[name]
        assert sum(str(one) != str(other) for one, other in zip(legal, illegal, strict=True)) == 1
        assert judgement(legal) is Judgement.OK
        assert judgement(illegal) is Judgement.ILLEGAL

    @pytest.mark.parametrize(
        "name", [name for name in TWINS if name not in ("bytes behind text", "lists are appended")]
    )
    def test_so_the_oracle_says(self, name: str) -> None:
        legal, illegal = TWINS[name]
        assert has_an_order(legal)
        assert not has_an_order(illegal)

    def test_a_read_without_an_answer_says_nothing(self) -> None:
        assert judgement(history(A1, replace(get(2, 3, "z", 9), outcome=UNKNOWN, result=None))) is Judgement.OK

    def test_nothing_counts_in_a_history_of_what_was_not_done(self) -> None:
        assert judgement(history(put(0, 1, "a", outcome=NOT_DONE))) is Judgement.OK


class TestKeys:
    def test_each_key_is_judged_by_itself(self) -> None:
        calls = history(A1, replace(get(2, 3, "a", 1), key="j"), get(2, 3, "a", 1))
        assert [(verdict.key, verdict.judgement) for verdict in judge(calls)] == [
            ("j", Judgement.ILLEGAL),
            ("k", Judgement.OK),
        ]

    def test_other_keys_take_versions(self) -> None:
        assert judgement(history(A1, put(2, 3, "b", 100), get(4, 5, "b", 100))) is Judgement.OK


# -- how far ----------------------------------------------------------------------------------------------------------


def many(count: int, seed: int, *, unknown: int = 0) -> History:
    """`count` calls of five clients that overlap; one in `unknown` writes has an unknown outcome."""
    dice = random.Random(seed)
    calls: History = []
    value, version, now, free = "", 0, 0, dict.fromkeys("ABCDE", 0)
    for number in range(count):
        client = dice.choice([client for client in free if free[client] <= now] or [min(free, key=lambda c: free[c])])
        now = max(now + dice.randrange(10), free[client] + 1)
        invoked, returned = max(free[client], now - dice.randrange(100)), now + dice.randrange(100)
        free[client] = returned + 1
        made = get(invoked, returned, value, version)
        if dice.randrange(3) == 0:
            value, version = value + f"{number} ", version + dice.randint(1, 3)
            is_unknown = unknown and dice.randrange(unknown) == 0
            made = append(invoked, returned, f"{number} ", None if is_unknown else version)
        calls.append(replace(made, client=client))
    return history(*calls)


class TestHowFarItGoes:
    @pytest.mark.parametrize("unknown", [0, 20, 5])
    def test_hundreds_of_calls_take_a_few_steps_each(self, unknown: int) -> None:
        for seed in range(3):
            calls = many(400, seed, unknown=unknown)
            (verdict,) = judge(calls)
            assert verdict.judgement is Judgement.OK
            assert verdict.steps < 30 * len(calls)

    def test_a_fault_among_hundreds_is_found_where_it_is(self) -> None:
        calls = many(400, seed=1, unknown=20)
        last = max(call.returned or 0 for call in calls)
        stale = get(last + 1, last + 2, "1 ", 1)
        (verdict,) = judge([*calls, replace(stale, op_id="stale"), replace(stale, op_id="later", returned=last + 3)])
        assert verdict.judgement is Judgement.ILLEGAL
        assert verdict.steps < 100 * len(calls)
        assert [call.op_id for call in verdict.failing][-1] == "stale"

    def test_writes_with_versions_are_tried_in_the_order_of_their_versions_only(self) -> None:
        count = 40
        writes = [append(0, 100, f"{number} ", count - number) for number in range(count)]
        (verdict,) = judge(history(*writes, get(101, 102, "", count)))
        assert verdict.judgement is Judgement.ILLEGAL
        assert verdict.steps <= count * count + 2, "two to the power of forty otherwise"

    def test_refusals_and_empty_deletes_do_not_widen_the_search(self) -> None:
        count = 40
        refused = [put(0, 100, f"{number}", if_version=7, result=Mismatch(current=0)) for number in range(count)]
        nothing = [delete(0, 100, result=Deleted(found=False)) for _ in range(count)]
        (verdict,) = judge(history(*refused, *nothing, get(101, 102, "", 1)))
        assert verdict.judgement is Judgement.ILLEGAL
        assert verdict.steps <= 20 * count, "two to the power of eighty otherwise"

    def test_a_search_does_not_recurse(self) -> None:
        puts = [put(2 * number, 2 * number + 1, "a", number + 1) for number in range(3_000)]
        assert judgement(history(*puts)) is Judgement.OK


class TestBudgets:
    @pytest.mark.parametrize("name", TWINS)
    def test_a_spent_budget_is_unknown_and_never_ok(self, name: str) -> None:
        for calls in TWINS[name]:
            (verdict,) = judge(calls)
            for steps_max in range(verdict.steps):
                assert judgement(calls, steps_max=steps_max) is Judgement.UNKNOWN
            assert judgement(calls, steps_max=verdict.steps) is verdict.judgement

    def test_seconds_are_a_budget_too(self) -> None:
        puts = [put(2 * number, 2 * number + 1, "a", number + 1) for number in range(1_100)]
        assert judgement(history(*puts), time_budget_s=0.0) is Judgement.UNKNOWN
        assert judgement(history(*puts), time_budget_s=60.0) is Judgement.OK

    def test_each_key_has_its_own(self) -> None:
        other = [replace(call, key="j") for call in (A1, get(2, 3, "a", 1))]
        verdicts = judge(history(A1, get(2, 3, "a", 1), *other), steps_max=2)
        assert [verdict.judgement for verdict in verdicts] == [Judgement.OK, Judgement.OK]

    def test_a_budget_that_ends_before_the_smallest_prefix_is_found_leaves_one_that_fails(self) -> None:
        puts = [put(2 * number, 2 * number + 1, "a", number + 1) for number in range(20)]
        calls = history(*puts, get(40, 41, "b", 20), *(get(50, 51 + more, "a", 20) for more in range(8)))
        (verdict,) = judge(calls)
        (hasty,) = judge(calls, steps_max=verdict.steps)
        assert (verdict.is_smallest, len(verdict.failing)) == (True, 21)
        assert (hasty.judgement, hasty.is_smallest) == (Judgement.ILLEGAL, False)
        assert judgement(list(hasty.failing)) is Judgement.ILLEGAL


# -- the smallest failing prefix --------------------------------------------------------------------------------------


class TestFailing:
    def test_it_ends_with_the_first_return_that_has_no_place(self) -> None:
        slow = put(2, 30, "z", 9)
        (verdict,) = judge(history(A1, slow, get(4, 5), get(6, 7, "a", 1), put(20, 21, "b", 2)))
        first, still_open, stale = verdict.failing
        assert first == replace(A1, op_id="0")
        assert still_open == replace(slow, op_id="1", outcome=UNKNOWN, returned=None, result=None)
        assert (stale.op_id, verdict.is_smallest) == ("2", True)
        assert [row["op_id"] for row in verdict.rows()] == ["0", "1", "2"]
        assert "key k: illegal, 5 calls" in str(verdict)

    def test_a_legal_history_has_none(self) -> None:
        (verdict,) = judge(history(A1))
        assert (verdict.failing, verdict.rows()) == ((), [])

    @pytest.mark.slow
    @settings(max_examples=120)
    @given(st.randoms(use_true_random=False))
    def test_the_failing_prefix_is_the_smallest(self, dice: random.Random) -> None:
        calls = any_history(dice)
        (verdict,) = judge(calls)
        if verdict.judgement is Judgement.ILLEGAL:
            ends = sorted(call.returned or 0 for call in calls if call.outcome is OK)
            first = next(end for end in ends if not has_an_order(known_at(calls, end)))
            assert sorted(verdict.failing, key=by_number) == known_at(calls, first)
            assert verdict.is_smallest


def by_number(call: Call) -> str:
    return call.op_id


def known_at(calls: History, end: int) -> History:
    """Those that count and had begun by then; whose end was still to come, of them nothing was known."""
    known = [
        replace(call, outcome=UNKNOWN, returned=None, result=None)
        if call.outcome is OK and (call.returned or 0) > end
        else call
        for call in calls
        if call.outcome is not NOT_DONE and call.invoked <= end
    ]
    return sorted((call for call in known if call.outcome is OK or call.op is not Op.GET), key=by_number)
