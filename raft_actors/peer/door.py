"""The peer's side of the socket to its co-located application (docs/adr/0008).

Here:   the listening socket, one reader thread per connection, the `ApplicationLink` that a connection is.
Never:  what is said (raft_actors/application/exchange.py), what follows from it (peer.py, runtime.py).

Who writes: the apply command daemon alone, as soon as the peer runs; before that the reader thread, which then is the
only one that knows the connection. So frames never mix, and no lock is held over a write.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Final, Protocol

from raft_actors.application import exchange
from raft_actors.application.packing import Malformed
from raft_actors.application.pipe import FrameReader, Kind, PipeFrame, decode_slice, encode_frame
from raft_actors.application.slices import Slice
from raft_actors.peer.links import ApplicationLink, Done
from raft_actors.process import same_user

RETRY_S: Final = 0.1
"""Between attempts to bind, as a predecessor that is just ending still holds the name; and to accept."""
ACCEPT_WAIT_S: Final = 0.5
"""How late the end of the door may be noticed."""
WRITE_TIMEOUT_S: Final = 5.0
"""An application that takes nothing for this long is cut off; it attaches again when it is back."""
CONNECTIONS_MAX: Final = 4
READ_BYTES: Final = 256 * 1024


class Host(Protocol):
    """Who stands behind the door: the peer. Nothing here blocks for longer than a question to the owner."""

    def application_attaches(self, request: exchange.Attach, link: ApplicationLink) -> exchange.NotReady | None:
        """None: accepted, and `link.attached` is called before anything else is sent."""
        ...

    def application_proposes(self, data: bytes, link: ApplicationLink, number: int) -> None:
        """Ends in `link.proposal_answered(number, ...)`."""
        ...

    def application_reads(self, link: ApplicationLink, number: int) -> None:
        """Ends in `link.read_answered(number, ...)`."""
        ...

    def slice_arrived(self, job: int, slice_: Slice, data: memoryview) -> None:
        """The next bytes of the application's state."""
        ...

    def slice_refused(self, refused: exchange.SliceRefused) -> None:
        """There will be none."""
        ...

    def application_gone(self, link: ApplicationLink) -> None:
        """The connection ended, and with it in all likelihood the process."""
        ...


class ApplicationDoor:
    """Listens for as long as the process lives."""

    def __init__(self, address: str, host: Host) -> None:
        self._address = address
        self._host = host
        self._closed = threading.Event()
        self._connections: list[ApplicationConnection] = []
        self._thread = threading.Thread(target=self._listen, name="application door", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """End the connections and the threads."""
        deadline_s = time.monotonic() + timeout_s
        self._closed.set()
        self._thread.join(timeout_s)  # first: after that no connection is added
        for connection in self._connections:
            connection.close()
        for connection in self._connections:
            connection.join(max(0.0, deadline_s - time.monotonic()))

    def _listen(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            while not self._closed.is_set():
                try:
                    listener.bind(self._address)
                    break
                except OSError:
                    self._closed.wait(RETRY_S)
            if self._closed.is_set():
                return
            listener.listen(CONNECTIONS_MAX)
            listener.settimeout(ACCEPT_WAIT_S)
            while not self._closed.is_set():
                try:
                    self._accept(listener.accept()[0])
                except TimeoutError:
                    continue
                except OSError:  # no descriptor left, or the other one went away: without a door there is no service
                    self._closed.wait(RETRY_S)

    def _accept(self, connection: socket.socket) -> None:
        self._connections = [each for each in self._connections if not each.closed]
        if not same_user(connection) or len(self._connections) >= CONNECTIONS_MAX:
            connection.close()
            return
        self._connections.append(ApplicationConnection(connection, self._host))


class ApplicationConnection:
    """One connection of an application (links.ApplicationLink)."""

    def __init__(self, connection: socket.socket, host: Host) -> None:
        self._socket = connection
        self._host = host
        self._calls: dict[int, Done] = {}
        self._last_number = 0
        self._lock = threading.Lock()
        """Guards the calls, never a write."""
        self.closed = False
        connection.settimeout(WRITE_TIMEOUT_S)
        self._thread = threading.Thread(target=self._read, name="application link", daemon=True)
        self._thread.start()

    # -- ApplicationLink: in the apply command daemon -----------------------------------------------------------------

    def attached(self, answer: exchange.Attached | exchange.Restore) -> None:
        """Tell the application where it goes on."""
        self._write(Kind.ATTACH_ANSWER, 0, exchange.ATTACH_ANSWER.encode(answer))

    def apply(self, request: exchange.Apply, done: Done) -> None:
        """Send committed entries; `done` is called with the answer, or with None when the connection ends."""
        with self._lock:
            if self.closed:
                number = None
            else:
                self._last_number = number = self._last_number + 1
                self._calls[number] = done
        if number is None:
            done(None)
        else:
            self._write(Kind.APPLY, number, exchange.APPLY.encode(request))

    def term_lost(self, news: exchange.TermLost) -> None:
        """Tell the application."""
        self._write(Kind.TERM_LOST, 0, exchange.TERM_LOST.encode(news))

    def ask_slice(self, asked: exchange.AskSlice) -> None:
        """Ask for the next bytes of its state."""
        self._write(Kind.ASK_SLICE, 0, exchange.ASK_SLICE.encode(asked))

    def proposal_answered(self, number: int, answer: exchange.ProposeAnswer | None) -> None:
        """Answer a proposal; None: nobody knows."""
        data = b"" if answer is None else exchange.PROPOSE_ANSWER.encode(answer)
        self._write(Kind.PROPOSE_ANSWER, number, data)

    def read_answered(self, number: int, answer: exchange.ReadAnswer | None) -> None:
        """Answer a read; None: not confirmed in time."""
        self._write(Kind.READ_ANSWER, number, b"" if answer is None else exchange.READ_ANSWER.encode(answer))

    def close(self) -> None:
        """End the connection; the reader thread notices, and tells whoever waits."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def join(self, timeout_s: float) -> None:
        """Wait for the reader thread, after `close`."""
        self._thread.join(timeout_s)

    def _write(self, kind: Kind, number: int, payload: bytes) -> None:
        try:
            self._socket.sendall(encode_frame(kind, number, payload))
        except OSError:  # gone, or it has taken nothing for too long: part of a frame may be out
            self.close()

    # -- the reader thread --------------------------------------------------------------------------------------------

    def _read(self) -> None:
        reader = FrameReader()
        try:
            while data := self._receive():
                for frame in reader.feed(data):
                    self._take(frame)
        except (OSError, Malformed):
            pass  # whatever it was, this connection is of no use any more
        finally:
            with self._lock:
                self.closed = True
                calls, self._calls = self._calls, {}
            self._socket.close()
            for done in calls.values():
                done(None)
            self._host.application_gone(self)

    def _receive(self) -> bytes:
        while True:
            try:
                return self._socket.recv(READ_BYTES)
            except TimeoutError:
                continue  # the timeout is for writes; silence is no fault

    def _take(self, frame: PipeFrame) -> None:
        match frame.kind:
            case Kind.ATTACH:
                refusal = self._host.application_attaches(exchange.ATTACH.decode(frame.payload), self)
                if refusal is not None:
                    self._write(Kind.ATTACH_ANSWER, 0, exchange.ATTACH_ANSWER.encode(refusal))
            case Kind.APPLY_ANSWER:
                exchange.APPLY_ANSWER.decode(frame.payload)  # a malformed one ends the connection: both begin again
                with self._lock:
                    done = self._calls.pop(frame.number, None)
                if done is not None:
                    done(frame.payload)
            case Kind.PROPOSE:
                self._host.application_proposes(exchange.PROPOSE.decode(frame.payload).data, self, frame.number)
            case Kind.READ:
                self._host.application_reads(self, frame.number)
            case Kind.SLICE:
                self._host.slice_arrived(frame.number, *decode_slice(frame.payload))
            case Kind.SLICE_REFUSED:
                self._host.slice_refused(exchange.SLICE_REFUSED.decode(frame.payload))
            case _:
                raise Malformed(f"an application does not send {frame.kind.name}")
