"""The order that numbers tell: twins made by hand, and long runs.

Here:   histories of several keys, each illegal one with a legal twin; what is left open; whole runs, and one thing
        wrong in them.
Never:  random histories and the oracle (test_write_order_oracle.py), which is asked of these twins too.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final, TypeAlias

import pytest

from analysis.history import UNSEEN, Call, Deleted, Found, Mismatch, Op, Written, WrongType
from analysis.linearizability import Judgement
from analysis.write_order import OrderVerdict, judge_by_version
from tests.analysis import test_linearizability
from tests.analysis.test_key_model import (
    NOT_DONE,
    UNKNOWN,
    History,
    append,
    delete,
    get,
    put,
)

A1: Final = put(0, 1, "a", 1)


def on(key: str, call: Call) -> Call:
    return replace(call, key=key)


def together(*parts: Call) -> tuple[Call, ...]:
    """Parts of one operation, each of a key of its own."""
    return tuple(replace(part, client="together") for part in parts)


def numbered(*calls: Call | tuple[Call, ...]) -> History:
    """Each with a name of its own; parts of one operation share theirs."""
    return [
        replace(part, op_id=str(number))
        for number, call in enumerate(calls)
        for part in (call if isinstance(call, tuple) else (call,))
    ]


def by_version(calls: History, **options: Any) -> Judgement:
    return judge_by_version(calls, **options).judgement


# -- twins -------------------------------------------------------------------------------------------------------------

Calls: TypeAlias = Call | tuple[Call, ...]


def twins(*before: Calls, legal: Calls, illegal: Calls, after: tuple[Calls, ...] = ()) -> tuple[History, History]:
    return numbered(*before, legal, *after), numbered(*before, illegal, *after)


AB: Final = together(on("j", put(2, 3, "b", 2)), on("k", put(2, 3, "b", 3)))
"""A put_many after A1."""

TWINS: Final = {
    # one key
    "a number that is used twice": twins(put(0, 9, "a", 5), legal=put(0, 9, "b", 6), illegal=put(0, 9, "b", 5)),
    "numbers begin with 1": twins(legal=put(0, 1, "a", 1), illegal=put(0, 1, "a", 0)),
    "a key is missing before its first write": twins(A1, legal=get(1, 2), illegal=get(2, 3)),
    "nothing to delete before the first write": twins(A1, legal=delete(1, 2, False), illegal=delete(2, 3, False)),
    "nothing to delete on a version": twins(
        legal=delete(1, 2, False, if_version=0), illegal=delete(1, 2, False, if_version=3)
    ),
    "a version has one value": twins(
        put(0, 1, UNSEEN, 1), get(2, 3, "a", 1), legal=get(4, 5, "a", 1), illegal=get(4, 5, "b", 1)
    ),
    "an unseen value": twins(
        put(0, 9, UNSEEN, 1), put(0, 9, UNSEEN, 2), legal=get(10, 11, "x", 2), illegal=get(10, 11, "x", 1)
    ),
    "bytes behind text": twins(A1, legal=append(2, 3, "x", 2), illegal=append(2, 3, b"x", 2)),
    "a number behind nothing": twins(legal=append(0, 1, "x", 1), illegal=append(0, 1, 1, 1)),
    "a lost update in spite of a condition": twins(
        *(A1, put(2, 3, "b", 2)),
        legal=put(4, 5, "c", 3, if_version=2),
        illegal=put(4, 5, "c", 3, if_version=1),
    ),
    "a put where nothing may be": twins(
        A1, legal=put(2, 3, "b", 2, if_version=1), illegal=put(2, 3, "b", 2, if_version=0)
    ),
    "a condition on what nobody wrote": twins(
        A1, legal=put(2, 3, "c", 9, if_version=1), illegal=put(2, 3, "c", 9, if_version=5)
    ),
    "a refusal names the version": twins(
        *(A1, put(2, 3, "b", 2)),
        legal=put(4, 5, "c", if_version=7, result=Mismatch(current=2)),
        illegal=put(4, 5, "c", if_version=7, result=Mismatch(current=1)),
    ),
    "a refusal without a condition": twins(
        A1,
        legal=put(2, 3, "b", if_version=3, result=Mismatch(current=1)),
        illegal=put(2, 3, "b", result=Mismatch(current=1)),
    ),
    "a refusal since the key is missing": twins(
        legal=put(0, 3, "b", if_version=3, result=Mismatch(current=0)),
        illegal=put(2, 3, "b", if_version=3, result=Mismatch(current=0)),
        after=(A1,),
    ),
    "an answer of another operation": twins(
        A1, legal=get(2, 3, "a", 1), illegal=replace(get(2, 3), result=Written(version=2))
    ),
    # what is not known
    "an unknown put is seen": twins(A1, get(4, 5, "b", 2), legal=put(2, 3, "b"), illegal=put(2, 3, "c")),
    "two unknown puts, the later one first": twins(
        *(put(0, None, "a"), get(2, 3, "a", 4), get(4, 5, "a", 6)), legal=put(3, None, "a"), illegal=put(6, None, "a")
    ),
    "an unknown put under its condition": twins(
        *(A1, get(4, 5, "b", 2)), legal=put(2, 3, "b", if_version=1), illegal=put(2, 3, "b", if_version=0)
    ),
    "a put on the version of an unknown one": twins(
        *(A1, put(2, 3, "c", 3, if_version=2)), legal=put(2, 3, "b"), illegal=put(4, 5, "b")
    ),
    "unknown puts without values": twins(
        *(put(0, 1, UNSEEN), get(2, 3, UNSEEN, 1)), legal=get(4, 5, UNSEEN, 1), illegal=get(4, 5, UNSEEN, 2)
    ),
    "an unknown put that nobody saw": twins(
        A1, legal=put(2, 3, "b"), illegal=put(2, 3, "b", 2), after=(get(4, 5, "a", 1),)
    ),
    # several keys
    "two keys against the order of time": twins(
        A1, on("j", put(2, 3, "b", 5)), legal=put(3, 5, "c", 4), illegal=put(4, 5, "c", 4)
    ),
    "two reads of two keys against the order of writes": twins(
        *(A1, on("j", put(2, 9, "b", 2)), put(2, 9, "c", 3), get(3, 4, "c", 3)),
        legal=on("j", get(5, 6, "b", 2)),
        illegal=on("j", get(5, 6)),
    ),
    "a read lifts the floor of another key": twins(
        *(put(0, 20, "a", 7), get(1, 2, "a", 7)),
        legal=on("j", put(2, 5, "b", 6)),
        illegal=on("j", put(3, 5, "b", 6)),
    ),
    "one number, two keys": twins(
        *(A1, on("j", put(2, 9, "b"))), legal=on("j", get(4, 5, "b", 2)), illegal=on("j", get(4, 5, "b", 1))
    ),
    "a put_many seen whole": twins(
        *(A1, AB),
        legal=together(on("j", get(2, 4, "b", 2)), get(2, 4, "b", 3)),
        illegal=together(on("j", get(2, 4, "b", 2)), get(2, 4, "a", 1)),
    ),
    "a put_many seen torn by two reads": twins(
        *(A1, AB, on("j", get(2, 2, "b", 2))), legal=get(3, 4, "b", 3), illegal=get(3, 4, "a", 1)
    ),
    "a get_many of two moments": twins(
        *(A1, on("j", put(2, 3, "b", 2)), put(4, 5, "c", 3), on("j", put(6, 7, "d", 4))),
        legal=together(get(0, 9, "c", 3), on("j", get(0, 9, "b", 2))),
        illegal=together(get(0, 9, "a", 1), on("j", get(0, 9, "d", 4))),
    ),
    "a number inside a put_many": twins(
        together(on("j", put(0, 9, "b", 2)), put(0, 9, "b", 4)),
        legal=on("i", put(0, 9, "c", 5)),
        illegal=on("i", put(0, 9, "c", 3)),
    ),
    "an unknown put_many happens at one moment": twins(
        *(A1, together(on("j", put(2, None, "x")), put(2, None, "y")), on("j", get(3, 4, "x", 2))),
        legal=get(3, 4, "a", 1),
        illegal=get(5, 6, "a", 1),
        after=(get(7, 8, "y", 3),),
    ),
    "an unknown put_many that was seen in part happened": twins(
        *(A1, together(on("j", put(2, None, "x")), put(2, None, "y")), on("j", get(3, 4, "x", 2))),
        legal=get(4, 6, "a", 1),
        illegal=get(5, 6, "a", 1),
    ),
    "and overwrote what was there": twins(
        *(A1, together(on("j", put(2, None, "x")), put(2, None, "y")), on("j", get(3, 4, "x", 3))),
        legal=put(5, 6, "b", 5),
        illegal=put(5, 6, "b", 5, if_version=1),
    ),
    "its parts need numbers": twins(
        *(A1, together(on("j", put(0, None, "x")), put(0, None, "y")), on("j", get(3, 4, "x", 2))),
        legal=on("i", put(5, 6, "b", 4)),
        illegal=on("i", put(5, 6, "b", 3)),
    ),
    "an unknown put_many has a beginning": twins(
        *(A1, on("j", get(3, 4, "x", 2)), get(3, 4, "y", 3)),
        legal=together(on("j", put(4, None, "x")), put(4, None, "y")),
        illegal=together(on("j", put(5, None, "x")), put(5, None, "y")),
    ),
}

BEFORE: Final = {
    "one version from before": twins(legal=get(0, 1, "a", 5), illegal=get(0, 1), after=(get(2, 3, "a", 5),)),
    "it lies below all that was written": twins(
        on("j", put(0, 1, "b", 7)), legal=get(0, 3, "a", 5), illegal=get(0, 3, "a", 8)
    ),
    "there is only one": twins(
        get(0, 1, "a", 5), legal=get(2, 3, "a", 5), illegal=get(2, 3, "b", 6), after=(on("j", put(4, 5, "c", 7)),)
    ),
    "a second one was written, and all from before lie below it": twins(
        *(put(0, None, "b"), get(0, 1, "a", 2), get(2, 3, "b", 4)),
        legal=on("j", get(2, 3, "c", 3)),
        illegal=on("j", get(2, 3, "c", 5)),
    ),
    "it ends with the first write": twins(
        get(0, 1, "a", 5), put(2, 3, "b", 7), legal=get(3, 4, "a", 5), illegal=get(4, 5, "a", 5)
    ),
    "a missing key has none": twins(
        *(get(0, 1), get(4, 5, "a", 5)), legal=put(2, 3, "a"), illegal=put(2, 3, "a", outcome=NOT_DONE)
    ),
    "a condition names it": twins(
        legal=put(0, 1, "a", 7, if_version=5), illegal=put(0, 1, "a", 7, if_version=8)
    ),
}  # fmt: skip


LEFT_OPEN: Final = {
    "an append that is there twice",
    "appends of unknown outcome have one order",
    "bytes behind text",
    "text behind text, refused",
    "a number cannot be appended",
    "a delete",
    "a delete that found something found it",
    "a delete that found nothing",
    "of two deletes one finds the value",
    "a delete takes a version",
    "two of them have two",
    "a version mismatch that names nothing, where versions match",
    "a delete under a condition",
    "a delete of unknown outcome",
    "a read that tells a version may still be of a later write",
    "an unseen value behind an unseen one",
    "a delete that does not say what it found",
}
"""Of the search's twins: removals, refusals for a type or without a version, unknown appends, values nobody saw."""


class TestTwins:
    @pytest.mark.parametrize("name", TWINS)
    def test_one_is_legal_and_one_is_not(self, name: str) -> None:
        legal, illegal = TWINS[name]
        assert by_version(legal) is Judgement.OK
        assert by_version(illegal) is Judgement.ILLEGAL

    @pytest.mark.parametrize("name", test_linearizability.TWINS)
    def test_those_of_the_search_too_unless_it_leaves_them_open(self, name: str) -> None:
        legal, illegal = map(by_version, test_linearizability.TWINS[name])
        if name in LEFT_OPEN:
            assert legal is not Judgement.ILLEGAL
            assert illegal is not Judgement.OK
            assert Judgement.UNKNOWN in (legal, illegal)
        else:
            assert (legal, illegal) == (Judgement.OK, Judgement.ILLEGAL)

    @pytest.mark.parametrize("name", BEFORE)
    def test_in_a_store_that_may_hold_something(self, name: str) -> None:
        legal, illegal = BEFORE[name]
        assert by_version(legal, begins_empty=False) is Judgement.OK
        assert by_version(illegal, begins_empty=False) is Judgement.ILLEGAL


# -- what it leaves open -----------------------------------------------------------------------------------------------

UNDECIDED: Final = {
    "a removal": (A1, delete(2, 3, True), get(4, 5)),
    "a delete that does not say what it found": (A1, delete(2, 3, result=Deleted(found=None)), get(4, 5, "a", 1)),
    "a delete of unknown outcome that may have been seen": (A1, delete(2, 3), get(4, 5)),
    "an append of unknown outcome that was seen": (A1, append(2, 3, "b"), get(4, 5, "ab", 2)),
    "a put of unknown outcome under an append": (A1, put(2, 3, "b"), append(4, 5, "c", 3), get(6, 7, "bc", 3)),
    "an append behind what nobody wrote down": (put(0, 1, UNSEEN, 1), append(2, 3, "b", 2), get(4, 5, "ab", 2)),
    "a refusal that names no version": (A1, put(2, 3, "b", if_version=4, result=Mismatch(current=None))),
    "a refusal for a type": (A1, append(2, 3, 1, result=WrongType())),
    "which part of two put_many was seen": (
        together(on("j", put(0, None, "a")), put(0, None, "a")),
        together(on("j", put(0, None, "a")), put(0, None, "a")),
        get(2, 3, "a", 2),
    ),
}


class TestWhatIsNotDecided:
    @pytest.mark.parametrize("why", UNDECIDED)
    def test_is_never_ok(self, why: str) -> None:
        verdict = judge_by_version(numbered(*UNDECIDED[why]))
        assert (verdict.judgement, verdict.fault, verdict.calls) == (Judgement.UNKNOWN, "", ())
        assert "k" in verdict.undecided_keys
        assert str(verdict).startswith("unknown, ")

    def test_numbers_of_an_undecided_key_bind_the_others(self) -> None:
        calls = numbered(A1, delete(2, 3, True), put(4, 5, "b", 7), on("j", put(6, 7, "c", 6)))
        verdict = judge_by_version(calls)
        assert (verdict.judgement, verdict.undecided_keys) == (Judgement.ILLEGAL, ("k",))

    @pytest.mark.parametrize(
        "unknown", [put(2, 3, "b"), append(2, 3, "b"), delete(2, 3), put(2, 3, "b", if_version=9), get(2, 3)]
    )
    def test_what_nobody_saw_is_left_out(self, unknown: Call) -> None:
        calls = numbered(A1, replace(unknown, outcome=UNKNOWN, result=None), get(4, 5, "a", 1), append(6, 7, "c", 5))
        assert by_version(calls) is Judgement.OK

    def test_a_history_of_nothing_is_one(self) -> None:
        assert judge_by_version([]) == OrderVerdict(
            judgement=Judgement.OK, fault="", calls=(), call_count=0, undecided_keys=()
        )


# -- whole runs --------------------------------------------------------------------------------------------------------


def long_run(count: int, seed: int) -> History:
    """Of fifty keys; about five operations overlap, and one write in fifty has an unknown outcome."""
    dice = random.Random(seed)
    keys = [f"k{number}" for number in range(50)]
    store: dict[str, tuple[str | None, int]] = dict.fromkeys(keys, (None, 0))
    newest, calls = 0, []
    for number in range(count):
        invoked, returned = 10 * number - dice.randrange(25), 10 * number + dice.randrange(25)
        is_write, is_unknown = dice.randrange(2), dice.randrange(50) == 0
        for key in dice.sample(keys, dice.choice((1, 1, 1, 1, 3))):
            if is_write:
                newest += 1
                store[key] = f"v{number}", newest
                made = put(invoked, returned, f"v{number}", None if is_unknown else newest)
            else:
                made = get(invoked, returned, *store[key])
            calls.append(replace(made, key=key, op_id=str(number)))
    return calls


def seconds(calls: History) -> float:
    begun = time.process_time()
    assert by_version(calls) is Judgement.OK
    return time.process_time() - begun


class TestWholeRuns:
    @pytest.mark.long
    def test_four_times_the_calls_take_about_four_times_as_long(self) -> None:
        small, large = long_run(36_000, seed=1), long_run(144_000, seed=1)
        assert len(large) > 200_000
        assert seconds(large) < 10 * max(seconds(small), 0.1)

    @pytest.mark.slow
    def test_one_thing_that_is_wrong_is_found_and_shown(self) -> None:
        calls = long_run(5_000, seed=2)
        assert by_version(calls) is Judgement.OK
        reads = [place for place, one in enumerate(calls) if one.op is Op.GET and place > len(calls) // 2]
        for place in reads[:: len(reads) // 8]:
            read = calls[place]
            old = next(one for one in calls if one.key == read.key and isinstance(one.result, Written))
            assert isinstance(old.result, Written)
            for found in (Found(value=old.value, version=old.result.version), Found(value=UNSEEN, version=0)):
                verdict = judge_by_version([*calls[:place], replace(read, result=found), *calls[place + 1 :]])
                assert verdict.judgement is Judgement.ILLEGAL
                assert read.op_id in {one.op_id for one in verdict.calls}
                assert len(verdict.calls) <= 7
                assert by_version(list(verdict.calls)) is Judgement.ILLEGAL, "they show it by themselves"

    @pytest.mark.slow
    def test_two_writes_of_two_keys_that_change_numbers_are_found_and_shown(self) -> None:
        calls = long_run(5_000, seed=3)
        written = [p for p, one in enumerate(calls) if isinstance(one.result, Written) and one.key in ("k1", "k2")]
        one, other = next(
            (p, q)
            for p, q in pairwise(written)
            if calls[p].key != calls[q].key and calls[q].invoked > (calls[p].returned or 0)
        )
        swapped = list(calls)
        swapped[one] = replace(calls[one], result=calls[other].result)
        swapped[other] = replace(calls[other], result=calls[one].result)
        writes_only = [call for call in swapped if call.op is Op.PUT]
        verdict = judge_by_version(writes_only)
        assert verdict.judgement is Judgement.ILLEGAL
        assert {calls[one].op_id, calls[other].op_id} & {call.op_id for call in verdict.calls}
        assert by_version(list(verdict.calls)) is Judgement.ILLEGAL
