"""The client as its users see it, against real hosts and stores without a network."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from typing import Any

import pytest

from kv.client import Client
from kv.encoded import Versioned
from kv.errors import (
    ArgumentInvalid,
    BatchTooLarge,
    ClientClosed,
    KeyTooLarge,
    Timeout,
    TypeMismatch,
    UseAio,
    ValueNotNative,
    ValueTooLarge,
    VersionMismatch,
)
from kv.limits import Limits
from kv.machine import KVMachine
from kv.recorded import PARTS_KEY_CHARS_MAX, PARTS_MAX
from raft_actors.client import callers
from raft_actors.client.sender import Caller
from raft_actors.errors import InvalidName, RayNotInitialised, UnknownGroup
from raft_actors.recording.fingerprints import Fingerprint
from raft_actors.recording.schema import FRAMES, Row, row_fault
from tests.client.world import FakeGroup, FakeServers

LONG_S = 30.0


class Opaque:
    """Not native; opening its pickle says in which thread that happened."""

    opened_in: str | None = None

    def __reduce__(self) -> Any:
        return _open, ()


def _open() -> str:
    Opaque.opened_in = threading.current_thread().name
    return "opened"


@pytest.fixture
def servers() -> FakeServers:
    return FakeServers(FakeGroup(machine=lambda: KVMachine(Limits())))


@pytest.fixture
def store(servers: FakeServers) -> Iterator[Client]:
    with client(servers) as given:
        yield given
    callers.close_all()


def client(servers: FakeServers, **options: Any) -> Client:
    return Client("test", timeout_s=LONG_S, make_caller=lambda: Caller("test", servers), **options)


class TestCalls:
    def test_put_gives_the_version_and_get_the_value(self, store: Client) -> None:
        assert store.put("a", {"x": [1, (2, None)]}) == 1
        assert store.get("a") == {"x": [1, (2, None)]}
        assert store.get_versioned("a") == Versioned({"x": [1, (2, None)]}, 1)

    def test_a_missing_key_gives_the_default(self, store: Client) -> None:
        assert store.get("a") is None
        assert store.get("a", 7) == 7
        assert store.get_versioned("a") is None

    def test_a_stored_none_is_not_a_missing_key(self, store: Client) -> None:
        store.put("a", None)
        assert store.get("a", 7) is None

    def test_if_version_creates_and_compares(self, store: Client) -> None:
        assert store.put("a", 1, if_version=0) == 1
        with pytest.raises(VersionMismatch) as refused:
            store.put("a", 2, if_version=0)
        assert (refused.value.current, refused.value.outcome) == (1, "not_done")
        assert store.put("a", 2, if_version=1) == 2

    def test_append_creates_and_extends(self, store: Client) -> None:
        assert [store.append("a", "x"), store.append("a", "y")] == [1, 2]
        assert store.get("a") == "xy"
        with pytest.raises(TypeMismatch):
            store.append("a", b"z")

    def test_delete_says_whether_there_was_anything(self, store: Client) -> None:
        store.put("a", 1)
        assert [store.delete("a"), store.delete("a")] == [True, False]

    def test_put_many_and_get_many(self, store: Client) -> None:
        assert store.put_many({"b": 1, "a": 2}) == {"b": 1, "a": 2}
        assert store.get_many(["a", "b", "missing", "a"]) == {"a": 2, "b": 1}
        assert store.put_many({}) == {}
        assert store.get_many([]) == {}

    def test_scan_pages_and_scan_iter_goes_through_all(self, store: Client) -> None:
        store.put_many({f"k{number:03}": number for number in range(25)} | {"other": 0})
        assert store.scan("k", limit=3) == {"k000": 0, "k001": 1, "k002": 2}
        assert store.scan("k", start_after="k022") == {"k023": 23, "k024": 24}
        assert list(store.scan_iter("k", limit=4)) == [(f"k{number:03}", number) for number in range(25)]
        assert list(store.scan_iter("none")) == []

    def test_stale_reads_need_no_leader(self, store: Client, servers: FakeServers) -> None:
        store.put("a", 1)
        servers.group.elect(None)
        assert store.get("a", consistency="stale") == 1
        assert store.get_many(["a"], consistency="stale") == {"a": 1}
        assert store.scan(consistency="stale") == {"a": 1}

    @pytest.mark.parametrize(
        "call",
        [
            lambda store: store.get("a", timeout_s=0.01),
            lambda store: store.get_versioned("a", timeout_s=0.01),
            lambda store: store.put("a", 1, timeout_s=0.01),
            lambda store: store.append("a", "1", timeout_s=0.01),
            lambda store: store.delete("a", timeout_s=0.01),
            lambda store: store.put_many({"a": 1}, timeout_s=0.01),
            lambda store: store.get_many(["a"], timeout_s=0.01),
            lambda store: store.scan(timeout_s=0.01),
            lambda store: list(store.scan_iter(timeout_s=0.01)),
        ],
    )
    def test_every_call_has_a_timeout_of_its_own(
        self, store: Client, servers: FakeServers, call: Callable[[Client], object]
    ) -> None:
        store.put("a", 1)
        servers.answering = False
        with pytest.raises(Timeout) as timeout:
            call(store)
        assert isinstance(timeout.value, TimeoutError)
        assert timeout.value.outcome == "unknown"


class TestTwins:
    def test_every_blocking_call_has_one(self, store: Client) -> None:
        names = ["get", "get_versioned", "put", "append", "delete", "put_many", "get_many", "scan"]
        store.put("s", "s")
        arguments: dict[str, tuple[Any, ...]] = {
            "put": ("a", 1),
            "append": ("s", "t"),
            "put_many": ({"a": 1},),
            "get_many": (["a"],),
            "scan": (),
        }
        futures = [getattr(store, f"submit_{name}")(*arguments.get(name, ("a",))) for name in names]
        results = [future.result(LONG_S) for future in futures]
        assert results[2:6] == [2, 3, True, {"a": 5}]

    def test_their_refusals_are_the_futures_exceptions(self, store: Client) -> None:
        store.put("a", 1)
        future = store.submit_put("a", 2, if_version=0)
        assert isinstance(future.exception(LONG_S), VersionMismatch)
        with pytest.raises(VersionMismatch):
            future.result(LONG_S)

    def test_can_be_awaited(self, store: Client) -> None:
        async def main() -> tuple[int, Any]:
            version = await asyncio.wrap_future(store.submit_put("a", "x"))
            return version, await asyncio.wrap_future(store.submit_get("a"))

        assert asyncio.run(main()) == (1, "x")

    def test_share_batches(self, store: Client, servers: FakeServers) -> None:
        store.put("first", 1)
        servers.group.batches.clear()
        assert len(wait([store.submit_put("a", number) for number in range(300)], LONG_S).done) == 300
        assert len(servers.group.batches) < 100


class TestRefusedBeforeAnythingIsSent:
    def test(self, store: Client, servers: FakeServers) -> None:
        wrong: list[tuple[type[Exception], Any]] = [
            (KeyTooLarge, lambda: store.get("k" * 70_000)),
            (ValueTooLarge, lambda: store.put("a", b"x" * (2**20 + 1))),
            (BatchTooLarge, lambda: store.put_many({str(number): b"x" * 2**20 for number in range(9)})),
            (ArgumentInvalid, lambda: store.put("a", 1, if_version=-1)),
            (ArgumentInvalid, lambda: store.scan(limit=0)),
            (ArgumentInvalid, lambda: store.get("a", consistency="strong")),  # type: ignore[arg-type]
        ]
        for error, call in wrong:
            with pytest.raises(error):
                call()
        assert servers.group.batches == []

    def test_a_group_needs_a_proper_name(self) -> None:
        with pytest.raises(InvalidName):
            Client("../x")


class TestOpaqueValues:
    def test_are_opened_in_the_thread_that_takes_them(self, store: Client) -> None:
        store.put("a", Opaque())
        future = store.submit_get("a")
        wait([future], LONG_S)
        Opaque.opened_in = None
        assert future.result() == "opened"
        assert future.result() == "opened"
        assert Opaque.opened_in == threading.current_thread().name

    def test_are_refused_where_pickles_are_not_allowed(self, servers: FakeServers) -> None:
        with client(servers, allow_pickle=False) as given, pytest.raises(ValueNotNative):
            given.put("a", Opaque())


class TestWhereItMayNotBlock:
    def test_in_a_running_event_loop_a_blocking_call_says_what_to_use(
        self, store: Client, servers: FakeServers
    ) -> None:
        async def main() -> None:
            store.put("a", 1)

        with pytest.raises(UseAio, match=r"asyncio\.wrap_future"):
            asyncio.run(main())
        assert servers.group.batches == []

    def test_nor_in_a_callback_of_a_future(self, store: Client, servers: FakeServers) -> None:
        refused = threading.Event()

        def callback(_: object) -> None:
            with pytest.raises(UseAio):
                store.get("a")
            refused.set()

        store.put("a", 1)
        servers.holding = True
        store.submit_put("a", 2).add_done_callback(callback)
        servers.release()
        assert refused.wait(LONG_S)


class TestTheClientItself:
    def test_a_pickle_carries_the_name_and_the_options_only(self, store: Client) -> None:
        store.put("a", 1)
        given = Client("prod", timeout_s=2.5, allow_pickle=False, label="c1")
        data = pickle.dumps(given)
        back = pickle.loads(data)
        assert repr(back) == repr(given) == "<kv.Client of group 'prod', timeout_s=2.5, label='c1'>"
        assert back.__reduce__() == given.__reduce__()
        assert len(pickle.dumps(store)) < 500

    def test_a_pickle_holds_nothing_of_the_one_client(self) -> None:
        assert pickle.dumps(Client("prod")) == pickle.dumps(Client("prod")), "an identity would travel, and be shared"

    def test_a_copy_is_a_client_of_its_own(self, store: Client) -> None:
        other = copy.deepcopy(store)
        other.close()
        assert store.put("a", 1) == 1

    def test_once_closed_it_refuses(self, servers: FakeServers) -> None:
        with client(servers) as given:
            given.put("a", 1)
        with pytest.raises(ClientClosed) as closed:
            given.put("a", 1)
        assert closed.value.outcome == "not_done"

    def test_servers_are_the_handles(self, store: Client) -> None:
        assert store.servers == ["handle 0", "handle 1", "handle 2"]

    def test_an_unknown_group_is_named(self) -> None:
        given = client(FakeServers(FakeGroup(size=0)), connect_timeout_s=0.01)
        with given, pytest.raises(UnknownGroup, match=r"kv\.start\('test'\)"):
            _ = given.servers

    def test_without_ray_it_says_so_at_the_first_call(self) -> None:
        assert not sys.modules["ray"].is_initialized()
        with pytest.raises(RayNotInitialised, match=r"ray\.init\(\)"):
            Client("prod").get("a")


class Rows:
    """A recorder that keeps what it is given."""

    enabled = True

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.time = 0

    def now_ns(self) -> int:
        self.time += 1
        return self.time

    def record(self, frame: str, row: Row) -> None:
        assert row_fault(FRAMES[frame], row) is None
        self.rows.append(row)


class TestRecords:
    def test_one_row_per_operation_with_its_outcome(self, servers: FakeServers) -> None:
        recorder = Rows()
        with client(servers, record=recorder, label="c1") as given:
            given.put("a", "four")
            given.get("a")
            given.get("b")
            with pytest.raises(VersionMismatch):
                given.put("a", 1, if_version=0)
            given.put_many({"b": "1", "c": "22"})
            given.scan()
            servers.answering = False
            with pytest.raises(Timeout):
                given.delete("a", timeout_s=0.01)
        columns = ("op", "key", "status", "error", "version", "value_size")
        assert [tuple(row.get(column) for column in columns) for row in recorder.rows] == [
            ("put", "a", "ok", None, 1, 4),
            ("get", "a", "ok", None, 1, 4),
            ("get", "b", "ok", None, None, None),
            ("put", "a", "not_done", "VersionMismatch", 1, 1),
            ("put_many", None, "ok", None, None, 3),
            ("scan", None, "ok", None, None, None),
            ("delete", "a", "unknown", "Timeout", None, None),
        ]
        assert {row["client"] for row in recorder.rows} == {"c1"}
        assert [row["server"] for row in recorder.rows] == [0] * 6 + [None]
        assert len({row["op_id"] for row in recorder.rows}) == 7
        assert all(row["t_invoke"] < row["t_return"] for row in recorder.rows)
        assert recorder.rows[0]["term"] == 1

    def test_a_row_says_what_a_judge_of_the_history_has_to_know(self, servers: FakeServers) -> None:
        recorder = Rows()
        with client(servers, record=recorder) as given:
            given.put("a", "one")
            given.append("a", " two")
            given.get("a")
            given.get("a", consistency="stale")
            given.delete("a", if_version=2)
            given.delete("a")
            given.get("a")
        put, append, get, stale, delete, again, missing = recorder.rows
        one, two = (Fingerprint.parse(row["value"]) for row in (put, append))
        assert (one, one + two) == (Fingerprint.of("str", b"one"), Fingerprint.of("str", b"one two"))
        assert get["value"] == stale["value"] == str(one + two)
        assert [row.get("found") for row in recorder.rows] == [None, None, True, True, True, False, False]
        assert [row.get("if_version") for row in (put, delete, again)] == [None, 2, None]
        assert [row["consistency"] for row in (get, stale, missing)] == ["linearizable", "stale", "linearizable"]

    def test_an_operation_on_several_keys_names_them_unless_they_are_too_many(self, servers: FakeServers) -> None:
        recorder = Rows()
        with client(servers, record=recorder) as given:
            given.put_many({"a": "1", "b": "2"})
            given.get_many(["a", "c"])
            given.scan(limit=1)
            given.put_many({f"key {number}": "" for number in range(PARTS_MAX)})
            given.put_many({f"key {number}": "" for number in range(PARTS_MAX + 1)})
            given.get_many(["x" * PARTS_KEY_CHARS_MAX, "y"])
            servers.answering = False
            with pytest.raises(Timeout):
                given.put_many({"a": "3"}, timeout_s=0.01)
        one, two, three = (str(Fingerprint.of("str", text)) for text in (b"1", b"2", b"3"))
        parts = [row["parts"] for row in recorder.rows]
        assert parts[:3] == [{"a": [1, one], "b": [2, two]}, {"a": [1, one], "c": [0, None]}, {"a": [1, one]}]
        assert [parts[3] and len(parts[3]), *parts[4:]] == [PARTS_MAX, None, None, {"a": [None, three]}]
