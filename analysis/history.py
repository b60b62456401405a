"""What clients asked for and what they were told: the calls of a history, one key each.

Here:   `Call`, its outcome and results; calls from the rows of a run's `ops`.
Never:  whether a history makes sense (linearizability.py), what an operation does (key_model.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias


class Op(Enum):
    """What is asked of one key."""

    GET = "get"
    PUT = "put"
    APPEND = "append"
    DELETE = "delete"


class Outcome(Enum):
    """How a call ended."""

    OK = "ok"
    """The store computed it; a refusal by its rules (`Refused`) is computed too."""
    NOT_DONE = "not_done"
    """It did not happen and never will."""
    UNKNOWN = "unknown"
    """It takes effect once, at any time after its invocation, or never."""


class _Unseen:
    """A value that nobody wrote down."""

    def __repr__(self) -> str:
        return "?"


UNSEEN: Final = _Unseen()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a get saw."""

    value: Hashable
    """`UNSEEN` where it was not written down; of no meaning for a missing key."""
    version: int
    """0: the key is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A put or append happened."""

    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """A delete happened."""

    found: bool | None
    """Whether there was something to remove; None where it was not written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """Refused: the key had another version than `if_version`."""

    current: int | None
    """Which; 0: the key is missing. None where it was not written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongType:
    """Refused: what the key holds and what was to be appended do not go together."""


Result: TypeAlias = Found | Written | Deleted | Mismatch | WrongType


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operation on one key. Times are of one clock, in any unit."""

    op_id: str
    client: str
    op: Op
    key: str
    invoked: int
    returned: int | None
    """None: it had not ended when the history did."""
    outcome: Outcome
    value: Hashable = UNSEEN
    """Written by a put or append; str, bytes or a tuple for what can be appended to."""
    if_version: int | None = None
    result: Result | None = None
    """Of an outcome that is OK."""

    def row(self) -> dict[str, Any]:
        """For a table."""
        return {
            "op_id": self.op_id,
            "client": self.client,
            "op": self.op.value,
            "key": self.key,
            "value": None if self.value is UNSEEN else self.value,
            "if_version": self.if_version,
            "t_invoke": self.invoked,
            "t_return": self.returned,
            "status": self.outcome.value,
            "result": None if self.result is None else str(self.result),
        }

    def __str__(self) -> str:
        end = "..." if self.returned is None else str(self.returned)
        what = "" if self.value is UNSEEN else f" {self.value!r:.80}"
        condition = "" if self.if_version is None else f" if_version={self.if_version}"
        result = self.outcome.value if self.result is None else f"{self.result!r:.160}"
        return f"[{self.invoked}, {end}] {self.client} {self.op.value} {self.key}{what}{condition} -> {result}"


def calls_of(rows: Iterable[Mapping[str, Any]]) -> list[Call]:
    """The calls of a run's `ops` that concern one key, in the rows' order.

    A row holds versions and no values. Versions are unique in a store, so they tell which write a get has seen;
    whether the value was right, they do not tell. Nor does a row say whether a get was stale or a put conditional:
    leave out the stale ones. Rows of other operations (put_many, get_many, scan) name no key and are passed over, so
    what they wrote is not known here: see linearizability.py.
    """
    return [_call(row) for row in rows if row.get("key") is not None and row["op"] in _OPS]


_OPS: Final = frozenset(op.value for op in Op)


def _call(row: Mapping[str, Any]) -> Call:
    op, outcome, error = Op(row["op"]), Outcome(row["status"]), row.get("error")
    result: Result | None = None
    if outcome is Outcome.NOT_DONE and error == "VersionMismatch":
        outcome, result = Outcome.OK, Mismatch(current=None)
    elif outcome is Outcome.OK:
        version = row.get("version")
        if op is Op.GET:
            result = Found(value=UNSEEN, version=0 if version is None else int(version))
        elif op is Op.DELETE:
            result = Deleted(found=None)
        else:
            result = Written(version=int(row["version"]))
    returned = row.get("t_return")
    return Call(
        op_id=str(row["op_id"]),
        client=str(row["client"]),
        op=op,
        key=str(row["key"]),
        invoked=int(row["t_invoke"]),
        returned=None if returned is None else int(returned),
        outcome=outcome,
        result=result,
    )
