"""Slices of a state in the Ray object store: put there, taken from there, read one after the other.

Here:   `share`, `shared`, `read_snapshot`, which is how an application comes by the state that it goes on from.
Never:  what slices are (slices.py), who asks for them and when (raft_actors/peer/snapshots.py).

A reference is a cache, and may be lost at any time: its owner dies, the object is evicted, the store is full. So
nothing here waits for one without a deadline, and nobody relies on it: whoever gets none asks again, for less, without.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import numpy
import ray
from ray.exceptions import RayError

from raft_actors.application.exchange import Restore
from raft_actors.application.slices import SLICE, SLICE_REQUEST, Slice, SliceRequest, SliceWay, checked
from raft_actors.core.types import DirectoryId
from raft_actors.errors import SnapshotFailed, SnapshotGone

Bytes: TypeAlias = "bytes | list[Any]"
"""Of a slice: themselves, or one reference in a list, which Ray so hands over without waiting for it."""

GET_TIMEOUT_S: Final = 5.0
"""How long one slice may take to come."""
PATIENCE_S: Final = 20.0
"""How long a state may make no progress on its way to an application."""
RETRY_S: Final = 0.2
RESTORE_SLICE_BYTES: Final = 8 * 1024 * 1024


def share(data: bytes) -> list[Any] | None:
    """A reference to the bytes, in a list; None where the object store has no room for them."""
    try:
        return [ray.put(numpy.frombuffer(data, numpy.uint8))]
    except RayError:
        return None


def shared(data: Bytes, timeout_s: float) -> memoryview | None:
    """The bytes, in shared memory if they are on this node; None where they are lost, or late."""
    if isinstance(data, bytes):
        return memoryview(data)
    try:
        array = ray.get(data[0], timeout=timeout_s)
    except RayError:
        return None
    return memoryview(array)


def read_snapshot(peer: Any, restore: Restore) -> Iterator[memoryview]:
    """The state of a peer's snapshot, in pieces of at most 4 MiB. Blocks, so not for an event loop.

    Raises `SnapshotGone`, or `SnapshotFailed` where nothing came for PATIENCE_S.
    """
    asker = DirectoryId(os.urandom(16))
    offset, ends, way = 0, False, SliceWay()
    progress_s = time.monotonic()
    while not ends:
        request = SliceRequest(
            cluster_id=restore.cluster_id,
            asker=asker,
            term=restore.term,
            index=restore.index,
            offset=offset,
            bytes_max=way.bytes_max(RESTORE_SLICE_BYTES),
            by_reference=way.by_reference,
        )
        found = _fetch(peer, request)
        if found is None:
            if time.monotonic() - progress_s > PATIENCE_S:
                raise SnapshotFailed(f"no byte of the peer's snapshot came for {PATIENCE_S:.0f} s; tried again")
            way.lost()
            time.sleep(RETRY_S)
            continue
        slice_, data = found
        way.arrived()
        if slice_.offset != offset:
            raise SnapshotFailed(f"a slice at {slice_.offset} where {offset} was asked for; tried again")
        yield from checked(slice_, data)
        offset, ends, progress_s = slice_.behind, slice_.ends, time.monotonic()


def _fetch(peer: Any, request: SliceRequest) -> tuple[Slice, memoryview] | None:
    try:
        answer = ray.get(peer.read_snapshot.remote(SLICE_REQUEST.encode(request)), timeout=GET_TIMEOUT_S)
    except RayError:
        return None
    if answer is None:
        raise SnapshotGone(f"the peer's snapshot of index {request.index} is gone; it names a newer one")
    head, data = answer
    found = shared(data, GET_TIMEOUT_S)
    return None if found is None else (SLICE.decode(head), found)
