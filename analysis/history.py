"""What clients asked for and what they were told: the calls of a history, one key each.

Here:   `Call`, its outcome and results; calls from the rows of a run's `ops`.
Never:  whether a history makes sense (linearizability.py), what an operation does (key_model.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, TypeAlias

from raft_actors.recording.fingerprints import Fingerprint


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

ValueClass: TypeAlias = tuple[type, Hashable]


def class_of(value: Hashable) -> ValueClass:
    """A value as it is compared: 1, 1.0 and True are three."""
    return type(value), value


def fits(one: Hashable, other: Hashable) -> bool:
    """Whether they can be the same value; one that is not seen may be any."""
    return one is UNSEEN or other is UNSEEN or class_of(one) == class_of(other)


_APPENDABLE: Final = (str, bytes, tuple)
_APPENDABLE_KINDS: Final = ("str", "bytes", "list")
"""Of fingerprints, as the store names them."""


def appends_as(value: Hashable) -> Hashable:
    """Two values can be appended to each other if they have the same here; None: to none."""
    if isinstance(value, Fingerprint):
        return value.kind if value.kind in _APPENDABLE_KINDS else None
    return type(value) if isinstance(value, _APPENDABLE) else None


def joined(value: Hashable, appended: Hashable) -> Hashable | None:
    """What an append makes of two values that are seen; None: they cannot be appended."""
    kind = appends_as(appended)
    if kind is None or appends_as(value) != kind:
        return None
    whole: Hashable = value + appended  # type: ignore[operator]
    return whole


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


def version_seen(result: Result | None) -> int | None:
    """Of the key, before the call changed it; 0: it was missing; None: nothing is known of it."""
    match result:
        case Found(version=version) | Mismatch(current=version):
            return version
        case Deleted(found=False):
            return 0
        case _:
            return None


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


def by_key(calls: Iterable[Call]) -> dict[str, list[Call]]:
    """The history of each key."""
    histories: dict[str, list[Call]] = {}
    for call in calls:
        histories.setdefault(call.key, []).append(call)
    return histories


def calls_of(rows: Iterable[Mapping[str, Any]]) -> list[Call]:
    """The calls of a run's `ops`, in the rows' order; an operation on several keys is one call for each of them, all
    with its op_id and its times.

    A row holds the fingerprints of values: enough to tell whether two are the same, and what an append makes. In runs
    of format 1 it holds none; versions are unique in a store, so they tell which write a get has seen, and not whether
    the value was right. Left out are stale reads, which promise nothing that a history could break, and operations
    whose row does not name their keys: see `unnamed_writes`.
    """
    return [call for row in rows if row.get("consistency") != "stale" for call in _calls(row)]


def unnamed_writes(rows: Iterable[Mapping[str, Any]]) -> int:
    """How many rows are of writes that may have happened to keys that they do not name; with one, reads of any key may
    see what no row tells."""
    return sum(row["op"] == _PUT_MANY and row.get("parts") is None and row["status"] != _NOT_DONE for row in rows)


_OPS: Final = frozenset(op.value for op in Op)
_PUT_MANY: Final = "put_many"
_SEVERAL: Final = {_PUT_MANY: Op.PUT, "get_many": Op.GET, "scan": Op.GET}
_NOT_DONE: Final = Outcome.NOT_DONE.value
_COMPUTED: Final = ("VersionMismatch", "TypeMismatch")
"""Refusals that the store computed from what a key holds."""


def _calls(row: Mapping[str, Any]) -> Iterator[Call]:
    """Of one row: one, several or none."""
    outcome = Outcome(row["status"])
    returned = row.get("t_return")
    call = partial(
        Call,
        op_id=str(row["op_id"]),
        client=str(row["client"]),
        invoked=int(row["t_invoke"]),
        returned=None if returned is None else int(returned),
    )
    if row.get("key") is not None and row["op"] in _OPS:
        op = Op(row["op"])
        result = _result(op, outcome, row)
        yield call(
            op=op,
            key=str(row["key"]),
            outcome=outcome if result is None else Outcome.OK,
            value=UNSEEN if op is Op.GET else _value(row.get("value")),
            if_version=_number(row.get("if_version")),
            result=result,
        )
    elif row["op"] in _SEVERAL:
        op = _SEVERAL[row["op"]]
        for key, (version, fingerprint) in (row.get("parts") or {}).items():
            value = _value(fingerprint)
            is_read = op is Op.GET
            found: Result = Found(value=value, version=version) if is_read else Written(version=version)
            yield call(
                op=op,
                key=key,
                outcome=outcome,
                value=UNSEEN if is_read else value,
                result=found if outcome is Outcome.OK else None,
            )


def _result(op: Op, outcome: Outcome, row: Mapping[str, Any]) -> Result | None:
    """What the store computed; None: nothing, or nobody heard it."""
    if outcome is Outcome.NOT_DONE and row.get("error") in _COMPUTED:
        return Mismatch(current=_number(row.get("version"))) if row["error"] == _COMPUTED[0] else WrongType()
    if outcome is not Outcome.OK:
        return None
    version = _number(row.get("version")) or 0
    match op:
        case Op.GET:
            return Found(value=_value(row.get("value")), version=version)
        case Op.DELETE:
            found = row.get("found")
            return Deleted(found=None if found is None else bool(found))
        case _:
            return Written(version=version)


def _value(fingerprint: str | None) -> Hashable:
    return UNSEEN if fingerprint is None else Fingerprint.parse(fingerprint)


def _number(number: Any) -> int | None:
    return None if number is None else int(number)
