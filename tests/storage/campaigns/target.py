"""What a decoder promises, as data.

Here:   `Decoder`.
Never:  decoders of the product (decoders.py, on_disk.py), the fuzz itself (fuzz.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Encode: TypeAlias = Callable[[Any], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """One way from bytes to a value."""

    name: str
    decode: Callable[[bytes], Any]
    samples: tuple[bytes, ...]
    """Good bytes; what is tried are changes of them. A decoder without declared errors takes anything."""
    errors: tuple[type[Exception], ...] = ()
    """What it may raise, and nothing else."""
    encode: Encode | None = None
    """Its reverse; None for a value that only a foreign program could have written."""
    exact: bool = False
    """Every value has one form: what is accepted encodes to the very same bytes."""
    seal: Callable[[bytes], bytes] | None = None
    """Makes checksums right again, so that a lie gets behind them."""
