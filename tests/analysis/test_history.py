"""Rows of a run's `ops` become the calls of a history."""

from __future__ import annotations

from typing import Any

from analysis.history import (
    UNSEEN,
    Deleted,
    Found,
    Mismatch,
    Op,
    Written,
    WrongType,
    calls_of,
    unnamed_writes,
)
from analysis.linearizability import Judgement
from raft_actors.recording.fingerprints import Fingerprint
from tests.analysis.test_key_model import NOT_DONE, OK, UNKNOWN, judgement

A, B = Fingerprint.of("str", b"a"), Fingerprint.of("str", b"b")


def row(op: str, t_invoke: int, t_return: int | None, status: str = "ok", **more: Any) -> dict[str, Any]:
    return {
        "op_id": 1,
        "client": "c",
        "op": op,
        "key": "k",
        "t_invoke": t_invoke,
        "t_return": t_return,
        "status": status,
        "version": None,
        "error": None,
        **more,
    }


class TestRows:
    def test_versions_alone_tell_a_stale_read(self) -> None:
        rows = [row("put", 0, 1, version=1), row("append", 2, 3, version=2), row("scan", 2, 3, key=None)]
        assert judgement(calls_of([*rows, row("get", 4, 5, version=2)])) is Judgement.OK
        assert judgement(calls_of([*rows, row("get", 4, 5, version=1)])) is Judgement.ILLEGAL

    def test_a_refused_version_is_an_answer_of_the_store_and_other_refusals_are_not(self) -> None:
        mismatch, overloaded = (
            row("put", 0, 1, "not_done", error=error) for error in ("VersionMismatch", "Overloaded")
        )
        assert [call.result for call in calls_of([mismatch, overloaded])] == [Mismatch(current=None), None]
        assert [call.outcome for call in calls_of([mismatch, overloaded])] == [OK, NOT_DONE]

    def test_a_deleted_key_and_an_open_end(self) -> None:
        rows = [row("put", 0, 1, version=1), row("delete", 2, 3), row("put", 4, None, "unknown")]
        assert judgement(calls_of([*rows, row("get", 5, 6)])) is Judgement.OK
        assert judgement(calls_of([*rows, row("get", 5, 6, version=3)])) is Judgement.OK
        assert judgement(calls_of([*rows, row("get", 5, 6, version=2)])) is Judgement.ILLEGAL

    def test_values_are_told_apart_by_their_fingerprints(self) -> None:
        rows = [row("put", 0, 1, version=1, value=str(A)), row("append", 2, 3, version=2, value=str(B))]
        for read, expected in ((A + B, Judgement.OK), (B + A, Judgement.ILLEGAL), (A, Judgement.ILLEGAL)):
            assert judgement(calls_of([*rows, row("get", 4, 5, version=2, value=str(read))])) is expected

    def test_an_append_joins_values_of_one_kind_alone(self) -> None:
        put, number = row("put", 0, 1, version=1, value=str(A)), Fingerprint.of("other", b"7")
        for appended in (Fingerprint.of("bytes", b"b"), number):
            assert judgement(calls_of([put, row("append", 2, 3, version=2, value=str(appended))])) is Judgement.ILLEGAL
            refused = row("append", 2, 3, "not_done", error="TypeMismatch", value=str(appended))
            assert judgement(calls_of([put, refused])) is Judgement.OK
        refused = row("append", 2, 3, "not_done", error="TypeMismatch", value=str(B))
        assert calls_of([refused])[0].result == WrongType()
        assert judgement(calls_of([put, refused])) is Judgement.ILLEGAL

    def test_conditions_and_what_they_met(self) -> None:
        put = row("put", 0, 1, version=1, value=str(A), if_version=0)
        refused = row("put", 2, 3, "not_done", error="VersionMismatch", version=1, if_version=0, value=str(B))
        deleted = row("delete", 4, 5, found=True, if_version=1)
        calls = calls_of([put, refused, deleted])
        assert [call.if_version for call in calls] == [0, 0, 1]
        assert [call.result for call in calls] == [Written(version=1), Mismatch(current=1), Deleted(found=True)]
        assert judgement(calls) is Judgement.OK
        assert judgement(calls_of([put, row("put", 2, 3, version=2, if_version=0)])) is Judgement.ILLEGAL

    def test_an_operation_on_several_keys_is_a_call_for_each(self) -> None:
        rows = [
            row("put_many", 0, 1, key=None, op_id=7, parts={"k": [1, str(A)], "l": [2, str(B)]}),
            row("put_many", 2, 3, "unknown", key=None, op_id=8, parts={"k": [None, str(B)]}),
            row("get_many", 4, 5, key=None, op_id=9, parts={"l": [2, str(B)], "m": [0, None]}),
            row("scan", 4, 5, key=None, op_id=10, parts={"k": [1, str(A)]}),
            row("get_many", 4, 5, "not_done", key=None, parts=None, error="NoQuorum"),
        ]
        assert [(call.op_id, call.op, call.key, call.outcome, call.value, call.result) for call in calls_of(rows)] == [
            ("7", Op.PUT, "k", OK, A, Written(version=1)),
            ("7", Op.PUT, "l", OK, B, Written(version=2)),
            ("8", Op.PUT, "k", UNKNOWN, B, None),
            ("9", Op.GET, "l", OK, UNSEEN, Found(value=B, version=2)),
            ("9", Op.GET, "m", OK, UNSEEN, Found(value=UNSEEN, version=0)),
            ("10", Op.GET, "k", OK, UNSEEN, Found(value=A, version=1)),
        ]

    def test_stale_reads_promise_nothing(self) -> None:
        assert calls_of([row("get", 0, 1, version=9, consistency="stale")]) == []

    def test_writes_without_the_names_of_their_keys_are_counted(self) -> None:
        rows = [row("put_many", 0, 1, status, key=None, parts=None) for status in ("ok", "unknown", "not_done")]
        named = [row("put_many", 0, 1, key=None, parts={"k": [1, str(A)]}), row("scan", 0, 1, key=None)]
        assert calls_of([*rows, *named[1:]]) == []
        assert unnamed_writes([*rows, *named]) == 2
