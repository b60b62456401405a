"""A network whose messages wait until someone delivers, drops or copies them.

Here:   messages under way as bytes of the product's codec, links that are cut, selection.
Never:  what happens where a message arrives (member.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby
from typing import Final

from raft_actors.application.pipe import decode_slice
from raft_actors.application.slices import SLICE_REQUEST
from raft_actors.core.entries import Entry
from raft_actors.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
    TimeoutNowReply,
)
from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId, EntryId, MemberId, RpcId
from raft_actors.envelopes import decode_envelope, decode_join

RUN_SHOWN_MAX: Final = 8
"""Entries of one term that a line names one by one."""


class Part(Enum):
    """What of a call this is."""

    REQUEST = "request"
    REPLY = "reply"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """One message under way."""

    src: MemberId
    dst: MemberId
    method: str
    part: Part
    data: bytes | None
    """None: a reply that says that there is none, because the callee refused or died."""
    rpc_id: RpcId = RpcId(0)
    """Of the call that this is part of."""
    caller_start: int = 0
    """Which process called: an answer to one that is gone reaches nobody."""

    def __str__(self) -> str:
        what = self.method
        if self.data is None:
            what += " failed"
        elif self.method == "read_snapshot":
            what = _slice(self.part, self.data)
        elif self.method == "join":
            what = (
                f"Join, for {named(decode_join(self.data).directory_id)}" if self.part is Part.REQUEST else "join ended"
            )
        elif self.part is not Part.NOTICE:
            what = describe(decode_envelope(self.data).message)
        return f"{self.src} -> {self.dst} {what}"


class Network:
    """Messages in the order in which they were sent."""

    def __init__(self) -> None:
        self.flights: list[Flight] = []
        self._cut: set[tuple[MemberId, MemberId]] = set()

    def send(self, flight: Flight) -> None:
        self.flights.append(flight)

    def cut(self, src: MemberId, dst: MemberId) -> None:
        """From now on nothing arrives in this direction; it waits."""
        self._cut.add((src, dst))

    def heal(self) -> None:
        """All links work; what waited may arrive."""
        self._cut.clear()

    def select(
        self,
        *,
        src: int | None = None,
        dst: int | None = None,
        method: str | None = None,
        part: str | None = None,
        over_cuts: bool = False,
    ) -> Iterator[Flight]:
        """The messages under way that match, oldest first; those on cut links only with `over_cuts`."""
        for flight in self.flights:
            if (
                src in (None, flight.src)
                and dst in (None, flight.dst)
                and method in (None, flight.method)
                and part in (None, flight.part.value)
                and (over_cuts or (flight.src, flight.dst) not in self._cut)
            ):
                yield flight

    def take(self, flight: Flight) -> None:
        """It is under way no more."""
        self.flights = [other for other in self.flights if other is not flight]

    def copy(self, flight: Flight) -> None:
        """It arrives once more, after everything sent so far."""
        self.flights.append(replace(flight))


def _slice(part: Part, data: bytes) -> str:
    """A slice of a snapshot, or the question for it."""
    if part is Part.REQUEST:
        request = SLICE_REQUEST.decode(data)
        return f"reads the snapshot {place(EntryId(request.term, request.index))} from byte {request.offset}"
    if not data:
        return "has no such snapshot"
    slice_, _ = decode_slice(data)
    return f"bytes {slice_.offset}..{slice_.behind} of the snapshot {place(slice_.last)}{', its end' * slice_.ends}"


def describe(message: Message) -> str:
    """One line for a story."""
    match message:
        case PreVote(term=term, last_entry=last):
            return f"PreVote term={term} last={place(last)}"
        case RequestVote(term=term, last_entry=last):
            return f"RequestVote term={term} last={place(last)}"
        case TimeoutNow(term=term, last_entry=last):
            return f"TimeoutNow term={term} last={place(last)}"
        case TimeoutNowReply(term=term, campaigns=campaigns):
            return f"TimeoutNowReply term={term} {'campaigns' if campaigns else 'refused'}"
        case PreVoteReply(term=term, vote_granted=granted) | RequestVoteReply(term=term, vote_granted=granted):
            return f"{type(message).__name__} term={term} {'granted' if granted else 'refused'}"
        case AppendEntries(term=term, prev_entry=prev, entries=entries, leader_commit=commit):
            return f"AppendEntries term={term} prev={place(prev)} entries={_listed(entries)} commit={commit}"
        case InstallSnapshot(term=term, snapshot=snapshot):
            return f"InstallSnapshot term={term} last={place(snapshot.last)}"
        case InstallSnapshotReply(term=term, match_index=match_index):
            return f"InstallSnapshotReply term={term} match={match_index}"
        case AppendEntriesReply(term=term, success=True, match_index=match_index):
            return f"AppendEntriesReply term={term} match={match_index}"
        case AppendEntriesReply(term=term, conflict=conflict):
            return f"AppendEntriesReply term={term} refused, conflict={place(conflict) if conflict else '-'}"


def _listed(entries: Iterable[Entry]) -> str:
    """Their places; `3/2..21` for many of one term."""
    runs = []
    for _, of_one_term in groupby((entry.id for entry in entries), key=lambda entry_id: entry_id.term):
        run = list(of_one_term)
        many = len(run) > RUN_SHOWN_MAX
        runs.append(f"{place(run[0])}..{run[-1].index}" if many else ",".join(map(place, run)))
    return ",".join(runs) or "-"


def named(directory_id: DirectoryId) -> str:
    """`3'` for the second directory of member 3, as far as it comes from a disk in memory."""
    number, wipes, *rest = directory_id
    readable = rest == [ord("d")] * (DIRECTORY_ID_BYTES - 2)
    return f"{number}{wipes * chr(39)}" if readable else directory_id.hex()[:8]


def place(entry_id: EntryId) -> str:
    """term/index."""
    return f"{entry_id.term}/{entry_id.index}"
