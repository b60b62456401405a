"""Everything in the product that makes values of bytes, each with good bytes, its declared errors and its way back.

Here:   `DECODERS`: those of the wire, of the log's content, of the store and of the recorder.
Never:  what is on a disk (on_disk.py), how bytes are changed and what is judged (fuzz.py). No pickle is opened: that
        runs its writer's code, by design, and is the caller's explicit choice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kv import commands, limits, results
from kv.encoded import Encoded
from kv.errors import (
    AnswerMalformed,
    CommandMalformed,
    SnapshotMalformed,
    StoreRefusal,
    ValueNotNative,
    ValueOpaque,
    ValueTooLarge,
    ValueUnreadable,
)
from kv.fields import pack, pack_many, unpack, unpack_many
from kv.machine import KVMachine
from kv.values import decode as decode_value
from kv.values import encode as encode_value
from raft_actors import codec, envelopes
from raft_actors.core.entries import Genesis
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
from raft_actors.core.types import DirectoryId, EntryId, Incarnation, LogIndex, MemberId, Term
from raft_actors.errors import ConfigError, VersionDiffers
from raft_actors.recording.errors import RowsUnreadable
from raft_actors.recording.rows import count_rows, decode_rows, encode_rows
from tests.storage.campaigns.decoders_of_messages import APPLICATION
from tests.storage.campaigns.on_disk import ON_DISK
from tests.storage.campaigns.target import Decoder
from tests.storage.logs import CONFIGURATION, GENESIS, command, entry, meta

_AT: Final = EntryId(Term(4), LogIndex(9))
_SPEAKER: Final = Incarnation(directory_id=DirectoryId(bytes(range(16))), start_count=3)


# -- between peers, and in the log ------------------------------------------------------------------------------------


def _envelope(message: Message) -> bytes:
    return envelopes.encode_envelope(
        Envelope(cluster_id=b"C" * 16, sender=MemberId(1), incarnation=_SPEAKER, to=MemberId(2), message=message)
    )


def _reply(conflict: EntryId | None) -> AppendEntriesReply:
    return AppendEntriesReply(
        term=Term(5),
        success=conflict is None,
        request_term=Term(5),
        prev_index=LogIndex(8),
        match_index=LogIndex(9),
        conflict=conflict,
        beat=3,
    )


def _append_entries(*entries: Any) -> AppendEntries:
    return AppendEntries(term=Term(5), prev_entry=_AT, entries=entries, leader_commit=LogIndex(7), beat=3)


_MESSAGES: Final[tuple[Message, ...]] = (
    PreVote(term=Term(5), last_entry=_AT, campaign=7),
    PreVoteReply(term=Term(5), vote_granted=True, campaign=7),
    RequestVote(term=Term(5), last_entry=_AT),
    RequestVote(term=Term(5), last_entry=_AT),
    TimeoutNow(term=Term(5), last_entry=_AT),
    TimeoutNowReply(term=Term(6), campaigns=True),
    RequestVoteReply(term=Term(5), vote_granted=False),
    _append_entries(),
    _append_entries(command(5, 10), entry(5, 11), entry(5, 12, CONFIGURATION)),
    _reply(None),
    _reply(_AT),
    InstallSnapshot(term=Term(5), snapshot=meta(5, 9), beat=3),
    InstallSnapshotReply(term=Term(5), request_term=Term(5), match_index=LogIndex(9), beat=3),
)


def _peer_decoder(name: str, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], *good: bytes) -> Decoder:
    return Decoder(name=name, decode=decode, errors=(codec.CodecError,), encode=encode, exact=True, samples=good)


def _read_entry(data: bytes) -> tuple[Any, bytes]:
    """The entry in the middle of something longer, and what is behind it."""
    found, end = codec.read_entry(b"before" + data + b"behind", 6, 6 + len(data))
    return found, data[end - 6 :]


_PEERS: Final = (
    _peer_decoder("envelope", envelopes.decode_envelope, envelopes.encode_envelope, *map(_envelope, _MESSAGES)),
    _peer_decoder(
        "hello",
        envelopes.decode_hello,
        envelopes.encode_hello,
        envelopes.encode_hello(envelopes.Hello(cluster_id=b"C" * 16, sender=MemberId(1), incarnation=_SPEAKER)),
    ),
    _peer_decoder(
        "join",
        envelopes.decode_join,
        envelopes.encode_join,
        envelopes.encode_join(envelopes.Join(directory_id=_SPEAKER.directory_id, genesis=GENESIS)),
    ),
    _peer_decoder(
        "genesis",
        codec.decode_genesis,
        codec.encode_genesis,
        codec.encode_genesis(GENESIS),
        codec.encode_genesis(
            Genesis(cluster_id=b"C" * 16, group="ü", configuration=GENESIS.configuration, settings=b"")
        ),
    ),
    _peer_decoder(
        "configuration",
        codec.decode_configuration,
        codec.encode_configuration,
        codec.encode_configuration(CONFIGURATION),
    ),
    _peer_decoder(
        "entry",
        codec.decode_entry,
        codec.encode_entry,
        *map(codec.encode_entry, (command(1, 2), entry(1, 1), entry(3, 4, CONFIGURATION))),
    ),
    _peer_decoder(
        "entry among others",
        _read_entry,
        lambda found: codec.encode_entry(found[0]) + found[1],
        codec.encode_entry(command(1, 2)) + codec.encode_entry(entry(1, 3)),
    ),
)


# -- the store --------------------------------------------------------------------------------------------------------

_LIMITS: Final = limits.Limits(key_bytes_max=64, value_bytes_max=4_000, batch_bytes_max=8_000)
_VALUES: Final = (
    None, True, 2**63 - 1, -1.5, "text", b"bytes", [1, "a", [b"", None]], {"a": {"b": (1, (2, "c"))}}, (), [(), {}],
)  # fmt: skip
_ENCODED: Final = tuple(encode_value(value, value_bytes_max=4_000) for value in _VALUES)

_COMMANDS: Final = (
    commands.encode_put("k", _ENCODED[4], limits=_LIMITS),
    commands.encode_put("k", _ENCODED[6], if_version=3, limits=_LIMITS),
    commands.encode_append("k", _ENCODED[6], limits=_LIMITS),
    commands.encode_delete("k", if_version=0, limits=_LIMITS),
    commands.encode_put_many({f"key {n}": value for n, value in enumerate(_ENCODED)}, limits=_LIMITS),
)
_QUERIES: Final = (
    commands.encode_get(["k", "l", "key 3"], limits=_LIMITS),
    commands.encode_scan("k", start_after="k", limit=3, limits=_LIMITS),
    commands.encode_scan(limits=_LIMITS),
)


def _machine() -> KVMachine:
    machine = KVMachine(_LIMITS)
    for index, each in enumerate(_COMMANDS, 1):
        machine.apply(index, each)
    return machine


def _encode_command(found: commands.Command) -> bytes:
    match found:
        case commands.Put(key=key, value=value, if_version=version):
            return pack(commands.Op.PUT, key, value, version)
        case commands.Append(key=key, value=value):
            return pack(commands.Op.APPEND, key, value)
        case commands.Delete(key=key, if_version=version):
            return pack(commands.Op.DELETE, key, version)
        case commands.PutMany(items=items):
            return pack(commands.Op.PUT_MANY, pack_many(part for item in items for part in item))


def _encode_query(found: commands.Query) -> bytes:
    match found:
        case commands.Get(keys=keys):
            return pack(commands.Op.GET, pack_many(keys))
        case commands.Scan(prefix=prefix, start_after=after, limit=limit):
            return pack(commands.Op.SCAN, prefix, after, limit)


def _apply(data: bytes) -> bytes:
    """A machine takes anything: a refusal is a result, in bytes; and afterwards it can still be stored."""
    machine = _machine()
    answer = machine.apply(9, data)
    KVMachine(_LIMITS).restore(map(memoryview, machine.snapshot()))
    return answer


def _query(data: bytes) -> bytes:
    return _machine().query(data)


def _restore(data: bytes) -> KVMachine:
    machine = KVMachine(_LIMITS)
    machine.restore(iter([memoryview(data)[:10], memoryview(data)[10:]]))
    return machine


def _open_value(data: bytes) -> Any:
    try:
        encoded = Encoded(data)
    except ValueError as refusal:  # what is stored begins with a known kind: machine.py sees to it
        raise ValueUnreadable(str(refusal)) from refusal
    return decode_value(encoded, allow_pickle=False)


def _encode_native(value: Any) -> bytes | None:
    try:
        return encode_value(value, allow_pickle=False, value_bytes_max=1 << 20).data
    except (ValueNotNative, ValueTooLarge):
        return None


def _known_kind(data: bytes) -> bytes:
    return bytes([data[0] % 4]) + data[1:] if data else data


_REFUSED: Final = (StoreRefusal, AnswerMalformed)
_RESULTS: Final = (
    results.encode_version(7),
    results.encode_deleted(True),
    *(
        _machine().apply(9, wrong)
        for wrong in (b"", _COMMANDS[1], commands.encode_append("k", _ENCODED[4], limits=_LIMITS))
    ),
    *map(_machine().query, _QUERIES),
)


def _result_decoder(name: str, decode: Callable[[bytes], Any]) -> Decoder:
    return Decoder(name=f"result: {name}", decode=decode, errors=_REFUSED, samples=_RESULTS)


_STORE: Final = (
    Decoder(
        name="command",
        decode=commands.decode_command,
        errors=(CommandMalformed,),
        encode=_encode_command,
        samples=_COMMANDS,
    ),
    Decoder(
        name="query", decode=commands.decode_query, errors=(CommandMalformed,), encode=_encode_query, samples=_QUERIES
    ),
    Decoder(name="machine, applying", decode=_apply, samples=_COMMANDS),
    Decoder(name="machine, asked", decode=_query, samples=_QUERIES),
    Decoder(
        name="snapshot",
        decode=_restore,
        errors=(SnapshotMalformed, VersionDiffers),
        encode=lambda machine: b"".join(machine.snapshot()),
        samples=(b"".join(_machine().snapshot()), b"".join(KVMachine(_LIMITS).snapshot())),
    ),
    Decoder(
        name="value",
        decode=_open_value,
        errors=(ValueUnreadable, ValueOpaque),
        encode=_encode_native,
        samples=tuple(each.data for each in _ENCODED),
        seal=_known_kind,
    ),
    Decoder(
        name="limits",
        decode=limits.decode_settings,
        errors=(ConfigError, VersionDiffers),
        encode=limits.encode_settings,
        samples=(limits.encode_settings(_LIMITS), limits.encode_settings(limits.Limits())),
    ),
    _result_decoder("version", results.decode_version),
    _result_decoder("versions", lambda data: results.decode_versions(data, ["k", "l", "m"])),
    _result_decoder("deleted", results.decode_deleted),
    _result_decoder("found", lambda data: results.decode_found(data, ["k", "l", "key 3"])),
    _result_decoder("page", results.decode_page),
    Decoder(name="row of fields", decode=unpack, errors=(ValueError,), samples=(*_RESULTS, *_COMMANDS, *_QUERIES)),
    Decoder(
        name="long row of fields", decode=unpack_many, errors=(ValueError,), samples=(pack_many([1, b"x", "y", None]),)
    ),
)


# -- the recorder -----------------------------------------------------------------------------------------------------

_ROWS: Final = encode_rows([{"t_ms": 1.5, "member": 2, "what": "x", "ok": True, "none": None}] * 3)

_RECORDER: Final = (
    Decoder(name="rows", decode=decode_rows, errors=(RowsUnreadable,), encode=encode_rows, samples=(_ROWS,)),
    Decoder(name="count of rows", decode=count_rows, errors=(RowsUnreadable,), samples=(_ROWS,)),
)

DECODERS: Final[tuple[Decoder, ...]] = (*_PEERS, *APPLICATION, *_STORE, *_RECORDER, *ON_DISK)
"""In a fixed order: a case is the n-th try of a unit."""
