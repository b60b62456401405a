"""What is known of one key: random small histories, judged twice, by the judge and by an oracle that tries all orders.

Here:   calls made by hand; the oracle, a store that is told nothing and tries everything; random histories; judges with
        a fault, which the oracle must find.
Never:  which histories are legal, by name, and how the search goes about it (test_linearizability.py).

A random history is a legal run in which one thing or two may then be changed. That need not make it illegal: the oracle
says what it is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import linearizability
from analysis.history import UNSEEN, Call, Deleted, Found, Mismatch, Op, Outcome, Result, Written, WrongType
from analysis.key_model import UNHEARD, KeyModel
from analysis.linearizability import Judgement, judge

History: TypeAlias = list[Call]
OK, UNKNOWN, NOT_DONE = Outcome.OK, Outcome.UNKNOWN, Outcome.NOT_DONE
_ranks, _relevant, _number_of = linearizability._ranks, linearizability._relevant, KeyModel._number_of


# -- calls -------------------------------------------------------------------------------------------------------------


def call(op: Op, invoked: int, returned: int | None, result: Result | None, **more: Any) -> Call:
    outcome = UNKNOWN if result is None else OK
    named = {"op_id": "", "client": "c", "key": "k", "outcome": outcome, **more}
    return Call(op=op, invoked=invoked, returned=returned, result=result, **named)


def put(invoked: int, returned: int | None, value: Hashable, version: int | None = None, **more: Any) -> Call:
    """Without a version its outcome is unknown."""
    result = None if version is None else Written(version=version)
    return call(Op.PUT, invoked, returned, more.pop("result", result), value=value, **more)


def append(invoked: int, returned: int | None, value: Hashable, version: int | None = None, **more: Any) -> Call:
    return replace(put(invoked, returned, value, version, **more), op=Op.APPEND)


def get(invoked: int, returned: int, value: Hashable = UNSEEN, version: int = 0) -> Call:
    """Without a version it found nothing."""
    return call(Op.GET, invoked, returned, Found(value=value, version=version))


def delete(invoked: int, returned: int, found: bool | None = None, **more: Any) -> Call:
    """Without `found` its outcome is unknown."""
    result = None if found is None else Deleted(found=found)
    return call(Op.DELETE, invoked, returned, more.pop("result", result), **more)


def history(*calls: Call) -> History:
    return [replace(call, op_id=str(number)) for number, call in enumerate(calls)]


def judgement(calls: History, **options: Any) -> Judgement:
    (verdict,) = judge(calls, **options)
    return verdict.judgement


# -- the oracle --------------------------------------------------------------------------------------------------------

Store: TypeAlias = tuple[Hashable, int, int]
"""Value, its version (0: missing), the number of the newest write of this key."""


def has_an_order(calls: History, *, begins_empty: bool = True) -> bool:
    """Try all orders that respect time, all versions that nobody heard, and to leave out what may not have happened."""
    counted = [call for call in calls if call.outcome is not NOT_DONE]
    named = [getattr(call.result, "version", None) or getattr(call.result, "current", None) or 0 for call in counted]
    top = max(named + [call.if_version or 0 for call in counted], default=0) + len(counted) + (not begins_empty)

    @cache
    def fits(left: frozenset[int], store: Store) -> bool:
        due = [counted[number] for number in left if counted[number].outcome is OK]
        if not due:
            return True
        return any(
            fits(left - {number}, after)
            for number in left
            if all(counted[number].invoked <= (call.returned or 0) for call in due)
            for result, after in effects(store, counted[number], top)
            if counted[number].outcome is UNKNOWN or agrees(counted[number].result, result)
        )

    seen = {call.result.value for call in counted if isinstance(call.result, Found)} - {UNSEEN}
    before: list[Store] = [(None, 0, 0)]
    if not begins_empty:
        before += [(value, number, number) for value in (*seen, "other") for number in range(1, top + 1)]
    return any(fits(frozenset(range(len(counted))), store) for store in before)


def effects(store: Store, call: Call, top: int) -> Iterator[tuple[Result, Store]]:
    """What a store may do; its write numbers rise with the writes of other keys too."""
    value, version, newest = store
    numbers = range(newest + 1, top + 1)
    if call.op is Op.GET:
        yield Found(value=value, version=version), store
    elif call.if_version is not None and call.if_version != version:
        yield Mismatch(current=version), store
    elif call.op is Op.PUT:
        yield from ((Written(version=number), (call.value, number, number)) for number in numbers)
    elif call.op is Op.DELETE and version == 0:
        yield Deleted(found=False), store
    elif call.op is Op.DELETE:
        yield from ((Deleted(found=True), (None, 0, number)) for number in numbers)
    elif not isinstance(call.value, str) and call.value is not UNSEEN:
        yield WrongType(), store
    elif version == 0:
        yield from ((Written(version=number), (call.value, number, number)) for number in numbers)
    elif value is UNSEEN or call.value is UNSEEN:
        yield from ((Written(version=number), (UNSEEN, number, number)) for number in numbers)
    elif not isinstance(value, str):
        yield WrongType(), store
    else:
        yield from ((Written(version=number), (value + str(call.value), number, number)) for number in numbers)


def agrees(told: Result | None, computed: Result) -> bool:
    """Whether a caller was told this, as far as it was written down."""
    match told, computed:
        case Found(version=0), Found(version=0):
            return True
        case Found(value=value, version=version), Found(value=other):
            same = value == other and type(value) is type(other)
            return version == computed.version and (same or UNSEEN in (value, other))
        case Deleted(found=None), Deleted():
            return True
        case Mismatch(current=None), Mismatch():
            return True
        case _:
            return told == computed


# -- random histories --------------------------------------------------------------------------------------------------

VALUES: Final = ("a", "b", "a", "b", 1)
RANDOM_COUNT: Final = 10_000
"""Of judge and oracle; a judge with a fault is found out sooner."""
FAULTY_COUNT: Final = 1_500


def any_history(dice: random.Random) -> History:
    """A run of a store, most calls overlapping some others; perhaps changed; perhaps without values."""
    store: Store = (None, 0, 0)
    calls: History = []
    widest = dice.choice((10, 60))
    for number in range(dice.randint(2, 6)):
        op = dice.choice((Op.PUT, Op.PUT, Op.APPEND, Op.APPEND, Op.GET, Op.GET, Op.DELETE))
        value = dice.choice(VALUES) if op in (Op.PUT, Op.APPEND) else UNSEEN
        made = call(op, 0, 0, None, value=value, outcome=dice.choice((OK, OK, OK, OK, UNKNOWN, NOT_DONE)))
        if op in (Op.PUT, Op.DELETE) and dice.randrange(4) == 0:
            made = replace(made, if_version=dice.choice((store[1], 0, store[2])))
        happened = made.outcome is OK or (made.outcome is UNKNOWN and dice.randrange(2) == 0)
        if happened:
            store = (*store[:2], store[2] + dice.choice((0, 0, 1)))  # a write of another key
            result, store = next(effects(store, made, store[2] + 1))
            made = replace(made, result=result if made.outcome is OK else None)
        calls.append(with_times(made, 10 * number, widest, dice))
    for _ in range(dice.choice((0, 1, 2))):
        change_one(calls, dice)
    dice.shuffle(calls)
    calls = history(*calls)
    return calls if dice.randrange(4) else [without_values(call) for call in calls]


def with_times(call: Call, at: int, widest: int, dice: random.Random) -> Call:
    invoked, returned = at - dice.randrange(0, widest, 5), at + dice.randrange(0, widest, 5)
    return replace(call, invoked=invoked, returned=None if call.outcome is UNKNOWN and at % 20 else returned)


def change_one(calls: History, dice: random.Random) -> None:
    """One answer, one time, or the answers of two."""
    number, other = dice.randrange(len(calls)), dice.randrange(len(calls))
    one, result = calls[number], calls[number].result
    if dice.randrange(4) == 0 or result is None:
        calls[number] = with_times(one, dice.randrange(0, 60, 5), 10, dice)
    elif calls[other].op is one.op and calls[other].outcome is OK and other != number:
        calls[number], calls[other] = replace(one, result=calls[other].result), replace(calls[other], result=result)
    elif isinstance(result, Found) and dice.randrange(2) == 0:
        calls[number] = replace(one, result=replace(result, value=dice.choice(("a", "b", "ab", "ba", 1))))
    elif isinstance(result, Deleted):
        calls[number] = replace(one, result=Deleted(found=not result.found))
    elif one.op is Op.APPEND and dice.randrange(3) == 0:
        calls[number] = replace(one, result=WrongType())
    elif isinstance(result, Written | Found):
        calls[number] = replace(one, result=replace(result, version=max(0, result.version + dice.choice((-2, -1, 1)))))
    elif one.if_version is not None:
        calls[number] = replace(one, result=Mismatch(current=dice.randrange(4)))


def without_values(call: Call) -> Call:
    """As it comes from a run's rows: versions without values, and no condition that was refused."""
    match call.result:
        case WrongType():
            return replace(call, value=UNSEEN, outcome=NOT_DONE, result=None)
        case Mismatch():
            return replace(call, value=UNSEEN, if_version=None, outcome=NOT_DONE, result=None)
        case Found() as found:
            return replace(call, result=replace(found, value=UNSEEN))
        case Deleted():
            return replace(call, result=Deleted(found=None))
        case _:
            return replace(call, value=UNSEEN)


def takes_effect_against_invocation(calls: History) -> bool:
    """Two writes whose versions are known, and the one invoked later was first."""
    writes = [(call.invoked, call.result.version) for call in calls if isinstance(call.result, Written)]
    return any(one[0] < other[0] and one[1] > other[1] for one in writes for other in writes)


def judge_and_oracle_differ(calls: History, *, begins_empty: bool = True) -> bool:
    found = judgement(calls, begins_empty=begins_empty)
    assert found is not Judgement.UNKNOWN
    return (found is Judgement.OK) != has_an_order(calls, begins_empty=begins_empty)


FAULTS: Final[dict[str, tuple[str, Callable[..., object]]]] = {
    "writes are tried against their versions": ("_ranks", lambda calls: _ranks(calls)[::-1]),
    "what is unknown never happened": ("_relevant", lambda calls: [c for c in _relevant(calls) if c.result]),
    "a call ends before one that begins at that moment": (
        "_return_of",
        lambda call: call.returned - 1 if call.returned > call.invoked else call.returned,
    ),
    "any version will do": ("KeyModel._told", lambda model, state, version: state),
    "a version that nobody heard is never heard": (
        "KeyModel._told",
        lambda model, state, version: state if UNHEARD in state or version == state[1] else None,
    ),
    "conditions are not looked at": ("KeyModel._condition", lambda model, state, if_version: state),
    "all values are one": ("KeyModel._number_of", lambda model, value: _number_of(model, "any")),
    "refused for another version, whatever there is": (
        "KeyModel._mismatch",
        lambda model, state, call, result: state,
    ),
    "refused for another type, whatever there is": ("KeyModel._wrong_type", lambda model, state, call: state),
}


class TestAgainstTheOracle:
    @pytest.mark.slow
    @settings(max_examples=300)
    @given(st.randoms(use_true_random=False))
    def test_judge_and_oracle_agree(self, dice: random.Random) -> None:
        assert not judge_and_oracle_differ(any_history(dice))

    @pytest.mark.slow
    def test_they_agree_on_many_more(self) -> None:
        legal, illegal, reordered = 0, 0, 0
        for seed in range(RANDOM_COUNT):
            calls = any_history(random.Random(seed))
            assert not judge_and_oracle_differ(calls), "\n".join(map(str, calls))
            is_legal = has_an_order(calls)
            legal, illegal = legal + is_legal, illegal + (not is_legal)
            reordered += is_legal and takes_effect_against_invocation(calls)
        assert min(legal, illegal) > RANDOM_COUNT // 5
        assert reordered > RANDOM_COUNT // 30, "the order of versions decides, not that of invocations"

    @pytest.mark.slow
    def test_they_agree_on_stores_that_were_there_before(self) -> None:
        """Some of the first calls are not in the history. Of a value from before only equality is looked at, so what
        was appended to it and what was refused by it are left out."""
        told = {True: 0, False: 0}
        for seed in range(FAULTY_COUNT):
            dice = random.Random(seed)
            calls = sorted(any_history(dice), key=lambda call: call.invoked)[dice.randrange(3) :]
            calls = history(*(c for c in calls if c.op is not Op.APPEND and not isinstance(c.result, WrongType)))
            if calls:
                assert not judge_and_oracle_differ(calls, begins_empty=False), "\n".join(map(str, calls))
                told[has_an_order(calls, begins_empty=False)] += 1
        assert min(told.values()) > FAULTY_COUNT // 10

    @pytest.mark.slow
    @pytest.mark.parametrize("why", FAULTS)
    def test_a_judge_with_a_fault_differs_from_the_oracle(self, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
        place, fault = FAULTS[why]
        monkeypatch.setattr(f"analysis.linearizability.{place}", fault)
        assert any(judge_and_oracle_differ(any_history(random.Random(seed))) for seed in range(FAULTY_COUNT))
