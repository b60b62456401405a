"""Reading a run: what raft-actors recorded becomes dataframes, numbers and verdicts.

Here:   the public names, found when they are first asked for, so that the package loads without pandas.
Never:  Ray, actors, the store: a run is read wherever pandas is, also long after its cluster is gone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from raft_actors._version import __version__

if TYPE_CHECKING:
    from analysis.availability import leader_gaps
    from analysis.check import RunVerdict, check_run, run_calls
    from analysis.latency import summary
    from analysis.load import Run, close_run, detail, frame_from_rows, load_run
    from analysis.porcupine import write_porcupine
    from analysis.timeline import save_timeline

__all__ = [
    "Run",
    "RunVerdict",
    "__version__",
    "check_run",
    "close_run",
    "detail",
    "frame_from_rows",
    "leader_gaps",
    "load_run",
    "run_calls",
    "save_timeline",
    "summary",
    "write_porcupine",
]

__raft_actors__: Final = __version__
"""Tells our package from another one of the same name (raft_actors/__init__.py)."""

_MODULES: Final = {
    "Run": "analysis.load",
    "RunVerdict": "analysis.check",
    "check_run": "analysis.check",
    "close_run": "analysis.load",
    "detail": "analysis.load",
    "frame_from_rows": "analysis.load",
    "leader_gaps": "analysis.availability",
    "load_run": "analysis.load",
    "run_calls": "analysis.check",
    "save_timeline": "analysis.timeline",
    "summary": "analysis.latency",
    "write_porcupine": "analysis.porcupine",
}
"""Where a public name is defined."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_MODULES[name]), name)
    except ModuleNotFoundError as missing:
        if missing.name in {"pandas", "pyarrow", "matplotlib"}:
            raise ImportError(
                f"The analysis needs {missing.name}: pip install 'raft-actors[analysis]'.", name=missing.name
            ) from missing
        raise


def __dir__() -> list[str]:
    return __all__
