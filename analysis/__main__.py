"""`raft-analysis`, the same as `python -m analysis`: a run's numbers on the terminal.

Here:   the command line, and how numbers are printed. Data on stdout, talk on stderr, exit code not 0 on failure.
Never:  computing anything.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

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
EXIT_CODES: Final = {"ok": 0, "illegal": 1, "unknown": 3}
"""Of `check`; 2 is click's, for a command line that makes no sense."""
FIGURES_MAX: Final = 10
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
    _require(output)
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


@main.command("check")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "output", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--time-budget", default=60.0, show_default=True, help="Seconds that the search may take, in all.")
@click.option("--figures", type=click.Path(path_type=Path), help="Directory for a picture of each key that fails.")
@click.option("--export", type=click.File("w"), help="File for the history, JSON lines as for Porcupine.")
@click.pass_context
def check_command(
    context: click.Context, run: Path, output: str, time_budget: float, figures: Path | None, export: TextIO | None
) -> None:
    """Whether all that RUN's clients were told has an order (is linearizable).

    Exits with 0 if it has, with 1 if it has none, with 3 if that could not be decided: no verdict is no success.
    """
    _require(output)
    try:
        loaded = analysis.load_run(run)
        with click.progressbar(length=1, label="keys", file=sys.stderr) as bar:

            def show(done: int, of: int) -> None:
                bar.length = of
                bar.update(done - bar.pos)

            verdict = analysis.check_run(loaded, time_budget_s=time_budget, progress=show)
        if export is not None:
            click.echo(f"{analysis.write_porcupine(analysis.run_calls(loaded), export)} operations exported", err=True)
        if figures is not None:
            _draw(verdict, figures)
    except (RunError, ImportError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(_render_verdict(output, verdict))
    context.exit(EXIT_CODES[verdict.judgement.value])


def _draw(verdict: analysis.RunVerdict, directory: Path) -> None:
    """A picture of each key whose calls have no order."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, key in enumerate(verdict.illegal[:FIGURES_MAX]):
        path = directory / f"illegal-{number}.png"
        analysis.save_timeline(key, path)
        click.echo(f"key {key.key!r:.80}: {path}", err=True)


def _render_verdict(output: str, verdict: analysis.RunVerdict) -> str:
    document = verdict.document()
    rows = verdict.failing_rows()
    if output == "table":
        counts = f"{document['calls']} calls on {document['keys']} keys"
        said = {"ok": "have an order", "illegal": "have no order", "unknown": "are not decided"}[document["judgement"]]
        lines = [f"{document['judgement'].upper()}: {counts} {said}", *document["reasons"]]
        return "\n".join(lines if rows.empty else [*lines, "", rows.to_string(index=False)])
    return _dump(output, document | {"failing": _plain(rows.astype("string"))})


def _require(output: str) -> None:
    if output == "yaml" and yaml is None:
        raise click.ClickException("--format yaml needs PyYAML: pip install pyyaml")


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
    return _dump(output, {"meta": headline, "summary": _plain(table), "gaps": _plain(gaps)})


def _dump(output: str, document: dict[str, Any]) -> str:
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
