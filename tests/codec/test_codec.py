"""Bytes of entries, genesis and messages: exact, one form each, and nothing but `CodecError` for what is not one."""

from __future__ import annotations

import pickle
import random
import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft_actors.codec import (
    CODEC_VERSION,
    FRAME_BYTES_MAX,
    CodecError,
    cluster_id_of,
    decode_entry,
    decode_genesis,
    encode_entry,
    encode_genesis,
    successor_cluster_id,
)
from raft_actors.core.entries import Command, Configuration, Entry, Genesis, Member, Noop, SnapshotMeta
from raft_actors.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Envelope,
    InstallSnapshot,
    InstallSnapshotReply,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
    TimeoutNowReply,
)
from raft_actors.core.types import VACANT, EntryId, Incarnation
from raft_actors.envelopes import (
    Hello,
    Join,
    decode_envelope,
    decode_hello,
    decode_join,
    encode_envelope,
    encode_hello,
    encode_join,
)

u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 1)
ids = st.binary(min_size=16, max_size=16)
entry_ids = st.builds(EntryId, u64, u64)
members = st.lists(
    st.tuples(u32, ids, st.booleans()), max_size=5, unique_by=(lambda each: each[0], lambda each: each[1])
)
configurations = members.map(
    lambda lines: Configuration(
        members=tuple(Member(member_id=a, directory_id=b, voter=c) for a, b, c in sorted(lines, key=lambda x: x[0]))
    )
)
payloads = st.one_of(st.builds(Command, data=st.binary(max_size=50)), st.just(Noop()), configurations)
entries = st.builds(Entry, id=entry_ids, payload=payloads, stamp_ms=st.integers(-(2**63), 2**63 - 1))
messages = st.one_of(
    st.builds(PreVote, term=u64, last_entry=entry_ids, campaign=u64),
    st.builds(PreVoteReply, term=u64, vote_granted=st.booleans(), campaign=u64),
    st.builds(RequestVote, term=u64, last_entry=entry_ids),
    st.builds(TimeoutNow, term=u64, last_entry=entry_ids),
    st.builds(TimeoutNowReply, term=u64, campaigns=st.booleans()),
    st.builds(RequestVoteReply, term=u64, vote_granted=st.booleans()),
    st.builds(
        AppendEntries,
        term=u64,
        prev_entry=entry_ids,
        entries=st.lists(entries, max_size=4).map(tuple),
        leader_commit=u64,
        beat=u64,
    ),
    st.builds(
        AppendEntriesReply,
        term=u64,
        success=st.booleans(),
        request_term=u64,
        prev_index=u64,
        match_index=u64,
        conflict=st.none() | entry_ids,
        beat=u64,
    ),
)
incarnations = st.builds(Incarnation, directory_id=ids, start_count=u64)
envelopes = st.builds(Envelope, cluster_id=ids, sender=u32, incarnation=incarnations, to=u32, message=messages)
geneses = st.builds(
    Genesis, cluster_id=ids, group=st.text(max_size=20), configuration=configurations, settings=st.binary()
)
hellos = st.builds(Hello, cluster_id=ids, sender=u32, incarnation=incarnations)

FORMS = [
    (envelopes, encode_envelope, decode_envelope),
    (entries, encode_entry, decode_entry),
    (geneses, encode_genesis, decode_genesis),
    (hellos, encode_hello, decode_hello),
    (st.builds(Join, directory_id=ids, genesis=geneses), encode_join, decode_join),
]
NAMES = ["envelope", "entry", "genesis", "hello", "join"]

SPEAKER = Incarnation(directory_id=bytes(range(16)), start_count=3)


def envelope(message) -> Envelope:
    return Envelope(cluster_id=b"C" * 16, sender=1, incarnation=SPEAKER, to=2, message=message)


HEAD = "43" * 16 + "01000000" + bytes(range(16)).hex() + "0300000000000000" + "02000000"

GOLDEN = [
    (
        PreVote(term=5, last_entry=EntryId(4, 9), campaign=7),
        "52410101" + HEAD + "0500000000000000" + "0400000000000000" + "0900000000000000" + "0700000000000000",
    ),
    (
        PreVoteReply(term=5, vote_granted=True, campaign=7),
        "52410102" + HEAD + "0500000000000000" + "01" + "0700000000000000",
    ),
    (
        RequestVote(term=5, last_entry=EntryId(4, 9)),
        "52410103" + HEAD + "0500000000000000" + "0400000000000000" + "0900000000000000",
    ),
    (RequestVoteReply(term=5, vote_granted=False), "52410104" + HEAD + "0500000000000000" + "00"),
    (
        AppendEntries(
            term=5,
            prev_entry=EntryId(4, 9),
            entries=(
                Entry(id=EntryId(5, 10), payload=Noop(), stamp_ms=100),
                Entry(id=EntryId(5, 11), payload=Command(data=b"abc"), stamp_ms=101),
                Entry(
                    id=EntryId(5, 12),
                    payload=Configuration(members=(Member(member_id=1, directory_id=b"D" * 16, voter=True),)),
                    stamp_ms=102,
                ),
            ),
            leader_commit=8,
            beat=6,
        ),
        "52410105" + HEAD + "0500000000000000"
        "0400000000000000"
        "0900000000000000"
        "0800000000000000"
        "0600000000000000"
        "03000000" + "0102"
        "6400000000000000"
        "0500000000000000"
        "0a00000000000000"
        "00000000" + "0101"
        "6500000000000000"
        "0500000000000000"
        "0b00000000000000"
        "03000000"
        "616263" + "0103"
        "6600000000000000"
        "0500000000000000"
        "0c00000000000000"
        "17000000"
        "0100"
        "01000000" + "44" * 16 + "01",
    ),
    (
        AppendEntriesReply(
            term=5, success=False, request_term=4, prev_index=9, match_index=0, conflict=EntryId(3, 7), beat=6
        ),
        "52410106" + HEAD + "0500000000000000"
        "00"
        "0400000000000000"
        "0900000000000000"
        "0000000000000000" + "01"
        "0300000000000000"
        "0700000000000000"
        "0600000000000000",
    ),
    (
        InstallSnapshot(
            term=5,
            snapshot=SnapshotMeta(
                last=EntryId(4, 9),
                stamp_ms=-2,
                configuration_id=EntryId(3, 7),
                configuration=Configuration(members=(Member(member_id=1, directory_id=b"D" * 16, voter=True),)),
            ),
            beat=6,
        ),
        "52410107" + HEAD + "0500000000000000"
        "0400000000000000"
        "0900000000000000"
        "feffffffffffffff"
        "0300000000000000"
        "0700000000000000"
        "0600000000000000"
        "0100"
        "01000000" + "44" * 16 + "01",
    ),
    (
        InstallSnapshotReply(term=5, request_term=4, match_index=9, beat=6),
        "52410108" + HEAD + "0500000000000000" + "0400000000000000" + "0900000000000000" + "0600000000000000",
    ),
    (
        TimeoutNow(term=5, last_entry=EntryId(4, 9)),
        "52410109" + HEAD + "0500000000000000" + "0400000000000000" + "0900000000000000",
    ),
    (TimeoutNowReply(term=6, campaigns=True), "5241010a" + HEAD + "0600000000000000" + "01"),
]


class TestGoldenBytes:
    """These forms are on disks and wires; a change needs another version, not another expectation."""

    @pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=[type(message).__name__ for message, _ in GOLDEN])
    def test_message(self, message, golden):
        assert encode_envelope(envelope(message)).hex() == golden
        assert decode_envelope(bytes.fromhex(golden)) == envelope(message)

    def test_hello(self):
        hello = Hello(cluster_id=b"C" * 16, sender=1, incarnation=SPEAKER)
        golden = "52410110" + HEAD[:-8]
        assert encode_hello(hello).hex() == golden
        assert decode_hello(bytes.fromhex(golden)) == hello

    def test_genesis(self):
        configuration = Configuration(members=(Member(member_id=1, directory_id=b"D" * 16, voter=False),))
        genesis = Genesis(cluster_id=b"C" * 16, group="prod", configuration=configuration, settings=b"\x01\x02")
        golden = (
            "52410111"
            + "43" * 16
            + "04000000"
            + b"prod".hex()
            + "0100"
            + "01000000"
            + "44" * 16
            + "00"
            + "02000000"
            + "0102"
        )
        assert encode_genesis(genesis).hex() == golden
        assert decode_genesis(bytes.fromhex(golden)) == genesis

    def test_join(self):
        configuration = Configuration(members=(Member(member_id=1, directory_id=VACANT, voter=False),))
        genesis = Genesis(cluster_id=b"C" * 16, group="prod", configuration=configuration, settings=b"\x01\x02")
        join = Join(directory_id=b"D" * 16, genesis=genesis)
        golden = "52410112" + "44" * 16 + encode_genesis(genesis).hex()
        assert encode_join(join).hex() == golden
        assert decode_join(bytes.fromhex(golden)) == join

    def test_cluster_id(self):
        lines = [Member(member_id=number, directory_id=bytes([number]) * 16, voter=True) for number in (1, 2, 3)]
        assert cluster_id_of("prod", lines, b"limits").hex() == "fce53131c46420f0d3fd2b0956345fde"
        assert successor_cluster_id(b"A" * 16, "prod", lines, b"limits").hex() == "90ca13812cd918b41fb482fcb7454090"


class TestClusterId:
    """Computed, so that the same directories make one cluster whoever starts it (DESIGN 4, bootstrap)."""

    LINES = tuple(Member(member_id=number, directory_id=bytes([number]) * 16, voter=True) for number in (1, 2, 3))

    def test_the_order_of_the_members_does_not_matter(self):
        assert cluster_id_of("g", self.LINES, b"") == cluster_id_of("g", reversed(self.LINES), b"")

    def test_everything_else_does(self):
        ids_seen = {
            cluster_id_of("g", self.LINES, b""),
            cluster_id_of("h", self.LINES, b""),
            cluster_id_of("g", self.LINES[:2], b""),
            cluster_id_of("g", self.LINES, b"x"),
            cluster_id_of("gx", self.LINES, b""),
        }
        assert len(ids_seen) == 5
        assert {len(each) for each in ids_seen} == {16}


@pytest.mark.slow
class TestRoundTrip:
    @pytest.mark.parametrize(("values", "encode", "decode"), FORMS, ids=NAMES)
    def test_what_is_encoded_comes_back(self, values, encode, decode):
        @given(values)
        @settings(max_examples=150, deadline=None, derandomize=True)
        def check(value):
            assert decode(encode(value)) == value

        check()


@pytest.mark.slow
class TestMalformed:
    """Whatever comes in, a decoder says what it is or raises `CodecError`; and what it takes has one form only."""

    @pytest.mark.parametrize(("values", "encode", "decode"), FORMS, ids=NAMES)
    def test_every_prefix_and_every_extension_is_refused(self, values, encode, decode):
        @given(values)
        @settings(max_examples=25, deadline=None, derandomize=True)
        def check(value):
            data = encode(value)
            for size in range(len(data)):
                with pytest.raises(CodecError):
                    decode(data[:size])
            with pytest.raises(CodecError):
                decode(data + b"\0")

        check()

    @pytest.mark.parametrize(("values", "encode", "decode"), FORMS, ids=NAMES)
    def test_changed_bytes_are_refused_or_another_value_in_its_one_form(self, values, encode, decode):
        @given(values, st.integers(0, 2**32))
        @settings(max_examples=100, deadline=None, derandomize=True)
        def check(value, seed):
            dice = random.Random(seed)
            for _ in range(10):
                data = bytearray(encode(value))
                for _ in range(dice.randint(1, 4)):
                    data[dice.randrange(len(data))] = dice.choice([0, 1, 0x7F, 0xFF, dice.randrange(256)])
                try:
                    decoded = decode(bytes(data))
                except CodecError:
                    continue
                assert encode(decoded) == bytes(data)

        check()

    def test_random_bytes_are_refused(self):
        dice = random.Random(7)
        for _ in range(3000):
            data = dice.choice([b"", b"RA\x01", b"RA\x01\x05"]) + dice.randbytes(dice.randrange(120))
            for _, encode, decode in FORMS:
                with suppress(CodecError):
                    assert encode(decode(data)) == data


class TestRefusals:
    def test_another_version_is_refused(self):
        data = bytearray(encode_hello(Hello(cluster_id=b"C" * 16, sender=1, incarnation=SPEAKER)))
        data[2] = CODEC_VERSION + 1
        with pytest.raises(CodecError, match="version 2"):
            decode_hello(bytes(data))

    def test_a_count_of_four_billion_entries_allocates_nothing(self):
        heartbeat = AppendEntries(term=1, prev_entry=EntryId(0, 0), entries=(), leader_commit=0, beat=0)
        data = encode_envelope(envelope(heartbeat))
        lie = data[:-4] + struct.pack("<I", 2**32 - 1)
        with pytest.raises(CodecError, match="4294967295 entries"):
            decode_envelope(lie)

    def test_a_frame_beyond_the_limit_is_refused_unread(self):
        with pytest.raises(CodecError, match="at most"):
            decode_envelope(bytes(FRAME_BYTES_MAX + 1))

    def test_one_kind_is_not_taken_for_another(self):
        hello = encode_hello(Hello(cluster_id=b"C" * 16, sender=1, incarnation=SPEAKER))
        for decode in (decode_envelope, decode_genesis, decode_join):
            with pytest.raises(CodecError):
                decode(hello)

    def test_a_pickle_is_no_message(self):
        with pytest.raises(CodecError):
            decode_envelope(pickle.dumps(envelope(GOLDEN[0][0])))

    @pytest.mark.parametrize("data", [None, "RA", 5, bytearray(b"RA\x01\x10")])
    @pytest.mark.parametrize("decode", [decode_envelope, decode_hello, decode_genesis, decode_join])
    def test_what_is_not_bytes_is_refused(self, decode, data):
        with pytest.raises(CodecError, match="not bytes"):
            decode(data)

    def test_an_impossible_configuration_is_refused(self):
        line = struct.pack("<I16sB", 1, b"D" * 16, 1)
        payload = struct.pack("<H", 2) + line + line
        with pytest.raises(CodecError, match="impossible configuration"):
            decode_entry(struct.pack("<BBqQQI", 1, 3, 0, 1, 1, len(payload)) + payload)
