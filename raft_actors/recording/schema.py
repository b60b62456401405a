"""The one schema of a run: every frame, every column, with its type, its unit and its meaning.

Here:   `FRAMES`, and `row_fault`, which holds a row against it.
Never:  files (run_writer.py), pandas (analysis/load.py).

A row is a plain dict from column name to value. Columns that may be null may be left out. All times are int64
nanoseconds since the start of the run on its one clock (clock.py); in frames, `time` is the same moment in UTC,
computed when a run is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

Row: TypeAlias = dict[str, Any]

RUN_FORMAT: Final = 2
"""Format of a run directory. Any change to a column raises it, and analysis refuses what is newer than itself.

2: `ops` says what a judge of its history has to know (`value`, `found`, `if_version`, `consistency`, `parts`)."""

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

WRITE_OPS: Final = frozenset({"put", "append", "delete", "put_many", "submit"})
"""Operations that change the state; a gap in acknowledged writes is a gap of these."""


class Kind(Enum):
    """What a column holds; the value is the dtype of the column in a loaded frame."""

    INT = "int64"
    NULLABLE_INT = "Int64"
    FLOAT = "float64"
    FLAG = "boolean"
    TEXT = "string"
    NAME = "category"
    DETAILS = "json"
    """A dict in a row, its JSON text in a frame (dtype string): parquet would mix the keys of all rows otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a frame."""

    name: str
    kind: Kind
    unit: str
    """"" where there is none."""
    meaning: str
    required: bool = False
    values: tuple[str, ...] = ()
    """The only values a NAME column may hold; empty: any."""
    since: int = 1
    """The format of runs that has it first; in older ones it is null."""
    row_name: str = ""
    """The name in a row, where it differs from the name in the frame."""

    @property
    def key(self) -> str:
        """The column's name in a row."""
        return self.row_name or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One table of a run."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    clock: str
    """The column that `time` (UTC) is computed from when the frame is loaded."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """All columns of the loaded frame, `time` last."""
        return (*(column.name for column in self.columns), "time")


def _time(name: str, meaning: str, *, required: bool = True, row_name: str = "") -> Column:
    kind = Kind.INT if required else Kind.NULLABLE_INT
    return Column(name=name, kind=kind, unit="ns", meaning=meaning, required=required, row_name=row_name)


def _name(name: str, meaning: str, *, required: bool = False, values: tuple[str, ...] = (), since: int = 1) -> Column:
    return Column(name=name, kind=Kind.NAME, unit="", meaning=meaning, required=required, values=values, since=since)


def _count(name: str, unit: str, meaning: str, *, since: int = 1) -> Column:
    return Column(name=name, kind=Kind.NULLABLE_INT, unit=unit, meaning=meaning, since=since)


def _number(name: str, unit: str, meaning: str) -> Column:
    return Column(name=name, kind=Kind.FLOAT, unit=unit, meaning=meaning)


OPS: Final = Frame(
    name="ops",
    meaning="one row per operation of a client, from its invocation to its outcome",
    clock="t_invoke",
    columns=(
        Column(name="op_id", kind=Kind.TEXT, unit="", meaning="unique within the run", required=True),
        _name("client", "who asked", required=True),
        _name("op", "get, put, append, delete, put_many, scan, submit ...", required=True),
        _name("key", "the key, null where the operation has none or many"),
        _name("status", "how it ended", required=True, values=("ok", "not_done", "unknown")),
        _time("t_intended", "when an open loop wanted to invoke it; null in a closed loop", required=False),
        _time("t_invoke", "when the client began, before its first attempt"),
        _time("t_return", "when the client had the outcome; null if it never had one", required=False),
        _number("latency_ms", "ms", "t_return - t_invoke; computed when a row leaves it out"),
        _count("attempts", "count", "requests sent for it, retries included"),
        _name("server", "the server whose answer it was"),
        _name("leader", "the member that led when it was answered"),
        _count("term", "", "the term in which it was answered"),
        _count("version", "", "the version read or written; when refused for it, the one there is (0: none)"),
        _name("error", "name of the exception it ended with"),
        _count("value_size", "bytes", "size of the encoded value, written or read"),
        Column(
            name="value",
            kind=Kind.TEXT,
            unit="",
            meaning="fingerprint of the value, written or read (fingerprints.py)",
            since=2,
        ),
        Column(
            name="found", kind=Kind.FLAG, unit="", meaning="whether the key that was read or deleted was there", since=2
        ),
        _count("if_version", "", "the version that a conditional write asked for", since=2),
        _name("consistency", "what a read was promised", values=("linearizable", "stale"), since=2),
        Column(
            name="parts",
            kind=Kind.DETAILS,
            unit="",
            meaning="[version, fingerprint] by key, of put_many, get_many and scan; [0, null] for a missing key; null "
            "for too many keys",
            since=2,
        ),
    ),
)

RPCS: Final = Frame(
    name="rpcs",
    meaning="one row per call between peers",
    clock="t_sent",
    columns=(
        _name("method", "append_entries, request_vote, ...", required=True),
        _name("src", "the member that called", required=True),
        _name("dst", "the member that was called", required=True),
        _time("t_sent", "when it was sent"),
        _number("latency_ms", "ms", "until its reply; null without one"),
        _name("outcome", "how it ended", required=True, values=("ok", "timeout", "dropped", "unavailable")),
        _count("bytes", "bytes", "size of the request"),
        _count("entries", "count", "log entries it carried"),
        _count("term", "", "term of the request"),
    ),
)

EVENTS: Final = Frame(
    name="events",
    meaning="one row per thing that happened to a member",
    clock="t_event",
    columns=(
        _time("t_event", "when it happened", row_name="time"),
        _name("member", "whom it happened to; null: the group"),
        _name("kind", "state, role, term, leader, commit, snapshot, restart, config, error, ...", required=True),
        Column(name="details", kind=Kind.DETAILS, unit="", meaning="what else is known; kind `leader` has `term`"),
    ),
)

FAULTS: Final = Frame(
    name="faults",
    meaning="one row per fault that was injected",
    clock="t_start",
    columns=(
        Column(name="fault_id", kind=Kind.TEXT, unit="", meaning="unique within the run", required=True),
        _name("kind", "kill, pause, partition, drop, delay, ...", required=True),
        _name("target", "member, server, client or link that it was done to"),
        _time("t_start", "when it began"),
        _time("t_end", "when it ended; null: at once, or not before the run did", required=False),
        Column(name="params", kind=Kind.DETAILS, unit="", meaning="its parameters"),
    ),
)

SAMPLES: Final = Frame(
    name="samples",
    meaning="gauges, one row per second and member",
    clock="t_sample",
    columns=(
        _time("t_sample", "when it was taken", row_name="time"),
        _name("member", "whose gauges", required=True),
        _count("log_bytes", "bytes", "size of its log files"),
        _count("lag_entries", "count", "entries committed and not yet applied"),
        _count("in_flight", "count", "calls to other members that are open"),
        _count("rss_bytes", "bytes", "resident memory of its process"),
        _number("cpu_percent", "%", "of one core, since the sample before"),
        _number("longest_stall_ms", "ms", "longest stall of its owner loop since the sample before"),
    ),
)

FRAMES: Final[Mapping[str, Frame]] = {frame.name: frame for frame in (OPS, RPCS, EVENTS, FAULTS, SAMPLES)}
"""Every frame of a run by its name, which is also the stem of its file."""


def row_fault(frame: Frame, row: object) -> str | None:
    """What is wrong with a row of this frame, in a few words, or None.

    Rows arrive from other processes and from files, so they are validated and never asserted on. Each row passes here
    beside the work that is measured, hence the tables made in advance.
    """
    if type(row) is not dict:
        return f"a row is a dict, got {type(row).__name__}"
    columns = _COLUMNS[frame.name]
    required_count = 0
    for key, value in row.items():
        column = columns.get(key)
        if column is None:
            return f"unknown column {key!r:.80}"
        if value is None:
            continue
        required_count += column.required
        if not _FITS[column.kind](value) or (column.values and value not in column.values):
            return f"column {key!r} ({column.kind.value}) cannot hold {value!r:.80}"
    if required_count == _REQUIRED_COUNT[frame.name]:
        return None
    missing = next(column.key for column in frame.columns if column.required and row.get(column.key) is None)
    return f"column {missing!r} is missing"


def _is_int64(value: object) -> bool:
    return type(value) is int and INT64_MIN <= value <= INT64_MAX


def _is_number(value: object) -> bool:
    return (type(value) is float and math.isfinite(value)) or _is_int64(value)


def _is_name(value: object) -> bool:
    """Members are numbers where they happen, and names in a frame."""
    if type(value) is not str:
        return _is_int64(value)
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)  # no frame holds lone surrogates


def _is_flag(value: object) -> bool:
    return type(value) is bool


def _is_dict(value: object) -> bool:
    return type(value) is dict


_COLUMNS: Final = {name: {column.key: column for column in frame.columns} for name, frame in FRAMES.items()}
_REQUIRED_COUNT: Final = {name: sum(column.required for column in frame.columns) for name, frame in FRAMES.items()}
_FITS: Final[Mapping[Kind, Callable[[object], bool]]] = {
    Kind.INT: _is_int64,
    Kind.NULLABLE_INT: _is_int64,
    Kind.FLOAT: _is_number,
    Kind.FLAG: _is_flag,
    Kind.TEXT: _is_name,
    Kind.NAME: _is_name,
    Kind.DETAILS: _is_dict,
}
