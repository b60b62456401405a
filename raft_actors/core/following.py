"""The follower's side of replication: accept, reject with a hint, learn what is committed (Raft §5.3).

Here:   the receiver rules of AppendEntries (Raft Fig. 2).
Never:  what a leader does with the answer (replication.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from raft_actors.core.effects import CommitAdvanced, DropReason, Effect, Refuse
from raft_actors.core.entries import COUNT_MAX, Configuration, Entry
from raft_actors.core.messages import AppendEntries, AppendEntriesReply
from raft_actors.core.state import State, append_to_log, send_reply, truncate_log
from raft_actors.core.terms import follow, is_second_leader
from raft_actors.core.types import DirectoryId, EntryId, Incarnation, LogIndex, MemberId, RequestId, Term


def handle_append_entries(
    state: State,
    request_id: RequestId,
    sender: MemberId,
    incarnation: Incarnation,
    request: AppendEntries,
    now_ms: int,
    out: list[Effect],
) -> None:
    """Raft Fig. 2, AppendEntries RPC, receiver implementation 1 to 5."""
    refusal = _refusal(state, incarnation.directory_id, request)
    if refusal is not None:
        out.append(Refuse(request_id=request_id, reason=refusal))
        return
    if request.term < state.current_term:  # 1. "Reply false if term < currentTerm"
        _reply(state, request_id, sender, request, success=False, conflict=None, out=out)
        return
    follow(state, sender, incarnation, request.term, now_ms, out)
    # 2. "... if log doesn't contain an entry at prevLogIndex". What lies below our base it once contained: all of that
    # was committed, and the leader has no other (Leader Completeness, Raft §5.4).
    if not state.log.covers(request.prev_entry):
        conflict = state.log.last_at_or_before(request.prev_entry.index, request.prev_entry.term)
        _reply(state, request_id, sender, request, success=False, conflict=conflict, out=out)
        return
    _take_entries(state, request, out)
    covered = LogIndex(request.prev_entry.index + len(request.entries))
    # 5. "commitIndex = min(leaderCommit, index of last new entry)". The last entry that the *request* covers, never
    # our own end: what lies behind it may be another leader's (reliability B3).
    committed = min(request.leader_commit, covered)
    if committed > state.commit_index:
        state.commit_index = committed
        out.append(CommitAdvanced(commit_index=committed))
    _reply(state, request_id, sender, request, success=True, conflict=None, out=out)


def _take_entries(state: State, request: AppendEntries, out: list[Effect]) -> None:
    """3. and 4. of Fig. 2. Truncate only at a real conflict: a late copy must not cut off what came after it.

    A request that brings nothing new causes no write, and its answer still waits for the newest write issued: the
    entries that it covers may be on their way to the disk on behalf of an earlier copy (effects.py).
    """
    known = state.log.first_conflict(request.entries)
    fresh = request.entries[known:]
    if not fresh:
        return
    if fresh[0].index <= state.log.last.index:
        truncate_log(state, fresh[0].index, out)
    append_to_log(state, fresh, out)


def _refusal(state: State, directory: DirectoryId, request: AppendEntries) -> DropReason | None:
    """What no correct leader of our cluster sends. It is dropped and counted: the fault is not ours (DESIGN 4)."""
    prev = request.prev_entry
    if prev.index < 0 or request.leader_commit < 0 or not 0 <= prev.term <= request.term:
        return DropReason.MALFORMED
    line = [prev, *(entry.id for entry in request.entries)]
    if request.entries and not _follows(request.entries, line, request.term):
        return DropReason.MALFORMED
    if request.term < state.current_term:
        return None
    if is_second_leader(state, directory, request.term):
        return DropReason.SECOND_LEADER
    return _conflict_with_committed(state, request, line)


def _follows(entries: Sequence[Entry], line: Sequence[EntryId], term: Term) -> bool:
    """Whether these entries can stand in a log of this term. `line`: their places, behind that of the one before."""
    for before, after in pairwise(line):
        if after.index != before.index + 1 or not before.term <= after.term <= term:
            return False
    if any(later.stamp_ms < earlier.stamp_ms for earlier, later in pairwise(entries)):
        return False
    if max(entries[-1].stamp_ms, line[-1].index) > COUNT_MAX:
        return False
    # A configuration without voters, once in force, would leave nobody to count.
    return all(not isinstance(entry.payload, Configuration) or entry.payload.voters() for entry in entries)


def _conflict_with_committed(state: State, request: AppendEntries, line: list[EntryId]) -> DropReason | None:
    """A leader of our term or later holds everything committed (Leader Completeness, Raft §5.4)."""
    for entry_id in line:
        if entry_id.index > state.commit_index:
            break
        if entry_id.index >= state.log.base.index and not state.log.matches(entry_id):
            return DropReason.CONFLICTS_WITH_COMMITTED
    known = state.log.first_conflict(request.entries)
    if state.log.covers(line[0]) and known < len(request.entries):
        before = line[known].index
        if request.entries[known].stamp_ms < state.log.stamp_at(before):
            return DropReason.MALFORMED
    return None


def _reply(
    state: State,
    request_id: RequestId,
    sender: MemberId,
    request: AppendEntries,
    *,
    success: bool,
    conflict: EntryId | None,
    out: list[Effect],
) -> None:
    covered = LogIndex(request.prev_entry.index + len(request.entries))
    reply = AppendEntriesReply(
        term=state.current_term,
        success=success,
        request_term=request.term,
        prev_index=request.prev_entry.index,
        match_index=covered if success else LogIndex(0),
        conflict=conflict,
        beat=request.beat,
    )
    send_reply(state, request_id, sender, reply, out)
