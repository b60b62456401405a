"""The one thread of a process that sends for a group, and the futures of those who wait.

Here:   `Caller`: from any thread in, one sender thread around one `Engine`, futures out.
Never:  decisions (engine.py), Ray (a `Servers` is passed in), what a command means.

All clients of a process and group share one caller, and so one thread, one session and its batches. Sharing a session
is safe, because it only tells commands apart: sequences are drawn in one place. Nobody owns a thread by waiting.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from raft_actors.application.frames import ClientId
from raft_actors.application.packing import ID_BYTES
from raft_actors.client import outcomes
from raft_actors.client.engine import Engine
from raft_actors.client.limits import ClientLimits
from raft_actors.client.operation import Ended, Kind, OperationReport, Result
from raft_actors.client.servers import Servers
from raft_actors.errors import ClientClosed, ConfigError, OperationError
from raft_actors.peer.clock import Clock, MonotonicClock

log = logging.getLogger(__name__)

Observe: TypeAlias = Callable[[Result, OperationReport], None]
"""Told how an operation ended, in the sender thread, before its future is. Must be quick."""

IDLE_S: Final = 60.0
"""The longest wait for the inbox; there is no other reason to wake up."""
CLOSE_S: Final = 2.0
TIMEOUT_S_MAX: Final = 86_400.0
NO_REPORT: Final = OperationReport(attempts=0, server=None, leader=None, term=None)


@dataclass(frozen=True, slots=True)
class _Begin:
    number: int
    kind: Kind
    request: bytes
    timeout_ms: int
    began_ms: int


@dataclass(frozen=True, slots=True)
class _Answered:
    call_number: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class _Close:
    pass


@dataclass(slots=True)
class _Waiting:
    kind: Kind
    size_bytes: int
    future: Future[bytes]
    observe: Observe | None


class Caller:
    """Calls one group. Thread-safe. After a fork it is of no use in the child (callers.py makes another one)."""

    def __init__(
        self,
        group: str,
        servers: Servers,
        *,
        limits: ClientLimits | None = None,
        dice: random.Random | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Starts the sender thread. `servers` is closed with the caller."""
        self.group = group
        self.servers = servers
        self._limits = limits or ClientLimits()
        self._clock = clock or MonotonicClock()
        self._engine = Engine(self._limits, dice or random.Random(secrets.randbits(64)), _draw_client_id)
        self._inbox: queue.SimpleQueue[_Begin | _Answered | _Close] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._commands = 0
        self._queries = 0
        self._waiting_bytes = 0
        self._last_number = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"raft-sender-{group}", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether every further operation ends as `ClientClosed`."""
        return self._closed

    @property
    def is_own_thread(self) -> bool:
        """Whether this is the sender thread: whoever waits in it, waits for himself."""
        return threading.current_thread() is self._thread

    def submit(self, command: bytes, timeout_s: float, *, observe: Observe | None = None) -> Future[bytes]:
        """Apply the command, exactly once. The future has the machine's result, or an `OperationError`.

        It ends after `timeout_s` seconds at the latest, and cannot be cancelled: what was sent may happen. Raises
        `ConfigError` for a time that makes no sense.
        """
        return self._begin(Kind.COMMAND, command, timeout_s, observe)

    def query(
        self, request: bytes, timeout_s: float, *, linearizable: bool = True, observe: Observe | None = None
    ) -> Future[bytes]:
        """Ask the machine; `linearizable=False`: any member's, as old as its state may be. Otherwise as `submit`."""
        return self._begin(Kind.READ if linearizable else Kind.STALE, request, timeout_s, observe)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """End what is under way as `ClientClosed`, and the thread; waits for it at most `timeout_s` seconds."""
        self._inbox.put(_Close())
        if not self.is_own_thread:
            self._thread.join(timeout_s)

    # -- any thread -----------------------------------------------------------------------------------------------

    def _begin(self, kind: Kind, request: bytes, timeout_s: float, observe: Observe | None) -> Future[bytes]:
        timeout_ms = _milliseconds(timeout_s)
        future: Future[bytes] = Future()
        future.set_running_or_notify_cancel()
        waiting = _Waiting(kind, len(request), future, observe)
        with self._lock:
            refusal = self._refusal(waiting)
            if refusal is None:
                self._last_number += 1
                number = self._last_number
                self._waiting[number] = waiting
                self._count(waiting, 1)
                # Within the lock: after the last message of a closed inbox nobody would read it.
                self._inbox.put(_Begin(number, kind, request, timeout_ms, self._clock.now_ms()))
        if refusal is not None:
            _resolve(waiting, refusal, NO_REPORT)
        return future

    def _refusal(self, new: _Waiting) -> OperationError | None:
        if self._closed:
            return outcomes.closed(None)
        if self._waiting_bytes + new.size_bytes > self._limits.waiting_bytes_max:
            return outcomes.too_many(f"{self._waiting_bytes} bytes of operations")
        if new.kind is Kind.COMMAND and self._commands >= self._limits.commands_max:
            return outcomes.too_many(f"{self._commands} commands")
        if new.kind is not Kind.COMMAND and self._queries >= self._limits.queries_max:
            return outcomes.too_many(f"{self._queries} queries")
        return None

    def _count(self, waiting: _Waiting, sign: int) -> None:
        self._waiting_bytes += sign * waiting.size_bytes
        if waiting.kind is Kind.COMMAND:
            self._commands += sign
        else:
            self._queries += sign

    def _answered(self, call_number: int, data: bytes | None) -> None:
        """From a thread that must not be held up."""
        self._inbox.put(_Answered(call_number, data))

    # -- the sender thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closed:
                self._step()
        except Exception:
            log.exception("group %s: the sender failed; what is under way ends as unknown", self.group)
        else:
            self._receive_all()
            self._engine.close()
            self._tell_ended()
        finally:
            with self._lock:
                self._closed = True
                left, self._waiting = list(self._waiting.values()), {}
            for waiting in left:  # none, unless the sender failed
                failed = ClientClosed("the client's sender failed, see the log: use another client", outcome="unknown")
                _resolve(waiting, failed, NO_REPORT)
            self.servers.close()

    def _step(self) -> None:
        tick_ms = self._engine.next_tick_ms(self._clock.now_ms())
        wait_s = IDLE_S if tick_ms is None else min(IDLE_S, max(0.0, (tick_ms - self._clock.now_ms()) / 1000))
        with contextlib.suppress(queue.Empty):
            self._receive(self._inbox.get(timeout=wait_s))
        self._receive_all()
        now_ms = self._clock.now_ms()
        if self._engine.know(self.servers.members()):
            self.servers.look_again()
        self._engine.tick(now_ms)
        for call in self._engine.next_calls(now_ms):
            done = partial(self._answered, call.number)
            if not self.servers.begin(call.member_id, call.kind.method, call.data, done):
                self._engine.not_sent(call.number, now_ms)
        self._tell_ended()

    def _receive_all(self) -> None:
        """What has arrived so far: the operations in it share batches. No more, or sending would wait for ever."""
        for _ in range(self._inbox.qsize()):
            self._receive(self._inbox.get_nowait())

    def _receive(self, message: _Begin | _Answered | _Close) -> None:
        match message:
            case _Begin():
                self._engine.begin(message.number, message.kind, message.request, message.timeout_ms, message.began_ms)
            case _Answered():
                self._engine.answered(message.call_number, message.data, self._clock.now_ms())
            case _Close():
                with self._lock:
                    self._closed = True

    def _tell_ended(self) -> None:
        for ended in self._engine.take_ended():
            self._tell(ended)

    def _tell(self, ended: Ended) -> None:
        with self._lock:
            waiting = self._waiting.pop(ended.number)
            self._count(waiting, -1)
        _resolve(waiting, ended.result, ended.report)


def _resolve(waiting: _Waiting, result: Result, report: OperationReport) -> None:
    if waiting.observe is not None:
        try:
            waiting.observe(result, report)
        except Exception:  # the observer is the caller's; its mistake must not cost anyone his answer
            log.exception("an observer of operations raised; its record is lost")
    if isinstance(result, OperationError):
        waiting.future.set_exception(result)
    else:
        waiting.future.set_result(result)


def _milliseconds(timeout_s: object) -> int:
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s <= TIMEOUT_S_MAX:
        raise ConfigError(f"timeout_s={timeout_s!r} must be seconds above 0, at most {TIMEOUT_S_MAX:g}")
    return max(1, round(timeout_s * 1000))


def _draw_client_id() -> ClientId:
    return ClientId(secrets.token_bytes(ID_BYTES))
