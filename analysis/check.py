"""Is what clients were told in this run possible for one store that does one thing at a time?

Here:   `check_run`: both judges on all that was recorded, and what keeps a verdict from being one.
Never:  how histories are judged (linearizability.py, write_order.py), files, figures.

The two judges know different things. The search (linearizability.py) knows nothing but the calls, key by key, and may
run out of time. The numbers of the writes (write_order.py) decide whole runs at once, across keys, but for keys whose
writes have no known number. So: illegal is what either finds; decided is a key that either decides.

A judge can only be asked about a run that is whole. Where rows are missing (a driver was killed, a recorder fell
behind, a batch named no keys), a read may have seen what no row tells: nothing found then is a verdict, but `UNKNOWN`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from analysis.history import Call, Written, by_key, calls_of, unnamed_writes
from analysis.linearizability import Judgement, Verdict, judge_key
from analysis.load import Run
from analysis.write_order import OrderVerdict, judge_by_version

TIME_BUDGET_S: Final = 60.0
"""Of the search, for all keys together."""
LEAST_BUDGET_S: Final = 0.01
"""Of one key, however late it is."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunVerdict:
    """On one run."""

    judgement: Judgement
    reasons: tuple[str, ...]
    """Why it is not OK; empty where it is."""
    keys: tuple[Verdict, ...]
    """What the search found, by key."""
    order: OrderVerdict
    """What the numbers of the writes say, of all keys together."""
    begins_empty: bool
    """Whether the store was made with the run: its first write has number 1."""

    @property
    def call_count(self) -> int:
        """Calls judged; an operation on several keys is one for each."""
        return sum(verdict.call_count for verdict in self.keys)

    @property
    def illegal(self) -> tuple[Verdict, ...]:
        """The keys whose calls have no order, each with its smallest failing prefix."""
        return tuple(verdict for verdict in self.keys if verdict.judgement is Judgement.ILLEGAL)

    def failing_rows(self) -> pd.DataFrame:
        """The calls that show what is wrong: of each illegal key its failing prefix, and those whose numbers contradict
        time. No rows where nothing is."""
        rows = [row for verdict in self.illegal for row in verdict.rows()] + [call.row() for call in self.order.calls]
        return pd.DataFrame({(row["op_id"], row["key"]): row for row in rows}.values())

    def document(self) -> dict[str, Any]:
        """As plain values, for files."""
        return {
            "judgement": self.judgement.value,
            "reasons": list(self.reasons),
            "calls": self.call_count,
            "keys": len(self.keys),
            "begins_empty": self.begins_empty,
            "illegal_keys": [verdict.key for verdict in self.illegal],
        }


def check_run(run: Run, *, time_budget_s: float = TIME_BUDGET_S, progress: Progress | None = None) -> RunVerdict:
    """Judge all operations of a run. `progress` is told how many keys of how many are done."""
    rows = list(_rows(run.ops))
    calls = calls_of(rows)
    begins_empty = min((c.result.version for c in calls if isinstance(c.result, Written)), default=1) == 1
    order = judge_by_version(calls, begins_empty=begins_empty)
    verdicts = _search(calls, begins_empty, time_budget_s, progress)
    gaps = [*_gaps(run), *_unnamed(rows)]
    undecided = [
        verdict.key
        for verdict in verdicts
        if verdict.judgement is Judgement.UNKNOWN
        and (order.judgement is Judgement.ILLEGAL or verdict.key in order.undecided_keys)
    ]
    faults = [f"key {v.key!r:.80}: its calls have no order" for v in verdicts if v.judgement is Judgement.ILLEGAL]
    if order.judgement is Judgement.ILLEGAL:
        faults.append(order.fault)
    doubts = [f"key {key!r:.80}: no judge decided it, give it more time" for key in undecided]
    if gaps:
        judgement = Judgement.UNKNOWN
    elif faults:
        judgement = Judgement.ILLEGAL
    else:
        judgement = Judgement.UNKNOWN if doubts else Judgement.OK
    return RunVerdict(
        judgement=judgement,
        reasons=(*gaps, *faults, *doubts),
        keys=tuple(verdicts),
        order=order,
        begins_empty=begins_empty,
    )


def run_calls(run: Run) -> list[Call]:
    """The calls of a run's history, for judges and exports."""
    return calls_of(_rows(run.ops))


def _search(calls: list[Call], begins_empty: bool, time_budget_s: float, progress: Progress | None) -> list[Verdict]:
    """Small histories first: one large one does not use up the time of all."""
    histories = sorted(by_key(calls).values(), key=lambda history: (len(history), history[0].key))
    end_s = time.monotonic() + time_budget_s
    verdicts = []
    for done, history in enumerate(histories, start=1):
        left_s = max(end_s - time.monotonic(), LEAST_BUDGET_S)
        verdicts.append(judge_key(history, begins_empty=begins_empty, time_budget_s=left_s))
        if progress is not None:
            progress(done, len(histories))
    return sorted(verdicts, key=lambda verdict: verdict.key)


def _gaps(run: Run) -> Iterator[str]:
    """Why this run is no whole history, or none that shows anything."""
    if not run.meta["closed"]:
        yield "the run was cut off or is still being written: operations may be missing"
    elif len(run.ops) != (written := run.meta.get("rows", {}).get("ops", 0)):
        yield f"{written} rows of ops were written, {len(run.ops)} are here"
    for what, counts in (
        ("were dropped when they were recorded", run.meta.get("dropped", {})),
        ("were malformed when they were recorded", run.meta.get("malformed", {})),
        ("cannot be read", run.meta["lines_unreadable"]),
    ):
        if counts.get("ops"):
            yield f"{counts['ops']} rows of ops {what}"
    if run.toothless:
        yield f"the run is void: faults that did nothing: {', '.join(run.toothless)}"


def _unnamed(rows: list[dict[str, Any]]) -> Iterator[str]:
    if count := unnamed_writes(rows):
        yield f"{count} batches of writes name no keys: what they wrote is not known"


def _rows(ops: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of a frame as they were recorded: None for what is missing, a dict for details."""
    told = ops[list(_COLUMNS)].astype(object)
    told = told.where(told.notna(), None)
    for row in told.itertuples(index=False, name=None):
        named = dict(zip(_COLUMNS, row, strict=True))
        yield named | {"parts": json.loads(named["parts"]) if named["parts"] else None}


_COLUMNS: Final = (
    *("op_id", "client", "op", "key", "status", "t_invoke", "t_return", "version", "error"),
    *("value", "found", "if_version", "consistency", "parts"),
)
