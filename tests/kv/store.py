"""A store of one member without log or network: commands and queries as a client makes them, straight to the machine.

Here:   `Store`, which the tests of the machine talk to.
Never:  assertions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kv.commands import encode_append, encode_delete, encode_get, encode_put, encode_put_many, encode_scan
from kv.encoded import Encoded, Versioned
from kv.limits import Limits
from kv.machine import KVMachine
from kv.results import Page, decode_deleted, decode_found, decode_page, decode_version, decode_versions
from kv.values import decode, encode

GENEROUS = Limits(key_bytes_max=2**20, value_bytes_max=2**22, batch_bytes_max=2**24)
"""What the client's side checks against: more than any machine of these tests allows, so that the machine decides."""


class Store:
    """One machine, spoken to in Python values."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.machine = KVMachine(limits or Limits())
        self.index = 0

    def apply(self, command: bytes) -> bytes:
        self.index += 1
        return self.machine.apply(self.index, command)

    def put(self, key: str, value: Any, *, if_version: int | None = None) -> int:
        command = encode_put(key, to_encoded(value), if_version=if_version, limits=GENEROUS)
        return decode_version(self.apply(command))

    def append(self, key: str, value: Any) -> int:
        return decode_version(self.apply(encode_append(key, to_encoded(value), limits=GENEROUS)))

    def delete(self, key: str, *, if_version: int | None = None) -> bool:
        return decode_deleted(self.apply(encode_delete(key, if_version=if_version, limits=GENEROUS)))

    def put_many(self, values: Mapping[str, Any]) -> dict[str, int]:
        encoded = {key: to_encoded(value) for key, value in values.items()}
        return decode_versions(self.apply(encode_put_many(encoded, limits=GENEROUS)), encoded)

    def get_versioned(self, *keys: str) -> list[Versioned[Any] | None]:
        result = self.machine.query(encode_get(keys, limits=GENEROUS))
        return [found and Versioned(decode(found.value), found.version) for found in decode_found(result, keys)]

    def get(self, key: str) -> Any:
        [found] = self.get_versioned(key)
        return None if found is None else found.value

    def page(self, prefix: str = "", **options: Any) -> Page:
        return decode_page(self.machine.query(encode_scan(prefix, limits=GENEROUS, **options)))

    def scan(self, prefix: str = "", **options: Any) -> dict[str, Any]:
        return {key: decode(found.value) for key, found in self.page(prefix, **options).items.items()}

    def snapshot(self) -> list[bytes]:
        return list(self.machine.snapshot())


def to_encoded(value: Any) -> Encoded:
    return encode(value, value_bytes_max=GENEROUS.value_bytes_max)
