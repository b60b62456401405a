"""A row of the catalogue as data: what it does, to which group, on which network.

Here:   `Row`.
Never:  what rows do (rows_*.py), how groups are made (ray_lab.py, sim_lab.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.catalogue.lab import Lab


@dataclass(frozen=True, slots=True)
class Row:
    """One row, by the name that the reference gives it."""

    play: Callable[[Lab], None]
    size: int
    """Members of the group."""
    real_time: bool = False
    """Needs real time or real processes: runs on Ray in `make test`. All rows run in worlds, and on Ray in
    `make catalogue`."""
    unreliable: bool = False
    """labrpc's unreliable network, for all of the row. On every one calls over cut links fail late (`long_delays`)."""
    snapshot_log_bytes: int | None = None
    """Size at which logs are cut; None: the default, which these rows never reach."""

    @property
    def name(self) -> str:
        """As in the reference."""
        return self.play.__name__


def rows(*listed: Row) -> tuple[Row, ...]:
    """These, each name once."""
    names = [row.name for row in listed]
    assert len(names) == len(set(names)), f"a row is there twice: {sorted(names)}"
    return listed
