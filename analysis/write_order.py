"""Do the numbers that clients were told make one order of a whole run? A second judge, for millions of calls.

Here:   `judge_by_version`: the moments of all calls, of all keys together, from the versions in their answers.
Never:  a search (linearizability.py), what a call does to a key in full (key_model.py), files, pandas.
Reads:  told.py, owed_numbers.py.

The store numbers its writes with one counter over all keys, and a version is that number. So the order of the writes is
told and need not be searched; what is left to ask is whether reads, values and the clock agree with it. Numbers may be
missing: writes that are not in the history have them.

Positions. A call at position p takes effect after the write numbered p and before the next one; a write with number v
stands at v itself. What saw version v of a key has a position in [v, next known number of this key), what found the key
missing has one below its first number. Parts of one operation, which are calls with one `op_id`, take effect at one
moment: a read's interval is what its parts have in common, and nothing takes effect strictly inside the numbers of one
put_many. Known numbers are those of acknowledged writes and those that anybody saw or named in a condition that held.

The clock. One sweep over invocations. The floor of a call is the largest position of all that returned before it
began; a write needs a number above its floor, a read takes the smallest position that is in its interval and not below
its floor. The smallest is exact: how far a call may go up is fixed, how far down depends only on calls that returned
earlier, and a smaller position of these asks less of all that follow. If each has a position, sorting by position
(the write first, then its reads as they were invoked) is an order; a fault is one in any order.

Unknown outcomes. A put of unknown outcome that nobody saw is left out: it need not have happened, and no answer needs
it. A number that was seen and that nobody acknowledged is one of an unknown put's, with the value that was seen and a
floor below the number. Floors do not depend on who wrote what, so of several puts of one value the first numbers take
those with the lowest floors: if that fails, all else does. A put under a condition has one number it can be, and takes
it first. Unknown appends and deletes are left out too; that shows an order if there is one without them.

What is not decided. Where something that is left out, or not written down, could explain what otherwise has no place,
the key is undecided: removals (their number is not told), refusals for a type, values nobody wrote down where they
matter, put_many of unknown outcome that several numbers could be of. Its numbers and what saw them still bind all other
keys, for they hold in any order. So ILLEGAL is said only of histories without an order, OK only of those with one.

That a scan has left out no key is not judged: hand in a call for each key that it might have found.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final

from analysis.history import UNSEEN, Call, Op, Written, appends_as, fits, joined, version_seen
from analysis.linearizability import Judgement
from analysis.owed_numbers import find_owed, match_puts, place_groups
from analysis.told import NEVER, Key, NoOrder, Operation, Told

_MISSING: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderVerdict:
    """On a whole history."""

    judgement: Judgement
    """UNKNOWN: nothing is wrong as far as this judge sees, and it does not see all of `undecided_keys`."""
    fault: str
    """What is wrong with an illegal history; else empty."""
    calls: tuple[Call, ...]
    """The few that show it."""
    call_count: int
    undecided_keys: tuple[str, ...]
    """Sorted; of an illegal history those found so far."""

    def __str__(self) -> str:
        lines = [f"{self.judgement.value}, {self.call_count} calls, {len(self.undecided_keys)} keys undecided"]
        return "\n".join([*lines, *([self.fault] if self.fault else []), *map(str, self.calls)])


def judge_by_version(calls: Iterable[Call], *, begins_empty: bool = True) -> OrderVerdict:
    """The verdict on all calls of a run. `begins_empty=False`: keys may hold something from before it."""
    told = Told(begins_empty)
    fault, count = "", 0
    shown: tuple[Call, ...] = ()
    try:
        for call in calls:
            count += 1
            told.take(call)
        find_owed(told)
        place_groups(told)
        _Order(told).check()
        for key in told.keys.values():
            match_puts(told, key)
    except NoOrder as no_order:
        fault, shown = no_order.fault, no_order.calls
    undecided = tuple(sorted(told.undecided))
    judgement = Judgement.ILLEGAL if fault else Judgement.UNKNOWN if undecided else Judgement.OK
    return OrderVerdict(judgement=judgement, fault=fault, calls=shown, call_count=count, undecided_keys=undecided)


class _Order:
    """Positions of all operations, once it is known which numbers there are."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._ranges: list[tuple[int, int]] = []
        """Lowest and highest number of each put_many, sorted; they do not overlap."""

    def check(self) -> None:
        """Raises `NoOrder` at a fault."""
        self._check_ranges()
        for key in self._told.keys.values():
            self._check_values(key)
        self._check_conditions()
        self._sweep()

    def _check_ranges(self) -> None:
        """Nobody else's number stands between those of a put_many."""
        numbers = sorted(self._told.named)
        for operation in self._told.operations.values():
            if len(operation.numbers) < 2:
                continue
            own = sorted(operation.numbers)
            place = bisect_left(numbers, own[0])
            for number, found in zip(own, numbers[place : place + len(own)], strict=True):
                if number != found:
                    shown = self._told.call_of(own[0]), self._told.call_of(found), self._told.call_of(number)
                    raise NoOrder(f"number {found} stands between {own[0]} and {number} of one put_many", *shown)
            self._ranges.append((own[0], own[-1]))
        self._ranges.sort()

    # -- values and conditions ----------------------------------------------------------------------------------------

    def _check_values(self, key: Key) -> None:
        """Write by write, what is there and what reads told."""
        value: Hashable = _MISSING
        for number in key.numbers:
            writer, told = self._told.writers.get(number), key.value_told(number)
            is_append = writer is not None and writer.op is Op.APPEND
            if writer is None:
                own = self._told.claimed[number].value if number in self._told.claimed else UNSEEN
            else:
                own = self._joined(key, value, writer) if is_append else writer.value
            if not fits(own, told):
                fault = f"{key.name}: version {number} was {own!r:.80} and was read as {told!r:.80}"
                self._unless_hidden(
                    is_append, key, fault, self._told.call_of(key.previous[number]), writer, key.told[number]
                )
            elif is_append and own is UNSEEN and told is not UNSEEN:
                self._told.undecided.add(key.name)
            value = own if told is UNSEEN else told

    def _joined(self, key: Key, before: Hashable, append: Call) -> Hashable:
        """What an append left behind; UNSEEN if that is not known."""
        given = append.value
        if given is not UNSEEN and appends_as(given) is None:
            raise NoOrder(f"{key.name}: {given!r:.80} cannot be appended", append)
        if before is _MISSING:
            return given
        if before is UNSEEN and given is UNSEEN:
            if any(key.value_put(operation) is not UNSEEN for operation in key.open_puts):
                self._told.undecided.add(key.name)
        elif before is UNSEEN or given is UNSEEN:
            self._told.undecided.add(key.name)
        elif (whole := joined(before, given)) is not None:
            return whole
        else:
            self._unless_hidden(True, key, f"{key.name}: {given!r:.80} cannot be appended to {before!r:.80}", append)
        return UNSEEN

    def _unless_hidden(self, is_append: bool, key: Key, fault: str, *shown: Call | None) -> None:
        """What an append was put behind may be of a write that no answer names; then the key is undecided."""
        first = self._told.writers.get(key.numbers[0])
        was_there = not self._told.begins_empty and key.missing is None and first is not None and first.op is Op.APPEND
        is_hidden = key.is_removable or key.open_appends or len(key.open_puts) > len(key.owed) or was_there
        if not (is_append and is_hidden):
            raise NoOrder(fault, *shown)
        self._told.undecided.add(key.name)

    def _check_conditions(self) -> None:
        for number, call in self._told.writers.items():
            if call.if_version is None or call.op is not Op.PUT:
                continue
            key = self._told.keys[call.key]
            before = key.previous[number]
            if before == call.if_version:
                continue
            if call.if_version or not key.is_removable:
                fault = f"{key.name}: number {number} was written on version {call.if_version} and follows {before}"
                raise NoOrder(fault, self._told.call_of(before), call)
            self._told.undecided.add(key.name)

    # -- the clock ----------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Give each operation the smallest position it can have."""
        by_invocation = sorted(self._told.operations.values(), key=lambda operation: operation.invoked)
        by_return = sorted(by_invocation, key=lambda operation: operation.returned)
        ended, floor = 0, 0
        holder: Operation | None = None
        for operation in by_invocation:
            while by_return[ended].returned < operation.invoked:
                if by_return[ended].position > floor:
                    holder = by_return[ended]
                    floor = holder.position
                ended += 1
            operation.floor = floor
            if operation.numbers:
                operation.position = max(operation.numbers)
                if (lowest := min(operation.numbers)) <= floor:
                    raise NoOrder(
                        f"number {lowest} was given to a write that began when {floor} had been reached",
                        *self._shown(holder, floor),
                        self._told.call_of(lowest),
                    )
            elif not operation.is_open:
                self._place(operation, floor, holder)

    def _place(self, operation: Operation, floor: int, holder: Operation | None) -> None:
        start, end = 0, NEVER
        for call in operation.calls:
            low, high = self._interval(call)
            start, end = max(start, low), min(end, high)
        position = max(start, floor)
        place = bisect_right(self._ranges, (position, NEVER)) - 1
        if place >= 0 and position < self._ranges[place][1]:
            position = self._ranges[place][1]
        operation.position = position
        if position >= end:
            late = next(call for call in operation.calls if self._interval(call)[1] == end)
            early = next(call for call in operation.calls if self._interval(call)[0] == start)
            raise NoOrder(
                f"what was seen ended with write {end}, and this cannot have happened before {position}",
                *self._shown(holder, floor),
                *(self._told.call_of(number) for number in (start, position, end)),
                early,
                late,
            )
        for call in operation.calls:
            key = self._told.keys[call.key]
            if key.is_removable and version_seen(call.result) == 0 and key.numbers and position >= key.numbers[0]:
                self._told.undecided.add(key.name)

    def _interval(self, call: Call) -> tuple[int, int]:
        """From the first position to before the last at which the key had the version that was seen."""
        seen, key = version_seen(call.result), self._told.keys[call.key]
        if seen is None:
            return 0, NEVER
        if seen:
            return seen, key.next[seen]
        return 0, key.numbers[0] if key.numbers and not key.is_removable else NEVER

    def _shown(self, holder: Operation | None, floor: int) -> list[Call | None]:
        """Why a floor is where it is: who returned with this position, and whose number it is."""
        if holder is None:
            return []
        seen = max(
            holder.calls, key=lambda call: (version_seen(call.result) or 0, call.result == Written(version=floor))
        )
        return [self._told.call_of(floor), seen]
