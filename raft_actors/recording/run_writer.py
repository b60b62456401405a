"""A run on its way to the disk: JSON lines per frame while it lasts, meta.json at its start and at its end.

Here:   `RunWriter`, the one thread that writes rows; what `meta.json` says; how a run's directory is named and made.
Never:  parquet and pandas (analysis/load.py converts a closed run), Ray (the recorder actor wraps this class).

A row is spooled within about `flush_interval_s`; what a SIGKILL takes is that much, and a torn last line. Rows are not
synced: a run is a measurement, and an fsync beside the log's own would change what it measures.
"""

from __future__ import annotations

import json
import os
import platform
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from raft_actors._version import __version__
from raft_actors.errors import DaemonFailed, InvalidName
from raft_actors.recording.clock import RunClock
from raft_actors.recording.errors import RowsUnreadable, RunExists
from raft_actors.recording.row_buffer import RowBuffer, Waiting
from raft_actors.recording.rows import count_rows, decode_rows
from raft_actors.recording.schema import FRAMES, RUN_FORMAT, Row, row_fault

META_FILE: Final = "meta.json"
SPOOL_SUFFIX: Final = ".jsonl"
RUN_NAME = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,64}")

BUFFER_BYTES_MAX: Final = 64 * 1024 * 1024
"""Some 60,000 rows: several seconds of the busiest run seen, should the disk stall."""
SPOOL_BYTES_MAX: Final = 8 * 1024 * 1024 * 1024
"""Some 25 million operations; a run that somebody forgot must not fill the disk that the logs need."""
FLUSH_INTERVAL_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the one who starts a run knows about it. Without these a number means nothing later."""

    cluster_size: int
    nodes: tuple[str, ...] = ()
    clients: int | None = None
    offered_load: str = ""
    """In words: "closed loop, 8 clients", "open loop, 500 /s"."""
    fsync: str = ""
    """In words: "fdatasync per write group", "memory"."""
    seed: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of what the run used beside Python and this package, which are added: {"ray": "2.60.0"}."""


def new_run_directory(record_dir: Path, name: str) -> Path:
    """Where a run that starts now goes: `<record_dir>/<UTC time>-<name>`. Makes nothing. Raises `InvalidName`."""
    if not RUN_NAME.fullmatch(name):
        raise InvalidName(f"a run cannot be named {name!r}; use 1 to 64 of A-Z a-z 0-9 _ . - and no dot in front")
    return record_dir / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{name}"


class RunWriter:
    """Writes one run into one directory. A `Recorder`: `record` neither blocks nor raises."""

    def __init__(
        self,
        directory: Path,
        facts: RunFacts,
        *,
        buffer_bytes_max: int = BUFFER_BYTES_MAX,
        spool_bytes_max: int = SPOOL_BYTES_MAX,
        flush_interval_s: float = FLUSH_INTERVAL_S,
    ) -> None:
        """Make the directory (0700), write `meta.json`, start the thread.

        Raises `RunExists` when the directory holds anything, OSError when it cannot be made or written.
        """
        self.directory = directory
        self.clock = RunClock.start()
        """Travels to whoever stamps rows of this run in another process."""
        _make_private_directory(directory)
        self._meta = _opening_meta(directory.name, facts, self.clock)
        _write_meta(directory, self._meta)
        self._buffer = RowBuffer(buffer_bytes_max)
        self._spool_bytes_left = spool_bytes_max
        self._flush_interval_s = flush_interval_s
        self._files: dict[str, BinaryIO] = {}
        self._written: Counter[str] = Counter()
        self._over_limit: Counter[str] = Counter()
        self._malformed: Counter[str] = Counter()
        self._first_malformed: str | None = None
        self._failure: BaseException | None = None
        self._closed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"run-writer:{directory.name}", daemon=True)
        self._thread.start()

    @property
    def enabled(self) -> bool:
        """Always True."""
        return True

    def now_ns(self) -> int:
        """Nanoseconds since the start of the run."""
        return self.clock.now_ns()

    def record(self, frame: str, row: Row) -> None:
        """Take one row of `frame`; the caller must not change it any more. Without room it is dropped."""
        self._buffer.offer_row(frame, row)

    def append_encoded(self, frame: str, data: bytes) -> None:
        """Take a batch of `encode_rows`, as a whole or not at all; bytes that are none count as one malformed row."""
        try:
            self._buffer.offer_batch(frame, data, count_rows(data))
        except RowsUnreadable:
            self._buffer.offer_batch(frame, data, 1)  # the thread will meet the same fault, and counts it

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits, end the thread, complete `meta.json`. A second call does nothing more.

        Raises `DaemonFailed` when the thread failed before (its failure is the cause) or does not end in time; the run
        then stays as it is, incomplete but loadable.
        """
        self._buffer.shut()
        self._stop.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise DaemonFailed(f"{self._thread.name} did not end within {timeout_s} s; {self.directory} is incomplete")
        if self._failure is not None:
            raise DaemonFailed(
                f"{self._thread.name} failed: {self._failure}; {self.directory} is incomplete"
            ) from self._failure
        if self._closed:
            return
        self._closed = True
        self._meta |= {
            "closed": True,
            "t_end": self.now_ns(),
            "rows": dict(self._written),
            "dropped": self.dropped(),
            "malformed": dict(self._malformed),
            "first_malformed": self._first_malformed,
        }
        _write_meta(self.directory, self._meta)

    def dropped(self) -> dict[str, int]:
        """Rows dropped so far for want of room, by frame."""
        return dict(Counter(self._buffer.dropped()) + self._over_limit)

    def malformed(self) -> dict[str, int]:
        """Rows so far that were none of their frame, by frame."""
        return dict(self._malformed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            stopping = False
            while not stopping:
                stopping = self._stop.wait(self._flush_interval_s)  # seen before the last rows are taken, not after
                self._spool(self._buffer.take())
        except BaseException as failure:  # kept for close(): a full disk must not end what is being measured
            self._failure = failure
            self._buffer.shut()
        finally:
            for file in self._files.values():
                file.close()

    def _spool(self, waiting: list[Waiting]) -> None:
        lines: dict[str, list[bytes]] = {}
        for item in waiting:
            for row in self._rows_of(item):
                line = self._line(item.frame, row)
                if line is None:
                    continue
                if len(line) > self._spool_bytes_left:
                    self._over_limit[item.frame] += 1
                    continue
                self._spool_bytes_left -= len(line)
                lines.setdefault(item.frame, []).append(line)
        for frame, frame_lines in lines.items():
            _write_all(self._file(frame), b"".join(frame_lines))
            self._written[frame] += len(frame_lines)

    def _rows_of(self, item: Waiting) -> list[Row]:
        if not isinstance(item.content, bytes):
            return [item.content]
        try:
            return decode_rows(item.content)
        except RowsUnreadable as error:
            self._count_malformed(item.frame, str(error))
            return []

    def _line(self, frame_name: str, row: Row) -> bytes | None:
        frame = FRAMES.get(frame_name)
        fault = f"there is no frame of this name, only {sorted(FRAMES)}" if frame is None else row_fault(frame, row)
        if fault is None:
            try:
                return json.dumps(row, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
            except (TypeError, ValueError, RecursionError) as error:  # inside `details`, which no schema describes
                fault = str(error)
        self._count_malformed(frame_name, fault)
        return None

    def _count_malformed(self, frame_name: str, fault: str) -> None:
        self._malformed[frame_name] += 1
        self._first_malformed = self._first_malformed or f"{frame_name}: {fault}"

    def _file(self, frame: str) -> BinaryIO:
        if frame not in self._files:
            path = self.directory / f"{frame}{SPOOL_SUFFIX}"
            self._files[frame] = open(path, "xb", buffering=0, opener=_private_opener)  # noqa: SIM115 - closed by _run
        return self._files[frame]


def _write_all(file: BinaryIO, data: bytes) -> None:
    """An unbuffered file may take less than it was given; then the disk is full, and the next attempt says so."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _private_opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _make_private_directory(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        if not directory.is_dir() or any(directory.iterdir()):
            raise RunExists(f"{directory} is not empty; give the run a directory of its own") from None
        directory.chmod(0o700)


def _opening_meta(name: str, facts: RunFacts, clock: RunClock) -> dict[str, Any]:
    described = asdict(facts)
    described["versions"] = {"raft_actors": __version__, "python": platform.python_version(), **facts.versions}
    return {
        "format": RUN_FORMAT,
        "name": name,
        "closed": False,
        **described,
        "cpu_count": len(os.sched_getaffinity(0)),
        "host": socket.gethostname(),
        **asdict(clock),
    }


def _write_meta(directory: Path, meta: Mapping[str, Any]) -> None:
    """Put `meta.json` in place whole or not at all: without it a directory is no run."""
    aside = directory / f"{META_FILE}.new"
    with open(aside, "w", encoding="utf-8", opener=_private_opener) as file:
        json.dump(meta, file, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    aside.rename(directory / META_FILE)
