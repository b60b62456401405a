"""Raft peers as Ray actors: a replicated, durable, linearizable state machine on a running Ray cluster.

Here:   the public names, found when they are first asked for, so that the pure parts load without Ray; and
        `raft_actors.kv`, `raft_actors.analysis`: our packages, even where a user's own file of that name comes first.
Never:  anything that is done.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Final

from raft_actors._version import __version__
from raft_actors.errors import ShadowedPackage

if sys.platform == "win32":
    raise ImportError("raft-actors needs file locks and syncs that Windows does not have: run it on Linux or in WSL 2.")

if TYPE_CHECKING:
    import analysis as analysis
    import kv as kv
    from raft_actors.application.exchange import NotLeader, ReadAt, Started
    from raft_actors.cluster.group import Group, MemberStatus, connect, start
    from raft_actors.config import RaftConfig
    from raft_actors.errors import (
        AlreadyMember,
        AlreadyThere,
        AlreadyVoter,
        BackupDamaged,
        BackupFailed,
        BackupForeign,
        BackupNewer,
        BackupRefused,
        CannotRecover,
        ChangeUnderWay,
        ClientClosed,
        ConfigError,
        DaemonFailed,
        DirectoryLocked,
        DirectoryNotWritable,
        FaultFailed,
        FaultsDidNotBite,
        FaultsNotEnabled,
        ForeignDirectory,
        HasQuorum,
        InvalidName,
        LastVoter,
        LogDamaged,
        LogFull,
        MemberLags,
        MembershipError,
        MemberStopped,
        NewerFormat,
        NoLeader,
        NoQuorum,
        NoSuchNode,
        NotMember,
        NotSupportedYet,
        OperationError,
        OptionsDiffer,
        Overloaded,
        PeerFailed,
        RaftActorsError,
        RayNotInitialised,
        RefusedError,
        SessionLost,
        SnapshotDamaged,
        SnapshotFailed,
        SnapshotGone,
        StartTimeout,
        StorageError,
        StorageFailed,
        Timeout,
        TooFewLeft,
        TransferFailed,
        UnknownGroup,
        UnsafeDirectory,
        VersionDiffers,
    )

__all__ = [
    "AlreadyMember",
    "AlreadyThere",
    "AlreadyVoter",
    "BackupDamaged",
    "BackupFailed",
    "BackupForeign",
    "BackupNewer",
    "BackupRefused",
    "CannotRecover",
    "ChangeUnderWay",
    "ClientClosed",
    "ConfigError",
    "DaemonFailed",
    "DirectoryLocked",
    "DirectoryNotWritable",
    "FaultFailed",
    "FaultsDidNotBite",
    "FaultsNotEnabled",
    "ForeignDirectory",
    "Group",
    "HasQuorum",
    "InvalidName",
    "LastVoter",
    "LogDamaged",
    "LogFull",
    "MemberLags",
    "MemberStatus",
    "MemberStopped",
    "MembershipError",
    "NewerFormat",
    "NoLeader",
    "NoQuorum",
    "NoSuchNode",
    "NotLeader",
    "NotMember",
    "NotSupportedYet",
    "OperationError",
    "OptionsDiffer",
    "Overloaded",
    "PeerFailed",
    "RaftActorsError",
    "RaftConfig",
    "RayNotInitialised",
    "ReadAt",
    "RefusedError",
    "SessionLost",
    "ShadowedPackage",
    "SnapshotDamaged",
    "SnapshotFailed",
    "SnapshotGone",
    "StartTimeout",
    "Started",
    "StorageError",
    "StorageFailed",
    "Timeout",
    "TooFewLeft",
    "TransferFailed",
    "UnknownGroup",
    "UnsafeDirectory",
    "VersionDiffers",
    "__version__",
    "analysis",
    "connect",
    "kv",
    "start",
]

__raft_actors__: Final = __version__
"""Tells our package from another one of the same name; each of the three has it."""

_PACKAGES: Final = ("analysis", "kv")

_MODULES: Final = {
    "Group": "raft_actors.cluster.group",
    "MemberStatus": "raft_actors.cluster.group",
    "NotLeader": "raft_actors.application.exchange",
    "ReadAt": "raft_actors.application.exchange",
    "Started": "raft_actors.application.exchange",
    "connect": "raft_actors.cluster.group",
    "start": "raft_actors.cluster.group",
    "RaftConfig": "raft_actors.config",
}
"""Where a public name is defined; those not listed are errors."""

_loading = RLock()


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _PACKAGES:
        return _own_package(name)
    return getattr(importlib.import_module(_MODULES.get(name, "raft_actors.errors")), name)


def __dir__() -> list[str]:
    return __all__


def _own_package(name: str) -> ModuleType:
    """The package that was installed beside this one, whatever else of that name `sys.path` would find first.

    It is loaded under its own name, so that its modules find each other. Once another package holds the name, nothing
    can be done without breaking that one: `ShadowedPackage` says which file it is.
    """
    with _loading:
        package = sys.modules.get(name)
        if package is None:
            spec = PathFinder.find_spec(name, [str(Path(__file__).resolve().parent.parent)])
            assert spec is not None, f"{name} is not installed beside raft_actors"
            assert spec.loader is not None, f"{name} beside raft_actors has lost its __init__.py"
            package = sys.modules[name] = module_from_spec(spec)
            try:
                spec.loader.exec_module(package)
            except BaseException:
                del sys.modules[name]  # as the import statement does: half a package must not be found later
                raise
    if getattr(package, "__raft_actors__", None) != __version__:
        raise ShadowedPackage(
            f"{getattr(package, '__file__', name)} has taken the name {name!r} of our package: rename that file, or "
            f"write `from raft_actors import {name}` before anything imports it."
        )
    return package
