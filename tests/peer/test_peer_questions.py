"""What a peer answers in each state: people, other peers, the application beside it. A disk in memory, no Ray."""

from __future__ import annotations

import json

import pytest

from raft_actors.application import exchange
from raft_actors.application.exchange import Epoch, NotLeader, NotReady, Overloaded, ReadAt, Started
from raft_actors.application.frames import RawFrame, encode_batch
from raft_actors.application.packing import TEXT_CHARS_MAX
from raft_actors.core.entries import Genesis
from raft_actors.errors import StorageError
from raft_actors.peer.beside import Beside
from raft_actors.storage.backups import header_of
from tests.application.builders import EPOCH
from tests.peer.node import (
    ATTACH,
    ONE,
    QUICK,
    QUIET,
    Begin,
    Link,
    Node,
    elsewhere,
    genesis,
    wait_for_state,
)
from tests.peer.test_runtime import LONG_S, wait_for
from tests.rig.disks import GROUP
from tests.storage.logs import append, command, entry, meta, take_snapshot, vote

DESCRIBED = {
    *("group", "member_id", "state", "error", "directory_id", "start_count", "genesis"),
    *("configuration", "configuration_index"),
}


class TestQuestions:
    """`describe`, `status` and `get_state` answer in every state."""

    @pytest.mark.slow
    @pytest.mark.parametrize("state", ["starting", "uninitialised", "recovering", "running", "failed", "killed"])
    def test_every_state_has_an_answer(self, begin: Begin, state: str) -> None:
        holding = {"running": genesis(1, 2, 3), "recovering": genesis(1, directory_ids=elsewhere)}
        node = Node(holding.get(state))
        if state == "starting":
            node.may_open.clear()
        if state == "failed":
            node.refusing = StorageError("no")
        peer = begin(node)
        if state == "killed":
            peer.kill(LONG_S)
        wait_for_state(peer, state)
        described, status = peer.describe(), peer.status()
        assert set(described) == DESCRIBED
        assert (described["group"], described["member_id"]) == (GROUP, 1)
        assert status["state"] == state
        assert status["uptime_s"] >= 0
        assert json.dumps({name: value for name, value in status.items() if type(value) is not bytes})
        assert peer.get_state() == (0, False)
        runs = state in ("running", "recovering")
        assert ("commit_index" in status) == runs
        if runs:
            assert (status["role"], status["term"], status["application"]) == ("follower", 0, False)
            assert (status["last_index"], status["log_bytes"], status["dropped"]) == (0, 0, {})

    def test_its_newest_snapshot_says_what_it_stands_for_as_a_backup_begins(self, begin: Begin) -> None:
        node = Node(genesis(1, 2, 3))
        storage = node.open_storage()
        storage.write([vote(1), append(entry(1, 1), command(1, 2))])
        take_snapshot(storage, 1, 2)
        storage.close()
        peer = begin(node)
        wait_for_state(peer, "recovering")  # the snapshot's configuration lists others
        record = peer.snapshot_header()
        assert record is not None
        said = header_of(record)
        assert (said.genesis, said.meta) == (genesis(1, 2, 3), meta(1, 2))
        assert (said.identity.group, said.identity.member_id) == (GROUP, ONE)
        assert said.identity.directory_id == peer.describe()["directory_id"]

    @pytest.mark.parametrize("holding", [None, genesis(1, 2, 3)])
    def test_without_a_snapshot_there_is_none_to_be_read(self, begin: Begin, holding: Genesis | None) -> None:
        peer = begin(Node(holding))
        wait_for_state(peer, "uninitialised" if holding is None else "running")
        assert peer.snapshot_header() is None

    def test_a_peer_that_does_not_run_turns_everybody_away(self, begin: Begin) -> None:
        peer = begin(Node())
        wait_for_state(peer, "uninitialised")
        assert peer.receive(b"anything") is None
        peer.hello(b"anything")
        peer.report_chains(b"anything")
        assert peer.propose(b"") == NotLeader(leader=None)
        assert peer.read() == NotLeader(leader=None)

    def test_an_application_is_told_to_ask_again_and_not_left_waiting(self, begin: Begin) -> None:
        peer = begin(Node())
        wait_for_state(peer, "uninitialised")
        assert Beside(peer).application_attaches(ATTACH, Link()) == NotReady(why="member 1 is uninitialised")
        for ask in (
            lambda link: Beside(peer).application_proposes(b"", link, 1),
            lambda link: Beside(peer).application_reads(link, 1),
        ):
            link = Link()
            ask(link)
            assert link.closed
        Beside(peer).application_gone(Link())

    def test_a_long_story_still_fits_into_the_answer_to_an_application(self, begin: Begin) -> None:
        """A longer text would be malformed to the application, and it would never hear why."""
        node = Node()
        node.refusing = StorageError("x" * 2 * TEXT_CHARS_MAX)
        peer = begin(node)
        wait_for_state(peer, "failed")
        answer = Beside(peer).application_attaches(ATTACH, Link())
        assert answer is not None
        assert exchange.ATTACH_ANSWER.decode(exchange.ATTACH_ANSWER.encode(answer)) == answer

    @pytest.mark.slow
    def test_what_is_no_message_is_counted_timing_sensitive(self, begin: Begin) -> None:
        peer = begin(Node(genesis(1, 2, 3)))
        wait_for_state(peer, "running")
        assert peer.receive(b"no envelope") is None
        peer.hello(b"no hello")
        peer.report_chains(b"no report")
        wait_for(lambda: peer.status()["dropped"] == {"malformed": 3})

    @pytest.mark.slow
    def test_a_proposal_above_the_limit_is_refused_before_anybody_reads_it(self, begin: Begin) -> None:
        peer = begin(Node(genesis(1, 2, 3)))
        wait_for_state(peer, "running")
        assert peer.propose(bytes(QUIET.proposal_bytes_max + 1)) == Overloaded()


class TestApplication:
    @pytest.mark.slow
    def test_it_attaches_proposes_reads_and_goes_timing_sensitive(self, begin: Begin) -> None:
        """A group of one: everything that a co-located application asks is answered under its number."""
        peer = begin(Node(genesis(1)), QUICK)
        wait_for(lambda: peer.get_state()[1])
        link = Link()
        link.host.attach(Epoch(EPOCH))
        assert Beside(peer).application_attaches(ATTACH, link) is None
        assert link.ready.wait(LONG_S)
        Beside(peer).application_proposes(encode_batch([RawFrame(command=b"x")]), link, 41)
        number, started = link.answered.get(timeout=LONG_S)
        assert number == 41
        assert isinstance(started, Started)
        wait_for(lambda: link.journal.commands == [b"x"])
        Beside(peer).application_reads(link, 42)
        number, read_at = link.answered.get(timeout=LONG_S)
        assert number == 42
        assert isinstance(read_at, ReadAt)
        assert read_at.index >= started.index
        wait_for(lambda: peer.status()["last_applied"] == peer.status()["last_index"])
        assert peer.status()["application"]
        Beside(peer).application_gone(link)
        wait_for(lambda: not peer.status()["application"])

    @pytest.mark.slow
    def test_the_end_of_an_earlier_link_is_not_the_end_of_the_present_one_timing_sensitive(self, begin: Begin) -> None:
        peer = begin(Node(genesis(1, 2, 3)))
        wait_for_state(peer, "running")
        earlier, present = Link(), Link()
        for link in (earlier, present):
            assert Beside(peer).application_attaches(ATTACH, link) is None
            assert link.ready.wait(LONG_S)
        Beside(peer).application_gone(earlier)
        Beside(peer).application_reads(present, 1)  # a question behind it
        assert present.answered.get(timeout=LONG_S) == (1, NotLeader(leader=None))
        assert peer.status()["application"]
