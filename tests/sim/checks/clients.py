"""What clients asked and what they were told: the history, and whether any order of it makes sense.

Here:   `Clients`: the history of each key; the verdict on it; writes that were acknowledged, and those that were not
        done, held against what the machines ran.
Never:  how linearizability is decided (analysis/linearizability.py).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from analysis.history import UNSEEN, Call, Mismatch, Op, Outcome, Result, Written
from analysis.linearizability import Judgement, Verdict, judge
from kv.errors import VersionMismatch
from kv.results import decode_version
from tests.sim.checks.commits import Commits
from tests.sim.checks.machines import Machines
from tests.sim.checks.violation import Violation

STEPS_MAX = 200_000
"""Of the search, per key; a few hundred operations with a few clients at a time take a few thousand."""


@dataclass(slots=True, kw_only=True)
class _Asked:
    client: str
    op: Op
    key: str
    invoked: int
    value: Hashable
    if_version: int | None
    command: bytes | None


class Clients:
    """Every operation of every client."""

    def __init__(self, commits: Commits, machines: Machines) -> None:
        self._commits = commits
        self._machines = machines
        self._asked: dict[int, _Asked] = {}
        self.history: list[Call] = []
        self._unheard: dict[str, bytes] = {}
        """Unique commands of which nobody was told whether they happened."""

    def invoked(
        self,
        op_id: int,
        *,
        client: str,
        op: Op,
        key: str,
        at: int,
        value: Hashable = UNSEEN,
        if_version: int | None = None,
        command: bytes | None = None,
    ) -> None:
        """A client begins an operation on one key. `command`: a write's bytes, if no other ever has the same.

        For stale reads nothing is promised that could be told here: leave them out.
        """
        self._asked[op_id] = _Asked(
            client=client, op=op, key=key, invoked=at, value=value, if_version=if_version, command=command
        )
        if command is not None:
            self._machines.unique(command)

    def ended(
        self,
        op_id: int,
        *,
        at: int,
        outcome: Outcome,
        result: Result | None = None,
        raw: bytes | None = None,
        index: int | None = None,
        term: int | None = None,
    ) -> None:
        """It ended. What the store refused by its rules (`Mismatch`, `WrongType`) is OK: the machines computed that.

        `raw`: the machine's own bytes; `index` and `term`: of the entry that gave the answer, where that is known.
        """
        asked = self._asked.pop(op_id)
        self._note(op_id, asked, at, outcome, result)
        if index is not None and term is not None:
            self._commits.acknowledged(index, term, f"{asked.op.value} {asked.key} of {asked.client}")
        if asked.command is not None:
            if outcome is Outcome.OK:
                self._machines.done(asked.command, raw)
            elif outcome is Outcome.NOT_DONE:
                self._machines.not_done(asked.command)

    def verdict(self) -> list[Verdict]:
        """The whole history, key by key; what has not ended is open.

        Of a write whose outcome nobody was told the machines know it: one that none of them ran is left out, one that
        they ran has happened, by the end of the history, with the version that they computed. A search that tries each
        of them at each place would not end. It makes no illegal history legal: who read what no machine ran, or with
        another version, still has no place.
        """
        for op_id, asked in sorted(self._asked.items()):
            self._note(op_id, asked, None, Outcome.UNKNOWN, None)
        self._asked.clear()
        end = max((call.returned or call.invoked for call in self.history), default=0) + 1
        verdicts = judge(filter(None, (self._as_known(call, end) for call in self.history)), steps_max=STEPS_MAX)
        for verdict in verdicts:
            if verdict.judgement is Judgement.ILLEGAL:
                raise Violation("linearizability", str(verdict))
            if verdict.judgement is Judgement.UNKNOWN:
                raise Violation("linearizability is decided", str(verdict))
        return verdicts

    def _as_known(self, call: Call, end: int) -> Call | None:
        """The call, with what the machines know of its outcome; None: it never happened, or was refused."""
        command = self._unheard.get(call.op_id)
        if command is None:
            return call
        result = self._machines.result_of(command)
        if result is None:
            return None
        happened = written(result)
        if isinstance(happened, Mismatch):
            return None
        return replace(call, outcome=Outcome.OK, result=happened, returned=end)

    def _note(self, op_id: int, asked: _Asked, at: int | None, outcome: Outcome, result: Result | None) -> None:
        if outcome is Outcome.UNKNOWN and asked.command is not None:
            self._unheard[str(op_id)] = asked.command
        self.history.append(
            Call(
                op_id=str(op_id),
                client=asked.client,
                op=asked.op,
                key=asked.key,
                invoked=asked.invoked,
                returned=at,
                outcome=outcome,
                value=asked.value,
                if_version=asked.if_version,
                result=result,
            )
        )


def written(answer: bytes) -> Written | Mismatch:
    """What the machine's answer to a put or an append says."""
    try:
        return Written(version=decode_version(answer))
    except VersionMismatch as refusal:
        return Mismatch(current=refusal.current)
