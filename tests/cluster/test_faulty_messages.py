"""What arrives from outside and makes no sense is dropped and counted; it never stops a member or changes its state."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray

import kv
from raft_actors.application.exchange import ATTACH, PROPOSE, READ, Propose, Read
from raft_actors.application.frames import ClientId, Frame
from raft_actors.application.packing import Malformed
from raft_actors.application.pipe import Kind, door_address, encode_frame
from raft_actors.application.requests import ANSWERS, QUERY, SUBMIT, Attempt, Done, Query, Submit
from raft_actors.cluster.group import MemberStatus
from raft_actors.codec import decode_genesis, encode_genesis
from raft_actors.core.messages import AppendEntries, Envelope, Message, PreVote, PreVoteReply, RequestVote
from raft_actors.core.types import DirectoryId, EntryId, Incarnation, LogIndex, MemberId, Term
from raft_actors.envelopes import Hello, encode_envelope, encode_hello
from raft_actors.names import NAMESPACE, peer_name, server_name
from tests.cluster.world import FAST, all_running, eventually, nothing_left_of

pytestmark = pytest.mark.cluster

NAME = "faulty"
STRANGER = Incarnation(directory_id=DirectoryId(b"S" * 16), start_count=9)
NOWHERE = EntryId(Term(99), LogIndex(99))
FROM_PEERS = ("request_vote", "append_entries")


@pytest.fixture(scope="module")
def store(ray_cluster: None, module_data_dir: str) -> Iterator[kv.Client]:
    with (
        nothing_left_of(NAME),
        kv.start(NAME, members=1, data_dir=module_data_dir, config=kv.Config(raft=FAST)) as client,
    ):
        client.put("before", 1)
        yield client


def actor(naming: Callable[[str, MemberId], str]) -> Any:
    return ray.get_actor(naming(NAME, MemberId(0)), namespace=NAMESPACE)


def member() -> MemberStatus:
    return eventually(lambda: all_running(NAME))[0]


def dropped(reason: str) -> int:
    return (member().dropped or {}).get(reason, 0)


@pytest.fixture(autouse=True)
def undisturbed(store: kv.Client) -> Iterator[None]:
    """Whatever is sent: the same processes, the same term, the same state, and it still works."""
    before = member()
    yield
    after = member()
    assert (after.pid, after.server_pid, after.term) == (before.pid, before.server_pid, before.term)
    assert (after.state, after.error, after.role) == ("running", None, "leader")
    assert store.get("before") == 1
    assert store.put("after", 1) > 0


def cluster_id() -> bytes:
    genesis: bytes = ray.get(actor(peer_name).describe.remote(), timeout=10)["genesis"]
    return decode_genesis(genesis).cluster_id


def envelope(message: Message, cluster: bytes) -> bytes:
    return encode_envelope(
        Envelope(cluster_id=cluster, sender=MemberId(1), incarnation=STRANGER, to=MemberId(0), message=message)
    )


def malformed() -> list[bytes]:
    """Nothing, noise, a real message cut short, with a byte too many, of another version, and one with a length that
    is not there."""
    dice = random.Random(7)
    real = envelope(PreVote(term=Term(9), last_entry=NOWHERE, campaign=1), b"c" * 16)
    append = bytearray(
        envelope(
            AppendEntries(term=Term(9), prev_entry=NOWHERE, entries=(), leader_commit=LogIndex(0), beat=1), b"c" * 16
        )
    )
    append[-4:] = b"\xff" * 4
    return [
        b"",
        b"\0" * 200,
        *(dice.randbytes(size) for size in (1, 60, 5000)),
        real[:-1],
        real + b"x",
        real[:2] + bytes([real[2] + 1]) + real[3:],
        bytes(append),
        b"\x80\x04\x95" + os.urandom(20),
    ]


def answers(refs: list[Any]) -> list[Any]:
    """What the calls gave; those that raised at the caller are None as well."""
    found = []
    for ref in refs:
        try:
            found.append(ray.get(ref, timeout=10))
        except ray.exceptions.RayTaskError as failure:
            found.append(failure.cause if isinstance(failure.cause, AssertionError) else None)
    return found


class TestPeers:
    """Malformed, of another version, foreign: no answer, one more in `dropped`."""

    @pytest.mark.parametrize("method", [*FROM_PEERS, "hello", "report_chains"])
    def test_malformed(self, method: str) -> None:
        before, garbage = dropped("malformed"), malformed()
        refs = [getattr(actor(peer_name), method).remote(data) for data in garbage]
        assert answers(refs) == [None] * len(garbage)
        eventually(lambda: dropped("malformed") == before + len(garbage))

    @pytest.mark.parametrize("method", FROM_PEERS)
    @pytest.mark.parametrize(
        "message",
        [
            RequestVote(term=Term(99), last_entry=NOWHERE),
            AppendEntries(term=Term(99), prev_entry=NOWHERE, entries=(), leader_commit=LogIndex(0), beat=1),
            PreVote(term=Term(99), last_entry=NOWHERE, campaign=1),
        ],
        ids=lambda message: type(message).__name__,
    )
    def test_of_another_cluster(self, method: str, message: Message) -> None:
        before = sum((member().dropped or {}).values())
        foreign = envelope(message, b"another cluster!")
        assert ray.get(getattr(actor(peer_name), method).remote(foreign), timeout=10) is None
        eventually(lambda: sum((member().dropped or {}).values()) == before + 1)

    def test_a_hello_of_another_cluster(self) -> None:
        before = sum((member().dropped or {}).values())
        hello = encode_hello(Hello(cluster_id=b"another cluster!", sender=MemberId(1), incarnation=STRANGER))
        ray.get(actor(peer_name).hello.remote(hello), timeout=10)
        eventually(lambda: sum((member().dropped or {}).values()) == before + 1)

    def test_a_reply_where_a_request_is_due(self) -> None:
        before = sum((member().dropped or {}).values())
        reply = envelope(PreVoteReply(term=Term(99), vote_granted=True, campaign=1), cluster_id())
        assert ray.get(actor(peer_name).request_vote.remote(reply), timeout=10) is None
        eventually(lambda: sum((member().dropped or {}).values()) == before + 1)

    @pytest.mark.parametrize("data", [None, 7, "text", ["list"]])
    def test_what_is_no_bytes_at_all(self, data: object) -> None:
        peer = actor(peer_name)
        assert (
            answers([getattr(peer, method).remote(data) for method in (*FROM_PEERS, "hello", "report_chains")])
            == [None] * 4
        )

    def test_another_genesis_is_refused(self) -> None:
        peer = actor(peer_name)
        genesis = decode_genesis(ray.get(peer.describe.remote(), timeout=10)["genesis"])
        other = encode_genesis(
            type(genesis)(cluster_id=b"another cluster!", group=NAME, configuration=genesis.configuration, settings=b"")
        )
        said = ray.get([peer.bootstrap.remote(data) for data in (other, b"noise")], timeout=10)
        assert "belongs to another cluster already" in said[0]
        assert "no genesis record" in said[1]

    @pytest.mark.parametrize(
        "said",
        [
            b"noise that is no frame at all",
            struct.pack("<IBQ", 2**32 - 1, Kind.ATTACH, 0),
            struct.pack("<IBQ", 0, 77, 0),
            encode_frame(Kind.ATTACH, 0, b"noise"),
            encode_frame(Kind.PROPOSE, 1, b""),
            encode_frame(Kind.APPLY, 1, b"what only a peer says"),
        ],
    )
    def test_an_application_that_talks_nonsense_is_hung_up_on(self, said: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(10.0)
            stranger.connect(door_address(ray.get_runtime_context().get_session_name(), NAME, MemberId(0)))
            stranger.sendall(said)
            assert stranger.recv(1) == b"", "the peer must hang up"


class TestServers:
    """The application actors take bytes from clients: what is none of theirs is refused at the caller."""

    @pytest.mark.parametrize("method", ["submit", "query"])
    def test_malformed(self, method: str) -> None:
        server, garbage = actor(server_name), [*malformed(), PROPOSE.encode(Propose(data=b"x")), READ.encode(Read())]
        assert answers([getattr(server, method).remote(data) for data in garbage]) == [None] * len(garbage)

    def test_a_request_of_another_version(self) -> None:
        request = bytearray(QUERY.encode(Query(requests=(b"x",), linearizable=True, timeout_ms=100)))
        request[0] ^= 0x40
        assert answers([actor(server_name).query.remote(bytes(request))]) == [None]

    def test_a_command_that_no_store_understands_is_refused_by_all_alike(self, store: kv.Client) -> None:
        frame = Frame(client_id=ClientId(os.urandom(16)), sequence=0, acked_below=0, opens=0, command=b"noise")
        request = Submit(attempts=(Attempt(number=1, frame=frame),), timeout_ms=5000)
        data = ray.get(actor(server_name).submit.remote(SUBMIT.encode(request)), timeout=10)
        (answer,) = ANSWERS.decode(data)
        assert isinstance(answer, Done)
        with pytest.raises(kv.CommandMalformed):
            kv.results.decode_version(answer.result)

    def test_the_codecs_of_both_sides_refuse_noise_with_the_same_error(self) -> None:
        for codec in (ATTACH, PROPOSE, SUBMIT, QUERY):
            with pytest.raises(Malformed):
                codec.decode(b"noise")
