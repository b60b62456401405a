"""All rows, one list.

Here:   `ALL_ROWS`, of every module rows_*.py beside this one, each name once; `row_named`.
Never:  a row.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

from tests.catalogue.row import Row, rows

ALL_ROWS: Final[tuple[Row, ...]] = rows(
    *(
        row
        for path in sorted(Path(__file__).parent.glob("rows_*.py"))
        for row in import_module(f"{__package__}.{path.stem}").ROWS
    )
)


def row_named(name: str) -> Row:
    """By the name that the reference gives it."""
    for row in ALL_ROWS:
        if row.name == name:
            return row
    raise LookupError(f"there is no row {name!r}; there are {', '.join(row.name for row in ALL_ROWS)}")
