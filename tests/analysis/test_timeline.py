"""The picture of a failing history: which bars there are, where they stand, what they say, why there is no order.

Here:   the layout, without pixels; texts; reasons, which no legal history may have; files that are written.
Never:  how it looks, which eyes must judge; the lanes (test_lanes.py).
"""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.explained import VALUE_SHOWN, asked, short_value, told, why
from analysis.history import UNSEEN, Call, Deleted, Mismatch, WrongType
from analysis.linearizability import Judgement, Verdict, judge
from analysis.timeline import MOMENT_GAP, Bar, Layout, layout, save_timeline, timeline, unit_of
from tests.analysis.test_key_model import NOT_DONE, any_history, append, delete, get, history, put
from tests.analysis.test_lanes import any_call
from tests.analysis.test_linearizability import A1, TWINS, many

STALE: Final = (A1, put(2, 3, "b", 2, client="d"), get(4, 5, "a", 1))


def verdict_of(*calls: Call) -> Verdict:
    (verdict,) = judge(history(*calls))
    assert verdict.judgement is Judgement.ILLEGAL
    return verdict


def bars(*calls: Call, **more: Any) -> list[tuple[str, int, int, int | None, str, str]]:
    made = layout(history(*calls), **more)
    return [(bar.client, bar.lane, bar.begin, bar.end, bar.asked, bar.told) for bar in made.bars]


class TestBars:
    def test_one_lane_a_client_one_bar_a_call(self) -> None:
        assert bars(*STALE) == [
            ("c", 0, 0, 1, "put 'a'", "→ v1"),
            ("c", 0, 4, 5, "get", "→ v1 'a'"),
            ("d", 1, 2, 3, "put 'b'", "→ v2"),
        ]

    def test_more_lanes_where_calls_of_one_client_overlap(self) -> None:
        made = layout(history(put(0, 5, "a", 1), get(1, 2), get(7, 8), get(1, 2), get(3, 4, "a", 1)))
        assert made.clients == {"c": range(3)}
        assert [(bar.lane, bar.begin) for bar in made.bars] == [(0, 0), (0, 7), (1, 1), (1, 3), (2, 1)]

    def test_clients_come_by_their_first_calls(self) -> None:
        calls = history(put(5, 6, "a", 1, client="a"), put(0, 9, "b", 2, client="z"), put(1, 2, "b", 3, client="z"))
        assert layout(calls).clients == {"z": range(2), "a": range(2, 3)}

    def test_what_is_open_reaches_to_the_edge_and_has_its_lane_for_itself(self) -> None:
        made = layout(history(put(0, 2, "a"), get(5, 6, "a", 1)))
        assert [(bar.lane, bar.end) for bar in made.bars] == [(0, None), (1, 6)]

    def test_the_call_with_the_last_return_is_marked_and_the_one_that_contradicts_it(self) -> None:
        made = layout(history(*STALE, put(4, None, "c")))
        assert [bar.asked for bar in made.bars if bar.is_last] == ["get"]
        assert [bar.asked for bar in made.bars if bar.contradicts] == ["put 'b'"]

    def test_several_that_return_at_one_moment_are_marked(self) -> None:
        made = layout(history(A1, get(2, 3, "z", 9), get(2, 3, "a", 1)))
        assert [bar.told for bar in made.bars if bar.is_last] == ["→ v9 'z'", "→ v1 'a'"]

    def test_the_last_are_shown_and_the_rest_is_counted(self) -> None:
        puts = [put(2 * number, 2 * number + 1, number, number + 1) for number in range(40)]
        made = layout(history(*puts, get(90, 91, 3, 4)))
        assert (len(made.bars), made.hidden_count) == (30, 11)
        assert made.bars[0].asked == "put 11"
        assert len(layout(history(*puts), calls_max=5).bars) == 5

    def test_what_says_why_is_shown_however_early(self) -> None:
        slow, early = put(1, 200, "b", 9, client="slow"), get(2, 3, "z", 20)
        reads = [put(4, None, "x", client=f"c{number}") for number in range(50)]
        made = layout(history(slow, early, *reads), calls_max=4)
        assert [(bar.asked, bar.is_last) for bar in made.bars][:1] == [("put 'b'", True)]
        assert len(made.bars) == 4

    @given(st.lists(any_call(), min_size=1, max_size=12), st.integers(2, 12))
    def test_bars_of_one_lane_never_overlap_and_have_room_for_their_text(self, calls: list[Call], most: int) -> None:
        made = layout(calls, calls_max=most)
        assert len(made.bars) == min(len(calls), most)
        assert len(made.bars) + made.hidden_count == len(calls)
        for one, other in pairwise(made.bars):
            if one.lane == other.lane:
                assert one.client == other.client
                assert right_of(one, made) < made.x[other.begin]
        for bar in made.bars:
            assert bar.lane in made.clients[bar.client]
            if bar.end != bar.begin:
                assert right_of(bar, made) - made.x[bar.begin] >= bar.width - 1e-9
        for lanes_of, others in combinations(made.clients.values(), 2):
            assert not set(lanes_of) & set(others)

    @given(st.lists(any_call(), min_size=1, max_size=12))
    def test_the_order_of_time_is_exact(self, calls: list[Call]) -> None:
        made = layout(calls)
        for one, other in pairwise(sorted(made.x)):
            assert made.x[one] + MOMENT_GAP <= made.x[other] + 1e-9
        assert max(made.x.values()) < made.width


def right_of(bar: Bar, made: Layout) -> float:
    return made.width if bar.end is None else made.x[bar.end]


class TestTexts:
    @pytest.mark.parametrize(
        ("call", "first", "second"),
        [
            (put(0, 1, 3, 7), "put 3", "→ v7"),
            (put(0, 1, UNSEEN, 7), "put", "→ v7"),
            (put(0, 1, "a", 7, if_version=6), "put 'a' if v6", "→ v7"),
            (put(0, 1, "a", if_version=0, result=Mismatch(current=3)), "put 'a' if missing", "→ refused: is v3"),
            (put(0, 1, "a", if_version=4, result=Mismatch(current=0)), "put 'a' if v4", "→ refused: missing"),
            (put(0, 1, UNSEEN, result=Mismatch(current=None)), "put", "→ refused"),
            (put(0, 1, "a", outcome=NOT_DONE), "put 'a'", "→ not done"),
            (append(0, 1, b"x", result=WrongType()), "append b'x'", "→ refused: type"),
            (append(0, None, "x"), "append 'x'", "→ ?"),
            (get(0, 1, "x", 7), "get", "→ v7 'x'"),
            (get(0, 1, UNSEEN, 7), "get", "→ v7"),
            (get(0, 1), "get", "→ missing"),
            (delete(0, 1, True), "delete", "→ deleted"),
            (delete(0, 1, False), "delete", "→ nothing there"),
            (delete(0, 1, result=Deleted(found=None)), "delete", "→ deleted"),
        ],
    )
    def test_a_call(self, call: Call, first: str, second: str) -> None:
        assert (asked(call), told(call)) == (first, second)

    def test_keys_are_named_where_there_are_several(self) -> None:
        assert [bar[4] for bar in bars(A1, replace(A1, key="other"))] == ["put k 'a'", "put other 'a'"]

    def test_a_long_value_keeps_its_beginning_and_its_end(self) -> None:
        assert short_value("a" * 300 + "end") == "'aaaaaaa…aaaend'"
        assert len(short_value("a" * 300)) == VALUE_SHOWN
        assert short_value("a" * (VALUE_SHOWN - 2)) == repr("a" * (VALUE_SHOWN - 2))

    def test_what_a_font_may_not_have_is_written_out(self) -> None:
        assert short_value("語") == "'\\u8a9e'"

    @pytest.mark.parametrize(
        ("span_ns", "unit"),
        [(0, "ns"), (999, "ns"), (5_000, "µs"), (1_000_000, "ms"), (9_000_000_000, "ms"), (10**10, "s")],
    )
    def test_units(self, span_ns: int, unit: str) -> None:
        assert unit_of(span_ns)[0] == unit


class TestWhy:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a stale read", "get of c saw v1 'a', but put of c made v2 'b' and returned before the framed"),
            ("an acknowledged write that is not seen", "get of c found nothing, but put of c made v1 'a' and returned"),
            ("a version of another value", "get of c saw v1 'b', but put of c made v2 'b' and returned before"),
            (
                "a value that was never written",
                "get of c saw v1 'z', but put of c made v1 'a'. A version has",
            ),
            (
                "no version is left for a write that was seen",
                "put of c made v2 'c', but get of c saw v2 'b' and returned",
            ),
            ("a version that is used twice", "put of c made v5 'b', but put of c made v5 'a' and returned before"),
            ("versions that fall", "put of c made v4 'b', but put of c made v5 'a' and returned before the framed"),
            ("a lost update", "Without what the framed call returned there is an order of all others"),
        ],
    )
    def test_it_is_told_where_two_calls_show_it(self, name: str, text: str) -> None:
        assert text in why(verdict_of(*TWINS[name][1]).failing).text

    def test_values_that_differ_where_they_are_cut(self) -> None:
        calls = [put(0, 1, "a" * 50 + "x" + "a" * 50, 1), get(2, 3, "a" * 50 + "y" + "a" * 50, 1)]
        assert "differ where they are cut short" in why(calls).text

    def test_a_prefix_that_may_not_be_the_smallest_claims_less(self) -> None:
        calls = verdict_of(*TWINS["a lost update"][1]).failing
        assert (
            why(calls, is_smallest=False).text == "No order explains all answers up to the return of the framed call."
        )

    @pytest.mark.parametrize("name", TWINS)
    def test_legal_twins_have_no_contradiction(self, name: str) -> None:
        assert len(why(history(*TWINS[name][0])).calls) <= 1

    @pytest.mark.slow
    @settings(max_examples=300)
    @given(st.randoms(use_true_random=False))
    def test_nor_have_random_ones(self, dice: random.Random) -> None:
        calls = any_history(dice)
        (verdict,) = judge(calls)
        if verdict.judgement is Judgement.OK:
            assert len(why(calls).calls) <= 1
        if verdict.failing:
            assert why(verdict.failing).calls[0].returned == max(
                call.returned or 0 for call in verdict.failing if call.result is not None
            )


class TestFiles:
    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml")])
    def test_one_is_written(self, tmp_path: Path, name: str, begins: bytes) -> None:
        save_timeline(verdict_of(*STALE, put(4, None, "c")), tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begins)

    @pytest.mark.slow
    def test_names_and_values_are_not_taken_for_formulas_nor_missed_by_the_font(self, tmp_path: Path) -> None:
        odd = [replace(call, client="$\\frac 語", key="$k$") for call in (put(0, 1, "$x$ 語\n", 1), get(2, 3))]
        save_timeline(verdict_of(*odd), tmp_path / "odd.png")

    def test_other_suffixes_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"as \.png or \.svg"):
            save_timeline(verdict_of(*STALE), tmp_path / "a.pdf")

    def test_a_legal_history_has_no_picture(self, tmp_path: Path) -> None:
        (verdict,) = judge(history(A1))
        with pytest.raises(ValueError, match="key k is ok"):
            save_timeline(verdict, tmp_path / "a.png")
        assert not list(tmp_path.iterdir())

    @pytest.mark.slow
    def test_what_the_figure_says(self) -> None:
        calls = many(60, seed=1, unknown=6)
        last = max(call.returned or 0 for call in calls)
        failing = verdict_of(*calls, replace(get(last + 1, last + 2, "1 ", 1), client="late")).failing
        figure = timeline(failing, title="Title")
        (axes,) = figure.axes
        assert figure.texts[0].get_text() == "Title"
        assert "31 other calls are not shown." in " ".join(text.get_text() for text in figure.texts)
        assert len(axes.texts) == 30
        assert sorted(text.get_text() for text in axes.get_yticklabels()) == ["A", "B", "C", "D", "E", "late"]
        assert axes.get_xlabel().startswith("ns since")
