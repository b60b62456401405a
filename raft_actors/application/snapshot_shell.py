"""Snapshots on the application's event loop: its state given to the peer slice by slice, and taken from there.

Here:   `SnapshotShell`: one state at a time being given, in short steps between which the loop serves others; the
        handle of the co-located peer.
Never:  slices (slices.py), the object store (object_store.py), what a state holds (host.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
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

IDLE_S_MAX: Final = 30.0
"""A state that the peer asks nothing more of for so long is let go."""


class SnapshotShell:
    """Of one application. All of it runs on its loop, but for the reading of a state."""

    def __init__(self, group: str, member_id: MemberId) -> None:
        self._peer_name = peer_name(group, member_id)
        self._peer: Any = None
        self._job = 0
        self._slicer: StateSlicer | None = None
        """Of `_job`."""
        self._asked_s = 0.0
        self._gathering = False

    def peer_gone(self) -> None:
        """Whoever comes next is another process, and asks anew."""
        self._slicer = self._peer = None
        self._job = 0

    def expire(self) -> None:
        """Let go of a state that nobody asks for. To be called now and then."""
        if self._slicer is not None and time.monotonic() - self._asked_s > IDLE_S_MAX:
            self._slicer = None

    async def give(self, host: ApplicationHost | None, asked: AskSlice, link: PeerLink) -> None:
        """Answer the peer. Whatever the machine raises while it is read is a refusal, and stops nothing."""
        if self._gathering:
            return  # asked again, out of impatience: the answer to the first question is on its way
        self._gathering = True
        try:
            self._asked_s = time.monotonic()
            found = await self._slice(host, asked)
        except Exception as failure:
            self._slicer = None
            link.refuse_slice(SliceRefused(job=asked.job, why=f"the state cannot be read: {type(failure).__name__}"))
        else:
            if found is None:
                link.refuse_slice(SliceRefused(job=asked.job, why="the application has no such state"))
            else:
                await self._send(asked, *found, link)
        finally:
            self._gathering = False

    async def _slice(self, host: ApplicationHost | None, asked: AskSlice) -> tuple[Slice, bytes] | None:
        if asked.offset == 0 and asked.job != self._job and host is not None:
            self._job, self._slicer = asked.job, StateSlicer(host.applied, host.snapshot(asked.provenance))
        slicer = self._slicer
        if slicer is None or asked.job != self._job:
            return None
        found = slicer.again(asked.offset, asked.bytes_max)
        if found is None and asked.offset == slicer.offset:
            began_s = time.monotonic()
            while not slicer.gather(asked.bytes_max):
                await asyncio.sleep(time.monotonic() - began_s)  # half of the time is for those whom the loop serves
                began_s = time.monotonic()
            found = await asyncio.to_thread(slicer.take, asked.bytes_max)  # megabytes are copied and summed
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

    async def _find_peer(self) -> Any:
        """Its handle, or None. Looked up in another thread: that may hang while Ray's head is down."""
        if self._peer is None:
            try:
                self._peer = await asyncio.to_thread(ray.get_actor, self._peer_name, namespace=NAMESPACE)
            except (ValueError, RayError):
                return None
        return self._peer


def _restored(make_host: Callable[[], ApplicationHost], peer: Any, restore: Restore) -> ApplicationHost:
    host = make_host()
    host.restore(read_snapshot(peer, restore))
    return host
