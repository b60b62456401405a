"""A run's directory becomes five checked frames.

Here:   `load_run`, `close_run` (JSON lines become parquet), and how rows become a frame of the schema's types.
Never:  what the numbers say (latency.py, availability.py); how a run is written (raft_actors/recording).

Reads whatever is there: parquet where a frame was converted, JSON lines otherwise. A run that was cut off loads as far
as it goes and says so in its `meta`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from raft_actors.recording import (
    FRAMES,
    RUN_FORMAT,
    Column,
    Frame,
    Kind,
    NewerRunFormat,
    NotARun,
    Row,
    RunDamaged,
    RunError,
    RunNotClosed,
    row_fault,
)

META_FILE: Final = "meta.json"
META_TYPES: Final = (
    ("utc_start_ns", int, True),
    ("closed", bool, True),
    ("t_end", int, False),
    ("rows", dict, False),
    ("dropped", dict, False),
    ("malformed", dict, False),
)
"""What of meta.json is computed with: name, type, and whether it is there from the start of the run."""
UTC_NS: Final = "datetime64[ns, UTC]"
HAS_PARQUET: Final = importlib.util.find_spec("pyarrow") is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: its frames, with the columns and dtypes of the schema, empty ones included, and what is known of it."""

    path: Path
    ops: pd.DataFrame
    rpcs: pd.DataFrame
    events: pd.DataFrame
    faults: pd.DataFrame
    samples: pd.DataFrame
    meta: dict[str, Any]
    """meta.json, and `complete` (closed, and every row written is here), `lines_unreadable` (by frame)."""

    @property
    def toothless(self) -> list[str]:
        """Ids of faults that certainly did nothing: a run with one of them shows nothing, it is void."""
        bit = detail(self.faults, "bit", column="params")
        return [str(fault_id) for fault_id, each in zip(self.faults["fault_id"], bit, strict=True) if each is False]


def load_run(path: str | Path) -> Run:
    """Read the run in this directory.

    Raises `NotARun` when there is none, `NewerRunFormat`, and `RunDamaged` (file, line or column) when a file is not
    what the schema says. A torn line is no damage: it is left out and counted.
    """
    directory = Path(path)
    meta = _read_meta(directory)
    frames: dict[str, pd.DataFrame] = {}
    unreadable: dict[str, int] = {}
    for name, frame in FRAMES.items():
        frames[name], unreadable_count = _load_frame(directory, frame, meta)
        if unreadable_count:
            unreadable[name] = unreadable_count
    written = meta.get("rows", {})
    complete = meta["closed"] and not unreadable and all(len(frames[name]) == written.get(name, 0) for name in FRAMES)
    return Run(path=directory, meta=meta | {"complete": complete, "lines_unreadable": unreadable}, **frames)


def close_run(path: str | Path) -> bool:
    """Convert the JSON lines of a closed run to parquet; True when all its frames are parquet now.

    False when pyarrow is missing, or for a frame with lines that cannot be read: they stay, and load as before. May be
    called again. Raises `RunNotClosed` for a run without a closing meta (its writer may still be at work), and whatever
    `load_run` raises.
    """
    directory = Path(path)
    meta = _read_meta(directory)
    if not meta["closed"]:
        raise RunNotClosed(f"{directory} is still being written or was cut off; load it as it is, or close its writer")
    if not HAS_PARQUET:
        return False
    for name, frame in FRAMES.items():
        spool = directory / f"{name}.jsonl"
        if not spool.exists():
            continue
        loaded, unreadable_count = _load_frame(directory, frame, meta)
        if unreadable_count:
            continue
        aside = directory / f"{name}.parquet.new"
        aside.touch(mode=0o600)
        loaded.to_parquet(aside, index=False)
        aside.rename(directory / f"{name}.parquet")  # whole or not at all: after a crash here the spool is redundant
        spool.unlink()
    return not any((directory / f"{name}.jsonl").exists() for name in FRAMES)


def frame_from_rows(name: str, rows: Iterable[Row], *, utc_start_ns: int = 0) -> pd.DataFrame:
    """Rows as `record` takes them, as the frame that `load_run` makes of them.

    `utc_start_ns`: the start of the run in UTC, ns since 1970, for the column `time`. Raises `RunDamaged` for a row
    that does not fit the schema, KeyError for a frame that is none of it.
    """
    frame = FRAMES[name]
    checked = []
    for number, row in enumerate(rows, start=1):
        if (fault := row_fault(frame, row)) is not None:
            raise RunDamaged(f"{name}, row {number}: {fault}")
        checked.append(row)
    columns = {column.name: _from_rows(column, checked) for column in frame.columns}
    return _completed(frame, pd.DataFrame(columns), utc_start_ns)


def detail(frame: pd.DataFrame, name: str, *, column: str = "details") -> pd.Series[Any]:
    """One entry of the `details` of events (or the `params` of faults), row by row; None where it is not given."""
    found = [None if pd.isna(text) else json.loads(text).get(name) for text in frame[column]]
    return pd.Series(found, index=frame.index, dtype=object)


# -- meta.json ----------------------------------------------------------------------------------------------------


def _read_meta(directory: Path) -> dict[str, Any]:
    if not directory.is_dir():
        raise NotARun(f"there is no directory {directory}; give the directory of a run")
    path = directory / META_FILE
    try:
        meta = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotARun(f"{directory} is no run, it has no {META_FILE}; give the directory of a run") from None
    except ValueError as error:
        raise RunDamaged(f"{path} is not JSON ({error})") from error
    if not isinstance(meta, dict) or type(meta.get("format")) is not int:
        raise NotARun(f"{directory} is no run, its {META_FILE} has no format; give the directory of a run")
    if meta["format"] > RUN_FORMAT:
        raise NewerRunFormat(
            f"{directory} has format {meta['format']}, this version reads up to {RUN_FORMAT}; update raft-actors"
        )
    for name, kind, opening in META_TYPES:
        if type(meta.get(name, None if opening else kind())) is not kind:
            raise RunDamaged(f"{path}: {name} must be {kind.__name__}, got {meta.get(name)!r:.80}")
    return meta


# -- files --------------------------------------------------------------------------------------------------------


def _load_frame(directory: Path, frame: Frame, meta: dict[str, Any]) -> tuple[pd.DataFrame, int]:
    """The frame, and how many of its lines could not be read."""
    parquet, spool = directory / f"{frame.name}.parquet", directory / f"{frame.name}.jsonl"
    if parquet.exists():
        return _load_parquet(parquet, frame, meta), 0
    rows, unreadable_count = _read_lines(spool, frame) if spool.exists() else ([], 0)
    return frame_from_rows(frame.name, rows, utc_start_ns=meta["utc_start_ns"]), unreadable_count


def _read_lines(path: Path, frame: Frame) -> tuple[list[Row], int]:
    """Rows of a spool, and how many lines are no JSON: the torn last one of a run that was cut off, or damage."""
    rows: list[Row] = []
    unreadable_count = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                unreadable_count += 1
                continue
            if (fault := row_fault(frame, row)) is not None:
                raise RunDamaged(f"{path}, line {number}: {fault}")
            rows.append(row)
    return rows, unreadable_count


def _load_parquet(path: Path, frame: Frame, meta: dict[str, Any]) -> pd.DataFrame:
    if not HAS_PARQUET:
        raise RunError(f"{path} needs pyarrow to be read; install raft-actors[analysis]")
    try:
        loaded = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise RunDamaged(f"{path} cannot be read ({error})") from error
    younger = [column.name for column in frame.columns if column.since > meta["format"]]
    loaded = loaded.assign(**{name: None for name in younger if name not in loaded.columns})
    missing = [name for name in frame.column_names if name not in loaded.columns]
    if missing:
        raise RunDamaged(f"{path} lacks the columns {missing}")
    columns = {column.name: _series(column, loaded[column.name], f"{path}, {column.name}") for column in frame.columns}
    return _completed(frame, pd.DataFrame(columns), meta["utc_start_ns"])


# -- types --------------------------------------------------------------------------------------------------------


def _from_rows(column: Column, rows: Sequence[Row]) -> pd.Series[Any]:
    values = [row.get(column.key) for row in rows]
    if column.kind is Kind.DETAILS:
        values = [None if value is None else json.dumps(value) for value in values]
    return _series(column, pd.Series(values, dtype=object), column.name)


def _series(column: Column, values: pd.Series[Any], where: str) -> pd.Series[Any]:
    """The values with the dtype of the column. Raises `RunDamaged` for values that it cannot hold."""
    if column.required and values.isna().any():
        raise RunDamaged(f"{where}: rows without a value")
    try:
        return _typed(column, values)
    except (ValueError, TypeError, OverflowError) as error:
        raise RunDamaged(f"{where}: values that are no {column.kind.value} ({error})") from error


def _typed(column: Column, values: pd.Series[Any]) -> pd.Series[Any]:
    match column.kind:
        case Kind.INT:
            return values.astype("int64")
        case Kind.NULLABLE_INT:
            return values.astype("Int64")
        case Kind.FLOAT:
            return values.astype("float64")
        case Kind.FLAG:
            return values.astype("boolean")
        case Kind.TEXT | Kind.DETAILS:
            return values.astype("string")
        case Kind.NAME if column.values:
            names = values.astype("string")
            if not names.dropna().isin(column.values).all():
                raise ValueError(f"only {', '.join(column.values)}")
            return names.astype(pd.CategoricalDtype(pd.Index(column.values, dtype="string")))
        case Kind.NAME:
            return values.astype("string").astype("category")


def _completed(frame: Frame, loaded: pd.DataFrame, utc_start_ns: int) -> pd.DataFrame:
    """The frame with what is computed when it is loaded: `time`, and the latency of operations that lack it."""
    if frame.name == "ops":
        if (loaded["t_return"] < loaded["t_invoke"]).any():
            raise RunDamaged("ops: an operation that returned before it was invoked; its t_* are not of one clock")
        computed = (loaded["t_return"] - loaded["t_invoke"]).astype("float64") / 1e6
        loaded["latency_ms"] = loaded["latency_ms"].fillna(computed)
    loaded["time"] = pd.to_datetime(loaded[frame.clock] + utc_start_ns, unit="ns", utc=True).astype(UTC_NS)
    return loaded
