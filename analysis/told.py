"""What the answers of a whole history say, put in order: of each key, of each operation, of each number.

Here:   `Told`: who wrote which number, who saw it, who found a key missing; what contradicts by itself.
Never:  the clock and values (write_order.py), whose the numbers are that nobody acknowledged (owed_numbers.py).
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import pairwise
from typing import Final

from analysis.history import UNSEEN, Call, Deleted, Found, Mismatch, Op, Outcome, Written, WrongType, fits

NEVER: Final = 1 << 64
"""Above every number."""


class NoOrder(Exception):
    """No order has a place for these calls. `judge_by_version` makes it a verdict."""

    def __init__(self, fault: str, *calls: Call | None) -> None:
        super().__init__(fault)
        self.fault = fault
        self.calls = tuple({id(call): call for call in calls if call is not None}.values())


class Operation:
    """Calls with one `op_id`: one moment."""

    __slots__ = ("calls", "floor", "invoked", "is_open", "numbers", "position", "returned")

    def __init__(self, call: Call) -> None:
        self.calls = [call]
        self.invoked = call.invoked
        self.is_open = call.outcome is Outcome.UNKNOWN
        assert self.is_open or call.returned is not None, f"a call with an outcome and without a return: {call}"
        self.returned = NEVER if self.is_open or call.returned is None else call.returned
        assert self.invoked <= self.returned, f"a call that returned before it began: {call}"
        self.numbers: list[int] = []
        """Of its writes, as far as they are known."""
        self.position = 0
        self.floor = 0

    def add(self, call: Call) -> None:
        first = self.calls[0]
        assert (call.invoked, call.outcome) == (first.invoked, first.outcome), f"parts that differ: {first}, {call}"
        assert isinstance(call.result, Written) == isinstance(first.result, Written), f"parts: {first}, {call}"
        self.calls.append(call)


class Key:
    """What the history tells of one key."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.named: dict[int, Call] = {}
        """By known number: who said it."""
        self.numbers: list[int] = []
        """The same, sorted."""
        self.next: dict[int, int] = {}
        self.previous: dict[int, int] = {}
        """0: there is none."""
        self.told: dict[int, Call] = {}
        """By number: a get that told a value."""
        self.missing: Call | None = None
        """One that found the key missing."""
        self.before = 0
        """The version from before the run; 0: none is known."""
        self.is_removable = False
        """A delete may have removed something."""
        self.is_shared = False
        """A part of a put_many of unknown outcome may have been seen."""
        self.open_puts: list[Operation] = []
        self.open_appends = 0
        self.owed: list[int] = []
        """Numbers that were seen, of writes of this run that nobody acknowledged; rising."""

    def sort(self) -> None:
        self.numbers = sorted(self.named)
        self.next = dict(pairwise([*self.numbers, NEVER]))
        self.previous = {number: before for before, number in pairwise([0, *self.numbers])}

    def value_told(self, number: int) -> Hashable:
        call = self.told.get(number)
        return call.result.value if call is not None and isinstance(call.result, Found) else UNSEEN

    def value_put(self, operation: Operation) -> Hashable:
        return next(call.value for call in operation.calls if call.key == self.name)


class Told:
    """All calls of a history. What contradicts by itself raises `NoOrder`."""

    def __init__(self, begins_empty: bool) -> None:
        self.begins_empty = begins_empty
        self.keys: dict[str, Key] = {}
        self.operations: dict[str, Operation] = {}
        self.writers: dict[int, Call] = {}
        """By number: the acknowledged write."""
        self.named: dict[int, Call] = {}
        """By known number: who said it first."""
        self.claimed: dict[int, Call] = {}
        """By number: the part of a put_many of unknown outcome, which happened."""
        self.undecided: set[str] = set()
        """Keys."""

    def take(self, call: Call) -> None:
        """One more call, in any order."""
        if call.outcome is Outcome.NOT_DONE or (call.outcome is Outcome.UNKNOWN and call.op is Op.GET):
            return
        key = self.keys.get(call.key)
        if key is None:
            key = self.keys[call.key] = Key(call.key)
        if call.outcome is Outcome.UNKNOWN and call.op is not Op.PUT:
            key.is_removable |= call.op is Op.DELETE
            key.open_appends += call.op is Op.APPEND
            return
        operation = self.operations.get(call.op_id)
        if operation is None:
            operation = self.operations[call.op_id] = Operation(call)
        else:
            operation.add(call)
        if operation.is_open:
            key.open_puts.append(operation)
        else:
            self._take_answer(key, call, operation)

    def _take_answer(self, key: Key, call: Call, operation: Operation) -> None:
        match call.op, call.result:
            case ((Op.PUT | Op.APPEND), Written(version=number)):
                if number in self.writers:
                    raise NoOrder(f"two writes have the number {number}", self.writers[number], call)
                self.writers[number] = call
                operation.numbers.append(number)
                self._name(key, number, call)
                if call.op is Op.PUT and call.if_version is not None:
                    self._see(key, call.if_version, call)
            case Op.GET, Found(version=number, value=value):
                self._see(key, number, call)
                if number and value is not UNSEEN:
                    other = key.told.setdefault(number, call)
                    if not fits(value, key.value_told(number)):
                        raise NoOrder(f"{key.name}: version {number} had two values", other, call)
            case Op.DELETE, Deleted(found=False):
                if call.if_version:
                    raise NoOrder(f"{key.name}: under its condition there is something to delete", call)
                self._see(key, 0, call)
            case Op.DELETE, Deleted():
                key.is_removable = True
                self.undecided.add(key.name)
            case ((Op.PUT | Op.APPEND | Op.DELETE), Mismatch(current=None)):
                if call.if_version is not None:  # else any version is another one
                    self.undecided.add(key.name)
            case ((Op.PUT | Op.APPEND | Op.DELETE), Mismatch(current=int(number))):
                if call.if_version in (None, number):
                    raise NoOrder(f"{key.name}: refused though the condition held", call)
                self._see(key, number, call)
            case ((Op.PUT | Op.APPEND), WrongType()):
                self.undecided.add(key.name)
            case _:
                raise NoOrder(f"{key.name}: an answer that belongs to another operation", call)

    def _see(self, key: Key, number: int, call: Call) -> None:
        """The key had this version; 0: it was missing."""
        if number:
            self._name(key, number, call)
        elif key.missing is None:
            key.missing = call

    def _name(self, key: Key, number: int, call: Call) -> None:
        if number < 1:
            raise NoOrder(f"{key.name}: the first write has number 1, and this is {number}", call)
        key.named.setdefault(number, call)
        other = self.named.setdefault(number, call)
        if other.key != key.name:
            raise NoOrder(f"number {number} is of a write of {key.name} and of one of {other.key}", other, call)

    def call_of(self, number: int) -> Call | None:
        """Who wrote it, or else who saw it."""
        return self.writers.get(number) or self.claimed.get(number) or self.named.get(number)
