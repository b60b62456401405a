"""A replicated key-value store on Ray: `kv.start`, `kv.connect`, and a client that survives the leader's death.

Here:   the public names, found when they are first asked for, so that `kv.machine` loads without Ray.
Never:  anything that is done.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from raft_actors._version import __version__

if TYPE_CHECKING:
    from kv.backup import plan_recovery, recover, restore_snapshot, save_snapshot
    from kv.client import Client
    from kv.cluster import Status, connect, membership, shutdown, start, status
    from kv.config import Config
    from kv.encoded import Encoded, Versioned
    from kv.errors import (
        AnswerMalformed,
        ArgumentInvalid,
        BatchTooLarge,
        ClientClosed,
        CommandMalformed,
        KeyInvalid,
        KeyTooLarge,
        KVError,
        LogFull,
        NoQuorum,
        Overloaded,
        SessionLost,
        SnapshotMalformed,
        StoreRefusal,
        Timeout,
        TypeMismatch,
        UseAio,
        ValueNotNative,
        ValueOpaque,
        ValueTooLarge,
        ValueUnreadable,
        VersionMismatch,
    )
    from kv.values import decode

__all__ = [
    "AnswerMalformed",
    "ArgumentInvalid",
    "BatchTooLarge",
    "Client",
    "ClientClosed",
    "CommandMalformed",
    "Config",
    "Encoded",
    "KVError",
    "KeyInvalid",
    "KeyTooLarge",
    "LogFull",
    "NoQuorum",
    "Overloaded",
    "SessionLost",
    "SnapshotMalformed",
    "Status",
    "StoreRefusal",
    "Timeout",
    "TypeMismatch",
    "UseAio",
    "ValueNotNative",
    "ValueOpaque",
    "ValueTooLarge",
    "ValueUnreadable",
    "VersionMismatch",
    "Versioned",
    "__version__",
    "connect",
    "decode",
    "membership",
    "plan_recovery",
    "recover",
    "restore_snapshot",
    "save_snapshot",
    "shutdown",
    "start",
    "status",
]

__raft_actors__: Final = __version__
"""Tells our package from another one of the same name (raft_actors/__init__.py)."""

_MODULES: Final = {
    "Client": "kv.client",
    "Config": "kv.config",
    "Encoded": "kv.encoded",
    "Status": "kv.cluster",
    "Versioned": "kv.encoded",
    "connect": "kv.cluster",
    "decode": "kv.values",
    "membership": "kv.cluster",
    "plan_recovery": "kv.backup",
    "recover": "kv.backup",
    "restore_snapshot": "kv.backup",
    "save_snapshot": "kv.backup",
    "shutdown": "kv.cluster",
    "start": "kv.cluster",
    "status": "kv.cluster",
}
"""Where a public name is defined; those not listed are errors."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, "kv.errors")), name)


def __dir__() -> list[str]:
    return __all__
