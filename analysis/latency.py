"""How long operations took, and how they ended.

Here:   `summary`.
Never:  files; which leader was to blame (availability.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

QUANTILES: Final = {"p50_ms": 0.50, "p90_ms": 0.90, "p99_ms": 0.99, "max_ms": 1.0}


def summary(ops: pd.DataFrame, by: Sequence[str] = ("op",)) -> pd.DataFrame:
    """One row per value of `by` (columns of `ops`): how many operations, how they ended, how fast, how often.

    `count`, `ok`, `not_done`, `unknown`: operations. `rate`: ok per second between the group's first invocation and
    its last return; NaN where that is no time. `p50_ms` ... `max_ms`: quantiles of `latency_ms` over the ok ones only,
    each one a latency that was observed (the smallest that at least this share did not exceed); NaN without any. What
    was not ok stands beside them as counts: a quantile that hides its timeouts says nothing.

    Raises ValueError for a column that `ops` does not have.
    """
    by = list(by)
    if not by:
        raise ValueError("summary needs at least one column to group by")
    if missing := [column for column in by if column not in ops.columns]:
        raise ValueError(f"ops has no columns {missing}; it has {list(ops.columns)}")
    rows = [
        dict(zip(by, key, strict=True)) | _describe(group)
        for key, group in ops.groupby(by, observed=True, dropna=False, sort=True)
    ]
    return pd.DataFrame(rows, columns=[*by, "count", "ok", "not_done", "unknown", "rate", *QUANTILES])


def _describe(ops: pd.DataFrame) -> dict[str, Any]:
    ok = ops[ops["status"] == "ok"]
    last_ns = ops["t_return"].fillna(ops["t_invoke"]).max()
    span_s = (last_ns - ops["t_invoke"].min()) / 1e9
    return {
        "count": len(ops),
        "ok": len(ok),
        "not_done": int((ops["status"] == "not_done").sum()),
        "unknown": int((ops["status"] == "unknown").sum()),
        "rate": len(ok) / span_s if span_s > 0 else math.nan,
    } | {name: nearest_rank(ok["latency_ms"], share) for name, share in QUANTILES.items()}


def nearest_rank(values: pd.Series[float], share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed; NaN of nothing."""
    ordered = values.dropna().sort_values()
    if ordered.empty:
        return math.nan
    return float(ordered.iloc[max(math.ceil(round(share * len(ordered), 6)) - 1, 0)])
