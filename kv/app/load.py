"""Loading a file into the store: lines in, batches of puts out, and the truth about what was written.

Here:   the three input formats, `put_all`, `LoadStopped`.
Never:  files by name, terminals (cli.py).

A put is the same put when it is done again, so a load that stopped can be repeated once its cause is gone.
"""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO, Final, Protocol

from kv.errors import KVError, StoreRefusal
from raft_actors.errors import RaftActorsError

INPUT_FORMATS: Final = ("csv", "jsonl", "text")
SUFFIXES: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text"}

LINE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Far above what a store takes as one key and value, however a format quotes them; bounds what is read at once."""
BATCH_COUNT_MAX: Final = 500
BATCH_BYTES_MAX: Final = 1024 * 1024
"""Keys and bytes in one put_many. Larger ones save no more calls, and hold up what others write."""
OPEN_MAX: Final = 4
"""Batches under way at a time: the next ones are on their way while the first is being written."""


class BadLine(RaftActorsError, ValueError):
    """A line that is not what its format says; names file and line."""


class LoadStopped(RaftActorsError):
    """Not everything was loaded; says why, and how much was. `written`, `unknown` and `not_written` are counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One key and its value, and where they stand."""

    place: str
    """File and line."""
    key: str
    value: object
    size_bytes: int
    """Of what was read for it."""


class Store(Protocol):
    """What loading needs of a client."""

    def put(self, key: str, value: object, *, timeout_s: float | None = None) -> int: ...

    def submit_put_many(
        self, values: Mapping[str, object], *, timeout_s: float | None = None
    ) -> Future[dict[str, int]]: ...


# -- reading ---------------------------------------------------------------------------------------------------------


def input_format_of(file_name: str) -> str | None:
    """What the suffix says; None where it says nothing."""
    return SUFFIXES.get(PurePath(file_name).suffix.lower())


def read_items(source: BinaryIO, input_format: str, file_name: str, *, values_are_json: bool = False) -> Iterator[Item]:
    """The file's keys and values, line by line. Raises `BadLine` where the first bad one is reached."""
    reader = {"csv": _csv_pairs, "jsonl": _json_pairs, "text": _text_pairs}[input_format]
    lines = _Lines(source)
    before_bytes, first_line = 0, 1
    pairs = reader(lines)
    while True:
        first_line = lines.number + 1
        try:
            key, value = next(pairs)
            if values_are_json and input_format != "jsonl":
                value = json.loads(str(value))
        except StopIteration:
            return
        except (ValueError, csv.Error, RecursionError) as failure:
            # A quoted field may span lines: what is wrong with it began on its first one.
            number = first_line if input_format == "csv" else lines.number
            raise BadLine(f"{file_name}:{number}: {_why(failure)}", file=file_name, line=number) from failure
        yield Item(
            place=f"{file_name}:{lines.number}", key=key, value=value, size_bytes=lines.read_bytes - before_bytes
        )
        before_bytes = lines.read_bytes


class _Lines:
    """The text lines of a binary file, each bounded, counted from 1. Raises ValueError for one that is too long or no
    UTF-8."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.number = 0
        self.read_bytes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        data = self._source.readline(LINE_BYTES_MAX + 1)
        if not data:
            raise StopIteration
        self.number += 1
        self.read_bytes += len(data)
        if len(data) > LINE_BYTES_MAX:
            raise ValueError(f"the line has more than {LINE_BYTES_MAX} bytes")
        return data.decode("utf-8-sig" if self.number == 1 else "utf-8")


def _csv_pairs(lines: _Lines) -> Iterator[tuple[str, object]]:
    csv.field_size_limit(LINE_BYTES_MAX)  # the module's own, 128 KiB, is below what a store takes
    for number, fields in enumerate(csv.reader(lines, strict=True)):
        if number == 0 and [field.strip().lower() for field in fields] == ["key", "value"]:
            continue
        if fields:
            if len(fields) != 2:
                raise ValueError(f"expected two fields, key and value, and found {len(fields)}")
            yield fields[0], fields[1]


def _json_pairs(lines: _Lines) -> Iterator[tuple[str, object]]:
    for line in lines:
        if line.strip():
            found = json.loads(line)
            if type(found) is not dict or found.keys() != {"key", "value"} or type(found["key"]) is not str:
                raise ValueError('expected {"key": "...", "value": ...} and nothing else')
            yield found["key"], found["value"]


def _text_pairs(lines: _Lines) -> Iterator[tuple[str, object]]:
    for line in lines:
        if line.strip():
            key, *rest = line.rstrip("\r\n").split(maxsplit=1)
            if not rest:
                raise ValueError("expected a key, white space and a value")
            yield key, rest[0]


def _why(failure: Exception) -> str:
    match failure:
        case UnicodeDecodeError():
            return "the line is no UTF-8"
        case json.JSONDecodeError():
            return f"no JSON: {failure.msg} at column {failure.colno}"
        case RecursionError():
            return "JSON nested too deeply"
        case _:
            return str(failure)


# -- writing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Open:
    batch: dict[str, Item]
    future: Future[dict[str, int]]


class _Pipeline:
    """A batch being filled, those under way, oldest first, and how those before them ended."""

    def __init__(self, store: Store, timeout_s: float | None, written: Callable[[int], None]) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._tell_written = written
        self._batch: dict[str, Item] = {}
        self._batch_bytes = 0
        self._open: deque[_Open] = deque()
        self._open_keys: set[str] = set()
        self.counts = {"written": 0, "unknown": 0, "not_written": 0}
        self.failure: str | None = None
        """The first one, with its place."""

    def put(self, item: Item) -> None:
        """Take one more. A key is never in two batches that are under way: of its lines, the last one shall win."""
        full = len(self._batch) >= BATCH_COUNT_MAX or self._batch_bytes + item.size_bytes > BATCH_BYTES_MAX
        if full or item.key in self._batch:
            self._send()
        while item.key in self._open_keys:
            self._finish_oldest()
        self._batch[item.key] = item
        self._batch_bytes += item.size_bytes

    def finish(self) -> None:
        """Send what was taken and wait for all: each ends by its timeout."""
        self._send()
        while self._open:
            self._finish_oldest()

    def give_up(self) -> None:
        """Wait for none: how they end is not known."""
        self.counts["unknown"] += sum(len(each.batch) for each in self._open)

    def _send(self) -> None:
        while len(self._open) >= OPEN_MAX:
            self._finish_oldest()
        batch, self._batch, self._batch_bytes = self._batch, {}, 0
        if not batch or self.failure is not None:
            return
        values = {key: item.value for key, item in batch.items()}
        try:
            future = self._store.submit_put_many(values, timeout_s=self._timeout_s)
        except KVError:
            self._one_by_one(batch)
            return
        self._open.append(_Open(batch, future))
        self._open_keys.update(batch)

    def _finish_oldest(self) -> None:
        oldest = self._open[0]
        failure = oldest.future.exception()
        self._open.popleft()
        items = list(oldest.batch.values())
        match failure:
            case None:
                self._written(items)
            case StoreRefusal():
                self._one_by_one(oldest.batch)
            case KVError():
                self._failed(items, failure)
            case _:
                raise failure
        self._open_keys.difference_update(oldest.batch)

    def _one_by_one(self, batch: Mapping[str, Item]) -> None:
        """The store took nothing of the batch because of one of its lines: find out which."""
        for item in batch.values():
            if self.failure is not None:
                return
            try:
                self._store.put(item.key, item.value, timeout_s=self._timeout_s)
            except KVError as refusal:
                self._failed([item], refusal)
            except KeyboardInterrupt:
                self.counts["unknown"] += 1
                raise
            else:
                self._written([item])

    def _written(self, items: Sequence[Item]) -> None:
        self.counts["written"] += len(items)
        self._tell_written(sum(item.size_bytes for item in items))

    def _failed(self, items: Sequence[Item], failure: KVError) -> None:
        self.counts["unknown" if failure.outcome == "unknown" else "not_written"] += len(items)
        self.failure = self.failure or f"{items[0].place}: {failure}"


def put_all(
    store: Store, items: Iterable[Item], *, timeout_s: float | None = None, written: Callable[[int], None]
) -> int:
    """Put all items, many at a time, in their order for each key; how many there were.

    `written` is told how many bytes of the file were acknowledged. Raises `LoadStopped` at the first bad line, the
    first put without success and at Ctrl-C, after what was under way ended (at Ctrl-C at once).
    """
    pipeline = _Pipeline(store, timeout_s, written)
    bad: BadLine | None = None
    try:
        try:
            for item in items:
                pipeline.put(item)
                if pipeline.failure is not None:
                    break
        except BadLine as found:
            bad = found
        pipeline.finish()
    except KeyboardInterrupt:
        pipeline.give_up()
        raise _stopped("interrupted", pipeline) from None
    if bad is not None or pipeline.failure is not None:
        raise _stopped("; ".join(filter(None, (str(bad or ""), pipeline.failure))), pipeline) from bad
    return pipeline.counts["written"]


def _stopped(why: str, pipeline: _Pipeline) -> LoadStopped:
    counts = ", ".join(f"{what.replace('_', ' ')}: {count:,}" for what, count in pipeline.counts.items())
    return LoadStopped(f"{why} ({counts}); mend the cause and load the file again", **pipeline.counts)
