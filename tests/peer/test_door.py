"""The peer's end of the socket to its application: real threads, real sockets, a host played by the test."""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace

import pytest

from raft_actors.application import exchange
from raft_actors.application.exchange import Applied, Attach, Attached, Epoch, NotLeader, NotReady, ReadAt, Started
from raft_actors.application.pipe import FrameReader, Kind, PipeFrame, encode_frame
from raft_actors.application.slices import Slice
from raft_actors.core.types import LogIndex, Term
from raft_actors.peer import door
from raft_actors.peer.door import ApplicationConnection, ApplicationDoor
from raft_actors.peer.links import ApplicationLink
from tests.application.builders import EPOCH, apply_request, entry
from tests.application.fake_peer import attached, fresh_address
from tests.peer.test_runtime import LONG_S, wait_for

ATTACH = exchange.ATTACH.encode(
    Attach(epoch=Epoch(EPOCH), cluster_id=None, applied_index=LogIndex(0), checkpoints=(), provenance=None)
)
PROPOSE = exchange.PROPOSE.encode(exchange.Propose(data=b"batch"))
APPLIED = exchange.APPLY_ANSWER.encode(Applied(applied_index=LogIndex(1), chain=bytes(16), checkpoints=()))
THREADS = {"application door", "application link"}


class Host:
    """Hands what arrives to the test, and accepts attachments once it is ready."""

    def __init__(self) -> None:
        self.ready = True
        self.links: queue.SimpleQueue[ApplicationLink] = queue.SimpleQueue()
        self.asked: queue.SimpleQueue[tuple[object, ...]] = queue.SimpleQueue()
        self.gone: list[ApplicationLink] = []

    def application_attaches(self, request: exchange.Attach, link: ApplicationLink) -> NotReady | None:
        if not self.ready:
            return NotReady(why="still starting")
        self.links.put(link)
        return None

    def application_proposes(self, data: bytes, link: ApplicationLink, number: int) -> None:
        self.asked.put(("proposes", data, number))

    def application_reads(self, link: ApplicationLink, number: int) -> None:
        self.asked.put(("reads", number))

    def slice_arrived(self, job: int, slice_: Slice, data: memoryview) -> None:
        self.asked.put(("gives", job, slice_, bytes(data)))

    def slice_refused(self, refused: exchange.SliceRefused) -> None:
        self.asked.put(("refuses", refused))

    def application_gone(self, link: ApplicationLink) -> None:
        self.gone.append(link)


class Client:
    """An application's end, read frame by frame."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.socket.settimeout(LONG_S)
        self._reader = FrameReader()
        self._frames: list[PipeFrame] = []

    def send(self, kind: Kind, number: int, payload: bytes = b"") -> None:
        self.socket.sendall(encode_frame(kind, number, payload))

    def take(self) -> PipeFrame:
        while not self._frames:
            data = self.socket.recv(65536)
            assert data, "the connection ended before a frame"
            self._frames += self._reader.feed(data)
        return self._frames.pop(0)

    def ended(self) -> bool:
        """Wait for what comes next; whether it is the end."""
        return self.socket.recv(1) == b""

    def close(self) -> None:
        self.socket.close()


class House:
    """A door, its host and its visitors."""

    def __init__(self) -> None:
        self.host = Host()
        self.address = fresh_address()
        self.door = ApplicationDoor(self.address, self.host)
        self._clients: list[Client] = []

    def connect(self) -> Client:
        """Connect as soon as somebody listens."""
        visitor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        wait_for(lambda: visitor.connect_ex(self.address) == 0)
        self._clients.append(Client(visitor))
        return self._clients[-1]

    def attach(self) -> tuple[Client, ApplicationLink]:
        """A client, and the link that its host got."""
        client = self.connect()
        client.send(Kind.ATTACH, 0, ATTACH)
        return client, self.host.links.get(timeout=LONG_S)

    def close(self) -> None:
        self.door.close(LONG_S)
        for client in self._clients:
            client.close()


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(door, "ACCEPT_WAIT_S", 0.01)
    monkeypatch.setattr(door, "RETRY_S", 0.01)
    with closing(House()) as house:
        yield house


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in THREADS]


class TestAttaching:
    def test_a_host_that_is_not_ready_says_why(self, house: House) -> None:
        house.host.ready = False
        client = house.connect()
        client.send(Kind.ATTACH, 0, ATTACH)
        answer = client.take()
        assert answer.kind is Kind.ATTACH_ANSWER
        assert exchange.ATTACH_ANSWER.decode(answer.payload) == NotReady(why="still starting")
        house.host.ready = True
        client.send(Kind.ATTACH, 0, ATTACH)  # asked again on the same connection
        house.host.links.get(timeout=LONG_S).attached(attached())
        assert exchange.ATTACH_ANSWER.decode(client.take().payload) == attached()

    def test_the_answer_goes_out_before_the_entries(self, house: House) -> None:
        client, link = house.attach()
        answer, request = attached(4), apply_request(5, entry(b"x"))
        link.attached(answer)
        link.apply(request, lambda data: None)
        first, second = client.take(), client.take()
        assert exchange.ATTACH_ANSWER.decode(first.payload) == answer
        assert isinstance(answer, Attached)
        assert (second.kind, exchange.APPLY.decode(second.payload)) == (Kind.APPLY, request)


class TestQuestionsOfTheApplication:
    def test_they_reach_the_host_and_their_answers_carry_their_numbers(self, house: House) -> None:
        client, link = house.attach()
        client.send(Kind.PROPOSE, 7, PROPOSE)
        client.send(Kind.READ, 8)
        assert house.host.asked.get(timeout=LONG_S) == ("proposes", b"batch", 7)
        assert house.host.asked.get(timeout=LONG_S) == ("reads", 8)
        started, read_at = Started(index=LogIndex(1), term=Term(1)), ReadAt(index=LogIndex(1))
        link.read_answered(8, read_at)
        link.proposal_answered(7, started)
        read, proposal = client.take(), client.take()
        assert (read.kind, read.number) == (Kind.READ_ANSWER, 8)
        assert exchange.READ_ANSWER.decode(read.payload) == read_at
        assert (proposal.kind, proposal.number) == (Kind.PROPOSE_ANSWER, 7)
        assert exchange.PROPOSE_ANSWER.decode(proposal.payload) == started

    def test_nobody_knows_is_an_answer_without_payload(self, house: House) -> None:
        client, link = house.attach()
        link.proposal_answered(1, None)
        link.read_answered(2, None)
        assert client.take() == PipeFrame(kind=Kind.PROPOSE_ANSWER, number=1, payload=b"")
        assert client.take() == PipeFrame(kind=Kind.READ_ANSWER, number=2, payload=b"")

    def test_the_loss_of_a_term_is_told(self, house: House) -> None:
        client, link = house.attach()
        news = exchange.TermLost(epoch=EPOCH, term=Term(3))
        link.term_lost(news)
        told = client.take()
        assert (told.kind, exchange.TERM_LOST.decode(told.payload)) == (Kind.TERM_LOST, news)


class TestEntries:
    def test_answers_find_their_calls_by_number_in_any_order(self, house: House) -> None:
        client, link = house.attach()
        ended: queue.SimpleQueue[tuple[str, bytes | None]] = queue.SimpleQueue()
        link.apply(apply_request(1), lambda data: ended.put(("first", data)))
        link.apply(apply_request(2), lambda data: ended.put(("second", data)))
        first, second = client.take(), client.take()
        client.send(Kind.APPLY_ANSWER, second.number + 1, APPLIED)  # of no call: counts for nothing
        client.send(Kind.APPLY_ANSWER, second.number, APPLIED)
        assert ended.get(timeout=LONG_S) == ("second", APPLIED)
        client.send(Kind.APPLY_ANSWER, first.number, APPLIED)
        assert ended.get(timeout=LONG_S) == ("first", APPLIED)

    def test_calls_end_without_an_answer_when_the_application_goes(self, house: House) -> None:
        client, link = house.attach()
        ended: list[bytes | None] = []
        link.apply(apply_request(1), ended.append)
        link.apply(apply_request(2), ended.append)
        assert (client.take().kind, client.take().kind) == (Kind.APPLY, Kind.APPLY)
        client.close()
        wait_for(lambda: house.host.gone == [link])
        assert ended == [None, None]
        link.apply(apply_request(3), ended.append)  # the daemon does not know yet
        assert ended == [None, None, None]
        link.term_lost(exchange.TermLost(epoch=EPOCH, term=Term(3)))
        link.close()
        house.door.close(LONG_S)
        assert house.host.gone == [link]

    def test_an_application_that_takes_nothing_is_cut_off_timing_sensitive(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The apply command daemon writes: it may be held up for a while, not for ever."""
        monkeypatch.setattr(door, "WRITE_TIMEOUT_S", 0.02)
        _, link = house.attach()
        ended: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        link.apply(apply_request(1, entry(bytes(8 * 1024 * 1024))), ended.put)
        assert ended.get(timeout=LONG_S) is None
        wait_for(lambda: house.host.gone == [link])
        other, _ = house.attach()  # it may attach again
        assert other is not None

    def test_silence_of_the_application_is_no_fault(self) -> None:
        """The socket's timeout is for writes; an idle application sends nothing for hours."""

        class Silent(socket.socket):
            timeouts_left = 3

            def recv(self, size: int, flags: int = 0) -> bytes:
                if self.timeouts_left:
                    self.timeouts_left -= 1
                    raise TimeoutError("timed out")
                return super().recv(size, flags)

        here, there = socket.socketpair()
        host, client = Host(), Client(there)
        connection = ApplicationConnection(Silent(fileno=here.detach()), host)
        client.send(Kind.READ, 1)
        assert host.asked.get(timeout=LONG_S) == ("reads", 1)
        client.close()
        connection.join(LONG_S)
        assert host.gone == [connection]


class TestWhoMayEnter:
    def test_a_process_of_another_user_is_shown_out(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        stranger = os.getuid() + 1
        with monkeypatch.context() as patched:
            patched.setattr(os, "getuid", lambda: stranger)
            assert house.connect().ended()
        house.attach()
        assert house.host.gone == []  # it never was a connection of the host's

    def test_there_are_not_more_than_so_many_at_a_time(self, house: House) -> None:
        inside = [house.attach() for _ in range(door.CONNECTIONS_MAX)]
        assert house.connect().ended()
        client, link = inside[0]
        client.close()
        wait_for(lambda: house.host.gone == [link])
        house.attach()
        for _, other in inside[1:]:
            assert other not in house.host.gone

    def test_a_visitor_that_goes_wrong_at_the_door_does_not_close_it(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a door the member has no application until its process ends."""
        right, wrong = door.same_user, [OSError("too many open files")]

        def same_user(connection: socket.socket) -> bool:
            if wrong:
                connection.close()
                raise wrong.pop()
            return right(connection)

        monkeypatch.setattr(door, "same_user", same_user)
        assert house.connect().ended()
        house.attach()
        assert wrong == []


class TestMalformed:
    @pytest.mark.parametrize(
        "data",
        [
            b"GET / HTTP/1.1\r\n\r\n",
            encode_frame(Kind.ATTACH, 0, b"no attach"),
            encode_frame(Kind.PROPOSE, 1, b"no proposal"),
            encode_frame(Kind.APPLY_ANSWER, 1, b"no answer"),
            encode_frame(Kind.APPLY_ANSWER, 1, b""),
            encode_frame(Kind.ATTACH_ANSWER, 0, b""),
            encode_frame(Kind.TERM_LOST, 0, b""),
        ],
        ids=["no frame", "attach", "proposal", "apply answer", "no apply answer", "attach answer", "term lost"],
    )
    def test_it_ends_that_connection_and_no_other(self, house: House, data: bytes) -> None:
        good, good_link = house.attach()
        bad, bad_link = house.attach()
        ended: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        bad_link.apply(apply_request(1), ended.put)
        bad.take()
        bad.socket.sendall(data)
        assert ended.get(timeout=LONG_S) is None
        wait_for(lambda: house.host.gone == [bad_link])
        good_link.read_answered(1, NotLeader(leader=None))
        assert good.take().kind is Kind.READ_ANSWER


class TestLife:
    def test_a_predecessor_that_still_holds_the_name_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The process before may be ending still when Ray starts the next one."""
        monkeypatch.setattr(door, "ACCEPT_WAIT_S", 0.01)
        tried = threading.Event()
        predecessor, address = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), fresh_address()
        predecessor.bind(address)

        class Impatient(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                tried.set()
                return super().wait(0.001)

        monkeypatch.setattr(door, "threading", SimpleNamespace(**{**vars(threading), "Event": Impatient}))
        host = Host()
        waiting = ApplicationDoor(address, host)
        with closing(waiting):
            assert tried.wait(LONG_S)
            predecessor.close()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
                wait_for(lambda: visitor.connect_ex(address) == 0)
                visitor.sendall(encode_frame(Kind.READ, 1, b""))
                assert host.asked.get(timeout=LONG_S) == ("reads", 1)

    def test_closing_it_while_it_waits_for_the_name_ends_it(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as predecessor:
            address = fresh_address()
            predecessor.bind(address)
            ApplicationDoor(address, Host()).close(LONG_S)
        assert threads() == []

    def test_closing_it_ends_every_connection_and_leaves_no_thread(self, house: House) -> None:
        visitors = [house.attach() for _ in range(2)]
        assert sorted(threads()) == ["application door", "application link", "application link"]
        house.door.close(LONG_S)
        assert threads() == []
        assert sorted(map(id, house.host.gone)) == sorted(id(link) for _, link in visitors)
        for client, _ in visitors:
            assert client.ended()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
            assert visitor.connect_ex(house.address) != 0

    def test_the_host_may_end_a_connection(self, house: House) -> None:
        client, link = house.attach()
        link.close()
        assert client.ended()
        wait_for(lambda: house.host.gone == [link])
