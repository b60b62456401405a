"""Rows of plain fields as bytes: what commands, results and snapshots of the store are written in.

Here:   `pack` and `unpack` for a row of few fields, `pack_many` and `unpack_many` for as many as fit.
Never:  what the fields mean (commands.py, results.py).

Fields are None, bool, int, str and bytes, never containers: 5 bytes of msgpack can announce a list of a million
elements, and nested announcements multiply. So the readers refuse any container of more than ROW_FIELDS_MAX elements
before it is allocated; whoever reads a row checks the type of each field anyway. A long row travels as one bytes field
of a short row, because only the short form has a fast reader.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgpack

Field: TypeAlias = bool | int | str | bytes | None

ROW_FIELDS_MAX: Final = 8


def pack(*fields: Field) -> bytes:
    """One row of at most ROW_FIELDS_MAX fields."""
    assert len(fields) <= ROW_FIELDS_MAX, f"a row of {len(fields)} fields: use pack_many"
    return bytes(msgpack.packb(fields))


def unpack(row: bytes) -> list[Any]:
    """The reverse of `pack`; anything that is no such row is a ValueError."""
    try:
        fields = msgpack.unpackb(row, max_array_len=ROW_FIELDS_MAX, max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as broken:
        raise ValueError("not a row of fields") from broken
    if type(fields) is not list:
        raise ValueError("not a row of fields")
    return fields


def pack_many(fields: Iterable[Field]) -> bytes:
    """Any number of fields, one after the other."""
    packer = msgpack.Packer(autoreset=False)
    for field in fields:
        packer.pack(field)
    return bytes(packer.bytes())


def unpack_many(row: bytes) -> list[Any]:
    """The reverse of `pack_many`; anything that is no such row is a ValueError."""
    if not row:
        return []
    unpacker = msgpack.Unpacker(max_buffer_size=len(row), max_array_len=0, max_map_len=0, max_ext_len=0)
    unpacker.feed(row)
    fields = []
    try:
        # Not list(unpacker), which takes a last field that was cut off for the end.
        while unpacker.tell() < len(row):
            fields.append(unpacker.unpack())
    except (ValueError, msgpack.UnpackException) as broken:
        raise ValueError("not a row of fields") from broken
    return fields
