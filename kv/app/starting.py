"""What the commands that start a store share: how many members, where, with which data.

Here:   `start_options`, and `start_arguments`, which makes arguments of `kv.start` of them.
Never:  starting anything (cli.py, backup.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

import kv
from kv.app.options import Common
from raft_actors.cluster.options import MEMBERS_MAX

START_TIMEOUT_S: Final = 60.0


def start_options(members_default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options; the command's function gets them by name, for `start_arguments`."""

    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(
            (
                click.option(
                    "--members", type=click.IntRange(1, MEMBERS_MAX), help=f"How many. [default: {members_default}]"
                ),
                click.option(
                    "--data-dir", help="Root of the data on each node. [default: $RAFT_ACTORS_HOME or ~/.raft_actors]"
                ),
                click.option(
                    "--placement",
                    multiple=True,
                    metavar="LABEL=VALUE[,...]",
                    callback=_selector,
                    help="Node labels for one member; once for each. [default: spread over the machines]",
                ),
                click.option("--record-dir", help="Record the run there."),
                click.option("--allow-unsafe-data-dir", is_flag=True, help="Accept tmpfs and network file systems."),
            )
        ):
            function = option(function)
        return function

    return decorated


def start_arguments(common: Common, given: Mapping[str, Any]) -> dict[str, Any]:
    """What `kv.start` and `kv.restore_snapshot` take."""
    record_dir = given["record_dir"]
    return {
        "members": given["members"],
        "data_dir": given["data_dir"],
        "placement": given["placement"],
        "record_dir": os.path.abspath(record_dir) if record_dir else None,
        "config": kv.Config(allow_unsafe_data_dir=True) if given["allow_unsafe_data_dir"] else None,
        "start_timeout_s": common.timeout or START_TIMEOUT_S,
    }


def _selector(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> list[dict[str, str]] | None:
    """LABEL=VALUE[,...] for each member, as `kv.start(placement=...)` takes it."""
    selectors = []
    for value in values:
        pairs = [part.partition("=") for part in value.split(",")]
        if not all(label and equals and wanted for label, equals, wanted in pairs):
            raise click.BadParameter(f"{value!r} is not LABEL=VALUE[,LABEL=VALUE...]", context, parameter)
        selectors.append({label: wanted for label, _, wanted in pairs})
    return selectors or None
