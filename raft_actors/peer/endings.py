"""How what somebody waits for ends: what the core says of proposals, reads, changes and transfers, told to who waits.

Here:   `tell_end`, and which effects are such endings.
Never:  who waits and for how long (waiting.py), all other effects (engine.py).
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

from raft_actors.application import exchange
from raft_actors.core.effects import (
    ChangeRefused,
    ChangeStarted,
    ProposalRefusal,
    ProposalRefused,
    ProposalStarted,
    ReadConfirmed,
    ReadRefused,
    TransferEnded,
)
from raft_actors.core.types import MemberId
from raft_actors.peer.ports import Ports

Ending: TypeAlias = (
    ProposalStarted | ProposalRefused | ReadConfirmed | ReadRefused | ChangeStarted | ChangeRefused | TransferEnded
)


def tell_end(ports: Ports, ending: Ending, me: MemberId) -> None:
    """`me`: a refused read that names ourselves as the leader found too many others waiting."""
    match ending:
        case ProposalStarted(proposal_id=proposal_id, index=index, term=term):
            ports.proposal_ended(proposal_id, exchange.Started(index=index, term=term))
        case ProposalRefused(proposal_id=proposal_id, reason=reason, leader=leader):
            ports.proposal_ended(proposal_id, _refusal(reason, leader))
        case ReadConfirmed(read_id=read_id, read_index=read_index):
            ports.read_ended(read_id, exchange.ReadAt(index=read_index))
        case ReadRefused(read_id=read_id, leader=leader):
            reason = ProposalRefusal.OVERLOADED if leader == me else ProposalRefusal.NOT_LEADER
            ports.read_ended(read_id, _refusal(reason, leader))
        case ChangeStarted(change_id=change_id) | ChangeRefused(change_id=change_id):
            ports.change_ended(change_id, ending)
        case TransferEnded():
            ports.transfer_ended(ending)
        case _:
            assert_never(ending)


def _refusal(reason: ProposalRefusal, leader: MemberId | None) -> exchange.NotLeader | exchange.Overloaded:
    match reason:
        case ProposalRefusal.NOT_LEADER:
            return exchange.NotLeader(leader=leader)
        case ProposalRefusal.OVERLOADED:
            return exchange.Overloaded()
