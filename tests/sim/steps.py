"""The steps of a snapshot at which a fault may strike.

Here:   `Step`.
Never:  which fault, and when (nemesis.py).
"""

from __future__ import annotations

from enum import Enum


class Step(Enum):
    """What has just happened at a member."""

    ASKED = "a slice was asked for"
    FETCHED = "the last slice of another peer's came"
    WRITTEN = "a slice is in the file"
    ORDERED = "the name was ordered"
    NAMED = "the file got its name"
    COMPACTING = "a compaction is under way"
    COMPACTED = "the log was compacted"
    SERVED = "another peer read a slice here"
    RESTORING = "its application read a slice"
