"""The demo's verdict: every acknowledged write is there exactly once, and every way to break that is seen."""

from __future__ import annotations

import pytest

from kv.app.histories import Outcome, Write, append_faults, loaded_faults, put_faults


def write(token: str, outcome: Outcome = "ok", version: int | None = None, *, key: str = "k", client: int = 0) -> Write:
    return Write(client=client, key=key, token=token, outcome=outcome, version=version)


APPENDS = [write("a1"), write("a2"), write("b1", client=1), write("a3", "unknown"), write("a4", "not_done")]


class TestAppends:
    @pytest.mark.parametrize(
        "tokens",
        [
            ["a1", "a2", "b1"],
            ["b1", "a1", "a2"],  # clients may overtake each other
            ["a1", "a3", "a2", "b1"],  # an unknown one may be there, anywhere
        ],
    )
    def test_all_acknowledged_once_and_in_their_clients_order_is_no_fault(self, tokens: list[str]) -> None:
        assert append_faults(APPENDS, {"k": tokens}) == []

    @pytest.mark.parametrize(
        ("tokens", "fault"),
        [
            (["a1", "b1"], "a2 is lost"),
            (["a1", "a2", "b1", "a2"], "a2 is there 2 times"),
            (["a1", "a2", "b1", "a3", "a3"], "a3 is there 2 times"),
            (["a1", "a2", "b1", "a4"], "a4 ended as not done and is there"),
            (["a2", "a1", "b1"], "a2 was appended after a1 was acknowledged and stands before it"),
            (["a1", "a2", "b1", "x"], "nobody appended x"),
        ],
    )
    def test_each_fault_is_named(self, tokens: list[str], fault: str) -> None:
        (found,) = append_faults(APPENDS, {"k": tokens})
        assert found.startswith("k: ")
        assert fault in found

    def test_a_key_that_is_missing_as_a_whole_has_lost_its_acknowledged_appends(self) -> None:
        assert len(append_faults(APPENDS, {})) == 3

    def test_a_token_under_the_wrong_key_is_lost_there_and_foreign_here(self) -> None:
        faults = append_faults([write("a1", key="k1")], {"k2": ["a1"]})
        assert faults == ["k1: the acknowledged append a1 is lost", "k2: nobody appended a1"]


PUTS = [write("a1", version=5), write("b1", version=7, client=1), write("u", "unknown"), write("n", "not_done")]


class TestPuts:
    @pytest.mark.parametrize("found", [("b1", 7), ("u", 8)])
    def test_the_last_acknowledged_or_a_later_unknown_put_is_no_fault(self, found: tuple[str, int]) -> None:
        assert put_faults(PUTS, {"k": found}) == []

    @pytest.mark.parametrize(
        ("found", "fault"),
        [
            (("a1", 5), "holds a1, version 5, which was acknowledged as 5; the last acknowledged put is version 7"),
            (("b1", 9), "holds b1, version 9, which was acknowledged as 7"),  # applied twice
            (("u", 6), "holds u, version 6, though version 7 was acknowledged"),
            (("n", 8), "n ended as not done and is there"),
            (("x", 8), "nobody put x"),
        ],
    )
    def test_each_fault_is_named(self, found: tuple[str, int], fault: str) -> None:
        (sentence,) = put_faults(PUTS, {"k": found})
        assert fault in sentence

    def test_a_missing_key_is_a_fault_only_if_a_put_was_acknowledged(self) -> None:
        assert put_faults(PUTS, {}) == ["k: acknowledged with version 7, and missing"]
        assert put_faults([write("u", "unknown")], {}) == []


def test_a_loaded_key_must_have_the_value_it_was_loaded_with() -> None:
    assert loaded_faults({"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}) == []
    assert loaded_faults({"a": 1, "b": 2}, {"a": 3}) == ["a: loaded with 1, found 3", "b: loaded with 2, found nothing"]
