"""Rows are held against the schema before they reach a file."""

from __future__ import annotations

from typing import Any

import pytest

from raft_actors.recording import FRAMES, Kind, Row, row_fault

OP: Row = {"op_id": "1", "client": "c1", "op": "put", "status": "ok", "t_invoke": 5}


class TestARowFitsItsFrame:
    def test_columns_that_may_be_null_may_be_left_out_or_none(self) -> None:
        assert row_fault(FRAMES["ops"], OP) is None
        assert row_fault(FRAMES["ops"], OP | {"t_return": None, "term": None, "latency_ms": None}) is None

    def test_every_column_takes_a_value_of_its_kind(self) -> None:
        samples: dict[Kind, Any] = {
            Kind.INT: 7,
            Kind.NULLABLE_INT: 7,
            Kind.FLOAT: 0.5,
            Kind.FLAG: True,
            Kind.TEXT: "x",
            Kind.NAME: 3,
            Kind.DETAILS: {"term": 1},
        }
        for frame in FRAMES.values():
            row = {c.key: c.values[0] if c.values else samples[c.kind] for c in frame.columns}
            assert row_fault(frame, row) is None

    @pytest.mark.parametrize("missing", sorted(OP))
    def test_a_required_column_that_is_missing_is_named(self, missing: str) -> None:
        fault = row_fault(FRAMES["ops"], {name: value for name, value in OP.items() if name != missing})
        assert fault is not None
        assert repr(missing) in fault

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("t_invoke", 1.5),
            ("t_invoke", True),
            ("t_invoke", "5"),
            ("t_invoke", 2**63),
            ("status", "fail"),
            ("status", ["ok"]),
            ("latency_ms", float("nan")),
            ("latency_ms", "1"),
            ("key", b"bytes"),
            ("key", "\ud800"),
            ("op_id", None),
            ("found", 1),
            ("consistency", "eventual"),
            ("parts", [1]),
        ],
    )
    def test_a_value_of_another_type_is_named(self, column: str, value: object) -> None:
        fault = row_fault(FRAMES["ops"], OP | {column: value})
        assert fault is not None
        assert repr(column) in fault

    def test_a_column_that_no_frame_knows_is_named_never_ignored(self) -> None:
        assert row_fault(FRAMES["ops"], OP | {"colour": "red"}) == "unknown column 'colour'"

    def test_what_is_no_dict_is_no_row(self) -> None:
        assert row_fault(FRAMES["ops"], [1]) == "a row is a dict, got list"


class TestTheSchemaDescribesItself:
    def test_every_column_says_what_it_means_and_every_number_its_unit(self) -> None:
        for frame in FRAMES.values():
            assert frame.clock in frame.column_names
            for column in frame.columns:
                assert column.meaning, (frame.name, column.name)
                assert column.unit or column.kind is not Kind.FLOAT, (frame.name, column.name)
