"""What a peer and its co-located application say to each other. They are two processes and die separately.

Here:   requests and answers of both directions, and their codecs.
Never:  what follows from them (host.py on the application's side, raft_actors/peer on the other).

The application attaches with an epoch that it drew; from then on the peer sends it committed entries, at most two
calls at a time. Both sides may doubt a call and send it again: entries are numbered, so nothing is applied twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NewType, TypeAlias

from raft_actors.application.packing import Codec
from raft_actors.core.types import DirectoryId, LogIndex, MemberId, Term

Epoch = NewType("Epoch", bytes)
"""16 random bytes, drawn by the application for one attachment to a peer."""

ClusterId = NewType("ClusterId", bytes)
"""16 bytes of the group's genesis record: an application's state belongs to one cluster only."""

EXCHANGE_VERSION: Final = 1


# -- attach -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state chain at one of the indexes at which members compare."""

    index: LogIndex
    chain: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Who computed a state (contracts 8): a copy of a state says nothing about whether it was computed well."""

    computed_by: DirectoryId
    """The member whose application did, up to the snapshot that this one goes on from."""
    agreed: Checkpoint | None
    """The last point at which a majority had computed the same, as far as that member knew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Application to peer: from now on send entries to me, under this epoch. Every earlier epoch is over."""

    epoch: Epoch
    cluster_id: ClusterId | None
    """Whose state the application has; None: an application without state."""
    applied_index: LogIndex
    """Up to where it has applied; 0 without state."""
    checkpoints: tuple[Checkpoint, ...]
    """The chains it still has; a peer that restarted has lost its own note of them."""
    provenance: Provenance | None
    """Of the snapshot that it went on from; None: it has applied every entry itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The peer will send entries from `first_index` on."""

    cluster_id: ClusterId
    settings: bytes
    """Core's `Genesis.settings`; see settings.py."""
    first_index: LogIndex
    """`applied_index + 1` when the state can go on; otherwise the application begins anew, at 1."""
    directory_id: DirectoryId
    start_count: int
    """With `directory_id` the peer's incarnation: another one means that answers of the one before are lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Not attached: the log does not reach back to your state. Go on from this snapshot (slices.py), attach again."""

    cluster_id: ClusterId
    settings: bytes
    """As in `Attached`."""
    term: Term
    index: LogIndex
    """With `term` the last entry that the snapshot covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReady:
    """The peer has no group yet, or is not running; ask again."""

    why: str


# -- apply ------------------------------------------------------------------------------------------------------------


class EntryKind(Enum):
    """What an entry carries; only commands reach the machine."""

    COMMAND = 0
    NOOP = 1
    CONFIGURATION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedEntry:
    """One committed entry; its index follows from its place in `Apply`."""

    term: Term
    stamp_ms: int
    """Log-carried time (core's `Entry.stamp_ms`)."""
    kind: EntryKind
    data: bytes
    """A command's batch; the encoded configuration; empty for a no-op."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Peer to application: these entries are committed. Answered by `Applied`, `Gap`, `WrongEpoch` or `Stopped`."""

    epoch: Epoch
    first_index: LogIndex
    entries: tuple[CommittedEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Everything up to `applied_index` is applied."""

    applied_index: LogIndex
    chain: bytes
    checkpoints: tuple[Checkpoint, ...]
    """Those that lie in the request, once more if the request was a repetition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Nothing applied: the request begins too far on. Send from `applied_index + 1`, or end the epoch if you cannot."""

    applied_index: LogIndex


@dataclass(frozen=True, slots=True)
class WrongEpoch:
    """Nothing applied: the application is attached under another epoch, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The machine raised at this entry; this application applies nothing any more and the member must fail."""

    index: LogIndex
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TermLost:
    """Peer to application: I no longer lead `term`. What was started in it or before may still happen, or not."""

    epoch: Epoch
    term: Term


# -- snapshots --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AskSlice:
    """Peer to application: the bytes of your state from `offset` on (slices.py); at 0: as it is now.

    Answered by a slice or by `SliceRefused`, each with this `job`; the bytes of a slice come through the object store,
    or behind the slice itself where that has no room.
    """

    job: int
    offset: int
    bytes_max: int
    by_reference: bool
    """False: not through the object store, where they were lost."""
    provenance: Provenance
    """To be written into the snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRefused:
    """Application to peer: there will be no snapshot of this job."""

    job: int
    why: str


# -- propose and read -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose:
    """Application to peer: put this in the log, as one entry (Ruaft's `start`)."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """It is in the leader's log at (index, term); whether it stays there, the committed entries tell."""

    index: LogIndex
    term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class NotLeader:
    """Definite, nothing was appended or read: ask `leader`, or anyone if it is None."""

    leader: MemberId | None


@dataclass(frozen=True, slots=True)
class Overloaded:
    """Definite, nothing was appended or read: too much waits already."""


@dataclass(frozen=True, slots=True)
class LogFull:
    """Definite, nothing was appended: the log reached its limit."""


@dataclass(frozen=True, slots=True)
class Read:
    """Application to peer: at which index is a state new enough for a read that begins now (dissertation §6.4)?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAt:
    """A state that has applied `index` is new enough."""

    index: LogIndex


AttachAnswer: TypeAlias = Attached | NotReady | Restore
ApplyAnswer: TypeAlias = Applied | Gap | WrongEpoch | Stopped
ProposeAnswer: TypeAlias = Started | NotLeader | Overloaded | LogFull
ReadAnswer: TypeAlias = ReadAt | NotLeader | Overloaded

ATTACH: Final[Codec[Attach]] = Codec(Attach, version=EXCHANGE_VERSION)
ATTACH_ANSWER: Final[Codec[AttachAnswer]] = Codec(AttachAnswer, version=EXCHANGE_VERSION)
APPLY: Final[Codec[Apply]] = Codec(Apply, version=EXCHANGE_VERSION)
APPLY_ANSWER: Final[Codec[ApplyAnswer]] = Codec(ApplyAnswer, version=EXCHANGE_VERSION)
TERM_LOST: Final[Codec[TermLost]] = Codec(TermLost, version=EXCHANGE_VERSION)
ASK_SLICE: Final[Codec[AskSlice]] = Codec(AskSlice, version=EXCHANGE_VERSION)
SLICE_REFUSED: Final[Codec[SliceRefused]] = Codec(SliceRefused, version=EXCHANGE_VERSION)
PROPOSE: Final[Codec[Propose]] = Codec(Propose, version=EXCHANGE_VERSION)
PROPOSE_ANSWER: Final[Codec[ProposeAnswer]] = Codec(ProposeAnswer, version=EXCHANGE_VERSION)
READ: Final[Codec[Read]] = Codec(Read, version=EXCHANGE_VERSION)
READ_ANSWER: Final[Codec[ReadAnswer]] = Codec(ReadAnswer, version=EXCHANGE_VERSION)
