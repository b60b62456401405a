"""Starting, finding and stopping a group, from any driver, task or actor.

Here:   `start_group`, `stop_group`, `group_options`, `member_rows`, each with its deadline.
Never:  what keeps the group alive meanwhile (keeper.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from raft_actors._version import __version__
from raft_actors.cluster.actors import answer_of, find_actor, members_with_actors
from raft_actors.cluster.keeper import RayKeeper, keeper_actor_options
from raft_actors.cluster.nodes import live_nodes, on_node, package_trouble
from raft_actors.cluster.options import GroupOptions, differences
from raft_actors.cluster.recorder import stop_recorder
from raft_actors.connection import require_ray
from raft_actors.core.types import MemberId
from raft_actors.errors import (
    DirectoryLocked,
    OptionsDiffer,
    PeerFailed,
    ShadowedPackage,
    StartTimeout,
    StorageError,
    UnknownGroup,
    VersionDiffers,
)
from raft_actors.names import NAMESPACE, check_group, faults_name, keeper_name, peer_name, server_name
from raft_actors.storage.place import member_directories, member_path
from raft_actors.storage.visit import delete_beside, delete_directory

LOG: Final = logging.getLogger("raft_actors.cluster")

POLL_S: Final = 0.05
ASK_TIMEOUT_S: Final = 5.0
END_FAULTS_S: Final = 15.0
"""For the fault injector to end what lasts, on machines too that do not answer, and to write down what it did."""
ANSWERED_S: Final = 0.05
"""For an answer that is there, or will not be."""
DELETE_ATTEMPTS: Final = 40


def start_group(options: GroupOptions, given: Mapping[str, Any], timeout_s: float) -> str:
    """Create the group, or attach to it. Returns "created", "resumed" or "running"; a leader may still be missing.

    `given` are the options that the caller named. Raises `OptionsDiffer`, `VersionDiffers`, `StartTimeout`,
    `ShadowedPackage`, `RayNotInitialised`.
    """
    require_ray()
    trouble = package_trouble()
    if trouble is not None:
        raise ShadowedPackage(trouble)
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return _start_or_attach(options, given, deadline_s, timeout_s)
        except _KeeperEnded as ended:
            # Whoever created it was killed before Ray had it whole, or it is just being shut down: begin again.
            if time.monotonic() > deadline_s:
                raise StartTimeout(
                    f"group {options.group!r}: its keeper ended while the group was starting; try again"
                ) from ended
            time.sleep(POLL_S)


class _KeeperEnded(Exception):
    """The keeper's actor is gone."""


def _start_or_attach(options: GroupOptions, given: Mapping[str, Any], deadline_s: float, timeout_s: float) -> str:
    keeper, existed = _keeper(options)
    running = _within(keeper.options.remote(), deadline_s, options.group)
    _check_version(options.group, running)
    if differences({option: value for option, value in given.items() if option != "members"}, running):
        _check_options(options.group, given, running)  # how many members a resumed group has, its log says, later
    while True:
        progress = _within(keeper.progress.remote(), deadline_s, options.group)
        if progress["started"]:
            running = _within(keeper.options.remote(), deadline_s, options.group)
            _check_options(options.group, given, running)
            return "running" if existed else ("created" if progress["created"] else "resumed")
        if time.monotonic() > deadline_s:
            raise _start_timeout(options.group, timeout_s, progress)
        time.sleep(POLL_S)


def _check_options(group: str, given: Mapping[str, Any], running: Mapping[str, Any]) -> None:
    lines = differences(given, running)
    if not lines:
        return
    cure = "leave them out to attach to it, or shut it down first"
    if "members" in given and given["members"] != running["members"]:
        cure += "; `raft-kv member add` and `raft-kv member remove` change its members while it runs"
    raise OptionsDiffer(
        f"group {group!r} runs with other options ({'; '.join(lines)}): {cure}",
        differences=lines,
    )


def _keeper(options: GroupOptions) -> tuple[Any, bool]:
    """The group's keeper and whether it was there: made by whoever comes first."""
    for _ in range(100):
        found = find_actor(keeper_name(options.group))
        if found is not None:
            return found, True
        try:
            return RayKeeper.options(**keeper_actor_options(options.group)).remote(options), False
        except ValueError:
            time.sleep(POLL_S)  # another starter was first; its keeper is found in the next round
    raise StartTimeout(f"group {options.group!r}: its keeper can neither be created nor found; try again")


def _within(ref: Any, deadline_s: float, group: str) -> Any:
    try:
        return ray.get(ref, timeout=max(0.5, deadline_s - time.monotonic()))
    except ray.exceptions.GetTimeoutError:
        raise StartTimeout(
            f"group {group!r}: Ray has not started its keeper in time; see `ray status` for what is missing"
        ) from None
    except RayActorError as failure:
        raise _KeeperEnded from failure


def _start_timeout(group: str, timeout_s: float, progress: Mapping[str, Any]) -> StartTimeout:
    reasons = [f"member {member_id}: {why}" for member_id, why in progress["waiting_for"].items()]
    if progress["trouble"]:
        reasons.append(progress["trouble"])
    return StartTimeout(
        f"group {group!r} did not start within {timeout_s:.0f} s ({'; '.join(reasons) or 'no reason known'}); it goes "
        "on trying: mend the cause, or shut it down",
        waiting_for=dict(progress["waiting_for"]),
    )


def members_of(group: str) -> list[MemberId]:
    """Members whose peer has an actor now, alive or restarting."""
    require_ray()
    check_group(group)
    return members_with_actors(group)


def group_options(group: str, timeout_s: float) -> dict[str, Any]:
    """What the running group was started with; empty when its keeper cannot be asked in time, though members run.

    Raises `UnknownGroup`, `VersionDiffers`.
    """
    require_ray()
    deadline_s = time.monotonic() + timeout_s
    while True:
        keeper = find_actor(keeper_name(group))
        if keeper is None and not members_of(group):
            raise UnknownGroup(
                f"no group {group!r} runs on this Ray cluster; start it first, or look with `raft-kv list`"
            )
        left_s = deadline_s - time.monotonic()
        options: dict[str, Any] = {}
        if keeper is not None:
            options = answer_of(keeper.options.remote(), max(0.1, left_s), {})
        if options or left_s <= 0:
            if options:
                _check_version(group, options)
            return options
        time.sleep(POLL_S)  # it is being restarted


def _check_version(group: str, running: Mapping[str, Any]) -> None:
    if running["version"] != __version__:
        raise VersionDiffers(
            f"group {group!r} runs raft-actors {running['version']}, this process has {__version__}: use the same "
            "version everywhere"
        )


def groups() -> list[str]:
    """Names of all groups that run on this Ray cluster."""
    require_ray()
    names = ray.util.list_named_actors(all_namespaces=True)
    return sorted(
        row["name"].split(":")[1]
        for row in names
        if row["namespace"] == NAMESPACE and row["name"].startswith("raft:") and row["name"].endswith(":keeper")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRow:
    """What one member's two actors said; None where one did not answer."""

    member_id: MemberId
    peer: dict[str, Any] | None
    server: dict[str, Any] | None


def member_rows(group: str, timeout_s: float = ASK_TIMEOUT_S) -> list[MemberRow]:
    """Ask all members at once. Raises `UnknownGroup` when there is none."""
    members = members_of(group)
    if not members:
        raise UnknownGroup(f"no group {group!r} runs on this Ray cluster; start it first, or look with `raft-kv list`")
    peers = {member_id: _begin(peer_name(group, member_id), "status") for member_id in members}
    servers = {member_id: _begin(server_name(group, member_id), "status") for member_id in members}
    refs = [ref for ref in [*peers.values(), *servers.values()] if ref is not None]
    ray.wait(refs, num_returns=len(refs), timeout=timeout_s)
    return [
        MemberRow(
            member_id=member_id,
            peer=answer_of(peers[member_id], ANSWERED_S),
            server=answer_of(servers[member_id], ANSWERED_S),
        )
        for member_id in members
    ]


def _begin(name: str, method: str) -> Any:
    try:
        return getattr(ray.get_actor(name, namespace=NAMESPACE), method).remote()
    except (ValueError, RayError):
        return None


def stop_group(group: str, *, delete_data: bool, timeout_s: float = 30.0) -> None:
    """Clean `kill()` of every member and of the keeper, which goes first: it would bring them back (contracts 12).

    What is dead already is no error. Raises `UnknownGroup`, and `PeerFailed` with what the members recorded.
    """
    require_ray()
    check_group(group)
    keeper = find_actor(keeper_name(group))
    members = members_of(group)
    if keeper is None and not members:
        raise UnknownGroup(f"no group {group!r} runs on this Ray cluster")
    _end_faults(group)
    stop_recorder(group)
    options = None
    if keeper is not None:
        options = _options_of(keeper)
        answer_of(keeper.stop.remote(), timeout_s, None)
        ray.kill(keeper, no_restart=True)
        members = members_of(group)  # its last round may have created some
    for member_id in members:
        server = find_actor(server_name(group, member_id))
        if server is not None:
            ray.kill(server, no_restart=True)
    peers = {member_id: peer for member_id in members if (peer := find_actor(peer_name(group, member_id))) is not None}
    failures = _kill_peers(peers, timeout_s)
    if delete_data and options is None:
        failures.append("no data was deleted: the keeper, which knows where it lies, is gone; delete it by hand")
    elif delete_data and options is not None:
        failures.extend(_delete(group, options["data_dir"], timeout_s))
    if failures:
        raise PeerFailed(
            f"group {group!r} ended, and its members had recorded: {'; '.join(failures)}", failures=failures
        )


def _end_faults(group: str) -> None:
    """What is injected ends first: a member that is cut off, stopped or kept down could not end cleanly."""
    injector = find_actor(faults_name(group))
    if injector is not None:
        if answer_of(injector.close.remote(), END_FAULTS_S) is None:
            LOG.warning("group=%s its fault injector did not end in time: its last faults may be missing", group)
        ray.kill(injector, no_restart=True)


def _options_of(keeper: Any) -> dict[str, Any] | None:
    """Its options, also from a keeper that Ray is just starting again; None when it does not answer."""
    deadline_s = time.monotonic() + ASK_TIMEOUT_S
    while True:
        options: dict[str, Any] | None = answer_of(keeper.options.remote(), ASK_TIMEOUT_S, None)
        if options is not None or time.monotonic() > deadline_s:
            return options
        time.sleep(POLL_S)


def _kill_peers(peers: Mapping[MemberId, Any], timeout_s: float) -> list[str]:
    """End them cleanly; by force and soon those that do not answer at all: Ray may never have started them."""
    asked = {member_id: peer.describe.remote() for member_id, peer in peers.items()}
    answered = ray.wait(list(asked.values()), num_returns=len(asked), timeout=ASK_TIMEOUT_S)[0] if asked else []
    refs = {member_id: peers[member_id].kill.remote() for member_id, ref in asked.items() if ref in answered}
    if refs:
        ray.wait(list(refs.values()), num_returns=len(refs), timeout=timeout_s)
    failures: list[str] = []
    for member_id, ref in refs.items():
        try:
            ray.get(ref, timeout=ANSWERED_S)
        except RayTaskError as failure:
            cause = failure.cause
            failures.extend(cause.failures if isinstance(cause, PeerFailed) else [f"member {member_id}: {cause}"])
        except RayActorError:
            pass  # dead already: nothing to end
        except ray.exceptions.GetTimeoutError:
            failures.append(f"member {member_id}: did not end within {timeout_s:.0f} s and was ended by force")
    for member_id, peer in peers.items():
        if member_id not in refs:
            failures.append(f"member {member_id}: did not answer within {ASK_TIMEOUT_S:.0f} s and was ended by force")
        ray.kill(peer, no_restart=True)
    return failures


def _delete(group: str, data_dir: str | None, timeout_s: float) -> list[str]:
    """Delete all directories of the group on all live nodes; a sentence for each that could not be."""
    delete = ray.remote(_delete_here)
    refs = [
        delete.options(num_cpus=0, max_retries=0, scheduling_strategy=on_node(node.node_id)).remote(data_dir, group)
        for node in live_nodes()
    ]
    ray.wait(refs, num_returns=len(refs), timeout=timeout_s)
    return [
        trouble for ref in refs for trouble in answer_of(ref, 0.05, ["a node did not answer: data may be left there"])
    ]


def _delete_here(data_dir: str | None, group: str) -> list[str]:
    """Runs on a node. A process that is just ending may hold its lock for a moment."""
    troubles = []
    for member_id in member_directories(data_dir, group):
        path = member_path(data_dir, group, member_id)
        for attempts_left in reversed(range(DELETE_ATTEMPTS)):
            try:
                delete_directory(path, group=group, member_id=member_id, allow_unsafe_data_dir=True)
                delete_beside(path)
                break
            except DirectoryLocked as refusal:
                if not attempts_left:
                    troubles.append(str(refusal))
                time.sleep(POLL_S)
            except (StorageError, OSError) as refusal:
                troubles.append(f"{path}: {refusal}")
                break
    return troubles
