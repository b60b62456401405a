"""Frames on the socket between a peer and its co-located application.

Here:   the kinds, the layout, a reader that finds frames in a stream; where the socket is.
Never:  what is in them (exchange.py), threads (raft_actors/peer/door.py), event loops (actor.py).

The two are processes of one machine, and every write crosses between them twice. A call through Ray costs nearly a
millisecond of processor time in all, a frame on a Unix socket some tens of microseconds (docs/adr/0008); and a socket
ends the moment its process does, where Ray hides a death for more than a second.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from typing import Final

from raft_actors.application.packing import Malformed
from raft_actors.application.slices import SLICE, Slice
from raft_actors.core.types import MemberId

PAYLOAD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Longest payload that is read; the largest apply call and proposal are far below."""

_HEAD: Final = struct.Struct("<IBQ")
"""Length of the payload, kind, number."""


_LENGTH: Final = struct.Struct("<I")


class Kind(IntEnum):
    """What a frame holds. An answer carries the number of its request, and no payload where there is no answer."""

    ATTACH = 1
    ATTACH_ANSWER = 2
    APPLY = 3
    APPLY_ANSWER = 4
    PROPOSE = 5
    PROPOSE_ANSWER = 6
    READ = 7
    READ_ANSWER = 8
    TERM_LOST = 9
    ASK_SLICE = 10
    SLICE = 11
    """Number: the job. Payload: length of the encoded slice, that, and its bytes."""
    SLICE_REFUSED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PipeFrame:
    """One frame."""

    kind: Kind
    number: int
    payload: bytes


def encode_frame(kind: Kind, number: int, payload: bytes) -> bytes:
    """The bytes of one frame."""
    assert len(payload) <= PAYLOAD_BYTES_MAX, f"{len(payload)} bytes in one frame; at most {PAYLOAD_BYTES_MAX}"
    return _HEAD.pack(len(payload), kind, number) + payload


def encode_slice(slice_: Slice, data: bytes) -> bytes:
    """Payload of a SLICE frame."""
    head = SLICE.encode(slice_)
    return _LENGTH.pack(len(head)) + head + data


def decode_slice(payload: bytes) -> tuple[Slice, memoryview]:
    """The reverse. Raises `Malformed`."""
    if len(payload) < _LENGTH.size:
        raise Malformed("a slice without a head")
    behind = _LENGTH.size + _LENGTH.unpack_from(payload)[0]
    return SLICE.decode(payload[_LENGTH.size : behind]), memoryview(payload)[behind:]


class FrameReader:
    """Finds frames in a stream that arrives in pieces."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[PipeFrame]:
        """The frames that are complete now. Raises `Malformed`; the stream is of no use after that."""
        self._held += data
        at = 0
        while len(self._held) - at >= _HEAD.size:
            length, kind, number = _HEAD.unpack_from(self._held, at)
            if length > PAYLOAD_BYTES_MAX or kind not in Kind.__members__.values():
                raise Malformed(f"no frame: kind {kind}, length {length}")
            end = at + _HEAD.size + length
            if end > len(self._held):
                break
            payload = bytes(memoryview(self._held)[at + _HEAD.size : end])
            at = end
            yield PipeFrame(kind=Kind(kind), number=number, payload=payload)
        del self._held[:at]


def door_address(session: str, group: str, member_id: MemberId) -> str:
    """Name of the peer's socket, in Linux' abstract namespace: it is gone with its process, and leaves no file.

    `session` tells apart the Ray clusters of one machine. Anybody on the machine may connect, so both sides ask the
    kernel who the other one is (`SO_PEERCRED`).
    """
    name = blake2b(f"{session}/{group}/{member_id}".encode(), digest_size=16).hexdigest()
    return f"\0raft-actors-{name}"
