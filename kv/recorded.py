"""What a record of an operation says of values: columns of a run's `ops` (raft_actors/recording/schema.py).

Here:   the columns of a value, of what a get found, of an operation on several keys.
Never:  when a record is made (client.py), what is judged from it (analysis).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kv.encoded import Encoded, Versioned
from raft_actors.recording.fingerprints import Fingerprint
from raft_actors.recording.schema import Row

PARTS_MAX: Final = 100
"""Keys of one operation that its row names; of more it names none."""
PARTS_KEY_CHARS_MAX: Final = 10_000
"""Of all their keys together; the same beyond it."""


def recorded_value(value: Encoded) -> Row:
    """Of a value that is written or was read."""
    return {"value_size": value.size_bytes, "value": fingerprint(value)}


def recorded_found(found: Versioned[Encoded] | None) -> Row:
    """Of what one key had."""
    if found is None:
        return {"found": False}
    return {"found": True, "version": found.version, **recorded_value(found.value)}


def recorded_parts(parts: Mapping[str, tuple[int | None, Encoded | None]]) -> Row | None:
    """Of each key its version (None: not known, 0: missing) and value; None where that is too much for a row."""
    if len(parts) > PARTS_MAX or sum(map(len, parts)) > PARTS_KEY_CHARS_MAX:
        return None
    return {key: [version, None if value is None else fingerprint(value)] for key, (version, value) in parts.items()}


def fingerprint(value: Encoded) -> str:
    """Of kind and body, as text: what an append joins are the bodies (encoded.py)."""
    return str(Fingerprint.of(value.kind.name.lower(), value.data[1:]))
