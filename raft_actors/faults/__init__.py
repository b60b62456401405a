"""Faults between the parts of a group: what may happen to messages, processes, disks, said once for worlds and for Ray.

Here:   the public names, found when they are first asked for, so that the plan loads without Ray.
Never:  anything that is done.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from raft_actors.faults.control import Faults, connect
    from raft_actors.faults.injector import FaultInjector, HeldCall
    from raft_actors.faults.plan import Plan
    from raft_actors.faults.rules import Fate, Message, Node, Part, Rule

__all__ = ["Fate", "FaultInjector", "Faults", "HeldCall", "Message", "Node", "Part", "Plan", "Rule", "connect"]

_MODULES: Final = {
    "Fate": "raft_actors.faults.rules",
    "FaultInjector": "raft_actors.faults.injector",
    "Faults": "raft_actors.faults.control",
    "HeldCall": "raft_actors.faults.injector",
    "Message": "raft_actors.faults.rules",
    "Node": "raft_actors.faults.rules",
    "Part": "raft_actors.faults.rules",
    "Plan": "raft_actors.faults.plan",
    "Rule": "raft_actors.faults.rules",
    "connect": "raft_actors.faults.control",
}
"""Where a public name is defined."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
