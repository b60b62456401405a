"""A peer's end of the socket, played by a test on the event loop of the application."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType

from raft_actors.application import exchange
from raft_actors.application.exchange import Attach, Attached, ClusterId
from raft_actors.application.pipe import FrameReader, Kind, PipeFrame, encode_frame
from raft_actors.application.settings import ApplicationSettings, SessionLimits, encode_settings
from raft_actors.core.types import DirectoryId, LogIndex

LONG_S = 20.0
CLUSTER = ClusterId(b"cluster-01234567")
SETTINGS = encode_settings(ApplicationSettings(sessions=SessionLimits(), machine=b""))

_NUMBERS = itertools.count(1)


def fresh_address() -> str:
    """An abstract name that no other test uses."""
    return f"\0raft-actors-test-{os.getpid()}-{next(_NUMBERS)}"


def attached(applied_index: int = 0, *, cluster_id: ClusterId = CLUSTER, settings: bytes = SETTINGS) -> Attached:
    return Attached(
        cluster_id=cluster_id,
        settings=settings,
        first_index=LogIndex(applied_index + 1),
        directory_id=DirectoryId(bytes(16)),
        start_count=1,
    )


class Connection:
    """One connection that the fake peer took."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader = FrameReader()
        self._frames: list[PipeFrame] = []

    async def send(self, *frames: tuple[Kind, int, bytes]) -> None:
        """Send these in one piece."""
        await self.send_bytes(b"".join(encode_frame(*frame) for frame in frames))

    async def send_bytes(self, data: bytes) -> None:
        async with asyncio.timeout(LONG_S):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def take(self, kind: Kind) -> PipeFrame:
        """The next frame, which must be of this kind."""
        while not self._frames:
            data = await self._receive()
            assert data, f"the connection ended before a frame {kind.name}"
            self._frames += self._reader.feed(data)
        frame = self._frames.pop(0)
        assert frame.kind is kind, f"expected {kind.name}, got {frame.kind.name}"
        return frame

    async def take_attach(self) -> Attach:
        return exchange.ATTACH.decode((await self.take(Kind.ATTACH)).payload)

    async def answer_attach(self, answer: exchange.AttachAnswer) -> Attach:
        """Take an attach and answer it."""
        request = await self.take_attach()
        await self.send((Kind.ATTACH_ANSWER, 0, exchange.ATTACH_ANSWER.encode(answer)))
        return request

    async def apply(self, request: exchange.Apply, number: int = 1) -> exchange.ApplyAnswer:
        """Send entries and take the answer, which must be the next frame."""
        await self.send((Kind.APPLY, number, exchange.APPLY.encode(request)))
        answer = await self.take(Kind.APPLY_ANSWER)
        assert answer.number == number
        return exchange.APPLY_ANSWER.decode(answer.payload)

    async def ended(self) -> bool:
        """Wait for the end; False when more frames came before it."""
        clean = not self._frames
        while await self._receive():
            clean = False
        return clean

    def close(self) -> None:
        self._socket.close()

    async def _receive(self) -> bytes:
        async with asyncio.timeout(LONG_S):
            return await asyncio.get_running_loop().sock_recv(self._socket, 65536)


class FakePeer:
    """Listens where the application looks for its peer."""

    def __init__(self) -> None:
        self.address = fresh_address()
        self._connections: list[Connection] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(self.address)
        self._listener.listen()

    def __enter__(self) -> FakePeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    async def accept(self) -> Connection:
        async with asyncio.timeout(LONG_S):
            taken, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        taken.setblocking(False)
        self._connections.append(Connection(taken))
        return self._connections[-1]

    def close(self) -> None:
        """As the end of the process."""
        self._listener.close()
        for connection in self._connections:
            connection.close()


async def until(reached: Callable[[], bool]) -> None:
    """Let the loop go round until this holds."""
    async with asyncio.timeout(LONG_S):
        while not reached():
            await asyncio.sleep(0)


@asynccontextmanager
async def ending(end: Callable[[], None], reached: Callable[[], bool]) -> AsyncIterator[None]:
    """Run the body, then `end`, and wait until it has had its effect: no transport may be left to the collector."""
    try:
        yield
    finally:
        end()
        await until(reached)
