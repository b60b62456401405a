"""Bytes between processes and in the log: exact, checked, and refused with one named error when they are not ours."""

from __future__ import annotations

import pickle
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft_actors.application import exchange, requests
from raft_actors.application.exchange import (
    Applied,
    Apply,
    AskSlice,
    Attach,
    Attached,
    Checkpoint,
    ClusterId,
    CommittedEntry,
    EntryKind,
    Gap,
    LogFull,
    NotLeader,
    NotReady,
    Overloaded,
    Propose,
    Provenance,
    Read,
    ReadAt,
    Restore,
    SliceRefused,
    Started,
    Stopped,
    TermLost,
    WrongEpoch,
)
from raft_actors.application.frames import (
    FRAME_OVERHEAD_BYTES,
    Computed,
    Fenced,
    Frame,
    Outcome,
    RawFrame,
    SessionExpired,
    Unreadable,
    WindowExceeded,
    decode_batch,
    encode_batch,
    encode_outcomes,
)
from raft_actors.application.machine import create_machine
from raft_actors.application.packing import COUNT_MAX, ITEMS_MAX, Codec, Malformed
from raft_actors.application.requests import (
    Attempt,
    Done,
    Lost,
    Query,
    QueryDone,
    QueryFailed,
    Submit,
    TooLarge,
    Unknown,
)
from raft_actors.application.settings import ApplicationSettings, SessionLimits, decode_settings, encode_settings
from raft_actors.application.slices import SLICE, SLICE_REQUEST, Slice, SliceRequest
from raft_actors.core.types import DirectoryId, LogIndex, MemberId, Term
from raft_actors.errors import ConfigError
from tests.application.builders import EPOCH, Journal, frame

CLUSTER = ClusterId(b"cluster-12345678")
DIRECTORY = DirectoryId(b"directory-123456")
ENTRY = CommittedEntry(term=Term(2), stamp_ms=5, kind=EntryKind.CONFIGURATION, data=b"who")

CHECKPOINT = Checkpoint(index=LogIndex(5), chain=b"c" * 16)

MESSAGES: list[tuple[Codec[Any], Any]] = [
    (exchange.ATTACH, Attach(epoch=EPOCH, cluster_id=None, applied_index=LogIndex(0), checkpoints=(), provenance=None)),
    (
        exchange.ATTACH,
        Attach(
            epoch=EPOCH,
            cluster_id=CLUSTER,
            applied_index=LogIndex(7),
            checkpoints=(CHECKPOINT,),
            provenance=Provenance(computed_by=DIRECTORY, agreed=CHECKPOINT),
        ),
    ),
    (
        exchange.ATTACH_ANSWER,
        Attached(cluster_id=CLUSTER, settings=b"s", first_index=LogIndex(8), directory_id=DIRECTORY, start_count=3),
    ),
    (exchange.ATTACH_ANSWER, NotReady(why="starting")),
    (exchange.ATTACH_ANSWER, Restore(cluster_id=CLUSTER, settings=b"s", term=Term(2), index=LogIndex(9))),
    (
        exchange.ASK_SLICE,
        AskSlice(
            job=3,
            offset=70_000,
            bytes_max=1 << 20,
            by_reference=True,
            provenance=Provenance(computed_by=DIRECTORY, agreed=None),
        ),
    ),
    (exchange.SLICE_REFUSED, SliceRefused(job=3, why="it cannot be read")),
    (SLICE, Slice(term=Term(2), index=LogIndex(9), offset=70_000, size=5, checksums=(1 << 31,), ends=True)),
    (
        SLICE_REQUEST,
        SliceRequest(
            cluster_id=CLUSTER,
            asker=DIRECTORY,
            term=Term(2),
            index=LogIndex(9),
            offset=0,
            bytes_max=1 << 20,
            by_reference=False,
        ),
    ),
    (exchange.APPLY, Apply(epoch=EPOCH, first_index=LogIndex(8), entries=(ENTRY, ENTRY))),
    (exchange.APPLY, Apply(epoch=EPOCH, first_index=LogIndex(8), entries=())),
    (
        exchange.APPLY_ANSWER,
        Applied(applied_index=LogIndex(9), chain=b"h", checkpoints=(Checkpoint(index=LogIndex(9), chain=b"h"),)),
    ),
    (exchange.APPLY_ANSWER, Gap(applied_index=LogIndex(3))),
    (exchange.APPLY_ANSWER, WrongEpoch()),
    (exchange.APPLY_ANSWER, Stopped(index=LogIndex(4), why="ValueError in apply")),
    (exchange.TERM_LOST, TermLost(epoch=EPOCH, term=Term(3))),
    (exchange.PROPOSE, Propose(data=b"batch")),
    (exchange.PROPOSE_ANSWER, Started(index=LogIndex(COUNT_MAX), term=Term(1))),
    (exchange.PROPOSE_ANSWER, NotLeader(leader=MemberId(0))),
    (exchange.PROPOSE_ANSWER, NotLeader(leader=None)),
    (exchange.PROPOSE_ANSWER, Overloaded()),
    (exchange.PROPOSE_ANSWER, LogFull()),
    (exchange.READ, Read()),
    (exchange.READ_ANSWER, ReadAt(index=LogIndex(12))),
    (exchange.READ_ANSWER, NotLeader(leader=MemberId(2))),
    (exchange.READ_ANSWER, Overloaded()),
    (requests.SUBMIT, Submit(attempts=(Attempt(number=2, frame=frame(1, b"x", opens=4)),), timeout_ms=400)),
    (
        requests.ANSWERS,
        (
            Done(result=b"r", index=LogIndex(5), term=Term(2)),
            SessionExpired(applied_index=9),
            Fenced(),
            WindowExceeded(),
            NotLeader(leader=None),
            Overloaded(),
            LogFull(),
            TooLarge(bytes_max=10),
            Lost(),
            Unknown(why="deadline"),
        ),
    ),
    (requests.QUERY, Query(requests=(b"a", b""), linearizable=True, timeout_ms=400)),
    (
        requests.QUERY_ANSWERS,
        (
            QueryDone(result=b"r", applied_index=LogIndex(5)),
            QueryFailed(why="KeyError"),
            NotLeader(leader=MemberId(1)),
            Overloaded(),
            Unknown(why="deadline"),
        ),
    ),
]

frames_of_any_kind = st.one_of(
    st.builds(RawFrame, command=st.binary(max_size=8)),
    st.builds(
        Frame,
        client_id=st.binary(min_size=16, max_size=16),
        sequence=st.integers(0, COUNT_MAX),
        acked_below=st.integers(0, COUNT_MAX),
        opens=st.none() | st.integers(0, COUNT_MAX),
        command=st.binary(max_size=8),
    ),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=20) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=12,
)


class TestEveryMessage:
    @pytest.mark.parametrize(("codec", "message"), MESSAGES, ids=lambda given: type(given).__name__)
    def test_survives_the_way(self, codec: Codec[Any], message: Any) -> None:
        assert codec.decode(codec.encode(message)) == message

    @pytest.mark.parametrize(("codec", "message"), MESSAGES, ids=lambda given: type(given).__name__)
    def test_is_malformed_when_cut_or_lengthened(self, codec: Codec[Any], message: Any) -> None:
        encoded = codec.encode(message)
        for wrong in [*(encoded[:length] for length in range(len(encoded))), encoded + b"\x00"]:
            with pytest.raises(Malformed):
                codec.decode(wrong)

    @pytest.mark.parametrize("codec", {id(codec): codec for codec, _ in MESSAGES}.values(), ids=lambda _: "codec")
    @settings(max_examples=20)
    @given(anything)
    def test_is_a_message_or_malformed_whatever_the_bytes(self, codec: Codec[Any], value: Any) -> None:
        data = b"\x01" + msgpack.packb(value)
        try:
            message = codec.decode(data)
        except Malformed:
            return
        assert codec.decode(codec.encode(message)) == message

    def test_of_another_version_is_malformed(self) -> None:
        encoded = exchange.READ.encode(Read())
        with pytest.raises(Malformed, match="version 1"):
            exchange.READ.decode(b"\x02" + encoded[1:])

    def test_is_never_unpickled(self) -> None:
        with pytest.raises(Malformed):
            exchange.PROPOSE.decode(pickle.dumps(Propose(data=b"x")))

    @pytest.mark.parametrize("value", [["x"], [-1, 1], [2**63, 1], [1.0, 1], [True, 1], [None, 1], [1, 1, 1], {}, 7])
    def test_with_a_field_of_the_wrong_kind_is_malformed(self, value: Any) -> None:
        started: Codec[Started] = Codec(Started, version=1)
        with pytest.raises(Malformed):
            started.decode(b"\x01" + msgpack.packb(value))

    @pytest.mark.parametrize("tag", [-1, 10, "0", None, True])
    def test_of_an_unknown_kind_is_malformed(self, tag: Any) -> None:
        with pytest.raises(Malformed):
            requests.ANSWERS.decode(b"\x01" + msgpack.packb([[tag]]))

    @pytest.mark.slow
    def test_that_promises_more_items_than_allowed_is_malformed_before_room_is_made_for_them(self) -> None:
        assert requests.ANSWERS.decode(b"\x01" + msgpack.packb([[8]] * ITEMS_MAX)) == (Lost(),) * ITEMS_MAX
        with pytest.raises(Malformed, match="not msgpack"):
            requests.ANSWERS.decode(b"\x01" + msgpack.packb([[8]] * (ITEMS_MAX + 1)))

    def test_that_nests_without_end_is_malformed(self) -> None:
        with pytest.raises(Malformed):
            requests.ANSWERS.decode(b"\x01" + b"\x91" * 100_000)

    def test_says_nothing_of_the_values_in_a_complaint(self) -> None:
        with pytest.raises(Malformed) as refused:
            exchange.PROPOSE.decode(b"\x01" + msgpack.packb(["secret"]))
        assert "secret" not in str(refused.value)


class TestABatch:
    @settings(max_examples=40)
    @given(st.lists(frames_of_any_kind, min_size=1, max_size=6))
    def test_survives_the_way_and_costs_at_most_what_is_counted(self, frames: list[Frame | RawFrame]) -> None:
        data = encode_batch(frames)
        assert decode_batch(data) == tuple(frames)
        assert len(data) <= sum(FRAME_OVERHEAD_BYTES + len(each.command) for each in frames)

    def test_of_the_largest_numbers_costs_at_most_what_is_counted(self) -> None:
        largest = frame(COUNT_MAX, bytes(70_000), acked_below=COUNT_MAX, opens=COUNT_MAX)
        assert len(encode_batch([largest])) <= FRAME_OVERHEAD_BYTES + 70_000

    def test_without_frames_is_malformed(self) -> None:
        with pytest.raises(Malformed, match="without frames"):
            decode_batch(b"\x01" + msgpack.packb([]))

    @pytest.mark.parametrize("data", [b"", b"x", b"\x01", b"\x01\xc0", b"\x00\x90", b"\x01\x91\x91\x00"])
    def test_of_foreign_bytes_is_malformed(self, data: bytes) -> None:
        with pytest.raises(Malformed):
            decode_batch(data)


class TestGoldenBytes:
    """What stands in logs must stay readable, and what is hashed must stay equal between members."""

    def test_of_a_batch(self) -> None:
        data = encode_batch([frame(3, b"x", acked_below=2, opens=None), RawFrame(command=b"y")])
        assert data.hex() == "01929600c410632d2d2d2d2d2d2d2d2d2d2d2d2d2d2d0302c0c401789201c40179"

    def test_of_outcomes(self) -> None:
        outcomes: list[Outcome] = [
            Computed(result=b"r"),
            SessionExpired(applied_index=9),
            Fenced(),
            WindowExceeded(),
            Unreadable(),
        ]
        assert encode_outcomes(outcomes).hex() == "01959200c40172920109910291039104"

    def test_of_the_settings(self) -> None:
        settings_bytes = encode_settings(ApplicationSettings(sessions=SessionLimits(), machine=b"m"))
        assert settings_bytes.hex() == "019293cd2000ce000186a0ce0036ee80c4016d"


class TestTheSettings:
    def test_survive_the_way(self) -> None:
        given_settings = ApplicationSettings(sessions=SessionLimits(results_max=5), machine=b"limits")
        assert decode_settings(encode_settings(given_settings)) == given_settings

    def test_with_a_limit_of_nothing_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="results_max"):
            decode_settings(b"\x01" + msgpack.packb([[0, 1, 1], b""]))


class TestCreateMachine:
    def test_a_class_takes_no_arguments(self) -> None:
        assert isinstance(create_machine(Journal, b"settings"), Journal)

    def test_a_factory_takes_the_settings(self) -> None:
        class Configured(Journal):
            def __init__(self, settings_bytes: bytes) -> None:
                super().__init__()
                self.settings_bytes = settings_bytes

        def make(settings_bytes: bytes) -> Configured:
            return Configured(settings_bytes)

        machine = create_machine(make, b"settings")
        assert isinstance(machine, Configured)
        assert machine.settings_bytes == b"settings"

    def test_what_lacks_a_method_is_refused_by_name(self) -> None:
        class Half:
            def apply(self, index: int, command: bytes) -> bytes:
                return b""

        with pytest.raises(ConfigError, match="query, snapshot, restore"):
            create_machine(Half, b"")  # type: ignore[arg-type]
