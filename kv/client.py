"""What a user of the store holds: Python values in, Python values out, whoever leads.

Here:   `Client`: get, put, append, delete, put_many, get_many, scan, their pipelined twins, and their records of a run.
Never:  retries, sessions, threads (raft_actors/client), what a call asks of the store and how its answer is read
        (requests.py), what a command does (machine.py), starting and finding groups.

A blocking call is its `submit_*` twin and a wait. Values are decoded in the thread that takes them, because opening a
pickled one runs its writer's code.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from itertools import count
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from kv.commands import SCAN_LIMIT_DEFAULT
from kv.encoded import Versioned
from kv.errors import UseAio
from kv.limits import Limits
from kv.requests import Consistency, Request, Requests
from raft_actors.client.callers import SharedCaller
from raft_actors.client.calling import client_name, shared_caller
from raft_actors.client.opened import Opened
from raft_actors.client.records import OperationRecord
from raft_actors.client.sender import Caller
from raft_actors.errors import UnknownGroup
from raft_actors.names import check_group
from raft_actors.recording.recorder import NullRecorder, Recorder

T = TypeVar("T")

WAIT_GRACE_S: Final = 5.0
"""A blocking call waits this much longer than its operation may take: only a fault of ours ends it there."""


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
        faults: bool = False,
        record: Recorder | None = None,
        make_caller: Callable[[], Caller] | None = None,
    ) -> None:
        """Connects when it is first used. Raises `InvalidName`.

        `limits`: those the group was started with, where not the default ones. `label`: this client's name in records
        and to a fault injector. `faults`: whether the group was started with them. `record`: takes a row per operation;
        it does not travel in a pickle. `make_caller`: how operations travel, if not by Ray.
        """
        self._group = check_group(group)
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._requests = Requests(allow_pickle=allow_pickle, limits=limits or Limits())
        self._label = label
        self._faults = faults
        self._record = record or NullRecorder()
        self._op_prefix = secrets.token_hex(6)
        self._op_numbers = count(1)
        if make_caller is None:
            self._shared = shared_caller(group, faults=faults, label=label)
        else:
            self._shared = SharedCaller(group, make_caller)

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
        return self._wait(self._requests.get(key, default, consistency), timeout_s)

    def get_versioned(self, key: str, *, timeout_s: float | None = None) -> Versioned[Any] | None:
        """The key's value and version, or None."""
        return self._wait(self._requests.get_versioned(key), timeout_s)

    def put(self, key: str, value: Any, *, if_version: int | None = None, timeout_s: float | None = None) -> int:
        """Set the key; its new version. `if_version=0`: only if it is missing; else only if it has that version."""
        return self._wait(self._requests.put(key, value, if_version), timeout_s)

    def append(self, key: str, value: Any, *, timeout_s: float | None = None) -> int:
        """Put str behind str, bytes behind bytes, or a list's elements behind a list; its new version."""
        return self._wait(self._requests.append(key, value), timeout_s)

    def delete(self, key: str, *, if_version: int | None = None, timeout_s: float | None = None) -> bool:
        """Remove the key; whether it was there."""
        return self._wait(self._requests.delete(key, if_version), timeout_s)

    def put_many(self, values: Mapping[str, Any], *, timeout_s: float | None = None) -> dict[str, int]:
        """Set all keys or none; their new versions."""
        return self._wait(self._requests.put_many(values), timeout_s)

    def get_many(
        self, keys: Iterable[str], *, consistency: Consistency = "linearizable", timeout_s: float | None = None
    ) -> dict[str, Any]:
        """The values at one point in the history; keys that are missing in the store are missing in the dict."""
        return self._wait(self._requests.get_many(keys, consistency), timeout_s)

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
        return self._wait(self._requests.scan(prefix, start_after, limit, consistency), timeout_s)

    def scan_iter(
        self, prefix: str = "", *, limit: int = SCAN_LIMIT_DEFAULT, timeout_s: float | None = None
    ) -> Iterator[tuple[str, Any]]:
        """All keys with this prefix, ascending, page by page; each page is a later point in the history."""
        start_after: str | None = None
        while True:
            page = self._wait(self._requests.page(prefix, start_after, limit), timeout_s)
            for key, found in page.items.items():
                yield key, self._requests.decode(found.value)
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
        return self._submit(self._requests.get(key, default, consistency), timeout_s)

    def submit_get_versioned(self, key: str, *, timeout_s: float | None = None) -> Future[Versioned[Any] | None]:
        """`get_versioned`, without waiting."""
        return self._submit(self._requests.get_versioned(key), timeout_s)

    def submit_put(
        self, key: str, value: Any, *, if_version: int | None = None, timeout_s: float | None = None
    ) -> Future[int]:
        """`put`, without waiting."""
        return self._submit(self._requests.put(key, value, if_version), timeout_s)

    def submit_append(self, key: str, value: Any, *, timeout_s: float | None = None) -> Future[int]:
        """`append`, without waiting."""
        return self._submit(self._requests.append(key, value), timeout_s)

    def submit_delete(self, key: str, *, if_version: int | None = None, timeout_s: float | None = None) -> Future[bool]:
        """`delete`, without waiting."""
        return self._submit(self._requests.delete(key, if_version), timeout_s)

    def submit_put_many(self, values: Mapping[str, Any], *, timeout_s: float | None = None) -> Future[dict[str, int]]:
        """`put_many`, without waiting."""
        return self._submit(self._requests.put_many(values), timeout_s)

    def submit_get_many(
        self, keys: Iterable[str], *, consistency: Consistency = "linearizable", timeout_s: float | None = None
    ) -> Future[dict[str, Any]]:
        """`get_many`, without waiting."""
        return self._submit(self._requests.get_many(keys, consistency), timeout_s)

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
        return self._submit(self._requests.scan(prefix, start_after, limit, consistency), timeout_s)

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
            "allow_pickle": self._requests.allow_pickle,
            "limits": self._requests.limits,
            "label": self._label,
            "faults": self._faults,
        }
        return _rebuild, (self._group, options)

    # -- sending --------------------------------------------------------------------------------------------------

    def _wait(self, request: Request[T], timeout_s: float | None) -> T:
        if _in_event_loop() or self._shared.get().is_own_thread:
            raise UseAio(
                "a blocking call here would hold up the event loop or the client's own thread, nothing was sent: use "
                "submit_*, in a coroutine with `await asyncio.wrap_future(...)`"
            )
        wait_s = WAIT_GRACE_S + (self._timeout_s if timeout_s is None else timeout_s)
        return self._submit(request, timeout_s).result(wait_s)

    def _submit(self, request: Request[T], timeout_s: float | None) -> Future[T]:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        caller = self._shared.get()
        observe = self._observer(request) if self._record.enabled else None
        if request.read is None:
            raw = caller.submit(request.data, timeout_s, observe=observe)
        else:
            linearizable = request.read == "linearizable"
            raw = caller.query(request.data, timeout_s, linearizable=linearizable, observe=observe)
        return Opened(raw, request.decode)

    def _observer(self, request: Request[T]) -> OperationRecord:
        return OperationRecord(
            recorder=self._record,
            op_id=f"{self._op_prefix}-{os.getpid()}-{next(self._op_numbers)}",
            client=self._label or client_name(),
            op=request.op,
            asked=request.asked(),
            measure=request.measure,
            t_invoke=self._record.now_ns(),
        )


def _rebuild(group: str, options: dict[str, Any]) -> Client:
    return Client(group, **options)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
