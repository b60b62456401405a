"""All rows of the catalogue.

Here:   `ALL_ROWS`.
Never:  what they do.
"""

from __future__ import annotations

from typing import Final

from tests.catalogue import rows_agreement, rows_elections, rows_persistence, rows_snapshots
from tests.catalogue.row import Row, rows

ALL_ROWS: Final[tuple[Row, ...]] = rows(
    *rows_elections.ROWS, *rows_agreement.ROWS, *rows_persistence.ROWS, *rows_snapshots.ROWS
)
