"""What is stored, as bytes and back: entries with their configurations, and the genesis of a group.

Here:   the one binary form of core/entries.py, little-endian, fixed fields, no pickle; the cluster id, which is
        computed from such forms; the head of a frame, and the small readers, which envelopes.py shares.
Never:  what travels between peers (envelopes.py), what an entry means (core), where bytes go (storage/,
        peer/transport.py), the payload of a command (kv/).

An envelope, a hello and a genesis each begin with a frame head: magic `RA`, version, kind. An entry begins with the
same version byte and stands inside such a frame, or inside a framed record of the log. Every value has one encoding
only, and a decoder accepts nothing else: what it accepts encodes to the same bytes again.

What is decoded comes from outside. Anything malformed, cut off, too long or of another version is a `CodecError`, and
no other exception; counts and lengths are held against the bytes that remain before anything is made of them. What is
encoded is our own; a value that does not fit is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from typing import Final

from raft_actors.core.entries import Command, Configuration, Entry, Genesis, Member, Noop, Payload
from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId, EntryId, MemberId

CODEC_VERSION: Final = 1
"""Version of every form here and in envelopes.py. Another one is refused, never guessed at."""

FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""Longest envelope or genesis: far above `append_bytes_max` and one largest proposal, far below what hurts a peer."""

CHUNK_BYTES_MAX: Final = 4 * 1024 * 1024
"""Longest piece in which a state is cut, written and synced. DESIGN 6: the log's syncs take 6 ms beside those."""

CLUSTER_ID_BYTES: Final = 16

MAGIC: Final = b"RA"
_HEAD: Final = Struct("<2sBB")  # magic, version, kind


class FrameKind(IntEnum):
    """What a frame is. The numbers are on disks and wires: add, never renumber."""

    PRE_VOTE = 1
    PRE_VOTE_REPLY = 2
    REQUEST_VOTE = 3
    REQUEST_VOTE_REPLY = 4
    APPEND_ENTRIES = 5
    APPEND_ENTRIES_REPLY = 6
    INSTALL_SNAPSHOT = 7
    INSTALL_SNAPSHOT_REPLY = 8
    TIMEOUT_NOW = 9
    TIMEOUT_NOW_REPLY = 10
    HELLO = 16
    GENESIS = 17
    JOIN = 18


_ENTRY: Final = Struct("<BBqQQI")  # version, payload kind, stamp, term, index, payload length
_COMMAND, _NOOP, _CONFIGURATION = 1, 2, 3
_COUNT: Final = Struct("<H")
_MEMBER: Final = Struct("<I16sB")  # member id, directory id, voter
_LENGTH: Final = Struct("<I")

ENTRY_BYTES_MIN: Final = _ENTRY.size
"""An encoded entry without payload."""


class CodecError(ValueError):
    """These bytes are not what they should be: malformed, cut off, too long or of another version. Drop and count."""


# -- entries ------------------------------------------------------------------------------------------------------


def encode_entry(entry: Entry) -> bytes:
    """One entry. Its length is `ENTRY_BYTES_MIN` and the payload's."""
    payload = entry.payload
    if type(payload) is Command:
        kind, data = _COMMAND, payload.data
    elif type(payload) is Configuration:
        kind, data = _CONFIGURATION, encode_configuration(payload)
    else:
        kind, data = _NOOP, b""
    at = entry.id
    return _ENTRY.pack(CODEC_VERSION, kind, entry.stamp_ms, at.term, at.index, len(data)) + data


def decode_entry(data: bytes) -> Entry:
    """The reverse of `encode_entry`. Raises `CodecError`, also when anything follows the entry."""
    entry, end = read_entry(data, 0, len(data))
    require_end(end, len(data))
    return entry


def read_entry(data: bytes, at: int, end: int) -> tuple[Entry, int]:
    """The entry that begins at offset `at`, and the offset behind it; looks at nothing from `end` on.

    Raises `CodecError`.
    """
    body = at + _ENTRY.size
    if body > end:
        raise CodecError(f"entry cut off: {end - at} bytes left, its head alone takes {_ENTRY.size}")
    version, kind, stamp_ms, term, index, length = _ENTRY.unpack_from(data, at)
    if version != CODEC_VERSION:
        raise CodecError(f"entry of version {version}, this is version {CODEC_VERSION}")
    if length > end - body:
        raise CodecError(f"entry cut off: payload of {length} bytes, {end - body} left")
    payload: Payload
    if kind == _COMMAND:
        payload = Command(data=data[body : body + length])
    elif kind == _NOOP:
        if length:
            raise CodecError(f"no-op with a payload of {length} bytes")
        payload = Noop()
    elif kind == _CONFIGURATION:
        payload, behind = _read_configuration(data, body, body + length)
        require_end(behind, body + length)
    else:
        raise CodecError(f"unknown kind of payload {kind}")
    return Entry(id=EntryId(term, index), payload=payload, stamp_ms=stamp_ms), body + length


def encode_configuration(configuration: Configuration) -> bytes:
    """A count, and a line for each member."""
    parts = [_COUNT.pack(len(configuration.members))]
    for member in configuration.members:
        assert len(member.directory_id) == DIRECTORY_ID_BYTES, f"directory id of {len(member.directory_id)} bytes"
        parts.append(_MEMBER.pack(member.member_id, member.directory_id, member.voter))
    return b"".join(parts)


def decode_configuration(data: bytes) -> Configuration:
    """The reverse of `encode_configuration`. Raises `CodecError`."""
    configuration, end = _read_configuration(data, 0, len(data))
    require_end(end, len(data))
    return configuration


def _read_configuration(data: bytes, at: int, end: int) -> tuple[Configuration, int]:
    if end - at < _COUNT.size:
        raise CodecError("configuration cut off before its count")
    (count,) = _COUNT.unpack_from(data, at)
    at += _COUNT.size
    if count * _MEMBER.size > end - at:
        raise CodecError(f"configuration of {count} members cut off: {end - at} bytes left")
    members = []
    for _ in range(count):
        member_id, directory_id, voter = _MEMBER.unpack_from(data, at)
        members.append(
            Member(member_id=MemberId(member_id), directory_id=DirectoryId(directory_id), voter=boolean_of(voter))
        )
        at += _MEMBER.size
    try:
        return Configuration(members=tuple(members)), at
    except ValueError as refusal:
        raise CodecError(f"impossible configuration: {refusal}") from refusal


# -- genesis ------------------------------------------------------------------------------------------------------


def cluster_id_of(group: str, members: Iterable[Member], settings: bytes) -> bytes:
    """The 16 bytes that name a cluster: computed from what it starts with, never drawn (DESIGN 4, bootstrap).

    The same group, first members (in any order) and settings give the same id, so that two concurrent starters cannot
    make two clusters of one set of directories.
    """
    name = group.encode()
    configuration = Configuration(members=tuple(sorted(members, key=lambda member: member.member_id)))
    parts = (_LENGTH.pack(len(name)), name, encode_configuration(configuration), settings)
    return blake2b(b"".join(parts), digest_size=CLUSTER_ID_BYTES, person=b"raft-actors 1").digest()


def successor_cluster_id(old: bytes, group: str, members: Iterable[Member], settings: bytes) -> bytes:
    """The 16 bytes that name a cluster founded from the state of an older one, whose id is `old` (ADR 14).

    Computed, too, from the id before it and what it starts with. A directory that is founded draws its id anew, so no
    two foundings give the same.
    """
    assert len(old) == CLUSTER_ID_BYTES, f"cluster id of {len(old)} bytes"
    parts = old + cluster_id_of(group, members, settings)
    return blake2b(parts, digest_size=CLUSTER_ID_BYTES, person=b"raft-actors next").digest()


def supersedes(new: Genesis, old: Genesis) -> bool:
    """Whether `new` was founded from the state of `old`, under its name: anybody who has both records can see it."""
    members, settings = new.configuration.members, new.settings
    return new.group == old.group and new.cluster_id == successor_cluster_id(
        old.cluster_id, new.group, members, settings
    )


def encode_genesis(genesis: Genesis) -> bytes:
    """The record at index 0 of every log of a group."""
    assert len(genesis.cluster_id) == CLUSTER_ID_BYTES, f"cluster id of {len(genesis.cluster_id)} bytes"
    name = genesis.group.encode()
    return b"".join(
        (
            _HEAD.pack(MAGIC, CODEC_VERSION, FrameKind.GENESIS),
            genesis.cluster_id,
            _LENGTH.pack(len(name)),
            name,
            encode_configuration(genesis.configuration),
            _LENGTH.pack(len(genesis.settings)),
            genesis.settings,
        )
    )


def decode_genesis(data: bytes) -> Genesis:
    """The reverse of `encode_genesis`. Raises `CodecError`. Whether the cluster id fits is the caller's question."""
    kind = read_head(data)
    if kind != FrameKind.GENESIS:
        raise CodecError(f"kind {kind} is not a genesis")
    at = _HEAD.size
    cluster_id = data[at : at + CLUSTER_ID_BYTES]
    if len(cluster_id) < CLUSTER_ID_BYTES:
        raise CodecError("genesis cut off before its cluster id")
    name, at = _read_bytes(data, at + CLUSTER_ID_BYTES)
    configuration, at = _read_configuration(data, at, len(data))
    settings, at = _read_bytes(data, at)
    require_end(at, len(data))
    try:
        group = name.decode()
    except UnicodeDecodeError as refusal:
        raise CodecError("the group's name is not UTF-8") from refusal
    return Genesis(cluster_id=cluster_id, group=group, configuration=configuration, settings=settings)


# -- the small parts, most of them shared with envelopes.py ---------------------------------------------------------


def read_head(data: bytes) -> int:
    """The kind that the frame head names; everything that all frames share is checked here.

    Raises `CodecError`.
    """
    if type(data) is not bytes:
        raise CodecError(f"a {type(data).__name__}, not bytes")
    if len(data) > FRAME_BYTES_MAX:
        raise CodecError(f"frame of {len(data)} bytes; at most {FRAME_BYTES_MAX} are taken")
    if len(data) < _HEAD.size:
        raise CodecError(f"frame of {len(data)} bytes is cut off")
    magic, version, kind = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise CodecError("not a frame of raft-actors")
    if version != CODEC_VERSION:
        raise CodecError(f"frame of version {version}, this is version {CODEC_VERSION}")
    return int(kind)


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    if len(data) - at < _LENGTH.size:
        raise CodecError("cut off before a length")
    (length,) = _LENGTH.unpack_from(data, at)
    at += _LENGTH.size
    if length > len(data) - at:
        raise CodecError(f"cut off: {length} bytes announced, {len(data) - at} left")
    return data[at : at + length], at + length


def boolean_of(value: int) -> bool:
    """A byte that is 0 or 1. Raises `CodecError`."""
    if value not in (0, 1):
        raise CodecError(f"{value} where 0 or 1 belongs")
    return value == 1


def require_end(at: int, end: int) -> None:
    """Nothing follows what was read. Raises `CodecError`."""
    if at != end:
        raise CodecError(f"{end - at} bytes too many")
