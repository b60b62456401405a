"""Every refusal that a caller can meet: named, picklable, one sentence that says what to do.

Here:   the exceptions of the whole project except those only the key-value store knows (kv/errors.py).
Never:  bugs (those are AssertionError and stop the member) and outcomes of consensus (those are values).

Two families. `RefusedError`s say that something was asked in a wrong way or in a wrong place, and that nothing
changed. `OperationError`s end an operation and carry its `outcome`: "not_done" is definite, "unknown" means that it may
have happened or may yet happen; unknown is never reported as failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

Outcome: TypeAlias = Literal["not_done", "unknown"]


class RaftActorsError(Exception):
    """Root of all our exceptions. Carries its details as attributes, and both through a pickle."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __getattr__(self, name: str) -> Any:
        details = self.__dict__.get("details", {})
        if name in details:
            return details[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.details)


def _rebuild(cls: type[RaftActorsError], message: str, details: Mapping[str, Any]) -> RaftActorsError:
    return cls(message, **details)


# -- refusals: nothing changed ------------------------------------------------------------------------------------


class RefusedError(RaftActorsError):
    """Asked in a wrong way or place; nothing changed."""


class ConfigError(RefusedError, ValueError):
    """A setting, alone or against another one, makes no sense."""


class InvalidName(RefusedError, ValueError):
    """Names of groups match [A-Za-z0-9_.-]{1,64} and do not start with a dot."""


class RayNotInitialised(RefusedError):
    """No Ray in this process: call ray.init() first."""


class UnknownGroup(RefusedError):
    """No group of this name runs on the connected Ray cluster."""


class OptionsDiffer(RefusedError):
    """The group runs with other options than the ones given; lists each."""


class VersionDiffers(RefusedError):
    """The group runs other code or formats than this process."""


class StartTimeout(RefusedError, TimeoutError):
    """The group did not commit a write in time; says which member waits for what."""


class ShadowedPackage(RefusedError, ImportError):
    """Another package of the same name hides ours; says which file."""


class FaultsNotEnabled(RefusedError):
    """Fault injection asked of a group that has none."""


class FaultFailed(RefusedError):
    """A fault that could not be done to a process, a disk or a node; says why."""


class FaultsDidNotBite(RaftActorsError):
    """Faults of a run touched nothing, so that it shows nothing; `faults` has their rows."""


class AlreadyThere(RefusedError, FileExistsError):
    """What would be overwritten exists: a file, or a group of that name or its data; says which."""

    def __init__(self, message: str, **details: Any) -> None:
        RaftActorsError.__init__(self, message, **details)


class HasQuorum(RefusedError):
    """A new cluster asked of a group whose old one still has a quorum; replace the lost members instead."""


class CannotRecover(RefusedError):
    """No new cluster can be founded there, or from that; says why and what to do."""


class NotSupportedYet(RefusedError, NotImplementedError):
    """Part of the public interface that this version does not have; says what to do instead."""


# -- membership: what was asked for was not done --------------------------------------------------------------------


class MembershipError(RaftActorsError):
    """The members of a group were not changed as asked, or leadership was not moved."""


class NoLeader(MembershipError):
    """No leader could be found that a majority confirms; without one nobody can change the members."""


class NoSuchNode(MembershipError):
    """No live node of the Ray cluster is meant by what was given."""


class NotMember(MembershipError):
    """The group has no member in that place."""


class AlreadyMember(MembershipError):
    """The place is taken."""


class AlreadyVoter(MembershipError):
    """The member votes already."""


class MemberLags(MembershipError):
    """The member is too far behind to vote, or was not heard of lately."""


class LastVoter(MembershipError):
    """The last voter cannot be removed."""


class TooFewLeft(MembershipError):
    """Without the member too few voters would be left that answer: the group would stand still."""


class ChangeUnderWay(MembershipError, TimeoutError):
    """Another change, or this one, is not done in time; it may go on by itself, and the text says how far it is."""


class TransferFailed(MembershipError):
    """Leadership did not move; the leader before leads on."""


# -- storage: the member that meets one is `failed` or waits, and says so -------------------------------------------


class StorageError(RaftActorsError):
    """A data directory cannot be used; the text says why and what to do."""


class UnsafeDirectory(StorageError):
    """Wrong owner or mode, a symlink, tmpfs or a network file system."""


class DirectoryNotWritable(StorageError):
    """The directory cannot be created or written."""


class DirectoryLocked(StorageError):
    """Another process holds the directory; says which."""


class ForeignDirectory(StorageError):
    """The directory belongs to another group, member or cluster."""


class NewerFormat(StorageError):
    """The directory was written by a newer version of raft-actors."""


class LogDamaged(StorageError):
    """Acknowledged data in the log is damaged; says file, offset and index."""


class SnapshotDamaged(StorageError):
    """A snapshot file is damaged; says file, offset and why. An older one, or another member, has the state."""


class SnapshotGone(SnapshotDamaged):
    """This snapshot is not there any more, a newer one is; no fault."""


class SnapshotFailed(StorageError):
    """A snapshot could not be written; the state before is as it was, and the next attempt begins anew."""


class MemberStopped(StorageError):
    """A STOPPED file says that this member failed before and waits for `raft-kv restart-member`."""


class StorageFailed(StorageError, OSError):
    """A write or sync failed. The peer must stop: what is on the disk now is not known (never retried)."""

    def __init__(self, message: str, **details: Any) -> None:
        RaftActorsError.__init__(self, message, **details)


# -- backups ------------------------------------------------------------------------------------------------------


class BackupFailed(RaftActorsError):
    """No backup was written; what was there before is as it was."""


class BackupRefused(RefusedError):
    """Nothing is restored from this file; says why."""


class BackupDamaged(BackupRefused):
    """The file was cut off or changed; says where and how."""


class BackupForeign(BackupRefused):
    """The file is no backup, or one of another state machine."""


class BackupNewer(BackupRefused):
    """The file was written by a newer version of raft-actors."""


# -- peers ----------------------------------------------------------------------------------------------------------


class PeerFailed(RaftActorsError):
    """What a peer recorded until its end; `failures` is a list of texts, each with its daemon's name."""


class DaemonFailed(RaftActorsError):
    """A daemon thread died or did not end in time."""


# -- operations -----------------------------------------------------------------------------------------------------


class OperationError(RaftActorsError):
    """An operation ended without a result. `outcome`: "not_done" is definite, "unknown" may have happened."""

    default_outcome: ClassVar[Outcome] = "not_done"

    def __init__(self, message: str, *, outcome: Outcome | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.outcome: Outcome = outcome or self.default_outcome

    @property
    def told(self) -> dict[str, int]:
        """What it tells of the store's state, as columns of a run's `ops`."""
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, {"outcome": self.outcome, **self.details})


class Timeout(OperationError, TimeoutError):
    """No answer within `timeout_s`."""

    default_outcome = "unknown"


class NoQuorum(OperationError):
    """No leader could be found within `timeout_s`, and nothing was sent that could still happen."""


class Overloaded(OperationError):
    """Too much is waiting already; try again later."""


class LogFull(OperationError):
    """The log reached log_bytes_max and cannot be compacted yet; nothing was written."""


class SessionLost(OperationError):
    """The client's session expired while the operation was under way."""

    default_outcome = "unknown"


class ClientClosed(OperationError):
    """The client was closed."""
