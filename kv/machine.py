"""The state machine of the store: one command in, one result out, the same on every member.

Here:   what put, append, delete, put_many, get and scan mean; the write counter; snapshots.
Never:  clocks, dice, pickles, sessions, Ray; limits that are not replicated; a look inside a value's body.

`apply` validates everything before it changes anything; a refusal is a result like any other. One counter numbers the
writes: +1 for each key written and for each key that a delete removes, also within one put_many. So a version is never
used twice, not even for a key that was deleted and created again. Refusals and deletes of missing keys write nothing
and do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, assert_never
from weakref import ReferenceType, ref

from kv.commands import Append, Delete, Get, Put, PutMany, Scan, decode_command, decode_query
from kv.encoded import APPENDABLE, KIND_BYTES, Kind
from kv.errors import SnapshotMalformed, StoreRefusal, TypeMismatch, VersionMismatch
from kv.frozen import Frozen
from kv.limits import Limits, check_machine_version, decode_settings, encode_settings
from kv.parts import Stored
from kv.results import encode_deleted, encode_found, encode_page, encode_refusal, encode_version
from kv.sorted_keys import SortedKeys
from raft_actors.application.fields import FieldReader, pack_fields
from raft_actors.application.packing import Malformed
from raft_actors.errors import ConfigError, VersionDiffers

SNAPSHOT_FORMAT: Final = "raft-actors kv 1"
ITEM_OVERHEAD_BYTES: Final = 32
"""What one key of an answer costs beside key and value, rounded up; less than the room that Limits leaves for it."""


class KVMachine:
    """The replicated state: values by key, and the number of the newest write. Used by one thread at a time."""

    def __init__(self, limits: Limits) -> None:
        """Raises `VersionDiffers` when the limits ask for a machine that this code is not."""
        check_machine_version(limits.machine_version)
        self._limits = limits
        self._write_count = 0
        self._values: dict[bytes, Stored] = {}
        self._keys = SortedKeys()
        self._frozen: list[ReferenceType[Frozen]] = []
        """Snapshots that are being read, and some that were."""

    @classmethod
    def from_settings(cls, settings: bytes) -> KVMachine:
        """An empty store with the settings of a group's genesis. Raises `VersionDiffers` and `ConfigError`."""
        return cls(decode_settings(settings))

    @property
    def limits(self) -> Limits:
        """The replicated limits in force."""
        return self._limits

    @property
    def write_count(self) -> int:
        """Number of the newest write; 0 in a new store."""
        return self._write_count

    def __len__(self) -> int:
        """Number of keys."""
        return len(self._values)

    # -- commands ---------------------------------------------------------------------------------------------------

    def apply(self, index: int, command: bytes) -> bytes:
        """Result of the next command (results.py). Never raises on what a client can send.

        `index` is the entry's place in the log; the store numbers writes by itself, since one entry may carry many.
        """
        try:
            match decode_command(command):
                case Put() as put:
                    return self._put(put)
                case Append() as append:
                    return self._append(append)
                case Delete() as delete:
                    return self._delete(delete)
                case PutMany() as put_many:
                    return self._put_many(put_many)
                case other:
                    assert_never(other)
        except StoreRefusal as refusal:
            return encode_refusal(refusal)

    def _put(self, put: Put) -> bytes:
        self._limits.check_key(put.key)
        self._limits.check_value(len(put.value) - 1)
        self._check_version(put.key, put.if_version)
        return encode_version(self._write(put.key, put.value))

    def _append(self, append: Append) -> bytes:
        self._limits.check_key(append.key)
        self._limits.check_value(len(append.value) - 1)
        stored = self._values.get(append.key)
        given = append.value[0]
        if given not in APPENDABLE or (stored is not None and stored.kind_byte != given):
            before = "missing" if stored is None else _label(stored.kind_byte)
            raise TypeMismatch.of(stored=before, given=_label(given))
        if stored is None:
            return encode_version(self._write(append.key, append.value))
        self._limits.check_value(stored.size_bytes + len(append.value) - 1)
        self._before_change(append.key)
        self._write_count += 1
        self._values[append.key] = stored.append(append.value[1:], self._write_count)
        return encode_version(self._write_count)

    def _delete(self, delete: Delete) -> bytes:
        self._limits.check_key(delete.key)
        self._check_version(delete.key, delete.if_version)
        if delete.key not in self._values:
            return encode_deleted(False)
        self._before_change(delete.key)
        self._write_count += 1
        del self._values[delete.key]
        self._keys.remove(delete.key)
        return encode_deleted(True)

    def _put_many(self, put_many: PutMany) -> bytes:
        self._limits.check_batch(put_many.size_bytes)
        for key, value in put_many.items:
            self._limits.check_key(key)
            self._limits.check_value(len(value) - 1)
        first = self._write_count + 1
        for key, value in put_many.items:
            self._write(key, value)
        return encode_version(first)

    def _check_version(self, key: bytes, if_version: int | None) -> None:
        if if_version is None:
            return
        stored = self._values.get(key)
        current = 0 if stored is None else stored.version
        if current != if_version:
            raise VersionMismatch.of(current=current, expected=if_version)

    def _before_change(self, key: bytes) -> None:
        """Who reads a snapshot keeps what this key holds now."""
        if self._frozen:
            readers = [frozen for reference in self._frozen if (frozen := reference()) is not None]
            self._frozen = list(map(ref, readers))
            for frozen in readers:
                frozen.before_change(key)

    def _write(self, key: bytes, value: bytes) -> int:
        self._before_change(key)
        self._write_count += 1
        if key not in self._values:
            self._keys.add(key)
        self._values[key] = Stored.of(value, self._write_count)
        return self._write_count

    # -- queries ----------------------------------------------------------------------------------------------------

    def query(self, request: bytes) -> bytes:
        """Result of a get or scan of the present state (results.py). Never raises on what a client can send."""
        try:
            match decode_query(request):
                case Get() as get:
                    return self._get(get)
                case Scan() as scan:
                    return self._scan(scan)
                case other:
                    assert_never(other)
        except StoreRefusal as refusal:
            return encode_refusal(refusal)

    def _get(self, get: Get) -> bytes:
        for key in get.keys:
            self._limits.check_key(key)
        sizes = (stored.size_bytes for key in get.keys if (stored := self._values.get(key)))
        self._limits.check_batch(sum(sizes) + len(get.keys) * ITEM_OVERHEAD_BYTES)
        return encode_found([self._joined(key) for key in get.keys])

    def _scan(self, scan: Scan) -> bytes:
        after = scan.start_after
        start = scan.prefix if after is None else max(scan.prefix, after)
        page: list[tuple[bytes, Stored]] = []
        size_bytes, more = 0, False
        for key in self._keys.walk_from(start):
            if key == after:
                continue
            if not key.startswith(scan.prefix):
                break
            size_bytes += len(key) + self._values[key].size_bytes + ITEM_OVERHEAD_BYTES
            if len(page) == scan.limit or size_bytes > self._limits.batch_bytes_max:
                assert page, "the first item always fits: Limits demands it"
                more = True
                break
            stored = self._joined(key)
            assert stored is not None, "a key in the order without a value"
            page.append((key, stored))
        return encode_page(page, more)

    def _joined(self, key: bytes) -> Stored | None:
        """The value in one part, and kept so: the next reader need not join it again."""
        stored = self._values.get(key)
        if stored is None or len(stored.parts) == 1:
            return stored
        joined = self._values[key] = stored.join()
        return joined

    # -- snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Iterator[bytes]:
        """The state as it is at this call, in small pieces; equal states give equal bytes.

        Nothing is copied here, so it takes no longer with more keys; commands may be applied between two pieces.
        """
        frozen = Frozen(self._keys, self._values)
        self._frozen.append(ref(frozen))
        header = [SNAPSHOT_FORMAT, encode_settings(self._limits), self._write_count, len(self._values)]
        return pack_fields(_snapshot_fields(header, frozen))

    def restore(self, chunks: Iterator[memoryview]) -> None:
        """Become what a snapshot holds, limits included; all of it or, when this raises, nothing.

        Raises `SnapshotMalformed`, and `VersionDiffers` for the snapshot of another machine version.
        """
        try:
            limits, write_count, keys, values = _read_state(FieldReader(chunks))
        except Malformed as broken:
            raise SnapshotMalformed(
                f"these bytes are no snapshot of the store ({broken}): restore another one"
            ) from broken
        self._limits, self._write_count = limits, write_count
        self._keys, self._values = SortedKeys(keys), values
        self._frozen = []  # snapshots under way go on reading the state before, which nobody changes any more


def _label(kind_byte: int) -> str:
    match Kind(kind_byte):
        case Kind.STR | Kind.BYTES | Kind.LIST as kind:
            return kind.name.lower()
        case Kind.OTHER:
            return "a value of another type"
        case Kind.OPAQUE:
            return "a pickled value"
        case other:
            assert_never(other)


def _snapshot_fields(header: list[Any], frozen: Frozen) -> Iterator[Any]:
    yield from header
    for key, stored in frozen.items():
        yield from (key, stored.version, stored.join().parts[0])


def _read_state(reader: FieldReader) -> tuple[Limits, int, list[bytes], dict[bytes, Stored]]:
    """The reverse: limits, number of the newest write, keys and values. Raises `Malformed` and `VersionDiffers`."""
    snapshot_format = reader.read(str)
    if not snapshot_format.startswith("raft-actors kv "):
        raise Malformed("the header is not one of this store")
    if snapshot_format != SNAPSHOT_FORMAT:
        raise VersionDiffers(
            f"the snapshot has format {snapshot_format!r} and this process knows {SNAPSHOT_FORMAT!r}: "
            "use the version of raft-actors that wrote it"
        )
    try:
        limits = decode_settings(reader.read(bytes))
    except ConfigError as broken:
        raise Malformed("the limits make no sense") from broken
    write_count = reader.read(int)
    keys: list[bytes] = []
    values: dict[bytes, Stored] = {}
    for _ in range(reader.read_count(write_count)):  # each key was written, by a write of its own
        key, version, value = reader.read(bytes), reader.read(int), reader.read(bytes)
        if keys and key <= keys[-1]:
            raise Malformed("the keys are not in order")
        if not 0 < version <= write_count:
            raise Malformed("a version is beyond the last write")
        if not value or value[0] not in KIND_BYTES:
            raise Malformed("a value is of no known kind")
        keys.append(key)
        values[key] = Stored.of(value, version)
    reader.require_end()
    return limits, write_count, keys, values
