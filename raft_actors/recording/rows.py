"""Batches of rows as bytes: how rows travel from a member or a client to the recorder.

Here:   `encode_rows`, `decode_rows`, `count_rows`.
Never:  what a row must hold (schema.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgpack

from raft_actors.application.packing import require_whole
from raft_actors.recording.errors import RowsUnreadable
from raft_actors.recording.schema import Row

ARRAY_HEADER_BYTES_MAX = 5
"""A msgpack array begins with one type byte and at most four bytes of length."""


def encode_rows(rows: Sequence[Row]) -> bytes:
    """One batch. Raises TypeError, ValueError or OverflowError for a value that msgpack does not know."""
    packed: bytes = msgpack.packb(list(rows), use_bin_type=True, unicode_errors="surrogatepass")
    return packed


def decode_rows(data: bytes) -> list[Row]:
    """The reverse of `encode_rows`. Raises `RowsUnreadable`; what single rows hold is not looked at."""
    try:
        require_whole(data)
        rows = msgpack.unpackb(data, raw=False, strict_map_key=True, unicode_errors="surrogatepass")
    except (ValueError, msgpack.UnpackException) as error:
        raise RowsUnreadable(f"{len(data)} bytes are no batch of rows ({error}); use encode_rows") from error
    if type(rows) is not list:
        raise RowsUnreadable(f"{len(data)} bytes hold a {type(rows).__name__} and no batch of rows; use encode_rows")
    return rows


def count_rows(data: bytes) -> int:
    """How many rows the batch says that it holds, without reading them. Raises `RowsUnreadable`."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(data[:ARRAY_HEADER_BYTES_MAX])
    try:
        count: int = unpacker.read_array_header()
    except (ValueError, msgpack.UnpackException) as error:
        raise RowsUnreadable(f"{len(data)} bytes are no batch of rows; use encode_rows") from error
    return min(count, len(data))  # each row takes a byte at least, so a header cannot promise more
