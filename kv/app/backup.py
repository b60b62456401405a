"""`raft-kv snapshot save`, `snapshot restore`, `recover`: what a store's owner needs on the worst day.

Here:   the commands, their questions and their bars.
Never:  what they do (kv/backup.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import click

import kv
from kv.app.options import Common, command_options, say
from kv.app.render import rows_text
from kv.app.starting import START_TIMEOUT_S, start_arguments, start_options

SAVE_TIMEOUT_S: Final = 600.0
MIB: Final = 2**20

HOLDING_COLUMNS: Final = ("member", "node", "last_index", "last_term", "snapshot_index", "commit_index", "trouble")
BACKUP_COLUMNS: Final = ("file", "member", "index", "term", "state_bytes")
MEMBER_COLUMNS: Final = ("id", "node", "state", "role", "term", "leader", "commit_index", "snapshot_index", "error")
WITHOUT_FORCE: Final = (
    "recover founds a new cluster from what one member holds; acknowledged writes that only the others hold are lost, "
    "and they are refused for ever. If they are gone for good, say --force-new-cluster; if only some are, see "
    "`raft-kv member replace`"
)


@click.group()
def snapshot() -> None:
    """The whole store into a file, and a new store from a file."""


@snapshot.command()
@command_options
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def save(common: Common, file: str, force: bool) -> None:
    """Write all keys, values and versions to FILE, with every write acknowledged before."""
    with common.connected(), _counting() as count:
        saved = kv.save_snapshot(
            common.name,
            file,
            force=force,
            timeout_s=common.timeout or SAVE_TIMEOUT_S,
            begun=lambda member: say(f"saving the state of member {member} of store {common.name!r} to {file}"),
            progress=count,
        )
    row = {
        "file": file,
        "member": saved.member,
        "index": saved.index,
        "term": saved.term,
        "state_bytes": saved.state_bytes,
    }
    click.echo(rows_text([row], common.format, BACKUP_COLUMNS))


@snapshot.command()
@command_options
@click.argument("file", type=click.Path(dir_okay=False))
@start_options("as many as were saved")
def restore(common: Common, file: str, **options: Any) -> None:
    """Start a new store, named by --name, from FILE. All of FILE is checked first; print its members."""
    with common.connected():
        with _bar(f"restoring {file}") as bar:
            kv.restore_snapshot(
                file, common.name, **start_arguments(common, options), verified=bar.begin, progress=bar.advance
            ).close()
        found = kv.status(common.name)
    _show_members(common, found)


@click.command()
@command_options
@click.option("--from", "member", type=click.IntRange(0), required=True, help="The member whose data goes on.")
@click.option("--force-new-cluster", is_flag=True, help="The others are gone for good.")
@click.option("--data-dir", help="Root of the data on each node, if nothing of the store runs any more.")
@click.option("--allow-unsafe-data-dir", is_flag=True, help="Accept tmpfs and network file systems.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def recover(
    common: Common,
    member: int,
    force_new_cluster: bool,
    data_dir: str | None,
    allow_unsafe_data_dir: bool,
    yes: bool,
) -> None:
    """Go on as a new cluster when a majority of the members is lost for good. Says what may be lost, and asks first."""
    if not force_new_cluster:
        raise click.ClickException(WITHOUT_FORCE)
    with common.connected():
        plan = kv.plan_recovery(common.name, member, data_dir=data_dir)
        rows = [{column: getattr(each, column) for column in HOLDING_COLUMNS} for each in plan.holdings]
        say(rows_text(rows, "table", HOLDING_COLUMNS))
        for risk in plan.risks():
            say(f"- {risk}")
        if not yes:
            click.confirm(
                f"Found a new cluster of store {common.name!r} from member {member}, and refuse its old members?",
                abort=True,
                err=True,
            )
        kv.recover(
            plan,
            force_new_cluster=True,
            data_dir=data_dir,
            config=kv.Config(allow_unsafe_data_dir=True) if allow_unsafe_data_dir else None,
            start_timeout_s=common.timeout or START_TIMEOUT_S,
        ).close()
        found = kv.status(common.name)
    _show_members(common, found)


def _show_members(common: Common, found: kv.Status) -> None:
    click.echo(rows_text(found.rows(), common.format, MEMBER_COLUMNS))


# -- bars -------------------------------------------------------------------------------------------------------------


class _Bar:
    """A bar whose length is known later."""

    def __init__(self, label: str, stack: ExitStack) -> None:
        self._label = label
        self._stack = stack
        self._advance: Callable[[int], None] = lambda _: None

    def begin(self, size_bytes: int) -> None:
        say(f"all of the file is good; its state has {size_bytes / MIB:.1f} MiB")
        bar = click.progressbar(range(max(1, size_bytes)), label=self._label, file=sys.stderr)
        self._advance = self._stack.enter_context(bar).update

    def advance(self, count: int) -> None:
        self._advance(count)


@contextmanager
def _bar(label: str) -> Iterator[_Bar]:
    with ExitStack() as stack:
        yield _Bar(label, stack)


@contextmanager
def _counting() -> Iterator[Callable[[int], None]]:
    """How many bytes there are is known at the end: a number that grows, where somebody looks."""
    done, terminal = 0, sys.stderr.isatty()

    def count(more: int) -> None:
        nonlocal done
        done += more
        if terminal:
            click.echo(f"\r{done / MIB:.1f} MiB", nl=False, err=True)

    yield count
    if terminal and done:
        say("")
