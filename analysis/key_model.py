"""What the store does with one key, as a checker of histories sees it: no version is known but from an answer.

Here:   `KeyModel.step`: may this call, with this result, happen next, and what is there afterwards.
Never:  orders of calls (linearizability.py), the store's own code.

A version is the store's write number: unique, rising with every write of any key. Other keys' writes are not seen
here, so of a key's version only this is known: what an answer said, and that later writes have higher ones. A write
whose outcome nobody heard has a version that nobody heard; the first get that sees the write tells it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, TypeAlias

from analysis.history import (
    UNSEEN,
    Call,
    Deleted,
    Found,
    Mismatch,
    Op,
    Outcome,
    Written,
    WrongType,
    appends_as,
    class_of,
    joined,
)

State: TypeAlias = tuple[int, int, int]
"""(value's number, its version or `UNHEARD`, the lowest number that the newest write of this key can have had)."""

MISSING: Final = 0
"""The value's number of a key that is not there; its version is 0."""
ANYTHING: Final = 1
"""The value's number of a key of which nothing is known yet: it may be missing, too."""
UNHEARD: Final = -1
BEGINNING: Final[State] = (MISSING, 0, 0)
"""Of a store that was made with the history."""
RESUMED: Final[State] = (ANYTHING, UNHEARD, 0)
"""Of a store that was there before it."""


class KeyModel:
    """One key. Values are numbered, so that states are small and a long value is joined once."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._values: list[Hashable] = [None, UNSEEN]
        self._joined: dict[tuple[int, str], int] = {}

    def step(self, state: State, call: Call) -> State | None:
        """What is there after `call` took effect; None: it cannot have happened here, or had no effect that shows.

        The latter is for calls whose outcome is unknown: they need not happen at all.
        """
        match call.op:
            case Op.GET:
                return self._get(state, call.result) if isinstance(call.result, Found) else None
            case Op.DELETE:
                return self._delete(state, call)
            case _:
                return self._write(state, call)

    # -- by operation -------------------------------------------------------------------------------------------------

    def _get(self, state: State, found: Found) -> State | None:
        number = state[0]
        if number == MISSING or found.version == 0:
            return self._told(state, 0) if found.version == 0 else None
        if number == ANYTHING and found.value is not UNSEEN:
            state = (self._number_of(found.value), *state[1:])
        value = self._values[number]
        if found.value is not UNSEEN and value is not UNSEEN and self._number_of(found.value) != number:
            return None
        return self._told(state, found.version)

    def _write(self, state: State, call: Call) -> State | None:
        result = call.result
        if isinstance(result, Mismatch):
            return self._mismatch(state, call, result)
        if isinstance(result, WrongType):
            return self._wrong_type(state, call)
        if call.op is Op.APPEND:
            number = self._append(state[0], call)
        else:
            told = self._condition(state, call.if_version)
            if told is None:
                return None
            state = told
            number = self._number_of(call.value) if call.value is not UNSEEN else self._unseen((0, call.op_id))
        lowest = state[2]
        if number is None:
            return None
        if not isinstance(result, Written):
            return number, UNHEARD, lowest + 1
        return (number, result.version, result.version) if result.version > lowest else None

    def _append(self, before: int, call: Call) -> int | None:
        """The number of the value that is there afterwards; None: they do not go together."""
        if call.value is not UNSEEN and appends_as(call.value) is None:
            return None
        stored = self._values[before]
        if before == MISSING:
            return self._number_of(call.value) if call.value is not UNSEEN else self._unseen((0, call.op_id))
        if stored is UNSEEN or call.value is UNSEEN:
            return self._unseen((before, call.op_id))
        number = self._joined.get((before, call.op_id))
        if number is None:
            value = joined(stored, call.value)
            if value is None:
                return None
            number = self._joined[before, call.op_id] = self._number_of(value)
        return number

    def _delete(self, state: State, call: Call) -> State | None:
        result = call.result
        if isinstance(result, Mismatch):
            return self._mismatch(state, call, result)
        told = self._condition(state, call.if_version)
        if told is None:
            return None
        found = result.found if isinstance(result, Deleted) else None
        if told[0] == ANYTHING and found is False:
            return self._told(told, 0)
        number, _, lowest = told
        if number == ANYTHING:  # it was there, so somebody wrote it; or who knows
            return MISSING, 0, max(lowest, 1) + 1 if found else lowest
        if number == MISSING:
            return told if call.outcome is Outcome.OK and not found else None
        return (MISSING, 0, lowest + 1) if found is not False else None

    # -- versions and types -------------------------------------------------------------------------------------------

    def _told(self, state: State, version: int) -> State | None:
        """The state, if its version can be this one."""
        number, known, lowest = state
        if known == version:
            return state
        if version == 0:
            return BEGINNING if number == ANYTHING and known == UNHEARD else None
        return (number, version, version) if known == UNHEARD and version >= lowest else None

    def _condition(self, state: State, if_version: int | None) -> State | None:
        return state if if_version is None else self._told(state, if_version)

    def _mismatch(self, state: State, call: Call, result: Mismatch) -> State | None:
        if result.current is not None:
            refuses = call.if_version not in (None, result.current)
            return self._told(state, result.current) if refuses else None
        differs = state[1] == UNHEARD or state[1] != call.if_version
        return state if differs else None

    def _wrong_type(self, state: State, call: Call) -> State | None:
        stored = self._values[state[0]]
        if call.value is UNSEEN or stored is UNSEEN:
            return state
        kind = appends_as(call.value)
        return None if kind is not None and (state[0] == MISSING or appends_as(stored) == kind) else state

    # -- values -------------------------------------------------------------------------------------------------------

    def _number_of(self, value: Hashable) -> int:
        """Of a value."""
        named = class_of(value)
        number = self._numbers.get(named)
        if number is None:
            number = self._numbers[named] = len(self._values)
            self._values.append(value)
        return number

    def _unseen(self, origin: tuple[int, str]) -> int:
        """Of the value that a call made of another one, where nobody wrote down what it was."""
        named = (UNSEEN, origin)
        number = self._numbers.get(named)
        if number is None:
            number = self._numbers[named] = len(self._values)
            self._values.append(UNSEEN)
        return number
