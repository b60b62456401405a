"""`raft-kv`, the same as `python -m kv`: the store from a shell.

Here:   the commands. Data on stdout, talk on stderr, exit code not 0 where something failed or there is no quorum.
Never:  what a command does in the store (kv), how data looks (render.py), options that all have (options.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
import ray
from ray.exceptions import RayError

import kv
from kv.app.backup import recover, snapshot
from kv.app.demo import demo
from kv.app.doctor import Findings, examine
from kv.app.keys import COMMANDS
from kv.app.membership import member, move_leader
from kv.app.options import Common, command_options, first_line, root_options, say
from kv.app.render import document_text, rows_text
from kv.app.starting import start_arguments, start_options
from raft_actors._version import __version__
from raft_actors.cluster.group import MemberStatus
from raft_actors.cluster.lifecycle import groups, members_of
from raft_actors.core.types import MemberId
from raft_actors.errors import RaftActorsError, UnknownGroup
from raft_actors.names import NAMESPACE, peer_name

RESTART_TIMEOUT_S: Final = 30.0
LOOK_S: Final = 0.1

STATUS_COLUMNS: Final = (
    *("id", "node", "state", "role", "term", "leader"),
    *("commit_index", "last_applied", "log_bytes", "snapshot_index", "snapshot", "uptime_s", "error"),
)
LIST_COLUMNS: Final = ("name", "members", "running", "leader", "has_quorum")
DOCTOR_COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "nodes": ("node", "python", "ray", "raft_actors", "msgpack", "numpy", "fsync_ms", "data_root"),
    "paths": ("node", "raft_actors_path", "kv_path", "analysis_path"),
    "members": ("member", "node", "state", "role", "peer_ms", "server_ms", "fsync_ms", "stall_ms_max", "data"),
    "data": ("member", "node", "directory_id", "path"),
    "security": ("what", "is"),
}


class _Commands(click.Group):
    """What the store refuses and what Ray reports end in one sentence; a fault of ours keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except kv.ValueOpaque as refusal:
            sentence = "the value is a pickle: --allow-pickle opens it, which runs its writer's code"
            raise click.ClickException(sentence) from refusal
        except RaftActorsError as refusal:
            raise click.ClickException(str(refusal)) from refusal
        except RayError as failure:
            raise click.ClickException(f"Ray: {first_line(failure)}; see `raft-kv doctor`") from failure


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="raft-kv")
@root_options
def cli(**_: Any) -> None:
    """A replicated key-value store on a running Ray cluster.

    The options below may also stand after the command.
    """


def main() -> None:
    """The console script."""
    # What the library logs in this process is talk: whether a group was created or resumed, for example.
    logger = logging.getLogger("raft_actors")
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.INFO)
    cli(prog_name="raft-kv")


for command in (demo, member, move_leader, recover, snapshot, *COMMANDS):
    cli.add_command(command)


# -- the life of a store -----------------------------------------------------------------------------------------------


@cli.command()
@command_options
@start_options("3")
@click.option(
    "--replace-after",
    "replace_after_s",
    type=float,
    metavar="SECONDS",
    help="Replace a member by itself that was silent for so long. [default: never]",
)
def start(common: Common, replace_after_s: float | None, **options: Any) -> None:
    """Start the store, or attach to it when it runs; print its members."""
    with common.connected():
        kv.start(common.name, **start_arguments(common, options), replace_after_s=replace_after_s).close()
        found = kv.status(common.name)
    _show_status(common, found)


@cli.command("list")
@command_options
def list_groups(common: Common) -> None:
    """All groups on the Ray cluster."""
    rows = []
    with common.connected():
        for name in groups():
            try:
                status = kv.status(name)
            except UnknownGroup:  # it ended a moment ago
                continue
            running = sum(1 for member in status.members if member.state == "running")
            counts = {"name": name, "members": len(status.members), "running": running}
            rows.append({**counts, "leader": status.leader, "has_quorum": status.has_quorum})
    click.echo(rows_text(rows, common.format, LIST_COLUMNS))


@cli.command()
@command_options
def status(common: Common) -> None:
    """The members, as they say themselves; exit code 1 without a quorum."""
    with common.connected():
        found = kv.status(common.name)
    _show_status(common, found)
    if not found.has_quorum:
        raise click.ClickException(f"store {common.name!r} has no quorum: see the members' errors, or `raft-kv doctor`")


def _show_status(common: Common, found: kv.Status) -> None:
    click.echo(rows_text(found.rows(), common.format, STATUS_COLUMNS))


@cli.command("restart-member")
@command_options
@click.argument("member_id", metavar="ID", type=click.IntRange(0))
def restart_member(common: Common, member_id: int) -> None:
    """Let a member run again that stopped because of a failure; mend the cause first."""
    with common.connected():
        if member_id not in members_of(common.name):
            raise click.ClickException(f"store {common.name!r} has no member {member_id}: see `raft-kv status`")
        before = _member(common.name, member_id)
        try:
            peer = ray.get_actor(peer_name(common.name, MemberId(member_id)), namespace=NAMESPACE)
            ray.get(peer.restart.remote(), timeout=common.timeout_s)
        except ray.exceptions.RayActorError:
            pass  # its process ended, as it shall
        except ValueError:
            raise click.ClickException(f"member {member_id} has no actor now: the keeper is about to make it") from None
        after = _restarted(common, before)
    click.echo(rows_text([after.row()], common.format, STATUS_COLUMNS))
    if after.state != "running":
        raise click.ClickException(f"member {member_id} is {after.state}: {after.error or 'it says no reason'}")


def _restarted(common: Common, before: MemberStatus) -> MemberStatus:
    """The member once another process of it has said how it is, or when the time is up."""
    deadline_s = time.monotonic() + (common.timeout or RESTART_TIMEOUT_S)
    while True:
        after = _member(common.name, before.id)
        settled = after.pid not in (None, before.pid) and after.state != "starting"
        if settled or time.monotonic() > deadline_s:
            return after
        time.sleep(LOOK_S)


def _member(name: str, member_id: int) -> MemberStatus:
    found = [member for member in kv.status(name).members if member.id == member_id]
    return found[0] if found else MemberStatus(id=member_id)


@cli.command()
@command_options
@click.option("--delete-data", is_flag=True, help="Delete the members' data too. Asks first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def shutdown(common: Common, delete_data: bool, yes: bool) -> None:
    """End the store cleanly; its data stays, and `start` resumes it."""
    if delete_data and not yes:
        click.confirm(f"Delete all data of store {common.name!r} for good?", abort=True, err=True)
    with common.connected():
        kv.shutdown(common.name, delete_data=delete_data)
    say(f"store {common.name!r} is shut down; its data is {'deleted' if delete_data else 'kept'}")


# -- when something is wrong -------------------------------------------------------------------------------------------


@cli.command()
@command_options
def doctor(common: Common) -> None:
    """Versions, paths, disks, round trips, data: what to look at when something is wrong. Exit code 1 if it is."""
    with common.connected():
        found = examine(common.name)
    click.echo(_findings_text(found, common.format))
    if not found.runs:
        say(f"store {common.name!r} does not run; this is what there is without it")
    for trouble in found.troubles:
        say(f"TROUBLE {trouble}")
    if found.troubles:
        raise click.ClickException(f"troubles found: {len(found.troubles)}")
    say("nothing wrong was found")


def _findings_text(found: Findings, output: str) -> str:
    sections = {
        "nodes": found.nodes,
        "members": found.members,
        "data": found.data,
        "security": found.security,
    }
    if output != "table":
        return document_text({"name": found.group, "runs": found.runs, **sections, "troubles": found.troubles}, output)
    tables = {**sections, "paths": found.nodes}
    return "\n\n".join(
        f"{title}\n{rows_text(tables[title], output, columns)}"
        for title, columns in DOCTOR_COLUMNS.items()
        if tables[title]
    )


if __name__ == "__main__":
    main()
