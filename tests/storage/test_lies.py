"""What the fuzz of the decoders has found (campaigns/fuzz.py), each as one test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from kv.encoded import Encoded
from kv.errors import ValueUnreadable
from kv.limits import Limits
from kv.limits import decode_settings as decode_limits
from kv.limits import encode_settings as encode_limits
from kv.values import decode as decode_value
from raft_actors.application.exchange import PROPOSE
from raft_actors.application.packing import Malformed
from raft_actors.codec import encode_genesis
from raft_actors.core.types import EntryId, LogIndex, Term
from raft_actors.errors import ConfigError, LogDamaged
from raft_actors.recording.errors import RowsUnreadable
from raft_actors.recording.rows import decode_rows
from raft_actors.storage import records
from raft_actors.storage.directory import SEGMENT_SUFFIX
from raft_actors.storage.image import ImpossibleRecord
from raft_actors.storage.records import Frame, Position, SegmentHeader
from tests.storage.campaigns.memory import measured
from tests.storage.campaigns.on_disk import HEAD, IDENTITY, SEGMENT_BYTES_MAX, directory, names, recover, sealed
from tests.storage.campaigns.workload import open_storage
from tests.storage.faulty_files import Inode
from tests.storage.logs import GENESIS, OTHER, vote

MIB = 1 << 20
HEAD_BYTES = HEAD.size
NESTED = (b"\xdd" + (20_000).to_bytes(4, "big")) * 1_020 + b"\xc0" * 20_000
"""A list of 20,000 elements, the first of which is such a list, and so on: 25 kB that ask for 80 MB."""


class TestAListInAListInAList:
    """msgpack makes room for what a list announces before it reads the elements (reliability F13)."""

    @pytest.mark.parametrize(
        ("decode", "refusal"),
        [
            (lambda: PROPOSE.decode(b"\x01" + NESTED), Malformed),
            (lambda: decode_value(Encoded(b"\x00" + NESTED)), ValueUnreadable),
            (lambda: decode_value(Encoded(b"\x03" + NESTED)), ValueUnreadable),
            (
                lambda: decode_value(Encoded(b"\x00\xc9" + len(NESTED).to_bytes(4, "big") + b"\x01" + NESTED)),
                ValueUnreadable,
            ),
            (lambda: decode_limits(NESTED), ConfigError),
            (lambda: decode_rows(NESTED), RowsUnreadable),
        ],
        ids=["message", "value", "list", "tuple", "limits", "rows"],
    )
    def test_is_refused_before_room_is_made_for_it(self, decode: Callable[[], Any], refusal: type[Exception]) -> None:
        def refused() -> None:
            with pytest.raises(refusal):
                decode()

        measured(refused, True, limit=4 * MIB)

    def test_a_long_value_with_real_lists_is_taken(self) -> None:
        value = [[list(range(300))] * 20, list(range(5_000)), ((1, 2), list(range(70_000)))]
        body = msgpack.packb(list(range(70_000)))
        assert decode_value(Encoded(b"\x00" + body)) == value[2][1]
        assert decode_value(Encoded(b"\x03" + b"".join(map(msgpack.packb, value[:2])))) == value[:2]


class TestLimits:
    """A machine version of another kind than a number is no version."""

    @pytest.mark.parametrize("field", ["machine_version", "key_bytes_max"])
    def test_a_deeply_nested_one_is_refused(self, field: str) -> None:
        knobs = {**msgpack.unpackb(encode_limits(Limits())), field: 7}
        deep = b"\x91" * 1_000 + b"\xc0"
        data = msgpack.packb(knobs).replace(msgpack.packb(field) + b"\x07", msgpack.packb(field) + deep)
        with pytest.raises(ConfigError):
            decode_limits(data)


def frame(kind: int, body: bytes, *, index: int = 0, term: int = 0) -> Frame:
    """As it was read, its checksum being right."""
    data, _ = records.encode_frame(kind, EntryId(Term(term), LogIndex(index)), body, 0)
    read = records.read_frame(data, 0, len(data), 0)
    assert read is not None
    return read


def header(**changes: Any) -> bytes:
    facts: dict[str, Any] = {
        "identity": IDENTITY,
        "start_count": 4,
        "number": 3,
        "hard_state": vote(5, OTHER),
        "before": EntryId(Term(5), LogIndex(9)),
        "continues": Position(2, 1200, 7),
        "opening_end": 300,
    }
    return records.encode_segment_header(SegmentHeader(**{**facts, **changes}))[0]


class TestRecordsThatNoVersionWrote:
    """Their checksum is right, so it was no accident: they are refused, not read as something near."""

    @pytest.mark.parametrize(
        "lie",
        [
            frame(records.HARD_STATE, bytes(17), index=1, term=3),
            frame(records.HARD_STATE, b"\0" + OTHER, term=3),
            frame(records.HARD_STATE, b"\2" + OTHER, term=3),
            frame(records.TRUNCATION, b"", index=3, term=1),
            frame(records.GENESIS, encode_genesis(GENESIS), index=1),
            frame(records.GENESIS, encode_genesis(GENESIS), term=1),
        ],
        ids=[
            "hard state with an index",
            "no vote, for somebody",
            "two votes",
            "truncation with a term",
            "genesis with an index",
            "genesis with a term",
        ],
    )
    def test_of_a_group(self, lie: Frame) -> None:
        with pytest.raises(ImpossibleRecord):
            records.decode_record(lie)

    @pytest.mark.parametrize(
        ("at", "byte"),
        [(HEAD_BYTES + 40, 0), (HEAD_BYTES + 40, 2)],
        ids=["no vote, for somebody", "two votes"],
    )
    def test_a_segment_header_s_vote(self, at: int, byte: int) -> None:
        body = bytearray(header()[HEAD_BYTES:-4])
        body[at - HEAD_BYTES] = byte
        with pytest.raises(ImpossibleRecord):
            records.decode_segment_header(frame(records.SEGMENT_HEADER, bytes(body)))

    @pytest.mark.parametrize(
        "changes",
        [
            {"number": 0},
            {"number": 10**8},
            {"continues": Position(3, 0, 0)},
            {"continues": Position(4_278_190_082, 0, 0)},
            {"start_count": 0},
            {"start_count": 2**64 - 1},
        ],
        ids=str,
    )
    def test_a_segment_header_s_numbers(self, changes: dict[str, Any]) -> None:
        """The last ones made a start fail an assertion, or number its own file beyond what a field holds."""
        data = header(**changes)
        with pytest.raises(ImpossibleRecord):
            records.decode_segment_header(frame(records.SEGMENT_HEADER, data[HEAD_BYTES:-4], index=9, term=5))

    @pytest.mark.parametrize(("index", "term"), [(1, 0), (0, 1)])
    def test_an_identity_with_a_place_in_the_log(self, index: int, term: int) -> None:
        body = records.encode_identity(IDENTITY)[HEAD_BYTES:-4]
        with pytest.raises(ImpossibleRecord):
            records.decode_identity(frame(records.IDENTITY, body, index=index, term=term))

    @pytest.mark.parametrize("version", [0, records.FORMAT_VERSION + 1])
    def test_of_a_version_that_is_not_known(self, version: int) -> None:
        body = records.encode_identity(IDENTITY)[HEAD_BYTES:-4]
        with pytest.raises(ImpossibleRecord, match="format"):
            records.decode_identity(frame(records.IDENTITY, body)._replace(version=version))
        with pytest.raises(ImpossibleRecord, match="format"):
            records.decode_segment_header(
                frame(records.SEGMENT_HEADER, header()[HEAD_BYTES:-4])._replace(version=version)
            )
        with pytest.raises(ImpossibleRecord, match="format"):
            records.decode_record(frame(records.TRUNCATION, b"", index=3)._replace(version=version))

    def test_a_group_without_a_name(self) -> None:
        body = records.encode_identity(IDENTITY)[HEAD_BYTES:-4]
        nameless = body[: -len(IDENTITY.group) - 1] + b"\0"
        with pytest.raises(ImpossibleRecord):
            records.decode_identity(frame(records.IDENTITY, nameless))


class TestAStart:
    """Whatever a file of the log says, a start says `LogDamaged`, or starts."""

    @pytest.mark.parametrize("at", [60, 61, 62, 63], ids=lambda at: f"byte {at}")
    def test_a_file_that_continues_one_that_cannot_be(self, at: int) -> None:
        name = [each for each in names() if each.endswith(SEGMENT_SUFFIX)][-1]
        data = bytearray(directory().cached_names[name].cache)
        # The number of the continued file stands behind ids, counters, term and vote.
        place = HEAD_BYTES + 16 + 4 + 8 + 4 + 8 + 1 + 16
        data[place + at - 60] ^= 0xFF
        directory_id = bytes(data[HEAD_BYTES : HEAD_BYTES + 16])
        with pytest.raises(LogDamaged):
            recover(sealed(bytes(data), directory_id=directory_id, segment=int(name[4:12])), name=name)

    def test_a_file_of_the_number_0_is_none_of_ours(self) -> None:
        files = directory().copy()
        files.cached_names["log-00000000.seg"] = Inode(cache=bytearray(b"anything"))
        open_storage(files, SEGMENT_BYTES_MAX)
