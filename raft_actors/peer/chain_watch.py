"""The comparison of state chains as one peer takes part in it: reports, answers, and the verdict on itself.

Here:   what is reported to whom and when, as member and as leader.
Never:  what agreement is (chains.py), how a chain is computed (raft_actors/application).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from raft_actors.application.exchange import Checkpoint, ClusterId, Provenance
from raft_actors.core import State
from raft_actors.core.effects import RoleChanged
from raft_actors.core.types import MemberId, Role
from raft_actors.peer.chains import ChainComparison, ChainReport, OwnChains


class ChainPorts(Protocol):
    """The part of the engine's world that the comparison needs."""

    def report_chains(self, to: MemberId, report: ChainReport) -> None:
        """Call a peer; whether it arrives does not matter: what is not agreed is reported again."""

    def failed(self, why: str) -> None:
        """This member must stop."""


class ChainWatch:
    """Reads the state, never writes to it."""

    def __init__(self, state: State, ports: ChainPorts) -> None:
        self._state = state
        self._ports = ports
        self._own = OwnChains()
        self._comparison = ChainComparison()
        self._computed_by = state.directory_id
        """Who computed our application's state, as far as it is not agreed."""

    @property
    def in_doubt(self) -> bool:
        """Members computed different things and no majority agrees: answer nobody until one does."""
        return self._state.role is Role.LEADER and self._comparison.in_doubt

    def leader_changed(self, news: RoleChanged) -> None:
        """A new leader knows nothing of what was agreed, and begins to compare."""
        if news.leader is not None:
            self._own.reopen()
        if news.role is Role.LEADER:
            self._comparison = ChainComparison()

    def attached(self, provenance: Provenance | None) -> None:
        """The application says where its state comes from; None: it applied everything itself."""
        self._computed_by = self._state.directory_id if provenance is None else provenance.computed_by

    def provenance(self) -> Provenance:
        """To be written into a snapshot of our application's state."""
        return Provenance(computed_by=self._computed_by, agreed=self._own.confirmed)

    def computed(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Our application came past these indexes (or says again that it did, when it attaches)."""
        news = False
        for checkpoint in checkpoints:
            news = True
            if self._own.computed(checkpoint) is not None:
                self._differs(checkpoint)
                return
        if news:
            self.report()

    def report(self) -> None:
        """Tell the leader what is not agreed yet; also now and then, because any report may be lost."""
        checkpoints = self._own.open()
        leader = self._state.leader_hint
        if not checkpoints or leader is None:
            return
        report = self._report_of(checkpoints, agreed=False)
        if leader == self._state.member_id:
            self.reported(report)
        else:
            self._ports.report_chains(leader, report)

    def reported(self, report: ChainReport) -> None:
        """A member of our cluster reports its chains, or the leader says what is agreed."""
        if report.agreed:
            for checkpoint in report.checkpoints:
                self._agreed(checkpoint)
        elif self._state.role is Role.LEADER:
            for checkpoint in report.checkpoints:
                self._compare(report, checkpoint)

    def _compare(self, report: ChainReport, checkpoint: Checkpoint) -> None:
        voters = {voter.directory_id for voter in self._state.configurations.in_force.voters()}
        news = self._comparison.report(report.directory_id, checkpoint, voters, computed_by=report.computed_by)
        agreed = self._comparison.agreed
        if agreed is None or agreed.index != checkpoint.index:
            return
        answer = self._report_of((agreed,), agreed=True)
        for member in self._state.configurations.others(self._state.member_id):
            if news or member.directory_id == report.directory_id:  # who still asks has not heard it
                self._ports.report_chains(member.member_id, answer)
        self._agreed(agreed)

    def _agreed(self, checkpoint: Checkpoint) -> None:
        if not self._own.agreed(checkpoint):
            self._differs(checkpoint)
        elif (
            self._own.confirmed == checkpoint
        ):  # what follows is of our own computing, and what it begins from is right
            self._computed_by = self._state.directory_id

    def _report_of(self, checkpoints: tuple[Checkpoint, ...], *, agreed: bool) -> ChainReport:
        return ChainReport(
            cluster_id=ClusterId(self._state.cluster_id),
            directory_id=self._state.directory_id,
            computed_by=self._computed_by,
            agreed=agreed,
            checkpoints=checkpoints,
        )

    def _differs(self, checkpoint: Checkpoint) -> None:
        self._ports.failed(
            f"this member's state differs from the majority's at index {checkpoint.index}: its state machine is not "
            "deterministic, or its memory or code is not the others'; replace the member"
        )
