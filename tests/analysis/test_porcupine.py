"""The lines for Porcupine: their fields, each kind of call, and the numbers of clients.

Here:   golden lines; values that must stay apart; random histories, in which no client overlaps with itself.
Never:  Porcupine itself, which is Go; the lanes (test_lanes.py).
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from itertools import combinations
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.history import UNSEEN, Call, Deleted, Mismatch, Op, Outcome, WrongType
from analysis.porcupine import write_porcupine
from tests.analysis.test_key_model import NOT_DONE, UNKNOWN, append, call, delete, get, put
from tests.analysis.test_lanes import any_call


def lines(*calls: Call) -> list[dict[str, Any]]:
    file = io.StringIO()
    count = write_porcupine(calls, file)
    text = file.getvalue()
    assert count == text.count("\n") == len(text.splitlines())
    return [json.loads(line) for line in text.splitlines()]


GOLDEN: Final = {
    "put": (
        put(0, 9, "a", 1),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "put", "key": "k", "value": "a"}, "Call": 0, '
        '"Output": {"status": "ok", "version": 1}, "Return": 9}',
    ),
    "put under a condition": (
        put(0, 9, "a", 4, if_version=3),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "put", "key": "k", "value": "a", "if_version": 3}, "Call": 0, '
        '"Output": {"status": "ok", "version": 4}, "Return": 9}',
    ),
    "put, refused": (
        put(0, 9, "a", if_version=0, result=Mismatch(current=3)),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "put", "key": "k", "value": "a", "if_version": 0}, "Call": 0, '
        '"Output": {"status": "version_mismatch", "current": 3}, "Return": 9}',
    ),
    "put, refused, nobody wrote down why": (
        put(0, 9, UNSEEN, result=Mismatch(current=None)),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "put", "key": "k", "value": null}, "Call": 0, '
        '"Output": {"status": "version_mismatch", "current": null}, "Return": 9}',
    ),
    "append": (
        append(0, 9, b"\x00x", 2),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "append", "key": "k", "value": {"type": "bytes", '
        '"text": "0078"}}, "Call": 0, "Output": {"status": "ok", "version": 2}, "Return": 9}',
    ),
    "append, refused": (
        append(0, 9, "x", result=WrongType()),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "append", "key": "k", "value": "x"}, "Call": 0, '
        '"Output": {"status": "wrong_type"}, "Return": 9}',
    ),
    "append of unknown outcome": (
        append(0, 9, "x"),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "append", "key": "k", "value": "x"}, "Call": 0, '
        '"Output": {"status": "unknown"}, "Return": 10}',
    ),
    "put without an end": (
        put(7, None, "x"),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "put", "key": "k", "value": "x"}, "Call": 7, '
        '"Output": {"status": "unknown"}, "Return": 8}',
    ),
    "get": (
        get(0, 9, "a", 7),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "get", "key": "k"}, "Call": 0, '
        '"Output": {"status": "ok", "found": true, "version": 7, "value": "a"}, "Return": 9}',
    ),
    "get of an unseen value": (
        get(0, 9, UNSEEN, 7),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "get", "key": "k"}, "Call": 0, '
        '"Output": {"status": "ok", "found": true, "version": 7, "value": null}, "Return": 9}',
    ),
    "get of nothing": (
        get(0, 9),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "get", "key": "k"}, "Call": 0, '
        '"Output": {"status": "ok", "found": false, "version": 0}, "Return": 9}',
    ),
    "get without an answer": (
        call(Op.GET, 0, None, None),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "get", "key": "k"}, "Call": 0, '
        '"Output": {"status": "unknown"}, "Return": 1}',
    ),
    "delete": (
        delete(0, 9, True, if_version=2),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "delete", "key": "k", "if_version": 2}, "Call": 0, '
        '"Output": {"status": "ok", "found": true}, "Return": 9}',
    ),
    "delete, nobody wrote down what it found": (
        delete(0, 9, result=Deleted(found=None)),
        '{"ClientId": 0, "Client": "c", "Input": {"op": "delete", "key": "k"}, "Call": 0, '
        '"Output": {"status": "ok", "found": null}, "Return": 9}',
    ),
}


class TestLines:
    @pytest.mark.parametrize("kind", GOLDEN)
    def test_golden(self, kind: str) -> None:
        made, golden = GOLDEN[kind]
        file = io.StringIO()
        assert write_porcupine([made], file) == 1
        assert file.getvalue() == golden + "\n"

    def test_what_was_not_done_is_left_out(self) -> None:
        assert lines(put(0, 1, "a", outcome=NOT_DONE)) == []
        assert [line["Call"] for line in lines(put(0, 50, "a", outcome=NOT_DONE), put(5, None, "b"))] == [5]

    def test_they_come_by_invocation(self) -> None:
        assert [line["Call"] for line in lines(put(2, 3, "b", 2), put(0, 1, "a", 1))] == [0, 2]

    def test_what_is_unknown_ends_after_everything(self) -> None:
        ends = [
            line["Return"] for line in lines(put(0, 5, "a"), put(1, None, "b"), put(2, 80, "c", 3), put(90, 90, "d", 4))
        ]
        assert ends == [91, 91, 80, 90]

    def test_times_are_whole_nanoseconds(self) -> None:
        begin = 1_700_000_000_123_456_789
        (line,) = lines(put(begin, begin + 1, "a", 1))
        assert (line["Call"], line["Return"]) == (begin, begin + 1)

    def test_nothing_is_no_line(self) -> None:
        assert lines() == []

    def test_an_answer_without_a_result_is_a_bug(self) -> None:
        with pytest.raises(AssertionError, match="no result"):
            lines(replace(put(0, 1, "a", 1), result=None))


class TestValues:
    def test_what_is_of_another_type_looks_different(self) -> None:
        values = [UNSEEN, None, "1", 1, True, 1.0, b"1", ("1",), (1,), ((),), (), frozenset("1"), "", b"", 2**70]
        told = [json.dumps(line["Input"]["value"]) for line in lines(*(put(0, 9, value, 1) for value in values))]
        assert len(set(told)) == len(values)

    def test_what_is_made_of_values(self) -> None:
        (line,) = lines(put(0, 9, ("a", (b"b", None)), 1))
        inner = {"type": "tuple", "items": [{"type": "bytes", "text": "62"}, {"type": "NoneType", "text": "None"}]}
        assert line["Input"]["value"] == {"type": "tuple", "items": ["a", inner]}

    def test_equal_sets_look_equal(self) -> None:
        one, other = (
            line["Input"]["value"] for line in lines(*(put(0, 9, frozenset(made), 1) for made in ("abc", "cba")))
        )
        assert one == other == {"type": "frozenset", "items": ["a", "b", "c"]}

    @given(st.text())
    def test_a_text_stays_on_its_line(self, text: str) -> None:
        (line,) = lines(put(0, 9, text, 1))
        assert line["Input"]["value"] == text


class TestClients:
    def test_a_client_that_waits_has_one_number(self) -> None:
        one, other = "one", "other"
        calls = [put(0, 9, "a", 1, client=one), put(1, 2, "b", 2, client=other), put(10, 11, "c", 3, client=one)]
        assert [(line["ClientId"], line["Client"]) for line in lines(*calls)] == [(0, one), (1, other), (0, one)]

    def test_one_that_does_not_has_several(self) -> None:
        assert [line["ClientId"] for line in lines(put(0, 9, "a", 1), put(1, 2, "b", 2), put(3, 4, "c", 3))] == [
            0,
            1,
            1,
        ]

    def test_nothing_follows_a_call_of_unknown_outcome(self) -> None:
        assert [line["ClientId"] for line in lines(put(0, 1, "a"), put(5, 6, "b", 2), put(7, 8, "c", 3))] == [0, 1, 1]

    @given(st.lists(any_call(), max_size=15))
    def test_no_two_of_one_number_overlap(self, calls: list[Call]) -> None:
        written = lines(*calls)
        assert len(written) == sum(call.outcome is not Outcome.NOT_DONE for call in calls)
        for one, other in combinations(written, 2):
            assert one["Call"] <= one["Return"]
            if one["ClientId"] == other["ClientId"]:
                assert one["Return"] < other["Call"]
                assert one["Client"] == other["Client"]
        assert {line["ClientId"] for line in written} == set(range(len({line["ClientId"] for line in written})))
        unknown = [call for call in calls if call.outcome is UNKNOWN]
        assert sum(line["Output"] == {"status": "unknown"} for line in written) == len(unknown)
