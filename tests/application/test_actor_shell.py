"""The application actor as a plain class, on one loop: attaching, clients, the end of its peer, which a test plays."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from raft_actors.application import actor as actor_module
from raft_actors.application import exchange
from raft_actors.application.actor import ApplicationActor
from raft_actors.application.exchange import (
    Applied,
    NotLeader,
    NotReady,
    ReadAt,
    Started,
    Stopped,
    TermLost,
    WrongEpoch,
)
from raft_actors.application.machine import MachineSource
from raft_actors.application.packing import Malformed
from raft_actors.application.pipe import Kind
from raft_actors.application.requests import (
    ANSWERS,
    QUERY,
    QUERY_ANSWERS,
    SUBMIT,
    Answer,
    Done,
    Query,
    QueryAnswer,
    QueryDone,
    Submit,
    Unknown,
)
from raft_actors.core.types import LogIndex, MemberId, Term
from tests.application.builders import Journal, apply_request, attempt, entry, noop
from tests.application.fake_peer import CLUSTER, LONG_S, Connection, FakePeer, attached, until

LONG_MS = int(LONG_S * 1000)


class Context:
    """What the actor asks Ray about itself."""

    def __init__(self) -> None:
        self.run_count = 0
        self.current_actor = self
        self.run = self

    def get_node_id(self) -> str:
        return "node"

    def get_session_name(self) -> str:
        return "session"

    def remote(self) -> None:
        self.run_count += 1


class Pair:
    """An actor, and the peer that it finds."""

    def __init__(self, actor: ApplicationActor, listening: FakePeer) -> None:
        self.actor = actor
        self.listening = listening

    async def attached(self, applied_index: int = 0) -> tuple[Connection, exchange.Attach]:
        """The next connection, with the attachment accepted; returns when the actor has taken it up."""
        peer = await self.listening.accept()
        request = await peer.answer_attach(attached(applied_index))
        answer = await peer.apply(exchange.Apply(epoch=request.epoch, first_index=LogIndex(1), entries=()), 10**6)
        assert isinstance(answer, Applied)
        return peer, request

    def submit(self, *commands: bytes, timeout_ms: int = LONG_MS) -> asyncio.Task[tuple[Answer, ...]]:
        attempts = tuple(attempt(next(_SEQUENCES), command=command) for command in commands)
        data = SUBMIT.encode(Submit(attempts=attempts, timeout_ms=timeout_ms))
        return asyncio.create_task(decoded(self.actor.submit(data), ANSWERS.decode))

    def query(
        self, request: bytes, *, linearizable: bool = True, timeout_ms: int = LONG_MS
    ) -> asyncio.Task[tuple[QueryAnswer, ...]]:
        data = QUERY.encode(Query(requests=(request,), linearizable=linearizable, timeout_ms=timeout_ms))
        return asyncio.create_task(decoded(self.actor.query(data), QUERY_ANSWERS.decode))

    async def error(self) -> Any:
        return (await self.actor.status())["error"]


_SEQUENCES = itertools.count(1)


async def decoded(call: Coroutine[Any, Any, bytes], decode: Callable[[bytes], Any]) -> Any:
    async with asyncio.timeout(LONG_S):
        return decode(await call)


@pytest.fixture(autouse=True)
def context(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """Ray's place, quick retries, and what the constructor changes in its process."""
    context, interval_s = Context(), sys.getswitchinterval()
    monkeypatch.setattr(actor_module.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(actor_module, "ATTACH_RETRY_S", (0.001, 0.002))
    monkeypatch.setattr(actor_module, "PEER_TIMEOUT_S", LONG_S)
    monkeypatch.setattr(actor_module, "EXPIRE_S", 0.001)
    monkeypatch.setattr(actor_module.SnapshotShell, "meet_peer", nobody)
    monkeypatch.setattr(actor_module, "BEGIN_TIMES", 0)  # no thread is left behind
    monkeypatch.setattr(actor_module, "freeze_what_lasts", lambda: None)  # of all that pytest holds
    yield context
    sys.setswitchinterval(interval_s)


async def nobody(shell: object) -> None:
    """There is no Ray to ask."""


def story(told: Callable[[Pair], Coroutine[Any, Any, None]], machine: MachineSource = Journal) -> None:
    """Run an actor beside a peer's socket, and `told` with both."""

    @asynccontextmanager
    async def running() -> AsyncIterator[Pair]:
        with FakePeer() as listening:
            actor = ApplicationActor("group", MemberId(0), machine)
            actor._door = listening.address
            life = asyncio.create_task(actor.run())
            try:
                yield Pair(actor, listening)
            finally:
                listening.close()  # as the end of the peer; a transport must not be left to the collector
                await until(lambda: actor._link is None)
                life.cancel()

    async def run() -> None:
        async with running() as pair:
            await told(pair)

    asyncio.run(run())


class TestAttaching:
    def test_the_constructor_has_no_loop_so_it_asks_to_be_run(self, context: Context) -> None:
        actor = ApplicationActor("group", MemberId(0), Journal)
        assert context.run_count == 1
        assert repr(actor) == "Application(group/0)"

    def test_a_call_to_itself_that_was_lost_is_made_again_until_it_ran(
        self, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ray lost one of some hundreds, while it restarted the actor; that member then had no application."""
        monkeypatch.setattr(actor_module, "BEGIN_AGAIN_S", 0.001)
        monkeypatch.setattr(actor_module, "BEGIN_TIMES", 100_000)
        before = set(threading.enumerate())
        actor = ApplicationActor("group", MemberId(0), Journal)
        while context.run_count < 3:
            time.sleep(0.001)
        actor._running = True
        (thread,) = set(threading.enumerate()) - before
        thread.join(LONG_S)
        assert not thread.is_alive()

    def test_a_second_run_does_nothing(self) -> None:
        async def told(pair: Pair) -> None:
            await pair.attached()
            await pair.actor.run()

        story(told)

    def test_it_begins_without_state_and_takes_up_what_the_peer_says(self) -> None:
        async def told(pair: Pair) -> None:
            assert not (await pair.actor.status())["attached"]
            _, request = await pair.attached()
            assert (request.cluster_id, request.applied_index, request.checkpoints) == (None, 0, ())
            status = await pair.actor.status()
            assert (status["attached"], status["applied_index"], status["error"]) == (True, 0, None)

        story(told)

    def test_a_peer_that_is_not_ready_is_asked_again_on_the_same_connection_under_another_epoch(self) -> None:
        async def told(pair: Pair) -> None:
            peer = await pair.listening.accept()
            first = await peer.answer_attach(NotReady(why="member 0 is starting"))
            second = await peer.take_attach()
            assert await pair.error() == "member 0 is starting"
            assert first.epoch != second.epoch

        story(told)

    def test_a_peer_that_does_not_answer_is_left_and_found_again_timing_sensitive(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(actor_module, "PEER_TIMEOUT_S", 0.01)

        async def told(pair: Pair) -> None:
            silent = await pair.listening.accept()
            await silent.take_attach()
            assert await silent.ended()
            assert await pair.error() == "the peer does not answer"
            await pair.listening.accept()

        story(told)

    def test_a_peer_that_goes_before_it_answers_is_looked_for_at_once(self) -> None:
        async def told(pair: Pair) -> None:
            peer = await pair.listening.accept()
            await peer.take_attach()
            peer.close()
            await pair.listening.accept()
            assert await pair.error() == "its peer is gone"

        story(told)

    def test_a_machine_that_cannot_be_made_is_said_also_after_the_connection_ended(self) -> None:
        """Its peer sends entries, meets a wrong epoch and hangs up: that is not the reason."""

        def factory(settings: bytes) -> Journal:
            raise ValueError("machine version 2 is newer than this program")

        async def told(pair: Pair) -> None:
            for _ in range(2):
                peer = await pair.listening.accept()
                request = await peer.answer_attach(attached())
                await peer.take_attach()  # it asks again
                answer = await peer.apply(exchange.Apply(epoch=request.epoch, first_index=LogIndex(1), entries=()))
                assert answer == WrongEpoch()
            assert await pair.error() == "ValueError: machine version 2 is newer than this program"

        story(told, factory)


class TestCommands:
    def test_a_batch_is_one_proposal_and_each_command_gets_its_result(self) -> None:
        async def told(pair: Pair) -> None:
            peer, request = await pair.attached()
            submitted = pair.submit(b"a", b"b")
            proposal = await peer.take(Kind.PROPOSE)
            started = Started(index=LogIndex(1), term=Term(1))
            await peer.send((Kind.PROPOSE_ANSWER, proposal.number, exchange.PROPOSE_ANSWER.encode(started)))
            batch = exchange.CommittedEntry(
                term=Term(1),
                stamp_ms=0,
                kind=exchange.EntryKind.COMMAND,
                data=exchange.PROPOSE.decode(proposal.payload).data,
            )
            applied = await peer.apply(apply_request(1, batch, epoch=request.epoch))
            assert isinstance(applied, Applied)
            assert applied.applied_index == 1
            assert await submitted == tuple(
                Done(result=result, index=LogIndex(1), term=Term(1)) for result in (b"1", b"2")
            )

        story(told)

    def test_without_a_peer_it_is_definite_that_nothing_happened(self) -> None:
        async def told(pair: Pair) -> None:
            assert await pair.submit(b"a") == (NotLeader(leader=None),)

        story(told)

    def test_a_refusal_of_the_peer_is_the_answer(self) -> None:
        async def told(pair: Pair) -> None:
            peer, _ = await pair.attached()
            submitted = pair.submit(b"a")
            refusal = NotLeader(leader=MemberId(2))
            number = (await peer.take(Kind.PROPOSE)).number
            await peer.send((Kind.PROPOSE_ANSWER, number, exchange.PROPOSE_ANSWER.encode(refusal)))
            assert await submitted == (refusal,)

        story(told)

    def test_a_deadline_that_passes_ends_the_wait_timing_sensitive(self) -> None:
        async def told(pair: Pair) -> None:
            await pair.attached()
            (answer,) = await pair.submit(b"a", timeout_ms=5)
            assert isinstance(answer, Unknown)

        story(told)

    @pytest.mark.parametrize("end", ["closed", "term lost", "no answer", "malformed"])
    def test_who_waits_learns_that_nobody_knows(self, end: str) -> None:
        async def told(pair: Pair) -> None:
            peer, request = await pair.attached()
            submitted = pair.submit(b"a")
            number = (await peer.take(Kind.PROPOSE)).number
            started = exchange.PROPOSE_ANSWER.encode(Started(index=LogIndex(1), term=Term(1)))
            if end == "closed":
                peer.close()
            elif end == "term lost":
                news = exchange.TERM_LOST.encode(TermLost(epoch=request.epoch, term=Term(1)))
                await peer.send((Kind.PROPOSE_ANSWER, number, started), (Kind.TERM_LOST, 0, news))
            else:
                await peer.send((Kind.PROPOSE_ANSWER, number, b"" if end == "no answer" else b"no answer at all"))
            (answer,) = await submitted
            assert isinstance(answer, Unknown)

        story(told)

    def test_a_machine_that_raises_stops_and_the_reason_stays(self) -> None:
        """Its peer fails because of it and hangs up; who asks must still read why."""

        class Broken(Journal):
            def apply(self, index: int, command: bytes) -> bytes:
                raise ZeroDivisionError("secret")

        async def told(pair: Pair) -> None:
            peer, request = await pair.attached()
            answer = await peer.apply(apply_request(1, entry(b"a"), epoch=request.epoch))
            assert isinstance(answer, Stopped)
            assert (answer.index, "ZeroDivisionError" in answer.why, "secret" in answer.why) == (1, True, False)
            peer.close()
            again = await pair.listening.accept()  # it looks for its peer, and attaches no more
            assert await again.ended()
            assert "ZeroDivisionError" in await pair.error()
            assert await pair.submit(b"b") == (NotLeader(leader=None),)

        story(told, Broken)

    def test_bytes_that_are_no_batch_are_refused(self) -> None:
        async def told(pair: Pair) -> None:
            with pytest.raises(Malformed):
                await pair.actor.submit(b"no batch")
            with pytest.raises(Malformed):
                await pair.actor.query(b"no query")

        story(told)


class TestReads:
    """A read is confirmed only by a question that was asked after it arrived (dissertation §6.4)."""

    def test_it_waits_until_the_state_has_come_to_the_read_index(self) -> None:
        async def told(pair: Pair) -> None:
            peer, request = await pair.attached()
            read = pair.query(b"all")
            await answer_read(peer, 1)
            await peer.apply(apply_request(1, entry(b"x"), epoch=request.epoch))
            assert await read == (QueryDone(result=b"all:x", applied_index=LogIndex(1)),)

        story(told)

    def test_who_comes_while_a_question_is_under_way_shares_the_next_one(self) -> None:
        async def told(pair: Pair) -> None:
            peer, request = await pair.attached()
            first = pair.query(b"1")
            question = await peer.take(Kind.READ)
            later = [pair.query(b"2"), pair.query(b"3")]
            await asyncio.sleep(0)  # they ask
            await peer.send((Kind.READ_ANSWER, question.number, exchange.READ_ANSWER.encode(ReadAt(index=LogIndex(0)))))
            assert await first == (QueryDone(result=b"1:", applied_index=LogIndex(0)),)
            await answer_read(peer, 1)  # one question for both
            await peer.apply(apply_request(1, entry(b"x"), epoch=request.epoch))
            assert [await read for read in later] == [
                (QueryDone(result=request + b":x", applied_index=LogIndex(1)),) for request in (b"2", b"3")
            ]

        story(told)

    def test_a_stale_one_asks_nobody(self) -> None:
        async def told(pair: Pair) -> None:
            (answer,) = await pair.query(b"1", linearizable=False)
            assert isinstance(answer, Unknown)  # no state yet
            await pair.attached()
            assert await pair.query(b"1", linearizable=False) == (QueryDone(result=b"1:", applied_index=LogIndex(0)),)

        story(told)

    def test_before_it_is_attached_nobody_is_asked_and_later_reads_are_not_held_up(self) -> None:
        """A peer that is still starting answers no read: one question to it would keep all later ones waiting."""

        async def told(pair: Pair) -> None:
            assert await pair.query(b"1") == (NotLeader(leader=None),)
            peer = await pair.listening.accept()
            await peer.take_attach()
            assert await pair.query(b"1") == (NotLeader(leader=None),)
            await peer.send((Kind.ATTACH_ANSWER, 0, exchange.ATTACH_ANSWER.encode(attached())))
            await until(lambda: pair.actor._error is None and pair.actor._host is not None)
            read = pair.query(b"1")
            await answer_read(peer, 0)
            assert await read == (QueryDone(result=b"1:", applied_index=LogIndex(0)),)

        story(told)

    @pytest.mark.parametrize("end", ["closed", "no answer", "malformed"])
    def test_a_question_without_an_answer_ends_its_reads_and_not_the_later_ones(self, end: str) -> None:
        async def told(pair: Pair) -> None:
            peer, _ = await pair.attached()
            read = pair.query(b"1")
            number = (await peer.take(Kind.READ)).number
            if end == "closed":
                peer.close()
            else:
                await peer.send((Kind.READ_ANSWER, number, b"" if end == "no answer" else b"no answer at all"))
            assert await read == (Unknown(why="the peer did not answer"),)
            if end != "no answer":
                peer, _ = await pair.attached()
            later = pair.query(b"2")
            await answer_read(peer, 0)
            assert await later == (QueryDone(result=b"2:", applied_index=LogIndex(0)),)

        story(told)

    def test_a_peer_that_does_not_lead_says_who_does(self) -> None:
        async def told(pair: Pair) -> None:
            peer, _ = await pair.attached()
            read = pair.query(b"1")
            number = (await peer.take(Kind.READ)).number
            elsewhere = NotLeader(leader=MemberId(2))
            await peer.send((Kind.READ_ANSWER, number, exchange.READ_ANSWER.encode(elsewhere)))
            assert await read == (elsewhere,)

        story(told)

    def test_a_silent_peer_does_not_hold_a_reader_beyond_its_time_timing_sensitive(self) -> None:
        async def told(pair: Pair) -> None:
            await pair.attached()
            assert await pair.query(b"1", timeout_ms=5) == (Unknown(why="the peer did not answer"),)

        story(told)


class TestAnotherPeer:
    def test_it_goes_on_where_it_is_when_the_peer_has_its_group(self) -> None:
        async def told(pair: Pair) -> None:
            peer, request = await pair.attached()
            await peer.apply(apply_request(1, entry(b"x"), noop(), epoch=request.epoch))
            peer.close()
            peer, again = await pair.attached(2)
            assert (again.cluster_id, again.applied_index) == (CLUSTER, 2)
            assert again.epoch != request.epoch
            await peer.apply(apply_request(3, entry(b"y"), epoch=again.epoch))
            assert await pair.query(b"all", linearizable=False) == (
                QueryDone(result=b"all:x,y", applied_index=LogIndex(3)),
            )

        story(told)

    def test_it_begins_anew_when_the_peer_says_so(self) -> None:
        async def told(pair: Pair) -> None:
            peer, request = await pair.attached()
            await peer.apply(apply_request(1, entry(b"x"), epoch=request.epoch))
            peer.close()
            peer, again = await pair.attached(0)
            await peer.apply(apply_request(1, entry(b"other"), epoch=again.epoch))
            assert await pair.query(b"all", linearizable=False) == (
                QueryDone(result=b"all:other", applied_index=LogIndex(1)),
            )

        story(told)

    def test_entries_of_the_epoch_before_are_not_applied_and_end_the_connection(self) -> None:
        async def told(pair: Pair) -> None:
            peer, request = await pair.attached()
            peer.close()
            peer, _ = await pair.attached()
            assert await peer.apply(apply_request(1, entry(b"x"), epoch=request.epoch)) == WrongEpoch()
            assert await peer.ended()
            status = await pair.actor.status()
            assert status["applied_index"] == 0

        story(told)


async def answer_read(peer: Connection, index: int) -> None:
    """Take a question for a read index and answer it."""
    number = (await peer.take(Kind.READ)).number
    await peer.send((Kind.READ_ANSWER, number, exchange.READ_ANSWER.encode(ReadAt(index=LogIndex(index)))))
