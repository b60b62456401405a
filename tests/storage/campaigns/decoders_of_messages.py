"""What a peer, its application and clients say to each other, for the campaign on decoders.

Here:   `APPLICATION`: every codec of messages, batches, settings, the socket, a state.
Never:  what peers say to peers, the log, the store (decoders.py), what is on a disk (on_disk.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from kv import limits
from raft_actors.application import frames, settings
from raft_actors.application.exchange import Provenance
from raft_actors.application.host import ApplicationHost
from raft_actors.application.packing import Codec, Malformed
from raft_actors.application.pipe import FrameReader, Kind, PipeFrame, decode_slice, encode_frame, encode_slice
from raft_actors.application.slices import Slice, checked, describe
from raft_actors.client import operation, wire
from raft_actors.core.types import EntryId, LogIndex, MemberId, Term
from raft_actors.errors import ConfigError
from raft_actors.peer.chains import CHAIN_REPORT, ChainReport
from tests.application.builders import EPOCH, Journal, apply, frame
from tests.application.builders import entry as batch_of
from tests.application.test_formats import CHECKPOINT, CLUSTER, DIRECTORY, MESSAGES
from tests.storage.campaigns.target import Decoder

_AT: Final = EntryId(Term(4), LogIndex(9))


def _codecs() -> Iterable[Decoder]:
    """One for each codec of messages; the samples are the messages of its own tests."""
    by_codec: dict[int, tuple[Codec[Any], list[bytes]]] = {}
    report = ChainReport(
        cluster_id=CLUSTER,
        directory_id=DIRECTORY,
        computed_by=DIRECTORY,
        agreed=False,
        checkpoints=(CHECKPOINT, CHECKPOINT),
    )
    outcomes = (frames.Computed(result=b"r"), frames.SessionExpired(applied_index=9), frames.Fenced())
    for each, message in (*MESSAGES, (CHAIN_REPORT, report), (frames._OUTCOMES, outcomes)):
        by_codec.setdefault(id(each), (each, []))[1].append(each.encode(message))
    for each, good in by_codec.values():
        kind = type(each.decode(good[0])).__name__
        name = f"message {kind}" if kind != "tuple" else f"messages {type(each.decode(good[0])[0]).__name__}"
        yield Decoder(name=name, decode=each.decode, errors=(Malformed,), encode=each.encode, samples=tuple(good))


def _read_pipe(data: bytes) -> tuple[tuple[PipeFrame, ...], bytes]:
    """The stream in pieces of growing size; and what is left of it in the end."""
    reader, found, at = FrameReader(), list[PipeFrame](), 0
    for size in range(1, len(data) + 2):
        found += reader.feed(data[at : at + size])
        at += size
        if at >= len(data):
            break
    return tuple(found), data[sum(len(_pipe_bytes(each)) for each in found) :]


def _pipe_bytes(each: PipeFrame) -> bytes:
    return encode_frame(each.kind, each.number, each.payload)


def _read_slice(data: bytes) -> tuple[Slice, bytes]:
    slice_, behind = decode_slice(data)
    return slice_, b"".join(checked(slice_, behind))


def _state() -> bytes:
    """Of a host with sessions, results and commands."""
    host = ApplicationHost(Journal(), settings.SessionLimits())
    host.attach(EPOCH)
    for index in range(1, 6):
        apply(host, index, batch_of(frame(1, b"x", by="ab"[index % 2], opens=index)))
    return b"".join(host.snapshot(Provenance(computed_by=DIRECTORY, agreed=CHECKPOINT)))


def _restored(data: bytes) -> ApplicationHost:
    host = ApplicationHost(Journal(), settings.SessionLimits())
    host.restore([memoryview(data)])
    return host


def _written(host: ApplicationHost) -> bytes:
    assert host.provenance is not None, "a snapshot says who computed it"
    return b"".join(host.snapshot(host.provenance))


def _answers(kind: operation.Kind) -> Callable[[bytes], Any]:
    call = operation.Call(
        number=1,
        kind=kind,
        member_id=MemberId(0),
        operations=tuple(
            operation.Operation(number=number, kind=kind, request=b"", deadline_ms=0, timeout_ms=0)
            for number in range(2)
        ),
        data=b"",
        patient_until_ms=0,
        overdue_at_ms=0,
    )
    return partial(wire.decode, call)


_DONE: Final = tuple(each.encode(message) for each, message in MESSAGES if type(message) is tuple)

APPLICATION: Final = (
    *_codecs(),
    Decoder(
        name="batch",
        decode=frames.decode_batch,
        errors=(Malformed,),
        encode=frames.encode_batch,
        samples=(
            frames.encode_batch([frame(3, b"x", acked_below=2, opens=4), frames.RawFrame(command=b"y")]),
            frames.encode_batch([frame(number) for number in range(20)]),
        ),
    ),
    Decoder(
        name="settings of an application",
        decode=settings.decode_settings,
        errors=(Malformed, ConfigError),
        encode=settings.encode_settings,
        samples=(
            settings.encode_settings(
                settings.ApplicationSettings(
                    sessions=settings.SessionLimits(), machine=limits.encode_settings(limits.Limits())
                )
            ),
        ),
    ),
    Decoder(
        name="frames on the socket",
        decode=_read_pipe,
        errors=(Malformed,),
        encode=lambda read: b"".join(map(_pipe_bytes, read[0])) + read[1],
        exact=True,
        samples=(b"".join(encode_frame(kind, 7 * kind, bytes(3 * kind)) for kind in Kind),),
    ),
    Decoder(
        name="slice on the socket",
        decode=_read_slice,
        errors=(Malformed,),
        encode=lambda read: encode_slice(*read),
        samples=(encode_slice(describe(_AT, 70_000, b"state", ends=True), b"state"),),
    ),
    Decoder(name="state of a host", decode=_restored, errors=(Malformed,), encode=_written, samples=(_state(),)),
    Decoder(name="answers to commands", decode=_answers(operation.Kind.COMMAND), samples=_DONE),
    Decoder(name="answers to queries", decode=_answers(operation.Kind.READ), samples=_DONE),
)
