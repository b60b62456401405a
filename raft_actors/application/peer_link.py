"""The application's side of the socket to its co-located peer, on an asyncio loop (docs/adr/0008).

Here:   `PeerLink`: one connection, its frames, the requests that wait for their answer.
Never:  what is said (exchange.py), what follows from it (actor.py).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

from raft_actors.application import exchange
from raft_actors.application.packing import Malformed
from raft_actors.application.pipe import FrameReader, Kind, PipeFrame, encode_frame, encode_slice
from raft_actors.application.slices import Slice
from raft_actors.process import same_user

T = TypeVar("T")


class Application(Protocol):
    """Who stands behind the link. All of it is called on the loop."""

    def peer_attached(self, answer: exchange.AttachAnswer) -> None:
        """The peer's answer to an attach; entries may follow at once."""
        ...

    def peer_applies(self, request: exchange.Apply) -> exchange.ApplyAnswer:
        """Committed entries."""
        ...

    def peer_lost_term(self, news: exchange.TermLost) -> None:
        """The peer no longer leads."""
        ...

    def peer_asks_slice(self, asked: exchange.AskSlice, link: PeerLink) -> None:
        """It wants the next bytes of the state."""
        ...

    def peer_gone(self) -> None:
        """The connection ended."""
        ...


class PeerLink(asyncio.Protocol):
    """One connection to the peer."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._proposals: dict[int, Callable[[exchange.ProposeAnswer | None], None]] = {}
        self._reads: dict[int, Callable[[exchange.ReadAnswer | None], None]] = {}
        self._last_number = 0
        self.gone = asyncio.Event()

    @classmethod
    async def connect(cls, address: str, application: Application) -> PeerLink | None:
        """A connection to the peer at `address`, or None when nobody of our user listens there."""
        # Connected here, not by the loop: uvloop, which Ray takes where it is installed, knows no abstract addresses.
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(address)  # at once, or not at all: a full backlog is an OSError too
            if not same_user(connection):
                raise PermissionError(f"another user listens at {address!r}")
            loop = asyncio.get_running_loop()
            _, link = await loop.create_unix_connection(lambda: cls(application), sock=connection)
        except OSError:
            connection.close()
            return None
        return link

    def attach(self, request: exchange.Attach) -> None:
        """Attach; `peer_attached` follows."""
        self._write(Kind.ATTACH, 0, exchange.ATTACH.encode(request))

    def propose(self, data: bytes, ended: Callable[[exchange.ProposeAnswer | None], None]) -> None:
        """Put one entry into the log. `ended` is called once; with None when nobody knows, or the connection ended."""
        if self.gone.is_set():
            ended(None)
        else:
            self._proposals[self._ask(Kind.PROPOSE, exchange.PROPOSE.encode(exchange.Propose(data=data)))] = ended

    def read(self, ended: Callable[[exchange.ReadAnswer | None], None]) -> None:
        """Ask from which index on a state is new enough. `ended` is called once; with None when that is not known."""
        if self.gone.is_set():
            ended(None)
        else:
            self._reads[self._ask(Kind.READ, exchange.READ.encode(exchange.Read()))] = ended

    def slice(self, job: int, slice_: Slice, data: bytes) -> None:
        """Bytes of the state, where the object store has no room for them."""
        self._write(Kind.SLICE, job, encode_slice(slice_, data))

    def refuse_slice(self, refused: exchange.SliceRefused) -> None:
        """There will be no bytes."""
        self._write(Kind.SLICE_REFUSED, 0, exchange.SLICE_REFUSED.encode(refused))

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except Malformed:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the peer's process ended, or one side closed."""
        self.gone.set()
        self._application.peer_gone()  # first, so that what ends below is not tried again here
        proposals, self._proposals = self._proposals, {}
        for proposal_ended in proposals.values():
            proposal_ended(None)
        reads, self._reads = self._reads, {}
        for read_ended in reads.values():
            read_ended(None)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _ask(self, kind: Kind, payload: bytes) -> int:
        """Send a question; the number that its answer will carry."""
        self._last_number += 1
        self._write(kind, self._last_number, payload)
        return self._last_number

    def _write(self, kind: Kind, number: int, payload: bytes) -> None:
        if self._transport is not None:
            self._transport.write(encode_frame(kind, number, payload))

    def _take(self, frame: PipeFrame) -> None:
        match frame.kind:
            case Kind.ATTACH_ANSWER:
                self._application.peer_attached(exchange.ATTACH_ANSWER.decode(frame.payload))
            case Kind.APPLY:
                answer = self._application.peer_applies(exchange.APPLY.decode(frame.payload))
                self._write(Kind.APPLY_ANSWER, frame.number, exchange.APPLY_ANSWER.encode(answer))
                if isinstance(answer, exchange.WrongEpoch):
                    self.close()  # the two do not agree on who is attached: begin again
            case Kind.TERM_LOST:
                self._application.peer_lost_term(exchange.TERM_LOST.decode(frame.payload))
            case Kind.ASK_SLICE:
                self._application.peer_asks_slice(exchange.ASK_SLICE.decode(frame.payload), self)
            case Kind.PROPOSE_ANSWER:  # read before anyone is told: who gets a malformed answer waits for the end
                started = exchange.PROPOSE_ANSWER.decode(frame.payload) if frame.payload else None
                _end(self._proposals, frame.number, started)
            case Kind.READ_ANSWER:
                read = exchange.READ_ANSWER.decode(frame.payload) if frame.payload else None
                _end(self._reads, frame.number, read)
            case _:
                raise Malformed(f"a peer does not send {frame.kind.name}")


def _end(waiting: dict[int, Callable[[T], None]], number: int, answer: T) -> None:
    """Tell who waits for this number, if anybody does."""
    ended = waiting.pop(number, None)
    if ended is not None:
        ended(answer)
