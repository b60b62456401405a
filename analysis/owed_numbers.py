"""Whose are the numbers that were seen and that nobody acknowledged? A put's of unknown outcome, or there is no order.

Here:   which numbers are owed; put_many of unknown outcome that happened; each owed number matched to a put of its own.
Never:  why this is exact (write_order.py says it), values that appends made.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable
from typing import Final

from analysis.history import UNSEEN, class_of, fits
from analysis.told import NEVER, Key, NoOrder, Operation, Told

_UNSEEN_CLASS: Final = class_of(UNSEEN)


def find_owed(told: Told) -> None:
    """Numbers nobody acknowledged are owed by puts of unknown outcome, but for those from before the run.

    A key has one version from before at most, its first, and every number of the run is above all of these. Who
    takes as many as possible to be from before asks the least of the others.
    """
    ceiling = min(told.writers, default=NEVER)
    maybe_before: list[Key] = []
    for key in told.keys.values():
        key.sort()
        key.owed = [number for number in key.numbers if number not in told.writers]
        if told.begins_empty or not key.owed:
            continue
        if key.owed[0] == key.numbers[0] and (key.missing is None or key.is_removable):
            maybe_before.append(key)
            ceiling = min([ceiling, *key.owed[1:2]])
        else:
            ceiling = min(ceiling, key.owed[0])
    for key in maybe_before:
        if key.owed[0] < ceiling:
            key.before = key.owed.pop(0)
            if key.missing is not None:
                told.undecided.add(key.name)


def place_groups(told: Told) -> None:
    """put_many of unknown outcome: none of it seen, or all of it happened, or undecided.

    It happened if a number that is owed can only be its own. Parts that nobody saw then have numbers beside that.
    """
    views: dict[str, _OwedView] = {}
    happened: list[Operation] = []
    for operation in told.operations.values():
        if not operation.is_open or len(operation.calls) == 1:
            continue
        owed: list[list[int]] = []
        is_sure = True
        for call in operation.calls:
            key = told.keys[call.key]
            view = views.get(call.key) or views.setdefault(call.key, _OwedView(key))
            owed.append(numbers := view.numbers(call.value))
            is_sure &= len(numbers) < 2 and all(not key.open_appends and view.puts(number) == 1 for number in numbers)
            is_sure &= bool(numbers) or not (key.before and fits(call.value, key.value_told(key.before)))
        if not any(owed):
            continue
        for call, numbers in zip(operation.calls, owed, strict=True):
            if is_sure:
                operation.numbers += numbers
                told.claimed.update((number, call) for number in numbers)
            else:
                told.undecided.add(call.key)
                told.keys[call.key].is_shared |= bool(numbers)
        if is_sure:
            happened.append(operation)
    _number_unseen_parts(told, happened)
    for name in views:
        key = told.keys[name]
        key.owed = [number for number in key.owed if number not in told.claimed]
        key.open_puts = [operation for operation in key.open_puts if not operation.numbers]
        key.sort()


def _number_unseen_parts(told: Told, happened: list[Operation]) -> None:
    """Any free numbers beside the known ones will do; those further down first, which leaves most to the next."""
    known = sorted(told.named)
    for operation in sorted(happened, key=lambda operation: min(operation.numbers)):
        lowest, highest = min(operation.numbers), max(operation.numbers)
        place, behind = bisect_left(known, lowest), bisect_right(known, highest)
        around = (
            range(lowest, highest),
            range(known[place - 1] + 1 if place else 1, lowest),
            range(highest + 1, known[behind] if behind < len(known) else NEVER),
        )
        free = (number for numbers in around for number in numbers if number not in told.named)
        seen = {told.claimed[number].key for number in operation.numbers}
        for call in operation.calls:
            if call.key in seen:
                continue
            number = next(free, None)
            if number is None:
                fault = f"{call.key}: a put_many was seen as {lowest}, and beside it no number is left for this part"
                raise NoOrder(fault, told.call_of(lowest), call)
            operation.numbers.append(number)
            told.claimed[number] = told.named[number] = told.keys[call.key].named[number] = call


def match_puts(told: Told, key: Key) -> None:
    """Each number that is owed to a put of its own, or a fault, or the key is undecided."""
    puts = [operation for operation in key.open_puts if len(operation.calls) == 1]
    values = [key.value_told(number) for number in key.owed]
    any_told = any(value is not UNSEEN for value in values)
    all_told = all(value is not UNSEEN for value in values)
    any_put = any(put.calls[0].value is not UNSEEN for put in puts)
    all_put = all(put.calls[0].value is not UNSEEN for put in puts)
    by_value = any_told and any_put
    is_exact = (all_told and all_put) or not by_value
    free: dict[object, list[Operation]] = defaultdict(list)
    conditional: dict[int, list[Operation]] = defaultdict(list)
    for put in sorted(puts, key=lambda put: put.floor, reverse=True):
        condition = put.calls[0].if_version
        if condition is None:
            free[class_of(put.calls[0].value) if by_value else None].append(put)
        else:
            conditional[condition].append(put)
    could_be_other = (
        not is_exact
        or key.is_removable
        or key.is_shared
        or key.open_appends
        or any(condition and condition not in key.named for condition in conditional)
    )
    for number, value in zip(key.owed, values, strict=True):
        there = conditional.get(key.previous[number], ())
        if any(put.floor < number and fits(put.calls[0].value, value) for put in there):
            continue
        rest = free.get(class_of(value) if by_value else None, [])
        if rest and rest[-1].floor < number:
            rest.pop()
        elif could_be_other:
            told.undecided.add(key.name)
            return
        else:
            late = [put.calls[0] for put in rest[-1:]]
            raise NoOrder(f"{key.name}: nobody can have written version {number}", key.named[number], *late)


class _OwedView:
    """Of one key: which owed numbers and which puts of unknown outcome go together by value."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._numbers: dict[object, list[int]] = defaultdict(list)
        for number in key.owed:
            self._numbers[class_of(key.value_told(number))].append(number)
        self._puts = Counter(class_of(key.value_put(operation)) for operation in key.open_puts)

    def numbers(self, value: Hashable) -> list[int]:
        """Which a put of this value may have; only the first two matter."""
        if value is UNSEEN:
            return self._key.owed[:2]
        return self._numbers.get(class_of(value), [])[:2] + self._numbers.get(_UNSEEN_CLASS, [])[:2]

    def puts(self, number: int) -> int:
        """How many may have this number."""
        value = self._key.value_told(number)
        return len(self._key.open_puts) if value is UNSEEN else self._puts[class_of(value)] + self._puts[_UNSEEN_CLASS]
