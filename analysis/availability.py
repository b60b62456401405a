"""How long nobody's write was acknowledged when the leader changed.

Here:   `leader_gaps`, and what exactly a gap is.
Never:  files; single operations' latencies (latency.py).

A *gap* belongs to one leader change and is made of writes only (reads are answered by other rules). All times are
`t_*` of the run's one clock.

1. The *moment* of the change is when the new leader of the term said so (event `leader`), or the first acknowledgement
   that names this term (`ops.term`), if that came earlier: an event of another host may be late.
2. The former leader was alive until the last acknowledgement at or before the moment: `last_ok_before`.
3. The gap begins at `last_ok_before`, or, if no write was under way then, when the next one was invoked. So idle time
   is no outage, and an outage at the start of the run begins with the first attempt, not with the first success.
4. The gap ends with the first acknowledgement after the moment that names this term or a later one, or that names no
   term and was invoked after `last_ok_before`: `first_ok_after`. Any other may be a late answer of the former leader.
5. Without such a write the gap is open and is closed by the end of the run: an outage at the end counts as well.
6. If nobody wanted to write between `last_ok_before` and the end of the gap, nobody waited: there is none (NaN).

Between the steps 3 and 4 lies the longest time around the change in which somebody wanted to write and no write was
acknowledged. It cannot be told finer than writes were tried: with one client that writes every 10 ms, to 10 ms. Two
changes without an acknowledgement between them share one gap, and both rows show it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from analysis.load import detail
from raft_actors.recording import INT64_MAX, WRITE_OPS, RunDamaged

DTYPES: Final = {
    "term": "int64",
    "t_leader": "int64",
    "leader_before": "string",
    "leader_after": "string",
    "last_ok_before": "Int64",
    "first_ok_after": "Int64",
    "gap_ms": "float64",
    "recovered": "bool",
    "n_unknown": "int64",
    "n_not_done": "int64",
}
"""Columns of the answer. `t_leader`, `last_ok_before`, `first_ok_after`: ns since run start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderChange:
    """The first news of a term's leader."""

    term: int
    leader: str
    before: str | None
    t_leader: int


def leader_gaps(
    ops: pd.DataFrame,
    events: pd.DataFrame,
    *,
    t_end: int | None = None,
    writes: Collection[str] = WRITE_OPS,
) -> pd.DataFrame:
    """The gap in acknowledged writes around each leader change, one row per term that had a leader, in their order.

    The definition stands at the top of this file. `t_end`: end of the run, ns since its start; the last time that ops
    and events know, where that is later or nothing is given. `writes`: the operations that count.

    Columns: term, t_leader, leader_before (null for the first one seen), leader_after, last_ok_before and
    first_ok_after (ns since run start, null where there is none), gap_ms (NaN: nobody waited), recovered (a write was
    acknowledged afterwards), n_unknown and n_not_done (writes under way in the gap that ended so).

    Raises `RunDamaged` for a `leader` event without member or term.
    """
    history = ops[ops["op"].isin(list(writes))]
    known = [_latest(ops["t_return"].dropna()), _latest(ops["t_invoke"]), _latest(events["t_event"]), t_end]
    run_end = max((t for t in known if t is not None), default=0)
    rows = [_gap(change, history, run_end) for change in _leader_changes(events)]
    return pd.DataFrame(rows, columns=list(DTYPES)).astype(DTYPES)


def _leader_changes(events: pd.DataFrame) -> list[LeaderChange]:
    news = events[events["kind"] == "leader"]
    news = news.assign(term=detail(news, "term")).sort_values("t_event", kind="stable")
    if not all(type(term) is int and 0 <= term <= INT64_MAX for term in news["term"]) or news["member"].isna().any():
        raise RunDamaged("an event of kind leader needs its member, and `term` in its details; record both")
    changes: list[LeaderChange] = []
    first_news = news.drop_duplicates("term").sort_values("term", kind="stable")
    for term, member, t_leader in zip(first_news["term"], first_news["member"], first_news["t_event"], strict=True):
        before = changes[-1].leader if changes else None
        changes.append(LeaderChange(term=term, leader=str(member), before=before, t_leader=int(t_leader)))
    return changes


def _gap(change: LeaderChange, writes: pd.DataFrame, t_end: int) -> dict[str, Any]:
    ok = writes[(writes["status"] == "ok") & writes["t_return"].notna()]
    returned = ok["t_return"].astype("int64")
    of_new_term = (ok["term"] >= change.term).fillna(False).astype(bool)
    of_old_term = (ok["term"] < change.term).fillna(False).astype(bool)

    first_of_new_term = _earliest(returned[of_new_term])
    moment = change.t_leader if first_of_new_term is None else min(change.t_leader, first_of_new_term)
    last_ok = _latest(returned[(returned <= moment) & ~of_new_term])
    invoked_later = ok["t_invoke"] > (-math.inf if last_ok is None else last_ok)
    first_ok = _earliest(returned[(returned >= moment) & (of_new_term | (invoked_later & ~of_old_term))])

    begin = _first_waiting(writes, last_ok)
    end = t_end if first_ok is None else first_ok
    gap = {"gap_ms": math.nan, "n_unknown": 0, "n_not_done": 0}
    if begin is not None and begin <= end:
        under_way = writes[(writes["t_invoke"] <= end) & (_ended(writes) >= begin)]
        gap = {
            "gap_ms": (end - begin) / 1e6,
            "n_unknown": int((under_way["status"] == "unknown").sum()),
            "n_not_done": int((under_way["status"] == "not_done").sum()),
        }
    return {
        "term": change.term,
        "t_leader": change.t_leader,
        "leader_before": change.before,
        "leader_after": change.leader,
        "last_ok_before": last_ok,
        "first_ok_after": first_ok,
        "recovered": first_ok is not None,
    } | gap


def _first_waiting(writes: pd.DataFrame, last_ok: int | None) -> int | None:
    """When somebody first waited for a write after `last_ok` (rule 3); None when nobody did."""
    if last_ok is not None:
        if ((writes["t_invoke"] <= last_ok) & (_ended(writes) > last_ok)).any():
            return last_ok
        writes = writes[writes["t_invoke"] > last_ok]
    return _earliest(writes["t_invoke"])


def _ended(writes: pd.DataFrame) -> pd.Series[int]:
    """When the client stopped waiting. One that never did (it died) is taken to have waited for no time at all."""
    return writes["t_return"].fillna(writes["t_invoke"]).astype("int64")


def _earliest(times: pd.Series[int]) -> int | None:
    return None if times.empty else int(times.min())


def _latest(times: pd.Series[int]) -> int | None:
    return None if times.empty else int(times.max())
