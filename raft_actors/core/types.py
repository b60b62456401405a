"""The small vocabulary of the core: who, when and where in the log.

Here:   numbers with a meaning (`Term`, `LogIndex`, ...), `EntryId` and its order, the roles and their table's type.
Never:  rules. What follows from an order or a role stands in election.py and replication.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NewType

MemberId = NewType("MemberId", int)
"""A place in the group, 0, 1, 2 ...; it outlives the disk that serves it. Used for addresses, never for counting."""

DirectoryId = NewType("DirectoryId", bytes)
"""16 random bytes, drawn when a data directory is first opened: who holds the promises. Used for every count."""

Term = NewType("Term", int)
"""Raft's logical clock (Raft §5.1). 0 is before the first election."""

LogIndex = NewType("LogIndex", int)
"""Position in the log. The first entry has index 1; 0 is the genesis of the group."""

WriteSeq = NewType("WriteSeq", int)
"""Number of one write to the disk, rising by one. 0 stands for what was durable before the core started."""

RpcId = NewType("RpcId", int)
"""Number that a sender gives to one of its requests; never reused within an incarnation."""

RequestId = NewType("RequestId", int)
"""Number that the shell gives to one received request, so that its one reply finds the way back."""

DIRECTORY_ID_BYTES: Final = 16

VACANT: Final = DirectoryId(bytes(DIRECTORY_ID_BYTES))
"""Stands in a configuration at a place that waits for a directory. None is ever drawn as this (docs/adr/0013)."""


@dataclass(frozen=True, slots=True, order=True)
class EntryId:
    """Position of one entry. Ordered as Raft §5.4.1 orders logs: by term, then by index."""

    term: Term
    index: LogIndex


GENESIS_ID: Final = EntryId(Term(0), LogIndex(0))
"""What stands before the first entry of every log of a group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """One start of a process on one data directory. Both parts are durable before it sends anything."""

    directory_id: DirectoryId
    start_count: int
    """How often the directory was opened, this time included; from 1 up."""


class Role(Enum):
    """Raft Fig. 4, and the pre-candidate of dissertation §9.6."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"
