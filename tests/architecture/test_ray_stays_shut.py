"""The fixture of tests/conftest.py: no test starts Ray unless it is marked `cluster`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest


@pytest.fixture(scope="module", autouse=True)
def stand_in() -> Iterator[ModuleType]:
    """A `ray` that is loaded before the test begins, as if a tested module had imported it."""
    ray = ModuleType("ray")
    ray.init = lambda: "started"  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ray", ray)
        yield ray


def test_init_refuses(stand_in: ModuleType) -> None:
    with pytest.raises(AssertionError, match=r"mark it with pytest\.mark\.cluster"):
        stand_in.init(num_cpus=1)


@pytest.mark.cluster
def test_init_is_itself_where_a_cluster_is_asked_for(stand_in: ModuleType) -> None:
    assert stand_in.init() == "started"
