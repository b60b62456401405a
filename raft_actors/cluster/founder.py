"""Founding a group's first directory on its node, while nobody else starts that group.

Here:   `Founder`, an actor in the keeper's place and on the node where the directory shall lie; its driver's half.
Never:  what a founded directory is (raft_actors/storage/founding.py), who may ask for one (recovery.py, backup.py).

Creating the keeper by name is the mutex of starting a group (keeper.py), and this holds it: who starts the group
meanwhile finds a keeper that has not started yet, and waits. It dies with the driver that made it, and with it the
mutex; what it leaves then, the next attempt removes or brings to its end (founding.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from raft_actors.cluster.actors import find_actor
from raft_actors.cluster.options import GroupOptions
from raft_actors.core.entries import SnapshotMeta
from raft_actors.core.types import MemberId
from raft_actors.errors import AlreadyThere, CannotRecover, DirectoryLocked, RaftActorsError, StorageFailed
from raft_actors.names import NAMESPACE, keeper_name
from raft_actors.process import log_to_stderr
from raft_actors.storage.backups import header_of
from raft_actors.storage.founding import Founded, Founding, Origin, Place, found_in_place_of, settle
from raft_actors.storage.place import member_path
from raft_actors.storage.visit import peek_identity
from raft_actors.storage.wal import FileStorage

LOCK_WAIT_S: Final = 15.0
"""How long a directory may be in use by a process that was told to end."""
LOCK_LOOK_S: Final = 0.1
NAME_WAIT_S: Final = 10.0
"""How long Ray may take to forget the keeper that was ended."""
NAME_LOOK_S: Final = 0.05


class Founder:
    """Does one thing, once: `recover`, or `begin`, `write` ... `finish`. A refusal leaves the place as it was."""

    def __init__(self, options: GroupOptions, member_id: MemberId) -> None:
        log_to_stderr()
        self._options = options
        self._place = Place(
            path=member_path(options.data_dir, options.group, member_id),
            group=options.group,
            member_id=member_id,
            segment_bytes_max=options.config.segment_bytes,
            allow_unsafe_data_dir=options.allow_unsafe_data_dir,
        )
        self._founding: Founding | None = None
        self._snapshot: SnapshotMeta | None = None
        self._written = 0

    # -- in the keeper's place ----------------------------------------------------------------------------------------

    @ray.method(concurrency_group="admin")
    def options(self) -> dict[str, Any]:
        """As the keeper's."""
        return self._options.public()

    @ray.method(concurrency_group="admin")
    def progress(self) -> dict[str, Any]:
        """As the keeper's."""
        trouble = "its first directory is being founded from a backup or from a member"
        return {"started": False, "created": False, "trouble": trouble, "waiting_for": {}}

    @ray.method(concurrency_group="admin")
    def stop(self) -> None:
        """As the keeper's: it brings nothing back."""

    # -- from a backup ------------------------------------------------------------------------------------------------

    @ray.method(concurrency_group="work")
    def begin(self, header: bytes, places: tuple[MemberId, ...]) -> None:
        """A directory for the state of a backup with this header. Raises what `Founding` does."""
        said = header_of(header)
        self._refuse_what_is_there()
        self._snapshot = said.meta
        with named_failures(self._place.path):
            self._founding = Founding(
                self._place,
                Origin(
                    cluster_id=said.genesis.cluster_id,
                    settings=said.genesis.settings,
                    places=places,
                    snapshot=said.meta,
                ),
            )

    @ray.method(concurrency_group="work")
    def write(self, number: int, chunk: bytes) -> None:
        """The next bytes of the state, in order."""
        assert self._founding is not None, "a state of nothing that was begun"
        assert number == self._written, f"chunk {number} of a state of which {self._written} are written"
        self._written += 1
        with named_failures(self._place.path):
            self._founding.write(chunk)

    @ray.method(concurrency_group="work")
    def finish(self) -> Founded:
        """All of it was written, and was good: bring it to its place."""
        founding, snapshot = self._founding, self._snapshot
        assert founding is not None, "an end of nothing that was begun"
        assert snapshot is not None, "a backup has a state"
        self._founding = None
        with named_failures(self._place.path), founding:
            founding.finish((), snapshot.last.term)
            self._refuse_what_is_there()
            settle(self._place)
        return Founded.of(self._place, founding.genesis, snapshot.last.index)

    @ray.method(concurrency_group="work")
    def abandon(self) -> None:
        """Leave nothing behind."""
        founding, self._founding = self._founding, None
        if founding is not None:
            founding.abandon()

    def _refuse_what_is_there(self) -> None:
        if peek_identity(self._place.path, group=self._place.group, member_id=self._place.member_id) is not None:
            raise AlreadyThere(
                f"member {self._place.member_id} of group {self._place.group!r} has data in {self._place.path}: give "
                "another name, or delete that group with its data first",
                path=self._place.path,
            )

    # -- from the old directory of a member ---------------------------------------------------------------------------

    @ray.method(concurrency_group="work")
    def recover(self) -> Founded:
        """A new cluster from what lies in the member's place, which is set aside then.

        Raises `CannotRecover`, `DirectoryLocked`, and what opening it raises. Done again after it was cut off, it goes
        on where it was.
        """
        with named_failures(self._place.path):
            return found_in_place_of(self._place, lambda: _unlocked(self._place))


def _unlocked(place: Place) -> FileStorage:
    """The member's directory, once a process that was told to end has left it."""
    deadline_s = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return place.open(place.path)
        except DirectoryLocked:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(LOCK_LOOK_S)


@contextmanager
def named_failures(path: str) -> Iterator[None]:
    """What the operating system says, as an error that says where. Ours pass."""
    try:
        yield
    except RaftActorsError:
        raise
    except OSError as failure:
        raise StorageFailed(
            f"founding the directory {path} failed: {failure.strerror or failure}; see to the disk, then try again",
            path=path,
        ) from failure


# -- the driver's half ----------------------------------------------------------------------------------------------


RayFounder: Any = ray.remote(concurrency_groups={"work": 1, "admin": 2})(Founder)  # one: in order


@contextmanager
def founder_of(
    options: GroupOptions, member_id: MemberId, where: dict[str, Any], *, wait: bool, refusal: str
) -> Iterator[Any]:
    """The founder of this group while the body runs, where these actor options put it.

    Raises `AlreadyThere`, with `refusal` as its sentence, if the group has a keeper (`wait`: one that is not just
    ending); nobody starts the group meanwhile.
    """
    founder = _created(options, member_id, where, NAME_WAIT_S if wait else 0.0, refusal)
    try:
        yield founder
    finally:
        ray.kill(founder, no_restart=True)
        _forgotten(keeper_name(options.group), founder)


def _created(options: GroupOptions, member_id: MemberId, where: dict[str, Any], wait_s: float, refusal: str) -> Any:
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            return RayFounder.options(
                name=keeper_name(options.group), namespace=NAMESPACE, max_restarts=0, num_cpus=0, **where
            ).remote(options, member_id)
        except ValueError:  # the name is taken
            if time.monotonic() >= deadline_s:
                raise AlreadyThere(refusal) from None
            time.sleep(NAME_LOOK_S)


def _forgotten(name: str, founder: Any) -> None:
    """Wait until Ray has given the name free: the group is started next."""
    deadline_s = time.monotonic() + NAME_WAIT_S
    while (found := find_actor(name)) is not None and found == founder and time.monotonic() < deadline_s:
        time.sleep(NAME_LOOK_S)


def told(call: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """What a founder answers. Raises its refusals as they are, and `CannotRecover` if it dies or does not answer."""
    try:
        return ray.get(call(), timeout=timeout_s)
    except RayTaskError as failure:
        _raise_ours(failure, what)
    except RayActorError as failure:
        raise CannotRecover(f"{what}: its process ended before it was done; try again") from failure
    except RayError as failure:
        raise CannotRecover(f"{what}: no answer within {timeout_s:.0f} s; try again") from failure


def _raise_ours(failure: RayTaskError, what: str) -> NoReturn:
    cause = failure.cause
    if isinstance(cause, RaftActorsError):
        raise cause from None
    raise CannotRecover(f"{what}: {type(cause).__name__}: {cause}") from failure
