"""The state chain: one hash that members share exactly if they applied the same entries to the same effect.

Here:   `StateChain`, its checkpoints.
Never:  comparing members (the leader's business).

Results are hashed, not only commands: a machine that is not deterministic answers differently long before anyone
notices that its state differs.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from hashlib import blake2b
from typing import Final

from raft_actors.application.exchange import Checkpoint, CommittedEntry
from raft_actors.application.limits import CHECKPOINT_INTERVAL
from raft_actors.core.types import LogIndex

CHAIN_BYTES: Final = 16
BEGINNING: Final = bytes(CHAIN_BYTES)
"""The chain of a state that has applied nothing."""

_ENTRY_HEAD: Final = struct.Struct("<QQQBQ")
"""index, term, stamp_ms, kind, length of the payload. The length keeps payload and results apart."""


class StateChain:
    """h = blake2b(h, index, term, stamp, kind, payload, encoded results), 16 bytes, entry by entry."""

    def __init__(self, checkpoints_max: int) -> None:
        self._checkpoints_max = checkpoints_max
        self._value = BEGINNING
        self._checkpoints: OrderedDict[LogIndex, bytes] = OrderedDict()

    @property
    def value(self) -> bytes:
        """The chain up to the last entry applied."""
        return self._value

    def restore(self, value: bytes) -> None:
        """Go on from a snapshot's. What was compared before is not ours any more."""
        self._value = value
        self._checkpoints.clear()

    def extend(self, index: LogIndex, entry: CommittedEntry, results: bytes) -> None:
        """The next entry was applied; `results` are its encoded outcomes."""
        chain = blake2b(self._value, digest_size=CHAIN_BYTES)
        chain.update(_ENTRY_HEAD.pack(index, entry.term, entry.stamp_ms, entry.kind.value, len(entry.data)))
        chain.update(entry.data)
        chain.update(results)
        self._value = chain.digest()
        if index % CHECKPOINT_INTERVAL == 0:
            self._checkpoints[index] = self._value
            if len(self._checkpoints) > self._checkpoints_max:
                self._checkpoints.popitem(last=False)

    def checkpoints(self, first: LogIndex, last: LogIndex) -> tuple[Checkpoint, ...]:
        """The kept checkpoints from `first` to `last`, both included, in order."""
        return tuple(
            Checkpoint(index=index, chain=chain) for index, chain in self._checkpoints.items() if first <= index <= last
        )
