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


def recorded_parts(found: Mapping[str, Versioned[Encoded] | None]) -> Row | None:
    """Of each key the version and value that were there, 0 and None where it was missing; None: too much for a row."""
    if not _is_recorded(found):
        return None
    return {key: [0, None] if each is None else [each.version, fingerprint(each.value)] for key, each in found.items()}


class RecordedBatch:
    """Of a put_many; each value's fingerprint is made once, and only if there is a record."""

    def __init__(self, values: Mapping[str, Encoded]) -> None:
        self._values = values
        self._prints: dict[str, str] = {}

    def asked(self) -> Row:
        """What is known when it is sent: no versions yet."""
        if _is_recorded(self._values):
            self._prints = {key: fingerprint(value) for key, value in self._values.items()}
        size = sum(value.size_bytes for value in self._values.values())
        return {"value_size": size, "parts": {key: [None, each] for key, each in self._prints.items()} or None}

    def told(self, versions: Mapping[str, int]) -> Row:
        """What its answer adds."""
        return {"parts": {key: [versions[key], each] for key, each in self._prints.items()} or None}


def _is_recorded(parts: Mapping[str, object]) -> bool:
    return len(parts) <= PARTS_MAX and sum(map(len, parts)) <= PARTS_KEY_CHARS_MAX


def fingerprint(value: Encoded) -> str:
    """Of kind and body, as text: what an append joins are the bodies (encoded.py)."""
    return str(Fingerprint.of(value.kind.name.lower(), value.data[1:]))
