"""How operations went so far, counted by many threads and looked at by one.

Here:   `Tally`, `Looked`.
Never:  clocks, terminals: what is taken is a plain value.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import median

from kv.app.histories import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One kind of operation: all so far by outcome, and the acknowledged ones since the last look."""

    ok: int
    not_done: int
    unknown: int
    recent: int
    recent_median_ms: float | None
    """None without any."""


class Tally:
    """Counts operations by kind and outcome. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, Outcome]] = Counter()
        self._recent_ms: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, op: str, outcome: Outcome, latency_ms: float) -> None:
        """One operation that ended."""
        with self._lock:
            self._counts[op, outcome] += 1
            if outcome == "ok":
                self._recent_ms[op].append(latency_ms)

    def look(self) -> dict[str, Looked]:
        """Each kind of operation that was seen, sorted; from now on other ones are recent."""
        with self._lock:
            counts, recent_ms = Counter(self._counts), self._recent_ms
            self._recent_ms = defaultdict(list)
        return {
            op: Looked(
                ok=counts[op, "ok"],
                not_done=counts[op, "not_done"],
                unknown=counts[op, "unknown"],
                recent=len(recent_ms[op]),
                recent_median_ms=median(recent_ms[op]) if recent_ms[op] else None,
            )
            for op in sorted({op for op, _ in counts})
        }
