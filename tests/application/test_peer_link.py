"""The application's end of the socket to its peer: real sockets, one loop, a peer played by the test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from raft_actors.application import exchange
from raft_actors.application.exchange import Applied, Attach, NotLeader, NotReady, ReadAt, Started, TermLost, WrongEpoch
from raft_actors.application.peer_link import PeerLink
from raft_actors.application.pipe import Kind
from raft_actors.core.types import LogIndex, Term
from tests.application.builders import EPOCH, apply_request, entry
from tests.application.fake_peer import LONG_S, Connection, FakePeer, attached, ending, fresh_address

STARTED = Started(index=LogIndex(3), term=Term(2))
READ_AT = ReadAt(index=LogIndex(9))
ATTACH = Attach(epoch=EPOCH, cluster_id=None, applied_index=LogIndex(0), checkpoints=(), provenance=None)
APPLIED = Applied(applied_index=LogIndex(1), chain=bytes(16), checkpoints=())


class Application:
    """Writes down what the link tells it."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.answer: exchange.ApplyAnswer = APPLIED

    def peer_attached(self, answer: exchange.AttachAnswer) -> None:
        self.told.append(answer)

    def peer_applies(self, request: exchange.Apply) -> exchange.ApplyAnswer:
        self.told.append(request)
        return self.answer

    def peer_lost_term(self, news: exchange.TermLost) -> None:
        self.told.append(news)

    def peer_gone(self) -> None:
        self.told.append("gone")


class Pair:
    """A link and the peer's end of it."""

    def __init__(self, application: Application, link: PeerLink, peer: Connection) -> None:
        self.application = application
        self.link = link
        self.peer = peer

    async def gone(self) -> None:
        async with asyncio.timeout(LONG_S):
            await self.link.gone.wait()


@asynccontextmanager
async def connected() -> AsyncIterator[Pair]:
    application = Application()
    with FakePeer() as listening:
        link = await PeerLink.connect(listening.address, application)
        assert link is not None
        async with ending(link.close, link.gone.is_set):
            yield Pair(application, link, await listening.accept())


def on_a_loop(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


class TestConnecting:
    def test_nobody_listens(self) -> None:
        async def story() -> None:
            assert await PeerLink.connect(fresh_address(), Application()) is None

        on_a_loop(story())

    def test_a_listener_of_another_user_is_left_at_once_and_told_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stranger = os.getuid() + 1

        async def story() -> None:
            with FakePeer() as listening:
                assert await PeerLink.connect(listening.address, Application()) is None
                peer = await listening.accept()
                assert await peer.ended()

        monkeypatch.setattr("os.getuid", lambda: stranger)
        on_a_loop(story())


class TestAttaching:
    def test_the_request_goes_out_and_its_answer_comes_in(self) -> None:
        async def story() -> None:
            async with connected() as pair:
                for answer in (NotReady(why="starting"), attached()):
                    pair.link.attach(ATTACH)
                    assert await pair.peer.answer_attach(answer) == ATTACH
                pair.peer.close()
                await pair.gone()
                assert pair.application.told == [NotReady(why="starting"), attached(), "gone"]

        on_a_loop(story())

    def test_entries_right_behind_the_answer_come_after_it(self) -> None:
        """The epoch must be taken up before its first entries, also when both arrive in one piece."""

        async def story() -> None:
            async with connected() as pair:
                request = apply_request(1, entry(b"a"))
                await pair.peer.send(
                    (Kind.ATTACH_ANSWER, 0, exchange.ATTACH_ANSWER.encode(attached())),
                    (Kind.APPLY, 1, exchange.APPLY.encode(request)),
                )
                assert (await pair.peer.take(Kind.APPLY_ANSWER)).number == 1
                assert pair.application.told == [attached(), request]

        on_a_loop(story())


class TestEntries:
    def test_each_call_is_answered_under_its_number(self) -> None:
        async def story() -> None:
            async with connected() as pair:
                for number in (5, 6):
                    assert await pair.peer.apply(apply_request(1, entry(b"a")), number) == APPLIED

        on_a_loop(story())

    def test_a_wrong_epoch_is_answered_and_ends_the_connection(self) -> None:
        async def story() -> None:
            async with connected() as pair:
                pair.application.answer = WrongEpoch()
                assert await pair.peer.apply(apply_request(1)) == WrongEpoch()
                assert await pair.peer.ended()
                await pair.gone()

        on_a_loop(story())

    def test_the_loss_of_a_term_is_told(self) -> None:
        async def story() -> None:
            async with connected() as pair:
                news = TermLost(epoch=EPOCH, term=Term(4))
                await pair.peer.send((Kind.TERM_LOST, 0, exchange.TERM_LOST.encode(news)))
                pair.peer.close()
                await pair.gone()
                assert pair.application.told == [news, "gone"]

        on_a_loop(story())


class TestQuestions:
    def test_answers_find_their_questions_by_number_in_any_order(self) -> None:
        async def story() -> None:
            async with connected() as pair:
                ended: dict[str, object] = {}
                pair.link.propose(b"one", lambda answer: ended.update(one=answer))
                pair.link.read(lambda answer: ended.update(read=answer))
                pair.link.propose(b"two", lambda answer: ended.update(two=answer))
                one = await pair.peer.take(Kind.PROPOSE)
                read = await pair.peer.take(Kind.READ)
                two = await pair.peer.take(Kind.PROPOSE)
                assert exchange.PROPOSE.decode(one.payload).data == b"one"
                assert exchange.PROPOSE.decode(two.payload).data == b"two"
                await pair.peer.send(
                    (Kind.PROPOSE_ANSWER, two.number, exchange.PROPOSE_ANSWER.encode(NotLeader(leader=None))),
                    (Kind.READ_ANSWER, read.number, exchange.READ_ANSWER.encode(READ_AT)),
                    (Kind.PROPOSE_ANSWER, one.number, exchange.PROPOSE_ANSWER.encode(STARTED)),
                )
                assert await pair.peer.apply(apply_request(1)) == APPLIED  # behind the answers
                assert ended == {"one": STARTED, "read": READ_AT, "two": NotLeader(leader=None)}

        on_a_loop(story())

    def test_an_answer_without_payload_means_that_nobody_knows(self) -> None:
        async def story() -> None:
            async with connected() as pair:
                ended: list[object] = []
                pair.link.propose(b"one", ended.append)
                pair.link.read(ended.append)
                for kind, answer in ((Kind.PROPOSE, Kind.PROPOSE_ANSWER), (Kind.READ, Kind.READ_ANSWER)):
                    await pair.peer.send((answer, (await pair.peer.take(kind)).number, b""))
                assert await pair.peer.apply(apply_request(1)) == APPLIED
                assert ended == [None, None]

        on_a_loop(story())

    def test_answers_that_nobody_waits_for_change_nothing(self) -> None:
        """A number that was never given, one that was answered before, the answer to another kind of question."""

        async def story() -> None:
            async with connected() as pair:
                ended: list[object] = []
                pair.link.read(ended.append)
                number = (await pair.peer.take(Kind.READ)).number
                await pair.peer.send(
                    (Kind.READ_ANSWER, number + 1, exchange.READ_ANSWER.encode(READ_AT)),
                    (Kind.PROPOSE_ANSWER, number, exchange.PROPOSE_ANSWER.encode(STARTED)),
                    (Kind.READ_ANSWER, number, exchange.READ_ANSWER.encode(READ_AT)),
                    (Kind.READ_ANSWER, number, exchange.READ_ANSWER.encode(ReadAt(index=LogIndex(10)))),
                )
                assert await pair.peer.apply(apply_request(1)) == APPLIED
                assert ended == [READ_AT]

        on_a_loop(story())


class TestEnd:
    def test_who_waits_is_told_once_after_the_application_has_heard_of_the_end(self) -> None:
        """So that what ends is not asked again on the connection that ended."""

        async def story() -> None:
            async with connected() as pair:
                told = pair.application.told
                pair.link.propose(b"one", told.append)
                pair.link.read(told.append)
                pair.peer.close()
                await pair.gone()
                assert told == ["gone", None, None]

        on_a_loop(story())

    def test_a_question_after_the_end_is_answered_at_once(self) -> None:
        async def story() -> None:
            async with connected() as pair:
                pair.link.close()
                await pair.gone()
                ended: list[object] = []
                pair.link.propose(b"one", ended.append)
                pair.link.read(ended.append)
                assert ended == [None, None]

        on_a_loop(story())

    @pytest.mark.parametrize(
        ("kind", "payload"),
        [
            (Kind.ATTACH_ANSWER, b"no answer"),
            (Kind.APPLY, b"no entries"),
            (Kind.TERM_LOST, b"no term"),
            (Kind.ATTACH, exchange.ATTACH.encode(ATTACH)),
            (Kind.PROPOSE, exchange.PROPOSE.encode(exchange.Propose(data=b""))),
        ],
    )
    def test_what_no_peer_sends_ends_the_connection_and_reaches_nobody(self, kind: Kind, payload: bytes) -> None:
        async def story() -> None:
            async with connected() as pair:
                await pair.peer.send((kind, 1, payload))
                assert await pair.peer.ended()
                await pair.gone()
                assert pair.application.told == ["gone"]

        on_a_loop(story())

    def test_bytes_that_are_no_frame_end_the_connection(self) -> None:
        async def story() -> None:
            async with connected() as pair:
                await pair.peer.send_bytes(b"GET / HTTP/1.1\r\n\r\n")
                assert await pair.peer.ended()
                await pair.gone()

        on_a_loop(story())

    @pytest.mark.parametrize(
        ("question", "answer"), [(Kind.PROPOSE, Kind.PROPOSE_ANSWER), (Kind.READ, Kind.READ_ANSWER)]
    )
    def test_who_gets_a_malformed_answer_is_told_that_nobody_knows(self, question: Kind, answer: Kind) -> None:
        """Not left without any: whoever waits for a read index keeps all later reads waiting."""

        async def story() -> None:
            async with connected() as pair:
                ended: list[object] = []
                if question is Kind.PROPOSE:
                    pair.link.propose(b"one", ended.append)
                else:
                    pair.link.read(ended.append)
                number = (await pair.peer.take(question)).number
                await pair.peer.send((answer, number, b"no answer"))
                await pair.gone()
                assert ended == [None]

        on_a_loop(story())
