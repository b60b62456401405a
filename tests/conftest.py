"""What holds for every test: no Ray unless the test says `cluster`, and the same examples on every run."""

from __future__ import annotations

import sys

import pytest
from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)  # a red run must be red again, on any machine
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def ray_stays_shut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `ray.init` refuse in tests that are not marked `cluster`: a unit test must not start processes unnoticed."""
    ray = sys.modules.get("ray")
    if ray is None or request.node.get_closest_marker("cluster"):
        return

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("this test starts Ray: pass a fake instead, or mark it with pytest.mark.cluster")

    monkeypatch.setattr(ray, "init", refuse)
