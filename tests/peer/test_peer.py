"""The life of one member's peer: bring-up, states, bootstrap, failure, kill. Real threads, a disk in memory, no Ray."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from raft_actors.application.exchange import NotLeader, NotReady
from raft_actors.application.frames import RawFrame, encode_batch
from raft_actors.codec import encode_genesis
from raft_actors.core.types import MemberId
from raft_actors.envelopes import Join, decode_hello, encode_join
from raft_actors.errors import DirectoryLocked, ForeignDirectory, LogDamaged, PeerFailed, StorageFailed
from raft_actors.peer import peer as peer_module
from raft_actors.peer.beside import Beside
from tests.peer.node import (
    ATTACH,
    ONE,
    QUICK,
    Begin,
    Link,
    Node,
    elsewhere,
    error_of,
    failures_of,
    genesis,
    state_of,
    wait_for_state,
)
from tests.peer.test_runtime import DAEMONS, LONG_S, wait_for
from tests.rig.disks import directory_id


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "LOCK_RETRY_S", (0.001, 0.002))
    monkeypatch.setattr(peer_module, "IO_RETRY_S", (0.001, 0.002))


def recorded_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """From now on a peer's waits end at once, and are written down here."""
    waits: list[float] = []

    class Impatient(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None, "a wait without a deadline"
            waits.append(timeout)
            return self.is_set()

    monkeypatch.setattr(peer_module, "threading", SimpleNamespace(**{**vars(threading), "Event": Impatient}))
    return waits


class TestBringUp:
    def test_the_constructor_returns_while_the_directory_is_still_being_opened(self, begin: Begin) -> None:
        node = Node()
        node.may_open.clear()
        peer = begin(node)
        assert state_of(peer) == "starting"
        node.may_open.set()
        wait_for_state(peer, "uninitialised")

    def test_an_empty_directory_is_uninitialised_and_known_by_its_id(self, begin: Begin) -> None:
        peer = begin(Node())
        wait_for_state(peer, "uninitialised")
        described = peer.describe()
        assert (described["directory_id"], described["start_count"]) == (directory_id(1), 1)
        assert described["genesis"] is None

    @pytest.mark.slow
    def test_a_directory_of_the_group_runs_and_greets_the_others(self, begin: Begin) -> None:
        node = Node(genesis(1, 2, 3))
        node.disk.start_count = 6
        peer = begin(node)
        wait_for_state(peer, "running")
        assert peer.describe()["genesis"] == encode_genesis(genesis(1, 2, 3))
        assert node.others == (MemberId(2), MemberId(3))
        hello = decode_hello(node.hello)
        assert (hello.sender, hello.incarnation.directory_id, hello.incarnation.start_count) == (
            ONE,
            directory_id(1),
            7,
        )

    @pytest.mark.slow
    def test_a_directory_that_the_configuration_does_not_list_is_recovering(self, begin: Begin) -> None:
        """It may receive data, it counts nowhere (DESIGN 4, identity)."""
        peer = begin(Node(genesis(1, 2, 3, directory_ids=elsewhere)))
        wait_for_state(peer, "recovering")

    @pytest.mark.usefixtures("quick_retries")
    def test_a_locked_directory_is_tried_again_and_says_who_holds_it(self, begin: Begin) -> None:
        node = Node()
        node.refusing = DirectoryLocked("held by process 4711 of another raylet; it is waited for")
        peer = begin(node)
        wait_for(lambda: "held by process 4711" in error_of(peer))
        assert state_of(peer) == "starting"
        node.refusing = None
        wait_for_state(peer, "uninitialised")
        assert peer.describe()["error"] is None

    def test_waits_for_the_lock_grow_to_a_third_second(self, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
        waits = recorded_waits(monkeypatch)
        node = Node()
        node.refusals = [DirectoryLocked("held by process 4711")] * 7
        wait_for_state(begin(node), "uninitialised")
        assert waits == [0.05, 0.1, 0.2, 0.3, 0.3, 0.3, 0.3]

    def test_waits_after_io_errors_grow_from_one_second_to_a_minute(
        self, begin: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits = recorded_waits(monkeypatch)
        node = Node()
        node.refusals = [StorageFailed("the disk is full"), OSError("input/output error")] * 4
        wait_for_state(begin(node), "uninitialised")
        assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
        assert node.end_reasons == []

    @pytest.mark.usefixtures("quick_retries")
    def test_an_io_error_while_opening_is_said_and_tried_again(self, begin: Begin) -> None:
        node = Node()
        node.refusing = StorageFailed("the disk is full")
        peer = begin(node)
        wait_for(lambda: "cannot read or write the data directory" in error_of(peer))
        assert error_of(peer).endswith("the disk is full")
        assert state_of(peer) == "starting"
        node.refusing = None
        wait_for_state(peer, "uninitialised")

    def test_damage_fails_with_its_text_and_leaves_a_stopped_file(self, begin: Begin) -> None:
        node = Node()
        node.refusing = LogDamaged("wal-3: crc mismatch at byte 4128; replace this member")
        peer = begin(node)
        wait_for_state(peer, "failed")
        assert error_of(peer) == "wal-3: crc mismatch at byte 4128; replace this member"
        wait_for(lambda: node.stopped == error_of(peer))

    def test_a_directory_that_cannot_be_opened_is_still_named(self, begin: Begin) -> None:
        """Or a keeper would wait a minute for a member that was replaced: it might be a new one that finds no place."""
        node = Node()
        node.refusing = LogDamaged("damaged")
        peer = begin(node)
        wait_for_state(peer, "failed")
        assert peer.describe()["directory_id"] == node.disk.directory_id

    def test_a_stopped_file_keeps_it_failed_until_it_is_restarted_by_hand(self, begin: Begin) -> None:
        node = Node()
        node.stopped = "owner: AssertionError: a term went back"
        peer = begin(node)
        wait_for_state(peer, "failed")
        assert "owner: AssertionError: a term went back" in error_of(peer)
        assert error_of(peer).endswith("run raft-kv restart-member 1")
        assert not node.opening.is_set()
        peer.restart()
        assert (node.stopped, node.end_reasons) == (None, ["restarted by hand"])
        wait_for_state(begin(node), "uninitialised")

    def test_a_foreign_directory_fails_and_may_be_tried_by_the_next_process(self, begin: Begin) -> None:
        """Nothing here is broken: who puts the right directory there need not clear anything."""
        node = Node()
        node.refusing = ForeignDirectory("belongs to group 'other'; give each member its own")
        peer = begin(node)
        wait_for_state(peer, "failed")
        assert error_of(peer) == "belongs to group 'other'; give each member its own"
        assert failures_of(peer) == [error_of(peer)]
        assert node.stopped is None
        node.refusing = None
        wait_for_state(begin(node), "uninitialised")

    def test_a_bug_while_opening_is_a_failure_with_its_name(self, begin: Begin) -> None:
        node = Node()
        node.refusing = ValueError("no such segment")
        peer = begin(node)
        wait_for_state(peer, "failed")
        assert error_of(peer) == "bring-up: ValueError: no such segment"

    def test_a_stopped_file_that_cannot_be_written_is_among_the_failures(self, begin: Begin) -> None:
        node = Node()
        node.refusing, node.unwritable = LogDamaged("damaged"), OSError("read-only file system")
        peer = begin(node)
        wait_for_state(peer, "failed")
        assert failures_of(peer) == ["damaged", "STOPPED file: read-only file system"]


class TestJoin:
    """Contracts 10 a: a leader that lists this directory hands over the group's record."""

    RECORD = genesis(2, 3)

    def test_an_empty_directory_takes_it_and_counts_nowhere_yet(self, begin: Begin) -> None:
        node = Node()
        peer = begin(node)
        wait_for_state(peer, "uninitialised")
        peer.join(encode_join(Join(directory_id=directory_id(1), genesis=self.RECORD)))
        assert (state_of(peer), node.disk.groups) == ("recovering", [(self.RECORD,)])
        peer.kill(LONG_S)
        wait_for_state(begin(node), "recovering")

    @pytest.mark.parametrize(
        "invitation",
        [
            encode_join(Join(directory_id=elsewhere(1), genesis=RECORD)),
            encode_join(Join(directory_id=directory_id(1), genesis=genesis(2, group="other"))),
            encode_join(Join(directory_id=directory_id(1), genesis=RECORD))[:-1],
            b"",
        ],
        ids=["another directory", "another group", "cut off", "nothing"],
    )
    def test_what_is_not_for_it_changes_nothing(self, begin: Begin, invitation: bytes) -> None:
        node = Node()
        peer = begin(node)
        wait_for_state(peer, "uninitialised")
        peer.join(invitation)
        assert (state_of(peer), node.disk.groups) == ("uninitialised", [])

    def test_a_member_takes_no_other_record(self, begin: Begin) -> None:
        """Reliability D10: two clusters never become one."""
        node = Node(holding=genesis(1))
        peer = begin(node)
        wait_for_state(peer, "running")
        peer.join(encode_join(Join(directory_id=directory_id(1), genesis=self.RECORD)))
        assert (state_of(peer), node.disk.groups) == ("running", [(genesis(1),)])


class TestBootstrap:
    """Contracts rule 6: idempotent, and only into an empty directory that is named for this member."""

    @pytest.mark.slow
    def test_it_is_taken_once_and_then_always_the_same(self, begin: Begin) -> None:
        node, record = Node(), encode_genesis(genesis(1, 2, 3))
        peer = begin(node)
        wait_for_state(peer, "uninitialised")
        assert peer.bootstrap(record) is None
        assert state_of(peer) == "running"
        assert peer.bootstrap(record) is None
        assert peer.bootstrap(encode_genesis(genesis(1, 2))) == "member 1 belongs to another cluster already"
        assert node.disk.groups == [(genesis(1, 2, 3),)]
        peer.kill(LONG_S)
        again = begin(node)
        wait_for_state(again, "running")
        assert again.bootstrap(record) is None

    @pytest.mark.parametrize(
        ("record", "why"),
        [
            (encode_genesis(genesis(2, 3)), "does not name member 1"),
            (encode_genesis(genesis(1, group="other")), "the record is of group 'other'"),
            (encode_genesis(genesis(1, 2, directory_ids=elsewhere)), "names another data directory for member 1"),
            (b"", "no genesis record: "),
            (encode_genesis(genesis(1))[:-1], "no genesis record: "),
        ],
        ids=["not named", "other group", "other directory", "nothing", "cut off"],
    )
    def test_what_is_not_for_this_directory_is_refused_and_changes_nothing(
        self, begin: Begin, record: bytes, why: str
    ) -> None:
        node = Node()
        peer = begin(node)
        wait_for_state(peer, "uninitialised")
        assert why in str(peer.bootstrap(record))
        assert (state_of(peer), node.disk.groups) == ("uninitialised", [])

    def test_it_is_refused_in_every_other_state(self, begin: Begin) -> None:
        record = encode_genesis(genesis(1))
        node = Node()
        node.may_open.clear()
        peer = begin(node)
        assert peer.bootstrap(record) == "member 1 is starting"
        node.refusals = [LogDamaged("damaged")]
        node.may_open.set()
        wait_for_state(peer, "failed")
        assert peer.bootstrap(record) == "member 1 is failed"
        assert failures_of(peer) == ["damaged"]
        assert peer.bootstrap(record) == "member 1 is killed"
        assert node.disk.groups == []

    def test_a_disk_that_breaks_while_it_is_written_ends_the_process(self, begin: Begin) -> None:
        """What is on the disk is not known any more; only a fresh recovery can tell."""
        node = Node()
        peer = begin(node)
        wait_for_state(peer, "uninitialised")
        node.disk.broken = True
        assert "the disk is broken" in str(peer.bootstrap(encode_genesis(genesis(1))))
        assert node.ended.wait(LONG_S)
        assert state_of(peer) == "failed"
        assert "the disk is broken" in node.end_reasons[0]
        assert node.stopped is None


class TestFailure:
    @pytest.mark.slow
    def test_a_dead_daemon_fails_the_member_and_is_named_to_the_end_timing_sensitive(self, begin: Begin) -> None:
        """Better no peer than half a one; the file keeps Ray's restart from hiding it."""
        node = Node(genesis(1, 2, 3))
        node.transport.failure = ValueError("no route")
        peer = begin(node, QUICK)  # its first pre-vote kills the daemon that sends it
        wait_for_state(peer, "failed")
        why = "sync log entries: ValueError: no route"
        assert error_of(peer) == why
        wait_for(lambda: node.stopped is not None)
        wait_for(lambda: node.disk.holder is None)
        assert node.stopped == why
        assert node.transport.closed
        assert failures_of(peer) == [why]
        wait_for_state(begin(node), "failed")

    @pytest.mark.slow
    def test_a_failed_member_is_still_there_to_be_asked_timing_sensitive(self, begin: Begin) -> None:
        node = Node(genesis(1, 2, 3))
        node.transport.failure = ValueError("no route")
        peer = begin(node, QUICK)
        wait_for(lambda: node.stopped is not None)
        assert peer.status()["error"] == "sync log entries: ValueError: no route"
        assert peer.propose(b"") == NotLeader(leader=None)
        assert peer.get_state() == (0, False)
        refusal = Beside(peer).application_attaches(ATTACH, Link())
        assert refusal == NotReady(why="member 1 is failed: sync log entries: ValueError: no route")

    @pytest.mark.slow
    def test_a_write_that_fails_ends_the_process_and_leaves_no_stopped_file_timing_sensitive(
        self, begin: Begin
    ) -> None:
        node = Node(genesis(1))
        peer = begin(node, QUICK)
        wait_for_state(peer, "running")
        node.disk.broken = True  # before its first vote, or before the first entry that it is given
        while not node.ended.is_set():
            peer.propose(encode_batch([RawFrame(command=b"x")]), 10)
        assert node.end_reasons[0].startswith("disk: StorageFailed: the disk is broken")
        assert node.stopped is None

    @pytest.mark.slow
    def test_kill_waits_for_a_stop_that_is_under_way_timing_sensitive(
        self, begin: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Both end the same daemons and close the same files: the lock must not be free before they are done."""
        node = Node(genesis(1, 2, 3))
        node.transport.failure = ValueError("no route")
        node.may_stop.clear()
        peer = begin(node, QUICK)
        wait_for_state(peer, "failed")
        wait_for(lambda: node.transport.closed)
        stopping = peer._stopping
        assert stopping is not None
        wait = stopping.join

        def join(timeout: float | None = None) -> None:
            assert node.disk.holder is not None
            node.may_stop.set()
            wait(timeout)

        monkeypatch.setattr(stopping, "join", join)
        assert failures_of(peer) == ["sync log entries: ValueError: no route"]
        assert node.stopped == "sync log entries: ValueError: no route"
        assert node.disk.holder is None


class TestKill:
    def test_before_a_group_it_frees_the_directory_and_says_nothing(self, begin: Begin) -> None:
        node = Node()
        peer = begin(node)
        wait_for_state(peer, "uninitialised")
        for _ in range(2):
            peer.kill(LONG_S)
            assert (state_of(peer), node.disk.holder) == ("killed", None)

    @pytest.mark.slow
    def test_a_running_peer_ends_without_a_thread_and_without_a_complaint(self, begin: Begin) -> None:
        node = Node(genesis(1, 2, 3))
        peer = begin(node)
        wait_for_state(peer, "running")
        link = Link()
        assert Beside(peer).application_attaches(ATTACH, link) is None
        assert link.ready.wait(LONG_S)
        peer.kill(LONG_S)
        peer.kill(LONG_S)
        assert (state_of(peer), node.disk.holder) == ("killed", None)
        assert (link.closed, node.transport.closed) == (True, True)
        assert node.stopped is None
        assert not (DAEMONS | {"bring-up", "stop"}) & {thread.name for thread in threading.enumerate()}
        assert Beside(peer).application_attaches(ATTACH, link) == NotReady(why="member 1 is killed")

    def test_twice_it_says_the_same(self, begin: Begin) -> None:
        node = Node()
        node.refusing = LogDamaged("damaged")
        peer = begin(node)
        wait_for_state(peer, "failed")
        assert failures_of(peer) == failures_of(peer) == ["damaged"]
        assert state_of(peer) == "killed"
        assert error_of(peer) == "damaged"

    def test_while_starting_it_does_not_wait_for_the_directory(self, begin: Begin) -> None:
        """What is opened later is closed at once, and the state stays."""
        node = Node(genesis(1))
        node.may_open.clear()
        peer = begin(node)
        assert node.opening.wait(LONG_S)
        peer.kill(0.0)
        assert state_of(peer) == "killed"
        node.may_open.set()
        wait_for(lambda: node.disk.start_count == 1 and node.disk.holder is None)
        assert state_of(peer) == "killed"
        assert peer.receive(b"") is None

    def test_while_waiting_for_the_lock_it_ends_the_wait_timing_sensitive(self, begin: Begin) -> None:
        node = Node()
        node.refusing = DirectoryLocked("held by process 4711")
        peer = begin(node)
        wait_for(lambda: "4711" in error_of(peer))
        peer.kill(LONG_S)
        assert state_of(peer) == "killed"
        assert "bring-up" not in {thread.name for thread in threading.enumerate()}

    def test_a_second_call_does_not_say_that_all_is_well_while_the_first_is_at_work(self, begin: Begin) -> None:
        node = Node()
        node.may_open.clear()
        peer = begin(node)
        assert node.opening.wait(LONG_S)
        with ThreadPoolExecutor(max_workers=1) as other:
            first = other.submit(peer.kill, LONG_S)
            wait_for(peer._leave.is_set)
            with pytest.raises(PeerFailed, match=r"kill: did not end within 0\.0 s; call it again"):
                peer.kill(0.0)
            node.may_open.set()
            first.result(LONG_S)
        peer.kill(LONG_S)

    def test_no_group_begins_while_it_ends(self, begin: Begin) -> None:
        """A bootstrap that comes in between would start daemons on files that are about to be closed."""
        node = Node()
        peer = begin(node)
        wait_for_state(peer, "uninitialised")
        peer._leave.set()  # as `kill` does first
        assert peer.bootstrap(encode_genesis(genesis(1))) == "member 1 is being killed"
        assert node.disk.groups == []
        peer._leave.clear()
