"""The commands of `raft-kv` on a store's members: `member list|add|remove|promote|replace`, and `move-leader`.

Here:   one command each. A change is talked about on stderr while it lasts; the members as they then are go to stdout.
Never:  which change is safe (raft_actors/core/membership.py), who makes it (raft_actors/cluster).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

import kv
from kv.app.options import Common, command_options, say
from kv.app.render import rows_text
from raft_actors.cluster.membership import FILL_TIMEOUT_S, TIMEOUT_S, Members

COLUMNS: Final[Sequence[str]] = ("id", "is", "leads", "node", "state", "lag", "silent_ms", "directory_id", "error")

node_option = click.option(
    "--node", metavar="NODE", help="Where it shall live: address, node id or LABEL=VALUE. [default: the keeper chooses]"
)
id_argument = click.argument("member_id", metavar="ID", type=click.IntRange(0, 9999))


@click.group()
def member() -> None:
    """Who belongs to the store, and changing that, one at a time, while it runs."""


@member.command("list")
@command_options
def list_members(common: Common) -> None:
    """All places, as the leader confirms them: voters, non-voters on their way, and vacant ones."""
    with common.connected():
        rows = _rows(common, kv.membership(common.name))
    _show(common, rows)


@member.command()
@command_options
@click.argument("member_id", metavar="[ID]", type=click.IntRange(0, 9999), required=False)
@node_option
def add(common: Common, member_id: int | None, node: str | None) -> None:
    """One member more, by default with the lowest free id. Returns when it votes."""
    added: list[int] = []
    _change(
        common,
        lambda members, timeout_s: added.append(
            members.add(member_id, node=node, timeout_s=timeout_s, on_progress=_Talk())
        ),
        FILL_TIMEOUT_S,
    )
    say(f"member {added[0]} of store {common.name!r} votes")


@member.command()
@command_options
@id_argument
def remove(common: Common, member_id: int) -> None:
    """One member less. Its processes end; its data stays where it lies."""
    _change(common, lambda members, timeout_s: members.remove(member_id, timeout_s=timeout_s))
    say(f"member {member_id} is removed from store {common.name!r}; its data was left on its node")


@member.command()
@command_options
@id_argument
def promote(common: Common, member_id: int) -> None:
    """Let a member vote that has caught up; the keeper does it by itself a moment later."""
    _change(common, lambda members, timeout_s: members.promote(member_id, timeout_s=timeout_s))
    say(f"member {member_id} of store {common.name!r} votes")


@member.command()
@command_options
@id_argument
@node_option
def replace(common: Common, member_id: int, node: str | None) -> None:
    """Give a member another, empty directory, here or on another node: after a lost disk, damage, a lost node.

    What lies in its place is set aside. If this command is cut off, the replacement goes on (see `member list`).
    """
    _change(
        common,
        lambda members, timeout_s: members.replace(member_id, node=node, timeout_s=timeout_s, on_progress=_Talk()),
        FILL_TIMEOUT_S,
    )
    say(f"member {member_id} of store {common.name!r} votes again, from another directory")


@click.command("move-leader")
@command_options
@click.argument("member_id", metavar="[ID]", type=click.IntRange(0, 9999), required=False)
def move_leader(common: Common, member_id: int | None) -> None:
    """Let another member lead: ID, or the one that holds most of the log."""
    with common.connected():
        leader = kv.membership(common.name).move_leader(member_id, timeout_s=common.timeout or TIMEOUT_S)
    say(f"member {leader} of store {common.name!r} leads")


class _Talk:
    """Says how far a member is, with the time since it began."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def __call__(self, sentence: str) -> None:
        say(f"{time.monotonic() - self._began_s:5.1f} s  {sentence}")


def _change(common: Common, change: Callable[[Members, float], None], timeout_s: float = TIMEOUT_S) -> None:
    """Make a change, within `timeout_s` unless the user says otherwise, and show the members as they are then."""
    with common.connected():
        members = kv.membership(common.name)
        change(members, common.timeout or timeout_s)
        rows = _rows(common, members)
    _show(common, rows)


def _rows(common: Common, members: Members) -> list[dict[str, Any]]:
    """The leader's rows, with what the members say of themselves."""
    said = {each.id: each for each in kv.status(common.name).members}
    rows: list[dict[str, Any]] = []
    for line in members.list(timeout_s=common.timeout or TIMEOUT_S):
        own = said.get(line.id)
        known = {} if own is None else {"node": own.node, "state": own.state, "error": own.error}
        rows.append({**line.row(), **known})
    return rows


def _show(common: Common, rows: Sequence[Mapping[str, Any]]) -> None:
    click.echo(rows_text(rows, common.format, COLUMNS))
