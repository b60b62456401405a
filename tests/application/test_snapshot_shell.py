"""Snapshots on the application's loop: its state given to the peer, and taken from there; both are played by a test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from raft_actors.application import exchange, snapshot_shell
from raft_actors.application.exchange import (
    ASK_SLICE,
    SLICE_REFUSED,
    AskSlice,
    Checkpoint,
    Provenance,
    Restore,
    SliceRefused,
)
from raft_actors.application.host import ApplicationHost
from raft_actors.application.packing import COUNT_MAX
from raft_actors.application.pipe import Kind, decode_slice
from raft_actors.application.requests import QueryDone, Unknown
from raft_actors.application.settings import SessionLimits
from raft_actors.application.slices import INLINE_BYTES_MAX, SLICE, STEP_BYTES, Slice, checked
from raft_actors.core.types import DirectoryId, LogIndex, Term
from raft_actors.errors import SnapshotFailed, SnapshotGone
from tests.application.builders import EPOCH, Journal, apply, apply_request, entry
from tests.application.fake_peer import CLUSTER, SETTINGS, Connection, attached, until
from tests.application.test_actor_shell import Pair, context, story  # noqa: F401  (a fixture)

BY = Provenance(computed_by=DirectoryId(b"directory-123456"), agreed=None)
RESTORE = Restore(cluster_id=CLUSTER, settings=SETTINGS, term=Term(1), index=LogIndex(2))


class Actor:
    """The peer's actor handle."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, Slice, bytes]] = []
        self.take_slice = SimpleNamespace(remote=self._take)

    def _take(self, job: int, head: bytes, reference: list[bytes]) -> None:
        self.taken.append((job, SLICE.decode(head), reference[0]))


@pytest.fixture(autouse=True)
def ray(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The peer is found by its name, the object store has room."""
    ray = SimpleNamespace(actor=Actor(), looked_up=0, has_room=True, has_name=True)

    def get_actor(name: str, *, namespace: str) -> Actor:
        ray.looked_up += 1
        if not ray.has_name:
            raise ValueError(name)
        return ray.actor

    monkeypatch.setattr(snapshot_shell, "ray", SimpleNamespace(get_actor=get_actor))
    monkeypatch.setattr(snapshot_shell, "share", lambda data: [data] if ray.has_room else None)
    return ray


async def ask(
    peer: Connection, offset: int, bytes_max: int = COUNT_MAX, *, job: int = 1, by_reference: bool = False
) -> None:
    asked = AskSlice(job=job, offset=offset, bytes_max=bytes_max, by_reference=by_reference, provenance=BY)
    await peer.send((Kind.ASK_SLICE, 0, ASK_SLICE.encode(asked)))


async def take(peer: Connection, *, job: int = 1) -> tuple[Slice, bytes]:
    """The next slice from the socket."""
    frame = await peer.take(Kind.SLICE)
    assert frame.number == job
    slice_, data = decode_slice(frame.payload)
    return slice_, b"".join(checked(slice_, data))


async def refused(peer: Connection) -> SliceRefused:
    return SLICE_REFUSED.decode((await peer.take(Kind.SLICE_REFUSED)).payload)


async def applied(pair: Pair, *commands: bytes) -> tuple[Connection, exchange.Attach]:
    """Attached, and these were applied, one entry each."""
    peer, request = await pair.attached()
    await peer.apply(apply_request(1, *(entry(command) for command in commands), epoch=request.epoch))
    return peer, request


def state_after(*commands: bytes, provenance: Provenance = BY) -> bytes:
    host = ApplicationHost(Journal(), SessionLimits())
    host.attach(EPOCH)
    apply(host, 1, *(entry(command) for command in commands))
    return b"".join(host.snapshot(provenance))


class TestGiving:
    def test_slice_by_slice_over_the_socket(self) -> None:
        async def told(pair: Pair) -> None:
            peer, request = await applied(pair, b"x", b"y")
            state, ends = b"", False
            while not ends:
                await ask(peer, len(state), 40)
                slice_, data = await take(peer)
                assert (slice_.term, slice_.index, slice_.offset) == (1, 2, len(state))
                state, ends = state + data, slice_.ends
                again = apply_request(3, entry(b"later"), epoch=request.epoch)  # what comes meanwhile does not show
                await peer.apply(again)
            assert state == state_after(b"x", b"y")

        story(told)

    def test_through_the_object_store_where_that_is_asked_for(self, ray: SimpleNamespace) -> None:
        async def told(pair: Pair) -> None:
            large = bytes(2 * INLINE_BYTES_MAX)
            peer, _ = await applied(pair, large)
            await ask(peer, 0, INLINE_BYTES_MAX + 1, job=7, by_reference=True)
            await until(lambda: bool(ray.actor.taken))
            ((job, slice_, data),) = ray.actor.taken
            assert (job, slice_.offset, slice_.size) == (7, 0, INLINE_BYTES_MAX + 1)
            await ask(peer, INLINE_BYTES_MAX + 1, by_reference=True, job=7)
            await until(lambda: len(ray.actor.taken) == 2)
            assert data + ray.actor.taken[1][2] == state_after(large)
            assert ray.looked_up == 1, "a name is looked up once"

        story(told)

    @pytest.mark.parametrize("why", ["small", "no room", "no name"])
    def test_over_the_socket_where_that_is_not_possible_or_not_worth_it(self, ray: SimpleNamespace, why: str) -> None:
        ray.has_room, ray.has_name = why != "no room", why != "no name"

        async def told(pair: Pair) -> None:
            peer, _ = await applied(pair, b"x" if why == "small" else bytes(2 * INLINE_BYTES_MAX))
            await ask(peer, 0, by_reference=True)
            assert (await take(peer))[0].ends
            assert ray.actor.taken == []

        story(told)

    def test_what_was_lost_is_given_again_in_smaller_parts(self, ray: SimpleNamespace) -> None:
        async def told(pair: Pair) -> None:
            large = bytes(2 * INLINE_BYTES_MAX)
            peer, _ = await applied(pair, large)
            await ask(peer, 0, by_reference=True)
            await until(lambda: bool(ray.actor.taken))
            state = b""
            while len(state) < len(state_after(large)):
                await ask(peer, len(state), INLINE_BYTES_MAX)
                state += (await take(peer))[1]
            assert state == state_after(large)

        story(told)

    @pytest.mark.parametrize("why", ["no state", "behind", "other job"])
    def test_what_is_not_there_is_refused(self, why: str) -> None:
        async def told(pair: Pair) -> None:
            if why == "no state":
                peer = await pair.listening.accept()
                await peer.take_attach()
            else:
                peer, _ = await applied(pair, b"x")
                await ask(peer, 0, 10)
                await take(peer)
            await ask(peer, {"no state": 0, "behind": 11, "other job": 10}[why], job=2 if why == "other job" else 1)
            assert (await refused(peer)).why == "the application has no such state"

        story(told)

    @pytest.mark.parametrize("late", [False, True])
    def test_a_machine_that_raises_refuses_and_stops_nothing(self, late: bool) -> None:
        class Secretive(Journal):
            fails = True

            def snapshot(self) -> Iterator[bytes]:
                if not self.fails:
                    return super().snapshot()
                if not late:
                    raise KeyError("secret")
                return self._pieces()

            def _pieces(self) -> Iterator[bytes]:
                yield b"x"
                raise KeyError("secret")

        async def told(pair: Pair) -> None:
            peer, request = await applied(pair, b"x")
            for _ in range(2):  # of the same job there is nothing any more
                await ask(peer, 0, job=4)
                answer = await refused(peer)
                assert (answer.job, "secret" in answer.why) == (4, False)
            await peer.apply(apply_request(2, entry(b"y"), epoch=request.epoch))
            Secretive.fails = False
            await ask(peer, 0, job=5)
            assert (await take(peer, job=5))[1] == state_after(b"x", b"y")

        story(told, Secretive)

    def test_others_are_served_while_a_state_is_read(self) -> None:
        """C14: thousands of short steps, and between any two of them the loop's turn."""

        class Long(Journal):
            asked = False

            def query(self, request: bytes) -> bytes:
                Long.asked = True
                return super().query(request)

            def snapshot(self) -> Iterator[bytes]:
                for _ in range(200):
                    if Long.asked:
                        return
                    yield bytes(STEP_BYTES)
                raise AssertionError("nobody was served")

        async def told(pair: Pair) -> None:
            peer, _ = await applied(pair, b"x")
            await ask(peer, 0)
            await until(lambda: pair.actor._snapshots._giving is not None)
            assert await pair.query(b"1", linearizable=False) == (QueryDone(result=b"1:x", applied_index=LogIndex(1)),)
            assert (await take(peer))[0].ends

        story(told, Long)

    def test_who_asks_again_out_of_impatience_is_answered_once(self) -> None:
        class Long(Journal):
            def snapshot(self) -> Iterator[bytes]:
                return iter([bytes(STEP_BYTES)] * 3)

        async def told(pair: Pair) -> None:
            peer, request = await applied(pair, b"x")
            asked = AskSlice(job=1, offset=0, bytes_max=10**9, by_reference=False, provenance=BY)
            await peer.send(*[(Kind.ASK_SLICE, 0, ASK_SLICE.encode(asked))] * 3)
            assert (await take(peer))[0].size > 3 * STEP_BYTES
            await peer.apply(apply_request(2, epoch=request.epoch))  # the next frame is its answer

        story(told, Long)

    def test_what_takes_long_to_gather_is_given_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else a loaded application would never give a slice within the peer's patience, and no snapshot be taken."""
        monkeypatch.setattr(snapshot_shell, "SLICE_S_MAX", 0.0)

        class Long(Journal):
            def snapshot(self) -> Iterator[bytes]:
                return iter([bytes(STEP_BYTES)] * 3)

        async def told(pair: Pair) -> None:
            peer, _ = await applied(pair, b"x")
            sizes, ends = [], False
            while not ends:
                await ask(peer, sum(sizes), 10**9)
                slice_, _ = await take(peer)
                sizes.append(slice_.size)
                ends = slice_.ends
            assert len(sizes) >= 3
            assert sum(sizes) > 3 * STEP_BYTES

        story(told, Long)

    def test_a_new_job_takes_the_place_of_one_that_is_being_gathered(self) -> None:
        class Endless(Journal):
            ends = False

            def snapshot(self) -> Iterator[bytes]:
                if Endless.ends:
                    return iter([b"the end"])
                Endless.ends = True
                return itertools.repeat(b"x")

        async def told(pair: Pair) -> None:
            peer, _ = await applied(pair, b"x")
            await ask(peer, 0, 10**9)
            await until(lambda: pair.actor._snapshots._giving is not None)
            await ask(peer, 0, 10**9, job=2)
            assert (await take(peer, job=2))[1].endswith(b"the end")

        story(told, Endless)

    def test_another_process_of_the_peer_asks_for_another_state(self) -> None:
        """Its jobs may have the numbers of the one before."""

        async def told(pair: Pair) -> None:
            peer, request = await applied(pair, b"x")
            await ask(peer, 0, 10)
            await take(peer)
            await peer.apply(apply_request(2, entry(b"y"), epoch=request.epoch))
            peer.close()
            peer, _ = await pair.attached(2)
            await ask(peer, 10)
            await refused(peer)
            await ask(peer, 0)
            assert (await take(peer))[1] == state_after(b"x", b"y")

        story(told)

    def test_a_state_that_nobody_asks_for_is_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def told(pair: Pair) -> None:
            peer, _ = await applied(pair, b"x")
            await ask(peer, 0, 10)
            await take(peer)
            monkeypatch.setattr(snapshot_shell, "IDLE_S_MAX", 0.0)
            await until(lambda: pair.actor._snapshots._giving is None)
            await ask(peer, 10)
            await refused(peer)

        story(told)


class TestWhatASnapshotSaysOfItself:
    """Contracts 8: who computed it, and since which agreed point."""

    @pytest.mark.parametrize("agreed", [1, 2])
    def test_whoever_goes_on_from_it_knows_it(self, agreed: int) -> None:
        provenance = Provenance(computed_by=BY.computed_by, agreed=Checkpoint(index=LogIndex(agreed), chain=b"c" * 16))
        host = ApplicationHost(Journal(), SessionLimits())
        host.restore([memoryview(state_after(b"x", b"y", provenance=provenance))])
        assert host.provenance == provenance

    def test_an_agreed_point_ahead_of_it_is_left_out(self) -> None:
        """A peer remembers what it agreed to; an application that died since is not as far again yet."""
        ahead = Provenance(computed_by=BY.computed_by, agreed=Checkpoint(index=LogIndex(3), chain=b"c" * 16))
        host = ApplicationHost(Journal(), SessionLimits())
        host.restore([memoryview(state_after(b"x", b"y", provenance=ahead))])
        assert (host.applied_index, host.provenance) == (2, BY)


class TestRestoring:
    """The peer's log does not reach back to this state: it goes on from a snapshot (contracts 10 b)."""

    @pytest.fixture(autouse=True)
    def snapshots(self, monkeypatch: pytest.MonkeyPatch, ray: SimpleNamespace) -> list[Any]:
        """What reading the peer's snapshot brings, one after the other; a state, or an error."""
        found: list[Any] = []

        def read(peer: Actor, restore: Restore) -> Iterator[memoryview]:
            assert (peer, restore) == (ray.actor, RESTORE)
            each = found.pop(0)
            if isinstance(each, Exception):
                raise each
            yield memoryview(each)

        monkeypatch.setattr(snapshot_shell, "read_snapshot", read)
        return found

    def test_it_attaches_again_with_the_state_of_the_snapshot(self, snapshots: list[Any]) -> None:
        snapshots.append(state_after(b"x", b"y"))

        async def told(pair: Pair) -> None:
            peer = await pair.listening.accept()
            first = await peer.answer_attach(RESTORE)
            second = await peer.answer_attach(attached(2))
            assert (first.applied_index, first.cluster_id, first.provenance) == (0, None, None)
            assert (second.applied_index, second.cluster_id, second.provenance) == (2, CLUSTER, BY)
            assert first.epoch != second.epoch
            await peer.apply(apply_request(3, entry(b"z"), epoch=second.epoch))
            assert await pair.query(b"all", linearizable=False) == (
                QueryDone(result=b"all:x,y,z", applied_index=LogIndex(3)),
            )
            assert await pair.error() is None

        story(told)

    @pytest.mark.parametrize(
        "failure", [SnapshotGone("gone", file=""), SnapshotFailed("late"), b"no state at all", "no name"]
    )
    def test_one_that_cannot_be_read_is_tried_again_without_a_state(
        self, snapshots: list[Any], ray: SimpleNamespace, failure: object
    ) -> None:
        ray.has_name = failure != "no name"
        if ray.has_name:
            snapshots.append(failure)
        snapshots.append(state_after(b"x", b"y"))

        async def told(pair: Pair) -> None:
            peer = await pair.listening.accept()
            await peer.answer_attach(RESTORE)
            again = await peer.take_attach()
            assert (again.applied_index, again.cluster_id) == (0, None)
            assert await pair.error() is not None
            assert not (await pair.actor.status())["attached"]
            ray.has_name = True
            await peer.send((Kind.ATTACH_ANSWER, 0, exchange.ATTACH_ANSWER.encode(RESTORE)))
            assert (await peer.take_attach()).applied_index == 2

        story(told)

    def test_a_state_that_is_of_no_use_any_more_is_given_up_and_who_waits_is_told(self, snapshots: list[Any]) -> None:
        snapshots.extend([SnapshotFailed("late"), state_after(b"x", b"y")])

        async def told(pair: Pair) -> None:
            peer, _ = await applied(pair, b"other")
            submitted = pair.submit(b"a")
            await peer.take(Kind.PROPOSE)
            peer.close()
            assert isinstance((await submitted)[0], Unknown)
            peer = await pair.listening.accept()
            assert (await peer.answer_attach(RESTORE)).applied_index == 1
            assert (await peer.answer_attach(RESTORE)).applied_index == 0
            await peer.answer_attach(attached(2))
            await until(lambda: pair.actor._host is not None and pair.actor._host.epoch is not None)
            assert await pair.query(b"all", linearizable=False) == (
                QueryDone(result=b"all:x,y", applied_index=LogIndex(2)),
            )

        story(told)

    def test_clients_are_answered_meanwhile(self, snapshots: list[Any]) -> None:
        snapshots.append(SnapshotFailed("late"))

        async def told(pair: Pair) -> None:
            peer = await pair.listening.accept()
            await peer.answer_attach(RESTORE)
            assert await pair.submit(b"a") == (exchange.NotLeader(leader=None),)
            (answer,) = await pair.query(b"1", linearizable=False)
            assert isinstance(answer, Unknown)
            await peer.take_attach()
            await asyncio.sleep(0)

        story(told)
