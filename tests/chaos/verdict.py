"""What a segment is judged by when all is healed: the members' states, and the history.

Here:   `last_look`, `judged`, `wait_until`.
Never:  faults, clients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import ray

import kv
from analysis import check_run, load_run
from analysis.linearizability import Judgement
from tests.cluster.world import eventually

HEAL_S: Final = 180.0
"""All members are voters in step by then, whatever was done to them."""
READ_S: Final = 30.0
JUDGE_S: Final = 120.0

Row = dict[str, str | int | float]
Found = list[tuple[str, str]]
"""Rules that were broken, and how."""


def wait_until(look: Callable[[], bool]) -> float | None:
    """Seconds until it is so; None: it was not."""
    began_s = time.monotonic()
    try:
        eventually(look, HEAL_S)
    except AssertionError:
        return None
    return time.monotonic() - began_s


def last_look(store: kv.Client) -> Iterator[str]:
    """Whether all members have the same state: by its chain, and by every key as each member reads it itself."""
    members: list[Any] = []

    def is_equal() -> bool:
        members[:] = kv.status(store.group).members
        return len({(row.last_applied, row.chain) for row in members}) == 1

    if wait_until(is_equal) is None:
        yield f"states differ: {[(row.id, row.last_applied, row.chain) for row in members]}"
    keys = [key for key, _ in store.scan_iter(timeout_s=READ_S)]
    if not keys:
        yield "the store is empty"
    for key in keys:
        told = ray.get([server.get_versioned.remote(key, "stale") for server in store.servers], timeout=READ_S)
        if any(each is None for each in told) or len({(each.version, repr(each.value)) for each in told}) != 1:
            yield f"{key!r} is not the same at all members: {told}"


def judged(runs: Path, seconds: float, failures: list[str]) -> tuple[Found, Row]:
    """The verdict on the run that was recorded there. `failures`: what else may explain a run that is void."""
    (path,) = runs.iterdir()
    run = load_run(path)
    verdict = check_run(run, time_budget_s=JUDGE_S)
    found = []
    if verdict.judgement is not Judgement.OK:
        why = [*verdict.reasons, *failures, verdict.failing_rows().to_string()]
        found.append((f"the history is {verdict.judgement.value}", "\n".join(why)))
    answered = run.ops[run.ops["status"] == "ok"]
    return found, {
        "answered": len(answered),
        "per_s": round(len(answered) / seconds, 1),
        "not_done": int((run.ops["status"] == "not_done").sum()),
        "unknown": int((run.ops["status"] == "unknown").sum()),
        "longest_gap_s": round(float(answered["t_return"].sort_values().diff().max()) / 1e9, 1),
        "calls_judged": verdict.call_count,
        "verdict": verdict.judgement.value,
    }
