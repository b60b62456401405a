"""The figures of the benches: medians, ratios, targets met or missed, and the facts of the machine they hold for.

Here:   `Figure`, `table`, `markdown_row`, `median_ratio`, `first_after`, `fsync_ms`, `machine`.
Never:  what is measured.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

FSYNC_COUNT: Final = 200
FSYNC_BYTES: Final = 200
"""About one small entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number, and what it should be at most or at least, if anything."""

    name: str
    value: float | None
    """None: nothing was measured."""
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None without a target. What was not measured is missed."""
        if self.at_most is None and self.at_least is None:
            return None
        if self.value is None:
            return False
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def target(self) -> str:
        """In words; empty without one."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return "" if self.at_least is None else f"at least {self.at_least:g}"

    def __str__(self) -> str:
        number = "-" if self.value is None else f"{self.value:,.0f}" if self.value >= 100 else f"{self.value:.3g}"
        return f"{number} {self.unit}".rstrip()


def table(figures: Sequence[Figure]) -> str:
    """One line for each figure: name, value, target, and whether it is met."""
    rows = [(figure.name, str(figure), figure.target, _verdict(figure)) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "\n".join("  ".join(row).rstrip() for row in padded)


def markdown_row(what: str, figures: Sequence[Figure], facts: Mapping[str, str]) -> str:
    """The same as one row of a table with the columns date, what, figures, machine."""
    numbers = "; ".join(
        f"{figure.name} {figure}" + (f" ({_verdict(figure)})" if figure.target else "") for figure in figures
    )
    date = time.strftime("%Y-%m-%d", time.gmtime())
    return f"| {date} | {what} | {numbers} | {', '.join(facts.values())} |"


MARKDOWN_HEAD: Final = "| date | bench | figures | machine |\n| --- | --- | --- | --- |\n"


def _verdict(figure: Figure) -> str:
    return {None: "", True: "met", False: "MISSED"}[figure.is_met]


def median_ratio(ours: Iterable[float], theirs: Iterable[float]) -> float:
    """Median of the ratios, turn by turn: what slows both of a turn down cancels out."""
    return median(our / their for our, their in zip(ours, theirs, strict=True))


def first_after(moment_ns: int, acknowledged: Iterable[tuple[int, int]]) -> float | None:
    """Milliseconds from a moment to the first acknowledgement of what was invoked after it; None without any.

    `acknowledged`: (invoked, returned) of each acknowledged operation, ns on the clock of `moment_ns`.
    """
    returned = [returned for invoked, returned in acknowledged if invoked > moment_ns]
    return (min(returned) - moment_ns) / 1e6 if returned else None


def timed_ms(call: Callable[[], object]) -> float:
    """How long one call takes."""
    began_s = time.perf_counter()
    call()
    return (time.perf_counter() - began_s) * 1000


def fsync_ms(directory: Path) -> float:
    """Median time of writing and syncing one small record there, ms."""
    path = directory / "fsync-probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        record = bytes(FSYNC_BYTES)

        def write() -> None:
            os.write(descriptor, record)
            os.fdatasync(descriptor)

        return median(timed_ms(write) for _ in range(FSYNC_COUNT))
    finally:
        os.close(descriptor)
        path.unlink()


def machine(directory: Path, ray_version: str) -> dict[str, str]:
    """The facts without which a figure means nothing. `load`: runnable processes, others' too, in the last minute."""
    return {
        "cores": f"{len(os.sched_getaffinity(0))} cores",
        "load": f"load {os.getloadavg()[0]:.1f}",
        "fsync": f"fdatasync {fsync_ms(directory):.2f} ms",
        "python": f"Python {platform.python_version()}",
        "ray": f"Ray {ray_version}",
    }
