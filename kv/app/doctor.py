"""`raft-kv doctor`: what a person would look at first when something is wrong, gathered in one go.

Here:   versions and paths on every node, the cost of a sync, round trips, who holds which data, what is wrong.
Never:  changing anything; showing it (cli.py).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import stat
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayError

from raft_actors._version import __version__
from raft_actors.cluster.group import group_status
from raft_actors.cluster.lifecycle import group_options
from raft_actors.cluster.nodes import Node, NodeReport, live_nodes, on_node, survey
from raft_actors.core.types import MemberId
from raft_actors.errors import UnknownGroup
from raft_actors.names import NAMESPACE, peer_name, server_name
from raft_actors.storage.place import member_path

OUR_PACKAGES: Final = ("raft_actors", "kv", "analysis")
LIBRARIES: Final = ("ray", "msgpack", "numpy")

FSYNC_COUNT: Final = 9
FSYNC_BYTES: Final = 150
"""A record of a small put."""
CALL_COUNT: Final = 5
CALL_TIMEOUT_S: Final = 3.0
LOOK_TIMEOUT_S: Final = 20.0
OPTIONS_TIMEOUT_S: Final = 5.0


@dataclass(slots=True, kw_only=True)
class Findings:
    """All that was found. Rows are dicts; `troubles` are sentences, and none means that all is well."""

    group: str
    runs: bool = False
    data_dir: str | None = None
    nodes: list[dict[str, Any]] = field(default_factory=list)
    members: list[dict[str, Any]] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    security: list[dict[str, Any]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


def examine(group: str) -> Findings:
    """Look at everything once. The group need not run; then its members are left out."""
    found = Findings(group=group, security=security_rows(os.environ, Path.home()))
    _examine_group(found)
    nodes = live_nodes()
    reports = survey(nodes, found.data_dir, group)
    _examine_nodes(found, reports)
    _examine_data(found, reports)
    if found.runs:
        _examine_members(found)
    return found


def _examine_group(found: Findings) -> None:
    try:
        options = group_options(found.group, OPTIONS_TIMEOUT_S)
    except UnknownGroup:
        return
    found.runs = True
    if not options:
        found.troubles.append(
            "the keeper does not answer: nothing brings members back, and their data_dir is not known"
        )
        return
    found.data_dir = options["data_dir"]


# -- nodes -----------------------------------------------------------------------------------------------------------


def _examine_nodes(found: Findings, reports: Sequence[NodeReport]) -> None:
    look = ray.remote(look_here)
    refs = {
        report.node.node_id: look.options(
            num_cpus=0, max_retries=0, scheduling_strategy=on_node(report.node.node_id)
        ).remote(found.data_dir)
        for report in reports
        if report.trouble is None  # else our code may not even load there
    }
    ray.wait(list(refs.values()), num_returns=len(refs), timeout=LOOK_TIMEOUT_S) if refs else None
    for report in reports:
        row: dict[str, Any] = {"node": report.node.address, "node_id": report.node.node_id}
        trouble = report.trouble
        if trouble is None:
            try:
                row.update(ray.get(refs[report.node.node_id], timeout=0.05))
            except RayError as failure:
                trouble = f"it could not be looked at ({type(failure).__name__}); see `ray status`"
        found.nodes.append(row)
        found.troubles.extend(node_troubles(report.node, row, trouble))


def node_troubles(node: Node, row: dict[str, Any], trouble: str | None) -> list[str]:
    """What is wrong with one node, as sentences."""
    troubles = [] if trouble is None else [trouble]
    if row.get("data_trouble"):
        troubles.append(row["data_trouble"])
    if row.get("raft_actors", __version__) != __version__:
        troubles.append(f"raft-actors {row['raft_actors']} there and {__version__} here: install the same everywhere")
    return [f"node {node.address}: {sentence}" for sentence in troubles]


def look_here(data_dir: str | None) -> dict[str, Any]:
    """Runs on a node: versions, where our packages come from, and what a sync costs where the data lies."""
    row: dict[str, Any] = {"python": platform.python_version(), "raft_actors": __version__}
    row.update({name: importlib.metadata.version(name) for name in LIBRARIES})
    for name in OUR_PACKAGES:
        spec = importlib.util.find_spec(name)
        row[f"{name}_path"] = None if spec is None else spec.origin
    root = Path(member_path(data_dir, "group", MemberId(0))).parent.parent
    row["data_root"] = str(root)
    place = next(path for path in (root, *root.parents) if path.is_dir())  # where the root would be made
    try:
        row["fsync_ms"] = fsync_ms(place)
    except OSError as failure:
        row["data_trouble"] = f"{place} cannot be written ({failure.strerror}): give the members a data_dir that can"
    return row


def fsync_ms(directory: Path) -> float:
    """Median milliseconds until a small write to a file there is durable; the file never has a name."""
    times = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(FSYNC_COUNT):
            file.write(bytes(FSYNC_BYTES))
            times.append(_ms(lambda: os.fdatasync(file.fileno())))
    return round(statistics.median(times), 3)


def _ms(action: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    action()
    return (time.perf_counter() - began_s) * 1000


# -- data and members --------------------------------------------------------------------------------------------------


def _examine_data(found: Findings, reports: Sequence[NodeReport]) -> None:
    found.data = [
        {
            "member": int(each.member_id),
            "node": report.node.address,
            "node_id": report.node.node_id,
            "directory_id": None if each.directory_id is None else each.directory_id.hex(),
            "path": each.path,
        }
        for report in reports
        for each in report.found
    ]


def _examine_members(found: Findings) -> None:
    members = group_status(found.group)
    fsync = {row["node"]: row.get("fsync_ms") for row in found.nodes}
    paths = {row["directory_id"]: row["path"] for row in found.data}
    for member in members:
        row = {
            "member": member.id,
            "node": member.node,
            "state": member.state,
            "role": member.role,
            "peer_ms": _round_trip_ms(peer_name(found.group, MemberId(member.id)), "get_state"),
            "server_ms": _round_trip_ms(server_name(found.group, MemberId(member.id)), "status"),
            "fsync_ms": fsync.get(member.node),
            "stall_ms_max": member.stall_ms_max,
            "data": paths.get(member.directory_id),
            "error": member.error,
        }
        found.members.append(row)
        found.troubles.extend(member_troubles(row))
    if not any(member.role == "leader" and member.state == "running" for member in members):
        found.troubles.append("no member leads: writes and linearizable reads wait until a majority runs")


def member_troubles(row: dict[str, Any]) -> list[str]:
    """What is wrong with one member, as sentences."""
    troubles = []
    if row["state"] == "unreachable":
        return [f"member {row['member']}: its peer does not answer; see `ray status`"]
    if row["state"] != "running":
        troubles.append(f"it is {row['state']}" + (f": {row['error']}" if row["error"] else ""))
    elif row["data"] is None:
        troubles.append("its data directory was found on no node: was it deleted or moved under it?")
    for part in ("peer", "server"):
        if row[f"{part}_ms"] is None:
            troubles.append(f"its {part} does not answer calls")
    return [f"member {row['member']}: {sentence}" for sentence in troubles]


def _round_trip_ms(name: str, method: str) -> float | None:
    """Median of a few calls, after a first one that makes the connection; None without an answer."""
    try:
        call = getattr(ray.get_actor(name, namespace=NAMESPACE), method)
        times = [_ms(lambda: ray.get(call.remote(), timeout=CALL_TIMEOUT_S)) for _ in range(1 + CALL_COUNT)]
    except (ValueError, RayError):
        return None
    return round(statistics.median(times[1:]), 2)


# -- security --------------------------------------------------------------------------------------------------------


def security_rows(environment: dict[str, str] | os._Environ[str], home: Path) -> list[dict[str, Any]]:
    """What this process would use to talk to Ray. Secrets are never shown, only where they would come from."""
    token = Path(environment.get("RAY_AUTH_TOKEN_PATH") or home / ".ray" / "auth_token")
    if environment.get("RAY_AUTH_TOKEN"):
        source = "in $RAY_AUTH_TOKEN"
    elif token.is_file():
        others = stat.S_IMODE(token.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
        source = f"in {token}" + (f", which others may read or write: chmod 600 {token}" if others else "")
    else:
        source = f"none in $RAY_AUTH_TOKEN or {token}: whoever reaches Ray's ports can run code"
    tls = environment.get("RAY_USE_TLS", "0") not in ("", "0")
    return [
        {"what": "RAY_AUTH_MODE", "is": environment.get("RAY_AUTH_MODE") or "not set: Ray decides"},
        {"what": "Ray token", "is": source},
        {"what": "RAY_USE_TLS", "is": "on" if tls else "off: calls between nodes can be read on the network"},
    ]
