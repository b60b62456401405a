"""`raft-analysis`, the same as `python -m analysis`: a run's numbers on the terminal.

Here:   the command line, and how numbers are printed. Data on stdout, talk on stderr, exit code not 0 on failure.
Never:  computing anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

import analysis
from raft_actors._version import __version__
from raft_actors.recording import RunError

if TYPE_CHECKING:  # pandas is an extra: without it the command still says what is missing
    import pandas as pd

try:
    import yaml  # type: ignore[import-untyped]
except ImportError:  # Ray brings it; a run may be read where there is no Ray
    yaml = None

FORMATS: Final = ("table", "json", "yaml")
HEADLINE: Final = ("name", "cluster_size", "clients", "offered_load", "cpu_count", "fsync", "host", "complete")

TIMES: Final = ("t_leader", "last_ok_before", "first_ok_after")
"""Columns in ns since run start; a person reads them in seconds."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="raft-analysis")
def main() -> None:
    """Read what raft-actors recorded."""


@main.command("summary")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "output", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--by", multiple=True, default=("op",), show_default=True, help="Column of ops to group by; repeatable.")
def summary_command(run: Path, output: str, by: tuple[str, ...]) -> None:
    """How many operations RUN had, how they ended, how fast they were, and how long leader changes took."""
    if output == "yaml" and yaml is None:
        raise click.ClickException("--format yaml needs PyYAML: pip install pyyaml")
    try:
        loaded = analysis.load_run(run)
        table = analysis.summary(loaded.ops, by)
        gaps = analysis.leader_gaps(loaded.ops, loaded.events, t_end=loaded.meta.get("t_end"))
    except (RunError, ImportError) as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--by") from error
    for sentence in _warnings(loaded):
        click.echo(f"warning: {sentence}", err=True)
    headline = {name: loaded.meta.get(name) for name in HEADLINE}
    click.echo(_render(output, headline, table, gaps))


def _warnings(run: analysis.Run) -> list[str]:
    sentences = []
    if not run.meta["complete"]:
        sentences.append("the run was cut off or is still being written; this is what there is of it")
    if run.toothless:
        sentences.append(f"the run is void: faults that did nothing: {', '.join(run.toothless)}")
    for frame, count in run.meta["lines_unreadable"].items():
        sentences.append(f"{count} lines of {frame} cannot be read and are left out")
    for kind in ("dropped", "malformed"):
        for frame, count in run.meta.get(kind, {}).items():
            sentences.append(f"{count} rows of {frame} were {kind} when they were recorded")
    return sentences


def _render(output: str, headline: dict[str, Any], table: pd.DataFrame, gaps: pd.DataFrame) -> str:
    if output == "table":
        facts = "   ".join(f"{name}: {'-' if value in (None, '') else value}" for name, value in headline.items())
        return "\n\n".join([facts, _text(table, "no operations"), "leader changes", _text(gaps, "none seen")])
    document = {"meta": headline, "summary": _plain(table), "gaps": _plain(gaps)}
    if output == "yaml":
        text: str = yaml.safe_dump(document, sort_keys=False)
        return text.rstrip("\n")
    return json.dumps(document, indent=2)


def _text(frame: pd.DataFrame, if_empty: str) -> str:
    if frame.empty:
        return if_empty
    times = [name for name in TIMES if name in frame]
    readable = frame.assign(**{name: frame[name].astype("Float64") / 1e9 for name in times})
    shown = readable.rename(columns={name: f"{name}_s" for name in times}).astype(object)
    return shown.where(shown.notna(), "-").to_string(index=False, float_format="{:.2f}".format)


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of plain Python values; what is missing or not a number is None."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", date_format="iso"))
    return rows


if __name__ == "__main__":
    main(prog_name="raft-analysis")
