"""The requests and replies that peers exchange: one frozen class each, fields named as in the paper's figures.

Here:   Raft Fig. 2 (RequestVote, AppendEntries) and Fig. 13 (InstallSnapshot), dissertation §9.6 (PreVote) and §3.10
        (TimeoutNow), and the envelope around them.
Never:  what to do with them (election.py, replication.py, transfer.py), their bytes (raft_actors/envelopes.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from raft_actors.core.entries import Entry, SnapshotMeta
from raft_actors.core.types import DirectoryId, EntryId, Incarnation, LogIndex, MemberId, Term


@dataclass(frozen=True, slots=True, kw_only=True)
class PreVote:
    """Would-be candidate to every other voter: would you vote for me? Changes nothing at the voter (§9.6)."""

    term: Term
    """The asker's present term; it is not raised before a majority agreed."""
    last_entry: EntryId
    campaign: int
    """Which campaign of this incarnation asks; echoed, so that an answer to an earlier one counts for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreVoteReply:
    """A voter's answer. Its term is adopted by the asker, which is what dissolves Ruaft's deadlock RF3."""

    term: Term
    vote_granted: bool
    campaign: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestVote:
    """Candidate to every other voter (Raft Fig. 2, RequestVote RPC). The candidate is the envelope's directory."""

    term: Term
    last_entry: EntryId
    """(lastLogTerm, lastLogIndex) of the paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestVoteReply:
    """The vote, durable before it is sent."""

    term: Term
    vote_granted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendEntries:
    """Leader to every other member (Raft Fig. 2, AppendEntries RPC). Without entries: heartbeat and read-index beat."""

    term: Term
    prev_entry: EntryId
    """(prevLogTerm, prevLogIndex) of the paper."""
    entries: tuple[Entry, ...]
    leader_commit: LogIndex
    beat: int
    """Round of dissertation §6.4 that this message belongs to; echoed. A read is confirmed by later rounds only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendEntriesReply:
    """A follower's answer; a success is sent only when all the entries it covers are durable."""

    term: Term
    success: bool
    request_term: Term
    """Term of the request: an answer to an earlier leadership counts for nothing in a later one."""
    prev_index: LogIndex
    """Index of the request's prev_entry: tells a late answer from a fresh one."""
    match_index: LogIndex
    """On success: the last index that the *request* covered, never the follower's own end."""
    conflict: EntryId | None
    """On failure: the follower's last entry at or before prev_entry whose term is not above prev_entry's term."""
    beat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallSnapshot:
    """Leader to a member that lacks entries which the leader no longer has (Raft Fig. 13, InstallSnapshot RPC).

    It says what there is; the state is fetched beside it. Sent with every heartbeat until it is installed, and so the
    heartbeat of such a member.
    """

    term: Term
    snapshot: SnapshotMeta
    """lastIncludedIndex, lastIncludedTerm and lastConfig of the paper."""
    beat: int
    """As in AppendEntries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallSnapshotReply:
    """A follower's answer, at once: how far it is. It may hold an older snapshot that the leader's log goes on from."""

    term: Term
    request_term: Term
    """As in AppendEntriesReply."""
    match_index: LogIndex
    """The follower's commit index, durable: what is committed, the leader has, too. 0 to a leader of the past."""
    beat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutNow:
    """Leader to the voter that shall lead after it: campaign at once, without pre-vote (dissertation §3.10)."""

    term: Term
    last_entry: EntryId
    """The leader's log end, which the voter holds; whoever ends elsewhere was not meant, or not any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutNowReply:
    """The voter's answer. If it campaigns, its term is the new one, durable with its own vote."""

    term: Term
    campaigns: bool


Request: TypeAlias = PreVote | RequestVote | AppendEntries | InstallSnapshot | TimeoutNow
Reply: TypeAlias = PreVoteReply | RequestVoteReply | AppendEntriesReply | InstallSnapshotReply | TimeoutNowReply
Message: TypeAlias = Request | Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message, and who says it on behalf of which cluster."""

    cluster_id: bytes
    sender: MemberId
    incarnation: Incarnation
    to: MemberId
    message: Message

    @property
    def directory_id(self) -> DirectoryId:
        """The directory that makes the promise; what counting goes by."""
        return self.incarnation.directory_id
