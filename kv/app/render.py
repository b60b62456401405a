"""How data looks on stdout: as a table for people, as JSON or YAML for programs.

Here:   rows, single values and documents as text.
Never:  printing, where data comes from.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

FORMATS: Final = ("table", "json", "yaml")
CELL_CHARACTERS_MAX: Final = 80
"""Of a stored value in a table; JSON and YAML have all of it."""


def plain(value: Any) -> Any:
    """The value in what JSON and YAML know: a tuple as a list, bytes as {"base64": ...}, else its repr."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return {"base64": base64.b64encode(value).decode("ascii")}
        case list() | tuple():
            return [plain(element) for element in value]
        case dict():
            return {str(key): plain(element) for key, element in value.items()}
        case _:
            return repr(value)


def document_text(document: Any, output: str) -> str:
    """JSON or YAML."""
    if output == "yaml":
        text: str = yaml.safe_dump(plain(document), sort_keys=False, allow_unicode=True)
        return text.removesuffix("\n").removesuffix("\n...")
    return json.dumps(plain(document), indent=2, ensure_ascii=False)


def value_text(value: Any, output: str) -> str | bytes:
    """One value alone. As a "table": a str and bytes as they are, so that they can go into a file, else JSON."""
    if output != "table":
        return document_text(value, output)
    return value if isinstance(value, str | bytes) else json.dumps(plain(value), ensure_ascii=False)


def rows_text(
    rows: Sequence[Mapping[str, Any]], output: str, columns: Sequence[str], *, characters_max: int | None = None
) -> str:
    """Rows. A table shows `columns`, each cell cut at `characters_max`; the other formats have all that the rows do."""
    if output != "table":
        return document_text([dict(row) for row in rows], output)
    table = [list(columns), *([cell(row.get(column), characters_max) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


def cell(value: Any, characters_max: int | None = None) -> str:
    """One value in a table: on one line, without control characters, which would be the terminal's to obey."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
    if characters_max is not None and len(text) > characters_max:
        text = text[: characters_max - 3] + "..."
    return text if text.isprintable() else repr(text)[1:-1]
