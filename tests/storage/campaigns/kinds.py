"""The four campaigns, as data, and one unit of one of them within its limit of memory.

Here:   `KINDS`, `run_unit`. Apart from the command line: worker processes do not import a package's `__main__` again.
Never:  what a unit does (crashes.py, damage.py, failures.py, fuzz.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.campaigns import Outcome
from tests.storage.campaigns import crashes, damage, failures
from tests.storage.campaigns.memory import limit_address_space


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One campaign."""

    run_unit: Callable[[int], Outcome]
    noun: str
    units: int
    """Without `--count`."""
    items_per_unit: int
    """At least, or about; for the time that is left."""
    must_be_seen: tuple[str, ...]
    """By a run of at least that many units."""


def _fuzz(unit: int) -> Outcome:
    """Imported late: it makes samples of everything, and a broken storage must not keep the other campaigns out."""
    from tests.storage.campaigns import fuzz

    return fuzz.run_unit(unit)


KINDS: Final[Mapping[str, Kind]] = {
    "k5": Kind(
        run_unit=crashes.run_unit,
        noun="images",
        units=100,
        items_per_unit=crashes.IMAGES_PER_UNIT,
        must_be_seen=(
            "torn tails",
            "unacknowledged groups found",
            "kills before a power cut",
            "snapshots found",
            "logs that begin at a snapshot",
            *(f"images at depth {depth}" for depth in range(1, crashes.DEPTH_MAX + 1)),
        ),
    ),
    "k6": Kind(
        run_unit=damage.run_unit,
        noun="changes",
        units=damage.UNITS_PER_LOG,
        items_per_unit=1_770,
        must_be_seen=(
            "bit flipped",
            "byte set",
            "cut short",
            "file gone",
            "group repeated",
            "sector of zeros",
            "sector repeated",
            "sectors swapped",
            "refused, marked",
            "the same data, marked",
            "the last group lost, not marked",
            "an older snapshot and the same log, compacted",
            "refused, compacted",
        ),
    ),
    "k8": Kind(
        run_unit=failures.run_unit,
        noun="runs",
        units=40,
        items_per_unit=800,
        must_be_seen=(
            *(f"stopped: {failure}" for failure in failures.FAILURES),
            "starts on a broken disk",
            "starts afterwards",
            "a snapshot is written again",
        ),
    ),
    "k16": Kind(
        run_unit=_fuzz,
        noun="inputs",
        units=500,
        items_per_unit=2_000,
        must_be_seen=("refused", "accepted", "accepted, the same bytes", "accepted, survives the way"),
    ),
}


def run_unit(unit: int, *, kind: str, first: int) -> Outcome:
    """In a worker: unit `first + unit` of a campaign, and not more memory than it may take."""
    limit_address_space()
    return KINDS[kind].run_unit(first + unit)
