"""Rows of the catalogue on real Ray actors: those that mean real time or real processes; all, in `make catalogue`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.catalogue.all_rows import ALL_ROWS
from tests.catalogue.ray_lab import RayLab
from tests.catalogue.row import Row
from tests.cluster.world import nothing_left_of

pytestmark = pytest.mark.cluster


@pytest.fixture
def name(ray_cluster: None) -> Iterator[str]:
    """Of the row's group."""
    with nothing_left_of(f"row-{secrets.token_hex(4)}") as name:
        yield name


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=row.name, marks=[] if row.real_time else pytest.mark.catalogue) for row in ALL_ROWS],
)
def test_row_timing_sensitive(row: Row, name: str, data_dir: str) -> None:
    """What the row's function says. Its faults have to bite."""
    lab = RayLab(name, row, data_dir)
    row.play(lab)
    lab.check_logs_agree()
    lab.faults.check()
