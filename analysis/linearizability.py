"""Is there an order in which every call took effect at one moment between its invocation and its return?

Here:   the search (Wing & Gong 1993, with Lowe's memo, 2017), key by key; the verdict, with the smallest prefix of the
        history that has no such order.
Never:  what a call does (key_model.py), files, pandas.

How it searches. A call may be next if it was invoked before the first return among those that have not taken effect.
Try one, go on; at a return that cannot be passed, go back and try another. A pair (which calls took effect, state)
that was reached before is not entered again. Without recursion: histories are longer than Python's stack.

- A call whose outcome is unknown stays open to the end: it may take effect at any time after its invocation, or
  never. It is tried where nothing else fits, since most that are unknown make the search wide and decide nothing.
- Writes whose versions were told are tried in the order of their versions: a key's versions rise, so one that was
  passed over has no place any more.
- A call that fits, changes nothing and never would, given what it was told (a read, a refusal, a delete that found
  nothing), is taken at once, and nothing else is tried in its place: in any order that works without it here, it can
  be moved here.

What is judged, and what is not. A history is linearizable exactly if its projection on each key is (Herlihy & Wing),
as long as each call concerns one key. put_many, get_many and scan concern several: hand in one call per key with the
times of the whole. Each key's projection is then judged; that the parts happened at *one* moment is not, nor is the
order of versions between keys, nor that a scan has left out no key. The order of versions, and the one moment, are
judged in write_order.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, Final

from analysis.history import Call, Deleted, Found, Mismatch, Op, Outcome, Written, WrongType, by_key
from analysis.key_model import BEGINNING, RESUMED, KeyModel, State

ROWS_SHOWN: Final = 20
"""Of a failing prefix, in a text."""
CLOCK_EVERY: Final = 1024
"""Steps of a search between two looks at the clock."""


class Judgement(Enum):
    """What a search found."""

    OK = "ok"
    ILLEGAL = "illegal"
    UNKNOWN = "unknown"
    """The budget was spent first; never to be taken for OK."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """On one key."""

    key: str
    judgement: Judgement
    call_count: int
    steps: int
    """Of the search: effects tried."""
    failing: tuple[Call, ...] = ()
    """Of an illegal history: the calls up to the first return at which there is no order any more. Calls that
    return later are open in it: their results are not part of what fails."""
    is_smallest: bool = True
    """False: the budget was spent before the smallest prefix was found; `failing` fails all the same."""

    def rows(self) -> list[dict[str, Any]]:
        """The failing prefix as rows, by invocation."""
        return [call.row() for call in self.failing]

    def __str__(self) -> str:
        lines = [f"key {self.key}: {self.judgement.value}, {self.call_count} calls, {self.steps} steps"]
        if self.failing:
            lines.append(f"no order up to the last return here, last {ROWS_SHOWN} of {len(self.failing)} calls:")
            lines += map(str, self.failing[-ROWS_SHOWN:])
        return "\n".join(lines)


def judge(
    calls: Iterable[Call],
    *,
    begins_empty: bool = True,
    time_budget_s: float | None = None,
    steps_max: int | None = None,
) -> list[Verdict]:
    """The verdict on each key, by key. The budgets are per key; steps, unlike seconds, are the same on any machine.

    `begins_empty`: every key is missing at first; else nothing is known of what was there before.
    """
    judge_one = partial(judge_key, begins_empty=begins_empty, time_budget_s=time_budget_s, steps_max=steps_max)
    return [judge_one(history) for _, history in sorted(by_key(calls).items())]


def judge_key(
    calls: Sequence[Call],
    *,
    begins_empty: bool = True,
    time_budget_s: float | None = None,
    steps_max: int | None = None,
) -> Verdict:
    """The verdict on calls that all concern one key."""
    assert calls, "a history of nothing: the caller should have skipped it"
    assert len({call.key for call in calls}) == 1, "calls of several keys: use judge"
    budget = _Budget(time_budget_s, steps_max)
    relevant = _relevant(calls)
    beginning = BEGINNING if begins_empty else RESUMED
    answer = _search(relevant, beginning, budget)
    judgement = Judgement.UNKNOWN if answer is None else Judgement.OK if answer else Judgement.ILLEGAL
    steps = budget.steps
    failing: tuple[Call, ...] = ()
    is_smallest = True
    if judgement is Judgement.ILLEGAL:
        failing, is_smallest = _smallest_failing(relevant, beginning, _Budget(time_budget_s, steps_max))
    return Verdict(
        key=calls[0].key,
        judgement=judgement,
        call_count=len(calls),
        steps=steps,
        failing=failing,
        is_smallest=is_smallest,
    )


# -- the history ------------------------------------------------------------------------------------------------------


def _relevant(calls: Iterable[Call]) -> list[Call]:
    """By invocation, without those that say nothing: what did not happen, and reads without an answer."""
    return sorted(
        (
            call
            for call in calls
            if call.outcome is Outcome.OK or (call.outcome is Outcome.UNKNOWN and call.op is not Op.GET)
        ),
        key=lambda call: call.invoked,
    )


def _is_open(call: Call) -> bool:
    return call.outcome is Outcome.UNKNOWN


def _smallest_failing(calls: Sequence[Call], beginning: State, budget: _Budget) -> tuple[tuple[Call, ...], bool]:
    """The prefix that ends with the first return from which on there is no order; by halving, since a prefix of a
    history that has an order has one too."""
    returns = sorted(_return_of(call) for call in calls if not _is_open(call))
    low, high = 0, len(returns) - 1  # the prefix up to returns[high] fails
    decided = True
    while low < high:
        middle = (low + high) // 2
        answer = _search(_relevant(_prefix(calls, returns[middle])), beginning, budget)
        if answer is None:
            decided = False
            break
        if answer:
            low = middle + 1
        else:
            high = middle
    return tuple(_relevant(_prefix(calls, returns[high]))), decided


def _prefix(calls: Iterable[Call], end: int) -> list[Call]:
    """What was known at `end`: calls that return later are open, those invoked later are not there."""
    return [
        call
        if _is_open(call) or _return_of(call) <= end
        else replace(call, outcome=Outcome.UNKNOWN, returned=None, result=None)
        for call in calls
        if call.invoked <= end
    ]


def _return_of(call: Call) -> int:
    assert call.returned is not None, f"a call with an outcome and without a return: {call}"
    return call.returned


# -- the search -------------------------------------------------------------------------------------------------------


class _Budget:
    """How much may be searched."""

    def __init__(self, time_budget_s: float | None, steps_max: int | None) -> None:
        self.steps = 0
        self._steps_max = steps_max
        self._end_s = None if time_budget_s is None else time.monotonic() + time_budget_s

    def is_spent(self) -> bool:
        """To be asked once per step."""
        self.steps += 1
        if self._steps_max is not None and self.steps > self._steps_max:
            return True
        return self._end_s is not None and self.steps % CLOCK_EVERY == 0 and time.monotonic() > self._end_s


class _Events:
    """Invocations and returns of the calls with an outcome, in the order of time, as a list from which a call can be
    taken and put back in constant time. Position 0 stands before the first, and `end` behind the last."""

    def __init__(self, calls: Sequence[Call], numbers: Sequence[int]) -> None:
        moments = sorted(
            [(calls[number].invoked, 0, number) for number in numbers]
            + [(_return_of(calls[number]), 1, number) for number in numbers]
        )  # an invocation at the moment of a return comes first: they overlap
        self.end = len(moments) + 1
        self.call = [-1] * (self.end + 1)
        """By position: whose event; -1 for a return."""
        self.time = [0] * (self.end + 1)
        self.following = list(range(1, self.end + 2))
        self._before = list(range(-1, self.end + 1))
        self._invocation = [0] * len(calls)
        self._return = [0] * len(calls)
        for position, (moment, is_return, number) in enumerate(moments, start=1):
            self.time[position] = moment
            if is_return:
                self._return[number] = position
            else:
                self.call[position] = number
                self._invocation[number] = position

    def take(self, number: int) -> None:
        """The call took effect."""
        following, before = self.following, self._before
        for position in (self._invocation[number], self._return[number]):
            following[before[position]] = following[position]
            before[following[position]] = before[position]

    def put_back(self, number: int) -> int:
        """It did not; in the reverse order of `take`. Returns what follows its invocation."""
        following, before = self.following, self._before
        for position in (self._return[number], self._invocation[number]):
            following[before[position]] = position
            before[following[position]] = position
        return following[self._invocation[number]]


def _search(calls: Sequence[Call], beginning: State, budget: _Budget) -> bool | None:
    """Whether the calls have an order from this state on; None: the budget was spent."""
    model = KeyModel()
    open_calls = [number for number, call in enumerate(calls) if _is_open(call)]
    events = _Events(calls, [number for number, call in enumerate(calls) if not _is_open(call)])
    harmless = [_is_harmless(call) for call in calls]
    ranks = _ranks(calls)
    ranked = 0
    """Writes with a known version that took effect."""
    reached: set[tuple[int, int, State]] = set()
    taken: list[tuple[int, int, int, State, bool]] = []
    """(call, next open call to try in its place or -1, effects before, state before, whether nothing else fits)."""
    effects, state = 0, beginning
    position, next_open = events.following[0], -1
    while events.following[0] != events.end:
        number = -1
        if next_open < 0 and (candidate := events.call[position]) >= 0:
            number, position = candidate, events.following[position]
        else:  # at a return that cannot be passed: what is open may have happened before it
            next_open = max(next_open, 0)
            until = events.time[_first_return(events)]
            while next_open < len(open_calls) and effects >> open_calls[next_open] & 1:
                next_open += 1
            if next_open < len(open_calls) and calls[open_calls[next_open]].invoked <= until:
                number = open_calls[next_open]
                next_open += 1
        if number < 0:
            while taken:
                number, next_open, effects, state, only = taken.pop()
                ranked -= ranks[number] >= 0
                position = events.put_back(number) if next_open < 0 else events.following[0]
                if not only:
                    break
            else:
                return False
            continue
        if budget.is_spent():
            return None
        if ranks[number] not in (-1, ranked):
            continue
        after = model.step(state, calls[number])
        if after is None:
            continue
        with_it = effects | 1 << number
        only = harmless[number] and after == state
        if not only:
            done = (~with_it & (with_it + 1)).bit_length() - 1  # all calls before this one took effect
            place = (done, with_it >> done, after)
            if place in reached:
                continue
            reached.add(place)
        taken.append((number, next_open, effects, state, only))
        ranked += ranks[number] >= 0
        if next_open < 0:
            events.take(number)
        effects, state = with_it, after
        position, next_open = events.following[0], -1
    return True


def _is_harmless(call: Call) -> bool:
    """Whether it changed nothing, as it was told. (Of a delete that was not told what it found that is not known.)"""
    return call.outcome is Outcome.OK and (
        isinstance(call.result, Found | Mismatch | WrongType) or call.result == Deleted(found=False)
    )


def _ranks(calls: Sequence[Call]) -> list[int]:
    """By call: how many writes have a known version below its own; -1 for all that tell none of their own."""
    versions = {
        number: call.result.version
        for number, call in enumerate(calls)
        if call.outcome is Outcome.OK and isinstance(call.result, Written)
    }
    ranks = [-1] * len(calls)
    for rank, number in enumerate(sorted(versions, key=lambda number: versions[number])):
        ranks[number] = rank
    return ranks


def _first_return(events: _Events) -> int:
    position = events.following[0]
    while events.call[position] >= 0:
        position = events.following[position]
    return position
