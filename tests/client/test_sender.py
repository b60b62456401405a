"""The sender thread and its futures: real threads against a group without a network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager

import pytest

from raft_actors.client.limits import ClientLimits
from raft_actors.client.operation import OperationReport, Result
from raft_actors.client.sender import Caller
from raft_actors.errors import ClientClosed, ConfigError, OperationError, Overloaded, Timeout
from tests.application.builders import Journal
from tests.client.world import FakeGroup, FakeServers

LONG_S = 30.0


@contextmanager
def caller(servers: FakeServers, limits: ClientLimits | None = None) -> Iterator[Caller]:
    given = Caller("test", servers, limits=limits)
    try:
        yield given
    finally:
        given.close()
        assert not given._thread.is_alive()


def failure(future: Future[bytes]) -> OperationError:
    error = future.exception(LONG_S)
    assert isinstance(error, OperationError)
    return error


class TestFutures:
    def test_have_the_machines_result(self) -> None:
        with caller(FakeServers()) as given:
            assert given.submit(b"a", LONG_S).result(LONG_S) == b"1"
            assert given.query(b"?", LONG_S).result(LONG_S) == b"?:a"
            assert given.query(b"?", LONG_S, linearizable=False).result(LONG_S) == b"?:a"

    def test_wait_without_threads(self) -> None:
        servers = FakeServers()
        servers.answering = False
        with caller(servers) as given:
            before = threading.active_count()
            futures = [given.submit(b"%d" % i, LONG_S) for i in range(1_000)]
            assert threading.active_count() == before
            assert not any(future.done() for future in futures)
        assert len(wait(futures, LONG_S).done) == 1_000

    def test_a_leader_that_is_named_and_not_known_is_looked_for(self) -> None:
        servers = FakeServers()
        servers.group.elect(9)
        with caller(servers) as given:
            future = given.submit(b"a", LONG_S)
            assert servers.was_told_to_look.wait(LONG_S)
            servers.group.elect(0)
            assert future.result(LONG_S) == b"1"

    def test_can_be_awaited(self) -> None:
        async def main() -> bytes:
            with caller(FakeServers()) as given:
                return await asyncio.wrap_future(given.submit(b"a", LONG_S))

        assert asyncio.run(main()) == b"1"

    def test_cannot_be_cancelled_for_what_was_sent_may_happen(self) -> None:
        with caller(FakeServers()) as given:
            future = given.submit(b"a", LONG_S)
            assert not future.cancel()
            assert future.result(LONG_S) == b"1"

    def test_end_at_their_deadline(self) -> None:
        servers = FakeServers()
        servers.answering = False
        with caller(servers) as given:
            error = failure(given.submit(b"a", 0.02))
        assert isinstance(error, OperationError)

    def test_end_at_their_deadline_though_the_servers_are_not_found(self) -> None:
        servers = FakeServers(FakeGroup(size=0))
        with caller(servers) as given:
            error = failure(given.submit(b"a", 0.02))
        assert error.outcome == "not_done"

    def test_of_a_read_that_was_sent_end_unknown_at_their_deadline(self) -> None:
        servers = FakeServers()
        servers.answering = False
        with caller(servers) as given:
            assert isinstance(failure(given.query(b"?", 0.02)), Timeout)

    @pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), "5", None, True])
    def test_take_no_time_that_makes_no_sense(self, timeout_s: float) -> None:
        with caller(FakeServers()) as given, pytest.raises(ConfigError, match="timeout_s"):
            given.submit(b"a", timeout_s)


class TestManyThreads:
    @pytest.mark.slow
    def test_50_threads_with_100_appends_each_have_all_there_once(self) -> None:
        group = FakeGroup()
        with caller(FakeServers(group)) as given:

            def work(worker: int) -> None:
                for step in range(100):
                    given.submit(b"%d.%d" % (worker, step), LONG_S).result(LONG_S)

            threads = [threading.Thread(target=work, args=(worker,)) for worker in range(50)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LONG_S)
        journal = group.machines[0]
        assert isinstance(journal, Journal)
        assert sorted(journal.commands) == sorted(b"%d.%d" % (w, s) for w in range(50) for s in range(100))

    def test_share_batches(self) -> None:
        group = FakeGroup()
        with caller(FakeServers(group)) as given:
            for future in [given.submit(b"%d" % i, LONG_S) for i in range(500)]:
                future.result(LONG_S)
        assert len(group.batches) < 100
        assert sum(size for _, size in group.batches) >= 500


class TestBounds:
    def test_commands_beyond_the_limit_are_refused_at_once(self) -> None:
        servers = FakeServers()
        servers.answering = False
        with caller(servers, ClientLimits(commands_max=3)) as given:
            futures = [given.submit(b"a", LONG_S) for _ in range(4)]
            error = failure(futures[-1])
            assert isinstance(error, Overloaded)
            assert error.outcome == "not_done"
            assert not any(future.done() for future in futures[:3])

    def test_queries_have_a_limit_of_their_own(self) -> None:
        servers = FakeServers()
        servers.answering = False
        with caller(servers, ClientLimits(commands_max=1, queries_max=1)) as given:
            given.submit(b"a", LONG_S)
            first, second = given.query(b"a", LONG_S), given.query(b"a", LONG_S)
            assert isinstance(failure(second), Overloaded)
            assert not first.done()

    def test_so_have_bytes(self) -> None:
        servers = FakeServers()
        servers.answering = False
        with caller(servers, ClientLimits(waiting_bytes_max=10)) as given:
            given.submit(b"12345678", LONG_S)
            assert isinstance(failure(given.submit(b"123", LONG_S)), Overloaded)

    def test_room_comes_back_with_the_outcomes(self) -> None:
        with caller(FakeServers(), ClientLimits(commands_max=1, waiting_bytes_max=5)) as given:
            for _ in range(5):
                given.submit(b"12345", LONG_S).result(LONG_S)


class TestClose:
    def test_ends_what_is_under_way_and_closes_the_servers(self) -> None:
        servers = FakeServers()
        servers.answering = False
        with caller(servers) as given:
            futures = [given.submit(b"a", LONG_S), given.query(b"?", LONG_S)]
        assert [type(failure(future)) for future in futures] == [ClientClosed] * 2
        assert servers.closed

    def test_afterwards_every_operation_is_refused(self) -> None:
        with caller(FakeServers()) as given:
            pass
        error = failure(given.submit(b"a", LONG_S))
        assert isinstance(error, ClientClosed)
        assert error.outcome == "not_done"

    def test_twice_is_once(self) -> None:
        with caller(FakeServers()) as given:
            given.close()

    def test_in_a_callback_does_not_wait_for_itself(self) -> None:
        with caller(FakeServers()) as given:
            future = given.submit(b"a", LONG_S)
            future.add_done_callback(lambda _: given.close())
            future.result(LONG_S)

    def test_a_sender_that_failed_leaves_nobody_waiting(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken(FakeServers):
            def begin(self, *args: object) -> bool:
                raise AssertionError("a fault of ours")

        with caller(Broken()) as given:
            error = failure(given.submit(b"a", LONG_S))
            assert isinstance(error, ClientClosed)
            assert error.outcome == "unknown"
        assert "the sender failed" in caplog.text


class TestObserve:
    def test_is_told_the_result_and_how_it_came_about_before_the_future_ends(self) -> None:
        seen: list[tuple[Result, OperationReport]] = []
        with caller(FakeServers()) as given:
            given.submit(b"a", LONG_S, observe=lambda *told: seen.append(told)).result(LONG_S)
        assert seen == [(b"1", OperationReport(attempts=1, server=0, leader=0, term=1))]  # type: ignore[arg-type]

    def test_is_told_of_failures_and_of_refusals(self) -> None:
        seen: list[Result] = []
        servers = FakeServers()
        servers.answering = False
        with caller(servers, ClientLimits(queries_max=1)) as given:
            for _ in range(2):
                given.query(b"a", LONG_S, observe=lambda result, report: seen.append(result))
        assert [type(result) for result in seen] == [Overloaded, ClientClosed]

    def test_its_mistakes_cost_nobody_an_answer(self, caplog: pytest.LogCaptureFixture) -> None:
        def broken(result: Result, report: OperationReport) -> None:
            raise ValueError("observer")

        with caller(FakeServers()) as given:
            assert given.submit(b"a", LONG_S, observe=broken).result(LONG_S) == b"1"
            assert given.submit(b"b", LONG_S).result(LONG_S) == b"2"
        assert "an observer of operations raised" in caplog.text
