"""Verify authority: linearizable reads without a log entry (read index, dissertation §6.4; Ruaft's verify_authority).

Here:   reads that wait, the rounds that confirm them.
Never:  the state machine (the shell applies up to the read index, then asks it), leases.

The argument. A read that arrives at leader L of term T must see every write acknowledged before it arrived.
1. L's commit index covers them once it covers the log's end at L's election: all entries committed in earlier terms
   are in L's log by then (Leader Completeness, Raft §5.4), and later ones are committed by L itself, unless
2. a newer leader committed some. Then a majority had moved to its term before they were acknowledged. So if a majority
   of the voters answers, still in T, to messages sent *after* the read arrived, no such write was acknowledged before
   the read arrived, and the commit index taken at its arrival is new enough.
Hence messages carry the number of the round (`beat`) that was current when they were sent, a read notes the next
round's number, and only answers that echo this number or a later one confirm it. An answer to an older message, held
back by the network until after the read arrived, carries an older number (Ruaft's delayed commit consistency; E3).
"""

from __future__ import annotations

from collections import deque

from raft_actors.core.effects import Effect, ReadConfirmed, ReadRefused
from raft_actors.core.quorum import majority_reached
from raft_actors.core.replication import broadcast
from raft_actors.core.state import Leading, State, WaitingRead


def request_read(state: State, read_id: int, now_ms: int, out: list[Effect]) -> None:
    """Note the read and the round it needs. Reads that arrive during a round share the next one."""
    leading = state.leading
    if leading is None or len(leading.reads) >= state.settings.reads_waiting_max:
        out.append(ReadRefused(read_id=read_id, leader=state.leader_hint))
        return
    known = state.commit_index >= leading.term_start_index
    read = WaitingRead(read_id=read_id, read_index=state.commit_index if known else None, beat=leading.beat + 1)
    round_under_way = bool(leading.reads) and leading.reads[0].beat <= leading.beat
    leading.reads.append(read)
    if not round_under_way:
        broadcast(state, leading, now_ms, out)


def abandon_read(state: State, read_id: int) -> None:
    """Nobody waits for it any more."""
    if state.leading is not None:
        state.leading.reads = deque(read for read in state.leading.reads if read.read_id != read_id)


def confirm_reads(state: State, leading: Leading, now_ms: int, out: list[Effect]) -> None:
    """Answer the reads whose round a majority of the voters has confirmed; then start the next round, if one waits."""
    if not leading.reads:
        return
    if state.commit_index >= leading.term_start_index:
        confirmed = majority_reached(
            [
                leading.beat
                if voter.directory_id == state.directory_id
                else leading.progress[voter.directory_id].acked_beat
                for voter in state.configurations.in_force.voters()
            ]
        )
        while leading.reads and leading.reads[0].beat <= confirmed:
            read = leading.reads.popleft()
            # A read that arrived before the commit index was known takes the present one: newer is never wrong.
            read_index = state.commit_index if read.read_index is None else read.read_index
            out.append(ReadConfirmed(read_id=read.read_id, read_index=read_index))
    if leading.reads and leading.reads[0].beat > leading.beat:
        broadcast(state, leading, now_ms, out)
