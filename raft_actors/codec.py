"""Entries, the genesis and the messages between peers, as bytes and back.

Here:   the one binary form of core/entries.py and core/messages.py, little-endian, fixed fields, no pickle.
Never:  what a message means (core), where bytes go (storage/, peer/transport.py), the payload of a command (kv/).

An envelope, a hello and a genesis each begin with a frame head: magic `RA`, version, kind. An entry begins with the
same version byte and stands inside such a frame, or inside a framed record of the log. Every value has one encoding
only, and a decoder accepts nothing else: what it accepts encodes to the same bytes again.

What is decoded comes from outside. Anything malformed, cut off, too long or of another version is a `CodecError`, and
no other exception; counts and lengths are held against the bytes that remain before anything is made of them. What is
encoded is our own; a value that does not fit is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from typing import Any, Final

from raft_actors.core.entries import Command, Configuration, Entry, Genesis, Member, Noop, Payload
from raft_actors.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Envelope,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
)
from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId, EntryId, Incarnation, LogIndex, MemberId, Term

CODEC_VERSION: Final = 1
"""Version of every form in this file. Another one is refused, never guessed at."""

FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""Longest envelope or genesis: far above `append_bytes_max` and one largest proposal, far below what hurts a peer."""

CLUSTER_ID_BYTES: Final = 16

_MAGIC: Final = b"RA"
_HEAD: Final = Struct("<2sBB")  # magic, version, kind


class _Kind(IntEnum):
    """What a frame is. The numbers are on disks and wires: add, never renumber."""

    PRE_VOTE = 1
    PRE_VOTE_REPLY = 2
    REQUEST_VOTE = 3
    REQUEST_VOTE_REPLY = 4
    APPEND_ENTRIES = 5
    APPEND_ENTRIES_REPLY = 6
    HELLO = 16
    GENESIS = 17


_ENVELOPE: Final = Struct("<2sBB16sI16sQI")  # head, cluster id, sender, directory id, start count, addressee
_HELLO_FORM: Final = Struct("<2sBB16sI16sQ")  # head, cluster id, sender, directory id, start count
_PRE_VOTE_FORM: Final = Struct("<QQQQ")  # term, last term, last index, campaign
_PRE_VOTE_REPLY_FORM: Final = Struct("<QBQ")  # term, granted, campaign
_REQUEST_VOTE_FORM: Final = Struct("<QQQ")  # term, last term, last index
_REQUEST_VOTE_REPLY_FORM: Final = Struct("<QB")  # term, granted
_APPEND_FORM: Final = Struct("<QQQQQI")  # term, previous term, previous index, leader commit, beat, entry count
_APPEND_REPLY_FORM: Final = Struct("<QBQQQBQQQ")  # term, success, request term, prev, match, conflict?, its id, beat

_ENTRY: Final = Struct("<BBqQQI")  # version, payload kind, stamp, term, index, payload length
_COMMAND, _NOOP, _CONFIGURATION = 1, 2, 3
_COUNT: Final = Struct("<H")
_MEMBER: Final = Struct("<I16sB")  # member id, directory id, voter
_LENGTH: Final = Struct("<I")

ENTRY_BYTES_MIN: Final = _ENTRY.size
"""An encoded entry without payload."""


class CodecError(ValueError):
    """These bytes are not what they should be: malformed, cut off, too long or of another version. Drop and count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a peer says to all members after it (re)started; it needs no answer."""

    cluster_id: bytes
    sender: MemberId
    incarnation: Incarnation


# -- entries ------------------------------------------------------------------------------------------------------


def encode_entry(entry: Entry) -> bytes:
    """One entry. Its length is `ENTRY_BYTES_MIN` and the payload's."""
    payload = entry.payload
    if type(payload) is Command:
        kind, data = _COMMAND, payload.data
    elif type(payload) is Configuration:
        kind, data = _CONFIGURATION, _encode_configuration(payload)
    else:
        kind, data = _NOOP, b""
    at = entry.id
    return _ENTRY.pack(CODEC_VERSION, kind, entry.stamp_ms, at.term, at.index, len(data)) + data


def decode_entry(data: bytes) -> Entry:
    """The reverse of `encode_entry`. Raises `CodecError`, also when anything follows the entry."""
    entry, end = read_entry(data, 0, len(data))
    _require_end(end, len(data))
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
        _require_end(behind, body + length)
    else:
        raise CodecError(f"unknown kind of payload {kind}")
    return Entry(id=EntryId(term, index), payload=payload, stamp_ms=stamp_ms), body + length


def _encode_configuration(configuration: Configuration) -> bytes:
    parts = [_COUNT.pack(len(configuration.members))]
    for member in configuration.members:
        assert len(member.directory_id) == DIRECTORY_ID_BYTES, f"directory id of {len(member.directory_id)} bytes"
        parts.append(_MEMBER.pack(member.member_id, member.directory_id, member.voter))
    return b"".join(parts)


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
            Member(member_id=MemberId(member_id), directory_id=DirectoryId(directory_id), voter=_boolean(voter))
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
    parts = (_LENGTH.pack(len(name)), name, _encode_configuration(configuration), settings)
    return blake2b(b"".join(parts), digest_size=CLUSTER_ID_BYTES, person=b"raft-actors 1").digest()


def encode_genesis(genesis: Genesis) -> bytes:
    """The record at index 0 of every log of a group."""
    assert len(genesis.cluster_id) == CLUSTER_ID_BYTES, f"cluster id of {len(genesis.cluster_id)} bytes"
    name = genesis.group.encode()
    return b"".join(
        (
            _HEAD.pack(_MAGIC, CODEC_VERSION, _Kind.GENESIS),
            genesis.cluster_id,
            _LENGTH.pack(len(name)),
            name,
            _encode_configuration(genesis.configuration),
            _LENGTH.pack(len(genesis.settings)),
            genesis.settings,
        )
    )


def decode_genesis(data: bytes) -> Genesis:
    """The reverse of `encode_genesis`. Raises `CodecError`. Whether the cluster id fits is the caller's question."""
    kind = _read_head(data)
    if kind != _Kind.GENESIS:
        raise CodecError(f"kind {kind} is not a genesis")
    at = _HEAD.size
    cluster_id = data[at : at + CLUSTER_ID_BYTES]
    if len(cluster_id) < CLUSTER_ID_BYTES:
        raise CodecError("genesis cut off before its cluster id")
    name, at = _read_bytes(data, at + CLUSTER_ID_BYTES)
    configuration, at = _read_configuration(data, at, len(data))
    settings, at = _read_bytes(data, at)
    _require_end(at, len(data))
    try:
        group = name.decode()
    except UnicodeDecodeError as refusal:
        raise CodecError("the group's name is not UTF-8") from refusal
    return Genesis(cluster_id=cluster_id, group=group, configuration=configuration, settings=settings)


# -- messages -----------------------------------------------------------------------------------------------------


def encode_envelope(envelope: Envelope) -> bytes:
    """A message and who says it, as the one bytes argument of a call between peers."""
    kind, body = _encode_message(envelope.message)
    assert len(envelope.cluster_id) == CLUSTER_ID_BYTES, f"cluster id of {len(envelope.cluster_id)} bytes"
    speaker = envelope.incarnation
    assert len(speaker.directory_id) == DIRECTORY_ID_BYTES, f"directory id of {len(speaker.directory_id)} bytes"
    head = _ENVELOPE.pack(
        _MAGIC,
        CODEC_VERSION,
        kind,
        envelope.cluster_id,
        envelope.sender,
        speaker.directory_id,
        speaker.start_count,
        envelope.to,
    )
    frame = head + body
    assert len(frame) <= FRAME_BYTES_MAX, f"envelope of {len(frame)} bytes, no peer would take it"
    return frame


def decode_envelope(data: bytes) -> Envelope:
    """The reverse of `encode_envelope`. Raises `CodecError`."""
    kind = _read_head(data)
    if len(data) < _ENVELOPE.size:
        raise CodecError(f"envelope cut off: {len(data)} bytes")
    _, _, _, cluster_id, sender, directory_id, start_count, to = _ENVELOPE.unpack_from(data)
    return Envelope(
        cluster_id=cluster_id,
        sender=MemberId(sender),
        incarnation=Incarnation(directory_id=DirectoryId(directory_id), start_count=start_count),
        to=MemberId(to),
        message=_decode_message(kind, data, _ENVELOPE.size),
    )


def encode_hello(hello: Hello) -> bytes:
    """A peer's hello."""
    assert len(hello.cluster_id) == CLUSTER_ID_BYTES, f"cluster id of {len(hello.cluster_id)} bytes"
    speaker = hello.incarnation
    assert len(speaker.directory_id) == DIRECTORY_ID_BYTES, f"directory id of {len(speaker.directory_id)} bytes"
    return _HELLO_FORM.pack(
        _MAGIC, CODEC_VERSION, _Kind.HELLO, hello.cluster_id, hello.sender, speaker.directory_id, speaker.start_count
    )


def decode_hello(data: bytes) -> Hello:
    """The reverse of `encode_hello`. Raises `CodecError`."""
    kind = _read_head(data)
    if kind != _Kind.HELLO:
        raise CodecError(f"kind {kind} is not a hello")
    _, _, _, cluster_id, sender, directory_id, start_count = _unpack_last(_HELLO_FORM, data, 0)
    incarnation = Incarnation(directory_id=DirectoryId(directory_id), start_count=start_count)
    return Hello(cluster_id=cluster_id, sender=MemberId(sender), incarnation=incarnation)


def _encode_message(message: Message) -> tuple[_Kind, bytes]:
    match message:
        case AppendEntries(term=term, prev_entry=prev, entries=entries, leader_commit=commit, beat=beat):
            head = _APPEND_FORM.pack(term, prev.term, prev.index, commit, beat, len(entries))
            return _Kind.APPEND_ENTRIES, head + b"".join(map(encode_entry, entries))
        case AppendEntriesReply(conflict=conflict):
            return _Kind.APPEND_ENTRIES_REPLY, _APPEND_REPLY_FORM.pack(
                message.term,
                message.success,
                message.request_term,
                message.prev_index,
                message.match_index,
                conflict is not None,
                conflict.term if conflict else 0,
                conflict.index if conflict else 0,
                message.beat,
            )
        case PreVote(term=term, last_entry=last, campaign=campaign):
            return _Kind.PRE_VOTE, _PRE_VOTE_FORM.pack(term, last.term, last.index, campaign)
        case PreVoteReply(term=term, vote_granted=granted, campaign=campaign):
            return _Kind.PRE_VOTE_REPLY, _PRE_VOTE_REPLY_FORM.pack(term, granted, campaign)
        case RequestVote(term=term, last_entry=last):
            return _Kind.REQUEST_VOTE, _REQUEST_VOTE_FORM.pack(term, last.term, last.index)
        case RequestVoteReply(term=term, vote_granted=granted):
            return _Kind.REQUEST_VOTE_REPLY, _REQUEST_VOTE_REPLY_FORM.pack(term, granted)


def _decode_message(kind: int, data: bytes, at: int) -> Message:
    match kind:
        case _Kind.APPEND_ENTRIES:
            return _decode_append_entries(data, at)
        case _Kind.APPEND_ENTRIES_REPLY:
            return _decode_append_entries_reply(data, at)
        case _Kind.PRE_VOTE:
            term, last_term, last_index, campaign = _unpack_last(_PRE_VOTE_FORM, data, at)
            return PreVote(term=Term(term), last_entry=EntryId(last_term, last_index), campaign=campaign)
        case _Kind.PRE_VOTE_REPLY:
            term, granted, campaign = _unpack_last(_PRE_VOTE_REPLY_FORM, data, at)
            return PreVoteReply(term=Term(term), vote_granted=_boolean(granted), campaign=campaign)
        case _Kind.REQUEST_VOTE:
            term, last_term, last_index = _unpack_last(_REQUEST_VOTE_FORM, data, at)
            return RequestVote(term=Term(term), last_entry=EntryId(last_term, last_index))
        case _Kind.REQUEST_VOTE_REPLY:
            term, granted = _unpack_last(_REQUEST_VOTE_REPLY_FORM, data, at)
            return RequestVoteReply(term=Term(term), vote_granted=_boolean(granted))
        case _:
            raise CodecError(f"unknown kind of message {kind}")


def _decode_append_entries(data: bytes, at: int) -> AppendEntries:
    end = len(data)
    if end - at < _APPEND_FORM.size:
        raise CodecError(f"AppendEntries cut off: {end - at} bytes")
    term, prev_term, prev_index, commit, beat, count = _APPEND_FORM.unpack_from(data, at)
    at += _APPEND_FORM.size
    if count * _ENTRY.size > end - at:
        raise CodecError(f"AppendEntries of {count} entries cut off: {end - at} bytes left")
    entries = []
    for _ in range(count):
        entry, at = read_entry(data, at, end)
        entries.append(entry)
    _require_end(at, end)
    return AppendEntries(
        term=Term(term),
        prev_entry=EntryId(prev_term, prev_index),
        entries=tuple(entries),
        leader_commit=LogIndex(commit),
        beat=beat,
    )


def _decode_append_entries_reply(data: bytes, at: int) -> AppendEntriesReply:
    fields = _unpack_last(_APPEND_REPLY_FORM, data, at)
    term, success, request_term, prev_index, match_index, conflicts, conflict_term, conflict_index, beat = fields
    if not conflicts and (conflict_term or conflict_index):
        raise CodecError("a conflict that is said not to be there")
    return AppendEntriesReply(
        term=Term(term),
        success=_boolean(success),
        request_term=Term(request_term),
        prev_index=LogIndex(prev_index),
        match_index=LogIndex(match_index),
        conflict=EntryId(conflict_term, conflict_index) if _boolean(conflicts) else None,
        beat=beat,
    )


# -- the small parts ----------------------------------------------------------------------------------------------


def _read_head(data: bytes) -> int:
    """The kind that the frame head names; everything that all frames share is checked here."""
    if type(data) is not bytes:
        raise CodecError(f"a {type(data).__name__}, not bytes")
    if len(data) > FRAME_BYTES_MAX:
        raise CodecError(f"frame of {len(data)} bytes; at most {FRAME_BYTES_MAX} are taken")
    if len(data) < _HEAD.size:
        raise CodecError(f"frame of {len(data)} bytes is cut off")
    magic, version, kind = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise CodecError("not a frame of raft-actors")
    if version != CODEC_VERSION:
        raise CodecError(f"frame of version {version}, this is version {CODEC_VERSION}")
    return int(kind)


def _unpack_last(form: Struct, data: bytes, at: int) -> tuple[Any, ...]:
    """The fields of `form`, which must be all that follows `at`."""
    if len(data) - at != form.size:
        raise CodecError(f"{len(data) - at} bytes where {form.size} belong")
    return form.unpack_from(data, at)


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    if len(data) - at < _LENGTH.size:
        raise CodecError("cut off before a length")
    (length,) = _LENGTH.unpack_from(data, at)
    at += _LENGTH.size
    if length > len(data) - at:
        raise CodecError(f"cut off: {length} bytes announced, {len(data) - at} left")
    return data[at : at + length], at + length


def _boolean(value: int) -> bool:
    if value not in (0, 1):
        raise CodecError(f"{value} where 0 or 1 belongs")
    return value == 1


def _require_end(at: int, end: int) -> None:
    if at != end:
        raise CodecError(f"{end - at} bytes too many")
