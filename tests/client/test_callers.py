"""One caller per process and group."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from raft_actors.application.requests import SUBMIT
from raft_actors.client import callers
from raft_actors.client.callers import SharedCaller
from raft_actors.client.sender import Caller
from raft_actors.errors import ClientClosed
from tests.client.world import FakeGroup, FakeServers

LONG_S = 30.0


def make() -> Caller:
    return Caller("test", FakeServers())


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    callers.close_all()


class TestSharing:
    def test_clients_of_one_group_share_a_caller_and_those_of_others_do_not(self) -> None:
        first, second, other = SharedCaller("a", make), SharedCaller("a", make), SharedCaller("b", make)
        assert first.get() is second.get()
        assert first.get() is not other.get()

    def test_the_last_to_close_ends_it(self) -> None:
        first, second = SharedCaller("a", make), SharedCaller("a", make)
        caller = first.get()
        second.get()
        first.close()
        first.close()
        assert not caller.closed
        second.close()
        assert caller.closed

    def test_a_closed_one_gives_no_caller(self) -> None:
        shared = SharedCaller("a", make)
        shared.close()
        with pytest.raises(ClientClosed):
            shared.get()

    def test_a_caller_that_failed_is_replaced(self) -> None:
        shared = SharedCaller("a", make)
        failed = shared.get()
        failed.close()
        assert shared.get() is not failed

    def test_at_exit_all_end(self) -> None:
        caller = SharedCaller("a", make).get()
        callers.close_all()
        assert caller.closed


class TestFork:
    @pytest.mark.slow
    def test_a_child_has_a_caller_and_a_session_of_its_own(self) -> None:
        class Watched(FakeGroup):
            client_ids: set[bytes]

            def submit(self, member_id: int, data: bytes) -> bytes:
                self.client_ids.update(attempt.frame.client_id for attempt in SUBMIT.decode(data).attempts)
                return super().submit(member_id, data)

        group = Watched()
        group.client_ids = set()
        shared = SharedCaller("a", lambda: Caller("a", FakeServers(group)))
        parent = shared.get()
        parent.submit(b"x", LONG_S).result(LONG_S)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                group.client_ids.clear()
                mine = shared.get()
                mine.submit(b"x", LONG_S).result(LONG_S)
                os.write(writer, b"".join(group.client_ids))
                status = 0 if mine is not parent else 2
            finally:
                os._exit(status)
        os.close(writer)
        ids = os.read(reader, 1_000)
        os.close(reader)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(ids) == 16
        assert {ids} != group.client_ids
        assert shared.get() is parent
        assert parent.submit(b"x", LONG_S).result(LONG_S) == b"2"
