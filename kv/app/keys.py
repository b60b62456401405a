"""The commands of `raft-kv` on keys and values: get, put, append, delete, scan, load.

Here:   one command each; what they print goes to stdout alone.
Never:  the life of a store (cli.py), what a loaded file looks like (load.py).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, BinaryIO, Final

import click

from kv.app.load import INPUT_FORMATS, input_format_of, put_all, read_items
from kv.app.options import Common, command_options, first_line, say
from kv.app.render import CELL_CHARACTERS_MAX, document_text, rows_text, value_text
from kv.commands import SCAN_LIMIT_DEFAULT, SCAN_LIMIT_MAX

LOAD_TIMEOUT_S: Final = 30.0
MISSING: Final = object()


def _value(text: str, is_json: bool) -> Any:
    if not is_json:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise click.BadParameter(f"no JSON: {first_line(failure)}", param_hint="VALUE") from failure


json_option = click.option("--json", "is_json", is_flag=True, help="VALUE is JSON, not a string.")
if_version_option = click.option("--if-version", type=click.IntRange(0), help="Only if it has this version; 0: none.")
pickle_option = click.option("--allow-pickle", is_flag=True, help="Open pickled values: runs their writer's code.")
stale_option = click.option("--stale", is_flag=True, help="From any member, as old as its state may be.")


@click.command()
@command_options
@click.argument("key")
@click.option("--versioned", is_flag=True, help="Print key, version and value.")
@stale_option
@pickle_option
def get(common: Common, key: str, versioned: bool, stale: bool, allow_pickle: bool) -> None:
    """Print the value of KEY; exit code 1 when there is none."""
    if versioned and stale:
        raise click.UsageError("a version is read from the leader: leave out --stale or --versioned")
    with common.store(allow_pickle=allow_pickle) as store:
        if versioned:
            found = store.get_versioned(key)
            row = None if found is None else {"key": key, "version": found.version, "value": found.value}
            text: str | bytes | None = None if row is None else _row(common, row)
        else:
            value = store.get(key, MISSING, consistency="stale" if stale else "linearizable")
            text = None if value is MISSING else value_text(value, common.format)
    if text is None:
        raise click.ClickException(f"no key {key!r} in store {common.name!r}")
    click.echo(text)


def _row(common: Common, row: Mapping[str, Any]) -> str:
    """One row: a table with one line, or one document."""
    return rows_text([row], "table", list(row)) if common.format == "table" else document_text(row, common.format)


@click.command()
@command_options
@click.argument("key")
@click.argument("value")
@json_option
@if_version_option
def put(common: Common, key: str, value: str, is_json: bool, if_version: int | None) -> None:
    """Set KEY to VALUE; print its version."""
    parsed = _value(value, is_json)
    with common.store() as store:
        version = store.put(key, parsed, if_version=if_version)
    _show_version(common, key, version)


@click.command()
@command_options
@click.argument("key")
@click.argument("value")
@json_option
def append(common: Common, key: str, value: str, is_json: bool) -> None:
    """Put VALUE behind what KEY holds, or create it; print its version."""
    parsed = _value(value, is_json)
    with common.store() as store:
        version = store.append(key, parsed)
    _show_version(common, key, version)


def _show_version(common: Common, key: str, version: int) -> None:
    click.echo(version if common.format == "table" else document_text({"key": key, "version": version}, common.format))


@click.command()
@command_options
@click.argument("key")
@if_version_option
def delete(common: Common, key: str, if_version: int | None) -> None:
    """Remove KEY; exit code 1 when it was not there."""
    with common.store() as store:
        deleted = store.delete(key, if_version=if_version)
    if common.format != "table":
        click.echo(document_text({"key": key, "deleted": deleted}, common.format))
    if not deleted:
        raise click.ClickException(f"no key {key!r} in store {common.name!r}")
    say(f"deleted {key!r}")


@click.command()
@command_options
@click.argument("prefix", default="")
@click.option("--limit", type=click.IntRange(1), default=SCAN_LIMIT_DEFAULT, show_default=True, help="Keys at most.")
@click.option("--start-after", help="Begin behind this key.")
@stale_option
@pickle_option
def scan(common: Common, prefix: str, limit: int, start_after: str | None, stale: bool, allow_pickle: bool) -> None:
    """Keys that start with PREFIX (all, without one) and their values, ascending."""
    rows: list[dict[str, Any]] = []
    with common.store(allow_pickle=allow_pickle) as store:
        while len(rows) < limit:
            page = store.scan(
                prefix,
                start_after=start_after,
                limit=min(limit - len(rows), SCAN_LIMIT_MAX),
                consistency="stale" if stale else "linearizable",
            )
            if not page:  # a page may be short because of its values' size; only an empty one is the end
                break
            rows.extend({"key": key, "value": value} for key, value in page.items())
            start_after = rows[-1]["key"]
    click.echo(rows_text(rows, common.format, ("key", "value"), characters_max=CELL_CHARACTERS_MAX))
    if len(rows) == limit:
        say(f"stopped at {limit} keys; --start-after {start_after!r} goes on")


@click.command()
@command_options
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False))
@click.option("--input-format", type=click.Choice(INPUT_FORMATS), help="[default: by FILE's suffix]")
@click.option("--json", "is_json", is_flag=True, help="Values in CSV and text are JSON, not strings.")
def load(common: Common, file: str, input_format: str | None, is_json: bool) -> None:
    """Put all keys and values of FILE; `-` is stdin.

    csv: key,value with or without that header. jsonl: {"key": ..., "value": ...} on each line. text: a key, white
    space, the value.
    """
    chosen = input_format or input_format_of(file)
    if chosen is None:
        raise click.UsageError(f"{file}: the name does not say what is in it; give --input-format")
    with _opened(file) as source, common.store() as store, _progress(source, file) as advance:
        items = read_items(source, chosen, "stdin" if file == "-" else file, values_are_json=is_json)
        count = put_all(store, items, timeout_s=common.timeout or LOAD_TIMEOUT_S, written=advance)
    click.echo(_row(common, {"file": file, "written": count}))


def _opened(file: str) -> AbstractContextManager[BinaryIO]:
    try:
        return nullcontext(sys.stdin.buffer) if file == "-" else open(file, "rb")
    except OSError as failure:
        raise click.FileError(file, failure.strerror) from failure


@contextmanager
def _progress(source: BinaryIO, file: str) -> Iterator[Callable[[int], None]]:
    """A bar over the file's bytes; without their number, as in a pipe, one line."""
    size_bytes = os.fstat(source.fileno()).st_size if file != "-" else 0
    if not size_bytes:
        say("loading stdin" if file == "-" else f"loading {file}")
        yield lambda _: None
        return
    with click.progressbar(range(size_bytes), label=f"loading {file}", file=sys.stderr) as bar:
        yield bar.update


COMMANDS: Final = (append, delete, get, load, put, scan)
