"""The test catalogue of Ruaft and of MIT's labs, in worlds: each row on two hundred groups.

A row that fails says its seed and how it is played again. How the rows read, and what they mean: tests/catalogue.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.catalogue.all_rows import ALL_ROWS
from tests.catalogue.row import Row
from tests.catalogue.service import ServiceRow
from tests.catalogue.service_rows import SERVICE_ROWS
from tests.catalogue.service_world import LIMITS, ServiceWorld
from tests.catalogue.sim_lab import play_row
from tests.sim.collector import each_seed

SEEDS: Final = 200
SEEDS_PER_TEST: Final = 50
"""A test has its time limit, and workers share them."""
SERVICE_SEEDS: Final = 2
"""Of each row of the key-value store, with each limit of snapshots."""


@pytest.mark.long
@pytest.mark.parametrize("first", range(1, SEEDS + 1, SEEDS_PER_TEST))
@pytest.mark.parametrize("row", ALL_ROWS, ids=lambda row: row.name)
def test_a_row_on_many_groups(row: Row, first: int) -> None:
    for seed in each_seed(range(first, first + SEEDS_PER_TEST)):
        play_row(row, seed)


@pytest.mark.long
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("row", SERVICE_ROWS, ids=lambda row: row.name)
def test_a_row_of_the_store_on_many_groups(row: ServiceRow, limit: int | None) -> None:
    for seed in each_seed(range(1, SERVICE_SEEDS + 1)):
        ServiceWorld(row, limit, seed).play()
