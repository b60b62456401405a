"""Snapshots on the application's event loop: its state given to the peer slice by slice, and taken from there.

Here:   `SnapshotShell`: one state at a time being given, in short steps between which the loop serves others; the
        handle of the co-located peer.
Never:  slices (slices.py), the object store (object_store.py), what a state holds (host.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.exceptions import RayError

from raft_actors.application.exchange import AskSlice, Restore, SliceRefused
from raft_actors.application.host import ApplicationHost
from raft_actors.application.object_store import read_snapshot, share
from raft_actors.application.peer_link import PeerLink
from raft_actors.application.slices import INLINE_BYTES_MAX, SLICE, Slice, StateSlicer
from raft_actors.core.types import MemberId
from raft_actors.names import NAMESPACE, peer_name

STEP_S: Final = 0.001
"""How long the loop serves nobody else while a state is read."""
SLICE_S_MAX: Final = 1.0
"""A slice that takes longer to gather is given as it is."""
LOOKUP_S_MAX: Final = 2.0
"""How long the peer's handle is waited for; without it slices go over the socket."""
IDLE_S_MAX: Final = 30.0
"""A state that the peer asks nothing more of for so long is let go."""


@dataclass(slots=True)
class _Giving:
    """One state that the peer asks for."""

    job: int
    slicer: StateSlicer
    asked: AskSlice
    """The newest question; asked again out of impatience, it may be for less, or within the call."""
    gathering: bool = False


class SnapshotShell:
    """Of one application. All of it runs on its loop, but for the reading of a state and the copying of a slice."""

    def __init__(self, group: str, member_id: MemberId) -> None:
        self._peer_name = peer_name(group, member_id)
        self._peer: Any = None
        self._lookup: asyncio.Future[Any] | None = None
        self._giving: _Giving | None = None
        self._asked_s = 0.0

    def peer_gone(self) -> None:
        """Whoever comes next is another process, and asks anew."""
        self._giving = self._peer = None

    def expire(self) -> None:
        """Let go of a state that nobody asks for. To be called now and then."""
        if self._giving is not None and time.monotonic() - self._asked_s > IDLE_S_MAX:
            self._giving = None

    async def give(self, host: ApplicationHost | None, asked: AskSlice, link: PeerLink) -> None:
        """Answer the peer. Whatever the machine raises while it is read is a refusal, and stops nothing."""
        self._asked_s = time.monotonic()
        giving = self._giving
        if asked.offset == 0 and host is not None and (giving is None or giving.job != asked.job):
            try:
                slicer = StateSlicer(host.applied, host.snapshot(asked.provenance))
            except Exception as failure:
                self._giving = None
                self._refuse(asked.job, failure, link)
                return
            giving = self._giving = _Giving(asked.job, slicer, asked)
        if giving is None or giving.job != asked.job:
            link.refuse_slice(SliceRefused(job=asked.job, why="the application has no such state"))
            return
        giving.asked = asked
        if giving.gathering:
            return  # the answer is on its way
        giving.gathering = True
        try:
            found = await self._slice(giving)
        except Exception as failure:
            if self._giving is giving:
                self._giving = None
                self._refuse(asked.job, failure, link)
            return
        finally:
            giving.gathering = False
        if self._giving is not giving:
            return  # another job took its place, or the peer is gone
        if found is None:
            link.refuse_slice(SliceRefused(job=asked.job, why="the application has no such state"))
        else:
            await self._send(giving.asked, *found, link)

    def _refuse(self, job: int, failure: Exception, link: PeerLink) -> None:
        link.refuse_slice(SliceRefused(job=job, why=f"the state cannot be read: {type(failure).__name__}"))

    async def _slice(self, giving: _Giving) -> tuple[Slice, bytes] | None:
        """What was asked for; less where gathering it takes long, because the peer waits only so long."""
        slicer = giving.slicer
        found = slicer.again(giving.asked.offset, giving.asked.bytes_max)
        if found is None and giving.asked.offset == slicer.offset:
            begun_s = step_s = time.monotonic()
            while not slicer.gather(giving.asked.bytes_max):
                now_s = time.monotonic()
                if now_s - begun_s > SLICE_S_MAX and slicer.gathered_bytes:
                    break
                if now_s - step_s > STEP_S:
                    await asyncio.sleep(now_s - step_s)  # half of the time is for those whom the loop serves
                    step_s = time.monotonic()
                    if self._giving is not giving:
                        return None
            found = await asyncio.to_thread(slicer.take, giving.asked.bytes_max)  # megabytes are copied and summed
        return found

    async def _send(self, asked: AskSlice, slice_: Slice, data: bytes, link: PeerLink) -> None:
        """Through the object store; where it has no room, or is not asked for, over the socket."""
        if asked.by_reference and len(data) > INLINE_BYTES_MAX:
            peer = await self._find_peer()
            reference = None if peer is None else await asyncio.to_thread(share, data)
            if peer is not None and reference is not None:
                peer.take_slice.remote(asked.job, SLICE.encode(slice_), reference)
                return
        link.slice(asked.job, slice_, data)

    async def restore(self, restore: Restore, make_host: Callable[[], ApplicationHost]) -> ApplicationHost:
        """A new host in the state of the peer's snapshot. Raises what it cannot be read for; worth trying again."""
        peer = await self._find_peer()
        if peer is None:
            raise LookupError("the peer has no name in this Ray cluster yet")
        return await asyncio.to_thread(_restored, make_host, peer, restore)

    async def meet_peer(self) -> None:
        """Look the peer up before anybody is served: the class behind its handle takes a tenth of a second to load."""
        await self._find_peer()

    async def _find_peer(self) -> Any:
        """Its handle, or None. Looked up in another thread, one at a time: that may hang while Ray's head is down."""
        if self._peer is None:
            if self._lookup is None:
                look_up = asyncio.to_thread(ray.get_actor, self._peer_name, namespace=NAMESPACE)
                self._lookup = asyncio.ensure_future(look_up)
            await asyncio.wait([self._lookup], timeout=LOOKUP_S_MAX)
            if not self._lookup.done():
                return None
            lookup, self._lookup = self._lookup, None
            try:
                self._peer = lookup.result()
            except (ValueError, RayError):
                return None
        return self._peer


def _restored(make_host: Callable[[], ApplicationHost], peer: Any, restore: Restore) -> ApplicationHost:
    host = make_host()
    host.restore(read_snapshot(peer, restore))
    return host
