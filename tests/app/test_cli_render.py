"""Data on stdout: readable as a table, exact as JSON and YAML, and never obeyed by a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from kv.app.render import cell, document_text, plain, rows_text, value_text


class TestValues:
    def test_a_string_and_bytes_are_printed_as_they_are_so_that_they_can_go_into_a_file(self) -> None:
        assert value_text("two\nlines", "table") == "two\nlines"
        assert value_text(b"\x00\xff", "table") == b"\x00\xff"

    def test_any_other_value_is_json_even_without_a_format(self) -> None:
        assert value_text({"a": [1, 2.5, None, True]}, "table") == '{"a": [1, 2.5, null, true]}'

    @pytest.mark.parametrize(("output", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
    @pytest.mark.parametrize("value", ["text", "", 7, -0.5, None, True, [1, ["é"]], {"k": {"l": []}}, "yes", "1"])
    def test_json_and_yaml_give_back_the_value(self, output: str, parse: Any, value: object) -> None:
        text = value_text(value, output)
        assert parse(text) == value
        assert not str(text).endswith(("\n", "..."))

    def test_what_json_has_no_word_for_is_written_so_that_it_is_recognised(self) -> None:
        assert plain((1, b"hi")) == [1, {"base64": "aGk="}]
        assert plain({"z": 1j}) == {"z": "1j"}


class TestRows:
    ROWS = ({"id": 0, "role": "leader", "more": 1}, {"id": 11, "role": None, "more": 2})

    def test_a_table_has_the_columns_asked_for_one_below_the_other(self) -> None:
        assert rows_text(self.ROWS, "table", ("id", "role")) == "id  role\n0   leader\n11  -"

    def test_json_has_every_column(self) -> None:
        assert json.loads(rows_text(self.ROWS, "json", ("id",))) == list(self.ROWS)

    def test_no_rows_are_a_header_or_an_empty_list(self) -> None:
        assert rows_text([], "table", ("id", "role")) == "id  role"
        assert rows_text([], "json", ("id",)) == "[]"
        assert document_text([], "yaml") == "[]"

    def test_control_characters_of_stored_text_do_not_reach_the_terminal(self) -> None:
        assert cell("\x1b[2Jevil\nline") == r"\x1b[2Jevil\nline"
        assert cell("grüße") == "grüße"

    def test_a_long_value_is_cut_where_a_limit_is_given(self) -> None:
        assert cell("x" * 100, 10) == "xxxxxxx..."
        assert cell("x" * 100) == "x" * 100
