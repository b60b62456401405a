"""A stored value that grows by appends without being copied.

Here:   `Stored`: a version and the encoded value in parts.
Never:  kinds and limits (machine.py checks them first), decoding.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stored:
    """One key's value. Immutable, so that a snapshot shares it with the machine while that goes on."""

    version: int
    size_bytes: int
    """Bytes of the body, all parts together without the kind."""
    parts: tuple[bytes, ...]
    """Joined they are the encoded value; the first starts with its kind. Each but the last is at least twice as long
    as the next, so a value of n bytes has at most about log2(n) of them."""

    @staticmethod
    def of(encoded: bytes, version: int) -> Stored:
        """A value in one part."""
        return Stored(version, len(encoded) - 1, (encoded,))

    @property
    def kind_byte(self) -> int:
        """First byte of the encoded value."""
        return self.parts[0][0]

    def append(self, body: bytes, version: int) -> Stored:
        """The value with `body` behind it.

        Only parts that are shorter than twice the new end are joined with it. A byte is therefore copied again only
        when the part it lies in has grown by half: the cost per appended byte is logarithmic in what was *appended*
        and free of what stood there before.
        """
        if not body:
            return Stored(version, self.size_bytes, self.parts)
        keep, end_bytes = len(self.parts), len(body)
        while keep and len(self.parts[keep - 1]) < 2 * end_bytes:
            keep -= 1
            end_bytes += len(self.parts[keep])
        end = b"".join((*self.parts[keep:], body)) if keep < len(self.parts) else body
        return Stored(version, self.size_bytes + len(body), (*self.parts[:keep], end))

    def join(self) -> Stored:
        """The same value in one part; itself when it is."""
        if len(self.parts) == 1:
            return self
        return Stored(self.version, self.size_bytes, (b"".join(self.parts),))
