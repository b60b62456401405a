"""A state read from a peer through the object store, which may lose anything at any time (C16); Ray is played here."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError, ObjectLostError, ObjectStoreFullError, RayActorError

from raft_actors.application import object_store, slices
from raft_actors.application.exchange import ClusterId, Restore
from raft_actors.application.object_store import PATIENCE_S, RETRY_S, read_snapshot, share, shared
from raft_actors.application.packing import Malformed
from raft_actors.application.slices import (
    INLINE_BYTES_MAX,
    INLINE_RUN,
    SLICE,
    SLICE_REQUEST,
    SliceRequest,
    StateSlicer,
    describe,
)
from raft_actors.core.types import EntryId, LogIndex, Term
from raft_actors.errors import SnapshotFailed, SnapshotGone

LAST = EntryId(Term(2), LogIndex(9))
RESTORE = Restore(cluster_id=ClusterId(b"cluster-01234567"), settings=b"", term=Term(2), index=LogIndex(9))
STATE = random.Random(5).randbytes(3 * INLINE_BYTES_MAX + 7)
LOST = ObjectLostError("object", "owner", "call site")


class Reference:
    """To an object, or to the error that getting it raises."""

    def __init__(self, found: object) -> None:
        self.found = found


class World:
    """Ray, a clock, and a peer with one snapshot. `going_wrong`: what becomes of the next answers, in order."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.asked: list[SliceRequest] = []
        self.going_wrong: list[object] = []
        self.slice_bytes = INLINE_BYTES_MAX
        self._slicers: dict[bytes, StateSlicer] = {}
        self.read_snapshot = SimpleNamespace(remote=self._read)

    # the peer

    def _read(self, data: bytes) -> Reference:
        request = SLICE_REQUEST.decode(data)
        self.asked.append(request)
        wrong = self.going_wrong.pop(0) if self.going_wrong else None
        if wrong == "gone":
            return Reference(None)
        if isinstance(wrong, Exception):
            return Reference(wrong)
        slicer = self._slicers.setdefault(request.asker, StateSlicer(LAST, iter([STATE])))
        bytes_max = min(request.bytes_max, self.slice_bytes if request.by_reference else INLINE_BYTES_MAX)
        slice_, data = slicer.again(request.offset, bytes_max) or slicer.read(bytes_max)
        if wrong == "elsewhere":
            slice_ = describe(LAST, 1, data, ends=False)
        if wrong == "damaged":
            data = bytes([data[0] ^ 1]) + data[1:]
        if not request.by_reference:
            return Reference((SLICE.encode(slice_), data))
        return Reference((SLICE.encode(slice_), [Reference(LOST if wrong == "reference" else bytearray(data))]))

    # Ray

    def get(self, reference: Reference, *, timeout: float) -> object:
        assert timeout > 0
        if isinstance(reference.found, Exception):
            raise reference.found
        return reference.found

    def put(self, array: Any) -> Reference:
        return Reference(bytes(array))

    # time

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(object_store, "ray", world)
    monkeypatch.setattr(object_store, "time", world)
    return world


def read(world: World) -> bytes:
    return b"".join(read_snapshot(world, RESTORE))


class TestReading:
    def test_slice_by_slice_through_the_object_store(self, world: World) -> None:
        world.slice_bytes = 100_000
        assert read(world) == STATE
        assert [(each.offset, each.by_reference) for each in world.asked] == [(0, True), (100_000, True)]
        assert {(each.cluster_id, each.term, each.index) for each in world.asked} == {(RESTORE.cluster_id, 2, 9)}

    def test_one_who_reads_has_one_name_and_the_next_one_another(self, world: World) -> None:
        read(world)
        askers = {each.asker for each in world.asked}
        assert len(askers) == 1
        read(world)
        assert len({each.asker for each in world.asked}) == 2

    @pytest.mark.parametrize("wrong", ["reference", LOST, GetTimeoutError("late"), RayActorError()])
    @pytest.mark.parametrize("at", [0, 1])
    def test_what_is_lost_is_asked_for_again_inline(self, world: World, wrong: object, at: int) -> None:
        world.going_wrong = [None] * at + [wrong]
        world.slice_bytes = 100_000
        assert read(world) == STATE
        assert [each.by_reference for each in world.asked[: at + 2]] == [True] * (at + 1) + [False]
        assert world.asked[at].offset == world.asked[at + 1].offset == at * 100_000
        assert not any(each.by_reference for each in world.asked[at + 1 : at + 1 + INLINE_RUN])

    def test_a_reference_is_tried_again_after_a_while(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """One object that is evicted must not make a large state crawl."""
        monkeypatch.setattr(slices, "INLINE_RUN", 2)
        world.slice_bytes, world.going_wrong = 10, [LOST]
        assert read(world) == STATE
        assert [each.by_reference for each in world.asked[:4]] == [True, False, False, True]

    def test_a_snapshot_that_is_gone_is_said_to_be(self, world: World) -> None:
        world.going_wrong = [None, "gone"]
        with pytest.raises(SnapshotGone):
            read(world)

    def test_it_is_patient_only_so_long(self, world: World) -> None:
        world.going_wrong = [LOST] * 1000
        with pytest.raises(SnapshotFailed, match="no byte"):
            read(world)
        assert PATIENCE_S < world.now_s <= PATIENCE_S + 2 * RETRY_S

    def test_each_slice_is_a_new_beginning(self, world: World) -> None:
        almost = [LOST] * int(PATIENCE_S / RETRY_S - 1)
        world.going_wrong = [*almost, None, *almost]
        assert read(world) == STATE

    def test_whoever_takes_long_with_the_bytes_does_not_wait_for_them(self, world: World) -> None:
        def slowly() -> Iterator[bytes]:
            for piece in read_snapshot(world, RESTORE):
                world.now_s += 2 * PATIENCE_S
                world.going_wrong = [LOST]
                yield piece

        assert b"".join(slowly()) == STATE

    def test_a_slice_of_another_place_is_not_taken(self, world: World) -> None:
        world.going_wrong = ["elsewhere"]
        with pytest.raises(SnapshotFailed, match="a slice at 1 where 0 was asked for"):
            read(world)

    def test_a_damaged_one_neither(self, world: World) -> None:
        """C15: nothing of it comes into a state."""
        world.going_wrong = ["damaged"]
        pieces = read_snapshot(world, RESTORE)
        with pytest.raises(Malformed, match="checksum"):
            next(pieces)


class TestSharing:
    def test_bytes_come_back(self, world: World) -> None:
        reference = share(b"bytes")
        assert reference is not None
        assert shared(reference, 1.0) == b"bytes"
        assert shared(b"inline", 1.0) == b"inline"

    def test_a_store_without_room_is_no_failure(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(array: object) -> None:
            raise ObjectStoreFullError

        monkeypatch.setattr(world, "put", refuse)
        assert share(b"bytes") is None

    @pytest.mark.parametrize("failure", [LOST, GetTimeoutError("late")])
    def test_what_is_lost_or_late_is_not_there(self, world: World, failure: Exception) -> None:
        assert shared([Reference(failure)], 1.0) is None
