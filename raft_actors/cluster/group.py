"""A group with any state machine: `raft_actors.start`, `connect`, `Group`, and the rows of its status.

Here:   the public face of a group.
Never:  the key-value store (kv), how members are created and kept (keeper.py).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import ray
from ray.exceptions import RayError

from raft_actors.application.actor import ApplicationActor
from raft_actors.application.frames import ClientId, Fenced, Frame
from raft_actors.application.machine import StateMachine
from raft_actors.application.requests import ANSWERS, SUBMIT, Attempt, Submit
from raft_actors.application.settings import ApplicationSettings, SessionLimits, encode_settings
from raft_actors.client.calling import shared_caller
from raft_actors.cluster.lifecycle import group_options, member_rows, members_of, start_group, stop_group
from raft_actors.cluster.membership import Members
from raft_actors.cluster.options import MEMBERS_DEFAULT, GroupOptions
from raft_actors.cluster.recorder import start_recorder
from raft_actors.config import RaftConfig
from raft_actors.errors import StartTimeout, UnknownGroup
from raft_actors.names import NAMESPACE, check_group, peer_name, server_name
from raft_actors.storage.interface import OpenStorage
from raft_actors.storage.wal import FileStorage

LOG: Final = logging.getLogger("raft_actors.cluster")

TIMEOUT_S: Final = 5.0
WRITE_ATTEMPT_MS: Final = 1000
POLL_S: Final = 0.05


def start(
    name: str,
    state_machine: type[StateMachine],
    *,
    members: int | None = None,
    data_dir: str | None = None,
    placement: Sequence[Mapping[str, str]] | None = None,
    config: RaftConfig | None = None,
    sessions: SessionLimits | None = None,
    storage: OpenStorage = FileStorage.open,
    allow_unsafe_data_dir: bool = False,
    record_dir: str | None = None,
    replace_after_s: float | None = None,
    faults: bool = False,
    start_timeout_s: float = 60.0,
) -> Group:
    """Start a replicated `state_machine`, or attach to the group of this name; returns after one committed write.

    The options are those of `kv.start`; `storage` opens a member's persister on its node. Raises what `kv.start` does.
    """
    check_group(name)
    settings = encode_settings(ApplicationSettings(sessions=sessions or SessionLimits(), machine=b""))
    options = GroupOptions(
        group=name,
        members=MEMBERS_DEFAULT if members is None else members,
        config=config or RaftConfig(),
        data_dir=data_dir,
        placement=tuple(placement) if placement is not None else None,
        allow_unsafe_data_dir=allow_unsafe_data_dir,
        machine=state_machine,
        application=ApplicationActor,
        settings=settings,
        open_storage=storage,
        record_dir=None if record_dir is None else os.path.abspath(os.path.expanduser(record_dir)),
        replace_after_s=replace_after_s,
        faults=faults,
    )
    public = options.public()
    named = {
        "members": members,
        "data_dir": data_dir,
        "placement": placement,
        "config": config,
        "settings": sessions,
        "record_dir": record_dir,
        "replace_after_s": replace_after_s,
        "faults": faults or None,
    }
    given = {option: public[option] for option, value in named.items() if value is not None}
    start_and_write(options, given, start_timeout_s)
    return connect(name)


def connect(
    name: str, *, connect_timeout_s: float = 5.0, timeout_s: float = TIMEOUT_S, label: str | None = None
) -> Group:
    """The running group of this name. label: what it is called by a fault injector.

    Raises `UnknownGroup`, `RayNotInitialised`.
    """
    check_group(name)
    running = group_options(name, connect_timeout_s)
    return Group(name, timeout_s=timeout_s, label=label, faults=bool(running.get("faults", True)))


class Group:
    """A running group, by name: it may be pickled, and finds its leader by itself."""

    def __init__(
        self, name: str, *, timeout_s: float = TIMEOUT_S, label: str | None = None, faults: bool = False
    ) -> None:
        self.name = check_group(name)
        self._timeout_s = timeout_s
        self._label = label
        self._faults = faults
        self._shared = shared_caller(name, faults=faults, label=label)

    def __repr__(self) -> str:
        return f"Group({self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _connected, (self.name, self._timeout_s, self._label, self._faults)

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, command: bytes, *, timeout_s: float | None = None) -> bytes:
        """Apply `command` exactly once, and return what the state machine said. Raises `OperationError`s."""
        within_s = self._timeout_s if timeout_s is None else timeout_s
        return self._shared.get().submit(command, within_s).result()

    def query(self, request: bytes, *, timeout_s: float | None = None, consistency: str = "linearizable") -> bytes:
        """Ask the state, linearizably unless consistency="stale". Raises `OperationError`s."""
        within_s = self._timeout_s if timeout_s is None else timeout_s
        return self._shared.get().query(request, within_s, linearizable=consistency != "stale").result()

    @property
    def peers(self) -> list[Any]:
        """Actor handles of the peers: `ray.get(group.peers[0].get_state.remote())`, and Ruaft's other calls."""
        return _handles(self.name, peer_name)

    @property
    def servers(self) -> list[Any]:
        """Actor handles of the applications beside the peers."""
        return _handles(self.name, server_name)

    def status(self) -> tuple[MemberStatus, ...]:
        """One row for each member."""
        return group_status(self.name)

    @property
    def membership(self) -> Members:
        """The members, for changing them: `group.membership.replace(2)`."""
        return Members(self.name)

    def shutdown(self, *, delete_data: bool = False) -> None:
        """Clean end of every member; the data stays, unless `delete_data`. Raises `PeerFailed`."""
        self.close()
        stop_group(self.name, delete_data=delete_data)

    def close(self) -> None:
        """End this process's connection; the group goes on."""
        self._shared.close()


def _connected(name: str, timeout_s: float, label: str | None, faults: bool) -> Group:
    return Group(name, timeout_s=timeout_s, label=label, faults=faults)


def _handles(group: str, naming: Any) -> list[Any]:
    members = members_of(group)
    if not members:
        raise UnknownGroup(f"no group {group!r} runs on this Ray cluster")
    return [ray.get_actor(naming(group, member_id), namespace=NAMESPACE) for member_id in members]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """One member as it says itself; None where it does not say."""

    id: int
    node: str | None = None
    state: str = "unreachable"
    role: str | None = None
    term: int = 0
    leader: int | None = None
    voter: bool | None = None
    """Whether it votes, by the configuration that it has in force itself."""
    commit_index: int | None = None
    last_applied: int | None = None
    log_bytes: int | None = None
    snapshot_index: int | None = None
    """Of the last entry that its newest snapshot covers; 0: it has none."""
    snapshot: str | None = None
    """The snapshot on its way into a file, and how much of it is there."""
    snapshot_error: str | None = None
    """Why the last one failed, until one succeeds."""
    directory_id: str | None = None
    incarnation: int | None = None
    uptime_s: float | None = None
    error: str | None = None
    pid: int | None = None
    server_pid: int | None = None
    chain: str | None = None
    """The state chain of its application at `last_applied`."""
    stall_ms_max: float | None = None
    """Longest stall of its owner loop lately: a large one tells of a starved machine."""
    server_stall_ms_max: float | None = None
    """The same of its application's loop: of a starved machine, or of a command that takes long."""
    voters: list[int] | None = None
    """Who votes, by the configuration that it has in force itself."""
    dropped: dict[str, int] | None = None
    """Messages from outside that were not obeyed, by reason."""

    def row(self) -> dict[str, Any]:
        """As a dict, in the order of the columns."""
        return asdict(self)


_SAID: Final = frozenset(field.name for field in fields(MemberStatus)) - {"id", "directory_id", "incarnation"}


def group_status(name: str) -> tuple[MemberStatus, ...]:
    """Ask all members. Raises `UnknownGroup`, `RayNotInitialised`."""
    statuses = []
    for row in member_rows(check_group(name)):
        peer, server = row.peer or {}, row.server or {}
        said = {column: value for column, value in peer.items() if column in _SAID}
        directory_id = peer.get("directory_id")
        statuses.append(
            MemberStatus(
                id=int(row.member_id),
                directory_id=directory_id.hex() if directory_id else None,
                incarnation=peer.get("start_count") or None,
                server_pid=server.get("pid"),
                chain=server.get("chain"),
                server_stall_ms_max=server.get("stall_ms_max"),
                **{**said, "error": peer.get("error") or server.get("error")},
            )
        )
    return tuple(statuses)


def start_and_write(options: GroupOptions, given: Mapping[str, Any], timeout_s: float) -> str:
    """Start or attach, then commit one write; says what it was in the log. Returns as `start_group`."""
    deadline_s = time.monotonic() + timeout_s
    how = start_group(options, given, timeout_s)
    index = _committed_write(options.group, deadline_s, timeout_s)
    if options.record_dir is not None:
        start_recorder(options.group, options.members, options.record_dir, options.config.to_dict())
    LOG.info("group=%s %s: %s members, log at index %s", options.group, how, options.members, index)
    return how


def _committed_write(group: str, deadline_s: float, timeout_s: float) -> int:
    """Commit one entry that no state machine sees: a frame that its own acknowledgement fences (contracts rule 3)."""
    client_id, number = ClientId(os.urandom(16)), 0
    while True:
        for member_id in members_of(group):
            number += 1
            frame = Frame(client_id=client_id, sequence=0, acked_below=1, opens=0, command=b"")
            request = Submit(attempts=(Attempt(number=number, frame=frame),), timeout_ms=WRITE_ATTEMPT_MS)
            try:
                server = ray.get_actor(server_name(group, member_id), namespace=NAMESPACE)
                data = ray.get(server.submit.remote(SUBMIT.encode(request)), timeout=WRITE_ATTEMPT_MS / 500)
                (answer,) = ANSWERS.decode(data)
            except (ValueError, RayError):
                continue
            if isinstance(answer, Fenced):
                return max((status.commit_index or 0 for status in group_status(group)), default=0)
        if time.monotonic() > deadline_s:
            raise StartTimeout(
                f"group {group!r} has members, but committed no write within {timeout_s:.0f} s: see `raft-kv status` "
                "for what its members wait for",
                waiting_for={status.id: status.error for status in group_status(group) if status.error},
            )
        time.sleep(POLL_S)
