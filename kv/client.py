"""What a user of the store holds: Python values in, Python values out, whoever leads.

Here:   `Client`: get, put, append, delete, put_many, get_many, scan, their pipelined twins, and their records of a run.
Never:  retries, sessions, threads (raft_actors/client), what a command does (machine.py), starting and finding groups.

A blocking call is its `submit_*` twin and a wait. Values are decoded in the thread that takes them, because opening a
pickled one runs its writer's code.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeAlias, TypeVar

from kv.commands import (
    SCAN_LIMIT_DEFAULT,
    encode_append,
    encode_delete,
    encode_get,
    encode_put,
    encode_put_many,
    encode_scan,
)
from kv.encoded import Encoded, Versioned
from kv.errors import ArgumentInvalid, UseAio
from kv.limits import Limits
from kv.results import Page, decode_deleted, decode_found, decode_page, decode_version, decode_versions
from kv.values import decode, encode
from raft_actors.client.callers import SharedCaller
from raft_actors.client.opened import Opened
from raft_actors.client.ray_servers import RayServers
from raft_actors.client.records import Measure, OperationRecord
from raft_actors.client.sender import Caller
from raft_actors.errors import UnknownGroup
from raft_actors.names import check_group
from raft_actors.recording.recorder import NullRecorder, Recorder

T = TypeVar("T")
Consistency: TypeAlias = Literal["linearizable", "stale"]

WAIT_GRACE_S: Final = 5.0
"""A blocking call waits this much longer than its operation may take: only a fault of ours ends it there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request(Generic[T]):
    """One operation, ready to be sent."""

    op: str
    data: bytes
    read: Consistency | None
    """None: it writes."""
    decode: Callable[[bytes], T]
    key: str | None = None
    value_size: int | None = None
    measure: Measure


class Client:
    """The store of one group. Thread-safe; pickles and copies as its name and options; usable after a fork.

    Every call takes `timeout_s` (seconds; the client's own by default), and either returns, or raises a `KVError` whose
    `outcome` says whether the operation can still happen. Arguments that the store would refuse are refused before
    anything is sent. Clients of one process share one sender thread and session per group.
    """

    def __init__(
        self,
        group: str = "default",
        *,
        timeout_s: float = 5.0,
        connect_timeout_s: float = 5.0,
        allow_pickle: bool = True,
        limits: Limits | None = None,
        label: str | None = None,
        record: Recorder | None = None,
        make_caller: Callable[[], Caller] | None = None,
    ) -> None:
        """Connects when it is first used. Raises `InvalidName`.

        `limits`: those the group was started with, where not the default ones. `label`: this client's name in records
        and faults. `record`: takes a row per operation; it does not travel in a pickle. `make_caller`: how operations
        travel, if not by Ray.
        """
        self._group = check_group(group)
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._allow_pickle = allow_pickle
        self._limits = limits or Limits()
        self._label = label
        self._record = record or NullRecorder()
        self._op_prefix = secrets.token_hex(6)
        self._op_numbers = count(1)
        self._shared = SharedCaller(group, make_caller or (lambda: Caller(group, RayServers(group))))

    # -- blocking calls -------------------------------------------------------------------------------------------

    def get(
        self,
        key: str,
        default: Any = None,
        *,
        consistency: Consistency = "linearizable",
        timeout_s: float | None = None,
    ) -> Any:
        """The key's value, or `default`. "stale": from any member, as old as its state may be."""
        return self._wait(self._get(key, default, consistency), timeout_s)

    def get_versioned(self, key: str, *, timeout_s: float | None = None) -> Versioned[Any] | None:
        """The key's value and version, or None."""
        return self._wait(self._get_versioned(key), timeout_s)

    def put(self, key: str, value: Any, *, if_version: int | None = None, timeout_s: float | None = None) -> int:
        """Set the key; its new version. `if_version=0`: only if it is missing; else only if it has that version."""
        return self._wait(self._put(key, value, if_version), timeout_s)

    def append(self, key: str, value: Any, *, timeout_s: float | None = None) -> int:
        """Put str behind str, bytes behind bytes, or a list's elements behind a list; its new version."""
        return self._wait(self._append(key, value), timeout_s)

    def delete(self, key: str, *, if_version: int | None = None, timeout_s: float | None = None) -> bool:
        """Remove the key; whether it was there."""
        return self._wait(self._delete(key, if_version), timeout_s)

    def put_many(self, values: Mapping[str, Any], *, timeout_s: float | None = None) -> dict[str, int]:
        """Set all keys or none; their new versions."""
        return self._wait(self._put_many(values), timeout_s)

    def get_many(
        self, keys: Iterable[str], *, consistency: Consistency = "linearizable", timeout_s: float | None = None
    ) -> dict[str, Any]:
        """The values at one point in the history; keys that are missing in the store are missing in the dict."""
        return self._wait(self._get_many(keys, consistency), timeout_s)

    def scan(
        self,
        prefix: str = "",
        *,
        start_after: str | None = None,
        limit: int = SCAN_LIMIT_DEFAULT,
        consistency: Consistency = "linearizable",
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Keys with this prefix, ascending, at one point in the history.

        At most `limit`, and fewer where their values are too large for one answer; `scan_iter` goes on.
        """
        return self._wait(self._scan(prefix, start_after, limit, consistency), timeout_s)

    def scan_iter(
        self, prefix: str = "", *, limit: int = SCAN_LIMIT_DEFAULT, timeout_s: float | None = None
    ) -> Iterator[tuple[str, Any]]:
        """All keys with this prefix, ascending, page by page; each page is a later point in the history."""
        start_after: str | None = None
        while True:
            page = self._wait(self._page(prefix, start_after, limit), timeout_s)
            for key, found in page.items.items():
                yield key, self._decode(found.value)
                start_after = key
            if not page.more:
                return

    # -- pipelined calls ------------------------------------------------------------------------------------------

    def submit_get(
        self,
        key: str,
        default: Any = None,
        *,
        consistency: Consistency = "linearizable",
        timeout_s: float | None = None,
    ) -> Future[Any]:
        """`get`, without waiting. As for all of these: callbacks run in the sender thread, and must not block it."""
        return self._submit(self._get(key, default, consistency), timeout_s)

    def submit_get_versioned(self, key: str, *, timeout_s: float | None = None) -> Future[Versioned[Any] | None]:
        """`get_versioned`, without waiting."""
        return self._submit(self._get_versioned(key), timeout_s)

    def submit_put(
        self, key: str, value: Any, *, if_version: int | None = None, timeout_s: float | None = None
    ) -> Future[int]:
        """`put`, without waiting."""
        return self._submit(self._put(key, value, if_version), timeout_s)

    def submit_append(self, key: str, value: Any, *, timeout_s: float | None = None) -> Future[int]:
        """`append`, without waiting."""
        return self._submit(self._append(key, value), timeout_s)

    def submit_delete(self, key: str, *, if_version: int | None = None, timeout_s: float | None = None) -> Future[bool]:
        """`delete`, without waiting."""
        return self._submit(self._delete(key, if_version), timeout_s)

    def submit_put_many(self, values: Mapping[str, Any], *, timeout_s: float | None = None) -> Future[dict[str, int]]:
        """`put_many`, without waiting."""
        return self._submit(self._put_many(values), timeout_s)

    def submit_get_many(
        self, keys: Iterable[str], *, consistency: Consistency = "linearizable", timeout_s: float | None = None
    ) -> Future[dict[str, Any]]:
        """`get_many`, without waiting."""
        return self._submit(self._get_many(keys, consistency), timeout_s)

    def submit_scan(
        self,
        prefix: str = "",
        *,
        start_after: str | None = None,
        limit: int = SCAN_LIMIT_DEFAULT,
        consistency: Consistency = "linearizable",
        timeout_s: float | None = None,
    ) -> Future[dict[str, Any]]:
        """`scan`, without waiting."""
        return self._submit(self._scan(prefix, start_after, limit, consistency), timeout_s)

    # -- the client itself ----------------------------------------------------------------------------------------

    @property
    def group(self) -> str:
        """Name of the group."""
        return self._group

    @property
    def servers(self) -> list[Any]:
        """The servers' actor handles, in the order of members. Raises `UnknownGroup` when none is found in time."""
        handles = self._shared.get().servers.handles(self._connect_timeout_s)
        if not handles:
            raise UnknownGroup(
                f"no group {self._group!r} was found on this Ray cluster within {self._connect_timeout_s:g} s: "
                f"start it with kv.start({self._group!r}), or see `raft-kv list`"
            )
        return handles

    def close(self) -> None:
        """Use it no more. What is under way ends as `ClientClosed` when no other client of this process remains."""
        self._shared.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        label = "" if self._label is None else f", label={self._label!r}"
        return f"<kv.Client of group {self._group!r}, timeout_s={self._timeout_s:g}{label}>"

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "timeout_s": self._timeout_s,
            "connect_timeout_s": self._connect_timeout_s,
            "allow_pickle": self._allow_pickle,
            "limits": self._limits,
            "label": self._label,
        }
        return _rebuild, (self._group, options)

    # -- requests -------------------------------------------------------------------------------------------------

    def _get(self, key: str, default: Any, consistency: Consistency) -> _Request[Any]:
        def value(result: bytes) -> Any:
            found = decode_found(result, [key])[0]
            return default if found is None else self._decode(found.value)

        return self._get_request(key, consistency, value)

    def _get_versioned(self, key: str) -> _Request[Versioned[Any] | None]:
        def versioned(result: bytes) -> Versioned[Any] | None:
            found = decode_found(result, [key])[0]
            return None if found is None else Versioned(self._decode(found.value), found.version)

        return self._get_request(key, "linearizable", versioned)

    def _get_request(self, key: str, consistency: Consistency, value: Callable[[bytes], T]) -> _Request[T]:
        def measure(result: bytes) -> tuple[int | None, int | None]:
            found = decode_found(result, [key])[0]
            return (None, None) if found is None else (found.version, found.value.size_bytes)

        data = encode_get([key], limits=self._limits)
        return _Request(op="get", data=data, read=_checked(consistency), decode=value, key=key, measure=measure)

    def _put(self, key: str, value: Any, if_version: int | None) -> _Request[int]:
        encoded = self._encode(value)
        data = encode_put(key, encoded, if_version=if_version, limits=self._limits)
        return self._one_write("put", key, data, encoded.size_bytes)

    def _append(self, key: str, value: Any) -> _Request[int]:
        encoded = self._encode(value)
        return self._one_write("append", key, encode_append(key, encoded, limits=self._limits), encoded.size_bytes)

    @staticmethod
    def _one_write(op: str, key: str, data: bytes, value_size: int) -> _Request[int]:
        return _Request(
            op=op,
            data=data,
            read=None,
            decode=decode_version,
            key=key,
            value_size=value_size,
            measure=lambda result: (decode_version(result), None),
        )

    def _delete(self, key: str, if_version: int | None) -> _Request[bool]:
        data = encode_delete(key, if_version=if_version, limits=self._limits)
        return _Request(
            op="delete", data=data, read=None, decode=decode_deleted, key=key, measure=_unmeasured(decode_deleted)
        )

    def _put_many(self, values: Mapping[str, Any]) -> _Request[dict[str, int]]:
        encoded = {key: self._encode(value) for key, value in values.items()}
        keys = tuple(encoded)

        def versions(result: bytes) -> dict[str, int]:
            return decode_versions(result, keys)

        return _Request(
            op="put_many",
            data=encode_put_many(encoded, limits=self._limits),
            read=None,
            decode=versions,
            value_size=sum(value.size_bytes for value in encoded.values()),
            measure=_unmeasured(decode_version),
        )

    def _get_many(self, keys: Iterable[str], consistency: Consistency) -> _Request[dict[str, Any]]:
        keys = tuple(dict.fromkeys(keys))

        def values(result: bytes) -> dict[str, Any]:
            pairs = zip(keys, decode_found(result, keys), strict=True)
            return {key: self._decode(found.value) for key, found in pairs if found is not None}

        return _Request(
            op="get_many",
            data=encode_get(keys, limits=self._limits),
            read=_checked(consistency),
            decode=values,
            measure=_unmeasured(lambda result: decode_found(result, keys)),
        )

    def _scan(
        self, prefix: str, start_after: str | None, limit: int, consistency: Consistency
    ) -> _Request[dict[str, Any]]:
        def values(result: bytes) -> dict[str, Any]:
            return {key: self._decode(found.value) for key, found in decode_page(result).items.items()}

        return self._scan_request(prefix, start_after, limit, consistency, values)

    def _page(self, prefix: str, start_after: str | None, limit: int) -> _Request[Page]:
        return self._scan_request(prefix, start_after, limit, "linearizable", decode_page)

    def _scan_request(
        self,
        prefix: str,
        start_after: str | None,
        limit: int,
        consistency: Consistency,
        read: Callable[[bytes], T],
    ) -> _Request[T]:
        data = encode_scan(prefix, start_after=start_after, limit=limit, limits=self._limits)
        return _Request(op="scan", data=data, read=_checked(consistency), decode=read, measure=_unmeasured(decode_page))

    def _encode(self, value: Any) -> Encoded:
        return encode(value, allow_pickle=self._allow_pickle, value_bytes_max=self._limits.value_bytes_max)

    def _decode(self, value: Encoded) -> Any:
        return decode(value, allow_pickle=self._allow_pickle)

    # -- sending --------------------------------------------------------------------------------------------------

    def _wait(self, request: _Request[T], timeout_s: float | None) -> T:
        if _in_event_loop() or self._shared.get().is_own_thread:
            raise UseAio(
                "a blocking call here would hold up the event loop or the client's own thread, nothing was sent: use "
                "submit_*, in a coroutine with `await asyncio.wrap_future(...)`"
            )
        wait_s = WAIT_GRACE_S + (self._timeout_s if timeout_s is None else timeout_s)
        return self._submit(request, timeout_s).result(wait_s)

    def _submit(self, request: _Request[T], timeout_s: float | None) -> Future[T]:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        caller = self._shared.get()
        observe = self._observer(request) if self._record.enabled else None
        if request.read is None:
            raw = caller.submit(request.data, timeout_s, observe=observe)
        else:
            linearizable = request.read == "linearizable"
            raw = caller.query(request.data, timeout_s, linearizable=linearizable, observe=observe)
        return Opened(raw, request.decode)

    def _observer(self, request: _Request[T]) -> OperationRecord:
        return OperationRecord(
            recorder=self._record,
            op_id=f"{self._op_prefix}-{os.getpid()}-{next(self._op_numbers)}",
            client=self._label or f"client-{os.getpid()}",
            op=request.op,
            key=request.key,
            value_size=request.value_size,
            measure=request.measure,
            t_invoke=self._record.now_ns(),
        )


def _rebuild(group: str, options: dict[str, Any]) -> Client:
    return Client(group, **options)


def _checked(consistency: Consistency) -> Consistency:
    if consistency not in ("linearizable", "stale"):
        raise ArgumentInvalid(f'consistency={consistency!r} must be "linearizable" or "stale"')
    return consistency


def _unmeasured(check: Callable[[bytes], object]) -> Callable[[bytes], tuple[None, None]]:
    """For operations without one version and one value."""

    def measure(result: bytes) -> tuple[None, None]:
        check(result)
        return None, None

    return measure


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
