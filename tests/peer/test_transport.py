"""What other peers answer, as Ray hands it over; its futures are played here."""

from __future__ import annotations

from concurrent.futures import Future

from raft_actors.application.slices import SLICE, describe
from raft_actors.core.types import EntryId
from raft_actors.peer.links import Fetched, Lost
from raft_actors.peer.transport import _slice_answered


class TestASliceOfAnotherPeer:
    """Its actor's answer comes in a future; a reference in it has a future of its own."""

    HEAD = SLICE.encode(describe(EntryId(1, 8), 0, b"bytes", ends=True))

    def setup_method(self) -> None:
        self.errors: list[BaseException] = []

    class Reference:
        def __init__(self, future: Future[object]) -> None:
            self._future = future

        def future(self) -> Future[object]:
            return self._future

    def answered(self, answer: object) -> list[Fetched]:
        told: list[Fetched] = []
        _slice_answered(told.append, self.errors.append, ended(answer))
        return told

    def test_bytes_within_the_answer(self) -> None:
        assert self.answered((self.HEAD, b"bytes")) == [(self.HEAD, memoryview(b"bytes"))]

    def test_a_snapshot_that_is_gone(self) -> None:
        assert self.answered(None) == [Lost.GONE]

    def test_a_call_that_failed(self) -> None:
        dead = RuntimeError("the actor is dead")
        assert self.answered(dead) == [Lost.LOST]
        assert self.errors == [dead], "a handle that is of no use any more is looked up again"

    def test_bytes_behind_a_reference_come_when_they_come(self) -> None:
        bytes_: Future[object] = Future()
        told = self.answered((self.HEAD, [self.Reference(bytes_)]))
        assert told == []
        bytes_.set_result(bytearray(b"bytes"))
        assert told == [(self.HEAD, memoryview(b"bytes"))]

    def test_a_reference_that_was_lost(self) -> None:
        told = self.answered((self.HEAD, [self.Reference(ended(RuntimeError("its owner is dead")))]))
        assert told == [Lost.LOST]


def ended(answer: object) -> Future[object]:
    future: Future[object] = Future()
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
    return future
