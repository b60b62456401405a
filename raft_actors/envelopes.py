"""What travels between peers, as bytes and back: messages in their envelopes, hellos and invitations.

Here:   the one binary form of core/messages.py, and `Hello` and `Join`, which peers say outside of Raft.
Never:  entries and the head of a frame (codec.py, whose rules for what is decoded hold here too), what a message means
        (core), where bytes go (peer/transport.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from raft_actors.codec import (
    CLUSTER_ID_BYTES,
    CODEC_VERSION,
    ENTRY_BYTES_MIN,
    FRAME_BYTES_MAX,
    MAGIC,
    CodecError,
    FrameKind,
    boolean_of,
    decode_configuration,
    decode_genesis,
    encode_configuration,
    encode_entry,
    encode_genesis,
    read_entry,
    read_head,
    require_end,
)
from raft_actors.core.entries import Genesis, SnapshotMeta
from raft_actors.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Envelope,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
    TimeoutNowReply,
)
from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId, EntryId, Incarnation, LogIndex, MemberId, Term

_ENVELOPE: Final = Struct("<2sBB16sI16sQI")  # head, cluster id, sender, directory id, start count, addressee
_HELLO_FORM: Final = Struct("<2sBB16sI16sQ")  # head, cluster id, sender, directory id, start count
_JOIN_FORM: Final = Struct("<2sBB16s")  # head, directory id; a genesis follows
_PRE_VOTE_FORM: Final = Struct("<QQQQ")  # term, last term, last index, campaign
_PRE_VOTE_REPLY_FORM: Final = Struct("<QBQ")  # term, granted, campaign
_REQUEST_VOTE_FORM: Final = Struct("<QQQ")  # term, last term, last index
_REQUEST_VOTE_REPLY_FORM: Final = Struct("<QB")  # term, granted
_APPEND_FORM: Final = Struct("<QQQQQI")  # term, previous term, previous index, leader commit, beat, entry count
_APPEND_REPLY_FORM: Final = Struct("<QBQQQBQQQ")  # term, success, request term, prev, match, conflict?, its id, beat

_INSTALL_FORM: Final = Struct("<QQQqQQQ")  # term, last term, last index, stamp, configuration's term, index, beat
_INSTALL_REPLY_FORM: Final = Struct("<QQQQ")  # term, request term, match, beat
_TIMEOUT_NOW_FORM: Final = Struct("<QQQ")  # term, last term, last index
_TIMEOUT_NOW_REPLY_FORM: Final = Struct("<QB")  # term, campaigns


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a peer says to all members after it (re)started; it needs no answer."""

    cluster_id: bytes
    sender: MemberId
    incarnation: Incarnation


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """What a leader hands to a member that has no log yet (contracts 10 a); it needs no answer."""

    directory_id: DirectoryId
    """Whom it is for: another directory in that place does not take it."""
    genesis: Genesis


def encode_envelope(envelope: Envelope) -> bytes:
    """A message and who says it, as the one bytes argument of a call between peers."""
    kind, body = _encode_message(envelope.message)
    assert len(envelope.cluster_id) == CLUSTER_ID_BYTES, f"cluster id of {len(envelope.cluster_id)} bytes"
    speaker = envelope.incarnation
    assert len(speaker.directory_id) == DIRECTORY_ID_BYTES, f"directory id of {len(speaker.directory_id)} bytes"
    head = _ENVELOPE.pack(
        MAGIC,
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
    kind = read_head(data)
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
        MAGIC, CODEC_VERSION, FrameKind.HELLO, hello.cluster_id, hello.sender, speaker.directory_id, speaker.start_count
    )


def decode_hello(data: bytes) -> Hello:
    """The reverse of `encode_hello`. Raises `CodecError`."""
    kind = read_head(data)
    if kind != FrameKind.HELLO:
        raise CodecError(f"kind {kind} is not a hello")
    _, _, _, cluster_id, sender, directory_id, start_count = _unpack_last(_HELLO_FORM, data, 0)
    incarnation = Incarnation(directory_id=DirectoryId(directory_id), start_count=start_count)
    return Hello(cluster_id=cluster_id, sender=MemberId(sender), incarnation=incarnation)


def encode_join(join: Join) -> bytes:
    """A leader's invitation."""
    assert len(join.directory_id) == DIRECTORY_ID_BYTES, f"directory id of {len(join.directory_id)} bytes"
    return _JOIN_FORM.pack(MAGIC, CODEC_VERSION, FrameKind.JOIN, join.directory_id) + encode_genesis(join.genesis)


def decode_join(data: bytes) -> Join:
    """The reverse of `encode_join`. Raises `CodecError`."""
    kind = read_head(data)
    if kind != FrameKind.JOIN:
        raise CodecError(f"kind {kind} is not a join")
    if len(data) < _JOIN_FORM.size:
        raise CodecError(f"join cut off: {len(data)} bytes")
    _, _, _, directory_id = _JOIN_FORM.unpack_from(data)
    return Join(directory_id=DirectoryId(directory_id), genesis=decode_genesis(data[_JOIN_FORM.size :]))


def _encode_message(message: Message) -> tuple[FrameKind, bytes]:
    match message:
        case AppendEntries(term=term, prev_entry=prev, entries=entries, leader_commit=commit, beat=beat):
            head = _APPEND_FORM.pack(term, prev.term, prev.index, commit, beat, len(entries))
            return FrameKind.APPEND_ENTRIES, head + b"".join(map(encode_entry, entries))
        case AppendEntriesReply(conflict=conflict):
            return FrameKind.APPEND_ENTRIES_REPLY, _APPEND_REPLY_FORM.pack(
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
        case InstallSnapshot(term=term, snapshot=meta, beat=beat):
            last, at = meta.last, meta.configuration_id
            head = _INSTALL_FORM.pack(term, last.term, last.index, meta.stamp_ms, at.term, at.index, beat)
            return FrameKind.INSTALL_SNAPSHOT, head + encode_configuration(meta.configuration)
        case InstallSnapshotReply():
            return FrameKind.INSTALL_SNAPSHOT_REPLY, _INSTALL_REPLY_FORM.pack(
                message.term, message.request_term, message.match_index, message.beat
            )
        case PreVote(term=term, last_entry=last, campaign=campaign):
            return FrameKind.PRE_VOTE, _PRE_VOTE_FORM.pack(term, last.term, last.index, campaign)
        case PreVoteReply(term=term, vote_granted=granted, campaign=campaign):
            return FrameKind.PRE_VOTE_REPLY, _PRE_VOTE_REPLY_FORM.pack(term, granted, campaign)
        case RequestVote(term=term, last_entry=last):
            return FrameKind.REQUEST_VOTE, _REQUEST_VOTE_FORM.pack(term, last.term, last.index)
        case RequestVoteReply(term=term, vote_granted=granted):
            return FrameKind.REQUEST_VOTE_REPLY, _REQUEST_VOTE_REPLY_FORM.pack(term, granted)
        case TimeoutNow(term=term, last_entry=last):
            return FrameKind.TIMEOUT_NOW, _TIMEOUT_NOW_FORM.pack(term, last.term, last.index)
        case TimeoutNowReply(term=term, campaigns=campaigns):
            return FrameKind.TIMEOUT_NOW_REPLY, _TIMEOUT_NOW_REPLY_FORM.pack(term, campaigns)


def _decode_message(kind: int, data: bytes, at: int) -> Message:
    match kind:
        case FrameKind.APPEND_ENTRIES:
            return _decode_append_entries(data, at)
        case FrameKind.APPEND_ENTRIES_REPLY:
            return _decode_append_entries_reply(data, at)
        case FrameKind.INSTALL_SNAPSHOT:
            return _decode_install_snapshot(data, at)
        case FrameKind.INSTALL_SNAPSHOT_REPLY:
            term, request_term, match_index, beat = _unpack_last(_INSTALL_REPLY_FORM, data, at)
            return InstallSnapshotReply(
                term=Term(term), request_term=Term(request_term), match_index=LogIndex(match_index), beat=beat
            )
        case FrameKind.PRE_VOTE:
            term, last_term, last_index, campaign = _unpack_last(_PRE_VOTE_FORM, data, at)
            return PreVote(term=Term(term), last_entry=EntryId(last_term, last_index), campaign=campaign)
        case FrameKind.PRE_VOTE_REPLY:
            term, granted, campaign = _unpack_last(_PRE_VOTE_REPLY_FORM, data, at)
            return PreVoteReply(term=Term(term), vote_granted=boolean_of(granted), campaign=campaign)
        case FrameKind.REQUEST_VOTE:
            term, last_term, last_index = _unpack_last(_REQUEST_VOTE_FORM, data, at)
            return RequestVote(term=Term(term), last_entry=EntryId(last_term, last_index))
        case FrameKind.REQUEST_VOTE_REPLY:
            term, granted = _unpack_last(_REQUEST_VOTE_REPLY_FORM, data, at)
            return RequestVoteReply(term=Term(term), vote_granted=boolean_of(granted))
        case FrameKind.TIMEOUT_NOW:
            term, last_term, last_index = _unpack_last(_TIMEOUT_NOW_FORM, data, at)
            return TimeoutNow(term=Term(term), last_entry=EntryId(last_term, last_index))
        case FrameKind.TIMEOUT_NOW_REPLY:
            term, campaigns = _unpack_last(_TIMEOUT_NOW_REPLY_FORM, data, at)
            return TimeoutNowReply(term=Term(term), campaigns=boolean_of(campaigns))
        case _:
            raise CodecError(f"unknown kind of message {kind}")


def _decode_append_entries(data: bytes, at: int) -> AppendEntries:
    end = len(data)
    if end - at < _APPEND_FORM.size:
        raise CodecError(f"AppendEntries cut off: {end - at} bytes")
    term, prev_term, prev_index, commit, beat, count = _APPEND_FORM.unpack_from(data, at)
    at += _APPEND_FORM.size
    if count * ENTRY_BYTES_MIN > end - at:
        raise CodecError(f"AppendEntries of {count} entries cut off: {end - at} bytes left")
    entries = []
    for _ in range(count):
        entry, at = read_entry(data, at, end)
        entries.append(entry)
    require_end(at, end)
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
        success=boolean_of(success),
        request_term=Term(request_term),
        prev_index=LogIndex(prev_index),
        match_index=LogIndex(match_index),
        conflict=EntryId(conflict_term, conflict_index) if boolean_of(conflicts) else None,
        beat=beat,
    )


def _decode_install_snapshot(data: bytes, at: int) -> InstallSnapshot:
    if len(data) - at < _INSTALL_FORM.size:
        raise CodecError(f"InstallSnapshot cut off: {len(data) - at} bytes")
    term, last_term, last_index, stamp_ms, place_term, place_index, beat = _INSTALL_FORM.unpack_from(data, at)
    configuration = decode_configuration(data[at + _INSTALL_FORM.size :])
    try:
        snapshot = SnapshotMeta(
            last=EntryId(last_term, last_index),
            stamp_ms=stamp_ms,
            configuration_id=EntryId(place_term, place_index),
            configuration=configuration,
        )
    except ValueError as refusal:
        raise CodecError(f"impossible snapshot: {refusal}") from refusal
    return InstallSnapshot(term=Term(term), snapshot=snapshot, beat=beat)


def _unpack_last(form: Struct, data: bytes, at: int) -> tuple[Any, ...]:
    """The fields of `form`, which must be all that follows `at`."""
    if len(data) - at != form.size:
        raise CodecError(f"{len(data) - at} bytes where {form.size} belong")
    return form.unpack_from(data, at)
