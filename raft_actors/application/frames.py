"""What the bytes of one log entry hold: a batch of commands, each of a session or raw; and what becomes of each.

Here:   `Frame`, `RawFrame`, the batch; the outcomes of a frame, which all members compute alike.
Never:  which outcome it is (sessions.py), who waits for it (proposals.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NewType, TypeAlias

from raft_actors.application.packing import ITEMS_MAX, Codec, Malformed

CLIENT_ID_BYTES: Final = 16

ClientId = NewType("ClientId", bytes)
"""16 random bytes, drawn by a client for one session and never used for another."""

BATCH_VERSION: Final = 1
"""Format of the batch. It is part of what is replicated: what one member can read, all must be able to read."""

FRAME_OVERHEAD_BYTES: Final = 64
"""What a frame costs in a batch beside its command, rounded up; only used to cap and to count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One command of a session. A retry of it is the same frame, but for a newer `acked_below`."""

    client_id: ClientId
    sequence: int
    """The command's number in its session; drawn rising, may arrive in any order."""
    acked_below: int
    """The client waits for no sequence below this any more: it was answered, or given up as unknown."""
    opens: int | None
    """An applied index that the client learned at its first contact, sent until its first answer; None afterwards."""
    command: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFrame:
    """One command without a session, applied as often as it stands in the log (Ruaft's `start(command)`)."""

    command: bytes


AnyFrame: TypeAlias = Frame | RawFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """The machine applied the command, now or at an earlier copy of it; what it said."""

    result: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionExpired:
    """Not applied: the session is unknown and this frame may not open it. A new session may open above this index."""

    applied_index: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """Not applied this time: the client has said that it no longer waits for this sequence. It may have been before."""


@dataclass(frozen=True, slots=True)
class WindowExceeded:
    """Not applied this time: too far beyond what the client acknowledged. Acknowledge first."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Not applied: the entry's bytes are no batch. Stands for the whole entry; every member says the same."""


Outcome: TypeAlias = Computed | SessionExpired | Fenced | WindowExceeded | Unreadable

_BATCH: Final[Codec[tuple[AnyFrame, ...]]] = Codec(tuple[AnyFrame, ...], version=BATCH_VERSION)
_OUTCOMES: Final[Codec[tuple[Outcome, ...]]] = Codec(tuple[Outcome, ...], version=BATCH_VERSION)


def encode_batch(frames: Sequence[AnyFrame]) -> bytes:
    """The bytes of one log entry (core's `Command.data`); 1 to `ITEMS_MAX` frames."""
    assert 0 < len(frames) <= ITEMS_MAX, f"a batch holds 1 to {ITEMS_MAX} frames, not {len(frames)}"
    return _BATCH.encode(tuple(frames))


def decode_batch(data: bytes) -> tuple[AnyFrame, ...]:
    """The frames of one log entry. Raises `Malformed`; anyone may have proposed these bytes."""
    frames = _BATCH.decode(data)
    if not frames:
        raise Malformed("a batch without frames")
    return frames


def encode_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    """The outcomes as the state chain hashes them."""
    return _OUTCOMES.encode(tuple(outcomes))
