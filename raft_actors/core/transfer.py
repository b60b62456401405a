"""Handing leadership over to a member that is told to campaign at once (dissertation §3.10).

Here:   the leader's side (whom, when to tell it, when to give up) and the member's side of TimeoutNow.
Never:  votes and terms (election.py): a transfer is an election like any other, only begun at a good moment.

Why it is safe: it adds no way to become leader. The target asks for votes in a new term and needs a majority that
holds no newer log than its own, as always (Raft §5.4.1). All that TimeoutNow takes away is the waiting: the silence of
an election timeout and the pre-vote, both of which only protect a leader that wants to stay.

Why it ends well: the leader takes no commands and no changes meanwhile, so the target reaches the log's end and stays
there. TimeoutNow names that end, and who has another one does not obey: a copy that Ray held through a partition does
not depose a leader that went on. The leader that heard nothing for one shortest election timeout takes commands again
("abort the transfer and resume", §3.10): the target has failed, or will not win.
"""

from __future__ import annotations

from raft_actors.core.effects import DropReason, Effect, Refuse, TransferEnd, TransferEnded
from raft_actors.core.election import become_candidate
from raft_actors.core.entries import COUNT_MAX
from raft_actors.core.messages import TimeoutNow, TimeoutNowReply
from raft_actors.core.replication import feed
from raft_actors.core.state import Leading, State, Transfer, send_reply, send_request
from raft_actors.core.terms import follow, is_second_leader
from raft_actors.core.types import DirectoryId, Incarnation, MemberId, RequestId, RpcId

# -- the leader's side -----------------------------------------------------------------------------------------------


def transfer_leadership(state: State, transfer_id: int, to: DirectoryId | None, now_ms: int, out: list[Effect]) -> None:
    """ "The prior leader stops accepting new client requests" (§3.10, 1.); `hand_over` does the rest."""
    leading = state.leading
    if leading is None:
        out.append(TransferEnded(transfer_id=transfer_id, done=False, why=TransferEnd.NOT_LEADER))
        return
    if leading.transfer is not None:
        out.append(TransferEnded(transfer_id=transfer_id, done=False, why=TransferEnd.ANOTHER_UNDER_WAY))
        return
    target = _target(state, leading, to)
    if target is None:
        out.append(TransferEnded(transfer_id=transfer_id, done=False, why=TransferEnd.NO_SUCH_VOTER))
        return
    leading.transfer = Transfer(transfer_id=transfer_id, to=target, since_ms=now_ms, term=state.current_term)
    feed(state, leading, leading.progress[target], out)


def _target(state: State, leading: Leading, to: DirectoryId | None) -> DirectoryId | None:
    """The one that was named, or the one with the most of our log; a voter in force in any case, and not ourselves."""
    others = [
        leading.progress[voter.directory_id]
        for voter in state.configurations.in_force.voters()
        if voter.directory_id != state.directory_id
    ]
    if to is not None:
        return to if any(progress.directory_id == to for progress in others) else None
    best = max(others, key=lambda progress: (progress.match_index, progress.last_answer_ms), default=None)
    return None if best is None else best.directory_id


def hand_over(state: State, leading: Leading, now_ms: int, out: list[Effect], *, again: bool = False) -> None:
    """Tell the target when it holds all of our log (§3.10, 2. and 3.); give up after one shortest election timeout.

    `again`: also if it was told before and nothing came of that call. At most once a heartbeat.
    """
    transfer = leading.transfer
    if transfer is None:
        return
    if now_ms - transfer.since_ms >= state.settings.election_timeout_ms_min:
        leading.transfer = None
        out.append(TransferEnded(transfer_id=transfer.transfer_id, done=False, why=TransferEnd.GIVEN_UP))
        return
    progress = leading.progress[transfer.to]
    may_tell = not transfer.told or (again and transfer.asked is None)
    if may_tell and progress.match_index == state.log.last.index:
        message = TimeoutNow(term=state.current_term, last_entry=state.log.last)
        transfer.told = True
        transfer.asked = send_request(state, progress.member_id, message, after=state.hard_state_seq, out=out)


def call_ended(state: State, rpc_id: RpcId) -> None:
    """This call brought no campaign: no answer, or a refusal. The next heartbeat may try again."""
    if state.leading is not None and state.leading.transfer is not None and state.leading.transfer.asked == rpc_id:
        state.leading.transfer.asked = None


# -- the target's side -----------------------------------------------------------------------------------------------


def handle_timeout_now(
    state: State,
    request_id: RequestId,
    sender: MemberId,
    incarnation: Incarnation,
    request: TimeoutNow,
    now_ms: int,
    out: list[Effect],
) -> None:
    """ "The target server starts a new election", as a voter in force that the leader described rightly (§3.10).

    The answer carries the new term, so the old leader follows it at once; it waits for the own vote to be durable.
    """
    last = request.last_entry
    if not 0 <= last.term <= request.term or not 0 <= last.index <= COUNT_MAX:
        out.append(Refuse(request_id=request_id, reason=DropReason.MALFORMED))
        return
    if is_second_leader(state, incarnation.directory_id, request.term):
        out.append(Refuse(request_id=request_id, reason=DropReason.SECOND_LEADER))
        return
    of_our_term = request.term == state.current_term
    if request.term >= state.current_term:  # who leads our term or a later one spoke, as with AppendEntries
        follow(state, sender, incarnation, request.term, now_ms, out)
    campaigns = (
        of_our_term
        and state.configurations.in_force.is_voter(state.directory_id)
        and state.log.last == last
        and now_ms >= state.campaign_not_before_ms
    )
    if campaigns:
        become_candidate(state, why="its leader hands over", out=out)
    send_reply(state, request_id, sender, TimeoutNowReply(term=state.current_term, campaigns=campaigns), out)
