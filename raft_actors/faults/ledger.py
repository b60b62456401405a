"""Which faults there were, from when to when, and whether they bit.

Here:   `Totals`: counts of all processes added up; `Ledger`: faults and their rows for the run (recording/schema.py).
Never:  doing them (injector.py, hand.py), clocks.

A fault that does nothing makes a test pass that tests nothing. So each says whether it bit. Of rules: whether at least
one message in their scope was touched while they held, and with `CALLS_ENOUGH` that passed untouched they certainly
did not. Of what is done to processes, disks and nodes: what was seen afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from raft_actors.faults.orders import Report
from raft_actors.faults.rules import Cut, Delay, Drop, Duplicate, Message, Part, Reorder, Rule

CALLS_ENOUGH: Final = 200
"""A rule that has touched none of so many calls in its scope did not bite."""
PROCESSES_MAX: Final = 4096
"""Whose counts are kept apart; older ones are added together."""
FAULTS_MAX: Final = 100_000
"""Faults of one run."""

Counts: TypeAlias = Mapping[Message, Mapping[str, int]]
"""Per link, method and part: columns of `Plan.counts`."""


class Totals:
    """What became of the messages of all nodes, of processes that are gone too."""

    def __init__(self) -> None:
        self._by_process: dict[str, Sequence[Mapping[str, int | str]]] = {}
        self._gone: dict[Message, dict[str, int]] = {}

    def take(self, report: Report) -> None:
        """The newest counts of this process."""
        self._by_process.pop(report.process, None)
        self._by_process[report.process] = report.counts
        while len(self._by_process) > PROCESSES_MAX:
            _add(self._gone, self._by_process.pop(next(iter(self._by_process))))

    def counts(self) -> Counts:
        """All added up."""
        found = {message: dict(columns) for message, columns in self._gone.items()}
        for rows in self._by_process.values():
            _add(found, rows)
        return found

    def rows(self) -> list[dict[str, int | str]]:
        """For a reader, as `Plan.counts`."""
        return [
            {"src": message.src, "dst": message.dst, "method": message.method, "part": str(message.part), **columns}
            for message, columns in self.counts().items()
        ]


def _add(found: dict[Message, dict[str, int]], rows: Sequence[Mapping[str, int | str]]) -> None:
    for row in rows:
        if row["src"] == "*":
            continue  # links beyond LINKS_MAX: whose they are is not known
        message = Message(row["src"], row["dst"], str(row["method"]), Part(str(row["part"])))
        columns = found.setdefault(message, {})
        for name, value in row.items():
            if isinstance(value, int) and name not in ("src", "dst"):
                columns[name] = columns.get(name, 0) + value


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault of the run."""

    fault_id: str
    kind: str
    target: str
    params: dict[str, object]
    began_ns: int
    ended_ns: int | None = None
    rules: tuple[Rule, ...] = ()
    before: Counts = field(default_factory=dict)
    """Counts when its rules came into force."""
    offered: int = 0
    """Messages in the scope of its rules."""
    touched: int = 0
    """Those to which something happened that its rules say."""
    bit: bool | None = None
    """None: nobody knows; too few messages came its way, or it does nothing to a message."""

    def row(self) -> dict[str, object]:
        """For the frame `faults` of a run."""
        params = {**self.params, "bit": self.bit}
        if self.rules:
            params |= {"offered": self.offered, "touched": self.touched}
        return {
            "fault_id": self.fault_id,
            "kind": self.kind,
            "target": self.target,
            "t_start": self.began_ns,
            "t_end": self.ended_ns,
            "params": params,
        }


class Ledger:
    """All faults of one injector."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def begin(
        self,
        kind: str,
        target: str,
        params: Mapping[str, object],
        now_ns: int,
        *,
        rules: tuple[Rule, ...] = (),
        counts: Counts | None = None,
    ) -> Fault:
        """A fault is about to begin."""
        if len(self.faults) >= FAULTS_MAX:
            raise ValueError(f"{FAULTS_MAX} faults in one run; begin another run")
        fault = Fault(
            fault_id=f"f{len(self.faults) + 1}",
            kind=kind,
            target=target,
            params=dict(params),
            began_ns=now_ns,
            rules=rules,
            before=counts or {},
        )
        self.faults.append(fault)
        return fault

    def look(self, rules: Iterable[Rule], counts: Counts, now_ns: int) -> None:
        """These rules are in force now, and so much was counted: a fault without any of its rules has ended."""
        in_force = set(rules)
        for fault in self.faults:
            if fault.rules and fault.ended_ns is None:
                _measure(fault, counts)
                if not in_force.intersection(fault.rules):
                    fault.ended_ns = now_ns

    def rows(self) -> list[dict[str, object]]:
        """All of them, oldest first."""
        return [fault.row() for fault in self.faults]

    def toothless(self) -> list[Fault]:
        """Those that did not bite: a run with one of them shows nothing."""
        return [fault for fault in self.faults if fault.bit is False]


def _measure(fault: Fault, counts: Counts) -> None:
    fault.offered = fault.touched = 0
    for message, columns in counts.items():
        before = fault.before.get(message, {})
        matching = [rule for rule in fault.rules if rule.matches(message)]
        if matching:
            fault.offered += columns["offered"] - before.get("offered", 0)
        for column in {column for rule in matching for column in touches(rule)}:
            fault.touched += columns[column] - before.get(column, 0)
    if fault.touched:
        fault.bit = True
    elif fault.offered >= CALLS_ENOUGH and any(touches(rule) for rule in fault.rules):
        fault.bit = False


def touches(rule: Rule) -> tuple[str, ...]:
    """The columns of `Plan.counts` that a rule of this kind raises."""
    match rule:
        case Cut(held=True):
            return ("held",)
        case Cut():
            return ("cut",)
        case Drop():
            return ("dropped",)
        case Delay():
            return ("delayed",)
        case Reorder():
            return ("reordered",)
        case Duplicate():
            return ("duplicated",)
        case _:
            return ()  # says when callers learn of a cut; nothing happens to a message by it
