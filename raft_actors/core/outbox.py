"""What may leave when: the queue that keeps the durability promise of effects.py.

Here:   sends and replies held until the write they wait for is durable.
Never:  the sending itself, the disk.

The argument (DESIGN 4, "Durability"). A peer's promises, votes and acknowledgements, are made by messages. The core
gives each message the number of the newest write that it may depend on, and the disk completes writes in order. If a
message leaves only when that write is done, then after any crash the disk still holds everything that any message ever
sent relied on: no promise can be forgotten. No message has to be examined for what it says.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

from raft_actors.core.effects import SendReply, SendRequest
from raft_actors.core.types import WriteSeq

Outgoing: TypeAlias = SendRequest | SendReply


@dataclass(slots=True)
class Outbox:
    """Holds messages; `push` and `durable` return those that may leave, in the order in which they were pushed."""

    durable_seq: WriteSeq = WriteSeq(0)
    _held: deque[Outgoing] = field(default_factory=deque)

    def push(self, message: Outgoing) -> list[Outgoing]:
        """Take a message; return it if it may leave at once. It may overtake held ones: nothing orders messages."""
        if message.after <= self.durable_seq:
            return [message]
        self._held.append(message)
        return []

    def durable(self, seq: WriteSeq) -> list[Outgoing]:
        """Everything up to write `seq` is on the disk: return what waited for no more than that."""
        assert seq >= self.durable_seq, f"write {seq} done after {self.durable_seq}"
        self.durable_seq = seq
        free = [message for message in self._held if message.after <= seq]
        if free:
            self._held = deque(message for message in self._held if message.after > seq)
        return free

    def __len__(self) -> int:
        return len(self._held)
