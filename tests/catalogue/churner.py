"""A client of the churn rows, a step at a time: so that it runs beside others without threads, in worlds too.

Here:   `Churner`.
Never:  what happens to the group meanwhile (rows_persistence.py).
"""

from __future__ import annotations

from typing import Final

from tests.catalogue.lab import Lab

WATCHED_S: Final = 0.38
"""A value that was accepted is watched for so long, as in the labs."""


class Churner:
    """Offers one value after the other, and remembers what it saw committed."""

    def __init__(self, lab: Lab, name: bytes) -> None:
        self.committed: dict[int, bytes] = {}
        """By the index that it was told."""
        self._lab = lab
        self._name = name
        self._offered = 0
        self._watched: tuple[int, bytes, float] | None = None
        """An index, the value that was accepted for it, until when it is watched."""

    def go_on(self) -> None:
        """Look at the value that was accepted, or offer the next one to everybody who runs."""
        lab = self._lab
        if self._watched is None:
            self._offered += 1
            value = b"%s, value %d" % (self._name, self._offered)
            for member in lab.members:
                index = lab.start(member, value)
                if index is not None:
                    self._watched = index, value, lab.now_s() + WATCHED_S
            return
        index, value, until_s = self._watched
        found = next((applied[index] for member in lab.members if index in (applied := lab.look_at(member))), None)
        if found == value:
            self.committed[index] = value
        if found is not None or lab.now_s() > until_s:
            self._watched = None

    def stop(self) -> None:
        """Offer nothing more."""
        self._watched = None
