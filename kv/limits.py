"""What a store allows, the same for all its members because it is replicated.

Here:   `Limits`, their checks for clients (fast) and the machine (final), and their bytes in the genesis of a group.
Never:  knobs that one process may set for itself: whatever `apply` reads is set by the log alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Final

import msgpack

from kv.errors import BatchTooLarge, KeyInvalid, KeyTooLarge, ValueTooLarge
from raft_actors.application.packing import require_whole
from raft_actors.errors import ConfigError, VersionDiffers

MACHINE_VERSION: Final = 1
"""Version of commands, results and `apply`. Another meaning of the same bytes needs another number."""

KIB: Final = 1024
MIB: Final = 1024 * KIB

BATCH_BYTES_LARGEST: Final = 64 * MIB
"""Above this a batch could never be proposed: it is what a leader holds uncommitted at most."""

FRAMING_BYTES: Final = 64
"""What a command of one key costs beside key and value, rounded up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, and the version of the machine that the group runs."""

    key_bytes_max: int = 64 * KIB
    """UTF-8 of one key."""
    value_bytes_max: int = MIB
    """Body of one encoded value, also after an append: UTF-8 of a str, the bytes of bytes, else msgpack or pickle."""
    batch_bytes_max: int = 8 * MIB
    """One put_many as a command; also the request and the answer of one get_many, and one page of a scan."""
    machine_version: int = MACHINE_VERSION

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value <= 0:
                raise ConfigError(f"{field.name}={value!r} must be a whole number above 0")
        if self.key_bytes_max + self.value_bytes_max + FRAMING_BYTES > self.batch_bytes_max:
            raise ConfigError(
                f"batch_bytes_max={self.batch_bytes_max} must be at least key_bytes_max={self.key_bytes_max} plus "
                f"value_bytes_max={self.value_bytes_max} plus {FRAMING_BYTES}, or the largest put is no batch"
            )
        if self.batch_bytes_max > BATCH_BYTES_LARGEST:
            raise ConfigError(
                f"batch_bytes_max={self.batch_bytes_max} must not be above {BATCH_BYTES_LARGEST}, "
                "or the largest batch can never be proposed"
            )

    def check_key(self, key: bytes) -> None:
        """Raise `KeyInvalid` or `KeyTooLarge` unless these are 1 to key_bytes_max bytes of UTF-8."""
        if len(key) > self.key_bytes_max:
            raise KeyTooLarge.of(size_bytes=len(key), size_bytes_max=self.key_bytes_max)
        try:
            key.decode("utf-8")
        except UnicodeDecodeError:
            raise KeyInvalid.of() from None
        if not key:
            raise KeyInvalid.of()

    def check_value(self, size_bytes: int) -> None:
        """Raise `ValueTooLarge` for a body of this many bytes."""
        if size_bytes > self.value_bytes_max:
            raise ValueTooLarge.of(size_bytes=size_bytes, size_bytes_max=self.value_bytes_max)

    def check_batch(self, size_bytes: int) -> None:
        """Raise `BatchTooLarge` for a batch of this many bytes."""
        if size_bytes > self.batch_bytes_max:
            raise BatchTooLarge.of(size_bytes=size_bytes, size_bytes_max=self.batch_bytes_max)


def encode_settings(limits: Limits) -> bytes:
    """The limits as the opaque settings of a group's genesis; equal limits give equal bytes."""
    return bytes(msgpack.packb(asdict(limits)))


def decode_settings(settings: bytes) -> Limits:
    """The reverse of `encode_settings`.

    Raises `VersionDiffers` for another machine version (before it looks at fields that this version cannot know) and
    `ConfigError` for anything else that is wrong.
    """
    try:
        require_whole(settings)
        knobs = msgpack.unpackb(settings)
    except (ValueError, msgpack.UnpackException) as broken:
        raise ConfigError("the settings of the group are no settings of a key-value store") from broken
    if type(knobs) is not dict:
        raise ConfigError("the settings of the group are no settings of a key-value store")
    version = knobs.get("machine_version")
    if type(version) is not int:  # whatever it is, it may be too deep to be shown
        raise ConfigError("the settings of the group name no machine version")
    check_machine_version(version)
    known = {field.name for field in fields(Limits)}
    if knobs.keys() != known:
        raise ConfigError(f"the settings of the group must be exactly {sorted(known)}")
    if any(type(knob) is not int for knob in knobs.values()):
        raise ConfigError(f"the settings of the group must be whole numbers: {sorted(known)}")
    return Limits(**knobs)


def check_machine_version(version: object) -> None:
    """Raise `VersionDiffers` unless this code is the machine of that version."""
    if version != MACHINE_VERSION:
        raise VersionDiffers(
            f"the group runs machine version {version!r} of the key-value store and this process knows "
            f"{MACHINE_VERSION}: use the version of raft-actors that the group was started with",
            group_version=version,
            own_version=MACHINE_VERSION,
        )
