"""Other peers as Ray actor handles. A lost reply is a normal outcome.

Here:   calls with a callback, names resolved again when a handle went stale.
Never:  deadlines and slots (window.py), what the bytes mean.

Ray completes calls in one thread of its own, where our callbacks only put into a queue. Nothing is looked up by name
per message: with Ray's head down, established calls go on, and a lookup may hang, so lookups have their own thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

import ray
from ray.exceptions import ActorDiedError, RayError

from raft_actors.core.types import MemberId
from raft_actors.names import NAMESPACE, peer_name
from raft_actors.peer.links import Done, Fetched, Lost
from raft_actors.wire import Wire

LOOKUP_RETRY_S: Final = (0.05, 1.0)
"""First and longest wait between lookups of a name that is not there."""


def _ended(done: Done, on_error: Callable[[BaseException], None], future: Future[Any]) -> None:
    """Call `done` with the answer's bytes, or `on_error(error)` and then `done(None)`.

    In the thread in which Ray completes calls, one for this process: both may only put into a queue.
    """
    error = future.exception()
    if error is not None:
        on_error(error)
        done(None)
    else:
        answer = future.result()
        done(answer if type(answer) is bytes else None)


def _slice_answered(
    done: Callable[[Fetched], None], on_error: Callable[[BaseException], None], future: Future[Any]
) -> None:
    """What `RaftPeer.read_snapshot` returned. The reference in it, if there is one, is followed in its turn."""
    error = future.exception()
    if error is not None:
        on_error(error)
        done(Lost.LOST)
        return
    answer = future.result()
    if answer is None:
        done(Lost.GONE)
        return
    head, data = answer
    if isinstance(data, bytes):
        done((head, memoryview(data)))
    else:
        data[0].future().add_done_callback(partial(_reference_followed, done, head))


def _reference_followed(done: Callable[[Fetched], None], head: bytes, future: Future[Any]) -> None:
    done(Lost.LOST if future.exception() is not None else (head, memoryview(future.result())))


class RayTransport:
    """Calls to the other peers of a group (links.Transport)."""

    def __init__(self, group: str, others: tuple[MemberId, ...], hello: bytes, wire: Wire) -> None:
        """`hello` goes to each of the `others` once. `wire` is closed with this."""
        self._group = group
        self._wire = wire
        self._hello = hello
        self._handles: dict[MemberId, Any] = {}
        self._missing = set(others)
        self._ungreeted = set(others)
        self._lock = threading.Lock()
        self._look = threading.Event()
        self._closed = threading.Event()
        self._lookups = threading.Thread(target=self._look_up_run, name="peer lookups", daemon=True)
        self._look.set()
        self._lookups.start()

    def call(self, to: MemberId, method: str, data: bytes, done: Done) -> None:
        """Begin the call. An unknown or dead target ends it at once with None."""
        handle = self._handles.get(to)
        if handle is None:
            self._lost(to)
            done(None)
            return
        try:
            self._wire.send(
                to,
                method,
                len(data),
                lambda: getattr(handle, method).remote(data).future(),
                partial(_ended, done, partial(self._call_failed, to, handle)),
            )
        except RayError:  # PendingCallsLimitExceeded, or the actor is known to be dead
            done(None)

    def fetch(self, to: MemberId, request: bytes, done: Callable[[Fetched], None]) -> None:
        """Ask for a slice of a peer's snapshot; its bytes come behind a reference, or within the answer."""
        handle = self._handles.get(to)
        if handle is None:
            self._lost(to)
            done(Lost.LOST)
            return
        try:
            self._wire.send(
                to,
                "read_snapshot",
                len(request),
                lambda: handle.read_snapshot.remote(request).future(),
                partial(_slice_answered, done, partial(self._call_failed, to, handle)),
            )
        except RayError:
            done(Lost.LOST)

    def know(self, others: tuple[MemberId, ...]) -> None:
        """As links.Transport: a new one is looked up now, who left is looked for no more."""
        with self._lock:
            self._missing &= set(others)
            self._missing |= {member_id for member_id in others if member_id not in self._handles}
        self._look.set()

    def close(self) -> None:
        """End the threads."""
        self._closed.set()
        self._look.set()
        self._wire.close()
        if threading.current_thread() is not self._lookups:
            self._lookups.join(0.2)  # a lookup may hang while Ray's head is down; the thread ends after it

    def _call_failed(self, to: MemberId, handle: Any, error: BaseException) -> None:
        if isinstance(error, ActorDiedError) and self._handles.get(to) is handle:
            self._lost(to)

    def _lost(self, to: MemberId) -> None:
        with self._lock:
            self._handles.pop(to, None)
            self._missing.add(to)
        self._look.set()

    def _look_up_run(self) -> None:
        wait_s = LOOKUP_RETRY_S[0]
        while not self._closed.is_set():
            self._look.wait()
            if self._closed.is_set():
                return
            with self._lock:
                missing = sorted(self._missing)
            found = [member_id for member_id in missing if self._resolve(member_id)]
            with self._lock:
                if not self._missing:
                    self._look.clear()
            wait_s = LOOKUP_RETRY_S[0] if found else min(wait_s * 2, LOOKUP_RETRY_S[1])
            self._closed.wait(wait_s)

    def _resolve(self, member_id: MemberId) -> bool:
        try:
            handle = ray.get_actor(peer_name(self._group, member_id), namespace=NAMESPACE)
        except (ValueError, RayError):
            return False
        with self._lock:
            self._handles[member_id] = handle
            self._missing.discard(member_id)
            greet = member_id in self._ungreeted
            self._ungreeted.discard(member_id)
        if greet:
            self.call(member_id, "hello", self._hello, lambda answer: None)
        return True
