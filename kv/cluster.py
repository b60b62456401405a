"""Starting, finding, looking at and stopping a store: `kv.start`, `connect`, `status`, `membership`, `shutdown`.

Here:   the five calls, and what a store is as a group (its machine, its server, its settings).
Never:  what keeps a group alive (raft_actors/cluster), single operations (kv/client.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kv.actor import KVServer
from kv.client import Client
from kv.config import Config
from kv.limits import Limits, decode_settings
from kv.machine import KVMachine
from raft_actors.application import settings as application_settings
from raft_actors.cluster.group import MemberStatus, group_status, start_and_write
from raft_actors.cluster.lifecycle import group_options, stop_group
from raft_actors.cluster.membership import Members
from raft_actors.cluster.options import MEMBERS_DEFAULT, GroupOptions
from raft_actors.cluster.recorder import find_recorder
from raft_actors.names import check_group
from raft_actors.storage.wal import FileStorage

LOG: Final = logging.getLogger("raft_actors.kv")

TIMEOUT_S: Final = 5.0

A_STORE: Final[dict[str, Any]] = {
    "machine": KVMachine.from_settings,
    "application": KVServer,
    "open_storage": FileStorage.open,
}
"""What makes a group a store."""


def store_options(
    name: str,
    config: Config,
    *,
    members: int,
    data_dir: str | None,
    placement: Sequence[Mapping[str, str]] | None = None,
    record_dir: str | None = None,
    replace_after_s: float | None = None,
    faults: bool = False,
) -> GroupOptions:
    """A group that is this store, from what people say of it (`start`)."""
    return GroupOptions(
        **A_STORE,
        group=name,
        members=members,
        config=config.raft,
        data_dir=data_dir,
        placement=None if placement is None else tuple(placement),
        allow_unsafe_data_dir=config.allow_unsafe_data_dir,
        settings=config.settings(),
        record_dir=None if record_dir is None else os.path.abspath(os.path.expanduser(record_dir)),
        replace_after_s=replace_after_s,
        faults=faults,
    )


def start(
    name: str = "default",
    *,
    members: int | None = None,
    data_dir: str | None = None,
    placement: Sequence[Mapping[str, str]] | None = None,
    config: Config | None = None,
    record_dir: str | None = None,
    faults: bool = False,
    allow_pickle: bool = True,
    replace_after_s: float | None = None,
    start_timeout_s: float = 60.0,
) -> Client:
    """Start the store `name` on the connected Ray cluster, or attach to it; returns after one committed write.

    members: 3 unless given. data_dir: root of the data directories, expanded on each member's node; by default
    `$RAFT_ACTORS_HOME` or `~/.raft_actors`, with `<name>/<member>` below. Data that is there is found and resumed.
    placement: one label selector for each member; by default the members are spread over the machines and pinned to
    their addresses. record_dir: record this store's run there. replace_after_s: how long a member may be silent before
    an empty directory takes its place unasked, on its node or on another; never for more than a minority of them; by
    default for ever. faults: let `raft_actors.faults.connect` cut its links and kill its processes; no group has a door
    for that otherwise. An option that is given and differs from the running store's raises `OptionsDiffer`.

    Raises also `RayNotInitialised`, `InvalidName`, `ConfigError`, `StartTimeout` (says which member waits for what),
    `VersionDiffers`, `ShadowedPackage`.
    """
    check_group(name)
    options = store_options(
        name,
        config or Config(),
        members=MEMBERS_DEFAULT if members is None else members,
        data_dir=data_dir,
        placement=placement,
        record_dir=record_dir,
        replace_after_s=replace_after_s,
        faults=faults,
    )
    public = options.public()
    given = {
        option: public[option]
        for option, value in {
            "members": members,
            "data_dir": data_dir,
            "placement": placement,
            "record_dir": record_dir,
            "replace_after_s": replace_after_s,
            "faults": faults or None,
            "config": config,
            "settings": config,
            "allow_unsafe_data_dir": config,
        }.items()
        if value is not None
    }
    start_and_write(options, given, start_timeout_s)
    return connect(name, allow_pickle=allow_pickle, connect_timeout_s=start_timeout_s)


def connect(
    name: str = "default",
    *,
    connect_timeout_s: float = 5.0,
    timeout_s: float = TIMEOUT_S,
    allow_pickle: bool = True,
    label: str | None = None,
) -> Client:
    """A client of the running store `name`, from any driver, task or actor.

    timeout_s: what an operation may take unless it says otherwise. label: what this client is called in a recorded run
    and by a fault injector. Raises `UnknownGroup`, `RayNotInitialised`.
    """
    check_group(name)
    running = group_options(name, connect_timeout_s)
    limits = _limits_of(running)
    record = find_recorder(name) if running.get("record_dir") else None
    return Client(
        name,
        timeout_s=timeout_s,
        connect_timeout_s=connect_timeout_s,
        allow_pickle=allow_pickle,
        limits=limits,
        label=label,
        faults=bool(running.get("faults", True)),  # where nobody could be asked, following nobody does no harm
        record=record,
    )


def _limits_of(running: Mapping[str, Any]) -> Limits:
    """What the store was created with, so that a client refuses early what the store would."""
    settings = running.get("settings")
    if not settings:
        return Limits()
    return decode_settings(application_settings.decode_settings(bytes.fromhex(settings)).machine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a store is: its members as they say themselves, a moment ago."""

    name: str
    members: tuple[MemberStatus, ...]

    @property
    def leader(self) -> int | None:
        """The member that leads the highest term, or None."""
        leaders = [member for member in self.members if member.role == "leader" and member.state == "running"]
        return max(leaders, key=lambda member: member.term).id if leaders else None

    @property
    def has_quorum(self) -> bool:
        """Whether a leader leads and a majority of the voters that it counts runs in its term."""
        leads = next((member for member in self.members if member.id == self.leader), None)
        if leads is None or not leads.voters:
            return False
        following = sum(
            1
            for member in self.members
            if member.state == "running" and member.term == leads.term and member.id in leads.voters
        )
        return following > len(leads.voters) // 2

    def rows(self) -> list[dict[str, Any]]:
        """One dict for each member, for a table or a dataframe."""
        return [member.row() for member in self.members]


def status(name: str = "default") -> Status:
    """Ask all members. Raises `UnknownGroup`, `RayNotInitialised`."""
    return Status(name=name, members=group_status(name))


def membership(name: str = "default") -> Members:
    """The members of the running store, for changing them: `kv.membership().replace(2)`.

    Raises `InvalidName`, `RayNotInitialised`; its calls raise `MembershipError`s.
    """
    return Members(name)


def shutdown(name: str = "default", *, delete_data: bool = False) -> None:
    """Clean end of every member and of the keeper; the data stays, unless `delete_data`.

    Raises `UnknownGroup`, and `PeerFailed` with what the members had recorded; they are ended all the same.
    """
    stop_group(name, delete_data=delete_data)
