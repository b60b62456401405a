"""A store into a file, a new store from a file, and a store that lost its quorum for good: `save_snapshot`,
`restore_snapshot`, `plan_recovery`, `recover`.

Here:   the four calls, and what of a file or of a running group makes a store's options.
Never:  how a state gets into a file and out of it (raft_actors/cluster/backup.py), how a new cluster is founded
        (raft_actors/cluster/recovery.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

from kv.client import Client
from kv.cluster import A_STORE, connect, store_options
from kv.config import Config
from kv.limits import decode_settings
from raft_actors.application import settings as application_settings
from raft_actors.application.fields import FieldReader
from raft_actors.application.host import STATE_FORMAT
from raft_actors.application.packing import Malformed
from raft_actors.cluster.backup import Backup, Told, restore_group, save_group
from raft_actors.cluster.group import start_and_write
from raft_actors.cluster.lifecycle import group_options
from raft_actors.cluster.options import GroupOptions
from raft_actors.cluster.recovery import RecoveryPlan, carry_out
from raft_actors.cluster.recovery import plan_recovery as plan_of
from raft_actors.config import RaftConfig
from raft_actors.core.types import MemberId
from raft_actors.errors import BackupForeign, BackupNewer, CannotRecover, ConfigError, UnknownGroup, VersionDiffers
from raft_actors.names import check_group
from raft_actors.storage.backups import BackupReader

SAVE_TIMEOUT_S: Final = 600.0
START_TIMEOUT_S: Final = 60.0
CONNECT_TIMEOUT_S: Final = 5.0


def _nothing(_: int) -> None:
    """Nobody wants to know."""


# -- snapshot save, snapshot restore ----------------------------------------------------------------------------------


def save_snapshot(
    name: str,
    path: str,
    *,
    force: bool = False,
    timeout_s: float = SAVE_TIMEOUT_S,
    begun: Told = _nothing,
    progress: Told = _nothing,
) -> Backup:
    """Write the running store `name` to the file `path`: every write acknowledged before this call is in it.

    The file gets its name when all of it is on the disk. `begun` is told which member's state it is, `progress` how
    many more bytes of it are written. Raises `AlreadyThere` for a file that is there (force=True replaces it),
    `UnknownGroup`, `NoQuorum`, `BackupFailed`, `RayNotInitialised`.
    """
    return save_group(name, path, replace=force, timeout_s=timeout_s, begun=begun, told_bytes=progress)


def restore_snapshot(
    path: str,
    name: str = "default",
    *,
    members: int | None = None,
    data_dir: str | None = None,
    placement: Sequence[Mapping[str, str]] | None = None,
    config: Config | None = None,
    record_dir: str | None = None,
    allow_pickle: bool = True,
    start_timeout_s: float = START_TIMEOUT_S,
    verified: Told = _nothing,
    progress: Told = _nothing,
) -> Client:
    """Start a new store `name` with the keys, values, versions and sessions of a file that `save_snapshot` wrote.

    All of the file is looked at first (`verified` is told its size then). It is another cluster than the one that was
    saved, with an id of its own. members: as many as were saved, unless given; limits of sizes and sessions are those
    of the file, `config` gives the rest. The other options are those of `kv.start`.

    Raises `BackupRefused` (`BackupDamaged`: cut off or changed; `BackupForeign`, `BackupNewer`), `AlreadyThere` when a
    store of that name runs or has data on a live node, `ConfigError`, `CannotRecover`; then nothing changed. And what
    `kv.start` raises, when it was restored and does not start.
    """
    check_group(name)
    with closing(BackupReader(path)) as reader:
        wanted = _as_in_the_file(config, reader)
        verified(reader.verify())
        options = store_options(
            name,
            wanted,
            members=len(reader.said.meta.configuration.members) if members is None else members,
            data_dir=data_dir,
            placement=placement,
            record_dir=record_dir,
        )
        restore_group(reader, options, told_bytes=progress)
    start_and_write(options, {}, start_timeout_s)
    return connect(name, allow_pickle=allow_pickle, connect_timeout_s=start_timeout_s)


def _as_in_the_file(config: Config | None, reader: BackupReader) -> Config:
    """With the limits that the store in the file was created with.

    Raises `BackupForeign`, `BackupNewer` for what is none of ours; `ConfigError` for other limits in `config`, or
    knobs that do not fit those of the file.
    """
    try:
        settings = application_settings.decode_settings(reader.said.genesis.settings)
        limits = decode_settings(settings.machine)
        state_format = FieldReader(map(memoryview, reader.chunks())).read(str)
    except VersionDiffers as newer:
        raise BackupNewer(f"{reader.path}: {newer}", path=reader.path) from newer
    except (ConfigError, Malformed) as refusal:
        raise BackupForeign(
            f"{reader.path} is a backup of another state machine than the key-value store ({refusal})", path=reader.path
        ) from refusal
    if state_format != STATE_FORMAT:
        raise BackupNewer(
            f"{reader.path} holds a state of format {state_format!r} and this version of raft-actors knows "
            f"{STATE_FORMAT!r}; upgrade raft-actors",
            path=reader.path,
        )
    wanted, default = config or Config(), Config()
    if wanted.limits not in (limits, default.limits) or wanted.sessions not in (settings.sessions, default.sessions):
        raise ConfigError("the limits of sizes and sessions are those of the file: leave them out of config")
    return replace(wanted, limits=limits, sessions=settings.sessions)


# -- recover ----------------------------------------------------------------------------------------------------------


def plan_recovery(name: str, member: int, *, data_dir: str | None = None) -> RecoveryPlan:
    """What `recover` would go on from, what the other members hold that can be asked, and what may be lost.

    Changes nothing. data_dir: of a store that nothing of runs any more; otherwise it is known. Raises `HasQuorum`,
    `CannotRecover`, `RayNotInitialised`.
    """
    running = _running(name)
    return plan_of(name, MemberId(member), running["data_dir"] if running else data_dir)


def recover(
    plan: RecoveryPlan,
    *,
    force_new_cluster: bool,
    data_dir: str | None = None,
    config: Config | None = None,
    allow_pickle: bool = True,
    start_timeout_s: float = START_TIMEOUT_S,
) -> Client:
    """End what is left of a store that lost its quorum for good, and go on as a new cluster from one member's data.

    What may be lost is `plan.risks()`; force_new_cluster=True says that it was read. Keys, versions and sessions go
    on. Members of the old cluster are refused for ever, and the old data directory lies beside the new one, its name
    ending in `.aside`. The options are those that the store ran with; where nothing of it runs any more, those given.

    Raises `ConfigError` without force_new_cluster, `HasQuorum`, `CannotRecover`, `AlreadyThere` while somebody starts
    the store, what reading the directory raises (`LogDamaged`, ...), and what `kv.start` raises.
    """
    if not force_new_cluster:
        raise ConfigError(
            "recover founds a new cluster from one member, and what only the others hold is lost: say "
            "force_new_cluster=True (--force-new-cluster) if they are gone for good"
        )
    running = _running(plan.group)
    if running:
        options = _options_of_running(plan.group, running)
    else:
        options = store_options(plan.group, config or Config(), members=1, data_dir=data_dir)
    founded = carry_out(plan, options)
    count = len(founded.places)
    placement = options.placement if options.placement is not None and len(options.placement) == count else None
    options = replace(options, members=count, placement=placement, settings=founded.settings)
    start_and_write(options, {}, start_timeout_s)
    return connect(plan.group, allow_pickle=allow_pickle, connect_timeout_s=start_timeout_s)


def _running(name: str) -> dict[str, Any]:
    """The options of what runs of the store; empty where nothing does.

    Raises `CannotRecover` when members run and their keeper does not say where their data lies.
    """
    check_group(name)
    try:
        running = group_options(name, CONNECT_TIMEOUT_S)
    except UnknownGroup:
        return {}
    if not running:
        raise CannotRecover(
            f"members of store {name!r} run, but its keeper does not answer: end them with `raft-kv shutdown`, then "
            "recover it"
        )
    return running


def _options_of_running(name: str, running: Mapping[str, Any]) -> GroupOptions:
    placement = running["placement"]
    return GroupOptions(
        **A_STORE,
        group=name,
        members=running["members"],
        config=RaftConfig(**running["config"]),
        data_dir=running["data_dir"],
        placement=None if placement is None else tuple(placement),
        allow_unsafe_data_dir=running["allow_unsafe_data_dir"],
        settings=bytes.fromhex(running["settings"]),
        record_dir=running["record_dir"],
        replace_after_s=running["replace_after_s"],
    )
