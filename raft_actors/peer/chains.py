"""Do all members compute the same? The comparison of state chains (DESIGN 4, contracts rule 8).

Here:   one member's own chains, the reports a leader collects, and what agreement and doubt mean; no thread.
Never:  how a chain is computed (raft_actors/application/host.py).

Every application hashes each entry *and its results* into a chain. Members report the chain at every multiple of 1,024
to the leader. *Agreed* is what a majority of the voters reported equally at one index. Only members that differ from an
agreed value fail: an early minority may be the right side. A state that came with a snapshot was computed by whoever
took it, so until the next agreed point it is reported under that directory too, and one directory counts once: else
one wrong member and those that went on from its snapshot would outvote the right ones (contracts 8 a). Where all
voters report equally nobody is outvoted, so that is agreed, too, whoever computed it. While reports
differ and none is agreed, the leader refuses proposals and reads, and goes on replicating, so that a member that lags
can come and decide.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, TypeVar

from raft_actors.application.exchange import Checkpoint, ClusterId
from raft_actors.application.packing import Codec
from raft_actors.core.quorum import majority
from raft_actors.core.types import DirectoryId, LogIndex

T = TypeVar("T")

KEPT_MAX: Final = 64
"""Checkpoints kept without agreement, and indexes compared at a time; older ones are given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """Member to leader: my chains that are not agreed yet. Leader to member: what is agreed."""

    cluster_id: ClusterId
    directory_id: DirectoryId
    """Who reports."""
    computed_by: DirectoryId
    """Who computed it: the reporter, or who took the snapshot that it went on from."""
    agreed: bool
    checkpoints: tuple[Checkpoint, ...]


CHAIN_REPORT: Final[Codec[ChainReport]] = Codec(ChainReport, version=1)


class OwnChains:
    """What this member computed and nobody has confirmed yet."""

    def __init__(self) -> None:
        self._computed: dict[LogIndex, bytes] = {}
        self._agreed: dict[LogIndex, bytes] = {}
        self.confirmed: Checkpoint | None = None
        """The newest of ours that was agreed."""

    def open(self) -> tuple[Checkpoint, ...]:
        """To be reported, again and again until agreed, oldest first."""
        return tuple(Checkpoint(index=index, chain=chain) for index, chain in sorted(self._computed.items()))

    def computed(self, checkpoint: Checkpoint) -> Checkpoint | None:
        """Own result. Returns the agreed one if it differs: this member must fail."""
        agreed = self._agreed.get(checkpoint.index)
        if agreed is not None:
            return None if agreed == checkpoint.chain else Checkpoint(index=checkpoint.index, chain=agreed)
        self._computed[checkpoint.index] = checkpoint.chain
        _forget_oldest(self._computed)
        return None

    def agreed(self, checkpoint: Checkpoint) -> bool:
        """A majority agreed on this. False: we computed something else, this member must fail."""
        self._agreed[checkpoint.index] = checkpoint.chain
        _forget_oldest(self._agreed)
        own = self._computed.pop(checkpoint.index, None)
        if own == checkpoint.chain:
            self.confirmed = checkpoint
        for index in [index for index in self._computed if index < checkpoint.index]:
            del self._computed[index]  # equal here means equal before: it is a chain
        return own is None or own == checkpoint.chain

    def reopen(self) -> None:
        """Another leader may not know what was agreed last: report it anew, or that leader doubts for ever."""
        if self.confirmed is not None:
            self._computed.setdefault(self.confirmed.index, self.confirmed.chain)


@dataclass(slots=True)
class ChainComparison:
    """What a leader knows of all members' chains. Starts empty with each leadership: members report again."""

    agreed: Checkpoint | None = None
    """The newest."""
    _reports: dict[LogIndex, dict[DirectoryId, tuple[bytes, DirectoryId]]] = field(default_factory=dict)
    """By index and reporter: the chain, and who computed it."""

    def report(
        self,
        directory: DirectoryId,
        checkpoint: Checkpoint,
        voters: Collection[DirectoryId],
        *,
        computed_by: DirectoryId,
    ) -> bool:
        """Take one member's chain. True: it made a majority of the voters agree on it (once per index)."""
        known = self.agreed is not None and checkpoint.index <= self.agreed.index
        if known or directory not in voters:
            return False
        at_index = self._reports.setdefault(checkpoint.index, {})
        at_index[directory] = checkpoint.chain, computed_by
        reported = [at_index[voter] for voter in voters if voter in at_index]
        computations = {by for chain, by in reported if chain == checkpoint.chain}
        all_equal = len(reported) == len(voters) and all(chain == checkpoint.chain for chain, _ in reported)
        if len(computations) >= majority(len(voters)) or all_equal:
            self.agreed = checkpoint
            for index in [index for index in self._reports if index <= checkpoint.index]:
                del self._reports[index]
            return True
        _forget_oldest(self._reports)
        return False

    @property
    def in_doubt(self) -> bool:
        """Reports differ at some index and none of them is agreed."""
        return any(len({chain for chain, _ in at_index.values()}) > 1 for at_index in self._reports.values())


def _forget_oldest(by_index: dict[LogIndex, T]) -> None:
    while len(by_index) > KEPT_MAX:
        del by_index[min(by_index)]
