"""What of a value is written down: its kind, its size and 128 bits of it, so that a run can be judged without its data.

Here:   `Fingerprint`: of bytes, of two that are joined, as text and back.
Never:  what the kinds mean (the store's), whether a history makes sense (analysis).

A run would be as large as what passed through the store if it held values, and nobody's data belong in a log. A
fingerprint is as long for any value, and the one of `a + b` follows from those of `a` and `b` (Karp & Rabin 1987: the
bytes are the digits of a number, of which the remainder is kept), so a judge can follow appends. Two values that differ
have the same one with a probability of some 2^-128 for each of their bytes, as long as nobody is out to make such two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

PRIME: Final = 2**128 - 159
"""The largest one of 128 bits."""
DIGITS: Final = 32
"""Of the number as text, in hexadecimal."""


@dataclass(frozen=True, slots=True, repr=False)
class Fingerprint:
    """Of one value. Two of equal values are equal; they can be added where the values can be appended."""

    kind: str
    """As the store names it: letters alone."""
    size_bytes: int
    number: int

    @classmethod
    def of(cls, kind: str, body: bytes) -> Self:
        """The fingerprint of a value of this kind whose bytes are these; an append puts bytes behind bytes."""
        return cls(kind, len(body), int.from_bytes(body) % PRIME)

    def __add__(self, appended: Fingerprint) -> Fingerprint:
        """Of the value that an append makes."""
        assert self.kind == appended.kind, f"a {appended.kind} cannot be appended to a {self.kind}"
        shifted = self.number * pow(256, appended.size_bytes, PRIME)
        return Fingerprint(self.kind, self.size_bytes + appended.size_bytes, (shifted + appended.number) % PRIME)

    def __repr__(self) -> str:
        return f"<{self.kind}, {self.size_bytes} B, ..{self.number & 0xFFFFFF:06x}>"

    def __str__(self) -> str:
        return f"{self.kind}:{self.size_bytes}:{self.number:0{DIGITS}x}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reverse of `str`. Raises ValueError for what is none."""
        kind, size, number = text.split(":")
        if not (kind.isalpha() and size.isdecimal() and len(number) == DIGITS):
            raise ValueError(f"{text!r:.80} is no fingerprint of a value: it reads kind:bytes:{DIGITS} digits")
        return cls(kind, int(size), int(number, 16))
