"""The KV server: the co-located application actor, with the store's own methods for one attempt at one server.

Here:   `KVServer`.
Never:  retries and leader search (kv/client.py), batching and waiting (raft_actors/application/actor.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from kv import commands, results
from kv.encoded import Encoded, Kind, Versioned
from kv.limits import Limits
from kv.machine import KVMachine
from kv.values import decode, encode
from raft_actors.application.actor import ApplicationActor
from raft_actors.application.exchange import NotLeader
from raft_actors.application.frames import ClientId, Frame, SessionExpired
from raft_actors.application.requests import (
    ANSWERS,
    QUERY,
    QUERY_ANSWERS,
    SUBMIT,
    Answer,
    Attempt,
    Done,
    Query,
    QueryAnswer,
    QueryDone,
    Submit,
    Unknown,
)
from raft_actors.core.types import MemberId
from raft_actors.errors import OperationError

T = TypeVar("T")

TIMEOUT_MS: Final = 2000
"""How long one attempt at one server may take."""


class KVServer(ApplicationActor):
    """One member of a store. Values that only their writer's code can open come back as `kv.Encoded`."""

    def __init__(self, group: str, member_id: MemberId, machine: Callable[[bytes], KVMachine]) -> None:
        super().__init__(group, member_id, machine)
        self._limits = Limits()
        self._session = _DirectSession()

    def __repr__(self) -> str:
        return f"KVServer({self._group}/{self._member_id})"

    async def get(self, key: str, default: Any = None, consistency: str = "linearizable") -> Any:
        """The value of `key` as this member sees it, or `default`."""
        found = await self.get_versioned(key, consistency)
        return default if found is None else found.value

    async def get_versioned(self, key: str, consistency: str = "linearizable") -> Versioned[Any] | None:
        """The value and its version, or None."""
        request = commands.encode_get([key], limits=self._limits)
        answer = await self._one_query(request, linearizable=consistency != "stale")
        found = results.decode_found(answer, [key])[0]
        return None if found is None else Versioned(value=_opened(found.value), version=found.version)

    async def put(self, key: str, value: Any, if_version: int | None = None) -> int:
        """Write, if this member leads; the new version."""
        encoded = encode(value, value_bytes_max=self._limits.value_bytes_max)
        command = commands.encode_put(key, encoded, if_version=if_version, limits=self._limits)
        return results.decode_version(await self._one_command(command))

    async def append(self, key: str, value: Any) -> int:
        """Append, if this member leads; the new version."""
        encoded = encode(value, value_bytes_max=self._limits.value_bytes_max)
        return results.decode_version(
            await self._one_command(commands.encode_append(key, encoded, limits=self._limits))
        )

    async def delete(self, key: str, if_version: int | None = None) -> bool:
        """Delete, if this member leads; whether the key was there."""
        command = commands.encode_delete(key, if_version=if_version, limits=self._limits)
        return results.decode_deleted(await self._one_command(command))

    async def _one_query(self, request: bytes, *, linearizable: bool) -> bytes:
        query = Query(requests=(request,), linearizable=linearizable, timeout_ms=TIMEOUT_MS)
        (answer,) = QUERY_ANSWERS.decode(await self.query(QUERY.encode(query)))
        if isinstance(answer, QueryDone):
            return answer.result
        raise self._no_result(answer)

    async def _one_command(self, command: bytes) -> bytes:
        attempt = self._session.begin(command)
        data = await self.submit(SUBMIT.encode(Submit(attempts=(attempt,), timeout_ms=TIMEOUT_MS)))
        (answer,) = ANSWERS.decode(data)
        self._session.end(attempt, answer)
        if isinstance(answer, Done):
            return answer.result
        raise self._no_result(answer)

    def _no_result(self, answer: Answer | QueryAnswer) -> OperationError:
        me = f"server {self._member_id} of group {self._group!r}"
        match answer:
            case NotLeader(leader=leader):
                whom = f"ask server {leader}" if leader is not None else "ask another one"
                return OperationError(f"{me} does not lead, nothing happened: {whom}, or use a kv.Client")
            case Unknown(why=why):
                return OperationError(f"{me} does not know what became of it ({why})", outcome="unknown")
            case _:
                return OperationError(f"{me} refused, nothing happened ({type(answer).__name__}): try again later")


class _DirectSession:
    """The session under which this server's own callers write: each of them makes one attempt and no other."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._client_id = ClientId(os.urandom(16))
        self._next = 0
        self._open: set[int] = set()
        self._answered = False
        self._opens = getattr(self, "_opens", 0)

    def begin(self, command: bytes) -> Attempt:
        sequence = self._next
        self._next += 1
        self._open.add(sequence)
        return Attempt(
            number=1,
            frame=Frame(
                client_id=self._client_id,
                sequence=sequence,
                acked_below=min(self._open),
                opens=None if self._answered else self._opens,
                command=command,
            ),
        )

    def end(self, attempt: Attempt, answer: Answer) -> None:
        if attempt.frame.client_id != self._client_id:
            return
        self._open.discard(attempt.frame.sequence)
        if isinstance(answer, SessionExpired):
            self._opens = answer.applied_index
            self._renew()
        elif isinstance(answer, Done):
            self._answered = True


def _opened(value: Encoded) -> Any:
    return value if value.kind is Kind.OPAQUE else decode(value, allow_pickle=False)
