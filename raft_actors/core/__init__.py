"""Raft itself: one event in, a list of effects out (Ongaro and Ousterhout, "In Search of an Understandable Consensus
Algorithm", cited as Raft §; Ongaro, "Consensus: Bridging Theory and Practice", cited as dissertation §).

Here:   the rules, their state, and the invariants they rest on. The standard library alone.
Never:  a clock, dice, a thread, a file, a socket, Ray. Time arrives in events; jitter is drawn by the shell.

The contract. `step(state, event)` is the one door; nobody else writes to a `State`. It never blocks and never raises,
except AssertionError for a broken invariant, after which the state must not be used any more. Read in this order:
types, entries, messages, events, effects (what exists); state, election, replication, reads, membership, transfer,
step (what happens); invariants (what must stay true); outbox (what may leave when).
"""

if not __debug__:
    raise ImportError("raft_actors refuses python -O: its assertions are the safety net of the replicated state")

from raft_actors.core.effects import Effect
from raft_actors.core.events import Event
from raft_actors.core.state import State
from raft_actors.core.step import step

__all__ = ["Effect", "Event", "State", "step"]
