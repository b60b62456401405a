"""The rules of rules.py hold for our sources. That each rule can fail is shown in test_rules.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.architecture import rules
from tests.architecture.sources import Sources

RULES: tuple[Callable[[Sources], Iterator[str]], ...] = (
    rules.outside_of_core,
    rules.upward_imports,
    rules.analysis_reads_more_than_rows,
    rules.ray_off_the_rim,
    rules.pandas_outside_analysis,
    rules.hidden_imports,
    rules.import_cycles,
    rules.banned_uses,
    rules.bare_excepts,
    rules.missing_docstrings,
    rules.missing_inits,
    rules.disagreeing_facades,
)


def test_there_is_something_to_check(ours: Sources) -> None:
    assert {"raft_actors", "raft_actors.core.types", "kv", "analysis"} <= ours.modules


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_file_breaks(rule: Callable[[Sources], Iterator[str]], ours: Sources) -> None:
    complaints = list(rule(ours))
    assert not complaints, "\n" + "\n".join(complaints)
